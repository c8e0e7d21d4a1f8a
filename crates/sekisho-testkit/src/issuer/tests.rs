#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::FixedClock;

fn decoded(token: &str, part: usize) -> Value {
    let text = token.split('.').nth(part).unwrap();
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).unwrap()).unwrap()
}

/// Stands for RSA where the backend can make its keys.
const RSA: Algorithm = if cfg!(feature = "aws-lc-rs") { Algorithm::Rs256 } else { Algorithm::Es384 };

/// Tells whether one of the published keys verifies the token.
fn holds(issuer: &Issuer, token: &str) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(signature).unwrap();
    let header = decoded(token, 0);
    let algorithm = Algorithm::from_name(header["alg"].as_str().unwrap()).unwrap();
    let set = issuer.keys();
    set.keys()
        .iter()
        .filter(|key| header.get("kid").is_none_or(|kid| kid.as_str() == key.kid()))
        .any(|key| key.verify(algorithm, input.as_bytes(), &signature))
}

#[test]
fn a_token_is_an_access_token_until_told_otherwise() {
    let clock = FixedClock::at(UnixSeconds::new(1_700_000_000));
    let issuer = Issuer::with_url("https://id.test").with_clock(clock);
    let token = issuer.token().audience("orders").scope("a b").claim("roles", vec!["x"]).sign();
    let (header, claims) = (decoded(&token, 0), decoded(&token, 1));
    assert_eq!(header, json!({ "alg": "ES256", "typ": "at+jwt", "kid": issuer.signing_key().kid() }));
    let expected = json!({
        "iss": "https://id.test", "sub": "u1", "aud": "orders", "client_id": "client", "scope": "a b", "roles": ["x"],
        "iat": 1_700_000_000, "exp": 1_700_000_300, "jti": claims["jti"],
    });
    assert_eq!(claims, expected);
    assert!(holds(&issuer, &token));
    assert_ne!(decoded(&issuer.token().sign(), 1)["jti"], claims["jti"]);
}

#[test]
fn every_part_of_a_token_can_be_changed() {
    let clock = FixedClock::at(UnixSeconds::new(1_700_000_000));
    let issuer = Issuer::new().with_clock(clock.clone());
    let other = generate(issuer.backend(), Algorithm::Ed25519);
    let token = issuer
        .token()
        .without_claim("jti")
        .expired()
        .not_before(UnixSeconds::new(5))
        .header("x", 1)
        .without_kid()
        .typ("JWT")
        .signed_by(&other)
        .sign();
    assert_eq!(decoded(&token, 0), json!({ "alg": "EdDSA", "typ": "JWT", "x": 1 }));
    let claims = decoded(&token, 1);
    assert_eq!(
        (&claims["exp"], &claims["iat"], &claims["nbf"]),
        (&json!(1_699_996_400), &json!(1_699_996_100), &json!(5))
    );
    assert!(claims.get("jti").is_none());
    assert!(!holds(&issuer, &token));
    clock.advance(Duration::from_secs(10));
    assert_eq!(decoded(&issuer.token().sign(), 1)["iat"], 1_700_000_010);
}

#[test]
fn every_asymmetric_algorithm_signs_and_publishes() {
    for algorithm in [RSA, Algorithm::Es384, Algorithm::Ed25519] {
        let issuer = Issuer::new().with_algorithm(algorithm);
        let token = issuer.token().sign();
        assert_eq!(decoded(&token, 0)["alg"], algorithm.name());
        assert!(holds(&issuer, &token));
        let second = issuer.token().algorithm(Algorithm::Es256).sign();
        assert!(holds(&issuer, &second));
        assert_eq!(issuer.keys().keys().len(), 2);
    }
}

#[test]
fn rotation_keeps_the_old_key_until_it_is_withdrawn() {
    let issuer = Issuer::new();
    let before = issuer.token().sign();
    issuer.rotate();
    let after = issuer.token().sign();
    assert_ne!(decoded(&before, 0)["kid"], decoded(&after, 0)["kid"]);
    assert!(holds(&issuer, &before) && holds(&issuer, &after));
    issuer.withdraw_retired();
    assert!(!holds(&issuer, &before) && holds(&issuer, &after));
}

#[test]
fn a_key_from_elsewhere_signs_under_its_own_name() {
    let key = generate(Issuer::new().backend(), Algorithm::Ed25519).with_kid("from-a-file");
    let issuer = Issuer::new().with_signing_key(key);
    let token = issuer.token().sign();
    assert_eq!(decoded(&token, 0), json!({ "alg": "EdDSA", "kid": "from-a-file", "typ": "at+jwt" }));
    assert!(holds(&issuer, &token));
}

#[test]
fn decoys_are_published_and_not_one_of_them_can_be_used() {
    let issuer = Issuer::new().with_decoys();
    let published: Value = serde_json::from_str(&issuer.key_set()).unwrap();
    assert_eq!(published["keys"].as_array().unwrap().len(), 5);
    assert_eq!(issuer.keys().keys().len(), 1);
    assert!(holds(&issuer, &issuer.token().sign()));
    assert!(issuer.decoys().iter().all(|(_, key)| !holds(&issuer, &issuer.token().signed_by(key).sign())));
}

#[test]
#[should_panic(expected = "cannot sign by HS256")]
fn a_shared_secret_is_refused_because_it_would_be_published() {
    let _never = Issuer::new().with_algorithm(Algorithm::Hs256);
}
