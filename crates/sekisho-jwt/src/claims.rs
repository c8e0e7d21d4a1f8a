//! The claims of a token whose signature held ([RFC 7519 §7.2](https://www.rfc-editor.org/rfc/rfc7519#section-7.2)).

use std::borrow::Cow;
use std::sync::Arc;

use sekisho_core::dangerous::CheckedClaims;
use sekisho_core::json::{JsonKind, JsonObject};
use sekisho_core::{Claim, Confirmation, Reject, UnixSeconds};

use crate::SenderConstraint;
use crate::binding::Candidate;
use crate::issuer::Issuer;
use crate::profile::SubjectRule;
use crate::trace::{Recorder, Step};

/// Is whom a token speaks for and the seconds in which it is accepted: `from <= now < until`, leeway included.
pub(crate) struct Accepted {
    pub(crate) candidate: Candidate,
    pub(crate) from: UnixSeconds,
    pub(crate) until: UnixSeconds,
}

/// Checks all claims against what the issuer's configuration says.
pub(crate) fn check(
    issuer: &Issuer,
    constraint: &SenderConstraint,
    claims: JsonObject,
    now: UnixSeconds,
    recorder: &mut impl Recorder,
) -> Result<Accepted, Reject> {
    recorder.begin(Step::Issuer);
    check_issuer(issuer, &claims)?;
    recorder.pass(|| format!("issued by {}", issuer.name));

    recorder.begin(Step::Audience);
    check_audience(issuer, &claims)?;
    recorder.pass(|| "made for this audience".to_owned());

    let (from, until) = check_time(issuer, &claims, now, recorder)?;

    recorder.begin(Step::TokenUse);
    issuer.profile.check_use(&claims, constraint.takes_dpop())?;
    recorder.pass(|| format!("an access token by the profile {}", issuer.profile.name()));

    recorder.begin(Step::Confirmation);
    let confirmation = constraint.confirmation(&claims)?;
    recorder.pass(|| match &confirmation {
        None => "a bearer token, bound to nobody".to_owned(),
        Some(Confirmation::KeyThumbprint(_)) => "bound to a key".to_owned(),
        Some(_) => "bound to a certificate".to_owned(),
    });

    recorder.begin(Step::Subject);
    let roles = roles(issuer, &claims)?;
    let checked = match issuer.profile.subject() {
        SubjectRule::Required => CheckedClaims::new(Arc::clone(&issuer.name), claims),
        SubjectRule::OrClient => CheckedClaims::new_or_client(Arc::clone(&issuer.name), claims),
    }?;
    let checked = match &issuer.client_claim {
        Some(claim) => checked.with_client_at(claim)?,
        None => checked,
    };
    let checked = match &issuer.tenant_claim {
        Some(claim) => checked.with_tenant(claim)?,
        None => checked,
    };
    let principal = checked.with_roles(roles).with_confirmation(confirmation).into_principal();
    recorder.pass(|| "subject, client, scopes and roles have the right types".to_owned());
    Ok(Accepted { candidate: Candidate::new(principal), from, until })
}

/// Requires `iss` to be the configured string, byte for byte.
pub(crate) fn check_issuer(issuer: &Issuer, claims: &JsonObject) -> Result<(), Reject> {
    if issuer_claim(claims)? == *issuer.name { Ok(()) } else { Err(Reject::Issuer) }
}

pub(crate) fn issuer_claim(claims: &JsonObject) -> Result<Cow<'_, str>, Reject> {
    let value = claims.get("iss").ok_or(Reject::Missing(Claim::Issuer))?;
    value.as_str().ok_or(Reject::Invalid(Claim::Issuer))
}

/// Requires one of the audiences to be one of ours; all of them must be strings.
fn check_audience(issuer: &Issuer, claims: &JsonObject) -> Result<(), Reject> {
    let ours = |audience: &str| issuer.audiences.iter().any(|own| **own == *audience);
    let Some(value) = claims.get("aud") else {
        if issuer.profile.audience_may_be_client()
            && let Some(client) = claims.get("client_id")
        {
            let client = client.as_str().ok_or(Reject::Invalid(Claim::Client))?;
            return if ours(&client) { Ok(()) } else { Err(Reject::Audience) };
        }
        return Err(Reject::Missing(Claim::Audience));
    };
    if value.kind() == JsonKind::String {
        let audience = value.as_str().ok_or(Reject::Invalid(Claim::Audience))?;
        return if ours(&audience) { Ok(()) } else { Err(Reject::Audience) };
    }
    let audiences = value.as_strings().ok_or(Reject::Invalid(Claim::Audience))?;
    if audiences.iter().any(|audience| ours(audience)) { Ok(()) } else { Err(Reject::Audience) }
}

fn check_time(
    issuer: &Issuer,
    claims: &JsonObject,
    now: UnixSeconds,
    recorder: &mut impl Recorder,
) -> Result<(UnixSeconds, UnixSeconds), Reject> {
    let leeway = issuer.leeway_secs;
    let date = |name: &str, claim: Claim| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_numeric_date().map(Some).ok_or(Reject::Invalid(claim)),
    };

    recorder.begin(Step::Expiry);
    let expiry = date("exp", Claim::Expiry)?.ok_or(Reject::Missing(Claim::Expiry))?;
    let until = expiry.saturating_add(leeway);
    if now.as_secs() >= until {
        return Err(Reject::Expired { by_secs: now.as_secs() - until });
    }
    recorder.pass(|| format!("lives for another {} s, leeway of {leeway} s included", until - now.as_secs()));

    recorder.begin(Step::NotBefore);
    let not_before = date("nbf", Claim::NotBefore)?.map_or(0, |nbf| nbf.saturating_sub(leeway));
    if now.as_secs() < not_before {
        return Err(Reject::NotYetValid { by_secs: not_before - now.as_secs() });
    }
    let issued_at = date("iat", Claim::IssuedAt)?.map_or(0, |iat| iat.saturating_sub(leeway));
    if now.as_secs() < issued_at {
        return Err(Reject::IssuedInFuture { by_secs: issued_at - now.as_secs() });
    }
    recorder.pass(|| "already valid, and not issued in the future".to_owned());
    Ok((UnixSeconds::new(not_before.max(issued_at)), UnixSeconds::new(until)))
}

/// Reads the roles from each configured place; a place that is absent holds none.
fn roles(issuer: &Issuer, claims: &JsonObject) -> Result<Vec<Box<str>>, Reject> {
    let mut roles: Vec<Box<str>> = Vec::new();
    for pointer in &issuer.roles_at {
        let Some(value) = claims.pointer(pointer) else { continue };
        let found = value.as_strings().ok_or(Reject::Invalid(Claim::Custom))?;
        roles.extend(found.into_iter().filter(|role| !role.is_empty()).map(Into::into));
    }
    Ok(roles)
}
