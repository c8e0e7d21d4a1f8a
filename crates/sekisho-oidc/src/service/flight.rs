//! One question at a time for each token, and not too many at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use sekisho_core::Failure;

use super::cache::RequestKey;
use super::token::ServiceToken;
use crate::tokens::TokenError;

pub(super) type Outcome = Result<ServiceToken, TokenError>;

/// Is a running question. Whoever holds one drives it, so that nobody is stranded when another goes away; when all have gone, it ends.
pub(super) type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Holds the running questions.
#[derive(Default)]
pub(super) struct Flights(Mutex<State>);

#[derive(Default)]
struct State {
    /// Weak, so that a question nobody waits for does not linger.
    running: HashMap<RequestKey, (u64, WeakShared<BoxFuture<'static, Outcome>>)>,
    next_id: u64,
    calls: usize,
    waiting: usize,
}

/// Is what becomes of somebody who wants a token.
pub(super) enum Boarding {
    Aboard(Flight, Seat),
    /// Somebody else's question has just been answered.
    Known(Outcome),
    Full(Failure),
}

impl Flights {
    /// Joins the running question, or begins one with `begin`; `known` is asked under the lock, so that no question is asked whose
    /// answer has just come in.
    pub(super) fn board(
        self: &Arc<Self>,
        key: RequestKey,
        most: usize,
        known: impl FnOnce() -> Option<Outcome>,
        begin: impl FnOnce(Landing) -> BoxFuture<'static, Outcome>,
    ) -> Boarding {
        let mut state = self.lock();
        if state.waiting >= MOST_WAITING {
            return Boarding::Full(BUSY.with_retry_after(Duration::from_secs(1)));
        }
        let flight = match state.running.get(&key).and_then(|(_, running)| running.upgrade()) {
            Some(flight) => flight,
            None => {
                if let Some(outcome) = known() {
                    return Boarding::Known(outcome);
                }
                if state.calls >= most {
                    return Boarding::Full(BUSY.with_retry_after(Duration::from_secs(1)));
                }
                let id = state.next_id;
                state.next_id += 1;
                state.calls += 1;
                let flight = begin(Landing { flights: Arc::clone(self), key, id }).shared();
                if let Some(weak) = flight.downgrade() {
                    state.running.insert(key, (id, weak));
                }
                flight
            }
        };
        state.waiting += 1;
        Boarding::Aboard(flight, Seat(Arc::clone(self)))
    }

    /// Lets what running questions bring be kept by nobody; who waits still gets it. `forget` runs under the lock.
    pub(super) fn disown(&self, key: Option<&RequestKey>, forget: impl FnOnce()) {
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
pub(super) struct Landing {
    flights: Arc<Flights>,
    key: RequestKey,
    id: u64,
}

impl Landing {
    /// Keeps what came out: `keep` runs under the lock, and is told whether the question was not disowned meanwhile.
    pub(super) fn land(self, keep: impl FnOnce(bool)) {
        let state = self.flights.lock();
        keep(state.running.get(&self.key).is_some_and(|(id, _)| *id == self.id));
        drop(state);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut state = self.flights.lock();
        state.calls = state.calls.saturating_sub(1);
        if state.running.get(&self.key).is_some_and(|(id, _)| *id == self.id) {
            state.running.remove(&self.key);
        }
    }
}

/// Is one who waits.
pub(super) struct Seat(Arc<Flights>);

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

const BUSY: Failure = Failure::unavailable("too many tokens are asked for at once");
/// Bounds how many requests may wait; a flood beyond it is told to come back.
const MOST_WAITING: usize = 4096;
