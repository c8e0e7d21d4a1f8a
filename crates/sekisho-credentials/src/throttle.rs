use std::fmt;
use std::time::Duration;

use sekisho_core::{ConfigError, UnixSeconds};

/// Says how long to wait after how many failures: nothing after the first few, then a time that doubles, up to a
/// longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayCurve {
    free: u32,
    first: u64,
    longest: u64,
    forgotten_after: u64,
}

impl DelayCurve {
    /// Builds a curve; durations are cut to whole seconds.
    ///
    /// - `free`: how many failures cost nothing; the one after them costs `first`, the next twice that, up to
    ///   `longest`.
    /// - `forgotten_after`: how long after the last failure all are forgotten.
    ///
    /// # Errors
    /// [`ConfigError`] unless 1 s ≤ `first` ≤ `longest` ≤ 1 day, `longest` ≤ `forgotten_after` ≤ 90 days and 1 ≤ `free`
    /// ≤ 10,000.
    pub fn new(free: u32, first: Duration, longest: Duration, forgotten_after: Duration) -> Result<Self, ConfigError> {
        let curve = Self {
            free,
            first: first.as_secs(),
            longest: longest.as_secs(),
            forgotten_after: forgotten_after.as_secs(),
        };
        let is_ordered = curve.first >= 1 && curve.first <= curve.longest && curve.longest <= curve.forgotten_after;
        let is_bounded = curve.longest <= DAY && curve.forgotten_after <= 90 * DAY && (1..=10_000).contains(&free);
        if !is_ordered || !is_bounded {
            return Err(ConfigError::new(
                "a delay curve wants 1 to 10000 free failures, and 1 s ≤ first ≤ longest ≤ 1 day, longest ≤ forgotten after ≤ 90 days",
            ));
        }
        Ok(curve)
    }

    pub(crate) const fn fixed(free: u32, first: u64, longest: u64, forgotten_after: u64) -> Self {
        Self { free, first, longest, forgotten_after }
    }

    /// Returns how long after the last of `failures` the next attempt is refused.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(self.free + 1) else { return Duration::ZERO };
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        Duration::from_secs(self.first.saturating_mul(factor).min(self.longest))
    }

    /// Returns how many of `failures` still count at `now`, when the last was at `last_at`.
    #[must_use]
    pub fn remembered(&self, failures: u32, last_at: UnixSeconds, now: UnixSeconds) -> u32 {
        if now.since(last_at).as_secs() >= self.forgotten_after { 0 } else { failures }
    }

    /// Returns how long an attempt at `now` has to wait, zero if not at all.
    #[must_use]
    pub fn wait(&self, failures: u32, last_at: UnixSeconds, now: UnixSeconds) -> Duration {
        let delay = self.delay(self.remembered(failures, last_at, now));
        // A clock of another process may be ahead: that never makes the wait longer than the delay.
        last_at.saturating_add(delay).since(now).min(delay)
    }

    /// Returns when a failure at `last_at` is forgotten.
    #[must_use]
    pub const fn forgotten_at(&self, last_at: UnixSeconds) -> UnixSeconds {
        last_at.saturating_add(Duration::from_secs(self.forgotten_after))
    }
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Says how attempts are slowed down.
///
/// Who is slowed down by whose failures:
///
/// | counted by | default: free failures, first and longest delay, forgotten after | whose attempts count, and wait |
/// |---|---|---|
/// | account and address (IPv4, or /64 of IPv6) | 4, 1 s to 15 min, 1 day | everybody's without a known device |
/// | address (IPv4, or /48 of IPv6) | 50, 1 s to 15 min, 1 h | the same |
/// | account | 20, 1 s to 5 min, 1 h | those of unknown devices at unknown addresses |
/// | account and known device | 4, 1 s to 15 min, 1 day | those with that device's token |
/// | account, second factor | 4, 1 s to 15 min, 1 day | those who gave the right password on an unknown device |
/// | account and known device, second factor | 4, 1 s to 15 min, 1 day | those who gave the right password on that device |
///
/// A *known device* carries a [`DeviceToken`](crate::DeviceToken) of a finished login; a *known address* is one from
/// which a login was finished lately. So:
///
/// - One address that guesses at one account is stopped by the first line; at many accounts by the second.
/// - Many addresses at one account are stopped by the third. Whoever wants to lock the owner out can do no more than
///   that: the owner's devices and addresses are not asked. What is left to such an attacker is that the owner waits,
///   as long as the attack lasts, on a new device at a new address.
/// - A neighbour behind the owner's address can slow the owner down at that address, but not on a known device.
/// - The second factor is reached only with the password, so strangers cannot use it to lock anybody out.
/// - Unknown names are counted like accounts: throttling does not tell who has one.
/// - A refused attempt is not counted and nothing is checked, so that waiting ends. An attempt counts as failed from
///   its beginning, and is forgiven when it succeeds: a thousand at once are not a thousand guesses.
/// - The owner's success forgives the first, the fourth and the last line, but of the others only itself: nobody buys
///   guesses by logging in between, or by waiting until the owner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottlePolicy {
    pub(crate) pair: DelayCurve,
    pub(crate) address: DelayCurve,
    pub(crate) account: DelayCurve,
    pub(crate) device: DelayCurve,
    pub(crate) second_factor: DelayCurve,
    pub(crate) most_counters: u64,
}

