//! Sessions before actix-web apps, checkpoints and handlers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_web::body::MessageBody;
use actix_web::dev::{Service as _, ServiceRequest, ServiceResponse};
use actix_web::error::ErrorInternalServerError;
use actix_web::http::StatusCode;
use actix_web::middleware::{Next, from_fn};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, Error, HttpResponse, web};
use async_trait::async_trait;
use sekisho_actix::{CheckpointExt as _, Principal, RefusalError, Session, SessionMiddleware, SessionOrAnonymous};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Failure, UnixSeconds, role};
use sekisho_http::Checkpoint;
use sekisho_session::{
    ListedSession, Login, LoginRedirect, MemorySessionStore, NewSession, RequestSession, Saved, SessionHash,
    SessionKey, SessionKeys, SessionRules, SessionStore, SessionTag, SessionUpdate, Sessions, StoredSession,
};
use serde::{Deserialize, Serialize};

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

async fn log_in(session: Session<()>, user: String) -> &'static str {
    let principal = PrincipalBuilder::new("https://shop.example", user).build().unwrap();
    session.log_in(Login::new(&principal));
    "welcome"
}

async fn log_out(session: Session<()>) -> &'static str {
    session.log_out();
    "bye"
}

/// Is a logout without a look at the session.
async fn leave(session: web::ReqData<RequestSession>) -> &'static str {
    session.log_out();
    "bye"
}

async fn add(mut session: Session<Cart>) -> String {
    session.update(|cart| cart.items += 1);
    session.data().items.to_string()
}

async fn mine(caller: Principal, session: Session<Cart>) -> String {
    format!("{} {}", caller.subject(), session.data().items)
}

async fn news(session: SessionOrAnonymous<Cart>) -> &'static str {
    if session.is_degraded() { "without" } else { "with" }
}

async fn pay(session: Session<()>, token: String) -> Result<&'static str, RefusalError> {
    session.check_form_token(&token)?;
    Ok("paid")
}

/// Is a handler that notes something and then fails.
async fn failing(session: Session<()>, logs_in: bool) -> HttpResponse {
    let alice = PrincipalBuilder::new("https://shop.example", "alice").build().unwrap();
    if logs_in {
        session.log_in(Login::new(&alice))
    } else {
        session.log_out()
    }
    HttpResponse::InternalServerError().finish()
}

/// Is a handler that refuses by itself, with headers of its own.
async fn sign(session: Session<()>) -> HttpResponse {
    let _ = session.form_token().unwrap();
    let mut response = HttpResponse::Unauthorized();
    for (name, value) in [
        ("set-cookie", "seen=1"),
        ("vary", "accept-language"),
        ("etag", "\"1\""),
        ("www-authenticate", "Bearer"),
        ("cache-control", "public"),
    ] {
        response.append_header((name, value));
    }
    response.body("a page")
}

/// Is a middleware that runs the handler and ends the request with an error all the same.
async fn no_answer(request: ServiceRequest, next: Next<impl MessageBody>) -> Result<ServiceResponse, Error> {
    next.call(request).await?;
    Err(ErrorInternalServerError("broken"))
}

fn sessions() -> (Arc<Store>, Sessions) {
    let store = Arc::new(Store::default());
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions = Sessions::builder(Arc::clone(&store) as _, keys).build().unwrap();
    (store, sessions)
}

/// Makes the service of a test: its routes, the session outside of the checkpoint.
macro_rules! shop {
    ($sessions:expr) => {{
        let sessions: Sessions = $sessions;
        let checkpoint = Checkpoint::builder()
            .with_cookie(sessions.cookie().name())
            .accept(sessions.authenticator())
            .build()
            .unwrap();
        let guarded = web::scope("/shop")
            .route("/mine", web::get().to(mine))
            .service(
                web::resource("/admin").route(web::get().to(|| async { "secret" })).wrap(checkpoint.require(role("x"))),
            )
            .wrap(checkpoint.middleware());
        let login = LoginRedirect::to("/login").unwrap();
        let middleware = SessionMiddleware::new(SessionRules::new(sessions).with_login_redirect(login));
        init_service(
            App::new()
                .service(guarded)
                .route("/", web::get().to(|| async { "public" }))
                .route("/login", web::post().to(log_in))
                .route("/logout", web::post().to(log_out))
                .route("/cart", web::post().to(add))
                .route("/news", web::get().to(news))
                .route("/form", web::get().to(|session: Session<()>| async move { session.form_token().unwrap() }))
                .route("/pay", web::post().to(pay))
                .route("/broken-login", web::post().to(|session: Session<()>| failing(session, true)))
                .route("/broken-logout", web::post().to(|session: Session<()>| failing(session, false)))
                .service(web::resource("/no-answer").wrap(from_fn(no_answer)).route(web::post().to(leave)))
                .route("/sign", web::get().to(sign))
                .wrap(middleware),
        )
        .await
    }};
}

