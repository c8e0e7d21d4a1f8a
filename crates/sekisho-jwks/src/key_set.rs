use std::fmt;

use sekisho_core::json::{JsonError, JsonObject};
use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::jwk::{self, Place};
use crate::key::{Leak, MAX_KID};
use crate::{Backend, Candidates, KeyError, KeyLookup, KeyQuery, TrustedKey, VerifyingKey};

/// Is a published set of keys ([RFC 7517 §5](https://www.rfc-editor.org/rfc/rfc7517#section-5)), as far as it can be used.
///
/// A key that cannot be used never spoils the others; [`skipped`](Self::skipped) says why it was left out.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use sekisho_jwks::{Backend, KeySet};
///
/// let set = KeySet::parse(Backend::default(), br#"{"keys":[{"kty":"RSA","kid":"a","use":"enc"}]}"#)?;
/// assert!(set.keys().is_empty());
/// assert_eq!(set.skipped()[0].to_string(), "key 0 (kid `a`): not a key for signatures: `use` is not `sig`");
/// # }
/// # Ok::<(), sekisho_jwks::KeySetError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    skipped: Vec<SkippedKey>,
    /// Keys whose private half stood in the document.
    leaked: Vec<Leak>,
}

impl KeySet {
    /// Bounds the document in bytes.
    pub const MAX_BYTES: usize = 150_000;
    /// Bounds the number of keys in it, usable or not.
    pub const MAX_KEYS: usize = 100;

    /// Reads a document of at most [`MAX_BYTES`](Self::MAX_BYTES).
    ///
    /// A byte order mark is passed over ([RFC 8259 §8.1](https://www.rfc-editor.org/rfc/rfc8259#section-8.1)). An empty set is a set.
    ///
    /// If one entry holds the private half of a key, all entries of that key are left out, the public ones too.
    ///
    /// A member `issuer` of a key, as in sets that several tenants of Microsoft Entra share, is not looked at here: the set
    /// alone does not say who asks. [`Discovery`](crate::Discovery) knows, and leaves out keys of other issuers.
    ///
    /// # Errors
    /// [`KeySetError`]: the document as a whole is no key set. Single keys never cause one.
    pub fn parse(backend: Backend, bytes: &[u8]) -> Result<Self, KeySetError> {
        Self::parse_where(backend, bytes, None)
    }

    /// Reads a document as [`parse`](Self::parse) does, and leaves out keys whose `issuer` is not taken or is no string.
    pub(crate) fn parse_where(
        backend: Backend,
        bytes: &[u8],
        takes_issuer: Option<&dyn Fn(&str) -> bool>,
    ) -> Result<Self, KeySetError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KeySetError::Malformed)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Document(jwks) = serde_json::from_str(text).map_err(|_| KeySetError::Malformed)?;
        if jwks.len() > Self::MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut set = Self::default();
        let mut usable = Vec::new();
        for (index, jwk) in jwks.into_iter().enumerate() {
            match read_entry(backend, jwk.get(), takes_issuer, &mut set.leaked) {
                Ok(key) => usable.push((index, key)),
                Err((kid, reason)) => set.skipped.push(SkippedKey { index, kid, reason }),
            }
        }
        for (index, key) in usable {
            if key.is_one_of(&set.leaked) {
                set.skipped.push(SkippedKey { index, kid: key.kid().map(shown), reason: KeyError::Leaked });
            } else {
                set.keys.push(key);
            }
        }
        set.skipped.sort_by_key(SkippedKey::index);
        Ok(set)
    }

    /// Reads an object of key ids and PEM certificates, the older form of Google and Firebase
    /// (`https://www.googleapis.com/oauth2/v1/certs`).
    ///
    /// Of each certificate only the key is read; see [`VerifyingKey::from_pem`]. The bounds are those of [`parse`](Self::parse).
    ///
    /// # Errors
    /// [`KeySetError`]: the document as a whole is no such object. Single keys never cause one.
    pub fn parse_x509_map(backend: Backend, bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let map = JsonObject::parse(bytes.to_vec()).map_err(|_| KeySetError::Malformed)?;
        if map.len() > Self::MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut set = Self::default();
        for (index, (kid, certificate)) in map.iter().enumerate() {
            let key = certificate
                .as_str()
                .ok_or(KeyError::Malformed("not a string"))
                .and_then(|pem| VerifyingKey::from_pem(backend, pem.as_bytes()))
                .and_then(|key| if kid.len() > MAX_KID { Err(KeyError::KeyIdTooLong) } else { Ok(key) });
            match key {
                Ok(key) => set.keys.push(key.with_kid(kid)),
                Err(reason) => set.skipped.push(SkippedKey { index, kid: Some(shown(kid)), reason }),
            }
        }
        Ok(set)
    }

    /// Makes a set of keys that were loaded one by one.
    #[must_use]
    pub fn from_keys(keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        Self { keys: keys.into_iter().collect(), skipped: Vec::new(), leaked: Vec::new() }
    }

    /// Lists the usable keys in the order of the document.
    #[must_use]
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// Lists the keys that were left out.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Lists the keys whose private half stood in the document.
    pub(crate) fn leaked(&self) -> &[Leak] {
        &self.leaked
    }
}

