//! What is told to logs, and what never is.

use std::sync::{Arc, Mutex};

use sekisho_core::Clock;
use sekisho_http::HttpError;
use sekisho_jwks::{Discovery, IntoKeySource, RemoteKeys};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};

use crate::support::{FakeClient, TestClock, ask, build, context, found, jwk, kid, ok, set, unavailable};

#[tokio::test]
async fn no_event_holds_anything_of_a_token() {
    let clock = TestClock::new();
    let (told, _listening) = listen();
    let keys = set(&["a"]);
    let client = FakeClient::new(move |_| ok(keys.clone()));
    let source = RemoteKeys::new("https://id.example/keys?hush=hush").with_http_client(client.clone());
    let source = source.into_key_source(&context(&clock)).unwrap();
    ask(&source, "hostile-kid", clock.now()).await;
    client.set(|_| Err(HttpError::Timeout));
    clock.advance(31);
    unavailable(ask(&source, "hostile-kid-2", clock.now()).await);
    client.set(|_| ok(set(&["a"])));
    clock.advance(31);
    ask(&source, "hostile-kid-3", clock.now()).await;
    let told = told.lock().unwrap().join("\n");
    for event in ["keys loaded", "keys cannot be loaded", "keys can be loaded again"] {
        assert!(told.contains(event), "{told}");
    }
    assert!(!told.contains("hostile") && !told.contains("hush"), "{told}");
}

#[tokio::test]
async fn no_event_holds_the_query_of_an_address() {
    let (clock, (told, _listening)) = (TestClock::new(), listen());
    let bad = json!({"kty": "RSA", "kid": "bad"});
    for keys in [json!([bad, jwk("a")]), json!([bad]), json!([leaked(), jwk("a")])] {
        let body = json!({ "keys": keys }).to_string();
        let client = FakeClient::new(move |request| {
            let document = json!({"issuer": "https://id.example", "jwks_uri": "https://id.example/keys?hush"});
            ok(if request.url.contains("well-known") { document.to_string() } else { body.clone() })
        });
        let remote = RemoteKeys::new("https://id.example/keys?hush").with_http_client(client.clone());
        let discovery = Discovery::oidc("https://id.example").with_http_client(client);
        for source in [build(remote, &clock), build(discovery, &clock)] {
            ask(&source, "a", clock.now()).await;
            assert!(!format!("{source:?}").contains("hush"));
        }
    }
    let told = told.lock().unwrap().join("\n");
    assert!(told.contains("https://id.example/keys") && !told.contains("hush"), "{told}");
    assert!(told.contains("no usable key among 1; key 0 (kid `bad`): malformed key"), "{told}");
}

#[tokio::test]
async fn a_published_secret_is_warned_of_once_for_each_change_of_the_set() {
    let (clock, (told, _listening)) = (TestClock::new(), listen());
    let oct = json!({"kty": "oct", "kid": "shared", "alg": "HS256", "k": "A".repeat(43)});
    let (private, unusable, good) = (leaked(), json!({"kty": "XYZ", "kid": "odd"}), jwk("a"));
    let client = FakeClient::new(|_| Err(HttpError::Timeout));
    let source = build(RemoteKeys::new("https://id.example/keys").with_http_client(client.clone()), &clock);
    let warnings = |named: &str| {
        let told = told.lock().unwrap();
        told.iter().filter(|line| line.starts_with("WARN") && line.contains(named)).count()
    };
    let steps = [
        (json!([private, good, unusable]), 1, 0),
        (json!([private, good, unusable]), 1, 0),
        (json!([unusable, good, private]), 1, 0),
        (json!([private, good, oct]), 2, 1),
        (json!([good]), 2, 1),
        (json!([good, private]), 3, 1),
    ];
    for (keys, private, shared) in steps {
        let body = json!({ "keys": keys }).to_string();
        client.set(move |_| ok(body.clone()));
        clock.advance(601);
        ask(&source, "unknown", clock.now()).await;
        found(source.find(kid("a"), clock.now()));
        assert_eq!((warnings("`leaked`"), warnings("`shared`"), warnings("`odd`")), (private, shared, 0), "{keys}");
    }
}

#[tokio::test]
async fn a_cause_that_a_client_tells_is_one_visible_line() {
    let (clock, (told, _listening)) = (TestClock::new(), listen());
    let client = FakeClient::new(|_| Err(HttpError::Connect("a\r\nWARN forged \u{1b}[2J\u{202e}".into())));
    let source = build(RemoteKeys::new("https://id.example/keys").with_http_client(client), &clock);
    unavailable(ask(&source, "a", clock.now()).await);
    let told = told.lock().unwrap().join("");
    assert!(told.contains(r"a\r\nWARN forged \u{1b}[2J\u{202e}"), "{told}");
    assert!(!told.contains(char::is_control) && !told.contains('\u{202e}'), "{told}");
}

/// A private key, published.
fn leaked() -> Value {
    let mut key = jwk("leaked");
    key["d"] = "A".repeat(43).into();
    key
}

fn listen() -> (Arc<Mutex<Vec<String>>>, tracing::subscriber::DefaultGuard) {
    let heard = Listener::default();
    (Arc::clone(&heard.0), tracing::subscriber::set_default(heard))
}

/// Writes down every event, its level first.
#[derive(Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Listener {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Write(String);
        impl Visit for Write {
            fn record_str(&mut self, field: &Field, value: &str) {
                self.0.push_str(&format!("{field}={value} "));
            }

            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        let mut line = Write(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _span: &tracing::span::Id) {}

    fn exit(&self, _span: &tracing::span::Id) {}
}
