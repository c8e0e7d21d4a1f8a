#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::source::options::HttpOptions;
use crate::source::policy::MAX_WAITING;
use crate::source::unknown::MAX_UNKNOWN;
use crate::{Algorithm, Backend, Candidates, SigningKey, TrustedKey};

const TTL: u64 = 600;
const STALE: u64 = 3600;

fn at(seconds: u64) -> UnixSeconds {
    UnixSeconds::new(1_000_000 + seconds)
}

pub(super) fn kid(kid: &str) -> KeyQuery<'_> {
    KeyQuery { kid: Some(kid), algorithm: Algorithm::Ed25519 }
}

/// Returns one and the same key material under a name.
pub(super) fn key(kid: &str) -> VerifyingKey {
    #[cfg(feature = "aws-lc-rs")]
    let backend = Backend::aws_lc();
    #[cfg(not(feature = "aws-lc-rs"))]
    let backend = Backend::ring();
    static KEY: LazyLock<std::sync::Mutex<Option<VerifyingKey>>> = LazyLock::new(Default::default);
    let mut made = KEY.lock().unwrap();
    let key =
        made.get_or_insert_with(|| SigningKey::generate(backend, Algorithm::Ed25519).unwrap().verifying_key()).clone();
    key.with_kid(kid)
}

pub(super) fn loaded(kids: &[&str]) -> Loaded {
    of_keys(kids.iter().map(|kid| key(kid)).collect())
}

fn of_keys(keys: Vec<VerifyingKey>) -> Loaded {
    Loaded::Keys { keys, leaked: Vec::new(), tag: None, ttl: Duration::from_secs(TTL) }
}

pub(super) fn cache() -> Arc<Cache> {
    Cache::new(HttpOptions::default().policy)
}

/// Loads a first set at second 0.
fn cache_with(kids: &[&str]) -> Arc<Cache> {
    let cache = cache();
    cache.begin_if_due(at(0)).unwrap().succeed(loaded(kids), 0);
    cache
}

fn down() -> Failure {
    Failure::unavailable("down")
}

fn is_found(lookup: &KeyLookup) -> bool {
    matches!(lookup, KeyLookup::Found(_))
}

fn found(lookup: KeyLookup) -> TrustedKey {
    match lookup {
        KeyLookup::Found(Candidates::One(key)) => key,
        other => panic!("{other:?}"),
    }
}

fn retry_after(lookup: &KeyLookup) -> u64 {
    match lookup {
        KeyLookup::Failed(failure) => failure.retry_after().unwrap().as_secs(),
        other => panic!("{other:?}"),
    }
}

/// Asks as a request does, with a provider that answers at once; counts the attempts.
async fn ask(cache: &Arc<Cache>, name: &str, now: UnixSeconds, provider: &[&str], attempts: &AtomicUsize) -> KeyLookup {
    match cache.find(kid(name), now) {
        KeyLookup::FetchNeeded => {
            let start = |permit: Permit| async move {
                attempts.fetch_add(1, Ordering::SeqCst);
                permit.succeed(loaded(provider), 0);
            };
            cache.fetch(kid(name), now, start, |flight| flight).await
        }
        answer => answer,
    }
}

#[test]
fn a_second_attempt_never_runs_beside_the_first() {
    let cache = cache();
    let first = cache.begin_if_due(at(0)).unwrap();
    assert!(cache.begin_if_due(at(10_000)).is_none());
    assert!(!cache.is_due(at(5)));
    first.succeed(loaded(&["a"]), 0);
    assert!(cache.begin_if_due(at(1)).is_none());
    assert!(cache.begin_if_due(at(TTL)).is_some());
}

#[test]
fn without_any_keys_a_token_is_neither_taken_nor_refused() {
    let cache = cache();
    assert!(matches!(cache.find(kid("a"), at(0)), KeyLookup::FetchNeeded));
    cache.begin_if_due(at(0)).unwrap().fail(down(), true, None);
    assert_eq!(retry_after(&cache.find(kid("a"), at(0))), 1);
    assert!(matches!(cache.find(kid("a"), at(1)), KeyLookup::FetchNeeded));
    assert_eq!(cache.health(at(1)), KeyHealth::Unavailable);
}

