//! Decisions before axum routes: by layer, by extractor, in the handler.

use async_trait::async_trait;
use axum::Router;
use axum::extract::{FromRef, Path};
use axum::routing::{any, get};
use http::{Request, Uri};
use sekisho_axum::{Ask, CheckpointExt as _, Permit, Permitted, Principal, RefusalResponse};
use sekisho_core::json::JsonObject;
use sekisho_core::{
    AccessRequest, Authorize, Decision, Enforcer, Failure, Obligation, Resource, any_of, owner, role, scope,
};
use sekisho_http::{Checkpoint, RouteQuestion};
use sekisho_testkit::{OrderPolicy, enforcement_suite, preflight_suite};
use tower::ServiceExt as _;

use crate::fake::{Fake, checkpoint};

struct ReadOrder;

impl Ask for ReadOrder {
    const QUESTION: RouteQuestion = RouteQuestion::new("read", "order").id_from("order");
}

#[derive(Clone)]
struct App(Enforcer);

impl FromRef<App> for Enforcer {
    fn from_ref(app: &App) -> Self {
        app.0.clone()
    }
}

async fn show(Path(order): Path<String>) -> String {
    format!("order {order}")
}

async fn show_permitted(_: Permitted<ReadOrder>, path: Path<String>) -> String {
    show(path).await
}

async fn show_admin(Path(order): Path<String>) -> String {
    format!("admin {order}")
}

fn router(policy: &OrderPolicy) -> Router {
    let checkpoint: Checkpoint = checkpoint();
    let enforcer = Enforcer::new(policy.clone());
    let enforce = |question| checkpoint.enforce(&enforcer, question);
    Router::new()
        .route("/orders/{order}", any(show).layer(enforce(RouteQuestion::by_method("order").id_from("order"))))
        .route("/admin/{order}", get(show_admin).layer(enforce(RouteQuestion::new("read", "admin").id_from("order"))))
        .route("/orders", get(|| async { "list" }).layer(enforce(RouteQuestion::new("list", "order"))))
        .route("/permitted/{order}", get(show_permitted))
        .route("/wrong/{id}", get(show).layer(enforce(RouteQuestion::new("read", "order").id_from("order"))))
        .nest("/shops/{order}", Router::new().route("/{order}", get(|| async { "two of one name" })))
        .layer(checkpoint.layer())
        .with_state(App(enforcer.clone()))
}

async fn ask(router: &Router, method: &str, path: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(path.parse::<Uri>().unwrap());
    let request = request.header("authorization", "Bearer good").body(axum::body::Body::empty()).unwrap();
    answer(router.clone().oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn routes_serve_what_is_permitted_by_layer_and_extractor_and_nothing_else() {
    enforcement_suite(async |policy: &OrderPolicy, method: &str, path: &str| ask(&router(policy), method, path).await)
        .await;
    assert_eq!(ask(&router(&OrderPolicy::new()), "GET", "/permitted/%ff").await.0, 400);
}

#[tokio::test]
async fn of_two_parameters_of_one_name_none_is_asked_about() {
    let policy = OrderPolicy::new();
    let checkpoint = checkpoint();
    let layer = checkpoint.enforce(&Enforcer::new(policy.clone()), ReadOrder::QUESTION);
    let inner = Router::new().route("/{order}", get(|| async { "reached" }).layer(layer));
    // axum panics for two of one name in one path, or serves it; either way, nothing passes unasked.
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Router::new().nest("/shops/{order}", inner).layer(checkpoint.layer())
    }));
    if let Ok(router) = made {
        let (status, _) = ask(&router, "GET", "/shops/42/43").await;
        assert_ne!(status, 200);
    }
}

