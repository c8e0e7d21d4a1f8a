//! Key pairs, made by `aws-lc-rs` itself so that no measured library has made its own input.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rand};
use serde_json::{Value, json};

use crate::base64url;

/// Names what the benches sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    Rs256,
    Es256,
    EdDsa,
    Hs256,
    Es384,
}

impl Alg {
    pub const ALL: [Self; 5] = [Self::Rs256, Self::Es256, Self::EdDsa, Self::Hs256, Self::Es384];

    /// Returns the name in the header of a token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
            Self::Es384 => "ES384",
        }
    }
}

enum Secret {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac(Vec<u8>),
}

/// Is one key in all the forms that libraries want it in.
pub struct BenchKey {
    pub alg: Alg,
    /// 43 characters, as Keycloak's are.
    pub kid: String,
    /// What `aws-lc-rs` and `ring` take: PKCS#1, point, or 32 bytes; the secret for HMAC.
    pub raw: Vec<u8>,
    /// SubjectPublicKeyInfo; the secret for HMAC.
    pub der: Vec<u8>,
    pub jwk: Value,
    secret: Secret,
}

impl BenchKey {
    /// Makes a new key; RSA of 2,048 bits.
    pub fn generate(alg: Alg) -> Self {
        let mut id = [0; 32];
        rand::fill(&mut id).unwrap();
        let kid = base64url(&id);
        let (secret, raw, der, mut jwk) = match alg {
            Alg::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let public = pair.public_key();
                let jwk = json!({
                    "kty": "RSA",
                    "n": base64url(public.modulus().big_endian_without_leading_zero()),
                    "e": base64url(public.exponent().big_endian_without_leading_zero()),
                });
                let (raw, der) = (public.as_ref().to_vec(), public.as_der().unwrap().as_ref().to_vec());
                (Secret::Rsa(pair), raw, der, jwk)
            }
            Alg::Es256 | Alg::Es384 => {
                let (signing, curve, half) = match alg {
                    Alg::Es256 => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32),
                    _ => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48),
                };
                let pair = EcdsaKeyPair::generate(signing).unwrap();
                let point = pair.public_key().as_ref().to_vec();
                let der = pair.public_key().as_der().unwrap().as_ref().to_vec();
                let jwk = json!({
                    "kty": "EC", "crv": curve,
                    "x": base64url(&point[1..=half]), "y": base64url(&point[half + 1..]),
                });
                (Secret::Ecdsa(pair), point, der, jwk)
            }
            Alg::EdDsa => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let public = pair.public_key().as_ref().to_vec();
                let der = pair.public_key().as_der().unwrap().as_ref().to_vec();
                let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(&public) });
                (Secret::Ed25519(pair), public, der, jwk)
            }
            Alg::Hs256 => {
                let mut secret = vec![0; 32];
                rand::fill(&mut secret).unwrap();
                let jwk = json!({ "kty": "oct", "k": base64url(&secret) });
                (Secret::Hmac(secret.clone()), secret.clone(), secret, jwk)
            }
        };
        let members = jwk.as_object_mut().unwrap();
        members.insert("kid".into(), kid.clone().into());
        members.insert("alg".into(), alg.name().into());
        members.insert("use".into(), "sig".into());
        Self { alg, kid, raw, der, jwk, secret }
    }

    /// Returns the key set with this one key.
    pub fn key_set(&self) -> String {
        json!({ "keys": [self.jwk] }).to_string()
    }

    /// Signs claims as a compact JWS, header as Keycloak writes it.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.alg.name(), "typ": "JWT", "kid": self.kid });
        let input =
            format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
        let signature = self.sign(input.as_bytes());
        format!("{input}.{}", base64url(&signature))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Secret::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Secret::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Secret::Hmac(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec(),
        }
    }
}
