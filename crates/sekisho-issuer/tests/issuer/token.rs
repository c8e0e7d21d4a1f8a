use std::sync::Arc;

use sekisho_core::Reject;
use sekisho_issuer::{Client, IssueRequest, Revocation};
use serde_json::Value;

use crate::setup::{Browser, ISSUER, VERIFIER, World, authorize_query, claims_of, header_of};

const HOUSE: &str = "https://house.example/cb";

#[tokio::test]
async fn refuses_requests_that_are_not_well_formed() {
    let world = World::new().await;
    let code = [("grant_type", "authorization_code"), ("client_id", "house")];
    world.token(&[]).await.error(401, "invalid_client");
    world.token(&[("client_id", "house")]).await.error(400, "invalid_request");
    world.token(&[("client_id", "house"), ("grant_type", "password")]).await.error(400, "unsupported_grant_type");
    world.token(&[("client_id", "house"), ("grant_type", "implicit")]).await.error(400, "unsupported_grant_type");
    world.token(&code).await.error(400, "invalid_request");
    world.token(&[&code[..], &[("code", "x")]].concat()).await.error(400, "invalid_request");
    world.token(&[&code[..], &code[..1]].concat()).await.error(400, "invalid_request");
    let mut in_query = crate::setup::post("/token?client_id=house", &code);
    world.send(in_query).await.error(400, "invalid_request");
    in_query = crate::setup::post("/token", &code);
    in_query.headers_mut().insert("content-type", "application/json".parse().unwrap());
    world.send(in_query).await.error(415, "invalid_request");
    let mut long = crate::setup::post("/token", &[]);
    *long.body_mut() = vec![b'a'; 33_000].into();
    world.send(long).await.error(413, "invalid_request");
    world.get("/token").await.status_is(405);
    for grant in ["client_credentials", "urn:ietf:params:oauth:grant-type:device_code"] {
        let form = [("grant_type", grant), ("client_id", "house"), ("device_code", "x")];
        world.token(&form).await.error(400, "unauthorized_client");
    }
}

#[tokio::test]
async fn a_code_is_good_once_and_using_it_twice_takes_back_what_it_brought() {
    let world = World::new().await;
    let code = Browser::new(&world).code("house", HOUSE, "openid orders:read").await;
    let tokens = world.redeem("house", &code).await.json(200);
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    assert!(world.is_active(access).await);
    world.redeem("house", &code).await.error(400, "invalid_grant");
    assert!(!world.is_active(access).await);
    world.refresh("house", refresh).await.error(400, "invalid_grant");
    let heard = world.heard.0.lock().unwrap().clone();
    assert!(
        matches!(heard.as_slice(), [Revocation::Grant(id)] if claims_of(access)["jti"].as_str().unwrap().starts_with(id.as_str()))
    );
}

#[tokio::test]
async fn a_code_ends_after_a_minute() {
    let world = World::new().await;
    for (seconds, good) in [(59, true), (60, false)] {
        let code = Browser::new(&world).code("house", HOUSE, "openid").await;
        world.wait(seconds);
        let answer = world.redeem("house", &code).await;
        assert_eq!(answer.status, if good { 200 } else { 400 }, "{seconds}");
    }
}

#[tokio::test]
async fn a_code_is_used_up_by_a_wrong_verifier_redirect_uri_or_client() {
    let world = World::new().await;
    let wrong = "a".repeat(43);
    for (client, changes, error) in [
        ("house", &[("code_verifier", wrong.as_str())][..], "invalid_grant"),
        ("house", &[("code_verifier", "short")], "invalid_grant"),
        // `plain` by the back door: the challenge itself.
        ("house", &[("code_verifier", crate::setup::CHALLENGE)], "invalid_grant"),
        ("house", &[("redirect_uri", "https://house.example/other")], "invalid_grant"),
        ("web", &[], "invalid_grant"),
    ] {
        let code = Browser::new(&world).code("house", HOUSE, "openid").await;
        let mut form = vec![("grant_type", "authorization_code"), ("client_id", client), ("code", &code)];
        form.extend([("code_verifier", VERIFIER)].iter().filter(|_| !changes.iter().any(|c| c.0 == "code_verifier")));
        form.extend(changes);
        world.token(&form).await.error(400, error);
        world.redeem("house", &code).await.error(400, "invalid_grant");
    }
    for guess in ["x", &"A".repeat(43), &"A".repeat(1000)] {
        world.redeem("house", guess).await.error(400, "invalid_grant");
    }
}

