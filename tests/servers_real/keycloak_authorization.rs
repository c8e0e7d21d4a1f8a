//! Keycloak decides what callers of our services may do: authorization delegated to the provider.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get};
use sekisho_axum::{CheckpointExt as _, Principal, RefusalResponse};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{
    AccessRequest, Authenticate as _, Authorize as _, Barred, Confirmation, Credential, Decision, DecisionSource,
    Denial, Effect, Enforcer, Failure, FailureKind, Refusal, Resource,
};
use sekisho_http::{Checkpoint, HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse, ReqwestClient};
use sekisho_opaque::ClientCredentials;
use sekisho_policy::remote::Remote;
use sekisho_policy::remote::authzen::AuthZen;
use sekisho_policy::remote::keycloak::{
    CallerToken, KeepToken, KeptPermissions, Keycloak as Permissions, KeycloakBuilder,
};
use serde_json::json;

use crate::control::Control;
use crate::keycloak::{AUDIENCE, Keycloak};
use crate::relay::{Mode, Relay};
use crate::setup::{self, now};

/// Enough for a slow machine; what is measured against it is that silence ends.
const DEADLINE: Duration = Duration::from_secs(3);

/// One resource for all orders, whose scopes are the actions.
fn orders(keycloak: &Keycloak) -> KeycloakBuilder {
    Permissions::realm(keycloak.issuer(), AUDIENCE)
        .with_resource_name(|resource| Some(format!("{}s", resource.kind())))
        .with_challenge_scope(|resource, scope| Some(format!("{}s:{scope}", resource.kind())))
}

fn client() -> ClientCredentials {
    ClientCredentials::basic(AUDIENCE, "orders-api-secret")
}

/// Sends to a relay under the name of the server behind it, from which Keycloak makes the name of its issuer.
#[derive(Debug)]
struct UnderItsName {
    client: ReqwestClient,
    host: String,
}

#[async_trait::async_trait]
impl HttpClient for UnderItsName {
    async fn send(&self, request: HttpRequest, limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        self.client.send(request.with_header("host", &*self.host), limits).await
    }
}

fn under_its_name(keycloak: &Keycloak) -> Arc<UnderItsName> {
    let host = keycloak.url().trim_start_matches("http://").to_owned();
    Arc::new(UnderItsName { client: ReqwestClient::new(DEADLINE).expect("a client"), host })
}

fn relayed(keycloak: &Keycloak, permissions: &Permissions) -> Remote {
    let client = under_its_name(keycloak);
    let remote = Remote::builder(permissions.clone()).with_client(client).with_deadline(DEADLINE);
    remote.without_cache().without_hedge().build().expect("a decider")
}

fn remote(permissions: &Permissions) -> Remote {
    let remote = Remote::builder(permissions.clone()).with_deadline(DEADLINE).without_cache();
    remote.build().expect("a decider")
}

/// Makes a principal of a token, as a checkpoint does.
async fn caller(keycloak: &Keycloak, token: &str) -> sekisho_core::Principal {
    let keeping = KeepToken::new(keycloak.jwt()).expect("an authenticator");
    keeping.authenticate(Credential::bearer(token), now()).await.expect("a good token")
}

async fn ask(remote: &Remote, who: &sekisho_core::Principal, action: &str, kind: &str) -> Result<Decision, Failure> {
    remote.decide(&AccessRequest::new(who, action, Resource::new(kind, "42"), now())).await
}

fn lacks(decision: &Decision) -> &str {
    match decision.denial() {
        Some(Denial::InsufficientScope { scope }) => scope,
        other => panic!("no scope is lacking: {other:?}"),
    }
}

