//! CORS as the adapters' documents recommend it: the framework's own layer, outside of the checkpoint.

use actix_web::App;
use actix_web::http::header as actix_header;
use axum::http::{HeaderValue, Method, header};
use reqwest::{RequestBuilder, Response};
use sekisho_testkit::{HttpSuite, Issuer};
use tower_http::cors::CorsLayer;

use crate::actix_service::{self, ActixService};
use crate::axum_service::{self, AxumService};
use crate::contract::{checkpoint, jwt};

const ORIGIN: &str = "https://app.example";

/// Checks one service behind CORS, at `url`.
async fn check(url: &str, issuer: &Issuer) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = async |request: RequestBuilder| request.header("origin", ORIGIN).send().await.expect("an answer");
    let allowed = |response: &Response| {
        let origin = response.headers().get("access-control-allow-origin");
        origin.is_some_and(|value| value == ORIGIN)
    };

    // A browser asks without a credential, also for a route that has a rule, and learns that it may send one.
    for path in ["/orders", "/admin", "/nested/orders"] {
        let ask = http
            .request(reqwest::Method::OPTIONS, format!("{url}{path}"))
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
        let preflight = send(ask).await;
        assert!(preflight.status().is_success() && allowed(&preflight), "{path}: {preflight:?}");
        let headers = preflight.headers().get("access-control-allow-headers").expect("the header it asked for");
        assert!(headers.to_str().unwrap().eq_ignore_ascii_case("authorization"), "{path}: {headers:?}");
        // It is the CORS layer's own answer: the handler for `OPTIONS /orders` says 204 to whoever reaches it.
        assert_eq!(preflight.status(), 200, "{path}");
    }
    // The page may read why it was refused, and what it asked for.
    let refused = send(http.get(format!("{url}/orders"))).await;
    assert!(refused.status() == 401 && allowed(&refused), "{refused:?}");
    let good = issuer.token().audience(HttpSuite::AUDIENCE).sign();
    let passed = send(http.get(format!("{url}/orders")).bearer_auth(good)).await;
    assert!(passed.status() == 200 && allowed(&passed), "{passed:?}");
    // What is no preflight goes on to the checkpoint.
    let plain = send(http.request(reqwest::Method::OPTIONS, format!("{url}/orders"))).await;
    assert_ne!(plain.status(), 204, "the handler was reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_answers_preflights_outside_of_the_checkpoint() {
    let provider = Issuer::new().serve().await.expect("a port");
    let cors = CorsLayer::new()
        .allow_origin(HeaderValue::from_static(ORIGIN))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION]);
    let checkpoint = checkpoint(provider.issuer(), jwt(provider.issuer()));
    let service = AxumService::serve(axum_service::routes(&checkpoint).layer(cors)).await;
    check(&service.url, provider.issuer()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actix_answers_preflights_outside_of_the_checkpoint() {
    let provider = Issuer::new().serve().await.expect("a port");
    let checkpoint = checkpoint(provider.issuer(), jwt(provider.issuer()));
    let service = ActixService::serve(move || {
        let cors = actix_cors::Cors::default()
            .allowed_origin(ORIGIN)
            .allowed_methods(["GET", "POST"])
            .allowed_headers([actix_header::AUTHORIZATION]);
        App::new().configure(|config| actix_service::routes(config, &checkpoint)).wrap(cors)
    });
    check(&service.url, provider.issuer()).await;
}
