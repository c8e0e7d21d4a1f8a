use std::fmt;

use sekisho_core::{Failure, Secret};
use zeroize::Zeroizing;

use crate::AccountId;
use crate::random::{digest, random};

/// Is a code that stands in for the authenticator once: 100 random bits as five groups of four characters.
///
/// The characters are those of Crockford's base32, which has no letter that looks like a digit. `Debug` shows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryCode(Secret);

impl RecoveryCode {
    pub(crate) fn generate() -> Result<Self, Failure> {
        let bytes = Zeroizing::new(random::<20>()?);
        // 256 is a multiple of 32: no character is likelier than another.
        let mut text = String::with_capacity(24);
        for (at, byte) in bytes.iter().enumerate() {
            if at > 0 && at % 4 == 0 {
                text.push('-');
            }
            text.push(ALPHABET.get(usize::from(byte % 32)).copied().map_or('0', char::from));
        }
        Ok(Self(Secret::from(text)))
    }

    /// Reads what was typed, whatever the case, with `-` and spaces anywhere, `O` for `0`, `I` and `L` for `1`. `None`
    /// for anything else.
    pub(crate) fn parse(typed: &Secret) -> Option<Self> {
        if typed.len() > 64 {
            return None;
        }
        let mut text = Zeroizing::new(String::with_capacity(24));
        let mut count = 0;
        for byte in typed.expose() {
            let character = match byte.to_ascii_uppercase() {
                b'-' | b' ' => continue,
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other if ALPHABET.contains(&other) => other,
                _ => return None,
            };
            if count > 0 && count % 4 == 0 {
                text.push('-');
            }
            text.push(char::from(character));
            count += 1;
        }
        (count == 20).then(|| Self(Secret::from(text.as_str())))
    }

    /// Reads the code, to be shown once: `7K2M-9QXA-…`.
    #[must_use]
    pub const fn text(&self) -> &Secret {
        &self.0
    }

    /// Returns what the store keeps. A code has too many bits to be guessed, so a fast hash will do.
    pub(crate) fn hash(&self, account: &AccountId) -> RecoveryHash {
        RecoveryHash(digest("sekisho recovery code", &[account.as_str().as_bytes(), self.0.expose()]))
    }
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Is what a store keeps of a recovery code: a SHA-256 hash with the account's id. `Debug` shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecoveryHash([u8; 32]);

impl RecoveryHash {
    /// Takes over the bytes of a hash that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to be kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RecoveryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(typed: &str) -> Option<RecoveryCode> {
        RecoveryCode::parse(&Secret::from(typed))
    }

    #[test]
    fn refuses_what_is_no_code() {
        let good = "0123-4567-89AB-CDEF-GHJK";
        assert!(parse(good).is_some());
        for typed in ["", "123456", &good[..23], &format!("{good}0"), &good.replace('A', "U"), &good.replace('A', "é")]
        {
            assert_eq!(parse(typed), None, "{typed}");
        }
        assert_eq!(parse(&"-".repeat(1 << 20)), None);
        assert_eq!(parse(&format!("{good}{}", " ".repeat(100))), None);
    }

    #[test]
    fn reads_what_people_make_of_a_code() {
        let code = parse("0123-4567-89AB-CDEF-GHJ1").unwrap();
        for typed in ["0123456789abcdefghj1", "o123 4567 89ab cdef ghjl", " O-I23-4567-89AB-CDEF-GHJi "] {
            assert_eq!(parse(typed), Some(code.clone()), "{typed}");
        }
    }

    #[test]
    fn codes_are_drawn_apart_and_hashes_differ_by_account() {
        let (one, other) = (RecoveryCode::generate().unwrap(), RecoveryCode::generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(RecoveryCode::parse(one.text()), Some(one.clone()));
        let (alice, bob) = (AccountId::generate().unwrap(), AccountId::generate().unwrap());
        assert_eq!(one.hash(&alice), one.hash(&alice));
        assert_ne!(one.hash(&alice), one.hash(&bob));
        assert_ne!(one.hash(&alice), other.hash(&alice));
    }

    #[test]
    fn debug_shows_neither_code_nor_hash() {
        let code = RecoveryCode::generate().unwrap();
        let hash = code.hash(&AccountId::generate().unwrap());
        assert_eq!(format!("{code:?} {hash:?}"), "RecoveryCode(Secret(..)) RecoveryHash(..)");
    }
}
