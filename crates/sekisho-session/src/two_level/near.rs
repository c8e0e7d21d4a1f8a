use std::cmp::Ordering as Order;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use sekisho_core::{Failure, UnixSeconds};

use super::NearLimits;
use crate::store::{SessionStore, StoredSession};
use crate::sync::{AtomicU64, Ordering, RwLock, read, write};
use crate::token::SessionHash;

/// Remembers for a moment what a store said of sessions that live. Of those that do not it knows nothing.
///
/// INVARIANT: an answer that was under way while something was taken out under the same name is not remembered: it may be the
/// very thing that was taken out. So each removal, for whatever reason, counts up a generation, and what a store says is kept only
/// by a [`Ticket`] from before it was asked that still fits.
///
/// Its own maps stand behind it, as behind the store in memory, because `shuttle` must be able to see into them; and because what
/// lives equally long dies in the order in which it came, so that a queue does what a cache needs a policy for.
pub(crate) struct NearCache {
    shards: Box<[RwLock<Shard>]>,
    /// Odd while somebody listens to what changes elsewhere. What was remembered in another era counts for nothing.
    era: AtomicU64,
    max_age: Duration,
    /// Bounds for one shard.
    limits: NearLimits,
}

/// Says since when an answer counts.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    era: u64,
    generation: u64,
    asked_at: Instant,
}

struct Shard {
    entries: HashMap<SessionHash, Entry>,
    /// What came in, in its order; also what was taken out or replaced since, until its turn comes.
    queue: VecDeque<(SessionHash, u64)>,
    bytes: usize,
    /// Numbers what comes in.
    next: u64,
    /// Counts what was taken out, for several names together.
    generations: [u64; SLOTS],
}

struct Entry {
    session: StoredSession,
    asked_at: Instant,
    era: u64,
    number: u64,
}

impl NearCache {
    /// Makes an empty one that answers nothing until it is [opened](Self::open).
    pub(crate) fn new(max_age: Duration, limits: NearLimits) -> Self {
        Self::sharded(max_age, limits, SHARDS)
    }

    fn sharded(max_age: Duration, limits: NearLimits, shards: usize) -> Self {
        let NearLimits { entries, bytes } = limits;
        let limits = NearLimits { entries: entries.div_ceil(shards), bytes: bytes / shards };
        Self { shards: (0..shards).map(|_| RwLock::default()).collect(), era: AtomicU64::new(0), max_age, limits }
    }

    pub(crate) fn max_age(&self) -> Duration {
        self.max_age
    }

    /// Answers from memory, or not at all.
    pub(crate) fn find(&self, id: &SessionHash, now: UnixSeconds, at: Instant) -> Option<StoredSession> {
        let shard = read(self.shard(id)?);
        let known = shard.entries.get(id)?;
        self.is_good(known, self.era.load(Ordering::SeqCst), now, at).then(|| known.session.clone())
    }

    fn is_good(&self, known: &Entry, era: u64, now: UnixSeconds, at: Instant) -> bool {
        let Entry { session, asked_at, era: known_in, number: _ } = known;
        *known_in == era && at.saturating_duration_since(*asked_at) < self.max_age && is_alive(session, now)
    }

    /// Answers from memory, or asks the store.
    pub(crate) async fn load(
        &self,
        store: &dyn SessionStore,
        id: &SessionHash,
        now: UnixSeconds,
        at: Instant,
    ) -> Result<Option<StoredSession>, Failure> {
        match self.find(id, now, at) {
            Some(found) => Ok(Some(found)),
            None => self.load_latest(store, id, now, at).await,
        }
    }

    /// Asks the store, and remembers what it says.
    pub(crate) async fn load_latest(
        &self,
        store: &dyn SessionStore,
        id: &SessionHash,
        now: UnixSeconds,
        at: Instant,
    ) -> Result<Option<StoredSession>, Failure> {
        let ticket = self.ticket(id, at);
        let found = store.load_latest(id, now).await?;
        match &found {
            Some(found) => self.remember(id, found, ticket, now),
            // Whoever asked before and hears later that it is alive must not put it back.
            None => self.forget(id),
        }
        Ok(found)
    }

