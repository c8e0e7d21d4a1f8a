//! The suite, unchanged, before both services.

use std::time::Duration;

use sekisho_core::UnixSeconds;
use sekisho_jwt::Profile;
use sekisho_testkit::{Endpoint, FixedClock, HttpSuite, Issuer, ServedIssuer};

use crate::actix_service::ActixService;
use crate::axum_service::AxumService;
use crate::contract::{checkpoint, dpop_checkpoint, jwt};

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// Serves an issuer whose clock the test holds.
async fn provider() -> (ServedIssuer, FixedClock) {
    let clock = FixedClock::at(NOW);
    let provider = Issuer::new().with_clock(clock.clone()).serve().await.expect("a port");
    (provider, clock)
}

/// Returns an issuer at whose address nobody listens any more.
async fn gone() -> ServedIssuer {
    let (provider, _) = provider().await;
    provider.stop().await;
    provider
}

/// Every token of the corpus has been before the service, so the provider must have been asked a few times at most.
fn assert_asked_little(provider: &ServedIssuer) {
    let asked = provider.requests_to(Endpoint::KeySet);
    assert!((1..=8).contains(&asked), "{asked} requests for the key set: {:?}", provider.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_keeps_every_rule_of_http() {
    let ((provider, clock), gone) = (provider().await, gone().await);
    let service = AxumService::start(&checkpoint(provider.issuer(), jwt(provider.issuer()))).await;
    let cold = AxumService::start(&checkpoint(gone.issuer(), jwt(gone.issuer()))).await;
    let bound = AxumService::start(&dpop_checkpoint(provider.issuer())).await;
    let suite = HttpSuite::new(&*service.url, provider.issuer()).with_clock(&clock).with_dpop_service(&*bound.url);
    suite.with_cold_service(&*cold.url, gone.issuer()).run().await;
    assert_asked_little(&provider);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actix_keeps_every_rule_of_http() {
    let ((provider, clock), gone) = (provider().await, gone().await);
    let service = ActixService::start(&checkpoint(provider.issuer(), jwt(provider.issuer())));
    let cold = ActixService::start(&checkpoint(gone.issuer(), jwt(gone.issuer())));
    let bound = ActixService::start(&dpop_checkpoint(provider.issuer()));
    let suite = HttpSuite::new(&*service.url, provider.issuer()).with_clock(&clock).with_dpop_service(&*bound.url);
    suite.with_cold_service(&*cold.url, gone.issuer()).run().await;
    assert_asked_little(&provider);
}

/// Without this, a suite that sees nothing would pass as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_sees_a_service_that_is_wrong_in_one_way() {
    let (provider, _) = provider().await;
    let issuer = provider.issuer();
    let wrong = [
        ("hostile token", jwt(issuer).with_profile(Profile::compatible())),
        ("hostile token", jwt(issuer).with_leeway(Duration::from_secs(120))),
        ("role", jwt(issuer).with_roles_at("/realm_access/roles")),
    ];
    for (mark, jwt) in wrong {
        let service = ActixService::start(&checkpoint(issuer, jwt));
        let violations = HttpSuite::new(&*service.url, issuer).violations().await;
        assert!(!violations.is_empty(), "not seen: {mark}");
        assert!(violations.iter().all(|line| line.contains(mark)), "{violations:?}");
    }
}
