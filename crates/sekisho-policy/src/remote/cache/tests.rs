use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Denial, Obligation, Reason, Resource};

use super::*;
use crate::key::Part;
use crate::remote::key::Keys;

const NOW: UnixSeconds = UnixSeconds::new(1_700_000_000);

fn cache() -> DecisionCache {
    let lifetimes = Lifetimes { permit: Duration::from_secs(5), deny: Duration::from_secs(1) };
    DecisionCache::new(100, 64 << 10, lifetimes).unwrap()
}

fn keys(count: usize) -> Vec<Key> {
    let keys = Keys::new(Part::Whole, Part::Whole).unwrap();
    let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
    let key = |id: &str| keys.key(&AccessRequest::new(&alice, "read", Resource::new("order", id), NOW), None).unwrap();
    (0..count).map(|id| key(&id.to_string())).collect()
}

fn asked() -> Asked {
    Asked { at: NOW, instant: Instant::now(), expires_at: None }
}

fn after(secs: u64) -> UnixSeconds {
    NOW.saturating_add(Duration::from_secs(secs))
}

fn deny() -> Decision {
    Decision::deny(Denial::Forbidden { reason: "closed" })
}

#[tokio::test(start_paused = true)]
async fn a_permit_lives_five_seconds_and_a_denial_one_by_the_clock_that_nobody_sets() {
    let [permit, denial, silent] = keys(3).try_into().unwrap();
    let cache = cache();
    cache.insert(permit, &Decision::permit().with_obligation(Obligation::new("mask")), asked());
    cache.insert(denial, &deny(), asked());
    cache.insert(silent, &Decision::not_applicable(), asked());
    tokio::time::advance(Duration::from_millis(999)).await;
    let kept = cache.get(&permit, NOW).unwrap();
    assert_eq!((kept.source(), kept.obligations().len()), (DecisionSource::Cache, 1));
    assert_eq!(cache.get(&denial, NOW).unwrap().effect(), Effect::Deny);
    assert_eq!(cache.get(&silent, NOW).unwrap().effect(), Effect::NotApplicable);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(cache.get(&denial, NOW).is_none() && cache.get(&silent, NOW).is_none());
    tokio::time::advance(Duration::from_millis(3999)).await;
    assert!(cache.get(&permit, NOW).is_some());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(cache.get(&permit, NOW).is_none());
}

#[tokio::test(start_paused = true)]
async fn and_no_longer_by_the_clock_of_the_caller() {
    let [permit, denial] = keys(2).try_into().unwrap();
    let cache = cache();
    cache.insert(permit, &Decision::permit(), asked());
    cache.insert(denial, &deny(), asked());
    assert!(cache.get(&permit, after(4)).is_some() && cache.get(&permit, after(5)).is_none());
    assert!(cache.get(&denial, NOW).is_some() && cache.get(&denial, after(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_finds_nothing() {
    let [key] = keys(1).try_into().unwrap();
    let cache = cache();
    cache.insert(key, &Decision::permit(), asked());
    assert!(cache.get(&key, UnixSeconds::new(NOW.as_secs() - 1)).is_none());
    assert!(cache.get(&key, UnixSeconds::new(0)).is_none());
    assert!(cache.get(&key, NOW).is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_outlives_the_credential_nor_what_the_decision_says() {
    let [key] = keys(1).try_into().unwrap();
    let cache = cache();
    cache.insert(key, &Decision::permit(), Asked { expires_at: Some(after(2)), ..asked() });
    assert!(cache.get(&key, after(1)).is_some() && cache.get(&key, after(2)).is_none());
    for (expires_at, lifetime) in [
        (Some(NOW), Duration::from_secs(60)),
        (Some(UnixSeconds::new(1)), Duration::from_secs(60)),
        (None, Duration::ZERO),
    ] {
        // What was known before is gone, too.
        cache.insert(key, &Decision::permit(), asked());
        cache.insert(key, &Decision::permit().with_lifetime(lifetime), Asked { expires_at, ..asked() });
        assert!(cache.get(&key, NOW).is_none(), "{expires_at:?} {lifetime:?}");
    }
    cache.insert(key, &Decision::permit().with_lifetime(Duration::from_millis(300)), asked());
    assert!(cache.get(&key, NOW).is_some());
    tokio::time::advance(Duration::from_millis(300)).await;
    assert!(cache.get(&key, NOW).is_none());
    // Longer than the cap is the cap.
    cache.insert(key, &Decision::permit().with_lifetime(Duration::from_secs(86_400)), asked());
    assert!(cache.get(&key, after(4)).is_some() && cache.get(&key, after(5)).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_the_question_on() {
    let [key] = keys(1).try_into().unwrap();
    let (cache, asked) = (cache(), asked());
    tokio::time::advance(Duration::from_secs(3)).await;
    cache.insert(key, &Decision::permit(), asked);
    tokio::time::advance(Duration::from_millis(1999)).await;
    assert!(cache.get(&key, NOW).is_some());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(cache.get(&key, NOW).is_none());
}

#[test]
fn entries_and_bytes_are_bounded() {
    let (cache, keys) = (cache(), keys(500));
    for key in &keys {
        cache.insert(*key, &Decision::permit(), asked());
    }
    assert!((1..=100).contains(&cache.len()), "{}", cache.len());
    cache.clear();
    let long = Decision::permit().with_reason(Reason::new("r".repeat(10_000)));
    for key in &keys {
        cache.insert(*key, &long, asked());
    }
    assert!(cache.len() <= 6, "{}", cache.len());
}

#[test]
fn none_keeps_nothing() {
    let [key] = keys(1).try_into().unwrap();
    let cache = DecisionCache::none();
    cache.insert(key, &Decision::permit(), asked());
    assert!(cache.get(&key, NOW).is_none() && cache.len() == 0);
}
