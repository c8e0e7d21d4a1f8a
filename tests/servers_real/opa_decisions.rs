//! Decisions of a real OPA, and what becomes of them while it is paused, killed, slow or wrong.

use std::path::Path;
use std::time::{Duration, Instant};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{
    AccessRequest, Authorize as _, Decision, DecisionSource, Effect, EvaluationsSemantic, Failure, Principal, Resource,
    Secret,
};
use sekisho_policy::remote::{Remote, RemoteBuilder, opa};
use serde_json::json;

use crate::opa::Opa;
use crate::relay::{Mode, Relay};
use crate::setup::{self, now};

const REGO: &str = r#"package PACKAGE

allow if {
    input.action.name == "read"
    input.resource.properties.owner == input.subject.id
}

allow := false if input.action.name == "delete"

detailed := {"allow": true, "reasons": ["orders/1"], "obligations": [{"id": "redact", "parameters": {"fields": ["iban"]}}], "lifetime_s": 3} if {
    "orders:read" in input.subject.scopes
}

text := "true"

conflict := true if input.subject.id == "alice"

conflict := false if input.action.name == "read"

note := count(input.context.note) > 3000
"#;

/// A decision takes no longer than that, by far: 200 ms, and what a machine with much to do is late.
const SOON: Duration = Duration::from_secs(2);

async fn fill(server: &Opa, package: &str) {
    server.put_policy(package, &REGO.replace("PACKAGE", package)).await;
}

fn at(url: &str, package: &str, rule: &str) -> RemoteBuilder {
    // The first question of a process on a busy machine may take longer than 200 ms.
    Remote::builder(opa::Opa::at(url, &format!("{package}/{rule}")).expect("an address")).with_deadline(DEADLINE)
}

const DEADLINE: Duration = Duration::from_secs(1);

fn alice() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice").with_scope("orders:read").build().expect("a principal")
}

async fn decide(remote: &Remote, action: &str, owner: &str) -> Result<Decision, Failure> {
    let alice = alice();
    let order = JsonObject::parse(format!(r#"{{"owner":"{owner}"}}"#).into_bytes()).expect("JSON");
    let resource = Resource::new("order", "42").with_attributes(&order);
    let begin = Instant::now();
    let outcome = remote.decide(&AccessRequest::new(&alice, action, resource, now())).await;
    assert!(begin.elapsed() < DEADLINE + SOON, "it took {:?}", begin.elapsed());
    outcome
}

fn effect(outcome: Result<Decision, Failure>) -> Option<Effect> {
    outcome.ok().map(|decision| decision.effect())
}

#[tokio::test]
async fn opa_permits_denies_and_knows_nothing() {
    let Some(server) = Opa::reach("OPA's decisions") else { return };
    fill(&server, "remote_decides").await;
    let allow = at(server.url(), "remote_decides", "allow").build().expect("a decider");
    assert_eq!(effect(decide(&allow, "read", "alice").await), Some(Effect::Permit));
    assert_eq!(decide(&allow, "read", "alice").await.expect("kept").source(), DecisionSource::Cache);
    assert_eq!(effect(decide(&allow, "delete", "alice").await), Some(Effect::Deny));
    // The rule is undefined.
    assert_eq!(effect(decide(&allow, "read", "bob").await), Some(Effect::NotApplicable));
    let absent = at(server.url(), "remote_decides", "nothing").build().expect("a decider");
    assert_eq!(effect(decide(&absent, "read", "alice").await), Some(Effect::NotApplicable));
    let detailed = at(server.url(), "remote_decides", "detailed").build().expect("a decider");
    let decision = decide(&detailed, "read", "bob").await.expect("a decision");
    assert_eq!((decision.effect(), decision.source()), (Effect::Permit, DecisionSource::Remote));
    assert_eq!(decision.reasons(), ["orders/1"]);
    assert_eq!((decision.obligations().len(), decision.lifetime()), (1, Some(Duration::from_secs(3))));
    server.delete_policy("remote_decides").await;
}

#[tokio::test]
async fn what_a_rule_of_opa_came_to_is_a_failure_unless_it_is_a_decision() {
    let Some(server) = Opa::reach("OPA's mistakes") else { return };
    fill(&server, "remote_mistakes").await;
    // A string, rules that contradict each other (500), and the whole package.
    for rule in ["text", "conflict"] {
        let remote = at(server.url(), "remote_mistakes", rule).build().expect("a decider");
        assert_eq!(effect(decide(&remote, "read", "alice").await), None, "{rule}");
    }
    let package = Remote::builder(opa::Opa::at(server.url(), "remote_mistakes").expect("an address")).build();
    assert_eq!(effect(decide(&package.expect("a decider"), "read", "alice").await), None);
    // It has no batch, whatever it was said to have.
    let batch = opa::Opa::at(server.url(), "remote_mistakes/allow").expect("an address").with_batch();
    let batch = Remote::builder(batch).build().expect("a decider");
    let alice = alice();
    let ask = |id| AccessRequest::new(&alice, "delete", Resource::new("order", id), now());
    let outcomes = batch.decide_all(&[ask("1"), ask("2")], EvaluationsSemantic::ExecuteAll).await;
    assert!(outcomes.len() == 2 && outcomes.iter().all(Result::is_err), "{outcomes:?}");
    server.delete_policy("remote_mistakes").await;
}

#[tokio::test]
async fn opa_understands_a_compressed_question_and_is_understood_when_it_compresses() {
    let Some(server) = Opa::reach("OPA and gzip") else { return };
    server.put_policy("remote_gzip", "package remote_gzip\n\nreasons := [sprintf(\"%d %s\", [n, input.context.note]) | some n in numbers.range(1, 20)]\n\nanswer := {\"allow\": count(input.context.note) == 900, \"reasons\": reasons}\n").await;
    let remote =
        Remote::builder(opa::Opa::at(server.url(), "remote_gzip/answer").expect("an address").with_gzip_above(10));
    let remote = remote.with_deadline(DEADLINE).build().expect("a decider");
    let alice = alice();
    let note = JsonObject::parse(json!({ "note": "n".repeat(900) }).to_string().into_bytes()).expect("JSON");
    let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), now()).with_context(&note);
    let decision = remote.decide(&request).await.expect("a decision");
    assert_eq!((decision.effect(), decision.reasons().len()), (Effect::Permit, 20));
    server.delete_policy("remote_gzip").await;
}

