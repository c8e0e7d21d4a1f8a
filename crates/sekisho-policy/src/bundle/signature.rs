//! The signature, and what it covers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sekisho_core::UnixSeconds;
use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_jwt::jwks::{KeyHealth, KeyLookup, KeyQuery, KeySource};
use sekisho_jwt::{Algorithm, Backend, DocumentVerifier};

use super::BundleError;
use super::hash::HashAlgorithm;

/// Says which signatures are taken.
#[derive(Clone)]
pub(super) struct Trust {
    pub(super) signers: Signers,
    pub(super) scope: Box<str>,
    pub(super) key_id: Option<Box<str>>,
    keys: Arc<dyn KeySource>,
    backend: Backend,
}

/// Says which algorithms may sign.
#[derive(Clone, Debug)]
pub(super) enum Signers {
    AllPublic,
    Public(Vec<Algorithm>),
    SharedSecret(Vec<Algorithm>),
}

/// Bounds the signature: a list of a thousand files with SHA-512 fits.
const MAX_SIGNATURE: usize = 1 << 20;
/// By how much clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);

impl Trust {
    pub(super) fn new(backend: Backend, keys: Arc<dyn KeySource>) -> Self {
        Self { signers: Signers::AllPublic, scope: "".into(), key_id: None, keys, backend }
    }

    /// Checks that the signature holds and covers these files, each of them and no others.
    pub(super) async fn check(
        &self,
        signatures: &[u8],
        files: &BTreeMap<Box<str>, Bytes>,
        now: UnixSeconds,
    ) -> Result<(), BundleError> {
        let token = the_one(signatures).ok_or(BundleError::SignatureForm)?;
        let list = self.verifier().verify(&token, now).await.map_err(BundleError::Signature)?.into_inner();
        self.check_claims(&list)?;
        check_dates(&list, now)?;
        let mut listed = read_list(&list)?;
        for (name, content) in files {
            let (algorithm, expected) = listed.remove(&**name).ok_or(BundleError::NotListed)?;
            if algorithm.digest(self.backend, name, content)? != expected {
                return Err(BundleError::Digest);
            }
        }
        if listed.is_empty() { Ok(()) } else { Err(BundleError::Missing) }
    }

    fn verifier(&self) -> DocumentVerifier {
        let keys = match &self.key_id {
            None => Arc::clone(&self.keys),
            Some(id) => Arc::new(TheKey { id: id.clone(), keys: Arc::clone(&self.keys) }),
        };
        // OPA writes no `typ`; others write the one of any JWT.
        let verifier = DocumentVerifier::new(keys, "JWT").with_absent_type().with_max_bytes(MAX_SIGNATURE);
        match &self.signers {
            Signers::AllPublic => verifier,
            Signers::Public(algorithms) => verifier.with_algorithms(algorithms.iter().copied()),
            Signers::SharedSecret(algorithms) => verifier.with_shared_secret_algorithms(algorithms.iter().copied()),
        }
    }

    fn check_claims(&self, list: &JsonObject) -> Result<(), BundleError> {
        let claim = |name, error| match list.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or(error),
        };
        if *claim("scope", BundleError::Scope)?.unwrap_or_default() != *self.scope {
            return Err(BundleError::Scope);
        }
        match (&self.key_id, claim("keyid", BundleError::KeyId)?) {
            (Some(demanded), Some(named)) if **demanded != *named => Err(BundleError::KeyId),
            _ => Ok(()),
        }
    }
}

/// Checks those of the dates of [RFC 7519 §4.1](https://www.rfc-editor.org/rfc/rfc7519#section-4.1) that are there. OPA's own
/// signatures have none.
fn check_dates(list: &JsonObject, now: UnixSeconds) -> Result<(), BundleError> {
    let date = |name| match list.get(name) {
        None => Ok(None),
        Some(value) => value.as_numeric_date().map(UnixSeconds::new).map(Some).ok_or(BundleError::NotInForce),
    };
    let (end, start, made) = (date("exp")?, date("nbf")?, date("iat")?);
    let is_over = end.is_some_and(|end| end.saturating_add(LEEWAY) <= now);
    let is_ahead = |at: Option<UnixSeconds>| at.is_some_and(|at| now.saturating_add(LEEWAY) < at);
    if is_over || is_ahead(start) || is_ahead(made) { Err(BundleError::NotInForce) } else { Ok(()) }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signers, scope, key_id, keys, backend: _ } = self;
        f.debug_struct("Trust")
            .field("signers", signers)
            .field("scope", scope)
            .field("key_id", key_id)
            .field("keys", keys)
            .finish()
    }
}

/// Knows the one key of its source that has this id, whether a signature names it or none; under any other name it knows none.
#[derive(Debug)]
struct TheKey {
    id: Box<str>,
    keys: Arc<dyn KeySource>,
}

impl TheKey {
    fn narrow<'a>(&'a self, query: KeyQuery<'a>) -> Option<KeyQuery<'a>> {
        let is_it = query.kid.is_none_or(|kid| *kid == *self.id);
        is_it.then_some(KeyQuery { kid: Some(&self.id), ..query })
    }
}

#[async_trait]
impl KeySource for TheKey {
    fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.narrow(query).map_or(KeyLookup::Unknown, |query| self.keys.find(query, now))
    }

    async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        match self.narrow(query) {
            Some(query) => self.keys.fetch(query, now).await,
            None => KeyLookup::Unknown,
        }
    }

    async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        match self.narrow(query) {
            Some(query) => self.keys.fetch_anew(query, now).await,
            None => KeyLookup::Unknown,
        }
    }

    fn health(&self, now: UnixSeconds) -> KeyHealth {
        self.keys.health(now)
    }
}

/// Reads `.signatures.json`: one signature, and no plug-in that would have to check it.
fn the_one(content: &[u8]) -> Option<String> {
    let object = JsonObject::parse(content.to_vec()).ok()?;
    // `_default` is what OPA calls the way that is implemented here.
    let is_plain =
        object.get("plugin").is_none_or(|plugin| matches!(plugin.as_str().as_deref(), Some("" | "_default")));
    let signatures = object.get("signatures").filter(|value| value.kind() == JsonKind::Array && is_plain)?;
    match signatures.as_strings()?.as_slice() {
        [one] => Some(one.clone().into_owned()),
        _ => None,
    }
}

/// Is how a file is hashed, and what must come of it.
type Digest = (HashAlgorithm, Vec<u8>);

/// Reads the list of files: each name once, with its hash.
fn read_list(list: &JsonObject) -> Result<BTreeMap<Box<str>, Digest>, BundleError> {
    let files = list.get("files").filter(|files| files.kind() == JsonKind::Array).ok_or(BundleError::SignedList)?;
    let mut listed = BTreeMap::new();
    for file in files.elements() {
        let member = |name| file.member(name).and_then(JsonValue::as_str).ok_or(BundleError::SignedList);
        let (name, hash, algorithm) = (member("name")?, member("hash")?, member("algorithm")?);
        let algorithm = HashAlgorithm::named(&algorithm).ok_or(BundleError::HashAlgorithm)?;
        let hash = unhex(&hash).ok_or(BundleError::SignedList)?;
        // Some write the slash with which the name begins in the archive.
        let name = name.strip_prefix('/').unwrap_or(&name);
        if listed.insert(name.into(), (algorithm, hash)).is_some() {
            return Err(BundleError::SignedList);
        }
    }
    Ok(listed)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
