//! What a resource's question carries of the request, lists in a handler, and what a guarded resource says of its scopes.

use actix_web::test::{TestRequest, init_service, try_call_service};
use actix_web::{App, HttpResponse, web};
use sekisho_actix::{Ask, CheckpointExt as _, Permitted, Principal};
use sekisho_core::json::{JsonObject, JsonValue};
use sekisho_core::{Authorize as _, Enforcer, Resource, any_of, scope, when};
use sekisho_http::{Answer, Circumstances, RouteQuestion};

use crate::fake::checkpoint;

fn context(request: &Circumstances<'_>) -> Result<JsonObject, Answer> {
    let device = request.header("x-device")?;
    JsonObject::from_serialize(&serde_json::json!({ "ip": request.peer(), "device": device }))
        .map_err(|_| Answer::bad_request())
}

fn properties(request: &Circumstances<'_>) -> Result<JsonObject, Answer> {
    JsonObject::from_serialize(&serde_json::json!({ "method": request.method() })).map_err(|_| Answer::bad_request())
}

const KIOSK: RouteQuestion =
    RouteQuestion::new("read", "order").with_context(context).with_action_properties(properties);

struct ReadAtKiosk;

impl Ask for ReadAtKiosk {
    const QUESTION: RouteQuestion = KIOSK;
}

/// Permits a `GET` from the kiosk's device and address.
fn at_kiosk() -> Enforcer {
    Enforcer::new(when("at the kiosk", |request| {
        let text = |object: Option<&JsonObject>, name| {
            object.and_then(|object| object.get(name)).and_then(JsonValue::as_str).map(|text| text.into_owned())
        };
        text(request.context(), "ip").as_deref() == Some("192.0.2.7")
            && text(request.context(), "device").as_deref() == Some("kiosk")
            && text(request.action_properties(), "method").as_deref() == Some("GET")
    }))
}

async fn extracted(_: Permitted<ReadAtKiosk>) -> HttpResponse {
    HttpResponse::Ok().into()
}

async fn list(caller: Principal) -> String {
    let mine = Enforcer::new(when("hers", |request| request.resource().id() == "mine"));
    let ids = ["hers", "mine", "theirs", "mine"];
    let permits = caller.enforce_all(&mine, "read", &ids.map(|id| Resource::new("order", id))).await;
    assert_eq!(permits.len(), ids.len());
    permits.iter().map(|permit| if permit.is_ok() { "shown," } else { "left out," }).collect()
}

async fn ask(method: &str, path: &str, headers: &[(&str, &str)], peer: Option<&str>) -> (u16, String) {
    let checkpoint = checkpoint();
    let app = App::new()
        .app_data(at_kiosk())
        .wrap(checkpoint.middleware())
        .service(web::resource("/layer").wrap(checkpoint.enforce(&at_kiosk(), KIOSK)).to(HttpResponse::Ok))
        .service(web::resource("/extractor").to(extracted))
        .service(web::resource("/list").to(list));
    let service = init_service(app).await;
    let mut request = TestRequest::default().method(method.parse().unwrap()).uri(path);
    request = request.insert_header(("authorization", "Bearer good"));
    for header in headers {
        request = request.append_header(*header);
    }
    if let Some(peer) = peer {
        request = request.peer_addr(peer.parse().unwrap());
    }
    let response = match try_call_service(&service, request.to_request()).await {
        Ok(response) => response.into_parts().1.map_into_boxed_body(),
        Err(error) => error.error_response(),
    };
    let status = response.status().as_u16();
    let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[actix_web::test]
async fn a_policy_reads_what_the_request_says_in_middleware_and_extractor() {
    let (kiosk, here, there) = (("x-device", "kiosk"), Some("192.0.2.7:50000"), Some("192.0.2.8:50000"));
    for path in ["/layer", "/extractor"] {
        for (method, headers, peer, expected) in [
            ("GET", &[kiosk][..], here, 200),
            ("GET", &[kiosk], there, 403),
            ("GET", &[kiosk], None, 403),
            ("GET", &[kiosk, ("x-forwarded-for", "192.0.2.7")], there, 403),
            ("GET", &[], here, 403),
            ("GET", &[("x-device", "till")], here, 403),
            ("GET", &[kiosk, ("x-device", "till")], here, 400),
            ("GET", &[kiosk, kiosk], here, 400),
            ("POST", &[kiosk], here, 403),
        ] {
            let (got, _) = ask(method, path, headers, peer).await;
            assert_eq!(got, expected, "{method} {path} {headers:?} {peer:?}");
        }
    }
}

#[actix_web::test]
async fn a_handler_shows_of_a_list_what_is_permitted() {
    assert_eq!(ask("GET", "/list", &[], None).await, (200, "left out,shown,left out,shown,".to_owned()));
}

#[test]
fn the_middleware_of_a_resource_says_what_its_openapi_document_needs() {
    let checkpoint = checkpoint();
    let rule = any_of([scope("orders:write"), scope("admin")]);
    let enforce = checkpoint.enforce(&Enforcer::new(rule.clone()), KIOSK);
    assert_eq!(enforce.enforcer().scope_alternatives(), [["orders:write"], ["admin"]]);
    assert_eq!(checkpoint.require(rule).rule().scope_alternatives(), [["orders:write"], ["admin"]]);
}
