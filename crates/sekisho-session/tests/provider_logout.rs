//! What a provider has ended, and logins that were under way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Principal, UnixSeconds};
use sekisho_session::{Login, ProviderLogout, SessionKey, SessionKeys, Sessions};

use crate::world::{Browser, ISSUER, START, World, somebody};

fn alice(sid: &str) -> Principal {
    PrincipalBuilder::new(ISSUER, "alice").with_claim("sid", sid).build().unwrap()
}

fn after(seconds: u64) -> UnixSeconds {
    START.saturating_add(Duration::from_secs(seconds))
}

const FIRST: ProviderLogout<'static> = ProviderLogout::Session { issuer: ISSUER, sid: "1" };

#[tokio::test]
async fn a_login_is_over_that_the_provider_confirmed_no_later_than_it_ended_it() {
    let world = World::new();
    let subject = alice("1").id();
    for what in [FIRST, ProviderLogout::Subject(&subject)] {
        assert_eq!(world.sessions.end_by_provider(&what, after(10)).await.unwrap(), 0);
        for (issued_at, is_over) in [(0, true), (10, true), (11, false)] {
            let over = world.sessions.was_ended_by_provider(&alice("1"), after(issued_at)).await.unwrap();
            assert_eq!(over, is_over, "{what:?} {issued_at}");
        }
    }
}

#[tokio::test]
async fn nobody_else_is_over() {
    let world = World::new();
    world.sessions.end_by_provider(&FIRST, after(10)).await.unwrap();
    let namesake = PrincipalBuilder::new("https://other.example", "alice").with_claim("sid", "1").build().unwrap();
    for other in [alice("2"), somebody("alice"), somebody("bob"), namesake] {
        assert!(!world.sessions.was_ended_by_provider(&other, START).await.unwrap(), "{other:?}");
    }
    world.sessions.end_by_provider(&ProviderLogout::Subject(&somebody("alice").id()), after(10)).await.unwrap();
    assert!(world.sessions.was_ended_by_provider(&alice("2"), START).await.unwrap(), "of a subject all are");
    assert!(!world.sessions.was_ended_by_provider(&somebody("bob"), START).await.unwrap());
}

#[tokio::test]
async fn sessions_that_are_there_end_and_no_list_shows_what_is_kept() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let subject = somebody("alice").id();
    assert_eq!(world.sessions.end_by_provider(&ProviderLogout::Subject(&subject), START).await.unwrap(), 1);
    assert_eq!(browser.who(&world.sessions).await, None);
    assert!(world.sessions.list(&subject).await.unwrap().is_empty());
    assert_eq!(world.sessions.end_all(&subject).await.unwrap(), 0);
    assert!(world.sessions.was_ended_by_provider(&somebody("alice"), START).await.unwrap());
}

#[tokio::test]
async fn an_earlier_word_takes_no_later_one_back_and_after_a_quarter_of_an_hour_it_is_forgotten() {
    let world = World::new();
    world.sessions.end_by_provider(&FIRST, after(10)).await.unwrap();
    world.wait(600);
    world.sessions.end_by_provider(&FIRST, after(5)).await.unwrap();
    world.wait(899);
    assert!(world.sessions.was_ended_by_provider(&alice("1"), after(10)).await.unwrap());
    world.wait(1);
    assert!(!world.sessions.was_ended_by_provider(&alice("1"), after(10)).await.unwrap());
    world.sessions.end_by_provider(&FIRST, after(10)).await.unwrap();
    assert!(world.sessions.was_ended_by_provider(&alice("1"), after(10)).await.unwrap(), "the name is free again");
}

#[tokio::test]
async fn services_of_which_one_has_the_next_key_already_understand_each_other() {
    let (world, next) = (World::new(), SessionKey::generate().unwrap());
    let before = world.service_with(SessionKeys::new(world.key.clone()).with_older(next.clone()));
    let after_it = world.service_with(SessionKeys::new(next).with_older(world.key.clone()));
    for (service, other, sid) in [(&before, &after_it, "1"), (&after_it, &before, "2")] {
        service.end_by_provider(&ProviderLogout::Session { issuer: ISSUER, sid }, START).await.unwrap();
        assert!(other.was_ended_by_provider(&alice(sid), START).await.unwrap(), "{sid}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_no_answer() {
    let world = World::new();
    world.store.is_down.store(true, Ordering::SeqCst);
    assert!(world.sessions.end_by_provider(&FIRST, START).await.is_err());
    assert!(world.sessions.was_ended_by_provider(&alice("1"), START).await.is_err());
}

#[tokio::test]
async fn what_is_there_ends_though_nothing_can_be_kept_and_the_provider_is_told_to_come_again() {
    let world = World::new();
    let subject = somebody("alice").id();
    let what = ProviderLogout::Subject(&subject);
    world.sessions.end_by_provider(&what, START).await.unwrap();
    let browser = world.logged_in("alice").await;
    world.store.fails_to_save.store(true, Ordering::SeqCst);
    assert!(world.sessions.end_by_provider(&what, START).await.is_err());
    assert_eq!(browser.who(&world.sessions).await, None);
}

#[tokio::test]
async fn no_cookie_goes_out_of_a_login_that_was_to_be_taken_back_and_could_not() {
    let world = World::new();
    let request = Browser::default().request(&world.sessions);
    request.log_in(Login::new(&somebody("alice")));
    request.flush().await.unwrap();
    request.log_out();
    world.store.is_down.store(true, Ordering::SeqCst);
    assert!(request.flush().await.is_err());
    assert!(request.finish().await.unwrap().is_empty());
}

#[tokio::test]
async fn sessions_in_the_browser_know_of_nothing() {
    let sessions = Sessions::client_side(SessionKeys::new(SessionKey::generate().unwrap())).build().unwrap();
    assert!(sessions.end_by_provider(&FIRST, START).await.is_err());
    assert!(!sessions.was_ended_by_provider(&alice("1"), START).await.unwrap());
}
