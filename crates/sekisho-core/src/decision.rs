use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Denial;
use crate::json::JsonObject;

/// Is the outcome of a decision. Only [`Effect::Permit`] lets a request pass.
///
/// The fourth outcome, that no decision could be had, is no effect but the [`Failure`](crate::Failure) of
/// [`Authorize::decide`](crate::Authorize::decide).
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

impl Effect {
    /// Returns the word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::NotApplicable => "not_applicable",
        }
    }
}

/// Tells where a decision was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecisionSource {
    /// In this process.
    #[default]
    Local,
    /// By a decision service, for this request.
    Remote,
    /// By a decision service, for an equal request a moment ago.
    Cache,
    /// By the last known decision, because the decision service does not answer.
    Fallback,
}

impl DecisionSource {
    /// Returns the word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Cache => "cache",
            Self::Fallback => "fallback",
        }
    }
}

/// Is what was decided, why, and what must be done along with it. A clone costs two counters at most.
#[derive(Clone, Debug)]
pub struct Decision {
    effect: Effect,
    source: DecisionSource,
    /// Whether it is denied because nobody could tell.
    is_refusal: bool,
    denial: Option<Denial>,
    /// Most decisions of rules in Rust have none of it, and then cost no memory.
    details: Option<Arc<Details>>,
}

#[derive(Clone, Debug, Default)]
struct Details {
    id: Option<Arc<str>>,
    revision: Option<Arc<str>>,
    lifetime: Option<Duration>,
    reasons: Vec<Reason>,
    obligations: Vec<Obligation>,
}

impl Decision {
    /// Permits. Allocates nothing.
    #[must_use]
    pub const fn permit() -> Self {
        Self::of(Effect::Permit, None)
    }

    /// Denies, saying what is lacking.
    #[must_use]
    pub const fn deny(denial: Denial) -> Self {
        Self::of(Effect::Deny, Some(denial))
    }

    /// Denies because it cannot be told whether a rule would: what is asked about is not known here, a condition cannot be
    /// read. To whoever enforces it is a denial like any other; but [`not`](crate::not) makes no permit of it.
    #[must_use]
    pub const fn refuse(denial: Denial) -> Self {
        let mut refused = Self::of(Effect::Deny, Some(denial));
        refused.is_refusal = true;
        refused
    }

    /// Says that no rule speaks of this request.
    #[must_use]
    pub const fn not_applicable() -> Self {
        Self::of(Effect::NotApplicable, None)
    }

    const fn of(effect: Effect, denial: Option<Denial>) -> Self {
        Self { effect, source: DecisionSource::Local, is_refusal: false, denial, details: None }
    }

    fn details_mut(&mut self) -> &mut Details {
        Arc::make_mut(self.details.get_or_insert_default())
    }

