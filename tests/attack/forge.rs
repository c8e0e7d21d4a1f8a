//! Tools of the forger: what our own crates refuse to make is made with OpenSSL.

use openssl::bn::BigNum;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use sekisho_core::json::JsonObject;
use sekisho_jwks::{KeyError, SigningKey, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend};
use sekisho_tests::encode;
use serde_json::{Value, json};

/// Hands the private key over to OpenSSL.
pub(crate) fn private(key: &SigningKey) -> PKey<Private> {
    PKey::private_key_from_der(&key.to_pkcs8_der().unwrap()).unwrap()
}

/// Lists the forms in which the public key lies about, each of which somebody has once taken for a secret.
pub(crate) fn public_forms(key: &SigningKey) -> Vec<(&'static str, Vec<u8>)> {
    let pkey = private(key);
    let pem = pkey.public_key_to_pem().unwrap();
    let text = String::from_utf8(pem.clone()).unwrap();
    let jwk = key.public_jwk().unwrap();
    let mut forms = vec![
        ("PEM", pem),
        ("PEM without the last newline", text.trim_end().into()),
        ("PEM with CRLF", text.replace('\n', "\r\n").into()),
        ("SPKI DER", pkey.public_key_to_der().unwrap()),
        ("JWK text", jwk.to_string().into()),
        ("key set text", json!({ "keys": [jwk] }).to_string().into()),
        ("kid", key.kid().into()),
    ];
    if let Ok(rsa) = pkey.rsa() {
        forms.push(("PKCS#1 PEM", rsa.public_key_to_pem_pkcs1().unwrap()));
        forms.push(("PKCS#1 DER", rsa.public_key_to_der_pkcs1().unwrap()));
        forms.push(("modulus", rsa.n().to_vec()));
        forms.push(("modulus as text", jwk["n"].as_str().unwrap().into()));
    }
    if pkey.ec_key().is_ok() {
        let point = [member(&jwk, "x"), member(&jwk, "y")].concat();
        let curve = [b"\0\0\0\x13ecdsa-sha2-nistp256\0\0\0\x08nistp256\0\0\0\x41\x04", &*point].concat();
        let ssh = format!("ecdsa-sha2-nistp256 {}", base64_simd::STANDARD.encode_to_string(curve));
        forms.push(("OpenSSH text", ssh.into()));
        forms.push(("04, x and y", [&[4], &*point].concat()));
        forms.push(("x and y", point));
        forms.push(("x", member(&jwk, "x")));
    }
    forms
}

/// Decodes a member of a JWK.
pub(crate) fn member(jwk: &Value, name: &str) -> Vec<u8> {
    sekisho_tests::decode(jwk[name].as_str().unwrap())
}

/// Computes an HMAC under any secret, an empty one too (RFC 2104).
pub(crate) fn hmac(algorithm: Algorithm, secret: &[u8], message: &[u8]) -> Vec<u8> {
    let (digest, block) = match algorithm {
        Algorithm::Hs256 => (MessageDigest::sha256(), 64),
        Algorithm::Hs384 => (MessageDigest::sha384(), 128),
        Algorithm::Hs512 => (MessageDigest::sha512(), 128),
        other => panic!("{other}"),
    };
    let mut key = if secret.len() > block { hash(digest, secret).unwrap().to_vec() } else { secret.to_vec() };
    key.resize(block, 0);
    let pad = |with: u8, rest: &[u8]| [key.iter().map(|byte| byte ^ with).collect::<Vec<_>>(), rest.to_vec()].concat();
    let inner = hash(digest, &pad(0x36, message)).unwrap();
    hash(digest, &pad(0x5c, &inner)).unwrap().to_vec()
}

/// Signs by HMAC under any secret.
pub(crate) fn mac_token(algorithm: Algorithm, header: &Value, payload: &str, secret: &[u8]) -> String {
    let input = sekisho_tests::input(header.to_string(), payload);
    let mac = hmac(algorithm, secret, input.as_bytes());
    format!("{input}.{}", encode(mac))
}

/// Signs by RSASSA-PSS with any salt and any hash of the mask.
pub(crate) fn pss(key: &SigningKey, salt: RsaPssSaltlen, mask: MessageDigest, message: &[u8]) -> Vec<u8> {
    let pkey = private(key);
    let mut signer = Signer::new(MessageDigest::sha256(), &pkey).unwrap();
    signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
    signer.set_rsa_pss_saltlen(salt).unwrap();
    signer.set_rsa_mgf1_md(mask).unwrap();
    signer.sign_oneshot_to_vec(message).unwrap()
}

/// Makes an RSA key of any size and exponent.
pub(crate) fn rsa(bits: u32, exponent: u32) -> Rsa<Private> {
    Rsa::generate_with_e(bits, &BigNum::from_u32(exponent).unwrap()).unwrap()
}

/// Writes a public RSA JWK.
pub(crate) fn rsa_jwk(n: &[u8], e: &[u8]) -> Value {
    json!({ "kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig", "n": encode(n), "e": encode(e) })
}

/// Reads a JWK as the owner's configuration would.
pub(crate) fn load(jwk: &Value) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::from_jwk(Backend::default(), &JsonObject::from_serialize(jwk).unwrap())
}

/// Uses the same RSA key for another algorithm.
pub(crate) fn recast(key: &SigningKey, algorithm: Algorithm) -> SigningKey {
    let der = key.to_pkcs8_der().unwrap();
    SigningKey::from_pkcs8_der(Backend::default(), algorithm, &der).unwrap().with_kid(key.kid())
}
