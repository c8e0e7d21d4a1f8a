//! What probing the peers showed: one test for each row of the second list, named by it.
//!
//! Rows whose tests are elsewhere:
//!
//! | row | tests |
//! |---|---|
//! | tower-sessions 0.15: a logged-out session comes back; updates are lost | `peer_sessions.rs`: `tower_sessions_015_…`; `sekisho-axum`: `tests/sessions/parallel.rs` |
//! | axum-login 0.18: the id stays at a change of user; backend errors swallowed | `peer_sessions.rs`: `axum_login_…` |
//! | axum-oidc 0.6: state compared with `!=` | none can show a time; `state` finds the login's sealed cookie by its name and is then compared in constant time (`provider/id_token.rs`: `same`). That a wrong one is refused: `oidc.rs`, `a136_state_csrf` |
//! | axum-oidc 0.6: refresh without single flight | `sekisho-oidc`: `two_hundred_requests_at_once_are_one_refresh`, `three_processes_with_a_hundred_requests_are_one_refresh_too` |
//! | axum-oidc 0.6: id not cycled | `sekisho-oidc`: `logs_in_under_a_new_id_keeps_the_deep_link_and_takes_the_login_s_cookie_away` |
//! | aliri_axum: the documented example cannot work | none: each example of ours in README and rustdoc is a doctest, and `cargo xtask test` runs those in `examples` |

use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_core::Refusal;
use sekisho_http::{Checkpoint, HeadParts, Inspection, Presence};
use sekisho_jwks::{KeyError, RemoteKeys, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend, Claim, Jwt, Reject};
use sekisho_testkit::{Endpoint, Fault, FixedClock, Issuer};
use sekisho_tests::{AUDIENCE, House, ISSUER, NOW, changed, claims, refused, text, wait};
use serde_json::{Value, json};

use crate::key::Remote;

fn refuses(changes: Value) -> Reject {
    refused(&House::es256().verifier(), &House::es256().saying(changes))
}

#[test]
fn jsonwebtoken_aud_and_iss_absent() {
    assert_eq!(refuses(json!({ "aud": "REMOVE" })), Reject::Missing(Claim::Audience));
    assert_eq!(refuses(json!({ "iss": "REMOVE" })), Reject::Missing(Claim::Issuer));
    assert_eq!(refuses(json!({ "aud": "REMOVE", "iss": "REMOVE" })), Reject::Missing(Claim::Issuer));
}

#[test]
fn jsonwebtoken_aud_42_object_numbers_null() {
    for aud in [json!(42), json!({}), json!([1, 2]), json!(null)] {
        assert_eq!(refuses(json!({ "aud": aud })), Reject::Invalid(Claim::Audience), "{aud}");
    }
}

#[test]
fn jsonwebtoken_iss_42_object_array() {
    for iss in [json!(42), json!({}), json!(["https://evil", ISSUER])] {
        assert_eq!(refuses(json!({ "iss": iss })), Reject::Invalid(Claim::Issuer), "{iss}");
    }
}

#[test]
fn jsonwebtoken_sub_42() {
    assert_eq!(refuses(json!({ "sub": 42 })), Reject::Invalid(Claim::Subject));
}

#[test]
fn jsonwebtoken_nbf_ahead_iat_ahead_logout_type() {
    assert_eq!(refuses(json!({ "nbf": NOW.as_secs() + 600 })), Reject::NotYetValid { by_secs: 540 });
    assert_eq!(refuses(json!({ "iat": NOW.as_secs() + 86_400 })), Reject::IssuedInFuture { by_secs: 86_340 });
    let logout = House::es256().under(json!({ "typ": "logout+jwt" }));
    assert_eq!(refused(&House::es256().verifier(), &logout), Reject::Type);
}

#[test]
fn jsonwebtoken_empty_hmac_secret() {
    let error = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, b"").err();
    assert_eq!(error, Some(KeyError::SecretTooShort { bytes: 0, at_least: 32 }));
}

#[test]
fn jsonwebtoken_leeway_of_all_time() {
    let house = House::es256();
    for leeway in [u64::MAX, u64::MAX - 1, 301, 1 << 40] {
        assert!(house.builder().with_leeway(Duration::from_secs(leeway)).build().is_err(), "{leeway}");
    }
    // The largest that can be set does not overflow at either end of time.
    let verifier = house.builder().with_leeway(Duration::from_secs(300)).build().unwrap();
    for now in [0, 1, 300, u64::MAX] {
        let _either = verifier.verify_now(&house.token(), sekisho_jwt::UnixSeconds::new(now));
    }
}

