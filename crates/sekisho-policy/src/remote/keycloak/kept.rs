//! What Keycloak granted a moment ago, by a hash of the caller's token and the resource.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::OptionsBuilder;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use sekisho_core::{ConfigError, Principal, SubjectId, UnixSeconds};

/// Says for how long the permissions of a caller on a resource are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub struct KeptPermissions {
    permit: Duration,
    deny: Duration,
    entries: usize,
    bytes: u64,
}

impl Default for KeptPermissions {
    /// Permits for 5 s, denials for 1 s, of 10,000 pairs of a token and a resource in 8 MiB.
    fn default() -> Self {
        Self { permit: Duration::from_secs(5), deny: Duration::from_secs(1), entries: 10_000, bytes: 8 << 20 }
    }
}

impl KeptPermissions {
    /// Sets for how long a scope that was granted is answered without the provider: whole seconds, 300 at the most, and never
    /// beyond the caller's token.
    #[must_use]
    pub const fn with_permits_for(mut self, time: Duration) -> Self {
        self.permit = time;
        self
    }

    /// Sets for how long a scope that was not granted is refused without the provider: whole seconds, 60 at the most, zero for
    /// not at all.
    #[must_use]
    pub const fn with_denials_for(mut self, time: Duration) -> Self {
        self.deny = time;
        self
    }

    /// Bounds the pairs of a token and a resource, and the bytes for all of them.
    #[must_use]
    pub const fn with_bounds(mut self, entries: usize, bytes: u64) -> Self {
        self.entries = entries;
        self.bytes = bytes;
        self
    }
}

/// Names a caller's token and a resource.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) token: [u8; 32],
    pub(super) resource: Box<str>,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.token.hash(state);
        self.resource.hash(state);
    }
}

#[derive(Clone)]
struct Entry(Arc<Held>);

struct Held {
    scopes: Box<[Box<str>]>,
    asked_at: UnixSeconds,
    permits_until: UnixSeconds,
    denies_until: UnixSeconds,
    subject: SubjectId,
    session: Option<Box<str>>,
    token_id: Option<Box<str>>,
}

/// Keeps the scopes that were granted.
pub(super) struct Kept {
    entries: Cache<Key, Entry, Weight>,
    limits: KeptPermissions,
    /// Of late.
    purged: Mutex<VecDeque<(Instant, Purged)>>,
}

/// Is what must not be answered any more.
pub(super) enum Purged {
    Subject(SubjectId),
    Session(Box<str>),
    Token(Box<str>),
    Grant(Box<str>),
    All,
}

impl Purged {
    fn concerns(&self, held: &Held) -> bool {
        match self {
            Self::Subject(subject) => held.subject == *subject,
            Self::Session(session) => held.session.as_ref() == Some(session),
            Self::Token(token_id) => held.token_id.as_ref() == Some(token_id),
            Self::Grant(grant) => {
                let of_grant = |id: &str| id.strip_prefix(&**grant).is_some_and(|rest| rest.starts_with('.'));
                held.token_id.as_deref().is_some_and(of_grant)
            }
            Self::All => true,
        }
    }
}

/// No decider waits longer for an answer.
const LONGEST_QUESTION: Duration = Duration::from_secs(10);
/// Of more purges at once, nothing is kept until they are over.
const MOST_PURGED: usize = 1024;

impl Kept {
    pub(super) fn new(limits: KeptPermissions) -> Result<Self, ConfigError> {
        let KeptPermissions { permit, deny, entries, bytes } = limits;
        let is_whole = |time: Duration| time.subsec_nanos() == 0;
        if !(1..=300).contains(&permit.as_secs()) || deny.as_secs() > 60 || !is_whole(permit) || !is_whole(deny) {
            return Err(ConfigError::new(
                "permissions are kept for 1 to 300 whole seconds, denials for 60 at the most",
            ));
        }
        if entries == 0 || bytes < 1024 {
            return Err(ConfigError::new("kept permissions need room for one token and 1,024 bytes"));
        }
        let weight = Weight { at_least: (bytes / entries as u64).max(1) };
        let options = OptionsBuilder::new().estimated_items_capacity(entries).weight_capacity(bytes).build();
        let options = options
            .map_err(|error| ConfigError::new("the bounds of kept permissions cannot be met").with_source(error))?;
        let entries = Cache::with_options(options, weight, Default::default(), DefaultLifecycle::default());
        Ok(Self { entries, limits, purged: Mutex::default() })
    }

