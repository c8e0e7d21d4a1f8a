//! Decisions before actix-web resources: by middleware, by extractor, in the handler.

use actix_web::test::{TestRequest, init_service, try_call_service};
use actix_web::web::{self, Path};
use actix_web::{App, HttpResponse};
use async_trait::async_trait;
use sekisho_actix::{Ask, CheckpointExt as _, Permit, Permitted, Principal, RefusalError};
use sekisho_core::json::JsonObject;
use sekisho_core::{
    AccessRequest, Authorize, Decision, Enforcer, Failure, Obligation, Resource, any_of, owner, role, scope,
};
use sekisho_http::{Checkpoint, RouteQuestion};
use sekisho_testkit::{OrderPolicy, enforcement_suite, preflight_suite};

use crate::fake::{answer, checkpoint};

struct ReadOrder;

impl Ask for ReadOrder {
    const QUESTION: RouteQuestion = RouteQuestion::new("read", "order").id_from("order");
}

async fn show(order: Path<String>) -> String {
    format!("order {order}")
}

async fn show_permitted(_: Permitted<ReadOrder>, order: Path<String>) -> String {
    show(order).await
}

async fn show_admin(order: Path<String>) -> String {
    format!("admin {order}")
}

async fn redactions(permit: Permit) -> String {
    permit.redactions().unwrap().join(",")
}

async fn loaded(caller: Principal, id: Path<String>) -> Result<&'static str, RefusalError> {
    let orders = Enforcer::new(any_of([owner("owner"), role("support")]));
    let owner = if *id == "42" { r#"{"owner":"alice"}"# } else { r#"{"owner":"bob"}"# };
    let order = JsonObject::parse(owner.as_bytes().to_vec()).unwrap();
    caller.enforce(&orders, "read", Resource::new("order", &id).with_attributes(&order)).await?;
    Ok("shown")
}

/// Sends one request to an app with all the routes, and returns the status and what was shown.
async fn ask(policy: &OrderPolicy, method: &str, path: &str) -> (u16, String) {
    let checkpoint = checkpoint();
    let enforcer = Enforcer::new(policy.clone());
    let enforce = |question| checkpoint.enforce(&enforcer, question);
    let fields = JsonObject::parse(br#"{"fields":["iban"]}"#.to_vec()).unwrap();
    let redacting = Enforcer::new(Redacting(fields)).passing_on("redact");
    let plain = Enforcer::new(scope("a"));
    let app = App::new()
        .app_data(enforcer.clone())
        .wrap(checkpoint.middleware())
        .service(
            web::resource("/orders/{order}").wrap(enforce(RouteQuestion::by_method("order").id_from("order"))).to(show),
        )
        .service(
            web::resource("/admin/{order}")
                .wrap(enforce(RouteQuestion::new("read", "admin").id_from("order")))
                .to(show_admin),
        )
        .service(web::resource("/orders").wrap(enforce(RouteQuestion::new("list", "order"))).to(HttpResponse::Ok))
        .service(web::resource("/permitted/{order}").to(show_permitted))
        .service(
            web::resource("/wrong/{id}").wrap(enforce(RouteQuestion::new("read", "order").id_from("order"))).to(show),
        )
        .service(web::resource("/loaded/{id}").to(loaded))
        .service(
            web::resource("/redacted")
                .wrap(checkpoint.enforce(&redacting, RouteQuestion::new("read", "x")))
                .to(redactions),
        )
        .service(
            web::resource("/inner")
                .wrap(checkpoint.enforce(&plain, RouteQuestion::new("read", "x")))
                .wrap(checkpoint.enforce(&redacting, RouteQuestion::new("read", "x")))
                .to(redactions),
        )
        .service(web::resource("/none").to(redactions));
    let service = init_service(app).await;
    let request = TestRequest::default()
        .method(method.parse().unwrap())
        .uri(path)
        .insert_header(("authorization", "Bearer good"));
    answer(try_call_service(&service, request.to_request()).await).await
}

struct Redacting(JsonObject);

#[async_trait]
impl Authorize for Redacting {
    fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        Some(Ok(Decision::permit().with_obligation(Obligation::new("redact").with_parameters(self.0.clone()))))
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        self.decide_now(request).unwrap()
    }
}

#[actix_web::test]
async fn routes_serve_what_is_permitted_by_middleware_and_extractor_and_nothing_else() {
    enforcement_suite(ask).await;
}

#[actix_web::test]
async fn a_handler_finds_the_permit_of_its_own_route_only() {
    let policy = OrderPolicy::new();
    assert_eq!(ask(&policy, "GET", "/redacted").await, (200, "iban".to_owned()));
    assert_eq!(ask(&policy, "GET", "/inner").await, (200, String::new()));
    assert_eq!(ask(&policy, "GET", "/none").await.0, 500);
}

#[actix_web::test]
async fn a_handler_asks_with_the_loaded_object() {
    let policy = OrderPolicy::new();
    assert_eq!(ask(&policy, "GET", "/loaded/42").await.0, 200);
    assert_eq!(ask(&policy, "GET", "/loaded/43").await.0, 403);
}

#[actix_web::test]
async fn without_an_enforcer_in_the_application_nothing_passes() {
    let checkpoint = checkpoint();
    let app = App::new().wrap(checkpoint.middleware()).service(web::resource("/permitted/{order}").to(show_permitted));
    let service = init_service(app).await;
    let request = TestRequest::default().uri("/permitted/42").insert_header(("authorization", "Bearer good"));
    assert_eq!(try_call_service(&service, request.to_request()).await.unwrap().status().as_u16(), 500);
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
    let app = App::new().wrap(checkpoint.middleware()).service(web::resource("/orders/{order}").wrap(enforce).to(show));
    let service = init_service(app).await;
    let request = TestRequest::default().method(method.parse().unwrap()).uri("/orders/42");
    let request = headers.iter().fold(request, |request, header| request.append_header(*header));
    answer(try_call_service(&service, request.to_request()).await).await
}

#[actix_web::test]
async fn a_preflight_passes_where_the_checkpoint_lets_it_pass_and_nothing_is_asked_about_it() {
    preflight_suite(preflight).await;
}
