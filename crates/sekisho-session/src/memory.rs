use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};

use crate::store::{ListedSession, NewSession, Saved, Sealed, SessionStore, SessionUpdate, StoredSession};
use crate::token::{SessionHash, SessionTag};

/// Keeps sessions in the memory of this process: for one instance, and for tests. They end with the process.
///
/// Every answer is given at once. When it is full it refuses to create, and the request that wanted a session gets 503;
/// nobody is thrown out for somebody else. That is why no evicting cache stands behind it. The last quarter is for those who are
/// logged in, so that visitors whom nobody knows cannot lock out users. Only the names of those that have
/// ended give way before their time, or who logs in and out again and again could fill it: what they guard against, a `create`
/// that arrives late, does not happen within one process.
pub struct MemorySessionStore {
    limits: SessionLimits,
    shards: Box<[RwLock<Shard>]>,
    index: Box<[RwLock<Index>]>,
    /// INVARIANT: what all shards hold together, or more while somebody creates.
    records: AtomicUsize,
    bytes: AtomicUsize,
}

/// Bounds a [`MemorySessionStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLimits {
    /// Sessions at once, with the remembered names of the ended, as long as there is room for those. Default 100,000.
    pub records: usize,
    /// Bytes of memory, about. Default 256 MiB.
    pub bytes: usize,
    /// How many in a hundred of both only those take who are logged in. Default 25; more than 100 is 100.
    pub reserved_for_logins: u8,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { records: 100_000, bytes: 256 << 20, reserved_for_logins: 25 }
    }
}

impl SessionLimits {
    /// Returns how many sessions and bytes there may be in all when such a one comes or grows.
    fn room_for(self, kind: Visitor) -> (usize, usize) {
        let share = match kind {
            Visitor::LoggedIn => 100,
            Visitor::Anonymous => 100_usize.saturating_sub(usize::from(self.reserved_for_logins)),
        };
        let part = |all: usize| (all / 100).saturating_mul(share).saturating_add((all % 100) * share / 100);
        (part(self.records), part(self.bytes))
    }
}

/// Says whose session it is, as far as a store can tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visitor {
    Anonymous,
    LoggedIn,
}

impl Visitor {
    /// Every session has a tag for its own public id; a subject, a client and the like come with a login.
    const fn of(tags: &[SessionTag]) -> Self {
        if tags.len() > 1 { Self::LoggedIn } else { Self::Anonymous }
    }
}

type Index = HashMap<SessionTag, HashSet<SessionHash>>;

/// INVARIANT: every entry stands in `by_end` once, under its own end.
#[derive(Default)]
struct Shard {
    entries: HashMap<SessionHash, Entry>,
    by_end: BTreeSet<(UnixSeconds, SessionHash)>,
    /// INVARIANT: the names of all entries that are [`Entry::Ended`], and no others.
    ended: HashSet<SessionHash>,
}

enum Entry {
    Live {
        session: StoredSession,
        tags: Box<[SessionTag]>,
        card: Sealed,
    },
    /// Ended before its time: the name stays taken until then.
    Ended {
        until: UnixSeconds,
    },
}

/// Is what left a shard, and must leave the index too.
struct Removed {
    id: SessionHash,
    tags: Box<[SessionTag]>,
    cost: usize,
    was_alive: bool,
}

