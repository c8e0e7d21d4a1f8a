//! What a resource's question carries of the request, lists in a handler, and what a guarded resource says of its scopes.

use std::net::{IpAddr, SocketAddr};

use actix_web::test::{TestRequest, init_service, try_call_service};
use actix_web::{App, HttpResponse, web};
use sekisho_actix::{Ask, CheckpointExt as _, Permitted, Principal};
use sekisho_core::{Authorize as _, Enforcer, Resource, any_of, scope, when};
use sekisho_http::RouteQuestion;
use sekisho_testkit::{KIOSK_QUESTION, circumstances_suite, kiosk_policy};

use crate::fake::{answer, checkpoint};

struct ReadAtKiosk;

impl Ask for ReadAtKiosk {
    const QUESTION: RouteQuestion = KIOSK_QUESTION;
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

async fn ask(method: &str, path: &str, headers: &[(&str, &str)], peer: Option<IpAddr>) -> (u16, String) {
    let checkpoint = checkpoint();
    let app = App::new()
        .app_data(kiosk_policy())
        .wrap(checkpoint.middleware())
        .service(web::resource("/layer").wrap(checkpoint.enforce(&kiosk_policy(), KIOSK_QUESTION)).to(HttpResponse::Ok))
        .service(web::resource("/extractor").to(extracted))
        .service(web::resource("/list").to(list));
    let service = init_service(app).await;
    let mut request = TestRequest::default().method(method.parse().unwrap()).uri(path);
    request = request.insert_header(("authorization", "Bearer good"));
    for header in headers {
        request = request.append_header(*header);
    }
    if let Some(peer) = peer {
        request = request.peer_addr(SocketAddr::new(peer, 50_000));
    }
    answer(try_call_service(&service, request.to_request()).await).await
}

#[actix_web::test]
async fn a_policy_reads_what_the_request_says_in_middleware_and_extractor() {
    for path in ["/layer", "/extractor"] {
        circumstances_suite(async |method: &str, headers: &[(&str, &str)], peer| {
            ask(method, path, headers, peer).await.0
        })
        .await;
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
    let enforce = checkpoint.enforce(&Enforcer::new(rule.clone()), KIOSK_QUESTION);
    assert_eq!(enforce.enforcer().scope_alternatives(), [["orders:write"], ["admin"]]);
    assert_eq!(checkpoint.require(rule).rule().scope_alternatives(), [["orders:write"], ["admin"]]);
}
