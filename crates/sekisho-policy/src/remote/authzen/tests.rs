use std::sync::Mutex;

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{Denial, Effect, EvaluationsSemantic, Obligation, Principal, Resource, Secret, UnixSeconds};
use sekisho_http::{HttpClient, HttpError, HttpLimits};
use serde_json::{Value, json};

use super::*;
use crate::remote::Remote;

const PDP: &str = "https://pdp.example";

fn alice() -> Principal {
    let alice = PrincipalBuilder::new("https://id.example", "alice").with_scope("orders:read orders:write");
    let alice = alice.with_roles(["clerk"]).with_tenant("shop").with_claim("department", json!({ "id": 7 }));
    alice.with_claim("email", "alice@example.com").build().unwrap()
}

fn request<'a>(subject: &'a Principal, id: &'a str) -> AccessRequest<'a> {
    AccessRequest::new(subject, "read", Resource::new("order", id), UnixSeconds::new(1_800_000_000))
}

fn pdp() -> AuthZen {
    AuthZen::builder(PDP).build().unwrap()
}

fn answer_with(status: u16, body: &str, request_id: Option<&str>) -> HttpResponse {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(request_id.map(|id| ("x-request-id".to_owned(), id.to_owned())));
    HttpResponse { status, headers, body: body.as_bytes().to_vec() }
}

fn read(body: &Value) -> Result<Decision, Failure> {
    pdp().read(&answer_with(200, &body.to_string(), None))
}

