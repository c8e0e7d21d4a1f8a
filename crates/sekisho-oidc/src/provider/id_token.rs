//! What an ID token must be ([OIDC Core §3.1.3.7](https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation), §12.2).

use std::sync::Arc;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::dangerous::CheckedClaims;
use sekisho_core::json::JsonObject;
use sekisho_core::{Claim, Principal, Refusal, Reject, Secret, UnixSeconds, claims};
use sekisho_jwt::{Algorithm, Backend, StatementVerifier};

use super::error::LoginError;
use super::pending::PendingLogin;

/// Verifies the ID tokens of one provider.
#[derive(Debug)]
pub(super) struct IdTokens {
    pub(super) backend: Backend,
    pub(super) issuer: Arc<str>,
    pub(super) client_id: Box<str>,
    pub(super) trusted_audiences: Box<[Box<str>]>,
    pub(super) roles_at: Box<[Box<str>]>,
    pub(super) leeway: Duration,
    /// Checks form, `typ`, algorithm, signature, `iss`, that we are in `aud`, and the dates that are there.
    pub(super) statements: StatementVerifier,
}

impl IdTokens {
    /// Verifies the ID token of a login, and makes a principal of it.
    pub(super) async fn logged_in(
        &self,
        id_token: &str,
        pending: &PendingLogin,
        code: &str,
        access_token: &Secret,
        now: UnixSeconds,
    ) -> Result<Principal, LoginError> {
        let rejected = LoginError::IdToken;
        let (claims, algorithm) = self.verified(id_token, access_token, now).await?;
        let issued_at = date(&claims, "iat", Claim::IssuedAt).map_err(rejected)?;
        // The nonce says so already; an older one would have been made for another login.
        if issued_at.saturating_add(self.leeway) < pending.created_at {
            return Err(rejected(Reject::Invalid(Claim::IssuedAt)));
        }
        let nonce = text(&claims, "nonce", Claim::Nonce).map_err(rejected)?;
        if !same(&nonce, pending.nonce()) {
            return Err(rejected(Reject::Invalid(Claim::Nonce)));
        }
        self.check_hash(&claims, "c_hash", Claim::CodeHash, algorithm, code.as_bytes()).map_err(rejected)?;
        self.check_strength(&claims, pending, now)?;
        self.principal(claims).map_err(rejected)
    }

    /// Verifies the ID token that came with a refresh: it must be of the same subject, and of the same login as `before`, the one that
    /// was there.
    ///
    /// `auth_time` may have become later: with Keycloak it is of the session there, in which another service can have asked for a new login.
    pub(super) async fn refreshed(
        &self,
        id_token: &str,
        before: Option<&Secret>,
        subject: &str,
        access_token: &Secret,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let (claims, _) = self.verified(id_token, access_token, now).await?;
        // §12.2: `iat` is when it was made, and that was just now.
        let issued_at = date(&claims, "iat", Claim::IssuedAt)?;
        if issued_at.saturating_add(LONGEST_DELIVERY).saturating_add(self.leeway) < now {
            return Err(Reject::Invalid(Claim::IssuedAt).into());
        }
        if text(&claims, "sub", Claim::Subject)? != subject {
            return Err(Reject::Invalid(Claim::Subject).into());
        }
        let Some(before) = before else { return Ok(()) };
        // It was verified when it came, and comes from where only we write.
        let before = payload(before.expose_str().unwrap_or_default())?;
        if claims.get("nonce").is_some() {
            let (nonce, earlier) = (text(&claims, "nonce", Claim::Nonce)?, text(&before, "nonce", Claim::Nonce)?);
            if !same(&nonce, &earlier) {
                return Err(Reject::Invalid(Claim::Nonce).into());
            }
        }
        if claims.get("auth_time").is_some() && before.get("auth_time").is_some() {
            let at = |claims| date(claims, "auth_time", Claim::AuthenticationTime);
            if at(&claims)? < at(&before)? {
                return Err(Reject::Invalid(Claim::AuthenticationTime).into());
            }
        }
        Ok(())
    }

    /// Makes what holds for every ID token sure.
    async fn verified(
        &self,
        id_token: &str,
        access_token: &Secret,
        now: UnixSeconds,
    ) -> Result<(JsonObject, Algorithm), Refusal> {
        let claims = self.statements.verify(id_token, now).await?.into_inner();
        // Read again, now that the signature covers it.
        let algorithm = algorithm(id_token)?;
        for (name, claim) in [("exp", Claim::Expiry), ("iat", Claim::IssuedAt)] {
            date(&claims, name, claim)?;
        }
        check_subject(&claims)?;
        self.check_parties(&claims)?;
        // A logout token, which must not be taken for an ID token (Back-Channel Logout §2.4).
        if claims.get("events").is_some() {
            return Err(Reject::TokenUse.into());
        }
        if claims.get("sid").is_some() {
            text(&claims, "sid", Claim::Session)?;
        }
        self.check_hash(&claims, "at_hash", Claim::AccessTokenHash, algorithm, access_token.expose())?;
        Ok((claims, algorithm))
    }

