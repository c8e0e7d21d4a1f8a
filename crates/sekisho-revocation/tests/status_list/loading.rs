use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, FailureKind};
use sekisho_testkit::{FixedClock, Issuer};
use serde_json::json;
use tokio::time::timeout;

use crate::support::{NOW, ONE, Provider, ask, at, entry};

#[tokio::test]
async fn nothing_is_believed_that_the_issuer_did_not_sign_as_the_list_of_this_address() {
    let provider = Provider::new();
    let good = || provider.list(ONE, &[0]);
    let stranger = Issuer::new().signing_key().with_kid(provider.issuer.signing_key().kid());
    let signed = good().sign();
    let (body, signature) = signed.rsplit_once('.').unwrap();
    for (what, list) in [
        ("an access token", good().typ("at+jwt").sign()),
        ("no type", good().without_header("typ").sign()),
        ("another key under the same name", good().signed_by(&stranger).sign()),
        ("no signature", format!("{body}.")),
        ("unsecured", good().header("alg", "none").sign()),
        ("a critical extension", good().header("crit", json!(["exp"])).sign()),
        ("another list", provider.list("https://id.example/status/2", &[0]).sign()),
        ("another issuer", good().claim("iss", "https://other.example").sign()),
        ("no date", good().without_claim("iat").sign()),
        ("from the future", good().claim("iat", at(61).as_secs()).sign()),
        ("expired", good().expires_at(NOW).sign()),
        ("no list", good().without_claim("status_list").sign()),
        ("three bits", good().claim("status_list", json!({"bits": 3, "lst": "eNpjAAAAAQAB"})).sign()),
        ("not compressed", good().claim("status_list", json!({"bits": 1, "lst": "AAAA"})).sign()),
        ("a line end", format!("{signed}\n")),
        ("two", format!("{signed}{signed}")),
        ("a web page", "<!doctype html><title>Sign in</title>".to_owned()),
        ("nothing", String::new()),
        ("a changed signature", format!("{body}.{}", signature.chars().rev().collect::<String>())),
    ] {
        provider.publish(ONE, list);
        let check = provider.check().with_list(ONE).build().unwrap();
        let failure = check.refresh(NOW).await.expect_err(what);
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{what}");
        let answer = ask(&check, &entry(ONE, 0), NOW).expect_err(what);
        assert_eq!(answer.kind(), FailureKind::Unavailable, "{what}");
    }
    provider.publish(ONE, signed.as_bytes());
    let check = provider.check().with_list(ONE).build().unwrap();
    check.refresh(NOW).await.unwrap();
    assert_eq!(ask(&check, &entry(ONE, 0), NOW).ok(), Some(false));
}

#[tokio::test]
async fn refuses_every_status_but_200_and_follows_no_redirect() {
    let provider = Provider::new();
    let list = provider.list(ONE, &[0]).sign();
    for status in [201, 204, 206, 301, 302, 304, 401, 404, 500, 503] {
        provider.answer(ONE, status, list.as_bytes());
        let check = provider.check().with_list(ONE).build().unwrap();
        assert!(check.refresh(NOW).await.is_err(), "{status}");
    }
    assert_eq!(provider.requests().len(), 10);
}

#[tokio::test]
async fn refuses_lists_that_are_too_long_packed_or_unpacked() {
    let provider = Provider::new();
    provider.publish(ONE, provider.list(ONE, &vec![0; 100_001]).sign());
    let check = provider.check().with_list(ONE).with_max_list_bytes(100_000).build().unwrap();
    assert!(check.refresh(NOW).await.is_err());
    provider.publish(ONE, vec![b'a'; 300_000]);
    assert!(check.refresh(at(2)).await.is_err());
    provider.publish(ONE, provider.list(ONE, &vec![0; 100_000]).sign());
    check.refresh(at(20)).await.unwrap();
    assert!(check.health(at(20)).heap_bytes >= 100_000);
}

