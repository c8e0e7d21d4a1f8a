//! Two hundred requests on one session at once, on each store that needs no server; `tests/servers_real/parallel_sessions.rs` of the
//! repository has those that need one.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use sekisho_axum::SessionLayer;
use sekisho_session::{
    Invalidations, LocalInvalidations, MemorySessionStore, SessionKey, SessionKeys, SessionStore, Sessions,
    TwoLevelSessionStore,
};
use sekisho_sqlx::SqliteStore;
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;

use crate::{Session, cookie, request, text};

const REQUESTS: usize = 200;
const OWN: &[(&str, &str)] = &[("sec-fetch-site", "same-origin")];

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Visits {
    count: usize,
}

async fn visit(mut session: Session<Visits>) -> String {
    let seen = session.data().count;
    session.update(|visits| visits.count += 1);
    // As a handler that has something to wait for, so that all of them have read before the first one writes.
    tokio::time::sleep(Duration::from_millis(20)).await;
    seen.to_string()
}

/// Makes the service as one process has it.
fn process(store: Arc<dyn SessionStore>, key: &SessionKey) -> Router {
    let sessions = Sessions::builder(store, SessionKeys::new(key.clone())).build().unwrap();
    Router::new().route("/", post(visit)).layer(SessionLayer::new(sessions))
}

async fn near(store: &Arc<dyn SessionStore>, invalidations: &Arc<dyn Invalidations>) -> Arc<dyn SessionStore> {
    let near = TwoLevelSessionStore::builder(Arc::clone(store), Arc::clone(invalidations)).start().unwrap();
    near.listening().await;
    Arc::new(near)
}

/// Sends one request for a cookie, then many at once to all processes in turn, and counts what became of them. Returns how many were
/// refused with 503, which may have been done or not; whatever was answered with 200 has been done.
async fn no_acknowledged_update_is_lost(stores: &[Arc<dyn SessionStore>]) -> usize {
    let key = SessionKey::generate().unwrap();
    let processes: Vec<Router> = stores.iter().map(|store| process(Arc::clone(store), &key)).collect();
    let first = processes[0].clone().oneshot(request("POST", "/", None, &[], "")).await.unwrap();
    let visitor = cookie(&first).unwrap();
    let tasks: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let (process, visitor) = (processes[number % processes.len()].clone(), visitor.clone());
            tokio::spawn(async move { process.oneshot(request("POST", "/", Some(&visitor), OWN, "")).await.unwrap() })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        match task.await.unwrap().status().as_u16() {
            200 => {}
            503 => refused += 1,
            other => panic!("{other}: {stores:?}"),
        }
    }
    // A process may be late with what another one wrote, by a second.
    tokio::time::sleep(Duration::from_millis(if stores.len() > 1 { 1100 } else { 0 })).await;
    let last = processes[0].clone().oneshot(request("POST", "/", Some(&visitor), OWN, "")).await.unwrap();
    let (count, acknowledged) = (text(last).await.parse::<usize>().unwrap() - 1, REQUESTS - refused);
    assert!((acknowledged..=REQUESTS).contains(&count), "{count} of {acknowledged}, and {refused} refused: {stores:?}");
    refused
}

/// Of a store that has nobody to wait for, none is refused either.
async fn no_update_is_lost(stores: &[Arc<dyn SessionStore>]) {
    assert_eq!(no_acknowledged_update_is_lost(stores).await, 0, "{stores:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_requests_at_once_lose_no_update_in_memory() {
    no_update_is_lost(&[Arc::new(MemorySessionStore::new())]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_requests_at_once_lose_no_acknowledged_update_in_a_file_that_two_processes_share() {
    let folder = std::env::temp_dir().join(format!("sekisho-parallel-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let mut stores: Vec<Arc<dyn SessionStore>> = Vec::new();
    for _ in 0..2 {
        stores.push(Arc::new(SqliteStore::open(folder.join("sessions.db")).await.unwrap()));
    }
    let refused = no_acknowledged_update_is_lost(&stores).await;
    assert!(refused < REQUESTS / 2, "{refused} refused: the store does not keep up at all");
    drop(stores);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_requests_at_once_lose_no_update_with_a_memory_in_front_of_the_store() {
    let store: Arc<dyn SessionStore> = Arc::new(MemorySessionStore::new());
    let invalidations: Arc<dyn Invalidations> = Arc::new(LocalInvalidations::new());
    no_update_is_lost(&[near(&store, &invalidations).await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_requests_at_once_lose_no_update_in_three_processes_whether_they_hear_of_each_other_or_not() {
    for hear_of_each_other in [true, false] {
        let store: Arc<dyn SessionStore> = Arc::new(MemorySessionStore::new());
        let shared: Arc<dyn Invalidations> = Arc::new(LocalInvalidations::new());
        let mut stores = Vec::new();
        for _ in 0..3 {
            let own: Arc<dyn Invalidations> = Arc::new(LocalInvalidations::new());
            stores.push(near(&store, if hear_of_each_other { &shared } else { &own }).await);
        }
        no_update_is_lost(&stores).await;
    }
}
