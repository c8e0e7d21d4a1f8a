use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{
    AccessRequest, Authorize, ConfigError, Decision, DecisionSource, EvaluationsSemantic, Explanation, Failure,
    FailureKind, Outline, Reason,
};

use crate::key::Part;

mod last_known;

pub use last_known::{LastKnown, LastKnownLimits};

/// Stands in for `inner` when it fails, for the actions that are named as reads and for no other.
///
/// Writes never fall back: whatever is not named is a failure when `inner` is. A read gets the last decision that `inner`
/// made about an equal question, if that is not too old; else, if there is one, the answer of
/// [another authorizer](FallbackBuilder::or_decided_by), such as a stricter policy in this process; else it fails too.
///
/// An equal question is one by the same credential, about the same action, resource with all its attributes, and context. So a
/// permit outlives neither its token nor a change of what the token grants; [`LastKnown`] takes logouts and withdrawals.
///
/// - Only a [`Failure`] is stood in for, never a denial, and of failures only trouble with whom we depend on: not
///   [`FailureKind::Misconfigured`], which time does not mend.
/// - What stands in is marked [`DecisionSource::Fallback`], has no lifetime, and is counted.
/// - A last known denial stands in like a permit. A decision with a lifetime of zero is not remembered; any other
///   lifetime bounds caches, and not what stands in.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// # use sekisho_core::scope;
/// use sekisho_policy::combine::fallback;
/// # let decision_service = scope("a");
///
/// let orders = fallback(decision_service).reads(["read", "list"]).last_known_for(Duration::from_secs(60)).build()?;
/// let last_known = orders.last_known().clone(); // for whoever hears of logouts
/// last_known.purge_session("https://id.example", "s-42");
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
pub fn fallback<A: Authorize>(inner: A) -> FallbackBuilder<A> {
    FallbackBuilder {
        inner,
        reads: BTreeSet::new(),
        last_known_for: Duration::from_secs(60),
        limits: LastKnownLimits::default(),
        other: None,
        counted: Part::Whole,
    }
}

/// The longest time for which a last known decision may stand in.
const LONGEST: Duration = Duration::from_secs(3600);

/// Collects what a [`Fallback`] is to do; see [`fallback`].
#[must_use]
pub struct FallbackBuilder<A> {
    inner: A,
    reads: BTreeSet<Box<str>>,
    last_known_for: Duration,
    limits: LastKnownLimits,
    other: Option<Arc<dyn Authorize>>,
    counted: Part,
}

impl<A: Authorize> FallbackBuilder<A> {
    /// Names actions that are reads; letter case counts, and there are no patterns. Required; several calls add up.
    pub fn reads<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, actions: I) -> Self {
        self.reads.extend(actions.into_iter().map(Into::into));
        self
    }

    /// Sets for how long after it was made a decision may stand in, in whole seconds, at most an hour; zero for never, where
    /// another authorizer is to be asked alone. Default 60 s.
    pub const fn last_known_for(mut self, time: Duration) -> Self {
        self.last_known_for = time;
        self
    }

    /// Asks another authorizer where no last known decision can stand in. A failure of its own is told as that of the first.
    pub fn or_decided_by(mut self, other: impl Authorize + 'static) -> Self {
        self.other = Some(Arc::new(other));
        self
    }

    /// Names the members of the context that the policies look at: two questions that differ in others are equal. By default
    /// all count, and a context with a time in it makes each question a new one.
    pub fn with_context<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, members: I) -> Self {
        self.counted = Part::Named(members.into_iter().map(Into::into).collect());
        self
    }

    /// Bounds what is remembered. Default 10,000 decisions and 8 MiB.
    pub const fn with_limits(mut self, limits: LastKnownLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`ConfigError`]: no reads are named, or one that is empty; a time of more than an hour; nothing that could stand in;
    /// limits without room; no random numbers.
    pub fn build(self) -> Result<Fallback<A>, ConfigError> {
        let Self { inner, reads, last_known_for, limits, other, counted } = self;
        if reads.is_empty() || reads.contains("") {
            return Err(ConfigError::new("a fallback must be told which actions are reads, by their names"));
        }
        if last_known_for > LONGEST {
            return Err(ConfigError::new("a last known decision may stand in for an hour at most"));
        }
        if last_known_for.as_secs() == 0 && other.is_none() {
            return Err(ConfigError::new(
                "a fallback needs a second or more of last known decisions, or another authorizer",
            ));
        }
        let last_known = LastKnown::new(last_known_for, limits, counted)?;
        Ok(Fallback { inner, reads, other, last_known, counters: Arc::default() })
    }
}

impl<A> fmt::Debug for FallbackBuilder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackBuilder").field("reads", &self.reads).finish_non_exhaustive()
    }
}

/// Stands in for an authorizer that fails; see [`fallback`].
pub struct Fallback<A> {
    inner: A,
    reads: BTreeSet<Box<str>>,
    other: Option<Arc<dyn Authorize>>,
    last_known: LastKnown,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    last_known: AtomicU64,
    other: AtomicU64,
    none: AtomicU64,
}

/// Counts how often something stood in, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackCounts {
    /// The last known decision did.
    pub last_known: u64,
    /// The other authorizer did.
    pub other: u64,
    /// Nothing could, and a read failed.
    pub none: u64,
}

/// Is what becomes of an answer of the inner one.
enum Next {
    Done(Result<Decision, Failure>),
    AskOther(Failure),
}

impl<A: Authorize> Fallback<A> {
    /// Returns the decisions that are remembered, for whoever hears that they must be forgotten.
    #[must_use]
    pub const fn last_known(&self) -> &LastKnown {
        &self.last_known
    }

