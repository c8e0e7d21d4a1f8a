//! What comes late: answers that were under way, messages that do not come, calls that are dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_session::{LocalInvalidations, Saved, SessionStore};

use super::carriers::{Heeded, Switched};
use super::{Gated, NOW, TAG, builder, id, later, seen, session, two_level, update};

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_ended_elsewhere_without_a_word_is_answered_for_a_second_and_no_longer() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    near.create(id(1), &session(10), NOW).await.unwrap();
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
    store.inner.delete(&id(1), NOW).await.unwrap();
    for _ in 0..9 {
        tokio::time::advance(Duration::from_millis(111)).await;
        assert_eq!(seen(&near, &store, &id(1), later(1)).await, (Some(1), false), "and looking makes it no younger");
    }
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(seen(&near, &store, &id(1), later(1)).await, (None, true));
    assert_eq!(near.remembered(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_second_is_counted_from_the_question_and_not_from_the_answer() {
    let store = Arc::new(Gated::default());
    let near = Arc::new(two_level(&store, &Arc::new(LocalInvalidations::new())).await);
    near.create(id(1), &session(10), NOW).await.unwrap();
    store.answers_loads.send_replace(false);
    let load = tokio::spawn({
        let near = Arc::clone(&near);
        async move { near.load(&id(1), NOW).await.unwrap().is_some() }
    });
    settle().await;
    tokio::time::advance(Duration::from_millis(900)).await;
    store.answers_loads.send_replace(true);
    assert!(load.await.unwrap());
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), false));
    tokio::time::advance(Duration::from_millis(100)).await;
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
}

/// Starts a load that the store has answered already, and does something before that answer arrives.
async fn overtaken(then: impl AsyncFnOnce(&dyn SessionStore, &Gated)) -> (Option<u64>, bool) {
    let store = Arc::new(Gated::default());
    let near = Arc::new(two_level(&store, &Arc::new(Heeded::default())).await);
    near.create(id(1), &session(10), NOW).await.unwrap();
    store.answers_loads.send_replace(false);
    let load = tokio::spawn({
        let near = Arc::clone(&near);
        async move { near.load(&id(1), NOW).await.unwrap().map(|found| found.version) }
    });
    settle().await;
    assert_eq!(store.loads.load(Ordering::SeqCst), 1);
    then(&*near, &store).await;
    store.answers_loads.send_replace(true);
    assert_eq!(load.await.unwrap(), Some(1), "it was right when it was asked");
    seen(&near, &store, &id(1), NOW).await
}

#[tokio::test]
async fn an_answer_that_was_under_way_puts_nothing_back_that_has_ended() {
    let logout = async |near: &dyn SessionStore, _: &Gated| assert!(near.delete(&id(1), NOW).await.unwrap());
    assert_eq!(overtaken(logout).await, (None, true));
    let tagged = async |near: &dyn SessionStore, _: &Gated| {
        assert_eq!(near.delete_tagged(&TAG, NOW).await.unwrap(), 1);
    };
    assert_eq!(overtaken(tagged).await, (None, true));
    let save = async |near: &dyn SessionStore, _: &Gated| {
        assert_eq!(near.save(&id(1), 1, &update(), NOW).await.unwrap(), Saved::Done);
    };
    assert_eq!(overtaken(save).await, (Some(2), true));
    let seen_gone = async |near: &dyn SessionStore, store: &Gated| {
        store.inner.delete(&id(1), NOW).await.unwrap();
        assert!(!near.touch(&id(1), later(90), NOW).await.unwrap(), "by another process, and seen by a touch");
    };
    assert_eq!(overtaken(seen_gone).await, (None, true));
    assert_eq!(overtaken(async |_: &dyn SessionStore, _: &Gated| {}).await, (Some(1), false), "else it is kept");
}

#[tokio::test]
async fn an_answer_that_was_under_way_puts_nothing_back_that_another_process_has_ended() {
    for by_tag in [false, true] {
        let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(Heeded::default()));
        let near = Arc::new(two_level(&store, &invalidations).await);
        let other = two_level(&store, &invalidations).await;
        near.create(id(1), &session(10), NOW).await.unwrap();
        store.answers_loads.send_replace(false);
        let load = tokio::spawn({
            let near = Arc::clone(&near);
            async move { near.load(&id(1), NOW).await.unwrap().is_some() }
        });
        settle().await;
        if by_tag {
            assert_eq!(other.delete_tagged(&TAG, NOW).await.unwrap(), 1);
        } else {
            assert!(other.delete(&id(1), NOW).await.unwrap());
        }
        store.answers_loads.send_replace(true);
        assert!(load.await.unwrap());
        assert_eq!(seen(&near, &store, &id(1), NOW).await, (None, true));
    }
}

#[tokio::test]
async fn a_logout_whose_call_is_dropped_in_the_middle_is_not_undone_by_memory() {
    let store = Arc::new(Gated::default());
    let near = Arc::new(two_level(&store, &Arc::new(LocalInvalidations::new())).await);
    for by_tag in [false, true] {
        let id = id(u8::from(by_tag));
        near.create(id, &session(10), NOW).await.unwrap();
        assert_eq!(seen(&near, &store, &id, NOW).await, (Some(1), true));
        store.answers_writes.send_replace(false);
        let logout = tokio::spawn({
            let near = Arc::clone(&near);
            async move {
                if by_tag { near.delete_tagged(&TAG, NOW).await.is_ok() } else { near.delete(&id, NOW).await.is_ok() }
            }
        });
        settle().await;
        logout.abort();
        assert!(logout.await.is_err(), "it never returned");
        store.answers_writes.send_replace(true);
        assert_eq!(seen(&near, &store, &id, NOW).await, (None, true));
    }
}

