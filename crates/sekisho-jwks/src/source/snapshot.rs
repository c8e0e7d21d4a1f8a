//! The keys as they were after one load, and which of them fit a token.

use std::sync::Arc;
use std::time::Instant;

use sekisho_core::UnixSeconds;

use super::cache::SET_BACK;

use crate::key_set::candidates;
use crate::{Candidates, KeyLife, KeyLookup, KeyQuery, TrustedKey, VerifyingKey};

/// Is never changed, only replaced as a whole; what changes in it are the lives of its keys.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) keys: Vec<TrustedKey>,
    /// `None` until the first load.
    pub(super) times: Option<Times>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) loaded_at: UnixSeconds,
    /// The same by the clock that nobody sets.
    pub(super) loaded: Instant,
    /// From here on the background refreshes.
    pub(super) refresh_at: UnixSeconds,
    /// From here on the keys are stale, but trusted.
    pub(super) fresh_until: UnixSeconds,
    /// From here on they are not trusted.
    pub(super) stale_until: UnixSeconds,
}

impl Times {
    fn are_trusted(&self, now: UnixSeconds) -> bool {
        // A clock that ran ahead when they were loaded would trust them until it gets there again. Refusing them at once would be an
        // outage for a clock that was set right; so what really passed is counted.
        let is_within = !self.is_set_back(now) || self.loaded.elapsed() < self.stale_until.since(self.loaded_at);
        now < self.stale_until && is_within
    }

    /// Tells whether the clock was set back since the load.
    pub(super) fn is_set_back(&self, now: UnixSeconds) -> bool {
        now.saturating_add(SET_BACK) < self.loaded_at
    }
}

/// Is what the keys at hand say about a token.
#[derive(Debug)]
pub(super) enum Match {
    Found(Candidates),
    Ambiguous,
    /// There is a key of that `kid`, but not for that algorithm: another load will not change that.
    Unfit,
    Missing,
}

/// Tells what a key without a `kid` is good for when the token has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nameless {
    /// Keys of a published set: a token with a `kid` means the key of that `kid` alone.
    Skip,
    /// Keys that the owner named by hand, such as a PEM file: they have no `kid`, the tokens have.
    Use,
}

impl Snapshot {
    /// Tells whether keys were loaded and are not too old.
    pub(super) fn is_trusted(&self, now: UnixSeconds) -> bool {
        self.times.is_some_and(|times| times.are_trusted(now))
    }

    pub(super) fn look_up(&self, query: KeyQuery<'_>, nameless: Nameless, now: UnixSeconds) -> Match {
        if self.is_trusted(now) { look_up(&self.keys, query, nameless, now) } else { Match::Missing }
    }

    /// Makes the next set, keeping the life of each key that stays, so that caches of verified tokens stay valid.
    pub(super) fn with_keys(&self, new: Vec<VerifyingKey>, times: Times) -> Self {
        let mut keys: Vec<TrustedKey> = Vec::with_capacity(new.len());
        for key in new {
            if keys.iter().any(|known| known.key().is_same(&key)) {
                continue;
            }
            let known = self.keys.iter().find(|known| known.key().is_same(&key)).cloned();
            keys.push(known.unwrap_or_else(|| TrustedKey::new(key, Arc::new(KeyLife::until(times.stale_until)))));
        }
        Self { keys, times: Some(times) }
    }

    /// Makes the same set with later times.
    pub(super) fn with_times(&self, times: Times) -> Self {
        Self { keys: self.keys.clone(), times: Some(times) }
    }

    /// Makes the same set without some keys.
    pub(super) fn without(&self, is_one: impl Fn(&VerifyingKey) -> bool) -> Self {
        let keys = self.keys.iter().filter(|known| !is_one(known.key())).cloned().collect();
        Self { keys, times: self.times }
    }

    /// Ends the lives of the keys that `next` does not have any more, and prolongs the others.
    pub(super) fn hand_over(&self, next: &Self) {
        for old in &self.keys {
            if !next.keys.iter().any(|new| Arc::ptr_eq(old.life(), new.life())) {
                old.life().end();
            }
        }
        if let Some(times) = next.times {
            next.keys.iter().for_each(|key| key.life().prolong(times.stale_until));
        }
    }
}

pub(super) fn look_up(keys: &[TrustedKey], query: KeyQuery<'_>, nameless: Nameless, now: UnixSeconds) -> Match {
    match candidates(keys, query) {
        // A dead key means that the set is being replaced this moment; the lock shows the next one.
        KeyLookup::Found(found) if is_live(&found, now) => Match::Found(found),
        KeyLookup::Found(_) => Match::Missing,
        KeyLookup::Ambiguous => Match::Ambiguous,
        _ => match query.kid {
            Some(kid) if keys.iter().any(|key| key.key().kid() == Some(kid)) => Match::Unfit,
            Some(_) if nameless == Nameless::Use => look_up_nameless(keys, query, now),
            _ => Match::Missing,
        },
    }
}

fn look_up_nameless(keys: &[TrustedKey], query: KeyQuery<'_>, now: UnixSeconds) -> Match {
    let nameless: Vec<TrustedKey> = keys.iter().filter(|key| key.key().kid().is_none()).cloned().collect();
    match candidates(&nameless, KeyQuery { kid: None, ..query }) {
        KeyLookup::Found(found) if is_live(&found, now) => Match::Found(found),
        KeyLookup::Ambiguous => Match::Ambiguous,
        _ => Match::Missing,
    }
}

fn is_live(found: &Candidates, now: UnixSeconds) -> bool {
    found.as_slice().iter().all(|key| key.life().is_live(now))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{Algorithm, Backend};

    #[test]
    fn a_dead_key_is_no_answer_whether_it_has_a_name_or_not() {
        #[cfg(feature = "aws-lc-rs")]
        let backend = Backend::aws_lc();
        #[cfg(not(feature = "aws-lc-rs"))]
        let backend = Backend::ring();
        let key = VerifyingKey::hmac(backend, Algorithm::Hs256, &[7; 32]).unwrap();
        let (query, until) = (KeyQuery { kid: Some("a"), algorithm: Algorithm::Hs256 }, UnixSeconds::new(10));
        for key in [key.clone(), key.with_kid("a")] {
            let keys = [TrustedKey::new(key, Arc::new(KeyLife::until(until)))];
            assert!(matches!(look_up(&keys, query, Nameless::Use, UnixSeconds::new(9)), Match::Found(_)));
            assert!(matches!(look_up(&keys, query, Nameless::Use, until), Match::Missing));
        }
    }
}