#[tokio::test]
async fn many_are_asked_one_beside_the_other_and_answered_in_order() {
    let Some(server) = Opa::reach("many decisions of OPA") else { return };
    fill(&server, "remote_many").await;
    let remote =
        at(server.url(), "remote_many", "allow").with_deadline(Duration::from_secs(10)).build().expect("a decider");
    let alice = alice();
    let owners = ["alice", "bob"].map(|owner| JsonObject::parse(json!({ "owner": owner }).to_string().into_bytes()));
    let owners = owners.map(|owner| owner.expect("JSON"));
    let ids: Vec<String> = (0..60).map(|id| id.to_string()).collect();
    let requests: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(index, id)| {
            let resource = Resource::new("order", id).with_attributes(&owners[index % 2]);
            AccessRequest::new(&alice, if index % 3 == 0 { "delete" } else { "read" }, resource, now())
        })
        .collect();
    let outcomes = remote.decide_all(&requests, EvaluationsSemantic::ExecuteAll).await;
    assert_eq!(outcomes.len(), 60);
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let expected = match (index % 3, index % 2) {
            (0, _) => Effect::Deny,
            (_, 0) => Effect::Permit,
            _ => Effect::NotApplicable,
        };
        assert_eq!(effect(outcome), Some(expected), "{index}");
    }
    let end = remote.decide_all(&requests, EvaluationsSemantic::DenyOnFirstDeny).await;
    assert_eq!(end.into_iter().map(effect).collect::<Vec<_>>(), [Some(Effect::Deny)]);
    server.delete_policy("remote_many").await;
}

#[tokio::test]
async fn opa_that_wants_a_token_is_shown_ours() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("opa-with-a-token");
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = |name: &str, rego: &str| {
        let path = folder.join(name);
        std::fs::write(&path, rego).expect("a file");
        path.display().to_string()
    };
    let own = "package system.authz\n\ndefault allow := false\n\nallow if input.path == [\"health\"]\n\nallow if input.identity == \"a-token\"\n";
    let (own, shop) = (file("authz.rego", own), file("shop.rego", "package shop\n\nallow := true\n"));
    let arguments = ["--authentication=token", "--authorization=basic", &own, &shop];
    let Some(server) = Opa::private_with("OPA with a token", &arguments).await else { return };
    for (token, expected) in [(Some("a-token"), Some(Effect::Permit)), (Some("another"), None), (None, None)] {
        let mut protocol = opa::Opa::at(server.url(), "shop/allow").expect("an address");
        if let Some(token) = token {
            protocol = protocol.with_token(Secret::from(token));
        }
        let remote = Remote::builder(protocol).with_deadline(DEADLINE).build().expect("a decider");
        assert_eq!(effect(decide(&remote, "read", "alice").await), expected, "{token:?}");
    }
}

