use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use ciborium::Value;

use super::PasskeyReject;
use super::cbor::read_whole_map;

/// Is a public key of a passkey ([WebAuthn §6.5.1.1](https://www.w3.org/TR/webauthn-3/#sctn-encoded-credPubKey-examples)): of one
/// of the algorithms that are offered, with the parameters of its kind and no others.
pub(super) enum CoseKey {
    /// The point, uncompressed.
    Es256([u8; 65]),
    Ed25519([u8; 32]),
    Rs256 {
        modulus: Vec<u8>,
    },
}

/// What registration offers, the preferred one first: ES256, EdDSA (Ed25519), RS256 (RFC 9053 §2, RFC 8812 §2).
pub(super) const OFFERED: [i64; 3] = [-7, -8, -257];

/// The public exponent 65537, which all authenticators have.
const EXPONENT: [u8; 3] = [1, 0, 1];

impl CoseKey {
    /// Reads all of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PasskeyReject> {
        Self::from_entries(&read_whole_map(bytes)?)
    }

    /// Reads a map whose keys are in order.
    pub(super) fn from_entries(entries: &[(Value, Value)]) -> Result<Self, PasskeyReject> {
        let algorithm = entries.iter().find_map(|(label, value)| (number(label)? == ALG).then(|| number(value)));
        match algorithm.flatten() {
            Some(algorithm) if OFFERED.contains(&algorithm) => {}
            Some(_) => return Err(PasskeyReject::Algorithm),
            None => return Err(PasskeyReject::PublicKey),
        }
        let parameter = |(label, value)| Some((number(label)?, Parameter::of(value)?));
        let parameters: Option<Vec<_>> = entries.iter().map(|(label, value)| parameter((label, value))).collect();
        let key = match parameters.as_deref() {
            Some(
                &[
                    (KTY, Parameter::Number(2)),
                    (ALG, Parameter::Number(-7)),
                    (-1, Parameter::Number(1)),
                    (-2, Parameter::Bytes(x)),
                    (-3, Parameter::Bytes(y)),
                ],
            ) => point(x, y).map(Self::Es256),
            Some(
                &[
                    (KTY, Parameter::Number(1)),
                    (ALG, Parameter::Number(-8)),
                    (-1, Parameter::Number(6)),
                    (-2, Parameter::Bytes(key)),
                ],
            ) => key.try_into().ok().filter(|key| !is_bad_ed25519(*key)).map(Self::Ed25519),
            Some(
                &[
                    (KTY, Parameter::Number(3)),
                    (ALG, Parameter::Number(-257)),
                    (-1, Parameter::Bytes(modulus)),
                    (-2, Parameter::Bytes(exponent)),
                ],
            ) => (is_modulus(modulus) && exponent == EXPONENT).then(|| Self::Rs256 { modulus: modulus.to_vec() }),
            _ => None,
        };
        let key = key.ok_or(PasskeyReject::PublicKey)?;
        key.check()?;
        Ok(key)
    }

    /// Checks that the backend takes it; a point that is not on the curve is none.
    fn check(&self) -> Result<(), PasskeyReject> {
        let is_good = match self {
            Self::Es256(point) => ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).is_ok(),
            Self::Ed25519(key) => ParsedPublicKey::new(&ED25519, key).is_ok(),
            // Its form is all that there is to check.
            Self::Rs256 { .. } => true,
        };
        if is_good { Ok(()) } else { Err(PasskeyReject::PublicKey) }
    }

    pub(super) fn is_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let by = |algorithm, key: &[u8]| {
            ParsedPublicKey::new(algorithm, key).is_ok_and(|key| key.verify_sig(message, signature).is_ok())
        };
        match self {
            Self::Es256(point) => by(&ECDSA_P256_SHA256_ASN1, point),
            Self::Ed25519(key) => by(&ED25519, key),
            Self::Rs256 { modulus } => {
                let key = RsaPublicKeyComponents { n: modulus.as_slice(), e: &EXPONENT[..] };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Parameter<'a> {
    Number(i64),
    Bytes(&'a [u8]),
}

impl<'a> Parameter<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        value.as_bytes().map(|bytes| Self::Bytes(bytes)).or_else(|| number(value).map(Self::Number))
    }
}

fn number(value: &Value) -> Option<i64> {
    i64::try_from(value.as_integer()?).ok()
}

fn point(x: &[u8], y: &[u8]) -> Option<[u8; 65]> {
    let (x, y): (&[u8; 32], &[u8; 32]) = (x.try_into().ok()?, y.try_into().ok()?);
    [&[4][..], x, y].concat().try_into().ok()
}

/// 2,048 to 4,096 bits without leading zeros, odd.
fn is_modulus(modulus: &[u8]) -> bool {
    let (Some(first), Some(last)) = (modulus.first(), modulus.last()) else { return false };
    let bits = modulus.len().saturating_mul(8).saturating_sub(first.leading_zeros() as usize);
    *first != 0 && (2048..=4096).contains(&bits) && last & 1 == 1
}

/// Tells whether `key` is no canonical point or one of order 1, 2, 4 or 8, for which anybody can sign.
fn is_bad_ed25519(key: [u8; 32]) -> bool {
    let mut y = key;
    // The top bit is the sign of x.
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    let is_canonical = y.iter().rev().lt(P.iter().rev());
    !is_canonical || LOW_ORDER.contains(&y)
}

const KTY: i64 = 1;
const ALG: i64 = 3;

/// 2^255 - 19, little-endian.
const P: [u8; 32] = field_element(0xed, 0xff, 0x7f);

/// The y of all points of low order (RFC 8032 §5.1): 0, 1, -1, and two of order 8.
const LOW_ORDER: [[u8; 32]; 5] = [
    field_element(0, 0, 0),
    field_element(1, 0, 0),
    field_element(0xec, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn field_element(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut bytes = [between; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}
