//! OPA's bundles: a `.tar.gz` of policies and data with a manifest, and a signature over every file.
//!
//! The format is that of [OPA's documentation](https://www.openpolicyagent.org/docs/management-bundles): `.manifest`
//! (`revision`, `roots`, `rego_version`), `data.json` and `*.rego` in folders, `.signatures.json` with one JWT whose `files`
//! name each file with its hash. `opa build --bundle --signing-key …` makes one. Cedar policies may lie in such an archive
//! as well: `opa sign` signs whatever files there are.
//!
//! ```
//! # #[cfg(feature = "aws-lc-rs")] {
//! use std::sync::Arc;
//! use sekisho_core::UnixSeconds;
//! use sekisho_jwt::jwks::{Backend, StaticKeys, VerifyingKey};
//! use sekisho_policy::bundle::{BundleError, BundleReader};
//!
//! # async fn load(pem: &[u8], archive: &[u8], now: UnixSeconds) -> Result<(), Box<dyn std::error::Error>> {
//! let key = VerifyingKey::from_pem(Backend::default(), pem)?;
//! let reader = BundleReader::signed(Backend::default(), Arc::new(StaticKeys::new([key]))).with_scope("read");
//! let files = reader.read(archive, now).await?;
//! println!("{} files of revision {:?}", files.len(), files.revision());
//! # Ok(()) }
//! # }
//! ```
//!
//! What is refused, before any policy is looked at: a bundle without signature unless that was asked for by
//! [`BundleReader::dangerous_unsigned`], a file that is not listed and a listed file that is not there, names that lead out of the
//! archive, links and other special entries, the same name twice, data outside of the manifest's `roots`, an archive that
//! unpacks to more than [`BundleLimits`] allow, delta bundles.
//!
//! # A bundle of before
//! A signature says who made a bundle, and not that it is the latest: OPA's format has no date in it. Whoever can answer in
//! the place of its source, or hold back what the source says, can bring an old bundle again that is signed well. What helps:
//! - [`LiveBuilder::with_newer_revisions`](crate::source::LiveBuilder::with_newer_revisions), which takes a set only if its
//!   revision is newer than the one in use, and what was remembered of before.
//! - `exp`, `nbf` and `iat` among the signed claims (`opa sign --claims-file`): where they are there, they must hold, with 60 s
//!   for clocks that differ. `exp` bounds for how long a bundle is taken, not for how long one that was taken stays in use.
//! - [`LiveBuilder::with_max_age`](crate::source::LiveBuilder::with_max_age) against a source that is kept silent.
//!
//! `ETag` is the word of whoever answers: it saves a download, and protects from nothing. `Last-Modified` is not looked at.

use std::fmt;
use std::sync::Arc;

use sekisho_core::{Refusal, UnixSeconds};
use sekisho_jwt::jwks::KeySource;
use sekisho_jwt::{Algorithm, Backend};

use crate::source::PolicyFiles;

mod archive;
mod hash;
mod manifest;
mod signature;
#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
pub(crate) mod tests;

use signature::{Signers, Trust};

/// Unpacks bundles, and lets none out that is not wholly signed.
#[derive(Clone)]
pub struct BundleReader {
    trust: Option<Trust>,
    limits: BundleLimits,
}

impl BundleReader {
    /// Takes bundles that are signed by one of these keys, with any algorithm that has a public key.
    ///
    /// The key is chosen by the `kid` of the signature, as the key source does: without one, keys without a `kid`, such as those
    /// from a PEM file, are tried. `backend` hashes the files.
    #[must_use]
    pub fn signed(backend: Backend, keys: Arc<dyn KeySource>) -> Self {
        Self { trust: Some(Trust::new(backend, keys)), limits: BundleLimits::default() }
    }

    /// Takes bundles as they are, and looks at no signature: whoever can write where they come from decides what is
    /// permitted.
    #[must_use]
    pub fn dangerous_unsigned() -> Self {
        Self { trust: None, limits: BundleLimits::default() }
    }

    /// Demands this `scope` in the signature, byte for byte. By default it must have none, or an empty one.
    #[must_use]
    pub fn with_scope(self, scope: &str) -> Self {
        self.trusting(|trust| trust.scope = scope.into())
    }

    /// Demands that the source's key with this id has signed, whether the signature names it or none; a signature that names another,
    /// as `kid` or by the older claim `keyid`, is refused. By default any key of the source may sign, and `keyid` is not looked
    /// at.
    #[must_use]
    pub fn with_key_id(self, key_id: &str) -> Self {
        self.trusting(|trust| trust.key_id = Some(key_id.into()))
    }

    /// Sets which algorithms may sign; shared secrets are left out whatever is named. Default: all with a public key.
    #[must_use]
    pub fn with_algorithms(self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.trusting(|trust| trust.signers = Signers::Public(algorithms.into_iter().collect()))
    }

    /// Takes signatures by a shared secret, with these algorithms, and no others. Everybody who can verify such a bundle can make one.
    #[must_use]
    pub fn with_shared_secret_algorithms(self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.trusting(|trust| trust.signers = Signers::SharedSecret(algorithms.into_iter().collect()))
    }

    /// Sets the bounds.
    #[must_use]
    pub const fn with_limits(mut self, limits: BundleLimits) -> Self {
        self.limits = limits;
        self
    }

    fn trusting(mut self, change: impl FnOnce(&mut Trust)) -> Self {
        if let Some(trust) = &mut self.trust {
            change(trust);
        }
        self
    }

    /// Returns the bounds.
    #[must_use]
    pub const fn limits(&self) -> BundleLimits {
        self.limits
    }

