//! A decision that is remembered does not outlive the session in which it was asked for, whoever ends that, and how.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::{get, post};
use scripted::{CLIENT, ISSUER, Scripted};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Clock, Enforcer, Failure, SubjectId};
use sekisho_http::{Checkpoint, HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse, RouteQuestion};
use sekisho_oidc::{Bff, RelyingParty};
use sekisho_policy::remote::{Remote, opa::Opa};
use sekisho_session::{Login, MemorySessionStore, RequestSession, SessionKey, SessionKeys, SessionRules, Sessions};
use serde_json::json;

use crate::actix_service::ActixService;
use crate::axum_service::AxumService;

#[path = "../../crates/sekisho-oidc/tests/provider/scripted.rs"]
#[expect(dead_code, reason = "the crate's own tests use more of it")]
mod scripted;

/// Permits everything, and counts what it is asked.
#[derive(Debug, Default)]
struct Permissive(AtomicUsize);

#[async_trait]
impl HttpClient for Permissive {
    async fn send(&self, _: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(HttpResponse { status: 200, headers, body: br#"{"result":true}"#.to_vec() })
    }
}

/// Is a service that asks for decisions, with a page of devices and a backend for a frontend.
#[derive(Clone)]
struct Shop {
    provider: Arc<Scripted>,
    decisions: Arc<Permissive>,
    enforcer: Enforcer,
    checkpoint: Checkpoint,
    sessions: Sessions,
    bff: Bff,
}

impl Shop {
    fn new() -> Self {
        let (provider, decisions) = (Scripted::new(), Arc::new(Permissive::default()));
        // So that nothing but a purge ends what is remembered, and each login has the same claims as the one before.
        let clock: Arc<dyn Clock> = Arc::new(provider.clock.clone());
        let longest = Duration::from_secs(60);
        let remote = Remote::builder(Opa::at("http://127.0.0.1:1", "shop").unwrap())
            .with_client(Arc::clone(&decisions) as _)
            .with_deadline(Duration::from_secs(10))
            .without_hedge()
            .with_cache_lifetimes(longest, longest)
            .build()
            .unwrap();
        let keys = SessionKeys::new(SessionKey::generate().unwrap());
        let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys.clone())
            .with_end_listener(remote.clone())
            .with_clock(Arc::clone(&clock))
            .build()
            .unwrap();
        let party = RelyingParty::builder(sessions.clone(), keys)
            .with_provider("id", provider.provider())
            .with_clock(Arc::clone(&clock))
            .build()
            .unwrap();
        let checkpoint = Checkpoint::builder()
            .with_cookie(sessions.cookie().name())
            .accept(sessions.authenticator())
            .with_clock(clock)
            .build()
            .unwrap();
        let bff = Bff::builder(party).build().unwrap();
        Self { provider, decisions, enforcer: Enforcer::new(remote), checkpoint, sessions, bff }
    }

    fn rules(&self) -> SessionRules {
        SessionRules::new(self.sessions.clone())
    }

    fn axum(&self) -> Router {
        use sekisho_axum::{BffExt as _, CheckpointExt as _, Session, SessionLayer};

        let question = self.checkpoint.enforce(&self.enforcer, question());
        let (ends, ends_all) = (self.sessions.clone(), self.sessions.clone());
        Router::new()
            .route("/orders/{order}", get(async || "order").layer(question))
            .layer(self.checkpoint.layer())
            .route(
                "/login/{who}",
                post(async |who: axum::extract::Path<String>, session: Session<()>| {
                    log_in(session.request(), &who);
                }),
            )
            .route("/logout", post(async |session: Session<()>| session.log_out()))
            .route("/devices/end", post(async move || end_each(&ends).await.unwrap()))
            .route("/devices/end-all", post(async move || end_all(&ends_all).await.unwrap()))
            .layer(SessionLayer::new(self.rules()))
            .merge(self.bff.router())
    }

    fn configure(&self, config: &mut actix_web::web::ServiceConfig) {
        use actix_web::web;
        use sekisho_actix::{BffExt as _, CheckpointExt as _, Session, SessionMiddleware};

        let order = web::resource("/{order}").wrap(self.checkpoint.enforce(&self.enforcer, question()));
        let (ends, ends_all) = (self.sessions.clone(), self.sessions.clone());
        let with_sessions = web::scope("/shop")
            .wrap(SessionMiddleware::new(self.rules()))
            .service(web::scope("/orders").wrap(self.checkpoint.middleware()).service(order.to(async || "order")))
            .route(
                "/login/{who}",
                web::post().to(async |who: web::Path<String>, session: Session<()>| {
                    log_in(session.request(), &who);
                    "welcome"
                }),
            )
            .route(
                "/logout",
                web::post().to(async |session: Session<()>| {
                    session.log_out();
                    "bye"
                }),
            )
            .route(
                "/devices/end",
                web::post().to(move || {
                    let sessions = ends.clone();
                    async move { end_each(&sessions).await.map_or("no", |()| "ended") }
                }),
            )
            .route(
                "/devices/end-all",
                web::post().to(move || {
                    let sessions = ends_all.clone();
                    async move { end_all(&sessions).await.map_or("no", |()| "ended") }
                }),
            );
        config.service(with_sessions).configure(self.bff.configure());
    }

    fn asked(&self) -> usize {
        self.decisions.0.swap(0, Ordering::SeqCst)
    }

    /// Writes a provider's word that somebody has logged out there.
    fn notice(&self, by_session: bool) -> String {
        let token = self.provider.issuer.token().typ("logout+jwt").audience(CLIENT).without_claim("client_id");
        let token = token.claim("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}}));
        let token = if by_session { token.claim("sid", "s-u1").without_claim("sub") } else { token };
        format!("logout_token={}", token.sign())
    }
}

fn question() -> RouteQuestion {
    RouteQuestion::new("read", "order").id_from("order")
}

fn log_in(session: &RequestSession, who: &str) {
    let principal = PrincipalBuilder::new(ISSUER, who).with_claim("sid", format!("s-{who}")).build().unwrap();
    session.log_in(Login::new(&principal));
}

fn u1() -> SubjectId {
    SubjectId::new(ISSUER, "u1")
}

async fn end_each(sessions: &Sessions) -> Result<(), Failure> {
    for listed in sessions.list(&u1()).await? {
        assert!(sessions.end(&u1(), listed.id()).await?);
    }
    Ok(())
}

async fn end_all(sessions: &Sessions) -> Result<(), Failure> {
    assert!(sessions.end_all(&u1()).await? > 0);
    Ok(())
}

/// Is a browser that keeps its cookie by itself.
struct Browser<'a> {
    http: reqwest::Client,
    service: &'a str,
    cookie: String,
}

impl<'a> Browser<'a> {
    async fn logged_in(service: &'a str, prefix: &str, who: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut browser = Self { http, service, cookie: String::new() };
        let response = browser.post(&format!("{prefix}/login/{who}"), "").await;
        let set = response.headers().get("set-cookie").unwrap().to_str().unwrap();
        browser.cookie = set.split(';').next().unwrap().to_owned();
        browser
    }

