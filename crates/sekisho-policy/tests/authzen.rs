//! Our AuthZEN decision point and our client: before each other over TCP, and before the cases of the AuthZEN working group
//! and of the certification suite, which lie in the folder that `SEKISHO_VECTORS` names.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{
    AccessRequest, Authenticate, Authorize, Credential, Denial, EvaluationsSemantic, Principal, Refusal, Reject,
    Requirement, Resource, Secret, UnixSeconds, any_of, role, scope, when,
};
use sekisho_http::{Checkpoint, HttpClient, HttpLimits, ReqwestClient};
use sekisho_policy::decision_point::{Candidate, CandidatePage, Candidates, CandidatesOf, DecisionPoint};
use sekisho_policy::remote::Remote;
use sekisho_policy::remote::authzen::{AuthZen, AuthZenMetadata, Sought};
use sekisho_tower::CheckpointExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const ISSUER: &str = "https://id.example";

/// Reads a file of the vectors, or says that the test was skipped. Where everything has to run, `CI=true`, only the word
/// `none` in place of a folder skips.
fn vectors(path: &str) -> Option<Value> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder =
        std::env::var_os("SEKISHO_VECTORS").map_or_else(|| "../shared/vectors".into(), std::path::PathBuf::from);
    let folder = workspace.join(folder);
    if folder.is_dir() {
        return Some(serde_json::from_slice(&std::fs::read(folder.join(path)).unwrap()).unwrap());
    }
    let is_skipped_on_purpose = folder.file_name().is_some_and(|name| name == "none");
    let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true") && !is_skipped_on_purpose;
    assert!(!must_run, "no folder {}; set SEKISHO_VECTORS to the vectors, or to `none`", folder.display());
    let line = format!("skipped: sekisho-policy {path}: no vectors; set SEKISHO_VECTORS\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("SEKISHO_SKIPPED") {
        let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
    None
}

/// The five people of the todo scenario: the end of the id's first part tells them apart.
fn person(request: &AccessRequest<'_>) -> Option<(&'static str, &'static str)> {
    Some(match request.subject().subject() {
        "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs" => ("rick@the-citadel.com", "admin"),
        "CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs" => ("morty@the-citadel.com", "editor"),
        "CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs" => ("summer@the-smiths.com", "editor"),
        "CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs" => ("beth@the-smiths.com", "viewer"),
        "CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs" => ("jerry@the-smiths.com", "viewer"),
        _ => return None,
    })
}

fn attribute(request: &AccessRequest<'_>, name: &str) -> Option<String> {
    let attributes = request.resource().attributes()?;
    attributes.attribute(name)?.as_text().map(std::borrow::Cow::into_owned)
}

fn todo() -> Requirement {
    when("the todo scenario permits it", |request| {
        let Some((email, role)) = person(request) else { return false };
        match (request.resource().kind(), request.action()) {
            ("user", "can_read_user") | ("todo", "can_read_todos") => true,
            ("todo", "can_create_todo") => role != "viewer",
            ("todo", "can_update_todo" | "can_delete_todo") => {
                role == "admin" || (role == "editor" && attribute(request, "ownerID").as_deref() == Some(email))
            }
            ("route", "GET") => true,
            ("route", "POST" | "PUT" | "DELETE") => role != "viewer",
            _ => false,
        }
    })
}

/// The rules of the certification's fixture, by their numbers.
fn records() -> Requirement {
    when("the fixture permits it", |request| {
        let soft = request.action_properties().and_then(|properties| properties.get("soft")?.as_bool());
        let is_admin =
            request.subject().claims().get("role").is_some_and(|role| role.as_str().as_deref() == Some("admin"));
        let is_archived = attribute(request, "status").as_deref() == Some("archived");
        match (request.subject().subject(), request.action(), request.resource().id()) {
            (_, "write", _) if is_archived => is_admin,
            ("alice", "read" | "write", "record-1") | ("bob", "read", "record-1") => true,
            ("alice", "delete", "record-1") => soft == Some(true),
            _ => false,
        }
    })
}

fn open(rule: Requirement) -> Router {
    let point = DecisionPoint::builder(rule).with_subjects("user", ISSUER).with_subjects("identity", ISSUER);
    point.open_to_everybody().build().unwrap().into_router()
}

