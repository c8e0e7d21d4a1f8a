//! Sessions before axum routers, checkpoints and handlers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod parallel;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::body::Body;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{get, post};
use axum::{Form, Router};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use sekisho_axum::{CheckpointExt as _, Principal, RefusalResponse, Session, SessionLayer, SessionOrAnonymous};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Failure, UnixSeconds, role};
use sekisho_http::Checkpoint;
use sekisho_session::{
    CsrfRules, ListedSession, Login, LoginRedirect, MemorySessionStore, NewSession, Saved, SessionHash, SessionKey,
    SessionKeys, SessionRules, SessionStore, SessionTag, SessionUpdate, Sessions, StoredSession,
};
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;

#[derive(Debug, Default)]
struct Store {
    inner: MemorySessionStore,
    calls: AtomicUsize,
    is_down: AtomicBool,
}

impl Store {
    fn call(&self) -> Result<(), Failure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) { Err(Failure::unavailable("down")) } else { Ok(()) }
    }

    fn counted(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl SessionStore for Store {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        self.call()?;
        self.inner.create(id, new, now).await
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        self.call()?;
        self.inner.load(id, now).await
    }

    async fn save(&self, id: &SessionHash, v: u64, to: &SessionUpdate, now: UnixSeconds) -> Result<Saved, Failure> {
        self.call()?;
        self.inner.save(id, v, to, now).await
    }

    async fn touch(&self, id: &SessionHash, until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        self.call()?;
        self.inner.touch(id, until, now).await
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        self.call()?;
        self.inner.delete(id, now).await
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        self.call()?;
        self.inner.list(tag, now).await
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        self.call()?;
        self.inner.delete_tagged(tag, now).await
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.call()?;
        self.inner.sweep(now).await
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Cart {
    items: u32,
}

#[derive(Deserialize)]
struct Posted {
    #[serde(default)]
    user: String,
    #[serde(default)]
    token: String,
}

async fn log_in(session: Session<()>, Form(posted): Form<Posted>) -> &'static str {
    let admin = posted.user == "admin";
    let principal = PrincipalBuilder::new("https://shop.example", posted.user.clone());
    let principal = if admin { principal.with_roles(["admin"]) } else { principal };
    session.log_in(Login::new(&principal.build().unwrap()));
    "welcome"
}

async fn add(mut session: Session<Cart>) -> String {
    session.update(|cart| cart.items += 1);
    session.data().items.to_string()
}

async fn pay(session: Session<()>, Form(posted): Form<Posted>) -> Result<&'static str, RefusalResponse> {
    session.check_form_token(&posted.token)?;
    Ok("paid")
}

