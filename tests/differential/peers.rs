//! The peers, each at its strictest documented setting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use josekit::jws::{self, JwsVerifier};
use josekit::jwt::{self, JwtPayloadValidator};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use sekisho_jwt::Algorithm;
use sekisho_tests::{AUDIENCE, decode as base64};
use serde_json::Value;

/// Is what a library does with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Accepted,
    Refused,
    Panicked,
}

impl Outcome {
    pub(crate) const fn of(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }

    fn caught(run: impl FnOnce() -> bool) -> Self {
        catch_unwind(AssertUnwindSafe(run)).map_or(Self::Panicked, Self::of)
    }
}

/// Translates the name; `None` for what `jsonwebtoken` does not have.
fn their_algorithm(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    algorithm.name().parse().ok()
}

/// Verifies access tokens by `jsonwebtoken`: the key by `kid` from the published set, `iss`, `aud`, `exp` and `sub`
/// required, `nbf` checked, one algorithm.
pub(crate) struct JsonWebToken {
    set: JwkSet,
    validation: Validation,
}

impl JsonWebToken {
    pub(crate) fn new(algorithm: Algorithm, issuer: &str, key_set: &str) -> Self {
        let mut validation = Validation::new(their_algorithm(algorithm).unwrap());
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 60;
        Self { set: serde_json::from_str(key_set).unwrap(), validation }
    }

    pub(crate) fn judge(&self, token: &str) -> Outcome {
        Outcome::caught(|| {
            let Ok(header) = decode_header(token) else { return false };
            // A token without `kid` is for the first key, which signs.
            let jwk = match &header.kid {
                Some(kid) => self.set.find(kid),
                None => self.set.keys.first(),
            };
            let Some(key) = jwk.and_then(|jwk| DecodingKey::from_jwk(jwk).ok()) else { return false };
            decode::<Value>(token, &key, &self.validation).is_ok()
        })
    }
}

/// Verifies access tokens by `josekit`: a verifier of one algorithm and one `kid`, `iss` and `aud` set, no token from
/// the future. It has no leeway.
pub(crate) struct Josekit {
    verifier: Box<dyn JwsVerifier>,
    validator: JwtPayloadValidator,
}

impl Josekit {
    pub(crate) fn new(algorithm: Algorithm, issuer: &str, jwk: &Value, now: u64) -> Self {
        let mut validator = JwtPayloadValidator::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        validator.set_base_time(now);
        validator.set_max_issued_time(now + Duration::from_secs(60));
        validator.set_issuer(issuer);
        validator.set_audience(AUDIENCE);
        Self { verifier: josekit_verifier(algorithm, jwk).unwrap(), validator }
    }

    pub(crate) fn judge(&self, token: &str) -> Outcome {
        Outcome::caught(|| {
            let Ok((payload, _)) = jwt::decode_with_verifier(token, &*self.verifier) else { return false };
            self.validator.validate(&payload).is_ok()
        })
    }
}

fn josekit_verifier(algorithm: Algorithm, jwk: &Value) -> Option<Box<dyn JwsVerifier>> {
    let mut jwk = jwk.clone();
    // It knows one name only.
    if algorithm == Algorithm::Ed25519 && jwk.get("alg").is_some() {
        jwk["alg"] = "EdDSA".into();
    }
    let jwk = josekit::jwk::Jwk::from_bytes(jwk.to_string()).ok()?;
    fn boxed<V: JwsVerifier + 'static, E>(verifier: Result<V, E>) -> Option<Box<dyn JwsVerifier>> {
        verifier.ok().map(|verifier| Box::new(verifier) as Box<dyn JwsVerifier>)
    }
    match algorithm {
        Algorithm::Rs256 => boxed(jws::RS256.verifier_from_jwk(&jwk)),
        Algorithm::Rs384 => boxed(jws::RS384.verifier_from_jwk(&jwk)),
        Algorithm::Rs512 => boxed(jws::RS512.verifier_from_jwk(&jwk)),
        Algorithm::Ps256 => boxed(jws::PS256.verifier_from_jwk(&jwk)),
        Algorithm::Ps384 => boxed(jws::PS384.verifier_from_jwk(&jwk)),
        Algorithm::Ps512 => boxed(jws::PS512.verifier_from_jwk(&jwk)),
        Algorithm::Es256 => boxed(jws::ES256.verifier_from_jwk(&jwk)),
        Algorithm::Es384 => boxed(jws::ES384.verifier_from_jwk(&jwk)),
        Algorithm::Es512 => boxed(jws::ES512.verifier_from_jwk(&jwk)),
        Algorithm::Es256K => boxed(jws::ES256K.verifier_from_jwk(&jwk)),
        Algorithm::Ed25519 => boxed(jws::EdDSA.verifier_from_jwk(&jwk)),
        Algorithm::Hs256 => boxed(jws::HS256.verifier_from_jwk(&jwk)),
        Algorithm::Hs384 => boxed(jws::HS384.verifier_from_jwk(&jwk)),
        Algorithm::Hs512 => boxed(jws::HS512.verifier_from_jwk(&jwk)),
        _ => None,
    }
}

/// Verifies the signature alone, for one JWK, by `jsonwebtoken`'s functions for header, key and signature.
///
/// Its `decode` cannot be asked, for it wants claims; what `decode` refuses of a payload that is not base64url is
/// refused here too.
pub(crate) fn jsonwebtoken_signature(token: &str, jwk: &Value, algorithm: Algorithm) -> Outcome {
    Outcome::caught(|| {
        let Some(allowed) = their_algorithm(algorithm) else { return false };
        let Ok(header) = decode_header(token) else { return false };
        let Ok(jwk) = serde_json::from_value(jwk.clone()) else { return false };
        let Ok(key) = DecodingKey::from_jwk(&jwk) else { return false };
        let kid = jwk.common.key_id.as_deref();
        let named = kid.is_none() || header.kid.is_none() || kid == header.kid.as_deref();
        let Some((input, signature)) = token.rsplit_once('.') else { return false };
        let payload = input.split('.').nth(1).unwrap_or_default();
        named
            && base64_simd::URL_SAFE_NO_PAD.check(payload.as_bytes()).is_ok()
            && header.alg == allowed
            && jsonwebtoken::crypto::verify(signature, input.as_bytes(), &key, allowed).unwrap_or(false)
    })
}

/// Verifies the signature alone, for one JWK, by `josekit`.
pub(crate) fn josekit_signature(token: &str, jwk: &Value, algorithm: Algorithm) -> Outcome {
    Outcome::caught(|| {
        josekit_verifier(algorithm, jwk).is_some_and(|verifier| jws::deserialize_compact(token, &*verifier).is_ok())
    })
}

/// Reads `alg` of a header, if it is one that anybody knows.
pub(crate) fn header_algorithm(token: &str) -> Option<Algorithm> {
    let header = token.split('.').next()?;
    let canonical = header.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let bytes = canonical.then(|| std::panic::catch_unwind(|| base64(header)).ok()).flatten()?;
    let header: Value = serde_json::from_slice(&bytes).ok()?;
    Algorithm::from_name(header["alg"].as_str()?)
}
