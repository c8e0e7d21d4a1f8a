//! Encrypted tokens: what is opened, and what is refused before anything is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use base64_simd::URL_SAFE_NO_PAD as BASE64;
use josekit::jwk::alg::ec::{EcCurve, EcKeyPair};
use josekit::jwk::alg::rsa::RsaKeyPair;
use sekisho_jwt::jwks::{SigningKey, StaticKeys};
use sekisho_jwt::{
    Algorithm, Backend, ContentEncryption, DecryptionKey, Jwt, KeyManagement, Refusal, Reject, Signer, UnixSeconds,
    Verifier, encrypt,
};
use serde_json::{Value, json};

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const SECRET: [u8; 32] = [9; 32];

fn signed() -> (SigningKey, String) {
    let key = SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap();
    let claims = json!({"iss": "https://id.example", "aud": "api", "sub": "alice", "exp": NOW.as_secs() + 60});
    let token = Signer::new(key.clone()).sign(&claims).unwrap();
    (key, token)
}

fn verifier(key: &SigningKey, decryption: impl IntoIterator<Item = DecryptionKey>) -> Verifier {
    let keys = StaticKeys::new([key.verifying_key()]);
    let builder = Jwt::issuer("https://id.example").audience("api").with_keys(keys).with_max_token_bytes(20_000);
    decryption.into_iter().fold(builder, |builder, key| builder.with_decryption_key(key)).build().unwrap()
}

fn answer(verifier: &Verifier, token: &str) -> Result<String, Reject> {
    match verifier.verify_now(token, NOW).unwrap() {
        Ok(principal) => Ok(principal.subject().to_owned()),
        Err(Refusal::Reject(reject)) => Err(reject),
        Err(Refusal::Failure(failure)) => panic!("{failure}"),
    }
}

fn direct() -> (Verifier, String) {
    let (key, token) = signed();
    let encrypted = encrypt(&token, KeyManagement::Direct, ContentEncryption::A256Gcm, None, &SECRET).unwrap();
    (verifier(&key, [DecryptionKey::direct(ContentEncryption::A256Gcm, &SECRET).unwrap()]), encrypted)
}

/// Replaces one of the five parts.
fn with_part(token: &str, index: usize, part: &str) -> String {
    let mut parts: Vec<_> = token.split('.').collect();
    parts[index] = part;
    parts.join(".")
}

fn with_header(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut header: Value =
        serde_json::from_slice(&BASE64.decode_to_vec(token.split('.').next().unwrap()).unwrap()).unwrap();
    change(&mut header);
    with_part(token, 0, &BASE64.encode_to_string(header.to_string()))
}

#[test]
fn opens_a_signed_token_by_every_algorithm() {
    let (key, token) = signed();
    let rsa = RsaKeyPair::generate(2048).unwrap();
    let ec = EcKeyPair::generate(EcCurve::P256).unwrap();
    use ContentEncryption::{A128CbcHs256, A128Gcm, A192CbcHs384, A192Gcm, A256CbcHs512, A256Gcm};
    use KeyManagement::{EcdhEs, EcdhEsA128Kw, EcdhEsA192Kw, EcdhEsA256Kw, RsaOaep, RsaOaep256};
    for management in [RsaOaep, RsaOaep256, EcdhEs, EcdhEsA128Kw, EcdhEsA192Kw, EcdhEsA256Kw] {
        let (public, private) = match management {
            RsaOaep | RsaOaep256 => (rsa.to_pem_public_key(), rsa.to_pem_private_key()),
            _ => (ec.to_pem_public_key(), ec.to_pem_private_key()),
        };
        let verifier = verifier(&key, [DecryptionKey::from_pem(management, &private).unwrap()]);
        for encryption in [A128Gcm, A192Gcm, A256Gcm, A128CbcHs256, A192CbcHs384, A256CbcHs512] {
            let encrypted = encrypt(&token, management, encryption, Some("k"), &public).unwrap();
            assert_eq!(answer(&verifier, &encrypted).as_deref(), Ok("alice"), "{management:?} {encryption:?}");
        }
    }
    let (verifier, encrypted) = direct();
    assert_eq!(answer(&verifier, &encrypted).as_deref(), Ok("alice"));
}

