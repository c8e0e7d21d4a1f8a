use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sekisho_session::{Invalidation, InvalidationSubscription, Invalidations, SessionHash};
use tokio::time::timeout;

use crate::crypto;

/// Checks that [`Invalidations`] keep the contract of the trait. They may carry other messages, also of earlier runs.
///
/// `ends`: as two processes see them, or the same twice. It publishes some 20,000 messages, and takes a few times the patience.
///
/// # Panics
/// When the contract is broken; the message says where.
pub async fn invalidations_suite(ends: [Arc<dyn Invalidations>; 2]) {
    let [one, other] = &ends;
    carries_each_kind_to_every_subscription(one, other).await;
    loses_nothing_of_many(one, other).await;
    ends_the_subscription_of_who_is_too_slow_or_loses_nothing(one, other).await;
    shows_that_it_is_alive(one).await;
}

fn new_id() -> SessionHash {
    SessionHash::from_bytes(crypto::random())
}

async fn publish(end: &Arc<dyn Invalidations>, said: Invalidation) {
    let published = timeout(LONG, end.publish(said)).await;
    assert!(matches!(published, Ok(Ok(()))), "{end:?}: {said:?} is not taken: {published:?}");
}

/// Is one subscription, and what is still to come by it.
struct Listener {
    subscription: Box<dyn InvalidationSubscription>,
    patience: Duration,
}

impl Listener {
    async fn subscribe(end: &Arc<dyn Invalidations>) -> Self {
        let patience = end.patience().min(LONG);
        let subscription = timeout(patience, end.subscribe()).await;
        assert!(matches!(subscription, Ok(Ok(_))), "{end:?}: no subscription in time");
        let Ok(Ok(subscription)) = subscription else { unreachable!("it was just checked") };
        Self { subscription, patience }
    }

    /// Reads until all that is missing has come; `false` when the subscription ended before.
    async fn hears(&mut self, mut missing: HashSet<Vec<u8>>, what: &str) -> bool {
        let mut quiet = 0;
        while !missing.is_empty() {
            let Ok(batch) = timeout(self.patience, self.subscription.next()).await else {
                assert_eq!(missing.len(), 0, "{what}: nothing comes, and so many are missing");
                return false;
            };
            let Ok(batch) = batch else { return false };
            quiet = if batch.is_empty() { quiet + 1 } else { 0 };
            assert!(quiet < 5, "{what}: all is well, it says, and {} are missing", missing.len());
            for heard in batch {
                missing.remove(&heard.to_bytes());
            }
        }
        true
    }
}

async fn carries_each_kind_to_every_subscription(one: &Arc<dyn Invalidations>, other: &Arc<dyn Invalidations>) {
    drop(Listener::subscribe(one).await);
    let mut listeners =
        [Listener::subscribe(one).await, Listener::subscribe(one).await, Listener::subscribe(other).await];
    for end in [one, other] {
        let said = [
            Invalidation::Changed(new_id(), 1),
            Invalidation::Changed(new_id(), u64::MAX),
            Invalidation::Ended(new_id()),
            Invalidation::All,
        ];
        for said in said {
            publish(end, said).await;
        }
        for listener in &mut listeners {
            let missing = said.iter().map(Invalidation::to_bytes).collect();
            assert!(listener.hears(missing, "each subscription hears each kind").await, "it does not end for that");
        }
    }
}

async fn loses_nothing_of_many(one: &Arc<dyn Invalidations>, other: &Arc<dyn Invalidations>) {
    let mut listener = Listener::subscribe(one).await;
    let said: Vec<_> = (0..500).map(|version| Invalidation::Changed(new_id(), version)).collect();
    let missing = said.iter().map(Invalidation::to_bytes).collect();
    let tasks: Vec<_> = said
        .chunks(50)
        .enumerate()
        .map(|(number, said)| {
            let (end, said) = (Arc::clone(if number % 2 == 0 { one } else { other }), said.to_vec());
            tokio::spawn(async move {
                for said in said {
                    publish(&end, said).await;
                }
            })
        })
        .collect();
    assert!(listener.hears(missing, "who reads at once hears all").await, "and is not cut off");
    for task in tasks {
        assert!(task.await.is_ok(), "publishing together");
    }
}

async fn ends_the_subscription_of_who_is_too_slow_or_loses_nothing(
    one: &Arc<dyn Invalidations>,
    other: &Arc<dyn Invalidations>,
) {
    let mut slow = Listener::subscribe(one).await;
    let mut missing = HashSet::new();
    for _ in 0..20_000 {
        let said = Invalidation::Ended(new_id());
        missing.insert(said.to_bytes());
        publish(other, said).await;
    }
    // Either is right; what is not is to say that all is well.
    let _ended_or_not = slow.hears(missing, "who is too slow is told so").await;
}

async fn shows_that_it_is_alive(one: &Arc<dyn Invalidations>) {
    let patience = one.patience();
    if patience > LONG {
        return;
    }
    let mut listener = Listener::subscribe(one).await;
    for _ in 0..3 {
        let next = timeout(patience, listener.subscription.next()).await;
        assert!(matches!(next, Ok(Ok(_))), "{one:?}: a quiet subscription shows that it is alive: {next:?}");
    }
}

/// No answer should take longer, and who is content with more is not checked for it.
const LONG: Duration = Duration::from_secs(30);
