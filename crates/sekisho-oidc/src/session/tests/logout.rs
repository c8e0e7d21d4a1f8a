use std::sync::atomic::Ordering;
use std::time::Duration;

use super::world::{Browser, CALL, FORM, ISSUER, World, location, logout_token};

async fn notify(world: &World, token: &str) -> crate::Reply {
    let form = format!("logout_token={token}");
    Browser::default().send(&world.bff, "POST", "/bff/backchannel", &[], &form).await
}

#[tokio::test]
async fn ends_the_session_then_revokes_then_leads_to_the_provider() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let copy = browser.clone();
    let reply = browser.send(&world.bff, "POST", "/bff/logout", FORM, "").await;
    assert_eq!(reply.status(), 303);
    let expected =
        "https://id.example/logout?id_token_hint=id-hush-1&post_logout_redirect_uri=https://shop.example/bye";
    assert_eq!(location(&reply), expected);
    assert!(browser.0.is_empty());
    assert_eq!(copy.who(&world.bff).await, None, "whoever has the cookie still is out too");
    assert_eq!(*world.provider.revoked.lock().unwrap(), ["refresh-hush-1"]);
    assert!(!format!("{reply:?}").contains("hush"));
}

#[tokio::test]
async fn ends_what_came_of_the_same_session_at_the_provider_and_not_of_others() {
    let world = World::new();
    let (mut tab, other_tab, bob) =
        (world.logged_in("alice").await, world.logged_in("alice").await, world.logged_in("bob").await);
    let service = world.another_process();
    assert_eq!(tab.send(&world.bff, "POST", "/bff/logout", FORM, "").await.status(), 303);
    assert_eq!((other_tab.who(&world.bff).await, other_tab.who(&service).await), (None, None));
    assert_eq!(bob.who(&world.bff).await.as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_script_is_told_where_to_go_and_not_sent_there() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let reply = browser.send(&world.bff, "POST", "/bff/logout", CALL, "").await;
    assert_eq!(reply.status(), 200);
    let body: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
    assert!(body["location"].as_str().unwrap().starts_with("https://id.example/logout?"));
    assert!(!body.to_string().contains("hush"), "no token for scripts, not the ID token either");
    assert!(browser.0.is_empty());
}

#[tokio::test]
async fn nobody_else_can_log_a_browser_out() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    for (method, headers, status) in [
        ("POST", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")][..], 403),
        ("POST", &[("sec-fetch-site", "same-site")], 403),
        ("POST", &[("origin", "https://evil.example"), ("host", "shop.example")], 403),
        ("POST", &[("x-csrf", "1"), ("sec-fetch-site", "cross-site")], 403),
        ("POST", &[], 403),
        ("GET", &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "navigate")], 405),
        ("PUT", &[("sec-fetch-site", "same-origin")], 405),
    ] {
        let reply = browser.send(&world.bff, method, "/bff/logout", headers, "").await;
        assert_eq!(reply.status(), status, "{method} {headers:?}");
        assert_eq!(browser.who(&world.bff).await.as_deref(), Some("alice"), "{method} {headers:?}");
    }
    for form in ["scope=hush", "scope=everywhere&scope=everywhere"] {
        assert_eq!(browser.send(&world.bff, "POST", "/bff/logout", FORM, form).await.status(), 400);
        assert_eq!(browser.who(&world.bff).await.as_deref(), Some("alice"));
    }
    assert!(world.provider.revoked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn whatever_the_provider_does_the_session_is_over_in_a_few_seconds() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let copy = browser.clone();
    world.provider.is_down.store(true, Ordering::SeqCst);
    let started = tokio::time::Instant::now();
    let reply = browser.send(&world.bff, "POST", "/bff/logout", FORM, "").await;
    assert!(started.elapsed() <= Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!((reply.status(), location(&reply)), (303, "https://shop.example/bye"));
    assert_eq!(copy.who(&world.bff).await, None);
}

#[tokio::test]
async fn a_logout_that_the_store_did_not_take_is_none_and_touches_nothing_at_the_provider() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    world.store.is_down.store(true, Ordering::SeqCst);
    let reply = browser.send(&world.bff, "POST", "/bff/logout", FORM, "").await;
    assert_eq!(reply.status(), 503);
    assert!(!browser.0.is_empty() && world.provider.revoked.lock().unwrap().is_empty());
    world.store.is_down.store(false, Ordering::SeqCst);
    assert_eq!(browser.who(&world.bff).await.as_deref(), Some("alice"));
}

/// Waits for what a request whose client has gone does all the same.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_logout_is_done_though_the_browser_does_not_wait_for_it() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.store.holds_deletes.store(true, Ordering::SeqCst);
    let (mut leaving, bff) = (browser.clone(), world.bff.clone());
    let request = tokio::spawn(async move { leaving.send(&bff, "POST", "/bff/logout", FORM, "").await });
    settle().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    world.store.release();
    settle().await;
    assert_eq!(browser.who(&world.bff).await, None);
    assert_eq!(*world.provider.revoked.lock().unwrap(), ["refresh-hush-1"]);
}

/// Its token is used up by then, so the provider's second try would be refused.
#[tokio::test]
async fn a_notice_is_followed_though_the_provider_does_not_wait_for_it() {
    let world = World::new();
    let alice = world.logged_in("alice").await;
    world.store.holds_deletes.store(true, Ordering::SeqCst);
    let (bff, form) = (world.bff.clone(), format!("logout_token={}", logout_token(ISSUER, Some("sid-alice"), None)));
    let notice =
        tokio::spawn(async move { Browser::default().send(&bff, "POST", "/bff/backchannel", &[], &form).await });
    settle().await;
    notice.abort();
    assert!(notice.await.unwrap_err().is_cancelled());
    world.store.release();
    settle().await;
    assert_eq!(alice.who(&world.bff).await, None);
}

