//! Published bugs of comparable libraries, one test for each row, named by it.
//!
//! Rows without a test here, by the name they have in the list:
//!
//! | row | where it is, or why it is nowhere |
//! |---|---|
//! | biscuit: third-party blocks, forged signatures | nowhere: biscuits are not taken in |
//! | biscuit-rust #311, #313: limits ignored in one phase | nowhere: that evaluator is not in use; `sekisho-policy` tests its own bounds |
//! | tower-sessions 0.12: an id collision overwrites a session | `peer_sessions.rs`: `tower_sessions_012_…` |
//! | tower-sessions: the removal cookie lacks its attributes | `peer_sessions.rs`: `tower_sessions_the_removal_cookie_…` |
//! | axum-login #217, #215: id after login | `peer_sessions.rs`: `axum_login_217_…` |
//! | bcrypt RUSTSEC-2026-0199: panic on a hostile hash | nowhere: bcrypt is not in use; of Argon2: `sekisho-credentials`, `refuses_texts_that_are_no_argon2_hash`; the rows beside it are below |

use std::sync::Arc;
use std::time::Duration;

use josekit::jwe::{JweHeader, PBES2_HS256_A128KW, RSA_OAEP};
use proptest::prelude::*;
use sekisho_core::{Denial, Refusal};
use sekisho_http::{Checkpoint, CredentialSources, HeadParts, Inspection, Presence};
use sekisho_jwks::{KeySet, RemoteKeys};
use sekisho_jwt::{
    Algorithm, Backend, CacheLimits, Claim, ContentEncryption, DecryptionKey, Jwt, KeyManagement, Profile, Reject,
    UnixSeconds, Verifier, encrypt,
};
use sekisho_testkit::{Endpoint, Fault, FixedClock, Issuer};
use sekisho_tests::{
    AUDIENCE, House, ISSUER, NOW, accepted, answer, answer_at, changed, claims, encode, refused, text, trusting, wait,
};
use serde_json::{Value, json};

use crate::forge::{mac_token, private, public_forms, rsa};

#[test]
fn jsonwebtoken_cve_2026_25537_a_date_of_the_wrong_type_is_not_an_absent_one() {
    let house = House::rs256();
    let raw = |name: &str, value: &str| {
        let others = text(&changed(claims(), json!({ name: "REMOVE" })));
        house.sign(text(&house.header()), format!("{{\"{name}\":{value},{}", &others[1..]))
    };
    for (name, claim) in [("exp", Claim::Expiry), ("nbf", Claim::NotBefore), ("iat", Claim::IssuedAt)] {
        for value in [
            "\"1\"",
            "\"1900000000\"",
            "{}",
            "{\"a\":1}",
            "[]",
            "[1900000000]",
            "true",
            "false",
            "null",
            "-1",
            "9223372036854775808",
            "18446744073709551616",
            "\"NaN\"",
        ] {
            assert_eq!(refused(&house.verifier(), &raw(name, value)), Reject::Invalid(claim), "{name} {value}");
        }
        for value in ["1e400", "NaN", "-Infinity"] {
            refused(&house.verifier(), &raw(name, value));
        }
    }
}

#[test]
fn jsonwebtoken_493_aud_iss_and_sub_of_every_type() {
    let house = House::rs256();
    for (name, claim) in [("aud", Claim::Audience), ("iss", Claim::Issuer), ("sub", Claim::Subject)] {
        let with = |value: Value| refused(&house.verifier(), &house.saying(json!({ name: value })));
        assert_eq!(with(json!("REMOVE")), Reject::Missing(claim));
        for value in
            [json!(null), json!([1]), json!([["x"]]), json!(42), json!({}), json!(true), json!(1.5), json!({ "x": [] })]
        {
            assert_eq!(with(value.clone()), Reject::Invalid(claim), "{name} {value}");
        }
        let empty = with(json!([]));
        assert_eq!(empty, if name == "aud" { Reject::Audience } else { Reject::Invalid(claim) }, "{name} []");
    }
}

/// Lists the packages that `sekisho` brings along by default, as cargo resolves them.
fn default_graph() -> Vec<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "sekisho",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{lib}",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn rustsec_2023_0071_no_rsa_crate_and_no_openssl_by_default() {
    let graph = default_graph();
    assert!(graph.len() > 20 && graph.iter().any(|name| name == "sekisho_jwt"), "{graph:?}");
    for unwanted in ["rsa", "openssl", "openssl_sys", "native_tls", "josekit", "jsonwebtoken"] {
        assert!(!graph.iter().any(|name| name == unwanted), "{unwanted}");
    }
}

