//! When a source may ask its provider, and how long it trusts the answer.

use std::time::Duration;

use super::snapshot::Nameless;

/// Bounds how many callers may wait for one load; a flood beyond it is told to come back.
pub(super) const MAX_WAITING: usize = 1024;

/// Holds every duration of the state machine. The builders' docs say what each is for.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) refresh_ahead: Duration,
    pub(super) stale_bound: Duration,
    pub(super) miss_interval: Duration,
    pub(super) miss_memory: Duration,
    pub(super) retry_first: Duration,
    pub(super) retry_longest: Duration,
    /// How long an attempt may take.
    pub(super) budget: Duration,
    pub(super) nameless: Nameless,
}

impl Policy {
    /// Returns after how long an attempt that has not ended is given up for lost: its runtime stands still or is gone.
    pub(super) fn patience(&self) -> Duration {
        self.budget.saturating_add(Duration::from_secs(1))
    }

    /// Returns how long to let the provider alone after so many failures in a row.
    ///
    /// A provider that is away is asked again soon, so that it is back within seconds of its return. One that
    /// answers nonsense is up: nothing is gained by asking before the interval for unknown keys. One that says how long
    /// it needs is believed, up to that interval: no answer of the provider makes the service wait longer for it.
    pub(super) fn pause_after(&self, failures: u32, is_transient: bool, retry_after: Option<Duration>) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let growing = self.retry_first.saturating_mul(1 << doublings).min(self.retry_longest);
        let least = if is_transient { growing } else { growing.max(self.miss_interval) };
        least.max(retry_after.unwrap_or_default().min(self.miss_interval))
    }

    /// Returns how long before the end of `ttl` the refresh is due: `refresh_ahead`, and up to 5 % of the `ttl` more so that
    /// many instances do not ask at once, but never more than half of it. `spread` is random.
    pub(super) fn lead(&self, ttl: Duration, spread: u64) -> Duration {
        let jitter = match (ttl / 20).as_secs() {
            0 => 0,
            most => spread % (most + 1),
        };
        self.refresh_ahead.saturating_add(Duration::from_secs(jitter)).min(ttl / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            refresh_ahead: Duration::from_secs(30),
            stale_bound: Duration::from_secs(3600),
            miss_interval: Duration::from_secs(30),
            miss_memory: Duration::from_secs(60),
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_secs(5),
            budget: Duration::from_secs(5),
            nameless: Nameless::Skip,
        }
    }

    #[test]
    fn pauses_grow_to_a_bound_that_is_seconds() {
        let pauses: Vec<u64> = (1..7).map(|n| policy().pause_after(n, true, None).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5, 5]);
        assert_eq!(policy().pause_after(u32::MAX, true, None).as_secs(), 5);
    }

    #[test]
    fn nonsense_is_not_asked_for_again_before_the_interval() {
        assert_eq!(policy().pause_after(1, false, None).as_secs(), 30);
    }

    #[test]
    fn a_provider_that_asks_for_patience_gets_it_up_to_the_interval_for_unknown_keys() {
        let pause =
            |failures, seconds| policy().pause_after(failures, true, Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!([pause(1, 0), pause(1, 1), pause(1, 17), pause(1, 30), pause(1, 31)], [1, 1, 17, 30, 30]);
        assert_eq!([pause(9, 0), pause(9, 17), pause(9, u64::MAX)], [5, 17, 30]);
        assert_eq!(policy().pause_after(1, false, Some(Duration::from_secs(1))).as_secs(), 30);
    }

    #[test]
    fn the_lead_is_spread_and_never_more_than_half() {
        let ttl = Duration::from_secs(600);
        let leads: Vec<u64> = (0..100).map(|spread| policy().lead(ttl, spread).as_secs()).collect();
        assert_eq!(leads.iter().min(), Some(&30));
        assert_eq!(leads.iter().max(), Some(&60));
        assert_eq!(policy().lead(Duration::from_secs(40), 7).as_secs(), 20);
        assert_eq!(policy().lead(Duration::from_secs(1), u64::MAX), Duration::from_millis(500));
    }
}
