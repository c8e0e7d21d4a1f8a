use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, Entities, PolicyId, Request};
use sekisho_core::{AccessRequest, Decision, Denial, Reason};

use super::index::Selection;
use super::{Inner, Known};

impl Inner {
    pub(super) fn not_applicable(&self) -> Decision {
        Decision::not_applicable().with_revision(Arc::clone(&self.revision))
    }

    /// Asks the engine, and says of its answer what it means here.
    pub(super) fn evaluate(
        &self,
        request: &AccessRequest<'_>,
        asked: &Request,
        selection: &Selection,
        entities: &Entities,
    ) -> Decision {
        let response = Authorizer::new().is_authorized(asked, &selection.set, entities);
        let diagnostics = response.diagnostics();
        let known = |id: &PolicyId| selection.known.get(id).map(AsRef::as_ref).or_else(|| self.policies.get(id));
        let mut holding: Vec<&Known> = diagnostics.reason().filter_map(known).collect();
        holding.sort_unstable_by_key(|policy| policy.number);
        let mut failed: Vec<&Known> = diagnostics
            .errors()
            .filter_map(|AuthorizationError::PolicyEvaluationError(error)| known(error.policy_id()))
            .collect();
        failed.sort_unstable_by_key(|policy| policy.number);
        let is_allowed = response.decision() == cedar_policy::Decision::Allow;
        let cannot_tell = failed.iter().any(|policy| policy.forbids);
        let mut decision = match (is_allowed, holding.is_empty()) {
            _ if cannot_tell => {
                tracing::warn!(revision = %self.revision, "a policy that forbids cannot be evaluated");
                Decision::refuse(Denial::Forbidden { reason: "a policy that forbids cannot be evaluated" })
            }
            (true, _) => Decision::permit(),
            // Nothing denies but Cedar's own default.
            (false, true) => Decision::not_applicable(),
            (false, false) => Decision::deny(denial(&holding, request)),
        };
        // A permit that was overruled by what cannot be told has settled nothing.
        if cannot_tell && is_allowed {
            holding.clear();
        }
        for policy in &holding {
            decision =
                decision.with_reason(Reason::new(Arc::clone(&policy.id)).with_revision(Arc::clone(&self.revision)));
            for obligation in &policy.demands.obligations {
                decision = decision.with_obligation(obligation.clone());
            }
        }
        for policy in &failed {
            let reason = Reason::new(Arc::clone(&policy.error)).with_revision(Arc::clone(&self.revision));
            decision = decision.with_reason(reason);
        }
        for advice in holding.iter().filter_map(|policy| policy.demands.advice.as_ref()) {
            decision = decision.with_reason(Reason::new(Arc::clone(advice)));
        }
        decision.with_revision(Arc::clone(&self.revision))
    }
}

/// Says what would help, if all that forbid say so and she has not done it yet.
fn denial(forbidding: &[&Known], request: &AccessRequest<'_>) -> Denial {
    const FORBIDDEN: Denial = Denial::Forbidden { reason: "a policy forbids it" };
    let mut lacking = None;
    for policy in forbidding {
        match policy.demands.step_up.as_ref().and_then(|step_up| step_up.denial(request)) {
            Some(denial) => lacking = Some(lacking.unwrap_or(denial)),
            None => return FORBIDDEN,
        }
    }
    lacking.unwrap_or(FORBIDDEN)
}
