//! The state machine of every source that loads its keys: who may ask the provider when, who waits, what is published.
//!
//! It knows no runtime, no network and no clock. The interleaving tests run this very code.
//!
//! One attempt runs at a time. What an attempt needs, besides that none is running:
//! - after a failed attempt, whoever asks: a pause ([`Policy::pause_after`]), counted from its end;
//! - because of an unknown `kid`, or a signature that does not hold, while the keys are good: `miss_interval` since the last attempt that an unknown `kid` caused,
//!   counted from its start, and that this `kid` was not found missing within `miss_memory`;
//! - in the background: that the refresh is due.
//!
//! So however many tokens with whatever `kid`s come in, the attempts stay at a flat rate. The interval does not count the first load and
//! background refreshes, or else a key rotated right after one of those would be refused for the rest of the interval.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_core::{Failure, UnixSeconds};

use super::flight::{Attempt, Flight, Waiters};
use super::load::LoadError;
use super::policy::Policy;
use super::published::Published;
use super::snapshot::{Match, Snapshot, Times};
use super::unknown::UnknownKids;
use crate::key::Leak;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock};
use crate::{KeyHealth, KeyLookup, KeyQuery, KeySet, VerifyingKey};

/// A clock that lies further back than the last attempt by more than this was set back; then pauses by that clock are void.
pub(super) const SET_BACK: Duration = Duration::from_secs(60);
/// Then an attempt is allowed when this has really passed, so that callers whose clocks differ do not drive one another.
const SET_BACK_PAUSE: Duration = Duration::from_secs(30);

/// Bounds how many leaked keys are remembered: as many as a set may hold.
const MAX_LEAKS: usize = KeySet::MAX_KEYS;

pub(super) struct Cache {
    policy: Policy,
    snapshot: Published<Snapshot>,
    /// Seconds at which a background attempt is due; the hot path looks here rather than take the lock.
    due_at: AtomicU64,
    state: Mutex<State>,
}

pub(super) struct State {
    running: Option<Running>,
    /// How many attempts were begun; also the number of the newest.
    begun: Attempt,
    /// The newest that ended and was not lost.
    ended: Attempt,
    last_begun_at: UnixSeconds,
    last_begun: Option<Instant>,
    /// Why the last attempt failed; `None` if it did not.
    failure: Option<Failure>,
    failures: u32,
    /// No attempt at all before.
    pause_until: UnixSeconds,
    /// No attempt for an unknown `kid` before.
    miss_pause_until: UnixSeconds,
    unknown: UnknownKids,
    /// Keys whose private half was published at some time, at most [`MAX_LEAKS`], the newest last.
    leaked: Vec<Leak>,
    tag: Option<Arc<Tag>>,
    closed: bool,
    pub(super) waiters: Waiters,
}

#[derive(Clone, Copy)]
struct Running {
    attempt: Attempt,
    /// From then on it is lost; `None` if that is too far away to be told.
    patience: Option<Instant>,
}

/// Identifies a version of what was loaded, for the next load to ask whether it changed.
pub(super) struct Tag {
    /// Where it was loaded from.
    pub(super) origin: String,
    pub(super) value: Vec<u8>,
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The origin may have a query with a secret in it.
        f.write_str("Tag(..)")
    }
}

/// Is what a load brought, and for how long it is fresh.
#[derive(Debug)]
pub(super) enum Loaded {
    /// `leaked` are those whose private half stood there too; none of them is among the keys.
    Keys {
        keys: Vec<VerifyingKey>,
        leaked: Vec<Leak>,
        tag: Option<Tag>,
        ttl: Duration,
    },
    Unchanged {
        ttl: Duration,
    },
}

impl Loaded {
    /// Returns how many keys it has.
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Keys { keys, .. } => keys.len(),
            Self::Unchanged { .. } => 0,
        }
    }
}

enum Decision {
    Answer(KeyLookup),
    Join(Attempt),
    Begin(Cause),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The keys at hand are good, but one is missing.
    Miss,
    /// No good keys, or their refresh is due.
    Need,
}

impl Cache {
    pub(super) fn new(policy: Policy) -> Arc<Self> {
        let state = State {
            running: None,
            begun: 0,
            ended: 0,
            last_begun_at: UnixSeconds::default(),
            last_begun: None,
            failure: None,
            failures: 0,
            pause_until: UnixSeconds::default(),
            miss_pause_until: UnixSeconds::default(),
            unknown: UnknownKids::default(),
            leaked: Vec::new(),
            tag: None,
            closed: false,
            waiters: Waiters::default(),
        };
        Arc::new(Self {
            policy,
            snapshot: Published::new(Snapshot::default()),
            due_at: AtomicU64::new(0),
            state: Mutex::new(state),
        })
    }

