//! What a session does from request to request: costs, logins, rotations, ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{FailureKind, Refusal, scope};
use sekisho_http::HeadParts;
use sekisho_session::{Login, Session, SessionKey, SessionKeys};

use crate::world::{Browser, Cart, ISSUER, START, World, somebody};

#[tokio::test]
async fn a_request_that_asks_for_nothing_costs_the_store_nothing() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.store.counted();
    let request = browser.request(&world.sessions);
    assert!(request.finish().await.unwrap().is_empty());
    assert_eq!(world.store.counted(), (0, 0));
}

#[tokio::test]
async fn a_request_that_only_reads_costs_one_call_and_one_that_changes_one_more() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    world.store.counted();
    let session = browser.session(&world.sessions).await;
    assert_eq!(session.data(), &Cart::default());
    let again: Session<Cart> = session.request().session(None).await.unwrap();
    drop(again);
    assert!(session.finish().await.unwrap().is_empty());
    assert_eq!(world.store.counted(), (1, 0));

    let mut session = browser.session(&world.sessions).await;
    for item in 0..5 {
        session.update(move |cart| cart.items.push(item));
    }
    assert!(session.finish().await.unwrap().is_empty(), "the cookie stays as it is");
    assert_eq!(world.store.counted(), (2, 1));
    assert_eq!(browser.items(&world.sessions).await, [0, 1, 2, 3, 4]);

    world.store.counted();
    let mut session = browser.session(&world.sessions).await;
    session.update(|cart| cart.items.retain(|_| true));
    session.finish().await.unwrap();
    assert_eq!(world.store.counted(), (1, 0), "a change that changes nothing is no write");
    browser.add(&world.sessions, 5).await.unwrap();
}

#[tokio::test]
async fn nobody_gets_a_session_who_keeps_nothing() {
    let world = World::new();
    let session = Browser::default().session(&world.sessions).await;
    assert!(session.finish().await.unwrap().is_empty());
    let unknown = Browser { cookie: Some(format!("__Host-session={}", "A".repeat(48))) };
    assert!(unknown.session(&world.sessions).await.finish().await.unwrap().is_empty());
    assert!(world.store.inner.is_empty());
    // The cookie that leads nowhere is left alone: this answer may come after that of a login.
    assert_eq!(unknown.who(&world.sessions).await, None);
}

#[tokio::test]
async fn what_an_anonymous_visitor_keeps_is_there_after_the_login_under_another_id() {
    let world = World::new();
    let mut browser = Browser::default();
    browser.add(&world.sessions, 7).await.unwrap();
    let planted = browser.clone();
    let session = browser.session(&world.sessions).await;
    let before = session.id();
    session.log_in(Login::new(&somebody("alice")));
    browser.take(session.finish().await.unwrap());
    assert_ne!(browser, planted, "the id is another one");
    assert_ne!(browser.session(&world.sessions).await.id(), before, "and so is the public one");
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"));
    assert_eq!(browser.items(&world.sessions).await, [7]);
    // Whoever planted the id sees what they saw before, for a moment, and changes nothing.
    assert_eq!(planted.who(&world.sessions).await, None);
    assert_eq!(planted.items(&world.sessions).await, [7]);
    let failure = planted.clone().add(&world.sessions, 8).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    browser.add(&world.sessions, 9).await.unwrap();
    assert_eq!(planted.items(&world.sessions).await, [7], "the old id never shows what came later");
    world.wait(10);
    assert_eq!(planted.items(&world.sessions).await, [0; 0]);
    assert_eq!(browser.items(&world.sessions).await, [7, 9]);
}

#[tokio::test]
async fn a_login_can_leave_behind_what_was_kept() {
    let world = World::new();
    let mut browser = Browser::default();
    browser.add(&world.sessions, 7).await.unwrap();
    let session = browser.session(&world.sessions).await;
    session.log_in(Login::new(&somebody("alice")).without_earlier_data());
    browser.take(session.finish().await.unwrap());
    assert_eq!(browser.items(&world.sessions).await, [0; 0]);
}

