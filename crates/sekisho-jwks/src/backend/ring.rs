use ::ring::rand::{SecureRandom, SystemRandom};
use ::ring::signature::{self as sig, KeyPair};
use ::ring::{agreement, digest, hmac};
use zeroize::Zeroizing;

use super::{Driver, Mac, PrivateMaterial, Sign, Verify};
use crate::key::PublicMaterial;
use crate::{Algorithm, KeyError, KeyFamily};

pub(super) struct Ring;

impl Driver for Ring {
    fn name(&self) -> &'static str {
        "ring"
    }

    fn supports(&self, algorithm: Algorithm) -> bool {
        !matches!(algorithm, Algorithm::Es512 | Algorithm::Es256K)
    }

    fn load_public(&self, key: &PublicMaterial, _pinned: Option<Algorithm>) -> Result<Box<dyn Verify>, KeyError> {
        match key {
            PublicMaterial::Rsa { n, e } => {
                Ok(Box::new(Rsa(sig::RsaPublicKeyComponents { n: n.clone(), e: e.clone() })))
            }
            PublicMaterial::Ec { family, point } => {
                let curve = curve(*family).ok_or_else(|| self.unsupported(*family))?;
                check_point(curve.agreement, point)?;
                Ok(Box::new(Unparsed(sig::UnparsedPublicKey::new(curve.verifying, point.to_vec()))))
            }
            PublicMaterial::Ed25519(key) => {
                Ok(Box::new(Unparsed(sig::UnparsedPublicKey::new(&sig::ED25519, key.to_vec()))))
            }
        }
    }

    fn load_secret(&self, algorithm: Algorithm, secret: &[u8]) -> Result<Box<dyn Mac>, KeyError> {
        let hash = match algorithm {
            Algorithm::Hs256 => hmac::HMAC_SHA256,
            Algorithm::Hs384 => hmac::HMAC_SHA384,
            Algorithm::Hs512 => hmac::HMAC_SHA512,
            _ => return Err(KeyError::Algorithm),
        };
        Ok(Box::new(Hmac(hmac::Key::new(hash, secret))))
    }

    fn load_pkcs8(&self, algorithm: Algorithm, pkcs8: &[u8], inner: &[u8]) -> Result<Box<dyn Sign>, KeyError> {
        let refused = |_| KeyError::Refused;
        let document = Some(Zeroizing::new(pkcs8.to_vec()));
        if let Some(encoding) = rsa_encoding(algorithm) {
            let key = sig::RsaKeyPair::from_der(inner).map_err(refused)?;
            return Ok(Box::new(RsaSigner { key, encoding, document }));
        }
        if let Some(curve) = curve(algorithm.family()) {
            let key = sig::EcdsaKeyPair::from_pkcs8(curve.signing, pkcs8, &SystemRandom::new()).map_err(refused)?;
            return Ok(Box::new(EcSigner { key, document }));
        }
        if algorithm == Algorithm::Ed25519 {
            // RFC 8410 lets the public half be absent; if it is there, it is compared.
            let key = sig::Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(refused)?;
            return Ok(Box::new(EdSigner { key, document }));
        }
        Err(KeyError::Algorithm)
    }

    fn load_private(&self, algorithm: Algorithm, key: &PrivateMaterial<'_>) -> Result<Box<dyn Sign>, KeyError> {
        let refused = |_| KeyError::Refused;
        match key {
            PrivateMaterial::Rsa(key) => {
                let encoding = rsa_encoding(algorithm).ok_or(KeyError::Algorithm)?;
                let components = ::ring::rsa::KeyPairComponents {
                    public_key: sig::RsaPublicKeyComponents { n: key.n, e: key.e },
                    d: key.d,
                    p: key.p,
                    q: key.q,
                    dP: key.dp,
                    dQ: key.dq,
                    qInv: key.qi,
                };
                let key = sig::RsaKeyPair::from_components(&components).map_err(refused)?;
                Ok(Box::new(RsaSigner { key, encoding, document: None }))
            }
            PrivateMaterial::Ec { secret, point } => {
                let curve = curve(algorithm.family()).ok_or(KeyError::Algorithm)?;
                let random = SystemRandom::new();
                let key = sig::EcdsaKeyPair::from_private_key_and_public_key(curve.signing, secret, point, &random);
                Ok(Box::new(EcSigner { key: key.map_err(refused)?, document: None }))
            }
            PrivateMaterial::Ed25519 { seed, public } => {
                let key = sig::Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(refused)?;
                Ok(Box::new(EdSigner { key, document: None }))
            }
        }
    }

    fn generate(&self, algorithm: Algorithm, _rsa_bits: usize) -> Result<Box<dyn Sign>, KeyError> {
        let (failed, random) = (|_| KeyError::Refused, SystemRandom::new());
        let document = if let Some(curve) = curve(algorithm.family()) {
            sig::EcdsaKeyPair::generate_pkcs8(curve.signing, &random).map_err(failed)?
        } else if algorithm == Algorithm::Ed25519 {
            sig::Ed25519KeyPair::generate_pkcs8(&random).map_err(failed)?
        } else {
            return Err(KeyError::CannotGenerate { backend: self.name(), family: algorithm.family() });
        };
        self.load_pkcs8(algorithm, document.as_ref(), &[])
    }

    fn fill_random(&self, bytes: &mut [u8]) -> Result<(), KeyError> {
        SystemRandom::new().fill(bytes).map_err(|_| KeyError::NoRandom)
    }

    fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
    }

    fn sha384(&self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(&digest::SHA384, bytes).as_ref().to_vec()
    }

    fn sha512(&self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(&digest::SHA512, bytes).as_ref().to_vec()
    }
}

