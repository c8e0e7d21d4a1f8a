use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sekisho_core::{Failure, FailureKind};

use crate::failure::Broken;

/// Bounds what a store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreLimits {
    /// Connections to PostgreSQL. Default 10. A SQLite file always has one, for its writers queue anyway.
    pub connections: u32,
    /// How long a call waits for a connection. Default 2 s.
    pub acquire_timeout: Duration,
    /// How long a call may take in all, waiting for a connection included; PostgreSQL gives its statements up after that
    /// time too. Default 5 s.
    pub call_timeout: Duration,
    /// Live reference tokens of one subject, about. Default 1,000.
    pub references_per_subject: u32,
    /// Live one-time uses in all, about. Default 500,000.
    pub uses: u32,
    /// Live one-time uses of one holder, about. Default 50,000. They are counted at each use: a holder who is near the bound
    /// costs the database a few milliseconds each time.
    pub uses_per_holder: u32,
    /// Live sessions in all, about; the remembered names of ended ones are not among them. Default 1,000,000. The last quarter is for those
    /// who are logged in, so that visitors whom nobody knows cannot lock out users. They are counted
    /// once a minute by each process that creates some, which costs the database some 0.1 s for a million, or 1 s where PostgreSQL
    /// has not vacuumed for long.
    pub sessions: u32,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            connections: 10,
            acquire_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(5),
            references_per_subject: 1_000,
            uses: 500_000,
            uses_per_holder: 50_000,
            sessions: 1_000_000,
        }
    }
}

impl StoreLimits {
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let waits = [self.acquire_timeout, self.call_timeout];
        let counts = [self.connections, self.references_per_subject, self.uses, self.uses_per_holder, self.sessions];
        let fit = waits.iter().all(|wait| (Duration::from_millis(1)..=LONGEST).contains(wait))
            && counts.iter().all(|count| *count > 0)
            && self.uses_per_holder <= self.uses;
        if fit {
            Ok(())
        } else {
            Err(Failure::new(FailureKind::Misconfigured, "a limit of the database is out of range"))
        }
    }
}

/// Bounds a timeout.
const LONGEST: Duration = Duration::from_secs(600);

/// Is what a store holds beside its connections. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: StoreLimits,
    /// What is known of the number of one-time uses.
    pub(crate) uses: Arc<Tally>,
    /// What is known of the number of sessions.
    #[cfg_attr(not(feature = "session"), expect(dead_code, reason = "there are none"))]
    pub(crate) sessions: Arc<Tally>,
}

/// Is a number of rows, as it was counted last.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// When they were counted last.
    pub(crate) counted_at: AtomicU64,
    /// How many there were, and what came from here since.
    pub(crate) held: AtomicU64,
}

impl Settings {
    pub(crate) fn new(limits: StoreLimits) -> Self {
        Self { limits, uses: Arc::default(), sessions: Arc::default() }
    }

    /// Gives a call up when its time is over. What it had begun is rolled back, or done.
    pub(crate) async fn within<T>(&self, call: impl Future<Output = Result<T, Broken>> + Send) -> Result<T, Failure> {
        match tokio::time::timeout(self.limits.call_timeout, call).await {
            Ok(done) => done.map_err(|Broken(failure)| failure),
            Err(_) => Err(Failure::unavailable("the database did not answer in time")),
        }
    }
}

/// Gives opening up when its time is over: longer than a call, for it may have to make a file, or to wait for another
/// process that makes tables.
pub(crate) async fn opening<T>(work: impl Future<Output = Result<T, Broken>> + Send) -> Result<T, Failure> {
    match tokio::time::timeout(OPENING_TIMEOUT, work).await {
        Ok(done) => done.map_err(|Broken(failure)| failure),
        Err(_) => Err(Failure::unavailable("the database could not be opened in time")),
    }
}

pub(crate) const OPENING_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_limits_with_which_nothing_works() {
        let good = StoreLimits::default();
        assert!(good.check().is_ok());
        for bad in [
            StoreLimits { connections: 0, ..good },
            StoreLimits { acquire_timeout: Duration::ZERO, ..good },
            StoreLimits { call_timeout: Duration::from_secs(601), ..good },
            StoreLimits { references_per_subject: 0, ..good },
            StoreLimits { uses: 0, uses_per_holder: 0, ..good },
            StoreLimits { uses: 1, uses_per_holder: 2, ..good },
            StoreLimits { sessions: 0, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