fn get(path: &str, cookie: &str) -> TestRequest {
    with_cookie(TestRequest::get().uri(path), cookie)
}

fn post(path: &str, cookie: &str, body: &'static str) -> TestRequest {
    let request = TestRequest::post().uri(path).insert_header(("sec-fetch-site", "same-origin")).set_payload(body);
    with_cookie(request, cookie)
}

fn with_cookie(request: TestRequest, cookie: &str) -> TestRequest {
    if cookie.is_empty() { request } else { request.insert_header(("cookie", cookie)) }
}

fn cookie<B>(response: &ServiceResponse<B>) -> String {
    let set = header(response, "set-cookie").unwrap_or_default();
    set.split(';').next().unwrap().to_owned()
}

fn header<B>(response: &ServiceResponse<B>, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

async fn text<B: MessageBody>(response: ServiceResponse<B>) -> String {
    String::from_utf8(read_body(response).await.to_vec()).unwrap()
}

#[actix_web::test]
async fn a_login_is_a_cookie_and_a_principal_and_ends_with_the_logout() {
    let (store, sessions) = sessions();
    let shop = shop!(sessions);
    let response = call_service(&shop, post("/login", "", "alice").to_request()).await;
    assert!(header(&response, "set-cookie").unwrap().ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"));
    assert_eq!(header(&response, "cache-control").as_deref(), Some("no-store"));
    let alice = cookie(&response);
    call_service(&shop, post("/cart", &alice, "").to_request()).await;
    store.counted();
    assert_eq!(text(call_service(&shop, get("/shop/mine", &alice).to_request()).await).await, "alice 1");
    assert_eq!(store.counted(), 1, "checkpoint and handler together");
    call_service(&shop, get("/", &alice).to_request()).await;
    assert_eq!(store.counted(), 0);
    let admin = call_service(&shop, get("/shop/admin", &alice).to_request()).await;
    assert_eq!(admin.status(), StatusCode::FORBIDDEN);
    let response = call_service(&shop, post("/logout", &alice, "").to_request()).await;
    assert!(header(&response, "set-cookie").unwrap().contains("; Max-Age=0; "));
    let after = call_service(&shop, get("/shop/mine", &alice).to_request()).await;
    assert_eq!((after.status(), header(&after, "location")), (StatusCode::UNAUTHORIZED, None));
}

#[actix_web::test]
async fn navigations_go_to_the_login_and_scripts_get_401() {
    let shop = shop!(sessions().1);
    let send = async |mode| {
        let request = get("/shop/mine?a=b", "").insert_header(("sec-fetch-mode", mode));
        call_service(&shop, request.to_request()).await
    };
    let page = send("navigate").await;
    let to = header(&page, "location");
    assert_eq!(
        (page.status(), to.as_deref()),
        (StatusCode::SEE_OTHER, Some("/login?return_to=%2Fshop%2Fmine%3Fa%3Db"))
    );
    let script = send("cors").await;
    assert_eq!((script.status(), header(&script, "location")), (StatusCode::UNAUTHORIZED, None));
}

#[actix_web::test]
async fn the_way_to_the_login_keeps_the_handlers_cookies_and_nothing_of_its_page() {
    let shop = shop!(sessions().1);
    let page = get("/sign", "").insert_header(("sec-fetch-mode", "navigate"));
    let page = call_service(&shop, page.to_request()).await;
    assert_eq!(page.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&page, "location").as_deref(), Some("/login?return_to=%2Fsign"));
    let set: Vec<_> = page.headers().get_all("set-cookie").map(|set| set.to_str().unwrap()).collect();
    assert_eq!((set.len(), set.first()), (2, Some(&"seen=1")));
    assert!(set.get(1).unwrap().starts_with("__Host-session="), "and the session's own is there");
    assert_eq!(header(&page, "vary").as_deref(), Some("accept-language"));
    assert_eq!(header(&page, "cache-control").as_deref(), Some("no-store"));
    for gone in ["etag", "www-authenticate", "content-type"] {
        assert_eq!(header(&page, gone), None, "{gone}");
    }
    assert_eq!(text(page).await, "");
    let script = call_service(&shop, get("/sign", "").to_request()).await;
    assert_eq!((script.status(), header(&script, "etag").as_deref()), (StatusCode::UNAUTHORIZED, Some("\"1\"")));
}

#[actix_web::test]
async fn of_a_handler_that_fails_a_logout_is_done_and_no_login() {
    let (store, sessions) = sessions();
    let shop = shop!(sessions);
    let response = call_service(&shop, post("/broken-login", "", "").to_request()).await;
    assert_eq!((response.status(), cookie(&response)), (StatusCode::INTERNAL_SERVER_ERROR, String::new()));
    assert!(store.inner.is_empty());
    let alice = cookie(&call_service(&shop, post("/login", "", "alice").to_request()).await);
    let response = call_service(&shop, post("/broken-logout", &alice, "").to_request()).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(header(&response, "set-cookie").unwrap().contains("; Max-Age=0; "));
    let after = call_service(&shop, get("/shop/mine", &alice).to_request()).await;
    assert_eq!(after.status(), StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn a_logout_is_done_also_where_a_middleware_inside_ends_with_an_error() {
    let (store, sessions) = sessions();
    let shop = shop!(sessions);
    let alice = cookie(&call_service(&shop, post("/login", "", "alice").to_request()).await);
    let error = shop.call(post("/no-answer", &alice, "").to_request()).await.err().unwrap();
    assert_eq!(error.as_response_error().status_code(), StatusCode::INTERNAL_SERVER_ERROR);
    let after = call_service(&shop, get("/shop/mine", &alice).to_request()).await;
    assert_eq!(after.status(), StatusCode::UNAUTHORIZED);
    store.is_down.store(true, Ordering::SeqCst);
    let error = shop.call(post("/no-answer", &alice, "").to_request()).await.err().unwrap();
    assert_eq!(error.as_response_error().status_code(), StatusCode::SERVICE_UNAVAILABLE, "it could not be written");
}

#[actix_web::test]
async fn requests_of_other_sites_and_forms_without_their_token_are_refused() {
    let (store, sessions) = sessions();
    let shop = shop!(sessions);
    let alice = cookie(&call_service(&shop, post("/login", "", "alice").to_request()).await);
    store.counted();
    for site in ["cross-site", "same-site"] {
        let forged = with_cookie(TestRequest::post().uri("/cart").insert_header(("sec-fetch-site", site)), &alice);
        assert_eq!(call_service(&shop, forged.to_request()).await.status(), StatusCode::FORBIDDEN);
    }
    let silent = with_cookie(TestRequest::post().uri("/cart"), &alice);
    assert_eq!(call_service(&shop, silent.to_request()).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(store.counted(), 0);
    let token: &'static str = text(call_service(&shop, get("/form", &alice).to_request()).await).await.leak();
    assert_eq!(call_service(&shop, post("/pay", &alice, token).to_request()).await.status(), StatusCode::OK);
    for token in ["", "AAAA"] {
        let response = call_service(&shop, post("/pay", &alice, token).to_request()).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
    }
}

#[actix_web::test]
async fn a_store_that_is_down_is_503_unless_the_route_can_do_without() {
    let (store, sessions) = sessions();
    let shop = shop!(sessions);
    let alice = cookie(&call_service(&shop, post("/login", "", "alice").to_request()).await);
    store.is_down.store(true, Ordering::SeqCst);
    let response = call_service(&shop, get("/shop/mine", &alice).to_request()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(cookie(&response), "", "nobody is logged out by it");
    let response = call_service(&shop, post("/cart", &alice, "").to_request()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    // The handler answered 200; what it says it did was not kept.
    let response = call_service(&shop, post("/login", "", "alice").to_request()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(call_service(&shop, get("/news", &alice).to_request()).await).await, "without");
    store.is_down.store(false, Ordering::SeqCst);
    assert_eq!(text(call_service(&shop, get("/news", &alice).to_request()).await).await, "with");
}

#[actix_web::test]
async fn a_cookie_that_stands_twice_is_400_and_a_handler_without_the_middleware_500() {
    let shop = shop!(sessions().1);
    let twice = get("/news", "__Host-session=a; __Host-session=b").to_request();
    assert_eq!(call_service(&shop, twice).await.status(), StatusCode::BAD_REQUEST);
    let bare = init_service(App::new().route("/", web::get().to(|_: Session<()>| async { "" }))).await;
    let response = call_service(&bare, TestRequest::get().uri("/").to_request()).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
