use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Failure, Occurrence, OneTimeUse, ReplayGuard, UnixSeconds};

use crate::crypto;

/// Checks that a guard keeps the contract of [`ReplayGuard`]. It may hold other uses, also of earlier runs.
///
/// - `per_holder`: how many uses of one holder it takes, 2 to 1,000.
/// - `now`: about the present, for guards that forget by themselves; the suite stays within a minute of it.
///
/// # Panics
/// When the contract is broken; the message says where.
pub async fn replay_guard_suite(guard: Arc<dyn ReplayGuard>, per_holder: usize, now: UnixSeconds) {
    let suite = Suite { guard, per_holder, now };
    suite.lets_a_use_pass_once().await;
    suite.tells_holders_apart().await;
    suite.answers_at_once_or_not_at_all().await;
    suite.lets_nothing_pass_that_it_may_have_forgotten().await;
    suite.forgets_nobody_for_a_holder_that_asks_too_much().await;
    suite.lets_one_of_many_pass().await;
}

struct Suite {
    guard: Arc<dyn ReplayGuard>,
    per_holder: usize,
    now: UnixSeconds,
}

impl Suite {
    fn use_of(&self, holder: [u8; 32]) -> OneTimeUse {
        OneTimeUse::new(holder, crypto::random(), self.later(55))
    }

    fn later(&self, seconds: u64) -> UnixSeconds {
        self.now.saturating_add(Duration::from_secs(seconds))
    }

    async fn insert(&self, once: &OneTimeUse, now: UnixSeconds) -> Result<Occurrence, Failure> {
        self.guard.insert(once, now).await
    }

    async fn expect(&self, once: &OneTimeUse, now: UnixSeconds, expected: Occurrence, why: &str) {
        let answer = self.insert(once, now).await;
        assert!(answer.as_ref().is_ok_and(|answer| *answer == expected), "{:?}: {why}: {answer:?}", self.guard);
    }

    async fn lets_a_use_pass_once(&self) {
        let once = self.use_of(crypto::random());
        self.expect(&once, self.now, Occurrence::First, "a new use passes").await;
        for seconds in [0, 1, 54] {
            self.expect(&once, self.later(seconds), Occurrence::Repeated, "a use is known until its end").await;
        }
        let longer = OneTimeUse::new(*once.holder(), *once.id(), self.later(59));
        self.expect(&longer, self.now, Occurrence::Repeated, "another end makes no other use").await;
    }

    async fn tells_holders_apart(&self) {
        let (one, other) = (crypto::random(), crypto::random());
        let id = crypto::random();
        for holder in [one, other] {
            let once = OneTimeUse::new(holder, id, self.later(55));
            self.expect(&once, self.now, Occurrence::First, "an id is its holder's").await;
        }
        self.expect(&self.use_of(one), self.now, Occurrence::First, "a holder has more than one").await;
    }

    async fn answers_at_once_or_not_at_all(&self) {
        let once = self.use_of(crypto::random());
        let at_once = self.guard.insert_now(&once, self.now);
        assert_eq!(at_once.is_some(), self.guard.is_immediate(), "{:?}: `is_immediate` is true", self.guard);
        let expected = if at_once.is_some() { Occurrence::Repeated } else { Occurrence::First };
        self.expect(&once, self.now, expected, "who does not answer has remembered nothing").await;
    }

    async fn lets_nothing_pass_that_it_may_have_forgotten(&self) {
        for ended in [self.now, self.now.saturating_sub(Duration::from_secs(3600)), UnixSeconds::new(0)] {
            let once = OneTimeUse::new(crypto::random(), crypto::random(), ended);
            let answer = self.insert(&once, self.now).await;
            assert!(answer.is_err(), "{:?}: nobody can say about what is over: {answer:?}", self.guard);
        }
    }

    async fn forgets_nobody_for_a_holder_that_asks_too_much(&self) {
        let holder = crypto::random();
        let first = self.use_of(holder);
        self.expect(&first, self.now, Occurrence::First, "a new use passes").await;
        for _ in 1..self.per_holder {
            self.expect(&self.use_of(holder), self.now, Occurrence::First, "within its share").await;
        }
        let more = self.insert(&self.use_of(holder), self.now).await;
        assert!(more.is_err(), "{:?}: a holder has no more than its share: {more:?}", self.guard);
        self.expect(&first, self.now, Occurrence::Repeated, "nothing is forgotten for it").await;
        self.expect(&self.use_of(crypto::random()), self.now, Occurrence::First, "others have their own").await;
    }

    async fn lets_one_of_many_pass(&self) {
        for _ in 0..ROUNDS {
            let once = self.use_of(crypto::random());
            let tasks: Vec<_> = (0..RACERS)
                .map(|_| {
                    let (guard, now) = (Arc::clone(&self.guard), self.now);
                    tokio::spawn(async move { guard.insert(&once, now).await })
                })
                .collect();
            let mut winners = 0;
            for task in tasks {
                let answer = task.await;
                assert!(matches!(answer, Ok(Ok(_))), "{:?}: a race is no failure: {answer:?}", self.guard);
                winners += usize::from(matches!(answer, Ok(Ok(Occurrence::First))));
            }
            assert_eq!(winners, 1, "{:?}: one of those that race is the first", self.guard);
        }
    }
}

const ROUNDS: usize = 20;
const RACERS: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;

    use super::*;

    /// Looks first and remembers later.
    #[derive(Debug, Default)]
    struct Hasty(AtomicBool);

    #[async_trait]
    impl ReplayGuard for Hasty {
        fn is_immediate(&self) -> bool {
            false
        }

        fn insert_now(&self, _: &OneTimeUse, _: UnixSeconds) -> Option<Result<Occurrence, Failure>> {
            None
        }

        async fn insert(&self, _: &OneTimeUse, _: UnixSeconds) -> Result<Occurrence, Failure> {
            let known = self.0.load(Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.0.store(true, Ordering::SeqCst);
            Ok(if known { Occurrence::Repeated } else { Occurrence::First })
        }
    }

    #[tokio::test]
    #[should_panic(expected = "one of those that race is the first")]
    async fn a_guard_that_looks_before_it_remembers_is_caught() {
        let suite = Suite { guard: Arc::new(Hasty::default()), per_holder: 2, now: UnixSeconds::new(1_800_000_000) };
        suite.lets_one_of_many_pass().await;
    }
}
