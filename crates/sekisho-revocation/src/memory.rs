use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Clock, Failure, UnixSeconds};
use tokio::sync::Notify;

use crate::list::GRACE;
use crate::{Cursor, FeedBatch, FeedConnection, RevocationFeed, Withdrawal, follow};

const DEFAULT_MOST: usize = 100_000;
const BATCH: usize = 1_000;
/// How long a connection waits before it shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Carries withdrawals within one process: from a logout endpoint to all lists there, and in tests.
///
/// Clones are the same feed. It keeps what was pushed until it is over, for those who connect later.
///
/// # Examples
/// ```
/// # use sekisho_core::UnixSeconds;
/// # let now = UnixSeconds::new(1_700_000_000);
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use sekisho_revocation::{MemoryFeed, RevocationList, Withdrawal};
/// let (feed, list) = (MemoryFeed::new(), RevocationList::new()?);
/// let mut following = list.follow(feed.clone()).start()?; // kept for as long as the service runs
/// following.synchronized().await;
///
/// feed.push(Withdrawal::session("https://id.example", "s-42", UnixSeconds::MAX)?, now)?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryFeed(Arc<Shared>);

struct Shared {
    /// Tells this log from the one before a restart, whose numbers are the same.
    name: String,
    log: Mutex<Log>,
    pushed: Notify,
    most: usize,
}

#[derive(Default)]
struct Log {
    /// Numbered from 1, in order; what is over goes, and leaves gaps in the numbers.
    entries: Vec<(u64, Withdrawal)>,
    last: u64,
}

impl MemoryFeed {
    /// Makes a feed that keeps 100,000 withdrawals.
    #[must_use]
    pub fn new() -> Self {
        Self::with_max_entries(DEFAULT_MOST)
    }

    /// Makes a feed that keeps so many withdrawals.
    #[must_use]
    pub fn with_max_entries(most: usize) -> Self {
        let name = format!("{:016x}", follow::random());
        Self(Arc::new(Shared { name, log: Mutex::default(), pushed: Notify::new(), most }))
    }

    /// Withdraws, for all who follow and will.
    ///
    /// # Errors
    /// [`Failure`] when the feed holds as many as it may that are not over; the withdrawal is then known to nobody.
    pub fn push(&self, withdrawal: Withdrawal, now: UnixSeconds) -> Result<(), Failure> {
        let mut log = self.lock();
        if log.entries.len() >= self.0.most {
            // For as long as a list would keep them, so that one that connects late gets them too.
            log.entries.retain(|(_, kept)| now < kept.until().saturating_add(GRACE));
        }
        if log.entries.len() >= self.0.most {
            return Err(Failure::unavailable("the revocation feed in memory is full"));
        }
        log.last += 1;
        let number = log.last;
        log.entries.push((number, withdrawal));
        drop(log);
        self.0.pushed.notify_waiters();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryFeed {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryFeed({} withdrawals)", self.lock().entries.len())
    }
}

#[async_trait]
impl RevocationFeed for MemoryFeed {
    async fn connect(&self, cursor: Option<&Cursor>) -> Result<Box<dyn FeedConnection>, Failure> {
        let last = self.lock().last;
        let number = |cursor: &Cursor| cursor.as_str().strip_prefix(&*self.0.name)?.strip_prefix('.')?.parse().ok();
        let seen = cursor.and_then(number).filter(|seen| *seen <= last).unwrap_or(0);
        Ok(Box::new(Connection { feed: self.clone(), seen, is_new: true }))
    }

    fn patience(&self) -> Duration {
        HEARTBEAT * 2
    }

    fn origin(&self) -> &str {
        "memory"
    }
}

struct Connection {
    feed: MemoryFeed,
    /// The number of the last withdrawal that was handed on.
    seen: u64,
    is_new: bool,
}

impl Connection {
    /// Returns what is there and was not handed on yet, if there is anything to say.
    fn take(&mut self, clock: &dyn Clock) -> Option<FeedBatch> {
        let as_of = clock.now();
        let log = self.feed.lock();
        let from = log.entries.partition_point(|(number, _)| *number <= self.seen);
        let rest = log.entries.get(from..).unwrap_or_default();
        if rest.is_empty() && !self.is_new {
            return None;
        }
        let taken: Vec<_> = rest.iter().take(BATCH).map(|(_, withdrawal)| withdrawal.clone()).collect();
        if rest.len() > BATCH {
            self.seen = rest.get(BATCH - 1).map_or(self.seen, |(number, _)| *number);
            return Some(FeedBatch::partial(taken).with_cursor(self.cursor()));
        }
        self.seen = log.last;
        drop(log);
        Some(self.current(taken, as_of))
    }

    fn current(&mut self, withdrawals: Vec<Withdrawal>, as_of: UnixSeconds) -> FeedBatch {
        self.is_new = false;
        FeedBatch::current(withdrawals, as_of).with_cursor(self.cursor())
    }

    fn cursor(&self) -> Option<Cursor> {
        Cursor::new(&format!("{}.{}", self.feed.0.name, self.seen))
    }
}

#[async_trait]
impl FeedConnection for Connection {
    async fn next(&mut self, clock: &dyn Clock) -> Result<FeedBatch, Failure> {
        let heartbeat = tokio::time::Instant::now() + HEARTBEAT;
        loop {
            let feed = self.feed.clone();
            // Listening begins before the look, so that nothing slips in between.
            let pushed = feed.0.pushed.notified();
            if let Some(batch) = self.take(clock) {
                return Ok(batch);
            }
            let as_of = clock.now();
            if tokio::time::timeout_at(heartbeat, pushed).await.is_err() {
                // What came in the last moment is handed on next; nothing before the look is missing.
                return Ok(self.take(clock).unwrap_or_else(|| self.current(Vec::new(), as_of)));
            }
        }
    }
}
