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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn backend() -> Backend {
        #[cfg(feature = "aws-lc-rs")]
        return Backend::aws_lc();
        #[cfg(not(feature = "aws-lc-rs"))]
        return Backend::ring();
    }

    fn part(proof: &str, index: usize) -> Value {
        let text = proof.split('.').nth(index).expect("a part");
        serde_json::from_slice(&base64::decode(text).expect("base64url")).expect("JSON")
    }

    #[test]
    fn a_proof_shows_the_public_key_and_nothing_else_of_it() {
        for algorithm in [Algorithm::Es256, Algorithm::Ed25519] {
            let key = SigningKey::generate(backend(), algorithm).expect("a key").with_kid("our-own-name");
            let signer = DpopSigner::new(backend(), key).expect("a signer");
            let proof = signer.prove("GET", "https://api.example/a", None, None, NOW).expect("a proof");
            let header = part(&proof, 0);
            assert_eq!((&header["typ"], &header["alg"]), (&"dpop+jwt".into(), &algorithm.name().into()));
            let members: Vec<_> = header["jwk"].as_object().expect("an object").keys().cloned().collect();
            assert!(members.iter().all(|name| ["kty", "crv", "x", "y"].contains(&&**name)), "{members:?}");
            assert!(header.get("kid").is_none());
        }
    }

    #[test]
    fn a_proof_is_for_one_method_one_url_and_one_token() {
        let signer = DpopSigner::generate(backend()).expect("a signer");
        let token = Secret::from("a");
        let make = || signer.prove("PUT", "https://api.example/a?b#c", Some(&token), Some("n"), NOW).expect("a proof");
        let (one, other) = (part(&make(), 1), part(&make(), 1));
        assert_eq!((&one["htm"], &one["htu"]), (&"PUT".into(), &"https://api.example/a".into()));
        assert_eq!((&one["nonce"], &one["iat"]), (&"n".into(), &NOW.as_secs().into()));
        // SHA-256 of "a"
        assert_eq!(one["ath"], "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs");
        assert_ne!(one["jti"], other["jti"]);
        let plain = part(&signer.prove("POST", "https://id.example/token", None, None, NOW).expect("a proof"), 1);
        assert!(plain.get("ath").is_none() && plain.get("nonce").is_none());
    }

    #[test]
    fn refuses_a_shared_secret() {
        let secret = SigningKey::hmac(backend(), Algorithm::Hs256, &[7; 32]).expect("a key");
        assert!(DpopSigner::new(backend(), secret).is_err());
    }

    #[test]
    fn debug_shows_algorithm_and_thumbprint() {
        let signer = DpopSigner::generate(backend()).expect("a signer");
        assert_eq!(format!("{signer:?}"), format!("DpopSigner(ES256, {})", signer.thumbprint()));
    }
}
