//! How many updates are lost when two hundred requests change one session at once?
//!
//! Each request reads a counter, does what its handler does (nothing, or 20 ms of waiting), and adds one. Every session is kept in the
//! memory of this process; the requests go through axum, on four threads. What is not answered with success counts as refused,
//! not as lost. Of ours none may be lost, or the bench fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::{get, post};
use http::{Request, Response};
use sekisho_axum::{Session, SessionLayer};
use sekisho_benches::report::write_lines;
use sekisho_session::{
    LocalInvalidations, MemorySessionStore, SessionKey, SessionKeys, SessionStore, Sessions, TwoLevelSessionStore,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const REQUESTS: usize = 200;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Visits {
    count: usize,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds = if quick { 1 } else { 5 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let lines = runtime.block_on(compare(rounds));
    write_lines("updates", &lines);
}

async fn compare(rounds: usize) -> Vec<Value> {
    println!("{REQUESTS} requests at once on one session, {rounds} rounds, each on a session of its own\n");
    println!("| sessions | the handler waits | acknowledged | refused | lost | ms a round |");
    println!("|---|--:|--:|--:|--:|--:|");
    let mut lines = Vec::new();
    for wait in [Duration::ZERO, Duration::from_millis(20)] {
        for (name, app) in [
            ("sekisho, memory", ours(Arc::new(MemorySessionStore::new()), wait)),
            ("sekisho, two levels over memory", ours(two_levels().await, wait)),
            ("tower-sessions, memory", theirs(wait)),
        ] {
            let (mut acknowledged, mut kept, start) = (0, 0, Instant::now());
            for _ in 0..rounds {
                let (in_round, count) = round(&app).await;
                (acknowledged, kept) = (acknowledged + in_round, kept + count);
            }
            let all = rounds * REQUESTS;
            assert!(acknowledged > 0, "{name}: no request came through, so nothing was measured");
            let (refused, lost) = (all - acknowledged, acknowledged.saturating_sub(kept));
            assert!(
                lost == 0 || !name.starts_with("sekisho"),
                "{name}, waiting {wait:?}: {lost} acknowledged updates are lost"
            );
            let (wait, ms) = (wait.as_millis(), start.elapsed().as_millis() / rounds as u128);
            println!("| {name} | {wait} ms | {acknowledged} | {refused} | {lost} | {ms} |");
            lines.push(json!({
                "case": format!("{name}, waiting {wait} ms"),
                "median_ns": ms * 1_000_000 / REQUESTS as u128,
                "baseline": "tower-sessions, memory",
                "ratio": null,
                "allocations": null,
                "wait_ms": wait, "acknowledged": acknowledged, "refused": refused, "lost": lost, "round_ms": ms,
            }));
        }
    }
    lines
}

/// Returns how many requests of one round were answered with success, and how many of them the session knows of.
async fn round(app: &Router) -> (usize, usize) {
    let first = app.clone().oneshot(request("POST", None)).await.unwrap();
    let set = first.headers()["set-cookie"].to_str().unwrap();
    let cookie = set.split(';').next().unwrap().to_owned();
    let tasks: Vec<_> =
        (0..REQUESTS).map(|_| tokio::spawn(app.clone().oneshot(request("POST", Some(&cookie))))).collect();
    let mut acknowledged = 0;
    for task in tasks {
        acknowledged += usize::from(task.await.unwrap().unwrap().status().is_success());
    }
    let count = text(app.clone().oneshot(request("GET", Some(&cookie))).await.unwrap()).await;
    (acknowledged, count.parse::<usize>().unwrap() - 1)
}

fn ours(store: Arc<dyn SessionStore>, wait: Duration) -> Router {
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions = Sessions::builder(store, keys).build().unwrap();
    let visit = move |mut session: Session<Visits>| async move {
        tokio::time::sleep(wait).await;
        session.update(|visits| visits.count += 1);
    };
    let read = |session: Session<Visits>| async move { session.data().count.to_string() };
    Router::new().route("/", post(visit)).route("/", get(read)).layer(SessionLayer::new(sessions))
}

async fn two_levels() -> Arc<dyn SessionStore> {
    let (store, invalidations) = (Arc::new(MemorySessionStore::new()), Arc::new(LocalInvalidations::new()));
    let near = TwoLevelSessionStore::builder(store, invalidations).start().unwrap();
    near.listening().await;
    Arc::new(near)
}

/// As its documentation shows it: read, and insert what is one more.
fn theirs(wait: Duration) -> Router {
    use tower_sessions::{MemoryStore, Session, SessionManagerLayer};
    let visit = move |session: Session| async move {
        let count: usize = session.get("count").await.unwrap().unwrap_or_default();
        tokio::time::sleep(wait).await;
        session.insert("count", count + 1).await.unwrap();
    };
    let read =
        |session: Session| async move { session.get::<usize>("count").await.unwrap().unwrap_or_default().to_string() };
    Router::new().route("/", post(visit)).route("/", get(read)).layer(SessionManagerLayer::new(MemoryStore::default()))
}

fn request(method: &str, cookie: Option<&str>) -> Request<Body> {
    let request = Request::builder().method(method).uri("/").header("sec-fetch-site", "same-origin");
    let request = cookie.into_iter().fold(request, |request, cookie| request.header("cookie", cookie));
    request.body(Body::empty()).unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 100).await.unwrap().to_vec()).unwrap()
}
