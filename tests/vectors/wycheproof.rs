//! Project Wycheproof, `json_web_*_test.json` (C2SP/wycheproof, Apache-2.0).

use sekisho_jwt::Backend;
use sekisho_tests::{SignatureCheck, vector_json};
use serde_json::Value;

use crate::tally::{Counts, Differs, Tally, keys};

#[test]
fn json_web_signature_is_as_labelled_but_for_the_listed_cases() {
    run("json_web_signature_test.json", SIGNATURE, &Counts { accepted: 34, refused: 353, differs: 14 });
}

#[test]
fn json_web_key_is_as_labelled_but_for_the_listed_cases() {
    run("json_web_key_test.json", KEY, &Counts { accepted: 5, refused: 20, differs: 1 });
}

#[test]
fn json_web_crypto_is_as_labelled() {
    run("json_web_crypto_test.json", CRYPTO, &Counts { accepted: 4, refused: 45, differs: 0 });
}

#[test]
fn every_quirk_that_the_vectors_name_is_in_the_tables() {
    let Some(quirks) = vector_json("wycheproof/KNOWN-QUIRKS.json") else { return };
    let listed = |table: &[Differs], id: &str| table.iter().any(|entry| entry.id == id);
    for group in ["wrong_label", "key_alg_mismatch_labelled_valid"] {
        for id in quirks["json_web_signature"][group].as_object().unwrap().keys() {
            assert!(listed(SIGNATURE, id), "{group} {id}");
        }
    }
    let known = |id: &str| {
        ["wrong_label", "key_alg_mismatch_labelled_valid"]
            .iter()
            .any(|group| quirks["json_web_signature"][*group].get(id).is_some())
    };
    assert!(
        SIGNATURE.iter().all(|entry| entry.reason == EMPTY || known(entry.id)),
        "a difference that the quirks do not explain"
    );
}

#[test]
fn json_web_encryption_is_no_signed_token_to_whoever_has_no_decryption_keys() {
    let Some(file) = vector_json("wycheproof/json_web_encryption_test.json") else { return };
    let mut seen = 0;
    for group in file["testGroups"].as_array().unwrap() {
        let signatures = SignatureCheck::new(keys(Backend::default(), &jws_key()));
        for case in group["tests"].as_array().unwrap() {
            let token = case.get("jwe").or_else(|| case.get("jws")).and_then(Value::as_str).unwrap();
            assert!(signatures.check(token).is_err(), "{}", case["tcId"]);
            seen += 1;
        }
    }
    assert_eq!(seen, file["numberOfTests"].as_u64().unwrap());
}

