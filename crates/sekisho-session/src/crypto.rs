use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use sekisho_core::{Failure, FailureKind};
use zeroize::Zeroizing;

pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    let failed = |_| Failure::new(FailureKind::Unavailable, "the system gives no randomness");
    aws_lc_rs::rand::fill(bytes).map_err(failed)
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Hashes parts with SHA-256 so that no two lists of parts meet.
pub(crate) fn digest(purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut text = Zeroizing::new([0; SHORT]);
    let digest = match join(&mut *text, purpose, parts) {
        // What names a session is hashed with each request: in one go that takes half the time.
        Some(joined) => digest::digest(&digest::SHA256, joined),
        None => {
            let mut context = digest::Context::new(&digest::SHA256);
            for part in each(purpose, parts) {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
            context.finish()
        }
    };
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

fn each<'p>(purpose: &'p str, parts: &'p [&'p [u8]]) -> impl Iterator<Item = &'p [u8]> {
    std::iter::once(purpose.as_bytes()).chain(parts.iter().copied())
}

/// Writes parts one after the other, each with its length before it; `None` when there is no room.
fn join<'t>(text: &'t mut [u8], purpose: &str, parts: &[&[u8]]) -> Option<&'t [u8]> {
    let mut end = 0;
    for part in each(purpose, parts) {
        let (length, rest) = text.get_mut(end..)?.split_first_chunk_mut()?;
        *length = (part.len() as u64).to_be_bytes();
        rest.get_mut(..part.len())?.copy_from_slice(part);
        end += length.len() + part.len();
    }
    text.get(..end)
}

/// Bytes that are hashed in one go: a purpose and a token with their lengths.
const SHORT: usize = 96;

/// Makes the key from which a session's records are sealed: HKDF-Extract ([RFC 5869 §2.2](https://www.rfc-editor.org/rfc/rfc5869#section-2.2))
/// of the cookie's secret, salted with the service's key. Neither alone opens or forges anything.
pub(crate) fn extract(service_key: &[u8], secret: &[u8]) -> Prk {
    Salt::new(HKDF_SHA256, service_key).extract(secret)
}

/// Encrypts and appends the tag. `context` must be the same to open.
///
/// Key and nonce come of 128 random bits and the purpose, so that no number of messages wears out a key.
pub(crate) fn seal(prk: &Prk, purpose: &str, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, Failure> {
    let salt = random::<SALT_LENGTH>()?;
    let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
    sealed.push(FORMAT);
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(plain);
    let (key, nonce) = message_key(prk, purpose, &salt).ok_or(BROKEN)?;
    let body = sealed.get_mut(HEADER_LENGTH..).ok_or(BROKEN)?;
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(context), body).map_err(|_| BROKEN)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Undoes [`seal`]; `None` when anything was different.
pub(crate) fn open(prk: &Prk, purpose: &str, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (format, rest) = sealed.split_first()?;
    let (salt, sealed) = rest.split_at_checked(SALT_LENGTH)?;
    if *format != FORMAT {
        return None;
    }
    let (key, nonce) = message_key(prk, purpose, salt)?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    let length = key.open_in_place(nonce, Aad::from(context), &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_LENGTH + NONCE_LEN
    }
}

fn message_key(prk: &Prk, purpose: &str, salt: &[u8]) -> Option<(LessSafeKey, Nonce)> {
    let mut bytes = Zeroizing::new([0; KEY_LENGTH + NONCE_LEN]);
    // A salt has one length, so purpose and salt cannot run into each other.
    prk.expand(&[salt, purpose.as_bytes()], Length).ok()?.fill(&mut *bytes).ok()?;
    let (key, nonce) = bytes.split_at(KEY_LENGTH);
    let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
    Some((LessSafeKey::new(key), Nonce::try_assume_unique_for_key(nonce).ok()?))
}

const BROKEN: Failure = Failure::new(FailureKind::Misconfigured, "nothing could be encrypted");
const FORMAT: u8 = 1;
const KEY_LENGTH: usize = 32;
const SALT_LENGTH: usize = 16;
const HEADER_LENGTH: usize = 1 + SALT_LENGTH;
/// Bytes by which what is sealed is longer than what was plain.
pub(crate) const OVERHEAD: usize = HEADER_LENGTH + 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn opens_nothing_that_differs_in_any_byte_context_purpose_or_key() {
        let prk = extract(&[1; 32], &[2; 32]);
        let sealed = seal(&prk, "record", b"id", b"secret").unwrap();
        assert_eq!(sealed.len(), OVERHEAD + 6);
        assert_eq!(open(&prk, "record", b"id", &sealed).unwrap().as_slice(), b"secret");
        assert!(open(&prk, "record", b"other", &sealed).is_none());
        assert!(open(&prk, "card", b"id", &sealed).is_none());
        assert!(open(&extract(&[1; 32], &[3; 32]), "record", b"id", &sealed).is_none());
        assert!(open(&extract(&[3; 32], &[2; 32]), "record", b"id", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&prk, "record", b"id", &changed).is_none(), "byte {at}");
            assert!(open(&prk, "record", b"id", &sealed[..at]).is_none(), "cut at {at}");
        }
        assert_ne!(sealed, seal(&prk, "record", b"id", b"secret").unwrap());
    }

    #[test]
    fn the_tag_is_all_there_is_of_nothing() {
        let prk = extract(&[1; 32], &[2; 32]);
        let sealed = seal(&prk, "record", b"", b"").unwrap();
        assert_eq!((sealed.len(), open(&prk, "record", b"", &sealed).unwrap().len()), (OVERHEAD, 0));
    }

    #[test]
    fn digests_of_parts_that_run_together_differ() {
        assert_ne!(digest("p", &[b"ab", b"c"]), digest("p", &[b"a", b"bc"]));
        assert_ne!(digest("p", &[b"ab"]), digest("pa", &[b"b"]));
    }

    #[test]
    fn a_digest_is_the_same_whichever_way_it_is_made() {
        for length in 0..200 {
            let part = vec![7; length];
            let mut text = (length as u64).to_be_bytes().to_vec();
            text.extend(&part);
            let text = [&1_u64.to_be_bytes()[..], b"p", &text].concat();
            assert_eq!(digest("p", &[&part]), digest::digest(&digest::SHA256, &text).as_ref(), "{length}");
        }
    }
}