    async fn post(&self, path: &str, form: &str) -> reqwest::Response {
        let request = self.http.post(format!("{}{path}", self.service)).header("cookie", &self.cookie);
        let request = request.header("sec-fetch-site", "same-origin").header("sec-fetch-mode", "navigate");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(form.to_owned()).send().await.unwrap()
    }

    async fn reads(&self, prefix: &str) -> u16 {
        let request = self.http.get(format!("{}{prefix}/orders/42", self.service)).header("cookie", &self.cookie);
        request.send().await.unwrap().status().as_u16()
    }
}

/// Ends a session in every way there is, and asks again.
async fn nothing_outlives(shop: &Shop, service: &str, prefix: &str) {
    let ends = [
        (format!("{prefix}/logout"), String::new(), 200),
        ("/bff/logout".to_owned(), String::new(), 303),
        ("/bff/logout".to_owned(), "scope=everywhere".to_owned(), 303),
        ("/bff/backchannel".to_owned(), shop.notice(true), 200),
        ("/bff/backchannel".to_owned(), shop.notice(false), 200),
        (format!("{prefix}/devices/end"), String::new(), 200),
        (format!("{prefix}/devices/end-all"), String::new(), 200),
    ];
    for (path, form, status) in ends {
        let earlier = Browser::logged_in(service, prefix, "u1").await;
        let browser = Browser::logged_in(service, prefix, "u1").await;
        let other = Browser::logged_in(service, prefix, "u2").await;
        assert_eq!((earlier.reads(prefix).await, other.reads(prefix).await), (200, 200));
        shop.asked();
        assert_eq!((browser.reads(prefix).await, other.reads(prefix).await), (200, 200));
        assert_eq!(shop.asked(), 0, "it is remembered, for the other session of hers too");

        assert_eq!(browser.post(&path, &form).await.status(), status, "{path}");
        assert_eq!(browser.reads(prefix).await, 401, "{path}");
        let again = Browser::logged_in(service, prefix, "u1").await;
        assert_eq!((again.reads(prefix).await, shop.asked()), (200, 1), "{path} {form}");
        assert_eq!((other.reads(prefix).await, shop.asked()), (200, 0), "{path}: nobody else's is forgotten");
        shop.sessions.end_all(&u1()).await.unwrap();
    }
}

#[tokio::test]
async fn a_remembered_decision_ends_with_the_session_before_axum() {
    let shop = Shop::new();
    let service = AxumService::serve(shop.axum()).await;
    nothing_outlives(&shop, &service.url, "").await;
}

#[tokio::test]
async fn a_remembered_decision_ends_with_the_session_before_actix() {
    let shop = Shop::new();
    let app = shop.clone();
    let service = ActixService::serve(move || actix_web::App::new().configure(|config| app.configure(config)));
    nothing_outlives(&shop, &service.url, "/shop").await;
}
