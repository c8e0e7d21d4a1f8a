use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::quality::RandomState;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, OptionsBuilder, Weighter};
use sekisho_core::{ConfigError, UnixSeconds};
use sekisho_jwks::KeyLife;

use crate::candidate::Candidate;
use crate::claims::Accepted;

/// Bounds the verified-token cache of one verifier.
///
/// Both bounds hold at once. When one is reached, tokens that were not asked for lately make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    entries: usize,
    bytes: u64,
}

impl CacheLimits {
    /// Sets the bounds: tokens, and bytes of memory for tokens, their claims and the cache's own share.
    #[must_use]
    pub const fn new(entries: usize, bytes: u64) -> Self {
        Self { entries, bytes }
    }

    /// Returns how many tokens may be kept.
    #[must_use]
    pub const fn entries(self) -> usize {
        self.entries
    }

    /// Returns how many bytes they may take.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    pub(crate) fn smaller(self, other: Self) -> Self {
        Self::new(self.entries.min(other.entries), self.bytes.min(other.bytes))
    }

    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        if self.entries == 0 || self.bytes < 1024 {
            return Err(ConfigError::new(
                "a verified-token cache needs room for one token and 1,024 bytes; `without_cache` switches it off",
            ));
        }
        Ok(self)
    }
}

impl Default for CacheLimits {
    /// Returns 10,000 tokens and 64 MiB.
    fn default() -> Self {
        Self::new(10_000, 64 << 20)
    }
}

/// Remembers tokens that passed every check.
///
/// Signed tokens only: of an encrypted one the token inside is remembered, or whoever can encrypt could make many of one.
/// The place of a token is a hash, keyed anew for each cache, of its last bytes, which belong to the signature; what
/// makes it the same token is the comparison of the whole. So a forged token with the tail of a good one is another token.
pub(crate) struct TokenCache(Cache<Token, Entry, Weight, RandomState>);

/// How many of a token's last bytes are hashed: 192 bits of signature.
const HASHED_TAIL: usize = 32;
/// What an entry costs beside token and claims: its slot, the table, two allocations' headers.
const OVERHEAD: u64 = 100;
/// How small a shard may be in bytes, so that long tokens with their claims find room.
const LEAST_SHARD: u64 = 64 << 10;
/// The size in bytes that hardly any token with its claims is below.
const LEAST_ENTRY: u64 = 512;

impl TokenCache {
    pub(crate) fn new(limits: CacheLimits) -> Option<Self> {
        let Plan { shards, capacity, at_least, expected } = Plan::of(limits);
        let weight = Weight { at_least };
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(expected)
            .weight_capacity(capacity)
            .build()
            .ok()?;
        Some(Self(Cache::with_options(options, weight, RandomState::default(), DefaultLifecycle::default())))
    }

    /// Returns whom a token speaks for that is known, within its time, and whose key is still trusted.
    pub(crate) fn get(&self, token: &str, now: UnixSeconds) -> Option<Candidate> {
        let entry = self.0.get(&TokenRef(token))?;
        if entry.is_accepted_at(now) {
            return Some(entry.candidate);
        }
        // Dead, or the clock went backwards: the full verification says which.
        self.0.remove(&TokenRef(token));
        None
    }

