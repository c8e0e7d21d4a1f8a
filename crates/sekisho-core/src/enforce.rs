use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::json::{JsonKind, JsonValue};
use crate::requirement::is_fresh;
use crate::{AccessRequest, Authorize, Decision, Denial, Effect, Failure, Obligation};

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
/// It fulfils [`Obligation::STEP_UP`] by itself. An obligation that has no handler here and is not
/// [passed on](Self::passing_on) is a refusal, as is one that fails. A clone costs one counter.
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

#[derive(Clone)]
enum Duty {
    StepUp,
    Handled(Arc<dyn ObligationHandler>),
    PassedOn,
}

impl Enforcer {
    /// Makes this authorizer's decisions hold.
    #[must_use]
    pub fn new(authorizer: impl Authorize + 'static) -> Self {
        let duties = BTreeMap::from([(Obligation::STEP_UP.into(), Duty::StepUp)]);
        Self(Arc::new(Inner { authorizer: Arc::new(authorizer), duties }))
    }

    /// Fulfils obligations of this name by `handler`.
    #[must_use]
    pub fn with_obligation(mut self, id: &str, handler: impl ObligationHandler + 'static) -> Self {
        Arc::make_mut(&mut self.0).duties.insert(id.into(), Duty::Handled(Arc::new(handler)));
        self
    }

    /// Leaves obligations of this name to the application, which finds them in the [`Permit`] and must fulfil them: for
    /// example [`Obligation::REDACT`].
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

    /// Enforces at once if that is possible without waiting, otherwise returns `None`, and has done nothing.
    #[must_use]
    pub fn enforce_now(&self, request: &AccessRequest<'_>) -> Option<Result<Permit, Barred>> {
        let decision = match self.0.authorizer.decide_now(request)? {
            Ok(decision) => decision,
            Err(failure) => return Some(Err(Barred::Failed(failure))),
        };
        let mut denials = Vec::new();
        for obligation in decision.obligations() {
            denials.extend(self.fulfil_now(obligation, request).ok()?.err());
        }
        Some(conclude(decision, denials))
    }

    /// Fulfils an obligation, or returns the handler that has to.
    fn fulfil_now(
        &self,
        obligation: &Obligation,
        request: &AccessRequest<'_>,
    ) -> Result<Result<(), Denial>, &dyn ObligationHandler> {
        match self.0.duties.get(obligation.id()) {
            Some(Duty::StepUp) => Ok(step_up(obligation, request)),
            Some(Duty::PassedOn) => Ok(Ok(())),
            Some(Duty::Handled(handler)) => Err(&**handler),
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
        let decision = self.0.authorizer.decide(request).await.map_err(Barred::Failed)?;
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

/// Demands what the obligation names; one that cannot be read demands what nobody has.
fn step_up(obligation: &Obligation, request: &AccessRequest<'_>) -> Result<(), Denial> {
    const MALFORMED: Denial = Denial::Forbidden { reason: "an obligation to step up cannot be read" };
    let parameter = |name| obligation.parameters().and_then(|parameters| parameters.get(name));
    let acr_values = match parameter("acr_values") {
        None => None,
        Some(values) => {
            let list = Some(values).filter(|values| values.kind() == JsonKind::Array).and_then(JsonValue::as_strings);
            Some(list.filter(|values| !values.is_empty()).ok_or(MALFORMED)?)
        }
    };
    let max_age = match parameter("max_age") {
        None => None,
        Some(age) => Some(Duration::from_secs(age.deserialize::<u64>().map_err(|_| MALFORMED)?)),
    };
    if acr_values.is_none() && max_age.is_none() {
        return Err(MALFORMED);
    }
    let held = request.subject().authentication_context();
    let has_context = acr_values.as_ref().is_none_or(|values| held.is_some_and(|held| values.contains(&held)));
    let is_recent = max_age.is_none_or(|age| is_fresh(request.subject(), age, request.now()));
    if has_context && is_recent {
        return Ok(());
    }
    Err(Denial::step_up(acr_values.map(|values| values.join(" ").into()), max_age))
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

    /// Returns the names of the members that must not be shown, of all [`Obligation::REDACT`] that were passed on; `None`
    /// when one cannot be read, and nothing must be shown then.
    #[must_use]
    pub fn redactions(&self) -> Option<Vec<String>> {
        let mut fields = Vec::new();
        for obligation in self.decision.obligations().iter().filter(|one| one.id() == Obligation::REDACT) {
            let named = obligation.parameters()?.get("fields").filter(|value| value.kind() == JsonKind::Array)?;
            fields.extend(JsonValue::as_strings(named)?.into_iter().map(|field| field.into_owned()));
        }
        Some(fields)
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
