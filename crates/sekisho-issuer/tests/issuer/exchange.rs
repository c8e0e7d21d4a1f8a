use serde_json::{Value, json};

use crate::setup::{Answer, ISSUER, World, claims_of};

const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const EXCHANGE: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");

async fn exchange(world: &World, token: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![EXCHANGE, ("subject_token", token), ("subject_token_type", ACCESS)];
    form.retain(|(name, _)| !more.iter().any(|(changed, _)| changed == name));
    form.extend(more);
    world.post_as("orders", "/token", &form).await
}

async fn user_token(world: &World, scope: &str) -> String {
    world.tokens(scope).await["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_service_gets_a_token_for_the_next_one_in_the_name_of_the_user() {
    let world = World::new().await;
    let token = user_token(&world, "openid orders:read orders:write").await;
    world.wait(100);
    let answer = exchange(&world, &token, &[("audience", "billing")]).await.json(200);
    assert_eq!(answer["issued_token_type"], ACCESS);
    assert_eq!((&answer["scope"], &answer["expires_in"]), (&"orders:read".into(), &200.into()));
    assert!(answer.get("refresh_token").is_none() && answer.get("id_token").is_none());
    let new = answer["access_token"].as_str().unwrap();
    let principal = world.verifier("billing").verify(new, world.now()).await.unwrap();
    assert_eq!((principal.subject(), principal.client()), ("alice", Some("orders")));
    let claims = claims_of(new);
    assert_eq!((&claims["act"], &claims["aud"]), (&json!({ "sub": "orders" }), &"billing".into()));
    assert_eq!((&claims["roles"], &claims["auth_time"]), (&json!(["clerk"]), &claims_of(&token)["auth_time"]));
    assert_eq!(claims["sid"], claims_of(&token)["sid"]);
    // It ends with the grant that it came from.
    world.server.revoke_subject("alice", world.now()).await.unwrap();
    assert!(world.server.inspect(new, world.now()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_token_that_was_not_made_for_the_service_is_refused() {
    let world = World::new().await;
    // A deputy must not be talked into using somebody else's token: another audience, an exchanged one, an ID token.
    let form = [("grant_type", "client_credentials"), ("resource", "billing")];
    let elsewhere = world.post_as("worker", "/token", &form).await.json(200);
    let tokens = world.tokens("openid orders:read").await;
    let exchanged = exchange(&world, tokens["access_token"].as_str().unwrap(), &[]).await.json(200);
    let (id, refresh) = (tokens["id_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let mut forged = tokens["access_token"].as_str().unwrap().to_owned();
    forged.replace_range(forged.len() - 5.., "AAAAA");
    let text = |value: &Value| value["access_token"].as_str().unwrap().to_owned();
    for token in [text(&elsewhere), text(&exchanged), id.to_owned(), refresh.to_owned(), forged, "x".to_owned()] {
        exchange(&world, &token, &[]).await.error(400, "invalid_request");
    }
    let good = tokens["access_token"].as_str().unwrap();
    exchange(&world, good, &[]).await.json(200);
    world.wait(300);
    exchange(&world, good, &[]).await.error(400, "invalid_request");
}

#[tokio::test]
async fn nothing_is_had_beyond_the_rules_of_the_client_and_the_token() {
    let world = World::new().await;
    let token = user_token(&world, "openid orders:read").await;
    for (more, error) in [
        (&[("audience", "elsewhere")][..], "invalid_target"),
        (&[("resource", "orders")], "invalid_target"),
        (&[("audience", "billing"), ("audience", "elsewhere")], "invalid_target"),
        (&[("scope", "orders:write")], "invalid_scope"),
        (&[("scope", "openid")], "invalid_scope"),
        (&[("subject_token", "")], "invalid_request"),
        (&[("subject_token_type", "")], "invalid_request"),
        (&[("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")], "invalid_request"),
        (&[("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], "invalid_request"),
        (&[("actor_token", "x"), ("actor_token_type", ACCESS)], "invalid_request"),
    ] {
        exchange(&world, &token, more).await.error(400, error);
    }
    let nothing = user_token(&world, "openid").await;
    let answer = exchange(&world, &nothing, &[]).await.json(200);
    assert!(answer.get("scope").is_none(), "no common scope is no scope");
    let form = [EXCHANGE, ("subject_token", &token), ("subject_token_type", ACCESS)];
    world.post_as("worker", "/token", &form).await.error(400, "unauthorized_client");
    world.users.barred.lock().unwrap().push("alice".to_owned());
    exchange(&world, &token, &[]).await.error(400, "invalid_request");
}

#[tokio::test]
async fn a_machine_is_passed_on_too_and_the_chain_of_actors_is_kept_and_bounded() {
    let world = World::new().await;
    let machine = world.worker_token().await;
    let claims = claims_of(exchange(&world, &machine, &[]).await.json(200)["access_token"].as_str().unwrap());
    assert_eq!((&claims["sub"], &claims["act"]), (&"worker".into(), &json!({ "sub": "orders" })));
    // Passed on twice it is still a machine: it has no claims of a user, and no user of that name must exist.
    world.users.barred.lock().unwrap().push("worker".to_owned());
    let once = exchange(&world, &machine, &[]).await.json(200)["access_token"].as_str().unwrap().to_owned();
    let form = [EXCHANGE, ("subject_token", once.as_str()), ("subject_token_type", ACCESS)];
    let twice = world.post_as("billing", "/token", &form).await.json(200);
    let claims = claims_of(twice["access_token"].as_str().unwrap());
    assert_eq!((&claims["sub"], &claims["client_id"]), (&"worker".into(), &"billing".into()));
    assert!(claims.get("roles").is_none());
    let mut token = user_token(&world, "openid orders:read").await;
    for turn in 0..8 {
        let client = if turn % 2 == 0 { "orders" } else { "billing" };
        let form = [EXCHANGE, ("subject_token", token.as_str()), ("subject_token_type", ACCESS)];
        let answer = world.post_as(client, "/token", &form).await.json(200);
        let former = claims_of(&token).get("act").cloned();
        token = answer["access_token"].as_str().unwrap().to_owned();
        let actor = claims_of(&token)["act"].clone();
        assert_eq!((&actor["sub"], actor.get("act")), (&client.into(), former.as_ref()));
    }
    exchange(&world, &token, &[]).await.error(400, "invalid_request");
    let issue = |actor: Value| {
        let request = sekisho_issuer::IssueRequest::new("worker", "dave").with_audience("orders");
        world.server.issue(request.with_claim("act", actor).with_claim("iss", ISSUER), world.now())
    };
    // `act` is the issuer's to write: by hand it is dropped.
    let token = issue(json!({ "sub": "evil" })).await.unwrap();
    assert!(claims_of(token.token.expose_str().unwrap()).get("act").is_none());
}
