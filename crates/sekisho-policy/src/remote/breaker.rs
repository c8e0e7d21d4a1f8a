//! Leaves a decision service alone for a while that does not answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_core::Failure;
use tokio::time::Instant;

/// Counts what came of calls, and opens after too many that nothing came of.
///
/// Open, it lets nobody call. After a while one call is let through, and what comes of it closes or opens it again.
pub(crate) struct Breaker {
    most_failures: u32,
    open_for: Duration,
    state: Mutex<State>,
}

enum State {
    /// One bit for each of the last 32 calls, the latest lowest; set where nothing came of it.
    Closed {
        history: u32,
    },
    Open {
        until: Instant,
    },
    Probing,
}

impl Breaker {
    /// - `most_failures`: so many one after the other open it, or half of the last 32; 1 to 32.
    pub(crate) fn new(most_failures: u32, open_for: Duration) -> Self {
        Self { most_failures, open_for, state: Mutex::new(State::Closed { history: 0 }) }
    }

    /// Tells whether a call would be let through now.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Failure> {
        match *self.lock() {
            State::Closed { .. } => Ok(()),
            State::Open { until } if until <= now => Ok(()),
            State::Open { until } => Err(open(until - now)),
            State::Probing => Err(open(Duration::ZERO)),
        }
    }

    /// Lets a call through. One that ends without a word by `deadline` counts as a failure; one that is given up before
    /// counts for nothing.
    pub(crate) fn admit(&self, now: Instant, deadline: Instant) -> Result<Call<'_>, Failure> {
        let mut state = self.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if until <= now => {
                *state = State::Probing;
                true
            }
            State::Open { until } => return Err(open(until - now)),
            State::Probing => return Err(open(Duration::ZERO)),
        };
        Ok(Call { breaker: self, is_probe, deadline, is_told: false })
    }

    /// Tells whether calls are refused.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(*self.lock(), State::Closed { .. })
    }

    fn note(&self, is_probe: bool, is_failure: bool, now: Instant) {
        let mut state = self.lock();
        match (&mut *state, is_failure) {
            (State::Closed { history }, _) => {
                *history = *history << 1 | u32::from(is_failure);
                if history.trailing_ones() >= self.most_failures || history.count_ones() >= HALF {
                    *state = State::Open { until: now + self.open_for };
                }
            }
            (State::Probing, false) if is_probe => *state = State::Closed { history: 0 },
            (State::Probing, true) if is_probe => *state = State::Open { until: now + self.open_for },
            // What was asked before it opened says nothing new.
            (State::Probing | State::Open { .. }, _) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is one call that was let through.
pub(crate) struct Call<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    deadline: Instant,
    is_told: bool,
}

impl Call<'_> {
    /// The service has answered, whatever it said.
    pub(crate) fn answered(mut self) {
        self.is_told = true;
        self.breaker.note(self.is_probe, false, Instant::now());
    }

    /// The service did not answer, or said itself that it cannot.
    pub(crate) fn failed(mut self) {
        self.is_told = true;
        self.breaker.note(self.is_probe, true, Instant::now());
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        let now = Instant::now();
        if now >= self.deadline {
            self.breaker.note(self.is_probe, true, now);
        } else if self.is_probe {
            // Nothing was learned, so the next one may try.
            *self.breaker.lock() = State::Open { until: now };
        }
    }
}

fn open(left: Duration) -> Failure {
    Failure::unavailable("the decision service is left alone after failures").with_retry_after(left.max(SHORTEST_RETRY))
}

const HALF: u32 = u32::BITS / 2;
const SHORTEST_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(3, OPEN_FOR)
    }

    fn admit(breaker: &Breaker) -> Result<Call<'_>, Failure> {
        let now = Instant::now();
        breaker.admit(now, now + Duration::from_millis(200))
    }

    fn fail(breaker: &Breaker, times: usize) {
        (0..times).for_each(|_| admit(breaker).unwrap().failed());
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_so_many_failures_in_a_row_and_says_when_to_come_back() {
        let breaker = breaker();
        fail(&breaker, 2);
        admit(&breaker).unwrap().answered();
        fail(&breaker, 2);
        assert!(!breaker.is_open());
        fail(&breaker, 1);
        assert!(breaker.is_open() && breaker.check(Instant::now()).is_err());
        let failure = admit(&breaker).err().unwrap();
        assert_eq!(failure.retry_after(), Some(OPEN_FOR));
    }

    #[tokio::test(start_paused = true)]
    async fn opens_when_half_of_the_calls_fail_though_never_in_a_row() {
        let breaker = breaker();
        for _ in 0..15 {
            fail(&breaker, 1);
            admit(&breaker).unwrap().answered();
        }
        assert!(!breaker.is_open());
        fail(&breaker, 1);
        assert!(breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn lets_one_through_when_the_time_has_passed_and_no_second() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(OPEN_FOR).await;
        let probe = admit(&breaker).unwrap();
        assert!(admit(&breaker).is_err() && breaker.check(Instant::now()).is_err());
        probe.answered();
        assert!(!breaker.is_open() && admit(&breaker).is_ok());
        // What failed before is forgotten.
        fail(&breaker, 2);
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_keeps_it_open() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(OPEN_FOR).await;
        admit(&breaker).unwrap().failed();
        assert!(admit(&breaker).is_err());
        tokio::time::advance(OPEN_FOR).await;
        assert!(admit(&breaker).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_before_its_time_counts_for_nothing_and_one_at_its_deadline_failed() {
        let breaker = breaker();
        (0..9).for_each(|_| drop(admit(&breaker).unwrap()));
        assert!(!breaker.is_open());
        let late: Vec<_> = (0..3).map(|_| admit(&breaker).unwrap()).collect();
        tokio::time::advance(Duration::from_millis(200)).await;
        drop(late);
        assert!(breaker.is_open());
        tokio::time::advance(OPEN_FOR).await;
        drop(admit(&breaker).unwrap());
        let probe = admit(&breaker).unwrap();
        tokio::time::advance(Duration::from_millis(200)).await;
        drop(probe);
        assert!(admit(&breaker).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_an_older_call_closes_nothing() {
        let breaker = breaker();
        let (old, older) = (admit(&breaker).unwrap(), admit(&breaker).unwrap());
        fail(&breaker, 3);
        old.answered();
        assert!(breaker.is_open());
        tokio::time::advance(OPEN_FOR).await;
        let probe = admit(&breaker).unwrap();
        older.answered();
        assert!(admit(&breaker).is_err());
        drop(probe);
    }
}
