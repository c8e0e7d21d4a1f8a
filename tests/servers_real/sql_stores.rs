//! PostgreSQL killed under the stores of `sekisho-sqlx`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_core::{FailureKind, OneTimeUse, ReplayGuard as _, UnixSeconds};
use sekisho_issuer::{CountStore as _, GrantStore as _, HandleHash, IssuerKeys, KeyRotation, MasterKey};
use sekisho_jwks::Algorithm;
use sekisho_revocation::{RevocationList, Withdrawal};
use sekisho_sqlx::{PostgresStore, StoreLimits, TableFeed};

use crate::control::Control;
use crate::stores::{psql, sole_store};

const NOW: UnixSeconds = UnixSeconds::new(1_764_072_000);

/// Asserts that a call fails within the bound.
async fn fails_in_time<T: std::fmt::Debug>(call: impl Future<Output = Result<T, sekisho_core::Failure>>) {
    let bound = StoreLimits::default().call_timeout + Duration::from_secs(1);
    let begun = Instant::now();
    let failure = call.await.expect_err("PostgreSQL is dead");
    assert_eq!(failure.kind(), FailureKind::Unavailable, "{failure:?}");
    assert!(begun.elapsed() < bound, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_killed_is_a_failure_in_time_and_nothing_committed_is_lost() {
    let test = "PostgreSQL killed under the stores";
    let Some(control) = Control::reach(test) else { return };
    let Some((server, _turn)) = sole_store("SEKISHO_POSTGRES_URL", test).await else { return };
    // Of its own, so that a server which stays may be asked again.
    let name = format!("outage_{}", std::process::id());
    psql(&server, &format!("create database {name}")).expect("a database");
    let url = format!("{}/{name}", server.rsplit_once('/').expect("a database").0);
    let store = PostgresStore::connect(&url).await.unwrap();
    let master = MasterKey::generate().unwrap();
    let open = async || {
        let rotation = KeyRotation::default();
        IssuerKeys::open(Arc::new(store.clone()), master.clone(), &[Algorithm::Es256], rotation, NOW).await
    };
    let keys = open().await.unwrap().publish(NOW);
    let until = NOW.saturating_add(Duration::from_secs(600));
    let once = |id| OneTimeUse::new([1; 32], [id; 32], until);
    let token = |id: &str| Withdrawal::token("https://outage.example", id, UnixSeconds::MAX).unwrap();
    let key = HandleHash::from_bytes([2; 32]);
    let list = RevocationList::new().unwrap();
    let mut following = list.follow(TableFeed::new(store.clone())).start().unwrap();
    following.synchronized().await;

    for round in 1..=2 {
        assert_eq!(store.count(&key, until, NOW).await.unwrap(), round);
        store.insert(&once(round as u8), NOW).await.unwrap();
        store.withdraw(&[token(&format!("before {round}"))]).await.unwrap();
        store.withdraw_subject("alice", NOW, until, NOW).await.unwrap();
        let outage = control.kill("postgresql");
        fails_in_time(store.count(&HandleHash::from_bytes([3; 32]), until, NOW)).await;
        fails_in_time(store.insert(&once(round as u8), NOW)).await;
        fails_in_time(store.withdrawn_up_to("alice", NOW)).await;
        fails_in_time(store.withdraw(&[token("never")])).await;
        fails_in_time(store.sweep(NOW)).await;
        fails_in_time(PostgresStore::connect(&url)).await;
        outage.end();
        let again = store.insert(&once(round as u8), NOW).await.unwrap();
        assert_eq!(again, sekisho_core::Occurrence::Repeated, "what was used is not forgotten");
        assert_eq!(store.withdrawn_up_to("alice", NOW).await.unwrap(), Some(NOW));
        assert_eq!(open().await.unwrap().publish(NOW), keys, "the same keys");
        // The follower comes back by itself, too.
        let count = list.len();
        store.withdraw(&[token(&format!("after {round}"))]).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while list.len() == count {
            assert!(Instant::now() < deadline, "the follower does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(list.len(), 4, "each withdrawal, and nothing else");
    drop(following);
    store.close().await;
    psql(&server, &format!("drop database {name} with (force)")).expect("no database");
}
