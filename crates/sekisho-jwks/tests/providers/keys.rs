//! Single keys of other projects: what is loaded as what, and what is refused why.

use sekisho_core::json::JsonObject;
use sekisho_jwks::{Algorithm, Backend, KeyError, KeySet, SigningKey, VerifyingKey};
use serde_json::Value;

use crate::{backends, vectors};

/// PEM documents of josekit: what they are for, or the error.
const PEM: &[(&str, &str)] = &[
    ("EC_P-256_public.pem", "ES256"),
    ("EC_P-384_public.pem", "ES384"),
    ("EC_P-521_public.pem", "ES512"),
    ("EC_secp256k1_public.pem", "ES256K"),
    ("ED25519_public.pem", "EdDSA"),
    ("RSA-PSS_2048bit_SHA-256_public.pem", "PS256"),
    ("RSA-PSS_2048bit_SHA-384_public.pem", "PS384"),
    ("RSA-PSS_2048bit_SHA-512_public.pem", "PS512"),
    ("RSA_2048bit_public.pem", "RS256 RS384 RS512 PS256 PS384 PS512"),
    ("RSA_2048bit_traditional_public.pem", "RS256 RS384 RS512 PS256 PS384 PS512"),
    ("ED448_public.pem", "UnsupportedType"),
    ("X25519_public.pem", "UnsupportedType"),
    ("X448_public.pem", "UnsupportedType"),
    ("EC_P-256_private.pem", "PrivateKey"),
    ("EC_P-256_traditional_private.pem", "PrivateKey"),
    ("ED25519_private.pem", "PrivateKey"),
    ("ED25519_traditional_private.pem", "PrivateKey"),
    ("RSA-PSS_2048bit_SHA-256_private.pem", "PrivateKey"),
    ("RSA-PSS_2048bit_SHA-256_traditional_private.pem", "PrivateKey"),
    ("RSA_2048bit_private.pem", "PrivateKey"),
    ("RSA_2048bit_traditional_private.pem", "PrivateKey"),
];

/// DER documents of josekit, read as `SubjectPublicKeyInfo`.
const DER: &[(&str, &str)] = &[
    ("EC_P-256_spki_public.der", "ES256"),
    ("EC_P-384_spki_public.der", "ES384"),
    ("EC_P-521_spki_public.der", "ES512"),
    ("EC_secp256k1_spki_public.der", "ES256K"),
    ("ED25519_spki_public.der", "EdDSA"),
    ("RSA-PSS_2048bit_SHA-256_spki_public.der", "PS256"),
    ("RSA-PSS_2048bit_SHA-384_spki_public.der", "PS384"),
    ("RSA-PSS_2048bit_SHA-512_spki_public.der", "PS512"),
    ("RSA_2048bit_spki_public.der", "RS256 RS384 RS512 PS256 PS384 PS512"),
    ("ED448_spki_public.der", "UnsupportedType"),
    ("X25519_spki_public.der", "UnsupportedType"),
    ("X448_spki_public.der", "UnsupportedType"),
    ("EC_P-256_raw_public.der", "Malformed"),
    ("RSA_2048bit_raw_public.der", "Malformed"),
    ("EC_P-256_pkcs8_private.der", "Malformed"),
    ("EC_P-256_raw_private.der", "Malformed"),
    ("RSA_2048bit_pkcs8_private.der", "Malformed"),
    ("RSA_2048bit_raw_private.der", "Malformed"),
];

