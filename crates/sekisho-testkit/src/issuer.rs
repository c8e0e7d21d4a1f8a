use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sekisho_core::{Clock, SystemClock, UnixSeconds};
use sekisho_jwks::{Algorithm, Backend, KeySet, SigningKey, StaticKeys};
use serde_json::{Value, json};

use crate::TokenBuilder;
use crate::forge::base64url;

/// Is an identity provider inside the test process: it has keys, signs tokens, rotates, and publishes its key set.
///
/// It talks to nobody. [`serve`](Self::serve) puts it behind real HTTP. Clones are the same issuer.
///
/// # Examples
/// ```
/// let issuer = sekisho_testkit::Issuer::new();
/// let token = issuer.token().subject("u1").audience("orders").scope("orders:write").sign();
/// assert_eq!(token.split('.').count(), 3);
/// assert!(issuer.key_set().contains("\"ES256\""));
/// ```
#[derive(Clone)]
pub struct Issuer {
    url: Arc<str>,
    algorithm: Algorithm,
    backend: Backend,
    clock: Arc<dyn Clock>,
    keys: Arc<Mutex<Keys>>,
}

/// Keys come into being when first needed, because RSA keys take a second to find.
#[derive(Default)]
struct Keys {
    current: Vec<SigningKey>,
    retired: Vec<SigningKey>,
    extra: Vec<Value>,
    decoys: Vec<(Decoy, SigningKey)>,
}

/// Names a key that lies in the published set and must not verify an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoy {
    /// `use` is `enc`.
    ForEncryption,
    /// `key_ops` has no `verify`.
    OtherOperations,
    /// `alg` names an algorithm of another curve.
    OtherAlgorithm,
    /// `kty` is `oct`, under the `kid` of the key that signs.
    SharedSecret,
}

impl Issuer {
    /// Makes `https://id.example`, which signs by ES256 with a key of its own and reads the system clock.
    #[must_use]
    pub fn new() -> Self {
        Self {
            url: "https://id.example".into(),
            algorithm: Algorithm::Es256,
            backend: default_backend(),
            clock: Arc::new(SystemClock),
            keys: Arc::default(),
        }
    }

    /// Makes an issuer like [`new`](Self::new) under another name.
    #[must_use]
    pub fn with_url(url: impl Into<Arc<str>>) -> Self {
        Self { url: url.into(), ..Self::new() }
    }