#[tokio::test]
async fn a_right_redirect_uri_may_be_said_again() {
    let world = World::new().await;
    let code = Browser::new(&world).code("house", HOUSE, "openid").await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "house"),
        ("code", &code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", HOUSE),
    ];
    world.token(&form).await.json(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_uses_of_one_code_at_once_one_wins_and_then_nobody_has() {
    let world = Arc::new(World::new().await);
    let code = Browser::new(&world).code("house", HOUSE, "openid orders:read").await;
    let answers = at_once(&world, 12, move |world| {
        let code = code.clone();
        async move { world.redeem("house", &code).await }
    })
    .await;
    let winners: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(winners.len(), 1);
    for winner in winners {
        assert!(!world.is_active(winner.json(200)["access_token"].as_str().unwrap()).await);
    }
}

#[tokio::test]
async fn a_refresh_token_changes_with_each_use() {
    let world = World::new().await;
    let tokens = world.tokens("openid profile orders:read").await;
    let first = tokens["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(first.len(), 87);
    let auth_time = claims_of(tokens["id_token"].as_str().unwrap())["auth_time"].clone();
    world.wait(3600);
    let refreshed = world.refresh("house", &first).await.json(200);
    let second = refreshed["refresh_token"].as_str().unwrap();
    assert_ne!(first, second);
    assert_ne!(refreshed["access_token"], tokens["access_token"]);
    let id = claims_of(refreshed["id_token"].as_str().unwrap());
    assert_eq!(id["auth_time"], auth_time, "a refresh is no login");
    assert!(id.get("nonce").is_none());
    let third = world.refresh("house", second).await.json(200);
    // The first one again: somebody else has it. All of the family dies.
    world.refresh("house", &first).await.error(400, "invalid_grant");
    world.refresh("house", third["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
    assert!(!world.is_active(third["access_token"].as_str().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_uses_of_one_refresh_token_at_once_one_wins_and_the_family_dies() {
    let world = Arc::new(World::new().await);
    for _ in 0..8 {
        let tokens = world.tokens("openid orders:read").await;
        let token = tokens["refresh_token"].as_str().unwrap().to_owned();
        let answers = at_once(&world, 16, move |world| {
            let token = token.clone();
            async move { world.refresh("house", &token).await }
        })
        .await;
        let (winners, losers): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(winners.len(), 1);
        losers.iter().for_each(|loser| loser.error(400, "invalid_grant"));
        for winner in winners {
            let body = winner.json(200);
            world.refresh("house", body["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
            assert!(!world.is_active(body["access_token"].as_str().unwrap()).await);
        }
    }
}

#[tokio::test]
async fn a_refresh_token_is_its_clients_and_gives_no_more_than_it_had() {
    let world = World::new().await;
    let tokens = world.tokens("openid orders:read").await;
    let token = tokens["refresh_token"].as_str().unwrap();
    world.refresh("web", token).await.error(400, "invalid_grant");
    let (family, secret) = token.split_once('.').unwrap();
    for bad in ["", "x", family, &format!("{secret}.{family}"), &format!("{token}.x"), &format!("{token} ")] {
        let expected = if bad.is_empty() { "invalid_request" } else { "invalid_grant" };
        world.refresh("house", bad).await.error(400, expected);
    }
    let with_scope = async |scope: &str, token: &str| {
        let form =
            [("grant_type", "refresh_token"), ("client_id", "house"), ("refresh_token", token), ("scope", scope)];
        world.token(&form).await
    };
    with_scope("openid orders:write", token).await.error(400, "invalid_scope");
    let narrow = with_scope("orders:read", token).await.json(200);
    assert_eq!(narrow["scope"], "orders:read");
    assert!(narrow.get("id_token").is_none());
    assert_eq!(claims_of(narrow["access_token"].as_str().unwrap())["aud"], "orders");
    // RFC 6749 §6: narrowing one token does not narrow the grant.
    let wide = world.refresh("house", narrow["refresh_token"].as_str().unwrap()).await.json(200);
    assert_eq!(wide["scope"], "openid orders:read");
}

#[tokio::test]
async fn without_offline_access_nothing_outlives_the_login() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let codes = [
        browser.code("house", "https://house.example/cb", "openid").await,
        browser.code("house", "https://house.example/cb", "openid offline_access").await,
    ];
    let refresh_token =
        async |code: &str| world.redeem("house", code).await.json(200)["refresh_token"].as_str().unwrap().to_owned();
    let (bound, lasting) = (refresh_token(&codes[0]).await, refresh_token(&codes[1]).await);
    world.wait(12 * 3600 - 10);
    let last = world.refresh("house", &bound).await.json(200);
    assert_eq!(last["expires_in"], 10, "access tokens end with the login too");
    world.wait(10);
    world.refresh("house", last["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
    world.refresh("house", &lasting).await.json(200);
}

#[tokio::test]
async fn a_refresh_gives_no_more_than_the_client_may_still_have() {
    let world = World::new().await;
    let tokens = world.tokens("openid profile orders:read").await;
    let house = |scopes: &str, audience: &str| {
        let client = Client::public("house").with_redirect_uri("https://house.example/cb").with_refresh_tokens();
        client.with_scopes(scopes).with_audience(audience).build().unwrap()
    };
    world.replace_client(house("openid orders:write", "orders"));
    let less = world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await.json(200);
    assert_eq!(less["scope"], "openid");
    assert!(claims_of(less["id_token"].as_str().unwrap()).get("name").is_none());
    let token = less["refresh_token"].as_str().unwrap();
    let form =
        [("grant_type", "refresh_token"), ("client_id", "house"), ("refresh_token", token), ("scope", "orders:read")];
    world.token(&form).await.error(400, "invalid_scope");
    world.replace_client(house("email", "orders"));
    world.refresh("house", token).await.error(400, "invalid_scope");
    world.replace_client(house("openid", "billing"));
    world.refresh("house", token).await.error(400, "invalid_target");
    world.replace_client(house("openid", "orders"));
    world.refresh("house", token).await.json(200);
}

#[tokio::test]
async fn tokens_are_asked_of_a_part_of_a_grant() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let mut code = async |scope: &str| {
        let changes = [("scope", scope), ("resource", "orders"), ("resource", "billing")];
        let query = authorize_query("web", "https://web.example/cb", &changes);
        let mut answer = browser.get(&format!("/authorize?{query}")).await;
        if answer.body.contains("name=\"password\"") {
            answer = browser.log_in(&answer, "alice").await;
        }
        if answer.status == 200 {
            answer = browser.submit(&answer, &[("decision", "allow")]).await;
        }
        answer.redirect().1["code"].clone()
    };
    let redeem = async |code: &str, resource: &str| {
        let form = [("grant_type", "authorization_code"), ("client_id", "web"), ("code", code)];
        world.token(&[&form[..], &[("code_verifier", VERIFIER), ("resource", resource)]].concat()).await
    };
    let refresh = async |token: &str, name: &'static str, value: &str| {
        world
            .token(&[("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token), (name, value)])
            .await
    };
    let text = |answer: &Value, name: &str| answer[name].as_str().unwrap().to_owned();
    let audience = |answer: &Value| claims_of(&text(answer, "access_token"))["aud"].clone();
    let tokens = redeem(&code("profile orders:read").await, "billing").await.json(200);
    assert_eq!(audience(&tokens), "billing");
    let token = text(&tokens, "refresh_token");
    refresh(&token, "resource", "elsewhere").await.error(400, "invalid_target");
    let orders = refresh(&token, "resource", "orders").await.json(200);
    assert_eq!(audience(&orders), "orders", "one token was narrowed, not the grant");
    redeem(&code("profile orders:read").await, "elsewhere").await.error(400, "invalid_target");
    // The ID token tells what the narrowed scope allows.
    let tokens = world.redeem("web", &code("openid profile").await).await.json(200);
    assert_eq!(claims_of(&text(&tokens, "id_token"))["name"], "alice example");
    let narrow = refresh(&text(&tokens, "refresh_token"), "scope", "openid").await.json(200);
    assert!(claims_of(&text(&narrow, "id_token")).get("name").is_none());
}

#[tokio::test]
async fn a_refresh_token_ends_unused_after_two_weeks_and_at_last_after_thirty_days() {
    const DAY: u64 = 86_400;
    let world = World::new().await;
    let lasting = "openid offline_access";
    let mut token = world.tokens(lasting).await["refresh_token"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        world.wait(14 * DAY - 1);
        token = world.refresh("house", &token).await.json(200)["refresh_token"].as_str().unwrap().to_owned();
    }
    world.wait(2 * DAY + 2);
    world.refresh("house", &token).await.error(400, "invalid_grant");
    let token = world.tokens(lasting).await["refresh_token"].as_str().unwrap().to_owned();
    world.wait(14 * DAY);
    world.refresh("house", &token).await.error(400, "invalid_grant");
}

#[tokio::test]
async fn a_barred_user_gets_no_token_any_more_and_a_broken_directory_is_no_refusal() {
    let world = World::new().await;
    let tokens = world.tokens("openid orders:read").await;
    let token = tokens["refresh_token"].as_str().unwrap();
    *world.users.is_down.lock().unwrap() = true;
    let code = Browser::new(&world).code("house", HOUSE, "openid").await;
    let down = world.redeem("house", &code).await;
    assert_eq!(down.json(503)["error"], "temporarily_unavailable");
    assert_eq!(down.header("retry-after"), "1");
    *world.users.is_down.lock().unwrap() = false;
    world.users.barred.lock().unwrap().push("alice".to_owned());
    world.refresh("house", token).await.error(400, "invalid_grant");
    world.users.barred.lock().unwrap().clear();
    world.refresh("house", token).await.error(400, "invalid_grant");
    assert!(!world.is_active(tokens["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn whoever_is_logged_out_everywhere_has_nothing_left() {
    let world = World::new().await;
    let tokens = world.tokens("openid offline_access orders:read").await;
    world.server.revoke_subject("alice", world.now()).await.unwrap();
    world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
    assert!(!world.is_active(tokens["access_token"].as_str().unwrap()).await);
    assert_eq!(world.heard.0.lock().unwrap().as_slice(), [Revocation::Subject("alice".to_owned())]);
}

#[tokio::test]
async fn access_tokens_are_what_a_strict_service_expects() {
    let world = World::new().await;
    let tokens = world.tokens("openid orders:read").await;
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&"Bearer".into(), &300.into()));
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(header_of(access)["typ"], "at+jwt");
    let principal = world.verifier("orders").verify(access, world.now()).await.unwrap();
    assert_eq!((principal.issuer(), principal.subject(), principal.client()), (ISSUER, "alice", Some("house")));
    assert_eq!(principal.scope(), "openid orders:read");
    assert_eq!(principal.authenticated_at(), Some(world.now()));
    assert!(principal.session_id().is_some());
    let claims = claims_of(access);
    assert_eq!(claims["roles"], serde_json::json!(["clerk"]));
    assert_eq!(claims["aud"], serde_json::json!(["orders", ISSUER]));
    assert!(claims.get("cnf").is_none(), "what the directory says cannot bind a token");
    let elsewhere = world.verifier("billing").verify(access, world.now()).await.unwrap_err();
    assert!(matches!(elsewhere, sekisho_core::Refusal::Reject(Reject::Audience)), "{elsewhere:?}");
    let machine = world.worker_token().await;
    let principal = world.verifier("orders").verify(&machine, world.now()).await.unwrap();
    assert_eq!(
        (principal.subject(), principal.client(), principal.scope()),
        ("worker", Some("worker"), "orders:read orders:write")
    );
    assert_eq!(principal.authenticated_at(), None);
}

#[tokio::test]
async fn an_id_token_is_no_access_token_and_says_who_logged_in_how() {
    let world = World::new().await;
    let tokens = world.tokens("openid email orders:read").await;
    let id_token = tokens["id_token"].as_str().unwrap();
    assert_eq!(header_of(id_token)["typ"], "JWT");
    let id = claims_of(id_token);
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, tokens["access_token"].as_str().unwrap().as_bytes());
    let at_hash = base64_simd::URL_SAFE_NO_PAD.encode_to_string(&digest.as_ref()[..16]);
    assert_eq!(id["at_hash"], at_hash);
    assert_eq!((&id["aud"], &id["azp"], &id["nonce"]), (&"house".into(), &"house".into(), &"n-1".into()));
    assert_eq!((&id["sub"], &id["amr"]), (&"alice".into(), &serde_json::json!(["pwd"])));
    assert_eq!((&id["email"], id.get("name")), (&"alice@users.example".into(), None));
    for audience in ["house", "orders"] {
        assert!(world.verifier(audience).verify(id_token, world.now()).await.is_err());
    }
    assert!(!world.is_active(id_token).await);
    world.refresh("house", id_token).await.error(400, "invalid_grant");
}

#[tokio::test]
async fn a_client_gets_what_it_is_registered_for_and_nothing_else() {
    let world = World::new().await;
    let ask = async |form: &[(&str, &str)]| {
        world.post_as("worker", "/token", &[&[("grant_type", "client_credentials")], form].concat()).await
    };
    ask(&[("scope", "orders:read admin")]).await.error(400, "invalid_scope");
    ask(&[("scope", "openid")]).await.error(400, "invalid_scope");
    ask(&[("resource", "elsewhere")]).await.error(400, "invalid_target");
    ask(&[("resource", "billing"), ("resource", "elsewhere")]).await.error(400, "invalid_target");
    let both = ask(&[("resource", "billing"), ("resource", "orders"), ("scope", "orders:read")]).await.json(200);
    let claims = claims_of(both["access_token"].as_str().unwrap());
    assert_eq!((&claims["aud"], &claims["scope"]), (&serde_json::json!(["billing", "orders"]), &"orders:read".into()));
    assert!(both.get("refresh_token").is_none());
    let house = world.post_as("confidential", "/token", &[("grant_type", "client_credentials")]).await;
    house.error(400, "unauthorized_client");
}

#[tokio::test]
async fn a_client_without_refresh_tokens_gets_none() {
    let world = World::new().await;
    let code = Browser::new(&world).code("confidential", "https://confidential.example/cb", "openid").await;
    let form = [("grant_type", "authorization_code"), ("code", &code), ("code_verifier", VERIFIER)];
    let tokens = world.post_as("confidential", "/token", &form).await.json(200);
    assert!(tokens.get("refresh_token").is_none());
    world.wait(299);
    assert!(world.is_active(tokens["access_token"].as_str().unwrap()).await, "the grant lives as long as its token");
    world.wait(1);
    assert!(!world.is_active(tokens["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn reference_tokens_say_nothing_and_are_gone_when_revoked() {
    let world = World::new().await;
    let code = Browser::new(&world).code("opaque", "https://opaque.example/cb", "openid orders:read").await;
    let tokens = world.redeem("opaque", &code).await.json(200);
    let token = tokens["access_token"].as_str().unwrap();
    assert_eq!(token.len(), 43);
    let told = world.introspect(token).await;
    assert_eq!((&told["active"], &told["sub"], &told["client_id"]), (&true.into(), &"alice".into(), &"opaque".into()));
    world.wait(299);
    assert!(world.is_active(token).await);
    world.wait(1);
    assert!(!world.is_active(token).await);
    let refreshed = world.refresh("opaque", tokens["refresh_token"].as_str().unwrap()).await.json(200);
    let token = refreshed["access_token"].as_str().unwrap();
    world.post("/revoke", &[("client_id", "opaque"), ("token", token)]).await.status_is(200);
    assert!(!world.is_active(token).await);
}

#[tokio::test]
async fn a_token_is_issued_by_hand_for_whom_the_caller_says() {
    let world = World::new().await;
    let request = || IssueRequest::new("worker", "dave").with_audience("orders").with_scopes("any:scope").unwrap();
    let issued =
        world.server.issue(request().with_claim("iss", "evil").with_claim("tenant", "t"), world.now()).await.unwrap();
    let text = issued.token.expose_str().unwrap();
    let principal = world.verifier("orders").verify(text, world.now()).await.unwrap();
    assert_eq!((principal.subject(), principal.scope()), ("dave", "any:scope"));
    assert_eq!(claims_of(text)["tenant"], "t");
    assert!(!format!("{issued:?}").contains(text));
    assert!(world.server.issue(IssueRequest::new("nobody", "dave"), world.now()).await.is_err());
    assert!(world.server.issue(IssueRequest::new("worker", "signer"), world.now()).await.is_err());
    assert!(world.server.issue(IssueRequest::new("worker", "d\n"), world.now()).await.is_err());
    let long = request().with_lifetime(std::time::Duration::from_secs(90_000));
    assert!(world.server.issue(long, world.now()).await.is_err());
    world.server.revoke(text, world.now()).await.unwrap();
    assert!(world.server.inspect(text, world.now()).await.unwrap().is_none());
}

/// Does one thing many times at the same time.
async fn at_once<F: Future<Output = crate::setup::Answer> + Send + 'static>(
    world: &Arc<World>,
    times: usize,
    what: impl Fn(Arc<World>) -> F,
) -> Vec<crate::setup::Answer> {
    let tasks: Vec<_> = (0..times).map(|_| tokio::spawn(what(Arc::clone(world)))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}
