use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as sig, KeyPair, ParsedPublicKey};
use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

use super::{Driver, Mac, PrivateMaterial, Sign, Verify};
use crate::key::PublicMaterial;
use crate::key::der::pkcs1_public;
use crate::{Algorithm, KeyError, KeyFamily};

pub(super) struct AwsLc;

impl Driver for AwsLc {
    fn name(&self) -> &'static str {
        "aws-lc-rs"
    }

    fn supports(&self, _algorithm: Algorithm) -> bool {
        true
    }

    fn load_public(&self, key: &PublicMaterial, pinned: Option<Algorithm>) -> Result<Box<dyn Verify>, KeyError> {
        match key {
            PublicMaterial::Rsa { n, e } => {
                let key = Rsa { der: pkcs1_public(n, e)?, parsed: Default::default() };
                // The library's own checks run now, not with the first token.
                key.parsed(pinned.unwrap_or(Algorithm::Rs256)).ok_or(KeyError::Refused)?;
                Ok(Box::new(key))
            }
            PublicMaterial::Ec { family, point } => {
                let algorithm = ecdsa(*family).ok_or(KeyError::UnsupportedType)?;
                Ok(Box::new(Parsed(ParsedPublicKey::new(algorithm.verifying, point).map_err(|_| KeyError::Point)?)))
            }
            PublicMaterial::Ed25519(key) => {
                Ok(Box::new(Parsed(ParsedPublicKey::new(&sig::ED25519, key).map_err(|_| KeyError::Point)?)))
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
        if let Some(encoding) = rsa_encoding(algorithm) {
            return Ok(Box::new(RsaSigner { key: sig::RsaKeyPair::from_der(inner).map_err(refused)?, encoding }));
        }
        if let Some(ecdsa) = ecdsa(algorithm.family()) {
            return Ok(Box::new(EcSigner(sig::EcdsaKeyPair::from_pkcs8(ecdsa.signing, pkcs8).map_err(refused)?)));
        }
        if algorithm == Algorithm::Ed25519 {
            // RFC 8410 lets the public half be absent; if it is there, it is compared.
            return Ok(Box::new(EdSigner(sig::Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(refused)?)));
        }
        Err(KeyError::Algorithm)
    }

    fn load_private(&self, algorithm: Algorithm, key: &PrivateMaterial<'_>) -> Result<Box<dyn Sign>, KeyError> {
        let refused = |_| KeyError::Refused;
        match key {
            PrivateMaterial::Rsa(key) => {
                let encoding = rsa_encoding(algorithm).ok_or(KeyError::Algorithm)?;
                let components = aws_lc_rs::rsa::KeyPairComponents {
                    public_key: sig::RsaPublicKeyComponents { n: key.n, e: key.e },
                    d: key.d,
                    p: key.p,
                    q: key.q,
                    dP: key.dp,
                    dQ: key.dq,
                    qInv: key.qi,
                };
                let key = sig::RsaKeyPair::from_components(&components).map_err(refused)?;
                Ok(Box::new(RsaSigner { key, encoding }))
            }
            PrivateMaterial::Ec { secret, point } => {
                let ecdsa = ecdsa(algorithm.family()).ok_or(KeyError::Algorithm)?;
                let key = sig::EcdsaKeyPair::from_private_key_and_public_key(ecdsa.signing, secret, point);
                Ok(Box::new(EcSigner(key.map_err(refused)?)))
            }
            PrivateMaterial::Ed25519 { seed, public } => {
                let key = sig::Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(refused)?;
                Ok(Box::new(EdSigner(key)))
            }
        }
    }

    fn generate(&self, algorithm: Algorithm, rsa_bits: usize) -> Result<Box<dyn Sign>, KeyError> {
        let failed = |_| KeyError::Refused;
        if let Some(encoding) = rsa_encoding(algorithm) {
            let size = match rsa_bits {
                2048 => KeySize::Rsa2048,
                3072 => KeySize::Rsa3072,
                4096 => KeySize::Rsa4096,
                bits => return Err(KeyError::RsaSize { bits }),
            };
            return Ok(Box::new(RsaSigner { key: sig::RsaKeyPair::generate(size).map_err(failed)?, encoding }));
        }
        if let Some(ecdsa) = ecdsa(algorithm.family()) {
            return Ok(Box::new(EcSigner(sig::EcdsaKeyPair::generate(ecdsa.signing).map_err(failed)?)));
        }
        if algorithm == Algorithm::Ed25519 {
            return Ok(Box::new(EdSigner(sig::Ed25519KeyPair::generate().map_err(failed)?)));
        }
        Err(KeyError::CannotGenerate { backend: self.name(), family: algorithm.family() })
    }

    fn fill_random(&self, bytes: &mut [u8]) -> Result<(), KeyError> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| KeyError::NoRandom)
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

/// Keeps one parsed key for each algorithm that was used; most keys are used for one.
struct Rsa {
    der: Vec<u8>,
    parsed: [OnceLock<Option<ParsedPublicKey>>; 6],
}

impl Rsa {
    fn parsed(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let (index, parameters) = match algorithm {
            Algorithm::Rs256 => (0, &sig::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => (1, &sig::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => (2, &sig::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => (3, &sig::RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => (4, &sig::RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => (5, &sig::RSA_PSS_2048_8192_SHA512),
            _ => return None,
        };
        self.parsed.get(index)?.get_or_init(|| ParsedPublicKey::new(parameters, &self.der).ok()).as_ref()
    }
}

impl Verify for Rsa {
    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.parsed(algorithm).is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

/// Is a key of a family with one algorithm.
struct Parsed(ParsedPublicKey);

impl Verify for Parsed {
    fn verify(&self, _algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
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

struct Ecdsa {
    verifying: &'static sig::EcdsaVerificationAlgorithm,
    signing: &'static sig::EcdsaSigningAlgorithm,
}

fn ecdsa(family: KeyFamily) -> Option<Ecdsa> {
    Some(match family {
        KeyFamily::P256 => {
            Ecdsa { verifying: &sig::ECDSA_P256_SHA256_FIXED, signing: &sig::ECDSA_P256_SHA256_FIXED_SIGNING }
        }
        KeyFamily::P384 => {
            Ecdsa { verifying: &sig::ECDSA_P384_SHA384_FIXED, signing: &sig::ECDSA_P384_SHA384_FIXED_SIGNING }
        }
        KeyFamily::P521 => {
            Ecdsa { verifying: &sig::ECDSA_P521_SHA512_FIXED, signing: &sig::ECDSA_P521_SHA512_FIXED_SIGNING }
        }
        KeyFamily::Secp256k1 => {
            Ecdsa { verifying: &sig::ECDSA_P256K1_SHA256_FIXED, signing: &sig::ECDSA_P256K1_SHA256_FIXED_SIGNING }
        }
        _ => return None,
    })
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static sig::RsaSignatureEncoding> {
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

struct RsaSigner {
    key: sig::RsaKeyPair,
    encoding: &'static sig::RsaSignatureEncoding,
}

impl Sign for RsaSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(self.encoding, &SystemRandom::new(), message, &mut signature).map_err(|_| KeyError::Signing)?;
        Ok(signature)
    }

    fn public_bytes(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der: Pkcs8V1Der<'_> = self.key.as_der().map_err(|_| KeyError::Refused)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}

struct EcSigner(sig::EcdsaKeyPair);

impl Sign for EcSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Signing)?;
        Ok(signature.as_ref().to_vec())
    }

    fn public_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der = self.0.to_pkcs8v1().map_err(|_| KeyError::Refused)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}

struct EdSigner(sig::Ed25519KeyPair);

impl Sign for EdSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.0.try_sign(message).map_err(|_| KeyError::Signing)?.as_ref().to_vec())
    }

    fn public_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der = self.0.to_pkcs8v1().map_err(|_| KeyError::Refused)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}
