use sekisho_core::dangerous::PrincipalBuilder;

use super::*;
use crate::claims::Accepted;
use sekisho_jwt::Candidate;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const UNSAID: Freshness = Freshness::UNSAID;

fn backend() -> Backend {
    #[cfg(feature = "aws-lc-rs")]
    return Backend::aws_lc();
    #[cfg(not(feature = "aws-lc-rs"))]
    return Backend::ring();
}

fn at(seconds: u64) -> UnixSeconds {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn lifetimes() -> Lifetimes {
    let seconds = Duration::from_secs;
    Lifetimes { positive: Some(seconds(30)), negative: seconds(5), stale: Duration::ZERO, despite_headers: false }
}

fn cache(lifetimes: Lifetimes) -> AnswerCache {
    AnswerCache::new(lifetimes, CacheLimits::new(100, 1 << 20)).expect("room")
}

fn key(number: u8) -> TokenKey {
    TokenKey::for_tests(number)
}

fn active(dies: UnixSeconds) -> Active {
    let principal = PrincipalBuilder::new("https://id.example", "u").build().expect("claims");
    let until = dies.saturating_add(Duration::from_secs(60));
    Active {
        accepted: Accepted { candidate: Candidate::new(principal), from: UnixSeconds::new(0), until, dies },
        jwt: None,
    }
}

fn is_known(cache: &AnswerCache, now: UnixSeconds) -> bool {
    matches!(cache.get(&key(1), now), Some(Ok(_)))
}

#[test]
fn nothing_outlives_the_cap_the_header_or_the_token() {
    let stated = |seconds| Freshness { lifetime: Some(Duration::from_secs(seconds)), must_revalidate: false };
    for (freshness, dies, last) in [
        (UNSAID, UnixSeconds::MAX, 29),
        (stated(1000), UnixSeconds::MAX, 29),
        (stated(10), UnixSeconds::MAX, 9),
        (stated(10), at(5), 4),
        // No leeway: it was accepted with some, and is asked about again.
        (UNSAID, at(1), 0),
    ] {
        let cache = cache(lifetimes());
        cache.insert(key(1), &Ok(active(dies)), freshness, NOW);
        assert!(is_known(&cache, at(last)), "{freshness:?} {dies}");
        assert!(!is_known(&cache, at(last + 1)), "{freshness:?} {dies}");
    }
    for (freshness, dies) in [(stated(0), UnixSeconds::MAX), (UNSAID, NOW), (UNSAID, UnixSeconds::new(1))] {
        let cache = cache(lifetimes());
        cache.insert(key(1), &Ok(active(dies)), freshness, NOW);
        assert_eq!(cache.len(), (0, 0), "{freshness:?} {dies}");
    }
}

#[test]
fn headers_are_ignored_only_when_that_was_said_and_the_expiry_never() {
    let never = Freshness { lifetime: Some(Duration::ZERO), must_revalidate: true };
    let cache = cache(Lifetimes { despite_headers: true, ..lifetimes() });
    cache.insert(key(1), &Ok(active(at(10))), never, NOW);
    assert!(is_known(&cache, at(9)));
    assert!(!is_known(&cache, at(10)));
}

#[test]
fn without_a_lifetime_nothing_good_is_kept() {
    let cache = cache(Lifetimes { positive: None, ..lifetimes() });
    cache.insert(key(1), &Ok(active(UnixSeconds::MAX)), UNSAID, NOW);
    assert_eq!(cache.len(), (0, 0));
    assert!(cache.get(&key(1), NOW).is_none() && cache.get_stale(&key(1), NOW).is_none());
}

#[test]
fn refusals_live_shortly_and_push_nothing_good_out() {
    let cache = cache(lifetimes());
    cache.insert(key(1), &Ok(active(UnixSeconds::MAX)), UNSAID, NOW);
    let hasher = TokenHasher::new(backend(), "https://id.example").expect("a key");
    for number in 0..50_000 {
        let key = hasher.hash(&format!("random {number}")).expect("hashes");
        cache.insert(key, &Err(Reject::Inactive), UNSAID, NOW);
    }
    assert!(is_known(&cache, NOW));
    let (good, bad) = cache.len();
    assert_eq!(good, 1);
    assert!(bad <= REFUSALS, "{bad}");
    cache.insert(key(2), &Err(Reject::Inactive), UNSAID, NOW);
    assert!(matches!(cache.get(&key(2), at(4)), Some(Err(Reject::Inactive))));
    assert!(cache.get(&key(2), at(5)).is_none());
}

#[test]
fn what_was_good_is_forgotten_when_it_is_refused() {
    let cache = cache(Lifetimes { stale: Duration::from_secs(100), negative: Duration::ZERO, ..lifetimes() });
    cache.insert(key(1), &Ok(active(UnixSeconds::MAX)), UNSAID, NOW);
    cache.insert(key(1), &Err(Reject::Inactive), UNSAID, NOW);
    assert!(cache.get(&key(1), NOW).is_none());
    assert!(cache.get_stale(&key(1), NOW).is_none());
}

#[test]
fn an_answer_that_may_not_be_kept_ends_the_one_before() {
    let never = Freshness { lifetime: Some(Duration::ZERO), must_revalidate: false };
    for (freshness, dies) in [(never, UnixSeconds::MAX), (UNSAID, NOW)] {
        let cache = cache(Lifetimes { stale: Duration::from_secs(100), ..lifetimes() });
        cache.insert(key(1), &Ok(active(UnixSeconds::MAX)), UNSAID, NOW);
        cache.insert(key(1), &Ok(active(dies)), freshness, NOW);
        assert!(cache.get(&key(1), NOW).is_none() && cache.get_stale(&key(1), NOW).is_none(), "{freshness:?}");
    }
}

#[test]
fn a_stale_answer_is_bounded_by_its_own_time_the_expiry_and_must_revalidate() {
    let lenient = Lifetimes { stale: Duration::from_secs(100), ..lifetimes() };
    let known = |cache: &AnswerCache, now| cache.get_stale(&key(1), now).is_some();
    let one = cache(lenient);
    one.insert(key(1), &Ok(active(UnixSeconds::MAX)), UNSAID, NOW);
    assert!(!is_known(&one, at(30)) && known(&one, at(129)) && !known(&one, at(130)));
    let one = cache(lenient);
    one.insert(key(1), &Ok(active(at(40))), UNSAID, NOW);
    assert!(known(&one, at(39)) && !known(&one, at(40)));
    let one = cache(lenient);
    let strict = Freshness { lifetime: None, must_revalidate: true };
    one.insert(key(1), &Ok(active(UnixSeconds::MAX)), strict, NOW);
    assert!(known(&one, at(29)) && !known(&one, at(30)));
    let one = cache(lifetimes());
    one.insert(key(1), &Ok(active(UnixSeconds::MAX)), UNSAID, NOW);
    assert!(!known(&one, at(30)), "off by default");
}

#[test]
fn a_clock_that_was_set_back_prolongs_nothing() {
    let cache = cache(lifetimes());
    cache.insert(key(1), &Ok(active(UnixSeconds::MAX)), UNSAID, NOW);
    assert!(is_known(&cache, NOW.saturating_sub(Duration::from_secs(5))), "two requests may be out of order");
    assert!(!is_known(&cache, NOW.saturating_sub(Duration::from_secs(6))));
}

#[test]
fn the_bounds_hold() {
    let cache = AnswerCache::new(lifetimes(), CacheLimits::new(100, 64 << 10)).expect("room");
    for number in 0..1000_u16 {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        bytes[8] = (number % 251) as u8;
        let [a, b] = number.wrapping_mul(40_503).to_le_bytes();
        (bytes[6], bytes[7]) = (a, b);
        cache.insert(TokenKey(bytes), &Ok(active(UnixSeconds::MAX)), UNSAID, NOW);
    }
    let (good, _) = cache.len();
    assert!((1..=100).contains(&good), "{good}");
    assert!(AnswerCache::new(lifetimes(), CacheLimits::new(0, 1 << 20)).is_err());
    assert!(AnswerCache::new(lifetimes(), CacheLimits::new(10, 10)).is_err());
}

#[test]
fn the_key_depends_on_token_issuer_and_cache_and_shows_nothing() {
    let hash = |hasher: &TokenHasher, token: &str| hasher.hash(token).expect("hashes");
    let one = TokenHasher::new(backend(), "https://id.example").expect("a key");
    let same_name = TokenHasher::new(backend(), "https://id.example").expect("a key");
    assert!(hash(&one, "token") == hash(&one, "token"));
    assert!(hash(&one, "token") != hash(&one, "Token"));
    assert!(hash(&one, "token") != hash(&same_name, "token"), "each cache has its own key");
    // Under one key, what belongs to the issuer and what to the token cannot be mistaken.
    let key = one.key.clone();
    let named = |issuer: &str| {
        let TokenHasher { issuer, .. } = TokenHasher::new(backend(), issuer).expect("a key");
        TokenHasher { key: key.clone(), issuer }
    };
    assert!(hash(&named("https://id.example"), "/atoken") != hash(&named("https://id.example/a"), "token"));
    assert_eq!(format!("{:?} {:?}", one, hash(&one, "s3cret")), "TokenHasher(..) TokenKey(..)");
}
