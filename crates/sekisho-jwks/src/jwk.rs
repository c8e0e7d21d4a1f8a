//! JSON Web Keys: reading one, writing a public one, and thumbprints.

use std::borrow::Cow;

use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::json::{JsonKind, JsonObject};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::key::{MAX_KID, PublicMaterial, Restriction};
use crate::{Algorithm, Backend, KeyError, KeyFamily, VerifyingKey};

/// Where a JWK stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a document that others can read too.
    Published,
    /// In the owner's own configuration.
    Trusted,
}

/// The members that hold secrets, of every key type (RFC 7518 §6.2.2, §6.3.2; RFC 8037 §2; RFC 9864 registry `priv`).
pub(crate) const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// Reads a JWK for verifying.
pub(crate) fn read(backend: Backend, jwk: &JsonObject, place: Place) -> Result<VerifyingKey, KeyError> {
    // Secrets first: that somebody published one matters more than any other fault of the key.
    if place == Place::Published && jwk.get("kty").and_then(|kty| kty.as_str()).is_some_and(|kty| kty == "oct") {
        return Err(KeyError::PublishedSecret);
    }
    // Libraries that write every field of a structure write `null` for those that are not there.
    if PRIVATE_MEMBERS.iter().any(|name| jwk.get(name).is_some_and(|value| value.kind() != JsonKind::Null)) {
        return Err(KeyError::PrivateKey);
    }
    let kty = string(jwk, "kty")?.ok_or(KeyError::Malformed("`kty` is missing"))?;
    let kid = key_id(jwk)?;
    check_use(jwk, "verify")?;
    let algorithm = algorithm(jwk)?;
    let key = if kty == "oct" {
        let secret = Zeroizing::new(base64url(jwk, "k")?);
        VerifyingKey::hmac(backend, algorithm.ok_or(KeyError::Algorithm)?, &secret)?
    } else {
        let material = public_material(jwk, &kty)?;
        let restriction = match algorithm {
            Some(alg) if alg.family() != material.family() => return Err(KeyError::Algorithm),
            Some(alg) => Restriction::Only(alg),
            None => Restriction::None,
        };
        VerifyingKey::from_material(backend, material, restriction)?
    };
    Ok(match kid {
        Some(kid) => key.with_kid(&kid),
        None => key,
    })
}

/// Reads the public members.
pub(crate) fn public_material(jwk: &JsonObject, kty: &str) -> Result<PublicMaterial, KeyError> {
    match kty {
        "RSA" => PublicMaterial::rsa(&base64url(jwk, "n")?, &base64url(jwk, "e")?),
        "EC" => {
            let family = match curve(jwk)?.as_ref() {
                "P-256" => KeyFamily::P256,
                "P-384" => KeyFamily::P384,
                "P-521" => KeyFamily::P521,
                "secp256k1" => KeyFamily::Secp256k1,
                _ => return Err(KeyError::UnsupportedType),
            };
            PublicMaterial::ec(family, &base64url(jwk, "x")?, &base64url(jwk, "y")?)
        }
        "OKP" if curve(jwk)? == "Ed25519" => PublicMaterial::ed25519(&base64url(jwk, "x")?),
        _ => Err(KeyError::UnsupportedType),
    }
}

/// Writes the public JWK. Members stand in alphabetical order.
pub(crate) fn write(material: &PublicMaterial, kid: Option<&str>, algorithm: Option<Algorithm>) -> Value {
    let mut jwk = required_members(material);
    jwk.insert("use".into(), "sig".into());
    if let Some(kid) = kid {
        jwk.insert("kid".into(), kid.into());
    }
    if let Some(algorithm) = algorithm {
        jwk.insert("alg".into(), algorithm.name().into());
    }
    Value::Object(jwk)
}

/// Computes the SHA-256 thumbprint ([RFC 7638 §3](https://www.rfc-editor.org/rfc/rfc7638#section-3)).
pub(crate) fn thumbprint(backend: Backend, material: &PublicMaterial) -> String {
    // RFC 7638 §3.3: the required members only, sorted by name, without white space. None of the
    // values needs an escape, and the sorting here does not hang on a feature of `serde_json`.
    let members = required_members(material);
    let mut members: Vec<(&String, &Value)> = members.iter().collect();
    members.sort_unstable_by_key(|(name, _)| name.as_str());
    let members: Vec<String> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let text = format!("{{{}}}", members.join(","));
    URL_SAFE_NO_PAD.encode_to_string(backend.driver().sha256(text.as_bytes()))
}