    /// Checks for whom else it is, and to whom it was given (§3.1.3.7, steps 3 to 5).
    fn check_parties(&self, claims: &JsonObject) -> Result<(), Reject> {
        let audience = claims.get("aud").ok_or(Reject::Missing(Claim::Audience))?;
        let audiences = audience.as_strings().ok_or(Reject::Invalid(Claim::Audience))?;
        let is_known = |audience: &str| {
            *audience == *self.client_id || self.trusted_audiences.iter().any(|trusted| **trusted == *audience)
        };
        if !audiences.iter().all(|audience| is_known(audience)) {
            return Err(Reject::Audience);
        }
        if claims.get("azp").is_none() {
            return if audiences.len() > 1 { Err(Reject::Missing(Claim::Client)) } else { Ok(()) };
        }
        if text(claims, "azp", Claim::Client)? != *self.client_id {
            return Err(Reject::Invalid(Claim::Client));
        }
        Ok(())
    }

    /// Checks a hash of what came with it, if it is there: the left half, by the hash of its own algorithm (§3.1.3.8).
    fn check_hash(
        &self,
        claims: &JsonObject,
        name: &str,
        claim: Claim,
        algorithm: Algorithm,
        hashed: &[u8],
    ) -> Result<(), Reject> {
        if claims.get(name).is_none() {
            return Ok(());
        }
        let digest = self.backend.digest_of(algorithm, hashed);
        let half = digest.get(..digest.len() / 2).unwrap_or_default();
        if *text(claims, name, claim)? == URL_SAFE_NO_PAD.encode_to_string(half) {
            Ok(())
        } else {
            Err(Reject::Invalid(claim))
        }
    }

    /// Checks that the login is as strong and as new as it was asked to be (§3.1.2.1).
    fn check_strength(&self, claims: &JsonObject, pending: &PendingLogin, now: UnixSeconds) -> Result<(), LoginError> {
        if !pending.acr_values.is_empty() {
            let acr = claims.get("acr").and_then(|acr| acr.as_str());
            if !acr.is_some_and(|acr| pending.acr_values.iter().any(|asked| **asked == *acr)) {
                return Err(LoginError::TooWeak);
            }
        }
        if claims.get("auth_time").is_none() {
            return if pending.max_age.is_some() { Err(LoginError::TooWeak) } else { Ok(()) };
        }
        let at = date(claims, "auth_time", Claim::AuthenticationTime).map_err(LoginError::IdToken)?;
        if now.saturating_add(self.leeway) < at {
            return Err(LoginError::IdToken(Reject::Invalid(Claim::AuthenticationTime)));
        }
        // Asked when the login began: how long the user took since does not make it older.
        let is_old = |max_age: u32| {
            at.saturating_add(Duration::from_secs(max_age.into())).saturating_add(self.leeway) < pending.created_at
        };
        if pending.max_age.is_some_and(is_old) { Err(LoginError::TooWeak) } else { Ok(()) }
    }

    fn principal(&self, claims: JsonObject) -> Result<Principal, Reject> {
        let roles = claims::roles(&claims, &self.roles_at)?;
        let checked = CheckedClaims::new(Arc::clone(&self.issuer), claims)?;
        Ok(checked.with_client(&self.client_id).with_roles(roles).into_principal())
    }
}

impl From<Refusal> for LoginError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Reject(reject) => Self::IdToken(reject),
            Refusal::Failure(failure) => Self::Failure(failure),
        }
    }
}

/// Checks `sub`: 1 to 255 ASCII characters (§2).
pub(super) fn check_subject(claims: &JsonObject) -> Result<(), Reject> {
    let subject = text(claims, "sub", Claim::Subject)?;
    let is_good = subject.len() <= LONGEST_SUBJECT && subject.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_good { Ok(()) } else { Err(Reject::Invalid(Claim::Subject)) }
}

/// Reads a claim that must be a text, and not an empty one.
pub(super) fn text<'a>(claims: &'a JsonObject, name: &str, claim: Claim) -> Result<std::borrow::Cow<'a, str>, Reject> {
    let value = claims.get(name).ok_or(Reject::Missing(claim))?;
    value.as_str().filter(|text| !text.is_empty()).ok_or(Reject::Invalid(claim))
}

/// Reads a claim that must be a date.
pub(super) fn date(claims: &JsonObject, name: &str, claim: Claim) -> Result<UnixSeconds, Reject> {
    let value = claims.get(name).ok_or(Reject::Missing(claim))?;
    value.as_numeric_date().map(UnixSeconds::new).ok_or(Reject::Invalid(claim))
}

/// Compares in the same time wherever the difference lies.
pub(super) fn same(one: &str, other: &str) -> bool {
    Secret::from(one) == Secret::from(other)
}

/// Reads `alg`.
fn algorithm(jws: &str) -> Result<Algorithm, Reject> {
    let header = part(jws, 0)?;
    let name = header.get("alg").and_then(|alg| alg.as_str()).ok_or(Reject::Algorithm)?;
    Algorithm::from_name(&name).ok_or(Reject::Algorithm)
}

fn payload(jws: &str) -> Result<JsonObject, Reject> {
    part(jws, 1)
}

fn part(jws: &str, place: usize) -> Result<JsonObject, Reject> {
    let text = jws.split('.').nth(place).ok_or(Reject::Malformed)?;
    Ok(JsonObject::parse(URL_SAFE_NO_PAD.decode_to_vec(text).map_err(|_| Reject::Malformed)?)?)
}

const LONGEST_SUBJECT: usize = 255;
/// How long an ID token may be under way in the answer to a refresh.
const LONGEST_DELIVERY: Duration = Duration::from_secs(600);
