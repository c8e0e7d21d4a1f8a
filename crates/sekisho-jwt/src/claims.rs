//! The claims of a token whose signature held ([RFC 7519 §7.2](https://www.rfc-editor.org/rfc/rfc7519#section-7.2)).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::dangerous::CheckedClaims;
use sekisho_core::json::JsonObject;
use sekisho_core::{Claim, Confirmation, Reject, UnixSeconds, claims};

use crate::SenderConstraint;
use crate::candidate::Candidate;
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
    let roles = claims::roles(&claims, &issuer.roles_at)?;
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
    let Some(value) = claims.get("aud") else {
        if issuer.profile.audience_may_be_client()
            && let Some(client) = claims.get("client_id")
        {
            let client = client.as_str().ok_or(Reject::Invalid(Claim::Client))?;
            let is_ours = issuer.audiences.iter().any(|own| **own == *client);
            return if is_ours { Ok(()) } else { Err(Reject::Audience) };
        }
        return Err(Reject::Missing(Claim::Audience));
    };
    claims::check_audience(value, &issuer.audiences)
}

fn check_time(
    issuer: &Issuer,
    claims: &JsonObject,
    now: UnixSeconds,
    recorder: &mut impl Recorder,
) -> Result<(UnixSeconds, UnixSeconds), Reject> {
    let leeway = Duration::from_secs(issuer.leeway_secs);
    recorder.begin(Step::Expiry);
    let until = claims::check_expiry(claims, leeway, now)?.ok_or(Reject::Missing(Claim::Expiry))?;
    recorder.pass(|| {
        let (left, leeway) = (until.since(now).as_secs(), leeway.as_secs());
        format!("lives for another {left} s, leeway of {leeway} s included")
    });

    recorder.begin(Step::NotBefore);
    let from = claims::check_beginning(claims, leeway, now)?;
    recorder.pass(|| "already valid, and not issued in the future".to_owned());
    Ok((from, until))
}