    pub(crate) fn insert(&self, token: &str, accepted: &Accepted, life: &Arc<KeyLife>) {
        let Accepted { candidate, from, until } = accepted;
        // Too late to begin is never: such a token is verified each time.
        let Ok(from) = u32::try_from(from.as_secs()) else { return };
        let until = u32::try_from(until.as_secs()).unwrap_or(u32::MAX);
        let entry = Entry { candidate: candidate.clone(), life: Arc::clone(life), from, until };
        self.0.insert(Token(token.into()), entry);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Is how the two bounds are told to `quick_cache`, which knows one.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// A power of two.
    shards: usize,
    /// In bytes, the same for each shard.
    capacity: u64,
    /// What a small entry counts as, in bytes.
    at_least: u64,
    /// How many entries the cache makes itself ready for; half as many of those that had to go it remembers, on top of `capacity`.
    expected: usize,
}

impl Plan {
    fn of(limits: CacheLimits) -> Self {
        let CacheLimits { entries, bytes } = limits;
        let most = std::thread::available_parallelism().map_or(1, usize::from).saturating_mul(4).next_power_of_two();
        let mut shards = most;
        // An entry that is heavier than its shard is never kept.
        while shards > 1 && bytes / (shards as u64) < LEAST_SHARD {
            shards /= 2;
        }
        let capacity = bytes - bytes % shards as u64;
        // One entry more than allowed does not fit, and those allowed leave a little room: an entry of more than 97 % of
        // its shard would not be kept either.
        let at_least = capacity / (entries as u64).saturating_add(1) + 1;
        let fitting = usize::try_from(bytes / LEAST_ENTRY).unwrap_or(usize::MAX);
        Self { shards, capacity, at_least, expected: entries.min(fitting).max(1) }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenCache({} tokens)", self.0.len())
    }
}

#[derive(Clone)]
struct Entry {
    /// Not yet a principal: a bound token needs a proof with each request.
    candidate: Candidate,
    life: Arc<KeyLife>,
    /// Seconds since 1970 in half the room, which lasts until the year 2106; what lies beyond is rounded to the safe side.
    from: u32,
    until: u32,
}

impl Entry {
    fn is_accepted_at(&self, now: UnixSeconds) -> bool {
        u64::from(self.from) <= now.as_secs() && now.as_secs() < u64::from(self.until) && self.life.is_live(now)
    }
}

#[derive(Clone)]
struct Token(Box<str>);

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        TokenRef(&self.0).hash(state);
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Token {}

struct TokenRef<'a>(&'a str);

impl Hash for TokenRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes = self.0.as_bytes();
        state.write(bytes.get(bytes.len().saturating_sub(HASHED_TAIL)..).unwrap_or_default());
    }
}

impl Equivalent<Token> for TokenRef<'_> {
    fn equivalent(&self, key: &Token) -> bool {
        // Plain comparison: whoever sends a token knows it already, and a wrong guess learns at most
        // that some token with this signature exists.
        *self.0 == *key.0
    }
}

#[derive(Clone)]
struct Weight {
    /// An entry counts at least this much, which bounds their number.
    at_least: u64,
}

impl Weighter<Token, Entry> for Weight {
    fn weight(&self, token: &Token, entry: &Entry) -> u64 {
        let size = token.0.len() + entry.candidate.heap_bytes();
        (size as u64 + OVERHEAD).max(self.at_least)
    }
}

#[cfg(all(test, not(sekisho_shuttle)))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use sekisho_core::dangerous::PrincipalBuilder;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(100);

    fn accepted() -> Accepted {
        let principal = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
        Accepted { candidate: Candidate::new(principal), from: UnixSeconds::new(0), until: UnixSeconds::new(200) }
    }

    fn filled(limits: CacheLimits, tokens: usize, length: usize) -> TokenCache {
        let (cache, life) = (TokenCache::new(limits.check().unwrap()).unwrap(), Arc::new(KeyLife::forever()));
        for number in 0..tokens {
            cache.insert(&format!("{number:0length$}"), &accepted(), &life);
        }
        cache
    }

    #[test]
    fn the_number_bounds_the_tokens_and_one_is_enough_to_keep_one() {
        for entries in [1, 2, 3, 10, 31, 32, 33, 100, 255, 256, 1000] {
            for bytes in [64 << 10, 100_001, 1 << 20, 64 << 20] {
                // As much as the bytes hold of these tokens anyhow, or that many.
                let cache = filled(CacheLimits::new(entries, bytes), 1, 60);
                assert!(cache.get(&format!("{:060}", 0), NOW).is_some(), "{entries} {bytes}");
                let cache = filled(CacheLimits::new(entries, bytes), 3000, 60);
                assert!((1..=entries).contains(&cache.len()), "{} of {entries} in {bytes}", cache.len());
            }
        }
        assert_eq!(filled(CacheLimits::new(1, 4096), 1, 60).len(), 1);
    }

    #[test]
    fn a_long_token_finds_room_in_a_small_cache() {
        for entries in [1, 100, 10_000_000] {
            assert_eq!(filled(CacheLimits::new(entries, 64 << 10), 1, 8192).len(), 1, "{entries}");
            assert_eq!(filled(CacheLimits::new(entries, 1 << 20), 1, 8192).len(), 1, "{entries}");
        }
    }

    #[test]
    fn the_memory_is_bounded_by_the_bytes_however_large_the_number_is() {
        for entries in [1_000_000_000, usize::MAX] {
            let cache = filled(CacheLimits::new(entries, 64 << 10), 50_000, 60);
            let memory = cache.0.memory_used();
            assert!(memory.entries + memory.map < 128 << 10, "{} + {}", memory.entries, memory.map);
        }
    }

    #[test]
    fn the_default_is_ten_thousand_tokens_and_64_mebibytes() {
        assert_eq!(CacheLimits::default(), CacheLimits { entries: 10_000, bytes: 67_108_864 });
    }
}

