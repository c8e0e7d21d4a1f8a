use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sekisho_gateway::Upstream;
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use serde_json::json;
use tokio::sync::Semaphore;

use super::world::{Browser, ISSUER, LIFE, World};
use crate::tokens::TokenError;
use crate::{ApiProxy, ApiRoute, ClientCredentials, ServiceTokens};

/// Is a request's line, and its headers.
type Sent = (String, Vec<(String, String)>);

/// Is the service behind: what it was sent.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Sent>>>);

impl Seen {
    fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn tokens(&self) -> Vec<String> {
        let token =
            |headers: Vec<(String, String)>| headers.into_iter().find(|(name, _)| name == "authorization").unwrap().1;
        self.take().into_iter().map(|(_, headers)| token(headers)).collect()
    }
}

async fn serve(State(seen): State<Seen>, request: Request) -> Response {
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let is_first = headers.iter().any(|(_, value)| value == "Bearer access-hush-1");
    let target = request.uri().to_string();
    seen.0.lock().unwrap().push((format!("{} {target}", request.method()), headers));
    if let Some(kept) = target.strip_prefix("/orders/kept?") {
        let mut response = "an order".into_response();
        for line in kept.split('&').filter(|line| !line.is_empty()) {
            response
                .headers_mut()
                .append("cache-control", line.replace('+', " ").replace("%22", "\"").parse().unwrap());
        }
        return response;
    }
    if target.starts_with("/orders/never") || (target.starts_with("/orders/stale") && is_first) {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer error=\"invalid_token\"")]).into_response();
    }
    let headers =
        [("set-cookie", "__Host-session=planted"), ("clear-site-data", "\"cookies\", \"storage\""), ("x-own", "1")];
    (headers, "an order").into_response()
}

async fn proxied(world: &World) -> (ApiProxy, Seen) {
    proxied_as(world, |route| route).await
}

async fn proxied_as(world: &World, change: impl FnOnce(ApiRoute) -> ApiRoute) -> (ApiProxy, Seen) {
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(serve).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let upstream = Upstream::new("orders", &origin).unwrap();
    let route = change(ApiRoute::new("/orders/*", ["GET", "POST"], &upstream));
    (ApiProxy::builder(&world.bff).with_route(route).build().unwrap(), seen)
}

const HEADERS: &[(&str, &str)] = &[("x-csrf", "1"), ("sec-fetch-site", "same-origin")];

