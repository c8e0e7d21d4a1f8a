//! Keys and tokens of josekit's own tests (hidekatsu-izuno/josekit-rs, `data/`).
//!
//! The tokens belong to the keys in `jwk`; those in `pem` and `der` are other ones.

use std::path::PathBuf;

use sekisho_core::json::JsonObject;
use sekisho_jwks::{KeyError, KeyFamily, KeySet, SigningKey, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend};
use sekisho_tests::{SignatureCheck, vector_file, vector_json, vectors};

use crate::tally::key;

const DATA: &str = "josekit/data";

#[test]
fn each_token_is_taken_with_the_key_of_its_kind_and_with_no_other() {
    let Some(_) = vectors(DATA) else { return };
    let keys = [
        "RSA_public",
        "EC_P-256_public",
        "EC_P-384_public",
        "EC_P-521_public",
        "EC_secp256k1_public",
        "OKP_Ed25519_public",
    ];
    let (mut accepted, mut refused) = (0, 0);
    for algorithm in Algorithm::ALL {
        let token = vector_file(&format!("{DATA}/jwt/{algorithm}.jwt")).unwrap();
        let token = token.trim_end();
        let mut candidates: Vec<VerifyingKey> =
            keys.iter().map(|name| key(&jwk(name), None).unwrap_or_else(|error| panic!("{name}: {error}"))).collect();
        for secret in ["oct_384bit_private", "oct_512bit_private"] {
            for hash in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
                candidates.extend(key(&jwk(secret), Some(hash)));
            }
        }
        for key in candidates {
            // The 512 bit secret has signed; the other has not.
            let fits = key.family() == algorithm.family() && key.fits(algorithm);
            let signed = SignatureCheck::new(vec![key.clone()]).check(token).is_ok();
            assert!(fits || !signed, "{algorithm} with {key:?}");
            if signed {
                accepted += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert_eq!((accepted, refused), (14, 14 * (6 + 2 + 3) - 14));
}

#[test]
fn short_secrets_are_refused_for_what_they_are() {
    let Some(_) = vectors(DATA) else { return };
    for (bits, algorithm, at_least) in [
        (128, Algorithm::Hs256, 32),
        (192, Algorithm::Hs256, 32),
        (256, Algorithm::Hs384, 48),
        (320, Algorithm::Hs384, 48),
        (384, Algorithm::Hs512, 64),
    ] {
        let read = key(&jwk(&format!("oct_{bits}bit_private")), Some(algorithm));
        assert_eq!(read.err(), Some(KeyError::SecretTooShort { bytes: bits / 8, at_least }));
    }
}

#[test]
fn public_pem_and_der_are_the_same_keys() {
    let Some(_) = vectors(DATA) else { return };
    for (name, family) in [
        ("RSA_2048bit", KeyFamily::Rsa),
        ("EC_P-256", KeyFamily::P256),
        ("EC_P-384", KeyFamily::P384),
        ("EC_P-521", KeyFamily::P521),
        ("EC_secp256k1", KeyFamily::Secp256k1),
        ("ED25519", KeyFamily::Ed25519),
    ] {
        let pem = VerifyingKey::from_pem(Backend::default(), &bytes(&format!("pem/{name}_public.pem"))).unwrap();
        let der = VerifyingKey::from_der(Backend::default(), &bytes(&format!("der/{name}_spki_public.der"))).unwrap();
        assert_eq!((pem.family(), pem.thumbprint()), (family, der.thumbprint()), "{name}");
    }
    let traditional =
        VerifyingKey::from_pem(Backend::default(), &bytes("pem/RSA_2048bit_traditional_public.pem")).unwrap();
    let spki = VerifyingKey::from_pem(Backend::default(), &bytes("pem/RSA_2048bit_public.pem")).unwrap();
    assert_eq!(traditional.thumbprint(), spki.thumbprint());
}

#[test]
fn a_key_for_one_kind_of_pss_signs_nothing_else() {
    let Some(_) = vectors(DATA) else { return };
    for (hash, own) in [("256", Algorithm::Ps256), ("384", Algorithm::Ps384), ("512", Algorithm::Ps512)] {
        for file in [
            format!("pem/RSA-PSS_2048bit_SHA-{hash}_public.pem"),
            format!("der/RSA-PSS_2048bit_SHA-{hash}_spki_public.der"),
        ] {
            let read = if file.ends_with(".pem") { VerifyingKey::from_pem } else { VerifyingKey::from_der };
            let key = read(Backend::default(), &bytes(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let fitting: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(|algorithm| key.fits(*algorithm)).collect();
            assert_eq!(fitting, [own], "{file}");
        }
    }
}

#[test]
fn private_keys_raw_forms_and_kinds_without_a_signature_are_refused_as_public_keys() {
    let Some(root) = vectors(DATA) else { return };
    let (mut pem, mut der) = (0, 0);
    for folder in ["pem", "der"] {
        for entry in std::fs::read_dir(root.join(DATA).join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let unusable = ["private", "448", "X25519"].iter().any(|mark| name.contains(mark));
            let usable = !unusable && (folder == "pem" || !name.contains("raw"));
            let data = bytes(&format!("{folder}/{name}"));
            let read = if folder == "pem" { VerifyingKey::from_pem } else { VerifyingKey::from_der };
            let result = read(Backend::default(), &data);
            assert_eq!(result.is_ok(), usable, "{folder}/{name}: {result:?}");
            if folder == "pem" && !name.contains("public") {
                assert_eq!(result.err(), Some(KeyError::PrivateKey), "{name}");
            }
            if usable {
                continue;
            }
            if folder == "pem" { pem += 1 } else { der += 1 }
        }
    }
    assert_eq!((pem, der), (25, 22));
}

#[test]
fn a_set_with_private_keys_in_it_yields_none_of_them() {
    let Some(text) = vector_file(&format!("{DATA}/jwks/test.jwks")) else { return };
    let set = KeySet::parse(Backend::default(), text.as_bytes()).unwrap();
    assert!(set.keys().is_empty());
    assert_eq!(set.skipped().iter().map(|key| key.reason()).collect::<Vec<_>>(), [KeyError::PrivateKey; 2]);
}

#[test]
fn what_we_sign_with_their_private_keys_their_public_keys_verify() {
    let Some(_) = vectors(DATA) else { return };
    for (name, algorithms) in [
        ("RSA", &[Algorithm::Rs256, Algorithm::Rs512, Algorithm::Ps384][..]),
        ("EC_P-256", &[Algorithm::Es256]),
        ("EC_P-384", &[Algorithm::Es384]),
        ("EC_P-521", &[Algorithm::Es512]),
        ("EC_secp256k1", &[Algorithm::Es256K]),
        ("OKP_Ed25519", &[Algorithm::Ed25519]),
    ] {
        for &algorithm in algorithms {
            let private = JsonObject::from_serialize(&jwk(&format!("{name}_private"))).unwrap();
            let signer = SigningKey::from_jwk(Backend::default(), algorithm, &private).unwrap();
            let signature = signer.sign(b"message").unwrap();
            let public = key(&jwk(&format!("{name}_public")), None).unwrap();
            assert!(public.verify(algorithm, b"message", &signature), "{name} {algorithm}");
            assert!(!public.verify(algorithm, b"massage", &signature), "{name} {algorithm}");
        }
    }
}

fn jwk(name: &str) -> serde_json::Value {
    vector_json(&format!("{DATA}/jwk/{name}.jwk")).unwrap()
}

fn bytes(path: &str) -> Vec<u8> {
    let root: PathBuf = vectors(DATA).unwrap();
    std::fs::read(root.join(DATA).join(path)).unwrap()
}
