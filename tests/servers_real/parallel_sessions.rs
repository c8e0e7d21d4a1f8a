//! Two hundred requests at once on one session, over HTTP, to two processes' worth of services that share a real Redis or PostgreSQL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use reqwest::{Method, Response};
use sekisho_axum::{Session, SessionLayer};
use sekisho_redis::{Redis, RedisSessionStore};
use sekisho_session::{SessionKey, SessionKeys, SessionStore, Sessions};
use sekisho_sqlx::PostgresStore;
use serde::{Deserialize, Serialize};

use crate::logins::services::Place;
use crate::setup;
use crate::stores::{psql, store};

const REQUESTS: usize = 200;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Visits {
    count: usize,
}

async fn visit(mut session: Session<Visits>) {
    session.update(|visits| visits.count += 1);
    // So that all of them have read before the first one writes.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn seen(session: Session<Visits>) -> String {
    session.data().count.to_string()
}

async fn send(http: &reqwest::Client, method: Method, origin: &str, cookie: &str) -> Response {
    let request = http.request(method, origin).header("sec-fetch-site", "same-origin").header("cookie", cookie);
    request.send().await.expect("an answer")
}

/// Each of the stores is what one process opened. Returns the figures, as a line.
async fn no_acknowledged_update_is_lost(what: &str, stores: Vec<Arc<dyn SessionStore>>) -> String {
    let key = SessionKey::generate().unwrap();
    let mut services = Vec::new();
    for store in stores {
        let sessions = Sessions::builder(store, SessionKeys::new(key.clone())).build().unwrap();
        let app = Router::new().route("/", post(visit).get(seen)).layer(SessionLayer::new(sessions));
        let place = Place::at("127.0.0.1").await;
        services.push((place.origin.clone(), place.serve(app)));
    }
    let http = setup::http();
    let first = send(&http, Method::POST, &services[0].0, "").await;
    assert_eq!(first.status(), 200);
    let set = first.headers()["set-cookie"].to_str().unwrap().to_owned();
    let cookie = set.split(';').next().unwrap();

    let begun = Instant::now();
    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let (http, origin, cookie) = (http.clone(), services[number % 2].0.clone(), cookie.to_owned());
            tokio::spawn(async move { send(&http, Method::POST, &origin, &cookie).await.status().as_u16() })
        })
        .collect();
    let (mut acknowledged, mut refused) = (0, 0);
    for request in requests {
        match request.await.unwrap() {
            200 => acknowledged += 1,
            503 => refused += 1,
            other => panic!("{what}: {other}"),
        }
    }
    let took = begun.elapsed();
    for (origin, _) in &services {
        let count = send(&http, Method::GET, origin, cookie).await.text().await.unwrap();
        let count = count.parse::<usize>().unwrap() - 1;
        // Of one that was refused nobody knows whether it was done.
        let bounds = acknowledged..=acknowledged + refused;
        assert!(bounds.contains(&count), "{what}: {count} kept, {acknowledged} acknowledged, {refused} refused");
    }
    assert!(acknowledged > REQUESTS / 2, "{what}: {refused} refused, so next to nothing was shown");
    for (_, task) in services {
        task.abort();
    }
    format!(
        "{what}: {REQUESTS} requests at once on one session: {acknowledged} acknowledged, {refused} refused (503), none lost; \
         {took:.1?}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_at_once_lose_no_acknowledged_update_in_redis() {
    let Some((url, _turn)) = store("SEKISHO_REDIS_URL", "parallel requests on a session in Redis").await else {
        return;
    };
    let prefix = format!("parallel-{}", std::process::id());
    let open = || -> Arc<dyn SessionStore> {
        let redis = Redis::standalone(&*url).with_prefix(prefix.clone()).build().expect("a client");
        Arc::new(RedisSessionStore::new(redis))
    };
    println!("{}", no_acknowledged_update_is_lost("Redis", vec![open(), open()]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_at_once_lose_no_acknowledged_update_in_postgresql() {
    let test = "parallel requests on a session in PostgreSQL";
    let Some((server, _turn)) = store("SEKISHO_POSTGRES_URL", test).await else { return };
    let name = format!("parallel_{}", std::process::id());
    psql(&server, &format!("create database {name}")).expect("a database");
    let url = format!("{}/{name}", server.rsplit_once('/').expect("a database").0);
    let stores = [PostgresStore::connect(&url).await.unwrap(), PostgresStore::connect(&url).await.unwrap()];
    let opened = stores.iter().map(|store| Arc::new(store.clone()) as Arc<dyn SessionStore>).collect();
    println!("{}", no_acknowledged_update_is_lost("PostgreSQL", opened).await);
    for store in stores {
        store.close().await;
    }
    psql(&server, &format!("drop database {name} with (force)")).expect("no database");
}