    /// Looks a key up in memory. Takes the lock only when there is none.
    pub(super) fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        match self.snapshot.read(|keys| keys.look_up(query, self.policy.nameless, now)) {
            Match::Found(candidates) => KeyLookup::Found(candidates),
            Match::Ambiguous => KeyLookup::Ambiguous,
            Match::Unfit => KeyLookup::Unknown,
            Match::Missing => match self.decide(&self.lock(), query, now) {
                Decision::Answer(answer) => answer,
                Decision::Join(_) | Decision::Begin(_) => KeyLookup::FetchNeeded,
            },
        }
    }

    /// Looks a key up after the load that is running or allowed. `start` gets the permit when this caller is the one to load;
    /// `wait` waits for the flight, or less long.
    ///
    /// Nobody who calls waits for more than two attempts: the one that was running already, which may have read the set
    /// before the key came into it, and one begun later.
    pub(super) async fn fetch<S: Future<Output = ()> + Send, W: Future<Output = ()> + Send>(
        self: &Arc<Self>,
        query: KeyQuery<'_>,
        now: UnixSeconds,
        start: impl Fn(Permit) -> S + Send + Sync,
        wait: impl Fn(Flight) -> W + Send + Sync,
    ) -> KeyLookup {
        self.fetch_by(|cache, state| cache.decide(state, query, now), query, now, start, wait).await
    }

    /// Looks a key up after a load although there is one of this name: what it signed does not hold. Loads as an unknown `kid` does,
    /// and no more often; the answer is what is at hand when none is allowed.
    pub(super) async fn fetch_anew<S: Future<Output = ()> + Send, W: Future<Output = ()> + Send>(
        self: &Arc<Self>,
        query: KeyQuery<'_>,
        now: UnixSeconds,
        start: impl Fn(Permit) -> S + Send + Sync,
        wait: impl Fn(Flight) -> W + Send + Sync,
    ) -> KeyLookup {
        let decide = |cache: &Self, state: &State| match cache.decide(state, query, now) {
            Decision::Answer(KeyLookup::Found(at_hand)) if !state.closed && !state.waiters.is_full() => {
                match state.running() {
                    Some(attempt) => Decision::Join(attempt),
                    None if state.may_miss(now) && (state.failure.is_none() || state.has_rested(now)) => {
                        Decision::Begin(Cause::Miss)
                    }
                    None => Decision::Answer(KeyLookup::Found(at_hand)),
                }
            }
            decision => decision,
        };
        self.fetch_by(decide, query, now, start, wait).await
    }

    async fn fetch_by<S: Future<Output = ()> + Send, W: Future<Output = ()> + Send>(
        self: &Arc<Self>,
        decide: impl Fn(&Self, &State) -> Decision + Send + Sync,
        query: KeyQuery<'_>,
        now: UnixSeconds,
        start: impl Fn(Permit) -> S + Send + Sync,
        wait: impl Fn(Flight) -> W + Send + Sync,
    ) -> KeyLookup {
        let mut attempt = 0;
        for _ in 0..2 {
            let (permit, flight) = match self.join_or_begin(&decide, now) {
                Err(answer) => return answer,
                Ok(joined) => joined,
            };
            let leads = permit.is_some();
            attempt = flight.attempt();
            if let Some(permit) = permit {
                start(permit).await;
            }
            wait(flight).await;
            if leads {
                break;
            }
        }
        self.last_word(query, now, attempt)
    }

    /// Begins a background attempt, if one is due.
    pub(super) fn begin_if_due(self: &Arc<Self>, now: UnixSeconds) -> Option<Permit> {
        let mut state = self.lock();
        let refresh_at = self.snapshot.load().times.map_or_else(UnixSeconds::default, |times| times.refresh_at);
        let due = state.failure.is_some() || now >= refresh_at || state.is_set_back(now);
        let free = state.running().is_none() && !state.closed && state.has_rested(now);
        (due && free).then(|| self.begin(&mut state, Cause::Need, now))
    }

    /// Tells, for the price of a load, whether [`begin_if_due`](Self::begin_if_due) is worth a call.
    pub(super) fn is_due(&self, now: UnixSeconds) -> bool {
        let set_back = |keys: &Snapshot| keys.times.is_some_and(|times| times.is_set_back(now));
        now.as_secs() >= self.due_at.load(Ordering::Acquire) || self.snapshot.read(set_back)
    }

    /// Returns how long the background may sleep, or the running attempt to wait for.
    pub(super) fn time_until_due(self: &Arc<Self>, now: UnixSeconds) -> Result<Duration, Flight> {
        let mut state = self.lock();
        match state.running() {
            Some(attempt) => {
                let ticket = state.waiters.take_seat();
                drop(state);
                Err(Flight::new(Arc::clone(self), attempt, ticket))
            }
            None => Ok(UnixSeconds::new(self.due_at.load(Ordering::Acquire)).since(now)),
        }
    }

    pub(super) const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn health(&self, now: UnixSeconds) -> KeyHealth {
        let failing = self.lock().failure.is_some();
        self.snapshot.read(|snapshot| match snapshot.times {
            Some(times) if snapshot.is_trusted(now) && !snapshot.keys.is_empty() => {
                let keys = snapshot.keys.len();
                if failing || now >= times.fresh_until {
                    KeyHealth::Stale { keys, until: times.stale_until }
                } else {
                    KeyHealth::Fresh { keys }
                }
            }
            _ => KeyHealth::Unavailable,
        })
    }

    /// Lets nothing begin any more, and nobody wait.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.due_at.store(u64::MAX, Ordering::Release);
        let waiting = state.waiters.drain();
        drop(state);
        waiting.into_iter().for_each(std::task::Waker::wake);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Says what is to be done for a token whose key was not found. Sets are published under the lock, so the answer fits the state.
    fn decide(&self, state: &State, query: KeyQuery<'_>, now: UnixSeconds) -> Decision {
        let snapshot = self.snapshot.load();
        match snapshot.look_up(query, self.policy.nameless, now) {
            Match::Found(candidates) => return Decision::Answer(KeyLookup::Found(candidates)),
            Match::Ambiguous => return Decision::Answer(KeyLookup::Ambiguous),
            Match::Unfit => return Decision::Answer(KeyLookup::Unknown),
            Match::Missing => {}
        }
        if state.closed {
            return Decision::Answer(state.failed(now));
        }
        if state.waiters.is_full() {
            return Decision::Answer(KeyLookup::Failed(
                Failure::unavailable("too many requests wait for the keys").with_retry_after(Duration::from_secs(1)),
            ));
        }
        if let Some(attempt) = state.running() {
            return Decision::Join(attempt);
        }
        if state.failure.is_some() || !snapshot.is_trusted(now) {
            return if state.has_rested(now) {
                Decision::Begin(Cause::Need)
            } else {
                Decision::Answer(state.failed(now))
            };
        }
        if state.may_miss(now) && !state.unknown.contains(query, now) {
            Decision::Begin(Cause::Miss)
        } else {
            Decision::Answer(KeyLookup::Unknown)
        }
    }

    fn join_or_begin(
        self: &Arc<Self>,
        decide: impl Fn(&Self, &State) -> Decision,
        now: UnixSeconds,
    ) -> Result<(Option<Permit>, Flight), KeyLookup> {
        let mut state = self.lock();
        let (permit, attempt) = match decide(self, &state) {
            Decision::Answer(answer) => return Err(answer),
            Decision::Join(attempt) => (None, attempt),
            Decision::Begin(cause) => {
                let permit = self.begin(&mut state, cause, now);
                (Some(permit), state.begun)
            }
        };
        let ticket = state.waiters.take_seat();
        drop(state);
        Ok((permit, Flight::new(Arc::clone(self), attempt, ticket)))
    }

    /// Answers after an attempt that began after the question: if it ended well, what is missing now is not to be had.
    fn last_word(&self, query: KeyQuery<'_>, now: UnixSeconds, attempt: Attempt) -> KeyLookup {
        let mut state = self.lock();
        let snapshot = self.snapshot.load();
        match snapshot.look_up(query, self.policy.nameless, now) {
            Match::Found(candidates) => KeyLookup::Found(candidates),
            Match::Ambiguous => KeyLookup::Ambiguous,
            Match::Unfit => KeyLookup::Unknown,
            Match::Missing
                if state.failure.is_none() && state.ended >= attempt && !state.closed && snapshot.is_trusted(now) =>
            {
                state.unknown.insert(query, now.saturating_add(self.policy.miss_memory));
                KeyLookup::Unknown
            }
            Match::Missing => state.failed(now),
        }
    }

    fn begin(self: &Arc<Self>, state: &mut State, cause: Cause, now: UnixSeconds) -> Permit {
        let clock = Instant::now();
        let patience = self.policy.patience();
        state.begun += 1;
        // INVARIANT: a permit whose attempt is not the running one was given up for lost, and has no say any more.
        state.running = Some(Running { attempt: state.begun, patience: clock.checked_add(patience) });
        if state.is_set_back(now) {
            state.pause_until = now;
            state.miss_pause_until = now;
        }
        state.last_begun_at = now;
        state.last_begun = Some(clock);
        if cause == Cause::Miss {
            state.miss_pause_until = now.saturating_add(self.policy.miss_interval);
        }
        // Whoever comes by when the attempt should long have ended looks whether it is lost.
        let lost_at = now.saturating_add(patience).saturating_add(Duration::from_secs(1));
        self.due_at.store(lost_at.as_secs(), Ordering::Release);
        let tag = state.tag.clone();
        Permit { cache: Arc::clone(self), attempt: state.begun, tag, begun_at: now, clock, is_open: true }
    }
}

