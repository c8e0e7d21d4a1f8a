//! A backend for a frontend behind actix-web: what only the adapter can do wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use actix_web::test::{self, TestRequest};
use actix_web::{App, web};
use sekisho_actix::{BffExt as _, BffResponse};
use sekisho_http::HeadParts;
use sekisho_oidc::{Bff, ClientCredentials, Endpoints, LoginRequest, Provider, RelyingParty};
use sekisho_session::{MemorySessionStore, SessionKey, SessionKeys, Sessions};

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

async fn send(request: TestRequest) -> (u16, HeaderMap) {
    let own = web::get().to(async |bff: web::Data<Bff>| {
        let head = HeadParts { method: "GET", path: "/enter", headers: &[] };
        BffResponse(bff.party().login(&head, None, Some("/deep"), &LoginRequest::new()).await)
    });
    let bff = bff();
    let app = App::new().app_data(web::Data::new(bff.clone())).route("/enter", own).configure(bff.configure());
    let app = test::init_service(app).await;
    let response = test::call_service(&app, request.to_request()).await;
    (response.status().as_u16(), response.headers().clone())
}

#[actix_web::test]
async fn a_login_leads_to_the_provider_with_a_cookie_of_its_own() {
    for target in ["/bff/login?return_to=%2Fdeep", "/enter"] {
        let (status, headers) = send(TestRequest::get().uri(target)).await;
        assert_eq!(status, 303, "{target}");
        assert!(headers.get("location").unwrap().to_str().unwrap().starts_with("https://id.example/authorize?"));
        assert!(headers.get("set-cookie").unwrap().is_sensitive(), "no debug line shows it");
        let cookie = headers.get("set-cookie").unwrap().to_str().unwrap();
        assert!(cookie.starts_with("__Host-login-") && cookie.ends_with("; Secure; HttpOnly; SameSite=Lax"));
        assert_eq!(headers.get("cache-control").unwrap(), "no-store");
    }
}

#[actix_web::test]
async fn a_script_gets_401_and_forged_requests_403() {
    let call =
        |request: TestRequest| request.insert_header(("x-csrf", "1")).insert_header(("sec-fetch-site", "same-origin"));
    for (request, expected) in [
        (call(TestRequest::get().uri("/bff/user")), 401),
        (TestRequest::get().uri("/bff/user"), 403),
        (TestRequest::post().uri("/bff/logout").insert_header(("sec-fetch-site", "cross-site")), 403),
        (TestRequest::get().uri("/bff/logout"), 405),
        (TestRequest::get().uri("/bff/callback?code=a&state=b"), 400),
        (TestRequest::get().uri("/bff/callback/id?code=a&state=b"), 400),
        (TestRequest::get().uri("/bff/callback/nobody?code=a&state=b"), 404),
        (TestRequest::get().uri("/bff/login?return_to=//evil.example"), 400),
        (TestRequest::post().uri("/bff/backchannel"), 400),
        (TestRequest::post().uri("/bff/backchannel").set_payload("x".repeat(Bff::MAX_BODY + 1)), 413),
        (TestRequest::get().uri("/bff/nothing"), 404),
    ] {
        let (status, headers) = send(request).await;
        assert_eq!(status, expected);
        assert!(!headers.contains_key("location"));
    }
}
