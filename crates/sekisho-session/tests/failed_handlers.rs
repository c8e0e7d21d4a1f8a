//! What becomes of the wishes of a handler that fails, and of those that contradict each other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::role;
use sekisho_http::HeadParts;
use sekisho_session::{
    FinishedRequest, LayeredRequest, Login, LoginRedirect, RememberedLogins, SessionRules, Sessions, SetCookie,
};

use crate::world::{Browser, Cart, ISSUER, START, World, somebody};

fn begin(sessions: &Sessions, browser: &Browser) -> LayeredRequest {
    let value = browser.cookie.clone().unwrap_or_default();
    let headers: [(&str, &[u8]); 2] = [("cookie", value.as_bytes()), ("sec-fetch-mode", b"navigate")];
    let rules = SessionRules::new(sessions.clone()).with_login_redirect(LoginRedirect::to("/login").unwrap());
    rules.begin(&HeadParts { method: "GET", path: "/", headers: &headers }, None).unwrap()
}

async fn end(browser: &mut Browser, request: LayeredRequest, status: u16) -> Vec<SetCookie> {
    let finished = request.finish(status).await.unwrap();
    browser.take(finished.cookies().to_vec());
    finished.cookies().to_vec()
}

#[tokio::test]
async fn nobody_is_logged_in_by_a_handler_that_then_fails() {
    let world = World::new();
    for status in [500, 503, 599, 408] {
        let mut browser = Browser::default();
        let request = begin(&world.sessions, &browser);
        let mut session = request.session().session::<Cart>(None).await.unwrap();
        session.log_in(Login::new(&somebody("alice")));
        session.update(|cart| cart.items.push(1));
        assert!(end(&mut browser, request, status).await.is_empty(), "{status}");
        assert_eq!(browser, Browser::default());
        assert!(world.store.inner.is_empty(), "{status}");
    }
    let mut browser = Browser::default();
    let request = begin(&world.sessions, &browser);
    request.session().log_in(Login::new(&somebody("alice")));
    end(&mut browser, request, 499).await;
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"), "a refusal is no failure");
}

/// Waits for what a dropped request does all the same.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whoever_hangs_up_while_logging_out_is_out_and_nothing_else_is_done_for_them() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let request = begin(&world.sessions, &browser);
    let mut session = request.session().session::<Cart>(None).await.unwrap();
    session.update(|cart| cart.items.push(1));
    drop(request);
    settle().await;
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"));
    let request = begin(&world.sessions, &browser);
    assert!(request.session().session::<Cart>(None).await.unwrap().data().items.is_empty());
    request.session().log_out();
    drop(request);
    settle().await;
    assert_eq!(browser.who(&world.sessions).await, None);
    let request = begin(&world.sessions, &Browser::default());
    request.session().log_in(Login::new(&somebody("bob")));
    drop(request);
    settle().await;
    assert!(world.sessions.list(&somebody("bob").id()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_logout_that_is_dropped_while_it_is_written_is_written_to_its_end() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let request = begin(&world.sessions, &browser);
    request.session().log_out();
    let mut finish = Box::pin(request.finish(200));
    let _ = std::future::poll_fn(|context| std::task::Poll::Ready(finish.as_mut().poll(context).is_ready())).await;
    drop(finish);
    settle().await;
    assert_eq!(browser.who(&world.sessions).await, None);
}

#[tokio::test]
async fn neither_data_nor_rights_nor_a_new_id_come_of_a_handler_that_fails() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    browser.add(&world.sessions, 1).await.unwrap();
    let before = browser.clone();
    let admin = PrincipalBuilder::new(ISSUER, "alice").with_roles(["admin"]).build().unwrap();
    for how in 0..3 {
        let request = begin(&world.sessions, &browser);
        let mut session = request.session().session::<Cart>(None).await.unwrap();
        session.update(|cart| cart.items.push(2));
        match how {
            0 => session.rotate(),
            1 => session.elevate(&admin),
            _ => {}
        }
        world.store.counted();
        end(&mut browser, request, 500).await;
        assert_eq!(world.store.counted(), (0, 0));
    }
    assert_eq!(browser, before);
    assert_eq!(browser.items(&world.sessions).await, [1]);
    let principal = browser.session(&world.sessions).await.principal().unwrap().unwrap();
    assert!(role("admin").check(&principal, START).is_err());
}