impl MemorySessionStore {
    /// Makes an empty store with the default bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(SessionLimits::default())
    }

    /// Makes an empty store with other bounds.
    #[must_use]
    pub fn with_limits(limits: SessionLimits) -> Self {
        Self {
            limits,
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            index: (0..SHARDS).map(|_| RwLock::default()).collect(),
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Counts the sessions in memory, also those that are dead and were not cleared away yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, id: &SessionHash) -> Option<&RwLock<Shard>> {
        self.shards.get(usize::from(id.as_bytes().first().copied().unwrap_or_default()) % SHARDS)
    }

    fn index(&self, tag: &SessionTag) -> Option<&RwLock<Index>> {
        self.index.get(usize::from(tag.as_bytes().first().copied().unwrap_or_default()) % SHARDS)
    }

    fn look_up(&self, id: &SessionHash, now: UnixSeconds) -> Option<StoredSession> {
        match read(self.shard(id)?).entries.get(id)? {
            Entry::Live { session, .. } if is_alive(session, now) => Some(session.clone()),
            Entry::Live { .. } | Entry::Ended { .. } => None,
        }
    }

    /// Takes room for one more, or fails.
    fn reserve(&self, kind: Visitor, cost: usize, now: UnixSeconds) -> Result<(), Failure> {
        let (most_records, most_bytes) = self.limits.room_for(kind);
        for attempt in 0..3 {
            let records = self.records.fetch_add(1, Ordering::Relaxed);
            let bytes = self.bytes.fetch_add(cost, Ordering::Relaxed);
            if records < most_records && bytes.saturating_add(cost) <= most_bytes {
                return Ok(());
            }
            self.release(1, cost);
            match attempt {
                0 => self.clear(|shard| shard.clear_dead(now)),
                1 => self.clear(Shard::forget_ended),
                _ => break,
            };
        }
        Err(full())
    }

    fn release(&self, records: usize, bytes: usize) {
        self.records.fetch_sub(records, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn clear(&self, from: impl Fn(&mut Shard) -> Vec<Removed>) -> usize {
        let mut cleared = 0;
        for shard in &self.shards {
            let removed = from(&mut write(shard));
            cleared += removed.len();
            self.forget(&removed);
        }
        cleared
    }

    /// Takes what left a shard out of the index and out of the count.
    fn forget(&self, removed: &[Removed]) {
        for Removed { id, tags, cost, was_alive: _ } in removed {
            self.release(1, *cost);
            self.unlink(id, tags);
        }
    }

    fn unlink(&self, id: &SessionHash, tags: &[SessionTag]) {
        for tag in tags {
            let Some(index) = self.index(tag) else { continue };
            let mut index = write(index);
            if let Some(ids) = index.get_mut(tag) {
                ids.remove(id);
                if ids.is_empty() {
                    index.remove(tag);
                }
            }
        }
    }

    fn tagged(&self, tag: &SessionTag) -> Vec<SessionHash> {
        let Some(index) = self.index(tag) else { return Vec::new() };
        read(index).get(tag).map(|ids| ids.iter().copied().collect()).unwrap_or_default()
    }

    fn end(&self, id: &SessionHash, now: UnixSeconds) -> bool {
        let Some(shard) = self.shard(id) else { return false };
        let Some(Removed { id, tags, cost, was_alive }) = write(shard).end(id, now) else { return false };
        // What remains costs little; the rest is given back.
        self.bytes.fetch_sub(cost.saturating_sub(ENTRY_COST), Ordering::Relaxed);
        self.unlink(&id, &tags);
        was_alive
    }
}

impl Default for MemorySessionStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemorySessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySessionStore").field("len", &self.len()).field("limits", &self.limits).finish()
    }
}

impl Shard {
    fn clear_dead(&mut self, now: UnixSeconds) -> Vec<Removed> {
        let mut removed = Vec::new();
        while let Some((end, id)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.remove(&(end, id));
            self.ended.remove(&id);
            if let Some(entry) = self.entries.remove(&id) {
                removed.push(entry.into_removed(id, false));
            }
        }
        removed
    }

    fn forget_ended(&mut self) -> Vec<Removed> {
        let mut removed = Vec::new();
        for id in std::mem::take(&mut self.ended) {
            if let Some(entry) = self.entries.remove(&id) {
                self.by_end.remove(&(entry.end(), id));
                removed.push(entry.into_removed(id, false));
            }
        }
        removed
    }

    /// Leaves of a live session no more than its name.
    fn end(&mut self, id: &SessionHash, now: UnixSeconds) -> Option<Removed> {
        let Entry::Live { session, .. } = self.entries.get(id)? else { return None };
        let (was_alive, until) = (is_alive(session, now), session.expires_at);
        self.by_end.remove(&(end_of(session), *id));
        self.by_end.insert((until, *id));
        self.ended.insert(*id);
        let before = self.entries.insert(*id, Entry::Ended { until })?;
        Some(before.into_removed(*id, was_alive))
    }

    /// Changes a live session and keeps its place by its end right.
    fn change<R>(
        &mut self,
        id: &SessionHash,
        now: UnixSeconds,
        change: impl FnOnce(&mut StoredSession, Visitor) -> R,
    ) -> Option<R> {
        let Some(Entry::Live { session, tags, .. }) = self.entries.get_mut(id) else { return None };
        if !is_alive(session, now) {
            return None;
        }
        let before = end_of(session);
        let result = change(session, Visitor::of(tags));
        let after = end_of(session);
        if before != after {
            self.by_end.remove(&(before, *id));
            self.by_end.insert((after, *id));
        }
        Some(result)
    }
}

impl Entry {
    fn end(&self) -> UnixSeconds {
        match self {
            Self::Live { session, .. } => end_of(session),
            Self::Ended { until } => *until,
        }
    }

