//! What was answered before, by a keyed hash of the token.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, UnitWeighter, Weighter};
use sekisho_core::{ConfigError, Reject, UnixSeconds};
use sekisho_jwt::jwks::SigningKey;
use sekisho_jwt::{Algorithm, Backend, CacheLimits};

use crate::answer::Active;
use crate::freshness::Freshness;

/// Stands for a token: HMAC-SHA-256 under a random key of this cache. The token itself is not kept, so the hash alone says
/// that two are the same; and who reads the memory of the process learns no token from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenKey([u8; 32]);

#[cfg(test)]
impl TokenKey {
    /// Stands for no token.
    pub(crate) const fn for_tests(number: u8) -> Self {
        Self([number; 32])
    }
}

impl Hash for TokenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// Makes the keys of one cache.
pub(crate) struct TokenHasher {
    key: SigningKey,
    /// The issuer with its length before it.
    issuer: Box<[u8]>,
}

impl TokenHasher {
    pub(crate) fn new(backend: Backend, issuer: &str) -> Result<Self, ConfigError> {
        let failed = |e| ConfigError::new("the cache's key cannot be made").with_source(e);
        let mut secret = [0; 32];
        backend.fill_random(&mut secret).map_err(failed)?;
        let key = SigningKey::hmac(backend, Algorithm::Hs256, &secret).map_err(failed)?;
        let mut prefix = (issuer.len() as u64).to_le_bytes().to_vec();
        prefix.extend_from_slice(issuer.as_bytes());
        Ok(Self { key, issuer: prefix.into() })
    }

    /// Hashes a token; `None` when the backend cannot, which HMAC never is known to do.
    pub(crate) fn hash(&self, token: &str) -> Option<TokenKey> {
        let mut message = Vec::with_capacity(self.issuer.len() + token.len());
        message.extend_from_slice(&self.issuer);
        message.extend_from_slice(token.as_bytes());
        let tag = self.key.sign(&message).ok()?;
        tag.try_into().ok().map(TokenKey)
    }
}

impl fmt::Debug for TokenHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHasher(..)")
    }
}

/// For how long what is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    /// Longest for a good answer; `None` keeps none.
    pub(crate) positive: Option<Duration>,
    /// Longest for a refusal; zero keeps none.
    pub(crate) negative: Duration,
    /// Beyond its life, while the provider cannot be reached; zero for not at all.
    pub(crate) stale: Duration,
    /// Whatever the answer's headers say.
    pub(crate) despite_headers: bool,
}

/// Keeps good answers and refusals apart, so that no number of random tokens can push a good one out.
pub(crate) struct AnswerCache {
    good: Option<Cache<TokenKey, Good, Weight, Identity>>,
    bad: Option<Cache<TokenKey, Bad, UnitWeighter, Identity>>,
    lifetimes: Lifetimes,
}

#[derive(Clone)]
struct Good {
    active: Active,
    asked_at: UnixSeconds,
    fresh_until: UnixSeconds,
    stale_until: UnixSeconds,
}

#[derive(Clone, Copy)]
struct Bad {
    reject: Reject,
    asked_at: UnixSeconds,
    until: UnixSeconds,
}

impl AnswerCache {
    pub(crate) fn new(lifetimes: Lifetimes, limits: CacheLimits) -> Result<Self, ConfigError> {
        let (entries, bytes) = (limits.entries(), limits.bytes());
        if entries == 0 || bytes < 1024 {
            return Err(ConfigError::new("a cache of answers needs room for one token and 1,024 bytes"));
        }
        let no_room = |e| ConfigError::new("the bounds of the cache cannot be met").with_source(e);
        let good = lifetimes.positive.map(|_| {
            let weight = Weight { at_least: (bytes / entries as u64).max(1) };
            let options = OptionsBuilder::new().estimated_items_capacity(entries).weight_capacity(bytes).build();
            options.map(|options| Cache::with_options(options, weight, Identity, DefaultLifecycle::default()))
        });
        let bad = (!lifetimes.negative.is_zero()).then(|| {
            let options =
                OptionsBuilder::new().estimated_items_capacity(REFUSALS).weight_capacity(REFUSALS as u64).build();
            options.map(|options| Cache::with_options(options, UnitWeighter, Identity, DefaultLifecycle::default()))
        });
        Ok(Self { good: good.transpose().map_err(no_room)?, bad: bad.transpose().map_err(no_room)?, lifetimes })
    }

