use std::error::Error as _;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, ConfigError, Failure, FailureKind, SystemClock};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::list::Origin;
use crate::{Cursor, FeedBatch, FeedConnection, RevocationFeed, RevocationList};

/// Between two looks at what is over: the whole list in about a minute.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// After so many withdrawals others get their turn.
const YIELD_EVERY: usize = 256;

/// Prepares to keep a list up to date by a feed. Made by [`RevocationList::follow`].
#[must_use = "nothing is followed before `start`"]
pub struct Follow {
    list: RevocationList,
    feed: Arc<dyn RevocationFeed>,
    clock: Arc<dyn Clock>,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Follow {
    pub(crate) fn new(list: RevocationList, feed: Arc<dyn RevocationFeed>) -> Self {
        let (first_pause, longest_pause) = (Duration::from_millis(500), Duration::from_secs(10));
        Self { list, feed, clock: Arc::new(SystemClock), first_pause, longest_pause }
    }

    /// Sets the clock, which must be of the same kind as the one that tells the checks the time. Default: the system's.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the pauses after a lost connection, default 0.5 s, doubling up to 10 s; each is cut at random, by half at
    /// most.
    pub const fn with_pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// Begins, in a task of the current tokio runtime. It ends when what is returned is dropped.
    ///
    /// The task connects, applies what comes, notes how fresh the list is, and sweeps it. It never ends by itself:
    /// whatever goes wrong is logged once for each outage, and tried again.
    ///
    /// # Errors
    /// [`ConfigError`] outside of a tokio runtime; when the list is followed already (one list a feed:
    /// [`AnyRevocation`](crate::AnyRevocation) puts several together); for a first pause of zero, or longer than the
    /// longest.
    pub fn start(self) -> Result<Following, ConfigError> {
        if self.first_pause.is_zero() || self.first_pause > self.longest_pause {
            return Err(ConfigError::new("the first pause of a follower must be above zero and not above the longest"));
        }
        let runtime = Handle::try_current()
            .map_err(|error| ConfigError::new("following a feed needs a tokio runtime").with_source(error))?;
        if !self.list.begin_following() {
            return Err(ConfigError::new("this revocation list follows a feed already; use one list for each feed"));
        }
        let claim = Claim(self.list.clone());
        let (told, synchronized) = watch::channel(false);
        Ok(Following { task: runtime.spawn(self.run(told)), synchronized, _claim: Some(claim) })
    }

    async fn run(self, synchronized: watch::Sender<bool>) {
        let mut progress = Progress { cursor: None, failures: 0, synchronized };
        loop {
            let failure = self.stay_connected(&mut progress).await;
            if failure.kind() != FailureKind::Unavailable {
                // It may be the cursor that is no good.
                progress.cursor = None;
            }
            progress.failures = progress.failures.saturating_add(1);
            let (origin, cause, failures) = (self.feed.origin(), causes(&failure), progress.failures);
            // Told once for each outage, not with each attempt.
            if failures == 1 {
                tracing::warn!(origin, cause, "the revocation feed is lost; what is known holds within its bound");
            } else {
                tracing::debug!(origin, cause, failures, "the revocation feed is still lost");
            }
            sleep(pause(self.first_pause, self.longest_pause, failures, random())).await;
        }
    }

    /// Applies what one connection brings, until it is lost.
    async fn stay_connected(&self, progress: &mut Progress) -> Failure {
        let is_whole = progress.cursor.is_none();
        let mut connection = match timeout(self.feed.patience(), self.feed.connect(progress.cursor.as_ref())).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(failure)) => return failure,
            Err(_) => return Failure::unavailable("the revocation feed does not connect in time"),
        };
        loop {
            let FeedBatch { withdrawals, as_of, cursor } = match self.next(&mut *connection).await {
                Ok(batch) => batch,
                Err(failure) => return failure,
            };
            for (index, withdrawal) in withdrawals.iter().enumerate() {
                if self.list.put(withdrawal, self.clock.now(), Origin::Feed).is_err() {
                    progress.cursor = None;
                    return Failure::unavailable("the revocation list has no room for its feed");
                }
                if index % YIELD_EVERY == YIELD_EVERY - 1 {
                    tokio::task::yield_now().await;
                }
            }
            if let Some(as_of) = as_of {
                if is_whole {
                    self.list.mark_whole();
                }
                // A feed from the future would make the list look fresh for too long.
                self.list.mark_synchronized(as_of.min(self.clock.now()));
                progress.succeed(cursor, self.feed.origin());
            }
            // A feed that always has an answer must not keep the runtime to itself.
            tokio::task::yield_now().await;
        }
    }

    /// Waits for the next batch, sweeping meanwhile.
    async fn next(&self, connection: &mut dyn FeedConnection) -> Result<FeedBatch, Failure> {
        let mut next = pin!(timeout(self.feed.patience(), connection.next(&*self.clock)));
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is due at once: with many batches, one sweep after each.
        loop {
            tokio::select! {
                biased;
                batch = &mut next => {
                    return batch.unwrap_or_else(|_| Err(Failure::unavailable("the revocation feed fell silent")));
                }
                _ = sweep.tick() => self.list.sweep(self.clock.now()),
            }
        }
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("list", &self.list).field("feed", &self.feed).finish_non_exhaustive()
    }
}