/// JWKs of josekit and of the JOSE cookbook (RFC 7520 §3).
const JWK: &[(&str, &str)] = &[
    ("josekit/data/jwk/EC_P-256_public.jwk", "ES256"),
    ("josekit/data/jwk/EC_P-384_public.jwk", "ES384"),
    ("josekit/data/jwk/EC_P-521_public.jwk", "ES512"),
    ("josekit/data/jwk/EC_secp256k1_public.jwk", "ES256K"),
    ("josekit/data/jwk/OKP_Ed25519_public.jwk", "EdDSA"),
    ("josekit/data/jwk/RSA_public.jwk", "RS256 RS384 RS512 PS256 PS384 PS512"),
    ("josekit/data/jwk/OKP_Ed448_public.jwk", "UnsupportedType"),
    ("josekit/data/jwk/OKP_X25519_public.jwk", "UnsupportedType"),
    ("josekit/data/jwk/OKP_X448_public.jwk", "UnsupportedType"),
    ("josekit/data/jwk/EC_P-256_private.jwk", "PrivateKey"),
    ("josekit/data/jwk/EC_P-384_private.jwk", "PrivateKey"),
    ("josekit/data/jwk/EC_P-521_private.jwk", "PrivateKey"),
    ("josekit/data/jwk/EC_secp256k1_private.jwk", "PrivateKey"),
    ("josekit/data/jwk/OKP_Ed25519_private.jwk", "PrivateKey"),
    ("josekit/data/jwk/OKP_Ed448_private.jwk", "PrivateKey"),
    ("josekit/data/jwk/OKP_X25519_private.jwk", "PrivateKey"),
    ("josekit/data/jwk/RSA_private.jwk", "PrivateKey"),
    // No `alg`.
    ("josekit/data/jwk/oct_512bit_private.jwk", "Algorithm"),
    ("jose-cookbook/jwk/3_1.ec_public_key.json", "ES512"),
    ("jose-cookbook/jwk/3_2.ec_private_key.json", "PrivateKey"),
    ("jose-cookbook/jwk/3_3.rsa_public_key.json", "RS256 RS384 RS512 PS256 PS384 PS512"),
    ("jose-cookbook/jwk/3_4.rsa_private_key.json", "PrivateKey"),
    ("jose-cookbook/jwk/3_5.symmetric_key_mac_computation.json", "HS256"),
    ("jose-cookbook/jwk/3_6.symmetric_key_encryption.json", "NotForSignatures"),
];

/// Private keys of josekit: PKCS#8 as PEM and DER, and the JWK if there is one.
const PRIVATE: &[(Algorithm, &str, &str, Option<&str>)] = &[
    (Algorithm::Es256, "EC_P-256_private.pem", "EC_P-256_pkcs8_private.der", Some("EC_P-256_private.jwk")),
    (Algorithm::Es384, "EC_P-384_private.pem", "EC_P-384_pkcs8_private.der", Some("EC_P-384_private.jwk")),
    (Algorithm::Es512, "EC_P-521_private.pem", "EC_P-521_pkcs8_private.der", Some("EC_P-521_private.jwk")),
    (Algorithm::Es256K, "EC_secp256k1_private.pem", "EC_secp256k1_pkcs8_private.der", Some("EC_secp256k1_private.jwk")),
    (Algorithm::Ed25519, "ED25519_private.pem", "ED25519_pkcs8_private.der", Some("OKP_Ed25519_private.jwk")),
    (Algorithm::Rs256, "RSA_2048bit_private.pem", "RSA_2048bit_pkcs8_private.der", Some("RSA_private.jwk")),
    (Algorithm::Ps384, "RSA_2048bit_private.pem", "RSA_2048bit_pkcs8_private.der", Some("RSA_private.jwk")),
    (Algorithm::Ps256, "RSA-PSS_2048bit_SHA-256_private.pem", "RSA-PSS_2048bit_SHA-256_pkcs8_private.der", None),
    (Algorithm::Ps512, "RSA-PSS_2048bit_SHA-512_private.pem", "RSA-PSS_2048bit_SHA-512_pkcs8_private.der", None),
];

/// The key sets of wycheproof's `json_web_key_test.json` by the first `tcId`, read as published: usable keys and reasons.
const WYCHEPROOF_PUBLIC: &[(u64, usize, &[&str])] = &[
    (5, 1, &[]),
    (6, 0, &["NotForSignatures"]),
    (7, 0, &["RsaModulus"]),
    (8, 0, &["RsaSize { bits: 1024 }"]),
    (9, 0, &["RsaExponent"]),
    (19, 0, &["Algorithm"]),
    (20, 0, &["Algorithm"]),
    (21, 0, &["NotForSignatures"]),
    (22, 0, &["Point"]),
    (23, 0, &["Malformed"]),
    (24, 0, &["Malformed"]),
];

