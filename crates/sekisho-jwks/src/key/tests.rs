#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use base64_simd::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::SigningKey;

/// Every backend that this build has.
pub(crate) fn backends() -> Vec<Backend> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        Backend::aws_lc(),
        #[cfg(feature = "ring")]
        Backend::ring(),
    ]
}

/// A good modulus of RFC 7515 appendix A.2.
const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

fn rsa() -> Value {
    json!({"kty": "RSA", "n": N, "e": "AQAB"})
}

fn modulus() -> Vec<u8> {
    URL_SAFE_NO_PAD.decode_to_vec(N).unwrap()
}

/// Of RFC 7515 appendix A.3.
fn ec() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

/// Of RFC 8037 appendix A.
fn ed() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

fn b64(bytes: &[u8]) -> Value {
    URL_SAFE_NO_PAD.encode_to_string(bytes).into()
}

/// Sets one member, or removes it with `null`.
fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    match value.into() {
        Value::Null => jwk.as_object_mut().unwrap().remove(name),
        value => jwk.as_object_mut().unwrap().insert(name.to_owned(), value),
    };
    jwk
}

fn load(backend: Backend, jwk: &Value) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::from_jwk(backend, &JsonObject::parse(jwk.to_string().into_bytes()).unwrap())
}

/// Loads with every backend; all must say the same.
fn refused(jwk: &Value) -> KeyError {
    let errors: Vec<KeyError> = backends().into_iter().map(|backend| load(backend, jwk).unwrap_err()).collect();
    assert!(errors.windows(2).all(|pair| pair[0] == pair[1]), "{errors:?}");
    errors[0]
}

fn taken(jwk: &Value) -> VerifyingKey {
    backends().into_iter().map(|backend| load(backend, jwk).unwrap()).next_back().unwrap()
}

#[test]
fn knows_its_algorithms_from_its_members() {
    let key = taken(&rsa());
    assert_eq!((key.family(), key.algorithm()), (KeyFamily::Rsa, None));
    assert!(Algorithm::ALL.into_iter().all(|alg| key.fits(alg) == (alg.family() == KeyFamily::Rsa)));
    let key = taken(&with(rsa(), "alg", "PS384"));
    assert_eq!(key.algorithm(), Some(Algorithm::Ps384));
    assert!(Algorithm::ALL.into_iter().all(|alg| key.fits(alg) == (alg == Algorithm::Ps384)));
    assert_eq!(taken(&ec()).algorithm(), Some(Algorithm::Es256));
    assert_eq!(taken(&ed()).algorithm(), Some(Algorithm::Ed25519));
    assert_eq!(taken(&with(ed(), "alg", "EdDSA")).algorithm(), Some(Algorithm::Ed25519));
    assert_eq!(taken(&with(ed(), "alg", "Ed25519")).algorithm(), Some(Algorithm::Ed25519));
}

#[test]
fn pins_an_algorithm_once_and_only_one_that_fits() {
    let key = taken(&rsa()).with_algorithm(Algorithm::Rs256).unwrap();
    assert!(key.fits(Algorithm::Rs256) && !key.fits(Algorithm::Ps256));
    assert_eq!(key.clone().with_algorithm(Algorithm::Ps256).unwrap_err(), KeyError::Algorithm);
    assert_eq!(key.with_algorithm(Algorithm::Hs256).unwrap_err(), KeyError::Algorithm);
}

#[test]
fn refuses_an_algorithm_that_does_not_fit_the_kind_of_key() {
    for (jwk, alg) in [(rsa(), "ES256"), (rsa(), "HS256"), (ec(), "ES384"), (ec(), "RS256"), (ed(), "ES256")] {
        assert_eq!(refused(&with(jwk, "alg", alg)), KeyError::Algorithm, "{alg}");
    }
    for alg in ["none", "None", "rs256", "RS256 ", "", "ES521", "SHA256", "HS1"] {
        assert_eq!(refused(&with(rsa(), "alg", alg)), KeyError::Algorithm, "{alg}");
    }
}

#[test]
fn refuses_keys_for_encryption() {
    for alg in
        ["RSA-OAEP", "RSA-OAEP-256", "RSA1_5", "ECDH-ES", "ECDH-ES+A128KW", "dir", "A256KW", "PBES2-HS256+A128KW"]
    {
        let error = refused(&with(rsa(), "alg", alg));
        assert_eq!(error, KeyError::NotForSignatures("`alg` is one of encryption"), "{alg}");
    }
    for usage in ["enc", "SIG", "sig ", ""] {
        assert_eq!(refused(&with(rsa(), "use", usage)), KeyError::NotForSignatures("`use` is not `sig`"));
    }
}

