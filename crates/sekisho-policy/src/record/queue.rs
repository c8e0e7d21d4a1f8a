use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::NotRecorded;

/// Makes a queue with room for `most` items and `most_bytes` bytes of them. Sending never waits.
pub(crate) fn queue<T>(most: usize, most_bytes: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { items: VecDeque::new(), bytes: 0, senders: 1, is_closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), wake: Notify::new(), most, most_bytes });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Notify,
    most: usize,
    most_bytes: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    senders: usize,
    is_closed: bool,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts items into a queue.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts an item into it.
    ///
    /// # Errors
    /// [`NotRecorded::Closed`] when nobody takes them any more, [`NotRecorded::Full`].
    pub(crate) fn send(&self, item: T, bytes: usize) -> Result<(), NotRecorded> {
        {
            let mut state = self.0.state();
            self.check(&state, bytes)?;
            state.items.push_back((item, bytes));
            state.bytes += bytes;
        }
        self.0.wake.notify_one();
        Ok(())
    }

    /// Tells whether an item of this size would find room now.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) fn has_room(&self, bytes: usize) -> Result<(), NotRecorded> {
        self.check(&self.0.state(), bytes)
    }

    fn check(&self, state: &State<T>, bytes: usize) -> Result<(), NotRecorded> {
        if state.is_closed {
            return Err(NotRecorded::Closed);
        }
        if state.items.len() >= self.0.most || state.bytes.saturating_add(bytes) > self.0.most_bytes {
            return Err(NotRecorded::Full);
        }
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state().senders -= 1;
        self.0.wake.notify_one();
    }
}

/// Takes items out of a queue. There is one; when it is dropped, the queue is closed.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// Takes the oldest item, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = self.0.state();
        let (item, bytes) = state.items.pop_front()?;
        state.bytes -= bytes;
        Some(item)
    }

    /// Lets nothing in any more; what is in it can still be taken.
    pub(crate) fn close(&self) {
        self.0.state().is_closed = true;
    }

    /// Waits until there is an item, and returns true; or false when there will be none.
    pub(crate) async fn wait(&self) -> bool {
        loop {
            {
                let state = self.0.state();
                if !state.items.is_empty() {
                    return true;
                }
                if state.is_closed || state.senders == 0 {
                    return false;
                }
            }
            // A notification that came between the look and here is kept for whoever waits next.
            self.0.wake.notified().await;
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_closed = true;
        state.items.clear();
        state.bytes = 0;
    }
}