#[test]
fn a_provider_that_answers_nonsense_is_asked_once_in_the_interval_whatever_is_at_hand() {
    let cache = cache();
    cache.begin_if_due(at(0)).unwrap().fail(down(), false, None);
    assert_eq!(retry_after(&cache.find(kid("a"), at(0))), 30);
    assert!(cache.begin_if_due(at(29)).is_none());
    assert!(matches!(cache.find(kid("a"), at(30)), KeyLookup::FetchNeeded));
    let cache = cache_with(&["a"]);
    cache.begin_if_due(at(TTL)).unwrap().fail(down(), false, None);
    assert_eq!(retry_after(&cache.find(kid("b"), at(TTL + 1))), 29);
    assert!(cache.begin_if_due(at(TTL + 29)).is_none());
}

#[test]
fn a_provider_that_is_away_is_asked_every_few_seconds() {
    let cache = cache_with(&["a"]);
    let mut attempts = 0;
    for second in TTL..TTL + 60 {
        if let Some(permit) = cache.begin_if_due(at(second)) {
            attempts += 1;
            permit.fail(down(), true, None);
        }
    }
    assert_eq!(attempts, 14); // at 0, 1, 3, 7, 12, 17 and so on
    assert!(is_found(&cache.find(kid("a"), at(TTL + 60))));
    assert!(retry_after(&cache.find(kid("b"), at(TTL + 58))) <= 5);
    assert_eq!(cache.health(at(TTL + 60)), KeyHealth::Stale { keys: 1, until: at(TTL + STALE) });
}

