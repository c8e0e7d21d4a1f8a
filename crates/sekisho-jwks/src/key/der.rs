//! DER and PEM forms of public keys. Parsing is the `der` crates'; here is only which structure means which key.

use pkcs8::der::asn1::{AnyRef, UintRef};
use pkcs8::der::{self, Decode, DecodeValue, Encode, EncodeValue, Header, Length, Reader, SliceReader, Tag, Writer};
use pkcs8::spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::PublicMaterial;
use crate::{Algorithm, KeyError, KeyFamily};

/// Bounds a document in bytes; a certificate with many names has a few thousand.
pub(crate) const MAX_DOCUMENT: usize = 65_536;

// RFC 8017 appendix C, RFC 5480 §2.1.1, SEC 2, RFC 8410 §3, RFC 4055 §2.1.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// Says for which algorithms of its family the document's own words let a key be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restriction {
    /// All of them.
    None,
    /// Only RSASSA-PSS.
    Pss,
    /// Only this one.
    Only(Algorithm),
}

/// Is what an `AlgorithmIdentifier` says about the key beside it.
pub(crate) struct KeyKind {
    pub(crate) family: KeyFamily,
    pub(crate) restriction: Restriction,
}

/// Reads any PEM document that holds one public key.
pub(crate) fn public_from_pem(pem: &[u8]) -> Result<(PublicMaterial, Restriction), KeyError> {
    // Before anything else, so that also a file of certificate and private key gets this answer.
    if pem.windows(16).any(|window| window == b"PRIVATE KEY-----") {
        return Err(KeyError::PrivateKey);
    }
    let (label, der) = decode_pem(pem)?;
    match label {
        "PUBLIC KEY" => public_from_spki(&der),
        "RSA PUBLIC KEY" => Ok((rsa_from_pkcs1(&der)?, Restriction::None)),
        "CERTIFICATE" => public_from_certificate(&der),
        _ => Err(KeyError::Malformed("a PEM document of another kind")),
    }
}

/// Decodes the one PEM document ([RFC 7468](https://www.rfc-editor.org/rfc/rfc7468)) in a text.
pub(crate) fn decode_pem(pem: &[u8]) -> Result<(&str, zeroize::Zeroizing<Vec<u8>>), KeyError> {
    let pem = pem.trim_ascii();
    if pem.len() > MAX_DOCUMENT {
        return Err(KeyError::Malformed("a PEM text above 64 KiB"));
    }
    match pem.windows(11).filter(|window| window == b"-----BEGIN ").count() {
        1 => {}
        0 => return Err(KeyError::Malformed("no PEM document")),
        _ => return Err(KeyError::Malformed("several PEM documents where one is due")),
    }
    let mut decoder = der::pem::Decoder::new_detect_wrap(pem).map_err(|_| KeyError::Malformed("PEM"))?;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(pem.len()));
    decoder.decode_to_end(&mut bytes).map_err(|_| KeyError::Malformed("PEM"))?;
    Ok((decoder.type_label(), bytes))
}

/// Reads `SubjectPublicKeyInfo` ([RFC 5280 §4.1.2.7](https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.7)).
pub(crate) fn public_from_spki(spki: &[u8]) -> Result<(PublicMaterial, Restriction), KeyError> {
    if spki.len() > MAX_DOCUMENT {
        return Err(KeyError::Malformed("a DER document above 64 KiB"));
    }
    let spki = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| KeyError::Malformed("SubjectPublicKeyInfo"))?;
    public_from_parsed_spki(spki)
}

/// Takes the public key out of an X.509 certificate and looks at nothing else in it.
pub(crate) fn public_from_certificate(der: &[u8]) -> Result<(PublicMaterial, Restriction), KeyError> {
    const MALFORMED: KeyError = KeyError::Malformed("X.509 certificate");
    if der.len() > MAX_DOCUMENT {
        return Err(KeyError::Malformed("a DER document above 64 KiB"));
    }
    let certificate = AnyRef::from_der(der).map_err(|_| MALFORMED)?;
    let parts = sequence(certificate).ok_or(MALFORMED)?;
    let [tbs, _algorithm, _signature] = parts.as_slice() else { return Err(MALFORMED) };
    let mut tbs = sequence(*tbs).ok_or(MALFORMED)?.into_iter().peekable();
    // `version [0] EXPLICIT … DEFAULT v1` (RFC 5280 §4.1) is the one optional part before the key.
    tbs.next_if(|part| part.header().tag().is_context_specific());
    // serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
    let spki = tbs.nth(5).ok_or(MALFORMED)?;
    public_from_parsed_spki(spki.decode_as().map_err(|_| MALFORMED)?)
}

fn public_from_parsed_spki(spki: SubjectPublicKeyInfoRef<'_>) -> Result<(PublicMaterial, Restriction), KeyError> {
    let kind = kind_of(spki.algorithm)?;
    let bits = spki.subject_public_key.as_bytes().ok_or(KeyError::Malformed("SubjectPublicKeyInfo"))?;
    Ok((public_from_bits(kind.family, bits)?, kind.restriction))
}

