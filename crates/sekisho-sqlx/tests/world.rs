//! Databases that live as long as one test.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sekisho_core::UnixSeconds;
use sekisho_sqlx::{PostgresStore, SqliteStore};
use sqlx::Connection as _;

pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_764_072_000);

pub(crate) fn at(later: u64) -> UnixSeconds {
    NOW.saturating_add(std::time::Duration::from_secs(later))
}

/// A folder of one test, gone with it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sekisho-sqlx-{}", unique()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("store.db")
    }

    pub(crate) async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.file()).await.unwrap()
    }

    /// Runs a statement past the store, and past what it has the file check.
    pub(crate) async fn run(&self, statement: &'static str) -> u64 {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.file()).foreign_keys(false);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A PostgreSQL database of one test.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Makes one, or says on one line that the test is skipped.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        let server = server(test)?;
        let name = format!("sekisho_sqlx_{}", unique().replace('-', "_"));
        let database = Self { server, name };
        database.order("CREATE DATABASE").await;
        Some(database)
    }

    pub(crate) fn url(&self) -> String {
        let (address, _) = self.server.rsplit_once('/').unwrap();
        format!("{address}/{}", self.name)
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::connect(&self.url()).await.unwrap()
    }

    /// Runs a statement past the store.
    pub(crate) async fn run(&self, statement: &'static str) -> u64 {
        let mut connection = sqlx::PgConnection::connect(&self.url()).await.unwrap();
        let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    }

    /// Ends it. A test that fails leaves it behind, in a server that ends with the run.
    pub(crate) async fn end(self) {
        self.order("DROP DATABASE").await;
    }

    async fn order(&self, what: &str) {
        let mut connection = sqlx::PgConnection::connect(&self.server).await.unwrap();
        let force = if what.starts_with("DROP") { " WITH (FORCE)" } else { "" };
        let statement = sqlx::AssertSqlSafe(format!("{what} {}{force}", self.name));
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst))
}

/// The server to ask, or a line that says that there is none.
fn server(test: &str) -> Option<String> {
    if let Some(url) = std::env::var("SEKISHO_POSTGRES_URL").ok().filter(|url| !url.is_empty()) {
        return Some(url);
    }
    let line = format!("skipped: {test}: no server; SEKISHO_POSTGRES_URL is not set (cargo xtask servers)\n");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{line}");
    // Past the harness, which would swallow it for a test that passes.
    drop(std::io::stderr().write_all(line.as_bytes()));
    if let Some(path) = std::env::var_os("SEKISHO_SKIPPED") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
    None
}
