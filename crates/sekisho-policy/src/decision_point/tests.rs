use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use sekisho_core::json::JsonObject;
use sekisho_core::{
    AccessRequest, Decision, Denial, Failure, FailureKind, Obligation, all_of, any_of, owner, role, scope, when,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

const ISSUER: &str = "https://id.example";

fn point(authorizer: impl Authorize + 'static) -> DecisionPointBuilder {
    DecisionPoint::builder(authorizer).with_subjects("user", ISSUER).open_to_everybody()
}

fn owners() -> Router {
    point(any_of([
        owner("owner"),
        role("clerk"),
        all_of([scope("orders:read"), when("it is read", |request| request.action() == "read")]),
    ]))
    .at("https://pdp.example")
    .build()
    .unwrap()
    .into_router()
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

struct Reply {
    status: u16,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_str(&self.text).unwrap()
    }
}

async fn send(router: &Router, request: Request<Body>) -> Reply {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    Reply { status: parts.status.as_u16(), headers: parts.headers, text }
}

fn question(id: &str, properties: &Value, resource: &Value) -> Value {
    json!({
        "subject": { "type": "user", "id": id, "properties": properties },
        "action": { "name": "read" },
        "resource": { "type": "order", "id": "1", "properties": resource },
    })
}

async fn evaluate(router: &Router, question: &Value) -> Value {
    send(router, post("/access/v1/evaluation", question.to_string())).await.json()
}

#[test]
fn is_not_built_unless_it_is_said_who_may_ask() {
    let refused = |builder: DecisionPointBuilder| drop(builder.build().unwrap_err());
    refused(DecisionPoint::builder(role("x")).with_subjects("user", ISSUER));
    refused(DecisionPoint::builder(role("x")).open_to_everybody());
    refused(point(role("x")).with_subjects("", ISSUER));
    refused(point(role("x")).with_subjects("client", ""));
    refused(point(role("x")).with_max_evaluations(0));
    refused(point(role("x")).with_max_body_bytes(0));
    for url in
        ["http://pdp.example", "https://pdp.example/", "https://pdp.example/tenant", "https://pdp.example?x", "pdp"]
    {
        refused(point(role("x")).at(url));
    }
}

#[tokio::test]
async fn properties_become_claims_roles_scopes_and_attributes() {
    let router = owners();
    let none = json!({});
    for (id, properties, resource, decision) in [
        ("alice", none.clone(), json!({ "owner": "alice" }), true),
        ("alice", none.clone(), json!({ "owner": "bob" }), false),
        ("bob", json!({ "roles": ["clerk"] }), none.clone(), true),
        ("bob", json!({ "roles": ["clerks"] }), none.clone(), false),
        ("bob", json!({ "role": "clerk" }), none.clone(), false),
        ("bob", json!({ "scopes": ["orders:read"] }), none.clone(), true),
        ("bob", json!({ "scope": "openid orders:read" }), none.clone(), true),
        ("bob", json!({ "scopes": ["orders:write"], "scope": "orders:read" }), none.clone(), false),
        ("bob", json!({ "sub": "alice" }), json!({ "owner": "alice" }), false),
        ("alice", json!({ "iss": ISSUER }), json!({ "owner": "alice" }), true),
        ("alice", json!({ "iss": "https://evil.example" }), json!({ "owner": "alice" }), false),
        ("alice", json!({ "iss": 1 }), json!({ "owner": "alice" }), false),
    ] {
        let answer = evaluate(&router, &question(id, &properties, &resource)).await;
        assert_eq!(answer["decision"], decision, "{id} {properties} {resource}");
    }
    for properties in [
        json!({ "roles": "clerk" }),
        json!({ "roles": [1] }),
        json!({ "scopes": [1] }),
        json!({ "scopes": "a", "exp": "soon" }),
        json!({ "scopes": ["a b", "c"] }),
        json!({ "tenant": 1 }),
        json!({ "client_id": {} }),
    ] {
        let reply =
            send(&router, post("/access/v1/evaluation", question("bob", &properties, &json!({})).to_string())).await;
        assert_eq!(reply.status, 400, "{properties}");
    }
    let mut service = question("alice", &none, &json!({ "owner": "alice" }));
    service["subject"]["type"] = json!("service");
    assert_eq!(evaluate(&router, &service).await["decision"], false, "no issuer was stated for services");
}

#[tokio::test]
async fn what_is_not_a_question_is_a_400_and_is_not_repeated() {
    let router = owners();
    let good = question("alice", &json!({}), &json!({})).to_string();
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut question = question("alice", &json!({}), &json!({}));
        edit(&mut question);
        question.to_string()
    };
    let mut bad = vec![
        String::new(),
        "[]".to_owned(),
        "null".to_owned(),
        good.replace("\"id\":\"alice\"", "\"id\":\"alice\",\"id\":\"bob\""),
    ];
    bad.push(format!("{good}{good}"));
    bad.push(format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40)));
    for part in ["subject", "action", "resource"] {
        bad.push(edited(&|question| drop(question.as_object_mut().unwrap().remove(part))));
        for wrong in [json!(null), json!("alice"), json!([]), json!({}), json!(7)] {
            bad.push(edited(&|question| question[part] = wrong.clone()));
        }
        bad.push(edited(&|question| question[part]["properties"] = json!("hunter2")));
    }
    for id in [json!(""), json!(1), json!(null), json!("x".repeat(1025))] {
        bad.push(edited(&|question| question["subject"]["id"] = id.clone()));
        bad.push(edited(&|question| question["resource"]["type"] = id.clone()));
        bad.push(edited(&|question| question["action"]["name"] = id.clone()));
    }
    bad.push(edited(&|question| question["context"] = json!("hunter2")));
    for body in bad {
        let reply = send(&router, post("/access/v1/evaluation", body.clone())).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(!reply.text.contains("hunter2") && reply.text.len() < 100);
    }
    for media_type in
        ["text/plain", "application/jsonp", "", "application/problem+json", "application/x-www-form-urlencoded"]
    {
        let request =
            Request::post("/access/v1/evaluation").header("content-type", media_type).body(good.clone().into());
        assert_eq!(send(&router, request.unwrap()).await.status, 400, "{media_type}");
    }
    let request = Request::post("/access/v1/evaluation").body(good.clone().into()).unwrap();
    assert_eq!(send(&router, request).await.status, 400, "no content type");
    let large = format!("{good}{}", " ".repeat(300_000));
    assert_eq!(send(&router, post("/access/v1/evaluation", large)).await.status, 413);
    for method in ["GET", "PUT", "DELETE"] {
        let request = Request::builder().method(method).uri("/access/v1/evaluation").body(Body::empty()).unwrap();
        assert_eq!(send(&router, request).await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn sends_back_the_id_of_a_request_also_with_an_error() {
    let router = owners();
    let with_ids = |ids: &[&str], body: &str| {
        let mut request = Request::post("/access/v1/evaluation").header("content-type", "application/json");
        for id in ids {
            request = request.header("x-request-id", *id);
        }
        request.body(body.to_owned().into()).unwrap()
    };
    let good = question("alice", &json!({}), &json!({})).to_string();
    for (body, status) in [(&*good, 200), ("{}", 400)] {
        let reply = send(&router, with_ids(&["bfe9eb29-ab87"], body)).await;
        assert_eq!((reply.status, reply.headers["x-request-id"].as_bytes()), (status, &b"bfe9eb29-ab87"[..]));
    }
    assert!(!send(&router, with_ids(&[], &good)).await.headers.contains_key("x-request-id"));
    for ids in [&["a", "b"][..], &["a b"], &[""], &[&"x".repeat(257)]] {
        let reply = send(&router, with_ids(ids, &good)).await;
        assert_eq!((reply.status, reply.headers.contains_key("x-request-id")), (400, false), "{ids:?}");
    }
}

/// Answers by the resource's id.
struct Scripted;

#[async_trait]
impl Authorize for Scripted {
    fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        None
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let gold = JsonObject::parse(br#"{"acr_values":["gold"]}"#.to_vec()).unwrap();
        let fields = JsonObject::parse(br#"{"fields":["iban"]}"#.to_vec()).unwrap();
        match request.resource().id() {
            "permit" => {
                Ok(Decision::permit().with_reason("rule 1").with_revision("7").with_lifetime(Duration::from_secs(3)))
            }
            "duties" => Ok(Decision::permit()
                .with_obligation(Obligation::new(Obligation::STEP_UP).with_parameters(gold))
                .with_obligation(Obligation::new(Obligation::REDACT).with_parameters(fields))),
            "silent" => Ok(Decision::not_applicable()),
            "login" => Ok(Decision::deny(Denial::InsufficientAuthentication {
                acr_values: Some("gold".into()),
                max_age: Some(Duration::from_secs(60)),
            })),
            "scope" => Ok(Decision::deny(Denial::InsufficientScope { scope: "orders:read".into() })),
            "down" => Err(Failure::unavailable("the store at 10.0.0.7 is down").with_source("password hunter2")),
            "broken" => Err(Failure::new(FailureKind::Misconfigured, "hunter2")),
            _ => Ok(Decision::deny(Denial::Forbidden { reason: "hunter2" })),
        }
    }
}

fn about(id: &str) -> Value {
    json!({ "subject": { "type": "user", "id": "alice" }, "action": { "name": "read" }, "resource": { "type": "order", "id": id } })
}

#[tokio::test]
async fn tells_of_a_decision_what_must_be_told_and_reasons_if_asked_for() {
    let router = point(Scripted).build().unwrap().into_router();
    for (id, answer) in [
        ("permit", json!({ "decision": true, "context": { "valid_for": 3 } })),
        ("silent", json!({ "decision": false })),
        ("other", json!({ "decision": false })),
        ("login", json!({ "decision": false, "context": { "acr_values": "gold", "max_age": 60 } })),
        ("scope", json!({ "decision": false, "context": { "required_scope": "orders:read" } })),
        (
            "duties",
            json!({ "decision": true, "context": { "obligations": [
            { "id": "o0", "type": "step-up", "properties": { "acr_value": "gold" } },
            { "id": "o1", "type": "redact", "properties": { "fields": ["iban"] } },
        ] } }),
        ),
    ] {
        assert_eq!(evaluate(&router, &about(id)).await, answer, "{id}");
    }
    let router = point(Scripted).with_reasons().build().unwrap().into_router();
    let context = evaluate(&router, &about("permit")).await["context"].clone();
    assert_eq!(context, json!({ "valid_for": 3, "reasons": ["rule 1"], "policy_revision": "7" }));
}

#[tokio::test]
async fn no_decision_is_an_error_and_says_nothing_of_its_cause() {
    let router = point(Scripted).build().unwrap().into_router();
    for (id, status) in [("down", 503), ("broken", 500)] {
        let reply = send(&router, post("/access/v1/evaluation", about(id).to_string())).await;
        assert_eq!((reply.status, reply.headers.contains_key("retry-after")), (status, status == 503));
        assert!(!reply.text.contains("hunter2") && !reply.text.contains("10.0.0.7"), "{}", reply.text);
    }
}

async fn batch(router: &Router, ids: &[&str], semantic: &str) -> Vec<bool> {
    let evaluations: Vec<Value> = ids
        .iter()
        .map(|id| if id.is_empty() { json!({}) } else { json!({ "resource": { "type": "order", "id": id } }) })
        .collect();
    let body = json!({
        "subject": { "type": "user", "id": "alice" },
        "action": { "name": "read" },
        "options": { "evaluations_semantic": semantic },
        "evaluations": evaluations,
    });
    let answer = send(router, post("/access/v1/evaluations", body.to_string())).await;
    assert!(!answer.text.contains("hunter2"));
    answer.json()["evaluations"].as_array().unwrap().iter().map(|one| one["decision"].as_bool().unwrap()).collect()
}

#[tokio::test]
async fn several_evaluations_end_as_their_semantic_says_and_an_error_denies_one_of_them() {
    let router = point(Scripted).build().unwrap().into_router();
    let ids = ["permit", "down", "", "other", "permit"];
    assert_eq!(batch(&router, &ids, "execute_all").await, [true, false, false, false, true]);
    assert_eq!(batch(&router, &ids, "deny_on_first_deny").await, [true, false]);
    assert_eq!(batch(&router, &["permit", "", "permit"], "deny_on_first_deny").await, [true, false]);
    assert_eq!(
        batch(&router, &["", "other", "permit", "permit"], "permit_on_first_permit").await,
        [false, false, true]
    );
    assert_eq!(batch(&router, &["", "other"], "permit_on_first_permit").await, [false, false]);
}

#[tokio::test]
async fn several_evaluations_have_defaults_which_whole_parts_replace() {
    let router = owners();
    let body = json!({
        "subject": { "type": "user", "id": "alice" },
        "action": { "name": "read" },
        "resource": { "type": "order", "id": "1", "properties": { "owner": "alice" } },
        "evaluations": [
            {},
            { "resource": { "type": "order", "id": "1" } },
            { "subject": { "type": "user", "id": "bob" } },
            { "subject": { "type": "service", "id": "alice" } },
            { "subject": "alice" },
            7,
        ],
    });
    let answer = send(&router, post("/access/v1/evaluations", body.to_string())).await.json();
    let decisions: Vec<_> =
        answer["evaluations"].as_array().unwrap().iter().map(|one| one["decision"].as_bool().unwrap()).collect();
    assert_eq!(decisions, [true, false, false, false, false, false]);
    for none in [json!([]), Value::Null] {
        let mut single = question("alice", &json!({}), &json!({ "owner": "alice" }));
        if !none.is_null() {
            single["evaluations"] = none;
        }
        assert_eq!(
            send(&router, post("/access/v1/evaluations", single.to_string())).await.json(),
            json!({ "decision": true })
        );
    }
    let mut bad = question("alice", &json!({}), &json!({}));
    for (name, value) in [
        ("evaluations", json!({})),
        ("evaluations", json!(vec![json!({}); 101])),
        ("options", json!([])),
        ("options", json!({ "evaluations_semantic": "all" })),
        ("options", json!({ "evaluations_semantic": 1 })),
    ] {
        bad["evaluations"] = json!([{}]);
        bad[name] = value.clone();
        assert_eq!(send(&router, post("/access/v1/evaluations", bad.to_string())).await.status, 400, "{name} {value}");
        bad.as_object_mut().unwrap().remove("options");
    }
}

#[tokio::test]
async fn metadata_names_what_can_be_asked() {
    let get = || Request::get("/.well-known/authzen-configuration").body(Body::empty()).unwrap();
    let document = send(&owners(), get()).await.json();
    assert_eq!(document["policy_decision_point"], "https://pdp.example");
    assert_eq!(document["access_evaluation_endpoint"], "https://pdp.example/access/v1/evaluation");
    assert_eq!(document.get("search_subject_endpoint"), None);
    let nameless = point(role("x")).build().unwrap().into_router();
    assert_eq!(send(&nameless, get()).await.status, 404);
    assert_eq!(send(&nameless, post("/access/v1/search/subject", "{}")).await.status, 404);
}

struct Shop;

#[async_trait]
impl Candidates for Shop {
    async fn page(&self, of: CandidatesOf<'_>, token: Option<&str>, limit: usize) -> Result<CandidatePage, Failure> {
        let owned = |id: &str, owner: &str| {
            Candidate::new(id).with_properties(JsonObject::from_serialize(&json!({ "owner": owner })).unwrap())
        };
        let all = match of {
            CandidatesOf::Resources("order") => vec![owned("1", "alice"), owned("2", "bob"), owned("3", "alice")],
            CandidatesOf::Subjects("user") => vec![Candidate::new("alice"), Candidate::new("bob")],
            CandidatesOf::Actions("order") => vec![Candidate::new("read"), Candidate::new("write")],
            CandidatesOf::Resources("broken") => return Err(Failure::unavailable("down")),
            _ => Vec::new(),
        };
        let start: usize = token.map_or(0, |token| token.parse().unwrap());
        let end = (start + limit).min(all.len());
        let page = CandidatePage::new(all[start..end].to_vec());
        Ok(if end < all.len() { page.with_next(end.to_string()) } else { page })
    }
}

fn shop() -> Router {
    let rule = any_of([
        owner("owner"),
        all_of([scope("orders:read"), when("it is read", |request| request.action() == "read")]),
    ]);
    point(rule).with_candidates(Shop).build().unwrap().into_router()
}

#[tokio::test]
async fn a_search_finds_those_candidates_that_are_permitted() {
    let router = shop();
    let search = async |what: &str, body: Value| {
        send(&router, post(&format!("/access/v1/search/{what}"), body.to_string())).await
    };
    let alice = json!({ "type": "user", "id": "alice" });
    let read = json!({ "name": "read" });
    let order = json!({ "type": "order", "id": "1", "properties": { "owner": "alice" } });
    let mut resources = json!({ "subject": alice, "action": read, "resource": { "type": "order", "id": "ignored" }, "page": { "limit": 2 } });
    let first = search("resource", resources.clone()).await.json();
    assert_eq!(first["results"], json!([{ "type": "order", "id": "1" }]), "of a page of two, one is permitted");
    let token = first["page"]["next_token"].as_str().unwrap().to_owned();
    resources["page"]["token"] = json!(token);
    let second = search("resource", resources.clone()).await.json();
    assert_eq!(
        (&second["results"], &second["page"]["next_token"]),
        (&json!([{ "type": "order", "id": "3" }]), &json!(""))
    );
    resources["subject"]["id"] = json!("bob");
    assert_eq!(search("resource", resources.clone()).await.status, 400, "a token belongs to its question");
    let subjects =
        search("subject", json!({ "subject": { "type": "user" }, "action": read, "resource": order })).await.json();
    assert_eq!(subjects["results"], json!([{ "type": "user", "id": "alice" }]));
    let reader = json!({ "type": "user", "id": "bob", "properties": { "scopes": ["orders:read"] } });
    let actions = search("action", json!({ "subject": reader, "resource": order })).await.json();
    assert_eq!(actions["results"], json!([{ "name": "read" }]));
    for (what, body) in [
        ("subject", json!({ "subject": { "type": "spaceship" }, "action": read, "resource": order })),
        ("resource", json!({ "subject": alice, "action": read, "resource": { "type": "spaceship" } })),
        ("action", json!({ "subject": { "type": "user", "id": "nobody" }, "resource": order })),
    ] {
        assert_eq!(search(what, body).await.json()["results"], json!([]), "{what}");
    }
    for (what, body) in [
        ("subject", json!({ "subject": { "type": "user" }, "resource": order })),
        ("subject", json!({ "subject": { "type": "user" }, "action": read, "resource": { "type": "order" } })),
        ("resource", json!({ "action": read, "resource": { "type": "order" } })),
        ("resource", json!({ "subject": { "type": "user" }, "action": read, "resource": { "type": "order" } })),
        ("action", json!({ "subject": alice })),
        ("action", json!({ "subject": { "type": "user" }, "resource": order })),
        ("action", json!({ "subject": alice, "resource": order, "page": [] })),
        ("action", json!({ "subject": alice, "resource": order, "page": { "limit": -1 } })),
        ("action", json!({ "subject": alice, "resource": order, "page": { "token": "0" } })),
        ("action", json!({ "subject": alice, "resource": order, "context": 1 })),
    ] {
        assert_eq!(search(what, body.clone()).await.status, 400, "{what} {body}");
    }
    let broken = json!({ "subject": alice, "action": read, "resource": { "type": "broken" } });
    assert_eq!(search("resource", broken).await.status, 503);
}

/// Parts of `bytes` bytes together, as they stand around the items of a batch.
fn around(bytes: usize) -> Value {
    let mut body = question("alice", &json!({}), &json!({ "owner": "alice" }));
    body["context"] = json!({ "pad": "" });
    let parts = |body: &Value| body.as_object().unwrap().values().map(|part| part.to_string().len()).sum::<usize>();
    let pad = bytes - parts(&body);
    body["context"]["pad"] = json!("x".repeat(pad));
    assert_eq!(parts(&body), bytes);
    body
}

#[tokio::test]
async fn a_batch_is_bounded_together_with_all_that_its_items_take_from_around_them() {
    let router = point(owner("owner")).with_max_body_bytes(10_000).build().unwrap().into_router();
    for (bytes, items, status) in
        [(4_000, 10, 200), (4_001, 10, 413), (4_000, 11, 413), (9_000, 4, 200), (9_000, 5, 413), (400, 100, 200)]
    {
        let mut body = around(bytes);
        body["evaluations"] = json!(vec![json!({}); items]);
        let reply = send(&router, post("/access/v1/evaluations", body.to_string())).await;
        assert_eq!(reply.status, status, "{items} times {bytes}");
        assert!(!reply.text.contains("xxx"));
    }
    // What an item brings itself counts in the place of what it does not take.
    let mut body = around(9_000);
    body["evaluations"] = json!(vec![json!({ "context": {} }); 50]);
    assert_eq!(send(&router, post("/access/v1/evaluations", body.to_string())).await.status, 200);
}

#[test]
fn what_stands_around_a_batch_is_read_once() {
    let point = point(owner("owner")).build().unwrap();
    let mut body = question("alice", &json!({ "roles": ["clerk"] }), &json!({ "owner": "alice" }));
    body["action"]["properties"] = json!({ "method": "GET" });
    body["context"] = json!({ "ip": "192.0.2.1" });
    let body = JsonObject::from_serialize(&body).unwrap();
    let items =
        JsonObject::parse(br#"{"v":[{},{},{"resource":{"type":"order","id":"2","properties":{}}}]}"#.to_vec()).unwrap();
    let defaults = question::Defaults::new(question::Parts::of(&body));
    let questions: Vec<question::Question> = items
        .get("v")
        .unwrap()
        .elements()
        .into_iter()
        .map(|item| defaults.question(item, &point.0).unwrap_or_else(|words| panic!("{words}")))
        .collect();
    let [first, second, third] = &questions[..] else { panic!("three questions") };
    let is_shared = |one: &Option<Arc<JsonObject>>, other: &Option<Arc<JsonObject>>| {
        Arc::ptr_eq(one.as_ref().unwrap(), other.as_ref().unwrap())
    };
    assert!(is_shared(&first.resource.properties, &second.resource.properties));
    assert!(!is_shared(&first.resource.properties, &third.resource.properties));
    for other in [second, third] {
        assert!(is_shared(&first.context, &other.context));
        assert!(is_shared(&first.action.properties, &other.action.properties));
        let claims = |one: &question::Question| one.subject.principal.as_ref().unwrap().claims().as_str().as_ptr();
        assert_eq!(claims(first), claims(other), "one principal");
    }
    // A default that no item takes is not looked at; one that is wrong is wrong for whoever takes it.
    let wrong = JsonObject::parse(br#"{"subject":7,"action":7,"resource":7,"context":7}"#.to_vec()).unwrap();
    let defaults = question::Defaults::new(question::Parts::of(&wrong));
    assert!(defaults.question(items.get("v").unwrap().elements()[0], &point.0).is_err());
    let whole = question("alice", &json!({}), &json!({}));
    let mut whole = whole.as_object().unwrap().clone();
    whole.insert("context".into(), json!({}));
    let whole = JsonObject::from_serialize(&json!({ "item": whole })).unwrap();
    assert!(defaults.question(whole.get("item").unwrap(), &point.0).is_ok());
}

/// Remembers how many candidates were wanted.
#[derive(Clone, Default)]
struct Asked(Arc<std::sync::Mutex<Vec<usize>>>);

#[async_trait]
impl Candidates for Asked {
    async fn page(&self, _: CandidatesOf<'_>, _: Option<&str>, limit: usize) -> Result<CandidatePage, Failure> {
        self.0.lock().unwrap().push(limit);
        Ok(CandidatePage::new((0..200).map(|id| Candidate::new(id.to_string())).collect()))
    }
}

#[tokio::test]
async fn a_page_of_a_search_is_shorter_where_the_question_is_long() {
    let asked = Asked::default();
    let point = point(owner("owner")).with_candidates(asked.clone()).with_max_body_bytes(10_000);
    let router = point.build().unwrap().into_router();
    for (bytes, what, limit) in [(400, "resource", 100), (4_000, "subject", 10), (9_000, "action", 4)] {
        let reply = send(&router, post(&format!("/access/v1/search/{what}"), around(bytes).to_string())).await;
        assert_eq!((reply.status, asked.0.lock().unwrap().pop()), (200, Some(limit)), "{what}");
        // They all belong to Alice.
        assert_eq!(reply.json()["results"].as_array().unwrap().len(), if what == "subject" { 0 } else { limit });
    }
}