impl State {
    pub(super) fn has_ended(&self, attempt: Attempt) -> bool {
        self.closed || self.running.is_none_or(|running| running.attempt > attempt)
    }

    /// Returns the attempt that runs and is not lost.
    fn running(&self) -> Option<Attempt> {
        self.running
            .filter(|running| running.patience.is_none_or(|patience| Instant::now() < patience))
            .map(|running| running.attempt)
    }

    fn remember(&mut self, leaked: &[Leak]) {
        for leak in leaked {
            if !self.leaked.contains(leak) {
                self.leaked.push(leak.clone());
            }
        }
        let excess = self.leaked.len().saturating_sub(MAX_LEAKS);
        self.leaked.drain(..excess);
    }

    fn has_rested(&self, now: UnixSeconds) -> bool {
        now >= self.pause_until || self.is_set_back(now)
    }

    /// Tells whether an attempt may begin although the keys at hand are good.
    fn may_miss(&self, now: UnixSeconds) -> bool {
        now >= self.miss_pause_until || self.is_set_back(now)
    }

    fn is_set_back(&self, now: UnixSeconds) -> bool {
        now.saturating_add(SET_BACK) < self.last_begun_at
            && self.last_begun.is_none_or(|begun| begun.elapsed() >= SET_BACK_PAUSE)
    }

