use std::fmt;
use std::sync::Arc;

use sekisho_core::{Clock, SystemClock, UnixSeconds};
use sekisho_jwks::{Algorithm, SigningKey};
use serde_json::{Map, Value, json};

use crate::forge::{base64url, compact};
use crate::issuer::{default_backend, generate, public_jwk};

/// Is the key of a client that proves with each request that it has it ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)).
///
/// # Examples
/// ```
/// use sekisho_testkit::{DpopKey, Issuer};
/// let (issuer, key) = (Issuer::new(), DpopKey::generate());
/// let token = issuer.token().audience("orders").bound_to(&key).sign();
/// let proof = key.proof("POST", "https://api.example/orders").for_token(&token).sign();
/// // Authorization: DPoP {token}
/// // DPoP: {proof}
/// assert_eq!(proof.split('.').count(), 3);
/// ```
#[derive(Clone)]
pub struct DpopKey {
    key: SigningKey,
    clock: Arc<dyn Clock>,
}

impl DpopKey {
    /// Makes a new key for ES256, whose proofs read the system clock.
    #[must_use]
    pub fn generate() -> Self {
        Self::with_algorithm(Algorithm::Es256)
    }

    /// Makes a new key for this algorithm.
    ///
    /// # Panics
    /// For HMAC, and where the backend cannot make the key: see [`with_key`](Self::with_key).
    #[must_use]
    pub fn with_algorithm(algorithm: Algorithm) -> Self {
        Self::with_key(generate(default_backend(), algorithm))
    }

    /// Takes a key that was made elsewhere.
    #[must_use]
    pub fn with_key(key: SigningKey) -> Self {
        Self { key, clock: Arc::new(SystemClock) }
    }

    /// Reads another clock for `iat`.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    pub(crate) fn with_shared_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Returns the thumbprint, `jkt` ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.key.verifying_key().thumbprint().unwrap_or_default().to_owned()
    }

    /// Returns the public JWK as it stands in proofs: nothing but the key.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = public_jwk(&self.key);
        if let Some(members) = jwk.as_object_mut() {
            for name in ["use", "kid", "alg"] {
                members.remove(name);
            }
        }
        jwk
    }

    /// Begins a proof that this client would send now with a request of this method to this URL.
    pub fn proof(&self, method: &str, url: &str) -> ProofBuilder {
        let empty = ProofBuilder { key: self.key.clone(), header: Map::new(), claims: Map::new() };
        empty
            .header("typ", "dpop+jwt")
            .header("alg", self.key.algorithm().name())
            .header("jwk", self.jwk())
            .claim("jti", base64url(crate::crypto::random::<12>()))
            .claim("htm", method)
            .claim("htu", url)
            .at(self.clock.now())
    }
}

impl fmt::Debug for DpopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DpopKey({})", self.key.algorithm())
    }
}

/// Writes one proof of a [`DpopKey`], honest until told otherwise. `ath` comes with [`for_token`](Self::for_token).
#[derive(Clone)]
#[must_use = "a proof begins to exist with `sign`"]
pub struct ProofBuilder {
    key: SigningKey,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl ProofBuilder {
    /// Sets `ath` to the hash of this token.
    pub fn for_token(self, token: &str) -> Self {
        self.claim("ath", base64url(crate::crypto::sha256(token.as_bytes())))
    }

    /// Sets `iat`.
    pub fn at(self, instant: UnixSeconds) -> Self {
        self.claim("iat", instant.as_secs())
    }

    /// Sets `nonce`.
    pub fn nonce(self, nonce: &str) -> Self {
        self.claim("nonce", nonce)
    }

    /// Adds or replaces a claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Adds or replaces a header member, `alg` and `jwk` too. What they say then need not be true.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a header member out.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Signs with another key than the one that `jwk` shows.
    pub fn signed_by(mut self, key: &SigningKey) -> Self {
        self.key = key.clone();
        self
    }

    /// Signs, and returns the value of the header `DPoP`.
    ///
    /// # Panics
    /// When the key cannot sign.
    #[must_use]
    pub fn sign(&self) -> String {
        compact(self.header_json(), self.claims_json(), &self.key)
    }

    pub(crate) fn header_json(&self) -> String {
        Value::Object(self.header.clone()).to_string()
    }

    pub(crate) fn claims_json(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }
}

impl fmt::Debug for ProofBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofBuilder(header {}, claims {})", self.header_json(), self.claims_json())
    }
}

/// Writes `cnf` for a token that is bound to a key.
pub(crate) fn bound_to(key: &DpopKey) -> Value {
    json!({ "jkt": key.thumbprint() })
}
