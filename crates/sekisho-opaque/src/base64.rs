//! Base64: url-safe without padding for handles, standard with padding for `Basic`.

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};

/// Decodes the canonical form only.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

pub(crate) fn encode_standard(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(bytes)
}