    /// Unpacks a bundle and checks all of it. The files come without `.signatures.json`.
    ///
    /// It unpacks and hashes where it is called: milliseconds for a bundle of the size that is allowed.
    ///
    /// # Errors
    /// Stops at the first failed step: the archive (its form, bounds, names), the signature, what it says of the files, the manifest,
    /// and the data against the manifest's roots. See [`BundleError`].
    pub async fn read(&self, archive: &[u8], now: UnixSeconds) -> Result<PolicyFiles, BundleError> {
        let mut unpacked = archive::unpack(archive, self.limits)?;
        let signatures = unpacked.remove(SIGNATURES);
        if let Some(trust) = &self.trust {
            let signatures = signatures.ok_or(BundleError::Unsigned)?;
            trust.check(&signatures, &unpacked, now).await?;
        }
        // INVARIANT: nothing but names and hashes is read of a file before this line.
        if unpacked.contains_key(PATCH) {
            return Err(BundleError::Delta);
        }
        let manifest = manifest::Manifest::of(&unpacked)?;
        manifest.check_data(&unpacked)?;
        let mut files = PolicyFiles::new();
        for (name, content) in unpacked {
            files = files.with_file(&name, content).map_err(|_| BundleError::Name)?;
        }
        if let Some(revision) = manifest.revision {
            files = files.with_revision(revision);
        }
        Ok(files.with_manifest(manifest.roots, manifest.rego_version, self.trust.is_some()))
    }
}

impl fmt::Debug for BundleReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust, limits } = self;
        f.debug_struct("BundleReader").field("trust", trust).field("limits", limits).finish()
    }
}

/// Bounds what a bundle may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "settings, named one by one")]
pub struct BundleLimits {
    /// Bytes of the archive as it comes. Default 8 MiB.
    pub max_packed_bytes: usize,
    /// Bytes that it unpacks to, the archive's own headers included. Default 32 MiB.
    pub max_unpacked_bytes: usize,
    /// Entries, folders included. Default 1,000.
    pub max_entries: usize,
}

impl Default for BundleLimits {
    fn default() -> Self {
        Self { max_packed_bytes: 8 << 20, max_unpacked_bytes: 32 << 20, max_entries: 1000 }
    }
}

/// Says why a bundle is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It is longer, or unpacks to more, than allowed, or a `data.json` or `.manifest` of it is longer than 16 MiB.
    #[error("the bundle is larger than allowed")]
    TooLarge,
    /// It has more entries than allowed.
    #[error("the bundle has more entries than allowed")]
    TooManyEntries,
    /// It is no gzip stream, or what it unpacks to is no tar archive, or something follows.
    #[error("the bundle is no tar archive in a gzip stream")]
    Archive,
    /// A name is no relative path that leads down.
    #[error("the bundle has an entry with a name that is no plain relative path")]
    Name,
    /// An entry is neither a file nor a folder: a link, a device, a sparse file.
    #[error("the bundle has an entry that is neither file nor folder")]
    EntryKind,
    /// The same name twice.
    #[error("the bundle has the same name twice")]
    Duplicate,
    /// There is no signature, but there must be one.
    #[error("the bundle is not signed")]
    Unsigned,
    /// `.signatures.json` has not exactly one signature, or is for a plug-in.
    #[error(".signatures.json does not hold one signature")]
    SignatureForm,
    /// The signature does not hold, or no key to check it is at hand.
    #[error("the signature of the bundle is refused")]
    Signature(#[source] Refusal),
    /// What is signed has not the form of a list of files with their hashes.
    #[error("the signature of the bundle has no list of files")]
    SignedList,
    /// The signature is for another scope.
    #[error("the signature of the bundle is for another scope")]
    Scope,
    /// The claim `keyid` names another key than the one that was demanded.
    #[error("the signature of the bundle names another key")]
    KeyId,
    /// The signature has expired, or is of the future, by its `exp`, `nbf` or `iat`, or one of these is no date.
    #[error("the signature of the bundle is not in force")]
    NotInForce,
    /// A file is hashed by an algorithm other than SHA-256, SHA-384 and SHA-512.
    #[error("the signature of the bundle uses a hash that is not taken")]
    HashAlgorithm,
    /// A file is not covered by the signature.
    #[error("a file of the bundle is not covered by the signature")]
    NotListed,
    /// The signature covers a file that is not there.
    #[error("a file that the signature covers is missing in the bundle")]
    Missing,
    /// A file is another than the one that was signed.
    #[error("a file of the bundle is not the one that was signed")]
    Digest,
    /// A `data.json` or `.manifest` is not strict JSON, or nested too deep.
    #[error("a data.json or .manifest of the bundle is not strict JSON")]
    Json,
    /// The manifest has members of the wrong type, more than 100 roots, roots that overlap or are no plain relative paths (of 512
    /// bytes and 32 parts at the most), or a version of Rego that nobody knows.
    #[error("the manifest of the bundle cannot be used")]
    Manifest,
    /// There is data outside of the manifest's roots.
    #[error("the bundle has data outside of its roots")]
    Roots,
    /// It is a delta bundle, which only changes what is there.
    #[error("the bundle is a delta")]
    Delta,
}

const SIGNATURES: &str = ".signatures.json";
const MANIFEST: &str = ".manifest";
const PATCH: &str = "patch.json";
const DATA: &str = "data.json";

/// Tells whether a file has the name, in whatever folder.
fn is_named(path: &str, name: &str) -> bool {
    path.rsplit('/').next() == Some(name)
}
