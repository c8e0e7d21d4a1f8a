//! Several authorizers as one, by the combining algorithms of XACML 3.0, with a stated fallback.
//!
//! | | asks | permits if | is a failure if |
//! |---|---|---|---|
//! | [`deny_overrides`] | all, until one denies | one permits, none denies, and nothing that could have denied failed | nobody denied, and something that could have denied failed; or nobody permitted, and something failed |
//! | [`permit_overrides`] | all, until one permits | one permits | none permits, and something that could have permitted failed; or nobody denied, and something failed |
//! | [`first_applicable`] | in their order, until one speaks | the first that speaks permits | the first that does not stay silent failed |
//! | [`all_must_permit`] | all, until one does not permit | each permits, and there is one | none denied or was silent, and something failed |
//!
//! What permits is never a failure, and a failure never permits. Of no branches at all, nobody speaks: not applicable.
//!
//! An authorizer has four outcomes: permit, deny, not applicable, and failure. What a failed one would have said is not known,
//! which is XACML's `Indeterminate{DP}`. A rule that has one effect only is made by [`permit_if`] and [`deny_if`]: a failure
//! of it is `Indeterminate{P}` or `Indeterminate{D}`, and it is silent where its condition does not hold.
//!
//! Obligations and reasons are those of the branches that settled the decision, as far as they were asked. Branches that
//! answer at once are asked before those that have to wait, so a local denial needs no network; only [`first_applicable`]
//! keeps the order in any case. Those that wait are asked one after the other, or [at once](Combined::concurrently).
//!
//! Beside the algorithms: [`local_then_remote`], [`fallback`] for when a decision service does not answer, [`shadow`] and
//! [`canary`] for policies that are to replace others.
//!
//! # Examples
//! ```
//! use sekisho_core::{AccessRequest, Authorize, Effect, Resource, UnixSeconds, dangerous::PrincipalBuilder, role, scope};
//! use sekisho_policy::combine::{deny_if, deny_overrides, permit_if};
//!
//! let orders = deny_overrides([deny_if(role("suspended")), permit_if(scope("orders:read")), permit_if(role("admin"))]);
//! let alice = PrincipalBuilder::new("https://id.example", "alice").with_scope("orders:read").build()?;
//! let question = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(0));
//! let decision = orders.decide_now(&question).expect("nobody waits").expect("nobody fails");
//! assert_eq!(decision.effect(), Effect::Permit);
//! println!("{}", orders.outline());
//! # Ok::<(), sekisho_core::json::JsonError>(())
//! ```

use std::fmt;
use std::sync::Arc;

use sekisho_core::{
    AccessRequest, Authorize, Decision, Denial, EvaluationsSemantic, Explanation, Failure, FailureKind, Outline,
};

mod algorithm;
mod canary;
mod combined;
mod fallback;
mod join;
mod local_then_remote;
pub(crate) mod owned;
mod shadow;

pub use canary::{Canary, canary};
pub use combined::Combined;
pub use fallback::{Fallback, FallbackBuilder, FallbackCounts, LastKnown, LastKnownLimits, fallback};
pub use local_then_remote::{LocalThenRemote, local_then_remote};
pub use shadow::{Shadow, ShadowBuilder, ShadowCounts, ShadowRunner, shadow};

use algorithm::{Algorithm, CouldHave, Verdict};

/// Combines so that a denial is final: one denies, and all is denied (XACML 3.0, C.2).
#[must_use]
pub fn deny_overrides<I: IntoIterator<Item = B>, B: Into<Branch>>(branches: I) -> Combined {
    Combined::new(Algorithm::DenyOverrides, branches)
}

/// Combines so that a permit is enough: one permits, and all is permitted, also if others fail (XACML 3.0, C.4).
///
/// The first permit ends it: obligations of those who were not asked any more are not part of it.
#[must_use]
pub fn permit_overrides<I: IntoIterator<Item = B>, B: Into<Branch>>(branches: I) -> Combined {
    Combined::new(Algorithm::PermitOverrides, branches)
}

/// Combines so that the first that speaks decides, in the order given; one that fails ends it (XACML 3.0, C.8).
#[must_use]
pub fn first_applicable<I: IntoIterator<Item = B>, B: Into<Branch>>(branches: I) -> Combined {
    Combined::new(Algorithm::FirstApplicable, branches)
}

/// Combines so that nothing is permitted but what each permits; one that is silent denies.
///
/// XACML has no such algorithm; it is what `all_of` is for rules.
#[must_use]
pub fn all_must_permit<I: IntoIterator<Item = B>, B: Into<Branch>>(branches: I) -> Combined {
    Combined::new(Algorithm::AllMustPermit, branches)
}

/// Makes a rule whose effect is permit: it permits what `condition` permits, and is silent of all else.
///
/// What the condition denies is not denied by the rule. Obligations of a permit stay.
#[must_use]
pub fn permit_if(condition: impl Authorize + 'static) -> Branch {
    Branch { effect: BranchEffect::PermitIf, ..Branch::from(condition) }
}

