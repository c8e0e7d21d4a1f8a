//! Records as bytes, for stores that keep bytes.

use sekisho_core::json::{JsonObject, JsonValue};
use sekisho_core::{Failure, FailureKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CodeRecord, DeviceRequest, Grant, ReferenceRecord, RefreshFamily, SsoSession};
use crate::ScopeSet;

/// Writes a record for a store that keeps bytes, and reads it again.
///
/// The bytes are one JSON object, `{"v":1,"kind":"grant","record":{…}}`, at most [`MAX_RECORD_BYTES`] long. Hashes stand in
/// it for everything that is handed out, but names and claims of users are readable: keep it as what it is, personal data.
///
/// What can change under a record that is kept ([`RefreshFamily::current`], [`RefreshFamily::idle_until`],
/// [`SsoSession::idle_until`]) a store may keep beside the bytes and put in after reading. A record says itself what it
/// was kept under; a store that finds another one there holds what nobody put there.
///
/// # Examples
/// ```
/// use sekisho_issuer::{RecordError, ScopeSet, StoredRecord};
/// let allowed = ScopeSet::parse("openid orders:read").ok_or("scopes")?;
/// let bytes = allowed.to_bytes()?;
/// assert_eq!(bytes, br#"{"v":1,"kind":"consent","record":"openid orders:read"}"#);
/// assert_eq!(ScopeSet::from_bytes(&bytes)?, allowed);
/// assert_eq!(ScopeSet::from_bytes(b"{\"v\":2}"), Err(RecordError::Version));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait StoredRecord: private::Form {
    /// Writes the record.
    ///
    /// # Errors
    /// - [`RecordError::TooLarge`]: longer than [`MAX_RECORD_BYTES`].
    /// - [`RecordError::Malformed`]: claims that could not be read again, such as objects nested deeper than 30.
    fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        let envelope = Envelope { v: VERSION, kind: Self::KIND, record: self };
        let bytes = serde_json::to_vec(&envelope).map_err(|_| RecordError::Malformed)?;
        checked(&bytes)?;
        Ok(bytes)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// Strict: no member twice, at any depth, none missing, none that is not known, nothing after the object.
    ///
    /// # Errors
    /// - [`RecordError::TooLarge`]: longer than [`MAX_RECORD_BYTES`].
    /// - [`RecordError::Version`]: a record of another version of this crate.
    /// - [`RecordError::Malformed`]: anything else, a record of another kind among it.
    fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let envelope = checked(bytes)?;
        let member = |name: &str| envelope.get(name).ok_or(RecordError::Malformed);
        // Of another version nothing else is known.
        let version = member("v")?.as_json().parse::<u32>().map_err(|_| RecordError::Malformed)?;
        if version != VERSION {
            return Err(RecordError::Version);
        }
        let is_kind = member("kind")?.as_str().is_some_and(|kind| kind == Self::KIND);
        if !is_kind || envelope.len() != 3 {
            return Err(RecordError::Malformed);
        }
        member("record").map(JsonValue::as_json).and_then(|record| {
            // The text of serde's error would quote the record.
            serde_json::from_str(record).map_err(|_| RecordError::Malformed)
        })
    }
}

/// Bounds a record that is kept, in bytes: 64 KiB.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// Says why bytes are no record. Nothing of them is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Longer than [`MAX_RECORD_BYTES`].
    #[error("a record of the issuer is longer than allowed")]
    TooLarge,
    /// Of another version of this crate.
    #[error("a record of the issuer is of another version")]
    Version,
    /// Cut off, changed, or of another kind.
    #[error("not a record of the issuer")]
    Malformed,
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        Self::new(FailureKind::Misconfigured, "a record of the issuer cannot be written or read").with_source(error)
    }
}

/// Counts the forms that records have had.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a, R: ?Sized> {
    v: u32,
    kind: &'static str,
    record: &'a R,
}

fn checked(bytes: &[u8]) -> Result<JsonObject, RecordError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(RecordError::TooLarge);
    }
    JsonObject::parse(bytes.to_vec()).map_err(|_| RecordError::Malformed)
}

mod private {
    use super::{DeserializeOwned, Serialize};

    #[expect(unnameable_types, reason = "the kinds of records are those of this crate")]
    pub trait Form: Serialize + DeserializeOwned {
        /// Keeps records of one kind from being read as another.
        const KIND: &'static str;
    }
}

macro_rules! records {
    ($($record:ident: $kind:literal),*) => {$(
        impl private::Form for $record {
            const KIND: &'static str = $kind;
        }
        impl StoredRecord for $record {}
    )*};
}

records!(
    Grant: "grant",
    CodeRecord: "code",
    RefreshFamily: "refresh",
    ReferenceRecord: "reference",
    SsoSession: "session",
    DeviceRequest: "device",
    ScopeSet: "consent"
);

#[cfg(test)]
mod tests;
