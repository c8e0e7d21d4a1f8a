//! Our clients before OpenFGA, over its own API and over AuthZEN: checks, batches, lists, contextual tuples, consistency;
//! and an OpenFGA that is silent, dead, late or wrong.

use std::time::{Duration, Instant};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize as _, EvaluationsSemantic, Principal, Resource, UnixSeconds};
use sekisho_policy::remote::Remote;
use sekisho_policy::remote::authzen::{AuthZen, Sought};
use sekisho_policy::remote::openfga::{Consistency, OpenFga as Asks, OpenFgaBuilder, Relation};
use serde_json::json;

use crate::openfga::{OpenFga, Store};
use crate::relay::{Mode, Relay};
use crate::setup::keeps_the_default_deadline;

const DEADLINE: Duration = Duration::from_millis(400);
const ISSUER: &str = "https://id.example";

async fn documents(openfga: &OpenFga) -> Store {
    let direct = |types: serde_json::Value| json!({ "directly_related_user_types": types });
    let model = json!({
        "schema_version": "1.1",
        "type_definitions": [
            { "type": "user" },
            {
                "type": "group",
                "relations": { "member": { "this": {} } },
                "metadata": { "relations": { "member": direct(json!([{ "type": "user" }])) } },
            },
            {
                "type": "document",
                "relations": { "reader": { "this": {} } },
                "metadata": { "relations": { "reader": direct(json!([
                    { "type": "user" }, { "type": "user", "wildcard": {} }, { "type": "group", "relation": "member" },
                ])) } },
            },
        ],
    });
    let store = openfga.create_store("decisions", &model).await;
    let relations = [
        ("user:alice", "reader", "document:plan"),
        ("user:alice", "reader", "document:budget"),
        ("group:clerks#member", "reader", "document:ledger"),
        ("user:beth@the-smiths.com", "reader", "document:diary"),
    ];
    openfga.write(&store, &relations).await;
    store
}

fn asks(url: &str, store: &Store) -> OpenFgaBuilder {
    let asks = Asks::builder(url, &store.id, &store.model_id).with_issuer(ISSUER).with_relation("read", "reader");
    asks.with_consistency(Consistency::HigherConsistency)
}

fn remote(asks: OpenFgaBuilder, deadline: Duration) -> Remote {
    Remote::builder(asks.build().expect("a client")).with_deadline(deadline).without_cache().build().expect("a remote")
}

fn user(id: &str) -> Principal {
    PrincipalBuilder::new(ISSUER, id).build().expect("a principal")
}

fn read<'a>(subject: &'a Principal, id: &'a str) -> AccessRequest<'a> {
    AccessRequest::new(subject, "read", Resource::new("document", id), UnixSeconds::new(0))
}

#[tokio::test]
async fn openfga_decides_for_our_client_by_what_was_written_a_moment_ago() {
    let Some(openfga) = OpenFga::reach("OpenFGA decides for our client") else { return };
    let store = documents(&openfga).await;
    let remote = remote(asks(openfga.url(), &store), Duration::from_secs(5));
    for (id, document, permitted) in [
        ("alice", "plan", true),
        ("alice", "ledger", false),
        ("bob", "plan", false),
        ("beth@the-smiths.com", "diary", true),
        ("alice", "nothing", false),
    ] {
        let subject = user(id);
        let decision = remote.decide(&read(&subject, document)).await.expect("a decision");
        assert_eq!(decision.is_permitted(), permitted, "{id} {document}");
        assert_eq!(decision.revision(), Some(&*store.model_id));
    }
    openfga.delete(&store, &[("user:alice", "reader", "document:plan")]).await;
    assert!(!remote.decide(&read(&user("alice"), "plan")).await.expect("a decision").is_permitted());
}

#[tokio::test]
async fn a_user_whose_name_is_a_wildcard_or_a_group_is_not_taken_for_everybody() {
    let Some(openfga) = OpenFga::reach("OpenFGA and the user *") else { return };
    let store = documents(&openfga).await;
    openfga.write(&store, &[("user:*", "reader", "document:notice")]).await;
    let remote = remote(asks(openfga.url(), &store), Duration::from_secs(5));
    assert!(remote.decide(&read(&user("carol"), "notice")).await.expect("a decision").is_permitted());
    for id in ["*", "clerks#member", "x:y", "alice "] {
        assert!(remote.decide(&read(&user(id), "notice")).await.is_err(), "{id}");
    }
    let clerks = user("clerks#member");
    assert!(remote.decide(&read(&clerks, "ledger").with_subject_kind("group")).await.is_err());
    let alice = PrincipalBuilder::new("https://evil.example", "alice").build().expect("a principal");
    assert!(!remote.decide(&read(&alice, "plan")).await.expect("a denial").is_permitted());
}

