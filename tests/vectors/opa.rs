//! Open Policy Agent's cases of `io.jwt.verify_*` (open-policy-agent/opa, `v1/test/cases`).

use sekisho_jwks::{KeyError, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend};
use sekisho_tests::{SignatureCheck, vector_json};

use crate::tally::{Counts, Differs, Tally};

#[test]
fn every_case_is_as_labelled_but_for_secrets_of_six_bytes() {
    let Some(file) = vector_json("opa-jwt/verify.json") else { return };
    let mut tally = Tally::default();
    for (place, case) in file.as_array().unwrap().iter().enumerate() {
        let text = |name: &str| case[name].as_str().unwrap();
        let algorithm = Algorithm::from_name(text("alg")).unwrap();
        let key = if algorithm.is_symmetric() {
            let short = VerifyingKey::hmac(Backend::default(), algorithm, text("key").as_bytes());
            assert!(matches!(short, Err(KeyError::SecretTooShort { bytes: 6, .. })), "{place}");
            short
        } else {
            VerifyingKey::from_pem(Backend::default(), text("key").as_bytes())
        };
        // A key that is no key, or not one for this algorithm, verifies nothing.
        let accepted = key
            .and_then(|key| key.with_algorithm(algorithm))
            .is_ok_and(|key| SignatureCheck::new(vec![key]).check(text("token")).is_ok());
        tally.note(format!("{place} {}", text("name")), case["want"] == true, accepted, TABLE);
    }
    tally.end(&Counts { accepted: 16, refused: 19, differs: 3 }, TABLE);
}

const TABLE: &[Differs] = &[
    Differs { id: "2 jwtverifyhs256/success", accepted: false, reason: SHORT },
    Differs { id: "5 jwtverifyhs384/success", accepted: false, reason: SHORT },
    Differs { id: "8 jwtverifyhs512/success", accepted: false, reason: SHORT },
];

const SHORT: &str = "the secret is six bytes; it must be as long as the hash (RFC 7518 §3.2)";
