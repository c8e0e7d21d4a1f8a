//! Equal questions to another server, asked once at a time.
//!
//! For whoever asks a server in the name of many requests: introspection, token exchange, authorization decisions. It sends
//! nothing and waits for nothing by itself.
//!
//! # Examples
//! ```
//! use std::sync::Arc;
//! use sekisho_http::single_flight::{Boarding, SingleFlight};
//!
//! # fn main() {
//! let flights = Arc::new(SingleFlight::<&str, u32>::new(4096));
//! let board = |answer| {
//!     let begin = |landing: sekisho_http::single_flight::Landing<_, _>| -> sekisho_http::single_flight::Question<u32> {
//!         Box::pin(async move {
//!             landing.land(|_is_owned| { /* into a cache */ });
//!             answer
//!         })
//!     };
//!     match flights.board("question", 64, || None, begin) {
//!         Boarding::Aboard(flight, seat) => (flight, seat),
//!         Boarding::Known(_) | Boarding::Full => panic!("nothing is known, and there is room"),
//!     }
//! };
//! let (first, _seat) = board(7);
//! let (second, _seat) = board(8); // shares the first one's answer
//! # futures_util::FutureExt::now_or_never(async move {
//! assert_eq!((first.await, second.await), (7, 7));
//! # }).unwrap();
//! # }
//! ```

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use crate::sync::{Mutex, MutexGuard};

/// Is a question on its way.
pub type Question<T> = BoxFuture<'static, T>;

/// Is a running question. Whoever holds one drives it, so that nobody is stranded when another goes away; when all have gone,
/// the question ends.
pub type Flight<T> = Shared<Question<T>>;

/// Holds the running questions, one for each key.
///
/// A key must stand for all that decides about the answer. Keep it in an [`Arc`]; a flight holds on to it.
pub struct SingleFlight<K, T: Clone> {
    most_waiting: usize,
    state: Mutex<State<K, T>>,
}

struct State<K, T: Clone> {
    running: HashMap<K, Running<T>>,
    next_id: u64,
    calls: usize,
    waiting: usize,
}

struct Running<T: Clone> {
    id: u64,
    /// Weak, so that a question nobody waits for does not linger.
    flight: WeakShared<Question<T>>,
}

/// Is what becomes of somebody who wants to know.
#[expect(clippy::exhaustive_enums, reason = "a fourth outcome must break every caller's match")]
pub enum Boarding<K: Clone + Eq + Hash, T: Clone> {
    /// Wait for the flight, and keep the seat meanwhile.
    Aboard(Flight<T>, Seat<K, T>),
    /// Somebody else's question has just been answered.
    Known(T),
    /// Too many questions run, or too many wait. Nobody was asked.
    Full,
}

impl<K: Clone + Eq + Hash, T: Clone> SingleFlight<K, T> {
    /// Makes one that lets `most_waiting` wait at most, whatever for; a flood beyond it finds it [full](Boarding::Full).
    #[must_use]
    pub fn new(most_waiting: usize) -> Self {
        let state = State { running: HashMap::new(), next_id: 0, calls: 0, waiting: 0 };
        Self { most_waiting, state: Mutex::new(state) }
    }

    /// Joins the running question, or begins one.
    ///
    /// - `most`: how many questions may run; one more is not begun.
    /// - `known`: asked under the lock when none runs, so that no question is asked whose answer has just come in.
    /// - `begin`: makes the question, and lets it [land](Landing::land). It is called under the lock and must not come back here.
    pub fn board(
        self: &Arc<Self>,
        key: K,
        most: usize,
        known: impl FnOnce() -> Option<T>,
        begin: impl FnOnce(Landing<K, T>) -> Question<T>,
    ) -> Boarding<K, T> {
        let mut state = self.lock();
        if state.waiting >= self.most_waiting {
            return Boarding::Full;
        }
        let flight = match state.flight(&key) {
            Some(flight) => flight,
            None => {
                if let Some(answer) = known() {
                    return Boarding::Known(answer);
                }
                if state.calls >= most {
                    return Boarding::Full;
                }
                let id = state.next_id;
                state.next_id += 1;
                state.calls += 1;
                let flight = begin(Landing { flights: Arc::clone(self), key: key.clone(), id }).shared();
                if let Some(weak) = flight.downgrade() {
                    state.running.insert(key, Running { id, flight: weak });
                }
                flight
            }
        };
        state.waiting += 1;
        Boarding::Aboard(flight, Seat(Arc::clone(self)))
    }

