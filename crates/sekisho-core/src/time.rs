use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Counts whole seconds since 1970-01-01T00:00:00Z, ignoring leap seconds.
///
/// The unit of `exp`, `nbf`, `iat` and `auth_time` ([RFC 7519 §2], NumericDate). Arithmetic
/// saturates: no sum of hostile numbers wraps into the past or the future.
///
/// [RFC 7519 §2]: https://www.rfc-editor.org/rfc/rfc7519#section-2
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixSeconds(u64);

impl UnixSeconds {
    /// The latest instant that can be expressed; used for "never".
    pub const MAX: Self = Self(u64::MAX);

    /// Wraps a count of seconds since the epoch.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Returns the count of seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// Returns this instant moved into the future by `duration`, cut to whole seconds.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// Returns this instant moved into the past by `duration`, cut to whole seconds; 0 at the least.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }

    /// Returns the time from `earlier` to this instant, zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for UnixSeconds {
    /// Converts a wall-clock time; instants before 1970 become 0.
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixSeconds({})", self.0)
    }
}

/// Tells the time.
///
/// The one place where the family asks "when is now?"; a checkpoint holds one, and tests put a
/// fixed one in its place. Implementations answer at once and do not fail. A clock that jumps
/// backwards makes tokens live longer by that jump, no more.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the present instant, in whole seconds since the epoch.
    fn now(&self) -> UnixSeconds;
}

/// Reads the clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixSeconds {
        SystemTime::now().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let hour = Duration::from_secs(3600);
        assert_eq!(UnixSeconds::MAX.saturating_add(hour), UnixSeconds::MAX);
        assert_eq!(UnixSeconds::new(10).saturating_sub(hour), UnixSeconds::new(0));
        assert_eq!(UnixSeconds::new(10).since(UnixSeconds::new(20)), Duration::ZERO);
    }

    #[test]
    fn instants_before_the_epoch_are_zero() {
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(UnixSeconds::from(before), UnixSeconds::new(0));
    }
}
