use axum::body::Body;
use http::Request;

use crate::setup::{Answer, World};

async fn ask(world: &World, authorization: Option<&str>) -> Answer {
    let mut request = Request::get("/userinfo");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    world.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn tells_what_the_scopes_open() {
    let world = World::new().await;
    let tokens = world.tokens("openid profile").await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let answer = ask(&world, Some(&bearer)).await;
    assert_eq!(answer.json(200), serde_json::json!({ "sub": "alice", "name": "alice example" }));
    assert_eq!(answer.header("cache-control"), "no-store");
    let posted = Request::post("/userinfo").header("authorization", &bearer).body(Body::empty()).unwrap();
    assert_eq!(world.send(posted).await.json(200)["sub"], "alice");
}

#[tokio::test]
async fn refuses_what_is_no_token_of_a_user_with_openid() {
    let world = World::new().await;
    let tokens = world.tokens("openid orders:read").await;
    let access = tokens["access_token"].as_str().unwrap();
    let plain = world.tokens("orders:read").await["access_token"].as_str().unwrap().to_owned();
    let machine = world.worker_token().await;
    for (authorization, status, challenge) in [
        (None, 401, "Bearer"),
        (Some("Basic eDp5".to_owned()), 401, "Bearer"),
        (Some("Bearer".to_owned()), 400, "Bearer error=\"invalid_request\""),
        (Some("Bearer x".to_owned()), 401, "Bearer error=\"invalid_token\""),
        (Some(format!("Bearer {access} ")), 401, "Bearer error=\"invalid_token\""),
        (Some(format!("Bearer {}", tokens["id_token"].as_str().unwrap())), 401, "Bearer error=\"invalid_token\""),
        (Some(format!("Bearer {}", tokens["refresh_token"].as_str().unwrap())), 401, "Bearer error=\"invalid_token\""),
        (Some(format!("Bearer {plain}")), 403, "Bearer error=\"insufficient_scope\", scope=\"openid\""),
        (Some(format!("Bearer {machine}")), 403, "Bearer error=\"insufficient_scope\", scope=\"openid\""),
    ] {
        let answer = ask(&world, authorization.as_deref()).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (status, challenge), "{authorization:?}");
    }
    let in_query = Request::get(format!("/userinfo?access_token={access}")).body(Body::empty()).unwrap();
    assert_eq!(world.send(in_query).await.status, 401);
    world.users.barred.lock().unwrap().push("alice".to_owned());
    assert_eq!(ask(&world, Some(&format!("Bearer {access}"))).await.status, 401);
    *world.users.is_down.lock().unwrap() = true;
    assert_eq!(ask(&world, Some(&format!("Bearer {access}"))).await.status, 503);
}
