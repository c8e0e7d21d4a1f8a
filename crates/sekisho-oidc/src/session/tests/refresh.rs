use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_core::{Failure, FailureKind};

use super::world::{Browser, LIFE, World, text};
use crate::session::access::held;
use crate::session::{AccessError, Bff};
use crate::tokens::TokenError;

async fn refresh_token(browser: &Browser, bff: &Bff) -> String {
    text(&held(&browser.session(bff)).await.unwrap().unwrap().refresh_token().unwrap())
}

fn failure_of(answer: Result<String, AccessError>) -> Failure {
    match answer {
        Err(AccessError::Failure(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// Lets what runs beside come to its end.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_token_that_is_good_is_handed_out_as_it_is() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.wait(LIFE - 31);
    assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-1");
    settle().await;
    assert_eq!(world.provider.refreshes(), 0);
}

#[tokio::test]
async fn nobody_gets_a_token_without_a_session() {
    let world = World::new();
    assert!(matches!(Browser::default().token(&world.bff).await, Err(AccessError::SignedOut)));
    let mut garbage = Browser::default();
    garbage.0.insert("__Host-session".to_owned(), "x".repeat(60));
    assert!(matches!(garbage.token(&world.bff).await, Err(AccessError::SignedOut)));
}

#[tokio::test]
async fn shortly_before_its_end_it_is_refreshed_beside_and_nobody_waits() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.provider.is_gated.store(true, Ordering::SeqCst);
    world.wait(LIFE - 20);
    for _ in 0..20 {
        assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-1");
        settle().await;
    }
    assert_eq!(world.provider.refreshes(), 1);
    world.provider.gate.add_permits(1);
    settle().await;
    assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-2");
    assert_eq!(refresh_token(&browser, &world.bff).await, "refresh-hush-2", "it was written down at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_requests_at_once_are_one_refresh() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.wait(LIFE + 10);
    let mut tasks = Vec::new();
    for _ in 0..200 {
        let (browser, bff) = (browser.clone(), world.bff.clone());
        tasks.push(tokio::spawn(async move { browser.token(&bff).await.unwrap() }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), "access-hush-2");
    }
    assert_eq!((world.provider.refreshes(), world.provider.reused.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_processes_with_a_hundred_requests_are_one_refresh_too() {
    for round in 0..5 {
        let world = World::new();
        let browser = world.logged_in("alice").await;
        let processes = [world.bff.clone(), world.another_process(), world.another_process()];
        world.wait(LIFE + round);
        let mut tasks = Vec::new();
        for number in 0..99 {
            let (browser, bff) = (browser.clone(), processes[number % 3].clone());
            tasks.push(tokio::spawn(async move { browser.token(&bff).await.unwrap() }));
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), "access-hush-2");
        }
        assert_eq!((world.provider.refreshes(), world.provider.reused.load(Ordering::SeqCst)), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn another_process_uses_the_old_token_while_it_is_good_then_waits_and_then_says_so() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let other = world.another_process();
    world.provider.is_gated.store(true, Ordering::SeqCst);
    world.wait(LIFE - 20);
    browser.token(&world.bff).await.unwrap();
    settle().await;
    assert_eq!(browser.token(&other).await.unwrap(), "access-hush-1");
    world.wait(18);
    let started = tokio::time::Instant::now();
    let failure = failure_of(browser.token(&other).await);
    assert_eq!((failure.kind(), failure.retry_after()), (FailureKind::Unavailable, Some(Duration::from_secs(1))));
    assert!((5..6).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert_eq!(browser.who(&other).await.as_deref(), Some("alice"), "and the session lives");

    let (waiting, bff) = (browser.clone(), other.clone());
    let waiting = tokio::spawn(async move { waiting.token(&bff).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.provider.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().unwrap(), "access-hush-2");
    assert_eq!(world.provider.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_died_with_the_mark_is_replaced_once_the_mark_is_over() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let session = browser.session(&world.bff);
    let mut member = session.session::<crate::session::record::Member>(None).await.unwrap();
    let until = (super::world::START.as_secs()) + LIFE + 30;
    member.update(move |member| {
        let mark = crate::session::cycle::Mark { by: "dead".into(), until };
        member.held.as_mut().unwrap().life.mark = Some(mark);
    });
    session.flush().await.unwrap();
    world.wait(LIFE + 29);
    failure_of(browser.token(&world.bff).await);
    assert_eq!(world.provider.refreshes(), 0);
    world.wait(1);
    assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-2");
}

#[tokio::test]
async fn when_the_provider_no_longer_honours_the_login_the_session_ends_and_its_cookie_goes() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    world.wait(LIFE);
    world.provider.next_answer(TokenError::Grant);
    let session = browser.session(&world.bff);
    assert!(matches!(world.bff.party().access_token(&session).await, Err(AccessError::SignedOut)));
    assert_eq!(browser.who(&world.bff).await, None);
    let set = session.finish().await.unwrap();
    browser.take(&set);
    assert!(browser.0.is_empty());
    assert!(matches!(browser.token(&world.bff).await, Err(AccessError::SignedOut)));
    assert_eq!(world.provider.refreshes(), 1);
}

#[tokio::test]
async fn after_other_trouble_the_session_lives_the_old_token_is_used_and_nobody_hammers_the_provider() {
    for error in [TokenError::Refused("invalid_client"), Failure::unavailable("down").into()] {
        let world = World::new();
        let browser = world.logged_in("alice").await;
        world.provider.next_answer(error);
        world.wait(LIFE - 20);
        for _ in 0..10 {
            assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-1");
            settle().await;
        }
        assert_eq!(world.provider.refreshes(), 1);
        world.provider.next_answer(Failure::unavailable("down").into());
        world.wait(16);
        let failure = failure_of(browser.token(&world.bff).await);
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        let failure = failure_of(browser.token(&world.another_process()).await);
        assert_eq!(failure.retry_after(), Some(Duration::from_secs(10)));
        assert_eq!(world.provider.refreshes(), 2);
        world.wait(10);
        assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-2");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_answer_is_waited_for_so_long_and_no_longer() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.provider.is_gated.store(true, Ordering::SeqCst);
    world.wait(LIFE);
    let started = tokio::time::Instant::now();
    assert_eq!(failure_of(browser.token(&world.bff).await).kind(), FailureKind::Unavailable);
    assert!(started.elapsed() <= Duration::from_secs(11), "{:?}", started.elapsed());
    assert_eq!(browser.who(&world.bff).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn without_a_refresh_token_the_session_outlives_the_access_token() {
    let world = World::new();
    world.provider.gives_refresh.store(false, Ordering::SeqCst);
    let browser = world.logged_in("alice").await;
    world.wait(LIFE - 10);
    assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-1");
    world.wait(5);
    assert!(matches!(browser.token(&world.bff).await, Err(AccessError::Over)));
    assert_eq!(browser.who(&world.bff).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_token_that_a_service_refused_is_replaced_once_for_all_who_held_it() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let (bff, other) = (world.bff.clone(), world.another_process());
    let refused = bff.party().access_token(&browser.session(&bff)).await.unwrap();
    world.wait(9);
    let early = bff.party().access_token_after(&refused, &browser.session(&bff)).await;
    let early = failure_of(early.map(|token| text(token.secret())));
    assert_eq!((early.kind(), early.retry_after()), (FailureKind::Unavailable, Some(Duration::from_secs(1))));
    assert_eq!(world.provider.refreshes(), 0, "what has just come is not replaced");
    world.wait(1);
    for bff in [&bff, &other, &bff] {
        let next = bff.party().access_token_after(&refused, &browser.session(bff)).await.unwrap();
        assert_eq!(text(next.secret()), "access-hush-2");
    }
    assert_eq!(world.provider.refreshes(), 1);
}

#[tokio::test]
async fn a_request_that_is_dropped_in_the_middle_loses_no_token() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.provider.is_gated.store(true, Ordering::SeqCst);
    world.wait(LIFE);
    let (dropped, bff) = (browser.clone(), world.bff.clone());
    let request = tokio::spawn(async move { dropped.token(&bff).await });
    settle().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    world.provider.gate.add_permits(1);
    settle().await;
    assert_eq!(refresh_token(&browser, &world.bff).await, "refresh-hush-2");
    assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-2");
    assert_eq!(world.provider.reused.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_session_that_was_logged_out_meanwhile_stays_out_and_the_new_token_is_revoked() {
    for everywhere in [false, true] {
        let world = World::new();
        let mut browser = world.logged_in("alice").await;
        world.provider.is_gated.store(true, Ordering::SeqCst);
        world.wait(LIFE);
        let (copy, bff) = (browser.clone(), world.bff.clone());
        let request = tokio::spawn(async move { copy.token(&bff).await });
        settle().await;
        let copy = browser.clone();
        if everywhere {
            let alice = sekisho_core::SubjectId::new(super::world::ISSUER, "alice");
            assert_eq!(world.bff.party().end_everywhere(&alice).await.unwrap(), 1);
        } else {
            browser.send(&world.bff, "POST", "/bff/logout", super::world::FORM, "").await;
        }
        world.provider.gate.add_permits(1);
        assert!(matches!(request.await.unwrap(), Err(AccessError::SignedOut)));
        assert_eq!(copy.who(&world.bff).await, None);
        assert!(world.provider.revoked.lock().unwrap().contains(&"refresh-hush-2".to_owned()));
    }
}

#[tokio::test]
async fn a_session_that_is_gone_does_not_take_the_cookie_of_its_successor_away() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.provider.is_gated.store(true, Ordering::SeqCst);
    world.wait(LIFE);
    let session = browser.session(&world.bff);
    let (request, party) = (session.clone(), world.bff.party().clone());
    let request = tokio::spawn(async move { party.access_token(&request).await });
    settle().await;
    // Another tab logs in again, and the browser has its cookie by now.
    let mut tab = browser.clone();
    tab.log_in(&world.bff, "alice", "/").await;
    world.provider.gate.add_permits(1);
    assert!(request.await.unwrap().is_err());
    assert!(session.finish().await.unwrap().is_empty());
    assert_eq!(tab.token(&world.bff).await.unwrap(), "access-hush-3");
}

#[tokio::test]
async fn tokens_that_came_while_the_session_got_a_new_id_are_found_by_it() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    world.provider.is_gated.store(true, Ordering::SeqCst);
    world.wait(LIFE);
    let (copy, bff) = (browser.clone(), world.bff.clone());
    let request = tokio::spawn(async move { copy.token(&bff).await });
    settle().await;
    let rotating = browser.session(&world.bff);
    rotating.rotate();
    browser.take(&rotating.finish().await.unwrap());
    world.provider.gate.add_permits(1);
    assert_eq!(request.await.unwrap().unwrap(), "access-hush-2", "who asked under the old id gets it");
    world.provider.is_gated.store(false, Ordering::SeqCst);
    assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-2", "and so does the new one");
    assert_eq!(refresh_token(&browser, &world.bff).await, "refresh-hush-2");
    assert_eq!((world.provider.refreshes(), world.provider.reused.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_moment_loses_no_token() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.provider.is_gated.store(true, Ordering::SeqCst);
    world.wait(LIFE);
    let (copy, bff) = (browser.clone(), world.bff.clone());
    let request = tokio::spawn(async move { copy.token(&bff).await });
    settle().await;
    world.store.failing_saves.store(3, Ordering::SeqCst);
    world.provider.gate.add_permits(1);
    assert_eq!(request.await.unwrap().unwrap(), "access-hush-2");
    assert_eq!(refresh_token(&browser, &world.bff).await, "refresh-hush-2");

    // For longer: the next request of this process writes it.
    world.wait(LIFE);
    let (copy, bff) = (browser.clone(), world.bff.clone());
    let request = tokio::spawn(async move { copy.token(&bff).await });
    settle().await;
    world.store.failing_saves.store(1000, Ordering::SeqCst);
    world.provider.gate.add_permits(1);
    assert_eq!(request.await.unwrap().unwrap(), "access-hush-3");
    assert_eq!(refresh_token(&browser, &world.bff).await, "refresh-hush-2");
    world.store.failing_saves.store(0, Ordering::SeqCst);
    assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-3");
    assert_eq!(refresh_token(&browser, &world.bff).await, "refresh-hush-3");
    assert_eq!((world.provider.refreshes(), world.provider.reused.load(Ordering::SeqCst)), (2, 0));
}

#[tokio::test]
async fn what_a_handler_has_noted_is_written_by_its_request_and_not_by_the_refresh() {
    #[derive(Default, serde::Serialize, serde::Deserialize)]
    struct Cart {
        cart: u32,
    }
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.wait(LIFE);
    let session = browser.session(&world.bff);
    session.session::<Cart>(None).await.unwrap().update(|cart| cart.cart += 1);
    world.bff.party().access_token(&session).await.unwrap();
    let read = || async { browser.session(&world.bff).session::<Cart>(None).await.unwrap().data().cart };
    assert_eq!(read().await, 0);
    session.finish().await.unwrap();
    assert_eq!(read().await, 1);
    assert_eq!(refresh_token(&browser, &world.bff).await, "refresh-hush-2");
}

#[tokio::test]
async fn a_provider_s_name_that_came_to_mean_another_one_gets_no_token_of_the_one_before() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let swapped = world.with_the_providers_names_swapped();
    world.wait(LIFE);
    let failure = failure_of(browser.token(&swapped).await);
    assert_eq!(failure.kind(), FailureKind::Misconfigured);
    let reply = browser.clone().send(&swapped, "POST", "/bff/logout", super::world::FORM, "").await;
    assert_eq!(super::world::location(&reply), "https://shop.example/bye");
    assert_eq!((world.other.refreshes(), world.provider.refreshes()), (0, 0));
    assert!(world.other.revoked.lock().unwrap().is_empty());
    assert_eq!(browser.who(&world.bff).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_waited_for_as_long_as_a_mark_counts() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    world.wait(LIFE);
    world.store.hangs.store(true, Ordering::SeqCst);
    let asking = tokio::time::timeout(Duration::from_secs(31), browser.token(&world.bff));
    let failure = failure_of(asking.await.expect("an answer after 30 s"));
    assert_eq!((failure.kind(), world.provider.refreshes()), (FailureKind::Unavailable, 0));
}

#[tokio::test(start_paused = true)]
async fn tokens_that_came_while_the_session_got_a_new_id_are_written_before_the_old_one_is_over() {
    let world = World::new();
    let mut browser = world.logged_in("alice").await;
    let other = world.another_process();
    world.provider.is_gated.store(true, Ordering::SeqCst);
    world.wait(LIFE - 20);
    assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-1");
    settle().await;
    let rotating = browser.session(&world.bff);
    rotating.rotate();
    browser.take(&rotating.finish().await.unwrap());
    world.provider.gate.add_permits(1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(browser.token(&world.bff).await.unwrap(), "access-hush-1", "it is good, and nobody waits");
    settle().await;
    // The mark of the refresh is over by then.
    world.wait(35);
    assert_eq!(browser.token(&other).await.unwrap(), "access-hush-2");
    assert_eq!((world.provider.refreshes(), world.provider.reused.load(Ordering::SeqCst)), (1, 0));
}
