#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use base64_simd::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::key::tests::backends;

#[test]
fn what_a_key_signs_its_other_half_verifies_and_nothing_else() {
    for backend in backends() {
        for algorithm in Algorithm::ALL {
            let key = if algorithm.is_symmetric() {
                SigningKey::hmac(backend, algorithm, &[7; 64]).unwrap()
            } else {
                match SigningKey::generate(backend, algorithm) {
                    Ok(key) => key,
                    Err(error) => {
                        assert_ne!(backend.name(), "aws-lc-rs", "{algorithm}: {error}");
                        continue;
                    }
                }
            };
            let signature = key.sign(b"message").unwrap();
            let public = key.verifying_key();
            assert!(public.verify(algorithm, b"message", &signature), "{backend:?} {algorithm}");
            assert!(!public.verify(algorithm, b"massage", &signature), "{backend:?} {algorithm}");
            for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                assert!(!public.verify(other, b"message", &signature), "{backend:?} {algorithm} as {other}");
            }
            for cut in [&signature[1..], &signature[..signature.len() - 1], &[]] {
                assert!(!public.verify(algorithm, b"message", cut), "{backend:?} {algorithm} cut");
            }
            let longer = [signature.as_slice(), &[0]].concat();
            assert!(!public.verify(algorithm, b"message", &longer), "{backend:?} {algorithm} longer");
        }
    }
}

fn read(backend: Backend, algorithm: Algorithm, jwk: &Value) -> Result<SigningKey, KeyError> {
    SigningKey::from_jwk(backend, algorithm, &JsonObject::from_serialize(jwk).unwrap())
}

/// Of RFC 8037 appendix A.
fn ed() -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "kid": "rfc8037",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    })
}

/// Of RFC 7515 appendix A.3.
fn ec() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    })
}

#[test]
fn signs_what_the_standard_prints() {
    // RFC 8037 appendix A.4; Ed25519 signatures are the same every time.
    let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let printed = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    for backend in backends() {
        let key = read(backend, Algorithm::Ed25519, &ed()).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode_to_string(key.sign(input.as_bytes()).unwrap()), printed);
        assert_eq!(key.kid(), "rfc8037");
    }
}

#[test]
fn a_key_is_named_after_its_thumbprint_unless_it_is_named() {
    for backend in backends() {
        let key = SigningKey::generate(backend, Algorithm::Es384).unwrap();
        assert_eq!(Some(key.kid()), key.verifying_key().thumbprint());
        let jwk = key.clone().with_kid("mine").public_jwk().unwrap();
        assert_eq!((&jwk["kid"], &jwk["alg"], &jwk["use"]), (&json!("mine"), &json!("ES384"), &json!("sig")));
        let shared = SigningKey::hmac(backend, Algorithm::Hs256, &[1; 32]).unwrap();
        assert_eq!((shared.kid(), shared.public_jwk()), (SigningKey::SHARED_KID, None));
        assert_eq!(shared.verifying_key().kid(), Some(SigningKey::SHARED_KID));
    }
}

#[test]
fn a_key_written_as_pkcs8_reads_back_the_same() {
    for backend in backends() {
        for algorithm in Algorithm::ASYMMETRIC {
            let Ok(key) = SigningKey::generate(backend, algorithm) else { continue };
            let again = SigningKey::from_pkcs8_der(backend, algorithm, &key.to_pkcs8_der().unwrap()).unwrap();
            assert!(again.verifying_key().is_same(&key.verifying_key()), "{backend:?} {algorithm}");
        }
        let shared = SigningKey::hmac(backend, Algorithm::Hs256, &[1; 32]).unwrap();
        assert_eq!(shared.to_pkcs8_der().unwrap_err(), KeyError::UnsupportedType);
    }
}

