use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sqlx::ConnectOptions as _;
#[cfg(feature = "sqlite")]
use sqlx::Connection as _;

use self::rows::{
    AccountRow, PasskeyRow, TotpRow, UNREADABLE, account, failed, failures, is_orphan, number, passkey, time, totp,
};
use crate::{
    Account, AccountId, AccountStore, Admission, ChallengeUse, Counter, CounterKey, FactorStore, Passkey,
    PasskeyAddition, PasskeyStore, PasskeyUse, PasswordHash, RecoveryHash, SourceHash, ThrottleStore, TotpRecord,
    TotpRecords, Username,
};

mod rows;
mod schema;

/// Keeps everything in one SQLite file, which the processes of one machine may share.
///
/// What a call has done is on the disk when it returns (write-ahead log, `synchronous = FULL`). Calls of one process go
/// one after the other, in the order in which they came; one that takes longer than 5 s, waiting for others or for another
/// process included, fails.
#[cfg(feature = "sqlite")]
#[derive(Clone)]
pub struct SqliteStore {
    pool: sqlx::SqlitePool,
}

#[cfg(feature = "sqlite")]
impl SqliteStore {
    /// Opens the file, makes it if it is not there (on Unix only its owner can read it), and brings its tables up to
    /// date. On a busy disk that may take longer than a call; it fails after 30 s.
    ///
    /// - `path`: always of a file; one that is not absolute counts from the folder that is current now.
    ///
    /// # Errors
    /// [`Failure`]: the file cannot be opened (unavailable), or its tables are of a later version (misconfigured).
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Failure> {
        use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

        let mut file = std::fs::OpenOptions::new();
        file.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
        let unopened =
            |error| Failure::unavailable("the file of the credential database cannot be opened").with_source(error);
        // SQLite takes `:memory:` for no file at all.
        let path = std::path::absolute(path).map_err(unopened)?;
        drop(file.open(&path).map_err(unopened)?);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            // Writers of one file go one after the other anyway; on several connections they would sleep and retry, here
            // they queue.
            .max_connections(1)
            .acquire_timeout(CALL_TIMEOUT)
            .connect_lazy_with(options.clone());
        opening(async {
            // The first connection may have to make the file and its log, which a busy disk takes its time for.
            let options = options.busy_timeout(OPENING_TIMEOUT);
            let first = loop {
                match options.connect().await {
                    Ok(first) => break first,
                    Err(error) if is_busy(&error) => tokio::time::sleep(BUSY_PAUSE).await,
                    Err(error) => return Err(failed(error)),
                }
            };
            while let Err(error) = pool.acquire().await {
                match error {
                    sqlx::Error::PoolTimedOut => {}
                    error if is_busy(&error) => tokio::time::sleep(BUSY_PAUSE).await,
                    error => return Err(failed(error)),
                }
            }
            first.close().await.map_err(failed)?;
            let store = Self { pool };
            store.migrate().await?;
            Ok(store)
        })
        .await
    }
}

/// Tells whether another connection has the file. SQLite waits for it by itself, but not where both would make the log.
#[cfg(feature = "sqlite")]
fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: u32 = 5;
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == BUSY)
}

#[cfg(feature = "sqlite")]
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Keeps everything in PostgreSQL 12 or later, which any number of processes may share.
///
/// A call that takes longer than 5 s fails; the server gives its statement up after that time, too.
#[cfg(feature = "postgres")]
#[derive(Clone)]
pub struct PostgresStore {
    pool: sqlx::PgPool,
}

#[cfg(feature = "postgres")]
impl PostgresStore {
    /// Connects, with up to `most_connections`, and brings the tables up to date.
    ///
    /// - `url`: `postgres://user:password@host:port/database?sslmode=…`. Unless it has an `sslmode` or the host is this
    ///   machine, TLS with a certificate for the host is asked for (`verify-full`). A server that only reads, such as a
    ///   replica, is refused: it may not have heard yet what was changed.
    ///
    /// # Errors
    /// [`Failure`]: the URL cannot be read (misconfigured), the server does not answer (unavailable), or the tables are
    /// of a later version (misconfigured).
    pub async fn connect(url: &str, most_connections: u32) -> Result<Self, Failure> {
        use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};