    /// Tells whether `scope` is granted, as far as that is known at `now`.
    pub(super) fn get(&self, key: &Key, scope: &str, now: UnixSeconds) -> Option<bool> {
        let Entry(held) = self.entries.get(key)?;
        let granted = held.scopes.iter().any(|one| **one == *scope);
        let until = if granted { held.permits_until } else { held.denies_until };
        (held.asked_at <= now && now < until).then_some(granted)
    }

    /// Keeps what was granted on a question of `asked_at`.
    pub(super) fn keep(&self, key: Key, caller: &Principal, scopes: Box<[Box<str>]>, asked_at: UnixSeconds) {
        let KeptPermissions { permit, deny, .. } = self.limits;
        let end = caller.expires_at();
        let until = |time: Duration| {
            let until = asked_at.saturating_add(time);
            end.map_or(until, |end| end.min(until))
        };
        let entry = Held {
            scopes,
            asked_at,
            permits_until: until(permit),
            denies_until: until(deny),
            subject: caller.id(),
            session: caller.session_id().map(|id| id.as_ref().into()),
            token_id: caller.token_id().map(|id| id.as_ref().into()),
        };
        // INVARIANT: held until it is in, so that a purge comes before and is seen, or after and finds it.
        let purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_purged = |(at, what): &(Instant, Purged)| at.elapsed() < LONGEST_QUESTION && what.concerns(&entry);
        if !purged.iter().any(is_purged) {
            self.entries.insert(key, Entry(Arc::new(entry)));
        }
    }

    /// Forgets all that is kept for a token, which was refused.
    pub(super) fn forget_token(&self, token: &[u8; 32]) {
        self.entries.retain(|key, _| key.token != *token);
    }

    /// Forgets what is kept of it, and keeps nothing of it that was asked before: an answer may be on its way.
    pub(super) fn purge(&self, what: Purged) {
        let mut purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
        match &what {
            Purged::All => self.entries.clear(),
            what => self.entries.retain(|_, Entry(held)| !what.concerns(held)),
        }
        purged.retain(|(at, _)| at.elapsed() < LONGEST_QUESTION);
        if purged.len() >= MOST_PURGED {
            purged.clear();
            purged.push_back((Instant::now(), Purged::All));
        }
        purged.push_back((Instant::now(), what));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("limits", &self.limits).field("entries", &self.len()).finish()
    }
}

/// Counts the bytes of an entry, so that neither many small nor few large ones pass the bounds.
#[derive(Clone)]
struct Weight {
    at_least: u64,
}

impl Weighter<Key, Entry> for Weight {
    fn weight(&self, key: &Key, Entry(held): &Entry) -> u64 {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let scopes: usize = held.scopes.iter().map(|scope| scope.len() + SCOPE).sum();
        let bytes =
            scopes + key.resource.len() + held.subject.subject().len() + text(&held.session) + text(&held.token_id);
        (bytes as u64 + ENTRY).max(self.at_least)
    }
}

/// What an entry costs beside its texts, and a scope, about.
const ENTRY: u64 = 256;
const SCOPE: usize = 32;