/// Is a handler that notes something and then fails.
fn failing(session: &Session<()>, logs_in: bool) -> StatusCode {
    let alice = PrincipalBuilder::new("https://shop.example", "alice").build().unwrap();
    if logs_in {
        session.log_in(Login::new(&alice))
    } else {
        session.log_out()
    }
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Is a handler that refuses by itself, with headers of its own.
async fn sign(session: Session<()>) -> impl IntoResponse {
    let _ = session.form_token().unwrap();
    let headers = [
        ("set-cookie", "seen=1"),
        ("vary", "accept-language"),
        ("etag", "\"1\""),
        ("www-authenticate", "Bearer"),
        ("cache-control", "public"),
    ];
    (StatusCode::UNAUTHORIZED, AppendHeaders(headers), "a page")
}

struct Shop {
    store: Arc<Store>,
    app: Router,
}

impl Shop {
    fn new() -> Self {
        Self::with(|rules| rules)
    }

    fn with(set: impl FnOnce(SessionRules) -> SessionRules) -> Self {
        let store = Arc::new(Store::default());
        let keys = SessionKeys::new(SessionKey::generate().unwrap());
        let sessions = Sessions::builder(Arc::clone(&store) as _, keys).build().unwrap();
        let checkpoint = Checkpoint::builder()
            .with_cookie(sessions.cookie().name())
            .accept(sessions.authenticator())
            .build()
            .unwrap();
        let login = LoginRedirect::to("/login").unwrap();
        let guarded = Router::new()
            .route("/me", get(|caller: Principal| async move { caller.subject().to_owned() }))
            .route(
                "/mine",
                get(|caller: Principal, session: Session<Cart>| async move {
                    format!("{} {}", caller.subject(), session.data().items)
                }),
            )
            .route("/admin", get(|| async { "secret" }).layer(checkpoint.require(role("admin"))))
            .layer(checkpoint.layer());
        let app = Router::new()
            .route("/", get(|| async { "public" }))
            .route("/login", post(log_in))
            .route("/logout", post(|session: Session<()>| async move { session.log_out() }))
            .route("/cart", post(add).get(|session: Session<Cart>| async move { session.data().items.to_string() }))
            .route(
                "/news",
                get(|session: SessionOrAnonymous<Cart>| async move {
                    if session.is_degraded() { "without" } else { "with" }
                }),
            )
            .route("/form", get(|session: Session<()>| async move { session.form_token().unwrap() }))
            .route("/pay", post(pay))
            .nest("/shop", guarded)
            .route("/broken-login", post(async |session: Session<()>| failing(&session, true)))
            .route("/broken-logout", post(async |session: Session<()>| failing(&session, false)))
            .route("/sign", get(sign))
            .layer(SessionLayer::new(set(SessionRules::new(sessions).with_login_redirect(login))));
        Self { store, app }
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.app.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str, cookie: Option<&str>) -> Response<Body> {
        self.send(request("GET", path, cookie, &[], "")).await
    }

    async fn post(&self, path: &str, cookie: Option<&str>, body: &'static str) -> Response<Body> {
        self.send(request("POST", path, cookie, &[("sec-fetch-site", "same-origin")], body)).await
    }

    async fn logged_in(&self, body: &'static str) -> String {
        cookie(&self.post("/login", None, body).await).unwrap()
    }
}

fn request(
    method: &str,
    path: &str,
    cookie: Option<&str>,
    headers: &[(&str, &str)],
    body: &'static str,
) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    builder = builder.header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    if let Some(cookie) = cookie {
        builder = builder.header("cookie", cookie);
    }
    builder.body(Body::from(body)).unwrap()
}

