use std::fmt;
use std::sync::Arc;

use sekisho_core::{ConfigError, Failure, FailureKind, Secret, UnixSeconds};
use sekisho_jwks::SigningKey;
use serde_json::{Map, Value, json};

use crate::{Algorithm, Backend, base64};

/// Makes DPoP proofs, as the client of a provider or a service ([RFC 9449 §4.2](https://www.rfc-editor.org/rfc/rfc9449#section-4.2)).
///
/// A clone costs a counter. `Debug` shows algorithm and thumbprint, nothing of the private key.
///
/// # Examples
/// ```
/// use sekisho_jwt::{Backend, DpopSigner, UnixSeconds};
/// let signer = DpopSigner::generate(Backend::default())?;
/// let proof = signer.prove("POST", "https://id.example/token?a=b", None, None, UnixSeconds::new(1_800_000_000))?;
/// // DPoP: {proof}
/// assert_eq!(proof.split('.').count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DpopSigner {
    key: SigningKey,
    backend: Backend,
    /// The header of all its proofs, encoded.
    header: Arc<str>,
    thumbprint: Arc<str>,
}

impl DpopSigner {
    /// Signs proofs with this key, which should serve for nothing else.
    ///
    /// # Errors
    /// [`ConfigError`] for a shared secret: a proof shows the public half of its key, and that has none.
    pub fn new(backend: Backend, key: SigningKey) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::new("DPoP proofs are signed by a private key, not by a shared secret");
        let Some(Value::Object(public)) = key.public_jwk() else { return Err(wrong()) };
        let thumbprint = key.verifying_key().thumbprint().ok_or_else(wrong)?.into();
        // Nothing but the key itself: names and uses of ours are nobody's business.
        let jwk: Map<String, Value> =
            public.into_iter().filter(|(name, _)| matches!(&**name, "kty" | "crv" | "x" | "y" | "n" | "e")).collect();
        let header = json!({ "typ": "dpop+jwt", "alg": key.algorithm().name(), "jwk": jwk });
        let header = base64::encode(header.to_string().as_bytes()).into();
        Ok(Self { key, backend, header, thumbprint })
    }

    /// Signs proofs with a new key for ES256, which is never written anywhere.
    ///
    /// # Errors
    /// [`ConfigError`] when there is no randomness.
    pub fn generate(backend: Backend) -> Result<Self, ConfigError> {
        let key = SigningKey::generate(backend, Algorithm::Es256)
            .map_err(|e| ConfigError::new("no key for DPoP proofs can be made").with_source(e))?;
        Self::new(backend, key)
    }

    /// Returns the thumbprint of the key, as it stands in `cnf` of tokens that are bound to it, and as `dpop_jkt` of an
    /// authorization request ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)).
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Makes a proof, good for one request.
    ///
    /// - `method`, `url`: of that request; the query and the fragment of the URL are left out.
    /// - `token`: the access token that the request brings; `None` at the provider's own endpoints.
    /// - `nonce`: the server's last `DPoP-Nonce`, if it gave one.
    /// - `now`: whole seconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`Failure`] when there is no randomness.
    pub fn prove(
        &self,
        method: &str,
        url: &str,
        token: Option<&Secret>,
        nonce: Option<&str>,
        now: UnixSeconds,
    ) -> Result<String, Failure> {
        let mut id = [0; 16];
        self.backend
            .fill_random(&mut id)
            .map_err(|_| Failure::new(FailureKind::Misconfigured, "no random bytes for a DPoP proof"))?;
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let mut claims = json!({ "jti": base64::encode(&id), "htm": method, "htu": url, "iat": now.as_secs() });
        if let Some(members) = claims.as_object_mut() {
            let hash = token.map(|token| base64::encode(&self.backend.sha256(token.expose())));
            members.extend(hash.map(|hash| ("ath".to_owned(), hash.into())));
            members.extend(nonce.map(|nonce| ("nonce".to_owned(), nonce.into())));
        }
        let mut proof = format!("{}.{}", self.header, base64::encode(claims.to_string().as_bytes()));
        let signature = self.key.sign(proof.as_bytes()).map_err(|e| {
            Failure::new(FailureKind::Misconfigured, "the key of DPoP proofs cannot sign").with_source(e)
        })?;
        proof.push('.');
        proof.push_str(&base64::encode(&signature));
        Ok(proof)
    }
}

impl fmt::Debug for DpopSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DpopSigner({}, {})", self.key.algorithm(), self.thumbprint)
    }
}