#[tokio::test]
async fn openfga_decides_batches_and_lists_and_hears_contextual_tuples() {
    let Some(openfga) = OpenFga::reach("OpenFGA batches and lists") else { return };
    let store = documents(&openfga).await;
    let alice = user("alice");
    let batch = [read(&alice, "plan"), read(&alice, "ledger"), read(&alice, "budget"), read(&alice, "a-b")];
    let plain = remote(asks(openfga.url(), &store), Duration::from_secs(5));
    let decisions = plain.decide_all(&batch, EvaluationsSemantic::ExecuteAll).await;
    let decisions: Vec<bool> = decisions.into_iter().map(|one| one.expect("a decision").is_permitted()).collect();
    assert_eq!(decisions, [true, false, true, false]);
    assert_eq!(plain.decide_all(&batch, EvaluationsSemantic::DenyOnFirstDeny).await.len(), 2);
    // A type that the model does not know denies itself alone.
    let odd = [
        read(&alice, "plan"),
        AccessRequest::new(&alice, "read", Resource::new("spaceship", "1"), UnixSeconds::new(0)),
    ];
    let odd = plain.decide_all(&odd, EvaluationsSemantic::ExecuteAll).await;
    assert!(!odd[1].as_ref().is_ok_and(sekisho_core::Decision::is_permitted));

    let clerks = |request: &AccessRequest<'_>| {
        Relation::new(("user", request.subject().subject()), "member", ("group", "clerks")).into_iter().collect()
    };
    let as_clerk = asks(openfga.url(), &store).with_contextual_tuples(clerks);
    assert!(
        remote(as_clerk, Duration::from_secs(5))
            .decide(&read(&alice, "ledger"))
            .await
            .expect("a decision")
            .is_permitted()
    );
    assert!(
        !plain.decide(&read(&alice, "ledger")).await.expect("a decision").is_permitted(),
        "it held for one question"
    );

    let list = async |asks: OpenFgaBuilder| {
        let asks = asks.build().expect("a client");
        let lists = Remote::builder(asks.clone()).with_deadline(Duration::from_secs(5)).build().expect("a remote");
        let mut ids = asks.list_objects(&lists, &read(&alice, "ignored")).await.expect("a list");
        ids.sort();
        ids
    };
    assert_eq!(list(asks(openfga.url(), &store)).await, ["budget", "plan"]);
    assert_eq!(list(asks(openfga.url(), &store).with_contextual_tuples(clerks)).await, ["budget", "ledger", "plan"]);
}

#[tokio::test]
async fn openfga_decides_over_authzen_for_our_client_one_by_one_and_in_batches() {
    let Some(openfga) = OpenFga::reach("OpenFGA over AuthZEN for our client") else { return };
    let store = documents(&openfga).await;
    let pdp = || AuthZen::openfga(openfga.url(), &store.id, &store.model_id).build().expect("a client");
    let remote =
        Remote::builder(pdp()).with_deadline(Duration::from_secs(5)).without_cache().build().expect("a remote");
    let alice = user("alice");
    let reader = |id| AccessRequest::new(&alice, "reader", Resource::new("document", id), UnixSeconds::new(0));
    for (id, permitted) in [("plan", true), ("ledger", false)] {
        let decision = remote.decide(&reader(id)).await.expect("a decision");
        assert_eq!(decision.is_permitted(), permitted, "{id}");
    }
    let batch = [reader("plan"), reader("ledger"), reader("budget")];
    let decisions = remote.decide_all(&batch, EvaluationsSemantic::ExecuteAll).await;
    let decisions: Vec<bool> = decisions.into_iter().map(|one| one.expect("a decision").is_permitted()).collect();
    assert_eq!(decisions, [true, false, true]);
    assert_eq!(remote.decide_all(&batch, EvaluationsSemantic::DenyOnFirstDeny).await.len(), 2);
    let found = pdp().search(&remote, Sought::Resources, &reader("ignored")).await;
    let mut found = found.expect("results");
    found.sort();
    assert_eq!(found, ["budget", "plan"]);
}

