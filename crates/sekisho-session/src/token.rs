use std::fmt;
use std::hash::{Hash, Hasher};

use base64_simd::{AsOut as _, URL_SAFE_NO_PAD};
use sekisho_core::Failure;
use zeroize::Zeroizing;

use crate::crypto;

/// Is what the cookie holds: 256 random bits, and before them the name of the service's key under which they count.
///
/// It is the name of the session and half of the key to its record; possession is proof. 48 characters of base64url.
#[derive(Clone)]
pub(crate) struct SessionToken(Zeroizing<[u8; LENGTH]>);

pub(crate) const SECRET_LENGTH: usize = 32;
const LENGTH: usize = crate::keys::NAME_LENGTH + SECRET_LENGTH;

impl SessionToken {
    pub(crate) fn generate(key_name: [u8; crate::keys::NAME_LENGTH]) -> Result<Self, Failure> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let (name, secret) = bytes.split_at_mut(crate::keys::NAME_LENGTH);
        name.copy_from_slice(&key_name);
        crypto::fill(secret)?;
        Ok(Self(bytes))
    }

    /// Stands where no store has a name for the session; it is of no key, so nothing is sealed under it.
    pub(crate) fn of_no_store() -> Self {
        Self(Zeroizing::new([0; LENGTH]))
    }

    /// Reads a cookie; `None` when it is anything else than what [`to_text`](Self::to_text) writes.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        // base64 of 36 bytes has no unused bits: there is one way to write a token.
        if text.len() != LENGTH / 3 * 4 {
            return None;
        }
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let length = URL_SAFE_NO_PAD.decode(text.as_bytes(), bytes.as_mut_slice().as_out()).ok()?.len();
        (length == LENGTH).then_some(Self(bytes))
    }

    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode_to_string(*self.0))
    }

    /// Returns the name of the key that it was made under.
    pub(crate) fn key_name(&self) -> [u8; crate::keys::NAME_LENGTH] {
        let mut name = [0; crate::keys::NAME_LENGTH];
        name.copy_from_slice(self.0.split_at(crate::keys::NAME_LENGTH).0);
        name
    }

    pub(crate) fn secret(&self) -> &[u8] {
        self.0.split_at(crate::keys::NAME_LENGTH).1
    }

    /// Returns the name under which a store knows the session. `purpose` keeps sessions and other things apart.
    pub(crate) fn hash(&self, purpose: &str) -> SessionHash {
        SessionHash(crypto::digest(purpose, &[&*self.0]))
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// Names a session in a store: SHA-256 of what the cookie holds. Who reads it there can use it for nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionHash([u8; 32]);

impl SessionHash {
    /// Takes over the bytes of a hash that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to be the key of a record.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Hash for SessionHash {
    /// Takes eight bytes of it, which are as good as all: nobody chooses the token that a session is named by.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_ne_bytes(*self.0.first_chunk().unwrap_or(&[0; 8])));
    }
}

impl fmt::Debug for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionHash(..)")
    }
}

/// Names what sessions have in common (a subject, a provider's session, a client) so that a store can list and end them.
///
/// A keyed hash: a store learns that two sessions share something, not what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionTag([u8; 32]);

impl SessionTag {
    /// Takes over the bytes of a tag that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to be a key of an index.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SessionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionTag(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_token_survives_being_written() {
        let token = SessionToken::generate([1, 2, 3, 4]).unwrap();
        let text = token.to_text();
        let read = SessionToken::from_text(&text).unwrap();
        assert_eq!((text.len(), *read.0), (48, *token.0));
        assert_eq!((read.key_name(), read.secret().len()), ([1, 2, 3, 4], 32));
        assert_eq!(read.hash("a"), token.hash("a"));
        assert_ne!(read.hash("a"), token.hash("b"));
    }

    #[test]
    fn refuses_what_is_no_token_by_its_form() {
        let good = "A".repeat(48);
        assert!(SessionToken::from_text(&good).is_some());
        for bad in
            ["", &"A".repeat(47), &"A".repeat(49), &"A".repeat(4096), &"=".repeat(48), &good.replacen('A', "+", 1)]
        {
            assert!(SessionToken::from_text(bad).is_none(), "{bad}");
        }
        assert!(SessionToken::from_text(&"é".repeat(24)).is_none());
    }

    #[test]
    fn debug_shows_no_byte_of_it() {
        let token = SessionToken::from_text(&"S".repeat(48)).unwrap();
        assert_eq!(format!("{token:?}"), "SessionToken(..)");
        assert_eq!(format!("{:?}", token.hash("a")), "SessionHash(..)");
        assert_eq!(format!("{:?}", SessionTag([7; 32])), "SessionTag(..)");
    }

    #[test]
    fn a_million_tokens_would_not_meet_and_a_thousand_do_not() {
        let drawn: std::collections::HashSet<String> =
            (0..1000).map(|_| SessionToken::generate([0; 4]).unwrap().to_text().to_string()).collect();
        assert_eq!(drawn.len(), 1000);
    }
}