async fn call(
    proxy: &ApiProxy,
    browser: &Browser,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut request = Request::builder().method(method).uri(target).header("host", "shop.example");
    if !browser.0.is_empty() {
        request = request.header("cookie", browser.header());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_empty() { Body::empty() } else { Body::from(body.to_owned()) };
    proxy.handle(request.body(body).unwrap(), SocketAddr::from(([192, 0, 2, 1], 9))).await
}

async fn get(proxy: &ApiProxy, browser: &Browser, target: &str) -> Response {
    call(proxy, browser, "GET", target, HEADERS, "").await
}

#[tokio::test]
async fn passes_a_call_on_with_the_token_and_without_anything_that_the_browser_proves_itself_by() {
    let world = World::new();
    let (proxy, seen) = proxied(&world).await;
    let mut browser = world.logged_in("alice").await;
    browser.begin(&world.bff, "").await;
    browser.0.insert("theme".to_owned(), "dark".to_owned());
    let forged = [
        ("authorization", "Bearer mine"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("connection", "x-private"),
        ("x-private", "1"),
        ("x-original-url", "/admin"),
        ("accept", "text/plain"),
    ];
    let response = call(&proxy, &browser, "GET", "/bff/api/orders/7?a=b%20c", &[HEADERS, &forged].concat(), "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-own"], "1");
    for gone in ["set-cookie", "clear-site-data"] {
        assert!(!response.headers().contains_key(gone), "a service behind sets no cookie here, and takes none: {gone}");
    }
    assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "an order");
    let [(line, headers)] = &seen.take()[..] else { panic!("one request") };
    assert_eq!(line, "GET /orders/7?a=b%20c");
    let find =
        |wanted: &str| headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &**value).collect::<Vec<_>>();
    assert_eq!(find("authorization"), ["Bearer access-hush-1"]);
    assert_eq!(find("x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(find("accept"), ["text/plain"]);
    for gone in ["cookie", "x-private", "x-original-url"] {
        assert!(find(gone).is_empty(), "{gone}");
    }
}

#[tokio::test]
async fn nothing_reaches_a_service_without_a_session_the_header_or_a_route() {
    let world = World::new();
    let (proxy, seen) = proxied(&world).await;
    let browser = world.logged_in("alice").await;
    let response = get(&proxy, &Browser::default(), "/bff/api/orders/7").await;
    assert_eq!(response.status(), 401);
    assert!(!response.headers().contains_key("location"));
    for headers in [
        &[][..],
        &[("sec-fetch-site", "same-origin")],
        &[("x-csrf", "1"), ("sec-fetch-site", "cross-site")],
        &[("x-csrf", "1"), ("sec-fetch-site", "same-site")],
        &[("x-csrf", "1"), ("origin", "https://evil.example")],
    ] {
        for method in ["GET", "POST"] {
            let response = call(&proxy, &browser, method, "/bff/api/orders/7", headers, "").await;
            assert_eq!(response.status(), 403, "{method} {headers:?}");
        }
    }
    for (target, status) in [
        ("/bff/api", 404),
        ("/bff/api/", 404),
        ("/bff/api/admin", 404),
        ("/bff/apix/orders/7", 404),
        ("/orders/7", 404),
        ("/bff/api/orders/../admin", 400),
        ("/bff/api/orders/%2e%2e/admin", 400),
        ("/bff/api/orders%2f..%2fadmin", 400),
        ("/bff/api//orders/7", 400),
        ("/bff/api/orders/7;x", 400),
        ("/bff/api/orders/%00", 400),
    ] {
        assert_eq!(get(&proxy, &browser, target).await.status(), status, "{target}");
    }
    for method in ["DELETE", "PUT", "OPTIONS", "TRACE"] {
        let status = call(&proxy, &browser, method, "/bff/api/orders/7", HEADERS, "").await.status();
        assert!(matches!(status.as_u16(), 404 | 405), "{method} {status}");
    }
    assert!(seen.take().is_empty());
}

/// Exchanges every token, for one that says what it was exchanged for; nobody is told when that ends.
#[derive(Debug)]
struct Exchange {
    asked: Mutex<Vec<HttpRequest>>,
    gate: Semaphore,
}

impl Exchange {
    fn new() -> Arc<Self> {
        Arc::new(Self { asked: Mutex::default(), gate: Semaphore::new(Semaphore::MAX_PERMITS) })
    }

    fn tokens(self: &Arc<Self>, world: &World) -> ServiceTokens {
        let tokens = ServiceTokens::at("https://id.example/token", ISSUER, ClientCredentials::basic("shop", "s:cret"));
        let tokens = tokens.with_http_client(Arc::clone(self) as _).with_clock(Arc::new(world.clock.clone()));
        tokens.build().unwrap()
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn form(request: &HttpRequest) -> Vec<(String, String)> {
        let mut form: Vec<_> = url::form_urlencoded::parse(&request.body).into_owned().collect();
        form.sort();
        form
    }
}

#[async_trait::async_trait]
impl HttpClient for Exchange {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let form = Self::form(&request);
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(request);
            asked.len()
        };
        let _turn = self.gate.acquire().await.unwrap();
        let find = |wanted: &str| form.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| &**value);
        let token = format!("ex-{number}-{}-{}", find("subject_token"), find("audience"));
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        let body = json!({ "access_token": token, "token_type": "Bearer", "issued_token_type": kind });
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(HttpResponse { status: 200, headers, body: body.to_string().into_bytes() })
    }
}

