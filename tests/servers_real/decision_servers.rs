//! OPA, OpenFGA, Cerbos and Keycloak: they decide, are silent while they are paused, and after a kill know what they
//! should.

use std::time::Duration;

use sekisho_http::{HttpClient as _, HttpError, HttpLimits, HttpMethod, HttpRequest, ReqwestClient};
use serde_json::{Value, json};

use crate::cerbos::Cerbos;
use crate::decision_process::Process;
use crate::keycloak::Keycloak;
use crate::opa::Opa;
use crate::openfga::{OpenFga, Store};

/// Asks within half a second, and returns status and answer.
async fn ask(url: &str, question: &Value) -> Result<(u16, Value), HttpError> {
    ask_with(url, question, None).await
}

async fn ask_with(url: &str, question: &Value, token: Option<&str>) -> Result<(u16, Value), HttpError> {
    let client = ReqwestClient::new(Duration::from_millis(500)).expect("a client");
    let mut headers = vec![("content-type", "application/json".to_owned())];
    headers.extend(token.map(|token| ("authorization", format!("Bearer {token}"))));
    let body = question.to_string().into_bytes();
    let request = HttpRequest { method: HttpMethod::Post, url: url.to_owned(), headers, body };
    let limits = HttpLimits { total_timeout: Duration::from_millis(500), ..HttpLimits::default() };
    let answer = client.send(request, limits).await?;
    Ok((answer.status, serde_json::from_slice(&answer.body).expect("JSON")))
}

/// Pauses and kills a server that answers `question`, and leaves it started again.
async fn pause_and_kill(process: &mut Process, url: &str, question: &Value) {
    let before = ask(url, question).await.expect("it answers");
    process.pause();
    assert!(matches!(ask(url, question).await, Err(HttpError::Timeout)), "it is paused");
    process.resume();
    assert_eq!(ask(url, question).await.expect("it goes on"), before);
    process.kill();
    assert!(matches!(ask(url, question).await, Err(HttpError::Connect(_))), "it is dead");
    process.restart().await;
}

const REGO: &str = "package smoke\n\ndefault allow := false\n\nallow if input.user in data.smoke_readers\n";

async fn fill(opa: &Opa) {
    opa.put_data("smoke_readers", &json!(["alice"])).await;
    opa.put_policy("smoke", REGO).await;
}

#[tokio::test]
async fn opa_decides_by_the_policy_and_the_data_that_were_put_there() {
    let Some(opa) = Opa::reach("OPA decides") else { return };
    fill(&opa).await;
    let url = format!("{}/v1/data/smoke/allow", opa.url());
    for (user, allowed) in [("alice", true), ("bob", false)] {
        let (status, answer) = ask(&url, &json!({ "input": { "user": user } })).await.expect("an answer");
        assert_eq!((status, &answer["result"]), (200, &json!(allowed)), "{user}");
        assert_eq!(opa.ask("smoke/allow", &json!({ "user": user })).await["result"], allowed);
    }
    opa.delete_policy("smoke").await;
    assert_eq!(opa.ask("smoke/allow", &json!({ "user": "alice" })).await.get("result"), None);
}

#[tokio::test]
async fn a_killed_opa_comes_back_empty() {
    let Some(mut opa) = Opa::private("OPA killed and paused").await else { return };
    fill(&opa).await;
    let url = format!("{}/v1/data/smoke/allow", opa.url());
    pause_and_kill(opa.process(), &url, &json!({ "input": { "user": "alice" } })).await;
    assert_eq!(opa.ask("smoke/allow", &json!({ "user": "alice" })).await.get("result"), None);
}

async fn documents(openfga: &OpenFga) -> Store {
    let model = json!({
        "schema_version": "1.1",
        "type_definitions": [
            { "type": "user" },
            {
                "type": "document",
                "relations": { "reader": { "this": {} } },
                "metadata": { "relations": { "reader": { "directly_related_user_types": [{ "type": "user" }] } } },
            },
        ],
    });
    let store = openfga.create_store("documents", &model).await;
    openfga.write(&store, &[("user:alice", "reader", "document:plan")]).await;
    store
}

fn may_read(user: &str) -> Value {
    json!({ "tuple_key": { "user": user, "relation": "reader", "object": "document:plan" } })
}

#[tokio::test]
async fn openfga_decides_by_the_relations_that_were_written() {
    let Some(openfga) = OpenFga::reach("OpenFGA decides") else { return };
    let store = documents(&openfga).await;
    let url = format!("{}/stores/{}/check", openfga.url(), store.id);
    for (user, allowed) in [("user:alice", true), ("user:bob", false)] {
        let (status, answer) = ask(&url, &may_read(user)).await.expect("an answer");
        assert_eq!((status, &answer["allowed"]), (200, &json!(allowed)), "{user}: {answer}");
    }
    openfga.delete(&store, &[("user:alice", "reader", "document:plan")]).await;
    assert_eq!(ask(&url, &may_read("user:alice")).await.expect("an answer").1["allowed"], false);
}

