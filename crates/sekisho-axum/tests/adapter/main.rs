//! The checkpoint before axum routers and handlers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod enforce;
mod fake;
mod question;

use axum::body::Body;
use axum::routing::{any, get, post};
use axum::{Router, middleware};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use sekisho_axum::{CheckpointExt as _, Claims, Principal, RefusalResponse};
use sekisho_core::{any_of, role, scope};
use sekisho_http::{Checkpoint, ProtectedResourceMetadata};
use tower::ServiceExt as _;

use crate::fake::{Fake, checkpoint};

async fn me(caller: Principal) -> String {
    caller.subject().to_owned()
}

async fn maybe(caller: Option<Principal>) -> String {
    caller.map_or_else(|| "nobody".to_owned(), |p| p.into_inner().subject().to_owned())
}

#[derive(serde::Deserialize)]
struct Mine {
    sub: String,
}

#[derive(serde::Deserialize)]
struct Theirs {
    #[expect(dead_code, reason = "absent in the claims")]
    department: String,
}

async fn sub(Claims(mine): Claims<Mine>) -> String {
    mine.sub
}

async fn department(_: Claims<Theirs>) -> &'static str {
    "reached"
}

async fn maybe_claims(claims: Option<Claims<Mine>>) -> String {
    claims.map_or_else(|| "nobody".to_owned(), |Claims(mine)| mine.sub)
}

async fn refund(caller: Principal) -> Result<&'static str, RefusalResponse> {
    caller.require(&scope("orders:refund"))?;
    Ok("refunded")
}

fn router(checkpoint: &Checkpoint) -> Router {
    Router::new()
        .route("/me", get(me))
        .route("/maybe", get(maybe))
        .route("/sub", get(sub))
        .route("/department", get(department))
        .route("/maybe-claims", get(maybe_claims))
        .route("/refund", post(refund))
        .route("/a", get(me).layer(checkpoint.require(scope("a"))))
        .route("/b", get(me).layer(checkpoint.require(any_of([scope("b c"), role("admin")]))))
        .route("/health", get(maybe))
        .route("/health-me", get(me))
}