#[tokio::test]
async fn an_unknown_kid_causes_one_attempt_in_the_interval() {
    let (cache, attempts) = (cache_with(&["a"]), AtomicUsize::new(0));
    for n in 0..1000 {
        let answer = ask(&cache, &format!("x{n}"), at(1), &["a"], &attempts).await;
        assert!(matches!(answer, KeyLookup::Unknown));
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    for (second, expected) in [(30, 1), (31, 2), (60, 2), (61, 3)] {
        ask(&cache, &format!("y{second}"), at(second), &["a"], &attempts).await;
        assert_eq!(attempts.load(Ordering::SeqCst), expected, "{second}");
    }
}

#[tokio::test]
async fn a_key_rotated_right_after_a_load_is_found_at_once() {
    let (cache, attempts) = (cache_with(&["a"]), AtomicUsize::new(0));
    assert!(is_found(&ask(&cache, "b", at(1), &["a", "b"], &attempts).await));
    cache.begin_if_due(at(TTL)).unwrap().succeed(loaded(&["b"]), 0);
    assert!(is_found(&ask(&cache, "c", at(TTL + 1), &["b", "c"], &attempts).await));
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_same_unknown_kid_is_not_asked_for_again_until_forgotten_or_a_new_set() {
    let (cache, attempts) = (cache_with(&["a"]), AtomicUsize::new(0));
    ask(&cache, "x", at(1), &["a"], &attempts).await;
    ask(&cache, "x", at(60), &["a"], &attempts).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    ask(&cache, "x", at(61), &["a"], &attempts).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    cache.begin_if_due(at(TTL + 61)).unwrap().succeed(loaded(&["a"]), 0);
    ask(&cache, "x", at(TTL + 62), &["a"], &attempts).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_memory_of_unknown_kids_is_bounded() {
    let cache = cache_with(&["a"]);
    for n in 0..10 * MAX_UNKNOWN {
        cache.last_word(kid(&n.to_string()), at(1), 1);
    }
    assert_eq!(cache.lock().unknown.len(), MAX_UNKNOWN);
}

#[tokio::test]
async fn a_kid_with_a_key_of_another_algorithm_causes_no_attempt() {
    let cache = cache_with(&["a"]);
    let query = KeyQuery { kid: Some("a"), algorithm: Algorithm::Rs256 };
    assert!(matches!(cache.find(query, at(1)), KeyLookup::Unknown));
}

#[tokio::test]
async fn who_joins_an_attempt_that_began_before_may_have_one_more() {
    let cache = cache_with(&["a"]);
    let running = cache.begin_if_due(at(TTL)).unwrap();
    let asking = Arc::clone(&cache);
    let asked = tokio::spawn(async move {
        let start = |permit: Permit| async move {
            permit.succeed(loaded(&["a", "b"]), 0);
        };
        asking.fetch(kid("b"), at(TTL), start, |flight| flight).await
    });
    tokio::task::yield_now().await;
    running.succeed(loaded(&["a"]), 0);
    assert!(is_found(&asked.await.unwrap()));
}

#[test]
fn a_removed_key_dies_and_a_kept_one_lives_on() {
    let cache = cache_with(&["a", "b"]);
    let (kept, removed) = (found(cache.find(kid("a"), at(1))), found(cache.find(kid("b"), at(1))));
    cache.begin_if_due(at(TTL)).unwrap().succeed(loaded(&["a", "c"]), 0);
    assert!(matches!(cache.find(kid("b"), at(TTL)), KeyLookup::FetchNeeded | KeyLookup::Unknown));
    assert!(!removed.life().is_live(at(1)));
    assert!(Arc::ptr_eq(kept.life(), found(cache.find(kid("a"), at(TTL))).life()));
    assert!(kept.life().is_live(at(2 * TTL + STALE - 1)));
    assert!(!kept.life().is_live(at(2 * TTL + STALE)));
}

#[test]
fn a_leaked_key_dies_though_nothing_was_loaded() {
    let cache = cache();
    let (set, leaked) = (loaded(&["a", "b"]), leak(&key("x")));
    cache.begin_if_due(at(0)).unwrap().succeed(set, 0);
    let life = Arc::clone(found(cache.find(kid("a"), at(1))).life());
    let permit = cache.begin_if_due(at(TTL)).unwrap();
    permit.forget(&[]);
    assert!(life.is_live(at(TTL)));
    permit.forget(&[leaked]);
    permit.fail(down(), false, None);
    assert!(!life.is_live(at(0)));
    assert_eq!(retry_after(&cache.find(kid("a"), at(TTL))), 30);
    assert_eq!(cache.health(at(TTL)), KeyHealth::Unavailable);
    assert!(!life.is_live(at(TTL + 30)), "a life that ended stays so");
}

#[test]
fn a_leaked_key_is_not_taken_again_when_the_set_is_clean() {
    let cache = cache_with(&["a"]);
    let permit = cache.begin_if_due(at(TTL)).unwrap();
    permit.forget(&[leak(&key("x"))]);
    permit.fail(down(), false, None);
    let permit = cache.begin_if_due(at(TTL + 30)).unwrap();
    assert!(matches!(permit.admit(loaded(&["a"])), Err(LoadError::OnlyLeaked)));
    let Ok(Loaded::Keys { keys, .. }) = permit.admit(of_keys(vec![key("a"), other_key("b")])) else { panic!() };
    assert_eq!(keys.iter().map(|key| key.kid().unwrap()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_key_that_leaked_beside_good_ones_is_remembered_too() {
    let cache = cache();
    let permit = cache.begin_if_due(at(0)).unwrap();
    let (keys, leaked) = (vec![other_key("b")], vec![leak(&key("x"))]);
    let set = Loaded::Keys { keys, leaked, tag: None, ttl: Duration::from_secs(TTL) };
    let admitted = permit.admit(set).unwrap();
    permit.succeed(admitted, 0);
    let permit = cache.begin_if_due(at(TTL)).unwrap();
    assert!(matches!(permit.admit(loaded(&["a"])), Err(LoadError::OnlyLeaked)));
    drop(permit);
    // Who was given up for lost adds nothing.
    let lost = cache.begin_if_due(at(TTL + 30)).unwrap();
    pass(&cache, cache.policy().patience());
    let next = cache.begin_if_due(at(TTL + 37)).unwrap();
    let other = other_key("c");
    let (keys, leaked) = (vec![other_key("d")], vec![leak(&other)]);
    drop(lost.admit(Loaded::Keys { keys, leaked, tag: None, ttl: Duration::from_secs(TTL) }));
    assert!(next.admit(of_keys(vec![other])).is_ok());
}

#[test]
fn the_memory_of_leaked_keys_is_bounded_and_keeps_the_newest() {
    let cache = cache();
    let permit = cache.begin_if_due(at(0)).unwrap();
    permit.forget(&[leak(&key("x"))]);
    let many: Vec<Leak> = (0..1000u16).map(|n| Leak::new(&[&[1], n.to_be_bytes().as_slice()].concat())).collect();
    permit.forget(&many);
    assert_eq!(cache.lock().leaked, many[1000 - 100..]);
    permit.forget(&many[950..]);
    assert_eq!(cache.lock().leaked, many[1000 - 100..]);
}

fn other_key(kid: &str) -> VerifyingKey {
    #[cfg(feature = "aws-lc-rs")]
    let backend = Backend::aws_lc();
    #[cfg(not(feature = "aws-lc-rs"))]
    let backend = Backend::ring();
    SigningKey::generate(backend, Algorithm::Ed25519).unwrap().verifying_key().with_kid(kid)
}

#[test]
fn who_was_given_up_for_lost_makes_nobody_forget() {
    let cache = cache_with(&["a"]);
    let lost = cache.begin_if_due(at(TTL)).unwrap();
    pass(&cache, cache.policy().patience());
    cache.begin_if_due(at(TTL + 7)).unwrap().succeed(loaded(&["a"]), 0);
    lost.forget(&[leak(&key("x"))]);
    assert!(is_found(&cache.find(kid("a"), at(TTL + 7))));
}

fn leak(key: &VerifyingKey) -> Leak {
    let jwk = sekisho_core::json::JsonObject::from_serialize(&key.public_jwk().unwrap()).unwrap();
    crate::jwk::public_material(&jwk, "OKP").unwrap().leak()
}

#[test]
fn a_key_that_comes_back_gets_a_new_life() {
    let cache = cache_with(&["a", "b"]);
    let first = found(cache.find(kid("b"), at(1)));
    cache.begin_if_due(at(TTL)).unwrap().succeed(loaded(&["a"]), 0);
    cache.begin_if_due(at(2 * TTL)).unwrap().succeed(loaded(&["a", "b"]), 0);
    assert!(found(cache.find(kid("b"), at(2 * TTL))).life().is_live(at(2 * TTL)));
    assert!(!first.life().is_live(at(2 * TTL)));
}

#[test]
fn the_same_kid_with_another_key_ends_the_old_one() {
    let cache = cache_with(&["a"]);
    let old = found(cache.find(kid("a"), at(1)));
    let other = other_key("a");
    cache.begin_if_due(at(TTL)).unwrap().succeed(of_keys(vec![other]), 0);
    assert!(!old.life().is_live(at(1)));
    assert!(found(cache.find(kid("a"), at(TTL))).life().is_live(at(TTL)));
}

#[test]
fn an_unchanged_set_is_prolonged() {
    let cache = cache_with(&["a"]);
    let life = Arc::clone(found(cache.find(kid("a"), at(1))).life());
    cache.begin_if_due(at(TTL)).unwrap().succeed(Loaded::Unchanged { ttl: Duration::from_secs(TTL) }, 0);
    assert!(life.is_live(at(2 * TTL + STALE - 1)));
    assert_eq!(cache.health(at(2 * TTL - 1)), KeyHealth::Fresh { keys: 1 });
}

#[test]
fn keys_are_not_trusted_beyond_the_stale_bound() {
    let cache = cache_with(&["a"]);
    assert!(is_found(&cache.find(kid("a"), at(TTL + STALE - 1))));
    assert!(matches!(cache.find(kid("a"), at(TTL + STALE)), KeyLookup::FetchNeeded));
    cache.begin_if_due(at(TTL + STALE)).unwrap().fail(down(), true, None);
    assert_eq!(retry_after(&cache.find(kid("a"), at(TTL + STALE))), 1);
    assert_eq!(cache.health(at(TTL + STALE)), KeyHealth::Unavailable);
}

#[test]
fn a_refresh_is_due_ahead_and_spread() {
    for (spread, due) in [(0, TTL - 30), (30, TTL - 60), (31, TTL - 30)] {
        let cache = cache();
        cache.begin_if_due(at(0)).unwrap().succeed(loaded(&["a"]), spread);
        assert!(!cache.is_due(at(due - 1)) && cache.begin_if_due(at(due - 1)).is_none());
        assert!(cache.is_due(at(due)) && cache.begin_if_due(at(due)).is_some());
    }
}

#[test]
fn a_clock_that_ran_ahead_at_the_load_does_not_void_the_stale_bound() {
    let cache = cache();
    let ahead = at(1_000_000_000);
    let permit = cache.begin_if_due(ahead).unwrap();
    // As if it had begun so long ago in truth.
    let begun_before = |mut permit: Permit, seconds| {
        permit.clock = permit.clock.checked_sub(Duration::from_secs(seconds)).unwrap();
        permit
    };
    begun_before(permit, TTL + STALE - 5).succeed(loaded(&["a"]), 0);
    // Set right, it goes on with the keys, as a refresh is due at once, but not for ever.
    assert!(is_found(&cache.find(kid("a"), at(0))) && cache.is_due(at(0)));
    assert!(cache.health(at(0)).is_ready());
    pass(&cache, SET_BACK_PAUSE);
    begun_before(cache.begin_if_due(ahead.saturating_add(Duration::from_secs(TTL))).unwrap(), TTL + STALE)
        .succeed(loaded(&["a"]), 0);
    assert!(!is_found(&cache.find(kid("a"), at(0))) && !cache.health(at(0)).is_ready());
    assert!(!is_found(&cache.find(kid("a"), at(1_000_000_000 + TTL - SET_BACK.as_secs() - 1))));
    assert!(is_found(&cache.find(kid("a"), at(1_000_000_000 + TTL - SET_BACK.as_secs()))));
    assert!(is_found(&cache.find(kid("a"), at(1_000_000_000 + TTL))));
}

/// Lets real time pass.
fn pass(cache: &Cache, time: Duration) {
    let mut state = cache.lock();
    state.last_begun = state.last_begun.map(|begun| begun.checked_sub(time).unwrap());
    if let Some(running) = &mut state.running {
        running.patience = running.patience.map(|patience| patience.checked_sub(time).unwrap());
    }
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_refreshes() {
    let cache = cache();
    let future = UnixSeconds::new(u64::MAX / 2);
    cache.begin_if_due(future).unwrap().succeed(loaded(&["a"]), 0);
    assert!(cache.is_due(at(0)));
    pass(&cache, SET_BACK_PAUSE);
    cache.begin_if_due(at(0)).unwrap().succeed(loaded(&["b"]), 0);
    assert!(!cache.is_due(at(1)));
    assert!(!found(cache.find(kid("b"), at(1))).life().is_live(at(TTL + STALE)));
    cache.begin_if_due(future).unwrap().fail(down(), false, None);
    pass(&cache, SET_BACK_PAUSE);
    cache.begin_if_due(at(2)).unwrap().fail(down(), false, None);
    assert!(cache.begin_if_due(at(3)).is_none());
    assert_eq!(retry_after(&cache.find(kid("x"), at(3))), 29);
}

#[tokio::test]
async fn callers_whose_clocks_differ_do_not_drive_one_another() {
    let (cache, attempts) = (cache(), AtomicUsize::new(0));
    for n in 0..100 {
        for now in [at(0), at(1_000_000_000)] {
            ask(&cache, &format!("x{n}"), now, &["a"], &attempts).await;
            if let Some(permit) = cache.begin_if_due(now) {
                attempts.fetch_add(1, Ordering::SeqCst);
                permit.succeed(loaded(&["a"]), 0);
            }
        }
    }
    // The first load, and by each of both clocks at most one for an unknown kid and one for keys that look too old.
    assert!(attempts.load(Ordering::SeqCst) <= 5, "{attempts:?}");
}

#[test]
fn an_attempt_whose_runtime_stands_still_is_given_up() {
    let cache = cache_with(&["a"]);
    let lost = cache.begin_if_due(at(TTL)).unwrap();
    pass(&cache, cache.policy().budget);
    assert!(cache.begin_if_due(at(TTL + 5)).is_none());
    pass(&cache, Duration::from_secs(1));
    assert!(cache.is_due(at(TTL + 7)));
    let next = cache.begin_if_due(at(TTL + 7)).unwrap();
    // It comes back after all, with a set that is old by now.
    lost.succeed(loaded(&["a"]), 0);
    assert!(cache.begin_if_due(at(TTL + 7)).is_none());
    next.succeed(loaded(&["b"]), 0);
    assert!(is_found(&cache.find(kid("b"), at(TTL + 7))));
    assert!(!is_found(&cache.find(kid("a"), at(TTL + 7))));
}

#[test]
fn no_budget_is_too_long_to_be_counted() {
    let cache = Cache::new(Policy { budget: Duration::MAX, ..HttpOptions::default().policy });
    let permit = cache.begin_if_due(at(0)).unwrap();
    assert!(cache.begin_if_due(at(1)).is_none());
    permit.succeed(loaded(&["a"]), 0);
    assert!(is_found(&cache.find(kid("a"), at(0))));
}

#[test]
fn who_waits_for_a_lost_attempt_is_not_refused() {
    let cache = cache_with(&["a"]);
    let lost = cache.begin_if_due(at(TTL)).unwrap();
    let patience = cache.policy().patience();
    for passed in [Duration::ZERO, patience] {
        pass(&cache, passed);
        let begun = cache.lock().begun;
        assert_eq!(retry_after(&cache.last_word(kid("b"), at(TTL), begun)), 1);
    }
    lost.succeed(loaded(&["a", "b"]), 0);
    assert!(is_found(&cache.find(kid("b"), at(TTL))));
}

#[tokio::test]
async fn a_permit_that_is_dropped_answers_those_who_wait() {
    let cache = cache();
    let permit = cache.begin_if_due(at(0)).unwrap();
    let asking = Arc::clone(&cache);
    let asked = tokio::spawn(async move { asking.fetch(kid("a"), at(0), |_| async {}, |flight| flight).await });
    tokio::task::yield_now().await;
    drop(permit);
    assert_eq!(retry_after(&asked.await.unwrap()), 1);
}

#[tokio::test]
async fn who_starts_nothing_gets_an_answer_too() {
    let cache = cache();
    // The start drops the permit: the next attempt is for later.
    assert_eq!(retry_after(&cache.fetch(kid("a"), at(0), |_| async {}, |flight| flight).await), 1);
    assert_eq!(cache.lock().begun, 1);
}

fn join(cache: &Arc<Cache>, id: &str) -> Result<(Option<Permit>, Flight), KeyLookup> {
    cache.join_or_begin(|cache, state| cache.decide(state, kid(id), at(0)), at(0))
}

#[tokio::test]
async fn no_more_callers_wait_than_the_bound() {
    let cache = cache();
    let permit = cache.begin_if_due(at(0)).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..MAX_WAITING {
        waiting.push(join(&cache, "a").unwrap().1);
    }
    assert_eq!(retry_after(&cache.find(kid("a"), at(0))), 1);
    drop(waiting.pop());
    assert!(matches!(cache.find(kid("a"), at(0)), KeyLookup::FetchNeeded));
    permit.succeed(loaded(&["a"]), 0);
    for flight in waiting {
        flight.await;
    }
    assert!(join(&cache, "x").is_ok());
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_behind() {
    let cache = cache();
    let permit = cache.begin_if_due(at(0)).unwrap();
    for _ in 0..3 * MAX_WAITING {
        let mut asking = std::pin::pin!(cache.fetch(kid("a"), at(0), |_| async {}, |flight| flight));
        // Without a timer: thousands of them take so long on a busy machine that the attempt counts as lost.
        let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(asking.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
    }
    assert!(cache.lock().waiters.drain().is_empty());
    permit.succeed(loaded(&["a"]), 0);
    assert!(is_found(&cache.find(kid("a"), at(0))));
}

#[tokio::test]
async fn a_closed_source_begins_nothing_and_keeps_nobody() {
    let cache = cache_with(&["a"]);
    let permit = cache.begin_if_due(at(TTL)).unwrap();
    let asking = Arc::clone(&cache);
    let asked = tokio::spawn(async move { asking.fetch(kid("b"), at(TTL), |_| async {}, |flight| flight).await });
    tokio::task::yield_now().await;
    cache.close();
    assert!(matches!(asked.await.unwrap(), KeyLookup::Failed(_)));
    permit.succeed(loaded(&["a"]), 0);
    assert!(cache.begin_if_due(at(10 * TTL)).is_none());
    assert!(!cache.is_due(at(10 * TTL)));
}
