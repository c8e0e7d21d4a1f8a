//! What happens to keys as the provider changes them.

use std::time::Duration;

use sekisho_core::{Clock, UnixSeconds};
use sekisho_jwks::{Algorithm, Candidates, KeyHealth, KeyLookup, KeyQuery, RemoteKeys, TrustedKey};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::support::{START, TestClock, ask, build, eventually, found, jwk, kid, set, unavailable};

#[tokio::test]
async fn a_key_of_the_provider_is_found_and_another_is_not() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::json(set(&["a"])));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    found(ask(&source, "a", clock.now()).await);
    assert!(matches!(ask(&source, "b", clock.now()).await, KeyLookup::Unknown));
    assert_eq!(source.health(clock.now()), KeyHealth::Fresh { keys: 1 });
}

#[tokio::test]
async fn a_hundred_callers_cause_one_request() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::After(Duration::from_millis(200), set(&["a"]).into_bytes()));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (source, now) = (source.clone(), clock.now());
            tokio::spawn(async move { ask(&source, "a", now).await })
        })
        .collect();
    for caller in callers {
        found(caller.await.unwrap());
    }
    assert_eq!(server.count("/keys"), 1);
}

#[tokio::test]
async fn a_known_key_is_answered_while_the_provider_hangs() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::json(set(&["a"])));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    found(ask(&source, "a", clock.now()).await);
    server.set("/keys", Reply::Hang);
    clock.advance(601);
    found(source.find(kid("a"), clock.now()));
    eventually(|| server.count("/keys") == 2).await;
    for _ in 0..1000 {
        found(source.find(kid("a"), clock.now()));
    }
    assert_eq!(server.count("/keys"), 2);
    assert_eq!(source.health(clock.now()), KeyHealth::Stale { keys: 1, until: UnixSeconds::new(START + 600 + 3600) });
}

#[tokio::test]
async fn a_rotated_key_is_accepted_after_one_request_and_the_removed_one_dies() {
    let (server, clock) = (Server::start().await, TestClock::new());
    let (a, b, c) = (jwk("a"), jwk("b"), jwk("c"));
    server.set("/keys", Reply::json(json!({ "keys": [a, b] }).to_string()));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    let kept = found(ask(&source, "a", clock.now()).await);
    let removed = found(ask(&source, "b", clock.now()).await);
    server.set("/keys", Reply::json(json!({ "keys": [c, a] }).to_string()));
    clock.advance(1);
    found(ask(&source, "c", clock.now()).await);
    assert_eq!(server.count("/keys"), 2);
    assert!(!removed.life().is_live(clock.now()));
    assert!(matches!(ask(&source, "b", clock.now()).await, KeyLookup::Unknown));
    assert!(kept.life().is_live(UnixSeconds::new(START + 1 + 600 + 3600 - 1)));
    assert!(std::sync::Arc::ptr_eq(kept.life(), found(source.find(kid("a"), clock.now())).life()));
    assert_eq!(server.count("/keys"), 2);
}

fn is_same(one: &TrustedKey, other: &TrustedKey) -> bool {
    std::sync::Arc::ptr_eq(one.life(), other.life())
}

#[tokio::test]
async fn a_kid_that_is_another_keys_by_now_is_fetched_anew_once_however_many_signatures_do_not_hold() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::json(set(&["a"])));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    let before = found(ask(&source, "a", clock.now()).await);
    server.set("/keys", Reply::json(set(&["a"])));
    for _ in 0..100 {
        let now = found(source.fetch_anew(kid("a"), clock.now()).await);
        assert!(!is_same(&now, &before));
        assert_eq!(server.count("/keys"), 2);
    }
    assert!(!before.life().is_live(clock.now()));
    // Within the interval of unknown names nothing is fetched, and what is at hand is the answer.
    let known = found(source.find(kid("a"), clock.now()));
    server.set("/keys", Reply::json(set(&["a"])));
    clock.advance(1);
    assert!(is_same(&found(source.fetch_anew(kid("a"), clock.now()).await), &known));
    assert!(matches!(source.fetch_anew(kid("b"), clock.now()).await, KeyLookup::Unknown));
    clock.advance(30);
    assert!(!is_same(&found(source.fetch_anew(kid("a"), clock.now()).await), &known));
    assert_eq!(server.count("/keys"), 3);
}

