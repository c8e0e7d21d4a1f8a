use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use sekisho_core::{ConfigError, Failure, Principal, UnixSeconds};

use crate::shard::{Fingerprint, Hash, Instant, Kind, SHARDS, Shard};
use crate::{Follow, ListCheck, RevocationFeed, Withdrawal, Withdrawn};

/// How much longer than stated a withdrawal is kept: the longest leeway with which a verifier of this family takes a
/// token beyond its expiry.
pub(crate) const GRACE: Duration = Duration::from_secs(300);
const DEFAULT_ENTRIES: usize = 1_000_000;
/// Every so many withdrawals, one part of the list is swept.
const SWEEP_EVERY: usize = 64;

/// Remembers what has been withdrawn, in memory, for as long as it matters.
///
/// Writers and readers share it: `&self` everywhere, and a clone is the same list. A look-up takes one of 1,024 locks
/// for the time of a table look-up, and allocates nothing. An entry is 16 bytes in a hash table, a keyed 96-bit hash
/// of kind, issuer and id, so ten million take about 285 MB; the ids themselves are not kept.
///
/// A withdrawal is kept for five minutes beyond its end, for that is how long verifiers with leeway may take an expired
/// token. A clock that goes back further than that brings back what was swept meanwhile.
///
/// **When it is full** ([`with_max_entries`](RevocationListBuilder::with_max_entries)) nothing is pushed out. The
/// withdrawal that found no room is refused with [`ListFull`], and, because it is not known any more who has been
/// withdrawn, every check of this list fails (503) until that withdrawal would have ended, or until its feed has sent
/// a whole snapshot that fits.
///
/// # Examples
/// ```
/// use sekisho_core::{RevocationCheck, UnixSeconds, dangerous::PrincipalBuilder};
/// use sekisho_revocation::{RevocationList, Withdrawal};
/// # let now = UnixSeconds::new(1_700_000_000);
/// let list = RevocationList::new()?;
/// let check = list.local(); // for `JwtBuilder::with_revocation`, in an `Arc`
///
/// let caller = PrincipalBuilder::new("https://id.example", "alice").with_claim("jti", "t-1").build()?;
/// assert!(!check.is_revoked(&caller, now)?);
/// list.withdraw(&Withdrawal::token_of(&caller)?, now)?;
/// assert!(check.is_revoked(&caller, now)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RevocationList(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    hash: Hash,
    shards: Box<[RwLock<Shard>]>,
    most: usize,
    entries: AtomicUsize,
    /// Which kinds were ever put in; the others need no look-up.
    kinds: AtomicU8,
    /// Counts withdrawals, for sweeping now and then.
    withdrawals: AtomicUsize,
    next_sweep: AtomicUsize,
    /// When all of it was last swept for want of room.
    swept_at: Mutex<Option<UnixSeconds>>,
    /// Until when something that found no room would have mattered, by who brought it.
    lost_locally_until: AtomicU64,
    lost_by_feed_until: AtomicU64,
    /// The instant up to which the feed is known to be complete; 0 for never.
    synchronized_at: AtomicU64,
    is_followed: AtomicBool,
    was_followed: AtomicBool,
    pub(crate) passed_stale: AtomicU64,
}

/// Says who brings a withdrawal: a feed can bring all of it again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Local,
    Feed,
}

/// Says that a withdrawal found no room. Until it would have ended, every check of the list fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the revocation list is full")]
pub struct ListFull(());

impl From<ListFull> for Failure {
    fn from(full: ListFull) -> Self {
        Self::unavailable("the revocation list is full").with_source(full)
    }
}

/// Tells how a list is doing, for a readiness probe and for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListHealth {
    /// How many withdrawals are kept, those included that are over and not yet swept.
    pub entries: usize,
    /// How many there may be.
    pub max_entries: usize,
    /// A feed is followed now.
    pub is_followed: bool,
    /// For how long the feed has not been known to be complete; `None` if it never was.
    pub age: Option<Duration>,
    /// Nothing that matters was refused for want of room.
    pub is_complete: bool,
    /// How many principals passed although the list was stale or incomplete, because a
    /// [`StalePolicy`](crate::StalePolicy) said so.
    pub passed_stale: u64,
}

