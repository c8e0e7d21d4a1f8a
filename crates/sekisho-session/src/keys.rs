use std::fmt;

use aws_lc_rs::hkdf::Prk;
use aws_lc_rs::hmac;
use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::{ConfigError, Failure, Secret};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto;
use crate::token::SessionTag;

/// Is a secret of the configuration, 256 random bits, without which no cookie opens a record.
///
/// All services that share a store share it. `Debug` shows its name, which is a hash of it.
#[derive(Clone)]
pub struct SessionKey {
    secret: Secret,
    name: [u8; NAME_LENGTH],
}

pub(crate) const NAME_LENGTH: usize = 4;

impl SessionKey {
    /// Draws one.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no randomness.
    pub fn generate() -> Result<Self, Failure> {
        Ok(Self::from_bytes(Secret::new(Zeroizing::new(crypto::random::<32>()?).to_vec())))
    }

    /// Reads 43 characters of base64url, as [`to_text`](Self::to_text) writes them.
    ///
    /// # Errors
    /// [`ConfigError`] when it is anything else; a passphrase is no such key.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(text.trim()).ok().map(Secret::new);
        let bytes = bytes.filter(|bytes| bytes.len() == 32);
        bytes
            .map(Self::from_bytes)
            .ok_or_else(|| ConfigError::new("a session key must be 32 random bytes as 43 characters of base64url"))
    }

    /// Writes the key, to be put where secrets are kept.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        Secret::from(URL_SAFE_NO_PAD.encode_to_string(self.secret.expose()))
    }

    fn from_bytes(secret: Secret) -> Self {
        let [a, b, c, d, ..] = crypto::digest("sekisho session key", &[secret.expose()]);
        Self { secret, name: [a, b, c, d] }
    }

    pub(crate) const fn name(&self) -> [u8; NAME_LENGTH] {
        self.name
    }

    /// Makes the key to one session's record.
    pub(crate) fn with_secret(&self, secret: &[u8]) -> Prk {
        crypto::extract(self.secret.expose(), secret)
    }

    /// Makes the key to what the service itself must be able to read.
    pub(crate) fn alone(&self) -> Prk {
        crypto::extract(b"sekisho session service", self.secret.expose())
    }

    /// Hashes what must not be readable in the store, and what can be guessed: subjects, clients.
    pub(crate) fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose());
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&key, &crypto::digest(purpose, parts)).as_ref());
        mac
    }

    pub(crate) fn tag(&self, purpose: &str, parts: &[&[u8]]) -> SessionTag {
        SessionTag::from_bytes(self.mac(purpose, parts))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({:08x})", u32::from_be_bytes(self.name))
    }
}

/// Holds the key under which new sessions are made, and others under which older sessions still count.
///
/// To change keys without logging anybody out: add the new one with [`with_older`](Self::with_older) in every service,
/// then make it the current one everywhere, then drop the old one once the absolute timeout is over (that of remembered
/// logins too, if there are any). Dropping a key at once ends all its sessions.
#[derive(Clone, Debug)]
pub struct SessionKeys {
    current: SessionKey,
    older: Vec<SessionKey>,
}

impl SessionKeys {
    /// Takes the current key.
    #[must_use]
    pub const fn new(current: SessionKey) -> Self {
        Self { current, older: Vec::new() }
    }

    /// Adds a key that opens and makes nothing new.
    #[must_use]
    pub fn with_older(mut self, key: SessionKey) -> Self {
        self.older.push(key);
        self
    }

    pub(crate) const fn current(&self) -> &SessionKey {
        &self.current
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SessionKey> {
        std::iter::once(&self.current).chain(&self.older)
    }

    pub(crate) fn named(&self, name: [u8; NAME_LENGTH]) -> Option<&SessionKey> {
        self.iter().find(|key| key.name == name)
    }

    /// Refuses a ring in which a name would not say which key is meant.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let names: Vec<_> = self.iter().map(SessionKey::name).collect();
        let mut distinct = names.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < names.len() {
            return Err(ConfigError::new("a session key stands in the ring twice"));
        }
        Ok(())
    }

    /// Encrypts what the service itself must be able to read.
    pub(crate) fn seal(&self, purpose: &str, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, Failure> {
        let sealed = crypto::seal(&self.current.alone(), purpose, context, plain)?;
        Ok([&self.current.name[..], &sealed].concat())
    }

    /// Undoes [`seal`](Self::seal); `None` when anything was different, or the key is not here.
    pub(crate) fn open(&self, purpose: &str, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (name, sealed) = sealed.split_first_chunk::<NAME_LENGTH>()?;
        crypto::open(&self.named(*name)?.alone(), purpose, context, sealed)
    }

    /// Tells, in the same time wherever the difference lies, whether one of the keys made this.
    pub(crate) fn is_mac(&self, purpose: &str, parts: &[&[u8]], mac: &[u8]) -> bool {
        self.iter().any(|key| bool::from(key.mac(purpose, parts).ct_eq(mac)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn refuses_texts_that_are_no_key() {
        for text in ["", "correct horse battery staple", &"A".repeat(42), &"A".repeat(44), &"*".repeat(43)] {
            assert!(SessionKey::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_survives_being_written_and_debug_shows_none_of_it() {
        let key = SessionKey::generate().unwrap();
        let text = key.to_text().expose_str().unwrap().to_owned();
        assert_eq!(SessionKey::from_text(&text).unwrap().to_text(), key.to_text());
        let shown = format!("{:?}", SessionKeys::new(key));
        assert!(!shown.contains(&text) && shown.len() < 80, "{shown}");
    }

    #[test]
    fn older_keys_open_and_do_not_seal() {
        let (old, new) = (SessionKey::generate().unwrap(), SessionKey::generate().unwrap());
        let before = SessionKeys::new(old.clone());
        let sealed = before.seal("card", b"id", b"device").unwrap();
        let keys = SessionKeys::new(new.clone()).with_older(old);
        assert_eq!(keys.open("card", b"id", &sealed).unwrap().as_slice(), b"device");
        assert!(keys.open("card", b"other", &sealed).is_none());
        assert!(before.open("card", b"id", &keys.seal("card", b"id", b"device").unwrap()).is_none());
        assert!(SessionKeys::new(new.clone()).open("card", b"id", &sealed).is_none());
        assert!(SessionKeys::new(new).open("card", b"id", &[]).is_none());
    }

    #[test]
    fn refuses_the_same_key_twice() {
        let key = SessionKey::generate().unwrap();
        assert!(SessionKeys::new(key.clone()).check().is_ok());
        assert!(SessionKeys::new(key.clone()).with_older(key).check().is_err());
    }

    #[test]
    fn macs_differ_by_purpose_parts_and_key() {
        let (one, other) = (SessionKey::generate().unwrap(), SessionKey::generate().unwrap());
        let mac = one.mac("a", &[b"ab", b"c"]);
        let keys = SessionKeys::new(other).with_older(one);
        assert!(keys.is_mac("a", &[b"ab", b"c"], &mac));
        assert!(!keys.is_mac("a", &[b"a", b"bc"], &mac));
        assert!(!keys.is_mac("b", &[b"ab", b"c"], &mac));
        assert!(!keys.is_mac("a", &[b"ab", b"c"], &[]));
    }
}