fn cookie(response: &Response<Body>) -> Option<String> {
    let mut set = response.headers().get_all("set-cookie").iter();
    let first = set.next()?.to_str().unwrap().to_owned();
    assert!(set.next().is_none(), "one cookie at the most");
    Some(first.split(';').next().unwrap().to_owned())
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_login_is_a_cookie_and_a_principal_and_ends_with_the_logout() {
    let shop = Shop::new();
    let response = shop.post("/login", None, "user=alice").await;
    assert_eq!(header(&response, "cache-control"), Some("no-store"));
    assert!(header(&response, "set-cookie").unwrap().ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"));
    let alice = cookie(&response).unwrap();
    assert_eq!(text(shop.get("/shop/me", Some(&alice)).await).await, "alice");
    assert_eq!(shop.get("/shop/admin", Some(&alice)).await.status(), StatusCode::FORBIDDEN);
    let admin = shop.logged_in("user=admin").await;
    assert_eq!(text(shop.get("/shop/admin", Some(&admin)).await).await, "secret");
    let response = shop.post("/logout", Some(&alice), "").await;
    assert!(header(&response, "set-cookie").unwrap().contains("; Max-Age=0; "));
    assert_eq!(shop.get("/shop/me", Some(&alice)).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn routes_that_do_not_ask_cost_no_call_and_those_that_read_cost_one() {
    let shop = Shop::new();
    let alice = shop.logged_in("user=alice").await;
    shop.store.counted();
    for (path, calls) in [("/", 0), ("/cart", 1), ("/shop/me", 1), ("/shop/mine", 1)] {
        let response = shop.get(path, Some(&alice)).await;
        assert_eq!((response.status(), shop.store.counted()), (StatusCode::OK, calls), "{path}");
        assert_eq!(cookie(&response), None);
    }
    shop.post("/cart", Some(&alice), "").await;
    assert_eq!(shop.store.counted(), 2, "one load and one write");
    assert_eq!(text(shop.get("/shop/mine", Some(&alice)).await).await, "alice 1");
}

#[tokio::test]
async fn navigations_without_a_session_go_to_the_login_and_scripts_get_401() {
    let shop = Shop::new();
    let send = async |headers: &[(&str, &str)]| shop.send(request("GET", "/shop/me?a=b", None, headers, "")).await;
    let page = send(&[("sec-fetch-mode", "navigate")]).await;
    assert_eq!(page.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&page, "location"), Some("/login?return_to=%2Fshop%2Fme%3Fa%3Db"));
    assert_eq!(header(&page, "cache-control"), Some("no-store"));
    for headers in [&[("sec-fetch-mode", "cors")][..], &[("accept", "application/json")], &[]] {
        let response = send(headers).await;
        assert_eq!((response.status(), header(&response, "location")), (StatusCode::UNAUTHORIZED, None));
        assert!(header(&response, "www-authenticate").is_some());
    }
    let allowed = shop.send(request("GET", "/", None, &[("sec-fetch-mode", "navigate")], "")).await;
    assert_eq!(allowed.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_way_to_the_login_keeps_the_handlers_cookies_and_nothing_of_its_page() {
    let shop = Shop::new();
    let page = shop.send(request("GET", "/sign", None, &[("sec-fetch-mode", "navigate")], "")).await;
    assert_eq!(page.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&page, "location"), Some("/login?return_to=%2Fsign"));
    let set: Vec<_> = page.headers().get_all("set-cookie").iter().map(|set| set.to_str().unwrap()).collect();
    assert_eq!((set.len(), set[0]), (2, "seen=1"));
    assert!(set[1].starts_with("__Host-session="), "and the session's own is there");
    assert_eq!(header(&page, "vary"), Some("accept-language"));
    assert_eq!(header(&page, "cache-control"), Some("no-store"));
    for gone in ["etag", "www-authenticate", "content-type"] {
        assert_eq!(header(&page, gone), None, "{gone}");
    }
    assert_eq!(text(page).await, "");
    let script = shop.get("/sign", None).await;
    assert_eq!((script.status(), header(&script, "etag")), (StatusCode::UNAUTHORIZED, Some("\"1\"")));
}

#[tokio::test]
async fn of_a_handler_that_fails_a_logout_is_done_and_no_login() {
    let shop = Shop::new();
    let response = shop.post("/broken-login", None, "").await;
    assert_eq!((response.status(), cookie(&response)), (StatusCode::INTERNAL_SERVER_ERROR, None));
    assert!(shop.store.inner.is_empty());
    let alice = shop.logged_in("user=alice").await;
    let response = shop.post("/broken-logout", Some(&alice), "").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(header(&response, "set-cookie").unwrap().contains("; Max-Age=0; "));
    assert_eq!(shop.get("/shop/me", Some(&alice)).await.status(), StatusCode::UNAUTHORIZED);
}

/// Is a service that runs the handler and then fails without an answer.
#[derive(Clone)]
struct Broken(Router);

impl tower::Service<Request<Body>> for Broken {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), &'static str>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move {
            inner.oneshot(request).await.unwrap();
            Err("broken")
        })
    }
}

#[tokio::test]
async fn a_logout_is_done_also_where_a_service_inside_ends_with_an_error() {
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys).build().unwrap();
    let routes = || {
        Router::new()
            .route("/login", post(log_in))
            .route("/logout", post(async |session: Session<()>| session.log_out()))
            .route("/who", get(async |session: Session<()>| session.id().is_some().to_string()))
    };
    let layer = SessionLayer::new(SessionRules::new(sessions).dangerous_without_csrf());
    let app = routes().layer(layer.clone());
    let broken = tower::Layer::layer(&layer, Broken(routes()));
    let send = |path, cookie: Option<&str>| request("POST", path, cookie, &[], "user=alice");
    let alice = cookie(&app.clone().oneshot(send("/login", None)).await.unwrap()).unwrap();
    let who = async || text(app.clone().oneshot(request("GET", "/who", Some(&alice), &[], "")).await.unwrap()).await;
    assert_eq!(who().await, "true");
    assert_eq!(broken.clone().oneshot(send("/login", Some(&alice))).await.unwrap_err(), "broken");
    assert_eq!(who().await, "true", "no login replaced it");
    assert_eq!(broken.oneshot(send("/logout", Some(&alice))).await.unwrap_err(), "broken");
    assert_eq!(who().await, "false");
}