#[test]
fn jsonwebtoken_exp_never_or_null() {
    for exp in [json!("never"), json!(null)] {
        assert_eq!(refuses(json!({ "exp": exp })), Reject::Invalid(Claim::Expiry), "{exp}");
    }
}

#[test]
fn jsonwebtoken_11_crit_b64_and_zip() {
    let house = House::es256();
    for (changes, expected) in [
        (json!({ "crit": ["unknown-ext"] }), Reject::Critical),
        (json!({ "crit": [] }), Reject::Critical),
        (json!({ "b64": false, "crit": ["b64"] }), Reject::Critical),
        (json!({ "zip": "DEF" }), Reject::Malformed),
    ] {
        assert_eq!(refused(&house.verifier(), &house.under(changes.clone())), expected, "{changes}");
    }
}

#[test]
fn jsonwebtoken_11_duplicate_exp_and_alg() {
    let house = House::es256();
    let twice = format!("{{\"exp\":1,{}", &text(&claims())[1..]);
    assert_eq!(refused(&house.verifier(), &house.sign(text(&house.header()), twice)), Reject::DuplicateMember);
    let header = format!("{{\"alg\":\"HS384\",{}", &text(&house.header())[1..]);
    assert_eq!(refused(&house.verifier(), &house.sign(header, text(&claims()))), Reject::DuplicateMember);
}

#[test]
fn jwt_authorizer_no_audience_and_a_rotation_that_is_noticed_at_once() {
    wait(async {
        let remote = Remote::new().await;
        assert!(!remote.takes(&remote.provider.token().sign()).await, "without aud");
        assert!(remote.takes(&remote.good()).await);
        remote.provider.rotate();
        assert!(remote.takes(&remote.good()).await, "the first token of the new key");
        assert_eq!(remote.loads(), 2);
    });
}

