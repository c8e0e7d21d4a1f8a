use std::fmt;

use async_trait::async_trait;

use crate::json::JsonObject;
use crate::{Attributes, Decision, Explanation, Failure, Outline, Principal, UnixSeconds};

/// Decides whether a principal may do something.
///
/// Contract for implementers: a decision is a permit only when every rule that was asked said so;
/// an error while evaluating is a [`Failure`] or a [refusal](Decision::refuse), never a permit. `None` from
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

    /// Decides several requests, in their order.
    ///
    /// The answer has one item for each request up to the one at which `semantic` ends, and never more. By default one is
    /// decided after the other; deciders on the network ask for many at once.
    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        semantic.one_by_one(self, requests).await
    }

    /// Decides, and shows how the decision came about. For people; it may ask more than [`decide`](Self::decide) does.
    /// What is shown of the parts is what the decision came of.
    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        Explanation::leaf(self.outline().name(), self.decide(request).await)
    }

    /// Returns the sets of scopes each of which is enough, as far as scopes go: for the security requirements of an OpenAPI
    /// document, one object for each set. An empty set says that some way needs no scope, or that nobody knows of one; by
    /// default there is that alone.
    ///
    /// What grows beyond 64 sets is shortened: whoever reads a document is not helped by more.
    fn scope_alternatives(&self) -> Vec<Vec<&str>> {
        vec![Vec::new()]
    }

    /// Returns its shape, for people. By default the name of its type.
    fn outline(&self) -> Outline {
        let name = std::any::type_name::<Self>();
        Outline::leaf(name.split('<').next().and_then(|path| path.rsplit("::").next()).unwrap_or(name))
    }
}

#[async_trait]
impl<A: Authorize + ?Sized> Authorize for std::sync::Arc<A> {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        (**self).decide_now(request)
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        (**self).decide(request).await
    }

    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        (**self).decide_all(requests, semantic).await
    }

    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        (**self).explain(request).await
    }

    fn scope_alternatives(&self) -> Vec<Vec<&str>> {
        (**self).scope_alternatives()
    }

    fn outline(&self) -> Outline {
        (**self).outline()
    }
}

/// Says when several evaluations end (AuthZEN Authorization API 1.0, `evaluations_semantic`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the standard has these three")]
pub enum EvaluationsSemantic {
    /// When all are decided.
    #[default]
    ExecuteAll,
    /// At the first that is not permitted, or for which no decision could be had.
    DenyOnFirstDeny,
    /// At the first that is permitted.
    PermitOnFirstPermit,
}

impl EvaluationsSemantic {
    /// Decides one after the other, for authorizers that have nothing better for several requests.
    pub async fn one_by_one<A: Authorize + ?Sized>(
        self,
        authorizer: &A,
        requests: &[AccessRequest<'_>],
    ) -> Vec<Result<Decision, Failure>> {
        let mut decisions = Vec::with_capacity(requests.len());
        for request in requests {
            let decision = authorizer.decide(request).await;
            let is_last = self.ends_with(&decision);
            decisions.push(decision);
            if is_last {
                break;
            }
        }
        decisions
    }

    /// Tells whether nothing is decided after this.
    #[must_use]
    pub fn ends_with(self, decision: &Result<Decision, Failure>) -> bool {
        let is_permitted = decision.as_ref().is_ok_and(Decision::is_permitted);
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !is_permitted,
            Self::PermitOnFirstPermit => is_permitted,
        }
    }
}

/// Asks: may this subject do this action to this resource, in this context?
///
/// The shape is that of AuthZEN's access evaluation request.
#[derive(Clone, Debug)]
pub struct AccessRequest<'a> {
    subject: &'a Principal,
    subject_kind: &'a str,
    action: &'a str,
    action_properties: Option<&'a JsonObject>,
    resource: Resource<'a>,
    context: Option<&'a JsonObject>,
    now: UnixSeconds,
}

impl<'a> AccessRequest<'a> {
    /// Puts the question together. The subject's type is `user`.
    #[must_use]
    pub const fn new(subject: &'a Principal, action: &'a str, resource: Resource<'a>, now: UnixSeconds) -> Self {
        Self { subject, subject_kind: "user", action, action_properties: None, resource, context: None, now }
    }

    /// Sets the subject's type. Default `user`.
    #[must_use]
    pub const fn with_subject_kind(mut self, kind: &'a str) -> Self {
        self.subject_kind = kind;
        self
    }

    /// Adds what there is to say of the action.
    #[must_use]
    pub const fn with_action_properties(mut self, properties: &'a JsonObject) -> Self {
        self.action_properties = Some(properties);
        self
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

    /// Returns the type of who asks.
    #[must_use]
    pub const fn subject_kind(&self) -> &'a str {
        self.subject_kind
    }

    /// Returns what is to be done.
    #[must_use]
    pub const fn action(&self) -> &'a str {
        self.action
    }

    /// Returns what there is to say of the action.
    #[must_use]
    pub const fn action_properties(&self) -> Option<&'a JsonObject> {
        self.action_properties
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

/// Names the thing that an access request is about: its type, its id within the type, and its attributes if they are at
/// hand.
#[derive(Clone, Copy)]
pub struct Resource<'a> {
    kind: &'a str,
    id: &'a str,
    attributes: Option<&'a dyn Attributes>,
}

impl<'a> Resource<'a> {
    /// Names a resource, for example `Resource::new("order", "42")`.
    #[must_use]
    pub const fn new(kind: &'a str, id: &'a str) -> Self {
        Self { kind, id, attributes: None }
    }

    /// Adds its attributes.
    #[must_use]
    pub const fn with_attributes(mut self, attributes: &'a dyn Attributes) -> Self {
        self.attributes = Some(attributes);
        self
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

    /// Returns the attributes, if they are at hand.
    #[must_use]
    pub const fn attributes(self) -> Option<&'a dyn Attributes> {
        self.attributes
    }
}

impl fmt::Debug for Resource<'_> {
    /// Leaves out the attributes, which may be anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("kind", &self.kind).field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dangerous::PrincipalBuilder;

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
        assert_eq!(request.subject_kind(), "user");
    }

    #[test]
    fn evaluations_end_where_their_semantic_says() {
        use EvaluationsSemantic::{DenyOnFirstDeny, ExecuteAll, PermitOnFirstPermit};
        let permit = Ok(Decision::permit());
        let silent = Ok(Decision::not_applicable());
        let error = Err(Failure::unavailable("down"));
        for (semantic, ends) in [
            (ExecuteAll, [false, false, false]),
            (DenyOnFirstDeny, [false, true, true]),
            (PermitOnFirstPermit, [true, false, false]),
        ] {
            assert_eq!([&permit, &silent, &error].map(|outcome| semantic.ends_with(outcome)), ends, "{semantic:?}");
        }
    }
}
