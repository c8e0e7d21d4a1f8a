use async_trait::async_trait;

use crate::json::JsonObject;
use crate::{Denial, Failure, Principal, UnixSeconds};

/// Decides whether a principal may do something.
///
/// Contract for implementers: a decision is a permit only when every rule that was asked said so;
/// an error while evaluating is a [`Failure`] or a denial, never a permit. `None` from
/// [`decide_now`](Self::decide_now) means "I would have to wait". Dropping the future is safe at every await.
#[async_trait]
pub trait Authorize: Send + Sync {
    /// Decides at once if that is possible without waiting, otherwise returns `None`.
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>>;

    /// Decides, waiting for the network where it must.
    ///
    /// # Errors
    /// [`Failure`] when no decision could be had; the request is then refused.
    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure>;
}

/// Asks: may this subject do this action to this resource, in this context?
///
/// The shape is that of AuthZEN's access evaluation request.
#[derive(Clone, Debug)]
pub struct AccessRequest<'a> {
    subject: &'a Principal,
    action: &'a str,
    resource: Resource<'a>,
    context: Option<&'a JsonObject>,
    now: UnixSeconds,
}

impl<'a> AccessRequest<'a> {
    /// Puts the question together.
    #[must_use]
    pub const fn new(subject: &'a Principal, action: &'a str, resource: Resource<'a>, now: UnixSeconds) -> Self {
        Self { subject, action, resource, context: None, now }
    }

    /// Adds facts about the circumstances.
    #[must_use]
    pub const fn with_context(mut self, context: &'a JsonObject) -> Self {
        self.context = Some(context);
        self
    }

    /// Returns who asks.
    #[must_use]
    pub const fn subject(&self) -> &'a Principal {
        self.subject
    }

    /// Returns what is to be done.
    #[must_use]
    pub const fn action(&self) -> &'a str {
        self.action
    }

    /// Returns to what it is to be done.
    #[must_use]
    pub const fn resource(&self) -> Resource<'a> {
        self.resource
    }

    /// Returns the circumstances.
    #[must_use]
    pub const fn context(&self) -> Option<&'a JsonObject> {
        self.context
    }

    /// Returns when it is asked.
    #[must_use]
    pub const fn now(&self) -> UnixSeconds {
        self.now
    }
}

/// Names the thing that an access request is about: its type, and its id within the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resource<'a> {
    kind: &'a str,
    id: &'a str,
}

impl<'a> Resource<'a> {
    /// Names a resource, for example `Resource::new("order", "42")`.
    #[must_use]
    pub const fn new(kind: &'a str, id: &'a str) -> Self {
        Self { kind, id }
    }

    /// Returns the type.
    #[must_use]
    pub const fn kind(self) -> &'a str {
        self.kind
    }

    /// Returns the id.
    #[must_use]
    pub const fn id(self) -> &'a str {
        self.id
    }
}

/// Is the outcome of a decision. Only [`Effect::Permit`] lets a request pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a new effect must break every caller's match")]
pub enum Effect {
    /// Some rule permits, and none denies.
    Permit,
    /// Some rule denies.
    Deny,
    /// No rule speaks of this request. Alone, it does not let the request pass.
    NotApplicable,
}

/// Is what was decided, why, and what must be done along with it.
#[derive(Clone, Debug)]
pub struct Decision {
    effect: Effect,
    denial: Option<Denial>,
    reasons: Vec<String>,
    obligations: Vec<Obligation>,
}

impl Decision {
    /// Permits. Allocates nothing.
    #[must_use]
    pub const fn permit() -> Self {
        Self { effect: Effect::Permit, denial: None, reasons: Vec::new(), obligations: Vec::new() }
    }

    /// Denies, saying what is lacking.
    #[must_use]
    pub const fn deny(denial: Denial) -> Self {
        Self { effect: Effect::Deny, denial: Some(denial), reasons: Vec::new(), obligations: Vec::new() }
    }

    /// Says that no rule speaks of this request.
    #[must_use]
    pub const fn not_applicable() -> Self {
        Self { effect: Effect::NotApplicable, denial: None, reasons: Vec::new(), obligations: Vec::new() }
    }

    /// Adds a reason, for audit logs: the id of a policy, a sentence.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reasons.push(reason.into());
        self
    }

    /// Adds something that must be done if the request passes.
    #[must_use]
    pub fn with_obligation(mut self, obligation: Obligation) -> Self {
        self.obligations.push(obligation);
        self
    }

    /// Tells whether the request may pass.
    #[must_use]
    pub const fn is_permitted(&self) -> bool {
        matches!(self.effect, Effect::Permit)
    }

    /// Returns the effect.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }

    /// Returns what is lacking, if it was denied for a reason that the caller can mend.
    #[must_use]
    pub const fn denial(&self) -> Option<&Denial> {
        self.denial.as_ref()
    }

    /// Returns the reasons.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// Returns what must be done if the request passes. Whoever does not know an obligation refuses the request.
    #[must_use]
    pub fn obligations(&self) -> &[Obligation] {
        &self.obligations
    }
}

/// Is something that must be done along with a permit: mask a field, write an audit line.
#[derive(Clone, Debug)]
pub struct Obligation {
    id: String,
    parameters: Option<JsonObject>,
}

impl Obligation {
    /// Names an obligation.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), parameters: None }
    }

    /// Adds its parameters.
    #[must_use]
    pub fn with_parameters(mut self, parameters: JsonObject) -> Self {
        self.parameters = Some(parameters);
        self
    }

    /// Returns its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns its parameters.
    #[must_use]
    pub const fn parameters(&self) -> Option<&JsonObject> {
        self.parameters.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dangerous::PrincipalBuilder;

    #[test]
    fn only_a_permit_lets_a_request_pass() {
        assert!(Decision::permit().is_permitted());
        assert!(!Decision::not_applicable().is_permitted());
        assert!(!Decision::deny(Denial::Forbidden { reason: "closed" }).is_permitted());
        assert_eq!(Decision::not_applicable().effect(), Effect::NotApplicable);
    }

    #[test]
    fn a_decision_keeps_its_reasons_and_obligations() {
        let parameters = JsonObject::parse(br#"{"field":"iban"}"#.to_vec()).unwrap();
        let decision = Decision::permit()
            .with_reason("policy orders/1")
            .with_obligation(Obligation::new("mask").with_parameters(parameters));
        assert_eq!(decision.reasons(), ["policy orders/1"]);
        let [mask] = decision.obligations() else { panic!("one obligation") };
        assert_eq!(mask.id(), "mask");
        assert_eq!(mask.parameters().unwrap().get("field").unwrap().as_str().as_deref(), Some("iban"));
    }

    #[test]
    fn an_access_request_hands_back_what_was_put_into_it() {
        let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
        let context = JsonObject::parse(br#"{"ip":"192.0.2.1"}"#.to_vec()).unwrap();
        let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(7));
        assert!(request.context().is_none());
        let request = request.with_context(&context);
        assert_eq!((request.subject(), request.action(), request.now().as_secs()), (&alice, "read", 7));
        assert_eq!((request.resource().kind(), request.resource().id()), ("order", "42"));
        assert!(request.context().unwrap().get("ip").is_some());
    }
}
