use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use foldhash::quality::RandomState;
use sekisho_core::{ConfigError, Failure, Occurrence, OneTimeUse, ReplayGuard, UnixSeconds};

use crate::sync::{AtomicUsize, Mutex, Ordering, lock};

/// Remembers one-time uses in the memory of this process.
///
/// Nothing is forgotten before its time: when there is no more room, or a holder has used up its share, the request is
/// refused with 503. Other processes know nothing of it, and neither does this one after a new start.
///
/// About 100 bytes for each use. A use is remembered for as long as anybody could be configured to take its proof, five minutes;
/// so 500,000 uses are 1,600 requests a second, and 50,000 of one key are 160 requests a second by one client.
///
/// # Examples
/// ```
/// use sekisho_core::{Occurrence, OneTimeUse, ReplayGuard as _, UnixSeconds};
/// use sekisho_jwt::MemoryReplayGuard;
/// let (guard, now) = (MemoryReplayGuard::new(), UnixSeconds::new(1_800_000_000));
/// let once = OneTimeUse::new([1; 32], [2; 32], UnixSeconds::new(1_800_000_061));
/// assert_eq!(guard.insert_now(&once, now).unwrap()?, Occurrence::First);
/// assert_eq!(guard.insert_now(&once, now).unwrap()?, Occurrence::Repeated);
/// # Ok::<(), sekisho_core::Failure>(())
/// ```
pub struct MemoryReplayGuard {
    /// All uses of one holder are in one shard, which can so count them.
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Uses in all shards; raised before one is put in, so it is never too low.
    held: AtomicUsize,
    most: usize,
    most_per_holder: usize,
}

impl MemoryReplayGuard {
    /// Makes one with room for 500,000 uses, 50,000 of them by one holder.
    #[must_use]
    pub fn new() -> Self {
        Self::sized(DEFAULT_USES, DEFAULT_PER_HOLDER, SHARDS)
    }

    /// Makes one with room for `uses` uses, `per_holder` of them by one holder.
    ///
    /// # Errors
    /// When one of them is zero, or there is more for one than for all.
    pub fn with_limits(uses: usize, per_holder: usize) -> Result<Self, ConfigError> {
        if per_holder == 0 || per_holder > uses {
            return Err(ConfigError::new(
                "a replay guard needs room for one use, and no more for one holder than for all",
            ));
        }
        Ok(Self::sized(uses, per_holder, SHARDS))
    }

    fn sized(most: usize, most_per_holder: usize, shards: usize) -> Self {
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::default(), held: AtomicUsize::new(0), most, most_per_holder }
    }

    /// Tells how many uses it holds, those among them that could be forgotten by now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Tells whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn try_insert(&self, once: &OneTimeUse, now: UnixSeconds) -> Result<Occurrence, Failure> {
        let holder = Key::of(once.holder());
        let use_ = Use { holder, id: Key::of(once.id()) };
        let place = std::hash::BuildHasher::hash_one(&self.hasher, holder.0);
        let shard = usize::try_from(place % self.shards.len() as u64).ok().and_then(|place| self.shards.get(place));
        let Some(shard) = shard else { return Err(full()) };
        if let Some(answer) = self.insert_into(shard, use_, once.until(), now)? {
            return Ok(answer);
        }
        // What has died in other shards still counts; nobody may have come by there since.
        for other in &self.shards {
            self.sweep(&mut lock(other), now);
        }
        self.insert_into(shard, use_, once.until(), now)?.ok_or_else(full)
    }

    /// Looks and remembers under one lock. `None`: there is no room.
    fn insert_into(
        &self,
        shard: &Mutex<Shard>,
        use_: Use,
        until: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Option<Occurrence>, Failure> {
        let mut shard = lock(shard);
        if self.is_known(&mut shard, &use_, until, now)? {
            return Ok(Some(Occurrence::Repeated));
        }
        if !self.reserve() {
            return Ok(None);
        }
        shard.put(use_, until);
        Ok(Some(Occurrence::First))
    }

    /// Tells whether this use is known, after forgetting what has died; fails when its holder has used up its share.
    fn is_known(&self, shard: &mut Shard, use_: &Use, until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        self.sweep(shard, now);
        if shard.uses.contains(use_) {
            return Ok(true);
        }
        // It would have been forgotten by now, so nobody can say: the clock was set back, or the caller is mistaken.
        if until <= shard.swept {
            return Err(Failure::unavailable("the memory of used proofs does not reach back to this one"));
        }
        let held = shard.holders.get(&use_.holder).copied().unwrap_or(0);
        if held >= self.most_per_holder {
            return Err(Failure::unavailable("one key has used too many proofs").with_retry_after(RETRY_AFTER));
        }
        Ok(false)
    }

    /// Takes one place, if there is one.
    fn reserve(&self) -> bool {
        let more = |held: usize| (held < self.most).then_some(held + 1);
        self.held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    fn sweep(&self, shard: &mut Shard, now: UnixSeconds) {
        let freed = shard.forget(now);
        if freed > 0 {
            self.held.fetch_sub(freed, Ordering::SeqCst);
        }
    }
}

impl Default for MemoryReplayGuard {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ReplayGuard for MemoryReplayGuard {
    fn is_immediate(&self) -> bool {
        true
    }

    fn insert_now(&self, once: &OneTimeUse, now: UnixSeconds) -> Option<Result<Occurrence, Failure>> {
        Some(self.try_insert(once, now))
    }

    async fn insert(&self, once: &OneTimeUse, now: UnixSeconds) -> Result<Occurrence, Failure> {
        self.try_insert(once, now)
    }
}

impl fmt::Debug for MemoryReplayGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryReplayGuard({} of {} uses)", self.len(), self.most)
    }
}

