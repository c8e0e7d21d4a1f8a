//! The parser cases of google/jwt_verify_lib (the JWT filter of Envoy), `test/jwt_test.cc` and `test/jwks_test.cc`.

use sekisho_jwks::{KeySet, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend, Claim, Reject};
use sekisho_tests::{House, SignatureCheck, answer, changed, claims, decode, refused, text, vector_json};
use serde_json::{Value, json};

use crate::tally::{Counts, Differs, Tally};

#[test]
fn key_sets_are_as_labelled_but_for_the_listed_cases() {
    let Some(file) = vector_json("jwt_verify_lib/jwks_parse_cases.json") else { return };
    let mut tally = Tally::default();
    for case in file.as_array().unwrap() {
        let member = |name: &str| case[name].as_str().unwrap();
        let usable = if member("type") == "PEM" {
            usize::from(VerifyingKey::from_pem(Backend::default(), member("input").as_bytes()).is_ok())
        } else {
            // A set that is none, and one whose keys are all unusable, verify nothing.
            KeySet::parse(Backend::default(), member("input").as_bytes()).map_or(0, |set| set.keys().len())
        };
        let expected = match (member("status"), case["keys"].as_u64()) {
            // Two documents went in there; one of them is in the file.
            ("Ok", _) if member("test") == "addKeyFromPemSuccess" => 1,
            ("Ok", Some(keys)) => usize::try_from(keys).unwrap(),
            ("Ok", None) => 1,
            _ => 0,
        };
        assert!(usable <= expected, "{}: more keys than Envoy takes", member("test"));
        tally.note(member("test"), expected > 0, usable == expected && expected > 0, KEY_SETS);
    }
    tally.end(&Counts { accepted: 11, refused: 51, differs: 5 }, KEY_SETS);
}

/// Each case gets a key under whatever `kid` it names, so that it comes as far as the signature.
fn judge(token: &str) -> Result<Vec<u8>, Reject> {
    let header = token.split('.').next().and_then(|header| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(header).ok());
    let header: Option<Value> = header.and_then(|header| serde_json::from_slice(&header).ok());
    let kid = header.as_ref().and_then(|header| header["kid"].as_str()).unwrap_or("any");
    let symmetric = header.as_ref().and_then(|header| header["alg"].as_str()) == Some("HS256");
    let key = if symmetric {
        VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &[7; 32]).unwrap()
    } else {
        House::rs256().key.verifying_key()
    };
    SignatureCheck::new(vec![key.with_kid(kid)]).check(token)
}

#[test]
fn tokens_of_good_form_fail_at_their_signature_and_the_others_at_their_form() {
    let Some(file) = vector_json("jwt_verify_lib/jwt_parse_cases.json") else { return };
    let mut seen = 0;
    for case in file.as_array().unwrap() {
        let name = case["test"].as_str().unwrap();
        let expected = match case["status"].as_str().unwrap() {
            "JwtBadFormat" | "JwtHeaderParseErrorBadBase64" | "JwtHeaderParseErrorBadJson" | "JwtHeaderBadKid" => {
                Reject::Malformed
            }
            "JwtHeaderBadAlg" | "JwtHeaderNotImplementedAlg" => Reject::Algorithm,
            "JwtSignatureParseErrorBadBase64" => Reject::Malformed,
            // Payloads are not looked at before the signature holds; nobody has signed these for us.
            status if status == "Ok" || status.starts_with("JwtPayload") => Reject::Signature,
            other => panic!("{name}: {other}"),
        };
        let token = case["jwt"].as_str().unwrap();
        assert_eq!(judge(token), Err(expected), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 32);
}

#[test]
fn claims_that_envoy_refuses_are_refused_when_we_are_the_ones_who_signed_them() {
    let Some(file) = vector_json("jwt_verify_lib/jwt_parse_cases.json") else { return };
    let (house, mut seen) = (House::ed25519(), 0);
    let verifier = house.verifier();
    for case in file.as_array().unwrap() {
        let (name, status) = (case["test"].as_str().unwrap(), case["status"].as_str().unwrap());
        let Some(kind) = status.strip_prefix("JwtPayloadParseError") else { continue };
        let payload = case["jwt"].as_str().unwrap().split('.').nth(1).unwrap();
        seen += 1;
        if kind == "BadBase64" || kind == "BadJson" {
            let raw = format!("{}.{payload}", sekisho_tests::encode(text(&house.header())));
            assert_eq!(refused(&verifier, &house.sign_input(&raw)), Reject::Malformed, "{name}");
            continue;
        }
        let (member, claim) = match &kind[..3] {
            "Iss" => ("iss", Claim::Issuer),
            "Sub" => ("sub", Claim::Subject),
            "Aud" => ("aud", Claim::Audience),
            "Iat" => ("iat", Claim::IssuedAt),
            "Nbf" => ("nbf", Claim::NotBefore),
            "Exp" => ("exp", Claim::Expiry),
            "Jti" => ("jti", Claim::TokenId),
            other => panic!("{name}: {other}"),
        };
        let theirs: Value = serde_json::from_slice(&decode(payload)).unwrap();
        let token = house.saying(json!({ member: theirs[member] }));
        if claim == Claim::TokenId {
            // Nothing is decided by `jti` unless the profile asks for it; RFC 9068 does.
            assert!(answer(&verifier, &token).is_ok(), "{name}");
            let strict = house.builder().with_profile(sekisho_jwt::Profile::rfc9068()).build().unwrap();
            assert_eq!(refused(&strict, &token), Reject::Invalid(claim), "{name}");
        } else {
            assert_eq!(refused(&verifier, &token), Reject::Invalid(claim), "{name}");
        }
    }
    assert_eq!(seen, 16);
}

#[test]
fn a_fraction_of_a_second_is_a_date() {
    let Some(file) = vector_json("jwt_verify_lib/jwt_parse_cases.json") else { return };
    let case = file.as_array().unwrap().iter().find(|case| case["test"] == "TestParsePayloadIatDecimalsDrop").unwrap();
    let payload: Value =
        serde_json::from_slice(&decode(case["jwt"].as_str().unwrap().split('.').nth(1).unwrap())).unwrap();
    assert!(payload["iat"].is_f64());
    let house = House::ed25519();
    let token = house.sign(text(&house.header()), text(&changed(claims(), json!({ "iat": payload["iat"] }))));
    assert!(answer(&house.verifier(), &token).is_ok());
}

const KEY_SETS: &[Differs] = &[
    Differs {
        id: "GoodEC",
        accepted: false,
        reason: "one of four keys: `y` of P-521 lacks its leading zero (RFC 7518 §6.2.1.3)",
    },
    Differs {
        id: "JwksECMatchAlgES512CrvP521",
        accepted: false,
        reason: "`y` lacks its leading zero (RFC 7518 §6.2.1.3)",
    },
    Differs {
        id: "JwksECMissingBothAlgCrvES256",
        accepted: false,
        reason: "`crv` must be present (RFC 7518 §6.2.1.1)",
    },
    Differs { id: "JwkECMissingCrv", accepted: false, reason: "`crv` must be present (RFC 7518 §6.2.1.1)" },
    Differs { id: "JwksECUnspecifiedCrv", accepted: false, reason: "`crv` must be present (RFC 7518 §6.2.1.1)" },
];
