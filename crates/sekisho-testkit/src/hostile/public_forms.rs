//! The forms in which a public key is lying about, each of which somebody has once used as an HMAC secret.

use serde_json::Value;

use super::der::{bit_string, minimal, sequence, unsigned};

/// Is one form: a name, and its bytes.
pub(super) struct PublicForm {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// Lists the forms of a public JWK.
pub(super) fn public_forms(jwk: &Value) -> Vec<PublicForm> {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded = |name: &str| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(member(name)).unwrap_or_default();
    let mut forms = Vec::new();
    let mut push = |name, bytes: Vec<u8>| forms.push(PublicForm { name, bytes });
    let spki = spki(jwk);
    let pem = pem("PUBLIC KEY", &spki);
    push("PEM", pem.clone().into_bytes());
    push("PEM without its last newline", pem.trim_end().as_bytes().to_vec());
    push("PEM with CRLF", pem.replace('\n', "\r\n").into_bytes());
    push("SPKI DER", spki);
    push("JWK text", jwk.to_string().into_bytes());
    push("key set text", format!("{{\"keys\":[{jwk}]}}").into_bytes());
    push("kid", member("kid").into_bytes());
    push("OpenSSH text", openssh(jwk).into_bytes());
    match member("kty").as_str() {
        "RSA" => {
            let pkcs1 = sequence(&[&unsigned(&decoded("n")), &unsigned(&decoded("e"))]);
            push("PKCS#1 PEM", self::pem("RSA PUBLIC KEY", &pkcs1).into_bytes());
            push("PKCS#1 DER", pkcs1);
            push("modulus", decoded("n"));
            push("modulus as base64url", member("n").into_bytes());
        }
        "EC" => {
            let point = [decoded("x"), decoded("y")].concat();
            push("04, x and y", [&[4], &*point].concat());
            push("x and y", point);
            push("x", decoded("x"));
            push("x as base64url", member("x").into_bytes());
        }
        _ => {
            push("raw key", decoded("x"));
            push("raw key as base64url", member("x").into_bytes());
        }
    }
    forms
}

/// Writes a `SubjectPublicKeyInfo` (RFC 5280 §4.1).
pub(super) fn spki(jwk: &Value) -> Vec<u8> {
    let member = |name: &str| {
        let text = jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).unwrap_or_default()
    };
    let point = || bit_string(&[&[4], &*member("x"), &*member("y")].concat());
    match jwk.get("crv").and_then(Value::as_str) {
        None => {
            let pkcs1 = sequence(&[&unsigned(&member("n")), &unsigned(&member("e"))]);
            sequence(&[&sequence(&[RSA_ENCRYPTION, b"\x05\x00"]), &bit_string(&pkcs1)])
        }
        Some("P-384") => sequence(&[&sequence(&[EC_PUBLIC_KEY, b"\x06\x05\x2b\x81\x04\x00\x22"]), &point()]),
        Some("P-521") => sequence(&[&sequence(&[EC_PUBLIC_KEY, b"\x06\x05\x2b\x81\x04\x00\x23"]), &point()]),
        Some("secp256k1") => sequence(&[&sequence(&[EC_PUBLIC_KEY, b"\x06\x05\x2b\x81\x04\x00\x0a"]), &point()]),
        Some("P-256") => sequence(&[&sequence(&[EC_PUBLIC_KEY, PRIME256V1]), &point()]),
        Some(_) => sequence(&[&sequence(&[b"\x06\x03\x2b\x65\x70"]), &bit_string(&member("x"))]),
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64_simd::STANDARD.encode_to_string(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for (place, letter) in text.chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            out.push('\n');
        }
        out.push(letter);
    }
    out + &format!("\n-----END {label}-----\n")
}

/// Writes the line of `authorized_keys` (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4).
fn openssh(jwk: &Value) -> String {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
    let bytes = |name: &str| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text(name)).unwrap_or_default();
    let point = || [&[4], &*bytes("x"), &*bytes("y")].concat();
    let (kind, rest): (&str, Vec<Vec<u8>>) = match text("crv") {
        "P-256" => ("ecdsa-sha2-nistp256", vec![b"nistp256".to_vec(), point()]),
        "P-384" => ("ecdsa-sha2-nistp384", vec![b"nistp384".to_vec(), point()]),
        "P-521" => ("ecdsa-sha2-nistp521", vec![b"nistp521".to_vec(), point()]),
        "" => ("ssh-rsa", vec![minimal(&bytes("e")), minimal(&bytes("n"))]),
        _ => ("ssh-ed25519", vec![bytes("x")]),
    };
    let mut blob = Vec::new();
    for field in std::iter::once(kind.as_bytes().to_vec()).chain(rest) {
        let length = u32::try_from(field.len()).unwrap_or_default();
        blob.extend_from_slice(&length.to_be_bytes());
        blob.extend_from_slice(&field);
    }
    format!("{kind} {}", base64_simd::STANDARD.encode_to_string(blob))
}

const RSA_ENCRYPTION: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const EC_PUBLIC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
const PRIME256V1: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