impl Ring {
    fn unsupported(&self, family: KeyFamily) -> KeyError {
        KeyError::UnsupportedByBackend { backend: self.name(), family }
    }
}

/// Finds out whether a point is on its curve. `ring` has no function for that, but it refuses to
/// agree on a secret with a point that is not.
fn check_point(curve: &'static agreement::Algorithm, point: &[u8]) -> Result<(), KeyError> {
    let throwaway = agreement::EphemeralPrivateKey::generate(curve, &SystemRandom::new());
    let throwaway = throwaway.map_err(|_| KeyError::Refused)?;
    let peer = agreement::UnparsedPublicKey::new(curve, point);
    agreement::agree_ephemeral(throwaway, &peer, |_secret| ()).map_err(|_| KeyError::Point)
}

struct Rsa(sig::RsaPublicKeyComponents<Box<[u8]>>);

impl Verify for Rsa {
    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let parameters = match algorithm {
            Algorithm::Rs256 => &sig::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &sig::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &sig::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Ps256 => &sig::RSA_PSS_2048_8192_SHA256,
            Algorithm::Ps384 => &sig::RSA_PSS_2048_8192_SHA384,
            Algorithm::Ps512 => &sig::RSA_PSS_2048_8192_SHA512,
            _ => return false,
        };
        self.0.verify(parameters, message, signature).is_ok()
    }
}

/// Is a key of a family with one algorithm.
struct Unparsed(sig::UnparsedPublicKey<Vec<u8>>);

impl Verify for Unparsed {
    fn verify(&self, _algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify(message, signature).is_ok()
    }
}

struct Hmac(hmac::Key);

impl Mac for Hmac {
    fn tag(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, message).as_ref().to_vec()
    }

    fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, message, tag).is_ok()
    }
}

struct Curve {
    verifying: &'static sig::EcdsaVerificationAlgorithm,
    signing: &'static sig::EcdsaSigningAlgorithm,
    agreement: &'static agreement::Algorithm,
}

fn curve(family: KeyFamily) -> Option<Curve> {
    Some(match family {
        KeyFamily::P256 => Curve {
            verifying: &sig::ECDSA_P256_SHA256_FIXED,
            signing: &sig::ECDSA_P256_SHA256_FIXED_SIGNING,
            agreement: &agreement::ECDH_P256,
        },
        KeyFamily::P384 => Curve {
            verifying: &sig::ECDSA_P384_SHA384_FIXED,
            signing: &sig::ECDSA_P384_SHA384_FIXED_SIGNING,
            agreement: &agreement::ECDH_P384,
        },
        _ => return None,
    })
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn sig::RsaEncoding> {
    Some(match algorithm {
        Algorithm::Rs256 => &sig::RSA_PKCS1_SHA256,
        Algorithm::Rs384 => &sig::RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &sig::RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &sig::RSA_PSS_SHA256,
        Algorithm::Ps384 => &sig::RSA_PSS_SHA384,
        Algorithm::Ps512 => &sig::RSA_PSS_SHA512,
        _ => return None,
    })
}

/// `ring` does not write private keys, so the document that a key came from is kept.
type Document = Option<Zeroizing<Vec<u8>>>;

fn kept(document: &Document) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    document.clone().ok_or(KeyError::UnsupportedType)
}

struct RsaSigner {
    key: sig::RsaKeyPair,
    encoding: &'static dyn sig::RsaEncoding,
    document: Document,
}

impl Sign for RsaSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(self.encoding, &SystemRandom::new(), message, &mut signature).map_err(|_| KeyError::Signing)?;
        Ok(signature)
    }

    fn public_bytes(&self) -> &[u8] {
        self.key.public().as_ref()
    }

    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        kept(&self.document)
    }
}

struct EcSigner {
    key: sig::EcdsaKeyPair,
    document: Document,
}

impl Sign for EcSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.key.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Signing)?;
        Ok(signature.as_ref().to_vec())
    }

    fn public_bytes(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        kept(&self.document)
    }
}

struct EdSigner {
    key: sig::Ed25519KeyPair,
    document: Document,
}

impl Sign for EdSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.key.sign(message).as_ref().to_vec())
    }

    fn public_bytes(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        kept(&self.document)
    }
}