/// Configures a [`RevocationList`].
#[derive(Clone)]
#[must_use]
pub struct RevocationListBuilder {
    most: usize,
    key: Option<[u8; 16]>,
}

impl RevocationListBuilder {
    /// Sets how many withdrawals are kept at most. Default 1,000,000, about 30 MB when full.
    pub const fn with_max_entries(mut self, entries: usize) -> Self {
        self.most = entries;
        self
    }

    /// Sets the key of the hash. Default: sixteen random bytes of the operating system.
    ///
    /// Whoever knows the key can make ids that are taken for each other. It is for tests that must be repeatable.
    pub const fn with_hash_key(mut self, key: [u8; 16]) -> Self {
        self.key = Some(key);
        self
    }

    /// Makes the list.
    ///
    /// # Errors
    /// [`ConfigError`] when there is room for nothing, or the operating system gives no random bytes.
    pub fn build(self) -> Result<RevocationList, ConfigError> {
        let Self { most, key } = self;
        if most == 0 {
            return Err(ConfigError::new("a revocation list needs room for at least one entry"));
        }
        let key = match key {
            Some(key) => key,
            None => random_key()?,
        };
        Ok(RevocationList(Arc::new(Inner {
            hash: Hash::new(&key),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            most,
            entries: AtomicUsize::new(0),
            kinds: AtomicU8::new(0),
            withdrawals: AtomicUsize::new(0),
            next_sweep: AtomicUsize::new(0),
            swept_at: Mutex::new(None),
            lost_locally_until: AtomicU64::new(0),
            lost_by_feed_until: AtomicU64::new(0),
            synchronized_at: AtomicU64::new(0),
            is_followed: AtomicBool::new(false),
            was_followed: AtomicBool::new(false),
            passed_stale: AtomicU64::new(0),
        })))
    }
}

impl fmt::Debug for RevocationListBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationListBuilder").field("max_entries", &self.most).finish_non_exhaustive()
    }
}

impl RevocationList {
    /// Makes an empty list for a million withdrawals.
    ///
    /// # Errors
    /// [`ConfigError`] when the operating system gives no random bytes.
    pub fn new() -> Result<Self, ConfigError> {
        Self::builder().build()
    }

    /// Starts the configuration of a list.
    pub const fn builder() -> RevocationListBuilder {
        RevocationListBuilder { most: DEFAULT_ENTRIES, key: None }
    }

    /// Withdraws. When this returns, every look-up that begins finds it.
    ///
    /// What has ended already is left out. Doing it twice is the same as once, and the order of several does not
    /// matter.
    ///
    /// # Errors
    /// [`ListFull`] when it found no room; see [the list](Self) for what follows. The whole list is swept first, at
    /// most once a second.
    pub fn withdraw(&self, withdrawal: &Withdrawal, now: UnixSeconds) -> Result<(), ListFull> {
        self.put(withdrawal, now, Origin::Local)
    }

    /// Checks against a list that a feed keeps up to date; fails when that is no longer the case.
    ///
    /// Its policy is [`StalePolicy::default`](crate::StalePolicy::default), failing closed after 60 s, until
    /// [`with_policy`](ListCheck::with_policy) says otherwise. A list that nobody feeds is stale from the beginning:
    /// for it there is [`local`](Self::local).
    #[must_use]
    pub fn check(&self) -> ListCheck {
        ListCheck::new(self.clone())
    }

    /// Checks against a list that this process alone fills, so that there is nothing to become stale.
    ///
    /// Once a feed has been followed, it is the same as [`check`](Self::check).
    #[must_use]
    pub fn local(&self) -> ListCheck {
        ListCheck::local(self.clone())
    }

    /// Prepares to keep the list up to date by a feed, in the background.
    pub fn follow(&self, feed: impl RevocationFeed + 'static) -> Follow {
        Follow::new(self.clone(), Arc::new(feed))
    }

