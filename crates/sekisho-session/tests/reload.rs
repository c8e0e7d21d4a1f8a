//! Whoever has waited for another process reads what that one wrote.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sekisho_core::{FailureKind, Refusal};
use sekisho_session::{LocalInvalidations, SessionKeys, Sessions, TwoLevelSessionStore};
use sekisho_testkit::FixedClock;

use crate::world::{Browser, Cart, START, World};

/// Is a service that remembers what it read, and hears nothing of what others write.
async fn forgetful(world: &World) -> Sessions {
    let near = TwoLevelSessionStore::builder(Arc::clone(&world.store) as _, Arc::new(LocalInvalidations::new()));
    let near = near.with_max_age(std::time::Duration::from_secs(60)).start().unwrap();
    near.listening().await;
    let builder = Sessions::builder(Arc::new(near), SessionKeys::new(world.key.clone()));
    builder.with_clock(Arc::new(FixedClock::at(START))).build().unwrap()
}

#[tokio::test]
async fn a_reload_reads_what_another_process_wrote_and_keeps_what_was_noted_here() {
    let world = World::new();
    let near = forgetful(&world).await;
    let mut browser = world.logged_in("alice").await;
    let mut session = browser.session(&near).await;
    session.update(|cart| cart.items.push(2));
    browser.add(&world.sessions, 1).await.unwrap();
    assert_eq!(browser.items(&near).await, [0; 0], "late, as it states");
    session.reload().await.unwrap();
    assert_eq!(session.request().session::<Cart>(None).await.unwrap().data().items, [1]);
    world.store.counted();
    session.finish().await.unwrap();
    assert_eq!(world.store.counted(), (1, 1), "without a conflict");
    assert_eq!(browser.items(&world.sessions).await, [1, 2]);
}

#[tokio::test]
async fn a_write_on_what_was_late_is_a_conflict_that_asks_the_store_itself() {
    let world = World::new();
    let near = forgetful(&world).await;
    let mut browser = world.logged_in("alice").await;
    assert_eq!(browser.items(&near).await, [0; 0]);
    for item in 1..4 {
        browser.add(&world.sessions, item).await.unwrap();
        browser.add(&near, item * 10).await.unwrap();
    }
    assert_eq!(browser.items(&world.sessions).await, [1, 10, 2, 20, 3, 30]);
}

#[tokio::test]
async fn a_session_that_ended_elsewhere_reads_as_none_after_a_reload_and_takes_the_changes_along() {
    let world = World::new();
    let near = forgetful(&world).await;
    let browser = world.logged_in("alice").await;
    let mut session = browser.session(&near).await;
    session.update(|cart| cart.items.push(1));
    let elsewhere = browser.session(&world.sessions).await;
    elsewhere.log_out();
    elsewhere.finish().await.unwrap();
    assert_eq!(browser.who(&near).await.as_deref(), Some("alice"), "late, as it states");
    session.reload().await.unwrap();
    assert!(session.principal().unwrap().is_none() && session.id().is_none());
    assert_eq!(browser.who(&near).await, None, "and by what was seen nobody is late any more");
}

#[tokio::test]
async fn a_reload_follows_the_id_that_this_request_has_just_got() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let session = browser.session(&world.sessions).await;
    session.rotate();
    session.flush().await.unwrap();
    session.reload().await.unwrap();
    assert_eq!(session.principal().unwrap().unwrap().subject(), "alice");
    browser.take(session.finish().await.unwrap());
    browser.add(&world.sessions, 1).await.unwrap();
    session.reload().await.unwrap();
    assert_eq!(session.request().session::<Cart>(None).await.unwrap().data().items, [1]);
}

#[tokio::test]
async fn a_reload_that_fails_is_told_and_leaves_what_was_loaded() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let session = browser.session(&world.sessions).await;
    world.store.is_down.store(true, Ordering::SeqCst);
    let refusal = session.reload().await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Failure(failure) if failure.kind() == FailureKind::Unavailable));
    assert_eq!(session.principal().unwrap().unwrap().subject(), "alice");
    let degraded = browser.request(&world.sessions);
    degraded.session_or_anonymous::<Cart>(None).await.unwrap();
    world.store.is_down.store(false, Ordering::SeqCst);
    assert!(degraded.reload().await.is_err(), "who went on without it goes on without it");
}

#[tokio::test]
async fn a_reload_without_a_cookie_asks_nobody_and_one_that_cannot_be_read_is_refused() {
    let world = World::new();
    for cookie in [None, Some("__Host-session=whatever".to_owned())] {
        let browser = Browser { cookie };
        let session = browser.session(&world.sessions).await;
        session.reload().await.unwrap();
        assert!(session.id().is_none());
    }
    assert_eq!(world.store.counted(), (0, 0));
    let twice = Browser { cookie: Some("__Host-session=a; __Host-session=b".to_owned()) };
    assert!(matches!(twice.request(&world.sessions).reload().await, Err(Refusal::Reject(_))));
}
