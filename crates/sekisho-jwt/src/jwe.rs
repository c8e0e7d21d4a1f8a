//! Encrypted tokens: a signed token inside a JWE ([RFC 7516](https://www.rfc-editor.org/rfc/rfc7516), [RFC 7519 §11.2](https://www.rfc-editor.org/rfc/rfc7519#section-11.2)).
//!
//! The cryptography is `josekit`'s, on OpenSSL. What is decided here, before it is called: which algorithms, no compression, no password-based
//! keys, no RSA1_5, exact lengths of key, nonce and tag, and that what comes out is a signed token, which is then verified like any other.
//! Content in CBC mode is opened here, because `josekit` deciphers it before it looks at the tag.

use std::fmt;

use josekit::jwe::enc::{A128CBC_HS256, A128GCM, A192CBC_HS384, A192GCM, A256CBC_HS512, A256GCM};
use josekit::jwe::{
    Dir, ECDH_ES, ECDH_ES_A128KW, ECDH_ES_A192KW, ECDH_ES_A256KW, JweContentEncryption, JweDecrypter, JweEncrypter,
    JweHeader, RSA_OAEP, RSA_OAEP_256,
};
use sekisho_core::json::JsonObject;
use sekisho_core::{ConfigError, Reject};

use self::cbc::Cbc;
use crate::base64;
use crate::trace::{Recorder, Step};

mod cbc;

/// How many keys may be tried for one token.
const MOST_TRIED: usize = 4;

/// Names how the content key reaches us, `alg` ([RFC 7518 §4.1](https://www.rfc-editor.org/rfc/rfc7518#section-4.1)).
///
/// RSA1_5, PBES2 and the symmetric key wraps are absent on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyManagement {
    /// `RSA-OAEP`
    RsaOaep,
    /// `RSA-OAEP-256`
    RsaOaep256,
    /// `ECDH-ES`
    EcdhEs,
    /// `ECDH-ES+A128KW`
    EcdhEsA128Kw,
    /// `ECDH-ES+A192KW`
    EcdhEsA192Kw,
    /// `ECDH-ES+A256KW`
    EcdhEsA256Kw,
    /// `dir`
    Direct,
}

impl KeyManagement {
    const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep => "RSA-OAEP",
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::EcdhEs => "ECDH-ES",
            Self::EcdhEsA128Kw => "ECDH-ES+A128KW",
            Self::EcdhEsA192Kw => "ECDH-ES+A192KW",
            Self::EcdhEsA256Kw => "ECDH-ES+A256KW",
            Self::Direct => "dir",
        }
    }
}

/// Names how the content is encrypted, `enc` ([RFC 7518 §5.1](https://www.rfc-editor.org/rfc/rfc7518#section-5.1)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContentEncryption {
    /// `A128GCM`
    A128Gcm,
    /// `A192GCM`
    A192Gcm,
    /// `A256GCM`
    A256Gcm,
    /// `A128CBC-HS256`
    A128CbcHs256,
    /// `A192CBC-HS384`
    A192CbcHs384,
    /// `A256CBC-HS512`
    A256CbcHs512,
}

impl ContentEncryption {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "A128GCM" => Self::A128Gcm,
            "A192GCM" => Self::A192Gcm,
            "A256GCM" => Self::A256Gcm,
            "A128CBC-HS256" => Self::A128CbcHs256,
            "A192CBC-HS384" => Self::A192CbcHs384,
            "A256CBC-HS512" => Self::A256CbcHs512,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A192Gcm => "A192GCM",
            Self::A256Gcm => "A256GCM",
            Self::A128CbcHs256 => "A128CBC-HS256",
            Self::A192CbcHs384 => "A192CBC-HS384",
            Self::A256CbcHs512 => "A256CBC-HS512",
        }
    }

    /// Returns the lengths of nonce, tag and key in bytes (RFC 7518 §5.2, §5.3). OpenSSL would take a shorter GCM tag.
    const fn lengths(self) -> (usize, usize, usize) {
        match self {
            Self::A128Gcm => (12, 16, 16),
            Self::A192Gcm => (12, 16, 24),
            Self::A256Gcm => (12, 16, 32),
            Self::A128CbcHs256 => (16, 16, 32),
            Self::A192CbcHs384 => (16, 24, 48),
            Self::A256CbcHs512 => (16, 32, 64),
        }
    }

    fn of_josekit(self) -> &'static dyn JweContentEncryption {
        match self {
            Self::A128Gcm => &A128GCM,
            Self::A192Gcm => &A192GCM,
            Self::A256Gcm => &A256GCM,
            Self::A128CbcHs256 => &A128CBC_HS256,
            Self::A192CbcHs384 => &A192CBC_HS384,
            Self::A256CbcHs512 => &A256CBC_HS512,
        }
    }

    /// Returns how content in CBC mode is opened; `None` for GCM.
    fn cbc(self) -> Option<Cbc> {
        match self {
            Self::A128Gcm | Self::A192Gcm | Self::A256Gcm => None,
            Self::A128CbcHs256 => Some(Cbc::a128()),
            Self::A192CbcHs384 => Some(Cbc::a192()),
            Self::A256CbcHs512 => Some(Cbc::a256()),
        }
    }
}