#[tokio::test]
async fn an_exchange_says_whose_token_for_whom_and_for_what_and_who_asks() {
    for scope in [None, Some("orders:write orders:read")] {
        let world = World::new();
        let exchange = Exchange::new();
        let tokens = exchange.tokens(&world);
        let (proxy, seen) = proxied_as(&world, |route| match scope {
            // The order in which they are said does not matter.
            Some(scope) => route.with_exchanged_scope(scope).with_exchange(&tokens, "orders"),
            None => route.with_exchange(&tokens, "orders"),
        })
        .await;
        let browser = world.logged_in("alice").await;
        assert_eq!(get(&proxy, &browser, "/bff/api/orders/7").await.status(), 200);
        assert_eq!(seen.tokens(), ["Bearer ex-1-access-hush-1-orders"]);

        let asked = exchange.asked.lock().unwrap();
        let [request] = &asked[..] else { panic!("asked once: {asked:?}") };
        let access_token = "urn:ietf:params:oauth:token-type:access_token";
        let mut wanted = vec![
            ("audience", "orders"),
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", access_token),
            ("subject_token", "access-hush-1"),
            ("subject_token_type", access_token),
        ];
        if scope.is_some() {
            wanted.insert(3, ("scope", "orders:read orders:write"));
        }
        let form = Exchange::form(request);
        let form: Vec<_> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(form, wanted, "and nothing else, no secret above all");
        assert_eq!(request.url, "https://id.example/token");
        let find = |wanted: &str| {
            let found = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.to_string()).collect::<Vec<_>>()
        };
        let basic = base64_simd::STANDARD.encode_to_string("shop:s%3Acret");
        assert_eq!(find("authorization"), [format!("Basic {basic}")]);
        assert_eq!(find("content-type"), ["application/x-www-form-urlencoded"]);
    }
}

#[tokio::test]
async fn an_exchanged_token_is_kept_by_the_end_of_the_login_s_token_and_not_of_the_session() {
    let world = World::new();
    world.provider.says_when.store(false, Ordering::SeqCst);
    let tokens = Exchange::new().tokens(&world);
    let (proxy, seen) = proxied_as(&world, |route| route.with_exchange(&tokens, "orders")).await;
    let browser = world.logged_in("alice").await;
    for (seconds, number) in [(0, 1), (59, 1), (1, 2)] {
        world.wait(seconds);
        assert_eq!(get(&proxy, &browser, "/bff/api/orders/7").await.status(), 200);
        assert_eq!(seen.tokens(), [format!("Bearer ex-{number}-access-hush-1-orders")]);
    }
}

#[tokio::test]
async fn a_token_that_was_refreshed_is_exchanged_anew() {
    let world = World::new();
    let exchange = Exchange::new();
    let tokens = exchange.tokens(&world);
    let (proxy, seen) = proxied_as(&world, |route| route.with_exchange(&tokens, "orders")).await;
    let browser = world.logged_in("alice").await;
    get(&proxy, &browser, "/bff/api/orders/7").await;
    // What was exchanged for the first one would be good for longer.
    world.wait(100);
    let (party, session) = (world.bff.party(), browser.session(&world.bff));
    let first = party.access_token(&session).await.unwrap();
    party.access_token_after(&first, &session).await.unwrap();
    for _ in 0..2 {
        get(&proxy, &browser, "/bff/api/orders/7").await;
    }
    let (first, second) = ("Bearer ex-1-access-hush-1-orders", "Bearer ex-2-access-hush-2-orders");
    assert_eq!((seen.tokens(), exchange.count()), (vec![first.into(), second.into(), second.into()], 2));
}

#[tokio::test]
async fn many_calls_at_once_are_one_exchange() {
    let world = World::new();
    let exchange = Exchange::new();
    exchange.gate.forget_permits(Semaphore::MAX_PERMITS);
    let tokens = exchange.tokens(&world);
    let (proxy, seen) = proxied_as(&world, |route| route.with_exchange(&tokens, "orders")).await;
    let browser = world.logged_in("alice").await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (proxy, browser) = (proxy.clone(), browser.clone());
            tokio::spawn(async move { get(&proxy, &browser, "/bff/api/orders/7").await.status() })
        })
        .collect();
    // All of them are on their way before there is an answer.
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
    assert_eq!((exchange.count(), seen.take().len()), (1, 0));
    exchange.gate.add_permits(1000);
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert_eq!((exchange.count(), seen.tokens()), (1, vec!["Bearer ex-1-access-hush-1-orders".to_owned(); 50]));
}

