//! Two requests at once, and a store that breaks in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_core::{FailureKind, Refusal};
use sekisho_session::Login;

use crate::world::{Browser, Cart, World, somebody};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_requests_at_once_lose_no_update() {
    let world = Arc::new(World::new());
    let browser = world.logged_in("alice").await;
    let tasks: Vec<_> = (0..200)
        .map(|item| {
            let (world, mut browser) = (Arc::clone(&world), browser.clone());
            tokio::spawn(async move {
                let mut session = browser.session(&world.sessions).await;
                session.update(move |cart: &mut Cart| {
                    cart.count += 1;
                    cart.items.push(item);
                });
                let set = session.finish().await;
                set.map(|set| browser.take(set))
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let session = browser.session(&world.sessions).await;
    assert_eq!(session.data().count, 200);
    let mut items = session.data().items.clone();
    items.sort_unstable();
    assert_eq!(items, (0..200).collect::<Vec<u32>>());
}

#[tokio::test]
async fn a_change_that_comes_second_is_made_on_what_the_first_one_wrote() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let mut slow = browser.session(&world.sessions).await;
    slow.update(|cart| cart.items.push(2));
    browser.add(&world.sessions, 1).await.unwrap();
    slow.finish().await.unwrap();
    assert_eq!(browser.items(&world.sessions).await, [1, 2]);
}

#[tokio::test]
async fn a_save_after_the_logout_brings_nobody_back() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let mut slow = browser.session(&world.sessions).await;
    slow.update(|cart| cart.items.push(1));
    let session = browser.session(&world.sessions).await;
    session.log_out();
    session.finish().await.unwrap();
    assert!(slow.finish().await.unwrap().is_empty(), "nor does it set a cookie");
    assert_eq!(browser.who(&world.sessions).await, None);
}

#[tokio::test]
async fn ending_all_sessions_ends_one_that_is_just_getting_a_new_id() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    for turn in 0..2 {
        let browser = if turn == 0 { browser.clone() } else { world.logged_in("alice").await };
        let slow = browser.session(&world.sessions).await;
        if turn == 0 {
            slow.rotate()
        } else {
            slow.elevate(&somebody("alice"))
        }
        assert!(world.sessions.end_all(&somebody("alice").id()).await.unwrap() > 0);
        assert!(slow.finish().await.unwrap().is_empty(), "no cookie for what is over");
        assert!(world.sessions.list(&somebody("alice").id()).await.unwrap().is_empty());
        assert_eq!(browser.who(&world.sessions).await, None);
    }
}

#[tokio::test]
async fn what_is_written_while_the_id_changes_is_taken_over() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let mut slow = browser.session(&world.sessions).await;
    slow.rotate();
    slow.update(|cart| cart.items.push(2));
    browser.add(&world.sessions, 1).await.unwrap();
    let old = browser.clone();
    browser.take(slow.finish().await.unwrap());
    assert_ne!(browser, old);
    assert_eq!(browser.items(&world.sessions).await, [1, 2]);
}

#[tokio::test]
async fn what_an_anonymous_visitor_keeps_while_logging_in_is_taken_over() {
    let world = World::new();
    let mut browser = Browser::default();
    browser.add(&world.sessions, 1).await.unwrap();
    let login = browser.session(&world.sessions).await;
    browser.add(&world.sessions, 2).await.unwrap();
    login.log_in(Login::new(&somebody("alice")));
    browser.take(login.finish().await.unwrap());
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"));
    assert_eq!(browser.items(&world.sessions).await, [1, 2]);
}

#[tokio::test]
async fn what_is_written_while_the_same_user_logs_in_again_is_taken_over() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let login = browser.session(&world.sessions).await;
    browser.add(&world.sessions, 1).await.unwrap();
    let old = browser.clone();
    login.log_in(Login::new(&somebody("alice")));
    browser.take(login.finish().await.unwrap());
    assert_eq!(browser.items(&world.sessions).await, [1]);
    assert_eq!(old.who(&world.sessions).await, None, "and the old one is over at once");
}

