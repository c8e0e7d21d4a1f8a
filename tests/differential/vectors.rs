//! Published vectors: signatures alone.

use std::collections::BTreeMap;

use sekisho_core::json::JsonObject;
use sekisho_jwks::VerifyingKey;
use sekisho_jwt::{Algorithm, Backend};
use sekisho_tests::{SignatureCheck, vector_file, vector_json, vectors};
use serde_json::{Value, json};

use crate::peers::{Outcome, header_algorithm, josekit_signature, jsonwebtoken_signature};
use crate::tables::{VECTORS_JOSEKIT, VECTORS_JSONWEBTOKEN, compare};

/// Is a token and the one key that it is to be verified with.
struct Case {
    id: String,
    token: String,
    jwk: Value,
}

fn wycheproof(cases: &mut Vec<Case>) {
    for file in ["json_web_signature", "json_web_key", "json_web_crypto"] {
        let vectors = vector_json(&format!("wycheproof/{file}_test.json")).unwrap();
        for group in vectors["testGroups"].as_array().unwrap() {
            let key = group.get("public").unwrap_or(&group["private"]);
            for case in group["tests"].as_array().unwrap() {
                let Some(token) = case.get("jws") else { continue };
                let token = token.as_str().map_or_else(|| token.to_string(), str::to_owned);
                let id = format!("{}/{}", file.trim_start_matches("json_web_"), case["tcId"]);
                let keys = key.get("keys").map_or_else(|| vec![key.clone()], |keys| keys.as_array().unwrap().clone());
                // Of a set, the key that the header names.
                let kid = header_kid(&token);
                let named = keys.iter().find(|key| key.get("kid").and_then(Value::as_str) == kid.as_deref());
                cases.push(Case { id, token, jwk: named.unwrap_or(&keys[0]).clone() });
            }
        }
    }
}

fn header_kid(token: &str) -> Option<String> {
    let header = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token.split('.').next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    header["kid"].as_str().map(str::to_owned)
}

fn others(cases: &mut Vec<Case>) {
    for case in vector_json("rfc-vectors/vectors.json").unwrap().as_array().unwrap() {
        if case["kind"] == "jws" {
            let jwk = if case["key"].is_object() {
                case["key"].clone()
            } else {
                json!({ "kty": "oct", "k": sekisho_tests::encode([7; 64]) })
            };
            cases.push(Case {
                id: case["name"].as_str().unwrap().to_owned(),
                token: case["jws"].as_str().unwrap().to_owned(),
                jwk,
            });
        }
    }
    for file in [
        "jws/4_1.rsa_v15_signature",
        "jws/4_2.rsa-pss_signature",
        "jws/4_3.ecdsa_signature",
        "jws/4_4.hmac-sha2_integrity_protection",
        "jws/4_5.signature_with_detached_content",
        "curve25519/jws",
        "rfc7797/hmac-sha2_b64_false",
    ] {
        let case = vector_json(&format!("jose-cookbook/{file}.json")).unwrap();
        let token = case["output"]["compact"].as_str().unwrap().to_owned();
        cases.push(Case { id: format!("cookbook {file}"), token, jwk: case["input"]["key"].clone() });
    }
    for algorithm in Algorithm::ALL {
        let name = match algorithm {
            Algorithm::Es256 => "EC_P-256_public",
            Algorithm::Es384 => "EC_P-384_public",
            Algorithm::Es512 => "EC_P-521_public",
            Algorithm::Es256K => "EC_secp256k1_public",
            Algorithm::Ed25519 => "OKP_Ed25519_public",
            _ if algorithm.is_symmetric() => "oct_512bit_private",
            _ => "RSA_public",
        };
        let jwk = vector_json(&format!("josekit/data/jwk/{name}.jwk")).unwrap();
        let token = vector_file(&format!("josekit/data/jwt/{algorithm}.jwt")).unwrap().trim_end().to_owned();
        cases.push(Case { id: format!("josekit {algorithm}"), token, jwk });
    }
    for (place, case) in vector_json("opa-jwt/verify.json").unwrap().as_array().unwrap().iter().enumerate() {
        let (algorithm, key) = (case["alg"].as_str().unwrap(), case["key"].as_str().unwrap());
        let jwk = if algorithm.starts_with("HS") {
            json!({ "kty": "oct", "alg": algorithm, "k": sekisho_tests::encode(key) })
        } else {
            // As a JWK all three can read it; what is no key is none for anybody.
            let Ok(key) = VerifyingKey::from_pem(Backend::default(), key.as_bytes()) else { continue };
            let mut jwk = key.public_jwk().unwrap();
            jwk["alg"] = algorithm.into();
            jwk
        };
        cases.push(Case { id: format!("opa {place}"), token: case["token"].as_str().unwrap().to_owned(), jwk });
    }
}

