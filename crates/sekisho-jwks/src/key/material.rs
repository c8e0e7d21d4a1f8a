use std::fmt;

use crate::{KeyError, KeyFamily};

/// Bounds the modulus in bits ([RFC 7518 §3.3](https://www.rfc-editor.org/rfc/rfc7518#section-3.3)); above, verifying is a gift to whoever wants to burn CPU.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Is a public key by its numbers, with every check that needs no curve arithmetic done.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PublicMaterial {
    /// Big-endian, without leading zero octets.
    Rsa { n: Box<[u8]>, e: Box<[u8]> },
    /// `0x04 || x || y`, both of full length. Whether it lies on the curve is the backend's check.
    Ec { family: KeyFamily, point: Box<[u8]> },
    /// RFC 8032 §5.1.5.
    Ed25519([u8; 32]),
}

impl PublicMaterial {
    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let bits = bit_length(n);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaSize { bits });
        }
        if n.last().is_none_or(|octet| octet & 1 == 0) {
            return Err(KeyError::RsaModulus("even"));
        }
        // What both backends allow: 3, 65537 and whatever fits 33 bits. 1 would make every
        // message its own signature.
        let odd = e.last().is_some_and(|octet| octet & 1 == 1);
        if !odd || e == [1] || bit_length(e) > 33 {
            return Err(KeyError::RsaExponent);
        }
        if super::roca::is_suspect(n) {
            return Err(KeyError::RsaModulus("made by a generator with a known flaw, CVE-2017-15361"));
        }
        Ok(Self::Rsa { n: n.into(), e: e.into() })
    }

    pub(crate) fn ec(family: KeyFamily, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let length = coordinate_length(family).ok_or(KeyError::UnsupportedType)?;
        // RFC 7518 §6.2.1.2: full length, leading zero octets included.
        if x.len() != length || y.len() != length {
            return Err(KeyError::Malformed("a coordinate is not as long as the curve's field"));
        }
        Ok(Self::Ec { family, point: [&[4], x, y].concat().into() })
    }

    pub(crate) fn ec_point(family: KeyFamily, point: &[u8]) -> Result<Self, KeyError> {
        let length = coordinate_length(family).ok_or(KeyError::UnsupportedType)?;
        match point.split_first() {
            Some((4, rest)) if rest.len() == 2 * length => Ok(Self::Ec { family, point: point.into() }),
            Some((2 | 3, _)) => Err(KeyError::Malformed("a compressed point; write it uncompressed")),
            _ => Err(KeyError::Malformed("not an uncompressed point of its curve")),
        }
    }

    pub(crate) fn ed25519(bytes: &[u8]) -> Result<Self, KeyError> {
        let key: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Malformed("an Ed25519 key has 32 bytes"))?;
        if is_bad_ed25519(key) {
            return Err(KeyError::Point);
        }
        Ok(Self::Ed25519(key))
    }

    pub(crate) const fn family(&self) -> KeyFamily {
        match self {
            Self::Rsa { .. } => KeyFamily::Rsa,
            Self::Ec { family, .. } => *family,
            Self::Ed25519(_) => KeyFamily::Ed25519,
        }
    }

    /// Length of every signature by this key: RFC 7518 §3.3–3.5, RFC 8032.
    pub(crate) const fn signature_length(&self) -> usize {
        match self {
            Self::Rsa { n, .. } => n.len(),
            Self::Ec { point, .. } => point.len() - 1,
            Self::Ed25519(_) => 64,
        }
    }

    /// Returns what a published private half of it is known by.
    pub(crate) fn leak(&self) -> Leak {
        match self {
            Self::Rsa { n, e: _ } => Leak::new(n),
            Self::Ec { .. } => Leak::new(self.coordinates().map_or(&[], |(x, _)| x)),
            Self::Ed25519(key) => Leak::new(key),
        }
    }

    /// Both coordinates, or `None` if it is not an EC key.
    pub(crate) fn coordinates(&self) -> Option<(&[u8], &[u8])> {
        let Self::Ec { point, .. } = self else { return None };
        let both = point.get(1..)?;
        both.split_at_checked(both.len() / 2)
    }
}

/// Names a key whose private half is known to others: by the modulus or the coordinate x, however it was written.
///
/// Any private exponent gives away the factors, and with them those for every other public exponent; and who knows the
/// number that makes a point knows that of the opposite point, which has the same x.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Leak(Box<[u8]>);

impl Leak {
    pub(crate) fn new(number: &[u8]) -> Self {
        Self(without_leading_zeros(number).into())
    }
}

impl fmt::Debug for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leak({} bytes)", self.0.len())
    }
}

impl fmt::Debug for PublicMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicMaterial({:?})", self.family())
    }
}

/// Length in bytes of a coordinate, and of half a signature.
const fn coordinate_length(family: KeyFamily) -> Option<usize> {
    match family {
        KeyFamily::P256 | KeyFamily::Secp256k1 => Some(32),
        KeyFamily::P384 => Some(48),
        KeyFamily::P521 => Some(66),
        _ => None,
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Of a number without leading zero octets.
fn bit_length(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

/// Tells whether `key` is no canonical point encoding or a point of order 1, 2, 4 or 8, for which
/// signatures can be made without a private key. Points off the curve pass: nothing verifies with them.
fn is_bad_ed25519(key: [u8; 32]) -> bool {
    /// p = 2^255 - 19, little-endian.
    const P: [u8; 32] = {
        let mut p = [0xff; 32];
        p[0] = 0xed;
        p[31] = 0x7f;
        p
    };
    const P_MINUS_1: [u8; 32] = {
        let mut p = P;
        p[0] = 0xec;
        p
    };
    const ZERO: [u8; 32] = [0; 32];
    const ONE: [u8; 32] = {
        let mut one = [0; 32];
        one[0] = 1;
        one
    };
    /// The two y coordinates of the points of order 8.
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = key;
    y[31] &= 0x7f; // the top bit is the sign of x
    let canonical = y.iter().rev().lt(P.iter().rev());
    !canonical || y == ZERO || y == ONE || y == P_MINUS_1 || ORDER_8.contains(&y)
}
