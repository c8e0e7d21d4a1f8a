//! One question at a time for each token, and not too many at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use sekisho_core::{Failure, Reject};

use crate::answer::{Active, Unanswered};
use crate::cache::TokenKey;

/// Is what a question came to: yes, no, or nobody knows.
pub(crate) type Outcome = Result<Result<Active, Reject>, Unanswered>;

/// Is a running question. Whoever holds one drives it, so that nobody is stranded when another goes away; when all have gone,
/// the question ends.
pub(crate) type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Holds the running questions.
#[derive(Default)]
pub(crate) struct Flights(Mutex<State>);

#[derive(Default)]
struct State {
    /// Weak, so that a question nobody waits for does not linger.
    running: HashMap<TokenKey, Running>,
    next_id: u64,
    calls: usize,
    waiting: usize,
}

struct Running {
    id: u64,
    flight: WeakShared<BoxFuture<'static, Outcome>>,
}

/// Is what becomes of somebody who wants to know.
pub(crate) enum Boarding {
    Aboard(Flight, Seat),
    /// Somebody else's question has just been answered.
    Known(Result<Active, Reject>),
    Full(Failure),
}

impl Flights {
    /// Joins the running question for this token, or begins one with `begin`; `known` is asked under the lock, so that no
    /// question is asked whose answer has just come in.
    pub(crate) fn board(
        self: &Arc<Self>,
        key: TokenKey,
        most: usize,
        known: impl FnOnce() -> Option<Result<Active, Reject>>,
        begin: impl FnOnce(Landing) -> BoxFuture<'static, Outcome>,
    ) -> Boarding {
        let mut state = self.lock();
        if state.waiting >= MOST_WAITING {
            return Boarding::Full(busy());
        }
        let flight = match state.running.get(&key).and_then(|running| running.flight.upgrade()) {
            Some(flight) => flight,
            None => {
                if let Some(answer) = known() {
                    return Boarding::Known(answer);
                }
                if state.calls >= most {
                    return Boarding::Full(busy());
                }
                let id = state.next_id;
                state.next_id += 1;
                state.calls += 1;
                let flight = begin(Landing { flights: Arc::clone(self), key, id }).shared();
                if let Some(weak) = flight.downgrade() {
                    state.running.insert(key, Running { id, flight: weak });
                }
                flight
            }
        };
        state.waiting += 1;
        Boarding::Aboard(flight, Seat(Arc::clone(self)))
    }

    /// Lets the answer to the running question for this token be kept by nobody; who waits still gets it. `forget` runs under the lock.
    pub(crate) fn disown(&self, key: Option<&TokenKey>, forget: impl FnOnce()) {
        let mut state = self.lock();
        match key {
            Some(key) => drop(state.running.remove(key)),
            None => state.running.clear(),
        }
        forget();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half done here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Belongs to one question; dropped when it ends, however it ends.
pub(crate) struct Landing {
    flights: Arc<Flights>,
    key: TokenKey,
    id: u64,
}

impl Landing {
    /// Keeps what came out: `keep` runs under the lock, and is told whether the question is still its token's, or was disowned
    /// meanwhile.
    pub(crate) fn land(self, keep: impl FnOnce(bool)) {
        let state = self.flights.lock();
        keep(state.running.get(&self.key).is_some_and(|running| running.id == self.id));
        drop(state);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut state = self.flights.lock();
        state.calls = state.calls.saturating_sub(1);
        if state.running.get(&self.key).is_some_and(|running| running.id == self.id) {
            state.running.remove(&self.key);
        }
    }
}

/// Is one who waits.
pub(crate) struct Seat(Arc<Flights>);

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

fn busy() -> Failure {
    Failure::unavailable("too many introspections at once").with_retry_after(Duration::from_secs(1))
}

/// Bounds how many requests may wait; a flood beyond it is told to come back.
const MOST_WAITING: usize = 4096;

#[cfg(test)]
mod tests;
