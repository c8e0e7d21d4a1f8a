use std::time::Duration;

use sekisho_core::UnixSeconds;
use sekisho_jwks::{Algorithm, SigningKey};
use serde_json::{Map, Value};

use crate::forge::{base64url, compact};
use crate::{DpopKey, Issuer};

/// Writes one token of an [`Issuer`], honest until told otherwise.
///
/// From the start it is an access token by [RFC 9068](https://www.rfc-editor.org/rfc/rfc9068): `typ` `at+jwt`, `iss`, `sub` (`u1`),
/// `client_id` (`client`), `iat` (now), `exp` (in 300 s) and a new `jti`. There is no `aud` until [`audience`](Self::audience).
/// `alg` and `kid` follow the key, unless they are set by [`header`](Self::header).
#[derive(Clone)]
#[must_use = "a token begins to exist with `sign`"]
pub struct TokenBuilder {
    issuer: Issuer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    key: Option<SigningKey>,
    algorithm: Algorithm,
    without_kid: bool,
}

impl TokenBuilder {
    pub(crate) fn new(issuer: Issuer) -> Self {
        let algorithm = issuer.algorithm();
        let now = issuer.now();
        let empty = Self { issuer, header: Map::new(), claims: Map::new(), key: None, algorithm, without_kid: false };
        let url = empty.issuer.url().to_owned();
        empty
            .typ("at+jwt")
            .claim("iss", url)
            .subject("u1")
            .claim("client_id", "client")
            .claim("iat", now.as_secs())
            .claim("jti", new_id())
            .expires_in(Duration::from_secs(300))
    }

    /// Sets `sub`.
    pub fn subject(self, subject: &str) -> Self {
        self.claim("sub", subject)
    }

    /// Sets `aud` to one string. For several, `claim("aud", vec!["a", "b"])`.
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Sets `scope`: scopes separated by spaces.
    pub fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// Binds it to the key of a client: `cnf` with `jkt` ([RFC 9449 §6](https://www.rfc-editor.org/rfc/rfc9449#section-6)).
    pub fn bound_to(self, key: &DpopKey) -> Self {
        self.claim("cnf", crate::dpop::bound_to(key))
    }

    /// Binds it to a client certificate, given as DER: `cnf` with `x5t#S256`
    /// ([RFC 8705 §3.1](https://www.rfc-editor.org/rfc/rfc8705#section-3.1)).
    pub fn bound_to_certificate(self, der: &[u8]) -> Self {
        self.claim("cnf", serde_json::json!({ "x5t#S256": base64url(crate::crypto::sha256(der)) }))
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

    /// Sets `exp` to this long from now, in whole seconds.
    pub fn expires_in(self, after: Duration) -> Self {
        let at = self.issuer.now().saturating_add(after);
        self.expires_at(at)
    }

    /// Sets `exp`.
    pub fn expires_at(self, at: UnixSeconds) -> Self {
        self.claim("exp", at.as_secs())
    }

    /// Lets it have expired one hour ago, and have been issued five minutes before that.
    pub fn expired(self) -> Self {
        let exp = self.issuer.now().saturating_sub(Duration::from_secs(3600));
        self.claim("iat", exp.saturating_sub(Duration::from_secs(300)).as_secs()).expires_at(exp)
    }

    /// Sets `nbf`.
    pub fn not_before(self, at: UnixSeconds) -> Self {
        self.claim("nbf", at.as_secs())
    }

    /// Adds or replaces a header member, `alg` and `kid` too. What they say then need not be true.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a header member out that was set before.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Leaves `kid` out.
    pub const fn without_kid(mut self) -> Self {
        self.without_kid = true;
        self
    }

    /// Sets `typ`.
    pub fn typ(self, typ: &str) -> Self {
        self.header("typ", typ)
    }

    /// Signs by this algorithm, with the issuer's key for it, which is made and published if there is none yet.
    pub const fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Signs with this key, published or not. `alg` and `kid` follow it.
    pub fn signed_by(mut self, key: &SigningKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// Signs, and returns the compact token.
    ///
    /// # Panics
    /// When the key cannot sign.
    #[must_use]
    pub fn sign(self) -> String {
        let Self { issuer, mut header, claims, key, algorithm, without_kid } = self;
        let key = key.unwrap_or_else(|| issuer.signing_key_for(algorithm));
        header.entry("alg").or_insert_with(|| key.algorithm().name().into());
        if !without_kid {
            header.entry("kid").or_insert_with(|| key.kid().into());
        }
        compact(Value::Object(header).to_string(), Value::Object(claims).to_string(), &key)
    }

    /// Returns the claims as they stand, as JSON.
    pub(crate) fn claims_json(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }
}

impl std::fmt::Debug for TokenBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenBuilder(header {}, claims {})", Value::Object(self.header.clone()), self.claims_json())
    }
}

/// Makes an id that no other token has.
fn new_id() -> String {
    let random = crate::crypto::random::<16>();
    base64url(random)
}