/// Interleavings of the real cache, `quick_cache` with shuttle's locks in place of its own, and of the real `KeyLife`.
#[cfg(all(test, sekisho_shuttle))]
mod interleavings {
    use sekisho_core::dangerous::PrincipalBuilder;
    use shuttle::thread;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(100);
    const END: UnixSeconds = UnixSeconds::new(200);
    const ROUNDS: usize = 2_000;

    fn cache() -> Arc<TokenCache> {
        Arc::new(TokenCache::new(CacheLimits::new(4, 4096)).expect("room"))
    }

    fn accepted(subject: &str) -> Accepted {
        let principal = PrincipalBuilder::new("https://id.example", subject).build().expect("claims");
        Accepted { candidate: Candidate::new(principal), from: UnixSeconds::new(0), until: END }
    }

    fn subject(candidate: Candidate) -> String {
        let constraint = crate::SenderConstraint::new(crate::Backend::default());
        let proved = candidate.prove_now(&constraint, sekisho_core::Credential::bearer("token"), NOW);
        proved.expect("at once").expect("a bearer token").subject().to_owned()
    }

    #[test]
    fn shuttle_no_token_of_a_removed_key_is_answered_after_the_removal() {
        shuttle::check_random(
            || {
                let (cache, life) = (cache(), Arc::new(KeyLife::forever()));
                // A verification that began before the removal, and puts its token in at any moment.
                let late = thread::spawn({
                    let (cache, life) = (Arc::clone(&cache), Arc::clone(&life));
                    move || cache.insert("token", &accepted("alice"), &life)
                });
                let reader = thread::spawn({
                    let cache = Arc::clone(&cache);
                    move || cache.get("token", NOW).map(|candidate| subject(candidate))
                });
                life.end();
                assert!(cache.get("token", NOW).is_none());
                late.join().expect("no panic");
                assert!(cache.get("token", NOW).is_none());
                assert!(matches!(reader.join().expect("no panic").as_deref(), None | Some("alice")));
            },
            ROUNDS,
        );
    }

    #[test]
    fn shuttle_each_token_is_answered_with_its_own_principal() {
        shuttle::check_random(
            || {
                let (cache, life) = (cache(), Arc::new(KeyLife::forever()));
                let threads: Vec<_> = (0..3)
                    .map(|number| {
                        let (cache, life) = (Arc::clone(&cache), Arc::clone(&life));
                        thread::spawn(move || {
                            // The same hashed tail: they meet in one place of the table.
                            let token = format!("{number}{}", "t".repeat(HASHED_TAIL));
                            cache.insert(&token, &accepted(&number.to_string()), &life);
                            for other in 0..3 {
                                let token = format!("{other}{}", "t".repeat(HASHED_TAIL));
                                if let Some(candidate) = cache.get(&token, NOW) {
                                    assert_eq!(subject(candidate), other.to_string());
                                }
                            }
                        })
                    })
                    .collect();
                for thread in threads {
                    thread.join().expect("no panic");
                }
                assert!(cache.get(&format!("0{}", "t".repeat(HASHED_TAIL)), END).is_none());
            },
            ROUNDS,
        );
    }
}
