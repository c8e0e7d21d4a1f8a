use std::io::Read as _;

use flate2::read::GzDecoder;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Effect, Resource, UnixSeconds};
use serde_json::Value;

use super::*;

fn opa() -> Opa {
    Opa::at("http://127.0.0.1:8181", "shop/authz").unwrap()
}

fn answer(body: &str) -> HttpResponse {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    HttpResponse { status: 200, headers, body: body.as_bytes().to_vec() }
}

#[test]
fn refuses_servers_and_paths_that_could_lead_elsewhere() {
    for server in ["http://opa.example", "https://a:b@opa.example", "opa.example", "https://opa.example/?a", ""] {
        assert!(Opa::at(server, "shop").is_err(), "{server}");
    }
    for path in
        ["", "/", "/shop", "shop/", "shop//authz", "../shop", "shop/..", "a.b", "a%2fb", "a?b", "a#b", "a b", "ä"]
    {
        assert!(Opa::at("https://opa.example", path).is_err(), "{path}");
    }
    assert!(Opa::at("https://opa.example", &"a".repeat(1025)).is_err());
}

#[tokio::test]
async fn asks_for_the_rule_with_the_input_and_a_token() {
    let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(7));
    let opa = Opa::at("https://opa.example/prefix/", "shop/authz/allow").unwrap().with_token(Secret::from("t0p"));
    let asked = opa.ask(&request).await.unwrap();
    assert_eq!(asked.url, "https://opa.example/prefix/v1/data/shop/authz/allow?provenance=true");
    assert!(asked.headers.contains(&("authorization", "Bearer t0p".to_owned())));
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!((&body["input"]["subject"]["id"], &body["input"]["action"]["name"]), (&"alice".into(), &"read".into()));
    assert!(!format!("{opa:?}").contains("t0p"));
    let plain = opa.without_provenance().ask(&request).await.unwrap();
    assert!(!plain.url.contains('?'));
}

