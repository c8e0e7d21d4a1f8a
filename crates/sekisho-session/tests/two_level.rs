//! A memory in front of a store: what it may answer, for how long, and what it must never bring back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_core::UnixSeconds;
use sekisho_session::{
    Invalidation, Invalidations, LocalInvalidations, MemorySessionStore, NearLimits, NewSession, Saved, Sealed,
    SessionHash, SessionStore, SessionTag, SessionUpdate, TwoLevelBuilder, TwoLevelSessionStore,
};
use sekisho_testkit::{invalidations_suite, late_session_store_suite, session_store_suite};

mod carriers;
mod gates;
mod late;

use carriers::{Broken, Heeded, Loss};
use gates::Gated;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const TAG: SessionTag = SessionTag::from_bytes([1; 32]);

fn later(seconds: u64) -> UnixSeconds {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn id(number: u8) -> SessionHash {
    SessionHash::from_bytes([number; 32])
}

fn session(bytes: usize) -> NewSession {
    NewSession {
        idle_until: later(60),
        expires_at: later(600),
        tags: vec![TAG],
        card: Sealed::from_bytes(vec![]),
        body: Sealed::from_bytes(vec![0; bytes]),
    }
}

fn update() -> SessionUpdate {
    SessionUpdate { idle_until: later(60), expires_at: later(600), body: Sealed::from_bytes(*b"next") }
}

fn builder(store: &Arc<Gated>, invalidations: &Arc<impl Invalidations + 'static>) -> TwoLevelBuilder {
    TwoLevelSessionStore::builder(Arc::clone(store) as _, Arc::clone(invalidations) as _)
}

async fn two_level(store: &Arc<Gated>, invalidations: &Arc<impl Invalidations + 'static>) -> TwoLevelSessionStore {
    let store = builder(store, invalidations).start().unwrap();
    store.listening().await;
    store
}

/// Returns the version that is answered, and whether the store was asked for it.
async fn seen(near: &TwoLevelSessionStore, store: &Gated, id: &SessionHash, now: UnixSeconds) -> (Option<u64>, bool) {
    let before = store.loads.load(Ordering::SeqCst);
    let found = match near.load_now(id, now) {
        Some(found) => found.unwrap(),
        None => near.load(id, now).await.unwrap(),
    };
    (found.map(|found| found.version), store.loads.load(Ordering::SeqCst) > before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_of_two_levels_keeps_the_contract() {
    let (store, invalidations) = (Arc::new(MemorySessionStore::new()), Arc::new(LocalInvalidations::new()));
    let near = TwoLevelSessionStore::builder(store, invalidations).start().unwrap();
    near.listening().await;
    let near: Arc<dyn SessionStore> = Arc::new(near);
    session_store_suite([Arc::clone(&near), near], NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_that_are_told_before_a_write_returns_keep_the_contract_to_the_letter() {
    let store: Arc<dyn SessionStore> = Arc::new(MemorySessionStore::new());
    let invalidations: Arc<dyn Invalidations> = Arc::new(Heeded::default());
    let mut both = Vec::<Arc<dyn SessionStore>>::new();
    for _ in 0..2 {
        let near = TwoLevelSessionStore::builder(Arc::clone(&store), Arc::clone(&invalidations));
        let near = near.with_max_age(Duration::from_secs(60)).start().unwrap();
        near.listening().await;
        both.push(Arc::new(near));
    }
    session_store_suite([Arc::clone(&both[0]), Arc::clone(&both[1])], NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_that_hear_nothing_of_each_other_keep_it_but_for_the_lateness_that_they_state() {
    let store: Arc<dyn SessionStore> = Arc::new(MemorySessionStore::new());
    let mut both = Vec::<Arc<dyn SessionStore>>::new();
    for _ in 0..2 {
        let near = TwoLevelSessionStore::builder(Arc::clone(&store), Arc::new(LocalInvalidations::new()));
        let near = near.with_max_age(Duration::from_millis(20)).start().unwrap();
        near.listening().await;
        both.push(Arc::new(near));
    }
    late_session_store_suite([Arc::clone(&both[0]), Arc::clone(&both[1])], Duration::from_millis(25), NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_carrier_within_a_process_keeps_its_contract() {
    let carrier: Arc<dyn Invalidations> = Arc::new(LocalInvalidations::new());
    invalidations_suite([Arc::clone(&carrier), carrier]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_for_carriers_notices_what_they_lose() {
    for loss in Loss::ALL {
        let carrier: Arc<dyn Invalidations> = Arc::new(Broken::new(loss));
        let suite = tokio::spawn(async move { invalidations_suite([Arc::clone(&carrier), carrier]).await });
        assert_eq!(suite.await.is_ok(), loss == Loss::Nothing, "{loss:?} went unnoticed");
    }
}

#[tokio::test]
async fn what_was_asked_for_once_is_answered_without_a_call() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    assert!(near.create(id(1), &session(10), NOW).await.unwrap());
    assert!(near.load_now(&id(1), NOW).is_none());
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
    for _ in 0..100 {
        assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), false));
    }
    assert_eq!(near.load(&id(1), NOW).await.unwrap(), store.inner.load(&id(1), NOW).await.unwrap());
    assert!(near.load_latest(&id(1), NOW).await.unwrap().is_some());
    assert_eq!(store.loads.load(Ordering::SeqCst), 2, "the latest is the store's own word");
}

#[tokio::test]
async fn that_there_is_no_session_is_never_remembered() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (None, true));
    assert_eq!(near.remembered(), 0);
    assert!(store.inner.create(id(1), &session(10), NOW).await.unwrap(), "in another process");
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
}

#[tokio::test]
async fn a_write_is_seen_here_by_the_next_request() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    near.create(id(1), &session(10), NOW).await.unwrap();
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
    assert_eq!(near.save(&id(1), 1, &update(), NOW).await.unwrap(), Saved::Done);
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(2), true));
    assert!(near.delete(&id(1), NOW).await.unwrap());
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (None, true));
}

#[tokio::test]
async fn a_conflict_makes_it_forget_what_it_took_for_the_latest() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    near.create(id(1), &session(10), NOW).await.unwrap();
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
    assert_eq!(store.inner.save(&id(1), 1, &update(), NOW).await.unwrap(), Saved::Done, "in another process");
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), false), "not told yet");
    assert_eq!(near.save(&id(1), 1, &update(), NOW).await.unwrap(), Saved::Conflict);
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(2), true));
}