/// That the same tokens open to the text that was encrypted is tested inside of `sekisho-jwt`, below what asks for a signed token.
#[cfg(feature = "openssl")]
#[test]
fn json_web_encryption_of_anything_but_a_signed_token_is_refused_by_whoever_has_the_key() {
    use josekit::jwk::Jwk;
    use josekit::jwk::alg::{ec::EcKeyPair, rsa::RsaKeyPair};
    use sekisho_jwt::{DecryptionKey, KeyManagement, Reject};
    use sekisho_tests::{House, refused};

    let Some(file) = vector_json("wycheproof/json_web_encryption_test.json") else { return };
    let mut reasons = std::collections::BTreeMap::new();
    for group in file["testGroups"].as_array().unwrap() {
        let jwk = &group["private"];
        let management = match jwk["alg"].as_str().unwrap() {
            "RSA-OAEP" => KeyManagement::RsaOaep,
            "RSA-OAEP-256" => KeyManagement::RsaOaep256,
            "ECDH-ES" => KeyManagement::EcdhEs,
            "ECDH-ES+A128KW" => KeyManagement::EcdhEsA128Kw,
            "ECDH-ES+A192KW" => KeyManagement::EcdhEsA192Kw,
            "ECDH-ES+A256KW" => KeyManagement::EcdhEsA256Kw,
            _ => continue,
        };
        let parsed = Jwk::from_bytes(jwk.to_string()).unwrap();
        let pem = match jwk["kty"].as_str().unwrap() {
            "RSA" => RsaKeyPair::from_jwk(&parsed).unwrap().to_pem_private_key(),
            _ => EcKeyPair::from_jwk(&parsed).unwrap().to_pem_private_key(),
        };
        let key = DecryptionKey::from_pem(management, &pem).unwrap();
        let verifier = House::rs256().builder().with_decryption_key(key).build().unwrap();
        for case in group["tests"].as_array().unwrap() {
            let reject = refused(&verifier, case["jwe"].as_str().unwrap());
            assert!(case["result"] != "valid" || reject == Reject::Type, "{}: {reject}", case["tcId"]);
            *reasons.entry(format!("{reject:?}")).or_insert(0) += 1;
        }
    }
    let expected = [("Malformed", MALFORMED), ("Type", 72 - MALFORMED)];
    assert_eq!(reasons, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

/// Five with a part missing altogether, and one whose header is empty.
#[cfg(feature = "openssl")]
const MALFORMED: u32 = 6;

fn run(file: &str, table: &[Differs], expected: &Counts) {
    let Some(file) = vector_json(&format!("wycheproof/{file}")) else { return };
    // What ring lacks, ES512 and ES256K, no case needs.
    for backend in [Backend::aws_lc(), Backend::ring()] {
        judge(backend, &file, table, expected);
    }
}

fn judge(backend: Backend, file: &Value, table: &[Differs], expected: &Counts) {
    let mut tally = Tally::default();
    for group in file["testGroups"].as_array().unwrap() {
        let check = SignatureCheck::new(keys(backend, group.get("public").unwrap_or(&group["private"])));
        for case in group["tests"].as_array().unwrap() {
            // The older file holds encrypted tokens too.
            let Some(token) = case.get("jws") else { continue };
            // The general and flattened forms are objects: handed over as the text that they are.
            let token = token.as_str().map_or_else(|| token.to_string(), str::to_owned);
            let good = case["result"] == "valid";
            tally.note(case["tcId"].to_string(), good, check.check(&token).is_ok(), table);
        }
    }
    tally.end(expected, table);
}

fn jws_key() -> Value {
    serde_json::json!({ "kty": "oct", "alg": "HS256", "kid": "a", "k": sekisho_tests::encode([7; 32]) })
}

const SIGNATURE: &[Differs] = &[
    Differs { id: "259", accepted: false, reason: EMPTY },
    Differs { id: "264", accepted: false, reason: EMPTY },
    Differs { id: "268", accepted: false, reason: EMPTY },
    Differs { id: "272", accepted: false, reason: EMPTY },
    Differs { id: "320", accepted: false, reason: EMPTY },
    Differs { id: "325", accepted: false, reason: EMPTY },
    Differs { id: "346", accepted: false, reason: "the key says PS256, the header PS384 (RFC 8725 §3.1)" },
    Differs { id: "350", accepted: false, reason: "the key says PS256, the header PS384 (RFC 8725 §3.1)" },
    Differs { id: "347", accepted: false, reason: "the key says ES521, which is no algorithm" },
    Differs { id: "351", accepted: false, reason: "the key says ES521, which is no algorithm" },
    Differs { id: "367", accepted: true, reason: "wrong label: the token is byte for byte that of case 357" },
    Differs { id: "370", accepted: true, reason: "wrong label: the token is byte for byte that of case 357" },
    Differs {
        id: "372",
        accepted: false,
        reason: "wrong label: `?` is not in the alphabet of base64url (RFC 7515 §2)",
    },
    Differs {
        id: "373",
        accepted: false,
        reason: "wrong label: `?` is not in the alphabet of base64url (RFC 7515 §2)",
    },
];

const EMPTY: &str = "the payload is empty, which claims never are";

const KEY: &[Differs] = &[Differs {
    id: "4",
    accepted: true,
    reason: "two shared secrets of the owner's own under one kid: each that fits is tried, and one of them has signed",
}];

const CRYPTO: &[Differs] = &[];