#[tokio::test]
async fn what_is_lacking_is_said_in_the_challenge() {
    let router = router(&OrderPolicy::new());
    let request = Request::builder().uri("/orders/scoped").header("authorization", "Bearer good");
    let response = router.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let challenge = response.headers().get("www-authenticate").unwrap().to_str().unwrap();
    assert!(
        challenge.contains(r#"error="insufficient_scope""#) && challenge.contains(r#"scope="orders:read""#),
        "{challenge}"
    );
}

#[tokio::test]
async fn without_a_checkpoint_or_behind_another_one_nothing_passes() {
    let enforcer = Enforcer::new(scope("a"));
    let (mine, other) = (checkpoint(), checkpoint());
    let bare = Router::new()
        .route("/", get(|| async { "reached" }).layer(mine.enforce(&enforcer, RouteQuestion::new("read", "x"))));
    assert_eq!(ask(&bare, "GET", "/").await.0, 500);
    assert_eq!(ask(&bare.clone().layer(other.layer()), "GET", "/").await.0, 500);
    assert_eq!(ask(&bare.clone().layer(mine.layer()), "GET", "/").await.0, 200);
    let request = Request::builder().uri("/").body(axum::body::Body::empty()).unwrap();
    assert_eq!(bare.layer(mine.optional_layer()).oneshot(request).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_handler_finds_the_permit_of_its_own_route_only() {
    async fn redactions(permit: Permit) -> String {
        permit.redactions().unwrap().join(",")
    }

    struct Redacting;

    #[async_trait]
    impl Authorize for Redacting {
        fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
            let fields = JsonObject::parse(br#"{"fields":["iban"]}"#.to_vec()).unwrap();
            Some(Ok(Decision::permit().with_obligation(Obligation::new("redact").with_parameters(fields))))
        }

        async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
            self.decide_now(request).unwrap()
        }
    }

    let checkpoint = checkpoint();
    let redacting = checkpoint.enforce(&Enforcer::new(Redacting).passing_on("redact"), RouteQuestion::new("read", "x"));
    let plain = checkpoint.enforce(&Enforcer::new(scope("a")), RouteQuestion::new("read", "x"));
    let router = Router::new()
        .route("/redacted", get(redactions).layer(redacting.clone()))
        .route("/inner", get(redactions).layer::<_, std::convert::Infallible>(plain).layer(redacting))
        .route("/none", get(redactions))
        .layer(checkpoint.layer());
    assert_eq!(ask(&router, "GET", "/redacted").await, (200, "iban".to_owned()));
    assert_eq!(ask(&router, "GET", "/inner").await, (200, String::new()));
    assert_eq!(ask(&router, "GET", "/none").await.0, 500);
}

#[tokio::test]
async fn a_handler_asks_with_the_loaded_object() {
    async fn order(caller: Principal, Path(id): Path<String>) -> Result<&'static str, RefusalResponse> {
        let orders = Enforcer::new(any_of([owner("owner"), role("support")]));
        let owner = if id == "42" { r#"{"owner":"alice"}"# } else { r#"{"owner":"bob"}"# };
        let order = JsonObject::parse(owner.as_bytes().to_vec()).unwrap();
        caller.enforce(&orders, "read", Resource::new("order", &id).with_attributes(&order)).await?;
        Ok("shown")
    }

    let router = Router::new().route("/{id}", get(order)).layer(checkpoint().layer());
    assert_eq!(ask(&router, "GET", "/42").await.0, 200);
    assert_eq!(ask(&router, "GET", "/43").await.0, 403);
}

/// Sends one request with these headers to the route of an order.
async fn preflight(
    checkpoint: &Checkpoint,
    policy: &OrderPolicy,
    method: &str,
    headers: &[(&str, &str)],
) -> (u16, String) {
    let enforce =
        checkpoint.enforce(&Enforcer::new(policy.clone()), RouteQuestion::by_method("order").id_from("order"));
    let router = Router::new().route("/orders/{order}", any(show).layer(enforce)).layer(checkpoint.layer());
    let request = Request::builder().method(method).uri("/orders/42");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    answer(router.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap()).await
}

async fn answer(response: axum::response::Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_preflight_passes_where_the_checkpoint_lets_it_pass_and_nothing_is_asked_about_it() {
    preflight_suite(preflight).await;
}

#[tokio::test]
async fn a_preflight_that_another_checkpoint_let_pass_is_none_here() {
    let passing = || Checkpoint::builder().accept(Fake).with_preflight_passing().build().unwrap();
    let (mine, other) = (passing(), passing());
    for (question, status) in [(RouteQuestion::by_method("x"), 403), (RouteQuestion::new("read", "x"), 500)] {
        let layer = mine.enforce(&Enforcer::new(scope("a")), question);
        let router = Router::new().route("/", any(|| async { "reached" }).layer(layer)).layer(other.layer());
        let request = Request::options("/").header("origin", "https://shop.example");
        let request = request.header("access-control-request-method", "DELETE");
        let response = router.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
    }
}