#[tokio::test]
async fn while_opa_is_paused_or_dead_nothing_is_permitted_and_afterwards_it_is_asked_again() {
    let Some(mut server) = Opa::private("OPA paused and killed").await else { return };
    fill(&server, "remote_outage").await;
    let open_for = Duration::from_millis(300);
    let builder = at(server.url(), "remote_outage", "allow").without_cache().with_circuit_breaker(3, open_for);
    let remote = builder.build().expect("a decider");
    assert_eq!(effect(decide(&remote, "read", "alice").await), Some(Effect::Permit));
    let without_deadline = {
        let protocol = opa::Opa::at(server.url(), "remote_outage/allow").expect("an address");
        Remote::builder(protocol).without_cache().with_circuit_breaker(32, DEADLINE).build().expect("a decider")
    };
    server.process().pause();
    for _ in 0..4 {
        assert_eq!(effect(decide(&remote, "read", "alice").await), None, "paused");
    }
    assert!(remote.health().is_open);
    setup::keeps_the_default_deadline(async || any_of_two_is_permitted(&without_deadline).await).await;
    server.process().resume();
    until_permitted(&remote).await;
    assert!(!remote.health().is_open);
    server.process().kill();
    for _ in 0..4 {
        assert_eq!(effect(decide(&remote, "read", "alice").await), None, "dead");
    }
    assert!(!any_of_two_is_permitted(&without_deadline).await, "dead");
    assert!(remote.health().is_open);
    server.process().restart().await;
    // It is back, and has forgotten the policy: nothing applies.
    let deadline = Instant::now() + Duration::from_secs(20);
    while effect(decide(&remote, "read", "alice").await) != Some(Effect::NotApplicable) {
        assert!(Instant::now() < deadline, "it is not asked again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fill(&server, "remote_outage").await;
    until_permitted(&remote).await;
}

/// Asks about two orders of hers at once.
async fn any_of_two_is_permitted(remote: &Remote) -> bool {
    let alice = alice();
    let order = JsonObject::parse(br#"{"owner":"alice"}"#.to_vec()).expect("JSON");
    let ask = |id| AccessRequest::new(&alice, "read", Resource::new("order", id).with_attributes(&order), now());
    let outcomes = remote.decide_all(&["42", "43"].map(ask), EvaluationsSemantic::ExecuteAll).await;
    assert_eq!(outcomes.len(), 2);
    outcomes.into_iter().any(|outcome| outcome.is_ok_and(|decision| decision.is_permitted()))
}

async fn until_permitted(remote: &Remote) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while effect(decide(remote, "read", "alice").await) != Some(Effect::Permit) {
        assert!(Instant::now() < deadline, "it is not asked again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_kept_permit_bridges_a_pause_for_its_few_seconds_and_no_longer() {
    let Some(mut server) = Opa::private("OPA and what is kept of it").await else { return };
    fill(&server, "remote_kept").await;
    let builder = at(server.url(), "remote_kept", "allow");
    let remote = builder.with_cache_lifetimes(Duration::from_secs(2), Duration::ZERO).build().expect("a decider");
    assert_eq!(effect(decide(&remote, "read", "alice").await), Some(Effect::Permit));
    server.process().kill();
    let begin = Instant::now();
    while let Ok(decision) = decide(&remote, "read", "alice").await {
        assert_eq!((decision.effect(), decision.source()), (Effect::Permit, DecisionSource::Cache));
        assert!(begin.elapsed() < Duration::from_secs(2) + SOON, "it is kept too long");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(effect(decide(&remote, "read", "alice").await), None);
}

#[tokio::test]
async fn behind_a_relay_that_is_slow_silent_or_wrong_nothing_is_permitted() {
    let Some(server) = Opa::reach("OPA behind a relay") else { return };
    fill(&server, "remote_relay").await;
    let relay = Relay::start(server.url()).await;
    let builder = at(relay.url(), "remote_relay", "allow").without_cache().with_circuit_breaker(32, DEADLINE);
    let remote = builder.build().expect("a decider");
    assert_eq!(effect(decide(&remote, "read", "alice").await), Some(Effect::Permit));
    let media = "application/json";
    for mode in [
        Mode::Silent,
        Mode::Late(DEADLINE * 3),
        Mode::answer(500, media, r#"{"result":true}"#),
        Mode::answer(503, media, r#"{"result":true}"#),
        Mode::answer(200, "text/html", r#"{"result":true}"#),
        Mode::answer(200, media, r#"{"result":"true"}"#),
        Mode::answer(200, media, r#"{"result":true,"result":true}"#),
        Mode::answer(200, media, r#"{"result":true"#),
        Mode::Answer(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"result\":true}"
                .to_vec(),
        ),
        Mode::Answer(b"{\"result\":true}".to_vec()),
        Mode::Answer(Vec::new()),
    ] {
        relay.set(mode.clone());
        let (one, two) = tokio::join!(decide(&remote, "read", "alice"), any_of_two_is_permitted(&remote));
        assert_eq!((effect(one), two), (None, false), "{mode:?}");
    }
    relay.set(Mode::Pass);
    assert_eq!(effect(decide(&remote, "read", "alice").await), Some(Effect::Permit));
    assert!(any_of_two_is_permitted(&remote).await);
    server.delete_policy("remote_relay").await;
}
