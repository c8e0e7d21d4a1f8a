//! One suite for each trait, in each shape.

use std::sync::Arc;

use std::time::Duration;

use sekisho_issuer::testing::{key_store_suite, store_suite};
use sekisho_redis::{
    RedisBuilder, RedisInvalidations, RedisIssuerStore, RedisKeyStore, RedisReferenceStore, RedisReplayGuard,
    RedisRevocationFeed, RedisSessionStore,
};
use sekisho_session::{Invalidations, SessionStore, TwoLevelSessionStore};
use sekisho_testkit::{invalidations_suite, late_session_store_suite};
use sekisho_testkit::{reference_store_suite, replay_guard_suite, revocation_feed_suite, session_store_suite};

use crate::setup::{Shape, now, prefix, shared};

async fn used_proofs(shape: Shape) {
    let Some(builder) = shape.builder("the suite for used proofs") else { return };
    let _turn = shared().await;
    let redis = builder.build().unwrap();
    redis.check().await.unwrap();
    let guard = RedisReplayGuard::new(redis).with_max_per_holder(20).unwrap();
    replay_guard_suite(Arc::new(guard), 20, now()).await;
}

async fn withdrawals(shape: Shape) {
    let Some(builder) = shape.builder("the suite for feeds") else { return };
    let _turn = shared().await;
    let feed = RedisRevocationFeed::new(builder.build().unwrap()).with_heartbeat(Duration::from_millis(300)).unwrap();
    revocation_feed_suite(&feed, async |withdrawal| feed.push(&withdrawal, now()).await.unwrap()).await;
}

async fn reference_tokens(shape: Shape) {
    let Some(builder) = shape.builder("the suite for reference tokens") else { return };
    let _turn = shared().await;
    reference_store_suite(Arc::new(RedisReferenceStore::new(builder.build().unwrap())), now()).await;
}

async fn issuer_records(shape: Shape) {
    let Some(builder) = shape.builder("the suite for stores of the issuer") else { return };
    let _turn = shared().await;
    store_suite(Arc::new(RedisIssuerStore::new(builder.build().unwrap()))).await;
}

async fn issuer_keys(shape: Shape) {
    let Some(builder) = shape.builder("the suite for stores of keys") else { return };
    let _turn = shared().await;
    key_store_suite(&RedisKeyStore::new(builder.build().unwrap())).await;
}

/// By two clients: the second sees what the first did, and the other way round.
async fn sessions(shape: Shape) {
    let test = "the suite for stores of sessions";
    let (Some(one), Some(other)) = (shape.builder(test), shape.builder(test)) else { return };
    let _turn = shared().await;
    let prefix = prefix();
    let store = |builder: RedisBuilder| RedisSessionStore::new(builder.with_prefix(&prefix).build().unwrap());
    let stores: [Arc<dyn SessionStore>; 2] = [Arc::new(store(one)), Arc::new(store(other))];
    session_store_suite(stores, now()).await;
}

/// By two clients.
async fn messages_about_sessions(shape: Shape) {
    let test = "the suite for messages about sessions";
    let (Some(one), Some(other)) = (shape.builder(test), shape.builder(test)) else { return };
    let _turn = shared().await;
    let prefix = prefix();
    let end = |builder: RedisBuilder| -> Arc<dyn Invalidations> {
        let invalidations = RedisInvalidations::new(builder.with_prefix(&prefix).build().unwrap());
        Arc::new(invalidations.with_heartbeat(Duration::from_millis(300)).unwrap())
    };
    invalidations_suite([end(one), end(other)]).await;
}

/// Two processes with a memory each, that hear of each other by Redis alone: the age would come later than the suite waits.
async fn remembered_sessions(shape: Shape) {
    let test = "the suite for stores of sessions, remembered";
    let (Some(one), Some(other)) = (shape.builder(test), shape.builder(test)) else { return };
    let _turn = shared().await;
    let prefix = prefix();
    let store = async |builder: RedisBuilder| {
        let redis = builder.with_prefix(&prefix).build().unwrap();
        let (far, told) = (RedisSessionStore::new(redis.clone()), RedisInvalidations::new(redis));
        let near = TwoLevelSessionStore::builder(Arc::new(far), Arc::new(told)).with_max_age(Duration::from_secs(30));
        let near = near.start().unwrap();
        tokio::time::timeout(Duration::from_secs(20), near.listening()).await.expect("it listens");
        Arc::new(near)
    };
    late_session_store_suite([store(one).await, store(other).await], Duration::from_millis(100), now()).await;
}

/// The same where replicas have to acknowledge.
async fn acknowledged_sessions(shape: Shape) {
    let test = "the suite for stores of sessions, with replicas";
    let (Some(one), Some(other)) = (shape.builder(test), shape.builder(test)) else { return };
    let _turn = shared().await;
    let prefix = prefix();
    let store = |builder: RedisBuilder| {
        let store = RedisSessionStore::new(builder.with_prefix(&prefix).build().unwrap());
        Arc::new(store.with_replicas_acknowledging(1, Duration::from_secs(5)).unwrap())
    };
    session_store_suite([store(one), store(other)], now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_keep_the_contract_behind_sentinels_when_replicas_acknowledge() {
    acknowledged_sessions(Shape::Sentinel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_keep_the_contract_in_a_cluster_when_replicas_acknowledge() {
    acknowledged_sessions(Shape::Cluster).await;
}

macro_rules! in_each_shape {
    ($($module:ident: $test:ident;)*) => {
        $(mod $module {
            use crate::setup::Shape;

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn keeps_the_contract_alone() {
                super::$test(Shape::Standalone).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn keeps_the_contract_behind_sentinels() {
                super::$test(Shape::Sentinel).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn keeps_the_contract_in_a_cluster() {
                super::$test(Shape::Cluster).await;
            }
        })*
    };
}

in_each_shape! {
    replay: used_proofs;
    revocation: withdrawals;
    reference: reference_tokens;
    issuer: issuer_records;
    keys: issuer_keys;
    session: sessions;
    invalidations: messages_about_sessions;
    two_level: remembered_sessions;
}
