use std::fmt;
use std::sync::Arc;

use sekisho_jwks::{KeyRing, SigningKey};
use serde::Serialize;

use crate::base64;

/// Signs claims as compact JWS ([RFC 7515 §5.1](https://www.rfc-editor.org/rfc/rfc7515#section-5.1)).
///
/// # Examples
/// ```
/// use sekisho_jwt::jwks::SigningKey;
/// use sekisho_jwt::{Algorithm, Backend, Signer};
/// let key = SigningKey::generate(Backend::default(), Algorithm::Es256)?;
/// let token = Signer::new(key).sign(&serde_json::json!({"iss": "https://id.example", "sub": "alice"}))?;
/// assert_eq!(token.split('.').count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Signer {
    keys: Keys,
    kind: String,
}

#[derive(Clone)]
enum Keys {
    One(SigningKey),
    Ring(Arc<KeyRing>),
}

/// Says why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The claims do not serialize to a JSON object.
    #[error("the claims do not serialize to a JSON object")]
    Claims,
    /// The key could not sign.
    #[error("the key could not sign")]
    Key(#[source] sekisho_jwks::KeyError),
}

impl Signer {
    /// Signs with one key, and `at+jwt` as `typ`.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self { keys: Keys::One(key), kind: "at+jwt".to_owned() }
    }

    /// Signs with whatever key is the ring's current one, and `at+jwt` as `typ`.
    #[must_use]
    pub fn from_ring(ring: Arc<KeyRing>) -> Self {
        Self { keys: Keys::Ring(ring), kind: "at+jwt".to_owned() }
    }

    /// Sets `typ`.
    #[must_use]
    pub fn with_type(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Signs claims, which must serialize to a JSON object.
    ///
    /// # Errors
    /// [`SignError::Claims`] when they do not; [`SignError::Key`] when the key cannot sign.
    pub fn sign<C: Serialize + ?Sized>(&self, claims: &C) -> Result<String, SignError> {
        let payload = serde_json::to_vec(claims).map_err(|_| SignError::Claims)?;
        if payload.first() != Some(&b'{') {
            return Err(SignError::Claims);
        }
        let key = match &self.keys {
            Keys::One(key) => key.clone(),
            Keys::Ring(ring) => ring.current(),
        };
        let header = serde_json::json!({ "alg": key.algorithm().name(), "kid": key.kid(), "typ": self.kind });
        let mut token = base64::encode(header.to_string().as_bytes());
        token.push('.');
        token.push_str(&base64::encode(&payload));
        let signature = key.sign(token.as_bytes()).map_err(SignError::Key)?;
        token.push('.');
        token.push_str(&base64::encode(&signature));
        Ok(token)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("typ", &self.kind).finish_non_exhaustive()
    }
}
