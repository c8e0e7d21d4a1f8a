//! The checkpoint before actix-web apps and handlers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod enforce;
mod fake;
mod question;

use actix_http::Request;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, Error, HttpMessage as _, HttpResponse, Scope, web};
use sekisho_actix::{CheckpointExt as _, Claims, MaybeClaims, MaybePrincipal, Principal, RefusalError};
use sekisho_core::{any_of, role, scope};
use sekisho_http::{Checkpoint, ProtectedResourceMetadata};

use crate::fake::{Fake, checkpoint};

async fn me(caller: Principal) -> String {
    caller.subject().to_owned()
}

async fn option(caller: Option<Principal>) -> String {
    caller.map_or_else(|| "nobody".to_owned(), |p| p.into_inner().subject().to_owned())
}

async fn maybe(MaybePrincipal(caller): MaybePrincipal) -> String {
    option(caller).await
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

async fn maybe_department(MaybeClaims(claims): MaybeClaims<Theirs>) -> &'static str {
    if claims.is_some() { "reached" } else { "nobody" }
}

async fn refund(caller: Principal) -> Result<&'static str, RefusalError> {
    caller.require(&scope("orders:refund"))?;
    Ok("refunded")
}

fn routes(checkpoint: &Checkpoint) -> Scope {
    web::scope("")
        .route("/me", web::get().to(me))
        .route("/option", web::get().to(option))
        .route("/maybe", web::get().to(maybe))
        .route("/sub", web::get().to(sub))
        .route("/department", web::get().to(department))
        .route("/maybe-department", web::get().to(maybe_department))
        .route("/refund", web::post().to(refund))
        .service(web::resource("/a").wrap(checkpoint.require(scope("a"))).to(me))
        .service(web::resource("/b").wrap(checkpoint.require(any_of([scope("b c"), role("admin")]))).to(me))
        .route("/health", web::get().to(maybe))
        .route("/health-me", web::get().to(me))
}

type Headers<'h> = &'h [(&'static str, &'static str)];

fn request(method: &str, path: &str, headers: Headers<'_>) -> Request {
    let mut request = TestRequest::with_uri(path).method(method.parse().unwrap());
    for header in headers {
        request = request.append_header(*header);
    }
    request.to_request()
}

async fn send<B: MessageBody>(
    app: &impl Service<Request, Response = ServiceResponse<B>, Error = Error>,
    method: &str,
    path: &str,
    headers: Headers<'_>,
) -> Answered {
    let response = call_service(app, request(method, path, headers)).await;
    let get = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = response.status().as_u16();
    let (challenge, media_type, retry_after, cache) =
        (get("www-authenticate"), get("content-type"), get("retry-after"), get("cache-control"));
    let body = String::from_utf8(read_body(response).await.to_vec()).unwrap();
    Answered { status, challenge, media_type, retry_after, cache, body }
}

struct Answered {
    status: u16,
    challenge: String,
    media_type: String,
    retry_after: String,
    cache: String,
    body: String,
}

const GOOD: (&str, &str) = ("authorization", "Bearer good");
const SLOW: (&str, &str) = ("authorization", "Bearer good-slow");
const BAD: (&str, &str) = ("authorization", "Bearer bad");
const PREFLIGHT: [(&str, &str); 2] = [("origin", "https://a.example"), ("access-control-request-method", "POST")];

#[actix_web::test]
async fn handlers_get_the_principal_and_their_own_claims() {
    let checkpoint = checkpoint();
    let app = init_service(App::new().wrap(checkpoint.middleware()).service(routes(&checkpoint))).await;
    for credential in [GOOD, SLOW] {
        for path in ["/me", "/option", "/maybe", "/sub", "/a"] {
            let answered = send(&app, "GET", path, &[credential]).await;
            assert_eq!((answered.status, &*answered.body), (200, "alice"), "{path}");
        }
    }
    let answered = send(&app, "GET", "/department", &[GOOD]).await;
    assert_eq!(answered.status, 401);
    assert!(answered.challenge.contains("invalid_token"));
}