#[tokio::test]
async fn nobody_gets_what_was_exchanged_for_another_session_or_audience() {
    let world = World::new();
    let exchange = Exchange::new();
    let tokens = exchange.tokens(&world);
    let (orders, at_orders) = proxied_as(&world, |route| route.with_exchange(&tokens, "orders")).await;
    let (stock, at_stock) = proxied_as(&world, |route| route.with_exchange(&tokens, "stock")).await;
    // Alice twice, and bob; their access tokens are numbered in this order.
    let people = [world.logged_in("alice").await, world.logged_in("alice").await, world.logged_in("bob").await];
    for _ in 0..3 {
        for (browser, number) in people.iter().zip(1..) {
            for (proxy, seen, audience) in [(&orders, &at_orders, "orders"), (&stock, &at_stock, "stock")] {
                assert_eq!(get(proxy, browser, "/bff/api/orders/7").await.status(), 200);
                let [token] = &seen.tokens()[..] else { panic!("one request") };
                assert!(token.ends_with(&format!("-access-hush-{number}-{audience}")), "{token}");
            }
        }
    }
    assert_eq!(exchange.count(), 6, "each kept for its own");

    // Whoever logs out takes it along: a cookie that was stolen gets nothing of it.
    let mut alice = people[0].clone();
    alice.send(&world.bff, "POST", "/bff/logout", super::world::FORM, "").await;
    assert_eq!(get(&orders, &people[0], "/bff/api/orders/7").await.status(), 401);
    assert_eq!((at_orders.take().len(), exchange.count()), (0, 6));
}

#[tokio::test]
async fn a_token_that_is_over_is_refreshed_before_the_call() {
    let world = World::new();
    let (proxy, seen) = proxied(&world).await;
    let browser = world.logged_in("alice").await;
    world.wait(LIFE);
    assert_eq!(get(&proxy, &browser, "/bff/api/orders/7").await.status(), 200);
    assert_eq!(seen.tokens(), ["Bearer access-hush-2"]);
}

#[tokio::test]
async fn a_call_without_a_body_that_the_service_refuses_is_sent_once_more_with_another_token() {
    let world = World::new();
    let (proxy, seen) = proxied(&world).await;
    let browser = world.logged_in("alice").await;
    world.wait(10);
    assert_eq!(get(&proxy, &browser, "/bff/api/orders/stale").await.status(), 200);
    assert_eq!(seen.tokens(), ["Bearer access-hush-1", "Bearer access-hush-2"]);
    world.wait(10);
    let response = get(&proxy, &browser, "/bff/api/orders/never").await;
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("www-authenticate"), "the service's own word");
    assert_eq!(seen.tokens(), ["Bearer access-hush-2", "Bearer access-hush-3"], "and no third time");
}

#[tokio::test]
async fn a_service_that_refuses_everybody_makes_nobody_ask_the_provider_for_each_call() {
    let world = World::new();
    let (proxy, seen) = proxied(&world).await;
    let browser = world.logged_in("alice").await;
    for _ in 0..20 {
        world.wait(1);
        assert_eq!(get(&proxy, &browser, "/bff/api/orders/never").await.status(), 401);
    }
    assert!(world.provider.refreshes() <= 2, "{}", world.provider.refreshes());
    assert!(seen.take().len() <= 22);
}