    /// Signs by another algorithm, with a new key. An RSA key takes a second to find, when it is first needed.
    ///
    /// # Panics
    /// For HMAC: its key could not be published. When the key is needed and the backend cannot make it, as `ring` cannot
    /// make RSA keys: see [`with_signing_key`](Self::with_signing_key).
    #[must_use]
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        assert!(!algorithm.is_symmetric(), "an issuer publishes its keys, so it cannot sign by {algorithm}");
        Self { algorithm, keys: Arc::default(), ..self }
    }

    /// Signs with this key, by its algorithm, until the next rotation.
    ///
    /// # Panics
    /// For HMAC: its key could not be published.
    #[must_use]
    pub fn with_signing_key(self, key: SigningKey) -> Self {
        let this = self.with_algorithm(key.algorithm());
        this.lock().current.push(key);
        this
    }

    /// Reads another clock for `iat` and `exp`.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Signs with another crypto backend, with a new key.
    #[must_use]
    pub fn with_backend(self, backend: Backend) -> Self {
        Self { backend, keys: Arc::default(), ..self }
    }

    /// Publishes, beside its own, keys that must not verify an access token: one for encryption, one whose
    /// `key_ops` lack `verify`, one whose `alg` does not fit its curve, and a shared secret under the `kid` of the
    /// key that signs. [`hostile_tokens`](crate::hostile_tokens) then has tokens by each of them.
    #[must_use]
    pub fn with_decoys(self) -> Self {
        let signing = self.signing_key();
        {
            let mut keys = self.lock();
            for decoy in [Decoy::ForEncryption, Decoy::OtherOperations, Decoy::OtherAlgorithm] {
                let key = generate(self.backend, Algorithm::Es256);
                let mut jwk = public_jwk(&key);
                if let Some(members) = jwk.as_object_mut() {
                    match decoy {
                        Decoy::ForEncryption => members.insert("use".into(), json!("enc")),
                        Decoy::OtherOperations => {
                            members.remove("use");
                            members.insert("key_ops".into(), json!(["deriveKey"]))
                        }
                        _ => members.insert("alg".into(), json!("ES384")),
                    };
                }
                keys.extra.push(jwk);
                keys.decoys.push((decoy, key));
            }
            let secret = SECRET_DECOY;
            let shared = expect_key(SigningKey::hmac(self.backend, Algorithm::Hs256, secret)).with_kid(signing.kid());
            keys.extra.push(json!({ "kty": "oct", "kid": signing.kid(), "alg": "HS256", "k": base64url(secret) }));
            keys.decoys.push((Decoy::SharedSecret, shared));
        }
        self
    }

    /// Publishes one more JWK, as it stands.
    pub fn publish(&self, jwk: Value) {
        self.lock().extra.push(jwk);
    }

    /// Returns the issuer identifier, the `iss` of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the algorithm that it signs by.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the clock that it reads.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Returns the crypto backend that it signs with.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// Begins a token that this issuer would hand out now; see [`TokenBuilder`] for what is in it.
    #[must_use = "a token begins to exist with `sign`"]
    pub fn token(&self) -> TokenBuilder {
        TokenBuilder::new(self.clone())
    }

    /// Returns the key that signs now.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        self.signing_key_for(self.algorithm)
    }

    /// Returns the key that signs by this algorithm now; the first call makes and publishes it.
    #[must_use]
    pub fn signing_key_for(&self, algorithm: Algorithm) -> SigningKey {
        let mut keys = self.lock();
        if let Some(key) = keys.current.iter().find(|key| key.algorithm() == algorithm) {
            return key.clone();
        }
        let key = generate(self.backend, algorithm);
        keys.current.push(key.clone());
        key
    }

    /// Signs with new keys from now on. The old ones stay published until [`withdraw_retired`](Self::withdraw_retired).
    pub fn rotate(&self) {
        let _made = self.signing_key();
        let mut keys = self.lock();
        let old = std::mem::take(&mut keys.current);
        keys.current = old.iter().map(|key| generate(self.backend, key.algorithm())).collect();
        keys.retired.extend(old);
    }

    /// Publishes the keys before the last rotations no more: their tokens must be refused after the next refresh.
    pub fn withdraw_retired(&self) {
        self.lock().retired.clear();
    }

    /// Returns the published key set as JSON.
    #[must_use]
    pub fn key_set(&self) -> String {
        let _made = self.signing_key();
        let keys = self.lock();
        let own = keys.current.iter().chain(&keys.retired).map(public_jwk);
        json!({ "keys": own.chain(keys.extra.iter().cloned()).collect::<Vec<_>>() }).to_string()
    }

    /// Returns the keys as they are published now, parsed.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "the set was written by ourselves, a line earlier"
    )]
    pub fn keys(&self) -> KeySet {
        KeySet::parse(self.backend, self.key_set().as_bytes()).expect("our own key set is read")
    }

    /// Returns the keys as they are published now, as a source that never fetches. A later rotation does not reach it.
    #[must_use]
    pub fn static_keys(&self) -> StaticKeys {
        StaticKeys::from_set(&self.keys())
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// Puts the same keys and clock under another name.
    pub(crate) fn renamed(&self, url: impl Into<Arc<str>>) -> Self {
        Self { url: url.into(), ..self.clone() }
    }

    pub(crate) fn decoys(&self) -> Vec<(Decoy, SigningKey)> {
        self.lock().decoys.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({}, {})", self.url, self.algorithm)
    }
}

/// Generates a key, or panics: a test without keys is no test.
pub(crate) fn generate(backend: Backend, algorithm: Algorithm) -> SigningKey {
    expect_key(SigningKey::generate(backend, algorithm))
}

#[expect(clippy::expect_used, reason = "asymmetric keys only, by the constructor")]
pub(crate) fn public_jwk(key: &SigningKey) -> Value {
    key.public_jwk().expect("a public key has a JWK")
}

#[expect(clippy::panic, reason = "documented; for tests only")]
fn expect_key(made: Result<SigningKey, sekisho_jwks::KeyError>) -> SigningKey {
    made.unwrap_or_else(|error| panic!("no key: {error}"))
}

pub(crate) const fn default_backend() -> Backend {
    #[cfg(feature = "aws-lc-rs")]
    return Backend::aws_lc();
    #[cfg(not(feature = "aws-lc-rs"))]
    return Backend::ring();
}

const SECRET_DECOY: &[u8] = b"a published secret is not a secret at all";

#[cfg(test)]
mod tests;
