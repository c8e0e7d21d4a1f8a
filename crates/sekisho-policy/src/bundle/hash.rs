//! The hash of one file as OPA's signatures have it.
//!
//! Files with structure, `data.json` and `.manifest`, are hashed by what they say: members sorted by name, no white space, numbers
//! as they are written, strings with the fewest escapes. All others are hashed by their bytes.

use std::collections::BTreeMap;

use sekisho_core::json::JsonObject;
use sekisho_jwt::{Algorithm, Backend};
use serde_json::value::RawValue;

use super::{BundleError, DATA, MANIFEST, is_named};

/// Is a hash that a signature may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashAlgorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl HashAlgorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "SHA-256" => Some(Self::Sha256),
            "SHA-384" => Some(Self::Sha384),
            "SHA-512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Hashes a file, given by its name and content.
    pub(super) fn digest(self, backend: Backend, name: &str, content: &[u8]) -> Result<Vec<u8>, BundleError> {
        // The algorithm of a signature stands for the hash in it.
        let algorithm = match self {
            Self::Sha256 => Algorithm::Es256,
            Self::Sha384 => Algorithm::Es384,
            Self::Sha512 => Algorithm::Rs512,
        };
        if is_named(name, DATA) || is_named(name, MANIFEST) {
            let value = StrictJson::parse(content)?;
            let mut canonical = Vec::with_capacity(content.len());
            canonicalize(value.text(), &mut canonical)?;
            return Ok(backend.digest_of(algorithm, &canonical));
        }
        Ok(backend.digest_of(algorithm, content))
    }
}

/// Is any JSON value, checked as [`JsonObject`] checks an object.
pub(super) struct StrictJson(JsonObject);

impl StrictJson {
    pub(super) fn parse(content: &[u8]) -> Result<Self, BundleError> {
        let mut text = Vec::with_capacity(content.len() + 6);
        text.extend_from_slice(b"{\"v\":");
        text.extend_from_slice(content);
        text.push(b'}');
        let object = JsonObject::parse(text).map_err(|_| BundleError::Json)?;
        // `1,"w":2` would be two members.
        if object.len() == 1 { Ok(Self(object)) } else { Err(BundleError::Json) }
    }

    pub(super) fn text(&self) -> &str {
        self.0.get("v").map_or("null", |value| value.as_json())
    }
}

/// Writes a checked value in the one form that is hashed. Its depth was bounded when it was checked.
fn canonicalize(raw: &str, out: &mut Vec<u8>) -> Result<(), BundleError> {
    let json = |_| BundleError::Json;
    match raw.as_bytes().first() {
        Some(b'{') => {
            // Sorted by the bytes of the name.
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(raw).map_err(json)?;
            out.push(b'{');
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(name, out)?;
                out.push(b':');
                canonicalize(value.get(), out)?;
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(raw).map_err(json)?;
            out.push(b'[');
            for (index, value) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonicalize(value.get(), out)?;
            }
            out.push(b']');
        }
        Some(b'"') => string(&serde_json::from_str::<String>(raw).map_err(json)?, out)?,
        _ => out.extend_from_slice(raw.as_bytes()),
    }
    Ok(())
}

/// Writes a string as Go's encoder does: like `serde_json`, but the two line separators that JavaScript minds are escaped.
fn string(text: &str, out: &mut Vec<u8>) -> Result<(), BundleError> {
    let written = serde_json::to_string(text).map_err(|_| BundleError::Json)?;
    if written.contains(['\u{2028}', '\u{2029}']) {
        out.extend_from_slice(written.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").as_bytes());
    } else {
        out.extend_from_slice(written.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> String {
        let value = StrictJson::parse(json.as_bytes()).unwrap();
        let mut out = Vec::new();
        canonicalize(value.text(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_says_the_same_has_one_form() {
        for (json, expected) in [
            (r#" { "b" : 1 , "a" : [ true , null ] } "#, r#"{"a":[true,null],"b":1}"#),
            (r#"{"\u0062":{"d":1,"c":2}}"#, r#"{"b":{"c":2,"d":1}}"#),
            (r#"[1.50, 1e3, -0, 10000000000000000000001]"#, "[1.50,1e3,-0,10000000000000000000001]"),
            (r#""<a href=\"x\">&\/\u00e9\u0007""#, r#""<a href=\"x\">&/é\u0007""#),
            ("\"\u{2028}x\\u2029\u{7f}\"", "\"\\u2028x\\u2029\u{7f}\""),
            (r#"{"é":1,"z":2,"a":3,"B":4}"#, r#"{"B":4,"a":3,"z":2,"é":1}"#),
            ("{}", "{}"),
            ("[]", "[]"),
        ] {
            assert_eq!(canonical(json), expected);
        }
    }

    #[test]
    fn what_means_two_things_to_two_readers_is_refused() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        for json in [
            "",
            "{",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            "1,\"w\":2",
            "1}",
            "{}{}",
            "NaN",
            "\u{feff}{}",
            &deep,
        ] {
            assert!(StrictJson::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
