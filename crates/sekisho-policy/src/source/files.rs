use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sekisho_core::ConfigError;

/// Is what a source brings: policies, schemas and data as named files, and their revision.
///
/// A name is a path relative to the root, such as `shop/policy.rego`: no leading slash, no empty part, no `.` or `..`, no
/// backslash, no control character, at most 512 bytes and 32 parts. The order is that of the names. `Debug` shows names, not
/// contents.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    files: BTreeMap<Box<str>, Bytes>,
    revision: Option<Arc<str>>,
    roots: Option<Vec<Box<str>>>,
    rego_version: Option<u8>,
    is_signed: bool,
}

impl PolicyFiles {
    /// Starts without any file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    ///
    /// # Errors
    /// [`ConfigError`] when the name is not as described above, or was added before.
    pub fn with_file(mut self, name: &str, content: impl Into<Bytes>) -> Result<Self, ConfigError> {
        if !is_name(name) {
            return Err(ConfigError::new(format!("{name:?} is no relative path of a policy file")));
        }
        if self.files.contains_key(name) {
            return Err(ConfigError::new(format!("the policy file {name:?} stands there twice")));
        }
        self.files.insert(name.into(), content.into());
        Ok(self)
    }

    /// Sets the revision.
    #[must_use]
    pub fn with_revision(mut self, revision: impl Into<Arc<str>>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    #[cfg(feature = "bundle")]
    pub(crate) fn with_manifest(mut self, roots: Vec<Box<str>>, rego_version: Option<u8>, is_signed: bool) -> Self {
        (self.roots, self.rego_version, self.is_signed) = (Some(roots), rego_version, is_signed);
        self
    }

    /// Returns the content of a file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(AsRef::as_ref)
    }

    /// Lists names and contents, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, content)| (&**name, content.as_ref()))
    }

    /// Lists the files whose names end with `suffix`, such as `.rego` or `.cedar`.
    pub fn with_suffix(&self, suffix: &str) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter().filter(move |(name, _)| name.ends_with(suffix))
    }

    /// Returns the number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Tells whether there is no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the revision.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Lists the parts of the data document that a bundle's manifest claims for it, as paths such as `shop/orders`; a bundle
    /// that claims all of it has one that is empty. `None` for what is no bundle.
    #[must_use]
    pub fn roots(&self) -> Option<&[Box<str>]> {
        self.roots.as_deref()
    }

    /// Returns the version of Rego that a bundle's manifest names, 0 or 1.
    #[must_use]
    pub const fn rego_version(&self) -> Option<u8> {
        self.rego_version
    }

    /// Tells whether every file was covered by a signature that held.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// Returns the revision, or one that is made of names and contents. It tells versions apart for people; it proves nothing.
    #[must_use]
    pub fn revision_or_digest(&self) -> Arc<str> {
        if let Some(revision) = &self.revision {
            return Arc::clone(revision);
        }
        digest(self.iter().flat_map(|(name, content)| [name.as_bytes(), content]))
    }
}

/// Names texts by what stands in them: FNV-1a, so that the same ones have the same name in every process.
pub(crate) fn digest<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Arc<str> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        for byte in (text.len() as u64).to_be_bytes().iter().chain(text) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}").into()
}

/// Tells whether a path is a root of policies and data, or lies below it. All lie below the empty one.
#[cfg(any(feature = "bundle", feature = "rego"))]
pub(crate) fn is_within(path: &str, root: &str) -> bool {
    root.is_empty() || path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Debug for PolicyFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, revision, roots, rego_version, is_signed } = self;
        f.debug_struct("PolicyFiles")
            .field("names", &files.keys())
            .field("revision", revision)
            .field("roots", roots)
            .field("rego_version", rego_version)
            .field("is_signed", is_signed)
            .finish()
    }
}

const MAX_NAME: usize = 512;
const MAX_PARTS: usize = 32;

/// Tells whether a text is a relative path that leads nowhere but down.
pub(crate) fn is_name(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.contains(['\\', '\u{feff}'])
        && !name.contains(char::is_control)
        && name.split('/').all(is_part)
        && name.split('/').count() <= MAX_PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_lead_elsewhere() {
        let long = "a".repeat(513);
        let deep = "a/".repeat(32) + "a";
        for name in [
            "", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/..", ".", "./a", "a/./b", "a\\b", "a\nb", "a\0",
            "a\u{85}b", &long, &deep,
        ] {
            assert!(PolicyFiles::new().with_file(name, "x").is_err(), "{name:?}");
        }
        for name in ["a", ".manifest", "a/b.rego", "..a/b..", "a b/ü.cedar"] {
            assert!(PolicyFiles::new().with_file(name, "x").is_ok(), "{name:?}");
        }
    }

    #[test]
    fn refuses_a_name_twice() {
        let files = PolicyFiles::new().with_file("a", "1").unwrap();
        assert!(files.with_file("a", "1").is_err());
    }

    #[test]
    fn a_digest_tells_names_and_contents_apart() {
        let of = |files: &[(&str, &'static str)]| {
            let files = files.iter().try_fold(PolicyFiles::new(), |all, (name, text)| all.with_file(name, *text));
            files.unwrap().revision_or_digest()
        };
        let all = [of(&[]), of(&[("a", "b")]), of(&[("a", "c")]), of(&[("ab", "")]), of(&[("a", ""), ("b", "")])];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(of(&[("a", "b")]), of(&[("a", "b")]));
        assert_eq!(&*PolicyFiles::new().with_revision("7").revision_or_digest(), "7");
    }

    #[test]
    fn debug_shows_no_content() {
        let files = PolicyFiles::new().with_file("a.rego", "secret-content").unwrap();
        let text = format!("{files:?}");
        assert!(text.contains("a.rego") && !text.contains("secret-content"), "{text}");
    }
}