#[test]
fn refuses_operations_without_verify_or_mixed_with_encryption() {
    for ops in [json!([]), json!(["sign"]), json!(["signing"]), json!(["encrypt"])] {
        let error = refused(&with(rsa(), "key_ops", ops));
        assert_eq!(error, KeyError::NotForSignatures("`key_ops` does not allow it"));
    }
    for ops in [json!(["verify", "wrapKey"]), json!(["deriveBits", "verify"])] {
        assert!(matches!(refused(&with(rsa(), "key_ops", ops)), KeyError::NotForSignatures(_)));
    }
    for ops in [json!("verify"), json!(["verify", "verify"]), json!(["verify", 1]), json!({"verify": true})] {
        assert!(matches!(refused(&with(rsa(), "key_ops", ops)), KeyError::Malformed(_)));
    }
    taken(&with(with(rsa(), "key_ops", json!(["verify"])), "use", "sig"));
    // `use` and `key_ops` must not contradict each other (RFC 7517 §4.3).
    assert!(matches!(
        refused(&with(with(rsa(), "key_ops", json!(["verify"])), "use", "enc")),
        KeyError::NotForSignatures(_)
    ));
}

#[test]
fn refuses_private_keys_of_every_kind() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"] {
        assert_eq!(refused(&with(rsa(), name, "AQAB")), KeyError::PrivateKey, "{name}");
    }
    assert_eq!(refused(&with(ec(), "d", "AQAB")), KeyError::PrivateKey);
    assert_eq!(refused(&with(ed(), "d", Value::from(1))), KeyError::PrivateKey);
    for backend in backends() {
        let pem = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIBftnHPp22SewYmmEoMcX8VwI4IHwaqd+9LFPj/15eqF\n-----END PRIVATE KEY-----\n";
        assert_eq!(VerifyingKey::from_pem(backend, pem).unwrap_err(), KeyError::PrivateKey);
    }
}

#[test]
fn refuses_rsa_below_2048_and_above_8192_bits() {
    let sized = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] >>= (8 - bits % 8) % 8;
        with(rsa(), "n", b64(&n))
    };
    for bits in [1, 512, 1024, 2040, 2047, 8193, 16384] {
        assert_eq!(refused(&sized(bits)), KeyError::RsaSize { bits });
    }
    for bits in [2048, 2049, 3072, 8192] {
        taken(&sized(bits));
    }
    assert_eq!(refused(&with(rsa(), "n", "")), KeyError::RsaSize { bits: 0 });
    assert_eq!(refused(&with(rsa(), "n", b64(&[0; 256]))), KeyError::RsaSize { bits: 0 });
}

#[test]
fn refuses_exponents_that_are_1_even_or_above_33_bits() {
    for e in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1; 9]] {
        assert_eq!(refused(&with(rsa(), "e", b64(e))), KeyError::RsaExponent, "{e:?}");
    }
    for e in [&[3][..], &[17], &[1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff]] {
        taken(&with(rsa(), "e", b64(e)));
    }
}

#[test]
fn refuses_an_even_modulus() {
    let mut n = modulus();
    *n.last_mut().unwrap() &= 0xfe;
    assert_eq!(refused(&with(rsa(), "n", b64(&n))), KeyError::RsaModulus("even"));
}

#[test]
fn refuses_a_modulus_with_the_mark_of_the_infineon_generator() {
    // A power of 65537 is one modulo each small prime too.
    let mut number = vec![1_u8];
    for _ in 0..130 {
        let shifted = number.iter().copied().chain([0, 0]);
        let padded = [0, 0].into_iter().chain(number.iter().copied());
        let mut carry = 0_u16;
        let mut sum: Vec<u8> = shifted
            .zip(padded)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .map(|(a, b)| {
                let total = u16::from(a) + u16::from(b) + carry;
                carry = total >> 8;
                (total & 0xff) as u8
            })
            .collect();
        sum.reverse();
        number = sum;
    }
    assert!(matches!(refused(&with(rsa(), "n", b64(&number))), KeyError::RsaModulus(_)));
    *number.last_mut().unwrap() ^= 2;
    taken(&with(rsa(), "n", b64(&number)));
}

#[test]
fn a_leading_zero_octet_of_an_rsa_number_changes_nothing() {
    let padded = with(rsa(), "n", b64(&[&[0], modulus().as_slice()].concat()));
    let padded = with(padded, "e", b64(&[0, 1, 0, 1]));
    assert_eq!(taken(&padded).thumbprint(), taken(&rsa()).thumbprint());
}