#[tokio::test]
async fn a_login_that_is_sent_twice_logs_in_twice() {
    let world = World::new();
    let mut browser = Browser::default();
    browser.add(&world.sessions, 1).await.unwrap();
    let requests = [browser.session(&world.sessions).await, browser.session(&world.sessions).await];
    let mut late = None;
    for request in requests {
        request.log_in(Login::new(&somebody("alice")));
        let mut browser = browser.clone();
        browser.take(request.finish().await.unwrap());
        late = Some(browser);
    }
    let third = browser.session(&world.sessions).await;
    third.log_in(Login::new(&somebody("alice")));
    browser.take(third.finish().await.unwrap());
    for browser in [late.unwrap(), browser] {
        assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"));
        assert_eq!(browser.items(&world.sessions).await, [1]);
    }
}

#[tokio::test]
async fn a_change_under_an_id_that_was_replaced_is_reported_and_never_lost_in_silence() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let mut slow = browser.session(&world.sessions).await;
    slow.update(|cart| cart.items.push(1));
    let second = browser.session(&world.sessions).await;
    let third = browser.session(&world.sessions).await;
    second.rotate();
    third.rotate();
    browser.take(second.finish().await.unwrap());
    for late in [slow.finish().await, third.finish().await] {
        let failure = late.unwrap_err();
        assert_eq!((failure.kind(), failure.retry_after()), (FailureKind::Unavailable, Some(Duration::from_secs(1))));
    }
    assert_eq!(browser.items(&world.sessions).await, [0; 0]);
    assert_eq!(world.sessions.list(&somebody("alice").id()).await.unwrap().len(), 1, "no orphan is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_logins_at_once_stay_within_the_limit() {
    let world = Arc::new(World::with(|builder| builder.with_session_limit(3)));
    let tasks: Vec<_> = (0..24)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.logged_in("alice").await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(world.sessions.list(&somebody("alice").id()).await.unwrap().len() <= 3);
}

#[tokio::test]
async fn a_store_that_is_down_is_a_failure_and_no_logout() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.store.is_down.store(true, Ordering::SeqCst);
    let refusal = browser.request(&world.sessions).session::<Cart>(None).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Failure(failure) if failure.kind() == FailureKind::Unavailable));
    let request = browser.request(&world.sessions);
    request.log_out();
    assert!(request.finish().await.is_err(), "who could not be logged out is not told so");
    world.store.is_down.store(false, Ordering::SeqCst);
    assert_eq!(browser.who(&world.sessions).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_route_can_go_on_without_the_store_and_keeps_nothing_then() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.store.is_down.store(true, Ordering::SeqCst);
    let request = browser.request(&world.sessions);
    let mut session = request.session_or_anonymous::<Cart>(None).await.unwrap();
    assert!(session.is_degraded() && session.principal().unwrap().is_none());
    assert!(session.finish().await.unwrap().is_empty());
    session.update(|cart| cart.items.push(1));
    assert_eq!(session.finish().await.unwrap_err().kind(), FailureKind::Unavailable, "what is lost is told");
    world.store.is_down.store(false, Ordering::SeqCst);
    let request = browser.request(&world.sessions);
    let session = request.session_or_anonymous::<Cart>(None).await.unwrap();
    assert!(!session.is_degraded() && session.principal().unwrap().is_some());
}

#[tokio::test]
async fn a_record_that_was_changed_in_the_store_is_a_failure_and_nobodys_login() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.store.is_corrupt.store(true, Ordering::SeqCst);
    let refusal = browser.request(&world.sessions).session::<Cart>(None).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Failure(failure) if failure.kind() == FailureKind::Unavailable));
}

#[tokio::test]
async fn a_write_that_fails_is_told_and_leaves_what_was_there() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    browser.add(&world.sessions, 1).await.unwrap();
    world.store.fails_to_write.store(true, Ordering::SeqCst);
    assert!(browser.add(&world.sessions, 2).await.is_err());
    let session = browser.session(&world.sessions).await;
    session.rotate();
    assert!(session.finish().await.is_err());
    world.wait(120);
    assert!(browser.who(&world.sessions).await.is_some(), "a touch that fails shuts nobody out");
    world.store.fails_to_write.store(false, Ordering::SeqCst);
    assert_eq!(browser.items(&world.sessions).await, [1]);
}

#[tokio::test]
async fn whoever_can_write_to_the_store_cannot_make_themselves_somebody_else() {
    let world = World::new();
    let (alice, mallory) = (world.logged_in("alice").await, world.logged_in("mallory").await);
    // Each one's record under the other's name: a seal names its session.
    world.store.swap_all().await;
    for browser in [alice, mallory] {
        assert!(browser.request(&world.sessions).session::<Cart>(None).await.is_err());
    }
}