#[tokio::test(start_paused = true)]
async fn while_nobody_tells_what_changes_nothing_is_answered_from_memory() {
    let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(Switched::default()));
    let near = builder(&store, &invalidations).with_max_age(Duration::from_secs(60)).start().unwrap();
    assert!(!near.is_listening());
    near.create(id(1), &session(10), NOW).await.unwrap();
    for _ in 0..2 {
        assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true), "no subscription stands yet");
    }
    near.listening().await;
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), false));

    invalidations.is_on.send_replace(false);
    settle().await;
    assert!(!near.is_listening() && near.remembered() == 0);
    for _ in 0..2 {
        assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
    }
    store.inner.delete(&id(1), NOW).await.unwrap();
    store.inner.create(id(2), &session(10), NOW).await.unwrap();
    invalidations.is_on.send_replace(true);
    near.listening().await;
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (None, true), "of before the gap nothing is left");
    assert_eq!(seen(&near, &store, &id(2), NOW).await, (Some(1), true));
    assert_eq!(seen(&near, &store, &id(2), NOW).await, (Some(1), false));
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_gap_is_not_remembered_after_it() {
    let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(Switched::default()));
    let near = Arc::new(builder(&store, &invalidations).with_max_age(Duration::from_secs(60)).start().unwrap());
    near.listening().await;
    near.create(id(1), &session(10), NOW).await.unwrap();
    store.answers_loads.send_replace(false);
    let load = tokio::spawn({
        let near = Arc::clone(&near);
        async move { near.load(&id(1), NOW).await.unwrap().is_some() }
    });
    settle().await;
    invalidations.is_on.send_replace(false);
    settle().await;
    store.inner.delete(&id(1), NOW).await.unwrap();
    invalidations.is_on.send_replace(true);
    near.listening().await;
    store.answers_loads.send_replace(true);
    assert!(load.await.unwrap());
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (None, true));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_falls_silent_counts_as_lost() {
    let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(Switched::default()));
    let near = two_level(&store, &invalidations).await;
    tokio::time::advance(Duration::from_secs(3599)).await;
    settle().await;
    assert!(near.is_listening());
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(!near.is_listening());
    near.listening().await;
}

#[tokio::test(start_paused = true)]
async fn a_logout_that_cannot_be_told_has_happened_and_waits_no_longer_than_others_remember() {
    let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(Switched::default()));
    let (near, other) = (two_level(&store, &invalidations).await, two_level(&store, &invalidations).await);
    near.create(id(1), &session(10), NOW).await.unwrap();
    assert_eq!(seen(&other, &store, &id(1), NOW).await, (Some(1), true));
    invalidations.hangs.store(true, Ordering::SeqCst);
    let before = tokio::time::Instant::now();
    assert!(near.delete(&id(1), NOW).await.unwrap());
    assert_eq!(before.elapsed(), Duration::from_secs(1));
    for near in [&near, &other] {
        assert_eq!(seen(near, &store, &id(1), NOW).await, (None, true));
    }
}

#[tokio::test]
async fn what_changes_nothing_is_not_told() {
    let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(Switched::default()));
    let near = two_level(&store, &invalidations).await;
    let told = || invalidations.published.swap(0, Ordering::SeqCst);
    near.create(id(1), &session(10), NOW).await.unwrap();
    near.touch(&id(1), later(90), NOW).await.unwrap();
    assert!(!near.delete(&id(2), NOW).await.unwrap());
    assert_eq!(near.save(&id(1), 7, &update(), NOW).await.unwrap(), Saved::Conflict);
    assert_eq!(near.save(&id(2), 1, &update(), NOW).await.unwrap(), Saved::Gone);
    near.sweep(NOW).await.unwrap();
    assert_eq!(told(), 0);
    assert_eq!(near.save(&id(1), 1, &update(), NOW).await.unwrap(), Saved::Done);
    assert!(near.delete(&id(1), NOW).await.unwrap());
    assert_eq!(near.delete_tagged(&TAG, NOW).await.unwrap(), 0);
    assert_eq!(told(), 2);
}

#[tokio::test]
async fn own_words_that_come_back_do_not_take_away_what_is_newer() {
    let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(LocalInvalidations::new()));
    let near = two_level(&store, &invalidations).await;
    near.create(id(1), &session(10), NOW).await.unwrap();
    assert_eq!(near.save(&id(1), 1, &update(), NOW).await.unwrap(), Saved::Done);
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(2), true));
    settle().await;
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(2), false));
}

#[tokio::test(start_paused = true)]
async fn a_sweep_gives_memory_back() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    for number in 0..100 {
        near.create(id(number), &session(10), NOW).await.unwrap();
        seen(&near, &store, &id(number), NOW).await;
    }
    near.sweep(NOW).await.unwrap();
    assert_eq!(near.remembered(), 100);
    tokio::time::advance(Duration::from_secs(1)).await;
    near.sweep(NOW).await.unwrap();
    assert_eq!(near.remembered(), 0);
}
