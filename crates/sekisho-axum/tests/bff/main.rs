//! A backend for a frontend behind axum: what only the adapter can do wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use sekisho_axum::{ApiProxyExt as _, BffExt as _, BffResponse, CheckpointExt as _, SessionLayer};
use sekisho_core::max_age;
use sekisho_gateway::Upstream;
use sekisho_http::{Checkpoint, HeadParts};
use sekisho_oidc::{ApiProxy, ApiRoute, Bff, ClientCredentials, Endpoints, LoginRequest, Provider, RelyingParty};
use sekisho_session::{Login, LoginRedirect, MemorySessionStore, SessionKey, SessionKeys, SessionRules, Sessions};
use tower::ServiceExt as _;

fn bff() -> Bff {
    let endpoints =
        Endpoints::new("https://id.example/authorize", "https://id.example/token", "https://id.example/jwks");
    let provider = Provider::discover("https://id.example", ClientCredentials::basic("shop", "secret"))
        .redirect_uri("https://shop.example/bff/callback")
        .with_endpoints(endpoints)
        .build()
        .unwrap();
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys.clone()).build().unwrap();
    let party = RelyingParty::builder(sessions, keys).with_provider("id", provider).build().unwrap();
    Bff::builder(party).build().unwrap()
}

/// Is a whole application: pages, the backend and its proxy, nested in another router too.
fn app(bff: &Bff) -> Router {
    let sessions = bff.party().sessions();
    let checkpoint =
        Checkpoint::builder().with_cookie(sessions.cookie().name()).accept(sessions.authenticator()).build().unwrap();
    let rules = SessionRules::new(sessions.clone()).with_login_redirect(LoginRedirect::to("/bff/login").unwrap());
    let orders = Upstream::new("orders", "http://127.0.0.1:1").unwrap();
    let proxy = ApiProxy::builder(bff).with_route(ApiRoute::new("/orders/*", ["GET"], &orders)).build().unwrap();
    let strict = get(async || "secret").layer(checkpoint.require(max_age(std::time::Duration::ZERO)));
    Router::new()
        .route("/", get(async || "page"))
        .route("/strict", strict)
        .layer(checkpoint.layer())
        .layer(SessionLayer::new(rules))
        .merge(bff.router())
        .merge(proxy.router())
}

async fn send(app: &Router, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(target).header("host", "shop.example");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    app.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
}

fn location(response: &Response<Body>) -> &str {
    response.headers()["location"].to_str().unwrap()
}

const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
const CALL: &[(&str, &str)] = &[("x-csrf", "1"), ("sec-fetch-site", "same-origin")];

#[tokio::test]
async fn a_page_leads_to_the_login_and_that_to_the_provider_with_a_cookie_of_this_login() {
    let app = app(&bff());
    let response = send(&app, "GET", "/", &[NAVIGATE], "").await;
    assert_eq!((response.status().as_u16(), location(&response)), (303, "/bff/login?return_to=%2F"));
    let response = send(&app, "GET", "/bff/login?return_to=%2F", &[NAVIGATE], "").await;
    assert_eq!(response.status(), 303);
    assert!(location(&response).starts_with("https://id.example/authorize?"), "{}", location(&response));
    let cookie = &response.headers()["set-cookie"];
    assert!(cookie.is_sensitive() && cookie.to_str().unwrap().starts_with("__Host-login-"));
    assert!(cookie.to_str().unwrap().ends_with("; Secure; HttpOnly; SameSite=Lax"));
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn a_script_gets_401_and_forged_requests_403() {
    let app = app(&bff());
    for (method, target, headers, status) in [
        ("GET", "/bff/user", CALL, 401),
        ("GET", "/bff/user", &[("sec-fetch-site", "same-origin")], 403),
        ("GET", "/bff/api/orders/7", CALL, 401),
        ("GET", "/bff/api/orders/7", &[("sec-fetch-site", "same-origin")], 403),
        ("GET", "/bff/api/orders/../7", CALL, 400),
        // Who is not logged in does not learn which there are.
        ("GET", "/bff/api/admin", CALL, 401),
        ("POST", "/bff/logout", &[("sec-fetch-site", "cross-site")], 403),
        ("GET", "/bff/logout", &[NAVIGATE], 405),
        ("GET", "/bff/callback?code=a&state=b", &[NAVIGATE], 400),
        ("GET", "/bff/callback/id?code=a&state=b", &[NAVIGATE], 400),
        ("GET", "/bff/callback/nobody?code=a&state=b", &[NAVIGATE], 404),
        ("POST", "/bff/backchannel", &[], 400),
        ("GET", "/bff/nothing", &[NAVIGATE], 404),
    ] {
        let response = send(&app, method, target, headers, "").await;
        assert_eq!(response.status(), status, "{method} {target} {headers:?}");
        assert!(!response.headers().contains_key("location"), "{method} {target}");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let app = app(&bff());
    let long = format!("logout_token={}", "x".repeat(Bff::MAX_BODY));
    assert_eq!(send(&app, "POST", "/bff/backchannel", &[], &long).await.status(), 413);
}

#[tokio::test]
async fn a_router_inside_of_another_knows_its_addresses_by_the_whole_path() {
    let bff = bff();
    let party = bff.party().clone();
    let nested = Bff::builder(party).with_base("/shop/bff").build().unwrap();
    let app: Router = nested.router();
    assert_eq!(send(&app, "GET", "/shop/bff/user", CALL, "").await.status(), 401);
    assert_eq!(send(&app, "GET", "/bff/user", CALL, "").await.status(), 404);
}

#[tokio::test]
async fn a_page_that_wants_a_later_login_says_so_to_the_login() {
    let bff = bff();
    let app = app(&bff);
    let sessions = bff.party().sessions();
    let request = sessions.begin(&HeadParts { method: "POST", path: "/", headers: &[] });
    let alice = sekisho_core::dangerous::PrincipalBuilder::new("https://id.example", "alice")
        .with_claim("auth_time", 1_000_000_000)
        .build()
        .unwrap();
    request.log_in(Login::new(&alice));
    let set = request.finish().await.unwrap();
    let cookie = set[0].expose().split(';').next().unwrap();
    let response = send(&app, "GET", "/strict", &[NAVIGATE, ("cookie", cookie)], "").await;
    assert_eq!((response.status().as_u16(), location(&response)), (303, "/bff/login?return_to=%2Fstrict&max_age=0"));
    let response = send(&app, "GET", location(&response), &[NAVIGATE, ("cookie", cookie)], "").await;
    assert!(location(&response).contains("max_age=0"), "{}", location(&response));
    let response = send(&app, "GET", "/", &[NAVIGATE, ("cookie", cookie)], "").await;
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "page");
}

#[tokio::test]
async fn handlers_of_one_s_own_answer_with_what_the_party_says() {
    let party = bff().party().clone();
    let head = HeadParts { method: "GET", path: "/enter", headers: &[] };
    let reply = party.login(&head, None, Some("/deep"), &LoginRequest::new()).await;
    let response = axum::response::IntoResponse::into_response(BffResponse(reply));
    assert_eq!(response.status(), 303);
    assert!(response.headers().contains_key("set-cookie"));
}
