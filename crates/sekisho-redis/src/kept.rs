use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Fault, FaultKind};

/// Keeps something that takes a while to make. All who need it wait for one attempt; after a failed one nobody tries for a while.
pub(crate) struct Kept<T>(Arc<Mutex<State<T>>>);

enum State<T> {
    Absent {
        fault: Fault,
        failures: u32,
        not_before: Instant,
    },
    /// In the making, by a task of its own that goes on when those who wait have gone.
    Coming {
        outcome: watch::Receiver<Option<Result<T, Fault>>>,
        failures: u32,
    },
    There(T),
}

impl<T: Clone + Send + Sync + 'static> Kept<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::absent())))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns it if it is there.
    pub(crate) fn now(&self) -> Option<T> {
        match &*self.lock() {
            State::There(kept) => Some(kept.clone()),
            _ => None,
        }
    }

    /// Returns it, making it if need be, unless the last attempt failed just now.
    pub(crate) async fn get<F>(&self, longest_pause: Duration, make: impl FnOnce() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let mut outcome = match &mut *self.lock() {
            State::There(kept) => return Ok(kept.clone()),
            State::Coming { outcome, .. } if outcome.has_changed().is_ok() || outcome.borrow().is_some() => {
                outcome.clone()
            }
            State::Absent { fault, not_before, .. } if Instant::now() < *not_before => return Err(fault.clone()),
            state => {
                let failures = match state {
                    State::Absent { failures, .. } | State::Coming { failures, .. } => *failures,
                    State::There(_) => 0,
                };
                let (done, outcome) = watch::channel(None);
                *state = State::Coming { outcome: outcome.clone(), failures };
                let (shared, making) = (Arc::clone(&self.0), make());
                tokio::spawn(async move {
                    let made = making.await;
                    let next = match &made {
                        Ok(kept) => State::There(kept.clone()),
                        Err(fault) => State::failed(fault.clone(), failures, longest_pause),
                    };
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = next;
                    // Nobody may be waiting any more.
                    done.send_replace(Some(made));
                });
                outcome
            }
        };
        // An error: the runtime that made it has ended. Who comes next tries again.
        let made = outcome.wait_for(Option::is_some).await.map_err(|_| Fault::new(FaultKind::Lost))?;
        made.clone().unwrap_or_else(|| Err(Fault::new(FaultKind::Lost)))
    }

    /// Forgets what is there, if it is the one that is meant.
    pub(crate) fn discard(&self, is_meant: impl FnOnce(&T) -> bool) {
        let mut state = self.lock();
        if matches!(&*state, State::There(kept) if is_meant(kept)) {
            *state = State::absent();
        }
    }

    /// Puts a newer one in its place.
    pub(crate) fn put(&self, newer: T) {
        *self.lock() = State::There(newer);
    }
}

impl<T> State<T> {
    fn absent() -> Self {
        Self::Absent { fault: Fault::new(FaultKind::Unreachable), failures: 0, not_before: Instant::now() }
    }

    fn failed(fault: Fault, failures: u32, longest_pause: Duration) -> Self {
        let not_before = Instant::now() + pause(failures, longest_pause, random());
        Self::Absent { fault, failures: failures.saturating_add(1), not_before }
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Absent { .. } => "absent",
            State::Coming { .. } => "coming",
            State::There(_) => "there",
        })
    }
}

/// Doubles from a tenth of a second to the longest, cut by half at most, so that many processes do not come back at once.
fn pause(failures: u32, longest: Duration, spread: u64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(longest);
    let half = whole / 2;
    let range = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    half + Duration::from_millis(spread % range)
}

/// Returns a random number that is good enough to spread attempts.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn many_who_need_it_share_one_attempt() {
        let (kept, made) = (Arc::new(Kept::new()), Arc::new(AtomicUsize::new(0)));
        let get = || {
            let (kept, made) = (Arc::clone(&kept), Arc::clone(&made));
            tokio::spawn(async move {
                let make = || async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok(made.fetch_add(1, Ordering::SeqCst))
                };
                kept.get(LONGEST, make).await.unwrap()
            })
        };
        let all: Vec<_> = (0..20).map(|_| get()).collect();
        for one in all {
            assert_eq!(one.await.unwrap(), 0);
        }
        kept.discard(|number| *number == 7);
        assert_eq!(kept.now(), Some(0));
        kept.discard(|number| *number == 0);
        assert_eq!(get().await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_nobody_tries_for_a_while_and_then_one_does() {
        let kept = Kept::<()>::new();
        let tries = AtomicUsize::new(0);
        let get = || {
            kept.get(LONGEST, || {
                tries.fetch_add(1, Ordering::SeqCst);
                async { Err(Fault::new(FaultKind::Login)) }
            })
        };
        for _ in 0..10 {
            assert_eq!(get().await.unwrap_err().kind(), FaultKind::Login);
        }
        assert_eq!(tries.load(Ordering::SeqCst), 1);
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = get().await;
        }
        let tries = tries.load(Ordering::SeqCst);
        assert!((30..=66).contains(&tries), "{tries} in a minute");
    }

    #[tokio::test]
    async fn what_is_made_outlives_who_asked_first() {
        let kept = Kept::new();
        let make = || async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(5)
        };
        let impatient = tokio::time::timeout(Duration::from_millis(5), kept.get(LONGEST, make)).await;
        assert!(impatient.is_err());
        assert_eq!(kept.get(LONGEST, || async { Ok(6) }).await.unwrap(), 5);
    }

    #[test]
    fn a_runtime_that_ends_takes_nothing_along_for_good() {
        let kept = Kept::new();
        let run = |what: u8| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let get = kept.get(LONGEST, || async move {
                tokio::time::sleep(Duration::from_millis(200 * u64::from(1 - what))).await;
                Ok(what)
            });
            runtime.block_on(async { tokio::time::timeout(Duration::from_millis(50), get).await })
        };
        assert!(run(0).is_err());
        assert_eq!(run(1).unwrap().unwrap(), 1);
    }

    #[test]
    fn pauses_double_to_a_bound() {
        for (failures, whole) in [(0, 100), (1, 200), (4, 1600), (5, 2000), (u32::MAX, 2000)] {
            assert_eq!(pause(failures, LONGEST, 0), Duration::from_millis(whole / 2));
            assert!(pause(failures, LONGEST, u64::MAX) <= Duration::from_millis(whole));
        }
    }
}
