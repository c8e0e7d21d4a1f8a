use http::Request;
use sekisho_issuer::Revocation;
use serde_json::{Value, json};

use crate::setup::{Answer, Browser, ISSUER, World, basic, claims_of, header_of, post};

async fn ask(world: &World, client: &str, token: &str, accept: &str) -> Answer {
    let mut request: Request<_> = post("/introspect", &[("token", token)]);
    request.headers_mut().insert("authorization", basic(client, &world.secret).parse().unwrap());
    request.headers_mut().insert("accept", accept.parse().unwrap());
    world.send(request).await
}

async fn opaque_token(world: &World) -> String {
    let code = Browser::new(world).code("opaque", "https://opaque.example/cb", "openid orders:read").await;
    world.redeem("opaque", &code).await.json(200)["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_good_token_is_told_to_those_whom_it_concerns() {
    let world = World::new().await;
    let token = world.worker_token().await;
    let told = world.introspect(&token).await;
    assert_eq!(told["active"], true);
    for name in ["iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope"] {
        assert_eq!(told[name], claims_of(&token)[name], "{name}");
    }
    let own = world.post_as("worker", "/introspect", &[("token", &token)]).await.json(200);
    assert_eq!(own["active"], true);
    let stranger = world.post_as("confidential", "/introspect", &[("token", &token)]).await;
    assert_eq!(stranger.json(200), json!({ "active": false }));
    assert_eq!(stranger.header("cache-control"), "no-store");
}

#[tokio::test]
async fn whatever_is_no_good_token_is_only_not_active() {
    let world = World::new().await;
    let tokens = world.tokens("openid orders:read").await;
    let access = tokens["access_token"].as_str().unwrap();
    let mut forged = access.to_owned();
    forged.replace_range(forged.len() - 5.., "AAAAA");
    for bad in
        ["x", "..", "a.b.c", &forged, tokens["id_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap()]
    {
        let answer = world.post_as("orders", "/introspect", &[("token", bad)]).await;
        assert_eq!(answer.json(200), json!({ "active": false }), "{bad}");
    }
    world.post_as("orders", "/introspect", &[]).await.error(400, "invalid_request");
    world.post_as("orders", "/introspect", &[("token", access), ("token", access)]).await.error(400, "invalid_request");
    world.get("/introspect").await.status_is(405);
    world.wait(299);
    assert!(world.is_active(access).await);
    world.wait(1);
    assert!(!world.is_active(access).await);
}

#[tokio::test]
async fn another_issuers_token_is_not_active_here() {
    let (world, other) = (World::new().await, World::new().await);
    let token = other.worker_token().await;
    assert!(!world.is_active(&token).await);
}

#[tokio::test]
async fn a_signed_answer_is_of_a_type_of_its_own_and_no_access_token() {
    let world = World::new().await;
    let token = world.worker_token().await;
    let answer = ask(&world, "orders", &token, "application/token-introspection+jwt").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/token-introspection+jwt"));
    assert_eq!(answer.header("vary"), "Accept");
    assert_eq!(header_of(&answer.body)["typ"], "token-introspection+jwt");
    let claims = claims_of(&answer.body);
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["iat"]),
        (&ISSUER.into(), &"orders".into(), &world.now().as_secs().into())
    );
    assert_eq!(claims["token_introspection"]["active"], true);
    assert_eq!(claims["token_introspection"]["sub"], "worker");
    assert!(claims.get("sub").is_none() && claims.get("exp").is_none());
    assert!(world.verifier("orders").verify(&answer.body, world.now()).await.is_err());
    assert!(!world.is_active(&answer.body).await);
    let inactive = ask(&world, "orders", "x", "application/token-introspection+jwt").await;
    assert_eq!(claims_of(&inactive.body)["token_introspection"], json!({ "active": false }));
}

#[tokio::test]
async fn a_phantom_token_is_the_access_token_itself_or_nothing() {
    let world = World::new().await;
    let opaque = opaque_token(&world).await;
    let answer = ask(&world, "orders", &opaque, "application/jwt").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/jwt"));
    let principal = world.verifier("orders").verify(&answer.body, world.now()).await.unwrap();
    assert_eq!((principal.subject(), principal.client()), ("alice", Some("opaque")));
    let jwt = world.worker_token().await;
    assert_eq!(ask(&world, "orders", &jwt, "application/jwt").await.body, jwt);
    for (client, token) in [("orders", "x"), ("confidential", opaque.as_str())] {
        let nothing = ask(&world, client, token, "application/jwt").await;
        assert_eq!((nothing.status, nothing.body.as_str(), nothing.header("cache-control")), (204, "", "no-store"));
    }
    for accept in ["application/json", "*/*", "text/html", "application/json, application/jwt"] {
        assert_eq!(ask(&world, "orders", &opaque, accept).await.json(200)["active"], true, "{accept}");
    }
}

#[tokio::test]
async fn a_reference_token_and_its_phantom_are_revoked_together() {
    let world = World::new().await;
    // By the reference token.
    let opaque = opaque_token(&world).await;
    let phantom = ask(&world, "orders", &opaque, "application/jwt").await.body;
    assert!(world.is_active(&phantom).await);
    world.post("/revoke", &[("client_id", "opaque"), ("token", &opaque)]).await.status_is(200);
    assert!(!world.is_active(&opaque).await);
    assert!(!world.is_active(&phantom).await, "the phantom of a revoked token is revoked");
    let mut userinfo = Request::get("/userinfo").body(axum::body::Body::empty()).unwrap();
    userinfo.headers_mut().insert("authorization", format!("Bearer {phantom}").parse().unwrap());
    world.send(userinfo).await.status_is(401);
    let subject_type = ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token");
    let exchange = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
    let exchanged = world.post_as("orders", "/token", &[exchange, subject_type, ("subject_token", &phantom)]).await;
    exchanged.error(400, "invalid_request");
    // By the phantom, for as long as the reference token could live.
    let request = sekisho_issuer::IssueRequest::new("veiled", "dave").with_audience("orders");
    let issued = world.server.issue(request.with_lifetime(std::time::Duration::from_secs(86_400)), world.now());
    let opaque = issued.await.unwrap().token.expose_str().unwrap().to_owned();
    let phantom = ask(&world, "orders", &opaque, "application/jwt").await.body;
    world.server.revoke(&phantom, world.now()).await.unwrap();
    for seconds in [0, 301, 86_000 - 301] {
        world.wait(seconds);
        assert!(!world.is_active(&opaque).await, "after {seconds} s more");
    }
}

#[tokio::test]
async fn a_client_gets_no_phantom_of_a_token_that_was_made_for_another() {
    let world = World::new().await;
    let form = [("grant_type", "client_credentials")];
    let tokens = world.post_as("veiled", "/token", &form).await.json(200);
    let own = tokens["access_token"].as_str().unwrap();
    assert_eq!(ask(&world, "veiled", own, "application/json").await.json(200)["active"], true);
    let nothing = ask(&world, "veiled", own, "application/jwt").await;
    assert_eq!((nothing.status, nothing.body.as_str()), (204, ""));
    assert_eq!(ask(&world, "orders", own, "application/jwt").await.status, 200);
}

#[tokio::test]
async fn an_answer_may_be_kept_only_where_that_is_allowed_and_never_beyond_the_end() {
    let age = std::time::Duration::from_secs(60);
    let world = World::with(ISSUER, |builder| builder.with_introspection_max_age(age)).await;
    let token = world.worker_token().await;
    let cached = async |token: &str| {
        let answer = world.post_as("orders", "/introspect", &[("token", token)]).await;
        answer.header("cache-control").to_owned()
    };
    assert_eq!(cached(&token).await, "private, max-age=60");
    world.wait(290);
    assert_eq!(cached(&token).await, "private, max-age=10");
    assert_eq!(cached("x").await, "no-store");
}

#[tokio::test]
async fn a_refresh_token_is_told_to_its_client_alone() {
    let world = World::new().await;
    let code = Browser::new(&world).code("house", "https://house.example/cb", "openid").await;
    let tokens = world.redeem("house", &code).await.json(200);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert!(!world.is_active(refresh).await);
    world.post("/introspect", &[("client_id", "house"), ("token", refresh)]).await.error(401, "invalid_client");
}

#[tokio::test]
async fn a_revoked_token_is_not_active_and_the_listener_hears_of_it() {
    let world = World::new().await;
    let token = world.worker_token().await;
    let other = world.worker_token().await;
    let claims = claims_of(&token);
    world.post_as("worker", "/revoke", &[("token", &token)]).await.status_is(200);
    assert!(!world.is_active(&token).await);
    assert!(world.is_active(&other).await);
    let heard = world.heard.0.lock().unwrap().clone();
    match heard.as_slice() {
        [Revocation::Token { id, expires_at, .. }] => {
            assert_eq!(
                (id.as_str(), expires_at.as_secs()),
                (claims["jti"].as_str().unwrap(), claims["exp"].as_u64().unwrap())
            );
        }
        _ => panic!("{heard:?}"),
    }
    world.post_as("worker", "/revoke", &[("token", &token)]).await.status_is(200);
}

#[tokio::test]
async fn revoking_a_refresh_token_takes_all_of_its_grant() {
    let world = World::new().await;
    let tokens = world.tokens("openid orders:read").await;
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let revoke =
        async |client: &str, token: &str| world.post("/revoke", &[("client_id", client), ("token", token)]).await;
    revoke("web", refresh).await.error(400, "invalid_grant");
    revoke("web", access).await.error(400, "invalid_grant");
    assert!(world.is_active(access).await, "another client takes nothing back");
    for nothing in ["x", "x.y", "a.b.c"] {
        revoke("house", nothing).await.status_is(200);
    }
    world.post("/revoke", &[("client_id", "house")]).await.error(400, "invalid_request");
    revoke("house", refresh).await.status_is(200);
    assert!(!world.is_active(access).await);
    world.refresh("house", refresh).await.error(400, "invalid_grant");
    revoke("house", refresh).await.status_is(200);
    let _: Value = world.introspect(refresh).await;
}
