//! Writes that somebody gave up waiting for: nothing is lost, and nothing is done twice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_core::Failure;
use sekisho_session::{Login, RequestSession};

use crate::world::{Browser, Cart, World, somebody};

/// Flushes, and gives up at once; the store does what it was told and does not answer.
async fn give_up(world: &World, request: &RequestSession) {
    world.store.is_silent.store(true, Ordering::SeqCst);
    let flushed = tokio::time::timeout(Duration::from_millis(10), request.flush()).await;
    assert!(flushed.is_err(), "the store is silent");
    world.store.is_silent.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn a_change_is_made_once() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let mut session = browser.session(&world.sessions).await;
    session.update(|cart| cart.items.push(1));
    give_up(&world, &session).await;
    session.update(|cart| cart.items.push(2));
    session.finish().await.unwrap();
    assert_eq!(browser.items(&world.sessions).await, [1, 2]);
}

#[tokio::test]
async fn a_login_is_one_and_its_cookie_goes_out() {
    let world = World::new();
    let mut browser = Browser::default();
    let request = browser.request(&world.sessions);
    request.log_in(Login::new(&somebody("alice")));
    give_up(&world, &request).await;
    browser.take(request.finish().await.unwrap());
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"));
    assert_eq!(world.sessions.list(&somebody("alice").id()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_logout_is_done_also_by_a_handler_that_gave_up_and_failed() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let before = browser.clone();
    let request = browser.request(&world.sessions);
    request.log_out();
    give_up(&world, &request).await;
    browser.take(request.finish_failed().await.unwrap());
    assert_eq!((before.who(&world.sessions).await, browser.cookie), (None, None));
}

#[tokio::test]
async fn what_was_not_begun_is_noted_still() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let mut session = browser.request(&world.sessions).session::<Cart>(None).await.unwrap();
    session.update(|cart| cart.items.push(1));
    // Dropped before it was polled, and while it waits for another one.
    drop(session.flush());
    world.store.is_silent.store(true, Ordering::SeqCst);
    let (first, second) = tokio::join!(
        tokio::time::timeout(Duration::from_millis(10), session.flush()),
        tokio::time::timeout(Duration::from_millis(5), session.flush())
    );
    assert!(first.is_err() && second.is_err());
    world.store.is_silent.store(false, Ordering::SeqCst);
    session.finish().await.unwrap();
    assert_eq!(browser.items(&world.sessions).await, [1]);
}

#[tokio::test]
async fn how_it_ended_is_told_to_whoever_asks_next_and_a_logout_is_done_all_the_same() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let before = browser.clone();
    let mut session = browser.session(&world.sessions).await;
    session.update(|cart| cart.items.push(1));
    session.rotate();
    // The new id is there, and the old one cannot be retired.
    world.store.fails_to_save.store(true, Ordering::SeqCst);
    give_up(&world, &session).await;
    session.log_out();
    let failure: Failure = session.finish().await.unwrap_err();
    assert!(failure.to_string().contains("saves nothing"), "{failure}");
    browser.take(session.finish().await.unwrap());
    assert_eq!((before.who(&world.sessions).await, browser.cookie), (None, None));
}

#[tokio::test]
async fn a_write_that_nobody_goes_on_with_holds_nothing() {
    let world = World::new();
    let request = Browser::default().request(&world.sessions);
    request.log_in(Login::new(&somebody("alice")));
    give_up(&world, &request).await;
    let World { sessions, store, .. } = world;
    drop((sessions, request));
    assert_eq!(std::sync::Arc::strong_count(&store), 1, "no request keeps itself alive");
}