#[tokio::test]
async fn another_user_in_the_same_browser_gets_nothing_of_the_first() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    browser.add(&world.sessions, 7).await.unwrap();
    let first = browser.clone();
    let session = browser.session(&world.sessions).await;
    session.log_in(Login::new(&somebody("bob")));
    browser.take(session.finish().await.unwrap());
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("bob"));
    assert_eq!(browser.items(&world.sessions).await, [0; 0]);
    assert_eq!(first.who(&world.sessions).await, None, "the first session is over at once");
}

#[tokio::test]
async fn more_rights_come_with_another_id_and_the_old_one_has_none_of_them() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    browser.add(&world.sessions, 1).await.unwrap();
    let before = browser.clone();
    let mut session = browser.session(&world.sessions).await;
    let id = session.id();
    let admin = PrincipalBuilder::new(ISSUER, "alice").with_scope("admin").build().unwrap();
    session.elevate(&admin);
    session.update(|cart| cart.items.push(2));
    browser.take(session.finish().await.unwrap());
    assert_ne!(browser, before);
    let may = |principal: sekisho_core::Principal| scope("admin").check(&principal, START).is_ok();
    assert!(may(browser.session(&world.sessions).await.principal().unwrap().unwrap()));
    assert!(!may(before.session(&world.sessions).await.principal().unwrap().unwrap()), "for requests under way");
    assert_eq!(browser.session(&world.sessions).await.id(), id, "it is the same session in lists");
    assert_eq!((browser.items(&world.sessions).await, before.items(&world.sessions).await), (vec![1, 2], vec![1]));
    assert_eq!(world.sessions.list(&somebody("alice").id()).await.unwrap().len(), 1);
    world.wait(10);
    assert_eq!(before.who(&world.sessions).await, None);
    let listed = world.sessions.list(&somebody("alice").id()).await.unwrap();
    assert_eq!((listed.len(), listed[0].device()), (1, Some("Firefox")), "the device is known under the new id");
}

#[tokio::test]
async fn other_rights_alone_are_no_new_authentication() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    world.wait(600);
    let of_then = PrincipalBuilder::new(ISSUER, "alice").with_roles(["admin"]).build().unwrap();
    let asked_again =
        PrincipalBuilder::new(ISSUER, "alice").with_claim("auth_time", START.as_secs() + 600).build().unwrap();
    for (principal, is_fresh) in [(of_then, false), (asked_again, true)] {
        let session = browser.session(&world.sessions).await;
        session.elevate(&principal);
        browser.take(session.finish().await.unwrap());
        let now = START.saturating_add(Duration::from_secs(600));
        let principal = browser.session(&world.sessions).await.principal().unwrap().unwrap();
        let rule = sekisho_core::max_age(Duration::from_secs(60));
        assert_eq!(rule.check(&principal, now).is_ok(), is_fresh, "{:?}", principal.authenticated_at());
    }
}

#[tokio::test]
async fn nobody_is_elevated_to_somebody_else_or_from_nobody() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    for (browser, to) in [(&browser, "bob"), (&Browser::default(), "alice")] {
        let session = browser.session(&world.sessions).await;
        session.elevate(&somebody(to));
        assert_eq!(session.finish().await.unwrap_err().kind(), FailureKind::Misconfigured);
    }
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_session_can_get_a_new_id_at_any_time_and_keeps_its_end() {
    let world = World::with(|builder| builder.with_idle_timeout(Duration::from_secs(12 * 3600)));
    let mut browser = world.logged_in("alice").await;
    for _ in 0..3 {
        world.wait(3 * 3600);
        let before = browser.clone();
        let session = browser.session(&world.sessions).await;
        session.rotate();
        browser.take(session.finish().await.unwrap());
        assert_ne!(browser, before);
    }
    world.wait(3 * 3600 - 1);
    assert!(browser.who(&world.sessions).await.is_some());
    world.wait(1);
    assert_eq!(browser.who(&world.sessions).await, None, "rotation does not make it live longer");
}

