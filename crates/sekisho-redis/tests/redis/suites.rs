//! One suite for each trait, in each shape.

use std::sync::Arc;

use std::time::Duration;

use sekisho_issuer::testing::{key_store_suite, store_suite};
use sekisho_redis::{RedisIssuerStore, RedisKeyStore, RedisReferenceStore, RedisReplayGuard, RedisRevocationFeed};
use sekisho_testkit::{reference_store_suite, replay_guard_suite, revocation_feed_suite};

use crate::setup::{Shape, now, shared};

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
}