/// Serves on a port of its own, as long as the test runs.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn remote(protocol: AuthZen) -> Remote {
    Remote::builder(protocol).with_deadline(Duration::from_secs(5)).without_cache().build().unwrap()
}

async fn send(router: &Router, request: Request<Body>) -> (u16, axum::http::HeaderMap, Value) {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap_or_default())
}

/// What an [`AccessRequest`] borrows from, out of a published request.
struct Owned {
    subject: Principal,
    kind: String,
    action: String,
    action_properties: JsonObject,
    resource: (String, String, JsonObject),
}

impl Owned {
    fn of(request: &Value) -> Self {
        let text = |pointer: &str| request.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let object =
            |pointer: &str| JsonObject::from_serialize(request.pointer(pointer).unwrap_or(&json!({}))).unwrap();
        let mut subject = PrincipalBuilder::new(ISSUER, text("/subject/id"));
        for (name, value) in request.pointer("/subject/properties").and_then(Value::as_object).into_iter().flatten() {
            subject = subject.with_claim(name, value.clone());
        }
        Self {
            subject: subject.build().unwrap(),
            kind: text("/subject/type"),
            action: text("/action/name"),
            action_properties: object("/action/properties"),
            resource: (text("/resource/type"), text("/resource/id"), object("/resource/properties")),
        }
    }

    fn request(&self) -> AccessRequest<'_> {
        let (kind, id, attributes) = &self.resource;
        let resource = Resource::new(kind, id).with_attributes(attributes);
        AccessRequest::new(&self.subject, &self.action, resource, UnixSeconds::new(1_800_000_000))
            .with_subject_kind(&self.kind)
            .with_action_properties(&self.action_properties)
    }
}

#[tokio::test]
async fn the_todo_and_gateway_scenarios_are_answered_and_asked_one_by_one_and_all_at_once() {
    let router = open(todo());
    let url = serve(router.clone()).await;
    let client = remote(AuthZen::builder(&url).build().unwrap());
    for (path, count) in
        [("authzen/todo/decisions-authorization-api-1_0-01.json", 40), ("authzen/gateway/decisions.json", 25)]
    {
        let Some(cases) = vectors(path) else { return };
        let cases = cases["evaluation"].as_array().unwrap();
        assert_eq!(cases.len(), count);
        let expected: Vec<bool> = cases.iter().map(|case| case["expected"].as_bool().unwrap()).collect();
        let asked: Vec<Owned> = cases.iter().map(|case| Owned::of(&case["request"])).collect();
        for ((case, asked), expected) in cases.iter().zip(&asked).zip(&expected) {
            let request = Request::post("/access/v1/evaluation").header("content-type", "application/json");
            let (status, _, answer) = send(&router, request.body(case["request"].to_string().into()).unwrap()).await;
            assert_eq!((status, &answer["decision"]), (200, &json!(expected)), "{case}");
            assert_eq!(client.decide(&asked.request()).await.unwrap().is_permitted(), *expected, "{case}");
        }
        let requests: Vec<_> = asked.iter().map(Owned::request).collect();
        let decisions = client.decide_all(&requests, EvaluationsSemantic::ExecuteAll).await;
        let decisions: Vec<bool> = decisions.into_iter().map(|one| one.unwrap().is_permitted()).collect();
        assert_eq!(decisions, expected, "{path}");
        let first_denied = expected.iter().position(|expected| !expected).unwrap();
        let decisions = client.decide_all(&requests, EvaluationsSemantic::DenyOnFirstDeny).await;
        assert_eq!(decisions.len(), first_denied + 1, "{path}");
    }
}

/// Knows one token.
struct OneToken;

