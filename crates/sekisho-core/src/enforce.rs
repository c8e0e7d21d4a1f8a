use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    AccessRequest, Authorize, Decision, Denial, Effect, EvaluationsSemantic, Failure, FailureKind, Obligation,
};

mod duty;
mod redact;

use duty::Duty;

/// Fulfils obligations of one name.
#[async_trait]
pub trait ObligationHandler: Send + Sync {
    /// Fulfils it.
    ///
    /// # Errors
    /// [`Denial`] when it cannot be fulfilled; the request is then refused.
    async fn fulfil(&self, obligation: &Obligation, request: &AccessRequest<'_>) -> Result<(), Denial>;
}

/// Makes a decision hold: lets nothing pass but a permit whose obligations are all fulfilled (a policy enforcement point).
///
/// It fulfils [`Obligation::STEP_UP`] and [`Obligation::LOG`] by itself. An obligation that has no handler here and is not
/// [passed on](Self::passing_on) is a refusal, as is one that fails or cannot be read. A clone costs one counter.
///
/// # Examples
/// ```
/// # use sekisho_core::{AccessRequest, Barred, Enforcer, Resource, UnixSeconds, dangerous::PrincipalBuilder, any_of, owner, role};
/// # use sekisho_core::json::JsonObject;
/// let orders = Enforcer::new(any_of([owner("owner"), role("support")]));
/// # let alice = PrincipalBuilder::new("https://id.example", "alice").build()?;
/// # let now = UnixSeconds::new(0);
/// let order = JsonObject::parse(br#"{"owner":"alice"}"#.to_vec())?;
/// let request = AccessRequest::new(&alice, "read", Resource::new("order", "42").with_attributes(&order), now);
/// assert!(matches!(orders.enforce_now(&request), Some(Ok(_))));
/// # Ok::<(), sekisho_core::json::JsonError>(())
/// ```
#[derive(Clone)]
pub struct Enforcer(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    authorizer: Arc<dyn Authorize>,
    duties: BTreeMap<Box<str>, Duty>,
}

impl Enforcer {
    /// Makes this authorizer's decisions hold.
    #[must_use]
    pub fn new(authorizer: impl Authorize + 'static) -> Self {
        let own = [(Obligation::STEP_UP, Duty::StepUp), (Obligation::LOG, Duty::Log)];
        let duties = own.into_iter().map(|(id, duty)| (id.into(), duty)).collect();
        Self(Arc::new(Inner { authorizer: Arc::new(authorizer), duties }))
    }

    /// Fulfils obligations of this name by `handler`.
    #[must_use]
    pub fn with_obligation(mut self, id: &str, handler: impl ObligationHandler + 'static) -> Self {
        Arc::make_mut(&mut self.0).duties.insert(id.into(), Duty::Handled(Arc::new(handler)));
        self
    }

    /// Leaves obligations of this name to the application, which finds them in the [`Permit`] and must fulfil them: for
    /// example [`Obligation::REDACT`], by [`Permit::redact`]. One of these that cannot be read is a refusal.
    #[must_use]
    pub fn passing_on(mut self, id: &str) -> Self {
        Arc::make_mut(&mut self.0).duties.insert(id.into(), Duty::PassedOn);
        self
    }

    /// Returns who decides.
    #[must_use]
    pub fn authorizer(&self) -> &Arc<dyn Authorize> {
        &self.0.authorizer
    }

    /// Returns the sets of scopes each of which is enough, as far as scopes go; see [`Authorize::scope_alternatives`].
    #[must_use]
    pub fn scope_alternatives(&self) -> Vec<Vec<&str>> {
        self.0.authorizer.scope_alternatives()
    }

    /// Enforces at once if that is possible without waiting, otherwise returns `None`, and has done nothing.
    #[must_use]
    pub fn enforce_now(&self, request: &AccessRequest<'_>) -> Option<Result<Permit, Barred>> {
        let decision = match self.0.authorizer.decide_now(request)? {
            Ok(decision) => decision,
            Err(failure) => return Some(Err(Barred::Failed(failure))),
        };
        let is_handled = |one: &Obligation| matches!(self.0.duties.get(one.id()), Some(Duty::Handled(_)));
        if decision.obligations().iter().any(is_handled) {
            return None;
        }
        let mut denials = Vec::new();
        for obligation in decision.obligations() {
            denials.extend(self.fulfil_now(obligation, request).ok()?.err());
        }
        Some(conclude(decision, denials))
    }

    fn fulfil_now(
        &self,
        obligation: &Obligation,
        request: &AccessRequest<'_>,
    ) -> Result<Result<(), Denial>, &dyn ObligationHandler> {
        match self.0.duties.get(obligation.id()) {
            Some(duty) => duty.fulfil_now(obligation, request),
            None => Ok(Err(UNKNOWN)),
        }
    }

    /// Enforces, waiting for the authorizer and the handlers of obligations.
    ///
    /// All obligations are tried, also when one fails, and also when it is a denial that comes with them.
    ///
    /// # Errors
    /// [`Barred::Denied`] for everything that is not a permit with its obligations fulfilled, [`Barred::Failed`] when no
    /// decision could be had.
    pub async fn enforce(&self, request: &AccessRequest<'_>) -> Result<Permit, Barred> {
        self.conclude(self.0.authorizer.decide(request).await, request).await
    }