#[tokio::test]
async fn logging_out_ends_every_id_of_the_session_and_takes_the_cookie() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let first = browser.clone();
    let session = browser.session(&world.sessions).await;
    session.rotate();
    browser.take(session.finish().await.unwrap());
    let second = browser.clone();
    assert!(first.who(&world.sessions).await.is_some());
    let mut session = browser.session(&world.sessions).await;
    session.update(|cart| cart.items.push(1));
    session.log_out();
    let set = session.finish().await.unwrap();
    assert_eq!(set.len(), 1);
    assert_eq!(set[0], world.sessions.cookie().removal());
    browser.take(set);
    for gone in [&first, &second, &browser] {
        assert_eq!(gone.who(&world.sessions).await, None);
    }
    assert!(world.sessions.list(&somebody("alice").id()).await.unwrap().is_empty());
}

#[tokio::test]
async fn logging_out_works_with_a_cookie_that_leads_nowhere_or_cannot_be_read() {
    let world = World::new();
    for cookie in ["__Host-session=x", "__Host-session=a; __Host-session=b", "__Host-session=\u{1}"] {
        let request = Browser { cookie: Some(cookie.to_owned()) }.request(&world.sessions);
        request.log_out();
        assert_eq!(request.finish().await.unwrap(), [world.sessions.cookie().removal()]);
    }
    let request = Browser::default().request(&world.sessions);
    request.log_out();
    assert!(request.finish().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_logout_that_comes_again_is_asked_of_the_store_again() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let (one, other) = (browser.request(&world.sessions), browser.request(&world.sessions));
    one.log_out();
    one.finish().await.unwrap();
    // The first answer may have been that too few replicas know of it: then this one must not be another.
    world.store.counted();
    other.log_out();
    assert_eq!(other.finish().await.unwrap(), [world.sessions.cookie().removal()]);
    assert_eq!(world.store.counted(), (3, 1), "looked up, again past any memory, and ended");
    let again = browser.request(&world.sessions);
    again.log_out();
    world.store.fails_to_write.store(true, Ordering::SeqCst);
    assert!(again.finish().await.is_err());
}

#[tokio::test]
async fn a_cookie_that_stands_twice_is_refused_and_neither_counts() {
    let world = World::new();
    let alice = world.logged_in("alice").await.cookie.unwrap();
    let mallory = world.logged_in("mallory").await.cookie.unwrap();
    for pair in [format!("{mallory}; {alice}"), format!("{alice}; {mallory}"), format!("{alice}; {alice}")] {
        let request = Browser { cookie: Some(pair) }.request(&world.sessions);
        assert!(matches!(request.session::<Cart>(None).await, Err(Refusal::Reject(_))));
    }
}

#[tokio::test]
async fn idles_out_and_ends_in_its_second() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    for _ in 0..20 {
        world.wait(1799);
        assert!(browser.who(&world.sessions).await.is_some(), "each look extends it");
    }
    world.wait(1800);
    assert_eq!(browser.who(&world.sessions).await, None);

    let browser = world.logged_in("alice").await;
    let start = world.clock.clone();
    for _ in 0..24 {
        world.wait(1799);
        assert!(browser.who(&world.sessions).await.is_some());
    }
    start.advance(Duration::from_secs(12 * 3600 - 24 * 1799 - 1));
    assert!(browser.who(&world.sessions).await.is_some());
    world.wait(1);
    assert_eq!(browser.who(&world.sessions).await, None, "in any case after twelve hours");
}

