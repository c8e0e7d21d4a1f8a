//! The manifest, and what it allows.

use std::collections::BTreeMap;

use bytes::Bytes;
use sekisho_core::json::{JsonKind, JsonObject, JsonValue};

use super::hash::{MAX_STRUCTURED, StrictJson};
use super::{BundleError, DATA, MANIFEST, is_named};
use crate::source::is_within;

pub(super) struct Manifest {
    pub(super) revision: Option<Box<str>>,
    /// Without slashes at the ends, none a part of another; one that is empty stands for all.
    pub(super) roots: Vec<Box<str>>,
    pub(super) rego_version: Option<u8>,
}

const MAX_ROOTS: usize = 100;
const MAX_REVISION: usize = 256;

impl Manifest {
    /// Reads the manifest. Without one the bundle has all of the data, and no revision.
    pub(super) fn of(files: &BTreeMap<Box<str>, Bytes>) -> Result<Self, BundleError> {
        let Some(content) = files.get(MANIFEST) else {
            return Ok(Self { revision: None, roots: vec!["".into()], rego_version: None });
        };
        if content.len() > MAX_STRUCTURED {
            return Err(BundleError::TooLarge);
        }
        let object = JsonObject::parse(content.to_vec()).map_err(|_| BundleError::Json)?;
        Self::read(&object).ok_or(BundleError::Manifest)
    }

    fn read(object: &JsonObject) -> Option<Self> {
        let revision = match object.get("revision") {
            None => None,
            Some(revision) => {
                let is_plain = |text: &str| text.len() <= MAX_REVISION && !text.contains(char::is_control);
                Some(Box::<str>::from(revision.as_str().filter(|text| is_plain(text))?))
                    .filter(|text| !str::is_empty(text))
            }
        };
        let roots = match object.get("roots") {
            None => vec!["".into()],
            Some(roots) => read_roots(roots)?,
        };
        let rego_version = match object.get("rego_version") {
            None => None,
            Some(version) => Some(read_version(version)?),
        };
        // A file may have a version of its own; only what changes nothing is understood.
        if let Some(versions) = object.get("file_rego_versions") {
            let versions: BTreeMap<String, u8> = versions.deserialize().ok()?;
            let common = rego_version.unwrap_or(1);
            versions.values().all(|version| *version == common).then_some(())?;
        }
        Some(Self { revision, roots, rego_version })
    }

    /// Checks that no `data.json` reaches beyond the roots.
    pub(super) fn check_data(&self, files: &BTreeMap<Box<str>, Bytes>) -> Result<(), BundleError> {
        for (name, content) in files.iter().filter(|(name, _)| is_named(name, DATA)) {
            let value = StrictJson::parse(content)?;
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            // At the root there is nothing but members.
            if folder.is_empty() && !value.text().starts_with('{') {
                return Err(BundleError::Json);
            }
            self.check_value(folder, value.text())?;
        }
        Ok(())
    }

    fn check_value(&self, path: &str, raw: &str) -> Result<(), BundleError> {
        if self.roots.iter().any(|root| is_within(path, root)) {
            return Ok(());
        }
        // Outside of every root there may be nothing but the way to one.
        if !raw.starts_with('{') || !self.roots.iter().any(|root| is_within(root, path)) {
            return Err(BundleError::Roots);
        }
        let object = JsonObject::parse(raw.as_bytes().to_vec()).map_err(|_| BundleError::Json)?;
        for (name, value) in object.iter() {
            // A member with a slash in its name would look like two steps.
            if name.contains('/') {
                return Err(BundleError::Roots);
            }
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            self.check_value(&below, value.as_json())?;
        }
        Ok(())
    }
}

/// Tells whether `path` is `root` or lies below it.
fn read_roots(value: JsonValue<'_>) -> Option<Vec<Box<str>>> {
    if value.kind() != JsonKind::Array {
        return None;
    }
    let roots: Vec<Box<str>> = value.as_strings()?.iter().map(|root| root.trim_matches('/').into()).collect();
    let overlap = |one: &str, other: &str| is_within(one, other) || is_within(other, one);
    let is_disjoint =
        roots.iter().enumerate().all(|(index, root)| roots.iter().skip(index + 1).all(|other| !overlap(root, other)));
    (roots.len() <= MAX_ROOTS && is_disjoint).then_some(roots)
}

fn read_version(value: JsonValue<'_>) -> Option<u8> {
    match value.as_json() {
        "0" => Some(0),
        "1" => Some(1),
        _ => None,
    }
}