/// Opens encrypted tokens. `Debug` shows the algorithm and the `kid`.
#[derive(Clone)]
pub struct DecryptionKey {
    management: KeyManagement,
    /// The only encryption of a secret that is the content key itself.
    encryption: Option<ContentEncryption>,
    kid: Option<String>,
    /// How long its modulus is in bytes; 0 if it is no RSA key.
    modulus_length: usize,
    decrypter: Box<dyn JweDecrypter>,
}

impl DecryptionKey {
    /// Reads a private key, PKCS#8 PEM: RSA of at least 2048 bits, or EC.
    ///
    /// # Errors
    /// [`ConfigError`] when the key is not of the kind that the algorithm needs; for [`KeyManagement::Direct`] use [`direct`](Self::direct).
    pub fn from_pem(management: KeyManagement, pem: &[u8]) -> Result<Self, ConfigError> {
        let ecdh = |alg: josekit::jwe::alg::ecdh_es::EcdhEsJweAlgorithm| {
            alg.decrypter_from_pem(pem).map(|key| (0, Box::new(key) as Box<dyn JweDecrypter>))
        };
        let rsa = |alg: josekit::jwe::alg::rsaes::RsaesJweAlgorithm| {
            let modulus_length = alg.key_pair_from_pem(pem)?.key_len();
            alg.decrypter_from_pem(pem).map(|key| (modulus_length, Box::new(key) as Box<dyn JweDecrypter>))
        };
        let decrypter = match management {
            KeyManagement::RsaOaep => rsa(RSA_OAEP),
            KeyManagement::RsaOaep256 => rsa(RSA_OAEP_256),
            KeyManagement::EcdhEs => ecdh(ECDH_ES),
            KeyManagement::EcdhEsA128Kw => ecdh(ECDH_ES_A128KW),
            KeyManagement::EcdhEsA192Kw => ecdh(ECDH_ES_A192KW),
            KeyManagement::EcdhEsA256Kw => ecdh(ECDH_ES_A256KW),
            KeyManagement::Direct => return Err(ConfigError::new("`dir` takes a shared secret, not a key pair")),
        };
        // The library's error may quote the key.
        let (modulus_length, decrypter) =
            decrypter.map_err(|_| ConfigError::new("not a private key that this algorithm can use"))?;
        let modulus_length = usize::try_from(modulus_length).map_err(|_| ConfigError::new("not a usable RSA key"))?;
        Ok(Self { management, encryption: None, kid: None, modulus_length, decrypter })
    }

    /// Uses a shared secret as the content key itself. Its length must be the one that `encryption` needs.
    ///
    /// # Errors
    /// [`ConfigError`] when the length is another.
    pub fn direct(encryption: ContentEncryption, secret: &[u8]) -> Result<Self, ConfigError> {
        check_direct(encryption, secret)?;
        let decrypter = Dir.decrypter_from_bytes(secret).map_err(|_| ConfigError::new("not a usable secret"))?;
        Ok(Self {
            management: KeyManagement::Direct,
            encryption: Some(encryption),
            kid: None,
            modulus_length: 0,
            decrypter: Box::new(decrypter),
        })
    }

    /// Names the key; tokens that name another are then not tried with it.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// Returns the content key, of the length that the encryption needs.
    fn content_key(&self, encrypted_key: &[u8], header: &Header) -> Option<Vec<u8>> {
        let encrypted_key = (!encrypted_key.is_empty()).then_some(encrypted_key);
        let encryption = header.encryption.of_josekit();
        let key = self.decrypter.decrypt(encrypted_key, encryption, &header.of_josekit).ok()?;
        let (_, _, needed) = header.encryption.lengths();
        (key.len() == needed).then(|| key.into_owned())
    }

