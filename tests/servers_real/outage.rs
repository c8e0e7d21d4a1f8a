//! Keycloak is killed and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sekisho_jwks::KeyHealth;
use sekisho_jwt::Verifier;
use sekisho_testkit::Issuer;

use crate::control::Control;
use crate::keycloak::{AUDIENCE, Keycloak};
use crate::service::{Answer, Service};
use crate::setup::{altered, header, now};

/// Within how many seconds of Keycloak's return everything has to be well. The longest pause between attempts is 5 s.
const SOON: Duration = Duration::from_secs(12);

fn health(verifier: &Verifier) -> KeyHealth {
    verifier.health(now()).into_iter().next().expect("one issuer").1
}

/// Asks until the answer is 200, and returns how long that took.
async fn until_accepted(service: &Service, token: &str) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = service.get("/me", token).await;
        if answer.status == 200 {
            return begun.elapsed();
        }
        assert_unavailable(&answer);
        assert!(begun.elapsed() < SOON, "still refused: {answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Our side is broken: 503 with when to come back, and not a word that the caller should log in.
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{answer:?}");
    assert!(answer.challenge.is_empty(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_keys_outlive_their_provider_and_unknown_ones_wait_for_its_return() {
    let test = "Keycloak killed and started again";
    let Some(control) = Control::reach(test) else { return };
    let Some(keycloak) = Keycloak::reach(test).await else { return };
    keycloak.forget_es256().await;
    let verifier = keycloak.jwt().build().expect("a verifier");
    let service = Arc::new(Service::start(verifier.clone()).await);
    let cached = keycloak.client_token("worker", "orders:read").await;
    let uncached = keycloak.client_token("worker", "orders:read").await;
    let reserve = keycloak.client_token("worker", "orders:read").await;
    assert_eq!(service.get("/me", &cached).await.status, 200);
    assert!(matches!(health(&verifier), KeyHealth::Fresh { .. }), "{:?}", health(&verifier));
    // The realm has made this key for this token; the service has not seen it yet.
    let unknown = keycloak.client_token("worker-es256", "orders:read").await;
    assert_eq!(header(&unknown, "alg"), "ES256");
    let forged = Issuer::with_url(keycloak.issuer()).token().audience(AUDIENCE).subject("mallory").sign();

    let outage = control.kill("keycloak");

    assert_eq!(service.get("/orders", &cached).await.status, 200);
    assert_eq!(service.get("/orders", &uncached).await.status, 200);
    // What can be judged is judged: the keys are there.
    assert_eq!(service.get("/me", &altered(&uncached, 2)).await.status, 401);
    // What cannot be judged is not held against the caller, who may have a good token.
    for token in [&unknown, &forged, &unknown] {
        assert_unavailable(&service.get("/me", token).await);
    }
    assert!(matches!(health(&verifier), KeyHealth::Stale { .. }), "{:?}", health(&verifier));
    assert!(health(&verifier).is_ready());

    // A service that starts in the outage starts all the same.
    let late_verifier = keycloak.jwt().build().expect("building asks nobody");
    let late = Service::start(late_verifier.clone()).await;
    for token in [&cached, &unknown, &forged] {
        assert_unavailable(&late.get("/me", token).await);
    }
    assert_eq!(health(&late_verifier), KeyHealth::Unavailable);
    // Without a token, or with one that no key could save, there is nothing to wait for.
    assert_eq!(late.send(reqwest::Method::GET, "/me", None).await.status, 401);
    assert_eq!(late.get("/me", "no.such.token").await.status, 401);

    // Until Keycloak is back, and while it is coming back, known keys go on without a gap.
    let stopped = Arc::new(AtomicBool::new(false));
    let traffic = tokio::spawn({
        let (service, stopped, token) = (Arc::clone(&service), Arc::clone(&stopped), reserve.clone());
        async move {
            let mut statuses = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                statuses.push(service.get("/orders", &token).await.status);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            statuses
        }
    });
    outage.end();

    // The same checkpoints, without a restart.
    let first = until_accepted(&service, &unknown).await;
    let second = until_accepted(&late, &cached).await;
    assert!(first + second < SOON, "{first:?} and {second:?}");
    until_accepted(&late, &unknown).await;
    for checkpoint in [&*service, &late] {
        assert_eq!(checkpoint.get("/me", &forged).await.status, 401);
    }
    assert!(matches!(health(&late_verifier), KeyHealth::Fresh { .. }), "{:?}", health(&late_verifier));
    assert!(matches!(health(&verifier), KeyHealth::Fresh { .. }), "{:?}", health(&verifier));

    stopped.store(true, Ordering::Relaxed);
    let statuses = traffic.await.expect("the traffic never panicked");
    assert!(statuses.len() > 10, "{} requests only", statuses.len());
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}
