use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};

use crate::sync::{AtomicU64, Ordering};
use crate::{Algorithm, VerifyingKey};

mod cache;
mod context;
mod discovery;
mod discovery_load;
mod file;
mod flight;
mod http_load;
mod load;
mod managed;
mod options;
mod policy;
mod published;
mod remote;
mod snapshot;
mod static_keys;
mod told;
mod unknown;

pub use context::{IntoKeySource, SourceContext};
pub use discovery::Discovery;
pub use file::FileKeys;
pub use remote::RemoteKeys;
pub use static_keys::StaticKeys;

/// Asks a [`KeySource`] for the key of one token.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery<'a> {
    /// `kid` of the header, at most 256 bytes; `None` if there was none.
    pub kid: Option<&'a str>,
    /// `alg` of the header, known and allowed.
    pub algorithm: Algorithm,
}

/// Is what a [`KeySource`] knows.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a new outcome must break every verifier's match")]
pub enum KeyLookup {
    /// Trusted keys that fit `kid` and algorithm: one, or a few that share a `kid` or when there is none.
    Found(Candidates),
    /// Nothing fits, and asking the provider now is not due or has been done.
    Unknown,
    /// No `kid`, and more keys fit than may be tried.
    Ambiguous,
    /// Only from [`KeySource::find`]: nothing fits, but [`KeySource::fetch`] may bring it.
    FetchNeeded,
    /// No trustworthy keys are at hand.
    Failed(Failure),
}

/// Holds the keys to try, at least one and at most [`Candidates::MAX`].
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "read on the hot path")]
pub enum Candidates {
    /// The usual case.
    One(TrustedKey),
    /// Several keys share the `kid`, or there was no `kid`.
    Few(Vec<TrustedKey>),
}

impl Candidates {
    /// How many keys may be tried for one token.
    pub const MAX: usize = 4;

    /// Lists them.
    #[must_use]
    pub fn as_slice(&self) -> &[TrustedKey] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Few(keys) => keys,
        }
    }
}

/// Is a key together with how long it may be trusted. A clone costs two counters.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    key: VerifyingKey,
    life: Arc<KeyLife>,
}

impl TrustedKey {
    /// Puts a key under a life.
    #[must_use]
    pub const fn new(key: VerifyingKey, life: Arc<KeyLife>) -> Self {
        Self { key, life }
    }

    /// Trusts a key for ever.
    #[must_use]
    pub fn forever(key: VerifyingKey) -> Self {
        Self::new(key, Arc::new(KeyLife::forever()))
    }

    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Returns the life; whoever remembers an answer of this key keeps it and asks it again.
    #[must_use]
    pub const fn life(&self) -> &Arc<KeyLife> {
        &self.life
    }
}

/// Tells until when a key may be trusted.
///
/// The source prolongs it with each refresh that still holds the key, and ends it when the provider has removed
/// the key. Caches of verified tokens ask it at each hit, so a removed key's tokens die at once.
pub struct KeyLife {
    until: AtomicU64,
}

/// The time of a life that nothing prolongs any more.
const ENDED: u64 = 0;

impl KeyLife {
    /// Trusted until `until`, exclusive.
    #[must_use]
    pub fn until(until: UnixSeconds) -> Self {
        Self { until: AtomicU64::new(until.as_secs()) }
    }

    /// Trusted for ever.
    #[must_use]
    pub fn forever() -> Self {
        Self::until(UnixSeconds::MAX)
    }

    /// Tells whether the key may be trusted at `now`.
    #[must_use]
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        now.as_secs() < self.until.load(Ordering::Acquire)
    }

    /// Sets the end anew, unless the life [was ended](Self::end).
    pub fn prolong(&self, until: UnixSeconds) {
        let unless_ended = |ends: u64| (ends != ENDED).then_some(until.as_secs());
        // The error says that it was ended.
        let _ = self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_ended);
    }

    /// Ends it now and for ever.
    pub fn end(&self) {
        self.until.store(ENDED, Ordering::Release);
    }
}

impl fmt::Debug for KeyLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyLife(until {})", self.until.load(Ordering::Relaxed))
    }
}

/// Knows the keys of one issuer.
///
/// Contract: [`find`](Self::find) answers from memory, at once, whatever a fetch is doing. [`fetch`](Self::fetch) may wait;
/// any number of callers waiting for the same fetch cause one request. Dropping its future is safe.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// Looks a key up in memory.
    fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup;

    /// Looks a key up after a fetch, if one is due; never answers [`KeyLookup::FetchNeeded`].
    async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup;

    /// Looks a key up after a signature by the one at hand did not hold, in a document that comes from the provider itself: it may have
    /// given this `kid` to another key. A source that fetches does so at most as often as for unknown `kid`s, and answers with what is
    /// at hand in between; never [`KeyLookup::FetchNeeded`]. For keys that nothing fetches it is [`fetch`](Self::fetch).
    ///
    /// Not for what callers bring: with every forged token they could have keys fetched.
    async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup;

    /// Tells how fresh the keys are, for a readiness probe.
    fn health(&self, now: UnixSeconds) -> KeyHealth;
}

/// Tells how fresh a source's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyHealth {
    /// Loaded, and not yet due for a refresh.
    Fresh {
        /// How many keys can be used.
        keys: usize,
    },
    /// The refresh is late or failing; the keys are still used, within the bound.
    Stale {
        /// How many keys can be used.
        keys: usize,
        /// Until when they are used if no refresh succeeds.
        until: UnixSeconds,
    },
    /// Nothing was ever loaded, or what was loaded is too old to be trusted. Requests get 503.
    Unavailable,
}

impl KeyHealth {
    /// Tells whether tokens can be verified.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        !matches!(self, Self::Unavailable)
    }
}

#[cfg(all(test, not(sekisho_shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_life_that_was_ended_is_not_prolonged() {
        let life = KeyLife::until(UnixSeconds::new(10));
        life.prolong(UnixSeconds::new(20));
        assert!(life.is_live(UnixSeconds::new(19)));
        life.end();
        life.prolong(UnixSeconds::new(30));
        assert!(!life.is_live(UnixSeconds::new(0)));
    }
}

#[cfg(all(test, sekisho_shuttle))]
mod interleavings {
    use super::*;

    #[test]
    fn shuttle_a_life_is_ended_for_ever_whoever_prolongs_it_meanwhile() {
        shuttle::check_random(
            || {
                let life = Arc::new(KeyLife::until(UnixSeconds::new(10)));
                let prolonging = Arc::clone(&life);
                let other = shuttle::thread::spawn(move || prolonging.prolong(UnixSeconds::new(20)));
                life.end();
                assert!(!life.is_live(UnixSeconds::new(1)));
                other.join().expect("no panic");
                assert!(!life.is_live(UnixSeconds::new(1)));
            },
            1_000,
        );
    }
}
