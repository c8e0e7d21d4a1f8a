use std::fmt;
use std::sync::Arc;

use pkcs8::PrivateKeyInfoRef;
use sekisho_core::Secret;
use sekisho_core::json::JsonObject;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::backend::{Mac, PrivateMaterial, RsaPrivate, Sign};
use crate::jwk;
use crate::key::der::{self, KeyKind, Restriction};
use crate::key::{PublicMaterial, load_secret};
use crate::{Algorithm, Backend, KeyError, KeyFamily, VerifyingKey};

/// Is a private key, or a shared secret, for one algorithm.
///
/// A clone costs a counter. `Debug` shows id and algorithm, nothing of the key.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use sekisho_jwks::{Algorithm, Backend, SigningKey};
///
/// let key = SigningKey::generate(Backend::default(), Algorithm::Es256)?;
/// let signature = key.sign(b"header.payload")?;
/// assert!(key.verifying_key().verify(Algorithm::Es256, b"header.payload", &signature));
/// # }
/// # Ok::<(), sekisho_jwks::KeyError>(())
/// ```
#[derive(Clone)]
pub struct SigningKey {
    verifying: VerifyingKey,
    algorithm: Algorithm,
    signer: Signer,
}

#[derive(Clone)]
enum Signer {
    Private(Arc<dyn Sign>),
    Shared(Arc<dyn Mac>),
}

impl SigningKey {
    /// Is the key id of a shared secret that was not [named](Self::with_kid); nothing of the secret shows in it.
    pub const SHARED_KID: &'static str = "shared";

    /// Makes a new key. RSA keys get 2048 bits, the size that nearly every provider publishes.
    ///
    /// # Errors
    /// [`KeyError::CannotGenerate`]: the backend makes no such key (`ring`: RSA), or the algorithm needs a shared
    /// secret, which comes from [`hmac`](Self::hmac).
    pub fn generate(backend: Backend, algorithm: Algorithm) -> Result<Self, KeyError> {
        Self::generate_with_bits(backend, algorithm, 2048)
    }

    /// Makes a new RSA key of 2048, 3072 or 4096 bits.
    ///
    /// # Errors
    /// - [`KeyError::Algorithm`]: not an RSA algorithm.
    /// - [`KeyError::RsaSize`]: another size.
    /// - [`KeyError::CannotGenerate`]: the backend makes no RSA keys (`ring`).
    pub fn generate_rsa(backend: Backend, algorithm: Algorithm, bits: usize) -> Result<Self, KeyError> {
        if algorithm.family() != KeyFamily::Rsa {
            return Err(KeyError::Algorithm);
        }
        Self::generate_with_bits(backend, algorithm, bits)
    }

    fn generate_with_bits(backend: Backend, algorithm: Algorithm, bits: usize) -> Result<Self, KeyError> {
        let family = algorithm.family();
        if algorithm.is_symmetric() {
            return Err(KeyError::CannotGenerate { backend: backend.name(), family });
        }
        backend.check_family(family)?;
        Self::from_signer(backend, algorithm, backend.driver().generate(algorithm, bits)?)
    }

    /// Reads the one PEM document `PRIVATE KEY` (PKCS#8, not encrypted) in a text of at most 64 KiB.
    ///
    /// # Errors
    /// [`KeyError`]: no such document or several, or as for [`from_pkcs8_der`](Self::from_pkcs8_der).
    pub fn from_pkcs8_pem(backend: Backend, algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        match der::decode_pem(pem)? {
            ("PRIVATE KEY", der) => Self::from_pkcs8_der(backend, algorithm, &der),
            ("ENCRYPTED PRIVATE KEY", _) => Err(KeyError::Malformed("an encrypted private key; decrypt it first")),
            _ => Err(KeyError::Malformed("not a PKCS#8 document; `openssl pkcs8 -topk8 -nocrypt` makes one")),
        }
    }

    /// Reads a PKCS#8 document ([RFC 5958](https://www.rfc-editor.org/rfc/rfc5958)), not encrypted, of at most 64 KiB.
    ///
    /// # Errors
    /// - [`KeyError::Malformed`]: not such a document.
    /// - [`KeyError::Algorithm`]: its kind of key does not fit the algorithm.
    /// - Others as for a public key, or when the backend cannot use it.
    pub fn from_pkcs8_der(backend: Backend, algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        const MALFORMED: KeyError = KeyError::Malformed("PKCS#8");
        if pkcs8.len() > der::MAX_DOCUMENT {
            return Err(MALFORMED);
        }
        let info = PrivateKeyInfoRef::try_from(pkcs8).map_err(|_| MALFORMED)?;
        let KeyKind { family, restriction } = der::kind_of(info.algorithm)?;
        let allowed = match restriction {
            Restriction::None => true,
            Restriction::Pss => matches!(algorithm, Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512),
            Restriction::Only(only) => algorithm == only,
        };
        if family != algorithm.family() || !allowed {
            return Err(KeyError::Algorithm);
        }
        backend.check_family(family)?;
        Self::from_signer(
            backend,
            algorithm,
            backend.driver().load_pkcs8(algorithm, pkcs8, info.private_key.as_bytes())?,
        )
    }

