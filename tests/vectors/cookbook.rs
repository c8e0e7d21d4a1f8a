//! Examples of RFC 7520, RFC 8037 and RFC 7797 (ietf-jose/cookbook).

use sekisho_core::json::JsonObject;
use sekisho_jwks::{KeyError, SigningKey, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend, Reject};
use sekisho_tests::{SignatureCheck, vector_json};
use serde_json::Value;

use crate::tally::{algorithm_of, key};

fn check_of(case: &Value) -> SignatureCheck {
    let algorithm = Algorithm::from_name(case["input"]["alg"].as_str().unwrap()).unwrap();
    SignatureCheck::new(vec![key(&case["input"]["key"], Some(algorithm)).unwrap()])
}

#[test]
fn compact_signatures_hold_and_come_out_of_our_own_signer_where_they_are_reproducible() {
    for file in [
        "jws/4_1.rsa_v15_signature.json",
        "jws/4_2.rsa-pss_signature.json",
        "jws/4_3.ecdsa_signature.json",
        "jws/4_4.hmac-sha2_integrity_protection.json",
        "curve25519/jws.json",
    ] {
        let Some(case) = vector_json(&format!("jose-cookbook/{file}")) else { return };
        let token = case["output"]["compact"].as_str().unwrap();
        let payload = case["input"]["payload"].as_str().unwrap();
        assert_eq!(check_of(&case).check(token).as_deref(), Ok(payload.as_bytes()), "{file}");
        let algorithm = algorithm_of(token);
        let reproducible = case.get("reproducible").is_some();
        let jwk = JsonObject::from_serialize(&case["input"]["key"]).unwrap();
        let signer = match algorithm {
            Algorithm::Hs256 => {
                let secret = sekisho_tests::decode(case["input"]["key"]["k"].as_str().unwrap());
                SigningKey::hmac(Backend::default(), algorithm, &secret).unwrap()
            }
            _ => SigningKey::from_jwk(Backend::default(), algorithm, &jwk).unwrap(),
        };
        let input = token.rsplit_once('.').unwrap().0;
        let ours = format!("{input}.{}", sekisho_tests::encode(signer.sign(input.as_bytes()).unwrap()));
        assert!(check_of(&case).check(&ours).is_ok(), "{file}");
        assert_eq!(ours == token, reproducible, "{file}");
    }
}

#[test]
fn detached_content_and_the_json_forms_are_refused() {
    for file in [
        "4_1.rsa_v15_signature",
        "4_4.hmac-sha2_integrity_protection",
        "4_5.signature_with_detached_content",
        "4_6.protecting_specific_header_fields",
        "4_7.protecting_content_only",
    ] {
        let Some(case) = vector_json(&format!("jose-cookbook/jws/{file}.json")) else { return };
        let check = check_of(&case);
        for form in ["json", "json_flat"] {
            let text = case["output"][form].to_string();
            assert_eq!(check.check(&text), Err(Reject::Malformed), "{file} {form}");
        }
        if file.starts_with("4_5") {
            assert_eq!(check.check(case["output"]["compact"].as_str().unwrap()), Err(Reject::Malformed));
        }
    }
    let Some(case) = vector_json("jose-cookbook/jws/4_8.multiple_signatures.json") else { return };
    for jwk in case["input"]["key"].as_array().unwrap() {
        let check = SignatureCheck::new(vec![key(jwk, Some(Algorithm::Hs256)).unwrap()]);
        assert_eq!(check.check(&case["output"]["json"].to_string()), Err(Reject::Malformed));
    }
}

#[test]
fn unencoded_payloads_are_refused() {
    for file in ["4.2.hmac-sha2_b64_false", "hmac-sha2_b64_false"] {
        let Some(case) = vector_json(&format!("jose-cookbook/rfc7797/{file}.json")) else { return };
        let check = check_of(&case);
        for form in ["json", "json_flat"] {
            assert!(check.check(&case["output"][form].to_string()).is_err(), "{file} {form}");
        }
        if let Some(token) = case["output"]["compact"].as_str() {
            assert_eq!(check.check(token), Err(Reject::Critical), "{file}");
        }
        // The same header over an encoded payload, rightly signed: `b64` is refused by itself.
        let secret = sekisho_tests::decode(case["input"]["key"]["k"].as_str().unwrap());
        let signer = SigningKey::hmac(Backend::default(), Algorithm::Hs256, &secret).unwrap();
        let house = sekisho_tests::House::with_key(signer);
        let token = house.sign(case["signing"]["protected"].to_string(), "$.02");
        assert_eq!(check.check(&token), Err(Reject::Critical), "{file}");
    }
}

#[test]
fn keys_are_read_and_private_ones_do_not_pass_for_public_ones() {
    let Some(_) = sekisho_tests::vectors("jose-cookbook/jwk") else { return };
    let read = |name: &str| {
        let jwk = vector_json(&format!("jose-cookbook/jwk/{name}.json")).unwrap();
        JsonObject::from_serialize(&jwk).unwrap()
    };
    let verifying = |name: &str| VerifyingKey::from_jwk(Backend::default(), &read(name));
    let public_ec = verifying("3_1.ec_public_key").unwrap();
    let public_rsa = verifying("3_3.rsa_public_key").unwrap();
    assert!(public_ec.fits(Algorithm::Es512) && public_rsa.fits(Algorithm::Ps384));
    assert_eq!(verifying("3_2.ec_private_key").err(), Some(KeyError::PrivateKey));
    assert_eq!(verifying("3_4.rsa_private_key").err(), Some(KeyError::PrivateKey));
    let ec = SigningKey::from_jwk(Backend::default(), Algorithm::Es512, &read("3_2.ec_private_key")).unwrap();
    let rsa = SigningKey::from_jwk(Backend::default(), Algorithm::Rs256, &read("3_4.rsa_private_key")).unwrap();
    assert_eq!(ec.verifying_key().thumbprint(), public_ec.thumbprint());
    assert_eq!(rsa.verifying_key().thumbprint(), public_rsa.thumbprint());
    assert!(verifying("3_5.symmetric_key_mac_computation").is_ok());
    assert!(matches!(verifying("3_6.symmetric_key_encryption"), Err(KeyError::NotForSignatures(_))));
}
