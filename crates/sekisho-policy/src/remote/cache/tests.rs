use std::thread;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
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

/// Asks in so many threads that each copy there is room for is one of them's.
fn everywhere(run: impl Fn() + Sync) {
    let runtime = tokio::runtime::Handle::try_current().ok();
    for _ in 0..64 {
        thread::scope(|scope| {
            scope.spawn(|| {
                let _entered = runtime.as_ref().map(|runtime| runtime.enter());
                run();
            });
        });
    }
}

fn near(cache: &DecisionCache) -> &PerThread<Near> {
    &cache.kept.as_ref().unwrap().near
}

/// What is known near the threads without asking what they share.
fn known_near(cache: &DecisionCache, key: &Key) -> usize {
    near(cache).made().filter(|near| near.get_or(key, || None).is_some()).count()
}

#[tokio::test(start_paused = true)]
async fn what_was_replaced_or_removed_is_found_by_no_thread() {
    let [changed, gone, other] = keys(3).try_into().unwrap();
    let cache = cache();
    for key in [changed, gone, other] {
        cache.insert(key, &Decision::permit().with_id("first"), asked());
    }
    everywhere(|| {
        for key in [changed, gone, other] {
            assert_eq!(cache.get(&key, NOW).unwrap().id(), Some("first"));
        }
    });
    assert!(near(&cache).made().count() > 1, "else nothing is shown here");
    assert_eq!(known_near(&cache, &changed), near(&cache).made().count());
    cache.insert(changed, &deny().with_id("second"), asked());
    cache.insert(gone, &Decision::permit().with_lifetime(Duration::ZERO), asked());
    assert_eq!((known_near(&cache, &changed), known_near(&cache, &gone)), (0, 0));
    everywhere(|| {
        let decision = cache.get(&changed, NOW).unwrap();
        assert_eq!((decision.effect(), decision.id()), (Effect::Deny, Some("second")));
        assert!(cache.get(&gone, NOW).is_none());
        assert_eq!(cache.get(&other, NOW).unwrap().id(), Some("first"));
    });
    cache.clear();
    everywhere(|| assert!([changed, gone, other].iter().all(|key| cache.get(key, NOW).is_none())));
}

#[tokio::test(start_paused = true)]
async fn near_a_thread_nothing_lives_longer_and_nothing_of_another_time_is_found() {
    let [permit, denial, bound] = keys(3).try_into().unwrap();
    let cache = cache();
    cache.insert(permit, &Decision::permit(), asked());
    cache.insert(denial, &deny(), asked());
    cache.insert(bound, &Decision::permit(), Asked { expires_at: Some(after(2)), ..asked() });
    let all = [permit, denial, bound];
    everywhere(|| assert!(all.iter().all(|key| cache.get(key, NOW).is_some())));
    everywhere(|| {
        assert!(all.iter().all(|key| cache.get(key, UnixSeconds::new(NOW.as_secs() - 1)).is_none()));
        assert!(cache.get(&denial, after(1)).is_none());
        assert!(cache.get(&bound, after(1)).is_some() && cache.get(&bound, after(2)).is_none());
        assert!(cache.get(&permit, after(4)).is_some() && cache.get(&permit, after(5)).is_none());
    });
    tokio::time::advance(Duration::from_secs(1)).await;
    everywhere(|| assert!(cache.get(&denial, NOW).is_none() && cache.get(&permit, NOW).is_some()));
    tokio::time::advance(Duration::from_secs(4)).await;
    everywhere(|| assert!(all.iter().all(|key| cache.get(key, NOW).is_none())));
}

#[test]
fn what_is_kept_near_a_thread_is_a_copy_with_all_that_it_says() {
    let [key] = keys(1).try_into().unwrap();
    let cache = cache();
    let parameters = JsonObject::parse(br#"{"fields":["iban"]}"#.to_vec()).unwrap();
    let decision = Decision::permit()
        .with_id("d-1")
        .with_revision("7")
        .with_reason(Reason::new("own"))
        .with_obligation(Obligation::new("redact").with_parameters(parameters));
    cache.insert(key, &decision, asked());
    let first = cache.get(&key, NOW).unwrap();
    let second = cache.get(&key, NOW).unwrap();
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    let fields = |decision: &Decision| decision.obligations().first()?.parameters().map(|all| all.as_str().to_owned());
    assert_eq!(fields(&second).as_deref(), Some(r#"{"fields":["iban"]}"#));
    assert_eq!((second.source(), known_near(&cache, &key)), (DecisionSource::Cache, 1));
    let place = |decision: &Decision| decision.id().unwrap().as_ptr();
    assert_eq!(place(&first), place(&cache.kept.as_ref().unwrap().shared.get(&key).unwrap().decision));
    assert_ne!(place(&first), place(&second));
}

#[test]
fn near_a_thread_are_few_and_small_ones() {
    let lifetimes = Lifetimes { permit: Duration::from_secs(5), deny: Duration::from_secs(1) };
    let (cache, keys) = (DecisionCache::new(10_000, 16 << 20, lifetimes).unwrap(), keys(3000));
    let held = |cache: &DecisionCache| keys.iter().filter(|key| known_near(cache, key) > 0).count();
    for key in &keys {
        cache.insert(*key, &Decision::permit(), asked());
        assert!(cache.get(key, NOW).is_some());
    }
    assert!((1_000..=2_048).contains(&held(&cache)), "{}", held(&cache));
    for key in &keys {
        cache.insert(*key, &Decision::permit().with_reason("r".repeat(600)), asked());
        assert!(cache.get(key, NOW).is_some());
    }
    // 984 bytes each, and all together 1 MiB.
    assert!((500..=1_065).contains(&held(&cache)), "{}", held(&cache));
    let [key, ..] = keys.as_slice() else { panic!("some keys") };
    cache.insert(*key, &Decision::permit().with_reason("r".repeat(1_000)), asked());
    assert!(cache.get(key, NOW).is_some() && known_near(&cache, key) == 0);
}

#[test]
fn near_a_thread_are_no_more_than_all_together_keep() {
    let lifetimes = Lifetimes { permit: Duration::from_secs(5), deny: Duration::from_secs(1) };
    let (cache, keys) = (DecisionCache::new(8, 64 << 10, lifetimes).unwrap(), keys(100));
    for key in &keys {
        cache.insert(*key, &Decision::permit(), asked());
        cache.get(key, NOW);
    }
    let held = keys.iter().filter(|key| known_near(&cache, key) > 0).count();
    assert!((1..=8).contains(&held), "{held}");
}

#[test]
fn none_keeps_nothing() {
    let [key] = keys(1).try_into().unwrap();
    let cache = DecisionCache::none();
    cache.insert(key, &Decision::permit(), asked());
    assert!(cache.get(&key, NOW).is_none() && cache.len() == 0);
}
