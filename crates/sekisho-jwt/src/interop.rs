//! Conversions for people who come from `jsonwebtoken`.
//!
//! They carry keys and algorithm names over, so that a service can move route by route. What they do not carry over are settings: each rule that
//! `jsonwebtoken::Validation` leaves open is decided by [`Jwt::issuer`](crate::Jwt::issuer) anew.

use jsonwebtoken::jwk::{Jwk, JwkSet};
use sekisho_core::json::JsonObject;
use sekisho_jwks::{Algorithm, Backend, KeyError, KeySet, KeySetError, VerifyingKey};

use crate::{Claims, Verified};

/// Translates an algorithm; `None` for those that `jsonwebtoken` does not know.
#[must_use]
pub const fn algorithm_to(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    use jsonwebtoken::Algorithm as Other;
    Some(match algorithm {
        Algorithm::Rs256 => Other::RS256,
        Algorithm::Rs384 => Other::RS384,
        Algorithm::Rs512 => Other::RS512,
        Algorithm::Ps256 => Other::PS256,
        Algorithm::Ps384 => Other::PS384,
        Algorithm::Ps512 => Other::PS512,
        Algorithm::Es256 => Other::ES256,
        Algorithm::Es384 => Other::ES384,
        Algorithm::Ed25519 => Other::EdDSA,
        Algorithm::Hs256 => Other::HS256,
        Algorithm::Hs384 => Other::HS384,
        Algorithm::Hs512 => Other::HS512,
        _ => return None,
    })
}

/// Translates an algorithm back; `None` for one that is not known here.
#[must_use]
pub fn algorithm_from(algorithm: jsonwebtoken::Algorithm) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|own| algorithm_to(*own) == Some(algorithm))
}

/// Reads one of its JWKs.
///
/// # Errors
/// [`KeyError`] when the key cannot be used here; the rules are those of [`VerifyingKey::from_jwk`].
pub fn key_from(backend: Backend, jwk: &Jwk) -> Result<VerifyingKey, KeyError> {
    let object = JsonObject::from_serialize(jwk).map_err(KeyError::from)?;
    VerifyingKey::from_jwk(backend, &object)
}

/// Reads one of its key sets, as a published one: shared secrets are left out.
///
/// # Errors
/// [`KeySetError`] when it is too large; keys that cannot be used are listed in [`KeySet::skipped`].
pub fn key_set_from(backend: Backend, set: &JwkSet) -> Result<KeySet, KeySetError> {
    let text = serde_json::to_vec(set).unwrap_or_default();
    KeySet::parse(backend, &text)
}

/// Returns what its `decode` would, for code that expects that: the claims, and a header that names the algorithm and nothing else.
#[must_use]
pub fn token_data<T>(algorithm: jsonwebtoken::Algorithm, verified: Verified<Claims<T>>) -> jsonwebtoken::TokenData<T> {
    let (_, claims) = verified.into_inner().into_parts();
    jsonwebtoken::TokenData { header: jsonwebtoken::Header::new(algorithm), claims }
}
