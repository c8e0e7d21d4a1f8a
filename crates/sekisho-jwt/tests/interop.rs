//! What comes over from `jsonwebtoken`, and what does not.
#![allow(clippy::unwrap_used, reason = "tests")]

use sekisho_jwt::interop::{algorithm_from, algorithm_to, key_from, key_set_from, token_data};
use sekisho_jwt::jwks::{SigningKey, StaticKeys};
use sekisho_jwt::{Algorithm, Backend, Jwt, Signer, UnixSeconds};
use serde_json::json;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

#[test]
fn algorithms_go_there_and_back() {
    let known: Vec<_> = Algorithm::ALL.into_iter().filter(|algorithm| algorithm_to(*algorithm).is_some()).collect();
    assert_eq!(known.len(), 12, "all but ES512 and ES256K");
    for algorithm in known {
        assert_eq!(algorithm_from(algorithm_to(algorithm).unwrap()), Some(algorithm));
    }
}

#[test]
fn their_key_verifies_here_what_was_signed_here() {
    let signing = SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(signing.public_jwk().unwrap()).unwrap();
    let key = key_from(Backend::default(), &jwk).unwrap();
    assert_eq!(key.kid(), Some(signing.kid()));
    let set = jsonwebtoken::jwk::JwkSet { keys: vec![jwk] };
    let keys = key_set_from(Backend::default(), &set).unwrap();
    let verifier =
        Jwt::issuer("https://id.example").audience("api").with_keys(StaticKeys::from_set(&keys)).build().unwrap();
    let claims = json!({"iss": "https://id.example", "aud": "api", "sub": "alice", "exp": NOW.as_secs() + 60});
    let token = Signer::new(signing).sign(&claims).unwrap();
    let verified = verifier.verify_now(&token, NOW).unwrap().unwrap().typed::<serde_json::Value>().unwrap();
    let data = token_data(jsonwebtoken::Algorithm::ES256, verified);
    assert_eq!((data.header.alg, data.claims), (jsonwebtoken::Algorithm::ES256, claims));
}

#[test]
fn a_shared_secret_does_not_come_over_in_a_published_set() {
    let jwk: jsonwebtoken::jwk::Jwk =
        serde_json::from_value(json!({"kty": "oct", "alg": "HS256", "k": "A".repeat(43)})).unwrap();
    assert!(key_from(Backend::default(), &jwk).is_ok(), "one key that the owner has");
    let keys = key_set_from(Backend::default(), &jsonwebtoken::jwk::JwkSet { keys: vec![jwk] }).unwrap();
    assert_eq!((keys.keys().len(), keys.skipped().len()), (0, 1));
}