    /// Answers that nothing can be said, and when to ask again.
    fn failed(&self, now: UnixSeconds) -> KeyLookup {
        let failure = self.failure.clone().unwrap_or_else(|| Failure::unavailable("no keys are loaded"));
        let wait = self.pause_until.since(now).max(Duration::from_secs(1));
        KeyLookup::Failed(failure.with_retry_after(wait))
    }
}

/// Allows one attempt. Whoever drops it without a word has failed, so that nobody waits for ever.
pub(super) struct Permit {
    cache: Arc<Cache>,
    attempt: Attempt,
    tag: Option<Arc<Tag>>,
    begun_at: UnixSeconds,
    clock: Instant,
    is_open: bool,
}

impl Permit {
    /// Returns the version at hand.
    pub(super) fn tag(&self) -> Option<Arc<Tag>> {
        self.tag.clone()
    }

    /// Remembers which keys leaked, and leaves out those that leaked before, though the provider no longer shows it: that a secret
    /// is not published any more makes it none again.
    ///
    /// # Errors
    /// [`LoadError::OnlyLeaked`]: no key is left.
    pub(super) fn admit(&self, loaded: Loaded) -> Result<Loaded, LoadError> {
        let Loaded::Keys { mut keys, leaked, tag, ttl } = loaded else { return Ok(loaded) };
        let mut state = self.cache.lock();
        if self.is_running(&state) {
            state.remember(&leaked);
        }
        keys.retain(|key| !key.is_one_of(&state.leaked));
        drop(state);
        if keys.is_empty() { Err(LoadError::OnlyLeaked) } else { Ok(Loaded::Keys { keys, leaked, tag, ttl }) }
    }

