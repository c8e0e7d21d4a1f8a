//! The manifest, and what it allows.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};

use super::hash::{MAX_STRUCTURED, StrictJson};
use super::{BundleError, DATA, MANIFEST, is_named};
use crate::source::{is_name, is_within};

pub(super) struct Manifest {
    pub(super) revision: Option<Box<str>>,
    /// Without slashes at the ends, none a part of another; one that is empty stands for all.
    pub(super) roots: Vec<Box<str>>,
    pub(super) rego_version: Option<u8>,
}

const MAX_ROOTS: usize = 100;
/// Bounds how the list of roots is written, in bytes.
const MAX_ROOTS_TEXT: usize = 64 << 10;
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

    /// Goes through a checked value once, as far down as no root is reached: whatever lies in one is passed over.
    fn check_value(&self, path: &str, text: &str) -> Result<(), BundleError> {
        let roots = &self.roots;
        if roots.iter().any(|root| is_within(path, root)) {
            return Ok(());
        }
        let way = WayToRoots { roots, path: &mut path.to_owned() };
        way.deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(|_| BundleError::Roots)
    }
}

/// Is the place of a value outside of every root, where there may be nothing but the way to one.
struct WayToRoots<'a> {
    roots: &'a [Box<str>],
    path: &'a mut String,
}

impl<'de> DeserializeSeed<'de> for WayToRoots<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WayToRoots<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("members on the way to a root")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { roots, path } = self;
        let outside = || A::Error::custom("outside of the roots");
        if !roots.iter().any(|root| is_within(root, path)) {
            return Err(outside());
        }
        while let Some(name) = map.next_key::<String>()? {
            // A name with a slash in it would look like two steps, an empty one like none.
            if name.is_empty() || name.contains('/') {
                return Err(outside());
            }
            let length = path.len();
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&name);
            if roots.iter().any(|root| is_within(path, root)) {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(WayToRoots { roots, path })?;
            }
            path.truncate(length);
        }
        Ok(())
    }
}

/// Reads the roots. Their number is looked at before they are compared with each other.
fn read_roots(value: JsonValue<'_>) -> Option<Vec<Box<str>>> {
    if value.kind() != JsonKind::Array || value.as_json().len() > MAX_ROOTS_TEXT {
        return None;
    }
    let roots: Vec<Box<str>> = value.as_strings()?.iter().map(|root| root.trim_matches('/').into()).collect();
    if roots.len() > MAX_ROOTS || !roots.iter().all(|root| root.is_empty() || is_name(root)) {
        return None;
    }
    let overlap = |one: &str, other: &str| is_within(one, other) || is_within(other, one);
    let is_disjoint =
        roots.iter().enumerate().all(|(index, root)| roots.iter().skip(index + 1).all(|other| !overlap(root, other)));
    is_disjoint.then_some(roots)
}

fn read_version(value: JsonValue<'_>) -> Option<u8> {
    match value.as_json() {
        "0" => Some(0),
        "1" => Some(1),
        _ => None,
    }
}
