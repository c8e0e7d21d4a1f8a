//! The service where people log in at a provider, and where their access token is put into a cookie.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use sekisho_core::Authenticate as _;
use sekisho_http::{CsrfRules, HeadParts, named_cookie};
use sekisho_jwt::Verifier;
use sekisho_oidc::{Callback, ClientCredentials, LoginRequest, PendingLogin, Provider};
use sekisho_revocation::{RevocationList, Withdrawal};
use sekisho_session::{ClientSideCookie, ReturnTo, SessionKey, SessionKeys};

use super::COOKIE;
use crate::setup;

/// Stands behind the gateway, at `/login`, `/callback` and `/logout`.
pub(super) struct Front {
    provider: Provider,
    pending: ClientSideCookie,
    origin: String,
    csrf: CsrfRules,
    verifier: Verifier,
    withdrawn: RevocationList,
}

impl Front {
    /// `origin` is the gateway's. Logging out withdraws what `verifier` takes.
    pub(super) fn new(issuer: &str, origin: &str, verifier: Verifier, withdrawn: RevocationList) -> Self {
        let provider = Provider::discover(issuer, ClientCredentials::basic("front", "front-secret"))
            .redirect_uri(format!("{origin}/callback"))
            .build()
            .expect("a provider");
        let keys = SessionKeys::new(SessionKey::generate().expect("a key"));
        let pending = ClientSideCookie::builder(keys).with_name("__Host-pending").build().expect("a cookie");
        let csrf = CsrfRules::new().with_own_origin(origin).expect("an origin");
        Self { provider, pending, origin: origin.to_owned(), csrf, verifier, withdrawn }
    }

    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/login", get(log_in))
            .route("/callback", get(come_back))
            .route("/logout", post(log_out))
            .with_state(Arc::new(self))
    }
}

async fn log_in(State(front): State<Arc<Front>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let place = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return_to");
    let Some(place) = ReturnTo::parse(place.as_ref().map_or("/", |(_, place)| place)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let now = setup::now();
    let Ok(start) = front.provider.start(&LoginRequest::new(), now).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut value = place.as_str().as_bytes().to_vec();
    value.push(0);
    value.extend_from_slice(&start.pending.to_bytes());
    let mut answer = Redirect::to(&start.url).into_response();
    with_head(&headers, |head| {
        for set in front.pending.set(&value, now, head).expect("a cookie") {
            answer.headers_mut().append("set-cookie", set.expose().parse().expect("a header"));
        }
    });
    answer
}

async fn come_back(State(front): State<Arc<Front>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let (now, query) = (setup::now(), query.unwrap_or_default());
    let value = with_head(&headers, |head| front.pending.read(head, now).ok().flatten());
    let found = value.as_ref().and_then(|value| {
        let end = value.iter().position(|byte| *byte == 0)?;
        let place = ReturnTo::parse(std::str::from_utf8(&value[..end]).ok()?)?;
        Some((place, PendingLogin::from_bytes(&value[end + 1..])?))
    });
    let Some((place, pending)) = found else { return StatusCode::BAD_REQUEST.into_response() };
    let Ok(logged_in) = front.provider.finish(pending, &Callback::from_query(&query), now).await else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let tokens = logged_in.tokens;
    let lifetime = tokens.expires_at.map_or(60, |end| end.since(now).as_secs());
    let token = tokens.access_token.expose_str().expect("a JWT");
    let cookie = format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={lifetime}");
    let mut answer = Redirect::to(place.as_str()).into_response();
    answer.headers_mut().append("set-cookie", cookie.parse().expect("a header"));
    with_head(&headers, |head| {
        for removal in front.pending.removal(head) {
            answer.headers_mut().append("set-cookie", removal.expose().parse().expect("a header"));
        }
    });
    answer
}

/// Takes the cookie away, withdraws the token in it, so that a copy ends too, and goes on to the provider's logout.
async fn log_out(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    let pairs: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    if front.csrf.check(&HeadParts { method: "POST", path: "/logout", headers: &pairs }, true).is_err() {
        return StatusCode::FORBIDDEN.into_response();
    }
    let now = setup::now();
    let cookies = headers.get_all("cookie").iter().map(HeaderValue::as_bytes);
    if let Ok(Some(token)) = named_cookie(cookies, COOKIE)
        && let Ok(caller) = front.verifier.authenticate(token, now).await
    {
        let (id, end) = (caller.token_id().expect("a name"), caller.expires_at().expect("an end"));
        let withdrawal = Withdrawal::token(front.provider.issuer(), &id, end).expect("a withdrawal");
        if front.withdrawn.withdraw(&withdrawal, now).is_err() {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    let Ok(Some(to)) = front.provider.logout_url(None, Some(&format!("{}/", front.origin)), None, now).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let cookie = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    ([("set-cookie", cookie)], Redirect::to(&to)).into_response()
}

fn with_head<T>(headers: &HeaderMap, read: impl FnOnce(&HeadParts<'_>) -> T) -> T {
    let cookies: Vec<_> = headers.get_all("cookie").iter().map(|value| ("cookie", value.as_bytes())).collect();
    read(&HeadParts { method: "GET", path: "/", headers: &cookies })
}