#[tokio::test]
async fn extends_the_idle_time_once_a_minute_at_the_most_and_not_by_writing_the_record() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.store.counted();
    for _ in 0..5 {
        world.wait(10);
        browser.session(&world.sessions).await;
    }
    assert_eq!(world.store.counted(), (5, 0));
    world.wait(10);
    browser.session(&world.sessions).await;
    assert_eq!(world.store.counted(), (2, 1));
    browser.session(&world.sessions).await;
    assert_eq!(world.store.counted(), (1, 0));
}

#[tokio::test]
async fn a_login_beyond_the_limit_ends_the_oldest() {
    let world = World::with(|builder| builder.with_session_limit(2));
    let mut browsers = Vec::new();
    for _ in 0..4 {
        browsers.push(world.logged_in("alice").await);
        world.wait(1);
    }
    let bob = world.logged_in("bob").await;
    let mut alive = Vec::new();
    for browser in &browsers {
        alive.push(browser.who(&world.sessions).await.is_some());
    }
    assert_eq!(alive, [false, false, true, true]);
    assert!(bob.who(&world.sessions).await.is_some());
}

#[tokio::test]
async fn fifty_sessions_are_enough_for_everybody_who_says_nothing_else() {
    let world = World::new();
    let first = world.logged_in("alice").await;
    for number in 1..50 {
        world.wait(1);
        world.logged_in("alice").await;
        assert!(first.who(&world.sessions).await.is_some(), "{number}");
    }
    world.wait(1);
    world.logged_in("alice").await;
    assert_eq!(first.who(&world.sessions).await, None);
    assert_eq!(world.sessions.list(&somebody("alice").id()).await.unwrap().len(), 50);

    let world = World::with(sekisho_session::SessionsBuilder::without_session_limit);
    let first = world.logged_in("alice").await;
    for _ in 0..60 {
        world.logged_in("alice").await;
    }
    assert!(first.who(&world.sessions).await.is_some());
}

#[tokio::test]
async fn shows_a_user_their_sessions_and_ends_one_or_the_others_or_all() {
    let world = World::new();
    let alice = somebody("alice").id();
    let mut browsers = Vec::new();
    for _ in 0..3 {
        browsers.push(world.logged_in("alice").await);
        world.wait(60);
    }
    let bob = world.logged_in("bob").await;
    let listed = world.sessions.list(&alice).await.unwrap();
    let created: Vec<u64> = listed.iter().map(|session| session.created_at().as_secs() - START.as_secs()).collect();
    assert_eq!(created, [120, 60, 0], "the newest first");
    assert_eq!(listed[0].last_used_at(), listed[0].created_at());
    assert!(browsers[0].who(&world.sessions).await.is_some());
    let used = world.sessions.list(&alice).await.unwrap()[2].last_used_at();
    assert_eq!(used.as_secs(), START.as_secs() + 180);

    let bobs = bob.session(&world.sessions).await.id().unwrap();
    assert!(!world.sessions.end(&alice, &bobs).await.unwrap(), "nobody ends another's session");
    assert!(bob.who(&world.sessions).await.is_some());
    assert!(world.sessions.end(&alice, listed[0].id()).await.unwrap());
    assert!(!world.sessions.end(&alice, listed[0].id()).await.unwrap());
    assert_eq!(browsers[2].who(&world.sessions).await, None);
    assert_eq!(world.sessions.end_others(&alice, listed[1].id()).await.unwrap(), 1);
    assert_eq!(browsers[0].who(&world.sessions).await, None);
    assert!(browsers[1].who(&world.sessions).await.is_some());
    assert_eq!(world.sessions.end_all(&alice).await.unwrap(), 1);
    assert_eq!(browsers[1].who(&world.sessions).await, None);
    assert!(bob.who(&world.sessions).await.is_some());
}