/// The tokens and the key sets of jwt_verify_lib do not belong together: each token meets one set's key of its algorithm that
/// has not signed it, and each key of each set a token that names its algorithm.
fn jwt_verify_lib(cases: &mut Vec<Case>) {
    let sets = vector_json("jwt_verify_lib/jwks_parse_cases.json").unwrap();
    let tokens = vector_json("jwt_verify_lib/jwt_parse_cases.json").unwrap();
    let mut keys = Vec::new();
    for set in sets.as_array().unwrap() {
        let parsed: Value = serde_json::from_str(set["input"].as_str().unwrap()).unwrap_or_default();
        let Some(jwks) = parsed.get("keys").and_then(Value::as_array) else { continue };
        for (place, jwk) in jwks.iter().enumerate().filter(|(_, jwk)| jwk.is_object()) {
            keys.push((format!("{}/{place}", set["test"].as_str().unwrap()), jwk.clone()));
        }
    }
    let rsa = keys.iter().find(|(id, _)| id == "GoodJwks/0").unwrap().1.clone();
    for token in tokens.as_array().unwrap() {
        let (id, token) = (format!("jwt_verify_lib {}", token["test"].as_str().unwrap()), &token["jwt"]);
        cases.push(Case { id, token: token.as_str().unwrap().to_owned(), jwk: rsa.clone() });
    }
    for (id, jwk) in keys {
        let algorithm = jwk.get("alg").and_then(Value::as_str).unwrap_or("RS256");
        let header = sekisho_tests::encode(json!({ "alg": algorithm }).to_string());
        let token = format!("{header}.e30.{}", sekisho_tests::encode([1; 64]));
        cases.push(Case { id: format!("jwt_verify_lib {id}"), token, jwk });
    }
}

fn ours(case: &Case, algorithm: Algorithm) -> Outcome {
    let mut jwk = sekisho_tests::object(case.jwk.clone());
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        jwk.remove(private);
    }
    if jwk.get("kty").is_some_and(|kty| kty == "oct") {
        jwk.entry("alg").or_insert_with(|| algorithm.name().into());
    }
    let key = VerifyingKey::from_jwk(Backend::default(), &JsonObject::from_serialize(&jwk).unwrap());
    Outcome::of(key.is_ok_and(|key| SignatureCheck::new(vec![key]).check(&case.token).is_ok()))
}

type Found = BTreeMap<String, (Outcome, Outcome)>;

/// Judges all vectors; returns where we differ from `jsonwebtoken` and from `josekit`.
fn judge_all() -> Option<(Found, Found)> {
    vectors("wycheproof")?;
    let mut cases = Vec::new();
    wycheproof(&mut cases);
    others(&mut cases);
    jwt_verify_lib(&mut cases);
    assert!(cases.len() > 500, "{}", cases.len());
    let (mut jsonwebtoken, mut josekit) = (Found::new(), Found::new());
    let mut accepted = 0;
    for case in &cases {
        // They are told the algorithm of the key, else that of the header, as whoever sets them up would.
        let named = case.jwk.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
        let Some(algorithm) = named.or_else(|| header_algorithm(&case.token)) else {
            assert_eq!(ours(case, Algorithm::Hs512), Outcome::Refused, "{}", case.id);
            continue;
        };
        let own = ours(case, algorithm);
        accepted += usize::from(own == Outcome::Accepted);
        let theirs = jsonwebtoken_signature(&case.token, &case.jwk, algorithm);
        if theirs != own {
            jsonwebtoken.insert(case.id.clone(), (own, theirs));
        }
        let theirs = josekit_signature(&case.token, &case.jwk, algorithm);
        if theirs != own {
            josekit.insert(case.id.clone(), (own, theirs));
        }
    }
    assert!(accepted > 70, "{accepted}");
    Some((jsonwebtoken, josekit))
}

#[test]
fn jsonwebtoken_judges_signatures_as_we_do_or_the_difference_is_listed() {
    let Some((found, _)) = judge_all() else { return };
    compare(&found, VECTORS_JSONWEBTOKEN);
}

#[test]
fn josekit_judges_signatures_as_we_do_or_the_difference_is_listed() {
    let Some((_, found)) = judge_all() else { return };
    compare(&found, VECTORS_JOSEKIT);
}
