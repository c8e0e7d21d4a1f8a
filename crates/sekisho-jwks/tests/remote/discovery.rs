//! Finding the set by the issuer's document.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sekisho_core::Clock;
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwks::{Discovery, IntoKeySource, KeyLookup, RemoteKeys};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::support::{FakeClient, TestClock, ask, build, context, found, jwk, ok, set, told, unavailable};

const OIDC: &str = "/realms/a/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server/realms/a";
const INSERTED_OIDC: &str = "/.well-known/openid-configuration/realms/a";

fn document(issuer: &str, jwks_uri: &str) -> Reply {
    Reply::json(json!({ "issuer": issuer, "jwks_uri": jwks_uri, "token_endpoint": "x" }).to_string())
}

#[tokio::test]
async fn each_form_is_asked_at_its_place_and_nowhere_else() {
    for (form, place) in [(Discovery::oidc as fn(String) -> Discovery, OIDC), (Discovery::oauth, OAUTH)] {
        let (server, clock) = (Server::start().await, TestClock::new());
        let issuer = server.url("/realms/a");
        server.set(place, document(&issuer, &server.url("/keys")));
        server.set("/keys", Reply::json(set(&["a"])));
        found(ask(&build(form(issuer), &clock), "a", clock.now()).await);
        assert_eq!((server.count(place), server.count("/keys")), (1, 1));
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn the_form_that_was_not_told_is_found_out_and_remembered() {
    for place in [OIDC, OAUTH, INSERTED_OIDC] {
        let (server, clock) = (Server::start().await, TestClock::new());
        let issuer = server.url("/realms/a");
        // A page for whatever is not there, as single-page applications have.
        for other in [OIDC, OAUTH, INSERTED_OIDC] {
            server.set(other, Reply::json("<html></html>"));
        }
        server.set(place, document(&issuer, &server.url("/keys")));
        server.set("/keys", Reply::json(set(&["a"])));
        let keys = Discovery::new(issuer).with_document_lifetime(Duration::ZERO);
        let source = build(keys, &clock);
        found(ask(&source, "a", clock.now()).await);
        let before = server.requests().len();
        server.set("/keys", Reply::json(set(&["a", "b"])));
        clock.advance(1);
        found(ask(&source, "b", clock.now()).await);
        assert_eq!(server.requests().len(), before + 2, "{place}");
        assert_eq!(server.count(place), 2);
    }
}

#[tokio::test]
async fn the_document_is_kept_until_the_set_is_not_where_it_says() {
    let (server, clock) = (Server::start().await, TestClock::new());
    let issuer = server.url("/realms/a");
    server.set(OIDC, document(&issuer, &server.url("/keys")));
    server.set("/keys", Reply::json(set(&["a"])));
    let source = build(Discovery::oidc(&issuer), &clock);
    found(ask(&source, "a", clock.now()).await);
    clock.advance(31);
    assert!(matches!(ask(&source, "b", clock.now()).await, KeyLookup::Unknown));
    assert_eq!((server.count(OIDC), server.count("/keys")), (1, 2));
    server.set("/keys", Reply::status(404));
    server.set("/moved", Reply::json(set(&["b"])));
    server.set(OIDC, document(&issuer, &server.url("/moved")));
    clock.advance(121);
    unavailable(ask(&source, "b", clock.now()).await);
    clock.advance(31);
    found(ask(&source, "b", clock.now()).await);
}

/// Has a document that says where the keys are; whoever asks at the old place waits for ever.
#[derive(Debug, Default)]
struct Moved {
    has_moved: AtomicBool,
    documents: AtomicUsize,
}

#[async_trait::async_trait]
impl HttpClient for Moved {
    async fn send(&self, request: HttpRequest, _limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        let place = if self.has_moved.load(Ordering::SeqCst) { "new" } else { "old" };
        if request.url.contains("well-known") {
            self.documents.fetch_add(1, Ordering::SeqCst);
            let jwks_uri = format!("https://id.example/{place}");
            return ok(json!({ "issuer": "https://id.example", "jwks_uri": jwks_uri }).to_string());
        }
        if !request.url.ends_with(place) {
            std::future::pending::<()>().await;
        }
        ok(set(&[place]))
    }
}

#[tokio::test]
async fn the_document_is_asked_for_again_when_the_time_for_the_set_ran_out() {
    let (client, clock) = (Arc::new(Moved::default()), TestClock::new());
    let keys = Discovery::oidc("https://id.example")
        .with_http_client(Arc::clone(&client) as Arc<dyn HttpClient>)
        .with_total_timeout(Duration::from_millis(100));
    let source = build(keys, &clock);
    found(ask(&source, "old", clock.now()).await);
    client.has_moved.store(true, Ordering::SeqCst);
    clock.advance(31);
    unavailable(ask(&source, "new", clock.now()).await);
    assert_eq!(client.documents.load(Ordering::SeqCst), 1);
    clock.advance(31);
    found(ask(&source, "new", clock.now()).await);
    assert_eq!(client.documents.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_document_of_any_other_issuer_is_refused() {
    let (server, clock) = (Server::start().await, TestClock::new());
    let issuer = server.url("/realms/a");
    server.set("/keys", Reply::json(set(&["a"])));
    for other in [
        format!("{issuer}/"),
        issuer.replace("127.0.0.1", "localhost"),
        issuer.replace("http:", "HTTP:"),
        issuer.replace("/realms", "//realms"),
        format!(" {issuer}"),
        format!("{issuer}\0"),
        "https://evil.example".to_owned(),
        "{tenantid}".to_owned(),
        server.url("/realms/{tenantid}"),
        String::new(),
    ] {
        server.set(OIDC, document(&other, &server.url("/keys")));
        let source = build(Discovery::oidc(&issuer), &clock);
        let failure = unavailable(ask(&source, "a", clock.now()).await);
        assert!(told(&failure).contains("not the one configured"), "{other:?}: {}", told(&failure));
    }
    assert_eq!(server.count("/keys"), 0);
}

#[tokio::test]
async fn a_document_that_is_none_is_refused() {
    let (server, clock) = (Server::start().await, TestClock::new());
    let issuer = server.url("/realms/a");
    let keys = server.url("/keys");
    server.set("/keys", Reply::json(set(&["a"])));
    let redirect = Reply::Whole(302, vec![("location", server.url("/elsewhere"))], Vec::new());
    server.set("/elsewhere", document(&issuer, &keys));
    for (reply, reason) in [
        (Reply::json("<html>"), "not a JSON object"),
        (Reply::json("[]"), "not a JSON object"),
        (Reply::json(json!({ "issuer": issuer }).to_string()), "jwks_uri"),
        (Reply::json(json!({ "jwks_uri": keys }).to_string()), "issuer"),
        (Reply::json(json!({ "issuer": [issuer], "jwks_uri": keys }).to_string()), "issuer"),
        (Reply::json(json!({ "issuer": issuer, "jwks_uri": [keys] }).to_string()), "jwks_uri"),
        (
            Reply::json(format!(r#"{{"issuer":"https://evil.example","issuer":"{issuer}","jwks_uri":"{keys}"}}"#)),
            "not a JSON object",
        ),
        (document(&issuer, "/keys"), "cannot be used"),
        (document(&issuer, "file:///etc/passwd"), "cannot be used"),
        (document(&issuer, "http://id.example/keys"), "cannot be used"),
        (document(&issuer, "http://169.254.169.254/latest"), "cannot be used"),
        (document(&issuer, &keys.replace("://", "://user:word@")), "cannot be used"),
        (Reply::status(404), "status 404"),
        (Reply::Flood(50_000_000), "larger than allowed"),
        (redirect, "redirects"),
    ] {
        server.set(OIDC, reply);
        let source = build(Discovery::oidc(&issuer), &clock);
        let failure = unavailable(ask(&source, "a", clock.now()).await);
        assert!(told(&failure).contains(reason), "{reason}: {}", told(&failure));
    }
    assert_eq!((server.count("/keys"), server.count("/elsewhere")), (0, 0));
}

#[tokio::test]
async fn the_set_may_lie_on_another_host_but_not_on_this_machine() {
    let clock = TestClock::new();
    for (jwks_uri, is_taken) in [
        ("https://keys.example/set", true),
        ("http://127.0.0.1/set", false),
        ("https://127.0.0.1/set", false),
        ("https://localhost/set", false),
        ("https://[::1]/set", false),
        ("http://keys.example/set", false),
    ] {
        let document = json!({ "issuer": "https://id.example/", "jwks_uri": jwks_uri }).to_string();
        let client = FakeClient::new(move |request| {
            if request.url == "https://id.example/.well-known/openid-configuration" {
                ok(document.clone())
            } else {
                ok(set(&["a"]))
            }
        });
        let keys = Discovery::oidc("https://id.example/").with_http_client(client.clone());
        let source = keys.into_key_source(&context(&clock)).unwrap();
        let answer = ask(&source, "a", clock.now()).await;
        if is_taken {
            found(answer);
        } else {
            unavailable(answer);
        }
        assert_eq!(client.count(), if is_taken { 2 } else { 1 }, "{jwks_uri}");
    }
}

#[tokio::test]
async fn a_tenant_template_is_taken_when_the_owner_says_so() {
    let (server, clock) = (Server::start().await, TestClock::new());
    let issuer = server.url("/realms/a");
    server.set("/keys", Reply::json(set(&["a"])));
    server.set(OIDC, document(&server.url("/realms/{tenantid}"), &server.url("/keys")));
    found(ask(&build(Discovery::oidc(&issuer).with_tenant_template(), &clock), "a", clock.now()).await);
    unavailable(ask(&build(Discovery::oidc(&issuer), &clock), "a", clock.now()).await);
    server.set(OIDC, document(&server.url("/{tenantid}/a/b"), &server.url("/keys")));
    unavailable(ask(&build(Discovery::oidc(&issuer).with_tenant_template(), &clock), "a", clock.now()).await);
}

#[tokio::test]
async fn a_key_that_names_another_issuer_verifies_nothing() {
    let of = |kid: &str, issuer: &str| {
        let mut key = jwk(kid);
        key["issuer"] = issuer.into();
        key
    };
    let body = json!({"keys": [
        jwk("none"),
        of("own", "https://id.example/tenant/v2.0"),
        of("template", "https://id.example/{tenantid}/v2.0"),
        of("consumers", "https://id.example/9188040d/v2.0"),
        of("slash", "https://id.example/tenant/v2.0/"),
        of("elsewhere", "https://evil.example/{tenantid}/v2.0"),
        of("everything", "{tenantid}"),
    ]})
    .to_string();
    let clock = TestClock::new();
    let client = FakeClient::new(move |request| {
        let document = json!({"issuer": "https://id.example/tenant/v2.0", "jwks_uri": "https://id.example/keys"});
        ok(if request.url.contains("well-known") { document.to_string() } else { body.clone() })
    });
    let discovery = Discovery::oidc("https://id.example/tenant/v2.0").with_http_client(client.clone());
    let source = build(discovery, &clock);
    for name in ["none", "own", "template"] {
        found(ask(&source, name, clock.now()).await);
    }
    for name in ["consumers", "slash", "elsewhere", "everything"] {
        assert!(matches!(ask(&source, name, clock.now()).await, KeyLookup::Unknown), "{name}");
    }
    // A bare URL does not say whose keys are meant.
    let remote = build(RemoteKeys::new("https://id.example/keys").with_http_client(client), &clock);
    found(ask(&remote, "consumers", clock.now()).await);
}

#[tokio::test]
async fn a_provider_that_is_away_is_not_asked_at_every_place() {
    let clock = TestClock::new();
    let client = FakeClient::new(|_| Ok(HttpResponse { status: 503, headers: Vec::new(), body: Vec::new() }));
    let keys = Discovery::new("https://id.example/a").with_http_client(client.clone());
    let source = keys.into_key_source(&context(&clock)).unwrap();
    unavailable(ask(&source, "a", clock.now()).await);
    assert_eq!(client.count(), 1);
    let client_404 = FakeClient::new(|_| Ok(HttpResponse { status: 404, headers: Vec::new(), body: Vec::new() }));
    let keys = Discovery::new("https://id.example/a").with_http_client(client_404.clone());
    let source = keys.into_key_source(&context(&clock)).unwrap();
    unavailable(ask(&source, "a", clock.now()).await);
    assert_eq!(client_404.count(), 3);
}
