//! Tokens that a real Keycloak binds to a key (RFC 9449), before a service of ours: with proofs of oauth4webapi
//! (`dpop.mjs`), and with our own.

use std::time::Duration;

use reqwest::Method;
use sekisho_core::Secret;
use sekisho_jwt::{Dpop, NonceKeys, Profile};
use sekisho_opaque::{ClientCredentials, Opaque};
use sekisho_testkit::{DpopKey, ProofBuilder};
use serde_json::{Value, json};

use crate::keycloak::{AUDIENCE, Keycloak};
use crate::scripts;
use crate::service::{Answer, Service};
use crate::setup::{self, part};

const ALGS: &str = r#"algs="PS256 ES256 ES384 EdDSA Ed25519""#;

/// Tells whether a challenge is of the scheme `DPoP`, with this error and the algorithms that are taken.
fn is_dpop_challenge(challenge: &str, error: &str) -> bool {
    challenge.starts_with(&format!("DPoP error=\"{error}\", ")) && challenge.ends_with(ALGS)
}

#[tokio::test]
async fn a_service_takes_keycloaks_bound_tokens_with_proofs_of_another_library() {
    let test = "DPoP by oauth4webapi";
    let Some(keycloak) = Keycloak::reach(test).await else { return };
    let service = Service::start_at_its_url(keycloak.jwt().with_dpop(Dpop::new())).await;
    let plain = Service::start_at_its_url(keycloak.jwt()).await;
    let nonces = NonceKeys::new(Secret::from("0123456789abcdef0123456789abcdef"));
    let nonce = Service::start_at_its_url(keycloak.jwt().with_dpop(Dpop::new().with_nonces(nonces))).await;
    let input = json!({
        "issuer": keycloak.issuer(),
        "service": service.at("/orders"),
        "plainService": plain.at("/orders"),
        "nonceService": nonce.at("/orders"),
    });
    let Some(report) = scripts::run(test, "dpop.mjs", input).await else { return };

    let token = report.step("token");
    let text = token["token"].as_str().unwrap();
    let claims = part(text, 1);
    assert_eq!(claims["cnf"]["jkt"], token["thumbprint"], "{claims}");
    assert_eq!((&token["type"], &claims["typ"]), (&json!("dpop"), &json!("DPoP")), "{claims}");

    for step in
        ["accepted", "accepted again, with a new proof", "accepted by PS256", "accepted by ES384", "with the nonce"]
    {
        assert_eq!(report.step(step)["status"], 200, "{step}: {}", report.step(step));
    }
    for (step, error) in [
        ("stale", "invalid_dpop_proof"),
        ("from the future", "invalid_dpop_proof"),
        ("other URL", "invalid_dpop_proof"),
        ("other method", "invalid_dpop_proof"),
        ("other token", "invalid_dpop_proof"),
        ("other type", "invalid_dpop_proof"),
        ("proof of another key", "invalid_token"),
        ("token of another key", "invalid_token"),
        ("without a nonce", "use_dpop_nonce"),
    ] {
        let told = report.step(step);
        let challenge = told["challenge"].as_str().unwrap_or_default();
        assert!(told["status"] == 401 && is_dpop_challenge(challenge, error), "{step}: {told}");
    }
    assert_eq!(report.step("without a nonce")["isNonceError"], true, "and the library understands it");
    let bearer = report.step("as a bearer token");
    let challenge = bearer["challenge"].as_str().unwrap();
    assert!(bearer["status"] == 401 && challenge.starts_with(r#"Bearer error="invalid_token""#), "{bearer}");
    assert!(challenge.ends_with(&format!(", DPoP {ALGS}")), "it learns what to do: {bearer}");
    let unaware = report.step("service without DPoP");
    assert_eq!((&unaware["status"], &unaware["challenge"]), (&json!(401), &json!(r#"Bearer realm="protected""#)));
    assert_eq!(report.step("unbound")["error"], "invalid_request", "Keycloak gives this client no other token");

    // A thief who saw everything that the library sent.
    let proof = report.step("accepted")["proof"].as_str().unwrap();
    let authorization = format!("DPoP {text}");
    let headers = [("authorization", &*authorization), ("dpop", proof)];
    let replayed = service.send_with(Method::GET, "/orders", &headers).await;
    assert!(replayed.status == 401 && is_dpop_challenge(&replayed.challenge, "invalid_dpop_proof"), "{replayed:?}");
}

/// Sends a token with proofs, as the scheme `DPoP`.
async fn ask(service: &Service, token: &str, proofs: &[&ProofBuilder]) -> Answer {
    let authorization = format!("DPoP {token}");
    let proofs: Vec<_> = proofs.iter().map(|proof| proof.sign()).collect();
    let mut headers = vec![("authorization", &*authorization)];
    headers.extend(proofs.iter().map(|proof| ("dpop", &**proof)));
    service.send_with(Method::GET, "/orders", &headers).await
}

/// The same whether the service verifies the token by itself or asks Keycloak about it.
async fn assert_binds(keycloak: &Keycloak, service: &Service) {
    let (key, thief) = (DpopKey::generate(), DpopKey::generate());
    let url = service.at("/orders");
    let token = keycloak.bound_token(&key).await.expect("a token");
    assert_eq!(part(&token, 1)["cnf"]["jkt"], key.thumbprint());
    let proof = || key.proof("GET", &url).for_token(&token);

    let accepted = ask(service, &token, &[&proof()]).await;
    assert_eq!((accepted.status, &accepted.body["client"]), (200, &json!("worker-dpop")), "{accepted:?}");
    // What a proof is for begins at the path: the query is not in it.
    let authorization = format!("DPoP {token}");
    let signed = proof().sign();
    let headers = [("authorization", &*authorization), ("dpop", &*signed)];
    assert_eq!(service.send_with(Method::GET, "/orders?page=2", &headers).await.status, 200);
    let replayed = service.send_with(Method::GET, "/orders", &headers).await;
    assert!(replayed.status == 401 && is_dpop_challenge(&replayed.challenge, "invalid_dpop_proof"), "{replayed:?}");

    let now = setup::now();
    let (minute, hour) = (Duration::from_secs(66), Duration::from_secs(3600));
    for (what, proof) in [
        ("another URL", key.proof("GET", &service.at("/me")).for_token(&token)),
        ("another host", key.proof("GET", "https://api.example/orders").for_token(&token)),
        ("another method", key.proof("POST", &url).for_token(&token)),
        ("another token", key.proof("GET", &url).for_token("another")),
        ("no token", key.proof("GET", &url)),
        ("stale", proof().at(now.saturating_sub(minute))),
        ("long gone", proof().at(now.saturating_sub(hour))),
        ("from the future", proof().at(now.saturating_add(minute))),
        ("no identifier", proof().without_claim("jti")),
        ("signed by another", proof().signed_by(thief.key())),
        ("no type", proof().without_header("typ")),
    ] {
        let answer = ask(service, &token, &[&proof]).await;
        assert!(
            answer.status == 401 && is_dpop_challenge(&answer.challenge, "invalid_dpop_proof"),
            "{what}: {answer:?}"
        );
    }
    let none = ask(service, &token, &[]).await;
    assert!(none.status == 401 && is_dpop_challenge(&none.challenge, "invalid_dpop_proof"), "{none:?}");
    let several = ask(service, &token, &[&proof(), &proof()]).await;
    assert_eq!(several.status, 401, "{several:?}");
    let stolen = ask(service, &token, &[&thief.proof("GET", &url).for_token(&token)]).await;
    assert!(stolen.status == 401 && is_dpop_challenge(&stolen.challenge, "invalid_token"), "{stolen:?}");
    let bearer = service.get("/orders", &token).await;
    assert!(bearer.status == 401 && bearer.challenge.starts_with(r#"Bearer error="invalid_token""#), "{bearer:?}");
    let signed = proof().sign();
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization), ("dpop", &*signed)];
    assert_eq!(service.send_with(Method::GET, "/orders", &headers).await.status, 401, "a good proof changes nothing");

    // A token that Keycloak did not bind: as bearer it is one, and no proof makes it more.
    let unbound = keycloak.client_token("worker", "orders:read").await;
    assert_eq!(service.get("/orders", &unbound).await.status, 200);
    let dressed = ask(service, &unbound, &[&key.proof("GET", &url).for_token(&unbound)]).await;
    assert!(dressed.status == 401 && is_dpop_challenge(&dressed.challenge, "invalid_token"), "{dressed:?}");
    assert_eq!(ask(service, &token, &[&proof()]).await.status, 200, "and the honest client goes on");
}

#[tokio::test]
async fn a_service_takes_keycloaks_bound_tokens_with_proofs_of_ours() {
    let Some(keycloak) = Keycloak::reach("DPoP with our proofs").await else { return };
    let service = Service::start_at_its_url(keycloak.jwt().with_dpop(Dpop::new())).await;
    assert_binds(&keycloak, &service).await;

    let strict = Service::start_at_its_url(keycloak.jwt().with_dpop(Dpop::new().requiring_proof())).await;
    let unbound = keycloak.client_token("worker", "orders:read").await;
    let refused = strict.get("/orders", &unbound).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    // Keycloak itself takes our proofs only as it should.
    let url = keycloak.token_endpoint("sekisho");
    let key = DpopKey::generate();
    for (what, proof) in [
        ("no proof", String::new()),
        ("another URL", key.proof("POST", "https://id.example/token").sign()),
        ("signed by another", key.proof("POST", &url).signed_by(DpopKey::generate().key()).sign()),
    ] {
        let error = keycloak.token_with_proof(&proof).await.expect_err(what);
        assert_ne!(error["error"], Value::Null, "{what}: {error}");
    }
}

#[tokio::test]
async fn a_service_that_asks_keycloak_about_bound_tokens_wants_the_proof_too() {
    let Some(keycloak) = Keycloak::reach("DPoP by introspection of Keycloak").await else { return };
    let endpoint = format!("{}/introspect", keycloak.token_endpoint("sekisho"));
    let introspection = Opaque::introspect(endpoint, ClientCredentials::basic(AUDIENCE, format!("{AUDIENCE}-secret")))
        .issuer(keycloak.issuer())
        .audience(AUDIENCE)
        .with_profile(Profile::keycloak())
        // Keycloak's access tokens are JWTs.
        .also_jwts()
        .with_dpop(Dpop::new());
    let service = Service::start_at_its_url(introspection).await;
    assert_binds(&keycloak, &service).await;
}