#[tokio::test]
async fn a_list_of_two_megabytes_that_does_not_compress_fits_the_default_bounds() {
    let provider = Provider::new();
    let mut noise = 1_u64;
    let bytes: Vec<u8> = (0..2_000_000)
        .map(|_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 56) as u8
        })
        .collect();
    provider.publish(ONE, provider.list_of(ONE, 8, &bytes).sign());
    let check = provider.check().with_list(ONE).build().unwrap();
    check.refresh(NOW).await.unwrap();
    for index in [0, 1, 999_999, 1_999_999] {
        let expected = bytes[usize::try_from(index).unwrap()] != 0;
        assert_eq!(ask(&check, &entry(ONE, index), NOW).ok(), Some(expected));
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_fetched_anew_is_used_to_its_end_and_no_longer() {
    let provider = Provider::new();
    provider.publish(ONE, provider.list(ONE, &[0]).sign());
    let check = provider.check().with_list(ONE).build().unwrap();
    check.refresh(NOW).await.unwrap();
    check.refresh(at(300)).await.unwrap();
    assert_eq!(provider.requests().len(), 1, "not due yet");
    provider.set_away(true);
    for offset in [460, 462, 470, 590] {
        assert!(check.refresh(at(offset)).await.is_ok(), "the list at hand is good at {offset}");
    }
    assert_eq!(provider.requests().len(), 5);
    assert_eq!(ask(&check, &entry(ONE, 0), at(599)).ok(), Some(false));
    assert!(ask(&check, &entry(ONE, 0), at(600)).is_err());
    let failure = check.refresh(at(600)).await.unwrap_err();
    assert!(std::error::Error::source(&failure).is_some(), "with the reason");
    provider.set_away(false);
    provider.publish(ONE, provider.list(ONE, &[1]).claim("iat", at(600).as_secs()).sign());
    check.refresh(at(620)).await.unwrap();
    assert_eq!(ask(&check, &entry(ONE, 0), at(620)).ok(), Some(true));
}

#[tokio::test]
async fn after_a_clock_was_set_back_a_list_is_fetched_at_once() {
    let provider = Provider::new();
    provider.publish(ONE, provider.list(ONE, &[0]).sign());
    let check = provider.check().with_list(ONE).build().unwrap();
    check.refresh(at(86_000)).await.unwrap();
    assert!(ask(&check, &entry(ONE, 0), NOW).is_err(), "of unknown age");
    check.refresh(NOW).await.unwrap();
    assert_eq!(provider.requests().len(), 2);
    assert_eq!(ask(&check, &entry(ONE, 0), NOW).ok(), Some(false));
    // A pause after a failure that lies in the future by no more than pauses do is kept.
    provider.set_away(true);
    assert!(check.refresh(at(700)).await.is_err());
    assert!(check.refresh(at(700)).await.is_err());
    assert_eq!(provider.requests().len(), 3);
}

#[tokio::test]
async fn an_old_list_without_end_is_not_renewed_for_ever() {
    let provider = Provider::new();
    provider.publish(ONE, provider.list(ONE, &[0]).without_claim("exp").sign());
    let day = Duration::from_secs(86_400);
    let (default, longer) = (provider.check().with_list(ONE), provider.check().with_list(ONE).with_max_age(2 * day));
    let (default, longer) = (default.build().unwrap(), longer.build().unwrap());
    default.refresh(at(86_399)).await.unwrap();
    assert!(default.refresh(at(86_400)).await.is_err());
    assert!(ask(&default, &entry(ONE, 0), at(86_400)).is_err());
    longer.refresh(at(86_400)).await.unwrap();
    assert!(provider.check().with_list(ONE).with_max_age(Duration::ZERO).build().is_err());
}

#[tokio::test]
async fn an_older_list_does_not_replace_a_newer_one() {
    let provider = Provider::new();
    let old = provider.list(ONE, &[0]).claim("iat", NOW.as_secs() - 10).sign();
    provider.publish(ONE, provider.list(ONE, &[1]).sign());
    let check = provider.check().with_list(ONE).build().unwrap();
    check.refresh(NOW).await.unwrap();
    provider.publish(ONE, old);
    check.refresh(at(460)).await.unwrap();
    assert_eq!(provider.requests().len(), 2);
    assert_eq!(ask(&check, &entry(ONE, 0), at(460)).ok(), Some(true));
    assert!(ask(&check, &entry(ONE, 0), at(600)).is_err());
}

#[tokio::test(start_paused = true)]
async fn followed_lists_are_loaded_when_named_and_kept_fresh() {
    let (provider, clock) = (Provider::new(), FixedClock::at(NOW));
    let two = "https://id.example/status/2";
    for uri in [ONE, two] {
        provider.publish(uri, provider.list(uri, &[0]).sign());
    }
    let check = provider.check().with_list(ONE).with_prefix("https://id.example/status/").build().unwrap();
    let mut following = check.follow(Arc::new(clock.clone())).unwrap();
    following.synchronized().await;
    assert_eq!(ask(&check, &entry(ONE, 0), NOW).ok(), Some(false));
    assert!(ask(&check, &entry(two, 0), NOW).is_err());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(ask(&check, &entry(two, 0), NOW).ok(), Some(false), "at once, not at the next turn");
    for minute in 1..=50 {
        clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(ask(&check, &entry(ONE, 0), clock.now()).ok(), Some(false), "minute {minute}");
    }
    let asked = provider.requests().len();
    assert!((8..=16).contains(&asked), "{asked} requests for two lists in fifty minutes");
    drop(following);
    clock.advance(Duration::from_secs(601));
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(provider.requests().len(), asked, "dropped, it asks no more");
    assert!(ask(&check, &entry(ONE, 0), clock.now()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_holds_nobody_up() {
    let provider = Provider::new();
    provider.publish(ONE, provider.list(ONE, &[0]).sign());
    provider.set_hanging(true);
    let check = provider.check().with_list(ONE).build().unwrap();
    // Whoever gives up gives the right to load back.
    assert!(timeout(Duration::from_secs(1), check.refresh(NOW)).await.is_err());
    assert!(ask(&check, &entry(ONE, 0), NOW).is_err());
    provider.set_hanging(false);
    check.refresh(NOW).await.unwrap();
    assert_eq!(ask(&check, &entry(ONE, 0), NOW).ok(), Some(false));
}

#[test]
fn following_needs_a_runtime() {
    let provider = Provider::new();
    let check = provider.check().with_list(ONE).build().unwrap();
    assert!(check.follow(Arc::new(FixedClock::at(NOW))).is_err());
}
