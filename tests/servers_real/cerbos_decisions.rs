//! Our AuthZEN client before Cerbos: the working group's todo scenario, the certification's fixture, and a Cerbos that is
//! silent, dead, late or wrong.

use std::time::{Duration, Instant};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Authorize as _, EvaluationsSemantic, Principal, Resource, UnixSeconds};
use sekisho_policy::remote::Remote;
use sekisho_policy::remote::authzen::AuthZen;
use sekisho_tests::vector_json;
use serde_json::{Value, json};

use crate::cerbos::Cerbos;
use crate::relay::{Mode, Relay};
use crate::setup::keeps_the_default_deadline;

const DEADLINE: Duration = Duration::from_millis(400);

fn remote(url: &str, deadline: Duration) -> Remote {
    let asks = AuthZen::cerbos(url).with_claims(["role"]).build().expect("a client");
    Remote::builder(asks).with_deadline(deadline).without_cache().build().expect("a remote")
}

fn principal(id: &str, properties: &Value) -> Principal {
    let mut principal = PrincipalBuilder::new("https://id.example", id).with_roles(["user"]);
    for (name, value) in properties.as_object().into_iter().flatten() {
        principal = principal.with_claim(name, value.clone());
    }
    principal.build().expect("a principal")
}

fn object(value: &Value) -> JsonObject {
    let empty = Value::Object(serde_json::Map::new());
    JsonObject::from_serialize(if value.is_null() { &empty } else { value }).expect("an object")
}

/// Asks the cases of a scenario one by one; returns how many there are, and how many are permitted.
async fn scenario(cerbos: &Cerbos, cases: &Value) -> (usize, usize) {
    let remote = remote(cerbos.url(), Duration::from_secs(5));
    let (mut asked, mut permitted) = (0, 0);
    for case in cases["evaluation"].as_array().expect("cases") {
        let text = |pointer: &str| case["request"].pointer(pointer).and_then(Value::as_str).expect(pointer);
        let subject = principal(text("/subject/id"), &Value::Null);
        let attributes = object(&case["request"]["resource"]["properties"]);
        let resource = Resource::new(text("/resource/type"), text("/resource/id")).with_attributes(&attributes);
        let request = AccessRequest::new(&subject, text("/action/name"), resource, UnixSeconds::new(0))
            .with_subject_kind(text("/subject/type"));
        let decision = remote.decide(&request).await.expect("a decision");
        assert_eq!(decision.is_permitted(), case["expected"] == json!(true), "{case}");
        asked += 1;
        permitted += usize::from(decision.is_permitted());
    }
    (asked, permitted)
}

#[tokio::test]
async fn cerbos_decides_the_todo_scenario_for_our_client() {
    let Some(cerbos) = Cerbos::reach("Cerbos decides the todo scenario") else { return };
    let Some(cases) = vector_json("authzen/todo/decisions-authorization-api-1_0-01.json") else { return };
    let (asked, permitted) = scenario(&cerbos, &cases).await;
    assert_eq!(asked, 40);
    assert!((1..40).contains(&permitted));
}

#[tokio::test]
async fn cerbos_decides_the_gateway_scenario_for_our_client() {
    let Some(cerbos) = Cerbos::reach("Cerbos decides the gateway scenario") else { return };
    let Some(cases) = vector_json("authzen/gateway/decisions.json") else { return };
    assert_eq!(scenario(&cerbos, &cases).await, (25, 19));
    // Another route, another method, somebody else: nothing is permitted that is not written down.
    let remote = remote(cerbos.url(), Duration::from_secs(5));
    let rick = "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs";
    for (who, action, route) in
        [(rick, "GET", "/admin"), (rick, "POST", "/users/{userId}"), (rick, "PATCH", "/todos"), ("x", "GET", "/todos")]
    {
        let subject = principal(who, &Value::Null);
        let request = AccessRequest::new(&subject, action, Resource::new("route", route), UnixSeconds::new(0));
        let decision = remote.decide(&request.with_subject_kind("identity")).await.expect("a decision");
        assert!(!decision.is_permitted(), "{who} {action} {route}");
    }
}

fn record<'a>(subject: &'a Principal, action: &'a str, id: &'a str, attributes: &'a JsonObject) -> AccessRequest<'a> {
    AccessRequest::new(subject, action, Resource::new("record", id).with_attributes(attributes), UnixSeconds::new(0))
}

