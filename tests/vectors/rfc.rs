//! Examples printed in RFCs 7515, 7516, 7638, 8037, 9449.

use sekisho_jwt::{Reject, Verifier};
use sekisho_tests::{NOW, SignatureCheck, vector_json, wait};
use serde_json::Value;

use crate::tally::{algorithm_of, key};

/// Returns the printed examples, or `None` when there are none here.
fn all() -> Option<Vec<Value>> {
    vector_json("rfc-vectors/vectors.json").map(|file| file.as_array().unwrap().clone())
}

fn of<'a>(cases: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    assert!(cases.iter().any(|case| case["kind"] == kind), "{kind}");
    cases.iter().filter(move |case| case["kind"] == kind)
}

#[test]
fn every_printed_signature_holds_and_the_unsecured_one_is_refused() {
    let Some(cases) = all() else { return };
    let (mut accepted, mut refused) = (0, 0);
    for case in of(&cases, "jws") {
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
    assert_eq!((accepted, refused), (6, 1));
}

#[test]
fn every_printed_thumbprint_is_ours() {
    let Some(cases) = all() else { return };
    for case in of(&cases, "thumbprint") {
        let key = key(&case["key"], None).unwrap();
        assert_eq!(key.thumbprint(), case["thumbprint"].as_str(), "{}", case["name"]);
    }
    for case in of(&cases, "dpop") {
        assert_eq!(key(&case["key"], None).unwrap().thumbprint(), case["jkt"].as_str(), "{}", case["name"]);
    }
}

#[test]
fn printed_proofs_and_foreign_tokens_are_no_access_tokens_nor_are_encrypted_ones_without_a_key() {
    let Some(cases) = all() else { return };
    let verifier: Verifier = sekisho_tests::House::rs256().verifier();
    let mut tokens: Vec<String> = Vec::new();
    for (kind, member) in [("jwe", "jwe"), ("dpop", "proof"), ("dpop", "access_token"), ("jws", "jws")] {
        tokens.extend(of(&cases, kind).map(|case| case[member].as_str().unwrap().to_owned()));
    }
    for token in tokens {
        assert!(wait(verifier.verify(&token, NOW)).is_err(), "{token}");
    }
}
