use std::fmt;
use std::time::Duration;

use sekisho_core::{Failure, FailureKind};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::StoreLimits;
use crate::failure::Broken;
use crate::limits::Settings;

/// Keeps everything in PostgreSQL 12 or later, which any number of processes may share. Clones are the same store.
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) pool: sqlx::PgPool,
    pub(crate) settings: Settings,
}

impl PostgresStore {
    /// Begins a transaction that writes.
    pub(crate) const BEGIN: &str = "BEGIN";

    /// Connects, and brings the tables up to date. When they are, it needs no right to make tables.
    ///
    /// - `url`: `postgres://user:password@host:port/database?sslmode=…`. Unless it has an `sslmode` or the host is this machine,
    ///   TLS with a certificate for the host is asked for (`verify-full`). `options[search_path]=…` chooses another schema.
    ///   A server that only reads, such as a replica, is refused: it may not have heard yet what was used or revoked.
    ///
    /// # Errors
    /// [`Failure`]: the URL cannot be read (misconfigured), the server does not answer (unavailable), or the tables are of a
    /// later version (misconfigured). None shows anything of the URL.
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        Self::connect_with(url, StoreLimits::default()).await
    }

    /// Connects with other limits.
    ///
    /// # Errors
    /// [`Failure`]: a limit is out of range (misconfigured); then as for [`connect`](Self::connect).
    pub async fn connect_with(url: &str, limits: StoreLimits) -> Result<Self, Failure> {
        limits.check()?;
        let milliseconds = limits.call_timeout.as_millis().to_string();
        let options = options(url)?.disable_statement_logging().options([
            ("statement_timeout", milliseconds.as_str()),
            // A process that stops in the middle of a transaction must not hold its locks for ever.
            ("idle_in_transaction_session_timeout", milliseconds.as_str()),
            // What the statements are written for. With a stricter one, those who meet would fail instead of going one after the other.
            ("default_transaction_isolation", "read committed"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(limits.connections)
            .acquire_timeout(limits.acquire_timeout)
            .after_connect(|connection, _| Box::pin(refuse_reader(connection)))
            // The pool asks a connection that is given back whether it is well, and waits for the answer without end: one whose
            // other side fell silent would take its place for a quarter of an hour. So it is asked here before, in time.
            .after_release(move |connection, _| Box::pin(is_well(connection, limits.acquire_timeout)))
            .connect_with(options)
            .await
            .map_err(|error| Broken::from(error).0)?;
        let store = Self { pool, settings: Settings::new(limits) };
        store.migrate().await?;
        Ok(store)
    }

    /// Ends the connections, after the calls that are under way. Later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("limits", &self.settings.limits).finish_non_exhaustive()
    }
}

async fn is_well(connection: &mut PgConnection, limit: Duration) -> Result<bool, sqlx::Error> {
    // An error closes the connection without another word to the other side.
    tokio::time::timeout(limit, connection.ping()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
}

async fn refuse_reader(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let (read_only,): (String,) = sqlx::query_as("SHOW transaction_read_only").fetch_one(connection).await?;
    if read_only == "off" { Ok(()) } else { Err(sqlx::Error::Configuration("a server that only reads".into())) }
}

fn options(url: &str) -> Result<PgConnectOptions, Failure> {
    // The text of the parser's error may hold the password, and it takes any scheme.
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let options: Option<PgConnectOptions> = is_postgres.then(|| url.parse().ok()).flatten();
    let options = options.ok_or(Failure::new(FailureKind::Misconfigured, "the URL of the database cannot be read"))?;
    let is_chosen =
        url.split_once('?').is_some_and(|(_, query)| query.contains("sslmode=") || query.contains("ssl-mode="));
    let is_here = options.get_socket().is_some()
        || options.get_host().starts_with('/')
        || ["localhost", "127.0.0.1", "::1", "[::1]"].contains(&options.get_host());
    Ok(if is_chosen || is_here { options } else { options.ssl_mode(PgSslMode::VerifyFull) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_is_asked_for_its_certificate_unless_the_url_says_otherwise() {
        let mode = |url: &str| options(url).unwrap().get_ssl_mode();
        assert!(matches!(mode("postgres://a:b@db.example/c"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://a:b@db.example/c?x=y"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://a:b@db.example/c?sslmode=require"), PgSslMode::Require));
        assert!(!matches!(mode("postgres://a:b@localhost/c"), PgSslMode::VerifyFull));
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_being_shown() {
        for url in ["", "hunter2", "mysql://app:hunter2@localhost/app", "postgres://app:hunter2@localhost:port/app"] {
            let failure = options(url).unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Misconfigured, "{url}");
            assert!(!format!("{failure:?} {failure}").contains("hunter2"));
        }
    }
}
