//! Waiting for a running attempt, without a runtime.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::cache::Cache;
use super::policy::MAX_WAITING;

/// Numbers the attempts of one source, from 1.
pub(super) type Attempt = u64;

/// Holds the callers that wait.
#[derive(Default)]
pub(super) struct Waiters {
    /// Seats taken; a caller takes one before it waits, so that the bound holds whenever it is polled.
    taken: usize,
    next_ticket: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Waiters {
    pub(super) fn is_full(&self) -> bool {
        self.taken >= MAX_WAITING
    }

    pub(super) fn take_seat(&mut self) -> u64 {
        self.taken += 1;
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Returns the wakers of all who wait, to be woken when no lock is held.
    pub(super) fn drain(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers).into_values().collect()
    }
}

/// Ends when its attempt has ended, whatever came of it, or when the source is closed.
pub(super) struct Flight {
    cache: Arc<Cache>,
    attempt: Attempt,
    ticket: u64,
}

impl Flight {
    /// Waits for `attempt` on a seat that the caller has taken.
    pub(super) const fn new(cache: Arc<Cache>, attempt: Attempt, ticket: u64) -> Self {
        Self { cache, attempt, ticket }
    }

    pub(super) const fn attempt(&self) -> Attempt {
        self.attempt
    }
}

impl Future for Flight {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut state = self.cache.lock();
        if state.has_ended(self.attempt) {
            return Poll::Ready(());
        }
        let replaced = state.waiters.wakers.insert(self.ticket, waker);
        // Dropping a waker may drop another waiting caller, which takes the lock.
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.cache.lock();
        state.waiters.taken = state.waiters.taken.saturating_sub(1);
        let own = state.waiters.wakers.remove(&self.ticket);
        drop(state);
        drop(own);
    }
}