#[test]
fn refuses_points_off_the_curve_and_the_point_at_infinity() {
    let y = URL_SAFE_NO_PAD.decode_to_vec(ec()["y"].as_str().unwrap()).unwrap();
    let mut moved = y.clone();
    moved[31] ^= 1;
    assert_eq!(refused(&with(ec(), "y", b64(&moved))), KeyError::Point);
    let zero = with(with(ec(), "x", b64(&[0; 32])), "y", b64(&[0; 32]));
    assert_eq!(refused(&zero), KeyError::Point);
    // x = 2^256 - 1 lies above the field's prime.
    assert_eq!(refused(&with(ec(), "x", b64(&[0xff; 32]))), KeyError::Point);
    // A good point of another curve.
    let p384 = with(ec(), "crv", "P-384");
    let longer =
        |v: &str| b64(&[&[0; 16][..], &URL_SAFE_NO_PAD.decode_to_vec(ec()[v].as_str().unwrap()).unwrap()].concat());
    assert_eq!(refused(&with(with(p384, "x", longer("x")), "y", longer("y"))), KeyError::Point);
}

#[test]
fn refuses_coordinates_that_are_not_exactly_as_long_as_the_field() {
    for length in [0, 31, 33, 48] {
        assert!(matches!(refused(&with(ec(), "x", b64(&vec![1; length]))), KeyError::Malformed(_)), "{length}");
    }
    assert!(matches!(refused(&with(ec(), "crv", "P-384")), KeyError::Malformed(_)));
}

#[test]
fn refuses_curves_and_types_that_have_no_algorithm_here() {
    for (name, value) in
        [("crv", "P-224"), ("crv", "p-256"), ("crv", "Ed25519"), ("kty", "ec"), ("kty", "DSA"), ("kty", "AKP")]
    {
        assert_eq!(refused(&with(ec(), name, value)), KeyError::UnsupportedType, "{name} {value}");
    }
    for crv in ["X25519", "X448", "Ed448", "P-256"] {
        assert_eq!(refused(&with(ed(), "crv", crv)), KeyError::UnsupportedType, "{crv}");
    }
    assert!(matches!(refused(&with(ec(), "kty", "RSA")), KeyError::Malformed(_)));
}

#[test]
fn refuses_members_that_are_missing_or_of_the_wrong_type() {
    for (jwk, names) in [(rsa(), vec!["kty", "n", "e"]), (ec(), vec!["kty", "crv", "x", "y"]), (ed(), vec!["crv", "x"])]
    {
        for name in names {
            for value in [Value::Null, json!(1), json!([]), json!({}), json!(true)] {
                let error = refused(&with(jwk.clone(), name, value.clone()));
                assert!(matches!(error, KeyError::Malformed(_)), "{name} {value}: {error}");
            }
        }
    }
    for name in ["kid", "use", "alg"] {
        for value in [json!(1), json!([]), json!({"$ne": null}), json!(false)] {
            assert!(matches!(refused(&with(rsa(), name, value)), KeyError::Malformed(_)), "{name}");
        }
    }
}

#[test]
fn refuses_base64_that_is_padded_of_the_other_alphabet_or_not_canonical() {
    for e in ["AQAB=", "AQAB====", "AQ AB", "AQAB\n", "+/+/", "A", "AR"] {
        assert!(matches!(refused(&with(rsa(), "e", e)), KeyError::Malformed(_)), "{e:?}");
    }
}

#[test]
fn a_key_id_is_any_string_of_at_most_256_bytes() {
    for kid in ["", "a", "../../dev/null", "x' UNION SELECT '1", "\r\n\0", "キー", &"k".repeat(256)] {
        assert_eq!(taken(&with(ec(), "kid", kid)).kid(), Some(kid));
    }
    assert_eq!(refused(&with(ec(), "kid", "k".repeat(257))), KeyError::KeyIdTooLong);
    assert_eq!(taken(&ec()).kid(), None);
}

#[test]
fn certificates_and_urls_in_a_jwk_are_not_looked_at() {
    let jwk = with(ec(), "x5c", json!(["not a certificate"]));
    let jwk = with(with(jwk, "x5u", "https://evil.example/"), "x5t", 1);
    assert_eq!(taken(&jwk).thumbprint(), taken(&ec()).thumbprint());
    let only_certificate = with(with(with(rsa(), "n", Value::Null), "e", Value::Null), "x5c", json!([N]));
    assert!(matches!(refused(&only_certificate), KeyError::Malformed(_)));
}