fn read_all(body: &Value, count: usize, semantic: EvaluationsSemantic) -> Option<Vec<bool>> {
    let decisions = pdp().read_all(&answer_with(200, &body.to_string(), None), count, semantic).ok()?;
    Some(decisions.into_iter().map(|decision| decision.is_ok_and(|decision| decision.is_permitted())).collect())
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test]
async fn asks_in_the_words_of_the_standard_and_tells_no_more_than_it_may() {
    let alice = alice();
    let attributes = JsonObject::parse(br#"{"owner":"alice","total":12345678901234567890}"#.to_vec()).unwrap();
    let (method, context) = (br#"{"method":"GET"}"#, br#"{"ip":"192.0.2.1"}"#);
    let method = JsonObject::parse(method.to_vec()).unwrap();
    let context = JsonObject::parse(context.to_vec()).unwrap();
    let resource = Resource::new("order", "42").with_attributes(&attributes);
    let request = AccessRequest::new(&alice, "read", resource, UnixSeconds::new(0))
        .with_action_properties(&method)
        .with_context(&context);
    let asked =
        AuthZen::builder(PDP).with_claims(["department", "absent"]).build().unwrap().ask(&request).await.unwrap();
    assert_eq!(asked.url, "https://pdp.example/access/v1/evaluation");
    let text = String::from_utf8(asked.body.clone()).unwrap();
    assert!(text.contains("12345678901234567890"), "numbers go as they are written");
    assert!(!text.contains("example.com"), "a claim that is not allowed by name stays here: {text}");
    let expected = json!({
        "subject": { "type": "user", "id": "alice", "properties": {
            "iss": "https://id.example", "roles": ["clerk"], "scopes": ["orders:read", "orders:write"],
            "tenant": "shop", "department": { "id": 7 },
        } },
        "action": { "name": "read", "properties": { "method": "GET" } },
        "resource": { "type": "order", "id": "42", "properties": { "owner": "alice", "total": 12_345_678_901_234_567_890_u64 } },
        "context": { "ip": "192.0.2.1" },
    });
    assert_eq!(body(&asked), expected);
}

#[tokio::test]
async fn tells_cerbos_the_roles_where_it_looks_for_them_and_asks_it_one_by_one() {
    let alice = alice();
    let cerbos = AuthZen::cerbos("http://127.0.0.1:3592").build().unwrap();
    let asked = body(&cerbos.ask(&request(&alice, "1")).await.unwrap());
    assert_eq!(asked["subject"]["properties"]["cerbos.roles"], json!(["clerk"]));
    assert_eq!(asked["subject"]["properties"].get("roles"), None);
    assert_eq!(cerbos.max_batch(), 1);
    let requests = [request(&alice, "1"), request(&alice, "2")];
    assert!(cerbos.ask_all(&requests, EvaluationsSemantic::ExecuteAll).await.is_err());
}

#[tokio::test]
async fn puts_no_question_about_a_subject_of_another_issuer() {
    let mallory = PrincipalBuilder::new("https://evil.example", "alice").build().unwrap();
    let pdp = AuthZen::builder(PDP).with_issuer("https://id.example").build().unwrap();
    assert!(pdp.ask(&request(&mallory, "1")).await.is_err());
    assert!(
        pdp.ask_all(&[request(&alice(), "1"), request(&mallory, "1")], EvaluationsSemantic::ExecuteAll).await.is_err()
    );
    assert!(pdp.ask(&request(&alice(), "1")).await.is_ok());
}

#[test]
fn questions_of_two_tokens_of_one_subject_are_two_questions() {
    let pdp = AuthZen::builder(PDP).with_issuer("https://id.example").with_claims(["department"]).build().unwrap();
    let token = |scope: &str, department: u8, email: &str| {
        let token = PrincipalBuilder::new("https://id.example", "alice").with_scope(scope);
        token.with_claim("department", department).with_claim("email", email).build().unwrap()
    };
    let key = |principal: &Principal| pdp.key_part(&request(principal, "1")).unwrap();
    let first = key(&token("read", 1, "a"));
    assert_eq!(first, key(&token("read", 1, "b")), "what is not told makes no difference");
    assert_ne!(first, key(&token("read write", 1, "a")));
    assert_ne!(first, key(&token("read", 2, "a")));
    assert!(pdp.answer_now(&request(&token("read", 1, "a"), "1")).is_none());
    let mallory = PrincipalBuilder::new("https://evil.example", "alice").build().unwrap();
    assert!(!pdp.answer_now(&request(&mallory, "1")).unwrap().unwrap().is_permitted());
}

#[tokio::test]
async fn sends_its_credential_and_shows_it_nowhere() {
    let pdp = AuthZen::builder(PDP).with_bearer(Secret::from("hunter2")).with_header("x-key", Secret::from("hunter3"));
    let shown = format!("{pdp:?}");
    let pdp = pdp.build().unwrap();
    let asked = pdp.ask(&request(&alice(), "1")).await.unwrap();
    assert!(asked.headers.contains(&("authorization", "Bearer hunter2".to_owned())));
    assert!(asked.headers.contains(&("x-key", "hunter3".to_owned())));
    assert!(!format!("{shown}{pdp:?}{asked:?}").contains("hunter"));
}

#[test]
fn refuses_at_once_what_cannot_work() {
    let refused = |builder: AuthZenBuilder| builder.build().unwrap_err().to_string();
    for url in ["http://pdp.example", "https://pdp.example?tenant=1", "https://user:pw@pdp.example", "pdp.example", ""]
    {
        assert!(!refused(AuthZen::builder(url)).contains("pw"), "{url}");
    }
    for name in ["", "iss", "roles", "scopes", "tenant"] {
        refused(AuthZen::builder(PDP).with_claims([name]));
    }
    refused(AuthZen::cerbos(PDP).with_claims(["cerbos.roles"]));
    refused(AuthZen::cerbos(PDP).with_max_batch(2));
    refused(AuthZen::builder(PDP).with_max_batch(0));
    refused(AuthZen::builder(PDP).with_max_batch(1001));
    for (name, value) in [
        ("x-request-id", "1"),
        ("content-type", "x"),
        ("X-Key", "x"),
        ("x key", "x"),
        ("x-key", "a\r\nb: c"),
        ("x-key", ""),
    ] {
        let message = refused(AuthZen::builder(PDP).with_header(name, Secret::from(value)));
        assert!(value.len() < 2 || !message.contains(value), "{message}");
    }
}

#[test]
fn takes_nothing_for_a_decision_but_true_and_false() {
    assert!(read(&json!({ "decision": true })).unwrap().is_permitted());
    assert_eq!(read(&json!({ "decision": false })).unwrap().effect(), Effect::Deny);
    for decision in [json!("true"), json!(1), json!(null), json!([true]), json!({ "decision": true }), json!("permit")]
    {
        assert!(read(&json!({ "decision": decision })).is_err(), "{decision}");
    }
    for body in [
        "{}",
        r#"{"Decision":true}"#,
        r#"{"decision":true,"decision":true}"#,
        r#"{"decision":true"#,
        "true",
        "[]",
        "",
        r#"[{"decision":true}]"#,
        r#"{"allowed":true}"#,
        r#"{"evaluations":[{"decision":true}]}"#,
    ] {
        assert!(pdp().read(&answer_with(200, body, None)).is_err(), "{body}");
    }
}

#[test]
fn an_http_error_is_no_decision_whatever_its_body_says() {
    for status in [100, 201, 204, 302, 400, 401, 403, 404, 429, 500, 503] {
        assert!(pdp().read(&answer_with(status, r#"{"decision":true}"#, None)).is_err(), "{status}");
        let several = answer_with(status, r#"{"evaluations":[{"decision":true}]}"#, None);
        assert!(pdp().read_all(&several, 1, EvaluationsSemantic::ExecuteAll).is_err(), "{status}");
    }
}

#[tokio::test]
async fn each_question_has_an_id_and_an_answer_with_another_is_none() {
    let (alice, pdp) = (alice(), pdp());
    let (one, other) = (pdp.ask(&request(&alice, "1")).await.unwrap(), pdp.ask(&request(&alice, "1")).await.unwrap());
    let id = |asked: &HttpRequest| asked.headers.iter().find(|(name, _)| *name == REQUEST_ID).unwrap().1.clone();
    assert_ne!(id(&one), id(&other));
    let permit = r#"{"decision":true}"#;
    let echoed = answer_with(200, permit, Some(&id(&one)));
    assert!(pdp.check_answer(&one, &echoed).is_ok());
    assert_eq!(pdp.read(&echoed).unwrap().id(), Some(&*id(&one)));
    assert!(pdp.check_answer(&one, &answer_with(200, permit, None)).is_ok(), "not every service sends it back");
    assert!(pdp.check_answer(&other, &echoed).is_err());
    assert!(pdp.check_answer(&one, &answer_with(200, permit, Some(""))).is_err());
    let mut two = echoed.clone();
    two.headers.push((REQUEST_ID.to_owned(), id(&other)));
    assert!(pdp.check_answer(&one, &two).is_err());
    let openfga = AuthZen::openfga("https://fga.example/", "01S", "01M").build().unwrap();
    let asked = openfga.ask(&request(&alice, "1")).await.unwrap();
    assert_eq!(asked.url, "https://fga.example/stores/01S/access/v1/evaluation");
    assert!(asked.headers.contains(&("openfga-authorization-model-id", "01M".to_owned())));
    assert!(openfga.check_answer(&asked, &answer_with(200, permit, Some("an id of its own"))).is_ok());
}

#[test]
fn keeps_every_obligation_and_denies_when_one_cannot_be_read() {
    let permit =
        |obligations: Value| read(&json!({ "decision": true, "context": { "obligations": obligations } })).unwrap();
    let decision = permit(json!([
        { "type": "step-up", "id": "1", "properties": { "acr_value": "gold" } },
        { "type": "watermark", "id": "2", "properties": { "text": "secret" } },
        { "type": "notification", "id": "3" },
        { "type": "step-up", "id": "4", "properties": { "acr_value": "gold", "amr_values": ["hwk"] } },
    ]));
    assert!(decision.is_permitted());
    let kept = |obligation: &Obligation| {
        (obligation.id().to_owned(), obligation.parameters().map(|parameters| parameters.as_str().to_owned()))
    };
    let kept: Vec<_> = decision.obligations().iter().map(kept).collect();
    assert_eq!(kept[0], ("step_up".to_owned(), Some(r#"{"acr_values":["gold"]}"#.to_owned())));
    assert_eq!(kept[1].0, "watermark");
    assert_eq!(kept[2], ("notification".to_owned(), None));
    assert_eq!(kept[3].0, "step-up", "methods of authentication are more than an enforcer checks by itself");
    assert!(permit(json!([])).is_permitted());
    for malformed in [
        json!({}),
        json!("log"),
        json!([1]),
        json!([{}]),
        json!([{ "type": 1 }]),
        json!([{ "type": "" }]),
        json!([{ "id": "x" }]),
        json!([{ "type": "log", "properties": "x" }]),
        json!([{ "type": "log", "properties": null }]),
        json!([{ "type": "a b" }]),
        json!([{ "type": "log" }, null]),
        json!(vec![json!({ "type": "log" }); 33]),
    ] {
        assert!(!permit(malformed.clone()).is_permitted(), "{malformed}");
    }
    for context in [json!("x"), json!([]), json!(true), json!(1)] {
        assert!(read(&json!({ "decision": true, "context": context })).is_err(), "{context}");
        assert!(!read(&json!({ "decision": false, "context": context })).unwrap().is_permitted(), "a denial stays one");
    }
}

#[test]
fn a_denial_says_what_the_caller_can_mend() {
    let denial =
        |context: Value| read(&json!({ "decision": false, "context": context })).unwrap().denial().cloned().unwrap();
    let wanted = |acr: Option<&str>, age: Option<u64>| Denial::InsufficientAuthentication {
        acr_values: acr.map(Into::into),
        max_age: age.map(std::time::Duration::from_secs),
    };
    assert_eq!(denial(json!({ "acr_values": "urn:loa:3", "amr_values": "mfa hwk" })), wanted(Some("urn:loa:3"), None));
    assert_eq!(
        denial(json!({ "acr_values": ["gold", "silver"], "max_age": 60 })),
        wanted(Some("gold silver"), Some(60))
    );
    assert_eq!(
        denial(json!({ "required_scope": "orders:write" })),
        Denial::InsufficientScope { scope: "orders:write".into() }
    );
    for other in [
        json!({}),
        json!({ "acr_values": 3 }),
        json!({ "acr_values": "" }),
        json!({ "acr_values": "a\", x=\"b" }),
        json!({ "max_age": -1 }),
        json!({ "max_age": "60" }),
        json!({ "acr_values": "a\r\nset-cookie: x" }),
        json!({ "required_scope": "a\"b" }),
        json!({ "acr_values": "x".repeat(257) }),
    ] {
        assert!(matches!(denial(other.clone()), Denial::Forbidden { .. }), "{other}");
    }
}

#[test]
fn a_permit_that_asks_for_a_stronger_login_is_none_without_it() {
    let permit = |context: Value| read(&json!({ "decision": true, "context": context })).unwrap();
    let conditional = permit(json!({ "acr_values": "gold", "max_age": 60 }));
    assert_eq!(conditional.obligations()[0].id(), Obligation::STEP_UP);
    for unclear in [
        json!({ "acr_values": 1 }),
        json!({ "amr_values": ["hwk"] }),
        json!({ "max_age": 1.5 }),
        // Half of the condition is none.
        json!({ "acr_values": "gold", "amr_values": ["hwk"] }),
        json!({ "acr_values": ["gold"], "amr_values": "hwk" }),
        json!({ "acr_values": "gold", "amr_values": null }),
        json!({ "max_age": 60, "amr_values": ["hwk"] }),
        json!({ "acr_values": "gold", "amr_values": ["hwk"], "max_age": 60 }),
    ] {
        assert!(!permit(unclear.clone()).is_permitted(), "{unclear}");
    }
    // What a denial asks for is told as far as it can be.
    let denied = json!({ "decision": false, "context": { "acr_values": "gold", "amr_values": ["hwk"] } });
    let lacking = Denial::InsufficientAuthentication { acr_values: Some("gold".into()), max_age: None };
    assert_eq!(read(&denied).unwrap().denial(), Some(&lacking));
    assert!(permit(json!({ "environment": {} })).obligations().is_empty());
}

#[test]
fn keeps_reasons_for_administrators_only_and_no_more_than_a_log_can_bear() {
    let reasons = |context: Value| {
        let decision = read(&json!({ "decision": false, "context": context })).unwrap();
        decision.reasons().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        reasons(json!({ "reason_admin": { "403": "policy C076E82F" }, "reason_user": { "403": "no" } })),
        ["policy C076E82F"]
    );
    assert_eq!(
        reasons(json!({ "reasons": ["a", { "policy": "b", "revision": "2" }, 3], "reason": "c" })),
        ["a", "b (2)", "c"]
    );
    assert_eq!(reasons(json!({ "reason": "a\nlevel=error forged" })), ["a level=error forged"]);
    assert_eq!(reasons(json!({ "reasons": vec!["x"; 100] })).len(), 16);
    assert_eq!(reasons(json!({ "reason": "ä".repeat(1000) }))[0].len(), 256);
    let decision = read(&json!({ "decision": true, "context": { "policy_revision": "7", "valid_for": 3 } })).unwrap();
    assert_eq!((decision.revision(), decision.lifetime()), (Some("7"), Some(std::time::Duration::from_secs(3))));
}

#[tokio::test]
async fn puts_several_questions_with_what_they_share_said_once() {
    let (alice, bob) = (alice(), PrincipalBuilder::new("https://id.example", "bob").build().unwrap());
    let context = JsonObject::parse(br#"{"ip":"192.0.2.1"}"#.to_vec()).unwrap();
    let pdp = pdp();
    let both = [request(&alice, "1").with_context(&context), request(&alice, "2").with_context(&context)];
    let asked = body(&pdp.ask_all(&both, EvaluationsSemantic::DenyOnFirstDeny).await.unwrap());
    assert_eq!(asked["subject"]["id"], "alice");
    assert_eq!((&asked["action"]["name"], &asked["context"]["ip"]), (&json!("read"), &json!("192.0.2.1")));
    assert_eq!(asked["options"], json!({ "evaluations_semantic": "deny_on_first_deny" }));
    assert_eq!(
        asked["evaluations"],
        json!([{ "resource": { "type": "order", "id": "1" } }, { "resource": { "type": "order", "id": "2" } }])
    );
    // A default for the context would give one to the question that has none.
    let mixed = [request(&alice, "1").with_context(&context), request(&bob, "1")];
    let asked = body(&pdp.ask_all(&mixed, EvaluationsSemantic::ExecuteAll).await.unwrap());
    assert_eq!((asked.get("subject"), asked.get("context")), (None, None));
    assert_eq!(
        (&asked["evaluations"][1]["subject"]["id"], asked["evaluations"][1].get("context")),
        (&json!("bob"), None)
    );
    let id = pdp.ask_all(&both, EvaluationsSemantic::ExecuteAll).await.unwrap();
    let id = &id.headers.iter().find(|(name, _)| *name == REQUEST_ID).unwrap().1;
    let answer = answer_with(200, r#"{"evaluations":[{"decision":true},{"decision":false}]}"#, Some(id));
    let decisions = pdp.read_all(&answer, 2, EvaluationsSemantic::ExecuteAll).unwrap();
    assert_eq!(decisions[1].as_ref().unwrap().id(), Some(&*format!("{id}/1")));
    assert!(
        pdp.ask_all(&[], EvaluationsSemantic::ExecuteAll).await.is_err(),
        "it would be taken for a single question"
    );
    assert!(pdp.ask_all(&vec![request(&alice, "1"); 101], EvaluationsSemantic::ExecuteAll).await.is_err());
}

#[test]
fn an_answer_of_another_length_decides_none_of_the_questions() {
    let answer = |decisions: &[bool]| json!({ "evaluations": decisions.iter().map(|decision| json!({ "decision": decision })).collect::<Vec<_>>() });
    use EvaluationsSemantic::{DenyOnFirstDeny, ExecuteAll, PermitOnFirstPermit};
    assert_eq!(read_all(&answer(&[true, false, true]), 3, ExecuteAll), Some(vec![true, false, true]));
    for wrong in [&[true, true][..], &[true; 4], &[], &[true]] {
        for semantic in [ExecuteAll, DenyOnFirstDeny] {
            assert_eq!(read_all(&answer(wrong), 3, semantic), None, "{wrong:?} {semantic:?}");
        }
    }
    assert_eq!(read_all(&answer(&[true, false]), 3, DenyOnFirstDeny), Some(vec![true, false]));
    assert_eq!(
        read_all(&answer(&[true, false, true]), 3, DenyOnFirstDeny),
        Some(vec![true, false]),
        "it went on to the end"
    );
    assert_eq!(read_all(&answer(&[false, true]), 3, DenyOnFirstDeny), None, "a denial that did not end it");
    assert_eq!(read_all(&answer(&[false, true, true, true]), 3, DenyOnFirstDeny), None);
    assert_eq!(read_all(&answer(&[false, true]), 3, PermitOnFirstPermit), Some(vec![false, true]));
    assert_eq!(read_all(&answer(&[false, false]), 3, PermitOnFirstPermit), None);
    assert_eq!(read_all(&answer(&[true, true]), 3, PermitOnFirstPermit), None, "a permit that did not end it");
    for item in [json!({}), json!(true), json!(null), json!({ "decision": "true" }), json!([{ "decision": true }])] {
        let items = json!({ "evaluations": [{ "decision": true }, item, { "decision": true }] });
        assert_eq!(read_all(&items, 3, ExecuteAll), None, "{items}");
    }
    for none in [
        json!({}),
        json!({ "decision": true }),
        json!({ "evaluations": { "0": { "decision": true } } }),
        json!({ "evaluations": true }),
    ] {
        assert_eq!(read_all(&none, 1, ExecuteAll), None, "{none}");
    }
}

#[tokio::test]
async fn an_answer_that_shows_another_order_decides_none_of_the_questions() {
    let (alice, pdp) = (alice(), pdp());
    let asked = [request(&alice, "1"), request(&alice, "2")];
    let asked = pdp.ask_all(&asked, EvaluationsSemantic::ExecuteAll).await.unwrap();
    let about = |first: &str, second: &str| {
        let item = |id: &str| json!({ "decision": true, "resource": { "type": "order", "id": id } });
        answer_with(200, &json!({ "evaluations": [item(first), item(second)] }).to_string(), None)
    };
    assert!(pdp.check_answer(&asked, &about("1", "2")).is_ok());
    assert!(pdp.check_answer(&asked, &about("2", "1")).is_err());
    assert!(pdp.check_answer(&asked, &about("1", "1")).is_err());
    let other_subject =
        json!({ "evaluations": [{ "decision": true }, { "decision": true, "subject": { "id": "bob" } }] });
    assert!(pdp.check_answer(&asked, &answer_with(200, &other_subject.to_string(), None)).is_err());
}

fn metadata(edit: impl FnOnce(&mut Value)) -> Result<AuthZenMetadata, Failure> {
    let mut document = json!({
        "policy_decision_point": PDP,
        "access_evaluation_endpoint": "https://pdp.example/v2/evaluation",
        "search_resource_endpoint": "https://pdp.example/v2/resources",
        "unknown": [1],
    });
    edit(&mut document);
    AuthZenMetadata::read(PDP, &answer_with(200, &document.to_string(), None), &["https://other.example"])
}

#[tokio::test]
async fn asks_where_the_metadata_says_and_not_what_it_leaves_out() {
    let pdp = AuthZen::builder("https://elsewhere.example").with_metadata(&metadata(|_| {}).unwrap()).build().unwrap();
    assert_eq!(pdp.ask(&request(&alice(), "1")).await.unwrap().url, "https://pdp.example/v2/evaluation");
    assert_eq!(pdp.max_batch(), 1);
    assert!(pdp.ask_all(&[request(&alice(), "1")], EvaluationsSemantic::ExecuteAll).await.is_err());
    let client = Pages(Mutex::new(Vec::new()));
    assert!(pdp.search(&through(&pdp, client), Sought::Subjects, &request(&alice(), "1")).await.is_err());
}

#[test]
fn metadata_that_leads_elsewhere_is_not_used() {
    assert!(metadata(|d| d["access_evaluation_endpoint"] = json!("https://other.example/evaluation")).is_ok());
    for (name, value) in [
        ("policy_decision_point", json!("https://pdp.example/")),
        ("policy_decision_point", json!("https://evil.example")),
        ("policy_decision_point", json!(null)),
        ("access_evaluation_endpoint", json!("https://evil.example/evaluation")),
        ("access_evaluation_endpoint", json!("https://pdp.example:8443/evaluation")),
        ("access_evaluation_endpoint", json!("http://pdp.example/evaluation")),
        ("access_evaluation_endpoint", json!("http://127.0.0.1/evaluation")),
        ("access_evaluation_endpoint", json!("https://pdp.example@evil.example/")),
        ("access_evaluation_endpoint", json!("/evaluation")),
        ("access_evaluation_endpoint", json!(1)),
        ("access_evaluation_endpoint", json!(null)),
        ("access_evaluations_endpoint", json!("https://evil.example/evaluations")),
        ("search_subject_endpoint", json!("https://evil.example/")),
        ("search_action_endpoint", json!(["https://pdp.example/"])),
    ] {
        assert!(metadata(|d| d[name] = value.clone()).is_err(), "{name}: {value}");
    }
    assert!(metadata(|d| drop(d.as_object_mut().unwrap().remove("access_evaluation_endpoint"))).is_err());
    assert!(AuthZenMetadata::read(PDP, &answer_with(404, "{}", None), &[]).is_err());
}

#[test]
fn metadata_lies_between_host_and_path() {
    let url = |service| AuthZenMetadata::request(service).map(|request| request.url);
    assert_eq!(url(PDP).unwrap(), "https://pdp.example/.well-known/authzen-configuration");
    assert_eq!(
        url("https://pdp.example/tenant1").unwrap(),
        "https://pdp.example/.well-known/authzen-configuration/tenant1"
    );
    assert!(url("http://pdp.example").is_err());
    assert!(url("https://pdp.example?x").is_err());
}

/// Answers with one page after the other, the last first.
#[derive(Debug)]
struct Pages(Mutex<Vec<Value>>);

#[async_trait]
impl HttpClient for Pages {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let asked = body(&request);
        assert!(
            asked.get("resource").is_none_or(|resource| resource.get("id").is_none() || asked.get("action").is_none())
        );
        let page = self.0.lock().unwrap().pop().ok_or(HttpError::Timeout)?;
        Ok(answer_with(200, &page.to_string(), None))
    }
}

async fn search(sought: Sought, mut pages: Vec<Value>) -> Result<Vec<String>, Failure> {
    pages.reverse();
    let pdp = pdp();
    pdp.search(&through(&pdp, Pages(Mutex::new(pages))), sought, &request(&alice(), "ignored")).await
}

fn through(pdp: &AuthZen, client: impl HttpClient + 'static) -> Remote {
    Remote::builder(pdp.clone()).with_client(std::sync::Arc::new(client)).build().unwrap()
}

/// Answers with the same page, each time after a while.
#[derive(Debug)]
struct Slow(Value, std::time::Duration);

#[async_trait]
impl HttpClient for Slow {
    async fn send(&self, _: HttpRequest, limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        assert!(limits.total_timeout <= std::time::Duration::from_millis(200));
        tokio::time::sleep(self.1).await;
        Ok(answer_with(200, &self.0.to_string(), None))
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_is_over_in_the_time_of_a_decision_and_a_dead_service_is_left_alone() {
    let millis = std::time::Duration::from_millis;
    let page = |next: &str| json!({ "results": [{ "type": "order", "id": "1" }], "page": { "next_token": next } });
    let (pdp, alice) = (pdp(), alice());
    let asked = request(&alice, "ignored");
    // A page in time, and one after the other beyond it.
    for (wait, next, found) in [(150, "", true), (250, "", false), (90, "again", false)] {
        let remote = through(&pdp, Slow(page(next), millis(wait)));
        let begin = tokio::time::Instant::now();
        assert_eq!(pdp.search(&remote, Sought::Resources, &asked).await.is_ok(), found, "{wait} {next}");
        assert!(begin.elapsed() <= millis(200), "{wait} {next}");
    }
    let remote = through(&pdp, Slow(page(""), millis(60_000)));
    for _ in 0..5 {
        assert!(pdp.search(&remote, Sought::Resources, &asked).await.is_err());
    }
    assert!(remote.health().is_open);
    let begin = tokio::time::Instant::now();
    let failure = pdp.search(&remote, Sought::Resources, &asked).await.unwrap_err();
    assert!(failure.retry_after().is_some() && begin.elapsed().is_zero());
}

#[tokio::test]
async fn searches_through_all_pages() {
    let order = |id: &str| json!({ "type": "order", "id": id });
    let conditional = json!({ "type": "order", "id": "3", "obligations": [{ "type": "step-up" }] });
    let found = search(
        Sought::Resources,
        vec![
            json!({ "page": { "next_token": "a" }, "results": [order("1"), order("2")] }),
            json!({ "page": { "next_token": "" }, "results": [conditional, order("4")] }),
        ],
    );
    assert_eq!(found.await.unwrap(), ["1", "2", "4"], "without the one that comes with an obligation");
    let found = search(Sought::Actions, vec![json!({ "results": [{ "name": "read" }] })]);
    assert_eq!(found.await.unwrap(), ["read"]);
}

#[tokio::test]
async fn a_search_that_is_not_answered_well_finds_nothing() {
    let order = json!({ "type": "order", "id": "1" });
    for page in [
        json!({}),
        json!({ "results": {} }),
        json!({ "results": [{ "type": "user", "id": "1" }] }),
        json!({ "results": [{ "id": "1" }] }),
        json!({ "results": [{ "type": "order" }] }),
        json!({ "results": [{ "type": "order", "id": 1 }] }),
        json!({ "results": ["1"] }),
        json!({ "results": [order, { "type": "order", "id": "" }] }),
        json!({ "results": [], "page": { "next_token": 1 } }),
        json!({ "results": [], "page": "x" }),
        json!({ "results": [], "page": { "next_token": "x".repeat(4097) } }),
        // The next page does not come.
        json!({ "results": [order], "page": { "next_token": "a" } }),
    ] {
        assert!(search(Sought::Resources, vec![page.clone()]).await.is_err(), "{page}");
    }
    let back = json!({ "results": [order], "page": { "next_token": "a" } });
    assert!(search(Sought::Resources, vec![back.clone(), back]).await.is_err(), "it leads in a circle");
    let endless = (0..30).map(|n| json!({ "results": [order], "page": { "next_token": n.to_string() } }));
    assert!(search(Sought::Resources, endless.collect()).await.is_err());
    let many = json!({ "results": vec![order; 10_001] });
    assert!(search(Sought::Resources, vec![many]).await.is_err());
}

#[test]
fn names_that_openfga_would_read_as_others_are_not_sent_to_it() {
    let openfga = AuthZen::openfga("http://127.0.0.1:8080", "store", "model").build().unwrap();
    let ask = |kind: &str, subject: &str, action: &str, object: (&str, &str)| {
        let subject = PrincipalBuilder::new("https://id.example", subject).build().unwrap();
        let request = AccessRequest::new(&subject, action, Resource::new(object.0, object.1), UnixSeconds::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(openfga.ask(&request.with_subject_kind(kind))).is_ok()
    };
    assert!(ask("user", "alice", "read", ("order", "42")));
    for (kind, subject, action, object) in [
        ("user", "*", "read", ("order", "42")),
        ("team", "eng#member", "read", ("order", "42")),
        ("team:x", "a", "read", ("order", "42")),
        ("user", "alice", "read#write", ("order", "42")),
        ("user", "alice", "read", ("order", "*")),
        ("user", "alice", "read", ("order", "4 2")),
        ("user", "alice", "read", ("order:4", "2")),
    ] {
        assert!(!ask(kind, subject, action, object), "{kind} {subject} {action} {object:?}");
    }
}

/// Permits whatever it is asked about, unless it fails, and keeps how many questions each request had.
#[derive(Debug, Default)]
struct Counts {
    fails: bool,
    asked: Mutex<Vec<usize>>,
}

#[async_trait]
impl HttpClient for Counts {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        assert!(request.body.len() <= strict::MAX_QUESTION);
        let count = body(&request).get("evaluations").map(|all| all.as_array().unwrap().len());
        self.asked.lock().unwrap().push(count.unwrap_or(1));
        let permit = json!({ "decision": true });
        let said = count.map_or(permit.clone(), |count| json!({ "evaluations": vec![permit; count] }));
        Ok(answer_with(if self.fails { 400 } else { 200 }, &said.to_string(), None))
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_too_long_for_one_question_goes_in_several_and_one_object_that_is_fails_alone() {
    use sekisho_core::Authorize as _;
    let of = |length: usize| JsonObject::from_serialize(&json!({ "text": "x".repeat(length) })).unwrap();
    let (small, middling, large) = (of(10), of(60_000), of(strict::MAX_QUESTION));
    let alice = alice();
    let decide_all = async |attributes: &[&JsonObject], fails| {
        let client = std::sync::Arc::new(Counts { fails, ..Counts::default() });
        let service: std::sync::Arc<dyn HttpClient> = std::sync::Arc::<Counts>::clone(&client);
        let remote = Remote::builder(pdp()).with_client(service).build().unwrap();
        let ids: Vec<String> = (0..attributes.len()).map(|id| id.to_string()).collect();
        let asked = ids.iter().zip(attributes).map(|(id, attributes)| {
            let resource = Resource::new("order", id).with_attributes(*attributes);
            AccessRequest::new(&alice, "read", resource, UnixSeconds::new(0))
        });
        let asked: Vec<_> = asked.collect();
        let outcomes = remote.decide_all(&asked, EvaluationsSemantic::ExecuteAll).await;
        let permitted: Vec<bool> = outcomes.iter().map(|one| one.as_ref().is_ok_and(Decision::is_permitted)).collect();
        let mut requests = client.asked.lock().unwrap().clone();
        requests.sort_unstable();
        (permitted, requests)
    };
    assert_eq!(decide_all(&[&small, &large, &small], false).await, (vec![true, false, true], vec![2]));
    assert_eq!(decide_all(&[&middling; 8], false).await, (vec![true; 8], vec![4, 4]));
    // What was sent and failed is not sent in pieces.
    assert_eq!(decide_all(&[&small; 8], true).await, (vec![false; 8], vec![8]));
    assert_eq!(decide_all(&[&middling; 8], true).await, (vec![false; 8], vec![4, 4]));
}
