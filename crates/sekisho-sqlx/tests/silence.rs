//! A server that does not answer any more, and does not say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sekisho_core::FailureKind;
use sekisho_issuer::{CountStore as _, GrantStore as _};
use sekisho_sqlx::{PostgresStore, SqliteStore, StoreLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::records::{grant, hash};
use crate::world::{Database, Folder, NOW, at};

fn limits() -> StoreLimits {
    let mut limits = StoreLimits::default();
    (limits.acquire_timeout, limits.call_timeout) = (Duration::from_millis(500), Duration::from_secs(1));
    limits.connections = 2;
    limits
}

/// Passes bytes on, until it is told to keep them.
struct Wire {
    address: String,
    is_cut: Arc<AtomicBool>,
}

impl Wire {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&is_cut);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&server).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, Arc::clone(&cut)));
                tokio::spawn(pass(far_in, near_out, Arc::clone(&cut)));
            }
        });
        Self { address, is_cut }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    is_cut: Arc<AtomicBool>,
) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        // What was held is lost for good, as when a firewall forgets a connection.
        if is_cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_falls_silent_is_a_failure_in_time_and_comes_back() {
    let Some(database) = Database::new("a PostgreSQL that falls silent").await else { return };
    let url = database.url();
    let (login, place) = url.split_once('@').unwrap();
    let (server, name) = place.split_once('/').unwrap();
    let wire = Wire::to(server.to_owned()).await;
    let near = format!("{login}@{}/{name}", wire.address);
    let store = PostgresStore::connect_with(&near, limits()).await.unwrap();
    store.begin_grant(&grant(1, "u", at(1000)), None, NOW).await.unwrap();

    // The connection is back in the pool by then: a cut between our question and the pool's own would cost its place.
    tokio::time::sleep(Duration::from_millis(500)).await;
    wire.is_cut.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        let begun = Instant::now();
        let failure = store.count(&hash(1), at(10), NOW).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    assert_eq!(PostgresStore::connect_with(&near, limits()).await.unwrap_err().kind(), FailureKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    wire.is_cut.store(false, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(10);
    while store.grant(&grant(1, "u", NOW).id, NOW).await.is_err() {
        assert!(Instant::now() < deadline, "it does not come back");
    }
    assert!(store.grant(&grant(1, "u", NOW).id, NOW).await.unwrap().is_some());
    store.close().await;
    database.end().await;
}

#[tokio::test]
async fn a_row_that_another_has_locked_is_a_failure_in_time() {
    use sqlx::Connection as _;

    let Some(database) = Database::new("a row that another has locked").await else { return };
    let store = PostgresStore::connect_with(&database.url(), limits()).await.unwrap();
    store.count(&hash(1), at(10), NOW).await.unwrap();
    let mut other = sqlx::PgConnection::connect(&database.url()).await.unwrap();
    for statement in ["BEGIN", "UPDATE sekisho_issuer_count SET times = times"] {
        sqlx::raw_sql(statement).execute(&mut other).await.unwrap();
    }
    let begun = Instant::now();
    assert_eq!(store.count(&hash(1), at(10), NOW).await.unwrap_err().kind(), FailureKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(store.count(&hash(2), at(10), NOW).await.unwrap(), 1, "others are in nobody's way");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    // The call that failed may have been done or not; its connection is none the worse.
    let count = store.count(&hash(1), at(10), NOW).await.unwrap();
    assert!((2..=3).contains(&count), "{count}");
    other.close().await.unwrap();
    store.close().await;
    database.end().await;
}

#[tokio::test]
async fn a_file_that_another_has_locked_is_a_failure_in_time() {
    use sqlx::Connection as _;

    let folder = Folder::new();
    let store = SqliteStore::open_with(folder.file(), limits()).await.unwrap();
    let url = format!("sqlite://{}", folder.file().display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    for _ in 0..2 {
        let begun = Instant::now();
        assert_eq!(store.count(&hash(1), at(10), NOW).await.unwrap_err().kind(), FailureKind::Unavailable);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while store.count(&hash(1), at(10), NOW).await.is_err() {
        assert!(Instant::now() < deadline, "it does not come back");
    }
    other.close().await.unwrap();
}

#[tokio::test]
async fn opening_has_more_time_than_a_call() {
    use sqlx::Connection as _;

    let folder = Folder::new();
    // A new file is turned to a log for writing ahead first, which waits for whoever reads or writes it.
    let url = format!("sqlite://{}?mode=rwc", folder.file().display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE other (x); BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let mut limits = StoreLimits::default();
    limits.acquire_timeout = Duration::from_millis(300);
    let opening = tokio::spawn(SqliteStore::open_with(folder.file(), limits));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!opening.is_finished(), "it waits");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    opening.await.unwrap().unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_name_is_always_that_of_a_file() {
    let path = std::path::Path::new(":memory:");
    assert!(!path.exists());
    let store = SqliteStore::open(path).await.unwrap();
    let is_file = std::fs::metadata(path).unwrap().len() > 0 || std::path::Path::new(":memory:-wal").exists();
    store.close().await;
    for ending in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(format!(":memory:{ending}")));
    }
    assert!(is_file, "what was used and revoked would end with the process");
}

#[tokio::test]
async fn a_postgresql_that_only_reads_is_refused() {
    let Some(database) = Database::new("a PostgreSQL that only reads").await else { return };
    database.open().await.close().await;
    let reader = format!("{}?options[default_transaction_read_only]=on", database.url());
    let failure = PostgresStore::connect(&reader).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable, "a replica may not have heard what was revoked");
    database.end().await;
}