#[test]
fn refuses_algorithms_that_are_absent_on_purpose() {
    let (verifier, encrypted) = direct();
    for alg in ["RSA1_5", "PBES2-HS256+A128KW", "A128KW", "A256GCMKW", "none", "RSA-OAEP", ""] {
        let changed = with_header(&encrypted, |header| header["alg"] = json!(alg));
        assert_eq!(answer(&verifier, &changed), Err(Reject::UnknownKey), "{alg}");
    }
    for enc in [json!("A256GCM "), json!("none"), json!(1), json!(null)] {
        let changed = with_header(&encrypted, |header| header["enc"] = enc.clone());
        assert_eq!(answer(&verifier, &changed), Err(Reject::Algorithm), "{enc}");
    }
}

#[test]
fn refuses_compression_extensions_and_what_is_not_nested() {
    let (verifier, encrypted) = direct();
    let changed = |name: &str, value: Value| with_header(&encrypted, |header| header[name] = value);
    assert_eq!(answer(&verifier, &changed("zip", json!("DEF"))), Err(Reject::Malformed));
    assert_eq!(answer(&verifier, &changed("crit", json!(["exp"]))), Err(Reject::Critical));
    assert_eq!(answer(&verifier, &changed("cty", json!("text"))), Err(Reject::Type));
    assert_eq!(answer(&verifier, &changed("kid", json!(7))), Err(Reject::Malformed));
    let without = with_header(&encrypted, |header| {
        header.as_object_mut().unwrap().remove("cty");
    });
    assert_eq!(answer(&verifier, &without), Err(Reject::Type));
}

#[test]
fn refuses_claims_that_were_encrypted_but_not_signed() {
    let (verifier, encrypted) = direct();
    let mut header = josekit::jwe::JweHeader::new();
    header.set_content_encryption("A256GCM");
    header.set_content_type("JWT");
    let encrypter = josekit::jwe::Dir.encrypter_from_bytes(SECRET).unwrap();
    let claims = json!({"iss": "https://id.example", "aud": "api", "sub": "alice", "exp": NOW.as_secs() + 60});
    for content in [claims.to_string(), encrypted, String::new(), "a.b.c".to_owned()] {
        if content.is_empty() {
            continue;
        }
        let token = josekit::jwe::serialize_compact(content.as_bytes(), &header, &encrypter).unwrap();
        assert!(answer(&verifier, &token).is_err(), "{content}");
    }
}

#[test]
fn refuses_every_wrong_length_and_every_changed_byte() {
    let (verifier, encrypted) = direct();
    let parts: Vec<_> = encrypted.split('.').collect();
    // A key part where none belongs; nonces and tags of every other length.
    assert_eq!(answer(&verifier, &with_part(&encrypted, 1, "AAAA")), Err(Reject::Malformed));
    for length in (0..20).filter(|length| *length != 12) {
        let nonce = BASE64.encode_to_string(vec![0; length]);
        assert_eq!(answer(&verifier, &with_part(&encrypted, 2, &nonce)), Err(Reject::Malformed), "nonce of {length}");
    }
    let tag = BASE64.decode_to_vec(parts[4]).unwrap();
    for length in 0..16 {
        let cut = BASE64.encode_to_string(&tag[..length]);
        assert_eq!(answer(&verifier, &with_part(&encrypted, 4, &cut)), Err(Reject::Malformed), "tag of {length}");
    }
    for index in [2, 3, 4] {
        let mut bytes = BASE64.decode_to_vec(parts[index]).unwrap();
        bytes[0] ^= 1;
        let changed = with_part(&encrypted, index, &BASE64.encode_to_string(bytes));
        assert_eq!(answer(&verifier, &changed), Err(Reject::Signature), "part {index}");
    }
    let more = with_header(&encrypted, |header| header["extra"] = json!(1));
    assert_eq!(answer(&verifier, &more), Err(Reject::Signature));
}

