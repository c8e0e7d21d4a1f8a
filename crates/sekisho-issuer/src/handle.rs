use std::fmt;

use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::{Failure, FailureKind, Secret};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Is what a store keeps of a secret that is handed out: SHA-256 over what it is for and its text.
///
/// Whoever reads the store cannot use what is in it, for every such secret has 256 random bits; the user codes of the device flow alone
/// have 34, for ten minutes.
/// As JSON it is 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandleHash([u8; 32]);

impl HandleHash {
    /// Hashes `text`; hashes for different purposes never meet.
    pub(crate) fn of(purpose: Purpose, text: &str) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(purpose.name().as_bytes());
        context.update(&[0]);
        context.update(text.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }

    /// Takes over the bytes of a hash that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to be a key in a store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in the same time wherever the difference lies.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for HandleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandleHash(..)")
    }
}

impl Serialize for HandleHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for HandleHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = decode(&text).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("not a hash"))
    }
}

/// Keeps the hashes of different things apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Code,
    RefreshFamily,
    RefreshToken,
    Reference,
    Session,
    Device,
    UserCode,
    ClientSecret,
    /// The `jti` of client assertions, used once.
    Assertion,
    /// The `jti` of access tokens that were revoked.
    RevokedToken,
    /// User codes that one user has typed.
    UserCodeAttempts,
    /// Codes that were typed for one pending login.
    PendingAttempts,
    /// Pending logins that became logins.
    PendingUsed,
    /// First codes of a new app that one user has typed.
    #[cfg(feature = "credentials")]
    FirstCodes,
    /// Device requests of one address.
    DeviceAddress,
    /// Device requests of one client.
    DeviceClient,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::RefreshFamily => "refresh family",
            Self::RefreshToken => "refresh token",
            Self::Reference => "reference token",
            Self::Session => "session",
            Self::Device => "device code",
            Self::UserCode => "user code",
            Self::ClientSecret => "client secret",
            Self::Assertion => "client assertion",
            Self::RevokedToken => "revoked token",
            Self::UserCodeAttempts => "user code attempts",
            Self::PendingAttempts => "pending login attempts",
            Self::PendingUsed => "pending login used",
            #[cfg(feature = "credentials")]
            Self::FirstCodes => "first codes of an app",
            Self::DeviceAddress => "device requests of an address",
            Self::DeviceClient => "device requests of a client",
        }
    }
}

/// Names a grant: what a user allowed a client, and all tokens that came of it. 128 random bits in base64url.
///
/// It stands in the `jti` of JWT access tokens and so is no secret: nothing can be done by knowing it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct GrantId(Box<str>);

impl GrantId {
    pub(crate) fn generate() -> Result<Self, Failure> {
        Ok(Self(public_id()?.into()))
    }

    /// Reads one that was kept or stood in a token: 22 characters of base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_id =
            text.len() == 22 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        is_id.then(|| Self(text.into()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for GrantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not the id of a grant"))
    }
}

/// Draws 256 random bits, as 43 characters of base64url.
pub(crate) fn secret_text() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill(&mut *bytes)?;
    Ok(Secret::from(encode(&*bytes)))
}

/// Draws 128 random bits, as 22 characters of base64url.
pub(crate) fn public_id() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(encode(&bytes))
}

pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    let failed = |_| Failure::new(FailureKind::Unavailable, "the system gives no randomness");
    aws_lc_rs::rand::fill(bytes).map_err(failed)
}

/// Reads the text of a secret that we drew; ours are always text.
pub(crate) fn text(secret: &Secret) -> &str {
    secret.expose_str().unwrap_or_default()
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_different_purposes_differ_and_show_nothing() {
        let hash = HandleHash::of(Purpose::Code, "x");
        assert_ne!(hash, HandleHash::of(Purpose::Session, "x"));
        assert_ne!(hash, HandleHash::of(Purpose::Code, "y"));
        assert_eq!(format!("{hash:?}"), "HandleHash(..)");
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(json.len(), 45);
        assert_eq!(serde_json::from_str::<HandleHash>(&json).unwrap(), hash);
        assert!(serde_json::from_str::<HandleHash>("\"QUI\"").is_err());
    }

    #[test]
    fn draws_never_repeat() {
        let drawn: std::collections::HashSet<String> =
            (0..1000).map(|_| text(&secret_text().unwrap()).to_owned()).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|text| text.len() == 43));
        assert_eq!(public_id().unwrap().len(), 22);
    }
}