    /// Enforces each of these by itself, in their order: which of these may she read? The authorizer is asked for all at once.
    ///
    /// There is one item for each request. An obligation that is unknown or fails bars the request that it came with, and no
    /// other; so does a decision that could not be had.
    pub async fn enforce_all(&self, requests: &[AccessRequest<'_>]) -> Vec<Result<Permit, Barred>> {
        let mut outcomes = self.0.authorizer.decide_all(requests, EvaluationsSemantic::ExecuteAll).await;
        if outcomes.len() != requests.len() {
            // Nobody can tell which of them are missing.
            outcomes = requests.iter().map(|_| Err(OTHER_COUNT)).collect();
        }
        let mut enforced = Vec::with_capacity(requests.len());
        for (request, outcome) in requests.iter().zip(outcomes) {
            enforced.push(self.conclude(outcome, request).await);
        }
        enforced
    }

    async fn conclude(
        &self,
        outcome: Result<Decision, Failure>,
        request: &AccessRequest<'_>,
    ) -> Result<Permit, Barred> {
        let decision = outcome.map_err(Barred::Failed)?;
        let mut denials = Vec::new();
        for obligation in decision.obligations() {
            let outcome = match self.fulfil_now(obligation, request) {
                Ok(outcome) => outcome,
                Err(handler) => handler.fulfil(obligation, request).await,
            };
            denials.extend(outcome.err());
        }
        conclude(decision, denials)
    }
}

const OTHER_COUNT: Failure =
    Failure::new(FailureKind::Misconfigured, "an authorizer decided another number of requests than it was asked");
const UNKNOWN: Denial = Denial::Forbidden { reason: "nobody here fulfils an obligation of the decision" };

fn conclude(decision: Decision, denials: Vec<Denial>) -> Result<Permit, Barred> {
    if decision.effect() == Effect::Permit && denials.is_empty() {
        return Ok(Permit { decision });
    }
    let silent = Denial::Forbidden { reason: "no policy permits it" };
    let of_policy = match decision.effect() {
        Effect::Permit => None,
        Effect::Deny | Effect::NotApplicable => Some(decision.denial().cloned()),
    };
    let denial = match of_policy {
        // What the caller could bring would change nothing, but for the step-up that the denial itself asks for.
        Some(None) => denials.into_iter().find(|denial| !denial.is_final()).unwrap_or(silent),
        Some(Some(denial)) => denial,
        None => Denial::weightiest(denials.into_iter()).unwrap_or(silent),
    };
    Err(Barred::Denied { denial, decision: Box::new(decision) })
}

impl fmt::Debug for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enforcer")
            .field("authorizer", &self.0.authorizer.outline())
            .field("obligations", &self.0.duties.keys())
            .finish()
    }
}

/// Is the leave to do what was asked. Only an [`Enforcer`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    decision: Decision,
}

impl Permit {
    /// Returns the decision.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Returns the paths of the members that must not be shown, of all [`Obligation::REDACT`]; `None` when one cannot be read,
    /// and nothing must be shown then. That happens only where a handler of the application's own has taken it for fulfilled.
    #[must_use]
    pub fn redactions(&self) -> Option<Vec<String>> {
        redact::all_paths(&self.decision)
    }

    /// Takes the members that must not be shown out of `shown`; paths are read as [`Obligation::REDACT`] says. What is not
    /// there is no error.
    ///
    /// When an obligation cannot be read, `shown` becomes `null`: see [`redactions`](Self::redactions).
    ///
    /// # Examples
    /// ```
    /// # use sekisho_core::{AccessRequest, Authorize, Decision, Enforcer, Failure, Obligation, Resource, UnixSeconds, dangerous::PrincipalBuilder};
    /// # use sekisho_core::json::JsonObject;
    /// # struct Support;
    /// # #[async_trait::async_trait]
    /// # impl Authorize for Support {
    /// #     fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
    /// #         let fields = JsonObject::parse(br#"{"fields":["iban","lines.price"]}"#.to_vec()).ok()?;
    /// #         Some(Ok(Decision::permit().with_obligation(Obligation::new("redact").with_parameters(fields))))
    /// #     }
    /// #     async fn decide(&self, r: &AccessRequest<'_>) -> Result<Decision, Failure> { self.decide_now(r).unwrap() }
    /// # }
    /// // The policy permits with `redact {"fields": ["iban", "lines.price"]}`.
    /// let orders = Enforcer::new(Support).passing_on(Obligation::REDACT);
    /// # let alice = PrincipalBuilder::new("https://id.example", "alice").build()?;
    /// # let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(0));
    /// # let permit = orders.enforce_now(&request).unwrap().unwrap();
    /// let mut order = serde_json::json!({ "id": 42, "iban": "DE02…", "lines": [{ "item": "tea", "price": 3 }] });
    /// permit.redact(&mut order);
    /// assert_eq!(order, serde_json::json!({ "id": 42, "lines": [{ "item": "tea" }] }));
    /// # Ok::<(), sekisho_core::json::JsonError>(())
    /// ```
    pub fn redact(&self, shown: &mut Value) {
        match self.redactions() {
            Some(paths) => paths.iter().for_each(|path| redact::remove(shown, path)),
            None => *shown = Value::Null,
        }
    }
}

/// Says why a request does not pass.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a third way must break every caller's match")]
pub enum Barred {
    /// It was denied, no policy speaks of it, or an obligation was not fulfilled.
    Denied {
        /// What to tell the caller.
        denial: Denial,
        /// The decision, for the log.
        decision: Box<Decision>,
    },
    /// No decision could be had.
    Failed(Failure),
}

#[cfg(test)]
mod tests;