/// Half of a SHA-256 digest: 128 bits, which nobody finds a second text for. Two ids of one holder that collide, found with
/// 2^64 work, cost that holder a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key([u8; 16]);

impl Key {
    fn of(digest: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(digest) {
            *to = *from;
        }
        Self(half)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Use {
    holder: Key,
    id: Key,
}

#[derive(Default)]
struct Shard {
    uses: HashSet<Use, RandomState>,
    /// How many of the uses are of whom.
    holders: HashMap<Key, usize, RandomState>,
    by_end: BTreeMap<u64, Vec<Use>>,
    /// Everything that ended at or before this instant is forgotten.
    swept: UnixSeconds,
}

impl Shard {
    fn put(&mut self, use_: Use, until: UnixSeconds) {
        self.uses.insert(use_);
        *self.holders.entry(use_.holder).or_insert(0) += 1;
        self.by_end.entry(until.as_secs()).or_default().push(use_);
    }

    /// Forgets what has ended by now, and returns how many that were.
    fn forget(&mut self, now: UnixSeconds) -> usize {
        self.swept = self.swept.max(now);
        let mut freed = 0;
        while let Some(first) = self.by_end.first_entry() {
            if *first.key() > now.as_secs() {
                break;
            }
            for use_ in first.remove() {
                self.uses.remove(&use_);
                freed += 1;
                if let Some(count) = self.holders.get_mut(&use_.holder) {
                    *count -= 1;
                    if *count == 0 {
                        self.holders.remove(&use_.holder);
                    }
                }
            }
        }
        freed
    }
}

fn full() -> Failure {
    Failure::unavailable("the memory of used proofs is full").with_retry_after(RETRY_AFTER)
}

const SHARDS: usize = 16;
const DEFAULT_USES: usize = 500_000;
const DEFAULT_PER_HOLDER: usize = 50_000;
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Barrier;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn once(holder: u8, id: u32, until: u64) -> OneTimeUse {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&id.to_be_bytes());
        OneTimeUse::new([holder; 32], digest, UnixSeconds::new(until))
    }

    fn insert(guard: &MemoryReplayGuard, once: OneTimeUse, now: u64) -> Option<Occurrence> {
        guard.insert_now(&once, UnixSeconds::new(now)).unwrap().ok()
    }

    #[test]
    fn knows_what_came_before_until_its_end_and_not_longer() {
        let guard = MemoryReplayGuard::new();
        assert_eq!(insert(&guard, once(1, 1, NOW + 61), NOW), Some(Occurrence::First));
        for later in [0, 1, 30, 60] {
            assert_eq!(insert(&guard, once(1, 1, NOW + 61), NOW + later), Some(Occurrence::Repeated), "{later}");
            // A later end does not make it another use.
            assert_eq!(insert(&guard, once(1, 1, NOW + 61 + later), NOW + later), Some(Occurrence::Repeated));
        }
        assert_eq!(insert(&guard, once(2, 1, NOW + 61), NOW), Some(Occurrence::First), "another holder");
        assert_eq!(insert(&guard, once(1, 2, NOW + 61), NOW), Some(Occurrence::First), "another id");
        assert_eq!(guard.len(), 3);
        assert_eq!(
            insert(&guard, once(1, 1, NOW + 122), NOW + 61),
            Some(Occurrence::First),
            "nobody would take the first"
        );
    }

    #[test]
    fn a_full_memory_refuses_and_forgets_nothing_that_lives() {
        let guard = MemoryReplayGuard::with_limits(8, 8).unwrap();
        for id in 0..8 {
            assert_eq!(insert(&guard, once(id as u8, id, NOW + 61), NOW), Some(Occurrence::First));
        }
        let failure = guard.insert_now(&once(9, 9, NOW + 61), UnixSeconds::new(NOW)).unwrap().unwrap_err();
        assert!(failure.retry_after().is_some());
        for id in 0..8 {
            assert_eq!(insert(&guard, once(id as u8, id, NOW + 61), NOW + 60), Some(Occurrence::Repeated));
        }
        // What died in every shard makes room, although nobody came by there.
        for id in 0..8 {
            assert_eq!(insert(&guard, once(42, id, NOW + 122), NOW + 61), Some(Occurrence::First));
        }
        assert_eq!((guard.len(), insert(&guard, once(9, 9, NOW + 122), NOW + 61)), (8, None));
    }

