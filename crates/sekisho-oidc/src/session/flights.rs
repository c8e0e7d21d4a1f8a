use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sekisho_core::FailureKind;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::session::access::AccessToken;
use crate::session::record::Held;
use crate::session::sync::{Mutex, MutexGuard, spawn};

#[cfg(all(test, sekisho_shuttle))]
mod interleavings;

/// Holds the refreshes that are under way in this process, one of a session at the most, and new tokens that could not be written down yet.
#[derive(Default)]
pub(crate) struct Flights(Mutex<State>);

#[derive(Default)]
struct State {
    running: HashMap<Box<str>, watch::Receiver<Option<Landing>>>,
    stranded: HashMap<Box<str>, (Stranded, Instant)>,
}

/// Says how a refresh ended, to all who waited for it.
#[derive(Clone)]
pub(crate) enum Landing {
    /// This token is good.
    Token(AccessToken),
    /// There is no refresh token any more.
    Over,
    /// The session has ended meanwhile, by somebody else.
    Gone,
    /// The provider no longer honours the login, and the session was ended for that.
    Ended,
    /// Our side or the provider's broke.
    Failed(FailureKind, Option<Duration>),
}

/// Is a refresh whose answer has no place in the store yet: the refresh token of before is used up, so it must not be lost.
#[derive(Clone)]
pub(crate) struct Stranded {
    /// The mark that it was made under: only a record that still shows this one takes it.
    pub(crate) me: Box<str>,
    pub(crate) new: Held,
}

impl Flights {
    /// Joins the refresh of this session that is under way, or begins one, which goes on though all who wait for it are dropped. `None`
    /// when too many are under way.
    pub(crate) fn join<F>(
        self: &Arc<Self>,
        session: &str,
        begin: impl FnOnce() -> F,
    ) -> Option<watch::Receiver<Option<Landing>>>
    where
        F: Future<Output = Landing> + Send + 'static,
    {
        let mut state = self.lock();
        let room = state.running.len() < MOST_RUNNING;
        match state.running.entry(session.into()) {
            Entry::Occupied(running) => Some(running.get().clone()),
            Entry::Vacant(_) if !room => None,
            Entry::Vacant(free) => {
                let (sender, receiver) = watch::channel(None);
                free.insert(receiver.clone());
                let (flight, seat) = (begin(), Seat { flights: Arc::clone(self), session: session.into() });
                spawn(async move {
                    let landing = flight.await;
                    // Whoever comes from now on looks into the store.
                    drop(seat);
                    sender.send_replace(Some(landing));
                });
                Some(receiver)
            }
        }
    }

    /// Keeps what could not be written down, for the next request of the session in this process.
    pub(crate) fn strand(&self, session: &str, stranded: Stranded) {
        let now = Instant::now();
        let mut state = self.lock();
        state.stranded.retain(|_, (_, until)| now < *until);
        if state.stranded.len() < MOST_STRANDED {
            state.stranded.insert(session.into(), (stranded, now + STRANDED));
        } else {
            tracing::error!(target: "sekisho", "refreshed tokens are lost: the session must log in again");
        }
    }

    pub(crate) fn stranded(&self, session: &str) -> Option<Stranded> {
        self.lock().stranded.get(session).map(|(stranded, _)| stranded.clone())
    }

    pub(crate) fn has_stranded(&self, session: &str) -> bool {
        self.lock().stranded.contains_key(session)
    }

    pub(crate) fn forget(&self, session: &str) {
        self.lock().stranded.remove(session);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Flights")
            .field("running", &state.running.len())
            .field("stranded", &state.stranded.len())
            .finish()
    }
}

/// Gives the session's place back, also when the task panics.
struct Seat {
    flights: Arc<Flights>,
    session: Box<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.flights.lock().running.remove(&self.session);
    }
}

const MOST_RUNNING: usize = 10_000;
const MOST_STRANDED: usize = 1000;
/// A mark is gone sooner.
const STRANDED: Duration = Duration::from_secs(120);