#[tokio::test]
async fn what_was_ended_by_a_tag_is_not_answered_by_anybody() {
    let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(Heeded::default()));
    let (one, other) = (two_level(&store, &invalidations).await, two_level(&store, &invalidations).await);
    for number in 0..20 {
        one.create(id(number), &session(10), NOW).await.unwrap();
        for near in [&one, &other] {
            assert_eq!(seen(near, &store, &id(number), NOW).await, (Some(1), true));
        }
    }
    assert_eq!(one.delete_tagged(&TAG, NOW).await.unwrap(), 20);
    for number in 0..20 {
        for near in [&one, &other] {
            assert_eq!(seen(near, &store, &id(number), NOW).await, (None, true), "{number}");
        }
    }
}

#[tokio::test]
async fn an_end_by_a_tag_that_finds_nobody_alive_still_forgets_whom_another_process_has_ended() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    near.create(id(1), &session(10), NOW).await.unwrap();
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
    assert_eq!(store.inner.delete_tagged(&TAG, NOW).await.unwrap(), 1, "in another process");
    assert_eq!(near.delete_tagged(&TAG, NOW).await.unwrap(), 0);
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (None, true));
}

#[tokio::test]
async fn who_is_dead_here_may_have_been_touched_elsewhere_and_the_store_is_asked() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    near.create(id(1), &session(10), NOW).await.unwrap();
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
    assert!(store.inner.touch(&id(1), later(120), NOW).await.unwrap());
    assert_eq!(seen(&near, &store, &id(1), later(59)).await, (Some(1), false));
    assert_eq!(seen(&near, &store, &id(1), later(60)).await, (Some(1), true));
    assert_eq!(seen(&near, &store, &id(1), later(119)).await, (Some(1), false));
    assert_eq!(seen(&near, &store, &id(1), later(120)).await, (None, true));
}

#[tokio::test]
async fn a_touch_moves_the_deadline_of_what_is_remembered() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    near.create(id(1), &session(10), NOW).await.unwrap();
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (Some(1), true));
    assert!(near.touch(&id(1), later(120), NOW).await.unwrap());
    assert_eq!(near.load(&id(1), NOW).await.unwrap().unwrap().idle_until, later(120));
    assert_eq!(seen(&near, &store, &id(1), later(119)).await, (Some(1), false));
    store.inner.delete(&id(1), NOW).await.unwrap();
    assert!(!near.touch(&id(1), later(180), NOW).await.unwrap());
    assert_eq!(seen(&near, &store, &id(1), NOW).await, (None, true), "a touch that finds nobody is a logout seen");
}

#[tokio::test]
async fn memory_is_bounded_in_sessions_and_in_bytes() {
    let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(LocalInvalidations::new()));
    for number in 0..=255 {
        store.inner.create(id(number), &session(1000), NOW).await.unwrap();
    }
    for (entries, bytes, most) in [(64, 64 << 20, 64), (50_000, 64 * 1400, 64), (50_000, 64 * 1000, 0)] {
        let mut limits = NearLimits::default();
        (limits.entries, limits.bytes) = (entries, bytes);
        let near = builder(&store, &invalidations).with_limits(limits).start().unwrap();
        near.listening().await;
        for _ in 0..3 {
            for number in 0..=255 {
                assert_eq!(seen(&near, &store, &id(number), NOW).await.0, Some(1));
                assert!(near.remembered() <= most, "{} of {most}", near.remembered());
            }
        }
        assert_eq!(near.remembered(), most);
    }
}

#[tokio::test]
async fn refuses_to_remember_for_ever_or_for_no_time_or_without_room() {
    let (store, invalidations) = (Arc::new(Gated::default()), Arc::new(LocalInvalidations::new()));
    for age in [Duration::ZERO, Duration::from_secs(61), Duration::MAX] {
        assert!(builder(&store, &invalidations).with_max_age(age).start().is_err(), "{age:?}");
    }
    for (entries, bytes) in [(0, 1000), (1000, 0)] {
        let mut limits = NearLimits::default();
        (limits.entries, limits.bytes) = (entries, bytes);
        assert!(builder(&store, &invalidations).with_limits(limits).start().is_err());
    }
    let outside = std::thread::spawn(move || builder(&store, &invalidations).start().is_err());
    assert!(outside.join().unwrap(), "nobody could listen");
}

#[tokio::test]
async fn debug_of_it_shows_no_session() {
    let store = Arc::new(Gated::default());
    let near = two_level(&store, &Arc::new(LocalInvalidations::new())).await;
    near.create(id(77), &session(7), NOW).await.unwrap();
    seen(&near, &store, &id(77), NOW).await;
    let shown = format!("{near:?} {:?}", Invalidation::Ended(id(77)));
    assert!(shown.contains("max_age: 1s, is_listening: true") && !shown.contains("77"), "{shown}");
}