/// The shared secrets of the same file, each loaded by its owner.
const WYCHEPROOF_SHARED: &[(u64, &[&str])] = &[
    (1, &["HS256", "the public key of the mixed set"]),
    (2, &["HS256", "HS256"]),
    // The last character of the second has bits that stand for nothing (RFC 4648 §3.5).
    (4, &["HS256", "Malformed"]),
    (10, &["SecretTooShort { bytes: 31, at_least: 32 }"]),
    (11, &["SecretTooShort { bytes: 47, at_least: 48 }"]),
    (12, &["SecretTooShort { bytes: 63, at_least: 64 }"]),
    (13, &["HS256"]),
    (14, &["HS384"]),
    (15, &["HS512"]),
    (16, &["SecretTooShort { bytes: 0, at_least: 32 }"]),
    (17, &["SecretTooShort { bytes: 0, at_least: 48 }"]),
    (18, &["SecretTooShort { bytes: 0, at_least: 64 }"]),
    (25, &["NotForSignatures"]),
    (26, &["NotForSignatures"]),
];

/// Names the algorithms that fit, or the error.
fn outcome(key: Result<VerifyingKey, KeyError>) -> String {
    match key {
        Ok(key) => {
            let fitting = Algorithm::ALL.into_iter().filter(|alg| key.fits(*alg)).map(Algorithm::name);
            fitting.collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("{error:?}"),
    }
}

/// What a table says, as far as the backend can do it.
fn expected(backend: Backend, expected: &str) -> &str {
    match Algorithm::from_name(expected) {
        Some(algorithm) if !backend.supports(algorithm) => "UnsupportedByBackend",
        _ => expected,
    }
}

fn check(backend: Backend, name: &str, key: Result<VerifyingKey, KeyError>, expects: &str) {
    let outcome = outcome(key);
    let expects = expected(backend, expects);
    // Errors may say more, in brackets, than the table.
    let same = outcome == expects || (outcome.starts_with(expects) && outcome.contains(['(', '{']));
    assert!(same, "{backend:?} {name}: {outcome}, not {expects}");
}

fn jwk(value: &Value) -> JsonObject {
    JsonObject::from_serialize(value).unwrap()
}

#[test]
fn pem_and_der_documents_load_as_what_they_are() {
    let Some(folder) = vectors("pem_and_der_documents_load_as_what_they_are") else { return };
    for backend in backends() {
        for (name, expects) in PEM {
            let pem = std::fs::read(folder.join("josekit/data/pem").join(name)).unwrap();
            check(backend, name, VerifyingKey::from_pem(backend, &pem), expects);
        }
        for (name, expects) in DER {
            let der = std::fs::read(folder.join("josekit/data/der").join(name)).unwrap();
            check(backend, name, VerifyingKey::from_der(backend, &der), expects);
        }
    }
}

#[test]
fn json_web_keys_load_as_what_they_are() {
    let Some(folder) = vectors("json_web_keys_load_as_what_they_are") else { return };
    for backend in backends() {
        for (name, expects) in JWK {
            let jwk = JsonObject::parse(std::fs::read(folder.join(name)).unwrap()).unwrap();
            check(backend, name, VerifyingKey::from_jwk(backend, &jwk), expects);
        }
        let set = std::fs::read(folder.join("josekit/data/jwks/test.jwks")).unwrap();
        let set = KeySet::parse(backend, &set).unwrap();
        let reasons: Vec<_> = set.skipped().iter().map(|key| key.reason()).collect();
        assert_eq!(reasons, [KeyError::PrivateKey, KeyError::PrivateKey]);
    }
}

#[test]
fn private_keys_sign_in_every_form_and_the_public_form_verifies() {
    let Some(folder) = vectors("private_keys_sign_in_every_form_and_the_public_form_verifies") else { return };
    let folder = folder.join("josekit/data");
    for backend in backends() {
        for (algorithm, pem, der, json) in PRIVATE {
            let from_pem = std::fs::read(folder.join("pem").join(pem)).unwrap();
            let from_pem = SigningKey::from_pkcs8_pem(backend, *algorithm, &from_pem);
            if !backend.supports(*algorithm) {
                assert!(matches!(from_pem, Err(KeyError::UnsupportedByBackend { .. })), "{pem}");
                continue;
            }
            let mut keys = vec![from_pem.unwrap()];
            let document = std::fs::read(folder.join("der").join(der)).unwrap();
            keys.push(SigningKey::from_pkcs8_der(backend, *algorithm, &document).unwrap());
            if let Some(json) = json {
                let jwk = JsonObject::parse(std::fs::read(folder.join("jwk").join(json)).unwrap()).unwrap();
                keys.push(SigningKey::from_jwk(backend, *algorithm, &jwk).unwrap());
            }
            for key in keys {
                let published = serde_json::json!({"keys": [key.public_jwk().unwrap()]}).to_string();
                let set = KeySet::parse(backend, published.as_bytes()).unwrap();
                let signature = key.sign(b"message").unwrap();
                assert!(set.keys()[0].verify(*algorithm, b"message", &signature), "{backend:?} {pem} {algorithm}");
            }
        }
        for (name, algorithm) in
            [("RSA-PSS_2048bit_SHA-256_private.pem", Algorithm::Ps512), ("RSA_2048bit_private.pem", Algorithm::Es256)]
        {
            let pem = std::fs::read(folder.join("pem").join(name)).unwrap();
            assert_eq!(
                SigningKey::from_pkcs8_pem(backend, algorithm, &pem).unwrap_err(),
                KeyError::Algorithm,
                "{name}"
            );
        }
        for name in
            ["RSA_2048bit_traditional_private.pem", "EC_P-256_traditional_private.pem", "RSA_2048bit_public.pem"]
        {
            let pem = std::fs::read(folder.join("pem").join(name)).unwrap();
            let error = SigningKey::from_pkcs8_pem(backend, Algorithm::Rs256, &pem).unwrap_err();
            assert!(matches!(error, KeyError::Malformed(_)), "{name}: {error}");
        }
    }
}

#[test]
fn wycheproof_keys_are_taken_and_refused_as_they_should() {
    let Some(folder) = vectors("wycheproof_keys_are_taken_and_refused_as_they_should") else { return };
    let text = std::fs::read_to_string(folder.join("wycheproof/json_web_key_test.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let groups = file["testGroups"].as_array().unwrap();
    let group = |id: u64| groups.iter().find(|group| group["tests"][0]["tcId"] == id).unwrap();
    assert_eq!(WYCHEPROOF_PUBLIC.len() + WYCHEPROOF_SHARED.len(), groups.len(), "every group is in one table");
    for backend in backends() {
        for (id, usable, reasons) in WYCHEPROOF_PUBLIC {
            let set = KeySet::parse(backend, group(*id)["public"].to_string().as_bytes()).unwrap();
            assert_eq!(set.keys().len(), *usable, "{id}");
            for (skipped, reason) in set.skipped().iter().zip(*reasons) {
                assert!(format!("{:?}", skipped.reason()).starts_with(reason), "{id}: {skipped}");
            }
            // The same set with its private members published: nothing of it is used.
            let leaked = KeySet::parse(backend, group(*id)["private"].to_string().as_bytes()).unwrap();
            assert!(leaked.keys().is_empty(), "{id}");
            assert!(leaked.skipped().iter().all(|key| key.reason() == KeyError::PrivateKey), "{id}");
        }
        for (id, expects) in WYCHEPROOF_SHARED {
            let document = &group(*id)["private"];
            let set = KeySet::parse(backend, document.to_string().as_bytes()).unwrap();
            let keys = document["keys"].as_array().unwrap();
            assert_eq!(keys.len(), expects.len(), "{id}");
            for (key, expects) in keys.iter().zip(*expects) {
                if key["kty"] == "oct" {
                    check(backend, &id.to_string(), VerifyingKey::from_jwk(backend, &jwk(key)), expects);
                } else {
                    // The one public key of the mixed set.
                    assert_eq!(*expects, "the public key of the mixed set");
                }
            }
            let shared = keys.iter().filter(|key| key["kty"] == "oct").count();
            let refused = set.skipped().iter().filter(|key| key.reason() == KeyError::PublishedSecret).count();
            assert_eq!(refused, shared, "{id}: a published secret is never used");
        }
    }
}

#[test]
fn the_thumbprints_of_the_rfc_vectors() {
    let Some(folder) = vectors("the_thumbprints_of_the_rfc_vectors") else { return };
    let text = std::fs::read_to_string(folder.join("rfc-vectors/vectors.json")).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let mut checked = 0;
    for vector in vectors.as_array().unwrap() {
        let (Some(key), Some(thumbprint)) = (vector.get("key"), vector.get("thumbprint").or(vector.get("jkt"))) else {
            continue;
        };
        for backend in backends() {
            let key = VerifyingKey::from_jwk(backend, &jwk(key)).unwrap();
            assert_eq!(key.thumbprint(), thumbprint.as_str(), "{}", vector["name"]);
        }
        checked += 1;
    }
    assert_eq!(checked, 3);
}