    /// Extends the idle time in the store, and of what is remembered.
    pub(crate) async fn touch(
        &self,
        store: &dyn SessionStore,
        id: &SessionHash,
        idle_until: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let is_alive = store.touch(id, idle_until, now).await?;
        if !is_alive {
            self.forget(id);
        } else if let Some(shard) = self.shard(id)
            && let Some(Entry { session, .. }) = write(shard).entries.get_mut(id)
        {
            session.idle_until = session.idle_until.max(idle_until);
        }
        Ok(is_alive)
    }

    /// Runs a call that changes a session, and then forgets what was known of it: whatever the call answers, and also when it is
    /// dropped in the middle, for nobody knows then what it did.
    pub(crate) async fn changing<R>(&self, id: &SessionHash, call: impl Future<Output = R>) -> R {
        let _after = After(|| self.forget(id));
        call.await
    }

    /// Runs a call that changes any sessions, and then forgets everything.
    pub(crate) async fn changing_all<R>(&self, call: impl Future<Output = R>) -> R {
        let _after = After(|| self.forget_all());
        call.await
    }

    /// Is to be drawn before the store is asked.
    fn ticket(&self, id: &SessionHash, asked_at: Instant) -> Ticket {
        let era = self.era.load(Ordering::SeqCst);
        let generation = self.shard(id).map_or(0, |shard| read(shard).generation(id));
        Ticket { era, generation, asked_at }
    }

    fn remember(&self, id: &SessionHash, found: &StoredSession, ticket: Ticket, now: UnixSeconds) {
        let Some(shard) = self.shard(id) else { return };
        let mut shard = write(shard);
        let era = self.era.load(Ordering::SeqCst);
        let is_current = era % 2 == 1 && ticket.era == era && ticket.generation == shard.generation(id);
        // What is not answered any more says nothing against what the store says now: in a failover it may have lost that.
        let known = shard.entries.get(id).filter(|known| self.is_good(known, era, now, ticket.asked_at));
        let known = known.map(|known| &known.session);
        match known.map(|known| (known.version, known.idle_until).cmp(&(found.version, found.idle_until))) {
            // Who asked later may be answered sooner.
            Some(Order::Greater) => {}
            Some(Order::Equal | Order::Less) | None if is_current => shard.put(id, found, ticket, self),
            // Perhaps not the latest, but later than what is known.
            Some(Order::Less) => shard.forget(id),
            Some(Order::Equal) | None => {}
        }
    }

    /// Forgets a session.
    pub(crate) fn forget(&self, id: &SessionHash) {
        if let Some(shard) = self.shard(id) {
            write(shard).forget(id);
        }
    }

    /// Forgets what is known of a session from before this version.
    pub(crate) fn forget_before(&self, id: &SessionHash, version: u64) {
        let Some(shard) = self.shard(id) else { return };
        let mut shard = write(shard);
        if shard.entries.get(id).is_some_and(|known| known.session.version >= version) {
            return;
        }
        shard.forget(id);
    }

    /// Makes all that is known count for nothing. It costs one step; the memory is given back bit by bit.
    pub(crate) fn forget_all(&self) {
        self.era.fetch_add(2, Ordering::SeqCst);
    }

    /// Answers from now on, until what is returned is dropped. For one listener at a time.
    pub(crate) fn open(&self) -> Open<'_> {
        if !self.is_open() {
            self.era.fetch_add(1, Ordering::SeqCst);
        }
        Open(self)
    }

    /// Tells whether it may answer.
    pub(crate) fn is_open(&self) -> bool {
        self.era.load(Ordering::SeqCst) % 2 == 1
    }

    /// Gives memory back that is held by what has become too old.
    pub(crate) fn sweep(&self, at: Instant) {
        for shard in &self.shards {
            write(shard).make_room(0, self, at);
        }
    }

    /// Counts what is in memory, what counts for nothing any more among it.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).entries.len()).sum()
    }

    fn shard(&self, id: &SessionHash) -> Option<&RwLock<Shard>> {
        self.shards.get(byte(id, 0) % self.shards.len())
    }
}

/// Is held by whoever listens to what changes elsewhere; dropped, it closes the cache.
pub(crate) struct Open<'a>(&'a NearCache);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let Self(near) = self;
        near.era.fetch_add(1, Ordering::SeqCst);
        for shard in &near.shards {
            write(shard).clear();
        }
    }
}