async fn send(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn challenge(response: &Response<Body>) -> &str {
    response.headers().get("www-authenticate").map_or("", |value| value.to_str().unwrap())
}

const GOOD: (&str, &str) = ("authorization", "Bearer good");
const SLOW: (&str, &str) = ("authorization", "Bearer good-slow");
const BAD: (&str, &str) = ("authorization", "Bearer bad");
const PREFLIGHT: [(&str, &str); 2] = [("origin", "https://a.example"), ("access-control-request-method", "POST")];

#[tokio::test]
async fn handlers_get_the_principal_and_their_own_claims() {
    let checkpoint = checkpoint();
    let router = router(&checkpoint).layer(checkpoint.layer());
    for credential in [GOOD, SLOW] {
        for path in ["/me", "/maybe", "/sub", "/maybe-claims", "/a"] {
            let response = send(&router, "GET", path, &[credential]).await;
            assert_eq!(response.status(), 200, "{path}");
            assert_eq!(text(response).await, "alice", "{path}");
        }
    }
    let response = send(&router, "GET", "/department", &[GOOD]).await;
    assert_eq!(response.status(), 401);
    assert!(challenge(&response).contains("invalid_token"));
}

#[tokio::test]
async fn refuses_with_status_challenge_and_body() {
    let checkpoint = checkpoint();
    let router = router(&checkpoint).layer(checkpoint.layer());
    let asked = send(&router, "GET", "/me", &[]).await;
    assert_eq!((asked.status().as_u16(), challenge(&asked)), (401, r#"Bearer realm="protected""#));
    assert_eq!(asked.headers().get("cache-control").unwrap(), "no-store");
    assert_eq!(asked.headers().get("content-type").unwrap(), "application/problem+json");
    assert_eq!(text(asked).await, r#"{"type":"about:blank","title":"Unauthorized","status":401}"#);
    assert_eq!(send(&router, "GET", "/me", &[BAD]).await.status(), 401);
    assert_eq!(send(&router, "GET", "/me", &[GOOD, GOOD]).await.status(), 400);
    assert_eq!(send(&router, "GET", "/me?access_token=good", &[]).await.status(), 401);
    let down = send(&router, "GET", "/me", &[("authorization", "Bearer down")]).await;
    assert_eq!((down.status().as_u16(), down.headers().get("retry-after").unwrap().as_bytes()), (503, &b"5"[..]));
}

#[tokio::test]
async fn require_refuses_as_a_layer_and_in_the_handler_alike() {
    let checkpoint = checkpoint();
    let router = router(&checkpoint).layer(checkpoint.layer());
    let layer = send(&router, "GET", "/b", &[GOOD]).await;
    assert_eq!(layer.status(), 403);
    assert!(challenge(&layer).ends_with(r#"scope="b c""#), "{}", challenge(&layer));
    let handler = send(&router, "POST", "/refund", &[GOOD]).await;
    assert_eq!(handler.status(), 403);
    assert!(challenge(&handler).ends_with(r#"scope="orders:refund""#), "{}", challenge(&handler));
    assert_eq!(send(&router, "GET", "/b", &[]).await.status(), 401);
}

#[tokio::test]
async fn a_missing_layer_is_our_own_fault_and_never_a_pass() {
    let router = router(&checkpoint());
    for path in ["/me", "/maybe", "/sub", "/maybe-claims", "/a", "/b"] {
        assert_eq!(send(&router, "GET", path, &[GOOD]).await.status(), 500, "{path}");
    }
}

#[tokio::test]
async fn a_require_outside_of_its_layer_is_our_own_fault() {
    let checkpoint = checkpoint();
    let router = Router::new().route("/me", get(me)).layer(checkpoint.layer()).layer(checkpoint.require(scope("a")));
    assert_eq!(send(&router, "GET", "/me", &[GOOD]).await.status(), 500);
}

#[tokio::test]
async fn an_optional_layer_still_refuses_a_bad_credential() {
    let checkpoint = checkpoint();
    let router = router(&checkpoint).layer(checkpoint.optional_layer());
    assert_eq!(text(send(&router, "GET", "/maybe", &[]).await).await, "nobody");
    assert_eq!(text(send(&router, "GET", "/maybe-claims", &[]).await).await, "nobody");
    assert_eq!(text(send(&router, "GET", "/maybe", &[GOOD]).await).await, "alice");
    assert_eq!(send(&router, "GET", "/maybe", &[BAD]).await.status(), 401);
    assert_eq!(send(&router, "GET", "/me", &[]).await.status(), 401);
    assert_eq!(send(&router, "GET", "/a", &[]).await.status(), 401);
}

#[tokio::test]
async fn public_routes_pass_and_have_no_principal() {
    let checkpoint = checkpoint();
    let router = router(&checkpoint).layer(checkpoint.layer());
    assert_eq!(text(send(&router, "GET", "/health", &[BAD]).await).await, "nobody");
    assert_eq!(send(&router, "GET", "/health-me", &[]).await.status(), 401);
    for near in ["/health/", "//health", "/%68ealth", "/health/../me"] {
        assert_eq!(send(&router, "GET", near, &[]).await.status(), 401, "{near}");
    }
}

#[tokio::test]
async fn guards_as_a_route_layer_and_in_nested_routers() {
    let checkpoint = checkpoint();
    let by_route = Router::new().route("/me", get(me)).route_layer(checkpoint.layer());
    assert_eq!(send(&by_route, "GET", "/me", &[]).await.status(), 401);
    assert_eq!(send(&by_route, "GET", "/me", &[GOOD]).await.status(), 200);
    assert_eq!(send(&by_route, "GET", "/nowhere", &[]).await.status(), 404);
    let whole = Router::new().route("/me", get(me)).layer(checkpoint.layer());
    assert_eq!(send(&whole, "GET", "/nowhere", &[]).await.status(), 401);

    let nested = Router::new()
        .nest("/api", Router::new().route("/me", get(me)).route_layer(checkpoint.require(scope("a"))))
        .layer(checkpoint.layer())
        .route("/open", get(|| async { "open" }));
    assert_eq!(send(&nested, "GET", "/api/me", &[]).await.status(), 401);
    assert_eq!(send(&nested, "GET", "/api/me", &[GOOD]).await.status(), 200);
    assert_eq!(send(&nested, "GET", "/open", &[]).await.status(), 200);

    let inner = Router::new().route("/me", get(me)).layer(checkpoint.layer());
    let outside = Router::new().nest("/api", inner).route("/maybe", get(maybe));
    assert_eq!(send(&outside, "GET", "/api/me", &[]).await.status(), 401);
    assert_eq!(send(&outside, "GET", "/maybe", &[GOOD]).await.status(), 500);
}

#[tokio::test]
async fn the_inner_of_two_checkpoints_decides() {
    let (outer, inner) = (checkpoint(), Checkpoint::builder().accept(Fake).with_header("x-inner").build().unwrap());
    let router = Router::new().route("/maybe", get(maybe)).layer(inner.optional_layer()).layer(outer.layer());
    assert_eq!(text(send(&router, "GET", "/maybe", &[GOOD]).await).await, "alice");
    let both = send(&router, "GET", "/maybe", &[GOOD, ("x-inner", "good")]).await;
    assert_eq!(both.status(), 400);
}

#[tokio::test]
async fn a_principal_that_somebody_else_planted_does_not_count() {
    let checkpoint = checkpoint();
    let principal = sekisho_core::dangerous::PrincipalBuilder::new("https://evil.example", "root").build().unwrap();
    let plant = middleware::from_fn(move |mut request: axum::extract::Request, next: middleware::Next| {
        request.extensions_mut().insert(principal.clone());
        next.run(request)
    });
    let router = router(&checkpoint).layer(checkpoint.optional_layer()).layer(plant);
    assert_eq!(text(send(&router, "GET", "/maybe", &[]).await).await, "nobody");
    assert_eq!(send(&router, "GET", "/a", &[]).await.status(), 401);
}

#[tokio::test]
async fn a_preflight_reaches_no_handler_without_a_credential() {
    let checkpoint = checkpoint();
    let reached = || async { "reached" };
    let router = Router::new()
        .route("/any", any(reached))
        .route("/ruled", any(reached).layer(checkpoint.require(scope("a"))))
        .route("/get", get(reached))
        .nest_service("/service", any(reached))
        .fallback(reached)
        .layer(checkpoint.layer());
    for path in ["/any", "/ruled", "/get", "/service/x", "/nowhere"] {
        assert_eq!(send(&router, "OPTIONS", path, &PREFLIGHT).await.status(), 401, "{path}");
    }
    let [origin, asks] = PREFLIGHT;
    assert_eq!(send(&router, "OPTIONS", "/ruled", &[origin, asks, GOOD]).await.status(), 200);
}

/// Stands for `tower_http::cors::CorsLayer`: it answers preflights itself and marks the other answers.
async fn cors(request: axum::extract::Request, next: middleware::Next) -> Response<Body> {
    if request.method() == "OPTIONS" && request.headers().contains_key("access-control-request-method") {
        return Response::builder().header("access-control-allow-origin", "*").body(Body::empty()).unwrap();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert("access-control-allow-origin", http::HeaderValue::from_static("*"));
    response
}

#[tokio::test]
async fn a_cors_layer_outside_answers_preflights_and_marks_refusals() {
    let checkpoint = checkpoint();
    let router = router(&checkpoint).layer(checkpoint.layer()).layer(middleware::from_fn(cors));
    for (method, headers, status) in
        [("OPTIONS", &PREFLIGHT[..], 200), ("GET", &PREFLIGHT[..1], 401), ("OPTIONS", &PREFLIGHT[..1], 401)]
    {
        let response = send(&router, method, "/a", headers).await;
        assert_eq!(response.status(), status, "{method}");
        assert_eq!(response.headers().get("access-control-allow-origin").unwrap(), "*");
        assert_ne!(text(response).await, "alice");
    }
}

/// Takes the method from a header, as some services do for old clients.
async fn override_method(mut request: axum::extract::Request, next: middleware::Next) -> Response<Body> {
    if let Some(method) = request.headers().get("x-http-method-override") {
        *request.method_mut() = method.to_str().unwrap().parse().unwrap();
    }
    next.run(request).await
}

#[tokio::test]
async fn where_preflights_pass_one_that_becomes_another_method_is_asked_by_the_rule() {
    let checkpoint = Checkpoint::builder().accept(Fake).with_preflight_passing().build().unwrap();
    let ruled = any(|| async { "reached" }).layer(checkpoint.require(scope("a")));
    // Between the rule and the checkpoint, where it has no business.
    let router = Router::new().route("/x", ruled).layer(middleware::from_fn(override_method)).layer(checkpoint.layer());
    let [origin, asks] = PREFLIGHT;
    assert_eq!(send(&router, "OPTIONS", "/x", &PREFLIGHT).await.status(), 200);
    let changed = [origin, asks, ("x-http-method-override", "DELETE")];
    assert_eq!(send(&router, "OPTIONS", "/x", &changed).await.status(), 401);
    let grpc = [origin, asks, ("content-type", "application/grpc")];
    assert_eq!(send(&router, "OPTIONS", "/x", &grpc).await.status(), 401);
}

#[tokio::test]
async fn a_grpc_content_type_turns_no_refusal_into_a_200() {
    let checkpoint = checkpoint();
    let router = router(&checkpoint).layer(checkpoint.layer());
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    for (method, path) in [("GET", "/me"), ("POST", "/refund")] {
        assert_eq!(send(&router, method, path, &[GRPC]).await.status(), 401);
        assert_eq!(send(&router, method, path, &[GRPC, ("authorization", "Bearer bad-slow")]).await.status(), 401);
    }
    assert_eq!(send(&router, "GET", "/b", &[GRPC, GOOD]).await.status(), 403);
}

#[tokio::test]
async fn serves_the_metadata_without_a_credential() {
    let metadata =
        ProtectedResourceMetadata::new("https://api.example/orders").with_authorization_server("https://id.example");
    let checkpoint = Checkpoint::builder().accept(Fake).with_resource_metadata(metadata).build().unwrap();
    let router = router(&checkpoint).merge(checkpoint.metadata_route()).layer(checkpoint.layer());
    let response = send(&router, "GET", "/.well-known/oauth-protected-resource/orders", &[]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get("content-type").unwrap(), "application/json");
    let json: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(json.get("resource").unwrap(), "https://api.example/orders");
    let asked = send(&router, "GET", "/me", &[]).await;
    assert_eq!(
        challenge(&asked),
        r#"Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource/orders""#
    );
    let none: Router = fake::checkpoint().metadata_route();
    assert_eq!(send(&none, "GET", "/.well-known/oauth-protected-resource", &[]).await.status(), 404);
}