/// Trusts tokens that are encrypted for an RSA key; also returns that key.
fn opener() -> (Verifier, Vec<u8>) {
    let key = openssl::pkey::PKey::from_rsa(rsa(2048, 65_537)).unwrap();
    let opener = DecryptionKey::from_pem(KeyManagement::RsaOaep, &key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let verifier = House::ed25519().builder().with_decryption_key(opener).build().unwrap();
    (verifier, key.public_key_to_pem().unwrap())
}

fn header() -> JweHeader {
    let mut header = JweHeader::new();
    header.set_content_encryption("A256GCM");
    header.set_content_type("JWT");
    header
}

#[test]
fn josekit_pbes2_is_not_known_however_many_rounds() {
    let (verifier, _) = opener();
    let mut encrypter = PBES2_HS256_A128KW.encrypter_from_bytes(b"password").unwrap();
    for rounds in [1_000, 32_000] {
        encrypter.set_iter_count(rounds);
        let token = josekit::jwe::serialize_compact(b"x", &header(), &encrypter).unwrap();
        assert_eq!(refused(&verifier, &token), Reject::UnknownKey, "{rounds}");
    }
}

#[test]
fn josekit_deflate_without_an_end() {
    let (verifier, public) = opener();
    let encrypter = RSA_OAEP.encrypter_from_pem(&public).unwrap();
    let mut header = header();
    header.set_compression("DEF");
    let token = josekit::jwe::serialize_compact(&vec![0; 5_000_000], &header, &encrypter).unwrap();
    assert!(token.len() < 8_192, "{} bytes stand for five million", token.len());
    assert_eq!(refused(&verifier, &token), Reject::Malformed);
}

#[test]
fn jwt_simple_claims_of_an_encrypted_token_are_checked() {
    let (verifier, public) = opener();
    let house = House::ed25519();
    let seal = |token: &str| encrypt(token, KeyManagement::RsaOaep, ContentEncryption::A256Gcm, None, &public).unwrap();
    accepted(&verifier, &seal(&house.token()));
    for (changes, expected) in [
        (json!({ "exp": 1 }), Reject::Expired { by_secs: NOW.as_secs() - 61 }),
        (json!({ "exp": "REMOVE" }), Reject::Missing(Claim::Expiry)),
        (json!({ "aud": "other" }), Reject::Audience),
        (json!({ "iss": "https://evil" }), Reject::Issuer),
        (json!({ "nbf": NOW.as_secs() + 600 }), Reject::NotYetValid { by_secs: 540 }),
    ] {
        assert_eq!(refused(&verifier, &seal(&house.saying(changes.clone()))), expected, "{changes}");
    }
    let stranger = House::new(Algorithm::Ed25519).under(json!({ "kid": house.key.kid() }));
    assert_eq!(refused(&verifier, &seal(&stranger)), Reject::Signature);
}

#[test]
fn jwt_simple_encrypted_tokens_have_a_limit_of_size_too() {
    let (verifier, public) = opener();
    let large = House::ed25519().saying(json!({ "x": "x".repeat(8_000) }));
    let token = encrypt(&large, KeyManagement::RsaOaep, ContentEncryption::A256Gcm, None, &public).unwrap();
    assert_eq!(refused(&verifier, &token), Reject::TooLarge);
}

#[test]
fn jwt_simple_negative_times_do_not_wrap_into_the_future() {
    let house = House::ed25519();
    for (name, claim) in [("exp", Claim::Expiry), ("nbf", Claim::NotBefore), ("iat", Claim::IssuedAt)] {
        for value in [json!(-1), json!(i64::MIN), json!(-1.5), json!(-1e300)] {
            let token = house.saying(json!({ name: value }));
            assert_eq!(refused(&house.verifier(), &token), Reject::Invalid(claim), "{name} {value}");
        }
    }
}

#[test]
fn jwt_simple_an_age_is_not_checked_against_an_absent_iat() {
    let house = House::ed25519();
    let strict = house.builder().with_profile(Profile::rfc9068()).build().unwrap();
    assert_eq!(refused(&strict, &house.saying(json!({ "iat": "REMOVE" }))), Reject::Missing(Claim::IssuedAt));
    // The age that can be asked for is the login's, and without `auth_time` it is not young enough.
    let principal = accepted(&house.verifier(), &house.token());
    let denial = sekisho_core::max_age(Duration::from_secs(60)).check(&principal, NOW);
    assert!(matches!(denial, Err(Denial::InsufficientAuthentication { .. })), "{denial:?}");
}

#[test]
fn jwt_simple_parts_are_not_split_without_end() {
    let largest = House::ed25519().builder().with_max_token_bytes(65_536).build().unwrap();
    for piece in [".", "a.", "eyJ.", "=."] {
        let token = piece.repeat(65_536 / piece.len());
        assert_eq!(refused(&largest, &token), Reject::Malformed, "{piece}");
    }
}

#[test]
fn jwt_simple_a_cwt_is_no_token() {
    // COSE_Sign1 of an empty map, tagged as CWT, raw and as base64url.
    let cwt = [0xd8, 0x3d, 0xd2, 0x84, 0x43, 0xa1, 0x01, 0x26, 0xa0, 0x41, 0xa0, 0x40];
    for house in House::all() {
        refused(&house.verifier(), &encode(cwt));
        refused(&house.verifier(), &[encode(cwt), encode(cwt), encode(cwt)].join("."));
        assert_eq!(refused(&house.verifier(), &house.sign(cwt, cwt)), Reject::Malformed);
    }
}

#[test]
fn jwt_simple_an_unprotected_header_overrides_nothing() {
    for house in House::all() {
        let token = house.under(json!({ "crit": ["x"], "x": 1 }));
        let parts: Vec<&str> = token.split('.').collect();
        let form =
            json!({ "protected": parts[0], "header": { "crit": null }, "payload": parts[1], "signature": parts[2] });
        assert_eq!(refused(&house.verifier(), &token), Reject::Critical);
        assert_eq!(refused(&house.verifier(), &form.to_string()), Reject::Malformed);
    }
}

#[test]
fn regorus_deep_json_overflows_no_stack_in_header_claims_and_key_sets() {
    let house = House::ed25519();
    let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let verifier = house.builder().with_max_token_bytes(65_536).build().unwrap();
    let run = move || {
        let others = text(&claims());
        let deep = format!("{{\"x\":{},{}", nest(10_000), &others[1..]);
        assert_eq!(refused(&verifier, &house.sign(text(&house.header()), deep)), Reject::Malformed);
        let header = format!("{{\"x\":{},{}", nest(10_000), &text(&house.header())[1..]);
        assert_eq!(refused(&verifier, &house.sign(header, &others)), Reject::Malformed);
        for set in [
            format!("{{\"keys\":[{{\"x\":{}}}]}}", nest(50_000)),
            format!("{{\"x\":{},\"keys\":[]}}", nest(50_000)),
            nest(70_000),
        ] {
            let usable = KeySet::parse(Backend::default(), set.as_bytes()).map_or(0, |set| set.keys().len());
            assert_eq!(usable, 0);
        }
    };
    std::thread::Builder::new().stack_size(512 * 1024).spawn(run).unwrap().join().unwrap();
}

fn checkpoint() -> Checkpoint {
    Checkpoint::builder()
        .accept(House::ed25519().builder())
        .with_clock(Arc::new(FixedClock::at(NOW)))
        .with_cookie("__Host-token")
        .build()
        .unwrap()
}

fn inspect(checkpoint: &Checkpoint, headers: &[(&str, &[u8])]) -> Option<u16> {
    match checkpoint.inspect(&HeadParts { method: "GET", path: "/", headers }, Presence::Required) {
        Inspection::Pass(_) => None,
        Inspection::Refuse(answer) => Some(answer.status()),
        Inspection::Wait(_) => panic!("keys are in memory"),
    }
}

#[test]
fn axum_jwt_ware_4_a_request_without_a_good_header_does_not_pass() {
    let checkpoint = checkpoint();
    let good = format!("Bearer {}", House::ed25519().token());
    assert_eq!(inspect(&checkpoint, &[("authorization", good.as_bytes())]), None);
    assert_eq!(inspect(&checkpoint, &[]), Some(401));
    for (value, status) in [
        (&b""[..], 400),
        (b" ", 400),
        (b"Bearer", 400),
        (b"bearer", 400),
        (b"Bearer ", 400),
        (b"Bearer\t", 400),
        (b"Bearer\tx.y.z", 400),
        (b"Bearer x.y.z ", 400),
        (b"Bearer x.y.z", 401),
        (b"Basic eDp5", 401),
        (b"null", 401),
        (b"Bearer null", 401),
        (b"Bearer undefined", 401),
    ] {
        let found = inspect(&checkpoint, &[("authorization", value)]);
        assert_eq!(found, Some(status), "{:?}", String::from_utf8_lossy(value));
    }
    let both = [("authorization", good.as_bytes()), ("authorization", good.as_bytes())];
    assert_eq!(inspect(&checkpoint, &both), Some(400));
    let trailing = format!("{good} ");
    assert_eq!(inspect(&checkpoint, &[("authorization", trailing.as_bytes())]), Some(400));
    let cookie = format!("__Host-token={}", House::ed25519().token());
    assert_eq!(inspect(&checkpoint, &[("authorization", good.as_bytes()), ("cookie", cookie.as_bytes())]), Some(400));
    assert_eq!(inspect(&checkpoint, &[("cookie", cookie.as_bytes())]), None);
    for name in ["x-authorization", "proxy-authorization", "authorization2"] {
        assert_eq!(inspect(&checkpoint, &[(name, good.as_bytes())]), Some(401), "{name}");
    }
}

proptest! {
    #[test]
    fn branca_cookie_and_http_types_no_header_cookie_or_token_makes_us_panic(
        header in prop::collection::vec(any::<u8>(), 0..80),
        cookie in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        thread_local! {
            static CHECKPOINT: Checkpoint = checkpoint();
        }
        let named = [b"__Host-token=", &cookie[..]].concat();
        let bearer = [b"Bearer ", &header[..]].concat();
        CHECKPOINT.with(|checkpoint| {
            for headers in [
                &[("authorization", &header[..])][..],
                &[("authorization", &bearer)],
                &[("cookie", &cookie)],
                &[("cookie", &named)],
                &[("cookie", &named), ("authorization", &header)],
            ] {
                assert!(inspect(checkpoint, headers).is_some());
                let head = HeadParts { method: "GET", path: "/", headers };
                if let Inspection::Refuse(answer) = checkpoint.inspect(&head, Presence::Required) {
                    for (_, value) in answer.headers() {
                        assert!(value.iter().all(|byte| (0x20..0x7f).contains(byte)), "{value:?}");
                    }
                }
                let _found = CredentialSources::new().extract(&head);
            }
        });
    }
}

#[test]
fn oif_solver_340_flowfin_1317_other_tokens_are_no_access_tokens() {
    let house = House::ed25519();
    let header_types = ["logout+jwt", "id+jwt", "refresh+jwt", "dpop+jwt", "secevent+jwt", "JWE", "JOSE"];
    let marks = [
        json!({ "typ": "ID" }),
        json!({ "typ": "Refresh" }),
        json!({ "typ": "Offline" }),
        json!({ "typ": "Logout" }),
        json!({ "token_use": "id" }),
        json!({ "token_use": "refresh" }),
        json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} }, "sid": "s" }),
        json!({ "at_hash": "x" }),
        json!({ "nonce": "n", "scope": "REMOVE" }),
    ];
    for profile in [Profile::compatible(), Profile::rfc9068(), Profile::keycloak(), Profile::cognito()] {
        let verifier = house.builder().with_profile(profile.clone()).build().unwrap();
        for typ in header_types {
            assert_eq!(refused(&verifier, &house.under(json!({ "typ": typ }))), Reject::Type, "{profile:?} {typ}");
        }
        for mark in &marks {
            for typ in ["JWT", "at+jwt"] {
                let header = changed(house.header(), json!({ "typ": typ }));
                let reject = refused(&verifier, &house.sign(text(&header), text(&changed(claims(), mark.clone()))));
                assert!(matches!(reject, Reject::TokenUse | Reject::Type), "{profile:?} {typ} {mark}: {reject}");
            }
        }
    }
}