    /// Publishes what was loaded and [admitted](Self::admit). `spread` is a random number for the jitter.
    ///
    /// Times count from the beginning of the attempt, when the provider still held the keys for certain.
    /// Returns whether the attempt before had failed.
    pub(super) fn succeed(mut self, loaded: Loaded, spread: u64) -> bool {
        self.is_open = false;
        let cache = &self.cache;
        let mut state = cache.lock();
        if !self.is_running(&state) {
            return false;
        }
        let current = cache.snapshot.load();
        let (next, tag) = match loaded {
            Loaded::Keys { keys, leaked: _, tag, ttl } => {
                (current.with_keys(keys, self.times(ttl, spread)), tag.map(Arc::new))
            }
            Loaded::Unchanged { ttl } => (current.with_times(self.times(ttl, spread)), self.tag.clone()),
        };
        let refresh_at = next.times.map_or_else(UnixSeconds::default, |times| times.refresh_at);
        let recovered = state.failure.take().is_some();
        state.failures = 0;
        state.pause_until = self.begun_at;
        state.unknown.clear();
        state.tag = tag;
        // INVARIANT: lives end before the attempt does, so no later look-up and no cache trusts a removed key.
        current.hand_over(&next);
        cache.snapshot.store(next);
        end(cache, state, refresh_at);
        recovered
    }

    /// Tells whether this attempt has not been given up for lost.
    fn is_running(&self, state: &State) -> bool {
        state.running.is_some_and(|running| running.attempt == self.attempt)
    }

    /// Ends the trust in keys at hand whose private half was published, before the attempt [fails](Self::fail).
    pub(super) fn forget(&self, leaked: &[Leak]) {
        if !leaked.is_empty() {
            self.leave_out(leaked, |key| key.is_one_of(leaked));
        }
    }

    /// Ends the trust in every key at hand, before the attempt [fails](Self::fail).
    pub(super) fn forget_all(&self) {
        self.leave_out(&[], |_| true);
    }

    fn leave_out(&self, leaked: &[Leak], is_one: impl Fn(&VerifyingKey) -> bool) {
        let cache = &self.cache;
        let mut state = cache.lock();
        if !self.is_running(&state) {
            return;
        }
        state.remember(leaked);
        let current = cache.snapshot.load();
        let next = current.without(is_one);
        current.hand_over(&next);
        cache.snapshot.store(next);
        // What is at hand is no version of the provider's any more.
        state.tag = None;
    }

    /// Keeps what is at hand, and pauses, as long as the provider asks for within the bounds. Returns how many attempts have
    /// failed in a row.
    pub(super) fn fail(mut self, failure: Failure, is_transient: bool, retry_after: Option<Duration>) -> u32 {
        self.is_open = false;
        self.give_up(failure, is_transient, retry_after)
    }

    fn give_up(&self, failure: Failure, is_transient: bool, retry_after: Option<Duration>) -> u32 {
        let mut state = self.cache.lock();
        if !self.is_running(&state) {
            return state.failures;
        }
        state.failures = state.failures.saturating_add(1);
        state.failure = Some(failure);
        let ended_at = self.begun_at.saturating_add(self.clock.elapsed());
        let pause = self.cache.policy.pause_after(state.failures, is_transient, retry_after);
        state.pause_until = ended_at.saturating_add(pause);
        let (failures, pause_until) = (state.failures, state.pause_until);
        end(&self.cache, state, pause_until);
        failures
    }

    fn times(&self, ttl: Duration, spread: u64) -> Times {
        let fresh_until = self.begun_at.saturating_add(ttl);
        Times {
            loaded_at: self.begun_at,
            loaded: self.clock,
            refresh_at: fresh_until.saturating_sub(self.cache.policy.lead(ttl, spread)),
            fresh_until,
            stale_until: fresh_until.saturating_add(self.cache.policy.stale_bound),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_open {
            self.give_up(Failure::unavailable("loading the keys was broken off"), true, None);
        }
    }
}

/// Ends the running attempt and wakes who waits for it, the lock being free by then.
fn end(cache: &Cache, mut state: MutexGuard<'_, State>, due_at: UnixSeconds) {
    if let Some(running) = state.running.take() {
        state.ended = running.attempt;
    }
    if !state.closed {
        cache.due_at.store(due_at.as_secs(), Ordering::Release);
    }
    let waiting = state.waiters.drain();
    drop(state);
    waiting.into_iter().for_each(std::task::Waker::wake);
}

#[cfg(all(test, sekisho_shuttle))]
mod interleavings;
#[cfg(test)]
mod tests;
