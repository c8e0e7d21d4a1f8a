//! However many tokens with unknown keys come, requests and memory stay flat.

use std::sync::{Arc, Mutex};

use sekisho_core::Clock;
use sekisho_http::{HttpError, HttpResponse};
use sekisho_jwks::{IntoKeySource, KeyLookup, RemoteKeys};

use crate::support::{FakeClient, TestClock, ask, context, found, kid, ok, set, unavailable};

/// Ten seconds of ten thousand each.
const SECONDS: u64 = 10;
const PER_SECOND: u64 = 10_000;

#[tokio::test]
async fn ten_thousand_unknown_kids_a_second_cause_one_request_in_thirty_seconds() {
    let clock = TestClock::new();
    let keys = set(&["a"]);
    let client = FakeClient::new(move |_| ok(keys.clone()));
    let source = RemoteKeys::new("https://id.example/keys").with_http_client(client.clone());
    let source = source.into_key_source(&context(&clock)).unwrap();
    found(ask(&source, "a", clock.now()).await);
    for second in 0..SECONDS {
        for n in 0..PER_SECOND {
            let answer = ask(&source, &format!("x{second}-{n}"), clock.now()).await;
            assert!(matches!(answer, KeyLookup::Unknown));
        }
        found(source.find(kid("a"), clock.now()));
        clock.advance(1);
    }
    // The first load, and one for all the unknown.
    assert_eq!(client.count(), 2);
    clock.advance(30);
    ask(&source, "y", clock.now()).await;
    assert_eq!(client.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_callers_at_once_cause_no_more() {
    let clock = TestClock::new();
    let keys = set(&["a"]);
    let client = FakeClient::new(move |_| ok(keys.clone()));
    let source = RemoteKeys::new("https://id.example/keys").with_http_client(client.clone());
    let source = source.into_key_source(&context(&clock)).unwrap();
    let callers: Vec<_> = (0..100)
        .map(|caller| {
            let (source, now) = (Arc::clone(&source), clock.now());
            tokio::spawn(async move {
                for n in 0..1000 {
                    let answer = ask(&source, &format!("x{caller}-{n}"), now).await;
                    assert!(matches!(answer, KeyLookup::Unknown));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(client.count(), 2);
}

#[tokio::test]
async fn a_provider_that_is_away_gets_no_more_requests_than_its_pauses_allow() {
    let clock = TestClock::new();
    let client = FakeClient::new(|_| Err(HttpError::Timeout));
    let source = RemoteKeys::new("https://id.example/keys").with_http_client(client.clone());
    let source = source.into_key_source(&context(&clock)).unwrap();
    for second in 0..60 {
        for n in 0..1000 {
            unavailable(ask(&source, &format!("x{second}-{n}"), clock.now()).await);
        }
        clock.advance(1);
    }
    // At 0, 1, 3, 7, 12 and so on every 5 s.
    assert!(client.count() <= 14, "{}", client.count());
    assert!(client.count() >= 10, "{}", client.count());
}

#[tokio::test]
async fn a_provider_that_swings_between_good_and_bad_gets_few_requests() {
    let clock = TestClock::new();
    let keys = set(&["a"]);
    let turn = Mutex::new(false);
    let client = FakeClient::new(move |_| {
        let mut turn = turn.lock().unwrap();
        *turn = !*turn;
        if *turn { ok(keys.clone()) } else { Ok(HttpResponse { status: 503, headers: Vec::new(), body: Vec::new() }) }
    });
    let source = RemoteKeys::new("https://id.example/keys").with_http_client(client.clone());
    let source = source.into_key_source(&context(&clock)).unwrap();
    for second in 0..60 {
        for n in 0..100 {
            ask(&source, &format!("x{second}-{n}"), clock.now()).await;
        }
        clock.advance(1);
    }
    assert!(client.count() <= 6, "{}", client.count());
}