#[test]
fn refuses_every_wrong_length_of_the_encrypted_key() {
    let (key, token) = signed();
    let (rsa, other) = (RsaKeyPair::generate(2048).unwrap(), RsaKeyPair::generate(3072).unwrap());
    let ec = EcKeyPair::generate(EcCurve::P256).unwrap();
    use KeyManagement::{EcdhEs, EcdhEsA128Kw, EcdhEsA192Kw, EcdhEsA256Kw, RsaOaep, RsaOaep256};
    for management in [RsaOaep, RsaOaep256, EcdhEs, EcdhEsA128Kw, EcdhEsA192Kw, EcdhEsA256Kw, KeyManagement::Direct] {
        for (encryption, content_key) in [(ContentEncryption::A256Gcm, 32), (ContentEncryption::A128CbcHs256, 32)] {
            let (right, public, private) = match management {
                RsaOaep | RsaOaep256 => (256, rsa.to_pem_public_key(), rsa.to_pem_private_key()),
                KeyManagement::Direct => (0, SECRET.to_vec(), Vec::new()),
                EcdhEs => (0, ec.to_pem_public_key(), ec.to_pem_private_key()),
                _ => (content_key + 8, ec.to_pem_public_key(), ec.to_pem_private_key()),
            };
            let decryption = match management {
                KeyManagement::Direct => DecryptionKey::direct(encryption, &SECRET),
                _ => DecryptionKey::from_pem(management, &private),
            };
            let verifier = verifier(&key, [decryption.unwrap()]);
            let encrypted = encrypt(&token, management, encryption, None, &public).unwrap();
            for length in (0..80).chain([255, 256, 257, 384]) {
                let changed = with_part(&encrypted, 1, &BASE64.encode_to_string(vec![7; length]));
                let expected = match length {
                    0 if right == 0 => Ok("alice".to_owned()),
                    _ if length == right => Err(Reject::Signature),
                    _ => Err(Reject::Malformed),
                };
                assert_eq!(answer(&verifier, &changed), expected, "{management:?} {encryption:?} {length}");
            }
        }
    }
    // A key of another size is passed over for the one that fits.
    let pair = [other, rsa.clone()].map(|rsa| DecryptionKey::from_pem(RsaOaep, &rsa.to_pem_private_key()).unwrap());
    let encrypted = encrypt(&token, RsaOaep, ContentEncryption::A256Gcm, None, &rsa.to_pem_public_key()).unwrap();
    assert_eq!(answer(&verifier(&key, pair), &encrypted).as_deref(), Ok("alice"));
}

#[test]
fn without_a_decryption_key_an_encrypted_token_is_malformed() {
    let (key, _) = signed();
    let (_, encrypted) = direct();
    assert_eq!(answer(&verifier(&key, []), &encrypted), Err(Reject::Malformed));
}

#[test]
fn refuses_secrets_of_another_length_and_keys_of_another_kind() {
    assert!(DecryptionKey::direct(ContentEncryption::A256Gcm, &[0; 16]).is_err());
    let ec = EcKeyPair::generate(EcCurve::P256).unwrap().to_pem_private_key();
    assert!(DecryptionKey::from_pem(KeyManagement::RsaOaep, &ec).is_err());
    assert!(DecryptionKey::from_pem(KeyManagement::Direct, &ec).is_err());
    assert!(DecryptionKey::from_pem(KeyManagement::EcdhEs, b"-----BEGIN").is_err());
    let key = DecryptionKey::direct(ContentEncryption::A256Gcm, &SECRET).unwrap().with_kid("k");
    assert_eq!(format!("{key:?}"), "DecryptionKey(dir, kid Some(\"k\"))");
}

#[test]
fn one_signed_token_in_many_envelopes_fills_one_place_of_the_cache() {
    let (key, token) = signed();
    let verifier = verifier(&key, [DecryptionKey::direct(ContentEncryption::A256Gcm, &SECRET).unwrap()]);
    for _ in 0..10 {
        let envelope = encrypt(&token, KeyManagement::Direct, ContentEncryption::A256Gcm, None, &SECRET).unwrap();
        assert_eq!(answer(&verifier, &envelope).as_deref(), Ok("alice"));
    }
    assert_eq!(answer(&verifier, &token).as_deref(), Ok("alice"));
    assert_eq!(verifier.cached_tokens(), 1);
}

#[test]
fn a_shared_secret_is_for_the_one_encryption_it_was_given_for() {
    let (key, token) = signed();
    let other = encrypt(&token, KeyManagement::Direct, ContentEncryption::A128CbcHs256, None, &SECRET).unwrap();
    let verifier = verifier(&key, [DecryptionKey::direct(ContentEncryption::A256Gcm, &SECRET).unwrap()]);
    assert_eq!(answer(&verifier, &other), Err(Reject::UnknownKey));
}

#[tokio::test]
async fn the_explanation_shows_envelope_and_letter() {
    let (verifier, encrypted) = direct();
    let trace = verifier.explain(&encrypted, NOW).await;
    let names: Vec<_> = trace.steps().iter().take(3).map(|step| step.step().name()).collect();
    assert_eq!(names, ["form", "decryption", "form"]);
}
