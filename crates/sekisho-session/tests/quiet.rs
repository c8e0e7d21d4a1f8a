//! Looking at a session without keeping it alive.

use std::sync::atomic::Ordering;

use sekisho_core::Refusal;

use crate::world::{Browser, World, somebody};

#[tokio::test]
async fn a_page_that_polls_does_not_keep_the_session_alive() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.store.counted();
    for _ in 0..29 {
        world.wait(60);
        let request = browser.request(&world.sessions);
        request.load_quietly(None).await.unwrap();
        assert_eq!(request.principal().unwrap().unwrap(), somebody("alice"));
        assert!(request.id().is_some());
        assert!(request.finish().await.unwrap().is_empty());
    }
    assert_eq!(world.store.counted(), (29, 0), "one question each, and nothing is written");
    world.wait(60);
    let request = browser.request(&world.sessions);
    request.load_quietly(None).await.unwrap();
    assert!(request.principal().unwrap().is_none() && request.id().is_none());
    assert_eq!(browser.who(&world.sessions).await, None, "half an hour after the login it is over");
}

#[tokio::test]
async fn whoever_else_loads_it_in_the_same_request_extends_it_without_asking_again() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    for how in 0..3 {
        world.wait(1700);
        world.store.counted();
        let request = browser.request(&world.sessions);
        request.load_quietly(None).await.unwrap();
        match how {
            0 => request.load(None).await.unwrap(),
            1 => {
                let session = request.session::<()>(None).await.unwrap();
                assert!(session.id().is_some());
            }
            // By a write, which looks at the session first.
            _ => request.rotate(),
        }
        request.load_quietly(None).await.unwrap();
        request.load(None).await.unwrap();
        if how < 2 {
            assert_eq!(world.store.counted(), (2, 1), "{how}: one load and one touch");
        }
        browser.take(request.finish().await.unwrap());
    }
    world.wait(1700);
    assert!(browser.who(&world.sessions).await.is_some());
}

#[tokio::test]
async fn a_session_that_ends_after_the_quiet_look_is_not_there_for_a_later_one() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.wait(60);
    let request = browser.request(&world.sessions);
    request.load_quietly(None).await.unwrap();
    world.sessions.end_all(&somebody("alice").id()).await.unwrap();
    request.load(None).await.unwrap();
    assert!(request.principal().unwrap().is_none());
}

#[tokio::test]
async fn a_quiet_look_fails_as_a_loud_one_does() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.store.is_down.store(true, Ordering::SeqCst);
    let request = browser.request(&world.sessions);
    assert!(matches!(request.load_quietly(None).await, Err(Refusal::Failure(_))));
    assert!(request.session_or_anonymous::<()>(None).await.unwrap().is_degraded());
    world.store.is_down.store(false, Ordering::SeqCst);
    assert!(matches!(request.load_quietly(None).await, Err(Refusal::Failure(_))), "nobody is told it is logged out");
    let cookie = browser.cookie.unwrap();
    let twice = Browser { cookie: Some(format!("{cookie}; {cookie}")) }.request(&world.sessions);
    assert!(matches!(twice.load_quietly(None).await, Err(Refusal::Reject(_))));
}