        // The text of the parser's error may hold the password, and it takes any scheme.
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options: Option<PgConnectOptions> = is_postgres.then(|| url.parse().ok()).flatten();
        let unreadable = Failure::new(FailureKind::Misconfigured, "the URL of the credential database cannot be read");
        let mut options = options.ok_or(unreadable)?;
        let is_chosen =
            url.split_once('?').is_some_and(|(_, query)| query.contains("sslmode=") || query.contains("ssl-mode="));
        let is_here = options.get_socket().is_some()
            || options.get_host().starts_with('/')
            || ["localhost", "127.0.0.1", "::1", "[::1]"].contains(&options.get_host());
        if !is_chosen && !is_here {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        let options = options.options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            // A process that stops in the middle of a transaction must not hold its locks for ever.
            ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(most_connections.max(1))
            .acquire_timeout(CALL_TIMEOUT)
            .after_connect(|connection, _| Box::pin(refuse_reader(connection)))
            // The pool asks a connection that is given back whether it is well, and waits for the answer without end: one
            // whose other side fell silent would take its place for a quarter of an hour. So it is asked here before, in time.
            .after_release(|connection, _| Box::pin(is_well(connection)))
            .connect_with(options.disable_statement_logging())
            .await
            .map_err(failed)?;
        opening(async {
            let store = Self { pool };
            store.migrate().await?;
            Ok(store)
        })
        .await
    }
}

#[cfg(feature = "postgres")]
async fn is_well(connection: &mut sqlx::PgConnection) -> Result<bool, sqlx::Error> {
    // An error closes the connection without another word to the other side.
    let ping = tokio::time::timeout(PING_TIMEOUT, sqlx::Connection::ping(connection)).await;
    ping.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
}

#[cfg(feature = "postgres")]
async fn refuse_reader(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    let (read_only,): (String,) = sqlx::query_as("SHOW transaction_read_only").fetch_one(connection).await?;
    if read_only == "off" { Ok(()) } else { Err(sqlx::Error::Configuration("a server that only reads".into())) }
}

/// Rolls back now: a transaction that is only dropped holds its locks until its connection is looked at again.
async fn give_back<D: sqlx::Database>(tx: sqlx::Transaction<'_, D>) -> Result<(), Failure> {
    tx.rollback().await.map_err(failed)
}

/// Gives a call up when its time is over. What it had begun is rolled back, or done.
async fn within<T>(call: impl Future<Output = Result<T, Failure>> + Send) -> Result<T, Failure> {
    let late = |_| Err(Failure::unavailable("the credential database did not answer in time"));
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(late)
}

async fn opening<T>(work: impl Future<Output = Result<T, Failure>> + Send) -> Result<T, Failure> {
    let late = |_| Err(Failure::unavailable("the credential database could not be opened in time"));
    tokio::time::timeout(OPENING_TIMEOUT, work).await.unwrap_or_else(late)
}

/// How long a call may take in all, waiting for a connection included.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The same as PostgreSQL reads it, in milliseconds.
#[cfg(feature = "postgres")]
const STATEMENT_TIMEOUT: &str = "5000";
#[cfg(feature = "postgres")]
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long opening may take, the making of tables included, and waiting for another process that makes them.
const OPENING_TIMEOUT: Duration = Duration::from_secs(30);

/// Columns in the order of [`AccountRow`].
macro_rules! select_account {
    ($condition:literal) => {
        concat!(
            "SELECT id, username, password, revision, is_disabled, created_at, logins_ended_at FROM sekisho_account WHERE ",
            $condition
        )
    };
}

/// Ends logins up to an instant; the end never goes back.
macro_rules! end_logins {
    ($now:literal) => {
        concat!("logins_ended_at = CASE WHEN logins_ended_at > ", $now, " THEN logins_ended_at ELSE ", $now, " END")
    };
}

/// Columns in the order of [`PasskeyRow`].
macro_rules! select_passkey {
    ($condition:literal) => {
        concat!(
            "SELECT credential_id, account_id, public_key, sign_count, aaguid, transports, is_user_verified, is_backup_eligible, \
             is_backed_up, label, created_at, last_used_at FROM sekisho_passkey WHERE ",
            $condition
        )
    };
}

