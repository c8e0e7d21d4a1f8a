use std::fmt;

use zeroize::Zeroizing;

use crate::key::PublicMaterial;
use crate::{Algorithm, KeyError, KeyFamily};

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
#[cfg(feature = "ring")]
mod ring;

/// Chooses the library that does the arithmetic. It is a value: two verifiers of one process may use different ones.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use sekisho_jwks::{Algorithm, Backend};
///
/// let backend = Backend::default();
/// assert_eq!(backend, Backend::aws_lc());
/// assert!(backend.supports(Algorithm::Es512));
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Backend(&'static dyn Driver);

impl Backend {
    /// Uses `aws-lc-rs`: every algorithm, and the faster of the two nearly everywhere.
    #[cfg(feature = "aws-lc-rs")]
    #[must_use]
    pub const fn aws_lc() -> Self {
        Self(&aws_lc::AwsLc)
    }

    /// Uses `ring`: no ES512 and ES256K, no generation of RSA keys, no signing with RSA keys above 4096 bits.
    #[cfg(feature = "ring")]
    #[must_use]
    pub const fn ring() -> Self {
        Self(&ring::Ring)
    }

    /// Tells whether keys for `algorithm` can be loaded.
    #[must_use]
    pub fn supports(self, algorithm: Algorithm) -> bool {
        self.0.supports(algorithm)
    }

    /// Returns the name for messages, such as `aws-lc-rs`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Computes SHA-256, for what is stored or compared by its digest: handles, thumbprints.
    #[must_use]
    pub fn sha256(self, bytes: &[u8]) -> [u8; 32] {
        self.0.sha256(bytes)
    }

    /// Computes the hash that `algorithm` signs: SHA-256, SHA-384 or SHA-512, and SHA-512 for Ed25519. For the hashes in ID tokens
    /// ([OIDC Core §3.1.3.6](https://openid.net/specs/openid-connect-core-1_0.html#CodeIDToken)).
    #[must_use]
    pub fn digest_of(self, algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
        match algorithm.hash_bits() {
            512 => self.0.sha512(bytes),
            384 => self.0.sha384(bytes),
            _ => self.0.sha256(bytes).to_vec(),
        }
    }

    /// Fills `bytes` with random ones that nobody can foresee, from the operating system's source by way of the backend.
    ///
    /// # Errors
    /// [`KeyError::NoRandom`] when the source gives none; `bytes` must not be used then.
    pub fn fill_random(self, bytes: &mut [u8]) -> Result<(), KeyError> {
        self.0.fill_random(bytes)
    }

    pub(crate) fn driver(self) -> &'static dyn Driver {
        self.0
    }

    /// Fails for a kind of key of which no algorithm is supported.
    pub(crate) fn check_family(self, family: KeyFamily) -> Result<(), KeyError> {
        let known = Algorithm::ALL.iter().any(|alg| alg.family() == family && self.supports(*alg));
        known.then_some(()).ok_or(KeyError::UnsupportedByBackend { backend: self.name(), family })
    }
}

/// Always `aws-lc-rs`, so that another crate's switching `ring` on changes nothing here.
#[cfg(feature = "aws-lc-rs")]
impl Default for Backend {
    fn default() -> Self {
        Self::aws_lc()
    }
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Backend {}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.name())
    }
}

