use sekisho_core::Reject;
use sekisho_core::json::JsonObject;

use crate::base64;

/// Is a compact JWS taken apart, nothing decoded yet ([RFC 7515 §7.1](https://www.rfc-editor.org/rfc/rfc7515#section-7.1)).
pub(crate) struct Compact<'a> {
    pub(crate) header: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) signature: &'a str,
    pub(crate) signing_input: &'a str,
}

impl<'a> Compact<'a> {
    /// Splits at exactly two dots; no part may be empty.
    pub(crate) fn split(token: &'a str) -> Result<Self, Reject> {
        let mut dots = memchr::memchr_iter(b'.', token.as_bytes());
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Reject::Malformed);
        };
        let (header, payload) = (token.get(..first), token.get(first + 1..second));
        let signature = token.get(second + 1..);
        let (Some(header), Some(payload), Some(signature)) = (header, payload, signature) else {
            return Err(Reject::Malformed);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Reject::Malformed);
        }
        let signing_input = token.get(..second).ok_or(Reject::Malformed)?;
        Ok(Self { header, payload, signature, signing_input })
    }
}

/// Reads a part that is strict JSON.
pub(crate) fn parse_object(part: &str) -> Result<JsonObject, Reject> {
    let bytes = base64::decode(part).ok_or(Reject::Malformed)?;
    Ok(JsonObject::parse(bytes)?)
}
