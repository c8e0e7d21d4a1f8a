use std::sync::Arc;
use std::time::Duration;

use sekisho_core::Failure;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::near::NearCache;
use crate::crypto;
use crate::invalidation::{Invalidation, Invalidations};

/// Listens in the background to what changes elsewhere, until it is dropped.
pub(crate) struct Listener {
    task: JoinHandle<()>,
    is_listening: watch::Receiver<bool>,
}

impl Listener {
    pub(crate) fn start(runtime: &Handle, near: Arc<NearCache>, invalidations: Arc<dyn Invalidations>) -> Self {
        let (told, is_listening) = watch::channel(false);
        Self { task: runtime.spawn(listen(near, invalidations, told)), is_listening }
    }

    pub(crate) async fn listening(&self) {
        // An error means that the runtime is shutting down, and nobody waits for long.
        let mut told = self.is_listening.clone();
        let _ended = told.wait_for(|is_listening| *is_listening).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(near: Arc<NearCache>, invalidations: Arc<dyn Invalidations>, told: watch::Sender<bool>) {
    let mut failures: u32 = 0;
    loop {
        let failure = stay_subscribed(&near, &*invalidations, &told, &mut failures).await;
        told.send_replace(false);
        failures = failures.saturating_add(1);
        // Told once for each outage, not with each attempt.
        if failures == 1 {
            tracing::warn!(target: "sekisho", %failure, "nobody tells which sessions change: none is answered from memory");
        } else {
            tracing::debug!(target: "sekisho", %failure, failures, "still nobody tells which sessions change");
        }
        sleep(pause(failures, crypto::random::<1>().map_or(0, |[dice]| dice))).await;
    }
}

/// Heeds what one subscription brings, until it is lost.
async fn stay_subscribed(
    near: &NearCache,
    invalidations: &dyn Invalidations,
    told: &watch::Sender<bool>,
    failures: &mut u32,
) -> Failure {
    let patience = invalidations.patience();
    let mut subscription = match timeout(patience, invalidations.subscribe()).await {
        Ok(Ok(subscription)) => subscription,
        Ok(Err(failure)) => return failure,
        Err(_) => return Failure::unavailable("nobody answers a subscription to changes of sessions in time"),
    };
    // INVARIANT: opened after the subscription stands, and closed by whatever ends this future.
    let _open = near.open();
    told.send_replace(true);
    loop {
        let batch = match timeout(patience, subscription.next()).await {
            Ok(Ok(batch)) => batch,
            Ok(Err(failure)) => return failure,
            Err(_) => return Failure::unavailable("the subscription to changes of sessions fell silent"),
        };
        for invalidation in batch {
            match invalidation {
                Invalidation::Changed(id, version) => near.forget_before(&id, version),
                Invalidation::Ended(id) => near.forget(&id),
                Invalidation::All => near.forget_all(),
            }
        }
        if std::mem::take(failures) > 0 {
            tracing::info!(target: "sekisho", "it is told again which sessions change");
        }
        // Who always has something to tell must not keep the runtime to themselves.
        tokio::task::yield_now().await;
    }
}

/// Returns how long to wait after so many failures in a row: doubling up to a bound, and cut by half at most.
fn pause(failures: u32, dice: u8) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    whole - whole / 2 * u32::from(dice) / 255
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_are_spread_over_the_upper_half() {
        for (failures, whole) in [(1, 100), (2, 200), (6, 3_200), (7, 5_000), (u32::MAX, 5_000)] {
            assert_eq!(pause(failures, 0), Duration::from_millis(whole));
            assert_eq!(pause(failures, 255), Duration::from_millis(whole / 2));
        }
    }
}