#[test]
fn rust_mcp_sdk_148_brrtrouter_163_the_header_does_not_choose_the_algorithm() {
    let house = House::rs256();
    for (form, secret) in public_forms(&house.key) {
        let header = json!({ "alg": "HS256", "kid": house.key.kid(), "typ": "at+jwt" });
        let token = mac_token(Algorithm::Hs256, &header, &text(&claims()), &secret);
        assert_eq!(refused(&house.verifier(), &token), Reject::Algorithm, "{form}");
    }
    assert!(private(&house.key).rsa().is_ok());
}

#[test]
fn hyprstream_1184_mcp_agent_mail_211_without_kid_it_is_not_just_the_first_key() {
    let (first, second) = (House::new(Algorithm::Es256), House::new(Algorithm::Es256));
    let verifier = trusting([&first, &second].map(|house| house.key.verifying_key())).build().unwrap();
    for house in [&first, &second] {
        accepted(&verifier, &house.under(json!({ "kid": "REMOVE" })));
    }
    let stranger = House::new(Algorithm::Es256);
    assert_eq!(refused(&verifier, &stranger.under(json!({ "kid": "REMOVE" }))), Reject::Signature);
}

#[test]
fn mobula_28_a_key_set_that_is_empty_or_broken_is_not_asked_for_at_every_token() {
    wait(async {
        let faults = [
            Some(Fault::EmptySet),
            Some(Fault::Garbage),
            Some(Fault::Status(404)),
            Some(Fault::Status(500)),
            Some(Fault::Html),
            Some(Fault::Huge),
            Some(Fault::Redirect),
            Some(Fault::Truncated),
            None,
        ];
        for fault in faults {
            let clock = FixedClock::at(NOW);
            let provider = Issuer::new().with_clock(clock.clone()).serve().await.unwrap();
            if let Some(fault) = fault {
                provider.set_fault_on(Endpoint::KeySet, fault);
            }
            let verifier = Jwt::issuer(provider.url())
                .audience(AUDIENCE)
                .with_keys(RemoteKeys::new(provider.key_set_url()))
                .with_clock(Arc::new(clock.clone()))
                .build()
                .unwrap();
            for number in 0..100 {
                let token = provider.token().audience(AUDIENCE).header("kid", format!("k{number}")).sign();
                assert!(verifier.verify(&token, NOW).await.is_err(), "{fault:?}");
            }
            let loads = provider.requests_to(Endpoint::KeySet);
            assert!((1..=2).contains(&loads), "{fault:?}: {loads} loads");
        }
    });
}

