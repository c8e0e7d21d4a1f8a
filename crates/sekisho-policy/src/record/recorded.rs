use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sekisho_core::{
    AccessRequest, Authorize, Decision, EvaluationsSemantic, Explanation, Failure, FailureKind, Outline,
};

use super::entry::Allowed;
use super::{DecisionRecord, DecisionSink};
use crate::random;

/// Records what an authorizer decides.
///
/// Each decision gets an id of 128 random bits, in hex, if it has none, so that a record, an event of the application and the
/// answer to the caller can be brought together. [`explain`](Authorize::explain) records nothing.
pub struct Recorded<A> {
    inner: A,
    sinks: Vec<Arc<dyn DecisionSink>>,
    allowed: Allowed,
    is_required: bool,
    lost: AtomicU64,
}

impl<A: Authorize> Recorded<A> {
    /// Records this authorizer's decisions; [`to`](Self::to) says where.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        let allowed = Allowed { context: Vec::new(), attributes: Vec::new(), claims: Vec::new() };
        Self { inner, sinks: Vec::new(), allowed, is_required: false, lost: AtomicU64::new(0) }
    }

    /// Adds a sink, each of which gets every record.
    #[must_use]
    pub fn to(mut self, sink: impl DecisionSink + 'static) -> Self {
        self.sinks.push(Arc::new(sink));
        self
    }

    /// Records these members of the context too, up to 32. Scalars and arrays of scalars are recorded, of what is nested that
    /// it was left out.
    #[must_use]
    pub fn with_context<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, members: I) -> Self {
        Allowed::add(&mut self.allowed.context, members);
        self
    }

    /// Records these attributes of the resource too, up to 32.
    #[must_use]
    pub fn with_attributes<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, attributes: I) -> Self {
        Allowed::add(&mut self.allowed.attributes, attributes);
        self
    }

    /// Records these claims of the subject too, up to 32.
    #[must_use]
    pub fn with_claims<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, claims: I) -> Self {
        Allowed::add(&mut self.allowed.claims, claims);
        self
    }

    /// Permits nothing that is not recorded: a permit that some sink does not take, or that has no sink, becomes a
    /// [`Failure`]. By default a record may be lost.
    ///
    /// A sink with a queue takes a record before it is written. What a crash leaves in the queue is lost; that writing fails is
    /// known from the record after on.
    #[must_use]
    pub const fn with_required_record(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Returns how many records some sink did not take, or could not be made, since the start; a record that two sinks did not
    /// take counts twice. What a sink has taken and then lost, it counts itself.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lose(&self, records: usize) {
        for _ in 0..records {
            self.lost.fetch_add(1, Ordering::Relaxed);
            count_untaken();
        }
    }

    fn record(
        &self,
        request: &AccessRequest<'_>,
        outcome: Result<Decision, Failure>,
        latency: Duration,
    ) -> Result<Decision, Failure> {
        let (outcome, id) = identified(outcome);
        let Some(id) = id else {
            self.lose(self.sinks.len());
            return self.unrecorded(outcome);
        };
        let record = DecisionRecord::new(request, &outcome, &id, latency, &self.allowed);
        // Each gets it, also when one before has not taken it.
        let lost = self.sinks.iter().filter(|sink| sink.record(&record).is_err()).count();
        self.lose(lost);
        if lost > 0 || self.sinks.is_empty() { self.unrecorded(outcome) } else { outcome }
    }

    fn unrecorded(&self, outcome: Result<Decision, Failure>) -> Result<Decision, Failure> {
        match outcome {
            Ok(decision) if self.is_required && decision.is_permitted() => {
                Err(Failure::new(FailureKind::Unavailable, "the decision could not be recorded"))
            }
            outcome => outcome,
        }
    }
}

/// Gives a decision an id, and returns it; `None` when there are no random numbers.
fn identified(outcome: Result<Decision, Failure>) -> (Result<Decision, Failure>, Option<Arc<str>>) {
    if let Ok(decision) = &outcome
        && let Some(id) = decision.id()
    {
        let id = Arc::from(id);
        return (outcome, Some(id));
    }
    let Some(id) = random_id() else { return (outcome, None) };
    (outcome.map(|decision| decision.with_id(Arc::clone(&id))), Some(id))
}

/// Counts a record that a sink did not take.
pub(crate) fn count_untaken() {
    #[cfg(feature = "metrics")]
    metrics::counter!("sekisho_decision_records_untaken_total").increment(1);
}

pub(crate) fn random_id() -> Option<Arc<str>> {
    random::id().ok().map(Into::into)
}

#[async_trait]
impl<A: Authorize> Authorize for Recorded<A> {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        let start = Instant::now();
        let outcome = self.inner.decide_now(request)?;
        Some(self.record(request, outcome, start.elapsed()))
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let start = Instant::now();
        let outcome = self.inner.decide(request).await;
        self.record(request, outcome, start.elapsed())
    }

    /// The time of each is that of all together.
    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        let start = Instant::now();
        let outcomes = self.inner.decide_all(requests, semantic).await;
        let latency = start.elapsed();
        let mut decisions = Vec::with_capacity(outcomes.len());
        for (request, outcome) in requests.iter().zip(outcomes) {
            let decision = self.record(request, outcome, latency);
            let is_last = semantic.ends_with(&decision);
            decisions.push(decision);
            if is_last {
                break;
            }
        }
        decisions
    }

    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        self.inner.explain(request).await
    }

    fn scope_alternatives(&self) -> Vec<Vec<&str>> {
        self.inner.scope_alternatives()
    }

    fn outline(&self) -> Outline {
        self.inner.outline()
    }
}

impl<A: Authorize> fmt::Debug for Recorded<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("inner", &self.inner.outline())
            .field("sinks", &self.sinks.len())
            .field("allowed", &self.allowed)
            .field("is_required", &self.is_required)
            .field("lost", &self.lost())
            .finish()
    }
}