    /// Returns the one length in bytes that the second part of a token for this key has (RFC 7518 §4.3, §4.5, §4.6).
    /// `josekit` unwraps without looking, and panics below 8.
    const fn encrypted_key_length(&self, encryption: ContentEncryption) -> usize {
        let (_, _, content_key) = encryption.lengths();
        match self.management {
            KeyManagement::Direct | KeyManagement::EcdhEs => 0,
            KeyManagement::RsaOaep | KeyManagement::RsaOaep256 => self.modulus_length,
            // RFC 3394 §2.2.1: one block of 64 bits more than what is wrapped.
            KeyManagement::EcdhEsA128Kw | KeyManagement::EcdhEsA192Kw | KeyManagement::EcdhEsA256Kw => content_key + 8,
        }
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecryptionKey({}, kid {:?})", self.management.name(), self.kid)
    }
}

fn check_direct(encryption: ContentEncryption, secret: &[u8]) -> Result<(), ConfigError> {
    let (_, _, needed) = encryption.lengths();
    if secret.len() == needed {
        return Ok(());
    }
    Err(ConfigError::new(format!("{} needs a secret of exactly {needed} bytes", encryption.name())))
}

/// Opens `token` if it has the five parts of a JWE, and returns the signed token inside; `None` if it has not.
pub(crate) fn decrypt_if_encrypted(
    token: &str,
    keys: &[DecryptionKey],
    recorder: &mut impl Recorder,
) -> Result<Option<String>, Reject> {
    if keys.is_empty() || token.bytes().filter(|byte| *byte == b'.').take(5).count() != 4 {
        return Ok(None);
    }
    recorder.pass(|| format!("five parts, {} bytes", token.len()));
    recorder.begin(Step::Decryption);
    let parts = parts(token).ok_or(Reject::Malformed)?;
    let header = Header::parse(parts[0])?;
    let (key, content) = open(parts, &header, keys)?;
    let signed = String::from_utf8(content).map_err(|_| Reject::Malformed)?;
    recorder.pass(|| format!("opened with {} and {}", key.management.name(), header.encryption.name()));
    recorder.begin(Step::Form);
    Ok(Some(signed))
}

/// Opens a token with the first of the fitting keys that can.
fn open<'a>(
    [protected, encrypted_key, nonce, content, tag]: [&str; 5],
    header: &Header,
    keys: &'a [DecryptionKey],
) -> Result<(&'a DecryptionKey, Vec<u8>), Reject> {
    let (nonce_length, tag_length, _) = header.encryption.lengths();
    let decoded = |part: &str| base64::decode(part).ok_or(Reject::Malformed);
    let (encrypted_key, nonce, content, tag) =
        (decoded(encrypted_key)?, decoded(nonce)?, decoded(content)?, decoded(tag)?);
    if nonce.len() != nonce_length || tag.len() != tag_length || content.is_empty() {
        return Err(Reject::Malformed);
    }
    let sealed = Sealed { protected: protected.as_bytes(), nonce: &nonce, content: &content, tag: &tag };
    let fits = |key: &&DecryptionKey| {
        key.management.name() == header.algorithm
            && key.encryption.is_none_or(|encryption| encryption == header.encryption)
            && (key.kid.is_none() || header.kid.is_none() || key.kid == header.kid)
    };
    let mut reject = Reject::UnknownKey;
    for key in keys.iter().filter(fits).take(MOST_TRIED) {
        if encrypted_key.len() != key.encrypted_key_length(header.encryption) {
            if reject == Reject::UnknownKey {
                reject = Reject::Malformed;
            }
            continue;
        }
        reject = Reject::Signature;
        // All that can go wrong from here on looks the same from outside.
        let opened = key
            .content_key(&encrypted_key, header)
            .and_then(|content_key| sealed.open(header.encryption, &content_key));
        if let Some(content) = opened {
            return Ok((key, content));
        }
    }
    Err(reject)
}

/// Is the content of a token with what belongs to it, all decoded but the header, which is authenticated as it stands.
struct Sealed<'a> {
    protected: &'a [u8],
    nonce: &'a [u8],
    content: &'a [u8],
    tag: &'a [u8],
}