/// Makes a rule whose effect is deny: it denies what `condition` permits, and is silent of all else.
///
/// The condition's reasons stay, its obligations do not: they were those of a permit.
#[must_use]
pub fn deny_if(condition: impl Authorize + 'static) -> Branch {
    Branch { effect: BranchEffect::DenyIf, ..Branch::from(condition) }
}

/// Is one of those that are combined: anything that authorizes, perhaps with a name for people, or a rule of one effect.
///
/// Made by [`From`] of any authorizer, so that a list of equal types needs no more; lists of different ones say
/// `Branch::from(...)` for each. A clone costs a counter.
#[derive(Clone)]
pub struct Branch {
    effect: BranchEffect,
    name: Option<Arc<str>>,
    authorizer: Arc<dyn Authorize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BranchEffect {
    /// Whatever it says.
    AsItSays,
    PermitIf,
    DenyIf,
}

impl Branch {
    /// Gives it a name, which [`Authorize::outline`] and [`Authorize::explain`] show above its own.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Verdict> {
        self.authorizer.decide_now(request).map(|outcome| self.verdict(outcome))
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Verdict {
        self.verdict(self.authorizer.decide(request).await)
    }

    /// Decides all of them, however few answers come.
    async fn decide_all(&self, requests: &[AccessRequest<'_>]) -> Vec<Verdict> {
        let mut outcomes = self.authorizer.decide_all(requests, EvaluationsSemantic::ExecuteAll).await.into_iter();
        let lacking = || Err(Failure::unavailable("a decision of several is lacking"));
        requests.iter().map(|_| self.verdict(outcomes.next().unwrap_or_else(lacking))).collect()
    }

    async fn explain(&self, request: &AccessRequest<'_>) -> (Verdict, Explanation) {
        let mut explanation = self.authorizer.explain(request).await;
        let outcome = match explanation.outcome() {
            Some(outcome) => outcome.clone(),
            None => Err(Failure::unavailable("an explanation says nothing")),
        };
        let verdict = self.verdict(outcome);
        if let Some(rule) = self.effect.rule() {
            explanation = Explanation::branch(rule, verdict.to_outcome(), vec![explanation]);
        }
        if let Some(name) = &self.name {
            explanation = Explanation::branch(&**name, verdict.to_outcome(), vec![explanation]);
        }
        (verdict, explanation)
    }

    fn outline(&self) -> Outline {
        let mut outline = self.authorizer.outline();
        if let Some(rule) = self.effect.rule() {
            outline = Outline::branch(rule, [outline]);
        }
        match &self.name {
            Some(name) => Outline::branch(&**name, [outline]),
            None => outline,
        }
    }

    fn verdict(&self, outcome: Result<Decision, Failure>) -> Verdict {
        match (self.effect, outcome) {
            (BranchEffect::AsItSays, Ok(decision)) => Verdict::of(decision),
            (BranchEffect::AsItSays, Err(failure)) => Verdict::Failed(failure, CouldHave::Either),
            (BranchEffect::PermitIf, Err(failure)) => Verdict::Failed(failure, CouldHave::Permitted),
            (BranchEffect::DenyIf, Err(failure)) => Verdict::Failed(failure, CouldHave::Denied),
            (BranchEffect::PermitIf, Ok(decision)) if decision.is_permitted() => Verdict::Permit(decision),
            (BranchEffect::DenyIf, Ok(decision)) if decision.is_permitted() => {
                let denied = Decision::deny(Denial::Forbidden { reason: "a rule forbids it" });
                Verdict::Deny(join::with_details_of(denied.with_source(decision.source()), &decision, false))
            }
            // Nobody could tell whether the condition holds, and so whether it forbids.
            (BranchEffect::DenyIf, Ok(decision)) if decision.is_refusal() => Verdict::Failed(UNTOLD, CouldHave::Denied),
            (BranchEffect::PermitIf | BranchEffect::DenyIf, Ok(decision)) => {
                Verdict::Silent(Decision::not_applicable().with_source(decision.source()))
            }
        }
    }
}

const UNTOLD: Failure = Failure::new(FailureKind::Misconfigured, "it cannot be told whether a rule forbids it");

impl BranchEffect {
    const fn rule(self) -> Option<&'static str> {
        match self {
            Self::AsItSays => None,
            Self::PermitIf => Some("permit if"),
            Self::DenyIf => Some("deny if"),
        }
    }
}

impl<A: Authorize + 'static> From<A> for Branch {
    fn from(authorizer: A) -> Self {
        Self { effect: BranchEffect::AsItSays, name: None, authorizer: Arc::new(authorizer) }
    }
}

impl fmt::Debug for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Branch").field(&self.outline()).finish()
    }
}

#[cfg(test)]
mod tests;
