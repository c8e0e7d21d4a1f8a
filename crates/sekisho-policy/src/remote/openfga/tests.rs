use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{Principal, Resource, UnixSeconds};
use sekisho_http::{HttpClient, HttpError, HttpLimits};
use serde_json::{Value, json};

use super::*;

fn alice() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice").with_roles(["clerks"]).build().unwrap()
}

fn builder() -> OpenFgaBuilder {
    OpenFga::builder("https://fga.example", "01S", "01M").with_issuer("https://id.example")
}

fn fga() -> OpenFga {
    builder().build().unwrap()
}

fn request<'a>(subject: &'a Principal, kind: &'a str, id: &'a str) -> AccessRequest<'a> {
    AccessRequest::new(subject, "reader", Resource::new(kind, id), UnixSeconds::new(0))
}

fn answer(body: &Value) -> HttpResponse {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    HttpResponse { status: 200, headers, body: body.to_string().into_bytes() }
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test]
async fn asks_for_a_relation_under_the_model_that_was_named() {
    let alice = alice();
    let context = JsonObject::parse(br#"{"ip":"192.0.2.1"}"#.to_vec()).unwrap();
    let fga = builder()
        .with_relation("reader", "can_read")
        .with_consistency(Consistency::HigherConsistency)
        .with_context()
        .with_contextual_tuples(|request| {
            let groups = request.subject().roles().iter();
            groups
                .flat_map(|group| Relation::new(("user", request.subject().subject()), "member", ("group", group)))
                .collect()
        })
        .build()
        .unwrap();
    let asked = fga.ask(&request(&alice, "document", "plan").with_context(&context)).await.unwrap();
    assert_eq!(asked.url, "https://fga.example/stores/01S/check");
    assert_eq!(
        body(&asked),
        json!({
            "tuple_key": { "user": "user:alice", "relation": "can_read", "object": "document:plan" },
            "contextual_tuples": { "tuple_keys": [{ "user": "user:alice", "relation": "member", "object": "group:clerks" }] },
            "context": { "ip": "192.0.2.1" },
            "authorization_model_id": "01M",
            "consistency": "HIGHER_CONSISTENCY",
        })
    );
    assert!(fga.key_part(&request(&alice, "document", "plan")).is_some(), "the tuples are a part of the question");
}

#[tokio::test]
async fn sends_no_name_that_could_be_read_as_another_relation() {
    let long = "x".repeat(600);
    let bad = ["*", "", "a:b", "group:x#member", "a#b", "a b", "a\tb", "a\nb", "a\u{a0}b", "a*", "\u{0}", &*long];
    let fga = fga();
    for id in bad {
        let alice = alice();
        assert!(fga.ask(&request(&alice, "document", id)).await.is_err(), "object {id:?}");
        assert!(fga.ask(&request(&alice, id, "plan")).await.is_err(), "type {id:?}");
        assert!(fga.ask(&request(&alice, "document", "plan").with_subject_kind(id)).await.is_err(), "kind {id:?}");
        let action = AccessRequest::new(&alice, id, Resource::new("document", "plan"), UnixSeconds::new(0));
        assert!(fga.ask(&action).await.is_err(), "relation {id:?}");
        assert!(Relation::new(("user", id), "member", ("group", "x")).is_err(), "{id:?}");
        assert!(Relation::new(("user", "alice"), "member", ("group", id)).is_err(), "{id:?}");
        // An empty `sub` makes no principal at all.
        let Ok(user) = PrincipalBuilder::new("https://id.example", id).build() else { continue };
        assert!(fga.ask(&request(&user, "document", "plan")).await.is_err(), "user {id:?}");
        assert!(
            fga.ask_all(&[request(&alice, "a", "b"), request(&user, "a", "b")], EvaluationsSemantic::ExecuteAll)
                .await
                .is_err()
        );
    }
    let mail = PrincipalBuilder::new("https://id.example", "beth@the-smiths.com").build().unwrap();
    assert!(fga.ask(&request(&mail, "document", "plan")).await.is_ok());
}

#[tokio::test]
async fn knows_the_users_of_its_issuer_only() {
    let mallory = PrincipalBuilder::new("https://evil.example", "alice").build().unwrap();
    let question = request(&mallory, "document", "plan");
    assert!(!fga().answer_now(&question).unwrap().unwrap().is_permitted());
    assert!(fga().ask(&question).await.is_err());
    assert!(fga().answer_now(&request(&alice(), "document", "plan")).is_none());
}

#[test]
fn refuses_at_once_what_cannot_work() {
    let refused = |builder: OpenFgaBuilder| drop(builder.build().unwrap_err());
    refused(OpenFga::builder("http://fga.example", "01S", "01M"));
    refused(OpenFga::builder("https://fga.example?x", "01S", "01M"));
    refused(OpenFga::builder("https://fga.example", "", "01M"));
    refused(OpenFga::builder("https://fga.example", "../01S", "01M"));
    refused(OpenFga::builder("https://fga.example", "01S", ""));
    refused(builder().with_relation("read", "a#b"));
    refused(builder().with_relation("read", &"r".repeat(51)));
    refused(builder().with_bearer(Secret::from("a\r\nb")));
    refused(builder().with_bearer(Secret::from("")));
}

#[tokio::test]
async fn shows_its_token_nowhere() {
    let builder = builder().with_bearer(Secret::from("hunter2"));
    let shown = format!("{builder:?}");
    let fga = builder.build().unwrap();
    let asked = fga.ask(&request(&alice(), "document", "plan")).await.unwrap();
    assert!(asked.headers.contains(&("authorization", "Bearer hunter2".to_owned())));
    assert!(!format!("{shown}{fga:?}{asked:?}").contains("hunter"));
}

#[test]
fn takes_nothing_for_leave_but_true() {
    let permitted = |body: &Value| fga().read(&answer(body)).map(|decision| decision.is_permitted()).ok();
    assert_eq!(permitted(&json!({ "allowed": true, "resolution": "" })), Some(true));
    assert_eq!(permitted(&json!({ "allowed": false })), Some(false));
    for allowed in [json!("true"), json!(1), json!(null), json!([true]), json!({})] {
        assert_eq!(permitted(&json!({ "allowed": allowed })), None, "{allowed}");
    }
    assert_eq!(permitted(&json!({})), None);
    assert_eq!(permitted(&json!({ "decision": true })), None);
    let error = HttpResponse { status: 400, ..answer(&json!({ "allowed": true })) };
    assert!(fga().read(&error).is_err());
    assert_eq!(fga().read(&answer(&json!({ "allowed": true }))).unwrap().revision(), Some("01M"));
}

#[tokio::test]
async fn pairs_the_answers_of_a_batch_with_its_questions_by_name() {
    let alice = alice();
    let asked = [request(&alice, "document", "1"), request(&alice, "document", "2"), request(&alice, "document", "3")];
    let asked = body(&fga().ask_all(&asked, EvaluationsSemantic::ExecuteAll).await.unwrap());
    let ids: Vec<_> = (0..3).map(|index| asked["checks"][index]["correlation_id"].as_str().unwrap()).collect();
    let result = json!({ ids[2]: { "allowed": true }, ids[0]: { "allowed": false }, ids[1]: { "error": { "message": "no type" } } });
    let decisions = fga().read_all(&answer(&json!({ "result": result })), 3, EvaluationsSemantic::ExecuteAll).unwrap();
    let permitted: Vec<_> = decisions.iter().map(|one| one.as_ref().ok().map(Decision::is_permitted)).collect();
    assert_eq!(permitted, [Some(false), None, Some(true)]);
    let ended = fga().read_all(&answer(&json!({ "result": result })), 3, EvaluationsSemantic::DenyOnFirstDeny).unwrap();
    assert_eq!(ended.len(), 1);
    assert!(fga().ask_all(&vec![request(&alice, "document", "1"); 51], EvaluationsSemantic::ExecuteAll).await.is_err());
    assert!(fga().ask_all(&[], EvaluationsSemantic::ExecuteAll).await.is_err());
}

#[test]
fn a_batch_that_is_answered_in_part_or_for_others_decides_nothing() {
    let read =
        |result: Value| fga().read_all(&answer(&json!({ "result": result })), 2, EvaluationsSemantic::ExecuteAll);
    let permit = json!({ "allowed": true });
    assert!(read(json!({ "q0": permit, "q1": permit })).is_ok());
    for wrong in [
        json!({ "q0": permit }),
        json!({ "q0": permit, "q1": permit, "q2": permit }),
        json!({ "q0": permit, "q2": permit }),
        json!([permit, permit]),
        json!({}),
        json!(null),
        json!(true),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
    for item in [json!({}), json!(true), json!({ "allowed": "true" }), json!({ "allowed": true, "error": {} })] {
        let decisions = read(json!({ "q0": item, "q1": permit })).unwrap();
        assert!(decisions[0].is_err(), "{item}");
    }
    let doubled = HttpResponse {
        body: br#"{"result":{"q0":{"allowed":false},"q0":{"allowed":true}}}"#.to_vec(),
        ..answer(&json!({}))
    };
    assert!(fga().read_all(&doubled, 1, EvaluationsSemantic::ExecuteAll).is_err());
}

#[derive(Debug)]
struct Lists(Value);

#[async_trait]
impl HttpClient for Lists {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        assert_eq!(request.url, "https://fga.example/stores/01S/list-objects");
        assert_eq!(body(&request)["type"], "document");
        Ok(answer(&self.0))
    }
}

#[tokio::test]
async fn lists_objects_of_the_type_that_was_asked_for_and_only_a_whole_list() {
    let alice = alice();
    let list = async |answer: Value| {
        let fga = fga();
        let remote = Remote::builder(fga.clone()).with_client(Arc::new(Lists(answer))).build().unwrap();
        fga.list_objects(&remote, &request(&alice, "document", "")).await
    };
    assert_eq!(list(json!({ "objects": ["document:1", "document:2"] })).await.unwrap(), ["1", "2"]);
    for wrong in [
        json!({}),
        json!({ "objects": null }),
        json!({ "objects": "document:1" }),
        json!({ "objects": ["user:1"] }),
        json!({ "objects": ["document"] }),
        json!({ "objects": ["document:"] }),
        json!({ "objects": ["document:*"] }),
        json!({ "objects": [1] }),
        json!({ "objects": ["documents:1"] }),
        json!({ "objects": vec!["document:1"; 1000] }),
    ] {
        assert!(list(wrong.clone()).await.is_err(), "{wrong}");
    }
}

/// Never answers.
#[derive(Debug)]
struct Hangs;

#[async_trait]
impl HttpClient for Hangs {
    async fn send(&self, _: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_over_in_the_time_of_a_decision_and_a_dead_service_is_left_alone() {
    let (fga, alice) = (fga(), alice());
    let remote = Remote::builder(fga.clone()).with_client(Arc::new(Hangs)).build().unwrap();
    for millis in [200, 200, 200, 200, 200, 0, 0] {
        let begin = tokio::time::Instant::now();
        assert!(fga.list_objects(&remote, &request(&alice, "document", "")).await.is_err());
        assert_eq!(begin.elapsed().as_millis(), millis);
    }
}

#[tokio::test]
async fn a_list_that_is_too_long_is_none() {
    let (fga, alice) = (fga(), alice());
    let long = json!({ "objects": ["document:1"], "filler": "x".repeat(1 << 20) });
    let remote = Remote::builder(fga.clone()).with_client(Arc::new(Lists(long))).build().unwrap();
    assert!(fga.list_objects(&remote, &request(&alice, "document", "")).await.is_err());
    let fits = json!({ "objects": ["document:1"], "filler": "x".repeat(900_000) });
    let remote = Remote::builder(fga.clone()).with_client(Arc::new(Lists(fits))).build().unwrap();
    assert_eq!(fga.list_objects(&remote, &request(&alice, "document", "")).await.unwrap(), ["1"]);
}

/// Permits whatever it is asked about, and counts the requests and the checks in them.
#[derive(Debug, Default)]
struct Permits(std::sync::Mutex<Vec<usize>>);

#[async_trait]
impl HttpClient for Permits {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let asked = body(&request);
        let Some(checks) = asked["checks"].as_array() else {
            self.0.lock().unwrap().push(1);
            return Ok(answer(&json!({ "allowed": true })));
        };
        self.0.lock().unwrap().push(checks.len());
        let one = |check: &Value| (check["correlation_id"].as_str().unwrap().to_owned(), json!({ "allowed": true }));
        Ok(answer(&json!({ "result": checks.iter().map(one).collect::<serde_json::Map<_, _>>() })))
    }
}

/// Writes what came out: `p`ermit, `-` a failure.
async fn all(ids: &[&str], semantic: EvaluationsSemantic) -> (String, Vec<usize>) {
    use sekisho_core::Authorize as _;
    let (client, alice) = (Arc::new(Permits::default()), alice());
    let service: Arc<dyn HttpClient> = Arc::<Permits>::clone(&client);
    let remote = Remote::builder(fga()).with_client(service).build().unwrap();
    let requests: Vec<_> = ids.iter().map(|id| request(&alice, "document", id)).collect();
    let outcomes = remote.decide_all(&requests, semantic).await;
    let permitted = |outcome: Result<Decision, Failure>| outcome.is_ok_and(|decision| decision.is_permitted());
    let written = outcomes.into_iter().map(|outcome| if permitted(outcome) { 'p' } else { '-' }).collect();
    let asked = client.0.lock().unwrap().clone();
    (written, asked)
}

#[tokio::test(start_paused = true)]
async fn one_object_that_cannot_be_asked_about_fails_alone() {
    use EvaluationsSemantic::{DenyOnFirstDeny, ExecuteAll, PermitOnFirstPermit};
    for bad in ["a b", "a:b", "a#b", "*"] {
        let (written, asked) = all(&["1", "2", bad, "3", "4"], ExecuteAll).await;
        assert_eq!((written.as_str(), asked), ("pp-pp", vec![4]), "{bad}");
        assert_eq!(all(&[bad, "1"], ExecuteAll).await, ("-p".to_owned(), vec![1]), "{bad}");
        assert_eq!(all(&[bad, bad], ExecuteAll).await, ("--".to_owned(), vec![]), "{bad}");
        // Where the first failure is the end, what stands before it is known.
        assert_eq!(all(&["1", "2", bad, "3"], DenyOnFirstDeny).await.0, "pp-", "{bad}");
        assert_eq!(all(&[bad, bad, "1", "2"], PermitOnFirstPermit).await.0, "--p", "{bad}");
    }
}
