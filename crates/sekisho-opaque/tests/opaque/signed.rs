//! Signed answers (RFC 9701).

use std::time::Duration;

use sekisho_core::{FailureKind, Reject};
use sekisho_jwt::jwks::{RemoteKeys, SigningKey, StaticKeys};
use sekisho_jwt::{Algorithm, Backend, Signer};
use sekisho_opaque::{ClientCredentials, Introspection};
use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::support::{ISSUER, NOW, Said, TOKEN, active, ask, ask_now, at, claims, introspect, yes};

const KIND: &str = "application/token-introspection+jwt";

fn key() -> SigningKey {
    SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap()
}

fn envelope(inner: &Value) -> Value {
    json!({ "iss": ISSUER, "aud": "gateway", "iat": NOW.as_secs(), "token_introspection": inner })
}

fn signed(key: &SigningKey, kind: &str, claims: &Value) -> String {
    Signer::new(key.clone()).with_type(kind).sign(claims).unwrap()
}

fn reply(key: &SigningKey, claims: &Value) -> Reply {
    Reply::jwt(KIND, &signed(key, "token-introspection+jwt", claims))
}

fn introspection(server: &Server, key: &SigningKey) -> Introspection {
    introspect(server)
        .with_signed_answers(StaticKeys::new([key.verifying_key()]))
        .cache_for(Duration::from_secs(30))
        .with_negative_cache(Duration::ZERO)
        .build()
        .unwrap()
}

#[tokio::test]
async fn takes_what_the_issuer_signed_for_us() {
    let key = key();
    let server = Server::start(reply(&key, &envelope(&claims()))).await;
    let introspection = introspection(&server, &key);
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    assert_eq!(server.requests()[0].header("accept"), Some(KIND));
    assert_eq!(ask_now(&introspection, TOKEN, at(29)), Some(yes()));
    assert_eq!(ask_now(&introspection, TOKEN, at(30)), None);
    server.set(reply(&key, &envelope(&json!({ "active": false }))));
    assert_eq!(ask(&introspection, "another", NOW).await, Said::No(Reject::Inactive));
}

#[tokio::test]
async fn refuses_what_is_not_signed_or_not_by_the_issuer_or_not_for_us() {
    let key = key();
    let server = Server::start(active()).await;
    let introspection = introspection(&server, &key);
    let good = envelope(&claims());
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().insert(name.to_owned(), value);
        reply(&key, &claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        reply(&key, &claims)
    };
    let text = signed(&key, "token-introspection+jwt", &good);
    let unsigned = format!("{}.", text.rsplit_once('.').unwrap().0);
    for (what, reply) in [
        ("plain JSON", active()),
        ("JSON that says it is signed", Reply::jwt(KIND, &claims().to_string())),
        ("signed, and said to be JSON", Reply::jwt("application/json", &text)),
        ("signed, and said to be a JWT", Reply::jwt("application/jwt", &text)),
        ("no type at all", Reply::Whole(200, Vec::new(), text.clone().into_bytes())),
        ("no signature", Reply::jwt(KIND, &unsigned)),
        ("another key", reply(&self::key().with_kid(key.kid()), &good)),
        ("an access token", Reply::jwt(KIND, &signed(&key, "at+jwt", &good))),
        ("an ID token", Reply::jwt(KIND, &signed(&key, "JWT", &good))),
        ("another issuer", changed("iss", json!("https://other.example"))),
        ("made for another", changed("aud", json!("other"))),
        ("made for the API, not for us", changed("aud", json!("orders"))),
        ("expired", changed("exp", json!(NOW.as_secs() - 61))),
        ("from the future", changed("iat", json!(NOW.as_secs() + 61))),
        ("no audience", without("aud")),
        ("no issuer", without("iss")),
        ("no answer in it", without("token_introspection")),
        ("claims at the top", reply(&key, &claims())),
        ("an answer that is text", changed("token_introspection", json!(claims().to_string()))),
        ("an answer that is a list", changed("token_introspection", json!([claims()]))),
        ("active as text", changed("token_introspection", json!({ "active": "true", "sub": "u1", "aud": "orders" }))),
        ("active beside it", changed("token_introspection", json!({ "sub": "u1", "aud": "orders" }))),
    ] {
        server.set(reply);
        assert_eq!(ask(&introspection, TOKEN, NOW).await, Said::Failed(FailureKind::BadGateway), "{what}");
    }
    // What is signed is checked like what is not.
    let mut inner = claims();
    inner.as_object_mut().unwrap().insert("aud".to_owned(), json!("other"));
    server.set(reply(&key, &envelope(&inner)));
    assert_eq!(ask(&introspection, TOKEN, NOW).await, Said::No(Reject::Audience));
    server.set(Reply::status(401));
    assert_eq!(ask(&introspection, TOKEN, NOW).await, Said::Failed(FailureKind::BadGateway));
}

#[tokio::test]
async fn signed_answers_need_a_name_to_be_made_out_to() {
    let server = Server::start(active()).await;
    let nameless = sekisho_opaque::Opaque::introspect(server.url(), ClientCredentials::bearer("token"))
        .issuer(ISSUER)
        .audience("orders")
        .with_signed_answers(StaticKeys::new([key().verifying_key()]));
    assert!(nameless.build().is_err());
}

#[tokio::test]
async fn a_provider_that_gives_a_kid_to_another_key_is_believed_again_after_one_fetch() {
    let published = |key: &SigningKey| Reply::json(json!({ "keys": [key.public_jwk().unwrap()] }).to_string());
    let (old, new, foreign) = (key().with_kid("a"), key().with_kid("a"), key().with_kid("a"));
    let keys = Server::start(published(&old)).await;
    let server = Server::start(reply(&old, &envelope(&claims()))).await;
    let introspection = introspect(&server)
        .with_signed_answers(RemoteKeys::new(keys.url()))
        .with_clock(std::sync::Arc::new(sekisho_testkit::FixedClock::at(NOW)))
        .build()
        .unwrap();
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    keys.set(published(&new));
    server.set(reply(&new, &envelope(&claims())));
    assert_eq!(ask(&introspection, TOKEN, NOW).await, yes());
    let fetched = keys.count();
    // A key that the provider never published does not become the provider's, and is not looked for again and again.
    server.set(reply(&foreign, &envelope(&claims())));
    for _ in 0..10 {
        assert_eq!(ask(&introspection, TOKEN, NOW).await, Said::Failed(FailureKind::BadGateway));
    }
    assert_eq!(keys.count(), fetched);
    assert_eq!(ask(&introspection, TOKEN, at(31)).await, Said::Failed(FailureKind::BadGateway));
    assert_eq!(keys.count(), fetched + 1);
}
