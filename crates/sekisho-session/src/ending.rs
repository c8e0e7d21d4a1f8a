use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sekisho_core::{SessionEnd, SessionEndListener};

/// Is who hears of the ends of sessions.
#[derive(Clone, Default)]
pub(crate) struct EndListeners(Vec<Arc<dyn SessionEndListener>>);

impl EndListeners {
    pub(crate) fn add(&mut self, listener: impl SessionEndListener + 'static) {
        self.0.push(Arc::new(listener));
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells everybody once what this returns is dropped.
    ///
    /// INVARIANT: to be held while the store is asked to end something. Then they hear of it after the store, whatever it
    /// answered, and also when nobody waits for the answer any more: the end may have come about all the same.
    #[must_use]
    pub(crate) const fn ending<'a>(&'a self, end: SessionEnd<'a>) -> Ending<'a> {
        Ending { listeners: self, end }
    }
}

impl fmt::Debug for EndListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndListeners({})", self.0.len())
    }
}

/// Is an end that is just being written.
pub(crate) struct Ending<'a> {
    listeners: &'a EndListeners,
    end: SessionEnd<'a>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        for listener in &self.listeners.0 {
            // A listener that panics must neither keep somebody logged in nor keep the others from hearing.
            if catch_unwind(AssertUnwindSafe(|| listener.session_ended(&self.end))).is_err() {
                tracing::error!(target: "sekisho", "what listens to the ends of sessions has panicked");
            }
        }
    }
}