#[tokio::test]
async fn requests_of_other_sites_do_not_reach_the_handler() {
    let shop = Shop::new();
    let alice = shop.logged_in("user=alice").await;
    shop.store.counted();
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example"), ("host", "shop.example")],
        &[("origin", "null"), ("host", "shop.example")],
        &[],
    ] {
        let response = shop.send(request("POST", "/cart", Some(&alice), headers, "")).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{headers:?}");
        assert_eq!(header(&response, "www-authenticate"), None);
    }
    assert_eq!(shop.store.counted(), 0);
    // A login that another site causes would put its victim into the attacker's account.
    let forged = request("POST", "/login", None, &[("sec-fetch-site", "cross-site")], "user=mallory");
    assert_eq!(shop.send(forged).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(text(shop.get("/cart", Some(&alice)).await).await, "0");
    let same = [("origin", "https://shop.example"), ("host", "shop.example")];
    assert_eq!(shop.send(request("POST", "/cart", Some(&alice), &same, "")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_socket_that_another_site_opens_does_not_reach_the_handler() {
    let shop = Shop::new();
    let alice = shop.logged_in("user=alice").await;
    let send = async |mark, site| {
        shop.send(request("GET", "/", Some(&alice), &[mark, ("sec-fetch-site", site)], "")).await.status()
    };
    for mark in [
        ("upgrade", "websocket"),
        ("Upgrade", "h2c, WebSocket"),
        ("sec-websocket-version", "13"),
        ("Sec-WebSocket-Key", "x"),
        ("sec-websocket-protocol", "chat"),
        ("sec-websocket-extensions", ""),
    ] {
        assert_eq!(send(mark, "cross-site").await, StatusCode::FORBIDDEN, "{mark:?}");
        assert_eq!(send(mark, "same-origin").await, StatusCode::OK, "{mark:?}");
    }
    for harmless in [("upgrade", "h2c"), ("x-upgrade", "websocket"), ("sec-websocket-accept", "x")] {
        assert_eq!(send(harmless, "cross-site").await, StatusCode::OK, "{harmless:?}");
    }
}

#[tokio::test]
async fn an_api_can_demand_the_custom_header() {
    let shop = Shop::with(|rules| rules.with_csrf(CsrfRules::new().with_required_header()));
    assert_eq!(shop.post("/cart", None, "").await.status(), StatusCode::FORBIDDEN);
    let headers = [("sec-fetch-site", "same-origin"), ("x-csrf", "1")];
    assert_eq!(shop.send(request("POST", "/cart", None, &headers, "")).await.status(), StatusCode::OK);
    let without = Shop::with(SessionRules::dangerous_without_csrf);
    let cross = [("sec-fetch-site", "cross-site")];
    assert_eq!(without.send(request("POST", "/cart", None, &cross, "")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_form_needs_its_token() {
    let shop = Shop::new();
    let response = shop.get("/form", None).await;
    let visitor = cookie(&response).unwrap();
    let token: &'static str = format!("token={}", text(response).await).leak();
    assert_eq!(text(shop.post("/pay", Some(&visitor), token).await).await, "paid");
    for body in ["", "token=", "token=AAAA"] {
        assert_eq!(shop.post("/pay", Some(&visitor), body).await.status(), StatusCode::FORBIDDEN);
    }
    let alice = shop.logged_in("user=alice").await;
    assert_eq!(shop.post("/pay", Some(&alice), token).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_store_that_is_down_is_503_unless_the_route_can_do_without() {
    let shop = Shop::new();
    let alice = shop.logged_in("user=alice").await;
    shop.store.is_down.store(true, Ordering::SeqCst);
    for path in ["/cart", "/shop/me"] {
        let response = shop.send(request("GET", path, Some(&alice), &[("sec-fetch-mode", "navigate")], "")).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(header(&response, "retry-after").is_some());
        assert_eq!(cookie(&response), None, "nobody is logged out by it");
    }
    assert_eq!(shop.get("/", Some(&alice)).await.status(), StatusCode::OK);
    assert_eq!(text(shop.get("/news", Some(&alice)).await).await, "without");
    // The handler answered 200; what it says it did was not kept.
    assert_eq!(shop.post("/login", None, "user=alice").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    shop.store.is_down.store(false, Ordering::SeqCst);
    assert_eq!(text(shop.get("/news", Some(&alice)).await).await, "with");
}

#[tokio::test]
async fn a_cookie_that_stands_twice_is_400_wherever_it_is_asked_for() {
    let shop = Shop::new();
    let alice = shop.logged_in("user=alice").await;
    let twice = format!("{alice}; {alice}");
    assert_eq!(shop.get("/cart", Some(&twice)).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(shop.get("/shop/me", Some(&twice)).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(shop.get("/", Some(&twice)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_session_in_the_browser_is_one_for_layer_checkpoint_and_handler() {
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions = Sessions::client_side(keys).build().unwrap();
    let checkpoint =
        Checkpoint::builder().with_cookie(sessions.cookie().name()).accept(sessions.authenticator()).build().unwrap();
    let mine =
        async |caller: Principal, session: Session<Cart>| format!("{} {}", caller.subject(), session.data().items);
    let app: Router = Router::new()
        .route("/mine", get(mine))
        .layer(checkpoint.layer())
        .route("/login", post(log_in))
        .route("/logout", post(async |session: Session<()>| session.log_out()))
        .route("/cart", post(add))
        .layer(SessionLayer::new(sessions));
    let mut jar = std::collections::BTreeMap::new();
    for (method, path, status) in [
        ("GET", "/mine", StatusCode::UNAUTHORIZED),
        ("POST", "/login", StatusCode::OK),
        ("POST", "/cart", StatusCode::OK),
        ("GET", "/mine", StatusCode::OK),
        ("POST", "/logout", StatusCode::OK),
        ("GET", "/mine", StatusCode::UNAUTHORIZED),
    ] {
        let cookies = jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let cookies = (!cookies.is_empty()).then_some(&*cookies);
        let request = request(method, path, cookies, &[("sec-fetch-site", "same-origin")], "user=alice");
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        for set in response.headers().get_all("set-cookie") {
            let set = set.to_str().unwrap();
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            jar.remove(name);
            if !set.contains("Max-Age=0") {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        if path == "/mine" && status == StatusCode::OK {
            assert_eq!((text(response).await.as_str(), jar.len()), ("alice 1", 2));
        }
    }
    assert!(jar.is_empty());
}

#[tokio::test]
async fn a_handler_without_the_layer_is_our_own_fault() {
    let app: Router = Router::new().route("/", get(|_: Session<()>| async {}));
    let response = app.oneshot(request("GET", "/", None, &[], "")).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn data_of_another_shape_are_our_own_fault() {
    #[derive(Default, Serialize, Deserialize)]
    struct Other {
        items: String,
    }
    let store: Arc<dyn SessionStore> = Arc::new(MemorySessionStore::new());
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions = Sessions::builder(store, keys).build().unwrap();
    let app: Router = Router::new()
        .route("/cart", post(add))
        .route("/other", get(|session: Session<Other>| async move { session.data().items.clone() }))
        .layer(SessionLayer::new(sessions));
    let added = app.clone().oneshot(request("POST", "/cart", None, &[], "")).await.unwrap();
    let visitor = cookie(&added).unwrap();
    let response = app.oneshot(request("GET", "/other", Some(&visitor), &[], "")).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
