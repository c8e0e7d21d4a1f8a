use std::net::SocketAddr;

use axum::body::Body;
use http::{Method, Request};
use sekisho_jwks::Discovery;
use sekisho_jwt::{Jwt, Profile};

use crate::setup::{Answer, ISSUER, World, post};

#[tokio::test]
async fn the_documents_stand_in_every_place_where_they_are_looked_for() {
    let world = World::new().await;
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let answer = world.get(path).await;
        let document = answer.json(200);
        assert_eq!(
            (&document["issuer"], &document["token_endpoint"]),
            (&ISSUER.into(), &"https://id.example/token".into())
        );
        assert_eq!(document["code_challenge_methods_supported"], serde_json::json!(["S256"]));
        assert_eq!(document["authorization_response_iss_parameter_supported"], true);
        assert_eq!(answer.header("cache-control"), "public, max-age=600");
    }
    let keys = world.get("/jwks").await;
    assert_eq!(keys.header("content-type"), "application/jwk-set+json");
    assert!(!keys.body.contains("\"d\""));
    let style = world.get("/style.css").await;
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");

    let issuer = "https://id.example/realms/shop";
    let world = World::with(issuer, |builder| builder).await;
    for path in [
        "/realms/shop/.well-known/openid-configuration",
        "/.well-known/openid-configuration/realms/shop",
        "/.well-known/oauth-authorization-server/realms/shop",
    ] {
        let document = world.get(path).await.json(200);
        assert_eq!(
            (&document["issuer"], &document["jwks_uri"]),
            (&issuer.into(), &"https://id.example/realms/shop/jwks".into())
        );
    }
    world.get("/.well-known/openid-configuration").await.status_is(404);
    world.get("/realms/shop/jwks").await.status_is(200);
    world.get("/jwks").await.status_is(404);
}

#[tokio::test]
async fn issuers_under_one_host_have_cookies_of_their_own() {
    let world = World::with("https://id.example/realms/shop", |builder| builder).await;
    let mut browser = crate::setup::Browser::new(&world);
    let query = crate::setup::authorize_query("web", "https://web.example/cb", &[]);
    let page = browser.get(&format!("/realms/shop/authorize?{query}")).await;
    assert!(page.page(200).contains("action=\"/realms/shop/login\"") && page.body.contains("/realms/shop/style.css"));
    let name = browser.cookies.keys().next().unwrap();
    assert!(name.starts_with("__Host-sekisho-form-") && name.len() > 20, "{name}");
    assert!(browser.log_in(&page, "alice").await.page(200).contains("Allow access?"));
}

async fn cors(world: &World, method: Method, path: &str, origin: &str) -> Answer {
    let mut request = match method {
        Method::POST => post(path, &[("client_id", "web"), ("grant_type", "x")]),
        _ => Request::builder().method(&method).uri(path).body(Body::empty()).unwrap(),
    };
    request.headers_mut().insert("origin", origin.parse().unwrap());
    if method == Method::OPTIONS {
        request.headers_mut().insert("access-control-request-method", "POST".parse().unwrap());
    }
    world.send(request).await
}

#[tokio::test]
async fn scripts_of_registered_origins_read_answers_and_nobody_elses() {
    let world = World::new().await;
    for path in ["/token", "/userinfo", "/jwks", "/.well-known/openid-configuration"] {
        let methods = [Method::OPTIONS, if path == "/token" { Method::POST } else { Method::GET }];
        for method in methods {
            let answer = cors(&world, method.clone(), path, "https://web.example").await;
            assert_eq!(answer.header("access-control-allow-origin"), "https://web.example", "{method} {path}");
            assert_eq!(answer.header("access-control-allow-credentials"), "");
            assert_eq!(answer.header("vary"), "Origin");
            for origin in
                ["https://evil.example", "null", "https://web.example.evil.example", "http://web.example", "*"]
            {
                let answer = cors(&world, method.clone(), path, origin).await;
                assert_eq!(answer.header("access-control-allow-origin"), "", "{method} {path} {origin}");
                assert_eq!(answer.header("access-control-allow-methods"), "");
            }
        }
    }
    for path in ["/authorize", "/login", "/consent", "/introspect", "/revoke", "/device", "/end_session"] {
        for method in [Method::OPTIONS, Method::GET, Method::POST] {
            let answer = cors(&world, method, path, "https://web.example").await;
            assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
        }
    }
}

#[tokio::test]
async fn a_real_client_finds_the_keys_over_the_network_through_a_rotation() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let world = World::with(&issuer, |builder| builder).await;
    let service = world.server.router().into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let keys = Discovery::new(&issuer).with_unknown_kid_interval(std::time::Duration::from_secs(1));
    let verifier = Jwt::issuer(&issuer)
        .audience("orders")
        .with_keys(keys)
        .with_profile(Profile::rfc9068())
        .with_clock(std::sync::Arc::new(world.clock.clone()))
        .build()
        .unwrap();
    let old = world.worker_token().await;
    verifier.verify(&old, world.now()).await.unwrap();
    let period = 30 * 86_400;
    world.wait(period - 3600);
    world.server.keys().maintain(world.now()).await.unwrap();
    world.wait(3600);
    world.server.keys().maintain(world.now()).await.unwrap();
    let new = world.worker_token().await;
    assert_ne!(crate::setup::header_of(&old)["kid"], crate::setup::header_of(&new)["kid"]);
    verifier.verify(&new, world.now()).await.unwrap();
    serving.abort();
}

impl Answer {
    pub(crate) fn status_is(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
    }
}