#[test]
fn jwt_authorizer_nothing_of_the_token_in_a_url_and_no_lock_around_a_fetch() {
    wait(async {
        let remote = Remote::new().await;
        let good = remote.good();
        assert!(remote.takes(&good).await);
        let evil = remote.provider.token().audience(AUDIENCE).header("kid", "evil?&x=/../").sign();
        assert!(!remote.takes(&evil).await);
        assert!(remote.provider.requests().iter().all(|url| url == "/jwks"), "{:?}", remote.provider.requests());
        // While a fetch hangs, known keys answer at once, and from memory.
        remote.provider.set_fault(Fault::Hang);
        remote.clock.advance(Duration::from_secs(60));
        let unknown = remote.provider.token().audience(AUDIENCE).header("kid", "unknown").sign();
        let (verifier, now) = (remote.verifier.clone(), remote.now());
        let hanging = tokio::spawn(async move { verifier.verify(&unknown, now).await.is_ok() });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begun = Instant::now();
        for _ in 0..50 {
            let fresh = remote.good();
            assert!(remote.verifier.verify_now(&fresh, remote.now()).is_some_and(|result| result.is_ok()));
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(!hanging.is_finished());
        hanging.abort();
    });
}

#[test]
fn axum_keycloak_auth_no_audience_foreign_issuer_and_rotation() {
    wait(async {
        let remote = Remote::new().await;
        assert!(remote.takes(&remote.good()).await);
        assert!(!remote.takes(&remote.provider.token().sign()).await, "without aud");
        let foreign = remote.provider.token().audience(AUDIENCE).claim("iss", "https://foreign.example").sign();
        assert!(!remote.takes(&foreign).await);
        // A rotation under the same `kid` is a bad signature to who only looks at names; ours are looked up by name, so
        // a new name is what a rotation brings, and it is fetched without a restart.
        for _ in 0..3 {
            remote.provider.rotate();
            remote.clock.advance(Duration::from_secs(31));
            assert!(remote.takes(&remote.good()).await);
        }
    });
}

#[test]
fn authkestra_many_waiters_are_one_fetch_and_a_failure_spares_the_keys_at_hand() {
    wait(async {
        let provider = Issuer::new().serve().await.unwrap();
        provider.set_fault(Fault::Slow(Duration::from_millis(200)));
        let keys = RemoteKeys::new(provider.key_set_url());
        let verifier = Jwt::issuer(provider.url()).audience(AUDIENCE).with_keys(keys).build().unwrap();
        let now = sekisho_core::Clock::now(&sekisho_core::SystemClock);
        let waiters: Vec<_> = (0..100)
            .map(|_| {
                let (verifier, token) = (verifier.clone(), provider.token().audience(AUDIENCE).sign());
                tokio::spawn(async move { verifier.verify(&token, now).await.is_ok() })
            })
            .collect();
        for waiter in waiters {
            assert!(waiter.await.unwrap(), "the keys came");
        }
        assert_eq!(provider.requests_to(Endpoint::KeySet), 1);

        let remote = Remote::new().await;
        assert!(remote.takes(&remote.good()).await);
        remote.provider.set_fault(Fault::Status(500));
        for number in 0..50 {
            let random = remote.provider.token().audience(AUDIENCE).header("kid", format!("random-{number}")).sign();
            assert!(!remote.takes(&random).await);
            assert!(remote.takes(&remote.good()).await, "tokens of known keys go on");
        }
        assert_eq!(remote.loads(), 2, "one fetch for fifty random names");
        // No `aud`, and no `kid` with the second of two keys.
        assert!(!remote.takes(&remote.provider.token().sign()).await);
    });
}

#[test]
fn tower_oauth2_resource_server_the_first_request_and_the_word_of_the_document() {
    wait(async {
        let clock = FixedClock::at(NOW);
        let provider = Issuer::new().with_clock(clock.clone()).serve().await.unwrap();
        provider.set_fault(Fault::Slow(Duration::from_millis(100)));
        let build =
            || Jwt::issuer(provider.url()).audience(AUDIENCE).with_clock(Arc::new(clock.clone())).build().unwrap();
        let token = provider.token().audience(AUDIENCE).sign();
        assert!(build().verify(&token, NOW).await.is_ok(), "the first request waits for the first fetch");
        // The document is not believed when it speaks of another issuer.
        provider.set_fault(Fault::WrongIssuer);
        let result = build().verify(&token, NOW).await;
        assert!(matches!(result, Err(Refusal::Failure(_))), "{result:?}");
        let other = format!("{}/other", provider.url());
        let theirs = provider.token().audience(AUDIENCE).claim("iss", other).sign();
        assert!(build().verify(&theirs, NOW).await.is_err());
        assert_eq!(provider.requests_to(Endpoint::KeySet), 1, "only the honest document led to keys");
        // The places are asked in one order, whatever a hash says.
        provider.forget_requests();
        for _ in 0..5 {
            assert!(build().verify(&token, NOW).await.is_err());
        }
        let requests = provider.requests();
        assert!(requests.len() >= 5 && requests.len().is_multiple_of(5), "{requests:?}");
        let (first, rest) = requests.split_at(requests.len() / 5);
        assert!(rest.chunks(first.len()).all(|chunk| chunk == first), "{requests:?}");
    });
}

#[test]
fn axum_jwt_auth_an_unknown_kid_is_the_callers_mistake_and_missing_keys_are_ours() {
    let house = House::es256();
    let status = |checkpoint: &Checkpoint, token: &str| {
        let value = format!("Bearer {token}");
        let headers = [("authorization", value.as_bytes())];
        match checkpoint.inspect(&HeadParts { method: "GET", path: "/", headers: &headers }, Presence::Required) {
            Inspection::Pass(_) => 200,
            Inspection::Refuse(answer) => answer.status(),
            Inspection::Wait(pending) => match wait(pending.resolve()) {
                Ok(_) => 200,
                Err(answer) => answer.status(),
            },
        }
    };
    let build = |builder: sekisho_jwt::JwtBuilder| {
        Checkpoint::builder().accept(builder).with_clock(Arc::new(FixedClock::at(NOW))).build().unwrap()
    };
    let checkpoint = build(house.builder());
    assert_eq!(status(&checkpoint, &house.token()), 200);
    for token in [
        house.under(json!({ "kid": "unknown" })),
        house.under(json!({ "alg": "none" })),
        house.saying(json!({ "exp": 1 })),
        format!("{}A", house.token()),
        house.sign(text(&changed(house.header(), json!({ "kid": "\u{0}" }))), text(&claims())),
    ] {
        assert_eq!(status(&checkpoint, &token), 401, "{token}");
    }
    // The port is closed: no keys were ever loaded.
    let keys = RemoteKeys::new("http://127.0.0.1:9/jwks");
    let down = build(Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(keys));
    assert_eq!(status(&down, &house.token()), 503);
}