#[tokio::test]
async fn a_long_question_is_compressed() {
    let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
    let context = JsonObject::parse(format!(r#"{{"note":"{}"}}"#, "a".repeat(4000)).into_bytes()).unwrap();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(7));
    let asked = opa().ask(&request.clone().with_context(&context)).await.unwrap();
    assert!(asked.headers.contains(&("content-encoding", "gzip".to_owned())) && asked.body.len() < 1000);
    let mut body = String::new();
    GzDecoder::new(asked.body.as_slice()).read_to_string(&mut body).unwrap();
    assert!(body.starts_with(r#"{"input":{"#) && body.contains("aaaa"));
    let short = opa().ask(&request).await.unwrap();
    assert!(!short.headers.iter().any(|(name, _)| *name == "content-encoding"));
}

#[test]
fn reads_a_decision_with_its_id_and_the_revision_of_the_bundles() {
    let decision = opa()
        .read(&answer(
            r#"{"decision_id":"d-1","result":true,"metrics":{},
                "provenance":{"version":"1","bundles":{"b":{"revision":"2"},"a":{"revision":"1"},"c":{}}}}"#,
        ))
        .unwrap();
    assert_eq!((decision.effect(), decision.id(), decision.revision()), (Effect::Permit, Some("d-1"), Some("a=1,b=2")));
    let one = opa().read(&answer(r#"{"result":false,"provenance":{"bundles":{"b":{"revision":"7"}}}}"#)).unwrap();
    assert_eq!((one.effect(), one.id(), one.revision()), (Effect::Deny, None, Some("7")));
}

#[test]
fn what_is_undefined_is_not_applicable() {
    for body in ["{}", r#"{"decision_id":"d-1"}"#, r#"{"provenance":{"version":"1"}}"#] {
        assert_eq!(opa().read(&answer(body)).unwrap().effect(), Effect::NotApplicable, "{body}");
    }
}

#[test]
fn what_is_not_clearly_a_decision_is_a_failure() {
    for body in [
        "",
        "null",
        "[]",
        "true",
        r#"{"result":"true"}"#,
        r#"{"result":{"decision":"true"}}"#,
        r#"{"result":{}}"#,
        r#"{"result":1}"#,
        r#"{"result":null}"#,
        r#"{"result":[true]}"#,
        r#"{"result":true"#,
        r#"{"result":true}{"#,
        r#"{"result":false,"result":true}"#,
        r#"{"result":true,"result":true}"#,
        r#"{"result":{"allow":false,"allow":true}}"#,
        r#"{"result":{"allow":true,"obligation":[]}}"#,
        r#"{"result":true,"decision_id":7}"#,
        r#"{"result":true,"decision_id":""}"#,
        r#"{"result":true,"provenance":1}"#,
        r#"{"result":true,"provenance":{"bundles":[]}}"#,
        r#"{"result":true,"provenance":{"bundles":{"a":{"revision":1}}}}"#,
    ] {
        assert!(opa().read(&answer(body)).is_err(), "{body}");
    }
    let long = format!(r#"{{"result":true,"decision_id":"{}"}}"#, "d".repeat(257));
    assert!(opa().read(&answer(&long)).is_err());
    let good = r#"{"result":true}"#;
    assert!(opa().read(&answer(good)).is_ok());
    for status in [100, 201, 204, 207, 301, 302, 400, 401, 403, 404, 500] {
        assert!(opa().read(&HttpResponse { status, ..answer(good) }).is_err(), "{status}");
    }
    for media_type in ["text/html", "application/jsonx", "", "text/json"] {
        let headers = vec![("content-type".to_owned(), media_type.to_owned())];
        assert!(opa().read(&HttpResponse { headers, ..answer(good) }).is_err(), "{media_type}");
    }
    assert!(opa().read(&HttpResponse { headers: Vec::new(), ..answer(good) }).is_err());
}

fn all(body: &str, count: usize) -> Result<Vec<Result<Decision, Failure>>, Failure> {
    opa().with_batch().read_all(&answer(body), count, EvaluationsSemantic::ExecuteAll)
}

#[tokio::test]
async fn a_batch_numbers_its_questions() {
    let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
    let read = |id| AccessRequest::new(&alice, "read", Resource::new("order", id), UnixSeconds::new(7));
    let requests = [read("a"), read("b")];
    let opa = opa().with_batch();
    let asked = opa.ask_all(&requests, EvaluationsSemantic::ExecuteAll).await.unwrap();
    assert_eq!(asked.url, "http://127.0.0.1:8181/v1/batch/data/shop/authz?provenance=true");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(
        (&body["inputs"]["0"]["resource"]["id"], &body["inputs"]["1"]["resource"]["id"]),
        (&"a".into(), &"b".into())
    );
    assert_eq!(opa.max_batch(), 100);
    let plain = super::tests::opa();
    assert_eq!(plain.max_batch(), 1);
    assert!(plain.ask_all(&requests, EvaluationsSemantic::ExecuteAll).await.is_err());
}

#[test]
fn a_batch_is_read_in_the_order_of_its_questions() {
    let read = all(r#"{"responses":{"1":{"result":false,"decision_id":"d"},"0":{"result":true},"2":{}}}"#, 3).unwrap();
    let effects: Vec<_> = read.into_iter().map(|item| item.unwrap().effect()).collect();
    assert_eq!(effects, [Effect::Permit, Effect::Deny, Effect::NotApplicable]);
}

#[test]
fn a_batch_that_answers_other_questions_answers_none() {
    for body in [
        "{}",
        r#"{"responses":{}}"#,
        r#"{"responses":{"0":{"result":true}}}"#,
        r#"{"responses":{"0":{"result":true},"2":{"result":true}}}"#,
        r#"{"responses":{"0":{"result":true},"1":{"result":true},"2":{"result":true}}}"#,
        r#"{"responses":{"0":{"result":true},"01":{"result":true}}}"#,
        r#"{"responses":{"0":{"result":true},"0":{"result":true}}}"#,
        r#"{"responses":{"0":{"result":true},"1":true}}"#,
        r#"{"responses":[{"result":true},{"result":true}]}"#,
    ] {
        assert!(all(body, 2).is_err(), "{body}");
    }
}

#[test]
fn one_that_failed_in_a_batch_fails_alone() {
    let body = r#"{"responses":{"0":{"http_status_code":"200","result":true},
        "1":{"http_status_code":"500","code":"internal_error","message":"m","result":true},
        "2":{"http_status_code":200,"result":true},"3":{"code":"internal_error"},"4":{"result":"true"}}}"#;
    let mixed = HttpResponse { status: 207, ..answer(body) };
    let read = opa().with_batch().read_all(&mixed, 5, EvaluationsSemantic::ExecuteAll).unwrap();
    let good: Vec<_> = read.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, false, false, false]);
}