#[tokio::test]
async fn a_logout_of_nobody_leads_home_and_harms_nobody() {
    let world = World::new();
    let alice = world.logged_in("alice").await;
    let reply = Browser::default().send(&world.bff, "POST", "/bff/logout", FORM, "scope=everywhere").await;
    assert_eq!((reply.status(), location(&reply)), (303, "https://shop.example/bye"));
    assert_eq!(alice.who(&world.bff).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn everywhere_means_in_all_browsers_and_services_and_of_nobody_else() {
    let world = World::new();
    let (mut one, two, bob) =
        (world.logged_in("alice").await, world.logged_in("alice").await, world.logged_in("bob").await);
    let service = world.another_process();
    assert_eq!(two.who(&service).await.as_deref(), Some("alice"));
    one.send(&world.bff, "POST", "/bff/logout", FORM, "scope=everywhere").await;
    for bff in [&world.bff, &service] {
        assert_eq!((one.who(bff).await, two.who(bff).await), (None, None));
        assert_eq!(bob.who(bff).await.as_deref(), Some("bob"));
    }
}

#[tokio::test]
async fn the_provider_ends_one_of_its_sessions_in_all_services() {
    let world = World::new();
    let (alice, again, bob) =
        (world.logged_in("alice").await, world.logged_in("alice").await, world.logged_in("bob").await);
    let reply = notify(&world, &logout_token(ISSUER, Some("sid-alice"), None)).await;
    assert_eq!((reply.status(), reply.body()), (200, &b""[..]));
    assert!(reply.headers().any(|header| header == ("cache-control", "no-store")));
    let service = world.another_process();
    assert_eq!((alice.who(&service).await, again.who(&world.bff).await), (None, None));
    assert_eq!(bob.who(&world.bff).await.as_deref(), Some("bob"));
}

#[tokio::test]
async fn the_provider_ends_all_sessions_of_a_subject_of_its_own() {
    let world = World::new();
    let alice = world.logged_in("alice").await;
    let mut namesake = Browser::default();
    let state = namesake.begin(&world.bff, "provider=other").await;
    namesake.return_with(&world.bff, &state, "alice").await;
    assert_eq!(notify(&world, &logout_token(ISSUER, None, Some("alice"))).await.status(), 200);
    assert_eq!(alice.who(&world.bff).await, None);
    assert_eq!(namesake.who(&world.bff).await.as_deref(), Some("alice"), "another provider's is somebody else");
}

#[tokio::test]
async fn a_login_that_the_provider_ended_while_it_was_finished_is_none() {
    for token in [logout_token(ISSUER, Some("sid-alice"), None), logout_token(ISSUER, None, Some("alice"))] {
        let world = World::new();
        let (mut alice, mut bob) = (Browser::default(), world.logged_in("bob").await);
        let state = alice.begin(&world.bff, "").await;
        assert_eq!(notify(&world, &token).await.status(), 200);
        // In the same second, so it cannot be told which was first.
        assert_eq!(alice.return_with(&world.bff, &state, "alice").await.status(), 400);
        assert_eq!(alice.0.len(), 0, "no cookie came of it");
        assert_eq!(bob.log_in(&world.bff, "bob", "/").await.status(), 303);
        world.wait(1);
        assert_eq!(alice.log_in(&world.bff, "alice", "/").await.status(), 303, "and then it is good again");
    }
}

#[tokio::test]
async fn refuses_notices_that_are_none_and_ends_nothing() {
    let world = World::new();
    let alice = world.logged_in("alice").await;
    let good = logout_token(ISSUER, Some("sid-alice"), None);
    for form in [
        String::new(),
        "logout_token=".to_owned(),
        "logout_token=hush".to_owned(),
        "logout_token=a.b.c".to_owned(),
        format!("token={good}"),
        format!("logout_token={good}&logout_token={good}"),
        format!("logout_token={}", good.replace(".good", ".bad")),
        format!("logout_token={}", logout_token("https://evil.example", Some("sid-alice"), None)),
        format!("logout_token={good}&x={}", "x".repeat(17_000)),
    ] {
        let reply = Browser::default().send(&world.bff, "POST", "/bff/backchannel", &[], &form).await;
        assert!(matches!(reply.status(), 400 | 413), "{form}");
        assert!(!String::from_utf8_lossy(reply.body()).contains("hush"));
    }
    let query = format!("/bff/backchannel?logout_token={good}");
    assert_eq!(Browser::default().send(&world.bff, "GET", &query, &[], "").await.status(), 405);
    assert_eq!(Browser::default().send(&world.bff, "POST", &query, &[], "").await.status(), 400);
    assert_eq!(alice.who(&world.bff).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_notice_that_could_not_be_done_is_good_again() {
    let world = World::new();
    let alice = world.logged_in("alice").await;
    world.store.is_down.store(true, Ordering::SeqCst);
    let token = logout_token(ISSUER, Some("sid-alice"), None);
    assert_eq!(notify(&world, &token).await.status(), 503);
    assert_eq!(world.provider.undone.load(Ordering::SeqCst), 1);
    world.store.is_down.store(false, Ordering::SeqCst);
    assert_eq!(notify(&world, &token).await.status(), 200);
    assert_eq!(world.provider.undone.load(Ordering::SeqCst), 1);
    assert_eq!(alice.who(&world.bff).await, None);
}