/// Alice is a clerk and may approve, Bob is nothing, the worker is a service that exports.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keycloak_decides_for_each_caller_and_names_what_is_lacking() {
    let Some(keycloak) = Keycloak::reach("Keycloak's decisions").await else { return };
    let alice = caller(&keycloak, &keycloak.password_grant("alice", "").await.access).await;
    let bob = caller(&keycloak, &keycloak.password_grant("bob", "").await.access).await;
    let worker = caller(&keycloak, &keycloak.client_token("worker", "").await).await;
    let kept = KeptPermissions::default();
    for (how, permissions) in [
        ("as the caller", orders(&keycloak)),
        ("as a client", orders(&keycloak).with_client(client())),
        ("kept", orders(&keycloak).with_kept_permissions(kept)),
        ("kept, as a client", orders(&keycloak).with_client(client()).with_kept_permissions(kept)),
    ] {
        let remote = remote(&permissions.build().expect("a protocol"));
        for (who, name, permitted) in [
            (&alice, "alice", &["orders:read", "orders:write", "orders:approve"][..]),
            (&bob, "bob", &[]),
            (&worker, "worker", &["orders:read", "exports:read"]),
        ] {
            for (kind, action) in [("order", "read"), ("order", "write"), ("order", "approve"), ("export", "read")] {
                let scope = format!("{kind}s:{action}");
                let decision = ask(&remote, who, action, kind).await.expect("a decision");
                let expected = permitted.contains(&&*scope);
                assert_eq!(decision.is_permitted(), expected, "{how}: {name}, {scope}");
                if !expected {
                    assert_eq!((decision.effect(), lacks(&decision)), (Effect::Deny, &*scope), "{how}: {name}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keycloak_does_not_know_is_denied_and_names_no_scope() {
    let Some(keycloak) = Keycloak::reach("what Keycloak does not know").await else { return };
    let alice = caller(&keycloak, &keycloak.password_grant("alice", "").await.access).await;
    for permissions in [orders(&keycloak), orders(&keycloak).with_client(client())] {
        let remote = remote(&permissions.build().expect("a protocol"));
        for (action, kind) in [("read", "invoice"), ("fly", "order"), ("Read", "order"), ("read", "Order")] {
            let decision = ask(&remote, &alice, action, kind).await.expect("a decision");
            assert_eq!(decision.effect(), Effect::Deny, "{action} {kind}");
            assert!(matches!(decision.denial(), Some(Denial::Forbidden { .. })), "{action} {kind}: {decision:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_is_found_by_its_id_and_no_name_is_taken_for_one() {
    let Some(keycloak) = Keycloak::reach("resources by id").await else { return };
    let token = keycloak.password_grant("alice", "").await.access;
    let alice = caller(&keycloak, &token).await;
    let bob = caller(&keycloak, &keycloak.password_grant("bob", "").await.access).await;
    let (status, listed) = keycloak.uma(&token, &[("response_mode", "permissions"), ("permission", "orders")]).await;
    assert_eq!(status, 200, "{listed}");
    let id = listed[0]["rsid"].as_str().expect("an id").to_owned();
    for kept in [false, true] {
        let by_id = |id: &str| {
            let id = id.to_owned();
            let permissions = orders(&keycloak).with_resource_id(move |_| Some(id.clone()));
            let limits = KeptPermissions::default();
            let permissions = if kept { permissions.with_kept_permissions(limits) } else { permissions };
            remote(&permissions.build().expect("a protocol"))
        };
        let orders = by_id(&id);
        assert!(ask(&orders, &alice, "read", "order").await.expect("a decision").is_permitted());
        assert_eq!(lacks(&ask(&orders, &bob, "read", "order").await.expect("a decision")), "orders:read");
        // Keycloak has no such id, and answers for the resource of that name.
        let (status, answer) = keycloak.may(&token, "orders#read").await;
        assert_eq!((status, &answer["result"]), (200, &json!(true)), "else there is nothing to refuse");
        let failure = ask(&by_id("orders"), &alice, "read", "order").await.expect_err("a name is no id");
        assert_eq!(failure.kind(), FailureKind::BadGateway);
        // And the other way round: listed by name, only that name counts.
        let id = id.clone();
        let by_name = Permissions::realm(keycloak.issuer(), AUDIENCE).with_resource_name(move |_| Some(id.clone()));
        let by_name = by_name.with_kept_permissions(KeptPermissions::default()).build().expect("a protocol");
        let failure = ask(&remote(&by_name), &alice, "read", "order").await.expect_err("an id is no name");
        assert_eq!(failure.kind(), FailureKind::BadGateway);
    }
}

/// The worker may read orders and not write them. Each of these questions is answered `true` by Keycloak all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_makes_another_question_of_it() {
    let Some(keycloak) = Keycloak::reach("names that are questions").await else { return };
    let token = keycloak.client_token("worker", "").await;
    let worker = caller(&keycloak, &token).await;
    let as_it_stands = Permissions::realm(keycloak.issuer(), AUDIENCE)
        .with_resource_name(|resource| Some(resource.id().to_owned()))
        .build()
        .expect("a protocol");
    let remote = remote(&as_it_stands);
    for (id, action) in [
        ("orders", "write,read"),
        ("orders#read,", "write"),
        ("resource-type:order", "read"),
        ("resource-type-any:order", "read"),
        ("", "read"),
    ] {
        let (status, answer) = keycloak.may(&token, &format!("{id}#{action}")).await;
        println!("Keycloak on {id}#{action}: {status} {answer}");
        let request = AccessRequest::new(&worker, action, Resource::new("order", id), now());
        let decision = remote.decide(&request).await.expect("a decision");
        assert_eq!(decision.effect(), Effect::Deny, "{id}#{action}");
    }
    assert_eq!(keycloak.may(&token, "orders#write,read").await.0, 200, "else there is nothing to refuse");
    assert_eq!(keycloak.may(&token, "resource-type-any:order#read").await.0, 200, "else there is nothing to refuse");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_keycloak_must_not_or_does_not_take_are_no_permit() {
    let Some(keycloak) = Keycloak::reach("tokens that are no good to Keycloak").await else { return };
    let alice = keycloak.password_grant("alice", "").await;
    let principal = caller(&keycloak, &alice.access).await;
    let relay = Relay::start(keycloak.url()).await;
    let endpoint = keycloak.token_endpoint("sekisho").replacen(keycloak.url(), relay.url(), 1);
    for permissions in [orders(&keycloak), orders(&keycloak).with_client(client())] {
        // A token of another realm verifies where that realm is accepted too; its text must not reach this one.
        relay.set(Mode::answer(200, "application/json", r#"{"result":true}"#));
        let permissions = permissions.with_token_endpoint(&*endpoint).build().expect("a protocol");
        let remote = relayed(&keycloak, &permissions);
        assert!(ask(&remote, &principal, "read", "order").await.expect("forged").is_permitted(), "the relay is asked");
        let issuer = sekisho_testkit::Issuer::with_url(format!("{}/realms/master", keycloak.url()));
        let foreign = issuer.token().audience(AUDIENCE).sign();
        let jwt = sekisho_jwt::Jwt::issuer(issuer.url()).audience(AUDIENCE).with_keys(issuer.static_keys());
        let keeping = KeepToken::new(jwt).expect("an authenticator");
        let now_there = issuer.clock().now();
        let stranger = keeping.authenticate(Credential::bearer(&foreign), now_there).await.expect("it is good there");
        let decision = ask(&remote, &stranger, "read", "order").await.expect("a decision");
        assert_eq!(decision.effect(), Effect::Deny);
        // Without the token at hand nothing is asked.
        let bare = keycloak.jwt().build().expect("a verifier");
        let bare = bare.verify(&alice.access, now()).await.expect("it is good").into_inner();
        assert!(CallerToken::of(&bare).is_none());
        let failure = ask(&remote, &bare, "read", "order").await.expect_err("no token");
        assert_eq!(failure.kind(), FailureKind::Misconfigured);
        relay.set(Mode::Pass);
        assert!(ask(&remote, &principal, "read", "order").await.expect("a decision").is_permitted());
        // Under the relay's own name Keycloak is another issuer, for which this token is as good as none.
        let elsewhere = self::remote(&permissions);
        let decision = ask(&elsewhere, &principal, "read", "order").await.expect("a decision");
        assert_eq!(decision.denial(), Some(&Denial::InvalidToken), "{decision:?}");
    }
}

/// Ends sessions and takes roles away at Keycloak while a token lives: it is noticed when what is kept is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_at_keycloak_is_noticed_within_the_stated_time() {
    let Some(keycloak) = Keycloak::reach("changes at Keycloak").await else { return };
    let user = format!("temp-{}", now().as_secs());
    let representation = json!({
        "username": user, "enabled": true, "email": format!("{user}@shop.example"), "emailVerified": true,
        "firstName": "T", "lastName": "T",
        "credentials": [{ "type": "password", "value": format!("{user}-password"), "temporary": false }],
    });
    let admin = |method, path: String, body| {
        let keycloak = &keycloak;
        async move { keycloak.try_admin(method, &path, body).await.expect("the admin API") }
    };
    admin(reqwest::Method::POST, "sekisho/users".into(), Some(representation)).await;
    let found = admin(reqwest::Method::GET, format!("sekisho/users?username={user}"), None).await;
    let id = found[0]["id"].as_str().expect("an id").to_owned();
    let clerk = admin(reqwest::Method::GET, "sekisho/roles/clerk".into(), None).await;
    let roles = format!("sekisho/users/{id}/role-mappings/realm");
    admin(reqwest::Method::POST, roles.clone(), Some(json!([clerk]))).await;
    let who = caller(&keycloak, &keycloak.password_grant(&user, "").await.access).await;
    let each = remote(&orders(&keycloak).build().expect("a protocol"));
    let permissions = orders(&keycloak).with_client(client()).with_kept_permissions(KeptPermissions::default());
    let permissions = permissions.build().expect("a protocol");
    let kept = remote(&permissions);
    assert!(ask(&each, &who, "read", "payout").await.expect("a decision").is_permitted());
    assert!(ask(&kept, &who, "read", "payout").await.expect("a decision").is_permitted());
    let second = ask(&kept, &who, "read", "payout").await.expect("a decision");
    assert_eq!((second.is_permitted(), second.source()), (true, DecisionSource::Cache));
    admin(reqwest::Method::DELETE, roles.clone(), Some(json!([clerk]))).await;
    let changed = Instant::now();
    // The role still stands in the token, which is what policies read that are not told to fetch roles.
    assert!(ask(&each, &who, "read", "order").await.expect("a decision").is_permitted());
    let decision = ask(&each, &who, "read", "payout").await.expect("a decision");
    println!("role taken away, asked at once: {:?}", decision.effect());
    assert_eq!(decision.effect(), Effect::Deny);
    while ask(&kept, &who, "read", "payout").await.expect("a decision").is_permitted() {
        assert!(changed.elapsed() < Duration::from_secs(6), "still permitted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("role taken away, kept permissions: noticed after {:?}", changed.elapsed());
    admin(reqwest::Method::POST, roles, Some(json!([clerk]))).await;
    permissions.purge_subject(&who.id());
    assert!(ask(&kept, &who, "read", "payout").await.expect("a decision").is_permitted());
    // A disabled user's token is no good any more, to whoever asks.
    admin(reqwest::Method::PUT, format!("sekisho/users/{id}"), Some(json!({ "enabled": false }))).await;
    permissions.purge_subject(&who.id());
    assert_eq!(permissions.kept_permissions(), 0);
    for remote in [&each, &kept] {
        let decision = ask(remote, &who, "read", "payout").await.expect("a decision");
        assert_eq!(decision.denial(), Some(&Denial::InvalidToken), "{decision:?}");
    }
    admin(reqwest::Method::DELETE, format!("sekisho/users/{id}"), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requesting_party_token_answers_for_itself_while_keycloak_is_silent() {
    let Some(keycloak) = Keycloak::reach("a requesting party token").await else { return };
    let worker = keycloak.client_token("worker", "").await;
    let (status, answer) = keycloak.uma(&worker, &[]).await;
    assert_eq!(status, 200, "{answer}");
    let rpt = caller(&keycloak, answer["access_token"].as_str().expect("a token")).await;
    let relay = Relay::start(keycloak.url()).await;
    relay.set(Mode::Silent);
    let endpoint = keycloak.token_endpoint("sekisho").replacen(keycloak.url(), relay.url(), 1);
    let permissions = orders(&keycloak).with_token_endpoint(endpoint);
    let believing = permissions.with_permissions_in_token().build().expect("a protocol");
    let believing = Remote::builder(believing).with_deadline(Duration::from_millis(300)).build().expect("a decider");
    for kind in ["order", "export"] {
        let decision = ask(&believing, &rpt, "read", kind).await.expect("no network is needed");
        assert_eq!((decision.is_permitted(), decision.source()), (true, DecisionSource::Local));
    }
    // What it does not list is asked, and of silence comes no decision.
    let begun = Instant::now();
    let failure = ask(&believing, &rpt, "write", "order").await.expect_err("Keycloak is silent");
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // A token that is no requesting party token lists nothing.
    let plain = caller(&keycloak, &worker).await;
    assert!(ask(&believing, &plain, "read", "order").await.is_err());
    relay.set(Mode::Pass);
    let patient = orders(&keycloak).with_permissions_in_token().build().expect("a protocol");
    let decision = ask(&remote(&patient), &rpt, "write", "order").await.expect("a decision");
    assert_eq!(lacks(&decision), "orders:write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keycloak_takes_claims_that_a_client_pushes() {
    let Some(keycloak) = Keycloak::reach("pushed claims").await else { return };
    let alice = caller(&keycloak, &keycloak.password_grant("alice", "").await.access).await;
    let pushing = orders(&keycloak).with_client(client()).with_pushed_claims(["ip"]).build().expect("a protocol");
    let remote = remote(&pushing);
    let context = JsonObject::parse(br#"{"ip":"192.0.2.1","secret":"not for Keycloak"}"#.to_vec()).expect("JSON");
    for (action, permitted) in [("write", true), ("fly", false)] {
        let request = AccessRequest::new(&alice, action, Resource::new("order", "42"), now()).with_context(&context);
        assert_eq!(remote.decide(&request).await.expect("a decision").is_permitted(), permitted, "{action}");
    }
}

/// Takes every credential for this principal, to put a token beside it.
struct Says(sekisho_core::Principal);

#[async_trait::async_trait]
impl sekisho_core::Authenticate for Says {
    fn recognizes(&self, _: Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(
        &self,
        _: Credential<'_>,
        _: sekisho_core::UnixSeconds,
    ) -> Option<Result<sekisho_core::Principal, Refusal>> {
        Some(Ok(self.0.clone()))
    }

    async fn authenticate(
        &self,
        _: Credential<'_>,
        _: sekisho_core::UnixSeconds,
    ) -> Result<sekisho_core::Principal, Refusal> {
        Ok(self.0.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_token_is_handed_over_by_a_client_and_never_shown_as_a_bearer_token() {
    let Some(keycloak) = Keycloak::reach("a bound token and Keycloak's decision").await else { return };
    let token = keycloak.bound_token(&sekisho_testkit::DpopKey::generate()).await.expect("a bound token");
    let claims = setup::part(&token, 1);
    let thumbprint = claims["cnf"]["jkt"].as_str().expect("it is bound");
    let bound = PrincipalBuilder::new(keycloak.issuer(), claims["sub"].as_str().expect("a subject"))
        .with_confirmation(Confirmation::KeyThumbprint(thumbprint.into()))
        .build()
        .expect("a principal");
    let keeping = KeepToken::new(Says(bound)).expect("an authenticator");
    let who = keeping.authenticate(Credential::bearer(&token), now()).await.expect("whatever it is");
    let bearer = remote(&orders(&keycloak).build().expect("a protocol"));
    let failure = ask(&bearer, &who, "read", "order").await.expect_err("it is not shown");
    assert_eq!(failure.kind(), FailureKind::Misconfigured);
    let client = remote(&orders(&keycloak).with_client(client()).build().expect("a protocol"));
    // Handed over by a client that authenticates itself, Keycloak does not take it either.
    let decision = ask(&client, &who, "read", "order").await.expect("a decision");
    assert!(matches!(decision.denial(), Some(Denial::Forbidden { .. })) && decision.is_refusal(), "{decision:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_authzen_client_is_understood_by_keycloak() {
    let Some(keycloak) = Keycloak::reach("Keycloak by our AuthZEN client").await else { return };
    let ask = |token: String, user: &'static str, action: &'static str| {
        let protocol = AuthZen::builder(&format!("{}/authzen", keycloak.issuer())).with_bearer(token.into());
        let remote = Remote::builder(protocol.build().expect("a protocol")).with_deadline(DEADLINE);
        let remote = remote.without_cache().build().expect("a decider");
        let who = PrincipalBuilder::new(keycloak.issuer(), user).build().expect("a principal");
        async move {
            let request = AccessRequest::new(&who, action, Resource::new("order", "orders"), now());
            remote.decide(&request).await.map(|decision| decision.is_permitted())
        }
    };
    let ours = keycloak.client_token(AUDIENCE, "").await;
    assert!(ask(ours.clone(), "alice", "write").await.expect("a decision"));
    for (user, action) in [("bob", "write"), ("alice", "fly")] {
        let permitted = ask(ours.clone(), user, action).await;
        assert!(matches!(permitted, Ok(false)), "{user} {action}: {permitted:?}");
    }
    // Of a user that it does not know, with the properties that we tell, Keycloak 26.7.3 answers with a status of 500.
    assert!(!matches!(ask(ours.clone(), "nobody", "read").await, Ok(true)));
    let other = keycloak.client_token("worker", "").await;
    assert!(!ask(other, "alice", "write").await.expect("a decision"));
    assert!(ask("a.b.c".to_owned(), "alice", "write").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_slow_or_lying_keycloak_never_permits_over_authzen() {
    let Some(keycloak) = Keycloak::reach("Keycloak silent and lying over AuthZEN").await else { return };
    let relay = Relay::start(keycloak.url()).await;
    let url = format!("{}/authzen", keycloak.issuer()).replacen(keycloak.url(), relay.url(), 1);
    let token = keycloak.client_token(AUDIENCE, "").await;
    let who = PrincipalBuilder::new(keycloak.issuer(), "alice").build().expect("a principal");
    let ask = async |deadline: Duration| {
        let protocol = AuthZen::builder(&url).with_bearer(token.clone().into()).build().expect("a protocol");
        let remote = Remote::builder(protocol).with_client(under_its_name(&keycloak)).with_deadline(deadline);
        let remote = remote.without_cache().build().expect("a decider");
        let request = AccessRequest::new(&who, "write", Resource::new("order", "orders"), now());
        let begun = Instant::now();
        let outcome = remote.decide(&request).await.map(|decision| decision.is_permitted());
        assert!(begun.elapsed() < deadline + Duration::from_millis(800), "{:?}", begun.elapsed());
        outcome
    };
    assert!(ask(Duration::from_secs(5)).await.expect("a decision"));
    let json = "application/json";
    for mode in [
        Mode::Silent,
        Mode::Late(Duration::from_millis(600)),
        Mode::Answer(b"SSH-2.0-x\r\n".to_vec()),
        Mode::answer(200, "text/html", r#"{"decision":true}"#),
        Mode::answer(200, json, r#"{"decision":true,"decision":true}"#),
        Mode::answer(200, json, r#"{"decision":"true"}"#),
        Mode::answer(200, json, r#"{"result":true}"#),
        Mode::answer(302, json, r#"{"decision":true}"#),
        Mode::answer(500, json, r#"{"decision":true}"#),
    ] {
        relay.set(mode.clone());
        let outcome = ask(Duration::from_millis(200)).await;
        assert!(outcome.is_err(), "{mode:?}: {outcome:?}");
    }
    relay.set(Mode::Pass);
    assert!(ask(Duration::from_secs(5)).await.expect("a decision"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_of_ours_are_our_failure() {
    let Some(keycloak) = Keycloak::reach("wrong credentials").await else { return };
    let alice = caller(&keycloak, &keycloak.password_grant("alice", "").await.access).await;
    for wrong in [ClientCredentials::basic(AUDIENCE, "guessed"), ClientCredentials::post("nobody", "guessed")] {
        let remote = remote(&orders(&keycloak).with_client(wrong).build().expect("a protocol"));
        let failure = ask(&remote, &alice, "read", "order").await.expect_err("we are not known");
        assert_eq!(failure.kind(), FailureKind::Misconfigured, "{failure:?}");
    }
}

/// Silence stands for a paused Keycloak: the connection is there, and nobody answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_slow_lying_or_dead_keycloak_never_permits() {
    let test = "Keycloak silent, slow, lying and dead";
    let Some(control) = Control::reach(test) else { return };
    let Some(keycloak) = Keycloak::reach(test).await else { return };
    let alice = caller(&keycloak, &keycloak.password_grant("alice", "").await.access).await;
    let relay = Relay::start(keycloak.url()).await;
    let endpoint = keycloak.token_endpoint("sekisho").replacen(keycloak.url(), relay.url(), 1);
    let deadline = Duration::from_millis(200);
    for kept in [false, true] {
        let permissions = behind(&keycloak, &endpoint, kept);
        let remote = || {
            let remote = Remote::builder(permissions.clone()).with_deadline(deadline);
            remote.without_cache().build().expect("a decider")
        };
        let long = format!("{{\"result\":true,\"x\":\"{}\"}}", "x".repeat(200_000));
        for (what, mode) in [
            ("silence", Mode::Silent),
            ("too late", Mode::Late(Duration::from_millis(600))),
            ("rubbish", Mode::Answer(b"SSH-2.0-x\r\n".to_vec())),
            ("a page", Mode::answer(200, "text/html", r#"{"result":true}"#)),
            ("no JSON", Mode::answer(200, "application/json", "true")),
            ("two results", Mode::answer(200, "application/json", r#"{"result":true,"result":true}"#)),
            ("a text", Mode::answer(200, "application/json", r#"{"result":"true"}"#)),
            ("an error with a permit in it", Mode::answer(500, "application/json", r#"{"result":true}"#)),
            (
                "another resource",
                Mode::answer(200, "application/json", r#"[{"rsid":"1","rsname":"exports","scopes":["read"]}]"#),
            ),
            ("too long", Mode::answer(200, "application/json", &long)),
            ("a redirect", Mode::answer(302, "application/json", r#"{"result":true}"#)),
        ] {
            relay.set(mode);
            let begun = Instant::now();
            let outcome = ask(&remote(), &alice, "read", "order").await;
            assert!(outcome.is_err(), "{what}: {outcome:?}");
            assert!(begun.elapsed() < deadline + Duration::from_millis(800), "{what}: {:?}", begun.elapsed());
        }
        relay.set(Mode::Pass);
    }
    let outage = control.kill("keycloak");
    let begun = Instant::now();
    let dead = Remote::builder(behind(&keycloak, &keycloak.token_endpoint("sekisho"), false)).with_deadline(deadline);
    let failure = ask(&dead.build().expect("a decider"), &alice, "read", "order").await.expect_err("it is dead");
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert!(begun.elapsed() < deadline + Duration::from_millis(800), "{:?}", begun.elapsed());
    outage.end();
}

fn behind(keycloak: &Keycloak, endpoint: &str, kept: bool) -> Permissions {
    let permissions = orders(keycloak).with_token_endpoint(endpoint);
    let permissions = if kept { permissions.with_kept_permissions(KeptPermissions::default()) } else { permissions };
    permissions.build().expect("a protocol")
}

#[derive(Clone)]
struct App {
    checkpoint: Checkpoint,
    orders: Arc<Enforcer>,
}

impl App {
    async fn enforce(&self, caller: &Principal, action: &str, id: &str) -> Result<(), RefusalResponse> {
        let request = AccessRequest::new(caller, action, Resource::new("order", id), now());
        match self.orders.enforce(&request).await {
            Ok(_) => Ok(()),
            Err(Barred::Denied { denial, .. }) => Err(self.checkpoint.deny(caller, &denial).into()),
            Err(Barred::Failed(failure)) => Err(self.checkpoint.refuse(&Refusal::Failure(failure)).into()),
        }
    }
}

async fn read(State(app): State<App>, caller: Principal, Path(id): Path<String>) -> Result<String, RefusalResponse> {
    app.enforce(&caller, "read", &id).await?;
    Ok(format!("order {id}"))
}

async fn approve(State(app): State<App>, caller: Principal, Path(id): Path<String>) -> Result<String, RefusalResponse> {
    app.enforce(&caller, "approve", &id).await?;
    Ok(format!("order {id} is approved"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_axum_service_tells_its_caller_which_scope_is_lacking() {
    let Some(keycloak) = Keycloak::reach("an axum service that asks Keycloak").await else { return };
    let relay = Relay::start(keycloak.url()).await;
    let endpoint = keycloak.token_endpoint("sekisho").replacen(keycloak.url(), relay.url(), 1);
    let permissions =
        orders(&keycloak).with_client(client()).with_token_endpoint(endpoint).build().expect("a protocol");
    let checkpoint = Checkpoint::builder().accept(KeepToken::new(keycloak.jwt()).expect("an authenticator"));
    let checkpoint = checkpoint.build().expect("a checkpoint");
    let app = App { checkpoint: checkpoint.clone(), orders: Arc::new(Enforcer::new(relayed(&keycloak, &permissions))) };
    let routes = Router::new()
        .route("/orders/{id}", get(read))
        .route("/orders/{id}/approval", delete(approve))
        .with_state(app)
        .layer(checkpoint.layer());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
    let http = setup::http();
    let (alice, worker) =
        (keycloak.password_grant("alice", "").await.access, keycloak.client_token("worker", "").await);
    let call = |token: String, approves: bool| {
        let request = match approves {
            false => http.get(format!("{url}/orders/42")),
            true => http.delete(format!("{url}/orders/42/approval")),
        };
        async move {
            let answer = request.bearer_auth(token).send().await.expect("an answer");
            let challenge =
                answer.headers().get("www-authenticate").map(|value| value.to_str().expect("text").to_owned());
            (answer.status().as_u16(), challenge.unwrap_or_default())
        }
    };
    assert_eq!(call(alice.clone(), false).await.0, 200);
    assert_eq!(call(alice.clone(), true).await.0, 200);
    assert_eq!(call(worker.clone(), false).await.0, 200);
    let (status, challenge) = call(worker.clone(), true).await;
    println!("{status} {challenge}");
    assert_eq!(status, 403);
    assert!(challenge.starts_with("Bearer ") && challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
    assert!(challenge.contains(r#"scope="orders:approve""#), "{challenge}");
    assert_eq!(call("a.b.c".to_owned(), false).await.0, 401);
    // A token that the provider does not take any more, though it is good here.
    relay.set(Mode::answer(401, "application/json", r#"{"error":"invalid_grant"}"#));
    let (status, challenge) = call(alice.clone(), false).await;
    assert!(status == 401 && challenge.contains(r#"error="invalid_token""#), "{status} {challenge}");
    // Trouble with the provider is ours: neither a permit nor a challenge.
    relay.set(Mode::answer(503, "application/json", "{}"));
    assert_eq!(call(alice.clone(), false).await, (503, String::new()));
    relay.set(Mode::answer(200, "application/json", "<html>"));
    let (status, challenge) = call(alice, false).await;
    assert_eq!((status, &*challenge), (502, ""));
    task.abort();
}