    #[test]
    fn one_holder_cannot_take_the_room_of_others() {
        let guard = MemoryReplayGuard::with_limits(100, 3).unwrap();
        for id in 0..3 {
            assert_eq!(insert(&guard, once(1, id, NOW + 61), NOW), Some(Occurrence::First));
        }
        assert_eq!(insert(&guard, once(1, 3, NOW + 61), NOW), None);
        assert_eq!(insert(&guard, once(1, 0, NOW + 61), NOW), Some(Occurrence::Repeated));
        assert_eq!(insert(&guard, once(2, 3, NOW + 61), NOW), Some(Occurrence::First));
        assert_eq!(insert(&guard, once(1, 3, NOW + 122), NOW + 61), Some(Occurrence::First));
    }

    #[test]
    fn a_clock_that_was_set_back_opens_nothing() {
        let guard = MemoryReplayGuard::with_limits(100, 100).unwrap();
        assert_eq!(insert(&guard, once(1, 1, NOW + 61), NOW), Some(Occurrence::First));
        // The clock jumps ahead by an hour, everything is forgotten, and it jumps back.
        assert_eq!(insert(&guard, once(1, 2, NOW + 3661), NOW + 3600), Some(Occurrence::First));
        assert_eq!(insert(&guard, once(1, 1, NOW + 61), NOW), None, "nobody knows any more");
        assert_eq!(insert(&guard, once(1, 3, NOW + 3670), NOW), Some(Occurrence::First));
    }

    #[test]
    fn of_many_at_once_one_is_first() {
        let guard = MemoryReplayGuard::new();
        for round in 0..200 {
            let barrier = Barrier::new(4);
            let first = std::thread::scope(|scope| {
                let attempt = || {
                    barrier.wait();
                    insert(&guard, once(1, round, NOW + 61), NOW)
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
                threads.into_iter().filter_map(|t| t.join().unwrap()).filter(|o| *o == Occurrence::First).count()
            });
            assert_eq!(first, 1);
        }
        assert_eq!(guard.len(), 200);
    }

    #[test]
    fn refuses_limits_that_leave_no_room() {
        for (uses, per_holder) in [(0, 0), (1, 0), (1, 2)] {
            assert!(MemoryReplayGuard::with_limits(uses, per_holder).is_err());
        }
        assert!(format!("{:?}", MemoryReplayGuard::new()).starts_with("MemoryReplayGuard(0 of"));
    }
}

/// Interleavings of the real guard, with shuttle's locks and atomics in place of the standard ones.
#[cfg(all(test, sekisho_shuttle))]
mod interleavings {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use shuttle::thread;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_000);
    const ROUNDS: usize = 2_000;

    fn once(holder: u8, id: u8, until: u64) -> OneTimeUse {
        OneTimeUse::new([holder; 32], [id; 32], UnixSeconds::new(until))
    }

    /// Explores schedules at random and by bounded preemption.
    fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
        shuttle::check_random(test.clone(), ROUNDS);
        shuttle::check_pct(test, ROUNDS, 3);
    }

    #[test]
    fn shuttle_of_three_at_once_one_is_first() {
        explore(|| {
            let guard = Arc::new(MemoryReplayGuard::sized(2, 2, 1));
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let guard = Arc::clone(&guard);
                    thread::spawn(move || guard.try_insert(&once(1, 1, 1_061), NOW).ok())
                })
                .collect();
            let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(answers.iter().filter(|answer| **answer == Some(Occurrence::First)).count(), 1, "{answers:?}");
            assert_eq!(guard.len(), 1);
        });
    }

    #[test]
    fn shuttle_neither_bound_is_ever_passed_and_a_sweep_beside_loses_nothing() {
        explore(|| {
            let guard = Arc::new(MemoryReplayGuard::sized(3, 2, 2));
            guard.try_insert(&once(9, 9, 1_001), NOW).unwrap();
            let threads: Vec<_> = [(1, 1), (1, 2), (1, 3), (2, 4)]
                .map(|(holder, id)| {
                    let guard = Arc::clone(&guard);
                    thread::spawn(move || guard.try_insert(&once(holder, id, 1_061), UnixSeconds::new(1_001)).is_ok())
                })
                .into();
            let taken: Vec<bool> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            let count = taken.iter().filter(|taken| **taken).count();
            assert!(count <= 3 && taken.iter().take(3).filter(|taken| **taken).count() <= 2, "{taken:?}");
            // Whatever was taken is known, and counted once.
            for ((holder, id), taken) in [(1, 1), (1, 2), (1, 3), (2, 4)].into_iter().zip(taken) {
                let again = guard.try_insert(&once(holder, id, 1_061), UnixSeconds::new(1_002));
                assert!(!taken || matches!(again, Ok(Occurrence::Repeated)));
            }
            assert!(guard.len() <= 3);
        });
    }
}
