//! Examples printed in RFCs 7515, 7516, 7638, 8037, 9449.

use sekisho_jwt::{Reject, Verifier};
use sekisho_tests::{NOW, SignatureCheck, vector_json, wait};
use serde_json::Value;

use crate::tally::{algorithm_of, key};

fn cases(kind: &str) -> Vec<Value> {
    let Some(file) = vector_json("rfc-vectors/vectors.json") else { return Vec::new() };
    let cases: Vec<Value> = file.as_array().unwrap().iter().filter(|case| case["kind"] == kind).cloned().collect();
    assert!(!cases.is_empty(), "{kind}");
    cases
}

#[test]
fn every_printed_signature_holds_and_the_unsecured_one_is_refused() {
    let (mut accepted, mut refused) = (0, 0);
    for case in cases("jws") {
        let token = case["jws"].as_str().unwrap();
        if case["result"] == "valid" {
            let check = SignatureCheck::new(vec![key(&case["key"], Some(algorithm_of(token))).unwrap()]);
            assert!(check.check(token).is_ok(), "{}", case["name"]);
            // One letter of the payload changed.
            let dot = token.find('.').unwrap() + 1;
            let other = if token.as_bytes()[dot + 5] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &token[..dot + 5], &token[dot + 6..]);
            assert_eq!(check.check(&changed), Err(Reject::Signature), "{}", case["name"]);
            accepted += 1;
        } else {
            let check = SignatureCheck::new(vec![sekisho_tests::House::es256().key.verifying_key()]);
            assert!(check.check(token).is_err(), "{}", case["name"]);
            refused += 1;
        }
    }
    assert!((accepted, refused) == (6, 1) || sekisho_tests::vectors("rfc-vectors").is_none(), "{accepted}, {refused}");
}

#[test]
fn every_printed_thumbprint_is_ours() {
    for case in cases("thumbprint") {
        let key = key(&case["key"], None).unwrap();
        assert_eq!(key.thumbprint(), case["thumbprint"].as_str(), "{}", case["name"]);
    }
    for case in cases("dpop") {
        assert_eq!(key(&case["key"], None).unwrap().thumbprint(), case["jkt"].as_str(), "{}", case["name"]);
    }
}

#[test]
fn printed_encrypted_tokens_and_proofs_are_no_access_tokens() {
    let verifier: Verifier = sekisho_tests::House::rs256().verifier();
    let mut tokens: Vec<String> = Vec::new();
    for (kind, member) in [("jwe", "jwe"), ("dpop", "proof"), ("dpop", "access_token"), ("jws", "jws")] {
        tokens.extend(cases(kind).iter().map(|case| case[member].as_str().unwrap().to_owned()));
    }
    for token in tokens {
        assert!(wait(verifier.verify(&token, NOW)).is_err(), "{token}");
    }
}