    /// Reads a private JWK ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)), or an `oct` one. `alg` may be absent if `algorithm` fits the key; if it is there, it must be the same.
    ///
    /// RSA keys need all of `p q dp dq qi`; keys of more than two primes (`oth`) are refused.
    ///
    /// # Errors
    /// [`KeyError`]: whatever is wrong with it, also when it is a public key.
    pub fn from_jwk(backend: Backend, algorithm: Algorithm, jwk: &JsonObject) -> Result<Self, KeyError> {
        let kty = jwk::string(jwk, "kty")?.ok_or(KeyError::Malformed("`kty` is missing"))?;
        let kid = jwk::key_id(jwk)?;
        jwk::check_use(jwk, "sign")?;
        if jwk::algorithm(jwk)?.is_some_and(|own| own != algorithm) {
            return Err(KeyError::Algorithm);
        }
        let secret = |name| jwk::base64url(jwk, name).map(Secret::new);
        let key = if kty == "oct" {
            Self::hmac(backend, algorithm, secret("k")?.expose())?
        } else {
            let public = jwk::public_material(jwk, &kty)?;
            if public.family() != algorithm.family() {
                return Err(KeyError::Algorithm);
            }
            if jwk.get("oth").is_some() {
                return Err(KeyError::UnsupportedType);
            }
            backend.check_family(public.family())?;
            let d = secret("d")?;
            let driver = backend.driver();
            let signer = match &public {
                PublicMaterial::Rsa { n, e } => {
                    let [p, q, dp, dq, qi] = [secret("p")?, secret("q")?, secret("dp")?, secret("dq")?, secret("qi")?];
                    let (d, p, q) = (d.expose(), p.expose(), q.expose());
                    let (dp, dq, qi) = (dp.expose(), dq.expose(), qi.expose());
                    let key = RsaPrivate { n, e, d, p, q, dp, dq, qi };
                    driver.load_private(algorithm, &PrivateMaterial::Rsa(Box::new(key)))
                }
                PublicMaterial::Ec { point, .. } => {
                    driver.load_private(algorithm, &PrivateMaterial::Ec { secret: d.expose(), point })
                }
                PublicMaterial::Ed25519(public) => {
                    driver.load_private(algorithm, &PrivateMaterial::Ed25519 { seed: d.expose(), public })
                }
            }?;
            Self::from_signer(backend, algorithm, signer)?
        };
        Ok(match kid {
            Some(kid) => key.with_kid(&kid),
            None => key,
        })
    }

    /// Takes a shared secret of at least the hash's length: 32, 48 or 64 bytes. `ring` does not wipe its copy on drop.
    ///
    /// # Errors
    /// As for [`VerifyingKey::hmac`].
    pub fn hmac(backend: Backend, algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        let mac = load_secret(backend, algorithm, secret)?;
        let verifying = VerifyingKey::from_mac(algorithm, Arc::clone(&mac)).with_kid(Self::SHARED_KID);
        Ok(Self { verifying, algorithm, signer: Signer::Shared(mac) })
    }

    fn from_signer(backend: Backend, algorithm: Algorithm, signer: Box<dyn Sign>) -> Result<Self, KeyError> {
        let material = der::public_from_bits(algorithm.family(), signer.public_bytes())?;
        let verifying = VerifyingKey::from_material(backend, material, Restriction::Only(algorithm))?;
        let kid = verifying.thumbprint().unwrap_or_default().to_owned();
        Ok(Self { verifying: verifying.with_kid(&kid), algorithm, signer: Signer::Private(signer.into()) })
    }

    /// Names the key. The default is its RFC 7638 thumbprint, which cannot collide with another key's.
    #[must_use]
    pub fn with_kid(self, kid: &str) -> Self {
        Self { verifying: self.verifying.with_kid(kid), ..self }
    }

    /// Returns the key id.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.verifying.kid().unwrap_or_default()
    }

    /// Returns the algorithm it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs, in the form of [RFC 7518 §3](https://www.rfc-editor.org/rfc/rfc7518#section-3).
    ///
    /// # Errors
    /// [`KeyError::Signing`]: the backend failed; with keys that loaded, only when the system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.signer {
            Signer::Private(key) => key.sign(message),
            Signer::Shared(mac) => Ok(mac.tag(message)),
        }
    }

    /// Returns the half that verifies, with the same id.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.verifying.clone()
    }

    /// Writes the public JWK with `kid`, `alg` and `use`; `None` for a shared secret, which is never published.
    #[must_use]
    pub fn public_jwk(&self) -> Option<Value> {
        self.verifying.public_jwk()
    }

    /// Writes the private key as PKCS#8, to keep it. The memory is wiped when the answer is dropped.
    ///
    /// # Errors
    /// [`KeyError::UnsupportedType`]: a shared secret, or with `ring` a key from a JWK.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        match &self.signer {
            Signer::Private(key) => key.to_pkcs8(),
            Signer::Shared(_) => Err(KeyError::UnsupportedType),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid())
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
