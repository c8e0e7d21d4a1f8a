use serde_json::{Value, json};

use super::world::{Browser, CALL, NAVIGATE, START, World};

#[tokio::test]
async fn tells_a_script_who_is_logged_in_and_no_more_than_it_may_know() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    world.wait(60);
    let reply = browser.send(&world.bff, "GET", "/bff/user", CALL, "").await;
    assert_eq!(reply.status(), 200);
    let body: Value = serde_json::from_slice(reply.body()).unwrap();
    let expected = json!({
        "claims": { "sub": "alice", "name": "Name of alice" },
        "logout_url": "/bff/logout",
        "expires_in": 12 * 3600 - 60,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn answers_scripts_with_401_and_never_with_a_redirect() {
    let world = World::new();
    let reply = Browser::default().send(&world.bff, "GET", "/bff/user", CALL, "").await;
    assert_eq!(reply.status(), 401);
    assert!(!reply.headers().any(|(name, _)| name == "location"));
}

#[tokio::test]
async fn demands_the_header_of_every_script() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    for headers in [
        &[][..],
        NAVIGATE,
        &[("sec-fetch-site", "same-origin")],
        &[("x-csrf", "1"), ("sec-fetch-site", "cross-site")],
        &[("x-csrf", "1"), ("sec-fetch-site", "same-site")],
        &[("x-csrf", "1"), ("origin", "https://evil.example"), ("host", "shop.example")],
    ] {
        let reply = browser.send(&world.bff, "GET", "/bff/user", headers, "").await;
        assert_eq!(reply.status(), 403, "{headers:?}");
        assert!(!String::from_utf8_lossy(reply.body()).contains("alice"));
    }
}

#[tokio::test]
async fn a_poll_does_not_keep_the_session_alive() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    for _ in 0..29 {
        world.wait(60);
        assert_eq!(browser.send(&world.bff, "GET", "/bff/user?poll=1", CALL, "").await.status(), 200);
    }
    world.wait(60);
    assert_eq!(browser.send(&world.bff, "GET", "/bff/user?poll=1", CALL, "").await.status(), 401);

    let mut browser = world.logged_in("alice").await;
    for _ in 0..3 {
        world.wait(1500);
        assert_eq!(browser.send(&world.bff, "GET", "/bff/user", CALL, "").await.status(), 200);
    }
    assert!(START < sekisho_core::Clock::now(&world.clock));
}

#[tokio::test]
async fn has_no_other_addresses_methods_or_lengths() {
    let world = World::new();
    for path in ["/bff", "/bff/", "/bffx/login", "/bff/login/", "/bff/LOGIN", "/bff/login/x", "/login", "/", ""] {
        assert_eq!(Browser::default().open(&world.bff, path).await.status(), 404, "{path}");
    }
    for (method, path, allowed) in [
        ("POST", "/bff/login", "GET"),
        ("HEAD", "/bff/callback", "GET"),
        ("DELETE", "/bff/user", "GET"),
        ("GET", "/bff/backchannel", "POST"),
        ("PUT", "/bff/initiate", "GET, POST"),
    ] {
        let reply = Browser::default().send(&world.bff, method, path, CALL, "").await;
        assert_eq!(reply.status(), 405, "{method} {path}");
        assert!(reply.headers().any(|header| header == ("allow", allowed)), "{method} {path}");
    }
    let long = "x".repeat(crate::Bff::MAX_BODY + 1);
    assert_eq!(Browser::default().send(&world.bff, "POST", "/bff/backchannel", &[], &long).await.status(), 413);
}

#[test]
fn refuses_a_base_that_is_no_path() {
    let world = World::new();
    for base in ["", "/", "bff", "//bff", "/bff/", "/bff?x", "https://shop.example/bff", "/b%66f", "/../bff"] {
        assert!(crate::Bff::builder(world.bff.party().clone()).with_base(base).build().is_err(), "{base}");
    }
}
