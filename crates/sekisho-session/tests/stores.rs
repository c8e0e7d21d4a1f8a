//! The stores of this crate keep the contract, and say when they are full.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{FailureKind, UnixSeconds};
use sekisho_session::{
    MemorySessionStore, NewSession, Saved, Sealed, SessionHash, SessionLimits, SessionStore, SessionTag, SessionUpdate,
};
use sekisho_testkit::session_store_suite;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

fn later(seconds: u64) -> UnixSeconds {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn session(bytes: usize) -> NewSession {
    NewSession {
        idle_until: later(60),
        expires_at: later(600),
        tags: vec![SessionTag::from_bytes([1; 32])],
        card: Sealed::from_bytes(vec![]),
        body: Sealed::from_bytes(vec![0; bytes]),
    }
}

fn id(number: u8) -> SessionHash {
    SessionHash::from_bytes([number; 32])
}

fn limits(records: usize, bytes: usize) -> SessionLimits {
    let mut limits = SessionLimits::default();
    (limits.records, limits.bytes, limits.reserved_for_logins) = (records, bytes, 0);
    limits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_keeps_the_contract() {
    let store: Arc<dyn SessionStore> = Arc::new(MemorySessionStore::new());
    for _ in 0..3 {
        session_store_suite([Arc::clone(&store), Arc::clone(&store)], NOW).await;
    }
}

#[tokio::test]
async fn a_full_store_refuses_and_throws_nobody_out() {
    let store = MemorySessionStore::with_limits(limits(3, 1 << 20));
    for number in 0..3 {
        assert!(store.create(id(number), &session(10), NOW).await.unwrap());
    }
    let failure = store.create(id(3), &session(10), NOW).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    for number in 0..3 {
        assert!(store.load(&id(number), NOW).await.unwrap().is_some());
    }
    assert!(!store.create(id(0), &session(10), later(1)).await.is_ok_and(|created| created));
    // Who is dead makes room.
    assert!(store.create(id(3), &session(10), later(60)).await.unwrap());
    assert_eq!(store.len(), 1);
}

fn login(bytes: usize) -> NewSession {
    NewSession { tags: vec![SessionTag::from_bytes([1; 32]), SessionTag::from_bytes([2; 32])], ..session(bytes) }
}

#[tokio::test]
async fn visitors_do_not_fill_a_store_for_those_who_are_logged_in() {
    let mut limits = limits(8, 1 << 20);
    limits.reserved_for_logins = 25;
    let store = MemorySessionStore::with_limits(limits);
    for number in 0..6 {
        assert!(store.create(id(number), &session(10), NOW).await.unwrap(), "{number}");
    }
    let failure = store.create(id(6), &session(10), NOW).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    for number in 6..8 {
        assert!(store.create(id(number), &login(10), NOW).await.unwrap(), "{number}");
    }
    assert!(store.create(id(8), &login(10), NOW).await.is_err(), "the bound is one for all");
    assert!(store.delete(&id(0), NOW).await.unwrap());
    assert!(store.create(id(9), &session(10), NOW).await.is_err(), "what is left is reserved");
    assert!(store.create(id(10), &login(10), NOW).await.unwrap());
}

#[tokio::test]
async fn visitors_do_not_fill_a_store_by_what_they_put_into_their_sessions() {
    let mut limits = limits(1000, 100_000);
    limits.reserved_for_logins = 50;
    let store = MemorySessionStore::with_limits(limits);
    assert!(store.create(id(0), &session(30_000), NOW).await.unwrap());
    assert!(store.create(id(1), &session(30_000), NOW).await.is_err());
    assert!(store.create(id(2), &login(10), NOW).await.unwrap());
    let to = SessionUpdate { idle_until: later(60), expires_at: later(600), body: Sealed::from_bytes(vec![0; 60_000]) };
    assert!(store.save(&id(0), 1, &to, NOW).await.is_err());
    assert_eq!(store.save(&id(2), 1, &to, NOW).await.unwrap(), Saved::Done);
    limits.reserved_for_logins = 255;
    let store = MemorySessionStore::with_limits(limits);
    assert!(store.create(id(0), &session(1), NOW).await.is_err());
    assert!(store.create(id(0), &login(1), NOW).await.unwrap());
}

#[tokio::test]
async fn a_store_bounds_its_bytes_too_also_when_saving() {
    let store = MemorySessionStore::with_limits(limits(1000, 100_000));
    assert!(store.create(id(0), &session(50_000), NOW).await.unwrap());
    assert!(store.create(id(1), &session(60_000), NOW).await.is_err());
    let update = |bytes: usize| SessionUpdate {
        idle_until: later(60),
        expires_at: later(600),
        body: Sealed::from_bytes(vec![0; bytes]),
    };
    assert!(store.save(&id(0), 1, &update(200_000), NOW).await.is_err());
    assert_eq!(store.save(&id(0), 1, &update(10), NOW).await.unwrap(), Saved::Done);
    assert!(store.create(id(1), &session(60_000), NOW).await.unwrap());
}

#[tokio::test]
async fn names_of_the_ended_cost_little_and_go_in_their_time() {
    let store = MemorySessionStore::with_limits(limits(1000, 100_000));
    for number in 0..100 {
        assert!(store.create(id(number), &session(50_000), NOW).await.unwrap());
        assert!(store.delete(&id(number), NOW).await.unwrap());
    }
    assert_eq!(store.len(), 100);
    assert_eq!(store.sweep(later(599)).await.unwrap(), 0);
    assert_eq!(store.sweep(later(600)).await.unwrap(), 100);
    assert!(store.is_empty());
    assert!(store.create(id(0), &session(90_000), later(600)).await.unwrap(), "all bytes were given back");
}

#[tokio::test]
async fn whoever_logs_in_and_out_again_and_again_does_not_fill_the_store() {
    let store = MemorySessionStore::with_limits(limits(10, 1 << 20));
    let guest = id(255);
    assert!(store.create(guest, &session(10), NOW).await.unwrap());
    for number in 0..100 {
        assert!(store.create(id(number), &session(10), NOW).await.unwrap(), "{number}");
        assert!(!store.create(id(number), &session(10), NOW).await.unwrap());
        assert!(store.delete(&id(number), NOW).await.unwrap());
        assert!(!store.create(id(number), &session(10), NOW).await.unwrap(), "the name is taken, full or not");
        assert!(store.len() <= 10);
    }
    assert!(store.load(&guest, NOW).await.unwrap().is_some(), "who is alive stays");
    store.sweep(later(600)).await.unwrap();
    assert!(store.is_empty(), "no name is counted twice");
}

#[test]
fn debug_of_a_store_and_of_what_it_holds_shows_no_content() {
    let shown = format!("{:?} {:?}", MemorySessionStore::new(), session(7));
    assert!(shown.contains("Sealed(7 bytes)") && !shown.contains("[0"), "{shown}");
}
