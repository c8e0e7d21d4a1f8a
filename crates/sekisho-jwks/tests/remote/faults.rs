//! What a provider can do wrong, and that nothing comes of it but an outage of new keys.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::Clock;
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwks::{Discovery, KeyHealth, KeySet, RemoteKeys};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::support::{TestClock, ask, build, eventually, found, jwk, kid, ok, set, told, unavailable};

/// Compressed zeros: 1 kB of it would be a body of 1 MB.
const GZIP_BOMB: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xed\xc1\x01\x01\x00\x00\x00\x80\x90\xfe\xaf\xee\x08";

/// Lists answers that are wrong though the provider is up, with a word of the reason.
fn nonsense(elsewhere: &Server) -> Vec<(Reply, &'static str)> {
    let redirect = |status| Reply::Whole(status, vec![("location", elsewhere.url("/keys"))], Vec::new());
    let to_metadata = vec![("location", "http://169.254.169.254/latest".to_owned())];
    let to_file = vec![("location", "file:///etc/passwd".to_owned())];
    let many: Vec<_> = (0..=KeySet::MAX_KEYS).map(|n| json!({"kty": "OKP", "kid": n.to_string()})).collect();
    vec![
        (Reply::status(404), "status 404"),
        (Reply::status(500), "status 500"),
        (Reply::status(204), "status 204"),
        (Reply::Whole(206, Vec::new(), set(&["x"]).into_bytes()), "status 206"),
        (redirect(301), "redirects"),
        (redirect(302), "redirects"),
        (redirect(307), "redirects"),
        (redirect(308), "redirects"),
        (Reply::Whole(302, to_metadata, Vec::new()), "redirects"),
        (Reply::Whole(302, to_file, Vec::new()), "redirects"),
        (Reply::json("<html><title>Sign in</title></html>"), "not a JSON object"),
        (Reply::json(""), "not a JSON object"),
        (Reply::json("null"), "not a JSON object"),
        (Reply::json("[]"), "not a JSON object"),
        (Reply::json("{}"), "not a JSON object"),
        (Reply::json(r#"{"keys":{}}"#), "not a JSON object"),
        (Reply::json(r#"{"keys":[]}"#), "no usable key"),
        (Reply::json(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}"#), "no usable key"),
        (Reply::json(r#"{"keys":[{"kty":"RSA","n":"!","e":"AQAB","kid":"a"},7,null]}"#), "no usable key"),
        (Reply::json(json!({ "keys": many }).to_string()), "more than 100 keys"),
        (Reply::json("[".repeat(100_000)), "not a JSON object"),
        (Reply::Flood(50_000_000), "larger than allowed"),
        (Reply::Whole(200, vec![("content-encoding", "gzip".to_owned())], GZIP_BOMB.to_vec()), "not a JSON object"),
        (Reply::status(304), "nothing changed"),
    ]
}

/// Lists answers of a provider that is away or starting.
fn away() -> Vec<(Reply, &'static str)> {
    vec![
        (Reply::status(502), "status 502"),
        (Reply::status(503), "status 503"),
        (Reply::status(504), "status 504"),
        (Reply::Truncated(set(&["x"]).into_bytes()), "broke off"),
        (Reply::Hang, "in time"),
        (Reply::Drip, "in time"),
    ]
}

#[tokio::test]
async fn keys_at_hand_go_on_whatever_the_provider_answers_and_a_new_kid_is_an_outage() {
    let elsewhere = Server::start().await;
    elsewhere.set("/keys", Reply::json(set(&["x"])));
    for (reply, reason) in nonsense(&elsewhere).into_iter().chain(away()) {
        let (server, clock) = (Server::start().await, TestClock::new());
        server.set("/keys", Reply::json(set(&["a"])));
        let keys = RemoteKeys::new(server.url("/keys")).with_total_timeout(Duration::from_secs(2));
        let source = build(keys, &clock);
        let life = std::sync::Arc::clone(found(ask(&source, "a", clock.now()).await).life());
        server.set("/keys", reply.clone());
        clock.advance(1);
        let failure = unavailable(ask(&source, "x", clock.now()).await);
        let told = told(&failure);
        assert!(told.contains(reason), "{told}, not {reason}");
        assert_eq!(server.count("/keys"), 2);
        found(source.find(kid("a"), clock.now()));
        assert!(life.is_live(clock.now()));
        assert!(matches!(source.health(clock.now()), KeyHealth::Stale { keys: 1, .. }));
        // Within the bound and not beyond it.
        clock.advance(600 + 3600 - 2);
        found(source.find(kid("a"), clock.now()));
        clock.advance(1);
        assert!(!life.is_live(clock.now()));
        assert!(!source.health(clock.now()).is_ready());
        unavailable(ask(&source, "a", clock.now()).await);
        // All is well again as soon as the provider is.
        server.set("/keys", Reply::json(set(&["a", "x"])));
        clock.advance(31);
        found(ask(&source, "x", clock.now()).await);
        assert_eq!(source.health(clock.now()), KeyHealth::Fresh { keys: 2 });
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_provider_that_never_had_a_usable_set_is_asked_once_in_the_interval() {
    let elsewhere = Server::start().await;
    elsewhere.set("/keys", Reply::json(set(&["x"])));
    for (reply, reason) in nonsense(&elsewhere) {
        let (server, clock) = (Server::start().await, TestClock::new());
        server.set("/keys", reply);
        let source = build(RemoteKeys::new(server.url("/keys")), &clock);
        for n in 0..300 {
            unavailable(ask(&source, &format!("x{n}"), clock.now()).await);
        }
        assert_eq!(server.count("/keys"), 1, "{reason}");
        clock.advance(29);
        unavailable(ask(&source, "x", clock.now()).await);
        assert_eq!(server.count("/keys"), 1, "{reason}");
        clock.advance(2);
        unavailable(ask(&source, "x", clock.now()).await);
        assert_eq!(server.count("/keys"), 2, "{reason}");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn one_broken_key_does_not_spoil_the_others() {
    let (server, clock) = (Server::start().await, TestClock::new());
    let keys = json!({ "keys": [
        {"kty": "RSA", "kid": "bad", "n": "!", "e": "AQAB"}, {"kty": "AKP", "kid": "new"}, 7, jwk("a"),
    ]});
    server.set("/keys", Reply::json(keys.to_string()));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    found(ask(&source, "a", clock.now()).await);
    assert_eq!(source.health(clock.now()), KeyHealth::Fresh { keys: 1 });
}

#[tokio::test]
async fn an_outage_is_over_seconds_after_the_provider_returned() {
    let mut server = Server::start().await;
    server.set("/keys", Reply::json(set(&["a"])));
    let context = sekisho_jwks::SourceContext::new(sekisho_jwks::Backend::aws_lc());
    let clock = sekisho_core::SystemClock;
    server.kill().await;
    let source = sekisho_jwks::IntoKeySource::into_key_source(RemoteKeys::new(server.url("/keys")), &context).unwrap();
    unavailable(ask(&source, "a", clock.now()).await);
    assert!(!source.health(clock.now()).is_ready());
    server.revive();
    // Nobody asks: the background does it.
    eventually(|| matches!(source.find(kid("a"), clock.now()), sekisho_jwks::KeyLookup::Found(_))).await;
    server.kill().await;
    found(ask(&source, "a", clock.now()).await);
    unavailable(ask(&source, "b", clock.now()).await);
    server.set("/keys", Reply::json(set(&["a", "b"])));
    server.revive();
    eventually(|| matches!(source.find(kid("b"), clock.now()), sekisho_jwks::KeyLookup::Found(_))).await;
}

#[tokio::test]
async fn a_provider_that_says_when_to_come_back_is_not_asked_before() {
    for place in ["/keys", "/.well-known/openid-configuration"] {
        let (server, clock) = (Server::start().await, TestClock::new());
        let issuer = server.url("");
        let document = json!({ "issuer": issuer, "jwks_uri": server.url("/keys") });
        server.set("/.well-known/openid-configuration", Reply::json(document.to_string()));
        server.set("/keys", Reply::json(set(&["a"])));
        server.set(place, Reply::Whole(503, vec![("retry-after", "20".to_owned())], Vec::new()));
        let source = build(Discovery::oidc(&issuer), &clock);
        let failure = unavailable(ask(&source, "a", clock.now()).await);
        assert!(failure.retry_after().unwrap().as_secs() >= 19, "{failure:?}");
        clock.advance(18);
        unavailable(ask(&source, "a", clock.now()).await);
        assert_eq!(server.count(place), 1);
        clock.advance(4);
        unavailable(ask(&source, "a", clock.now()).await);
        assert_eq!(server.count(place), 2);
    }
}

/// Keeps the limits that it is told.
#[derive(Debug, Default)]
struct Limits(std::sync::Mutex<Vec<HttpLimits>>);

#[async_trait::async_trait]
impl HttpClient for Limits {
    async fn send(&self, _request: HttpRequest, limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        self.0.lock().unwrap().push(limits);
        ok(set(&["a"]))
    }
}

#[tokio::test]
async fn the_client_is_told_one_second_to_connect_five_in_all_and_150_000_bytes() {
    let (client, clock) = (Arc::new(Limits::default()), TestClock::new());
    let keys = RemoteKeys::new("https://id.example/keys").with_http_client(Arc::clone(&client) as Arc<dyn HttpClient>);
    found(ask(&build(keys, &clock), "a", clock.now()).await);
    let told = client.0.lock().unwrap()[0];
    assert_eq!((told.connect_timeout, told.total_timeout), (Duration::from_secs(1), Duration::from_secs(5)));
    assert_eq!(told.max_body_bytes, 150_000);
}
