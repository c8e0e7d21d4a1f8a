#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use super::*;
use crate::served::server::{Incoming, Reply, Server};

/// Serves one answer for every request, and returns which rules the suite finds broken.
async fn violations(answer: fn(&Incoming) -> Reply) -> Vec<String> {
    let listener = Server::bind().await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let _server = Server::start(listener, Arc::new(answer)).unwrap();
    HttpSuite::new(base_url, &Issuer::new()).violations().await
}

fn broken(violations: &[String], rule: &str) -> bool {
    violations.iter().any(|violation| violation.starts_with(rule))
}

#[tokio::test]
async fn a_service_that_lets_everybody_pass_is_caught() {
    let found = violations(|_| Reply::new(200, "application/json", "{}")).await;
    for rule in [
        "no credential is 401 without an error code",
        "two credentials are 400: Authorization twice, the same",
        "a malformed Authorization is 400: the scheme alone",
        "the cookie is a credential",
        "scope \"orders:read\" is not orders:write",
        "another role is 403",
        "step-up: too weak",
        "claims that do not fit are 401",
        "optional: an expired one does not pass",
        "the path /public/../orders opens nothing",
        "a preflight does not pass",
        "GET with the marks of a preflight does not pass",
        "a missing layer is a 500, not a silent pass: /unguarded-rule",
        "the metadata document names the resource",
        "application/grpc does not change a refused POST: no credential",
        "hostile token A001 ",
        "hostile token A106/b ",
        "hostile token A078/a ",
    ] {
        assert!(broken(&found, rule), "{rule} is not among {} violations", found.len());
    }
    assert!(!broken(&found, "honest token"));
}

#[tokio::test]
async fn a_service_that_tells_too_much_or_too_little_is_caught() {
    let found = violations(|_| {
        let body = r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"expired"}"#;
        let challenge = "Bearer realm=\"orders \\\"eu\\\" \\\\ west\", error=\"invalid_token\"";
        Reply::new(401, "application/problem+json", body)
            .with_header("Cache-Control", "no-store")
            .with_header("WWW-Authenticate", challenge)
    })
    .await;
    for rule in ["no credential is 401", "honest token H001 ", "hostile token A031/a ", "public: no credential"] {
        assert!(broken(&found, rule), "{rule} is not among {} violations", found.len());
    }
    let refused = found.iter().find(|violation| violation.starts_with("hostile token A031/a ")).unwrap();
    assert!(refused.contains("challenge") && refused.contains("body is not"), "{refused}");
}

#[tokio::test]
async fn a_service_that_takes_every_proof_is_caught() {
    let listener = Server::bind().await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let everybody = |_: &Incoming| Reply::new(200, "application/json", "{}");
    let _server = Server::start(listener, Arc::new(everybody)).unwrap();
    let found = HttpSuite::new(&*base_url, &Issuer::new()).with_dpop_service(&*base_url).violations().await;
    for rule in [
        "DPoP: both schemes are asked for",
        "DPoP: of eight at once",
        "DPoP: a bound token is no bearer token",
        "DPoP: Host is not believed",
        "DPoP: hostile proof A118/a ",
        "DPoP: hostile proof D006 ",
    ] {
        assert!(broken(&found, rule), "{rule} is not among {} violations", found.len());
    }
}

#[tokio::test]
#[should_panic(expected = "rules of HTTP are broken")]
async fn a_service_that_is_not_there_is_caught() {
    HttpSuite::new("http://127.0.0.1:1", &Issuer::new()).run().await;
}