#[cfg(test)]
mod tests {
    use sekisho_core::dangerous::PrincipalBuilder;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_000);

    fn kept(limits: KeptPermissions) -> Kept {
        Kept::new(limits).unwrap()
    }

    fn key(number: u8) -> Key {
        Key { token: [number; 32], resource: "orders".into() }
    }

    fn caller(subject: &str) -> PrincipalBuilder {
        PrincipalBuilder::new("https://id.example", subject).with_claim("sid", "s1").with_claim("jti", "t1")
    }

    fn at(second: u64) -> UnixSeconds {
        UnixSeconds::new(second)
    }

    #[test]
    fn permits_live_five_seconds_and_denials_one() {
        let kept = kept(KeptPermissions::default());
        kept.keep(key(1), &caller("alice").build().unwrap(), Box::new(["read".into()]), NOW);
        for (scope, second, known) in [
            ("read", 1_000, Some(true)),
            ("read", 1_004, Some(true)),
            ("read", 1_005, None),
            ("read", 999, None),
            ("write", 1_000, Some(false)),
            ("write", 1_001, None),
            ("Read", 1_001, None),
        ] {
            assert_eq!(kept.get(&key(1), scope, at(second)), known, "{scope} at {second}");
        }
        assert_eq!(kept.get(&key(2), "read", NOW), None);
        assert_eq!(kept.get(&Key { token: [1; 32], resource: "Orders".into() }, "read", NOW), None);
    }

    #[test]
    fn nothing_outlives_the_callers_token() {
        let kept = kept(KeptPermissions::default().with_permits_for(Duration::from_secs(300)));
        let alice = caller("alice").with_expiry(at(1_002)).build().unwrap();
        kept.keep(key(1), &alice, Box::new(["read".into()]), NOW);
        assert_eq!(kept.get(&key(1), "read", at(1_001)), Some(true));
        assert_eq!(kept.get(&key(1), "read", at(1_002)), None);
    }

    #[test]
    fn a_logout_takes_everything_along_that_came_of_it_and_what_is_on_its_way() {
        let (alice, bob) =
            (caller("alice").build().unwrap(), caller("bob").with_claim("sid", "s2").with_claim("jti", "t2"));
        let bob = bob.build().unwrap();
        for what in [Purged::Subject(alice.id()), Purged::Session("s1".into()), Purged::Token("t1".into())] {
            let kept = kept(KeptPermissions::default());
            kept.keep(key(1), &alice, Box::new(["read".into()]), NOW);
            kept.keep(key(2), &bob, Box::default(), NOW);
            kept.purge(what);
            assert_eq!((kept.get(&key(1), "read", NOW), kept.get(&key(2), "read", NOW)), (None, Some(false)));
            // An answer to a question of before.
            kept.keep(key(1), &alice, Box::new(["read".into()]), NOW);
            kept.keep(key(3), &bob, Box::new(["read".into()]), NOW);
            assert_eq!((kept.get(&key(1), "read", NOW), kept.get(&key(3), "read", NOW)), (None, Some(true)));
        }
    }

    #[test]
    fn a_purge_of_others_forgets_nothing_and_one_of_all_everything() {
        let kept = kept(KeptPermissions::default());
        let alice = caller("alice").build().unwrap();
        kept.keep(key(1), &alice, Box::default(), NOW);
        for what in [
            Purged::Subject(SubjectId::new("https://other.example", "alice")),
            Purged::Session("s".into()),
            Purged::Token("".into()),
        ] {
            kept.purge(what);
        }
        assert_eq!(kept.len(), 1);
        kept.forget_token(&key(1).token);
        assert_eq!(kept.len(), 0);
        kept.keep(key(1), &alice, Box::default(), NOW);
        kept.purge(Purged::All);
        kept.keep(key(2), &alice, Box::default(), NOW);
        assert_eq!(kept.len(), 0);
    }

    #[test]
    fn more_purges_than_are_remembered_keep_nothing_rather_than_too_much() {
        let kept = kept(KeptPermissions::default());
        let alice = caller("alice").build().unwrap();
        kept.purge(Purged::Subject(alice.id()));
        for number in 0..MOST_PURGED {
            kept.purge(Purged::Session(format!("other-{number}").into()));
        }
        kept.keep(key(1), &alice, Box::default(), NOW);
        assert_eq!(kept.len(), 0);
    }

    #[test]
    fn the_bounds_hold_for_many_and_for_large() {
        let small = kept(KeptPermissions::default().with_bounds(10, 8 << 20));
        let large = kept(KeptPermissions::default().with_bounds(10_000, 1 << 20));
        let alice = caller("alice").build().unwrap();
        for number in 0..250 {
            small.keep(key(number), &alice, Box::default(), NOW);
            let scopes: Box<[Box<str>]> =
                (0..100).map(|scope| format!("scope-{scope}-{}", "x".repeat(50)).into()).collect();
            large.keep(key(number), &alice, scopes, NOW);
        }
        assert!(small.len() <= 10 && large.len() <= 128, "{} and {}", small.len(), large.len());
        assert!(small.len() > 0 && large.len() > 0);
    }

    #[test]
    fn refuses_bounds_that_keep_nothing_or_too_long() {
        let second = Duration::from_secs(1);
        let limits = KeptPermissions::default();
        for bad in [
            limits.with_permits_for(Duration::ZERO),
            limits.with_permits_for(second * 301),
            limits.with_permits_for(Duration::from_millis(1_500)),
            limits.with_denials_for(second * 61),
            limits.with_denials_for(Duration::from_millis(500)),
            limits.with_bounds(0, 8 << 20),
            limits.with_bounds(10, 1_023),
        ] {
            assert!(Kept::new(bad).is_err(), "{bad:?}");
        }
        assert!(Kept::new(limits.with_denials_for(Duration::ZERO)).is_ok());
    }
}