#[async_trait]
impl Authenticate for OneToken {
    fn recognizes(&self, _: Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(&self, credential: Credential<'_>, _: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        let caller = PrincipalBuilder::new(ISSUER, "orders").with_scope("decisions").build().unwrap();
        Some(if credential.expose() == "good" { Ok(caller) } else { Err(Reject::Signature.into()) })
    }

    async fn authenticate(&self, _: Credential<'_>, _: UnixSeconds) -> Result<Principal, Refusal> {
        Err(Reject::Signature.into())
    }
}

fn guarded(needed: &str) -> (Router, Checkpoint) {
    let checkpoint = Checkpoint::builder().accept(OneToken).build().unwrap();
    let point = DecisionPoint::builder(records()).with_subjects("user", ISSUER).behind(&checkpoint, scope(needed));
    (point.build().unwrap().into_router(), checkpoint)
}

#[tokio::test]
async fn the_certification_scenarios_are_answered_as_they_must_be() {
    let Some(cases) = vectors("authzen-certification/evaluation.json") else { return };
    let (open, (router, checkpoint)) = (open(records()), guarded("decisions"));
    let guarded = router.layer(checkpoint.layer());
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 33);
    for case in cases {
        let (name, summary) = (case["name"].as_str().unwrap(), case["summary"].as_str().unwrap());
        let media_type = match case["content_type"].as_str() {
            // The list holds the rest of the sentence, too.
            Some(text) => text.split('`').next().unwrap(),
            None => "application/json",
        };
        let body = case["raw_body"].as_str().map_or_else(|| case["payload"].to_string(), str::to_owned);
        let mut request = Request::builder().method(case["method"].as_str().unwrap()).uri("/access/v1/evaluation");
        request = request.header("content-type", media_type).header("x-request-id", "7f1c");
        let router = if name.contains("credentials") { &guarded } else { &open };
        if name.contains("invalid-credentials") {
            request = request.header("authorization", "Bearer forged");
        }
        let (status, headers, answer) = send(router, request.body(body.into()).unwrap()).await;
        assert!(case["acceptable_status"].as_array().unwrap().contains(&json!(status)), "{name}: {status}");
        if status == 401 {
            assert!(headers.contains_key("www-authenticate"), "{name}");
        } else if status != 405 {
            assert_eq!(headers["x-request-id"], "7f1c", "{name}");
        }
        if status == 200 {
            assert_eq!(answer["decision"], json!(!summary.contains("false")), "{name}: {answer}");
        }
    }
}

#[tokio::test]
async fn the_fixture_of_the_certification_is_asked_by_our_client() {
    let Some(fixture) = vectors("authzen-certification/fixture.json") else { return };
    assert_eq!(fixture["rules"].as_array().unwrap().len(), 8);
    let (router, checkpoint) = guarded("decisions");
    let url = serve(router.layer(checkpoint.layer())).await;
    // Whoever is asked about `role` must be told it.
    let client = |token: &str| {
        let asks = AuthZen::builder(&url).with_bearer(Secret::from(token)).with_claims(["role"]);
        remote(asks.build().unwrap())
    };
    let (alice, bob) = (json!({ "type": "user", "id": "alice" }), json!({ "type": "user", "id": "bob" }));
    let admin = json!({ "type": "user", "id": "bob", "properties": { "role": "admin" } });
    let record = json!({ "type": "record", "id": "record-1" });
    let archived = json!({ "type": "record", "id": "record-2", "properties": { "status": "archived" } });
    let (soft, hard) = (json!({ "soft": true }), json!({ "soft": false }));
    for (subject, action, properties, resource, permitted) in [
        (&alice, "read", None, &record, true),
        (&alice, "write", None, &record, true),
        (&bob, "read", None, &record, true),
        (&bob, "write", None, &record, false),
        (&alice, "write", None, &archived, false),
        (&admin, "write", None, &archived, true),
        (&alice, "delete", Some(&soft), &record, true),
        (&alice, "delete", Some(&hard), &record, false),
    ] {
        let mut question = json!({ "subject": subject, "action": { "name": action }, "resource": resource });
        if let Some(properties) = properties {
            question["action"]["properties"] = properties.clone();
        }
        let question = Owned::of(&question);
        let decision = client("good").decide(&question.request()).await.unwrap();
        assert_eq!(decision.is_permitted(), permitted, "{subject} {action} {resource}");
        assert_eq!(decision.id().map(str::len), Some(32), "the id of the request came back");
        assert!(client("forged").decide(&question.request()).await.is_err(), "a 401 is no decision");
    }
}