/// Is what the follower knows from one connection to the next.
struct Progress {
    cursor: Option<Cursor>,
    failures: u32,
    synchronized: watch::Sender<bool>,
}

impl Progress {
    fn succeed(&mut self, cursor: Option<Cursor>, origin: &str) {
        self.cursor = cursor;
        if self.failures > 0 {
            tracing::info!(origin, "the revocation feed is followed again");
            self.failures = 0;
        }
        self.synchronized.send_replace(true);
    }
}

/// Keeps something up to date in the background; dropping it ends that.
#[must_use = "dropping it ends the following"]
pub struct Following {
    task: JoinHandle<()>,
    synchronized: watch::Receiver<bool>,
    _claim: Option<Claim>,
}

impl Following {
    #[cfg(feature = "status-list")]
    pub(crate) const fn new(task: JoinHandle<()>, synchronized: watch::Receiver<bool>) -> Self {
        Self { task, synchronized, _claim: None }
    }

    /// Waits until everything has been loaded once. With a feed that is away this waits until it is back; put a
    /// timeout around it.
    pub async fn synchronized(&mut self) {
        // An error means that the runtime is shutting down, and nobody waits for long.
        let _ended = self.synchronized.wait_for(|is_synchronized| *is_synchronized).await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("is_synchronized", &*self.synchronized.borrow()).finish_non_exhaustive()
    }
}

/// Holds a list for one feed.
struct Claim(RevocationList);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.end_following();
    }
}

/// Returns how long to wait after so many failures in a row: doubling up to a bound, and cut by half at most, by
/// `spread`.
fn pause(first: Duration, longest: Duration, failures: u32, spread: u64) -> Duration {
    let whole = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
    let half = whole / 2;
    let range = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    half + Duration::from_millis(spread % range)
}

/// Returns a random number that is good enough to spread requests.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Writes a failure and what caused it on one line.
pub(crate) fn causes(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut source = failure.source();
    // A chain of errors can be made to loop; nobody reads more than a few.
    for _ in 0..8 {
        let Some(error) = source else { break };
        text.push_str(": ");
        text.extend(error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(500));
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_are_spread_over_the_upper_half() {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(10));
        for (failures, whole) in [(1, 500), (2, 1_000), (5, 8_000), (6, 10_000), (u32::MAX, 10_000)] {
            let pauses: Vec<u128> =
                (0..20_000).map(|spread| pause(first, longest, failures, spread).as_millis()).collect();
            assert_eq!(pauses.iter().min(), Some(&(whole / 2)), "{failures}");
            assert_eq!(pauses.iter().max(), Some(&whole), "{failures}");
        }
        assert!(pause(first, longest, 1, u64::MAX) <= first);
    }

    #[test]
    fn causes_stay_on_one_line() {
        let failure = Failure::unavailable("feed").with_source("a\nb");
        assert_eq!(causes(&failure), "feed: a b");
    }
}
