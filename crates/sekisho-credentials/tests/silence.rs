//! Databases that answer late, or not at all.

use std::time::Duration;

use sekisho_credentials::SqliteStore;
use sqlx::Connection as _;

use crate::world::Folder;

#[tokio::test]
async fn opening_has_more_time_than_a_call() {
    let folder = Folder::new("opening");
    // A new file is turned to a log for writing ahead first, which waits for whoever reads or writes it.
    let url = format!("sqlite://{}?mode=rwc", folder.file().display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE other (x); BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let opening = tokio::spawn(SqliteStore::open(folder.file()));
    tokio::time::sleep(Duration::from_secs(6)).await;
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
    drop(store);
    for ending in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(format!(":memory:{ending}")));
    }
    assert!(is_file, "accounts would end with the process");
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use sekisho_core::FailureKind;
    use sekisho_credentials::{AccountStore as _, FactorStore as _, PostgresStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::stores::postgres_url;
    use crate::world::name;

    /// What a call may take, and what else a busy machine does meanwhile.
    const BOUND: Duration = Duration::from_secs(8);

    /// Listens where bytes are passed on to the server, until they are lost.
    async fn wire(server: String, is_cut: Arc<AtomicBool>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&server).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, Arc::clone(&is_cut)));
                tokio::spawn(pass(far_in, near_out, Arc::clone(&is_cut)));
            }
        });
        address
    }

    async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_cut: Arc<AtomicBool>) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if is_cut.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if to.write_all(bytes.get(..count).unwrap()).await.is_err() {
                return;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_falls_silent_is_a_failure_in_time_and_comes_back() {
        let Some(url) = postgres_url("credentials in a PostgreSQL that falls silent") else { return };
        let (login, place) = url.split_once('@').unwrap();
        let (server, database) = place.split_once('/').unwrap();
        let is_cut = Arc::new(AtomicBool::new(false));
        let address = wire(server.to_owned(), Arc::clone(&is_cut)).await;
        let store = PostgresStore::connect(&format!("{login}@{address}/{database}"), 1).await.unwrap();
        let nobody = name("nobody-at-all");
        assert_eq!(store.account_by_name(&nobody).await.unwrap(), None);

        // The connection is back in the pool by then: a cut between our question and the pool's own would cost its place.
        tokio::time::sleep(Duration::from_millis(500)).await;
        is_cut.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            let begun = Instant::now();
            let failure = store.account_by_name(&nobody).await.unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Unavailable);
            assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        }
        is_cut.store(false, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(15);
        while store.account_by_name(&nobody).await.is_err() {
            assert!(Instant::now() < deadline, "the one place of the pool is still taken");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_row_that_another_has_locked_is_a_failure_in_time() {
        let Some(url) = postgres_url("credentials that another has locked") else { return };
        let store = PostgresStore::connect(&url, 2).await.unwrap();
        let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
        for statement in ["BEGIN", "LOCK TABLE sekisho_totp IN ACCESS EXCLUSIVE MODE"] {
            sqlx::raw_sql(statement).execute(&mut other).await.unwrap();
        }
        let begun = Instant::now();
        let account = sekisho_credentials::AccountId::parse("nobody").unwrap();
        assert_eq!(store.totp(&account).await.unwrap_err().kind(), FailureKind::Unavailable);
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        assert!(store.totp(&account).await.is_ok());
    }

    #[tokio::test]
    async fn a_server_that_only_reads_is_refused() {
        let Some(url) = postgres_url("credentials in a PostgreSQL that only reads") else { return };
        PostgresStore::connect(&url, 1).await.unwrap();
        let reader = format!("{url}?options[default_transaction_read_only]=on");
        assert_eq!(PostgresStore::connect(&reader, 1).await.unwrap_err().kind(), FailureKind::Unavailable);
    }
}