#[tokio::test]
async fn a_fetch_for_a_bad_signature_that_fails_leaves_the_keys_at_hand_and_is_not_repeated_at_once() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::json(set(&["a"])));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    found(ask(&source, "a", clock.now()).await);
    server.set("/keys", Reply::status(500));
    for _ in 0..10 {
        // The key at hand is still the provider's word.
        found(source.fetch_anew(kid("a"), clock.now()).await);
    }
    assert_eq!(server.count("/keys"), 2);
}

#[tokio::test]
async fn an_unchanged_set_is_asked_for_by_its_validator_and_prolonged() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::Tagged("\"v1\"", set(&["a"]).into_bytes()));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    let life = std::sync::Arc::clone(found(ask(&source, "a", clock.now()).await).life());
    for round in 1..4 {
        clock.advance(600);
        found(source.find(kid("a"), clock.now()));
        eventually(|| matches!(source.health(clock.now()), KeyHealth::Fresh { keys: 1 })).await;
        assert_eq!(server.count("/keys"), 1 + round);
        assert!(server.requests()[round].contains("if-none-match: \"v1\"\r\n"));
        assert!(life.is_live(UnixSeconds::new(START + 600 * (round as u64 + 1) + 3600 - 1)));
    }
    server.set("/keys", Reply::Tagged("\"v2\"", set(&["b"]).into_bytes()));
    clock.advance(600);
    found(ask(&source, "b", clock.now()).await);
    assert!(!life.is_live(clock.now()));
}

#[tokio::test]
async fn a_304_that_was_not_asked_for_brings_nothing() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::status(304));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    unavailable(ask(&source, "a", clock.now()).await);
    assert!(!source.health(clock.now()).is_ready());
}

#[tokio::test]
async fn the_provider_says_how_long_its_answer_is_fresh() {
    for (said, fresh) in [("max-age=120", 120), ("max-age=1", 60), ("no-cache", 60), ("max-age=9999999", 86_400)] {
        let (server, clock) = (Server::start().await, TestClock::new());
        let headers = vec![("cache-control", said.to_owned())];
        server.set("/keys", Reply::Whole(200, headers, set(&["a"]).into_bytes()));
        let keys = RemoteKeys::new(server.url("/keys")).with_refresh_ahead(Duration::ZERO);
        let source = build(keys, &clock);
        found(ask(&source, "a", clock.now()).await);
        server.set("/keys", Reply::status(503));
        clock.advance(fresh - fresh / 20 - 1);
        assert_eq!(source.health(clock.now()), KeyHealth::Fresh { keys: 1 }, "{said}");
        clock.advance(fresh / 20 + 1);
        let stale = KeyHealth::Stale { keys: 1, until: UnixSeconds::new(START + fresh + 3600) };
        assert_eq!(source.health(clock.now()), stale, "{said}");
    }
}

#[tokio::test]
async fn nothing_of_a_token_is_sent_to_the_provider() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::json(set(&["a"])));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    for hostile in ["http://evil.example/keys", "../../secret-kid", "a\r\nhost: evil", "?kid=secret-kid"] {
        ask(&source, hostile, clock.now()).await;
        clock.advance(31);
    }
    let requests = server.requests();
    assert!(requests.len() >= 4);
    for head in requests {
        assert!(head.starts_with("GET /keys HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains("evil") && !head.contains("secret-kid"), "{head}");
    }
}

#[tokio::test]
async fn without_a_kid_every_fitting_key_is_a_candidate_up_to_four() {
    let (server, clock) = (Server::start().await, TestClock::new());
    let nameless = KeyQuery { kid: None, algorithm: Algorithm::Ed25519 };
    server.set("/keys", Reply::json(set(&["a", "b", "c", "d"])));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    found(ask(&source, "a", clock.now()).await);
    assert!(matches!(source.find(nameless, clock.now()), KeyLookup::Found(Candidates::Few(keys)) if keys.len() == 4));
    server.set("/keys", Reply::json(set(&["a", "b", "c", "d", "e"])));
    clock.advance(1);
    found(ask(&source, "e", clock.now()).await);
    assert!(matches!(source.find(nameless, clock.now()), KeyLookup::Ambiguous));
}

#[tokio::test]
async fn a_token_with_a_kid_is_never_tried_with_a_published_key_that_has_none() {
    let (server, clock) = (Server::start().await, TestClock::new());
    let mut nameless = jwk("a");
    nameless.as_object_mut().unwrap().remove("kid");
    server.set("/keys", Reply::json(json!({ "keys": [nameless] }).to_string()));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    assert!(matches!(ask(&source, "a", clock.now()).await, KeyLookup::Unknown));
    found(source.find(KeyQuery { kid: None, algorithm: Algorithm::Ed25519 }, clock.now()));
}