/// Both ways to ask, its own and AuthZEN, each of one and of two at once.
fn both(url: &str, store: &Store, deadline: Duration) -> [(&'static str, Remote); 2] {
    let authzen = AuthZen::openfga(url, &store.id, &store.model_id).build().expect("a client");
    let authzen = Remote::builder(authzen).with_deadline(deadline).without_cache().build().expect("a remote");
    [("read", remote(asks(url, store), deadline)), ("reader", authzen)]
}

/// Asks what is permitted while all is well, and returns what became of the two and of the one, in time.
async fn ask_all(remote: &Remote, action: &str, deadline: Duration, why: &str) -> Vec<Option<bool>> {
    let (alice, start) = (user("alice"), Instant::now());
    let ask = |id| AccessRequest::new(&alice, action, Resource::new("document", id), UnixSeconds::new(0));
    let (one, two) = (ask("plan"), [ask("plan"), ask("budget")]);
    let (one, two) = tokio::join!(remote.decide(&one), remote.decide_all(&two, EvaluationsSemantic::ExecuteAll));
    assert!(start.elapsed() < deadline + Duration::from_millis(600), "{why}: {:?}", start.elapsed());
    two.into_iter().chain([one]).map(|one| one.ok().map(|decision| decision.is_permitted())).collect()
}

async fn is_not_permitted(url: &str, store: &Store, why: &str) {
    for (action, remote) in both(url, store, DEADLINE) {
        assert_eq!(ask_all(&remote, action, DEADLINE, why).await, [None; 3], "{action}, {why}");
    }
    is_not_listed(url, store, why).await;
}

/// Asks for the list of what is permitted, and expects none, in time.
async fn is_not_listed(url: &str, store: &Store, why: &str) {
    let asks = asks(url, store).build().expect("a client");
    let remote = Remote::builder(asks.clone()).with_deadline(DEADLINE).build().expect("a remote");
    let (alice, start) = (user("alice"), Instant::now());
    let list = asks.list_objects(&remote, &read(&alice, "ignored")).await;
    assert!(list.is_err(), "{why}: {list:?}");
    assert!(start.elapsed() < DEADLINE + Duration::from_millis(600), "{why}: {:?}", start.elapsed());
}

async fn is_permitted(url: &str, store: &Store, why: &str) {
    let deadline = Duration::from_secs(5);
    for (action, remote) in both(url, store, deadline) {
        assert_eq!(ask_all(&remote, action, deadline, why).await, [Some(true); 3], "{action}, {why}");
    }
}

#[tokio::test]
async fn an_openfga_that_is_silent_dead_or_has_forgotten_its_stores_permits_nothing() {
    let Some(mut openfga) = OpenFga::private("OpenFGA silent and dead before our client").await else { return };
    let (store, url) = (documents(&openfga).await, openfga.url().to_owned());
    is_permitted(&url, &store, "before").await;
    openfga.process().pause();
    is_not_permitted(&url, &store, "paused").await;
    let usual = Remote::builder(asks(&url, &store).build().expect("a client"));
    let usual = usual.without_cache().with_circuit_breaker(32, DEADLINE).build().expect("a remote");
    keeps_the_default_deadline(async || usual.decide(&read(&user("alice"), "plan")).await.is_ok()).await;
    openfga.process().resume();
    is_permitted(&url, &store, "resumed").await;
    openfga.process().kill();
    is_not_permitted(&url, &store, "dead").await;
    openfga.process().restart().await;
    is_not_permitted(&url, &store, "restarted without its stores").await;
}

#[tokio::test]
async fn an_openfga_that_is_late_or_answers_rubbish_permits_nothing() {
    let Some(openfga) = OpenFga::reach("OpenFGA late and wrong before our client") else { return };
    let store = documents(&openfga).await;
    let relay = Relay::start(openfga.url()).await;
    is_permitted(relay.url(), &store, "through the relay").await;
    let json = "application/json";
    // What the one says is none of the other's words.
    for ((action, remote), word, foreign) in both(relay.url(), &store, DEADLINE)
        .into_iter()
        .zip([("allowed", "decision"), ("decision", "allowed")])
        .map(|(ways, (word, foreign))| (ways, word, foreign))
    {
        let yes = format!(r#"{{"{word}":true}}"#);
        for mode in [
            Mode::Late(Duration::from_secs(3)),
            Mode::Silent,
            Mode::Answer(b"\0\0rubbish".to_vec()),
            Mode::answer(500, json, &yes),
            Mode::answer(201, json, &yes),
            Mode::answer(200, json, &format!(r#"{{"{word}":"true"}}"#)),
            Mode::answer(200, json, &format!(r#"{{"{foreign}":true}}"#)),
            Mode::answer(200, json, &format!(r#"{{"{word}":true,"{word}":true}}"#)),
            Mode::answer(200, json, r#"{"evaluations":[{"decision":true}]}"#),
            Mode::answer(200, json, r#"{"result":{"0":{"allowed":true}}}"#),
            Mode::answer(200, "text/html", &yes),
        ] {
            relay.set(mode.clone());
            let why = format!("{action}, {mode:?}");
            assert_eq!(ask_all(&remote, action, DEADLINE, &why).await, [None; 3], "{why}");
            is_not_listed(relay.url(), &store, &why).await;
        }
        relay.set(Mode::Pass);
    }
    is_permitted(relay.url(), &store, "at the end").await;
}
