use async_trait::async_trait;
use sekisho_core::UnixSeconds;

use super::snapshot::{Match, Nameless, look_up};
use crate::{KeyHealth, KeyLookup, KeyQuery, KeySet, KeySource, TrustedKey, VerifyingKey};

/// Holds keys that never change: from the configuration, for tests, or a secret shared with oneself.
///
/// A token's `kid` means the key of that `kid`; if there is none, the keys that have no `kid` at all, such as PEM files, are tried.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use sekisho_jwks::{Algorithm, Backend, StaticKeys, VerifyingKey};
///
/// let secret = [7; 32]; // from a secret store, of course
/// let keys = StaticKeys::new([VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &secret)?]);
/// # }
/// # Ok::<(), sekisho_jwks::KeyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StaticKeys {
    keys: Vec<TrustedKey>,
}

impl StaticKeys {
    /// Trusts these keys for ever.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        Self { keys: keys.into_iter().map(TrustedKey::forever).collect() }
    }

    /// Trusts the usable keys of a set for ever.
    #[must_use]
    pub fn from_set(set: &KeySet) -> Self {
        Self::new(set.keys().iter().cloned())
    }
}

#[async_trait]
impl KeySource for StaticKeys {
    fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        match look_up(&self.keys, query, Nameless::Use, now) {
            Match::Found(candidates) => KeyLookup::Found(candidates),
            Match::Ambiguous => KeyLookup::Ambiguous,
            Match::Unfit | Match::Missing => KeyLookup::Unknown,
        }
    }

    async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.find(query, now)
    }

    async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.fetch(query, now).await
    }

    fn health(&self, _now: UnixSeconds) -> KeyHealth {
        match self.keys.len() {
            0 => KeyHealth::Unavailable,
            keys => KeyHealth::Fresh { keys },
        }
    }
}