/// Reads the bare form: PKCS#1, an uncompressed point, or 32 bytes.
pub(crate) fn public_from_bits(family: KeyFamily, bits: &[u8]) -> Result<PublicMaterial, KeyError> {
    match family {
        KeyFamily::Rsa => rsa_from_pkcs1(bits),
        KeyFamily::Ed25519 => PublicMaterial::ed25519(bits),
        KeyFamily::Hmac => Err(KeyError::UnsupportedType),
        curve => PublicMaterial::ec_point(curve, bits),
    }
}

/// Tells which kind of key an identifier stands for.
pub(crate) fn kind_of(algorithm: AlgorithmIdentifierRef<'_>) -> Result<KeyKind, KeyError> {
    let AlgorithmIdentifierRef { oid, parameters } = algorithm;
    let plain = |family| KeyKind { family, restriction: Restriction::None };
    match oid {
        RSA if parameters.is_none_or(AnyRef::is_null) => Ok(plain(KeyFamily::Rsa)),
        RSA_PSS => {
            let restriction = match parameters {
                None => Restriction::Pss,
                Some(parameters) => Restriction::Only(pss_algorithm(parameters).ok_or(KeyError::Algorithm)?),
            };
            Ok(KeyKind { family: KeyFamily::Rsa, restriction })
        }
        EC => {
            // Explicit curve parameters let an attacker bring a curve of their own (CVE-2020-0601):
            // only names are read.
            let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            Ok(plain(match curve.ok_or(KeyError::UnsupportedType)? {
                P256 => KeyFamily::P256,
                P384 => KeyFamily::P384,
                P521 => KeyFamily::P521,
                SECP256K1 => KeyFamily::Secp256k1,
                _ => return Err(KeyError::UnsupportedType),
            }))
        }
        ED25519 if parameters.is_none() => Ok(plain(KeyFamily::Ed25519)),
        RSA | ED25519 => Err(KeyError::Malformed("AlgorithmIdentifier")),
        _ => Err(KeyError::UnsupportedType),
    }
}

/// Finds the JWS algorithm with the parameters of RFC 4055 §3.1: both hashes equal, salt as long as the hash.
fn pss_algorithm(parameters: AnyRef<'_>) -> Option<Algorithm> {
    let fields = sequence(parameters)?;
    let [hash, mask, salt] = fields.as_slice() else { return None };
    let hash = AlgorithmIdentifierRef::from_der(hash.value()).ok()?;
    let mask = AlgorithmIdentifierRef::from_der(mask.value()).ok()?;
    let mask_hash = mask.parameters?.decode_as::<AlgorithmIdentifierRef<'_>>().ok()?;
    let salt = u8::from_der(salt.value()).ok()?;
    if mask.oid != MGF1 || mask_hash.oid != hash.oid {
        return None;
    }
    match (hash.oid, salt) {
        (SHA256, 32) => Some(Algorithm::Ps256),
        (SHA384, 48) => Some(Algorithm::Ps384),
        (SHA512, 64) => Some(Algorithm::Ps512),
        _ => None,
    }
}

/// Lists the parts of a SEQUENCE.
fn sequence(any: AnyRef<'_>) -> Option<Vec<AnyRef<'_>>> {
    if any.header().tag() != Tag::Sequence {
        return None;
    }
    let mut reader = SliceReader::new(any.value()).ok()?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(parts)
}

/// `RSAPublicKey` ([RFC 8017 A.1.1](https://www.rfc-editor.org/rfc/rfc8017#appendix-A.1.1)).
struct RsaPublicKey<'a> {
    n: UintRef<'a>,
    e: UintRef<'a>,
}

fn rsa_from_pkcs1(der: &[u8]) -> Result<PublicMaterial, KeyError> {
    let key = RsaPublicKey::from_der(der).map_err(|_| KeyError::Malformed("RSAPublicKey"))?;
    PublicMaterial::rsa(key.n.as_bytes(), key.e.as_bytes())
}

/// Writes `RSAPublicKey`, the form in which `aws-lc-rs` takes it.
#[cfg(feature = "aws-lc-rs")]
pub(crate) fn pkcs1_public(n: &[u8], e: &[u8]) -> Result<Vec<u8>, KeyError> {
    let encode = || RsaPublicKey { n: UintRef::new(n)?, e: UintRef::new(e)? }.to_der();
    encode().map_err(|_| KeyError::Malformed("RSAPublicKey"))
}

impl<'a> DecodeValue<'a> for RsaPublicKey<'a> {
    type Error = der::Error;

    fn decode_value<R: Reader<'a>>(reader: &mut R, _header: Header) -> der::Result<Self> {
        Ok(Self { n: reader.decode()?, e: reader.decode()? })
    }
}

impl EncodeValue for RsaPublicKey<'_> {
    fn value_len(&self) -> der::Result<Length> {
        self.n.encoded_len()? + self.e.encoded_len()?
    }

    fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
        self.n.encode(writer)?;
        self.e.encode(writer)
    }
}

impl<'a> der::Sequence<'a> for RsaPublicKey<'a> {}
