use sekisho_core::{Decision, Denial, Effect, Failure};

use super::join;

/// Says how the verdicts of several become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    DenyOverrides,
    PermitOverrides,
    FirstApplicable,
    AllMustPermit,
}

/// Is what a branch says.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Permit(Decision),
    Deny(Decision),
    Silent(Decision),
    Failed(Failure, CouldHave),
}

/// Says what a branch that failed could have said: the letters behind XACML's `Indeterminate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CouldHave {
    Permitted,
    Denied,
    Either,
}

impl Verdict {
    pub(super) fn of(decision: Decision) -> Self {
        match decision.effect() {
            Effect::Permit => Self::Permit(decision),
            Effect::Deny => Self::Deny(decision),
            Effect::NotApplicable => Self::Silent(decision),
        }
    }

    pub(super) fn to_outcome(&self) -> Result<Decision, Failure> {
        match self {
            Self::Permit(decision) | Self::Deny(decision) | Self::Silent(decision) => Ok(decision.clone()),
            Self::Failed(failure, _) => Err(failure.clone()),
        }
    }
}

impl Algorithm {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::DenyOverrides => "deny_overrides",
            Self::PermitOverrides => "permit_overrides",
            Self::FirstApplicable => "first_applicable",
            Self::AllMustPermit => "all_must_permit",
        }
    }

    /// Tells whether the order of the branches counts.
    pub(super) const fn is_ordered(self) -> bool {
        matches!(self, Self::FirstApplicable)
    }

    /// Tells whether nothing that another branch says could change the effect after this verdict.
    pub(super) const fn is_settled_by(self, verdict: &Verdict) -> bool {
        match self {
            Self::DenyOverrides => matches!(verdict, Verdict::Deny(_)),
            Self::PermitOverrides => matches!(verdict, Verdict::Permit(_)),
            Self::FirstApplicable => !matches!(verdict, Verdict::Silent(_)),
            Self::AllMustPermit => matches!(verdict, Verdict::Deny(_) | Verdict::Silent(_)),
        }
    }

    /// Tells whether a verdict is one that the outcome came of.
    pub(super) fn is_decisive(self, verdict: &Verdict, outcome: &Result<Decision, Failure>) -> bool {
        match (verdict, outcome) {
            (Verdict::Permit(_), Ok(decision)) => decision.effect() == Effect::Permit,
            (Verdict::Deny(_), Ok(decision)) => decision.effect() == Effect::Deny,
            (Verdict::Silent(_), Ok(decision)) => match decision.effect() {
                Effect::NotApplicable => true,
                Effect::Deny => matches!(self, Self::AllMustPermit),
                Effect::Permit => false,
            },
            (Verdict::Failed(..), outcome) => outcome.is_err(),
            (_, Err(_)) => false,
        }
    }
}

/// Is what the branches have said so far.
#[derive(Default)]
pub(super) struct Tally {
    permit: Option<Decision>,
    deny: Option<Decision>,
    silent: Option<Decision>,
    /// Of those that failed, the first that could have permitted only, denied only, and either.
    permit_failed: Option<Failure>,
    deny_failed: Option<Failure>,
    either_failed: Option<Failure>,
}

impl Tally {
    pub(super) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Permit(decision) => join::into(&mut self.permit, decision),
            Verdict::Deny(decision) => join::into(&mut self.deny, decision),
            Verdict::Silent(decision) => join::into(&mut self.silent, decision),
            Verdict::Failed(failure, could_have) => {
                let place = match could_have {
                    CouldHave::Permitted => &mut self.permit_failed,
                    CouldHave::Denied => &mut self.deny_failed,
                    CouldHave::Either => &mut self.either_failed,
                };
                place.get_or_insert(failure);
            }
        }
    }

    /// Concludes, when all have spoken or one has [settled](Algorithm::is_settled_by) it.
    pub(super) fn conclude(self, algorithm: Algorithm) -> Result<Decision, Failure> {
        let Self { permit, deny, silent, permit_failed, deny_failed, either_failed } = self;
        let silence = || Ok(silent.clone().unwrap_or_else(Decision::not_applicable));
        match algorithm {
            Algorithm::DenyOverrides => match (deny, either_failed.or(deny_failed), permit, permit_failed) {
                (Some(deny), ..) => Ok(deny),
                (None, Some(failure), ..) => Err(failure),
                (None, None, Some(permit), _) => Ok(permit),
                (None, None, None, Some(failure)) => Err(failure),
                (None, None, None, None) => silence(),
            },
            Algorithm::PermitOverrides => match (permit, either_failed.or(permit_failed), deny, deny_failed) {
                (Some(permit), ..) => Ok(permit),
                (None, Some(failure), ..) => Err(failure),
                (None, None, Some(deny), _) => Ok(deny),
                (None, None, None, Some(failure)) => Err(failure),
                (None, None, None, None) => silence(),
            },
            // Only one has spoken at most, for the first that did ended it.
            Algorithm::FirstApplicable => match (either_failed.or(permit_failed).or(deny_failed), deny.or(permit)) {
                (Some(failure), _) => Err(failure),
                (None, Some(decision)) => Ok(decision),
                (None, None) => silence(),
            },
            Algorithm::AllMustPermit => {
                match (deny, &silent, either_failed.or(deny_failed).or(permit_failed), permit) {
                    (Some(deny), ..) => Ok(deny),
                    (None, Some(silent), ..) => {
                        let denied = Decision::deny(Denial::Forbidden { reason: "not all that must permit it do" });
                        Ok(join::with_details_of(denied.with_source(silent.source()), silent, true))
                    }
                    (None, None, Some(failure), _) => Err(failure),
                    (None, None, None, Some(permit)) => Ok(permit),
                    (None, None, None, None) => silence(),
                }
            }
        }
    }
}
