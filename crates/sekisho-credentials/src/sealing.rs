use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use sekisho_core::{ConfigError, Failure, FailureKind, Secret};
use zeroize::Zeroizing;

use crate::random::{digest, from_base64, random, to_base64};

/// Is a secret of the configuration, 256 random bits, under which TOTP secrets are encrypted and tickets made.
///
/// `Debug` shows its name, which is a hash of it.
#[derive(Clone)]
pub struct SealingKey {
    secret: Secret,
    name: [u8; 4],
}

impl SealingKey {
    /// Draws one.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no randomness.
    pub fn generate() -> Result<Self, Failure> {
        Ok(Self::from_bytes(Secret::new(Zeroizing::new(random::<32>()?).to_vec())))
    }

    /// Reads 43 characters of base64url, as [`to_text`](Self::to_text) writes them.
    ///
    /// # Errors
    /// [`ConfigError`] when it is anything else; a passphrase is no such key.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let bytes = from_base64(text.trim()).map(Secret::new).filter(|bytes| bytes.len() == 32);
        bytes
            .map(Self::from_bytes)
            .ok_or_else(|| ConfigError::new("a sealing key must be 32 random bytes as 43 characters of base64url"))
    }

    /// Writes the key, to be put where secrets are kept.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        Secret::from(to_base64(self.secret.expose()))
    }

    fn from_bytes(secret: Secret) -> Self {
        let [a, b, c, d, ..] = digest("sekisho sealing key", &[secret.expose()]);
        Self { secret, name: [a, b, c, d] }
    }

    /// Derives a key; what is known of one says nothing of another. HMAC with a full key is a pseudorandom function, so
    /// one call is a whole HKDF-Expand (RFC 5869 §2.3) of one block.
    fn derive(&self, purpose: &str, salt: &[u8]) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose());
        let mut derived = Zeroizing::new([0; 32]);
        derived.copy_from_slice(hmac::sign(&key, &[purpose.as_bytes(), &[0], salt, &[1]].concat()).as_ref());
        derived
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({:08x})", u32::from_be_bytes(self.name))
    }
}

/// Holds the key that seals, and older ones that only open.
///
/// To change keys: put the new one first, keep the old one until every TOTP secret was used once (each is then sealed
/// anew) or for as long as people may stay away, then drop it. Counters of throttling and known addresses begin anew
/// with a new first key.
#[derive(Clone, Debug)]
pub struct SealingKeys {
    current: SealingKey,
    older: Vec<SealingKey>,
}

impl SealingKeys {
    /// Takes the key that seals.
    #[must_use]
    pub const fn new(current: SealingKey) -> Self {
        Self { current, older: Vec::new() }
    }

    /// Adds a key that only opens.
    #[must_use]
    pub fn with_older(mut self, key: SealingKey) -> Self {
        self.older.push(key);
        self
    }

    /// Encrypts; `context` must be the same to open.
    ///
    /// Each message has an AES-256-GCM key of its own, from 128 random bits, so that no number of messages wears out
    /// the nonces.
    pub(crate) fn seal(&self, purpose: &str, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, Failure> {
        let (salt, nonce) = (random::<SALT_LEN>()?, random::<NONCE_LEN>()?);
        let mut sealed = plain.to_vec();
        let key = aead(&self.current, purpose, &salt).ok_or(BROKEN)?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| BROKEN)?;
        Ok([&self.current.name[..], &salt, &nonce, &sealed].concat())
    }

    /// Undoes [`seal`](Self::seal); `None` when anything was different, or the key is not here.
    pub(crate) fn open(&self, purpose: &str, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (name, sealed) = sealed.split_at_checked(4)?;
        let (salt, sealed) = sealed.split_at_checked(SALT_LEN)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let mut plain = Zeroizing::new(Vec::new());
        // Names are short, and two keys may share one.
        let keys = std::iter::once(&self.current).chain(&self.older).filter(|key| key.name == name);
        for key in keys {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            plain = Zeroizing::new(sealed.to_vec());
            let opened = aead(key, purpose, salt)?.open_in_place(nonce, Aad::from(context), &mut plain);
            if let Ok(length) = opened.map(|opened| opened.len()) {
                plain.truncate(length);
                return Some(plain);
            }
        }
        drop(plain);
        None
    }