    /// Adds a reason, for audit logs: the id of a policy, a sentence.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<Reason>) -> Self {
        self.details_mut().reasons.push(reason.into());
        self
    }

    /// Adds something that must be done if the request passes.
    #[must_use]
    pub fn with_obligation(mut self, obligation: Obligation) -> Self {
        self.details_mut().obligations.push(obligation);
        self
    }

    /// Sets the id under which the decision stands in the log of whoever made it.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.details_mut().id = Some(id.into());
        self
    }

    /// Sets the revision of the policies that were asked.
    #[must_use]
    pub fn with_revision(mut self, revision: impl Into<Arc<str>>) -> Self {
        self.details_mut().revision = Some(revision.into());
        self
    }

    /// Sets how long an equal request may be answered with this decision; zero for never.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.details_mut().lifetime = Some(lifetime);
        self
    }

    /// Sets where it was made. Default [`DecisionSource::Local`].
    #[must_use]
    pub const fn with_source(mut self, source: DecisionSource) -> Self {
        self.source = source;
        self
    }

    /// Tells whether the request may pass, if the obligations are fulfilled.
    #[must_use]
    pub const fn is_permitted(&self) -> bool {
        matches!(self.effect, Effect::Permit)
    }

    /// Returns the effect.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }

    /// Tells whether it is denied because [nobody could tell](Self::refuse).
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// Returns where it was made.
    #[must_use]
    pub const fn source(&self) -> DecisionSource {
        self.source
    }

    /// Returns what is lacking, if it was denied for a reason that the caller can mend.
    #[must_use]
    pub const fn denial(&self) -> Option<&Denial> {
        self.denial.as_ref()
    }

    /// Returns the id under which the decision stands in the log of whoever made it.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.details.as_ref()?.id.as_deref()
    }

    /// Returns the revision of the policies that were asked.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.details.as_ref()?.revision.as_deref()
    }

    /// Returns how long an equal request may be answered with this decision, if whoever made it said so.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.details.as_ref()?.lifetime
    }

    /// Returns the reasons.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        self.details.as_ref().map_or(&[], |details| &details.reasons)
    }

    /// Returns what must be done if the request passes. Whoever does not know an obligation refuses the request.
    #[must_use]
    pub fn obligations(&self) -> &[Obligation] {
        self.details.as_ref().map_or(&[], |details| &details.obligations)
    }

    /// Copies all of it, so that the copy has no counter in common with this one: for copies that threads keep each for itself.
    #[must_use]
    pub fn deep_clone(&self) -> Self {
        let Self { effect, source, is_refusal, denial, details } = self;
        let details = details.as_ref().map(|details| Arc::new(details.deep_clone()));
        let denial = denial.as_ref().map(Denial::deep_clone);
        Self { effect: *effect, source: *source, is_refusal: *is_refusal, denial, details }
    }

    /// Keeps where it comes from and why, and says this instead, without obligations.
    pub(crate) fn turned_into(mut self, other: Self) -> Self {
        if let Some(details) = &mut self.details {
            Arc::make_mut(details).obligations.clear();
        }
        let Self { effect, is_refusal, denial, source: _, details: _ } = other;
        Self { effect, is_refusal, denial, ..self }
    }

    /// Joins what is said beside two decisions of one effect: reasons and obligations of both, the shorter lifetime, the less
    /// certain source.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        let source = |decision: &Self| match decision.source {
            DecisionSource::Local => 0_u8,
            DecisionSource::Remote => 1,
            DecisionSource::Cache => 2,
            DecisionSource::Fallback => 3,
        };
        if source(other) > source(&self) {
            self.source = other.source;
        }
        if let Some(theirs) = &other.details {
            let ours = self.details_mut();
            ours.id = ours.id.take().or_else(|| theirs.id.clone());
            ours.revision = match (ours.revision.take(), &theirs.revision) {
                (Some(ours), Some(theirs)) if ours != *theirs => Some(format!("{ours},{theirs}").into()),
                (ours, theirs) => ours.or_else(|| theirs.clone()),
            };
            ours.lifetime = match (ours.lifetime, theirs.lifetime) {
                (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
                (ours, theirs) => ours.or(theirs),
            };
            ours.reasons.extend(theirs.reasons.iter().cloned());
            ours.obligations.extend(theirs.obligations.iter().cloned());
        }
        self
    }
}

impl Details {
    fn deep_clone(&self) -> Self {
        let Self { id, revision, lifetime, reasons, obligations } = self;
        Self {
            id: id.as_deref().map(Arc::from),
            revision: revision.as_deref().map(Arc::from),
            lifetime: *lifetime,
            reasons: reasons.iter().map(Reason::deep_clone).collect(),
            obligations: obligations.iter().map(Obligation::deep_clone).collect(),
        }
    }
}

/// Says why, for audit logs: the id of a policy, or a sentence; and the revision of the policy, if it has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    policy: Arc<str>,
    revision: Option<Arc<str>>,
}

impl Reason {
    /// Names a policy by its id, or says it in a sentence.
    #[must_use]
    pub fn new(policy: impl Into<Arc<str>>) -> Self {
        Self { policy: policy.into(), revision: None }
    }

    /// Adds the revision of the policy.
    #[must_use]
    pub fn with_revision(mut self, revision: impl Into<Arc<str>>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    fn deep_clone(&self) -> Self {
        let Self { policy, revision } = self;
        Self { policy: Arc::from(&**policy), revision: revision.as_deref().map(Arc::from) }
    }

    /// Returns the id of the policy, or the sentence.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Returns the revision of the policy.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }
}

impl From<&str> for Reason {
    fn from(policy: &str) -> Self {
        Self::new(policy)
    }
}

impl From<String> for Reason {
    fn from(policy: String) -> Self {
        Self::new(policy)
    }
}

impl From<Arc<str>> for Reason {
    fn from(policy: Arc<str>) -> Self {
        Self::new(policy)
    }
}

impl PartialEq<&str> for Reason {
    fn eq(&self, other: &&str) -> bool {
        &*self.policy == *other
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "{} ({revision})", self.policy),
            None => f.write_str(&self.policy),
        }
    }
}

/// Is something that must be done along with a permit: mask a field, write an audit line.
///
/// [`Enforcer`](crate::Enforcer) knows [`STEP_UP`](Self::STEP_UP) and [`LOG`](Self::LOG) by itself; every other one must be
/// given a handler or taken on by the application, or the request is refused. Of these three, one with a parameter that is not
/// named here is refused too.
#[derive(Clone, Debug)]
pub struct Obligation {
    id: Arc<str>,
    parameters: Option<JsonObject>,
}