/// Reads one key of a document, or says what id it has and why it cannot be used. Adds what names the public half of a private key to `leaked`.
fn read_entry(
    backend: Backend,
    jwk: &str,
    takes_issuer: Option<&dyn Fn(&str) -> bool>,
    leaked: &mut Vec<Leak>,
) -> Result<VerifyingKey, (Option<String>, KeyError)> {
    read_jwk(backend, jwk, takes_issuer).map_err(|(kid, reason)| {
        let private = PrivateNumbers::find(jwk);
        let reason =
            if private.is_private && reason != KeyError::PublishedSecret { KeyError::PrivateKey } else { reason };
        leaked.extend(private.leaks());
        (kid, reason)
    })
}

fn read_jwk(
    backend: Backend,
    jwk: &str,
    takes_issuer: Option<&dyn Fn(&str) -> bool>,
) -> Result<VerifyingKey, (Option<String>, KeyError)> {
    let jwk = JsonObject::parse(jwk.as_bytes().to_vec()).map_err(|error| (None, error.into()))?;
    let member = |name| jwk.get(name).and_then(|value| value.as_str());
    let key = jwk::read(backend, &jwk, Place::Published).and_then(|key| match (takes_issuer, jwk.get("issuer")) {
        (None, _) | (_, None) => Ok(key),
        (Some(takes), Some(issuer)) => match issuer.as_str() {
            Some(issuer) if takes(&issuer) => Ok(key),
            Some(_) => Err(KeyError::OtherIssuer),
            None => Err(KeyError::Malformed("`issuer` is not a string")),
        },
    });
    key.map_err(|reason| (member("kid").map(|kid| shown(&kid)), reason))
}

/// Says which key of a set was left out, and why; safe to log on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    index: usize,
    kid: Option<String>,
    reason: KeyError,
}

impl SkippedKey {
    /// Returns its place in the document, from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Returns its key id, escaped and cut to 64 characters.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns why it cannot be used.
    #[must_use]
    pub const fn reason(&self) -> KeyError {
        self.reason
    }

    /// Tells whether a secret stands in the set for everybody to read.
    pub(crate) const fn is_leak(&self) -> bool {
        matches!(self.reason, KeyError::PrivateKey | KeyError::PublishedSecret | KeyError::Leaked)
    }
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "key {} (kid `{kid}`): {}", self.index, self.reason),
            None => write!(f, "key {}: {}", self.index, self.reason),
        }
    }
}