#[test]
fn refuses_shared_secrets_without_algorithm_too_short_or_of_pem_text() {
    let oct = |length: usize| json!({"kty": "oct", "k": b64(&vec![7; length])});
    assert_eq!(refused(&oct(64)), KeyError::Algorithm);
    for (alg, at_least) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        for bytes in [0, 1, at_least - 1] {
            assert_eq!(refused(&with(oct(bytes), "alg", alg)), KeyError::SecretTooShort { bytes, at_least });
        }
        let key = taken(&with(oct(at_least), "alg", alg));
        assert_eq!((key.family(), key.thumbprint(), key.public_jwk()), (KeyFamily::Hmac, None, None));
    }
    assert_eq!(refused(&with(oct(64), "alg", "RS256")), KeyError::Algorithm);
    for backend in backends() {
        let pem = b"\n-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";
        assert_eq!(VerifyingKey::hmac(backend, Algorithm::Hs256, pem).unwrap_err(), KeyError::SecretIsPem);
        assert_eq!(VerifyingKey::hmac(backend, Algorithm::Es256, &[7; 64]).unwrap_err(), KeyError::Algorithm);
    }
}

/// The eight points of small order, as RFC 8032 encodes them: identity, -1, ±(√-1, 0), and four of order 8.
fn small_order() -> Vec<[u8; 32]> {
    let hex = |text: &str| -> [u8; 32] {
        let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    };
    [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ]
    .map(hex)
    .to_vec()
}

#[test]
fn refuses_ed25519_points_of_small_order_because_anybody_could_sign_for_them() {
    for point in small_order() {
        assert_eq!(refused(&with(ed(), "x", b64(&point))), KeyError::Point);
        // The reason of the rule, shown on the bare backend: R = identity, S = 0 is a signature of
        // every message whose hash is a multiple of the point's order.
        for backend in backends() {
            let bare = backend.driver().load_public(&PublicMaterial::Ed25519(point), None).unwrap();
            let forged = [small_order()[0].as_slice(), &[0; 32]].concat();
            let found = (0..500_u32).any(|n| bare.verify(Algorithm::Ed25519, &n.to_be_bytes(), &forged));
            assert!(found, "{backend:?} {point:02x?}");
        }
    }
}

#[test]
fn refuses_ed25519_points_that_are_not_canonical_or_not_32_bytes() {
    // p, p + 1 and 2^255 - 1, with and without the sign bit.
    for (low, rest) in [(0xed, 0xff), (0xee, 0xff), (0xff, 0xff)] {
        for top in [0x7f, 0xff] {
            let mut point = [rest; 32];
            (point[0], point[31]) = (low, top);
            assert_eq!(refused(&with(ed(), "x", b64(&point))), KeyError::Point);
        }
    }
    for length in [0, 31, 33, 64] {
        assert!(matches!(refused(&with(ed(), "x", b64(&vec![9; length]))), KeyError::Malformed(_)));
    }
}

#[test]
fn refuses_pem_texts_of_no_document_of_several_or_of_another_kind() {
    let good = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    for backend in backends() {
        VerifyingKey::from_pem(backend, good.as_bytes()).unwrap();
        VerifyingKey::from_pem(backend, format!("\n {good}\n\n").as_bytes()).unwrap();
        for bad in [
            String::new(),
            "not PEM".to_owned(),
            format!("{good}{good}"),
            good.replace("PUBLIC KEY", "DH PARAMETERS"),
            good.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
            good.replace("PUBLIC KEY", "CERTIFICATE"),
            good.replace("MCow", "MCo!"),
            good.replace("ZuE=", "Zu"),
            good.replace("END PUBLIC", "END OTHER"),
            good.replacen("-----END", "Proc-Type: 4\n-----END", 1),
            format!("{good}{}", " x".repeat(40_000)),
        ] {
            let error = VerifyingKey::from_pem(backend, bad.as_bytes()).unwrap_err();
            assert!(matches!(error, KeyError::Malformed(_)), "{bad:.60} {error}");
        }
    }
}

#[test]
fn refuses_der_with_anything_behind_it_cut_short_or_of_other_parameters() {
    for backend in backends() {
        let ed = URL_SAFE_NO_PAD.decode_to_vec("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE").unwrap();
        VerifyingKey::from_der(backend, &ed).unwrap();
        let refuses = |der: &[u8]| VerifyingKey::from_der(backend, der).unwrap_err();
        refuses(&[ed.as_slice(), &[0]].concat());
        for length in 0..ed.len() {
            refuses(&ed[..length]);
        }
        let mut x25519 = ed.clone();
        x25519[8] = 0x6e;
        assert_eq!(refuses(&x25519), KeyError::UnsupportedType);
        assert!(matches!(VerifyingKey::from_x509_der(backend, &ed), Err(KeyError::Malformed(_))));
        assert!(matches!(VerifyingKey::from_der(backend, &vec![0x30; 70_000]), Err(KeyError::Malformed(_))));
    }
}