    /// Returns how often something stood in.
    #[must_use]
    pub fn counts(&self) -> FallbackCounts {
        FallbackCounts {
            last_known: self.counters.last_known.load(Ordering::Relaxed),
            other: self.counters.other.load(Ordering::Relaxed),
            none: self.counters.none.load(Ordering::Relaxed),
        }
    }

    fn after(&self, asked: last_known::Asked, request: &AccessRequest<'_>, outcome: Result<Decision, Failure>) -> Next {
        if !self.reads.contains(request.action()) {
            return Next::Done(outcome);
        }
        match outcome {
            Ok(decision) => {
                self.last_known.remember(asked, request, &decision);
                Next::Done(Ok(decision))
            }
            Err(failure) if failure.kind() == FailureKind::Misconfigured => Next::Done(Err(failure)),
            Err(failure) => match (self.last_known.find(request), &self.other) {
                (Some((decision, age)), _) => {
                    self.count(&self.counters.last_known, "last_known");
                    let reason = Reason::new(format!("last known decision, {} s old", age.as_secs()));
                    Next::Done(Ok(stand_in(decision).with_reason(reason)))
                }
                (None, Some(_)) => Next::AskOther(failure),
                (None, None) => {
                    self.count(&self.counters.none, "none");
                    Next::Done(Err(failure))
                }
            },
        }
    }

    fn after_other(&self, failure: Failure, outcome: Result<Decision, Failure>) -> Result<Decision, Failure> {
        match outcome {
            Ok(decision) => {
                self.count(&self.counters.other, "other");
                Ok(stand_in(decision))
            }
            Err(_) => {
                self.count(&self.counters.none, "none");
                Err(failure)
            }
        }
    }

    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics have labels"))]
    fn count(&self, counter: &AtomicU64, kind: &'static str) {
        counter.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!("sekisho_decision_fallbacks_total", "by" => kind).increment(1);
    }

    async fn ask_other(&self, failure: Failure, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        match &self.other {
            Some(other) => self.after_other(failure, other.decide(request).await),
            None => Err(failure),
        }
    }
}

/// Marks a decision that stands in; nobody may keep it.
fn stand_in(decision: Decision) -> Decision {
    decision.with_source(DecisionSource::Fallback).with_lifetime(Duration::ZERO)
}

#[async_trait]
impl<A: Authorize> Authorize for Fallback<A> {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        let asked = self.last_known.asks();
        match self.after(asked, request, self.inner.decide_now(request)?) {
            Next::Done(outcome) => Some(outcome),
            Next::AskOther(failure) => {
                let outcome = self.other.as_ref()?.decide_now(request)?;
                Some(self.after_other(failure, outcome))
            }
        }
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let asked = self.last_known.asks();
        match self.after(asked, request, self.inner.decide(request).await) {
            Next::Done(outcome) => outcome,
            Next::AskOther(failure) => self.ask_other(failure, request).await,
        }
    }

    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        let mut decisions: Vec<Result<Decision, Failure>> = Vec::with_capacity(requests.len());
        // What stands in can end it earlier than the failure would have, or let it go on.
        while let Some(rest) = requests.get(decisions.len()..).filter(|rest| !rest.is_empty()) {
            let asked = self.last_known.asks();
            let outcomes = self.inner.decide_all(rest, semantic).await;
            if outcomes.is_empty() {
                break;
            }
            for (request, outcome) in rest.iter().zip(outcomes) {
                let decision = match self.after(asked, request, outcome) {
                    Next::Done(outcome) => outcome,
                    Next::AskOther(failure) => self.ask_other(failure, request).await,
                };
                let is_last = semantic.ends_with(&decision);
                decisions.push(decision);
                if is_last {
                    return decisions;
                }
            }
        }
        decisions
    }

    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        let asked = self.last_known.asks();
        let inner = self.inner.explain(request).await;
        let said = inner.outcome().cloned().unwrap_or_else(|| Err(Failure::unavailable("an explanation says nothing")));
        let is_read = self.reads.contains(request.action());
        let known = if said.is_err() && is_read { self.last_known.find(request) } else { None };
        let mut other_part = self.other.as_ref().map(|other| Explanation::not_asked(&other.outline()));
        let (outcome, stood_in) = match self.after(asked, request, said) {
            Next::Done(outcome) => {
                let stood_in = outcome.as_ref().is_ok_and(|decision| decision.source() == DecisionSource::Fallback);
                (outcome, stood_in)
            }
            Next::AskOther(failure) => match &self.other {
                None => (Err(failure), false),
                Some(other) => {
                    let part = other.explain(request).await;
                    let said = part.outcome().cloned().unwrap_or_else(|| Err(failure.clone()));
                    let outcome = self.after_other(failure, said);
                    let stood_in = outcome.is_ok();
                    other_part = Some(if stood_in { part } else { part.without_weight() });
                    (outcome, stood_in)
                }
            },
        };
        let mut parts = vec![if stood_in { inner.without_weight() } else { inner }];
        parts.push(match known {
            Some((decision, _)) => Explanation::leaf("last known", Ok(decision)),
            None => Explanation::not_asked(&Outline::leaf("last known")),
        });
        parts.extend(other_part);
        Explanation::branch(self.outline().name(), outcome, parts)
    }

    fn outline(&self) -> Outline {
        let reads: Vec<&str> = self.reads.iter().map(|action| &**action).collect();
        let known = format!("last known decision, for {} s", self.last_known.time().as_secs());
        let parts = [self.inner.outline(), Outline::leaf(known)];
        let other = self.other.as_ref().map(|other| other.outline());
        Outline::branch(format!("fallback for {}", reads.join(", ")), parts.into_iter().chain(other))
    }
}

impl<A: Authorize> fmt::Debug for Fallback<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fallback").field(&self.outline()).finish()
    }
}
