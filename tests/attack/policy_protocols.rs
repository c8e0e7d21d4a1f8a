//! Group `policy` once more, for each protocol by itself: what decision services answer.

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, EvaluationsSemantic, Principal, Resource, UnixSeconds};
use sekisho_http::{HttpRequest, HttpResponse};
use sekisho_policy::remote::DecisionProtocol;
use sekisho_policy::remote::authzen::AuthZen;
use sekisho_policy::remote::openfga::OpenFga;
use serde_json::{Value, json};

fn alice() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice").build().unwrap()
}

fn order<'a>(subject: &'a Principal, id: &'a str) -> AccessRequest<'a> {
    AccessRequest::new(subject, "read", Resource::new("order", id), UnixSeconds::new(0))
}

fn answer(body: &Value) -> HttpResponse {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    HttpResponse { status: 200, headers, body: body.to_string().into_bytes() }
}

/// Counts the permits that come of an answer to three questions.
fn permits(protocol: &dyn DecisionProtocol, asked: &HttpRequest, body: &Value) -> usize {
    let response = answer(body);
    let belongs = protocol.check_answer(asked, &response);
    let decisions = belongs.and_then(|()| protocol.read_all(&response, 3, EvaluationsSemantic::ExecuteAll));
    decisions.map_or(0, |all| all.iter().filter(|one| one.as_ref().is_ok_and(|one| one.is_permitted())).count())
}

#[test]
fn a_batch_in_another_order_permits_nothing_over_authzen_and_openfga() {
    let (alice, runtime) = (alice(), tokio::runtime::Builder::new_current_thread().build().unwrap());
    let ask = |protocol: &dyn DecisionProtocol| {
        let questions = [order(&alice, "1"), order(&alice, "2"), order(&alice, "3")];
        runtime.block_on(protocol.ask_all(&questions, EvaluationsSemantic::ExecuteAll)).unwrap()
    };
    let authzen = AuthZen::builder("https://pdp.example").build().unwrap();
    let asked = ask(&authzen);
    let (permit, deny) = (json!({ "decision": true }), json!({ "decision": false }));
    let about = |id: &str| json!({ "decision": true, "resource": { "type": "order", "id": id } });
    assert_eq!(permits(&authzen, &asked, &json!({ "evaluations": [permit, deny, permit] })), 2);
    assert_eq!(permits(&authzen, &asked, &json!({ "evaluations": [about("1"), about("2"), about("3")] })), 3);
    for evaluations in [
        json!([]),
        json!([permit]),
        json!([permit, permit]),
        json!([permit, permit, permit, permit]),
        json!([permit, permit, permit, deny]),
        json!([about("2"), about("1"), about("3")]),
        json!([about("1"), about("1"), about("1")]),
        json!([permit, null, permit]),
        json!([permit, [permit], permit]),
        json!({ "0": permit, "1": permit, "2": permit }),
    ] {
        assert_eq!(permits(&authzen, &asked, &json!({ "evaluations": evaluations })), 0, "{evaluations}");
    }

    let fga = OpenFga::builder("https://fga.example", "S", "M").build().unwrap();
    let asked = ask(&fga);
    let sent: Value = serde_json::from_slice(&asked.body).unwrap();
    let id = |index: usize| sent["checks"][index]["correlation_id"].as_str().unwrap().to_owned();
    let (permit, deny) = (json!({ "allowed": true }), json!({ "allowed": false }));
    // There the order is by name, so another one in the text is the same answer.
    assert_eq!(permits(&fga, &asked, &json!({ "result": { id(2): permit, id(1): deny, id(0): permit } })), 2);
    for result in [
        json!({ id(0): permit, id(1): permit }),
        json!({ id(0): permit, id(1): permit, id(2): permit, "another": permit }),
        json!({ id(0): permit, id(1): permit, "another": permit }),
        json!([permit, permit, permit]),
    ] {
        assert_eq!(permits(&fga, &asked, &json!({ "result": result })), 0, "{result}");
    }
}

#[test]
fn what_is_no_decision_permits_nothing_over_authzen_and_openfga() {
    let authzen = AuthZen::builder("https://pdp.example").build().unwrap();
    let fga = OpenFga::builder("https://fga.example", "S", "M").build().unwrap();
    let protocols: [(&dyn DecisionProtocol, &str); 2] = [(&authzen, "decision"), (&fga, "allowed")];
    for (protocol, member) in protocols {
        let permit = answer(&json!({ member: true }));
        assert!(protocol.read(&permit).unwrap().is_permitted(), "{member}");
        for status in [0, 100, 201, 204, 301, 302, 304, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert!(protocol.read(&HttpResponse { status, ..permit.clone() }).is_err(), "{member} {status}");
        }
        let doubled = format!(r#"{{"{member}":false,"{member}":true}}"#);
        for body in ["", "true", "{}", "null", "[]", "undefined", "{\"result\":true}", &doubled] {
            let response = HttpResponse { body: body.as_bytes().to_vec(), ..permit.clone() };
            assert!(protocol.read(&response).is_err(), "{member} {body}");
        }
        for value in [json!("true"), json!(1), json!(null), json!({}), json!([true])] {
            assert!(protocol.read(&answer(&json!({ member: value }))).is_err(), "{member} {value}");
        }
    }
}