#[test]
fn authorino_649_a_timeout_in_the_middle_lets_nobody_in() {
    wait(async {
        let provider = Issuer::new().serve().await.unwrap();
        let now = || sekisho_core::Clock::now(&sekisho_core::SystemClock);
        let build = || {
            let keys = RemoteKeys::new(provider.key_set_url()).with_total_timeout(Duration::from_millis(150));
            Jwt::issuer(provider.url()).audience(AUDIENCE).with_keys(keys).build().unwrap()
        };
        let token = provider.token().audience(AUDIENCE).sign();
        for fault in [Fault::Hang, Fault::Slow(Duration::from_secs(5))] {
            provider.set_fault(fault);
            let result = build().verify(&token, now()).await;
            assert!(matches!(result, Err(Refusal::Failure(_))), "{fault:?}: {result:?}");
            // Given up by the caller, at whatever point: nobody is in, and nothing is stuck.
            let verifier = build();
            for millis in [0, 1, 5, 20, 100] {
                let given_up =
                    tokio::time::timeout(Duration::from_millis(millis), verifier.verify(&token, now())).await;
                assert!(!matches!(given_up, Ok(Ok(_))), "{fault:?}");
                assert!(verifier.verify_now(&token, now()).is_none_or(|result| result.is_err()), "{fault:?}");
            }
        }
        provider.clear_faults();
        assert!(build().verify(&token, now()).await.is_ok());
    });
}

#[test]
fn zitadel_rust_567_an_answer_is_not_remembered_longer_than_the_token_lives_nor_without_bounds() {
    let house = House::ed25519();
    let verifier = house.builder().with_cache(CacheLimits::new(50, 1 << 20)).build().unwrap();
    let exp = NOW.as_secs() + 5;
    let token = house.saying(json!({ "exp": exp }));
    accepted(&verifier, &token);
    assert_eq!(answer_at(&verifier, &token, UnixSeconds::new(exp + 60)).err(), Some(Reject::Expired { by_secs: 0 }));
    for number in 0..500 {
        accepted(&verifier, &house.saying(json!({ "jti": number.to_string() })));
    }
    assert!((1..=50).contains(&verifier.cached_tokens()), "{}", verifier.cached_tokens());
    // Refusals are not remembered as anything else.
    let before = verifier.cached_tokens();
    for _ in 0..3 {
        assert!(answer(&verifier, &house.saying(json!({ "aud": "other" }))).is_err());
    }
    assert_eq!(verifier.cached_tokens(), before);
    assert_eq!(ISSUER, house.verifier().health(NOW)[0].0.as_ref());
}