    /// Returns what is known of a token within its time.
    pub(crate) fn get(&self, key: &TokenKey, now: UnixSeconds) -> Option<Result<Active, Reject>> {
        if let Some(entry) = self.good.as_ref().and_then(|good| good.get(key)) {
            if is_after(now, entry.asked_at) && now < entry.fresh_until && entry.active.check_time(now).is_ok() {
                return Some(Ok(entry.active));
            }
            if now >= entry.stale_until {
                self.forget(key);
            }
        }
        let entry = self.bad.as_ref()?.get(key)?;
        (is_after(now, entry.asked_at) && now < entry.until).then_some(Err(entry.reject))
    }

    /// Returns an answer past its life, for when the provider cannot be reached.
    pub(crate) fn get_stale(&self, key: &TokenKey, now: UnixSeconds) -> Option<Active> {
        let entry = self.good.as_ref()?.get(key)?;
        let usable = is_after(now, entry.asked_at) && now < entry.stale_until && entry.active.check_time(now).is_ok();
        usable.then_some(entry.active)
    }

    /// Keeps an answer to a question asked at `asked_at`, as long as it may be.
    pub(crate) fn insert(
        &self,
        key: TokenKey,
        answer: &Result<Active, Reject>,
        freshness: Freshness,
        asked_at: UnixSeconds,
    ) {
        let freshness = if self.lifetimes.despite_headers { Freshness::UNSAID } else { freshness };
        let stated = freshness.lifetime.unwrap_or(Duration::MAX);
        match (answer, &self.good, self.lifetimes.positive, &self.bad) {
            (Ok(active), Some(good), Some(cap), _) => {
                // RFC 7662 §4: never past `exp`, and no leeway here. The clock that counts began when the question went out.
                let dies = active.dies();
                let fresh_until = asked_at.saturating_add(cap.min(stated)).min(dies);
                let stale = if freshness.must_revalidate { Duration::ZERO } else { self.lifetimes.stale };
                let stale_until = fresh_until.saturating_add(stale).min(dies);
                if fresh_until > asked_at {
                    good.insert(key, Good { active: active.clone(), asked_at, fresh_until, stale_until });
                } else {
                    // What it said before holds no longer either.
                    good.remove(&key);
                }
                if let Some(bad) = &self.bad {
                    bad.remove(&key);
                }
            }
            (Err(reject), _, _, bad) => {
                self.forget_good(&key);
                let until = asked_at.saturating_add(self.lifetimes.negative.min(stated));
                if let Some(bad) = bad
                    && until > asked_at
                {
                    bad.insert(key, Bad { reject: *reject, asked_at, until });
                }
            }
            _ => {}
        }
    }

    /// Forgets that a token was good once.
    pub(crate) fn forget_good(&self, key: &TokenKey) {
        if let Some(good) = &self.good {
            good.remove(key);
        }
    }

    pub(crate) fn forget(&self, key: &TokenKey) {
        self.forget_good(key);
        if let Some(bad) = &self.bad {
            bad.remove(key);
        }
    }

    pub(crate) fn forget_where(&self, is_gone: impl Fn(&Active) -> bool) {
        if let Some(good) = &self.good {
            good.retain(|_, entry| !is_gone(&entry.active));
        }
    }

    /// Counts good answers and refusals.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.good.as_ref().map_or(0, Cache::len), self.bad.as_ref().map_or(0, Cache::len))
    }
}

impl fmt::Debug for AnswerCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (good, bad) = self.len();
        write!(f, "AnswerCache({good} good, {bad} refused)")
    }
}

/// Tells whether the clock has not been set back since; two requests may have read it in another order than they got here.
fn is_after(now: UnixSeconds, asked_at: UnixSeconds) -> bool {
    now.saturating_add(OUT_OF_ORDER) >= asked_at
}

#[derive(Clone)]
struct Weight {
    /// An entry counts at least this much, which bounds their number.
    at_least: u64,
}

impl Weighter<TokenKey, Good> for Weight {
    fn weight(&self, _: &TokenKey, entry: &Good) -> u64 {
        (entry.active.heap_bytes() as u64 + OVERHEAD).max(self.at_least)
    }
}

/// Takes the number that a [`TokenKey`] writes, which is random already.
#[derive(Clone, Default)]
struct Identity;

impl BuildHasher for Identity {
    type Hasher = Written;

    fn build_hasher(&self) -> Written {
        Written(0)
    }
}

struct Written(u64);

impl Hasher for Written {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What an entry costs beside what it points to: key, dates, its slot in the table.
const OVERHEAD: u64 = 160;
const REFUSALS: usize = 10_000;
const OUT_OF_ORDER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
