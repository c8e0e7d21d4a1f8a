//! A token that was seen before is answered from memory: nobody asks for keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sekisho_core::UnixSeconds;
use sekisho_http::Checkpoint;
use sekisho_jwks::{KeyHealth, KeyLookup, KeyQuery, KeySource, StaticKeys};
use sekisho_testkit::{HttpSuite, Issuer};

use crate::actix_service::ActixService;
use crate::axum_service::AxumService;
use crate::contract;

/// Counts how often keys are asked for.
#[derive(Clone, Debug)]
struct Counting {
    keys: StaticKeys,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl KeySource for Counting {
    fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.keys.find(query, now)
    }

    async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.keys.fetch(query, now).await
    }

    async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.keys.fetch_anew(query, now).await
    }

    fn health(&self, now: UnixSeconds) -> KeyHealth {
        self.keys.health(now)
    }
}

/// Is an issuer, a checkpoint that knows its keys, and the count of look-ups.
struct Set {
    issuer: Issuer,
    checkpoint: Checkpoint,
    asked: Arc<AtomicUsize>,
}

fn set(is_cached: bool) -> Set {
    let issuer = Issuer::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let keys = Counting { keys: StaticKeys::from_set(&issuer.keys()), asked: Arc::clone(&asked) };
    let jwt = contract::jwt(&issuer).with_keys(keys);
    let checkpoint = contract::checkpoint(&issuer, if is_cached { jwt } else { jwt.without_cache() });
    Set { issuer, checkpoint, asked }
}

/// Sends one request and returns how many look-ups it cost.
async fn cost(set: &Set, url: &str, path: &str, token: &str) -> usize {
    let before = set.asked.load(Ordering::SeqCst);
    let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let answer = client.get(format!("{url}{path}")).bearer_auth(token).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    set.asked.load(Ordering::SeqCst) - before
}

async fn check(set: &Set, url: &str, is_cached: bool) {
    let token = || set.issuer.token().audience(HttpSuite::AUDIENCE).scope("orders:write").sign();
    let (first, second) = (token(), token());
    for token in [&first, &second] {
        assert_eq!(cost(set, url, "/orders", token).await, 1, "a token that was never seen needs its key");
    }
    for _ in 0..10 {
        for path in ["/orders", "/in-handler", "/any", "/optional", "/nested/orders"] {
            for token in [&first, &second] {
                assert_eq!(cost(set, url, path, token).await, usize::from(!is_cached), "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_answers_a_token_that_was_seen_before_without_asking_for_keys() {
    for is_cached in [true, false] {
        let set = set(is_cached);
        let service = AxumService::start(&set.checkpoint).await;
        check(&set, &service.url, is_cached).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actix_answers_a_token_that_was_seen_before_without_asking_for_keys() {
    for is_cached in [true, false] {
        let set = set(is_cached);
        let service = ActixService::start(&set.checkpoint);
        check(&set, &service.url, is_cached).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_frameworks_share_one_checkpoint_and_its_memory() {
    let set = set(true);
    let (axum, actix) = (AxumService::start(&set.checkpoint).await, ActixService::start(&set.checkpoint));
    let token = set.issuer.token().audience(HttpSuite::AUDIENCE).sign();
    assert_eq!(cost(&set, &axum.url, "/orders", &token).await, 1);
    assert_eq!(cost(&set, &actix.url, "/orders", &token).await, 0);
}