/// The browser's request has no `Authorization`, so what kept a cache in front from handing the answer to the next one is gone.
#[tokio::test]
async fn no_cache_in_front_may_keep_an_answer_for_others_unless_the_service_says_so() {
    let world = World::new();
    let (proxy, _) = proxied(&world).await;
    let browser = world.logged_in("alice").await;
    for (sent, expected) in [
        ("", &["no-store"][..]),
        ("max-age=60", &["max-age=60", "private"]),
        ("max-age=60,+must-revalidate", &["max-age=60, must-revalidate", "private"]),
        ("no-cache", &["no-cache", "private"]),
        ("private=%22x-own%22,+max-age=9", &["private=\"x-own\", max-age=9", "private"]),
        ("max-age=1&Private", &["max-age=1", "Private"]),
        ("private,max-age=60", &["private,max-age=60"]),
        ("No-Store", &["No-Store"]),
        ("public,+max-age=60", &["public, max-age=60"]),
        ("S-MaxAge=60", &["S-MaxAge=60"]),
    ] {
        let response = get(&proxy, &browser, &format!("/bff/api/orders/kept?{sent}")).await;
        let kept: Vec<_> = response.headers().get_all("cache-control").iter().collect();
        assert_eq!(kept, expected, "{sent}");
    }
}

#[tokio::test]
async fn a_call_with_a_body_is_sent_once() {
    let world = World::new();
    let (proxy, seen) = proxied(&world).await;
    let browser = world.logged_in("alice").await;
    world.wait(10);
    assert_eq!(call(&proxy, &browser, "POST", "/bff/api/orders/stale", HEADERS, "an order").await.status(), 401);
    assert_eq!((seen.take().len(), world.provider.refreshes()), (1, 0));
}

#[tokio::test]
async fn a_session_that_the_provider_has_ended_is_401_and_its_cookie_goes() {
    let world = World::new();
    let (proxy, seen) = proxied(&world).await;
    let browser = world.logged_in("alice").await;
    world.wait(LIFE);
    world.provider.next_answer(TokenError::Grant);
    let response = get(&proxy, &browser, "/bff/api/orders/7").await;
    assert_eq!(response.status(), 401);
    assert!(response.headers()["set-cookie"].to_str().unwrap().starts_with("__Host-session=; "));
    assert!(seen.take().is_empty());
    assert_eq!(browser.who(&world.bff).await, None);
}

#[tokio::test]
async fn trouble_of_provider_or_store_is_503_and_reaches_no_service() {
    let world = World::new();
    let (proxy, seen) = proxied(&world).await;
    let browser = world.logged_in("alice").await;
    world.wait(LIFE);
    world.provider.next_answer(sekisho_core::Failure::unavailable("down").into());
    let response = get(&proxy, &browser, "/bff/api/orders/7").await;
    assert_eq!((response.status().as_u16(), response.headers().contains_key("retry-after")), (503, true));
    world.store.is_down.store(true, Ordering::SeqCst);
    assert_eq!(get(&proxy, &browser, "/bff/api/orders/7").await.status(), 503);
    assert!(seen.take().is_empty());
}

#[tokio::test]
async fn refuses_settings_that_would_pass_on_too_much_or_nothing() {
    let world = World::new();
    let upstream = Upstream::new("orders", "http://127.0.0.1:1").unwrap();
    let route = || ApiRoute::new("/orders/*", ["GET"], &upstream);
    assert!(ApiProxy::builder(&world.bff).build().is_err(), "no route");
    let methods: [&str; 0] = [];
    assert!(ApiProxy::builder(&world.bff).with_route(ApiRoute::new("/orders/*", methods, &upstream)).build().is_err());
    let scoped = route().with_exchanged_scope("orders:read");
    assert!(ApiProxy::builder(&world.bff).with_route(scoped).build().is_err(), "a scope, and nothing is exchanged");
    for prefix in ["", "/", "api", "/api/", "//api", "/a%70i", "/../api", "/api?x"] {
        assert!(ApiProxy::builder(&world.bff).with_route(route()).with_prefix(prefix).build().is_err(), "{prefix}");
    }
    assert!(ApiProxy::builder(&world.bff).with_route(route()).with_prefix("/api").build().is_ok());
}
