use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sekisho_core::{Clock, SystemClock, UnixSeconds};

/// Stands still until a test moves it.
///
/// Clones share the instant: one goes into the checkpoint, the other stays with the test.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use sekisho_core::{Clock, UnixSeconds};
/// let clock = sekisho_testkit::FixedClock::at(UnixSeconds::new(1_700_000_000));
/// let shared = clock.clone();
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(shared.now(), UnixSeconds::new(1_700_000_090));
/// ```
#[derive(Clone)]
pub struct FixedClock(Arc<AtomicU64>);

impl FixedClock {
    /// Stands at `instant`.
    #[must_use]
    pub fn at(instant: UnixSeconds) -> Self {
        Self(Arc::new(AtomicU64::new(instant.as_secs())))
    }

    /// Stands at what the system clock shows now.
    #[must_use]
    pub fn now_and_still() -> Self {
        Self::at(SystemClock.now())
    }

    /// Moves to `instant`, backwards too.
    pub fn set(&self, instant: UnixSeconds) {
        self.0.store(instant.as_secs(), Ordering::SeqCst);
    }

    /// Moves forward by whole seconds; a fraction is cut off.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds::new(self.0.load(Ordering::SeqCst))
    }
}

impl fmt::Debug for FixedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedClock({})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_instant_and_move_both_ways() {
        let clock = FixedClock::at(UnixSeconds::new(100));
        let other = clock.clone();
        other.advance(Duration::from_millis(2_900));
        assert_eq!(clock.now(), UnixSeconds::new(102));
        clock.set(UnixSeconds::new(7));
        assert_eq!(other.now(), UnixSeconds::new(7));
    }
}