#[tokio::test]
async fn whoever_wanted_to_leave_is_logged_out_by_a_handler_that_fails_too() {
    let world = World::new();
    for how in 0..4 {
        let mut browser = world.logged_in("alice").await;
        let before = browser.clone();
        let request = begin(&world.sessions, &browser);
        let mut session = request.session().session::<Cart>(None).await.unwrap();
        session.log_out();
        match how {
            0 => session.log_in(Login::new(&somebody("bob"))),
            1 => session.update(|cart| cart.items.push(1)),
            2 => drop(session.form_token().unwrap()),
            _ => {}
        }
        if how == 3 {
            request.abandon().await.unwrap();
        } else {
            let set = end(&mut browser, request, 500).await;
            assert_eq!(set, [world.sessions.cookie().removal()]);
        }
        assert_eq!(before.who(&world.sessions).await, None, "{how}");
        for subject in ["alice", "bob"] {
            assert!(world.sessions.list(&somebody(subject).id()).await.unwrap().is_empty(), "{how}");
        }
    }
}

#[tokio::test]
async fn a_logout_that_cannot_be_written_is_told_whatever_the_handler_said() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    for is_answered in [true, false] {
        let request = begin(&world.sessions, &browser);
        request.session().log_out();
        world.store.fails_to_write.store(true, Ordering::SeqCst);
        if is_answered {
            assert_eq!(request.finish(500).await.unwrap_err().status(), 503);
        } else {
            assert!(request.abandon().await.is_err());
        }
        world.store.fails_to_write.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn what_a_handler_has_flushed_is_kept_when_it_fails() {
    let world = World::new();
    let mut browser = Browser::default();
    let request = begin(&world.sessions, &browser);
    request.session().log_in(Login::new(&somebody("alice")));
    request.session().flush().await.unwrap();
    request.session().rotate();
    assert_eq!(end(&mut browser, request, 500).await.len(), 1);
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"));
    // A logout that was flushed is not done once more, to whoever has logged in since.
    let request = begin(&world.sessions, &browser);
    request.session().log_out();
    request.session().flush().await.unwrap();
    request.session().log_in(Login::new(&somebody("bob")));
    request.session().flush().await.unwrap();
    end(&mut browser, request, 500).await;
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_remembered_login_is_not_used_up_by_a_handler_that_fails() {
    let remembered = RememberedLogins::for_lifetime(Duration::from_secs(86_400)).unwrap();
    let world = World::with(|builder| builder.with_remembered_logins(remembered));
    let request = world.sessions.begin(&HeadParts { method: "GET", path: "/", headers: &[] });
    request.log_in(Login::new(&somebody("alice")).with_remembering());
    let set = request.finish().await.unwrap();
    let token = set.iter().find(|set| set.expose().starts_with("__Host-remembered")).unwrap();
    let browser = Browser { cookie: token.expose().split(';').next().map(str::to_owned) };
    for status in [500, 200] {
        let request = begin(&world.sessions, &browser);
        let found = request.session().log_in_remembered().await.unwrap();
        assert!(found.is_some(), "{status}");
        let finished = request.finish(status).await.unwrap();
        assert_eq!(finished.cookies().is_empty(), status == 500);
    }
}

#[tokio::test]
async fn a_new_id_takes_back_neither_login_nor_logout() {
    let world = World::new();
    let mut browser = Browser::default();
    let request = browser.request(&world.sessions);
    request.log_in(Login::new(&somebody("alice")));
    request.rotate();
    browser.take(request.finish().await.unwrap());
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"));

    let admin = PrincipalBuilder::new(ISSUER, "alice").with_roles(["admin"]).build().unwrap();
    let request = browser.request(&world.sessions);
    request.elevate(&admin);
    request.rotate();
    browser.take(request.finish().await.unwrap());
    let principal = browser.session(&world.sessions).await.principal().unwrap().unwrap();
    assert!(role("admin").check(&principal, START).is_ok());

    let before = browser.clone();
    let request = browser.request(&world.sessions);
    request.log_out();
    request.rotate();
    request.elevate(&admin);
    browser.take(request.finish().await.unwrap());
    assert_eq!((before.who(&world.sessions).await, browser.cookie), (None, None));
}

#[tokio::test]
async fn a_navigation_goes_to_the_login_by_401_alone_and_takes_what_is_not_of_the_page() {
    let world = World::new();
    for (status, to) in [(401, Some("/login?return_to=%2F")), (200, None), (403, None), (500, None)] {
        let request = begin(&world.sessions, &Browser::default());
        assert_eq!(request.finish(status).await.unwrap().location(), to, "{status}");
    }
    for kept in ["set-cookie", "vary", "x-request-id", "strict-transport-security", "content-security-policy"] {
        assert!(FinishedRequest::keeps(kept), "{kept}");
    }
    for gone in ["content-type", "content-length", "content-encoding", "etag", "www-authenticate", "cache-control"] {
        assert!(!FinishedRequest::keeps(gone), "{gone}");
    }
}
