use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;
use sekisho_core::Reject;
use sekisho_core::json::{JsonKind, JsonObject};

use crate::Algorithm;
use crate::compact::parse_object;

/// Bounds `kid`, in bytes.
const LONGEST_KID: usize = 256;
/// Bounds `typ`, in bytes; the longest registered one has 27.
const LONGEST_TYPE: usize = 64;
/// A header longer than this, still encoded, is parsed each time rather than remembered.
const LONGEST_REMEMBERED: usize = 512;
/// How many headers are remembered; an issuer uses one for each signing key and kind of token.
const REMEMBERED: usize = 128;

/// Is what a JOSE header says, as far as it is used. Keys and URLs in it (`jwk`, `jku`, `x5u`, `x5c`) are never looked at:
/// a key comes from the configured source or not at all.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<Box<str>>,
    /// `typ` in lower case, without the prefix `application/` that RFC 7515 §4.1.9 lets a writer leave out.
    pub(crate) kind: Option<Box<str>>,
}

impl Header {
    /// Reads a protected header that is still encoded.
    pub(crate) fn parse(encoded: &str) -> Result<Self, Reject> {
        Self::read(&parse_object(encoded)?)
    }

    /// Reads the members of a protected header.
    pub(crate) fn read(members: &JsonObject) -> Result<Self, Reject> {
        // RFC 7515 §4.1.11: no extension is understood here, so each `crit` is refused, well formed or not.
        // `b64` (RFC 7797) has no meaning without it, and would change what the signature covers.
        if members.get("crit").is_some() || members.get("b64").is_some() {
            return Err(Reject::Critical);
        }
        // Compression belongs to JWE. A reader that honoured it here would see other claims than we do.
        if members.get("zip").is_some() {
            return Err(Reject::Malformed);
        }
        let name = members.get("alg").ok_or(Reject::Algorithm)?.as_str().ok_or(Reject::Algorithm)?;
        let algorithm = Algorithm::from_name(&name).ok_or(Reject::Algorithm)?;
        Ok(Self { algorithm, kid: kid(members)?, kind: kind(members)? })
    }
}

/// Reads `kid`: a string of at most 256 bytes without control characters.
fn kid(members: &JsonObject) -> Result<Option<Box<str>>, Reject> {
    let Some(value) = members.get("kid") else { return Ok(None) };
    let kid = value.as_str().ok_or(Reject::Malformed)?;
    if kid.len() > LONGEST_KID || kid.chars().any(char::is_control) {
        return Err(Reject::Malformed);
    }
    Ok(Some(kid.into()))
}

fn kind(members: &JsonObject) -> Result<Option<Box<str>>, Reject> {
    let Some(value) = members.get("typ") else { return Ok(None) };
    if value.kind() != JsonKind::String {
        return Err(Reject::Malformed);
    }
    let kind = value.as_str().ok_or(Reject::Malformed)?;
    if kind.len() > LONGEST_TYPE || !kind.is_ascii() {
        return Err(Reject::Type);
    }
    Ok(Some(normal_type(&kind).into()))
}

/// Brings a media type to the form in which it is compared.
pub(crate) fn normal_type(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => lower,
    }
}

/// Remembers what headers mean, by their encoded text, so that the usual token's header is parsed once.
///
/// Only headers of tokens whose signature held get in, so nobody else can fill it.
pub(crate) struct HeaderMemo(Cache<Box<str>, Arc<Header>>);

impl HeaderMemo {
    pub(crate) fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    pub(crate) fn get(&self, encoded: &str) -> Option<Arc<Header>> {
        if encoded.len() > LONGEST_REMEMBERED {
            return None;
        }
        self.0.get(encoded)
    }

    pub(crate) fn insert(&self, encoded: &str, header: &Arc<Header>) {
        if encoded.len() <= LONGEST_REMEMBERED {
            self.0.insert(encoded.into(), Arc::clone(header));
        }
    }
}

impl fmt::Debug for HeaderMemo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderMemo")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base64;

    fn parse(json: &str) -> Result<Header, Reject> {
        Header::parse(&base64::encode(json.as_bytes()))
    }

    #[test]
    fn reads_what_is_used() {
        let header = parse(r#"{"alg":"RS256","typ":"application/AT+JWT","kid":"k1","x5t":"ignored"}"#).expect("good");
        assert_eq!(header.algorithm, Algorithm::Rs256);
        assert_eq!(header.kind.as_deref(), Some("at+jwt"));
        assert_eq!(header.kid.as_deref(), Some("k1"));
    }

    #[test]
    fn refuses_every_algorithm_it_does_not_know() {
        for alg in [
            r#""none""#,
            r#""None""#,
            r#""nOnE""#,
            r#""""#,
            "256",
            "null",
            "[]",
            r#"["RS256"]"#,
            "true",
            r#""rs256""#,
            r#""RS257""#,
            r#""HS1""#,
        ] {
            assert_eq!(parse(&format!(r#"{{"alg":{alg}}}"#)).err(), Some(Reject::Algorithm), "{alg}");
        }
        assert_eq!(parse("{}").err(), Some(Reject::Algorithm));
    }

    #[test]
    fn refuses_extensions_and_compression() {
        for member in [
            r#""crit":["exp2"],"exp2":1"#,
            r#""crit":[]"#,
            r#""crit":"x""#,
            r#""b64":false"#,
            r#""b64":true"#,
            r#""crit":["b64"],"b64":false"#,
        ] {
            assert_eq!(parse(&format!(r#"{{"alg":"RS256",{member}}}"#)).err(), Some(Reject::Critical), "{member}");
        }
        assert_eq!(parse(r#"{"alg":"RS256","zip":"DEF"}"#).err(), Some(Reject::Malformed));
    }

    #[test]
    fn refuses_duplicates_also_when_one_is_written_with_an_escape() {
        assert_eq!(parse(r#"{"alg":"none","alg":"RS256"}"#).err(), Some(Reject::DuplicateMember));
        assert_eq!(parse(r#"{"alg":"RS256","\u0061lg":"none"}"#).err(), Some(Reject::DuplicateMember));
    }

    #[test]
    fn refuses_a_kid_that_is_no_short_line_of_text() {
        let long = format!("\"{}\"", "k".repeat(257));
        for kid in ["1", "null", "[]", r#"{"$ne":null}"#, r#""a\r\nb""#, r#""a\u0000""#, &long] {
            assert_eq!(parse(&format!(r#"{{"alg":"RS256","kid":{kid}}}"#)).err(), Some(Reject::Malformed), "{kid}");
        }
    }

    #[test]
    fn refuses_what_is_not_an_object() {
        for json in ["[]", "\"x\"", "1", "null", "", "{", "{}x"] {
            assert!(parse(json).is_err(), "{json}");
        }
    }
}
