//! Opaque tokens outside: asked about, swapped for JWTs, never seen on the other side.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use sekisho_core::{Failure, Principal, RevocationCheck, UnixSeconds};
use sekisho_gateway::{ConfigContext, GatewayConfig, OpaqueSwap, TokenForward};
use sekisho_jwt::Jwt;
use sekisho_opaque::{ClientCredentials, MemoryReferenceStore, Opaque};
use sekisho_testkit::{DpopKey, Issuer, ServedIssuer};
use serde_json::json;

use super::*;

const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";

/// Is what the issuer knows of a token: the JWT behind it, and for whom it answers as JSON.
#[derive(Clone)]
struct Known {
    subject: String,
    jwt: String,
    /// Thumbprint of the key that the token is bound to.
    key: Option<String>,
}

/// An introspection endpoint beside an issuer's keys.
struct Introspected {
    issuer: ServedIssuer,
    endpoint: String,
    known: Shared<BTreeMap<String, Known>>,
    /// What it was asked: the media type and the token.
    asked: Shared<Vec<(String, String)>>,
    task: JoinHandle<()>,
}

impl Introspected {
    async fn start() -> Self {
        let issuer = Issuer::new().serve().await.unwrap();
        let (known, asked) = (Shared::<BTreeMap<String, Known>>::default(), Shared::<Vec<(String, String)>>::default());
        let (knows, hears, name) = (Arc::clone(&known), Arc::clone(&asked), issuer.url().to_owned());
        let app = Router::new().route(
            "/introspect",
            post(move |headers: HeaderMap, body: Bytes| async move {
                // `gateway:hush`
                if headers.get(header::AUTHORIZATION).is_none_or(|value| value != "Basic Z2F0ZXdheTpodXNo") {
                    return StatusCode::UNAUTHORIZED.into_response();
                }
                let form = String::from_utf8(body.to_vec()).unwrap();
                let token = form.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap().to_owned();
                let accept = headers[header::ACCEPT].to_str().unwrap().to_owned();
                hears.lock().unwrap().push((accept.clone(), token.clone()));
                let known = knows.lock().unwrap().get(&token).cloned();
                answer(known, &accept, &name)
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/introspect", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let this = Self { issuer, endpoint, known, asked, task };
        this.knows(TOKEN, "u1", "u1");
        this
    }

    /// Lets a token be one subject's by JSON, and another's by the JWT.
    fn knows(&self, token: &str, subject: &str, behind: &str) -> String {
        let jwt = self.issuer.token().subject(behind).audience("orders").scope("orders:read").sign();
        let known = Known { subject: subject.to_owned(), jwt: jwt.clone(), key: None };
        self.known.lock().unwrap().insert(token.to_owned(), known);
        jwt
    }

    fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn config(&self, service: &TestUpstream, more: &str, token: &str) -> String {
        format!(
            r#"
            [identity]
            subject = "X-Auth-Subject"
            [credentials.opaque]
            kind = "introspection"
            endpoint = "{}"
            issuer = "{}"
            audiences = ["stock", "orders"]
            client_id = "gateway"
            client_secret = {{ env = "SECRET" }}
            cookie = "token"
            {more}
            [upstreams.test]
            url = "{}"
            [[routes]]
            path = "/orders/*"
            upstream = "test"
            credentials = "opaque"
            scopes = ["orders:read"]
            token = "{token}"
            "#,
            self.endpoint,
            self.issuer.url(),
            service.origin()
        )
    }

    async fn serve(&self, text: &str, context: ConfigContext) -> Served {
        let context = context.with_environment(|_| Some("hush".to_owned()));
        Served::of(Gateway::from_config(GatewayConfig::parse(text, &context).unwrap())).await
    }
}

impl Drop for Introspected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(known: Option<Known>, accept: &str, issuer: &str) -> Response {
    let is_phantom = accept == "application/jwt";
    match known {
        None if is_phantom => StatusCode::NO_CONTENT.into_response(),
        None => ([(header::CONTENT_TYPE, "application/json")], r#"{"active":false}"#).into_response(),
        Some(known) if is_phantom => ([(header::CONTENT_TYPE, "application/jwt")], known.jwt).into_response(),
        Some(known) => {
            let mut claims = json!({
                "active": true, "iss": issuer, "sub": known.subject, "aud": "orders", "scope": "orders:read",
            });
            if let Some(key) = known.key {
                claims["cnf"] = json!({ "jkt": key });
            }
            ([(header::CONTENT_TYPE, "application/json")], claims.to_string()).into_response()
        }
    }
}

/// Sends the token once as a header and once as a cookie.
fn ways(token: &str) -> [(&'static str, String); 2] {
    [("authorization", format!("Bearer {token}")), ("cookie", format!("a=b; token={token}; c=d"))]
}

/// Asserts that a text occurs nowhere in a request as the service saw it.
fn assert_unseen(seen: &upstream::Seen, text: &str) {
    assert!(!seen.target.contains(text) && seen.headers.iter().all(|(_, value)| !value.contains(text)), "{seen:?}");
}

#[tokio::test]
async fn a_file_with_introspection_works_out_of_the_box() {
    let (provider, service) = (Introspected::start().await, TestUpstream::start().await);
    let served = provider.serve(&provider.config(&service, "", "drop"), ConfigContext::default()).await;
    for (name, value) in ways(TOKEN) {
        let reply = served.send("GET", "/orders/7", &[(name, &value)]).await;
        assert_eq!((reply.status, &*reply.body), (200, "got 0"), "{name}");
        let seen = service.only();
        assert_eq!((seen.header("x-auth-subject"), seen.header("authorization")), (Some("u1"), None));
        assert_unseen(&seen, TOKEN);
    }
    // Without `cache_s` each request asks, and nobody asks for a JWT that nobody wants.
    assert_eq!(provider.asked(), vec![("application/json".to_owned(), TOKEN.to_owned()); 2]);

    let refused = served.send("GET", "/orders/7", &[("authorization", "Bearer unknown")]).await;
    assert_eq!((refused.status, refused.head.contains(r#"error="invalid_token""#)), (401, true), "{refused:?}");
    provider.known.lock().unwrap().clear();
    assert_eq!(served.send("GET", "/orders/7", &[("authorization", &ways(TOKEN)[0].1)]).await.status, 401);
    assert_eq!(provider.asked().len(), 2);
    // A JWT is not sent to an endpoint for opaque tokens.
    let jwt = provider.issuer.token().audience("orders").scope("orders:read").sign();
    assert_eq!(served.send("GET", "/orders/7", &[("authorization", &format!("Bearer {jwt}"))]).await.status, 401);
    assert_eq!(served.send("GET", "/orders/7", &[]).await.status, 401);
    assert!(provider.asked().is_empty() && service.seen().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_is_gone_or_refuses_us_is_nobodys_401() {
    let (provider, service) = (Introspected::start().await, TestUpstream::start().await);
    let text = provider.config(&service, "", "swap");
    let ours = ConfigContext::default().with_environment(|_| Some("another".to_owned()));
    let served = Served::of(Gateway::from_config(GatewayConfig::parse(&text, &ours).unwrap())).await;
    let bearer = &ways(TOKEN)[0].1;
    assert_eq!(served.send("GET", "/orders/7", &[("authorization", bearer)]).await.status, 502);
    let served = provider.serve(&text, ConfigContext::default()).await;
    provider.task.abort();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let gone = served.send("GET", "/orders/7", &[("authorization", bearer)]).await;
    assert_eq!((gone.status, gone.head.contains("retry-after")), (503, true), "{gone:?}");
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_file_may_swap_and_the_jwt_must_be_the_callers() {
    let (provider, service) = (Introspected::start().await, TestUpstream::start().await);
    let served = provider.serve(&provider.config(&service, "cache_s = 30", "swap"), ConfigContext::default()).await;
    let jwt = provider.knows(TOKEN, "u1", "u1");
    for (name, value) in ways(TOKEN) {
        assert_eq!(served.send("GET", "/orders/7", &[(name, &value)]).await.status, 200, "{name}");
        let seen = service.only();
        assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {jwt}")));
        assert_unseen(&seen, TOKEN);
    }
    assert_eq!(
        provider.asked().iter().map(|(accept, _)| &**accept).collect::<Vec<_>>(),
        ["application/json", "application/jwt"]
    );
    provider.knows("swapped", "u1", "u2");
    let other = served.send("GET", "/orders/7", &[("authorization", "Bearer swapped")]).await;
    assert_eq!(other.status, 502, "{other:?}");
    assert!(service.seen().is_empty());
}

#[derive(Debug, Default)]
struct Withdrawn(Mutex<Vec<String>>);

impl RevocationCheck for Withdrawn {
    fn is_revoked(&self, principal: &Principal, _: UnixSeconds) -> Result<bool, Failure> {
        Ok(self.0.lock().unwrap().iter().any(|subject| subject == principal.subject()))
    }
}

#[tokio::test]
async fn the_programs_revocation_is_asked_for_opaque_tokens_too() {
    let (provider, service) = (Introspected::start().await, TestUpstream::start().await);
    let withdrawn = Arc::new(Withdrawn::default());
    let context = ConfigContext::default().with_revocation(Arc::clone(&withdrawn) as Arc<dyn RevocationCheck>);
    let served = provider.serve(&provider.config(&service, "cache_s = 30", "swap"), context).await;
    let [(name, value), _] = ways(TOKEN);
    let bearer = [(name, &*value)];
    assert_eq!(served.send("GET", "/orders/7", &bearer).await.status, 200);
    withdrawn.0.lock().unwrap().push("u1".to_owned());
    assert_eq!(served.send("GET", "/orders/7", &bearer).await.status, 401);
    assert_eq!(service.seen().len(), 1);
}

/// A proxy with one route, whose checkpoint and swap are the same thing.
fn swapping(upstream: &Upstream, swap: impl sekisho_opaque::TokenSwap + Clone + 'static) -> ReverseProxy {
    let checkpoint = Checkpoint::builder().accept(swap.clone()).with_cookie("token").build().unwrap();
    let guard = Guard::Checkpoint { checkpoint, requirement: scope("orders:read") };
    let forward = TokenForward::Swap(Arc::new(OpaqueSwap::new(swap)));
    proxy(vec![Route::new("/orders/*", upstream, guard).forwarding(forward)])
}

#[tokio::test]
async fn a_phantom_token_is_opaque_outside_and_a_jwt_inside() {
    let provider = Introspected::start().await;
    let (service, upstream) = echo().await;
    let jwts = Jwt::issuer(provider.issuer.url()).audience("orders").build().unwrap();
    let phantom = Opaque::phantom(&provider.endpoint, ClientCredentials::basic("gateway", "hush"))
        .issuer(provider.issuer.url())
        .verifier(jwts)
        .cache_for(Duration::from_secs(30))
        .build()
        .unwrap();
    let served = Served::start(swapping(&upstream, phantom.clone())).await;
    let jwt = provider.knows(TOKEN, "u1", "u1");
    for (name, value) in ways(TOKEN) {
        let forged = [(name, &*value), ("x-auth-subject", "admin"), ("proxy-authorization", &jwt)];
        let text = served.raw(request(&forged)).await;
        assert!(text.starts_with("HTTP/1.1 200 ") && !text.contains(&jwt) && !text.contains(TOKEN), "{text}");
        let seen = service.only();
        assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {jwt}")));
        assert_eq!(seen.header("x-auth-subject"), Some("u1"));
        assert_unseen(&seen, TOKEN);
    }
    assert_eq!(provider.asked().len(), 1);
    // Revoked at the issuer: the answer in memory holds for its 30 s, unless it is told.
    provider.known.lock().unwrap().clear();
    phantom.purge(TOKEN);
    let refused = served.raw(request(&[("authorization", &ways(TOKEN)[0].1)])).await;
    assert!(refused.starts_with("HTTP/1.1 401 ") && !refused.contains(&jwt), "{refused}");
    // Nor does the JWT itself come in by this way.
    let inner = served.raw(request(&[("authorization", &format!("Bearer {jwt}"))])).await;
    assert!(inner.starts_with("HTTP/1.1 401 "), "{inner}");
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_reference_token_is_swapped_from_a_store() {
    let provider = Introspected::start().await;
    let (service, upstream) = echo().await;
    let jwts = Jwt::issuer(provider.issuer.url()).audience("orders").build().unwrap();
    let store = Arc::new(MemoryReferenceStore::default());
    let tokens = Opaque::reference(store).verifier(jwts).with_prefix("shop_").with_split_tokens().build().unwrap();
    let now = sekisho_core::Clock::now(&sekisho_core::SystemClock);
    let jwt = provider.knows(TOKEN, "u1", "u1");
    let handle = tokens.issue_for_jwt(&jwt, now).await.unwrap();
    let served = Served::start(swapping(&upstream, tokens.clone())).await;
    let bearer = format!("Bearer {}", handle.expose());
    let text = served.raw(request(&[("authorization", &bearer)])).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && !text.contains(&jwt), "{text}");
    assert_eq!(service.only().header("authorization"), Some(&*format!("Bearer {jwt}")));
    tokens.revoke(handle.expose(), now).await.unwrap();
    assert!(served.raw(request(&[("authorization", &bearer)])).await.starts_with("HTTP/1.1 401 "));
    assert!(service.seen().is_empty() && provider.asked().is_empty());
}

fn request(headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET /orders/7 HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n{headers}\r\n")
}

#[test]
fn debug_shows_nothing_of_a_swap() {
    let tokens = Opaque::reference(Arc::new(MemoryReferenceStore::default()));
    let tokens = tokens.issuer("https://id.example").audience("orders").build().unwrap();
    assert_eq!(format!("{:?}", OpaqueSwap::new(tokens)), "OpaqueSwap(..)");
}

impl Introspected {
    /// Lets a token be bound to one key by JSON, and the JWT behind it to another or none.
    fn knows_bound(&self, token: &str, key: Option<&DpopKey>, behind: Option<&DpopKey>) -> String {
        let jwt = self.issuer.token().subject("u1").audience("orders").scope("orders:read");
        let jwt = behind.map_or(jwt.sign(), |key| {
            self.issuer.token().subject("u1").audience("orders").scope("orders:read").bound_to(key).sign()
        });
        let known = Known { subject: "u1".to_owned(), jwt: jwt.clone(), key: key.map(DpopKey::thumbprint) };
        self.known.lock().unwrap().insert(token.to_owned(), known);
        jwt
    }
}

#[tokio::test]
async fn a_bound_token_is_proved_here_and_its_jwt_goes_on_where_the_route_says_so() {
    const URL: &str = "https://api.example/orders/7";
    let (provider, service) = (Introspected::start().await, TestUpstream::start().await);
    let (key, stranger) = (DpopKey::generate(), DpopKey::generate());
    let bound = "dpop = true\npublic_urls = [\"https://api.example\"]";
    let text = provider.config(&service, bound, "swap");
    let context = ConfigContext::default().with_environment(|_| Some("hush".to_owned()));
    let unsaid = GatewayConfig::parse(&text, &context).unwrap_err().to_string();
    assert!(unsaid.contains("a bound token would become one that anybody can send"), "{unsaid}");
    let text = text.replace("token = \"swap\"", "token = \"swap\"\nproofs_checked_here = true");
    let served = provider.serve(&text, ConfigContext::default()).await;

    let jwt = provider.knows_bound(TOKEN, Some(&key), Some(&key));
    let of = |key: &DpopKey, url: &str| key.proof("GET", url).for_token(TOKEN).sign();
    let dpop = format!("DPoP {TOKEN}");
    let proof = of(&key, URL);
    let reply = served.send("GET", "/orders/7", &[("authorization", &dpop), ("dpop", &proof)]).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen = service.only();
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {jwt}")));
    assert_eq!((seen.header("dpop"), seen.header("x-auth-subject")), (None, Some("u1")));
    assert_unseen(&seen, TOKEN);
    let bearer = format!("Bearer {TOKEN}");
    for (what, headers) in [
        ("again", vec![("authorization", &*dpop), ("dpop", &*proof)]),
        ("without a proof", vec![("authorization", &*dpop)]),
        ("as a bearer token", vec![("authorization", &*bearer), ("dpop", &*of(&key, URL).leak())]),
        ("as a cookie", vec![("cookie", &*format!("token={TOKEN}").leak())]),
        ("by another", vec![("authorization", &*dpop), ("dpop", &*of(&stranger, URL).leak())]),
        (
            "for another URL",
            vec![("authorization", &*dpop), ("dpop", &*of(&key, "https://api.example/orders/8").leak())],
        ),
    ] {
        assert_eq!(served.send("GET", "/orders/7", &headers).await.status, 401, "{what}");
    }
    // The issuer's two answers do not agree.
    for (by_json, behind, expected) in
        [(Some(&key), Some(&stranger), 502), (None, Some(&key), 401), (Some(&key), None, 200)]
    {
        provider.knows_bound(TOKEN, by_json, behind);
        let proof = of(&key, URL);
        let headers = match by_json {
            Some(_) => vec![("authorization", &*dpop), ("dpop", &*proof)],
            None => vec![("authorization", &*bearer)],
        };
        assert_eq!(served.send("GET", "/orders/7", &headers).await.status, expected, "{expected}");
    }
    assert_eq!(service.seen().len(), 1);
}
