use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sekisho_core::{AccessRequest, Authorize, Decision, EvaluationsSemantic, Explanation, Failure, Outline};

/// Counts and times what an authorizer decides, by the `metrics` facade: see the [table](super).
///
/// Like [`Recorded`](super::Recorded), it stands around the outermost one.
pub struct Measured<A> {
    inner: A,
}

impl<A: Authorize> Measured<A> {
    /// Measures this authorizer.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        Self { inner }
    }
}

fn measure(outcome: &Result<Decision, Failure>, latency: Duration) {
    let (effect, source) = match outcome {
        Ok(decision) => (decision.effect().as_str(), decision.source().as_str()),
        Err(_) => ("error", "none"),
    };
    metrics::counter!("sekisho_decisions_total", "outcome" => effect, "source" => source).increment(1);
    metrics::histogram!("sekisho_decision_seconds", "source" => source).record(latency.as_secs_f64());
}

#[async_trait]
impl<A: Authorize> Authorize for Measured<A> {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        let start = Instant::now();
        let outcome = self.inner.decide_now(request)?;
        measure(&outcome, start.elapsed());
        Some(outcome)
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let start = Instant::now();
        let outcome = self.inner.decide(request).await;
        measure(&outcome, start.elapsed());
        outcome
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
        outcomes.iter().for_each(|outcome| measure(outcome, latency));
        outcomes
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

impl<A: Authorize> fmt::Debug for Measured<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Measured").field(&self.inner.outline()).finish()
    }
}

#[cfg(test)]
mod tests;
