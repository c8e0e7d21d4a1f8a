//! What cannot work is said when the source is built, and sources that never change.

use std::path::Path;
use std::time::Duration;

use sekisho_core::{Clock, SystemClock, UnixSeconds};
use sekisho_http::{HttpError, HttpResponse};
use sekisho_jwks::{
    Algorithm, Backend, Discovery, FileKeys, IntoKeySource, KeyHealth, KeyLookup, KeyQuery, RemoteKeys, SigningKey,
    SourceContext, StaticKeys, VerifyingKey,
};

use crate::support::{FakeClient, TestClock, ask, build, found, kid, set, told};

fn error(source: impl IntoKeySource) -> String {
    told(&source.into_key_source(&SourceContext::new(Backend::aws_lc())).unwrap_err())
}

#[test]
fn addresses_that_must_not_be_asked_are_refused() {
    for url in [
        "http://id.example/keys",
        "https://user@id.example/keys",
        "https://id.example/keys#a",
        "ftp://id.example/keys",
        "file:///keys.json",
        "keys.json",
        "",
    ] {
        assert!(error(RemoteKeys::new(url)).starts_with("the URL of the key set cannot be used: "), "{url}");
    }
    for issuer in ["http://id.example", "https://id.example/?a", "https://id.example/#a", "id.example", ""] {
        for form in [Discovery::new as fn(&'static str) -> Discovery, Discovery::oidc, Discovery::oauth] {
            assert!(error(form(issuer)).starts_with("the issuer cannot be used for discovery: "), "{issuer}");
        }
    }
}

#[test]
fn settings_that_bound_nothing_are_refused() {
    let keys = || RemoteKeys::new("https://id.example/keys");
    let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
    for keys in [
        keys().with_unknown_kid_interval(zero),
        keys().with_freshness_bounds(zero, second),
        keys().with_freshness_bounds(second * 2, second),
        keys().with_retry_pauses(zero, second),
        keys().with_retry_pauses(second * 2, second),
        keys().with_connect_timeout(zero),
        keys().with_total_timeout(zero),
        keys().with_connect_timeout(second * 3601),
        keys().with_connect_timeout(Duration::MAX),
        keys().with_total_timeout(second * 3601),
        keys().with_total_timeout(Duration::MAX),
    ] {
        assert!(!error(keys).is_empty());
    }
    assert!(error(FileKeys::new("/dev/null").with_check_interval(zero)).contains("one second"));
}

#[tokio::test]
async fn no_duration_is_too_long_to_be_counted() {
    let (max, second) = (Duration::MAX, Duration::from_secs(1));
    let settings: [fn(Discovery) -> Discovery; 10] = [
        |keys| keys.with_default_freshness(Duration::MAX),
        |keys| keys.with_freshness_bounds(Duration::from_secs(1), Duration::MAX),
        |keys| keys.with_freshness_bounds(Duration::MAX, Duration::MAX),
        |keys| keys.with_refresh_ahead(Duration::MAX),
        |keys| keys.with_stale_bound(Duration::MAX),
        |keys| keys.with_unknown_kid_interval(Duration::MAX),
        |keys| keys.with_unknown_kid_memory(Duration::MAX),
        |keys| keys.with_retry_pauses(Duration::from_secs(1), Duration::MAX),
        |keys| keys.with_retry_pauses(Duration::MAX, Duration::MAX),
        |keys| keys.with_document_lifetime(Duration::MAX),
    ];
    let all: fn(Discovery) -> Discovery = |keys| {
        let (max, hour) = (Duration::MAX, Duration::from_secs(3600));
        let keys = keys.with_default_freshness(max).with_freshness_bounds(max, max).with_refresh_ahead(max);
        let keys = keys.with_stale_bound(max).with_unknown_kid_interval(max).with_unknown_kid_memory(max);
        let keys = keys.with_retry_pauses(max, max).with_document_lifetime(max);
        keys.with_connect_timeout(hour).with_total_timeout(hour)
    };
    for setting in settings.into_iter().chain([all]) {
        let clock = TestClock::new();
        let keys = set(&["a"]);
        let client = FakeClient::new(move |request| {
            let document = r#"{"issuer":"https://id.example","jwks_uri":"https://id.example/keys"}"#.to_owned();
            let headers = vec![("cache-control".to_owned(), format!("max-age={}", u64::MAX))];
            let body = if request.url.contains("well-known") { document } else { keys.clone() };
            Ok(HttpResponse { status: 200, headers, body: body.into_bytes() })
        });
        let source = build(setting(Discovery::oidc("https://id.example").with_http_client(client.clone())), &clock);
        found(ask(&source, "a", clock.now()).await);
        assert!(matches!(ask(&source, "x", clock.now()).await, KeyLookup::Unknown));
        assert!(source.health(clock.now()).is_ready());
        client.set(|_| Err(HttpError::Timeout));
        for seconds in [1, 100_000, 1 << 40] {
            clock.advance(seconds);
            drop(ask(&source, "x", clock.now()).await);
            source.health(clock.now());
            tokio::task::yield_now().await;
        }
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("longest-{}.json", std::process::id()));
    std::fs::write(&file, set(&["a"])).unwrap();
    let clock = TestClock::new();
    let source = build(FileKeys::new(&file).with_check_interval(max), &clock);
    found(ask(&source, "a", clock.now().saturating_add(second)).await);
    drop(ask(&source, "x", clock.now()).await);
    drop(ask(&source, "x", UnixSeconds::MAX).await);
}

#[test]
fn a_source_is_built_outside_of_any_runtime_with_the_provider_away() {
    let context = SourceContext::new(Backend::aws_lc());
    let source = RemoteKeys::new("https://id.invalid/keys").into_key_source(&context).unwrap();
    assert!(matches!(source.find(kid("a"), SystemClock.now()), KeyLookup::FetchNeeded));
    assert_eq!(source.health(SystemClock.now()), KeyHealth::Unavailable);
}

fn key(name: Option<&str>) -> VerifyingKey {
    let key = SigningKey::generate(Backend::aws_lc(), Algorithm::Ed25519).unwrap();
    match name {
        Some(name) => key.with_kid(name).verifying_key(),
        None => {
            let mut jwk = key.public_jwk().unwrap();
            jwk.as_object_mut().unwrap().remove("kid");
            let jwk = sekisho_core::json::JsonObject::from_serialize(&jwk).unwrap();
            VerifyingKey::from_jwk(Backend::aws_lc(), &jwk).unwrap()
        }
    }
}

#[test]
fn static_keys_are_found_by_kid_and_nameless_ones_by_any() {
    let now = UnixSeconds::MAX.saturating_sub(Duration::from_secs(1));
    let keys = StaticKeys::new([key(Some("a")), key(None)]).into_key_source(&SourceContext::new(Backend::aws_lc()));
    let keys = keys.unwrap();
    assert_eq!(found(keys.find(kid("a"), now)).key().kid(), Some("a"));
    assert_eq!(found(keys.find(kid("b"), now)).key().kid(), None);
    assert_eq!(keys.health(now), KeyHealth::Fresh { keys: 2 });
    let named = StaticKeys::new([key(Some("a"))]).into_key_source(&SourceContext::new(Backend::aws_lc())).unwrap();
    assert!(matches!(named.find(kid("b"), now), KeyLookup::Unknown));
    let other = KeyQuery { kid: Some("a"), algorithm: Algorithm::Es256 };
    assert!(matches!(named.find(other, now), KeyLookup::Unknown));
}

#[test]
fn a_kid_that_too_many_keys_share_is_ambiguous() {
    let keys = StaticKeys::new((0..5).map(|_| key(Some("a"))));
    let keys = keys.into_key_source(&SourceContext::new(Backend::aws_lc())).unwrap();
    assert!(matches!(keys.find(kid("a"), SystemClock.now()), KeyLookup::Ambiguous));
}

#[test]
fn no_keys_are_not_ready() {
    let keys = StaticKeys::new([]).into_key_source(&SourceContext::new(Backend::aws_lc())).unwrap();
    assert!(!keys.health(SystemClock.now()).is_ready());
    assert!(matches!(keys.find(kid("a"), SystemClock.now()), KeyLookup::Unknown));
}
