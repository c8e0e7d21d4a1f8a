use std::sync::Arc;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{FailureKind, Refusal, Reject};
use sekisho_jwt::Jwt;
use serde_json::json;

use crate::support::{NOW, ONE, PREFIX, Provider, ask, at, entry, with_status};

#[tokio::test]
async fn only_the_status_valid_passes() {
    let provider = Provider::new();
    // 0 to 3 with two bits each.
    provider.publish(ONE, provider.list_of(ONE, 2, &[0b11_10_01_00]).sign());
    let check = provider.check().with_list(ONE).build().unwrap();
    check.refresh(NOW).await.unwrap();
    for (index, is_revoked) in [(0, false), (1, true), (2, true), (3, true), (4, true), (u64::MAX, true)] {
        assert_eq!(ask(&check, &entry(ONE, index), NOW).ok(), Some(is_revoked), "{index}");
    }
}

#[tokio::test]
async fn a_status_that_is_not_understood_is_refused() {
    let provider = Provider::new();
    provider.publish(ONE, provider.list(ONE, &[0]).sign());
    let check = provider.check().with_list(ONE).build().unwrap();
    check.refresh(NOW).await.unwrap();
    for status in [
        json!(null),
        json!("valid"),
        json!({}),
        json!([]),
        json!({"identifier_list": {"id": "a", "uri": ONE}}),
        json!({"status_list": null}),
        json!({"status_list": [{"idx": 0, "uri": ONE}]}),
        json!({"status_list": {"idx": 0}}),
        json!({"status_list": {"uri": ONE}}),
        json!({"status_list": {"idx": "0", "uri": ONE}}),
        json!({"status_list": {"idx": -1, "uri": ONE}}),
        json!({"status_list": {"idx": 0.0, "uri": ONE}}),
        json!({"status_list": {"idx": null, "uri": ONE}}),
        json!({"status_list": {"idx": 0, "uri": 1}}),
    ] {
        assert_eq!(ask(&check, &with_status(status.clone()), NOW).ok(), Some(true), "{status}");
    }
    assert_eq!(ask(&check, &entry(ONE, 0), NOW).ok(), Some(false));
}

#[tokio::test]
async fn principals_without_a_status_pass_unless_it_is_required_and_others_do_not_concern_it() {
    let provider = Provider::new();
    let nothing = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
    let other = PrincipalBuilder::new("https://other.example", "alice")
        .with_claim("status", json!({"status_list": {"idx": 0, "uri": ONE}}))
        .build()
        .unwrap();
    let (lenient, strict) = (
        provider.check().with_list(ONE).build().unwrap(),
        provider.check().with_list(ONE).requiring_status().build().unwrap(),
    );
    assert_eq!(ask(&lenient, &nothing, NOW).ok(), Some(false));
    assert_eq!(ask(&strict, &nothing, NOW).ok(), Some(true));
    for check in [lenient, strict] {
        assert_eq!(ask(&check, &other, NOW).ok(), Some(false));
    }
}

#[tokio::test]
async fn a_list_that_is_not_configured_is_never_fetched() {
    let provider = Provider::new();
    let check = provider.check().with_list(ONE).with_prefix("https://id.example/status/tenant/").build().unwrap();
    let long = format!("https://id.example/status/tenant/{}", "a".repeat(500));
    for uri in [
        "https://evil.example/status/1",
        "http://id.example/status/1",
        "https://id.example/status/1/",
        "https://id.example/status/1?x",
        "https://id.example/status/2",
        "HTTPS://id.example/status/1",
        "https://id.example/status/tenant",
        "https://id.example/status/tenant/",
        "https://id.example/status/tenant/../1",
        "https://id.example/status/tenant/./1",
        "https://id.example/status/tenant//1",
        "https://id.example/status/tenant/1/",
        "https://id.example/status/tenant/%2e%2e/1",
        "https://id.example/status/tenant/1?url=http://evil.example",
        "https://id.example/status/tenant/1#a",
        "https://id.example/status/tenant/\\1",
        "https://id.example/status/tenant/1\r\nhost: evil",
        "https://id.example/status/tenant/\u{e9}",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "",
        &long,
    ] {
        let failure = ask(&check, &entry(uri, 0), NOW).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Misconfigured, "{uri}");
    }
    let _not_loaded = check.refresh(NOW).await;
    assert_eq!(provider.requests(), [ONE]);
}

