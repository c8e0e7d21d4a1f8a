use std::fmt;
use std::sync::Arc;

use sekisho_core::json::JsonObject;
use serde_json::Value;

use crate::backend::{Mac, Verify};
use crate::jwk::{self, Place};
use crate::{Algorithm, Backend, KeyFamily};

pub(crate) mod der;
mod error;
mod material;
mod roca;

pub(crate) use der::Restriction;
pub use error::KeyError;
pub(crate) use material::{Leak, PublicMaterial};

/// Bounds a key id in bytes.
pub(crate) const MAX_KID: usize = 256;

/// Is a parsed public key, or a shared secret, that knows which algorithms it is for.
///
/// It is parsed once: verifying allocates nothing and parses nothing. A clone costs a counter.
/// `Debug` shows id, kind and algorithm.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use sekisho_jwks::{Algorithm, Backend, VerifyingKey};
///
/// let key = VerifyingKey::from_pem(
///     Backend::default(),
///     b"-----BEGIN PUBLIC KEY-----\n\
///       MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
///       -----END PUBLIC KEY-----\n",
/// )?;
/// assert!(key.fits(Algorithm::Ed25519));
/// assert!(!key.fits(Algorithm::Es256));
/// # }
/// # Ok::<(), sekisho_jwks::KeyError>(())
/// ```
#[derive(Clone)]
pub struct VerifyingKey(Arc<Inner>);

struct Inner {
    kid: Option<Box<str>>,
    algorithm: Option<Algorithm>,
    /// One bit for each algorithm that [`VerifyingKey::fits`].
    fitting: u16,
    loaded: Loaded,
}

#[derive(Clone)]
enum Loaded {
    Public(Arc<Public>),
    Shared(Arc<dyn Mac>),
}

struct Public {
    material: PublicMaterial,
    thumbprint: Box<str>,
    signature_length: usize,
    key: Box<dyn Verify>,
}

impl VerifyingKey {
    /// Reads one JWK ([RFC 7517 §4](https://www.rfc-editor.org/rfc/rfc7517#section-4)) that the owner trusts.
    ///
    /// A shared secret (`kty` `oct`) is taken here, unlike in a [`KeySet`](crate::KeySet); it must name its `alg`.
    /// `x5c` and `x5t` are not looked at, and no URL is ever followed. An RSA number with leading zero octets
    /// is taken for what it means, although [RFC 7518 §2](https://www.rfc-editor.org/rfc/rfc7518#section-2) forbids them.
    ///
    /// # Errors
    /// [`KeyError`]: whatever is wrong with it; also when it is a private key.
    pub fn from_jwk(backend: Backend, jwk: &JsonObject) -> Result<Self, KeyError> {
        jwk::read(backend, jwk, Place::Trusted)
    }

    /// Reads the one PEM document in a text of at most 64 KiB: `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`.
    ///
    /// Of a certificate **only the public key is read**. Its dates, names, signature, chain and revocation are not
    /// looked at: whoever passes a certificate here says "I trust this key".
    ///
    /// # Errors
    /// [`KeyError`]: no such document or several, a private key, or an unusable key.
    pub fn from_pem(backend: Backend, pem: &[u8]) -> Result<Self, KeyError> {
        let (material, restriction) = der::public_from_pem(pem)?;
        Self::from_material(backend, material, restriction)
    }

    /// Reads a DER `SubjectPublicKeyInfo` of at most 64 KiB. Compressed points and explicit curves are refused.
    ///
    /// # Errors
    /// [`KeyError`]: not such a document, or an unusable key.
    pub fn from_der(backend: Backend, spki: &[u8]) -> Result<Self, KeyError> {
        let (material, restriction) = der::public_from_spki(spki)?;
        Self::from_material(backend, material, restriction)
    }

    /// Reads the public key of a DER certificate of at most 64 KiB, and **nothing else of it**: see [`from_pem`](Self::from_pem).
    ///
    /// # Errors
    /// [`KeyError`]: not a certificate, or an unusable key.
    pub fn from_x509_der(backend: Backend, certificate: &[u8]) -> Result<Self, KeyError> {
        let (material, restriction) = der::public_from_certificate(certificate)?;
        Self::from_material(backend, material, restriction)
    }