    fn into_removed(self, id: SessionHash, was_alive: bool) -> Removed {
        match self {
            Self::Live { session, tags, card } => {
                let cost = cost(&tags, &card, &session.body);
                Removed { id, tags, cost, was_alive }
            }
            Self::Ended { .. } => Removed { id, tags: Box::default(), cost: ENTRY_COST, was_alive: false },
        }
    }
}

fn full() -> Failure {
    Failure::unavailable("the session store is full").with_retry_after(Duration::from_secs(60))
}

fn is_alive(session: &StoredSession, now: UnixSeconds) -> bool {
    now < end_of(session)
}

fn end_of(session: &StoredSession) -> UnixSeconds {
    session.idle_until.min(session.expires_at)
}

/// Estimates what a session costs, its places in the indexes included.
fn cost(tags: &[SessionTag], card: &Sealed, body: &Sealed) -> usize {
    ENTRY_COST + card.as_bytes().len() + body.as_bytes().len() + tags.len() * TAG_COST
}

/// One entry in the map and one in the order of ends, with room to grow.
const ENTRY_COST: usize = 300;
/// One entry in the index, and the set that it may need for itself.
const TAG_COST: usize = 150;
const SHARDS: usize = 64;

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl SessionStore for MemorySessionStore {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        let NewSession { idle_until, expires_at, tags, card, body } = new;
        let cost = cost(tags, card, body);
        let Some(shard) = self.shard(&id) else { return Ok(false) };
        if read(shard).entries.get(&id).is_some_and(|entry| now < entry.end()) {
            return Ok(false);
        }
        self.reserve(Visitor::of(tags), cost, now)?;
        let session =
            StoredSession { version: 1, idle_until: *idle_until, expires_at: *expires_at, body: body.clone() };
        let entry = Entry::Live { session, tags: tags.as_slice().into(), card: card.clone() };
        let removed = {
            let mut shard = write(shard);
            let removed = shard.clear_dead(now);
            if shard.entries.contains_key(&id) {
                drop(shard);
                self.forget(&removed);
                self.release(1, cost);
                return Ok(false);
            }
            shard.by_end.insert((entry.end(), id));
            shard.entries.insert(id, entry);
            removed
        };
        self.forget(&removed);
        for tag in tags {
            if let Some(index) = self.index(tag) {
                write(index).entry(*tag).or_default().insert(id);
            }
        }
        Ok(true)
    }

    fn load_now(&self, id: &SessionHash, now: UnixSeconds) -> Option<Result<Option<StoredSession>, Failure>> {
        Some(Ok(self.look_up(id, now)))
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        Ok(self.look_up(id, now))
    }

    async fn save(
        &self,
        id: &SessionHash,
        expected: u64,
        update: &SessionUpdate,
        now: UnixSeconds,
    ) -> Result<Saved, Failure> {
        let SessionUpdate { idle_until, expires_at, body } = update;
        let Some(shard) = self.shard(id) else { return Ok(Saved::Gone) };
        let (added, size) = (body.as_bytes().len(), self.bytes.load(Ordering::Relaxed));
        let saved = write(shard).change(id, now, |session, kind| {
            let freed = session.body.as_bytes().len();
            if session.version != expected {
                return Ok(Saved::Conflict);
            }
            let (_, most) = self.limits.room_for(kind);
            if added > freed && size.saturating_add(added - freed) > most {
                return Err(full());
            }
            self.bytes.fetch_add(added, Ordering::Relaxed);
            self.bytes.fetch_sub(freed, Ordering::Relaxed);
            session.version += 1;
            session.idle_until = session.idle_until.max(*idle_until);
            session.expires_at = *expires_at;
            session.body = body.clone();
            Ok(Saved::Done)
        });
        saved.unwrap_or(Ok(Saved::Gone))
    }

    async fn touch(&self, id: &SessionHash, idle_until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        let Some(shard) = self.shard(id) else { return Ok(false) };
        let touched =
            write(shard).change(id, now, |session, _| session.idle_until = session.idle_until.max(idle_until));
        Ok(touched.is_some())
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        Ok(self.end(id, now))
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        let listed = self.tagged(tag).into_iter().filter_map(|id| {
            let shard = read(self.shard(&id)?);
            let Entry::Live { session, card, .. } = shard.entries.get(&id)? else { return None };
            let StoredSession { idle_until, expires_at, .. } = *session;
            is_alive(session, now).then(|| ListedSession { id, idle_until, expires_at, card: card.clone() })
        });
        Ok(listed.collect())
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        Ok(self.tagged(tag).iter().filter(|id| self.end(id, now)).count() as u64)
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        Ok(self.clear(|shard| shard.clear_dead(now)) as u64)
    }
}
