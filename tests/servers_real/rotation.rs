//! A realm key is rotated while requests run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sekisho_jwks::Discovery;
use sekisho_jwt::{Refusal, Reject};

use crate::keycloak::Keycloak;
use crate::service::Service;
use crate::setup::{header, now};

const TASKS: usize = 4;
/// How many requests a task makes with one token.
const USES: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of the requests: how many, by service, key and status.
type Log = BTreeMap<(&'static str, String, u16), usize>;

struct Traffic {
    log: Mutex<Log>,
    stopped: AtomicBool,
}

impl Traffic {
    /// Sends requests with ever new tokens to all services until it is stopped.
    async fn run(&self, keycloak: &Keycloak, services: &[(&'static str, Service)]) {
        while !self.stopped.load(Ordering::Relaxed) {
            let token = keycloak.client_token("worker", "").await;
            let kid = header(&token, "kid");
            for _ in 0..USES {
                for (name, service) in services {
                    let status = service.get("/me", &token).await.status;
                    *self.log.lock().unwrap().entry((name, kid.clone(), status)).or_default() += 1;
                }
            }
        }
    }

    fn requests_by(&self, service: &str, kid: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter().filter(|((name, key, _), _)| *name == service && key == kid).map(|(_, count)| count).sum()
    }

    async fn wait_for(&self, count: usize, services: &[(&'static str, Service)], kid: &str) {
        let begun = Instant::now();
        while services.iter().any(|(name, _)| self.requests_by(name, kid) < count) {
            assert!(begun.elapsed() < PATIENCE, "too few requests by {kid}: {:?}", self.log.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_realm_key_is_rotated_and_the_removed_key_dies() {
    let Some(keycloak) = Keycloak::reach("a key rotation under load").await else { return };
    let keycloak = Arc::new(keycloak);
    // One with everything as it is by default, one that refreshes every second.
    let eager =
        Discovery::oidc(keycloak.issuer()).with_freshness_bounds(Duration::from_secs(1), Duration::from_secs(2));
    let eager = keycloak.jwt().with_keys(eager).build().expect("a verifier");
    let default = keycloak.jwt().build().expect("a verifier");
    let services =
        Arc::new([("default", Service::start(default).await), ("eager", Service::start(eager.clone()).await)]);
    let [(_, default_service), (_, eager_service)] = &*services;

    let old_token = keycloak.client_token("worker", "").await;
    let never_shown = keycloak.client_token("worker", "").await;
    let old = header(&old_token, "kid");
    let traffic = Arc::new(Traffic { log: Mutex::default(), stopped: AtomicBool::new(false) });
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (traffic, keycloak, services) = (Arc::clone(&traffic), Arc::clone(&keycloak), Arc::clone(&services));
            tokio::spawn(async move { traffic.run(&keycloak, &*services).await })
        })
        .collect();

    traffic.wait_for(100, &*services, &old).await;
    let old_provider = keycloak.rotate().await;
    let new_token = keycloak.client_token("worker", "").await;
    let new = header(&new_token, "kid");
    assert_ne!(old, new);
    traffic.wait_for(200, &*services, &new).await;

    // Retired: it signs nothing more, but what it signed is still good.
    keycloak.retire(&old_provider).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(eager_service.get("/me", &old_token).await.status, 200);
    assert_eq!(default_service.get("/me", &old_token).await.status, 200);

    // Removed: with the next refresh it dies, for tokens in the cache too. The others go on.
    keycloak.remove(&old_provider).await;
    assert!(keycloak.published().await.iter().all(|(kid, _)| *kid != old));
    let begun = Instant::now();
    let refused = loop {
        let answer = eager_service.get("/me", &old_token).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "a removed key is still trusted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(refused.status, 401, "{refused:?}");
    assert!(refused.challenge.contains(r#"error="invalid_token""#), "{refused:?}");
    for token in [&old_token, &never_shown] {
        let result = eager.verify(token, now()).await;
        assert!(matches!(result, Err(Refusal::Reject(Reject::UnknownKey))), "{result:?}");
    }
    let before = traffic.requests_by("eager", &new);
    traffic.wait_for(before + 100, &*services, &new).await;

    traffic.stopped.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("the traffic never panicked");
    }
    let log = traffic.log.lock().unwrap();
    let failed: Vec<_> = log.iter().filter(|((_, _, status), _)| *status != 200).collect();
    assert!(failed.is_empty(), "failed: {failed:?} of {log:?}");
    let kids: BTreeSet<_> = log.keys().map(|(_, kid, _)| kid.clone()).collect();
    assert_eq!(kids, BTreeSet::from([old, new]), "{log:?}");
}
