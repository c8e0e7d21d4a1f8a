use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use reqwest::Client;
use sekisho::axum::{CheckpointExt as _, Principal, RefusalResponse, Session, SessionLayer};
use sekisho::dangerous::PrincipalBuilder;
use sekisho::http::{Answer, HeadParts};
use sekisho::session::{
    CsrfRules, Login, MemorySessionStore, SameSite, SessionCookie, SessionKey, SessionKeys, SessionRules, Sessions,
};
use sekisho::{Checkpoint, Dpop, Jwt};
use sekisho_testkit::Issuer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::pages;

/// How long a token is good, wherever it is kept and whoever has it.
const LIFETIME: Duration = Duration::from_secs(300);

/// Holds the JWT where no script sees it: `HttpOnly`.
pub(crate) const COOKIE: &str = "__Host-token";
/// Holds the JWT where the page's script writes it, and any other script reads it.
pub(crate) const READABLE: &str = "__Host-readable";

/// The length of an RFC 7638 thumbprint: SHA-256 in base64url.
const THUMBPRINT: usize = 43;

/// Is what the shop's handlers need.
#[derive(Clone)]
struct Shop {
    issuer: Issuer,
    /// Where the backend calls the API.
    api: String,
    client: Client,
}

/// Is what the server keeps for a session: the token never gets to the browser. A real one has a refresh token beside it.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    token: String,
}

#[derive(Deserialize)]
struct Asked {
    jkt: Option<String>,
}

/// Makes the shop: pages, login, and one API behind a checkpoint for each way in which a token comes.
pub(crate) fn router(origin: &str, api: &str, stranger: &str) -> Result<Router, Box<dyn Error>> {
    let issuer = Issuer::new();
    let verifier = Jwt::issuer(issuer.url()).audience("orders-api").with_keys(issuer.static_keys());
    let verifier = verifier.with_dpop(Dpop::new()).build()?;
    let checkpoint = |cookie: Option<&str>| {
        let checkpoint = Checkpoint::builder().accept(verifier.clone()).with_public_url(origin);
        cookie.into_iter().fold(checkpoint, |checkpoint, name| checkpoint.with_cookie(name)).build()
    };
    let (bearer, cookie, readable) = (checkpoint(None)?, checkpoint(Some(COOKIE))?, checkpoint(Some(READABLE))?);

    let store = Arc::new(MemorySessionStore::new());
    let sessions = Sessions::builder(store, SessionKeys::new(SessionKey::generate()?));
    let sessions = sessions.with_cookie(SessionCookie::builder().with_same_site(SameSite::Strict).build()?).build()?;
    let session =
        Checkpoint::builder().with_cookie(sessions.cookie().name()).accept(sessions.authenticator()).build()?;

    // Cookies go along whoever causes a request, so what changes something must come from our own pages, and show it.
    let csrf = CsrfRules::new().with_own_origin(origin)?.with_required_header();
    let orders = || get(orders).post(place);
    let with_cookie = Router::new()
        .route("/api/cookie/orders", orders().layer(cookie.layer()))
        .route("/api/readable/orders", orders().layer(readable.layer()))
        .layer(from_fn_with_state(csrf.clone(), refuse_forged));
    let with_session = Router::new()
        .route("/bff/orders", any(through_backend))
        .route("/token", post(token_for_script))
        .layer(session.layer())
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(SessionLayer::new(SessionRules::new(sessions).with_csrf(csrf)));
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    Ok(Router::new()
        // A header does not go along by itself: no other site can cause such a request.
        .route("/api/bearer/orders", orders().layer(bearer.layer()))
        // To be seen: what the checkpoint alone lets another host do.
        .route("/dangerously-unguarded/cookie/orders", orders().layer(cookie.layer()))
        .merge(with_cookie)
        .merge(with_session)
        .layer(from_fn(keep_out_of_caches))
        .merge(pages::router(stranger))
        .with_state(Shop { issuer, api: api.to_owned(), client }))
}

impl Shop {
    fn token(&self, jkt: Option<String>) -> String {
        let token = self.issuer.token().subject("alice").audience("orders-api").expires_in(LIFETIME);
        match jkt {
            Some(jkt) => token.claim("cnf", json!({ "jkt": jkt })).sign(),
            None => token.sign(),
        }
    }
}

async fn orders(caller: Principal) -> Json<Value> {
    Json(json!({ "orders": ["a book"], "for": caller.subject() }))
}

async fn place(caller: Principal) -> Json<Value> {
    Json(json!({ "placed": "a book", "by": caller.subject() }))
}

/// Logs in without a password, and hands out a token in the two ways in which no script gets it.
async fn log_in(State(shop): State<Shop>, mut session: Session<Kept>) -> Result<Response, RefusalResponse> {
    let alice = PrincipalBuilder::new("https://shop.example", "alice").build();
    let alice = alice.map_err(|_| Answer::bad_request())?;
    session.log_in(Login::new(&alice));
    let (kept, cookie) = (shop.token(None), shop.token(None));
    session.update(move |data| data.token.clone_from(&kept));
    let cookie = format!("{COOKIE}={cookie}; Path=/; Secure; HttpOnly; SameSite=Strict");
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response())
}

async fn log_out(session: Session<Kept>) -> impl IntoResponse {
    session.log_out();
    let removal = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    (StatusCode::NO_CONTENT, [(SET_COOKIE, removal)])
}

/// Hands a token to whatever script asks in the browser of somebody who is logged in, as an authorization server does by
/// `prompt=none`. With `jkt` it is bound to that key; a real token endpoint wants a proof of it (RFC 9449 §5).
async fn token_for_script(
    State(shop): State<Shop>,
    Query(asked): Query<Asked>,
    _: Principal,
) -> Result<Json<Value>, RefusalResponse> {
    if asked.jkt.as_ref().is_some_and(|jkt| jkt.len() != THUMBPRINT) {
        return Err(Answer::bad_request().into());
    }
    Ok(Json(json!({ "access_token": shop.token(asked.jkt), "expires_in": LIFETIME.as_secs() })))
}

/// Is the backend for the front end: calls the API with the token that the session holds.
async fn through_backend(State(shop): State<Shop>, session: Session<Kept>, request: Request) -> Response {
    let url = format!("{}/api/bearer/orders", shop.api);
    let call = shop.client.request(request.method().clone(), url).bearer_auth(&session.data().token);
    let Ok(answer) = call.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let status = answer.status();
    (status, answer.text().await.unwrap_or_default()).into_response()
}

/// Refuses what another site may have caused, where a JWT comes in a cookie and there is no session.
async fn refuse_forged(State(rules): State<CsrfRules>, request: Request, next: Next) -> Response {
    let headers: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let head = HeadParts { method: request.method().as_str(), path: request.uri().path(), headers: &headers };
    match rules.check(&head, true) {
        Ok(()) => next.run(request).await,
        Err(forgery) => RefusalResponse::from(forgery).into_response(),
    }
}

/// Shared caches know by `Authorization` that an answer is somebody's own, and not by a cookie.
async fn keep_out_of_caches(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
