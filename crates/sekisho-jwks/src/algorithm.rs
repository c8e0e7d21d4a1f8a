use std::fmt;

/// Names a JWS algorithm ([RFC 7518 §3.1](https://www.rfc-editor.org/rfc/rfc7518#section-3.1),
/// [RFC 8812](https://www.rfc-editor.org/rfc/rfc8812), [RFC 9864](https://www.rfc-editor.org/rfc/rfc9864)).
///
/// `none` is not here, and so cannot be allowed, chosen or verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512. Not in `ring`.
    Es512,
    /// ECDSA on secp256k1 with SHA-256. Not in `ring`.
    Es256K,
    /// Ed25519. Both `EdDSA` (RFC 8037) and `Ed25519` (RFC 9864) stand for it in a header.
    Ed25519,
    /// HMAC with SHA-256. Never with a key from a published set.
    Hs256,
    /// HMAC with SHA-384. Never with a key from a published set.
    Hs384,
    /// HMAC with SHA-512. Never with a key from a published set.
    Hs512,
}

/// Names what kind of key an algorithm needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyFamily {
    /// `kty` `RSA`
    Rsa,
    /// `kty` `EC`, `crv` `P-256`
    P256,
    /// `kty` `EC`, `crv` `P-384`
    P384,
    /// `kty` `EC`, `crv` `P-521`
    P521,
    /// `kty` `EC`, `crv` `secp256k1`
    Secp256k1,
    /// `kty` `OKP`, `crv` `Ed25519`
    Ed25519,
    /// `kty` `oct`
    Hmac,
}

impl Algorithm {
    /// Every algorithm, in the order of the enum.
    pub const ALL: [Self; 14] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Es256K,
        Self::Ed25519,
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
    ];

    /// Every algorithm with a public key.
    pub const ASYMMETRIC: [Self; 11] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Es256K,
        Self::Ed25519,
    ];

    /// Reads the name as it stands in `alg`; letter case counts.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "ES256K" => Self::Es256K,
            "EdDSA" | "Ed25519" => Self::Ed25519,
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            _ => return None,
        })
    }

    /// Returns the name to write into `alg`. For Ed25519 that is `EdDSA`, which everybody reads.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Es256K => "ES256K",
            Self::Ed25519 => "EdDSA",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// Returns what kind of key it needs.
    #[must_use]
    pub const fn family(self) -> KeyFamily {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => KeyFamily::Rsa,
            Self::Es256 => KeyFamily::P256,
            Self::Es384 => KeyFamily::P384,
            Self::Es512 => KeyFamily::P521,
            Self::Es256K => KeyFamily::Secp256k1,
            Self::Ed25519 => KeyFamily::Ed25519,
            Self::Hs256 | Self::Hs384 | Self::Hs512 => KeyFamily::Hmac,
        }
    }

    /// Returns the length of the hash that is signed, in bits; Ed25519 hashes with SHA-512 within.
    pub(crate) const fn hash_bits(self) -> u32 {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 | Self::Es256K | Self::Hs256 => 256,
            Self::Rs384 | Self::Ps384 | Self::Es384 | Self::Hs384 => 384,
            Self::Rs512 | Self::Ps512 | Self::Es512 | Self::Hs512 | Self::Ed25519 => 512,
        }
    }

    /// Tells whether the key is shared rather than public.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(self.family(), KeyFamily::Hmac)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for KeyFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "RSA",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::Secp256k1 => "secp256k1",
            Self::Ed25519 => "Ed25519",
            Self::Hmac => "HMAC",
        })
    }
}
