//! Statements: signed JWTs that are nobody's access token.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![cfg(feature = "aws-lc-rs")]

use std::sync::Arc;

use sekisho_jwt::jwks::{SigningKey, StaticKeys};
use sekisho_jwt::{
    Algorithm, Backend, Claim, Jwt, Profile, Refusal, Reject, Signer, StatementVerifier, UnixSeconds, Verifier,
};
use serde_json::{Value, json};

const ISSUER: &str = "https://id.example";
const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const KIND: &str = "token-introspection+jwt";

fn key() -> SigningKey {
    SigningKey::generate(Backend::default(), Algorithm::Ed25519).unwrap()
}

fn keys(key: &SigningKey) -> StaticKeys {
    StaticKeys::new([key.verifying_key()])
}

fn statements(key: &SigningKey) -> StatementVerifier {
    StatementVerifier::new(ISSUER, "gateway", Arc::new(keys(key))).unwrap().with_type(KIND)
}

fn answer() -> Value {
    let access = json!({ "active": true, "sub": "u1", "aud": "orders", "iss": ISSUER });
    json!({ "iss": ISSUER, "aud": "gateway", "iat": NOW.as_secs(), "token_introspection": access })
}

fn signed(key: &SigningKey, kind: &str, claims: &Value) -> String {
    Signer::new(key.clone()).with_type(kind).sign(claims).unwrap()
}

async fn refused(verifier: &StatementVerifier, token: &str) -> Reject {
    match verifier.verify(token, NOW).await {
        Err(Refusal::Reject(reject)) => reject,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn takes_an_honest_introspection_answer() {
    let key = key();
    for kind in [KIND, "application/token-introspection+jwt", "Application/Token-Introspection+JWT"] {
        let claims = statements(&key).verify(&signed(&key, kind, &answer()), NOW).await.unwrap();
        assert_eq!(claims.get().get("token_introspection").unwrap().member("active").unwrap().as_bool(), Some(true));
    }
}

#[tokio::test]
async fn refuses_every_other_type() {
    let key = key();
    for kind in ["at+jwt", "jwt", "JWT", "logout+jwt", "token-introspection+jwt ", ""] {
        assert_eq!(refused(&statements(&key), &signed(&key, kind, &answer())).await, Reject::Type, "{kind:?}");
    }
    let none = StatementVerifier::new(ISSUER, "gateway", Arc::new(keys(&key))).unwrap();
    assert_eq!(refused(&none, &signed(&key, KIND, &answer())).await, Reject::Type, "nothing is taken by default");
}

#[tokio::test]
async fn refuses_another_key_issuer_audience_or_time() {
    let key = key();
    let verifier = statements(&key);
    assert_eq!(refused(&verifier, &signed(&self::key(), KIND, &answer())).await, Reject::UnknownKey);
    let imposter = self::key().with_kid(key.kid());
    assert_eq!(refused(&verifier, &signed(&imposter, KIND, &answer())).await, Reject::Signature);
    let changed = |name: &str, value: Value| {
        let mut claims = answer();
        claims.as_object_mut().unwrap().insert(name.to_owned(), value);
        signed(&key, KIND, &claims)
    };
    let late = NOW.as_secs() + 61;
    for (name, value, expected) in [
        ("iss", json!("https://id.example/"), Reject::Issuer),
        ("iss", json!(1), Reject::Invalid(Claim::Issuer)),
        ("aud", json!("orders"), Reject::Audience),
        ("aud", json!(["gateway", 1]), Reject::Invalid(Claim::Audience)),
        ("exp", json!(NOW.as_secs() - 60), Reject::Expired { by_secs: 0 }),
        ("exp", json!("never"), Reject::Invalid(Claim::Expiry)),
        ("nbf", json!(late), Reject::NotYetValid { by_secs: 1 }),
        ("iat", json!(late), Reject::IssuedInFuture { by_secs: 1 }),
    ] {
        assert_eq!(refused(&verifier, &changed(name, value)).await, expected, "{name}");
    }
    for name in ["iss", "aud"] {
        let mut claims = answer();
        claims.as_object_mut().unwrap().remove(name);
        let reject = refused(&verifier, &signed(&key, KIND, &claims)).await;
        assert!(matches!(reject, Reject::Missing(_)), "{name}: {reject}");
    }
}

#[tokio::test]
async fn shared_secrets_never_make_a_statement() {
    let secret = SigningKey::hmac(Backend::default(), Algorithm::Hs256, &[7; 32]).unwrap();
    let verifier = statements(&secret).with_algorithms([Algorithm::Hs256, Algorithm::Ed25519]);
    assert_eq!(refused(&verifier, &signed(&secret, KIND, &answer())).await, Reject::Algorithm);
}

/// RFC 9701 §8.1: the answer must not be of use as an access token, whatever stands in it.
#[tokio::test]
async fn a_signed_introspection_answer_is_never_an_access_token() {
    let key = key();
    let mut claims = answer();
    // A careless provider repeats the token's claims at the top.
    for (name, value) in [("sub", json!("u1")), ("aud", json!("orders")), ("exp", json!(NOW.as_secs() + 300))] {
        claims.as_object_mut().unwrap().insert(name.to_owned(), value);
    }
    for (name, value) in [("client_id", json!("c")), ("jti", json!("j")), ("scope", json!("a"))] {
        claims.as_object_mut().unwrap().insert(name.to_owned(), value);
    }
    let verifier = |profile: Profile| -> Verifier {
        Jwt::issuer(ISSUER).audience("orders").with_keys(keys(&key)).with_profile(profile).build().unwrap()
    };
    for profile in
        [Profile::compatible(), Profile::rfc9068(), Profile::keycloak(), Profile::entra(), Profile::cognito()]
    {
        let verifier = verifier(profile);
        for kind in [KIND, "application/token-introspection+jwt", "TOKEN-INTROSPECTION+JWT"] {
            let result = verifier.verify(&signed(&key, kind, &claims), NOW).await;
            assert!(matches!(result, Err(Refusal::Reject(Reject::Type))), "{kind}: {result:?}");
        }
    }
    // What makes the difference is the type alone.
    assert!(verifier(Profile::rfc9068()).verify(&signed(&key, "at+jwt", &claims), NOW).await.is_ok());
}
