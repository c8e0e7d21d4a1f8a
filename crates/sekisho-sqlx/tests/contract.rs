//! The suites of the traits, on every database.

use std::sync::Arc;

use sekisho_issuer::testing::{key_store_suite, store_suite};
use sekisho_sqlx::{SqliteStore, TableFeed};
use sekisho_testkit::{reference_store_suite, revocation_feed_suite, session_store_suite};

use crate::world::{Database, Folder, NOW};

macro_rules! suites {
    ($store:expr) => {{
        let store = $store;
        let issuer = Arc::new(store.clone());
        store_suite(issuer.clone()).await;
        // Records of other users and of earlier runs are in nobody's way.
        store_suite(issuer).await;
        key_store_suite(&store).await;
        reference_store_suite(Arc::new(store.clone()), NOW).await;
        let feed = TableFeed::new(store.clone()).with_interval(std::time::Duration::from_millis(50)).unwrap();
        revocation_feed_suite(&feed, async |withdrawal| store.withdraw(&[withdrawal]).await.unwrap()).await;
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_a_file_keeps_all_contracts() {
    let folder = Folder::new();
    suites!(folder.open().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_keeps_all_contracts() {
    suites!(SqliteStore::in_memory().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_postgresql_keeps_all_contracts() {
    let Some(database) = Database::new("stores in PostgreSQL").await else { return };
    suites!(database.open().await);
    database.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_in_one_file_are_kept_by_two_stores_together() {
    let folder = Folder::new();
    session_store_suite([Arc::new(folder.open().await), Arc::new(folder.open().await)], NOW).await;
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    session_store_suite([Arc::clone(&store) as _, store], NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_in_one_postgresql_are_kept_by_two_stores_together() {
    let Some(database) = Database::new("sessions in PostgreSQL").await else { return };
    let stores = [Arc::new(database.open().await), Arc::new(database.open().await)];
    for _ in 0..3 {
        let [one, other] = stores.clone();
        session_store_suite([one, other], NOW).await;
    }
    database.end().await;
}