impl Sealed<'_> {
    fn open(&self, encryption: ContentEncryption, content_key: &[u8]) -> Option<Vec<u8>> {
        let Self { protected, nonce, content, tag } = *self;
        match encryption.cbc() {
            Some(cbc) => cbc.authenticate(self, content_key)?.decrypt(),
            None => encryption.of_josekit().decrypt(content_key, Some(nonce), content, protected, Some(tag)).ok(),
        }
    }
}

fn parts(token: &str) -> Option<[&str; 5]> {
    let mut parts = token.split('.');
    Some([parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?])
}

struct Header {
    /// The same for `josekit`, which reads `epk`, `apu` and `apv` there.
    of_josekit: JweHeader,
    algorithm: String,
    encryption: ContentEncryption,
    kid: Option<String>,
}

impl Header {
    fn parse(encoded: &str) -> Result<Self, Reject> {
        let bytes = base64::decode(encoded).ok_or(Reject::Malformed)?;
        let of_josekit = JweHeader::from_bytes(&bytes);
        let members = JsonObject::parse(bytes)?;
        if members.get("crit").is_some() {
            return Err(Reject::Critical);
        }
        // A few bytes of compressed text can stand for gigabytes.
        if members.get("zip").is_some() {
            return Err(Reject::Malformed);
        }
        // Nested only (RFC 7519 §5.2): claims that were encrypted but not signed say nothing about who wrote them.
        let nested = members.get("cty").and_then(|cty| cty.as_str()).is_some_and(|cty| cty.eq_ignore_ascii_case("jwt"));
        if !nested {
            return Err(Reject::Type);
        }
        let algorithm = members.get("alg").and_then(|alg| alg.as_str()).ok_or(Reject::Algorithm)?.into_owned();
        let encryption = members.get("enc").and_then(|enc| enc.as_str()).ok_or(Reject::Algorithm)?;
        let encryption = ContentEncryption::from_name(&encryption).ok_or(Reject::Algorithm)?;
        let kid = match members.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(Reject::Malformed)?.into_owned()),
        };
        // Last, so that what it refuses besides has no say in the reason.
        let of_josekit = of_josekit.map_err(|_| Reject::Malformed)?;
        Ok(Self { of_josekit, algorithm, encryption, kid })
    }
}

/// Encrypts a signed token for the holder of a key: the other half of [`DecryptionKey`].
///
/// `recipient` is a public key in PEM, or for [`KeyManagement::Direct`] the shared secret itself.
///
/// # Errors
/// [`ConfigError`] when `token` has not the three parts of a signed token, or the key does not fit the algorithm.
pub fn encrypt(
    token: &str,
    management: KeyManagement,
    encryption: ContentEncryption,
    kid: Option<&str>,
    recipient: &[u8],
) -> Result<String, ConfigError> {
    if token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Err(ConfigError::new("only a signed token may be encrypted"));
    }
    let unusable = |_| ConfigError::new("not a public key that this algorithm can use");
    let boxed: Box<dyn JweEncrypter> = match management {
        KeyManagement::RsaOaep => Box::new(RSA_OAEP.encrypter_from_pem(recipient).map_err(unusable)?),
        KeyManagement::RsaOaep256 => Box::new(RSA_OAEP_256.encrypter_from_pem(recipient).map_err(unusable)?),
        KeyManagement::EcdhEs => Box::new(ECDH_ES.encrypter_from_pem(recipient).map_err(unusable)?),
        KeyManagement::EcdhEsA128Kw => Box::new(ECDH_ES_A128KW.encrypter_from_pem(recipient).map_err(unusable)?),
        KeyManagement::EcdhEsA192Kw => Box::new(ECDH_ES_A192KW.encrypter_from_pem(recipient).map_err(unusable)?),
        KeyManagement::EcdhEsA256Kw => Box::new(ECDH_ES_A256KW.encrypter_from_pem(recipient).map_err(unusable)?),
        KeyManagement::Direct => {
            check_direct(encryption, recipient)?;
            Box::new(Dir.encrypter_from_bytes(recipient).map_err(unusable)?)
        }
    };
    let mut header = JweHeader::new();
    header.set_content_encryption(encryption.name());
    header.set_content_type("JWT");
    if let Some(kid) = kid {
        header.set_key_id(kid);
    }
    josekit::jwe::serialize_compact(token.as_bytes(), &header, &*boxed)
        .map_err(|_| ConfigError::new("the token could not be encrypted"))
}

#[cfg(test)]
mod tests;