/// Implements all traits for one database. The statements are the same for both but for what the arguments say.
macro_rules! implement {
    (
        $store:ident, schema: $schema:expr,
        // Begins a transaction that writes.
        begin: $begin:literal,
        // Keeps two processes from creating tables at once, where beginning does not.
        lock_schema: $lock_schema:literal,
        // Passes rows that another transaction has locked, where rows are locked.
        skip_locked: $skip_locked:literal
    ) => {
        impl $store {
            async fn migrate(&self) -> Result<(), Failure> {
                let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                sqlx::raw_sql($lock_schema).execute(&mut *tx).await.map_err(failed)?;
                sqlx::raw_sql("CREATE TABLE IF NOT EXISTS sekisho_credentials_schema (version BIGINT NOT NULL PRIMARY KEY)")
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                let (version,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(version), 0) FROM sekisho_credentials_schema")
                    .fetch_one(&mut *tx)
                    .await
                    .map_err(failed)?;
                let steps: &[&'static str] = $schema;
                let done = usize::try_from(version).map_err(|_| UNREADABLE)?;
                if done > steps.len() {
                    return Err(Failure::new(
                        FailureKind::Misconfigured,
                        "the credential database has tables of a later version",
                    ));
                }
                for (version, step) in (1_i64..).zip(steps.iter().copied()).skip(done) {
                    sqlx::raw_sql(step).execute(&mut *tx).await.map_err(failed)?;
                    sqlx::query("INSERT INTO sekisho_credentials_schema (version) VALUES ($1)")
                        .bind(version)
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                }
                tx.commit().await.map_err(failed)
            }
        }

        impl fmt::Debug for $store {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($store))
            }
        }

        #[async_trait]
        impl AccountStore for $store {
            async fn create_account(&self, account: &Account) -> Result<bool, Failure> {
                within(async {
                    let Account { id, username, password, revision, is_disabled, created_at, logins_ended_at } = account;
                    let done = sqlx::query(
                        "INSERT INTO sekisho_account (id, username, password, revision, is_disabled, created_at, logins_ended_at) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                    )
                    .bind(id.as_str())
                    .bind(username.as_str())
                    .bind(password.as_ref().map(PasswordHash::as_str))
                    .bind(number(*revision))
                    .bind(*is_disabled)
                    .bind(number(created_at.as_secs()))
                    .bind(logins_ended_at.map(|at| number(at.as_secs())))
                    .execute(&self.pool)
                    .await
                    .map_err(failed)?;
                    Ok(done.rows_affected() == 1)
                })
                .await
            }

            async fn account(&self, id: &AccountId) -> Result<Option<Account>, Failure> {
                within(async {
                    let row: Option<AccountRow> = sqlx::query_as(select_account!("id = $1"))
                        .bind(id.as_str())
                        .fetch_optional(&self.pool)
                        .await
                        .map_err(failed)?;
                    row.map(account).transpose()
                })
                .await
            }

            async fn account_by_name(&self, username: &Username) -> Result<Option<Account>, Failure> {
                within(async {
                    let row: Option<AccountRow> = sqlx::query_as(select_account!("username = $1"))
                        .bind(username.as_str())
                        .fetch_optional(&self.pool)
                        .await
                        .map_err(failed)?;
                    row.map(account).transpose()
                })
                .await
            }

            async fn replace_password(
                &self,
                id: &AccountId,
                revision: u64,
                password: &PasswordHash,
                now: UnixSeconds,
            ) -> Result<bool, Failure> {
                within(async {
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    let done = sqlx::query(concat!(
                        "UPDATE sekisho_account SET password = $3, revision = revision + 1, ",
                        end_logins!("$4"),
                        " WHERE id = $1 AND revision = $2"
                    ))
                    .bind(id.as_str())
                    .bind(number(revision))
                    .bind(password.as_str())
                    .bind(number(now.as_secs()))
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                    if done.rows_affected() != 1 {
                        give_back(tx).await?;
                        return Ok(false);
                    }
                    sqlx::query("DELETE FROM sekisho_source WHERE account_id = $1")
                        .bind(id.as_str())
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    tx.commit().await.map_err(failed)?;
                    Ok(true)
                })
                .await
            }

            async fn upgrade_password(
                &self,
                id: &AccountId,
                revision: u64,
                password: &PasswordHash,
            ) -> Result<bool, Failure> {
                within(async {
                    let done = sqlx::query("UPDATE sekisho_account SET password = $3 WHERE id = $1 AND revision = $2")
                        .bind(id.as_str())
                        .bind(number(revision))
                        .bind(password.as_str())
                        .execute(&self.pool)
                        .await
                        .map_err(failed)?;
                    Ok(done.rows_affected() == 1)
                })
                .await
            }

            async fn set_disabled(&self, id: &AccountId, is_disabled: bool, now: UnixSeconds) -> Result<bool, Failure> {
                within(async {
                    let done = if is_disabled {
                        sqlx::query(concat!(
                            "UPDATE sekisho_account SET is_disabled = $2, revision = revision + 1, ",
                            end_logins!("$3"),
                            " WHERE id = $1"
                        ))
                        .bind(id.as_str())
                        .bind(true)
                        .bind(number(now.as_secs()))
                        .execute(&self.pool)
                        .await
                    } else {
                        sqlx::query("UPDATE sekisho_account SET is_disabled = $2 WHERE id = $1")
                            .bind(id.as_str())
                            .bind(false)
                            .execute(&self.pool)
                            .await
                    };
                    Ok(done.map_err(failed)?.rows_affected() == 1)
                })
                .await
            }

            async fn delete_account(&self, id: &AccountId) -> Result<bool, Failure> {
                within(async {
                    let done = sqlx::query("DELETE FROM sekisho_account WHERE id = $1")
                        .bind(id.as_str())
                        .execute(&self.pool)
                        .await
                        .map_err(failed)?;
                    Ok(done.rows_affected() == 1)
                })
                .await
            }
        }

        #[async_trait]
        impl FactorStore for $store {
            async fn begin_totp(&self, id: &AccountId, record: &TotpRecord) -> Result<bool, Failure> {
                within(async {
                    let TotpRecord { enrolment, sealed, last_counter, created_at } = record;
                    let done = sqlx::query(
                        "INSERT INTO sekisho_totp (account_id, is_confirmed, enrolment, sealed, last_counter, created_at) \
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account_id, is_confirmed) DO UPDATE SET \
                         enrolment = excluded.enrolment, sealed = excluded.sealed, last_counter = excluded.last_counter, \
                         created_at = excluded.created_at",
                    )
                    .bind(id.as_str())
                    .bind(false)
                    .bind(&enrolment[..])
                    .bind(sealed.as_slice())
                    .bind(last_counter.map(number))
                    .bind(number(created_at.as_secs()))
                    .execute(&self.pool)
                    .await;
                    match done {
                        Ok(done) => Ok(done.rows_affected() == 1),
                        Err(error) if is_orphan(&error) => Ok(false),
                        Err(error) => Err(failed(error)),
                    }
                })
                .await
            }

            async fn totp(&self, id: &AccountId) -> Result<TotpRecords, Failure> {
                within(async {
                    let rows: Vec<TotpRow> = sqlx::query_as(
                        "SELECT is_confirmed, enrolment, sealed, last_counter, created_at FROM sekisho_totp WHERE account_id = $1",
                    )
                    .bind(id.as_str())
                    .fetch_all(&self.pool)
                    .await
                    .map_err(failed)?;
                    let mut records = TotpRecords::default();
                    for row in rows {
                        let (is_confirmed, record) = totp(row)?;
                        let place = if is_confirmed { &mut records.confirmed } else { &mut records.pending };
                        *place = Some(record);
                    }
                    Ok(records)
                })
                .await
            }

            async fn confirm_totp(&self, id: &AccountId, enrolment: &[u8; 16], counter: u64) -> Result<bool, Failure> {
                within(async {
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    // Locks the row: whoever comes second finds it gone, or confirmed.
                    let done = sqlx::query(
                        "UPDATE sekisho_totp SET last_counter = $4 WHERE account_id = $1 AND is_confirmed = $2 AND enrolment = $3",
                    )
                    .bind(id.as_str())
                    .bind(false)
                    .bind(&enrolment[..])
                    .bind(number(counter))
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                    if done.rows_affected() != 1 {
                        give_back(tx).await?;
                        return Ok(false);
                    }
                    sqlx::query("DELETE FROM sekisho_totp WHERE account_id = $1 AND is_confirmed = $2")
                        .bind(id.as_str())
                        .bind(true)
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    sqlx::query("UPDATE sekisho_totp SET is_confirmed = $2 WHERE account_id = $1 AND enrolment = $3")
                        .bind(id.as_str())
                        .bind(true)
                        .bind(&enrolment[..])
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    tx.commit().await.map_err(failed)?;
                    Ok(true)
                })
                .await
            }

            async fn use_totp(&self, id: &AccountId, enrolment: &[u8; 16], counter: u64) -> Result<bool, Failure> {
                within(async {
                    let done = sqlx::query(
                        "UPDATE sekisho_totp SET last_counter = $4 WHERE account_id = $1 AND is_confirmed = $2 AND enrolment = $3 \
                         AND (last_counter IS NULL OR last_counter < $4)",
                    )
                    .bind(id.as_str())
                    .bind(true)
                    .bind(&enrolment[..])
                    .bind(number(counter))
                    .execute(&self.pool)
                    .await
                    .map_err(failed)?;
                    Ok(done.rows_affected() == 1)
                })
                .await
            }

            async fn reseal_totp(&self, id: &AccountId, enrolment: &[u8; 16], sealed: &[u8]) -> Result<bool, Failure> {
                within(async {
                    let done = sqlx::query(
                        "UPDATE sekisho_totp SET sealed = $4 WHERE account_id = $1 AND is_confirmed = $2 AND enrolment = $3",
                    )
                    .bind(id.as_str())
                    .bind(true)
                    .bind(&enrolment[..])
                    .bind(sealed)
                    .execute(&self.pool)
                    .await
                    .map_err(failed)?;
                    Ok(done.rows_affected() == 1)
                })
                .await
            }

            async fn drop_pending_totp(&self, id: &AccountId, enrolment: &[u8; 16]) -> Result<bool, Failure> {
                within(async {
                    let done = sqlx::query(
                        "DELETE FROM sekisho_totp WHERE account_id = $1 AND is_confirmed = $2 AND enrolment = $3",
                    )
                    .bind(id.as_str())
                    .bind(false)
                    .bind(&enrolment[..])
                    .execute(&self.pool)
                    .await
                    .map_err(failed)?;
                    Ok(done.rows_affected() == 1)
                })
                .await
            }

            async fn remove_factors(&self, id: &AccountId, now: UnixSeconds) -> Result<bool, Failure> {
                within(async {
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    let mut count = 0;
                    for statement in [
                        "DELETE FROM sekisho_totp WHERE account_id = $1",
                        "DELETE FROM sekisho_recovery_code WHERE account_id = $1",
                    ] {
                        let done = sqlx::query(statement).bind(id.as_str()).execute(&mut *tx).await.map_err(failed)?;
                        count += done.rows_affected();
                    }
                    if count > 0 {
                        sqlx::query(concat!("UPDATE sekisho_account SET ", end_logins!("$2"), " WHERE id = $1"))
                            .bind(id.as_str())
                            .bind(number(now.as_secs()))
                            .execute(&mut *tx)
                            .await
                            .map_err(failed)?;
                    }
                    tx.commit().await.map_err(failed)?;
                    Ok(count > 0)
                })
                .await
            }

            async fn replace_recovery_codes(&self, id: &AccountId, codes: &[RecoveryHash]) -> Result<bool, Failure> {
                within(async {
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    // Locks the account: of two lists at once one stays, and not a mixture.
                    let account = sqlx::query("UPDATE sekisho_account SET revision = revision WHERE id = $1")
                        .bind(id.as_str())
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    if account.rows_affected() != 1 {
                        give_back(tx).await?;
                        return Ok(false);
                    }
                    sqlx::query("DELETE FROM sekisho_recovery_code WHERE account_id = $1")
                        .bind(id.as_str())
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    for code in codes {
                        sqlx::query(
                            "INSERT INTO sekisho_recovery_code (account_id, code) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                        )
                        .bind(id.as_str())
                        .bind(&code.as_bytes()[..])
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    }
                    tx.commit().await.map_err(failed)?;
                    Ok(true)
                })
                .await
            }

            async fn take_recovery_code(&self, id: &AccountId, code: &RecoveryHash) -> Result<bool, Failure> {
                within(async {
                    let done = sqlx::query("DELETE FROM sekisho_recovery_code WHERE account_id = $1 AND code = $2")
                        .bind(id.as_str())
                        .bind(&code.as_bytes()[..])
                        .execute(&self.pool)
                        .await
                        .map_err(failed)?;
                    Ok(done.rows_affected() == 1)
                })
                .await
            }

            async fn recovery_codes_left(&self, id: &AccountId) -> Result<u32, Failure> {
                within(async {
                    let (count,): (i64,) =
                        sqlx::query_as("SELECT COUNT(*) FROM sekisho_recovery_code WHERE account_id = $1")
                            .bind(id.as_str())
                            .fetch_one(&self.pool)
                            .await
                            .map_err(failed)?;
                    failures(count)
                })
                .await
            }
        }

        #[async_trait]
        impl ThrottleStore for $store {
            async fn begin_attempt(&self, counters: &[Counter], now: UnixSeconds) -> Result<Admission, Failure> {
                within(async {
                    let mut counters = counters.to_vec();
                    // In one order everywhere, or two attempts could wait for each other for ever.
                    counters.sort_unstable_by_key(|counter| counter.key);
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    let mut wait = Duration::ZERO;
                    let mut counts = Vec::with_capacity(counters.len());
                    for Counter { key, curve } in &counters {
                        // An update that changes nothing locks the row, and returns it as it is.
                        let (count, last_at): (i64, i64) = sqlx::query_as(
                            "INSERT INTO sekisho_counter (counter_key, failures, last_at, forgotten_at) VALUES ($1, 0, $2, $2) \
                             ON CONFLICT (counter_key) DO UPDATE SET failures = sekisho_counter.failures RETURNING failures, last_at",
                        )
                        .bind(&key.as_bytes()[..])
                        .bind(number(now.as_secs()))
                        .fetch_one(&mut *tx)
                        .await
                        .map_err(failed)?;
                        let (count, last_at) = (failures(count)?, time(last_at)?);
                        wait = wait.max(curve.wait(count, last_at, now));
                        counts.push((key, curve, curve.remembered(count, last_at, now), last_at));
                    }
                    if !wait.is_zero() {
                        give_back(tx).await?;
                        return Ok(Admission::Wait(wait));
                    }
                    for (key, curve, count, last_at) in counts {
                        let last_at = last_at.max(now);
                        sqlx::query(
                            "UPDATE sekisho_counter SET failures = $2, last_at = $3, forgotten_at = $4 WHERE counter_key = $1",
                        )
                        .bind(&key.as_bytes()[..])
                        .bind(i64::from(count) + 1)
                        .bind(number(last_at.as_secs()))
                        .bind(number(curve.forgotten_at(last_at).as_secs()))
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    }
                    tx.commit().await.map_err(failed)?;
                    Ok(Admission::Admitted)
                })
                .await
            }

            async fn forgive(&self, one: &[CounterKey], all: &[CounterKey]) -> Result<(), Failure> {
                within(async {
                    let mut keys: Vec<(&CounterKey, bool)> =
                        one.iter().map(|key| (key, false)).chain(all.iter().map(|key| (key, true))).collect();
                    keys.sort_unstable();
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    for (key, is_all) in keys {
                        let statement = if is_all {
                            "DELETE FROM sekisho_counter WHERE counter_key = $1"
                        } else {
                            "UPDATE sekisho_counter SET failures = failures - 1 WHERE counter_key = $1 AND failures > 0"
                        };
                        sqlx::query(statement).bind(&key.as_bytes()[..]).execute(&mut *tx).await.map_err(failed)?;
                    }
                    tx.commit().await.map_err(failed)
                })
                .await
            }

            async fn prune_counters(&self, most: u64, now: UnixSeconds) -> Result<u64, Failure> {
                within(async {
                    let gone = sqlx::query(concat!(
                        "DELETE FROM sekisho_counter WHERE counter_key IN \
                         (SELECT counter_key FROM sekisho_counter WHERE forgotten_at <= $1 OR failures = 0",
                        $skip_locked,
                        ")"
                    ))
                    .bind(number(now.as_secs()))
                    .execute(&self.pool)
                    .await
                    .map_err(failed)?
                    .rows_affected();
                    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM sekisho_counter")
                        .fetch_one(&self.pool)
                        .await
                        .map_err(failed)?;
                    let excess = count.saturating_sub(number(most));
                    if excess <= 0 {
                        return Ok(gone);
                    }
                    let fewest = sqlx::query(concat!(
                        "DELETE FROM sekisho_counter WHERE counter_key IN \
                         (SELECT counter_key FROM sekisho_counter ORDER BY failures, last_at, counter_key LIMIT $1",
                        $skip_locked,
                        ")"
                    ))
                    .bind(excess)
                    .execute(&self.pool)
                    .await
                    .map_err(failed)?
                    .rows_affected();
                    Ok(gone + fewest)
                })
                .await
            }

            async fn known_sources(
                &self,
                id: &AccountId,
                sources: &[SourceHash],
                now: UnixSeconds,
            ) -> Result<Vec<SourceHash>, Failure> {
                within(async {
                    let mut known = Vec::new();
                    for source in sources {
                        let (count,): (i64,) = sqlx::query_as(
                            "SELECT COUNT(*) FROM sekisho_source WHERE account_id = $1 AND source = $2 AND ends_at > $3",
                        )
                        .bind(id.as_str())
                        .bind(&source.as_bytes()[..])
                        .bind(number(now.as_secs()))
                        .fetch_one(&self.pool)
                        .await
                        .map_err(failed)?;
                        if count > 0 {
                            known.push(*source);
                        }
                    }
                    Ok(known)
                })
                .await
            }

            async fn remember_source(
                &self,
                id: &AccountId,
                revision: u64,
                source: &SourceHash,
                until: UnixSeconds,
                most: u32,
            ) -> Result<bool, Failure> {
                within(async {
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    // Locks the account: a password that is replaced at the same time comes before, or forgets this source too.
                    let is_same = sqlx::query("UPDATE sekisho_account SET revision = revision WHERE id = $1 AND revision = $2")
                        .bind(id.as_str())
                        .bind(number(revision))
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    if is_same.rows_affected() != 1 {
                        give_back(tx).await?;
                        return Ok(false);
                    }
                    sqlx::query(
                        "INSERT INTO sekisho_source (account_id, source, ends_at) VALUES ($1, $2, $3) \
                         ON CONFLICT (account_id, source) DO UPDATE SET ends_at = CASE \
                         WHEN excluded.ends_at > sekisho_source.ends_at THEN excluded.ends_at ELSE sekisho_source.ends_at END",
                    )
                    .bind(id.as_str())
                    .bind(&source.as_bytes()[..])
                    .bind(number(until.as_secs()))
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                    sqlx::query(
                        "DELETE FROM sekisho_source WHERE account_id = $1 AND source IN (SELECT source FROM sekisho_source \
                         WHERE account_id = $1 ORDER BY ends_at DESC, source DESC LIMIT 1000000 OFFSET $2)",
                    )
                    .bind(id.as_str())
                    .bind(i64::from(most))
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                    tx.commit().await.map_err(failed)?;
                    Ok(true)
                })
                .await
            }

            async fn forget_source(&self, id: &AccountId, source: &SourceHash) -> Result<(), Failure> {
                within(async {
                    sqlx::query("DELETE FROM sekisho_source WHERE account_id = $1 AND source = $2")
                        .bind(id.as_str())
                        .bind(&source.as_bytes()[..])
                        .execute(&self.pool)
                        .await
                        .map_err(failed)?;
                    Ok(())
                })
                .await
            }

            async fn forget_sources(&self, id: &AccountId) -> Result<(), Failure> {
                within(async {
                    sqlx::query("DELETE FROM sekisho_source WHERE account_id = $1")
                        .bind(id.as_str())
                        .execute(&self.pool)
                        .await
                        .map_err(failed)?;
                    Ok(())
                })
                .await
            }
        }

        #[async_trait]
        impl PasskeyStore for $store {
            async fn add_passkey(
                &self,
                passkey: &Passkey,
                revision: u64,
                most: u32,
            ) -> Result<PasskeyAddition, Failure> {
                within(async {
                    let Passkey {
                        credential_id,
                        account,
                        public_key,
                        sign_count,
                        aaguid,
                        transports,
                        is_user_verified,
                        is_backup_eligible,
                        is_backed_up,
                        label,
                        created_at,
                        last_used_at,
                    } = passkey;
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    // Locks the row: whoever changes the account, or adds another passkey, comes before or after.
                    let is_current = sqlx::query(
                        "UPDATE sekisho_account SET revision = revision WHERE id = $1 AND revision = $2 AND is_disabled = $3",
                    )
                    .bind(account.as_str())
                    .bind(number(revision))
                    .bind(false)
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                    if is_current.rows_affected() != 1 {
                        give_back(tx).await?;
                        return Ok(PasskeyAddition::Overtaken);
                    }
                    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM sekisho_passkey WHERE account_id = $1")
                        .bind(account.as_str())
                        .fetch_one(&mut *tx)
                        .await
                        .map_err(failed)?;
                    if count >= i64::from(most) {
                        give_back(tx).await?;
                        return Ok(PasskeyAddition::TooMany);
                    }
                    let done = sqlx::query(
                        "INSERT INTO sekisho_passkey (credential_id, account_id, public_key, sign_count, aaguid, transports, \
                         is_user_verified, is_backup_eligible, is_backed_up, label, created_at, last_used_at) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
                    )
                    .bind(credential_id.as_slice())
                    .bind(account.as_str())
                    .bind(public_key.as_slice())
                    .bind(i64::from(*sign_count))
                    .bind(&aaguid[..])
                    .bind(transports.as_str())
                    .bind(*is_user_verified)
                    .bind(*is_backup_eligible)
                    .bind(*is_backed_up)
                    .bind(label.as_str())
                    .bind(number(created_at.as_secs()))
                    .bind(last_used_at.map(|at| number(at.as_secs())))
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                    if done.rows_affected() != 1 {
                        give_back(tx).await?;
                        return Ok(PasskeyAddition::Taken);
                    }
                    tx.commit().await.map_err(failed)?;
                    Ok(PasskeyAddition::Added)
                })
                .await
            }

            async fn passkey(&self, credential_id: &[u8]) -> Result<Option<Passkey>, Failure> {
                within(async {
                    let row: Option<PasskeyRow> = sqlx::query_as(select_passkey!("credential_id = $1"))
                        .bind(credential_id)
                        .fetch_optional(&self.pool)
                        .await
                        .map_err(failed)?;
                    row.map(passkey).transpose()
                })
                .await
            }

            async fn passkeys(&self, id: &AccountId) -> Result<Vec<Passkey>, Failure> {
                within(async {
                    let rows: Vec<PasskeyRow> =
                        sqlx::query_as(select_passkey!("account_id = $1 ORDER BY created_at, credential_id"))
                            .bind(id.as_str())
                            .fetch_all(&self.pool)
                            .await
                            .map_err(failed)?;
                    rows.into_iter().map(passkey).collect()
                })
                .await
            }

            async fn use_passkey(&self, credential_id: &[u8], from: u32, used: PasskeyUse) -> Result<bool, Failure> {
                within(async {
                    let PasskeyUse { sign_count, is_backed_up, at } = used;
                    let done = sqlx::query(
                        "UPDATE sekisho_passkey SET sign_count = $3, is_backed_up = $4, last_used_at = $5 \
                         WHERE credential_id = $1 AND sign_count = $2",
                    )
                    .bind(credential_id)
                    .bind(i64::from(from))
                    .bind(i64::from(sign_count))
                    .bind(is_backed_up)
                    .bind(number(at.as_secs()))
                    .execute(&self.pool)
                    .await
                    .map_err(failed)?;
                    Ok(done.rows_affected() == 1)
                })
                .await
            }

            async fn use_challenge(
                &self,
                id: &AccountId,
                challenge: &[u8; 32],
                ends_at: UnixSeconds,
                most: u32,
                now: UnixSeconds,
            ) -> Result<ChallengeUse, Failure> {
                within(async {
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    sqlx::query(concat!(
                        "DELETE FROM sekisho_challenge WHERE challenge IN \
                         (SELECT challenge FROM sekisho_challenge WHERE ends_at <= $1",
                        $skip_locked,
                        ")"
                    ))
                    .bind(number(now.as_secs()))
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM sekisho_challenge WHERE account_id = $1")
                        .bind(id.as_str())
                        .fetch_one(&mut *tx)
                        .await
                        .map_err(failed)?;
                    let done = sqlx::query(
                        "INSERT INTO sekisho_challenge (challenge, ends_at, account_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    )
                    .bind(&challenge[..])
                    .bind(number(ends_at.as_secs()))
                    .bind(id.as_str())
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                    if done.rows_affected() != 1 {
                        give_back(tx).await?;
                        return Ok(ChallengeUse::Again);
                    }
                    if count >= i64::from(most) {
                        give_back(tx).await?;
                        return Ok(ChallengeUse::TooMany);
                    }
                    tx.commit().await.map_err(failed)?;
                    Ok(ChallengeUse::First)
                })
                .await
            }

            async fn remove_passkey(
                &self,
                id: &AccountId,
                credential_id: &[u8],
                now: UnixSeconds,
            ) -> Result<bool, Failure> {
                within(async {
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    // The account first, as everywhere, or two could wait for each other for ever.
                    sqlx::query(concat!("UPDATE sekisho_account SET ", end_logins!("$2"), " WHERE id = $1"))
                        .bind(id.as_str())
                        .bind(number(now.as_secs()))
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    let done = sqlx::query("DELETE FROM sekisho_passkey WHERE credential_id = $1 AND account_id = $2")
                        .bind(credential_id)
                        .bind(id.as_str())
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    if done.rows_affected() != 1 {
                        give_back(tx).await?;
                        return Ok(false);
                    }
                    tx.commit().await.map_err(failed)?;
                    Ok(true)
                })
                .await
            }

            async fn remove_passkeys(&self, id: &AccountId, now: UnixSeconds) -> Result<u64, Failure> {
                within(async {
                    let mut tx = self.pool.begin_with($begin).await.map_err(failed)?;
                    sqlx::query(concat!("UPDATE sekisho_account SET ", end_logins!("$2"), " WHERE id = $1"))
                        .bind(id.as_str())
                        .bind(number(now.as_secs()))
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    let done = sqlx::query("DELETE FROM sekisho_passkey WHERE account_id = $1")
                        .bind(id.as_str())
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                    let count = done.rows_affected();
                    if count > 0 {
                        tx.commit().await.map_err(failed)?;
                    } else {
                        give_back(tx).await?;
                    }
                    Ok(count)
                })
                .await
            }
        }
    };
}

#[cfg(feature = "sqlite")]
implement!(SqliteStore, schema: schema::SQLITE, begin: "BEGIN IMMEDIATE", lock_schema: "SELECT 1", skip_locked: "");

#[cfg(feature = "postgres")]
implement!(
    PostgresStore,
    schema: schema::POSTGRES,
    begin: "BEGIN",
    lock_schema: "SET LOCAL statement_timeout = '30s'; SELECT pg_advisory_xact_lock(7325129408412066931)",
    skip_locked: " FOR UPDATE SKIP LOCKED"
);
