//! One suite for all stores.

use std::sync::Arc;

use sekisho_credentials::MemoryStore;
use sekisho_credentials::testing::{sharing_suite, store_suite};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_keeps_the_contract() {
    let store = Arc::new(MemoryStore::new());
    store_suite(store.clone()).await;
    sharing_suite(store.clone(), store).await;
}

mod sqlite {
    use sekisho_core::FailureKind;
    use sekisho_credentials::SqliteStore;

    use super::*;
    use crate::world::Folder;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_store_in_a_file_keeps_the_contract() {
        let folder = Folder::new("contract");
        store_suite(Arc::new(SqliteStore::open(folder.file()).await.unwrap())).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_stores_share_one_file_and_open_it_at_once() {
        let folder = Folder::new("sharing");
        let (one, other) = tokio::join!(SqliteStore::open(folder.file()), SqliteStore::open(folder.file()));
        sharing_suite(Arc::new(one.unwrap()), Arc::new(other.unwrap())).await;
    }

    #[tokio::test]
    async fn refuses_a_folder_and_a_file_that_is_no_database() {
        let folder = Folder::new("refusals");
        assert_eq!(SqliteStore::open(&folder.0).await.unwrap_err().kind(), FailureKind::Unavailable);
        std::fs::write(folder.file(), "this is a text file, and a long one at that. ".repeat(100)).unwrap();
        assert!(SqliteStore::open(folder.file()).await.is_err());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_new_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = Folder::new("mode");
        let store = SqliteStore::open(folder.file()).await.unwrap();
        for entry in std::fs::read_dir(&folder.0).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} has {mode:o}", entry.path().display());
        }
        drop(store);
    }
}

/// The server to ask, or a line that says that there is none.
#[cfg(feature = "postgres")]
pub(crate) fn postgres_url(test: &str) -> Option<String> {
    use std::io::Write as _;

    let url = std::env::var("SEKISHO_POSTGRES_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let line = format!("skipped: {test}: set SEKISHO_POSTGRES_URL to postgres://user:password@host/database\n");
        // Past the harness, which would swallow it for a test that passes.
        drop(std::io::stderr().write_all(line.as_bytes()));
        if let Some(path) = std::env::var_os("SEKISHO_SKIPPED") {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
    }
    url
}

#[cfg(feature = "postgres")]
mod postgres {
    use sekisho_core::FailureKind;
    use sekisho_credentials::PostgresStore;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_store_in_postgresql_keeps_the_contract() {
        let Some(url) = postgres_url("credentials in PostgreSQL") else { return };
        // Two open, and make the tables, at once.
        let (one, other) = tokio::join!(PostgresStore::connect(&url, 8), PostgresStore::connect(&url, 8));
        let (one, other) = (Arc::new(one.unwrap()), Arc::new(other.unwrap()));
        store_suite(one.clone()).await;
        sharing_suite(one, other).await;
    }

    #[tokio::test]
    async fn refuses_urls_that_are_none_without_showing_the_password() {
        for url in ["", "hunter2", "mysql://app:hunter2@localhost/app", "postgres://app:hunter2@localhost:port/app"] {
            let failure = PostgresStore::connect(url, 1).await.unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Misconfigured, "{url}");
            let shown = format!("{failure:?} {failure}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unavailable() {
        let failure = PostgresStore::connect("postgres://app:hunter2@127.0.0.1:1/app", 1).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        assert!(!format!("{failure:?}").contains("hunter2"));
    }
}
