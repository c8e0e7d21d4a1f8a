use super::scopes::push_once;
use super::{Requirement, StepUp};
use crate::{Decision, Denial, Effect, Failure};

/// Is what the members of an `any_of` or `all_of` have said so far.
#[derive(Default)]
pub(super) struct Tally {
    permit: Option<Decision>,
    pub(super) denials: Vec<Decision>,
    failure: Option<Failure>,
}

impl Tally {
    pub(super) fn count(&mut self, outcome: Result<Decision, Failure>) {
        match outcome {
            Ok(decision) if decision.is_permitted() => {
                self.permit = Some(match self.permit.take() {
                    Some(permit) => permit.and(&decision),
                    None => decision,
                });
            }
            Ok(decision) => self.denials.push(decision),
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// Ends an `any_of` of which none permits.
    pub(super) fn into_none(self) -> Result<Decision, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        // The first that the caller could mend; one that nobody can mend says nothing of the others.
        let mut best: Option<Denial> = None;
        for denial in self.denials.iter().map(denial_of) {
            if best.as_ref().is_none_or(Denial::is_final) {
                best = Some(denial);
            }
        }
        let denial = best.unwrap_or(Denial::Forbidden { reason: "nothing would satisfy this route" });
        // Only if none of them holds for sure, nobody can say that one would.
        let is_sure = self.denials.iter().all(is_sure_denial);
        Ok(joined(self.denials, if is_sure { Decision::deny(denial) } else { Decision::refuse(denial) }))
    }

    /// Ends an `all_of` of which none denies.
    pub(super) fn into_all(self) -> Result<Decision, Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.permit.unwrap_or_else(Decision::permit)),
        }
    }
}

/// Joins the denials of several that must all hold.
pub(super) fn deny_all(requirements: &[Requirement], denials: Vec<Decision>) -> Option<Decision> {
    let denial = match Denial::weightiest(denials.iter().map(denial_of))? {
        denial @ (Denial::InvalidToken | Denial::Forbidden { .. }) => denial,
        // A client asks for what the challenge names and for no more, so all of it is named, also what this
        // token has: the next one is to have it too.
        Denial::InsufficientScope { scope } => {
            let mut asked = Vec::new();
            requirements.iter().for_each(|requirement| requirement.collect_scopes(&mut asked));
            // What an alternative lacks stands in no requirement of its own.
            scope.split(' ').for_each(|one| push_once(&mut asked, one));
            Denial::InsufficientScope { scope: asked.join(" ").into() }
        }
        Denial::InsufficientAuthentication { acr_values, max_age } => {
            let mut whole = StepUp { acr_values: acr_values.clone(), max_age };
            requirements.iter().for_each(|requirement| requirement.collect_step_up(&mut whole));
            Denial::step_up(whole.acr_values, whole.max_age)
        }
    };
    // One that surely does not hold is enough for all not to.
    let is_sure = denials.iter().any(is_sure_denial);
    Some(joined(denials, if is_sure { Decision::deny(denial) } else { Decision::refuse(denial) }))
}

/// Returns what to tell a caller whom this decision does not let pass.
pub(super) fn denial_of(decision: &Decision) -> Denial {
    decision.denial().cloned().unwrap_or(Denial::Forbidden { reason: "no policy permits it" })
}

/// Tells whether it was denied because a rule says so, and not because nobody could tell.
fn is_sure_denial(decision: &Decision) -> bool {
    decision.effect() == Effect::Deny && !decision.is_refusal()
}

/// Puts what is said beside denials, their obligations included, to the denial that comes of them.
fn joined(denials: Vec<Decision>, denied: Decision) -> Decision {
    denials.iter().fold(denied, Decision::and)
}

pub(super) fn inverse(outcome: Result<Decision, Failure>) -> Result<Decision, Failure> {
    let decision = outcome?;
    Ok(match decision.effect() {
        Effect::Permit => decision.turned_into(Decision::deny(Denial::Forbidden { reason: "what must not hold does" })),
        Effect::Deny if !decision.is_refusal() => decision.turned_into(Decision::permit()),
        Effect::Deny | Effect::NotApplicable => decision,
    })
}