#[tokio::test]
async fn whoever_has_not_passed_the_checkpoint_or_lacks_the_right_is_not_answered() {
    let body = json!({ "subject": { "type": "user", "id": "alice" }, "action": { "name": "read" }, "resource": { "type": "record", "id": "record-1" } });
    let ask = |token: &str| {
        let request = Request::post("/access/v1/evaluation").header("content-type", "application/json");
        request.header("authorization", format!("Bearer {token}")).body(Body::from(body.to_string())).unwrap()
    };
    let (router, checkpoint) = guarded("decisions");
    assert_eq!(send(&router, ask("good")).await.0, 500, "the layer was forgotten");
    let behind = router.clone().layer(checkpoint.layer());
    assert_eq!(send(&behind, ask("good")).await.0, 200);
    assert_eq!(send(&behind, ask("forged")).await.0, 401);
    let other = Checkpoint::builder().accept(OneToken).build().unwrap();
    assert_eq!(send(&router.clone().layer(other.layer()), ask("good")).await.0, 500, "another checkpoint");
    let without = Request::post("/access/v1/evaluation").header("content-type", "application/json");
    let without = without.body(Body::from(body.to_string())).unwrap();
    assert_eq!(send(&router.layer(checkpoint.optional_layer()), without).await.0, 401);
    let (router, checkpoint) = guarded("another:right");
    assert_eq!(send(&router.layer(checkpoint.layer()), ask("good")).await.0, 403);
}

struct Records;

#[async_trait]
impl Candidates for Records {
    async fn page(
        &self,
        of: CandidatesOf<'_>,
        token: Option<&str>,
        _: usize,
    ) -> Result<CandidatePage, sekisho_core::Failure> {
        let names = |names: &[&str]| CandidatePage::new(names.iter().map(|name| Candidate::new(*name)).collect());
        Ok(match (of, token) {
            (CandidatesOf::Subjects("user"), _) => names(&["alice", "bob", "carol"]),
            (CandidatesOf::Resources("record"), None) => names(&["record-1"]).with_next("2"),
            (CandidatesOf::Resources("record"), Some("2")) => names(&["record-2"]),
            (CandidatesOf::Actions("record"), _) => names(&["read", "write", "delete"]),
            _ => CandidatePage::default(),
        })
    }
}

#[tokio::test]
async fn our_client_finds_the_service_by_its_metadata_and_searches() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let point = DecisionPoint::builder(any_of([records(), role("auditor")])).with_subjects("user", ISSUER);
    let router = point.open_to_everybody().at(&url).with_candidates(Records).build().unwrap().into_router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client: Arc<dyn HttpClient> = Arc::new(ReqwestClient::new(Duration::from_secs(1)).unwrap());
    let limits = HttpLimits::default();
    let metadata = AuthZenMetadata::fetch(&url, &*client, limits).await.unwrap();
    assert!(
        AuthZenMetadata::fetch(&format!("{url}/"), &*client, limits).await.is_err(),
        "not the name it gives itself"
    );
    let pdp = AuthZen::builder("https://elsewhere.example").with_metadata(&metadata).build().unwrap();
    let principal = |id: &str, role: &str| PrincipalBuilder::new(ISSUER, id).with_roles([role]).build().unwrap();
    let (bob, auditor) = (principal("bob", "x"), principal("bob", "auditor"));
    let request =
        |subject, kind| AccessRequest::new(subject, "read", Resource::new(kind, "record-1"), UnixSeconds::new(0));
    let lists = Remote::builder(pdp.clone()).with_client(Arc::clone(&client)).with_deadline(Duration::from_secs(5));
    let lists = lists.build().unwrap();
    let search = async |sought, subject, kind| pdp.search(&lists, sought, &request(subject, kind)).await.unwrap();
    assert_eq!(search(Sought::Subjects, &bob, "record").await, ["alice", "bob"]);
    assert_eq!(search(Sought::Resources, &bob, "record").await, ["record-1"]);
    assert_eq!(search(Sought::Resources, &auditor, "record").await, ["record-1", "record-2"], "over two pages");
    assert_eq!(search(Sought::Actions, &bob, "record").await, ["read"]);
    assert!(search(Sought::Resources, &auditor, "spaceship").await.is_empty());
}

#[tokio::test]
async fn what_the_caller_can_mend_comes_through() {
    let rule = any_of([scope("records:read")]);
    let client = remote(AuthZen::builder(&serve(open(rule)).await).build().unwrap());
    let bob = PrincipalBuilder::new(ISSUER, "bob").build().unwrap();
    let request = AccessRequest::new(&bob, "read", Resource::new("record", "record-1"), UnixSeconds::new(0));
    let decision = client.decide(&request).await.unwrap();
    assert_eq!(decision.denial(), Some(&Denial::InsufficientScope { scope: "records:read".into() }));
}