#[tokio::test]
async fn ends_by_the_providers_session_and_by_the_client() {
    let world = World::new();
    let log_in = async |subject: &str, sid: &str, client: &str| {
        let principal =
            PrincipalBuilder::new(ISSUER, subject).with_claim("sid", sid).with_client(client).build().unwrap();
        let mut browser = Browser::default();
        let request = browser.request(&world.sessions);
        request.log_in(Login::new(&principal));
        browser.take(request.finish().await.unwrap());
        browser
    };
    let (one, two, three) =
        (log_in("alice", "s1", "shop").await, log_in("alice", "s2", "shop").await, log_in("bob", "s3", "desk").await);
    assert_eq!(world.sessions.end_provider_session("https://other.example", "s1").await.unwrap(), 0);
    assert_eq!(world.sessions.end_provider_session(ISSUER, "s1").await.unwrap(), 1);
    assert_eq!(one.who(&world.sessions).await, None);
    assert!(two.who(&world.sessions).await.is_some());
    assert_eq!(world.sessions.end_client(ISSUER, "shop").await.unwrap(), 1);
    assert_eq!(two.who(&world.sessions).await, None);
    assert_eq!(three.who(&world.sessions).await.as_deref(), Some("bob"));
}

#[tokio::test]
async fn services_share_a_session_through_a_change_of_keys() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let (old, new) = (world.key.clone(), SessionKey::generate().unwrap());
    let ready = world.service_with(SessionKeys::new(old.clone()).with_older(new.clone()));
    let changed = world.service_with(SessionKeys::new(new.clone()).with_older(old.clone()));
    for service in [&ready, &changed] {
        assert_eq!(browser.who(service).await.as_deref(), Some("alice"));
        browser.add(service, 1).await.unwrap();
    }
    assert_eq!(browser.items(&world.sessions).await, [1, 1]);
    // A new id takes the new key.
    let session = browser.session(&changed).await;
    session.rotate();
    let old_browser = browser.clone();
    browser.take(session.finish().await.unwrap());
    let only_new = world.service_with(SessionKeys::new(new));
    assert_eq!(browser.who(&only_new).await.as_deref(), Some("alice"));
    assert_eq!(old_browser.who(&only_new).await, None, "a key that was dropped took its sessions along");
    assert_eq!(changed.list(&somebody("alice").id()).await.unwrap().len(), 1, "it is listed once, under both keys");
    assert_eq!(changed.end_all(&somebody("alice").id()).await.unwrap(), 2);
    assert_eq!(browser.who(&ready).await, None);
}

#[tokio::test]
async fn a_foreign_key_opens_nothing_and_costs_the_store_nothing() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let stranger = world.service_with(SessionKeys::new(SessionKey::generate().unwrap()));
    world.store.counted();
    assert_eq!(browser.who(&stranger).await, None);
    assert_eq!(world.store.counted(), (0, 0));
}

#[tokio::test]
async fn a_form_counts_for_its_session_until_somebody_logs_in() {
    let world = World::new();
    let mut browser = Browser::default();
    let session = browser.session(&world.sessions).await;
    let (token, other) = (session.form_token().unwrap(), session.form_token().unwrap());
    assert_ne!(token, other);
    browser.take(session.finish().await.unwrap());
    assert!(browser.cookie.is_some(), "a form makes a session");
    let session = browser.session(&world.sessions).await;
    assert!(session.check_form_token(&token).is_ok() && session.check_form_token(&other).is_ok());
    assert!(session.check_form_token("").is_err() && session.check_form_token(&token[1..]).is_err());
    session.rotate();
    browser.take(session.finish().await.unwrap());
    assert!(browser.session(&world.sessions).await.check_form_token(&token).is_ok(), "rotation breaks no open form");
    let attacker = world.logged_in("mallory").await.session(&world.sessions).await;
    assert!(attacker.check_form_token(&token).is_err(), "nor does it fit another session");
    assert!(browser.session(&world.sessions).await.check_form_token(&attacker.form_token().unwrap()).is_err());
    let session = browser.session(&world.sessions).await;
    session.log_in(Login::new(&somebody("alice")));
    browser.take(session.finish().await.unwrap());
    assert!(browser.session(&world.sessions).await.check_form_token(&token).is_err());
    assert!(Browser::default().session(&world.sessions).await.check_form_token(&token).is_err());
}