    /// Tells whether the key that seals has sealed this.
    pub(crate) fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.starts_with(&self.current.name)
    }

    /// Hashes what must not be readable in the store, and what can be guessed: addresses, names.
    pub(crate) fn tag(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.current.derive("tag", &[]));
        let mut tag = [0; 32];
        tag.copy_from_slice(hmac::sign(&key, &digest(purpose, parts)).as_ref());
        tag
    }
}

const SALT_LEN: usize = 16;

const BROKEN: Failure = Failure::new(FailureKind::Misconfigured, "nothing could be encrypted");

fn aead(key: &SealingKey, purpose: &str, salt: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, &*key.derive(purpose, salt)).map(LessSafeKey::new).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_texts_that_are_no_key() {
        for text in ["", "correct horse battery staple", &"A".repeat(42), &"A".repeat(44), &"*".repeat(43)] {
            assert!(SealingKey::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn opens_nothing_that_differs_in_any_byte_context_purpose_or_key() {
        let keys = SealingKeys::new(SealingKey::generate().unwrap());
        let sealed = keys.seal("totp", b"alice", b"secret").unwrap();
        assert_eq!(keys.open("totp", b"alice", &sealed).unwrap().as_slice(), b"secret");
        assert!(keys.open("totp", b"bob", &sealed).is_none());
        assert!(keys.open("ticket", b"alice", &sealed).is_none());
        assert!(SealingKeys::new(SealingKey::generate().unwrap()).open("totp", b"alice", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open("totp", b"alice", &changed).is_none(), "byte {at}");
            assert!(keys.open("totp", b"alice", &sealed[..at]).is_none(), "cut at {at}");
        }
        assert_ne!(sealed, keys.seal("totp", b"alice", b"secret").unwrap());
    }

    #[test]
    fn older_keys_open_and_do_not_seal() {
        let (old, new) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        let before = SealingKeys::new(old.clone());
        let sealed = before.seal("totp", b"alice", b"secret").unwrap();
        let keys = SealingKeys::new(new).with_older(old);
        assert_eq!(keys.open("totp", b"alice", &sealed).unwrap().as_slice(), b"secret");
        assert!(!keys.is_current(&sealed));
        let sealed = keys.seal("totp", b"alice", b"secret").unwrap();
        assert!(keys.is_current(&sealed) && before.open("totp", b"alice", &sealed).is_none());
    }

    #[test]
    fn a_key_survives_being_written_and_debug_shows_none_of_it() {
        let key = SealingKey::generate().unwrap();
        let text = key.to_text().expose_str().unwrap().to_owned();
        assert_eq!(SealingKey::from_text(&text).unwrap().to_text(), key.to_text());
        let shown = format!("{:?}", SealingKeys::new(key.clone()).with_older(key));
        assert!(!shown.contains(&text), "{shown}");
        assert!(shown.len() < 120, "{shown}");
    }

    #[test]
    fn tags_differ_by_purpose_parts_and_key() {
        let keys = SealingKeys::new(SealingKey::generate().unwrap());
        let tag = keys.tag("pair", &[b"ab", b"c"]);
        assert_eq!(tag, keys.tag("pair", &[b"ab", b"c"]));
        assert_ne!(tag, keys.tag("pair", &[b"a", b"bc"]));
        assert_ne!(tag, keys.tag("account", &[b"ab", b"c"]));
        assert_ne!(tag, SealingKeys::new(SealingKey::generate().unwrap()).tag("pair", &[b"ab", b"c"]));
    }
}
