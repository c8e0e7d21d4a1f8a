//! The claims of an answer or a record, held to the shapes and limits of a JWT's.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::dangerous::CheckedClaims;
use sekisho_core::json::JsonObject;
use sekisho_core::{Claim, ConfigError, Reject, UnixSeconds, claims};
use sekisho_jwt::{Backend, Candidate, Profile, SenderConstraint};

/// Says which claims are accepted.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) issuer: Arc<str>,
    /// Empty: the audience is not looked at.
    pub(crate) audiences: Vec<Box<str>>,
    pub(crate) leeway: Duration,
    pub(crate) profile: Profile,
    pub(crate) roles_at: Vec<Box<str>>,
    pub(crate) tenant_claim: Option<Box<str>>,
    pub(crate) client_as_subject: bool,
    /// Which bound tokens are taken. Default none.
    pub(crate) constraint: SenderConstraint,
}

/// Is whom a token speaks for, and when it is accepted: `from <= now < until`, leeway included.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) candidate: Candidate,
    pub(crate) from: UnixSeconds,
    pub(crate) until: UnixSeconds,
    /// When it dies without any leeway: nothing is kept for longer.
    pub(crate) dies: UnixSeconds,
}

impl Accepted {
    pub(crate) fn check_time(&self, now: UnixSeconds) -> Result<(), Reject> {
        if now >= self.until {
            return Err(Reject::Expired { by_secs: now.since(self.until).as_secs() });
        }
        if now < self.from {
            return Err(Reject::NotYetValid { by_secs: self.from.since(now).as_secs() });
        }
        Ok(())
    }
}

impl Rules {
    pub(crate) fn new(backend: Backend, issuer: String, audience: Option<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: audience.into_iter().map(Into::into).collect(),
            leeway: DEFAULT_LEEWAY,
            profile: Profile::default(),
            roles_at: Vec::new(),
            tenant_claim: None,
            client_as_subject: false,
            constraint: SenderConstraint::new(backend),
        }
    }

    /// Checks the settings, and takes from the profile what they leave open.
    pub(crate) fn build(mut self) -> Result<Self, ConfigError> {
        check_name("issuer", &self.issuer)?;
        for audience in &self.audiences {
            check_name("audience", audience)?;
        }
        if self.leeway > LONGEST_LEEWAY {
            return Err(ConfigError::new("the leeway is longer than 300 s; repair the clocks instead"));
        }
        if self.roles_at.is_empty() {
            self.roles_at.extend(self.profile.roles_at().map(Into::into));
        }
        if let Some(bad) = self.roles_at.iter().find(|pointer| !claims::is_pointer(pointer)) {
            return Err(ConfigError::new(format!(
                "`{bad}` is not a JSON pointer: it begins with a slash, and a tilde is followed by 0 or 1"
            )));
        }
        self.tenant_claim = self.tenant_claim.or_else(|| self.profile.tenant_claim().map(Into::into));
        self.client_as_subject |= self.profile.takes_client_as_subject();
        Ok(self)
    }

    /// Checks claims whose origin is known, and says whose they are.
    ///
    /// In this order: issuer, audience, time, use, confirmation, subject and the rest.
    pub(crate) fn check(&self, claims: JsonObject, now: UnixSeconds) -> Result<Accepted, Reject> {
        // RFC 7662 §2.2: `iss` is optional, for it is the issuer who answers; but one that names another is not for us.
        if let Some(issuer) = claims.get("iss") {
            let issuer = issuer.as_str().ok_or(Reject::Invalid(Claim::Issuer))?;
            if *issuer != *self.issuer {
                return Err(Reject::Issuer);
            }
        }
        if !self.audiences.is_empty() {
            let audience = claims.get("aud").ok_or(Reject::Missing(Claim::Audience))?;
            claims::check_audience(audience, &self.audiences)?;
        }
        let until = claims::check_expiry(&claims, self.leeway, now)?;
        let from = claims::check_beginning(&claims, self.leeway, now)?;
        check_token_type(&claims, self.constraint.takes_dpop())?;
        self.profile.check_use(&claims, self.constraint.takes_dpop())?;
        let confirmation = self.constraint.confirmation(&claims)?;
        let roles = claims::roles(&claims, &self.roles_at)?;
        let checked = if self.client_as_subject {
            CheckedClaims::new_or_client(Arc::clone(&self.issuer), claims)?
        } else {
            CheckedClaims::new(Arc::clone(&self.issuer), claims)?
        };
        let checked = match self.profile.client_claim() {
            Some(claim) => checked.with_client_at(claim)?,
            None => checked,
        };
        let checked = match &self.tenant_claim {
            Some(claim) => checked.with_tenant(claim)?,
            None => checked,
        };
        let principal = checked.with_roles(roles).with_confirmation(confirmation).into_principal();
        let dies = principal.expires_at().unwrap_or(UnixSeconds::MAX);
        Ok(Accepted { candidate: Candidate::new(principal), from, until: until.unwrap_or(UnixSeconds::MAX), dies })
    }
}

/// Refuses a token that is no bearer token by its `token_type` ([RFC 7662 §2.2](https://www.rfc-editor.org/rfc/rfc7662#section-2.2)).
fn check_token_type(claims: &JsonObject, takes_dpop: bool) -> Result<(), Reject> {
    let Some(kind) = claims.get("token_type") else { return Ok(()) };
    let kind = kind.as_str().ok_or(Reject::Invalid(Claim::Custom))?;
    // RFC 9449 §6.2. A mark alone binds nothing. Names of refresh and other tokens are the profile's to refuse, in every profile.
    let is_bound = || claims.get("cnf").is_some_and(|cnf| cnf.member("jkt").is_some());
    if kind.eq_ignore_ascii_case("dpop") && !(takes_dpop && is_bound()) { Err(Reject::ProofRequired) } else { Ok(()) }
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<(), ConfigError> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(ConfigError::new(format!("the {what} must be 1 to 1,024 bytes without control characters")));
    }
    Ok(())
}

const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);
const LONGEST_LEEWAY: Duration = Duration::from_secs(300);
const LONGEST_NAME: usize = 1024;

#[cfg(test)]
mod tests;