/// Says why a document is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Above [`KeySet::MAX_BYTES`].
    #[error("a key set above {} bytes", KeySet::MAX_BYTES)]
    TooLarge,
    /// Not a JSON object, a member twice, or without the array `keys`.
    #[error("not a JSON object of keys")]
    Malformed,
    /// Above [`KeySet::MAX_KEYS`].
    #[error("a key set of more than {} keys", KeySet::MAX_KEYS)]
    TooManyKeys,
}

impl From<JsonError> for KeyError {
    fn from(error: JsonError) -> Self {
        Self::Malformed(match error {
            JsonError::DuplicateMember => "a member name stands twice in one object",
            JsonError::TooDeep => "nested too deep",
            _ => "not a JSON object",
        })
    }
}

/// Finds the keys to try for one token: those that fit the algorithm, and have the `kid` if the token names one.
///
/// A key without `kid` is no answer to a token with one. More than [`Candidates::MAX`] is
/// [`KeyLookup::Ambiguous`], none [`KeyLookup::Unknown`]; a single one is found without allocating.
pub(crate) fn candidates(keys: &[TrustedKey], query: KeyQuery<'_>) -> KeyLookup {
    let fits = |trusted: &&TrustedKey| {
        let key = trusted.key();
        key.fits(query.algorithm) && (query.kid.is_none() || key.kid() == query.kid)
    };
    let mut fitting = keys.iter().filter(fits);
    let Some(first) = fitting.next() else { return KeyLookup::Unknown };
    let Some(second) = fitting.next() else { return KeyLookup::Found(Candidates::One(first.clone())) };
    let few: Vec<TrustedKey> = [first, second].into_iter().chain(fitting).take(Candidates::MAX + 1).cloned().collect();
    if few.len() > Candidates::MAX { KeyLookup::Ambiguous } else { KeyLookup::Found(Candidates::Few(few)) }
}

/// Escapes and cuts a foreign text for one line of a log.
fn shown(text: &str) -> String {
    const CHARACTERS: usize = 64;
    let mut shown: String = text.chars().take(CHARACTERS).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

/// Is the text of each key. They are taken apart one by one, so that a fault in one, a duplicate
/// member for example, stays with that one.
struct Document<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Document<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DocumentVisitor;
        impl<'de> Visitor<'de> for DocumentVisitor {
            type Value = Document<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an array `keys`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = std::collections::HashSet::new();
                let mut keys = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "keys" {
                        keys = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                    if !names.insert(name) {
                        return Err(de::Error::custom("duplicate"));
                    }
                }
                keys.map(Document).ok_or_else(|| de::Error::missing_field("keys"))
            }
        }
        deserializer.deserialize_map(DocumentVisitor)
    }
}

/// Is what an entry that cannot be used says about private keys, read as leniently as somebody would who looks for one to
/// sign with: members twice, of the wrong type, padded, in the other alphabet.
#[derive(Default)]
struct PrivateNumbers {
    is_private: bool,
    /// The values of `n` and `x`.
    public: Vec<Vec<u8>>,
}

impl PrivateNumbers {
    fn find(jwk: &str) -> Self {
        serde_json::from_str(jwk).unwrap_or_default()
    }

    fn leaks(&self) -> impl Iterator<Item = Leak> {
        self.public.iter().filter(|_| self.is_private).map(|number| Leak::new(number))
    }
}

impl<'de> Deserialize<'de> for PrivateNumbers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = PrivateNumbers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = PrivateNumbers::default();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if jwk::PRIVATE_MEMBERS.contains(&name.as_str()) {
                        found.is_private |= value.get() != "null";
                    } else if matches!(name.as_str(), "n" | "x") {
                        found.public.extend(serde_json::from_str(value.get()).ok().map(lenient_base64));
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_map(EntryVisitor)
    }
}

/// Decodes base64 of either alphabet up to the first character that is of none, other than white space.
fn lenient_base64(text: String) -> Vec<u8> {
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => break,
        };
        (bits, held) = (bits << 6 | u32::from(six), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
