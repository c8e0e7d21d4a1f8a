//! From errors of the database to failures, and from rows to values.

use sekisho_core::{Failure, FailureKind, UnixSeconds};

/// Is what a call ends with when it fails. A type of its own, so that `?` takes every kind of error on the way.
pub(crate) struct Broken(pub(crate) Failure);

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<sqlx::Error> for Broken {
    /// The text of the database may hold values of records, and that of a configuration the password, so only codes go
    /// along.
    fn from(error: sqlx::Error) -> Self {
        let failure = |kind| Failure::new(kind, "the database failed");
        Self(match error {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                failure(FailureKind::Unavailable).with_source(format!("database error {}", code.escape_debug()))
            }
            sqlx::Error::Io(error) => failure(FailureKind::Unavailable).with_source(error),
            sqlx::Error::PoolTimedOut => {
                failure(FailureKind::Unavailable).with_source("no connection was free in time")
            }
            sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) => failure(FailureKind::Misconfigured),
            sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_) => UNREADABLE,
            _ => failure(FailureKind::Unavailable),
        })
    }
}

#[cfg(feature = "issuer")]
impl From<sekisho_issuer::RecordError> for Broken {
    fn from(error: sekisho_issuer::RecordError) -> Self {
        Self(error.into())
    }
}

/// Says that a row holds what nobody here has written.
pub(crate) const UNREADABLE: Failure = Failure::new(FailureKind::Misconfigured, "a row of the database cannot be read");

/// Writes a time or a count. What does not fit is later than anything.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn seconds(instant: UnixSeconds) -> i64 {
    number(instant.as_secs())
}

/// Reads a time; the latest stands for "never".
#[cfg(any(feature = "issuer", feature = "session"))]
pub(crate) fn time(value: i64) -> Result<UnixSeconds, Broken> {
    match u64::try_from(value) {
        Ok(_) if value == i64::MAX => Ok(UnixSeconds::MAX),
        Ok(value) => Ok(UnixSeconds::new(value)),
        Err(_) => Err(UNREADABLE.into()),
    }
}

/// Reads a count; what does not fit is as many as there can be.
#[cfg(feature = "issuer")]
pub(crate) fn count(value: i64) -> Result<u32, Broken> {
    u64::try_from(value).map(|value| u32::try_from(value).unwrap_or(u32::MAX)).map_err(|_| UNREADABLE.into())
}

/// Stands for texts in a column that is searched: of one length whatever the texts, without the bytes that a database does
/// not take, and it shows nobody's name.
#[cfg(any(feature = "issuer", feature = "opaque"))]
pub(crate) fn key_of(texts: &[&str]) -> Vec<u8> {
    use aws_lc_rs::digest;

    let mut context = digest::Context::new(&digest::SHA256);
    for text in texts {
        // With their lengths, or two pairs could be one.
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    context.finish().as_ref().to_vec()
}

#[cfg(all(test, feature = "issuer"))]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_texts_differ() {
        assert_eq!(key_of(&["a", "b"]), key_of(&["a", "b"]));
        for other in [&["ab", ""][..], &["", "ab"], &["ab"], &["a"], &["b", "a"], &["a", "b", ""]] {
            assert_ne!(key_of(&["a", "b"]), key_of(other), "{other:?}");
        }
        assert_eq!(key_of(&[&"x".repeat(10_000)]).len(), 32);
    }

    #[test]
    fn never_stays_never_and_what_is_before_1970_is_no_time() {
        for instant in [0, 1, 1_764_072_000, u64::MAX] {
            let instant = UnixSeconds::new(instant);
            assert_eq!(time(seconds(instant)).ok(), Some(instant));
        }
        assert!(time(-1).is_err() && count(-1).is_err());
        assert_eq!(count(i64::MAX).ok(), Some(u32::MAX));
    }
}
