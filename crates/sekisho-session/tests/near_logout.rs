//! What a logout costs the memory in front of a store, and what it must not leave there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_session::{
    LocalInvalidations, Login, RememberedLogins, SessionKeys, SessionStore as _, Sessions, TwoLevelSessionStore,
};

use crate::world::{Browser, START, World, somebody};

/// Is a service that remembers for a minute.
async fn service(world: &World, heard: &Arc<LocalInvalidations>, remembers_logins: bool) -> Sessions {
    let near = TwoLevelSessionStore::builder(Arc::clone(&world.store) as _, Arc::clone(heard) as _);
    let near = near.with_max_age(Duration::from_secs(60)).start().unwrap();
    near.listening().await;
    let builder = Sessions::builder(Arc::new(near), SessionKeys::new(world.key.clone()));
    let builder = builder.with_clock(Arc::new(world.clock.clone()));
    let builder = match remembers_logins {
        true => builder.with_remembered_logins(RememberedLogins::for_lifetime(Duration::from_secs(86_400)).unwrap()),
        false => builder,
    };
    builder.build().unwrap()
}

/// Tells who the service takes a browser for, and whether it had to ask the store.
async fn asked(world: &World, service: &Sessions, browser: &Browser) -> (Option<String>, bool) {
    world.store.counted();
    let who = browser.who(service).await;
    (who, world.store.calls.load(Ordering::SeqCst) > 0)
}

/// Looks with a clock that is behind.
async fn assert_all_ended(world: &World) {
    let ids = world.store.names.lock().unwrap().clone();
    for id in ids {
        assert!(world.store.inner.load(&id, START).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_logout_makes_nobody_forget_the_sessions_of_others() {
    let world = World::new();
    let heard = Arc::new(LocalInvalidations::new());
    for remembers_logins in [false, true] {
        let (here, there) =
            (service(&world, &heard, remembers_logins).await, service(&world, &heard, remembers_logins).await);
        let bob = world.logged_in("bob").await;
        for service in [&here, &there] {
            assert_eq!(asked(&world, service, &bob).await, (Some("bob".to_owned()), true));
        }
        let mut alice = Browser::default();
        let request = alice.request(&here);
        let login = Login::new(&somebody("alice"));
        request.log_in(if remembers_logins { login.with_remembering() } else { login });
        let set = request.finish().await.unwrap();
        alice.take(set.into_iter().filter(|set| set.expose().starts_with("__Host-session=")).collect());
        // Under another id, with the earlier one still there for a moment.
        let before = alice.clone();
        let request = alice.request(&here);
        request.rotate();
        alice.take(request.finish().await.unwrap());
        assert!(before.who(&here).await.is_some() && alice.who(&here).await.is_some());
        let request = alice.request(&here);
        request.log_out();
        request.finish().await.unwrap();
        for gone in [&before, &alice] {
            assert_eq!(gone.who(&here).await, None);
        }
        assert!(here.list(&somebody("alice").id()).await.unwrap().is_empty());
        tokio::time::sleep(Duration::from_millis(20)).await;
        for service in [&here, &there] {
            assert_eq!(asked(&world, service, &bob).await, (Some("bob".to_owned()), false));
        }
    }
}

#[tokio::test]
async fn a_logout_ends_also_the_id_that_lives_on_only_where_a_clock_is_behind() {
    let world = World::new();
    let mut alice = world.logged_in("alice").await;
    let before = alice.clone();
    let request = alice.request(&world.sessions);
    request.rotate();
    alice.take(request.finish().await.unwrap());
    world.wait(20);
    assert_eq!(before.who(&world.sessions).await, None);
    let request = alice.request(&world.sessions);
    request.log_out();
    request.finish().await.unwrap();
    assert_all_ended(&world).await;
}

#[tokio::test]
async fn a_logout_ends_more_ids_than_anybody_has() {
    let world = World::new();
    let mut alice = world.logged_in("alice").await;
    let mut ids = vec![alice.clone()];
    for _ in 0..40 {
        let request = alice.request(&world.sessions);
        request.rotate();
        alice.take(request.finish().await.unwrap());
        ids.push(alice.clone());
    }
    let request = alice.request(&world.sessions);
    request.log_out();
    request.finish().await.unwrap();
    for id in ids {
        assert_eq!(id.who(&world.sessions).await, None);
    }
    assert_all_ended(&world).await;
}