fn required_members(material: &PublicMaterial) -> Map<String, Value> {
    let encode = |bytes: &[u8]| Value::from(URL_SAFE_NO_PAD.encode_to_string(bytes));
    let mut jwk = Map::new();
    let (kty, curve) = match material.family() {
        KeyFamily::Rsa => ("RSA", None),
        KeyFamily::P256 => ("EC", Some("P-256")),
        KeyFamily::P384 => ("EC", Some("P-384")),
        KeyFamily::P521 => ("EC", Some("P-521")),
        KeyFamily::Secp256k1 => ("EC", Some("secp256k1")),
        KeyFamily::Ed25519 => ("OKP", Some("Ed25519")),
        KeyFamily::Hmac => ("oct", None),
    };
    jwk.insert("kty".into(), kty.into());
    if let Some(curve) = curve {
        jwk.insert("crv".into(), curve.into());
    }
    match material {
        PublicMaterial::Rsa { n, e } => {
            jwk.insert("n".into(), encode(n));
            jwk.insert("e".into(), encode(e));
        }
        PublicMaterial::Ec { .. } => {
            if let Some((x, y)) = material.coordinates() {
                jwk.insert("x".into(), encode(x));
                jwk.insert("y".into(), encode(y));
            }
        }
        PublicMaterial::Ed25519(key) => {
            jwk.insert("x".into(), encode(key));
        }
    }
    jwk
}

/// Reads `kid`.
pub(crate) fn key_id(jwk: &JsonObject) -> Result<Option<Cow<'_, str>>, KeyError> {
    let kid = string(jwk, "kid")?;
    if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
        return Err(KeyError::KeyIdTooLong);
    }
    Ok(kid)
}

/// Reads `alg`; an algorithm for something else than signatures is an error.
pub(crate) fn algorithm(jwk: &JsonObject) -> Result<Option<Algorithm>, KeyError> {
    let Some(name) = string(jwk, "alg")? else { return Ok(None) };
    if name == "dir"
        || ["RSA1_5", "RSA-OAEP", "ECDH-ES", "A128", "A192", "A256", "PBES2"].iter().any(|p| name.starts_with(p))
    {
        return Err(KeyError::NotForSignatures("`alg` is one of encryption"));
    }
    Algorithm::from_name(&name).map(Some).ok_or(KeyError::Algorithm)
}

/// Checks `use` and `key_ops` ([RFC 7517 §4.2, §4.3](https://www.rfc-editor.org/rfc/rfc7517#section-4.2)).
pub(crate) fn check_use(jwk: &JsonObject, operation: &str) -> Result<(), KeyError> {
    if string(jwk, "use")?.is_some_and(|usage| usage != "sig") {
        return Err(KeyError::NotForSignatures("`use` is not `sig`"));
    }
    let Some(operations) = jwk.get("key_ops") else { return Ok(()) };
    const MALFORMED: KeyError = KeyError::Malformed("`key_ops` is not an array of different strings");
    if operations.kind() != JsonKind::Array {
        return Err(MALFORMED);
    }
    let mut operations = operations.as_strings().ok_or(MALFORMED)?;
    let count = operations.len();
    operations.sort_unstable();
    operations.dedup();
    if operations.len() != count {
        return Err(MALFORMED);
    }
    if !operations.iter().any(|op| op == operation) {
        return Err(KeyError::NotForSignatures("`key_ops` does not allow it"));
    }
    // One key for signatures and for encryption is what RFC 7517 §4.3 warns of.
    let mixed = ["encrypt", "decrypt", "wrapKey", "unwrapKey", "deriveKey", "deriveBits"];
    if operations.iter().any(|op| mixed.contains(&op.as_ref())) {
        return Err(KeyError::NotForSignatures("`key_ops` mixes signatures and encryption"));
    }
    Ok(())
}

/// Reads a member that must be a string if it is there.
pub(crate) fn string<'a>(jwk: &'a JsonObject, name: &str) -> Result<Option<Cow<'a, str>>, KeyError> {
    jwk.get(name)
        .map(|value| value.as_str().ok_or(KeyError::Malformed("a member that must be a string is not")))
        .transpose()
}

/// Reads a member of unpadded base64url.
pub(crate) fn base64url(jwk: &JsonObject, name: &str) -> Result<Vec<u8>, KeyError> {
    let text = string(jwk, name)?.ok_or(KeyError::Malformed("a required member is missing"))?;
    URL_SAFE_NO_PAD
        .decode_to_vec(text.as_bytes())
        .map_err(|_| KeyError::Malformed("a member is not unpadded base64url"))
}

fn curve(jwk: &JsonObject) -> Result<Cow<'_, str>, KeyError> {
    string(jwk, "crv")?.ok_or(KeyError::Malformed("`crv` is missing"))
}
