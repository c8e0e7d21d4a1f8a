//! Random changes and random input.

use proptest::prelude::*;
use sekisho_core::{Authenticate, Credential};
use sekisho_jwt::{Algorithm, Verifier};
use sekisho_tests::{AUDIENCE, House, ISSUER, NOW, SignatureCheck, answer, claims, text, wait};
use serde_json::{Map, Value};

/// Is a verifier and a token that it takes, made once for each thread.
struct Good {
    verifier: Verifier,
    token: String,
}

fn with_good<T>(run: impl FnOnce(&Good) -> T) -> T {
    thread_local! {
        static GOOD: Good = Good { verifier: House::rs256().verifier(), token: House::rs256().token() };
    }
    GOOD.with(|good| {
        assert!(answer(&good.verifier, &good.token).is_ok());
        run(good)
    })
}

/// Any JSON value of a depth that can occur in claims.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from(ISSUER)),
        Just(Value::from(AUDIENCE)),
        Just(Value::from(NOW.as_secs() + 100)),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(".{0,6}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Claims whose names are those that a verifier looks at, with any values.
fn random_claims() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "iss",
            "aud",
            "exp",
            "sub",
            "nbf",
            "iat",
            "jti",
            "scope",
            "scp",
            "cnf",
            "typ",
            "azp",
            "client_id",
            "nonce",
            "events",
            "token_use",
            "realm_access",
            "resource_access",
            "roles",
            "tid",
            "acr",
            "amr",
            "auth_time",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    prop::collection::hash_map(name, value(), 0..12).prop_map(|members| members.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_one_byte_change_of_a_good_token_is_refused(place in any::<prop::sample::Index>(), byte in 0_u8..128) {
        with_good(|good| {
            let mut bytes = good.token.clone().into_bytes();
            let place = place.index(bytes.len());
            if bytes[place] != byte {
                bytes[place] = byte;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(answer(&good.verifier, &changed).is_err(), "byte {place} to {byte}");
            }
        });
    }

    #[test]
    fn any_byte_put_in_or_taken_out_is_refused(place in any::<prop::sample::Index>(), byte in 0_u8..128) {
        with_good(|good| {
            let place = place.index(good.token.len());
            let (front, rest) = good.token.split_at(place);
            let longer = format!("{front}{}{rest}", char::from(byte));
            let shorter = format!("{front}{}", &rest[1..]);
            assert!(answer(&good.verifier, &longer).is_err(), "byte {byte} at {place}");
            assert!(answer(&good.verifier, &shorter).is_err(), "without byte {place}");
        });
    }

    #[test]
    fn garbage_never_panics_and_is_never_taken(garbage in ".{0,400}") {
        with_good(|good| {
            assert!(answer(&good.verifier, &garbage).is_err());
            let _recognized = good.verifier.recognizes(Credential::bearer(&garbage));
            assert!(wait(good.verifier.explain(&garbage, NOW)).result().is_err());
        });
    }

    #[test]
    fn garbage_in_the_form_of_a_token_never_panics_and_is_never_taken(
        header in prop_oneof![prop::collection::vec(any::<u8>(), 0..60), ".{0,40}".prop_map(String::into_bytes)],
        payload in prop::collection::vec(any::<u8>(), 0..100),
        signature in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let token = [header, payload, signature].map(sekisho_tests::encode).join(".");
        with_good(|good| assert!(answer(&good.verifier, &token).is_err()));
    }

    #[test]
    fn a_random_header_signed_by_the_issuer_never_panics(
        members in prop::collection::hash_map(
            prop_oneof![
                prop::sample::select(vec!["alg", "kid", "typ", "crit", "b64", "zip", "jwk", "jku", "x5c", "cty"]).prop_map(str::to_owned),
                ".{0,6}"
            ],
            value(),
            0..8,
        )
    ) {
        let house = House::ed25519();
        let header: Map<String, Value> = members.into_iter().collect();
        let token = house.sign(text(&header), text(&claims()));
        // Only a header that says what it must can be good; random ones that do not are refused.
        if header.get("alg").is_none_or(|alg| alg != "EdDSA" && alg != "Ed25519") {
            assert!(answer(&house.verifier(), &token).is_err(), "{header:?}");
        } else {
            let _either = answer(&house.verifier(), &token);
        }
    }

    #[test]
    fn random_claims_never_panic_and_are_never_taken_without_issuer_audience_and_expiry(members in random_claims()) {
        let house = House::ed25519();
        let token = house.sign(text(&house.header()), text(&members));
        let taken = answer(&house.verifier(), &token).is_ok();
        let says = |name: &str, wanted: &str| members.get(name).is_some_and(|value| value == wanted);
        let audience = says("aud", AUDIENCE)
            || members.get("aud").and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == AUDIENCE));
        let expiry = members.get("exp").and_then(Value::as_f64).is_some_and(|exp| exp > NOW.as_secs() as f64 - 60.0);
        let subject = members.get("sub").and_then(Value::as_str).is_some_and(|sub| !sub.is_empty());
        if taken {
            assert!(says("iss", ISSUER) && audience && expiry && subject, "{members:?}");
        }
    }

    #[test]
    fn honest_claims_with_one_random_value_are_taken_only_if_nothing_that_is_required_is_gone(members in random_claims()) {
        let house = House::ed25519();
        for (name, value) in &members {
            let mut changed = claims();
            changed.insert(name.clone(), value.clone());
            let token = house.sign(text(&house.header()), text(&changed));
            let taken = answer(&house.verifier(), &token).is_ok();
            let required = ["iss", "aud", "exp", "sub"].contains(&name.as_str());
            let holds_text = |wanted: &str| value == wanted || value.as_array().is_some_and(|all| all.iter().any(|one| one == wanted));
            if taken && required {
                assert!(
                    match name.as_str() {
                        "iss" => value == ISSUER,
                        "aud" => holds_text(AUDIENCE),
                        "exp" => value.as_f64().is_some_and(|exp| exp > NOW.as_secs() as f64 - 60.0),
                        _ => value.as_str().is_some_and(|text| !text.is_empty()),
                    },
                    "{name}: {value}"
                );
            }
        }
    }

    #[test]
    fn random_bytes_are_no_signature_of_any_algorithm(signature in prop::collection::vec(any::<u8>(), 64)) {
        for house in [House::es256(), House::ed25519()] {
            let input = sekisho_tests::input(text(&house.header()), text(&claims()));
            let token = format!("{input}.{}", sekisho_tests::encode(&signature));
            assert!(answer(&house.verifier(), &token).is_err());
        }
    }

    #[test]
    fn a_payload_comes_out_as_it_was_signed(payload in prop::collection::vec(any::<u8>(), 1..200)) {
        let house = House::ed25519();
        thread_local! {
            static CHECK: SignatureCheck = SignatureCheck::new(vec![House::ed25519().key.verifying_key()]);
        }
        let token = house.sign(text(&sekisho_tests::changed(house.header(), serde_json::json!({ "typ": "JWT" }))), &payload);
        CHECK.with(|check| assert_eq!(check.check(&token), Ok(payload.clone())));
        assert_eq!(house.key.algorithm(), Algorithm::Ed25519);
    }
}