/// Rule 7, which looks at a property of the action, is none that Cerbos can have.
#[tokio::test]
async fn cerbos_decides_the_fixture_of_the_certification_for_our_client_also_of_one_resource_in_two_states() {
    let Some(cerbos) = Cerbos::reach("Cerbos decides the fixture") else { return };
    let remote = remote(cerbos.url(), Duration::from_secs(5));
    let (alice, bob) = (principal("alice", &Value::Null), principal("bob", &Value::Null));
    let admin = principal("bob", &json!({ "role": "admin" }));
    let (active, archived) = (object(&json!({ "status": "active" })), object(&json!({ "status": "archived" })));
    for (subject, action, id, attributes, permitted) in [
        (&alice, "read", "record-1", &active, true),
        (&alice, "write", "record-1", &active, true),
        (&bob, "read", "record-1", &active, true),
        (&bob, "write", "record-1", &active, false),
        (&alice, "write", "record-2", &archived, false),
        (&admin, "write", "record-2", &archived, true),
        (&alice, "delete", "record-1", &active, false),
        (&principal("carol", &Value::Null), "read", "record-1", &active, false),
    ] {
        let decision = remote.decide(&record(subject, action, id, attributes)).await.expect("a decision");
        assert_eq!(decision.is_permitted(), permitted, "{subject:?} {action} {id}");
    }
    // Put at once, Cerbos would answer both as the first.
    let both = [record(&alice, "write", "record-1", &active), record(&alice, "write", "record-1", &archived)];
    let both = remote.decide_all(&both, EvaluationsSemantic::ExecuteAll).await;
    let both: Vec<bool> = both.into_iter().map(|one| one.expect("a decision").is_permitted()).collect();
    assert_eq!(both, [true, false]);
}

/// Asks what is permitted while all is well, and expects no permit, in time.
async fn is_not_permitted(remote: &Remote, why: &str) {
    let (alice, active) = (principal("alice", &Value::Null), object(&json!({ "status": "active" })));
    let start = Instant::now();
    let one = record(&alice, "write", "record-1", &active);
    let both = [record(&alice, "write", "record-1", &active), record(&alice, "read", "record-1", &active)];
    let (decision, all) = tokio::join!(remote.decide(&one), remote.decide_all(&both, EvaluationsSemantic::ExecuteAll));
    assert!(decision.is_err(), "{why}: {decision:?}");
    assert!(all.len() == 2 && all.iter().all(Result::is_err), "{why}: {all:?}");
    assert!(start.elapsed() < DEADLINE + Duration::from_millis(600), "{why}: {:?}", start.elapsed());
}

async fn is_permitted(url: &str, why: &str) {
    let (alice, active) = (principal("alice", &Value::Null), object(&json!({ "status": "active" })));
    let decision = remote(url, Duration::from_secs(5)).decide(&record(&alice, "write", "record-1", &active)).await;
    assert!(decision.expect(why).is_permitted(), "{why}");
}

#[tokio::test]
async fn a_cerbos_that_is_silent_or_dead_permits_nothing_and_one_that_is_back_does() {
    let Some(mut cerbos) = Cerbos::private("Cerbos silent and dead before our client").await else { return };
    let url = cerbos.url().to_owned();
    is_permitted(&url, "before").await;
    cerbos.process().pause();
    is_not_permitted(&remote(&url, DEADLINE), "paused").await;
    let asks = AuthZen::cerbos(&url).build().expect("a client");
    let usual = Remote::builder(asks).without_cache().with_circuit_breaker(32, DEADLINE).build().expect("a remote");
    let (alice, active) = (principal("alice", &Value::Null), object(&json!({ "status": "active" })));
    let ask = async || usual.decide(&record(&alice, "write", "record-1", &active)).await.is_ok();
    keeps_the_default_deadline(ask).await;
    cerbos.process().resume();
    is_permitted(&url, "resumed").await;
    cerbos.process().kill();
    is_not_permitted(&remote(&url, DEADLINE), "dead").await;
    cerbos.process().restart().await;
    is_permitted(&url, "restarted").await;
}

#[tokio::test]
async fn a_cerbos_that_is_late_or_answers_rubbish_permits_nothing() {
    let Some(cerbos) = Cerbos::reach("Cerbos late and wrong before our client") else { return };
    let relay = Relay::start(cerbos.url()).await;
    is_permitted(relay.url(), "through the relay").await;
    let json = "application/json";
    for mode in [
        Mode::Late(Duration::from_secs(3)),
        Mode::Silent,
        Mode::Answer(b"\0\0rubbish".to_vec()),
        Mode::answer(500, json, r#"{"decision":true}"#),
        Mode::answer(302, json, r#"{"decision":true}"#),
        Mode::answer(200, json, r#"{"decision":"true"}"#),
        Mode::answer(200, json, "{}"),
        Mode::answer(200, json, r#"{"decision":true,"decision":true}"#),
        Mode::answer(200, "text/html", r#"{"decision":true}"#),
    ] {
        relay.set(mode.clone());
        is_not_permitted(&remote(relay.url(), DEADLINE), &format!("{mode:?}")).await;
    }
    relay.set(Mode::Pass);
    is_permitted(relay.url(), "at the end").await;
}