impl ThrottlePolicy {
    /// Sets the curve for one account from one address.
    #[must_use]
    pub const fn with_account_and_address(mut self, curve: DelayCurve) -> Self {
        self.pair = curve;
        self
    }

    /// Sets the curve for one address, whatever the account.
    #[must_use]
    pub const fn with_address(mut self, curve: DelayCurve) -> Self {
        self.address = curve;
        self
    }

    /// Sets the curve for one account, over all unknown devices and addresses.
    #[must_use]
    pub const fn with_account(mut self, curve: DelayCurve) -> Self {
        self.account = curve;
        self
    }

    /// Sets the curve for one account from one known device.
    #[must_use]
    pub const fn with_device(mut self, curve: DelayCurve) -> Self {
        self.device = curve;
        self
    }

    /// Sets the curve for codes after a right password.
    #[must_use]
    pub const fn with_second_factor(mut self, curve: DelayCurve) -> Self {
        self.second_factor = curve;
        self
    }

    /// Sets how many counters are kept over all, default 200,000. Beyond, those with the fewest failures go first, then
    /// the oldest: to wipe out a counter with `n` failures takes so many others with `n`.
    #[must_use]
    pub const fn with_most_counters(mut self, count: u64) -> Self {
        self.most_counters = count;
        self
    }
}

impl Default for ThrottlePolicy {
    fn default() -> Self {
        let own = DelayCurve::fixed(4, 1, 900, DAY);
        Self {
            pair: own,
            address: DelayCurve::fixed(50, 1, 900, HOUR),
            account: DelayCurve::fixed(20, 1, 300, HOUR),
            device: own,
            second_factor: own,
            most_counters: 200_000,
        }
    }
}

/// Names a counter of failures: a keyed hash, which says nothing of account or address. `Debug` shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey([u8; 32]);

impl CounterKey {
    /// Takes over bytes that are a good hash already.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to be a key in a store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CounterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CounterKey(..)")
    }
}

/// Is a counter that an attempt counts in, and how it slows down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores take it apart")]
pub struct Counter {
    /// Which counter.
    pub key: CounterKey,
    /// How it slows down.
    pub curve: DelayCurve,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_764_072_000);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn refuses_curves_that_never_slow_down_or_never_end() {
        let day = seconds(DAY);
        for (free, first, longest, forgotten) in [
            (0, seconds(1), day, day),
            (10_001, seconds(1), day, day),
            (4, Duration::from_millis(999), day, day),
            (4, seconds(10), seconds(9), day),
            (4, seconds(1), day * 2, day * 3),
            (4, seconds(1), day, seconds(DAY - 1)),
            (4, seconds(1), day, day * 91),
        ] {
            assert!(DelayCurve::new(free, first, longest, forgotten).is_err(), "{free} {first:?} {longest:?}");
        }
    }

    #[test]
    fn the_delay_doubles_from_the_fifth_failure_up_to_the_longest() {
        let curve = ThrottlePolicy::default().pair;
        let delays: Vec<u64> = (0..=16).map(|failures| curve.delay(failures).as_secs()).collect();
        assert_eq!(delays, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(curve.delay(u32::MAX), seconds(900));
    }

    #[test]
    fn waiting_ends_and_failures_are_forgotten() {
        let curve = ThrottlePolicy::default().pair;
        let at = |later| NOW.saturating_add(seconds(later));
        assert_eq!(curve.wait(8, NOW, NOW), seconds(8));
        assert_eq!(curve.wait(8, NOW, at(7)), seconds(1));
        assert_eq!(curve.wait(8, NOW, at(8)), Duration::ZERO);
        assert_eq!(curve.wait(8, at(1000), NOW), seconds(8), "a clock that is ahead");
        assert_eq!(curve.remembered(8, NOW, at(DAY - 1)), 8);
        assert_eq!(curve.remembered(8, NOW, at(DAY)), 0);
    }

    proptest! {
        #[test]
        fn no_numbers_make_it_panic_or_wait_longer_than_the_longest(
            free in 1_u32..=10_000, failures in any::<u32>(), last in any::<u64>(), now in any::<u64>(),
        ) {
            let curve = DelayCurve::new(free, seconds(1), seconds(900), seconds(DAY)).unwrap();
            let wait = curve.wait(failures, UnixSeconds::new(last), UnixSeconds::new(now));
            prop_assert!(wait <= seconds(900));
            prop_assert!(failures > free || wait.is_zero());
        }
    }
}
