use std::fmt;
use std::path::Path;
use std::time::Duration;

use sekisho_core::Failure;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::StoreLimits;
use crate::limits::{OPENING_TIMEOUT, Settings, opening};

/// Keeps everything in one SQLite file, which the processes of one machine may share.
///
/// What a call has done is on the disk when it returns (write-ahead log, `synchronous = FULL`). Calls of one process go one
/// after the other, in the order in which they came. Clones are the same store.
#[derive(Clone)]
pub struct SqliteStore {
    pub(crate) pool: sqlx::SqlitePool,
    pub(crate) settings: Settings,
}

impl SqliteStore {
    /// Begins a transaction that writes, so that two which read first cannot both be in the way of the other.
    pub(crate) const BEGIN: &str = "BEGIN IMMEDIATE";

    /// Opens the file, makes it if it is not there (on Unix only its owner can read it), and brings its tables up to date.
    /// On a busy disk that may take longer than a call; it fails after 60 s.
    ///
    /// - `path`: always of a file; one that is not absolute counts from the folder that is current now.
    ///
    /// # Errors
    /// [`Failure`]: the file cannot be opened (unavailable), or its tables are of a later version (misconfigured).
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Failure> {
        Self::open_with(path, StoreLimits::default()).await
    }

    /// Opens a file with other limits.
    ///
    /// # Errors
    /// [`Failure`]: a limit is out of range (misconfigured); then as for [`open`](Self::open).
    pub async fn open_with(path: impl AsRef<Path>, limits: StoreLimits) -> Result<Self, Failure> {
        limits.check()?;
        let mut file = std::fs::OpenOptions::new();
        file.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
        let unopened = |error| Failure::unavailable("the file of the database cannot be opened").with_source(error);
        // SQLite takes `:memory:` for no file at all.
        let path = std::path::absolute(path).map_err(unopened)?;
        drop(file.open(&path).map_err(unopened)?);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        Self::start(options, limits).await
    }

    /// Opens a database in memory, which ends with this value and its clones: for tests and examples.
    ///
    /// # Errors
    /// [`Failure`] when there is no memory.
    pub async fn in_memory() -> Result<Self, Failure> {
        Self::start(SqliteConnectOptions::new().in_memory(true), StoreLimits::default()).await
    }

    async fn start(options: SqliteConnectOptions, limits: StoreLimits) -> Result<Self, Failure> {
        // The tags of a session go with it.
        let options = options.foreign_keys(true);
        let options = options.busy_timeout(limits.call_timeout).disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            // Writers of one file go one after the other anyway; on several connections they would sleep and retry, here they
            // queue. The one connection stays, for a database in memory ends with it.
            .max_connections(1)
            .idle_timeout(None::<Duration>)
            .max_lifetime(None::<Duration>)
            .acquire_timeout(limits.acquire_timeout)
            .connect_lazy_with(options.clone());
        let store = Self { pool, settings: Settings::new(limits) };
        opening(async {
            // The first connection may have to make the file and its log, which a busy disk takes its time for.
            let options = options.busy_timeout(OPENING_TIMEOUT);
            let first = loop {
                match options.connect().await {
                    Ok(first) => break first,
                    Err(error) if is_busy(&error) => tokio::time::sleep(BUSY_PAUSE).await,
                    Err(error) => return Err(error.into()),
                }
            };
            while let Err(error) = store.pool.acquire().await {
                match error {
                    sqlx::Error::PoolTimedOut => {}
                    error if is_busy(&error) => tokio::time::sleep(BUSY_PAUSE).await,
                    error => return Err(error.into()),
                }
            }
            Ok(first.close().await?)
        })
        .await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Ends the connection, after the calls that are under way. Later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("limits", &self.settings.limits).finish_non_exhaustive()
    }
}

/// Tells whether another connection has the file. SQLite waits for it by itself, but not where both would make the log.
fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: u32 = 5;
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == BUSY)
}

const BUSY_PAUSE: Duration = Duration::from_millis(20);