#[test]
fn refuses_a_private_half_that_does_not_belong_to_the_public_one() {
    for backend in backends() {
        for (algorithm, jwk) in [(Algorithm::Es256, ec()), (Algorithm::Ed25519, ed())] {
            read(backend, algorithm, &jwk).unwrap();
            let mut other = jwk.clone();
            let mut d = URL_SAFE_NO_PAD.decode_to_vec(other["d"].as_str().unwrap()).unwrap();
            d[5] ^= 1;
            other["d"] = URL_SAFE_NO_PAD.encode_to_string(&d).into();
            assert_eq!(read(backend, algorithm, &other).unwrap_err(), KeyError::Refused);
            for length in [0, 31, 33] {
                other["d"] = URL_SAFE_NO_PAD.encode_to_string(vec![1; length]).into();
                assert_eq!(read(backend, algorithm, &other).unwrap_err(), KeyError::Refused);
            }
            for zero in [[0_u8; 32], [0xff; 32]].iter().filter(|_| algorithm == Algorithm::Es256) {
                other["d"] = URL_SAFE_NO_PAD.encode_to_string(zero).into();
                assert_eq!(read(backend, algorithm, &other).unwrap_err(), KeyError::Refused);
            }
        }
    }
}

#[test]
fn refuses_keys_that_are_public_or_for_something_else() {
    for backend in backends() {
        let refuses = |name: &str, value: Value| {
            let mut jwk = ec();
            match value {
                Value::Null => jwk.as_object_mut().unwrap().remove(name),
                value => jwk.as_object_mut().unwrap().insert(name.to_owned(), value),
            };
            read(backend, Algorithm::Es256, &jwk).unwrap_err()
        };
        assert!(matches!(refuses("d", Value::Null), KeyError::Malformed(_)));
        assert!(matches!(refuses("use", json!("enc")), KeyError::NotForSignatures(_)));
        assert!(matches!(refuses("key_ops", json!(["verify"])), KeyError::NotForSignatures(_)));
        assert_eq!(refuses("alg", json!("ES384")), KeyError::Algorithm);
        assert_eq!(refuses("oth", json!([])), KeyError::UnsupportedType);
        assert_eq!(read(backend, Algorithm::Es384, &ec()).unwrap_err(), KeyError::Algorithm);
        assert_eq!(read(backend, Algorithm::Hs256, &ec()).unwrap_err(), KeyError::Algorithm);
    }
}

#[test]
fn refuses_pkcs8_that_is_cut_short_or_for_another_algorithm() {
    for backend in backends() {
        let key = SigningKey::generate(backend, Algorithm::Es256).unwrap().to_pkcs8_der().unwrap();
        for length in 0..key.len() {
            assert!(SigningKey::from_pkcs8_der(backend, Algorithm::Es256, &key[..length]).is_err());
        }
        let longer = [key.as_slice(), &[0]].concat();
        assert!(SigningKey::from_pkcs8_der(backend, Algorithm::Es256, &longer).is_err());
        for other in [Algorithm::Es384, Algorithm::Ed25519, Algorithm::Rs256, Algorithm::Hs256] {
            assert_eq!(SigningKey::from_pkcs8_der(backend, other, &key).unwrap_err(), KeyError::Algorithm);
        }
    }
}

#[test]
fn generates_no_shared_secrets_and_no_odd_rsa_sizes() {
    for backend in backends() {
        assert!(matches!(SigningKey::generate(backend, Algorithm::Hs256), Err(KeyError::CannotGenerate { .. })));
        assert_eq!(SigningKey::generate_rsa(backend, Algorithm::Es256, 2048).unwrap_err(), KeyError::Algorithm);
        for bits in [0, 512, 1024, 2047, 16_384] {
            assert!(SigningKey::generate_rsa(backend, Algorithm::Rs256, bits).is_err());
        }
    }
}

#[test]
fn debug_shows_none_of_the_secret() {
    let secret = b"0123456789abcdef0123456789abcdef";
    for backend in backends() {
        let key = SigningKey::hmac(backend, Algorithm::Hs256, secret).unwrap();
        assert_eq!(format!("{key:?}"), r#"SigningKey { kid: "shared", algorithm: Hs256, .. }"#);
        let key = read(backend, Algorithm::Ed25519, &ed()).unwrap();
        assert_eq!(format!("{key:?}"), r#"SigningKey { kid: "rfc8037", algorithm: Ed25519, .. }"#);
    }
}
