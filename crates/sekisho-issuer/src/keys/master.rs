use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use sekisho_core::{ConfigError, Failure, FailureKind, Secret};

use crate::handle;

/// Is the one secret of an issuer that comes from its configuration: 256 random bits, under which its keys are sealed.
///
/// All processes of one issuer have the same one. `Debug` shows nothing.
#[derive(Clone, Debug)]
pub struct MasterKey(Secret);

impl MasterKey {
    /// Draws one.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no randomness.
    pub fn generate() -> Result<Self, Failure> {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        handle::fill(&mut *bytes)?;
        Ok(Self(Secret::new(&bytes[..])))
    }

    /// Reads 43 characters of base64url, as [`to_text`](Self::to_text) writes them.
    ///
    /// # Errors
    /// [`ConfigError`] when it is anything else; a passphrase is no such key.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let bytes = handle::decode(text.trim()).map(Secret::new).filter(|bytes| bytes.len() == 32);
        bytes
            .map(Self)
            .ok_or_else(|| ConfigError::new("the master key must be 32 random bytes as 43 characters of base64url"))
    }

    /// Writes the key, to be put where secrets are kept.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        Secret::from(handle::encode(self.0.expose()))
    }

    /// Encrypts with AES-256-GCM under a key of its own for `purpose`; `context` is bound to it.
    pub(crate) fn seal(&self, purpose: &str, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut nonce = [0; NONCE_LEN];
        handle::fill(&mut nonce)?;
        let mut sealed = zeroize::Zeroizing::new(plain.to_vec());
        let key = self.aead(purpose)?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut *sealed)
            .map_err(|_| BROKEN)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Undoes [`seal`](Self::seal); `None` when anything of it was different.
    pub(crate) fn open(&self, purpose: &str, context: &[u8], sealed: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = zeroize::Zeroizing::new(sealed.to_vec());
        let length = self.aead(purpose).ok()?.open_in_place(nonce, Aad::from(context), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }

    /// Returns the authentication code of `message` under a key of its own for `purpose`.
    pub(crate) fn tag(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        let mut tag = [0; 32];
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.derive(purpose));
        tag.copy_from_slice(hmac::sign(&key, message).as_ref());
        tag
    }

    fn aead(&self, purpose: &str) -> Result<LessSafeKey, Failure> {
        UnboundKey::new(&AES_256_GCM, &*self.derive(purpose)).map(LessSafeKey::new).map_err(|_| BROKEN)
    }

    /// Derives a key; what is known of one says nothing of another. HMAC with a full key is a pseudorandom function,
    /// so one call is a whole HKDF-Expand (RFC 5869 §2.3) of one block.
    fn derive(&self, purpose: &str) -> zeroize::Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        let mut derived = zeroize::Zeroizing::new([0; 32]);
        derived.copy_from_slice(hmac::sign(&key, &[purpose.as_bytes(), &[1]].concat()).as_ref());
        derived
    }
}

const BROKEN: Failure = Failure::new(FailureKind::Misconfigured, "nothing could be encrypted");