    /// Takes a shared secret of at least the hash's length: 32, 48 or 64 bytes ([RFC 7518 §3.2](https://www.rfc-editor.org/rfc/rfc7518#section-3.2)).
    ///
    /// Whoever can verify with it can also sign. The copy that the backend keeps is wiped on drop by `aws-lc-rs`, but not by `ring`.
    ///
    /// # Errors
    /// - [`KeyError::Algorithm`]: not an HMAC algorithm.
    /// - [`KeyError::SecretTooShort`]: shorter than the hash.
    /// - [`KeyError::SecretIsPem`]: the text of a PEM document.
    pub fn hmac(backend: Backend, algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::from_mac(algorithm, load_secret(backend, algorithm, secret)?))
    }

    pub(crate) fn from_material(
        backend: Backend,
        material: PublicMaterial,
        restriction: Restriction,
    ) -> Result<Self, KeyError> {
        let family = material.family();
        backend.check_family(family)?;
        let allowed = |alg: Algorithm| match restriction {
            Restriction::None => true,
            Restriction::Pss => matches!(alg, Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512),
            Restriction::Only(only) => alg == only,
        };
        let fitting: Vec<Algorithm> = Algorithm::ALL
            .into_iter()
            .filter(|&alg| alg.family() == family && backend.supports(alg) && allowed(alg))
            .collect();
        let algorithm = match fitting.as_slice() {
            [] => return Err(KeyError::Algorithm),
            [only] => Some(*only),
            _ => None,
        };
        let key = backend.driver().load_public(&material, algorithm)?;
        let thumbprint = jwk::thumbprint(backend, &material).into();
        let signature_length = material.signature_length();
        let loaded = Loaded::Public(Arc::new(Public { material, thumbprint, signature_length, key }));
        let fitting = fitting.into_iter().fold(0, |mask, alg| mask | bit(alg));
        Ok(Self(Arc::new(Inner { kid: None, algorithm, fitting, loaded })))
    }

    pub(crate) fn from_mac(algorithm: Algorithm, mac: Arc<dyn Mac>) -> Self {
        let loaded = Loaded::Shared(mac);
        Self(Arc::new(Inner { kid: None, algorithm: Some(algorithm), fitting: bit(algorithm), loaded }))
    }

    /// Names the key. Tokens with a `kid` are verified with keys of that very id only.
    #[must_use]
    pub fn with_kid(self, kid: &str) -> Self {
        let Inner { kid: _, algorithm, fitting, loaded } = &*self.0;
        let kid = Some(kid.into());
        Self(Arc::new(Inner { kid, algorithm: *algorithm, fitting: *fitting, loaded: loaded.clone() }))
    }

    /// Uses the key for this algorithm only ([RFC 8725 §3.1](https://www.rfc-editor.org/rfc/rfc8725#section-3.1)).
    ///
    /// # Errors
    /// [`KeyError::Algorithm`]: the key does not fit it.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Result<Self, KeyError> {
        if !self.fits(algorithm) {
            return Err(KeyError::Algorithm);
        }
        let Inner { kid, algorithm: _, fitting: _, loaded } = &*self.0;
        let (kid, loaded) = (kid.clone(), loaded.clone());
        Ok(Self(Arc::new(Inner { kid, algorithm: Some(algorithm), fitting: bit(algorithm), loaded })))
    }

    /// Returns the key id.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.0.kid.as_deref()
    }

    /// Returns the one algorithm it is for; `None` for an RSA key that may be used with several.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.0.algorithm
    }

    /// Returns what kind of key it is.
    #[must_use]
    pub fn family(&self) -> KeyFamily {
        match &self.0.loaded {
            Loaded::Public(public) => public.material.family(),
            Loaded::Shared(_) => KeyFamily::Hmac,
        }
    }

    /// Tells whether signatures by `algorithm` can be verified with it.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.0.fitting & bit(algorithm) != 0
    }

    /// Tells whether `signature` is one of `message` by this key and algorithm; false when it does not [fit](Self::fits).
    ///
    /// `signature` has the form of [RFC 7518 §3](https://www.rfc-editor.org/rfc/rfc7518#section-3): for ECDSA `r || s` of exact length, never DER.
    #[must_use]
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        match &self.0.loaded {
            Loaded::Public(public) => {
                signature.len() == public.signature_length && public.key.verify(algorithm, message, signature)
            }
            Loaded::Shared(mac) => mac.verify(message, signature),
        }
    }

    /// Returns the SHA-256 thumbprint in base64url ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)); `None` for a shared secret.
    #[must_use]
    pub fn thumbprint(&self) -> Option<&str> {
        match &self.0.loaded {
            Loaded::Public(public) => Some(&public.thumbprint),
            Loaded::Shared(_) => None,
        }
    }

    /// Writes the public JWK with `use`, and `kid` and `alg` if known; `None` for a shared secret.
    #[must_use]
    pub fn public_jwk(&self) -> Option<Value> {
        match &self.0.loaded {
            Loaded::Public(public) => Some(jwk::write(&public.material, self.kid(), self.algorithm())),
            Loaded::Shared(_) => None,
        }
    }

    /// Tells whether its private half is that of one of these keys, under whatever id.
    pub(crate) fn is_one_of(&self, leaked: &[Leak]) -> bool {
        match &self.0.loaded {
            Loaded::Public(public) => leaked.contains(&public.material.leak()),
            Loaded::Shared(_) => false,
        }
    }

    /// Tells whether both have the same id, algorithms and key; two loads of one shared secret count as different.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Inner { kid, algorithm, fitting, loaded } = &*self.0;
        let same_key = match (loaded, &other.0.loaded) {
            (Loaded::Public(a), Loaded::Public(b)) => a.material == b.material,
            (Loaded::Shared(a), Loaded::Shared(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        *kid == other.0.kid && *algorithm == other.0.algorithm && *fitting == other.0.fitting && same_key
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid())
            .field("family", &self.family())
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// Checks a shared secret's length and loads it.
pub(crate) fn load_secret(backend: Backend, algorithm: Algorithm, secret: &[u8]) -> Result<Arc<dyn Mac>, KeyError> {
    let at_least = match algorithm {
        Algorithm::Hs256 => 32,
        Algorithm::Hs384 => 48,
        Algorithm::Hs512 => 64,
        _ => return Err(KeyError::Algorithm),
    };
    if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
        return Err(KeyError::SecretIsPem);
    }
    if secret.len() < at_least {
        return Err(KeyError::SecretTooShort { bytes: secret.len(), at_least });
    }
    backend.driver().load_secret(algorithm, secret).map(Arc::from)
}

const fn bit(algorithm: Algorithm) -> u16 {
    1 << algorithm as u16
}

#[cfg(test)]
pub(crate) mod tests;