    /// Joins the running question, if there is one: for whoever has to prepare before he can begin one himself.
    pub fn join(self: &Arc<Self>, key: &K) -> Option<Boarding<K, T>> {
        let mut state = self.lock();
        let flight = state.flight(key)?;
        if state.waiting >= self.most_waiting {
            // The flight may be the last of its kind by now, and its end takes the lock.
            drop(state);
            return Some(Boarding::Full);
        }
        state.waiting += 1;
        Some(Boarding::Aboard(flight, Seat(Arc::clone(self))))
    }

    /// Lets the answer to the running question of `key`, or to all for `None`, be kept by nobody; who waits still gets it.
    /// Whoever comes later begins anew. `forget` runs under the lock.
    pub fn disown(&self, key: Option<&K>, forget: impl FnOnce()) {
        let mut state = self.lock();
        match key {
            Some(key) => drop(state.running.remove(key)),
            None => state.running.clear(),
        }
        forget();
    }

    fn lock(&self) -> MutexGuard<'_, State<K, T>> {
        // A panic elsewhere leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, T: Clone> State<K, T> {
    fn flight(&self, key: &K) -> Option<Flight<T>> {
        self.running.get(key)?.flight.upgrade()
    }

    fn is_run_by(&self, key: &K, id: u64) -> bool {
        self.running.get(key).is_some_and(|running| running.id == id)
    }
}

impl<K, T: Clone> fmt::Debug for SingleFlight<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "SingleFlight({} running, {} waiting)", state.calls, state.waiting)
    }
}

/// Belongs to one question; dropped when it ends, however it ends.
pub struct Landing<K: Clone + Eq + Hash, T: Clone> {
    flights: Arc<SingleFlight<K, T>>,
    key: K,
    id: u64,
}

impl<K: Clone + Eq + Hash, T: Clone> Landing<K, T> {
    /// Keeps what came out: `keep` runs under the lock, and is told whether the question is still its key's, or was
    /// [disowned](SingleFlight::disown) meanwhile.
    pub fn land(self, keep: impl FnOnce(bool)) {
        let state = self.flights.lock();
        keep(state.is_run_by(&self.key, self.id));
        drop(state);
    }
}

impl<K: Clone + Eq + Hash, T: Clone> Drop for Landing<K, T> {
    fn drop(&mut self) {
        let mut state = self.flights.lock();
        state.calls = state.calls.saturating_sub(1);
        if state.is_run_by(&self.key, self.id) {
            state.running.remove(&self.key);
        }
    }
}

impl<K: Clone + Eq + Hash, T: Clone> fmt::Debug for Landing<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Landing").finish_non_exhaustive()
    }
}

/// Is one who waits.
pub struct Seat<K: Clone + Eq + Hash, T: Clone>(Arc<SingleFlight<K, T>>);

impl<K: Clone + Eq + Hash, T: Clone> Drop for Seat<K, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

impl<K: Clone + Eq + Hash, T: Clone> fmt::Debug for Seat<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seat")
    }
}

impl<K: Clone + Eq + Hash, T: Clone> fmt::Debug for Boarding<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aboard(..) => "Aboard",
            Self::Known(_) => "Known",
            Self::Full => "Full",
        })
    }
}

#[cfg(test)]
mod tests;
