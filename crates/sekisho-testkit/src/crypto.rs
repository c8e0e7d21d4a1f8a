//! The few primitives that forging needs and honest code must not offer: HMAC under any key, digests, random bytes.

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs as backend;
#[cfg(not(feature = "aws-lc-rs"))]
use ring as backend;

use backend::rand::SecureRandom;

/// Computes HMAC-SHA-256; the key may be as short as an attacker likes.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac(backend::hmac::HMAC_SHA256, key, message)
}

/// Computes HMAC-SHA-384.
pub(crate) fn hmac_sha384(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac(backend::hmac::HMAC_SHA384, key, message)
}

/// Computes HMAC-SHA-512.
pub(crate) fn hmac_sha512(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac(backend::hmac::HMAC_SHA512, key, message)
}

fn hmac(algorithm: backend::hmac::Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    backend::hmac::sign(&backend::hmac::Key::new(algorithm, key), message).as_ref().to_vec()
}

/// Computes SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    backend::digest::digest(&backend::digest::SHA256, bytes).as_ref().to_vec()
}

/// Returns random bytes.
#[expect(clippy::expect_used, reason = "without random numbers there is no test")]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    backend::rand::SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_takes_an_empty_key_and_agrees_with_the_known_answer() {
        // HMAC_SHA256("", "") is printed in many places, such as RFC-derived test tables.
        let hex: String = hmac_sha256(b"", b"").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    }
}