impl Obligation {
    /// The subject must have authenticated by one of `acr_values` (array of strings), no longer than `max_age` seconds ago.
    pub const STEP_UP: &'static str = "step_up";
    /// The members to which `fields` (array of strings) leads must not be shown: at most 256 paths of 256 bytes and 16 steps.
    ///
    /// A path is the name of a member, or several with a dot between, from the outermost in: `iban`, `customer.address`. An
    /// array on the way stands for each of its elements. What looks like another notation cannot be read: a path that begins
    /// with `/` or `$`, a step that is all digits, has white space around it or `[`, `]`, `*` or `,` in it.
    pub const REDACT: &'static str = "redact";
    /// A line must be written to the log, with `message` (string, not empty): an event of `tracing` with target `sekisho`, level
    /// `INFO` and the field `demanded`, beside subject, action, and kind and id of the resource. A text is cut after 1,024 bytes, and
    /// what looks like a JWT in it is masked.
    pub const LOG: &'static str = "log";

    /// Names an obligation.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self { id: id.into(), parameters: None }
    }

    /// Adds its parameters.
    #[must_use]
    pub fn with_parameters(mut self, parameters: JsonObject) -> Self {
        self.parameters = Some(parameters);
        self
    }

    fn deep_clone(&self) -> Self {
        let Self { id, parameters } = self;
        // The object owns its text.
        Self { id: Arc::from(&**id), parameters: parameters.clone() }
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
    fn a_clone_that_is_changed_leaves_the_first_as_it_was() {
        let first = Decision::permit().with_reason("a").with_revision("7").with_lifetime(Duration::from_secs(5));
        let second = first.clone().with_reason("b").with_id("d-1").with_source(DecisionSource::Cache);
        assert_eq!((first.reasons().len(), first.id(), first.source()), (1, None, DecisionSource::Local));
        assert_eq!((second.reasons().len(), second.id(), second.revision()), (2, Some("d-1"), Some("7")));
        assert_eq!(second.lifetime(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_deep_clone_says_the_same_and_counts_nothing_together_with_the_first() {
        let parameters = || JsonObject::parse(br#"{"field":"iban"}"#.to_vec()).unwrap();
        let details = |decision: Decision| {
            decision
                .with_id("d-1")
                .with_revision("7")
                .with_lifetime(Duration::from_secs(5))
                .with_reason(Reason::new("a").with_revision("8"))
                .with_obligation(Obligation::new("mask").with_parameters(parameters()))
                .with_source(DecisionSource::Remote)
        };
        let scope: Arc<str> = "orders:read".into();
        let acr_values: Arc<str> = "gold".into();
        for first in [
            Decision::permit(),
            details(Decision::permit()),
            details(Decision::refuse(Denial::InsufficientScope { scope: Arc::clone(&scope) })),
            Decision::deny(Denial::InsufficientAuthentication {
                acr_values: Some(Arc::clone(&acr_values)),
                max_age: Some(Duration::from_secs(60)),
            }),
            Decision::deny(Denial::InvalidToken),
            Decision::deny(Denial::Forbidden { reason: "closed" }),
        ] {
            let counts = (Arc::strong_count(&scope), Arc::strong_count(&acr_values));
            let copy = first.deep_clone();
            assert_eq!((Arc::strong_count(&scope), Arc::strong_count(&acr_values)), counts);
            assert_eq!(format!("{copy:?}"), format!("{first:?}"));
            let parameters = |decision: &Decision| {
                decision.obligations().first().map(|mask| mask.parameters().unwrap().as_str().to_owned())
            };
            assert_eq!(parameters(&copy), parameters(&first));
            let Some(details) = &first.details else { continue };
            assert_eq!(Arc::strong_count(details), 1);
            let counted = [&details.id, &details.revision, &details.reasons[0].revision];
            let counted = counted.into_iter().flatten().chain([&details.reasons[0].policy, &details.obligations[0].id]);
            for text in counted {
                assert_eq!(Arc::strong_count(text), 1, "{text}");
            }
        }
    }

    #[test]
    fn joined_permits_keep_every_obligation_and_the_shorter_lifetime() {
        let remote = Decision::permit()
            .with_source(DecisionSource::Remote)
            .with_revision("2")
            .with_lifetime(Duration::from_secs(1))
            .with_obligation(Obligation::new("b"));
        let local = Decision::permit()
            .with_revision("1")
            .with_lifetime(Duration::from_secs(9))
            .with_obligation(Obligation::new("a"));
        let both = local.and(&remote);
        let ids: Vec<_> = both.obligations().iter().map(Obligation::id).collect();
        assert_eq!((ids, both.source()), (vec!["a", "b"], DecisionSource::Remote));
        assert_eq!((both.lifetime(), both.revision()), (Some(Duration::from_secs(1)), Some("1,2")));
    }
}
