use base64_simd::URL_SAFE_NO_PAD;

/// Writes a digest so that it can stand in the name of a key.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Hashes names, each with its length before it, so that no two lists of names meet. Names of people and sessions do not stand in Redis.
#[cfg(any(feature = "issuer", feature = "opaque"))]
pub(crate) fn digest_of(names: &[&[u8]]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for name in names {
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Draws random bytes.
#[cfg(any(feature = "issuer", feature = "opaque", feature = "session"))]
pub(crate) fn nonce<const N: usize>() -> Result<[u8; N], sekisho_core::Failure> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| sekisho_core::Failure::unavailable("no random bytes can be had"))?;
    Ok(bytes)
}

#[cfg(all(test, any(feature = "issuer", feature = "opaque")))]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_names_meet() {
        assert_ne!(digest_of(&[b"ab", b"c"]), digest_of(&[b"a", b"bc"]));
        assert_ne!(digest_of(&[b"ab"]), digest_of(&[b"ab", b""]));
        assert_eq!(digest_of(&[b"ab", b"c"]), digest_of(&[b"ab", b"c"]));
    }
}