    /// Drops what is over in a 64th of the list, the next one at each call.
    ///
    /// [`withdraw`](Self::withdraw) sweeps now and then, and a followed list is swept in the background; this is for
    /// whoever wants memory back earlier. It holds each lock for the time of one part.
    pub fn sweep(&self, now: UnixSeconds) {
        for _ in 0..SHARDS / 64 {
            self.sweep_next(now.into());
        }
    }

    /// Returns how many withdrawals are kept, those included that are over and not yet swept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries.load(Ordering::Relaxed)
    }

    /// Tells whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of memory behind it.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let tables: usize = (0..SHARDS).filter_map(|index| self.read(index)).map(|shard| shard.heap_bytes()).sum();
        size_of::<Inner>() + SHARDS * size_of::<RwLock<Shard>>() + tables
    }

    /// Tells how it is doing.
    #[must_use]
    pub fn health(&self, now: UnixSeconds) -> ListHealth {
        let inner = &*self.0;
        ListHealth {
            entries: self.len(),
            max_entries: inner.most,
            is_followed: inner.is_followed.load(Ordering::Acquire),
            age: self.synchronized_at().map(|at| now.since(at)),
            is_complete: self.is_complete(now),
            passed_stale: inner.passed_stale.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn put(&self, withdrawal: &Withdrawal, now: UnixSeconds, origin: Origin) -> Result<(), ListFull> {
        let inner = &*self.0;
        if inner.withdrawals.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) {
            self.sweep_next(now.into());
        }
        let until = withdrawal.until().saturating_add(GRACE);
        if Instant::from(until).is_over(now.into()) {
            return Ok(());
        }
        if self.try_put(withdrawal, until.into(), now.into()) {
            return Ok(());
        }
        self.sweep_all(now);
        if self.try_put(withdrawal, until.into(), now.into()) {
            return Ok(());
        }
        let lost = match origin {
            Origin::Local => &inner.lost_locally_until,
            Origin::Feed => &inner.lost_by_feed_until,
        };
        let until = UnixSeconds::from(Instant::from(until));
        if lost.fetch_max(until.as_secs(), Ordering::AcqRel) <= now.as_secs() {
            tracing::error!(entries = self.len(), "the revocation list is full; until there is room its checks fail");
        }
        Err(ListFull(()))
    }

    fn try_put(&self, withdrawal: &Withdrawal, until: Instant, now: Instant) -> bool {
        let inner = &*self.0;
        let (kind, id) = match withdrawal.what() {
            Withdrawn::Token(id) => (Kind::Token, id),
            Withdrawn::Session(id) => (Kind::Session, id),
            Withdrawn::Grant(id) => (Kind::Grant, id),
            Withdrawn::Subject { subject, .. } => (Kind::Subject, subject),
        };
        let fingerprint = inner.hash.fingerprint(kind, withdrawal.issuer(), id);
        let Some(mut shard) = self.write(fingerprint.shard) else { return false };
        // Before the entry, so that nobody who could find it leaves the look-up out.
        inner.kinds.fetch_or(kind.bit(), Ordering::AcqRel);
        let room = || {
            let one_more = |entries| (entries < inner.most).then_some(entries + 1);
            inner.entries.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
        };
        match withdrawal.what() {
            Withdrawn::Token(_) | Withdrawn::Session(_) | Withdrawn::Grant(_) => shard.put_id(fingerprint, until, room),
            Withdrawn::Subject { not_before, .. } => {
                shard.put_subject(fingerprint, Instant::from(*not_before), until, now, room)
            }
        }
    }

    /// Tells whether the list knows this principal's token, session, grant or subject to be withdrawn.
    pub(crate) fn names(&self, principal: &Principal, now: UnixSeconds) -> bool {
        let inner = &*self.0;
        let kinds = inner.kinds.load(Ordering::Acquire);
        let (issuer, now) = (principal.issuer(), Instant::from(now));
        let find = |kind: Kind, id: &str| -> Option<(RwLockReadGuard<'_, Shard>, Fingerprint)> {
            let fingerprint = inner.hash.fingerprint(kind, issuer, id);
            Some((self.read(fingerprint.shard)?, fingerprint))
        };
        let has_id = |kind: Kind, id: Option<Cow<'_, str>>| {
            let found = id.and_then(|id| find(kind, &id));
            found.is_some_and(|(shard, fingerprint)| shard.has_id(fingerprint, now))
        };
        let has = |kind: Kind| kinds & kind.bit() != 0;
        if has(Kind::Token) && has_id(Kind::Token, principal.token_id())
            || has(Kind::Session) && has_id(Kind::Session, principal.session_id())
        {
            return true;
        }
        if has(Kind::Grant) {
            let token_id = principal.token_id();
            let grant = token_id.as_deref().and_then(|id| id.split_once('.')).map(|(grant, _)| Cow::Borrowed(grant));
            if has_id(Kind::Grant, grant) {
                return true;
            }
        }
        if !has(Kind::Subject) {
            return false;
        }
        let Some((shard, fingerprint)) = find(Kind::Subject, principal.subject()) else { return false };
        let Some(not_before) = shard.not_before(fingerprint, now) else { return false };
        drop(shard);
        let issued_at = principal.claims().get("iat").and_then(|iat| iat.as_numeric_date());
        issued_at.is_none_or(|issued_at| UnixSeconds::new(issued_at) < not_before)
    }

    /// Tells whether nothing that matters at `now` was refused for want of room.
    pub(crate) fn is_complete(&self, now: UnixSeconds) -> bool {
        let is_over = |lost: &AtomicU64| lost.load(Ordering::Acquire) <= now.as_secs();
        is_over(&self.0.lost_locally_until) && is_over(&self.0.lost_by_feed_until)
    }

    pub(crate) fn synchronized_at(&self) -> Option<UnixSeconds> {
        match self.0.synchronized_at.load(Ordering::Acquire) {
            0 => None,
            at => Some(UnixSeconds::new(at)),
        }
    }

    /// Notes that all of the feed up to `at` is in the list.
    pub(crate) fn mark_synchronized(&self, at: UnixSeconds) {
        self.0.synchronized_at.store(at.as_secs(), Ordering::Release);
    }

    /// Notes that a whole snapshot of the feed has found room.
    pub(crate) fn mark_whole(&self) {
        self.0.lost_by_feed_until.store(0, Ordering::Release);
    }

    /// Claims the list for a feed; false if there is one already.
    pub(crate) fn begin_following(&self) -> bool {
        self.0.was_followed.store(true, Ordering::Release);
        !self.0.is_followed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_following(&self) {
        self.0.is_followed.store(false, Ordering::Release);
    }

    pub(crate) fn was_followed(&self) -> bool {
        self.0.was_followed.load(Ordering::Acquire)
    }

    /// Sweeps all of it, unless that was done in this second. Whoever comes meanwhile waits, and profits.
    fn sweep_all(&self, now: UnixSeconds) {
        let mut swept_at = self.0.swept_at.lock().unwrap_or_else(PoisonError::into_inner);
        if *swept_at != Some(now) {
            (0..SHARDS).for_each(|index| self.sweep_shard(index, now.into()));
            *swept_at = Some(now);
        }
    }

    fn sweep_next(&self, now: Instant) {
        let index = self.0.next_sweep.fetch_add(1, Ordering::Relaxed) % SHARDS;
        self.sweep_shard(index, now);
    }

    fn sweep_shard(&self, index: usize, now: Instant) {
        let Some(mut shard) = self.write(index) else { return };
        let gone = shard.sweep(now);
        self.0.entries.fetch_sub(gone, Ordering::AcqRel);
    }

    /// Locks a part; `None` only for a number that no part has.
    fn read(&self, index: usize) -> Option<RwLockReadGuard<'_, Shard>> {
        Some(self.0.shards.get(index)?.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, index: usize) -> Option<RwLockWriteGuard<'_, Shard>> {
        Some(self.0.shards.get(index)?.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationList({} of at most {} entries)", self.len(), self.0.most)
    }
}

fn random_key() -> Result<[u8; 16], ConfigError> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| {
        ConfigError::new("the operating system gives no random bytes for the revocation list").with_source(error)
    })?;
    Ok(key)
}