#[actix_web::test]
async fn refuses_with_status_challenge_and_body() {
    let checkpoint = checkpoint();
    let app = init_service(App::new().wrap(checkpoint.middleware()).service(routes(&checkpoint))).await;
    let asked = send(&app, "GET", "/me", &[]).await;
    assert_eq!((asked.status, &*asked.challenge), (401, r#"Bearer realm="protected""#));
    assert_eq!((&*asked.cache, &*asked.media_type), ("no-store", "application/problem+json"));
    assert_eq!(asked.body, r#"{"type":"about:blank","title":"Unauthorized","status":401}"#);
    for bad in ["Bearer bad", "Bearer bad-slow"] {
        let refused = send(&app, "GET", "/me", &[("authorization", bad)]).await;
        assert_eq!(refused.status, 401);
        assert!(refused.challenge.contains(r#"error="invalid_token""#));
    }
    assert_eq!(send(&app, "GET", "/me", &[GOOD, GOOD]).await.status, 400);
    assert_eq!(send(&app, "GET", "/me?access_token=good", &[]).await.status, 401);
    let down = send(&app, "GET", "/me", &[("authorization", "Bearer down-slow")]).await;
    assert_eq!((down.status, &*down.retry_after, &*down.challenge), (503, "5", ""));
}

#[actix_web::test]
async fn require_refuses_as_middleware_and_in_the_handler_alike() {
    let checkpoint = checkpoint();
    let app = init_service(App::new().wrap(checkpoint.middleware()).service(routes(&checkpoint))).await;
    let middleware = send(&app, "GET", "/b", &[GOOD]).await;
    assert_eq!(middleware.status, 403);
    assert!(middleware.challenge.ends_with(r#"scope="b c""#), "{}", middleware.challenge);
    let handler = send(&app, "POST", "/refund", &[GOOD]).await;
    assert_eq!(handler.status, 403);
    assert!(handler.challenge.ends_with(r#"scope="orders:refund""#), "{}", handler.challenge);
    assert_eq!(send(&app, "GET", "/b", &[]).await.status, 401);
}

#[actix_web::test]
async fn a_missing_checkpoint_is_our_own_fault_and_never_a_pass() {
    let app = init_service(App::new().service(routes(&checkpoint()))).await;
    for path in ["/me", "/maybe", "/sub", "/a", "/b"] {
        assert_eq!(send(&app, "GET", path, &[GOOD]).await.status, 500, "{path}");
    }
    // actix-web makes this of any `Option` extractor that fails; nobody becomes a principal by it.
    assert_eq!(send(&app, "GET", "/option", &[GOOD]).await.body, "nobody");
}

#[actix_web::test]
async fn a_require_outside_of_its_checkpoint_is_our_own_fault() {
    let checkpoint = checkpoint();
    let app = App::new().wrap(checkpoint.middleware()).wrap(checkpoint.require(scope("a")));
    let app = init_service(app.service(routes(&checkpoint))).await;
    assert_eq!(send(&app, "GET", "/me", &[GOOD]).await.status, 500);
    let foreign = App::new().wrap(fake::checkpoint().middleware()).service(routes(&checkpoint));
    assert_eq!(send(&init_service(foreign).await, "GET", "/a", &[GOOD]).await.status, 500);
}

#[actix_web::test]
async fn an_optional_middleware_still_refuses_a_bad_credential() {
    let checkpoint = checkpoint();
    let app = init_service(App::new().wrap(checkpoint.optional_middleware()).service(routes(&checkpoint))).await;
    // Claims that do not fit are a bad credential too, and not nobody's.
    assert_eq!(send(&app, "GET", "/maybe-department", &[GOOD]).await.status, 401);
    assert_eq!(send(&app, "GET", "/maybe-department", &[]).await.body, "nobody");
    for path in ["/maybe", "/option"] {
        assert_eq!(send(&app, "GET", path, &[]).await.body, "nobody");
        assert_eq!(send(&app, "GET", path, &[GOOD]).await.body, "alice");
        assert_eq!(send(&app, "GET", path, &[BAD]).await.status, 401);
    }
    assert_eq!(send(&app, "GET", "/me", &[]).await.status, 401);
    assert_eq!(send(&app, "GET", "/a", &[]).await.status, 401);
}

#[actix_web::test]
async fn public_routes_pass_and_have_no_principal() {
    let checkpoint = checkpoint();
    let app = init_service(App::new().wrap(checkpoint.middleware()).service(routes(&checkpoint))).await;
    assert_eq!(send(&app, "GET", "/health", &[BAD]).await.body, "nobody");
    assert_eq!(send(&app, "GET", "/health-me", &[]).await.status, 401);
    for near in ["/health/", "//health", "/%68ealth", "/health/../me"] {
        assert_eq!(send(&app, "GET", near, &[]).await.status, 401, "{near}");
    }
}

#[actix_web::test]
async fn guards_scopes_and_nothing_outside_of_them() {
    let checkpoint = checkpoint();
    let app = App::new()
        .service(web::scope("/api").wrap(checkpoint.middleware()).route("/me", web::get().to(me)))
        .route("/open", web::get().to(async || "open"))
        .route("/maybe", web::get().to(maybe));
    let app = init_service(app).await;
    assert_eq!(send(&app, "GET", "/api/me", &[]).await.status, 401);
    assert_eq!(send(&app, "GET", "/api/me", &[GOOD]).await.status, 200);
    assert_eq!(send(&app, "GET", "/open", &[]).await.status, 200);
    assert_eq!(send(&app, "GET", "/maybe", &[GOOD]).await.status, 500);
}

#[actix_web::test]
async fn a_principal_that_somebody_else_planted_does_not_count() {
    let checkpoint = checkpoint();
    let app = init_service(App::new().wrap(checkpoint.optional_middleware()).service(routes(&checkpoint))).await;
    for (path, status) in [("/maybe", 200), ("/a", 401)] {
        let request = TestRequest::with_uri(path).to_request();
        let root = sekisho_core::dangerous::PrincipalBuilder::new("https://evil.example", "root").build().unwrap();
        request.extensions_mut().insert(root);
        let response = call_service(&app, request).await;
        assert_eq!(response.status(), status);
        if status == 200 {
            assert_eq!(read_body(response).await, "nobody");
        }
    }
}

#[actix_web::test]
async fn a_preflight_reaches_no_handler_without_a_credential() {
    let checkpoint = checkpoint();
    let app = App::new()
        .service(web::resource("/to").to(async || "reached"))
        .service(web::resource("/ruled").wrap(checkpoint.require(scope("a"))).to(async || "reached"))
        .default_service(web::to(async || "reached"))
        .wrap(checkpoint.middleware());
    let app = init_service(app).await;
    for path in ["/to", "/ruled", "/nowhere"] {
        assert_eq!(send(&app, "OPTIONS", path, &PREFLIGHT).await.status, 401, "{path}");
    }
    let [origin, asks] = PREFLIGHT;
    assert_eq!(send(&app, "OPTIONS", "/ruled", &[origin, asks, GOOD]).await.status, 200);
}

/// Stands for the crate `actix-cors`: it answers preflights itself and marks the other answers.
async fn cors(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let is_preflight = request.method() == "OPTIONS" && request.headers().contains_key("access-control-request-method");
    let mut response = if is_preflight {
        request.into_response(HttpResponse::Ok()).map_into_left_body()
    } else {
        next.call(request).await?.map_into_right_body()
    };
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}

#[actix_web::test]
async fn a_cors_middleware_outside_answers_preflights_and_marks_refusals() {
    let checkpoint = checkpoint();
    let app = App::new().service(routes(&checkpoint)).wrap(checkpoint.middleware()).wrap(from_fn(cors));
    let app = init_service(app).await;
    for (method, headers, status) in
        [("OPTIONS", &PREFLIGHT[..], 200), ("GET", &PREFLIGHT[..1], 401), ("OPTIONS", &PREFLIGHT[..1], 401)]
    {
        let response = call_service(&app, request(method, "/a", headers)).await;
        assert_eq!(response.status(), status, "{method}");
        assert_eq!(response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "*");
        assert_ne!(read_body(response).await, "alice");
    }
}

/// Takes the method from a header, as some services do for old clients.
async fn override_method(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let method = request.headers().get("x-http-method-override").map(|v| v.to_str().unwrap().parse().unwrap());
    if let Some(method) = method {
        request.head_mut().method = method;
    }
    next.call(request).await
}

#[actix_web::test]
async fn where_preflights_pass_one_that_becomes_another_method_is_asked_by_the_rule() {
    let checkpoint = Checkpoint::builder().accept(Fake).with_preflight_passing().build().unwrap();
    let ruled = web::resource("/x").wrap(checkpoint.require(scope("a"))).to(async || "reached");
    // Between the rule and the checkpoint, where it has no business.
    let app = App::new().service(ruled).wrap(from_fn(override_method)).wrap(checkpoint.middleware());
    let app = init_service(app).await;
    let [origin, asks] = PREFLIGHT;
    assert_eq!(send(&app, "OPTIONS", "/x", &PREFLIGHT).await.status, 200);
    let changed = [origin, asks, ("x-http-method-override", "DELETE")];
    assert_eq!(send(&app, "OPTIONS", "/x", &changed).await.status, 401);
}

#[actix_web::test]
async fn a_grpc_content_type_turns_no_refusal_into_a_200() {
    let checkpoint = checkpoint();
    let app = init_service(App::new().wrap(checkpoint.middleware()).service(routes(&checkpoint))).await;
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    for (method, path) in [("GET", "/me"), ("POST", "/refund")] {
        assert_eq!(send(&app, method, path, &[GRPC]).await.status, 401);
        assert_eq!(send(&app, method, path, &[GRPC, ("authorization", "Bearer bad-slow")]).await.status, 401);
    }
    assert_eq!(send(&app, "GET", "/b", &[GRPC, GOOD]).await.status, 403);
}

#[actix_web::test]
async fn serves_the_metadata_without_a_credential() {
    let metadata =
        ProtectedResourceMetadata::new("https://api.example/orders").with_authorization_server("https://id.example");
    let checkpoint = Checkpoint::builder().accept(Fake).with_resource_metadata(metadata).build().unwrap();
    let app =
        App::new().wrap(checkpoint.middleware()).service(checkpoint.metadata_resource()).service(routes(&checkpoint));
    let app = init_service(app).await;
    let answered = send(&app, "GET", "/.well-known/oauth-protected-resource/orders", &[]).await;
    assert_eq!((answered.status, &*answered.media_type), (200, "application/json"));
    let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
    assert_eq!(json.get("resource").unwrap(), "https://api.example/orders");
    assert_eq!(
        send(&app, "GET", "/me", &[]).await.challenge,
        r#"Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource/orders""#
    );
    let without = init_service(App::new().service(fake::checkpoint().metadata_resource())).await;
    assert_eq!(send(&without, "GET", "/.well-known/oauth-protected-resource", &[]).await.status, 404);
}
