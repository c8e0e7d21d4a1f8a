use crate::KeyFamily;

/// Says why a key cannot be used. It holds nothing of the key's own text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the form that the standard asks for.
    #[error("malformed key: {0}")]
    Malformed(&'static str),
    /// A kind of key that has no JWS algorithm here: X25519, DSA, an unknown `kty` or curve.
    #[error("this kind of key is not supported")]
    UnsupportedType,
    /// The kind of key is known, but not to the chosen backend.
    #[error("the backend {backend} cannot use {family} keys")]
    UnsupportedByBackend {
        /// Name of the backend.
        backend: &'static str,
        /// What kind of key it was.
        family: KeyFamily,
    },
    /// `alg` is not known, or does not fit the kind of key ([RFC 8725 §3.1](https://www.rfc-editor.org/rfc/rfc8725#section-3.1)).
    #[error("the algorithm is not known or does not fit this kind of key")]
    Algorithm,
    /// `use`, `key_ops` or `alg` say that it is not for verifying signatures.
    #[error("not a key for signatures: {0}")]
    NotForSignatures(&'static str),
    /// A private key where only a public one belongs. It must be taken for stolen.
    #[error("a private key stands where a public one belongs; replace it, it is no longer secret")]
    PrivateKey,
    /// A shared secret in a place that others can read.
    #[error("a shared secret stands in a published set; replace it, it is no longer secret")]
    PublishedSecret,
    /// A public key whose private half stands in the same set. Whoever read the set can sign with it.
    #[error("the private half of this key stands in the same set; replace it, it is no longer secret")]
    Leaked,
    /// The key's member `issuer` names another issuer than the one whose keys were asked for; only from
    /// [`Discovery`](crate::Discovery), which knows the issuer.
    #[error("the key is of another issuer")]
    OtherIssuer,
    /// RSA below 2048 or above 8192 bits ([RFC 7518 §3.3](https://www.rfc-editor.org/rfc/rfc7518#section-3.3)).
    #[error("an RSA key of {bits} bits; 2048 to 8192 are allowed")]
    RsaSize {
        /// Length of the modulus.
        bits: usize,
    },
    /// Not an odd number from 3 to 2^33 - 1.
    #[error("the RSA public exponent is not an odd number from 3 to 2^33 - 1")]
    RsaExponent,
    /// Even, or made by a generator known to be broken.
    #[error("a weak RSA modulus: {0}")]
    RsaModulus(&'static str),
    /// The point is not on its NIST curve or secp256k1; or for Ed25519 not canonical, or of low order.
    ///
    /// An Ed25519 point off the curve is not noticed when the key is loaded; no signature verifies with it.
    #[error("the public point is not a valid one of its curve")]
    Point,
    /// The system's source of random bytes gave none.
    #[error("no random bytes are to be had")]
    NoRandom,
    /// Shorter than the hash ([RFC 7518 §3.2](https://www.rfc-editor.org/rfc/rfc7518#section-3.2)).
    #[error("a shared secret of {bytes} bytes; the algorithm needs at least {at_least}")]
    SecretTooShort {
        /// Its length.
        bytes: usize,
        /// Length of the hash.
        at_least: usize,
    },
    /// The text of a public key or certificate was given as a shared secret, the classic way to let anybody sign.
    #[error("the text of a PEM document is not a shared secret")]
    SecretIsPem,
    /// A key id above 256 bytes.
    #[error("a key id of more than 256 bytes")]
    KeyIdTooLong,
    /// The backend cannot make such a key; bring one.
    #[error("the backend {backend} cannot generate {family} keys")]
    CannotGenerate {
        /// Name of the backend.
        backend: &'static str,
        /// What kind of key was asked for.
        family: KeyFamily,
    },
    /// Private and public half do not belong together, or the backend refuses the key for a reason of its own.
    #[error("the crypto backend refuses the key")]
    Refused,
    /// The backend failed to sign.
    #[error("the crypto backend failed to sign")]
    Signing,
}