#[tokio::test]
async fn openfga_decides_over_authzen_in_each_store() {
    let Some(openfga) = OpenFga::reach("OpenFGA decides over AuthZEN") else { return };
    let store = documents(&openfga).await;
    let url = format!("{}/stores/{}/access/v1/evaluation", openfga.url(), store.id);
    for (user, decision) in [("alice", true), ("bob", false)] {
        let question = json!({
            "subject": { "type": "user", "id": user },
            "action": { "name": "reader" },
            "resource": { "type": "document", "id": "plan" },
        });
        let (status, answer) = ask(&url, &question).await.expect("an answer");
        assert_eq!((status, &answer["decision"]), (200, &json!(decision)), "{user}: {answer}");
    }
}

#[tokio::test]
async fn a_killed_openfga_comes_back_without_stores() {
    let Some(mut openfga) = OpenFga::private("OpenFGA killed and paused").await else { return };
    let store = documents(&openfga).await;
    let url = format!("{}/stores/{}/check", openfga.url(), store.id);
    pause_and_kill(openfga.process(), &url, &may_read("user:alice")).await;
    let (status, answer) = ask(&url, &may_read("user:alice")).await.expect("an answer");
    assert_ne!(status, 200, "{answer}");
}

fn evaluation(cerbos: &Cerbos) -> String {
    format!("{}/access/v1/evaluation", cerbos.url())
}

fn may_write(user: &str, status: &str) -> Value {
    json!({
        "subject": { "type": "user", "id": user, "properties": { "cerbos.roles": ["user"] } },
        "action": { "name": "write" },
        "resource": { "type": "record", "id": "record-1", "properties": { "status": status } },
    })
}

#[tokio::test]
async fn cerbos_decides_by_our_policies() {
    let Some(cerbos) = Cerbos::reach("Cerbos decides") else { return };
    for (user, state, decision) in [("alice", "active", true), ("alice", "archived", false), ("bob", "active", false)] {
        let question = may_write(user, state);
        let (status, answer) = ask(&evaluation(&cerbos), &question).await.expect("an answer");
        assert_eq!((status, &answer["decision"]), (200, &json!(decision)), "{user}, {state}: {answer}");
    }
}

#[tokio::test]
async fn a_killed_cerbos_comes_back_with_its_policies() {
    let Some(mut cerbos) = Cerbos::private("Cerbos killed and paused").await else { return };
    let (url, question) = (evaluation(&cerbos), may_write("alice", "active"));
    pause_and_kill(cerbos.process(), &url, &question).await;
    assert_eq!(ask(&url, &question).await.expect("an answer").1["decision"], true);
}

#[tokio::test]
async fn keycloak_decides_by_the_roles_of_a_token() {
    let Some(keycloak) = Keycloak::reach("Keycloak decides").await else { return };
    let alice = keycloak.password_grant("alice", "").await.access;
    let bob = keycloak.password_grant("bob", "").await.access;
    let worker = keycloak.client_token("worker", "").await;
    let permit = (200, json!({ "result": true }));
    let deny = (403, json!({ "error": "access_denied", "error_description": "not_authorized" }));
    for (who, token, permitted) in [
        ("alice", &alice, &["orders#read", "orders#write", "orders#approve"][..]),
        ("bob", &bob, &[]),
        ("worker", &worker, &["orders#read", "exports#read"]),
    ] {
        for permission in ["orders#read", "orders#write", "orders#approve", "exports#read"] {
            let expected = if permitted.contains(&permission) { &permit } else { &deny };
            assert_eq!(&keycloak.may(token, permission).await, expected, "{who}, {permission}");
        }
    }
    for (permission, error) in [("nothing#read", "invalid_resource"), ("orders#fly", "invalid_scope")] {
        let (status, answer) = keycloak.may(&alice, permission).await;
        assert_eq!((status, &answer["error"]), (400, &json!(error)), "{permission}");
    }
}

/// Whoever asks for several permissions must look at what is granted, and not at `result`.
#[tokio::test]
async fn keycloak_permits_a_question_of_which_it_denies_a_part() {
    let Some(keycloak) = Keycloak::reach("Keycloak decides about several permissions").await else { return };
    let worker = keycloak.client_token("worker", "").await;
    assert_eq!(keycloak.may(&worker, "orders#write").await.0, 403);
    assert_eq!(keycloak.may(&worker, "orders#read,write").await, (200, json!({ "result": true })));
    let form = [("response_mode", "permissions"), ("permission", "orders#read,write")];
    let (status, granted) = keycloak.uma(&worker, &form).await;
    assert_eq!((status, &granted[0]["rsname"], &granted[0]["scopes"]), (200, &json!("orders"), &json!(["read"])));
}

#[tokio::test]
async fn keycloak_decides_over_authzen_for_the_client_that_asks() {
    let Some(keycloak) = Keycloak::reach("Keycloak decides over AuthZEN").await else { return };
    let url = format!("{}/authzen/access/v1/evaluation", keycloak.issuer());
    let (api, worker) = (keycloak.client_token("orders-api", "").await, keycloak.client_token("worker", "").await);
    for (user, token, decision) in [("alice", &api, true), ("bob", &api, false), ("alice", &worker, false)] {
        let question = json!({
            "subject": { "type": "user", "id": user },
            "action": { "name": "write" },
            "resource": { "type": "order", "id": "orders" },
        });
        let (status, answer) = ask_with(&url, &question, Some(token)).await.expect("an answer");
        assert_eq!((status, &answer["decision"]), (200, &json!(decision)), "{user}: {answer}");
    }
}