#[tokio::test]
async fn a_form_in_the_answer_to_a_login_or_a_logout_is_one_of_what_comes_after() {
    let world = World::new();
    let mut browser = Browser::default();
    let session = browser.session(&world.sessions).await;
    let before = session.form_token().unwrap();
    session.log_in(Login::new(&somebody("alice")));
    let after = session.form_token().unwrap();
    browser.take(session.finish().await.unwrap());
    let session = browser.session(&world.sessions).await;
    assert!(session.check_form_token(&after).is_ok() && session.check_form_token(&before).is_err());
    session.log_out();
    let next = session.form_token().unwrap();
    browser.take(session.finish().await.unwrap());
    let session = browser.session(&world.sessions).await;
    assert!(session.check_form_token(&next).is_ok() && session.check_form_token(&after).is_err());
    assert!(session.principal().unwrap().is_none());
}

#[tokio::test]
async fn the_device_is_kept_short_and_on_one_line() {
    let world = World::new();
    let request = Browser::default().request(&world.sessions);
    request.log_in(Login::new(&somebody("alice")).with_device(&format!("a\r\n\0{}", "é".repeat(500))));
    request.finish().await.unwrap();
    let listed = world.sessions.list(&somebody("alice").id()).await.unwrap();
    let device = listed[0].device().unwrap();
    assert_eq!(device.chars().count(), 200);
    assert!(device.starts_with("aé"));
}

#[test]
fn refuses_settings_that_cannot_work() {
    let key = SessionKey::generate().unwrap();
    let builder = || {
        let store = std::sync::Arc::new(sekisho_session::MemorySessionStore::new());
        sekisho_session::Sessions::builder(store, SessionKeys::new(key.clone()))
    };
    let seconds = Duration::from_secs;
    assert!(builder().build().is_ok());
    for broken in [
        builder().with_idle_timeout(Duration::from_millis(999)),
        builder().with_idle_timeout(seconds(100)).with_absolute_timeout(seconds(99)),
        builder().with_absolute_timeout(seconds(401 * 86_400)),
        builder().with_rotation_grace(seconds(301)),
        builder().with_session_limit(0),
    ] {
        assert!(broken.build().is_err());
    }
    let twice = SessionKeys::new(key.clone()).with_older(key.clone());
    let store = std::sync::Arc::new(sekisho_session::MemorySessionStore::new());
    assert!(sekisho_session::Sessions::builder(store, twice).build().is_err());
}

#[tokio::test]
async fn begins_by_any_of_several_cookie_headers() {
    let world = World::new();
    let cookie = world.logged_in("alice").await.cookie.unwrap();
    let headers: [(&str, &[u8]); 2] = [("cookie", b"a=b"), ("cookie", cookie.as_bytes())];
    let request = world.sessions.begin(&HeadParts { method: "GET", path: "/", headers: &headers });
    request.load(None).await.unwrap();
    assert!(request.principal().unwrap().is_some());
}

#[tokio::test]
async fn who_goes_on_without_a_session_chooses_it_for_nobody_else() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let request = browser.request(&world.sessions);
    world.store.is_down.store(true, Ordering::SeqCst);
    assert!(request.session_or_anonymous::<Cart>(None).await.unwrap().is_degraded());
    world.store.is_down.store(false, Ordering::SeqCst);
    let strict = request.session::<Cart>(None).await.map(|session| session.principal().unwrap());
    assert!(matches!(strict, Err(Refusal::Failure(_))), "{strict:?}");
    let mut again = request.session_or_anonymous::<Cart>(None).await.unwrap();
    assert!(request.finish().await.is_ok(), "who only looks is answered");
    again.update(|cart| cart.items.push(1));
    assert!(request.finish().await.is_err());
}
