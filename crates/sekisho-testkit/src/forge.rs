//! Writes compact tokens from raw parts.

use sekisho_jwks::SigningKey;

/// Encodes by base64url without padding ([RFC 7515 §2](https://www.rfc-editor.org/rfc/rfc7515#section-2)).
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes.as_ref())
}

/// Puts header and payload, both as they stand, before a signature.
pub(crate) fn signing_input(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}", base64url(header), base64url(payload))
}

/// Signs header and payload, both as they stand.
///
/// # Panics
/// When the key cannot sign.
pub(crate) fn compact(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, key: &SigningKey) -> String {
    sign_input(&signing_input(header, payload), key)
}

/// Appends the signature of `input`.
pub(crate) fn sign_input(input: &str, key: &SigningKey) -> String {
    format!("{input}.{}", base64url(signature(input, key)))
}

/// Signs `input`.
#[expect(clippy::panic, reason = "for tests only, where a key that cannot sign is a mistake in the test")]
pub(crate) fn signature(input: &str, key: &SigningKey) -> Vec<u8> {
    key.sign(input.as_bytes()).unwrap_or_else(|error| panic!("the key cannot sign: {error}"))
}
