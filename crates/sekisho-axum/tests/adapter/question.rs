//! What a route's question carries of the request, lists in a handler, and what a guarded route says of its scopes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::routing::get;
use http::Request;
use sekisho_axum::{Ask, CheckpointExt as _, Permitted, Principal};
use sekisho_core::{
    AccessRequest, Authorize, Decision, Denial, Enforcer, Failure, Obligation, Resource, all_of, any_of, decided_by,
    role, scope,
};
use sekisho_http::{PeerAddress, RouteQuestion};
use sekisho_testkit::{KIOSK_QUESTION, circumstances_suite, kiosk_policy};
use tower::ServiceExt as _;

use crate::fake::checkpoint;

struct ReadAtKiosk;

impl Ask for ReadAtKiosk {
    const QUESTION: RouteQuestion = KIOSK_QUESTION;
}

#[derive(Clone)]
struct App(Enforcer);

impl FromRef<App> for Enforcer {
    fn from_ref(app: &App) -> Self {
        app.0.clone()
    }
}

async fn status(router: &Router, method: &str, path: &str, headers: &[(&str, &str)], peer: Option<IpAddr>) -> u16 {
    let mut request = Request::builder().method(method).uri(path).header("authorization", "Bearer good");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(peer) = peer {
        request = request.extension(PeerAddress(peer));
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_policy_reads_what_the_request_says_in_layer_and_extractor() {
    let checkpoint = checkpoint();
    let reached = || async { "reached" };
    let router = Router::new()
        .route("/layer", axum::routing::any(reached).layer(checkpoint.enforce(&kiosk_policy(), KIOSK_QUESTION)))
        .route("/extractor", axum::routing::any(async |_: Permitted<ReadAtKiosk>| "reached"))
        .route("/without", get(reached).layer(checkpoint.enforce(&kiosk_policy(), RouteQuestion::new("read", "order"))))
        .layer(checkpoint.layer())
        .with_state(App(kiosk_policy()));
    for path in ["/layer", "/extractor"] {
        circumstances_suite(async |method: &str, headers: &[(&str, &str)], peer| {
            status(&router, method, path, headers, peer).await
        })
        .await;
    }
    let (kiosk, here) = (("x-device", "kiosk"), Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))));
    assert_eq!(status(&router, "GET", "/without", &[kiosk], here).await, 403);
}

/// Permits by the id alone.
struct ById;

#[async_trait]
impl Authorize for ById {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        Some(match request.resource().id() {
            "mine" => Ok(Decision::permit()),
            "obliging" => Ok(Decision::permit().with_obligation(Obligation::new("notify"))),
            "broken" => Err(Failure::unavailable("down")),
            _ => Ok(Decision::deny(Denial::Forbidden { reason: "closed" })),
        })
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        self.decide_now(request).unwrap()
    }
}

#[tokio::test]
async fn a_handler_shows_of_a_list_what_is_permitted_with_its_obligations_fulfilled() {
    async fn list(caller: Principal) -> String {
        let ids = ["hers", "mine", "obliging", "broken", "mine"];
        let resources = ids.map(|id| Resource::new("order", id));
        let permits = caller.enforce_all(&Enforcer::new(ById), "read", &resources).await;
        assert_eq!(permits.len(), ids.len());
        let shown = ids.iter().enumerate().zip(permits).filter(|(_, permit)| permit.is_ok());
        shown.map(|((index, id), _)| format!("{index} {id},")).collect()
    }

    async fn of_another(caller: Principal) -> String {
        let mallory = sekisho_core::dangerous::PrincipalBuilder::new("https://id.example", "mallory").build().unwrap();
        let mine = caller.request("read", Resource::new("order", "mine"));
        let hers = AccessRequest::new(&mallory, "read", Resource::new("order", "mine"), mine.now());
        let permits = caller.enforce_requests(&Enforcer::new(ById), &[mine, hers]).await;
        permits.iter().map(|permit| if permit.is_ok() { "pass," } else { "refused," }).collect()
    }

    let router = Router::new().route("/", get(list)).route("/of-another", get(of_another)).layer(checkpoint().layer());
    for (path, shown) in [("/", "1 mine,4 mine,"), ("/of-another", "refused,refused,")] {
        let request = Request::get(path).header("authorization", "Bearer good").body(Body::empty()).unwrap();
        let body = router.clone().oneshot(request).await.unwrap().into_body();
        assert_eq!(axum::body::to_bytes(body, 1000).await.unwrap(), shown, "{path}");
    }
}

/// The security requirements of an OpenAPI operation.
fn security(alternatives: Vec<Vec<&str>>) -> serde_json::Value {
    let ways: Vec<_> = alternatives.into_iter().map(|scopes| BTreeMap::from([("oauth", scopes)])).collect();
    serde_json::to_value(ways).unwrap()
}

#[tokio::test]
async fn the_layers_of_a_route_say_what_its_openapi_document_needs() {
    let checkpoint = checkpoint();
    let write = checkpoint.require(any_of([all_of([scope("orders:write"), role("clerk")]), scope("admin")]));
    let read = Enforcer::new(any_of([scope("a"), all_of([scope("orders:read"), decided_by(scope("shop"))])]));
    let read = checkpoint.enforce(&read, RouteQuestion::new("read", "order"));
    // The document and the guard are of one piece: what is written down is what lets the route pass.
    let document = serde_json::json!({
        "paths": { "/orders": {
            "get": { "security": security(read.enforcer().scope_alternatives()) },
            "post": { "security": security(write.rule().scope_alternatives()) },
        }},
    });
    let orders = &document["paths"]["/orders"];
    assert_eq!(
        orders["get"]["security"],
        serde_json::json!([{ "oauth": ["a"] }, { "oauth": ["orders:read", "shop"] }])
    );
    assert_eq!(orders["post"]["security"], serde_json::json!([{ "oauth": ["orders:write"] }, { "oauth": ["admin"] }]));
    // The caller of these tests has the scope `a` alone.
    let reached = || async { "reached" };
    let routes =
        get(reached).layer::<_, std::convert::Infallible>(read).merge(axum::routing::post(reached).layer(write));
    let router = Router::new().route("/orders", routes).layer(checkpoint.layer());
    assert_eq!(status(&router, "GET", "/orders", &[], None).await, 200);
    assert_eq!(status(&router, "POST", "/orders", &[], None).await, 403);
}