#[tokio::test]
async fn a_list_below_a_prefix_is_loaded_when_a_token_names_it() {
    let provider = Provider::new();
    let uri = "https://id.example/status/a/b-1_2.~";
    provider.publish(uri, provider.list(uri, &[0b10]).sign());
    let check = provider.check().with_prefix(PREFIX).build().unwrap();
    check.refresh(NOW).await.unwrap();
    assert!(provider.requests().is_empty());
    for _ in 0..3 {
        let failure = ask(&check, &entry(uri, 0), NOW).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        assert!(failure.retry_after().is_some());
    }
    check.refresh(NOW).await.unwrap();
    assert_eq!(provider.requests(), [uri]);
    assert_eq!(ask(&check, &entry(uri, 0), NOW).ok(), Some(false));
    assert_eq!(ask(&check, &entry(uri, 1), NOW).ok(), Some(true));
}

#[tokio::test]
async fn no_more_lists_are_kept_than_allowed_and_idle_ones_make_room() {
    let provider = Provider::new();
    let uris: Vec<_> = (0..4).map(|number| format!("{PREFIX}{number}")).collect();
    for uri in &uris {
        provider.publish(uri, provider.list(uri, &[0]).sign());
    }
    let check = provider.check().with_list(&uris[0]).with_prefix(PREFIX).with_max_lists(3).build().unwrap();
    for uri in &uris[..3] {
        assert!(ask(&check, &entry(uri, 0), NOW).is_err());
    }
    check.refresh(NOW).await.unwrap();
    assert!(ask(&check, &entry(&uris[3], 0), NOW).is_err());
    check.refresh(NOW).await.unwrap();
    assert_eq!((check.health(NOW).lists, provider.requests().len()), (3, 3));
    assert!(ask(&check, &entry(&uris[3], 0), at(599)).is_err());
    assert_eq!(ask(&check, &entry(&uris[1], 0), at(500)).ok(), Some(false));
    // After ten minutes the one that was not asked for goes; the configured one stays.
    assert!(ask(&check, &entry(&uris[3], 0), at(600)).is_err());
    let _some_are_late = check.refresh(at(600)).await;
    assert_eq!(ask(&check, &entry(&uris[3], 0), at(600)).ok(), Some(false));
    assert_eq!(ask(&check, &entry(&uris[0], 0), at(600)).ok(), Some(false));
    assert_eq!(ask(&check, &entry(&uris[1], 0), at(600)).ok(), Some(false));
    // An hour later nobody fetches what nobody asks for, save what is configured.
    let before = provider.requests().len();
    check.refresh(at(7_200)).await.unwrap();
    assert_eq!(provider.requests()[before..], [uris[0].clone()]);
}

#[tokio::test]
async fn a_cached_token_is_refused_once_its_list_says_so() {
    let provider = Provider::new();
    provider.publish(ONE, provider.list(ONE, &[0]).claim("ttl", 100).sign());
    let check = provider.check().with_list(ONE).build().unwrap();
    let jwt = Jwt::issuer(provider.issuer.url()).audience("orders").with_keys(provider.issuer.static_keys());
    let verifier = jwt.with_revocation(Arc::new(check.clone())).build().unwrap();
    let status = json!({"status_list": {"idx": 3, "uri": ONE}});
    let token = provider.issuer.token().audience("orders").claim("status", status).sign();
    assert!(matches!(verifier.verify_now(&token, NOW), Some(Err(Refusal::Failure(_)))), "not loaded yet");
    check.refresh(NOW).await.unwrap();
    assert!(verifier.verify_now(&token, NOW).unwrap().is_ok());
    assert_eq!(verifier.cached_tokens(), 1);
    provider.publish(ONE, provider.list(ONE, &[0b1000]).claim("iat", at(10).as_secs()).sign());
    check.refresh(at(80)).await.unwrap();
    assert!(matches!(verifier.verify_now(&token, at(80)), Some(Err(Refusal::Reject(Reject::Revoked)))));
}

#[test]
fn refuses_settings_that_cannot_work() {
    let provider = Provider::new();
    let second = std::time::Duration::from_secs(1);
    for bad in [
        provider.check(),
        provider.check().with_list("http://id.example/status/1"),
        provider.check().with_list("https://user@id.example/status/1"),
        provider.check().with_list(""),
        provider.check().with_prefix("https://id.example/status"),
        provider.check().with_prefix("https://id.example/status?a=/"),
        provider.check().with_prefix("http://id.example/status/"),
        provider.check().with_list(ONE).with_max_lists(0),
        provider.check().with_prefix(PREFIX).with_max_lists(0),
        provider.check().with_list(ONE).with_max_list_bytes(0),
        provider.check().with_list(ONE).with_timeout(second - second),
        provider.check().with_list(ONE).with_max_lifetime(9 * second),
    ] {
        assert!(bad.build().is_err());
    }
    let shown = format!("{:?} {:?}", provider.check(), provider.check().with_list(ONE).build().unwrap());
    assert!(shown.contains("id.example") && !shown.contains("status/1"), "{shown}");
}