/// Is what a crypto library must do. Keys come checked as far as [`PublicMaterial`] goes.
pub(crate) trait Driver: Send + Sync {
    fn name(&self) -> &'static str;
    fn supports(&self, algorithm: Algorithm) -> bool;
    /// `pinned` tells for which algorithm alone the key will be used; others are then never asked.
    fn load_public(&self, key: &PublicMaterial, pinned: Option<Algorithm>) -> Result<Box<dyn Verify>, KeyError>;
    fn load_secret(&self, algorithm: Algorithm, secret: &[u8]) -> Result<Box<dyn Mac>, KeyError>;
    /// `inner` is the `privateKey` of the document.
    fn load_pkcs8(&self, algorithm: Algorithm, pkcs8: &[u8], inner: &[u8]) -> Result<Box<dyn Sign>, KeyError>;
    fn load_private(&self, algorithm: Algorithm, key: &PrivateMaterial<'_>) -> Result<Box<dyn Sign>, KeyError>;
    fn generate(&self, algorithm: Algorithm, rsa_bits: usize) -> Result<Box<dyn Sign>, KeyError>;
    fn sha256(&self, bytes: &[u8]) -> [u8; 32];
    fn sha384(&self, bytes: &[u8]) -> Vec<u8>;
    fn sha512(&self, bytes: &[u8]) -> Vec<u8>;
    fn fill_random(&self, bytes: &mut [u8]) -> Result<(), KeyError>;
}

/// Is a public key in the form that the library verifies with, without parsing it again.
pub(crate) trait Verify: Send + Sync {
    /// The caller has checked that the algorithm fits the key and the signature has its exact length.
    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool;
}

/// Is a shared secret together with its hash.
pub(crate) trait Mac: Send + Sync {
    fn tag(&self, message: &[u8]) -> Vec<u8>;
    /// Takes the same time wherever the tags differ.
    fn verify(&self, message: &[u8], tag: &[u8]) -> bool;
}

/// Is a private key for one algorithm.
pub(crate) trait Sign: Send + Sync {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
    /// The public half: PKCS#1 `RSAPublicKey`, an uncompressed point, or 32 bytes.
    fn public_bytes(&self) -> &[u8];
    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError>;
}

/// Is a private key by its numbers, as a JWK holds them.
pub(crate) enum PrivateMaterial<'a> {
    Rsa(Box<RsaPrivate<'a>>),
    Ec { secret: &'a [u8], point: &'a [u8] },
    Ed25519 { seed: &'a [u8], public: &'a [u8] },
}

/// Holds big-endian numbers under the names of RFC 7518 §6.3.
pub(crate) struct RsaPrivate<'a> {
    pub(crate) n: &'a [u8],
    pub(crate) e: &'a [u8],
    pub(crate) d: &'a [u8],
    pub(crate) p: &'a [u8],
    pub(crate) q: &'a [u8],
    pub(crate) dp: &'a [u8],
    pub(crate) dq: &'a [u8],
    pub(crate) qi: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Backend> {
        vec![
            #[cfg(feature = "aws-lc-rs")]
            Backend::aws_lc(),
            #[cfg(feature = "ring")]
            Backend::ring(),
        ]
    }

    #[test]
    fn every_backend_computes_the_known_digest() {
        for backend in all() {
            // FIPS 180-4, "abc".
            let hex: String = backend.sha256(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "{backend:?}");
        }
    }

    #[test]
    fn every_backend_hashes_as_the_algorithm_does() {
        // FIPS 180-4, "abc".
        let sha384 = "cb00753f45a35e8b";
        let sha512 = "ddaf35a193617aba";
        let sha256 = "ba7816bf8f01cfea";
        for backend in all() {
            for algorithm in Algorithm::ALL {
                let (beginning, length) = match algorithm.name() {
                    "EdDSA" | "Ed25519" => (sha512, 64),
                    name if name.ends_with("512") => (sha512, 64),
                    name if name.ends_with("384") => (sha384, 48),
                    _ => (sha256, 32),
                };
                let digest = backend.digest_of(algorithm, b"abc");
                let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                assert_eq!((hex.as_str(), digest.len()), (beginning, length), "{backend:?} {algorithm}");
            }
        }
    }

    #[test]
    fn random_bytes_differ_each_time() {
        for backend in all() {
            let (mut one, mut other) = ([0; 32], [0; 32]);
            backend.fill_random(&mut one).expect("random");
            backend.fill_random(&mut other).expect("random");
            assert!(one != other && one != [0; 32], "{backend:?}");
        }
    }
}