/// Does something at the end, however that comes.
struct After<F: Fn()>(F);

impl<F: Fn()> Drop for After<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Default for Shard {
    fn default() -> Self {
        let (entries, queue, bytes, next) = Default::default();
        Self { entries, queue, bytes, next, generations: [0; SLOTS] }
    }
}

impl Shard {
    fn generation(&self, id: &SessionHash) -> u64 {
        self.generations.get(slot(id)).copied().unwrap_or_default()
    }

    fn forget(&mut self, id: &SessionHash) {
        self.take(id);
        if let Some(generation) = self.generations.get_mut(slot(id)) {
            *generation += 1;
        }
    }

    fn put(&mut self, id: &SessionHash, session: &StoredSession, ticket: Ticket, near: &NearCache) {
        let cost = cost(session);
        if cost > near.limits.bytes {
            return self.forget(id);
        }
        self.take(id);
        self.make_room(cost, near, ticket.asked_at);
        let Ticket { era, generation: _, asked_at } = ticket;
        let number = self.next;
        self.next += 1;
        self.bytes += cost;
        self.queue.push_back((*id, number));
        self.entries.insert(*id, Entry { session: session.clone(), asked_at, era, number });
    }

    /// Takes out what is too old, and the oldest until there is room for one of this cost.
    fn make_room(&mut self, cost: usize, near: &NearCache, at: Instant) {
        let NearLimits { entries, bytes } = near.limits;
        while let Some((id, number)) = self.queue.front().copied() {
            let known = self.entries.get(&id).filter(|known| known.number == number);
            let must_go = known.is_none_or(|known| at.saturating_duration_since(known.asked_at) >= near.max_age)
                || (cost > 0 && (self.queue.len() >= entries || self.bytes + cost > bytes));
            if !must_go {
                break;
            }
            if known.is_some() {
                self.forget(&id);
            }
            self.queue.pop_front();
        }
    }

    fn take(&mut self, id: &SessionHash) {
        if let Some(entry) = self.entries.remove(id) {
            self.bytes -= cost(&entry.session);
        }
    }

    fn clear(&mut self) {
        let Self { entries, queue, bytes, next: _, generations: _ } = self;
        (*entries, *queue, *bytes) = Default::default();
    }
}

fn is_alive(session: &StoredSession, now: UnixSeconds) -> bool {
    now < session.idle_until.min(session.expires_at)
}

/// Estimates the bytes that a session takes here.
fn cost(session: &StoredSession) -> usize {
    ENTRY_COST + session.body.as_bytes().len()
}

fn slot(id: &SessionHash) -> usize {
    byte(id, 1) % SLOTS
}

fn byte(id: &SessionHash, place: usize) -> usize {
    id.as_bytes().get(place).copied().map(usize::from).unwrap_or_default()
}

/// One entry in the map and its place in the queue, with room to grow.
const ENTRY_COST: usize = 300;
const SHARDS: usize = 64;
const SLOTS: usize = 64;

#[cfg(all(test, not(sekisho_shuttle)))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::Sealed;

    #[test]
    fn what_is_too_old_to_be_answered_keeps_out_nothing_that_the_store_says_now() {
        const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
        let near = NearCache::new(Duration::from_secs(1), NearLimits::default());
        let _open = near.open();
        let id = SessionHash::from_bytes([7; 32]);
        let end = NOW.saturating_add(Duration::from_secs(600));
        let of = |version| StoredSession { version, idle_until: end, expires_at: end, body: Sealed::from_bytes([]) };
        let begin = Instant::now();
        near.remember(&id, &of(2), near.ticket(&id, begin), NOW);
        // The store has lost the second version, in a failover.
        let later = begin + Duration::from_secs(1);
        assert!(near.find(&id, NOW, later).is_none());
        near.remember(&id, &of(1), near.ticket(&id, later), NOW);
        assert_eq!(near.find(&id, NOW, later).unwrap().version, 1);
        // Within its time it stands against an answer that is late.
        near.remember(&id, &of(3), near.ticket(&id, later), NOW);
        near.remember(&id, &of(2), near.ticket(&id, later), NOW);
        assert_eq!(near.find(&id, NOW, later).unwrap().version, 3);
    }
}
