//! Group policy: what decision services answer.

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
fn a144_batch_order() {
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
//! Group `policy`: what a decision service can answer that is no decision.

use std::sync::{Arc, Mutex};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize as _, Effect, EvaluationsSemantic, Resource, UnixSeconds};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_policy::remote::authzen::AuthZen;
use sekisho_policy::remote::opa::Opa;
use sekisho_policy::remote::{DecisionProtocol, Remote};
use sekisho_tests::{ISSUER, NOW, wait};

/// Gives everybody the same answer, as one to the very question.
#[derive(Debug)]
struct Service(Mutex<Option<(u16, String)>>);

impl Service {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn says(&self, status: u16, body: &str) {
        *self.0.lock().unwrap() = Some((status, body.to_owned()));
    }

    fn remote(self: &Arc<Self>, protocol: impl DecisionProtocol + 'static) -> Remote {
        let client: Arc<dyn HttpClient> = Arc::<Self>::clone(self);
        // What it says shall count each time, and not that it was silent before.
        Remote::builder(protocol).with_client(client).without_cache().with_circuit_breaker(32, SECOND).build().unwrap()
    }
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

#[async_trait::async_trait]
impl HttpClient for Service {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let Some((status, body)) = self.0.lock().unwrap().clone() else { return Err(HttpError::Timeout) };
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let id = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
        headers.extend(id.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        Ok(HttpResponse { status, headers, body: body.into_bytes() })
    }
}

fn opa() -> Opa {
    Opa::at("https://pdp.example", "shop").unwrap()
}

fn authzen() -> AuthZen {
    AuthZen::builder("https://pdp.example").with_issuer(ISSUER).build().unwrap()
}

/// Asks about orders, and returns what each came to; `None` where no decision could be had.
fn effects(remote: &Remote, count: usize, semantic: EvaluationsSemantic) -> Vec<Option<Effect>> {
    let alice = PrincipalBuilder::new(ISSUER, "alice").build().unwrap();
    let ids: Vec<String> = (0..count).map(|id| id.to_string()).collect();
    let ask = |id| AccessRequest::new(&alice, "read", Resource::new("order", id), UnixSeconds::new(NOW.as_secs()));
    let requests: Vec<_> = ids.iter().map(|id| ask(id)).collect();
    let outcomes = wait(remote.decide_all(&requests, semantic));
    outcomes.into_iter().map(|outcome| outcome.ok().map(|decision| decision.effect())).collect()
}

fn effect(remote: &Remote) -> Option<Effect> {
    effects(remote, 1, EvaluationsSemantic::ExecuteAll)[0]
}

#[test]
fn a143_pdp_non_200() {
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
    let service = Service::new();
    let (opa, authzen) = (service.remote(opa()), service.remote(authzen()));
    service.says(200, r#"{"result":true}"#);
    assert_eq!(effect(&opa), Some(Effect::Permit));
    service.says(200, r#"{"decision":true}"#);
    assert_eq!(effect(&authzen), Some(Effect::Permit));

    for status in [201, 204, 301, 400, 401, 403, 404, 500, 502, 503] {
        for (remote, body) in [(&opa, r#"{"result":true}"#), (&authzen, r#"{"decision":true}"#)] {
            service.says(status, body);
            assert_eq!(effect(remote), None, "{status}");
        }
    }
    for body in [
        "",
        "{",
        "true",
        "[]",
        r#"{"decision":"true"}"#,
        r#"{"decision":1}"#,
        r#"{"decision":null}"#,
        r#"{"decision":true"#,
        r#"{"decision":false,"decision":true}"#,
        "{}",
    ] {
        service.says(200, body);
        assert_eq!(effect(&authzen), None, "{body}");
        let result = body.replace("decision", "result");
        service.says(200, &result);
        // OPA leaves `result` out where the rule is undefined.
        let expected = (body == "{}").then_some(Effect::NotApplicable);
        assert_eq!(effect(&opa), expected, "{result}");
    }
    *service.0.lock().unwrap() = None;
    assert_eq!((effect(&opa), effect(&authzen)), (None, None));
}

#[test]
fn a144_batch_order() {
    let service = Service::new();
    let (authzen, opa) = (service.remote(authzen()), service.remote(opa().with_batch()));
    let all = |remote| effects(remote, 2, EvaluationsSemantic::ExecuteAll);
    let evaluations = |items: &[&str]| format!(r#"{{"evaluations":[{}]}}"#, items.join(","));
    let (yes, no) = (r#"{"decision":true}"#, r#"{"decision":false}"#);
    service.says(200, &evaluations(&[yes, no]));
    assert_eq!(all(&authzen), [Some(Effect::Permit), Some(Effect::Deny)]);
    service.says(200, r#"{"responses":{"1":{"result":false},"0":{"result":true}}}"#);
    assert_eq!(all(&opa), [Some(Effect::Permit), Some(Effect::Deny)]);

    for items in [&[][..], &[yes], &[yes, yes, yes], &[yes, yes, no]] {
        service.says(200, &evaluations(items));
        assert_eq!(all(&authzen), [None, None], "{items:?}");
    }
    for body in [yes, r#"{"evaluations":{}}"#, r#"{"evaluations":true}"#] {
        service.says(200, body);
        assert_eq!(all(&authzen), [None, None], "{body}");
    }
    // An array has nothing to tell its items by but their place; where answers have names, others than we gave are refused.
    for body in [
        r#"{"responses":{"0":{"result":true}}}"#,
        r#"{"responses":{"1":{"result":true},"2":{"result":true}}}"#,
        r#"{"responses":{"0":{"result":true},"1":{"result":true},"2":{"result":true}}}"#,
        r#"{"responses":{"0":{"result":true},"0":{"result":true}}}"#,
    ] {
        service.says(200, body);
        assert_eq!(all(&opa), [None, None], "{body}");
    }
}
