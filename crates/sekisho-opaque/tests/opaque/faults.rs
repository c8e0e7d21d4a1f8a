//! Whatever a provider can do in place of an answer, and what the caller gets: never a pass, and never a 401.

use std::time::Duration;

use sekisho_core::{Authenticate, Credential, CredentialKind, FailureKind, Refusal, Reject};
use sekisho_http::{Checkpoint, HeadParts, Inspection, Presence};
use sekisho_testkit::{FixedClock, Issuer};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::support::{
    AUDIENCE, ISSUER, NOW, Said, TOKEN, active, active_with, ask, inactive, introspect, uncached, yes,
};

#[tokio::test]
async fn each_fault_is_the_providers_and_nobody_passes() {
    let bad = Said::Failed(FailureKind::BadGateway);
    let down = Said::Failed(FailureKind::Unavailable);
    let mut huge = br#"{"active":true,"sub":"u1","aud":"orders","x":""#.to_vec();
    huge.resize(70_000, b'x');
    huge.extend_from_slice(b"\"}");
    for (reply, expected) in [
        (Reply::status(500), &down),
        (Reply::status(503), &down),
        (Reply::status(429), &down),
        (Reply::Hang, &down),
        (active().after(5000), &down),
        (Reply::Truncated(b"{\"active\":true".to_vec()), &down),
        (Reply::Gibberish, &down),
        (Reply::status(400), &bad),
        (Reply::status(401), &bad),
        (Reply::status(403), &bad),
        (Reply::status(404), &bad),
        (Reply::status(204), &bad),
        (Reply::json(""), &bad),
        (Reply::json("<!doctype html><title>Sign in</title>"), &bad),
        (Reply::json("{}"), &bad),
        (Reply::json("[]"), &bad),
        (Reply::json(r#"{"active":"true"}"#), &bad),
        (Reply::json(r#"{"active":true"#), &bad),
        (Reply::json(huge), &bad),
        (Reply::Flood(50_000_000), &bad),
        (Reply::jwt("application/jwt", "ey.ey.x"), &bad),
    ] {
        let server = Server::start(reply.clone()).await;
        // Long enough for a slow machine where nothing is slow on purpose.
        let hangs = matches!(reply, Reply::Hang | Reply::After(..));
        let timeout = Duration::from_millis(if hangs { 1000 } else { 10_000 });
        let introspection = introspect(&server).with_timeout(timeout).build().unwrap();
        let said = ask(&introspection, TOKEN, NOW).await;
        let shown = format!("{reply:?}").chars().take(60).collect::<String>();
        assert_eq!(&said, expected, "{shown}");
        // A failure is nobody's answer: the next one asks again.
        server.set(active());
        assert_eq!(ask(&introspection, TOKEN, NOW).await, yes(), "{shown}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(active()).await;
    for status in [301, 302, 303, 307, 308] {
        let server = Server::start(Reply::status(status).with_header("location", &elsewhere.url())).await;
        assert_eq!(ask(&uncached(&server), TOKEN, NOW).await, Said::Failed(FailureKind::BadGateway), "{status}");
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn a_provider_that_is_gone_is_503_and_comes_back_by_itself() {
    let mut server = Server::start(active()).await;
    let introspection = uncached(&server);
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    server.stop().await;
    let Err(Refusal::Failure(failure)) = introspection.introspect(TOKEN, NOW).await else { panic!("an answer") };
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert!(failure.retry_after().is_some());
}

#[tokio::test]
async fn the_checkpoint_turns_each_into_its_status() {
    let clock = FixedClock::at(NOW);
    for (reply, status) in [
        (inactive(), 401),
        (active_with("aud", "other"), 401),
        (active_with("exp", NOW.as_secs() - 61), 401),
        (active_with("cnf", serde_json::json!({ "jkt": "x" })), 401),
        (active_with("token_type", "refresh_token"), 401),
        (Reply::status(401), 502),
        (Reply::status(403), 502),
        (Reply::json("<html>"), 502),
        (Reply::status(500), 503),
    ] {
        let server = Server::start(reply.clone()).await;
        let checkpoint = Checkpoint::builder()
            .accept(introspect(&server))
            .with_clock(std::sync::Arc::new(clock.clone()))
            .build()
            .unwrap();
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("authorization", authorization.as_bytes())];
        let head = HeadParts { method: "GET", path: "/", headers: &headers };
        let Inspection::Wait(pending) = checkpoint.inspect(&head, Presence::Required) else { panic!("{reply:?}") };
        let answer = pending.resolve().await.unwrap_err();
        assert_eq!(answer.status(), status, "{reply:?}");
        let challenged = answer.headers().any(|(name, _)| name == "www-authenticate");
        let retry = answer.headers().any(|(name, _)| name == "retry-after");
        assert_eq!((challenged, retry), (status == 401, status == 503), "{reply:?}");
        // The refusal of a token is remembered, so the same request is answered at once; a failure is not.
        let again = checkpoint.inspect(&head, Presence::Required);
        assert_eq!(matches!(again, Inspection::Refuse(_)), status == 401, "{reply:?}");
    }
}

#[tokio::test]
async fn an_audience_may_be_left_out_only_by_saying_so() {
    let server = Server::start(Reply::json(r#"{"active":true,"sub":"u1"}"#)).await;
    let strict = uncached(&server);
    assert!(matches!(ask(&strict, TOKEN, NOW).await, Said::No(Reject::Missing(_))));
    let lax = sekisho_opaque::Opaque::introspect(server.url(), crate::support::credentials())
        .issuer(ISSUER)
        .dangerous_without_audience_check();
    assert_eq!(ask(&lax.build().unwrap(), TOKEN, NOW).await, yes());
    let narrowed = sekisho_opaque::Opaque::introspect(server.url(), crate::support::credentials())
        .issuer(ISSUER)
        .dangerous_without_audience_check()
        .with_audience(AUDIENCE);
    assert!(matches!(ask(&narrowed.build().unwrap(), TOKEN, NOW).await, Said::No(Reject::Missing(_))));
}

#[tokio::test]
async fn tokens_are_bounded_before_anybody_is_asked() {
    let server = Server::start(active()).await;
    let introspection = introspect(&server).with_max_token_bytes(100).build().unwrap();
    assert_eq!(ask(&introspection, &"x".repeat(101), NOW).await, Said::No(Reject::TooLarge));
    assert_eq!(ask(&introspection, "", NOW).await, Said::No(Reject::Malformed));
    assert_eq!(crate::support::ask_now(&introspection, &"x".repeat(101), NOW), Some(Said::No(Reject::TooLarge)));
    assert_eq!(server.count(), 0);
    assert_eq!(ask(&introspection, &"x".repeat(100), NOW).await, yes());
}

#[tokio::test]
async fn leaves_jwts_and_dpop_to_others() {
    let server = Server::start(active()).await;
    let introspection = uncached(&server);
    let jwts = introspect(&server).also_jwts().build().unwrap();
    for (kind, token, plain, also) in [
        (CredentialKind::Bearer, TOKEN, true, true),
        (CredentialKind::Cookie, TOKEN, true, true),
        (CredentialKind::Header, TOKEN, true, true),
        (CredentialKind::Dpop, TOKEN, false, false),
        (CredentialKind::Bearer, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", false, true),
        (CredentialKind::Dpop, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", false, false),
        (CredentialKind::Bearer, "eyJhbGciOiJSUzI1NiJ9.a.b.c.d", false, true),
        (CredentialKind::Bearer, "eyes-of-a-token", true, true),
        (CredentialKind::Bearer, "ab.cd.ef", true, true),
    ] {
        let credential = Credential::new(kind, token);
        assert_eq!(introspection.recognizes(credential), plain, "{kind:?} {token}");
        assert_eq!(jwts.recognizes(credential), also, "{kind:?} {token}");
    }
}

#[tokio::test]
async fn a_jwt_that_says_that_it_is_bound_is_none_for_a_bearer_whatever_the_provider_leaves_out() {
    let server = Server::start(active()).await;
    let introspection = introspect(&server).also_jwts().build().unwrap();
    let issuer = Issuer::new().with_clock(FixedClock::at(NOW));
    let token = || issuer.token().audience(AUDIENCE);
    assert_eq!(ask(&introspection, &token().sign(), NOW).await, yes());
    for cnf in [json!({ "jkt": "x" }), json!({ "x5t#S256": "x" }), json!({ "kid": "x" }), json!(null), json!(7)] {
        let bound = token().claim("cnf", cnf.clone()).sign();
        assert_eq!(ask(&introspection, &bound, NOW).await, Said::No(Reject::ProofRequired), "{cnf}");
    }
    // `{"cnf":1,"cnf":1}`: not to be read, and so not to be told unbound.
    let twice = "eyJhbGciOiJFUzI1NiJ9.eyJjbmYiOjEsImNuZiI6MX0.c2ln";
    assert_eq!(ask(&introspection, twice, NOW).await, Said::No(Reject::ProofRequired));
    // Not JWTs, though they look like it at first.
    for token in ["eyJhbGciOiJFUzI1NiJ9.aGVsbG8.c2ln", "eyJ1c2VyIjoxfQ.Zx1b2Q.c2ln", "eyJ1c2VyIjoxfQ.!.c2ln", "eyx"] {
        assert_eq!(ask(&introspection, token, NOW).await, yes(), "{token}");
    }
}