#[test]
fn refuses_compressed_points_and_curves_by_explicit_parameters() {
    for first in [0_u8, 2, 3, 5, 6, 7] {
        let mut point = vec![first];
        point.extend([1; 64]);
        assert!(matches!(PublicMaterial::ec_point(KeyFamily::P256, &point), Err(KeyError::Malformed(_))));
        point.truncate(33);
        assert!(matches!(PublicMaterial::ec_point(KeyFamily::P256, &point), Err(KeyError::Malformed(_))));
    }
    // id-ecPublicKey with a SEQUENCE where the curve's name belongs.
    let der =
        [&[0x30, 0x10, 0x30, 0x0a, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1][..], &[0x30, 0], &[3, 2, 0, 4]].concat();
    let der = {
        let mut der = der;
        der[1] = 17;
        der[3] = 11;
        der
    };
    for backend in backends() {
        assert_eq!(VerifyingKey::from_der(backend, &der).unwrap_err(), KeyError::UnsupportedType);
    }
}

#[cfg(feature = "ring")]
#[test]
fn what_ring_cannot_do_is_an_error_when_the_key_is_loaded() {
    let ring = Backend::ring();
    assert!(!ring.supports(Algorithm::Es512) && !ring.supports(Algorithm::Es256K));
    for (family, length) in [(KeyFamily::P521, 66), (KeyFamily::Secp256k1, 32)] {
        let material = PublicMaterial::ec(family, &vec![1; length], &vec![1; length]).unwrap();
        let error = VerifyingKey::from_material(ring, material, Restriction::None).unwrap_err();
        assert_eq!(error, KeyError::UnsupportedByBackend { backend: "ring", family });
        assert_eq!(error.to_string(), format!("the backend ring cannot use {family} keys"));
    }
    assert!(matches!(SigningKey::generate(ring, Algorithm::Rs256), Err(KeyError::CannotGenerate { .. })));
    assert!(matches!(SigningKey::generate(ring, Algorithm::Es512), Err(KeyError::UnsupportedByBackend { .. })));
}

#[test]
fn the_thumbprints_of_the_standards() {
    // RFC 7638 §3.1 and RFC 8037 appendix A.3.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let key = taken(&json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}));
    assert_eq!(key.thumbprint(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    assert_eq!(taken(&ed()).thumbprint(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
}

#[test]
fn what_is_written_reads_back_the_same() {
    for jwk in [with(rsa(), "alg", "PS256"), with(ec(), "kid", "a\"b\\"), ed()] {
        let key = taken(&jwk);
        let again = taken(&key.public_jwk().unwrap());
        assert!(again.is_same(&key), "{jwk}");
    }
    assert!(!taken(&rsa()).is_same(&taken(&ec())));
    assert!(!taken(&rsa()).is_same(&taken(&with(rsa(), "alg", "RS256"))));
    assert!(!taken(&ec()).is_same(&taken(&with(ec(), "kid", "a"))));
}

#[test]
fn debug_shows_id_and_kind_and_no_secret() {
    let secret = b"0123456789abcdef0123456789abcdef";
    for backend in backends() {
        let key = VerifyingKey::hmac(backend, Algorithm::Hs256, secret).unwrap().with_kid("a");
        assert_eq!(format!("{key:?}"), r#"VerifyingKey { kid: Some("a"), family: Hmac, algorithm: Some(Hs256), .. }"#);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever the bytes, the readers answer.
    #[test]
    fn no_reader_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in 0..300_usize) {
        for backend in backends() {
            let _ = VerifyingKey::from_der(backend, &bytes);
            let _ = VerifyingKey::from_x509_der(backend, &bytes);
            let _ = VerifyingKey::from_pem(backend, &bytes);
            let _ = crate::KeySet::parse(backend, &bytes);
            let mut text = ec().to_string().into_bytes();
            let length = text.len();
            text[flip % length] ^= bytes.first().copied().unwrap_or(1);
            if let Ok(jwk) = JsonObject::parse(text) {
                let _ = VerifyingKey::from_jwk(backend, &jwk);
            }
        }
    }
}
