use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use sekisho_core::{
    AccessRequest, Authorize, ConfigError, Decision, EvaluationsSemantic, Explanation, Failure, FailureKind,
    Obligation, Outline,
};
use serde_json::Value;

use super::owned::OwnedRequest;
use crate::record::queue::{Receiver, Sender, queue};
use crate::record::{Allowed, DecisionRecord, DecisionSink, TracingSink, count_untaken, random_id};

/// The largest request that is kept for a candidate, in bytes.
const LARGEST: usize = 64 << 10;

/// Evaluates `candidate` beside `live`, and records where they differ. What the candidate says is never enforced.
///
/// The candidate is not asked in the caller's task: a copy of the request goes to a bounded queue, and the [`ShadowRunner`], a
/// future that the application spawns, asks the candidate about it. So it delays nobody, and neither its failure nor its panic
/// reaches a live decision. A request that finds no room is not compared, and counted.
///
/// A difference is another effect (a failure of the candidate is one), or other obligations with a permit, or the same with
/// other parameters. It goes as a
/// [`DecisionRecord`] with a [`candidate`](DecisionRecord::candidate) to a [`DecisionSink`], by default `tracing`. Live failures
/// are not compared.
///
/// # Examples
/// ```
/// use sekisho_core::scope;
/// use sekisho_policy::combine::shadow;
/// # async fn example() -> Result<(), sekisho_core::ConfigError> {
/// # let (old_policy, new_policy) = (scope("a"), scope("b"));
/// let (orders, runner) = shadow(old_policy, new_policy).with_share(100).build()?; // 10 % of the requests
/// tokio::spawn(runner.run());
/// # Ok(())
/// # }
/// ```
pub fn shadow<L: Authorize, C: Authorize + 'static>(live: L, candidate: C) -> ShadowBuilder<L> {
    ShadowBuilder {
        live,
        candidate: Arc::new(candidate),
        sink: Arc::new(TracingSink),
        allowed: Allowed::default(),
        deadline: Duration::from_secs(1),
        concurrency: 8,
        requests: 1024,
        bytes: 16 << 20,
        per_mille: 1000,
    }
}

/// Collects how a candidate is to be evaluated; see [`shadow`].
#[must_use]
pub struct ShadowBuilder<L> {
    live: L,
    candidate: Arc<dyn Authorize>,
    sink: Arc<dyn DecisionSink>,
    allowed: Allowed,
    deadline: Duration,
    concurrency: usize,
    requests: usize,
    bytes: usize,
    per_mille: u16,
}

impl<L: Authorize> ShadowBuilder<L> {
    /// Records differences here. Default [`TracingSink`].
    pub fn to(mut self, sink: impl DecisionSink + 'static) -> Self {
        self.sink = Arc::new(sink);
        self
    }

    /// Records these members of the context too, up to 32.
    pub fn with_context<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, members: I) -> Self {
        Allowed::add(&mut self.allowed.context, members);
        self
    }

    /// Records these attributes of the resource too, up to 32.
    pub fn with_attributes<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, attributes: I) -> Self {
        Allowed::add(&mut self.allowed.attributes, attributes);
        self
    }

    /// Records these claims of the subject too, up to 32.
    pub fn with_claims<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, claims: I) -> Self {
        Allowed::add(&mut self.allowed.claims, claims);
        self
    }

    /// Bounds how long the candidate may take for one request. Default 1 s.
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Bounds how many requests the candidate is asked about at once. Default 8.
    pub const fn with_concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests;
        self
    }

    /// Bounds what waits: requests, and bytes of them. Default 1,024 and 16 MiB.
    pub const fn with_queue(mut self, requests: usize, bytes: usize) -> Self {
        self.requests = requests;
        self.bytes = bytes;
        self
    }

    /// Compares a share of the requests, 0 to 1,000 of 1,000. Default 1,000, all of them.
    pub const fn with_share(mut self, per_mille: u16) -> Self {
        self.per_mille = per_mille;
        self
    }

    /// Builds it: who decides, and who asks the candidate.
    ///
    /// # Errors
    /// [`ConfigError`]: a share of more than 1,000, or a bound without room.
    pub fn build(self) -> Result<(Shadow<L>, ShadowRunner), ConfigError> {
        let Self { live, candidate, sink, allowed, deadline, concurrency, requests, bytes, per_mille } = self;
        if per_mille > 1000 {
            return Err(ConfigError::new("the share of a shadow must be 0 to 1,000 of 1,000 requests"));
        }
        if concurrency == 0 || requests == 0 || bytes < LARGEST || deadline.is_zero() {
            return Err(ConfigError::new("a shadow needs time, and room for one request and 64 KiB"));
        }
        let (sender, receiver) = queue(requests, bytes);
        let shared = Arc::new(Shared { candidate, deadline, counters: Counters::default() });
        let shadow = Shadow { live, sender, shared: Arc::clone(&shared), per_mille, seen: AtomicU64::new(0) };
        Ok((shadow, ShadowRunner { receiver, shared, sink, allowed, concurrency }))
    }
}

impl<L> fmt::Debug for ShadowBuilder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowBuilder").field("per_mille", &self.per_mille).finish_non_exhaustive()
    }
}

/// Decides as the live authorizer does, and hands requests to the [`ShadowRunner`]; see [`shadow`].
pub struct Shadow<L> {
    live: L,
    sender: Sender<Job>,
    shared: Arc<Shared>,
    per_mille: u16,
    seen: AtomicU64,
}

struct Shared {
    candidate: Arc<dyn Authorize>,
    deadline: Duration,
    counters: Counters,
}

/// Is a request with the answer that was given to it.
struct Job {
    request: OwnedRequest,
    live: Decision,
    latency: Duration,
}

#[derive(Default)]
struct Counters {
    equal: AtomicU64,
    different: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    unrecorded: AtomicU64,
}

/// Counts what became of the requests that were to be compared, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShadowCounts {
    /// The candidate said the same.
    pub equal: u64,
    /// The candidate said something else.
    pub different: u64,
    /// The candidate failed, panicked or took too long.
    pub failed: u64,
    /// There was no room for the request, or nobody asks the candidate any more.
    pub dropped: u64,
    /// Of the different and the failed: the sink did not take the record.
    pub unrecorded: u64,
}

impl Counters {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics have labels"))]
    fn count(counter: &AtomicU64, outcome: &'static str) {
        counter.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!("sekisho_shadow_comparisons_total", "outcome" => outcome).increment(1);
    }

    fn counts(&self) -> ShadowCounts {
        ShadowCounts {
            equal: self.equal.load(Ordering::Relaxed),
            different: self.different.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            unrecorded: self.unrecorded.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    /// Asks the candidate, which may do whatever it likes.
    async fn ask(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let asked = AssertUnwindSafe(async { self.candidate.decide(request).await }).catch_unwind();
        match tokio::time::timeout(self.deadline, asked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Failure::new(FailureKind::Misconfigured, "the candidate panicked")),
            Err(_) => Err(Failure::unavailable("the candidate took too long")),
        }
    }
}

impl<L: Authorize> Shadow<L> {
    /// Returns what became of the requests.
    #[must_use]
    pub fn counts(&self) -> ShadowCounts {
        self.shared.counters.counts()
    }

    /// Takes each request that makes the share full.
    fn is_due(&self) -> bool {
        match self.per_mille {
            0 => false,
            1000 => true,
            share => {
                let number = self.seen.fetch_add(1, Ordering::Relaxed) % 1000;
                let share = u64::from(share);
                (number + 1) * share / 1000 > number * share / 1000
            }
        }
    }

    fn hand_over(&self, request: &AccessRequest<'_>, live: &Result<Decision, Failure>, latency: Duration) {
        let Ok(live) = live else { return };
        if !self.is_due() {
            return;
        }
        let send = || {
            // Where there is no room, nothing is copied.
            self.sender.has_room(0).ok()?;
            let request = OwnedRequest::of(request)?;
            let bytes = request.bytes();
            let job = Job { request, live: live.clone(), latency };
            if bytes <= LARGEST { self.sender.send(job, bytes).ok() } else { None }
        };
        if send().is_none() {
            Counters::count(&self.shared.counters.dropped, "dropped");
        }
    }
}

#[async_trait]
impl<L: Authorize> Authorize for Shadow<L> {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        let start = Instant::now();
        let outcome = self.live.decide_now(request)?;
        self.hand_over(request, &outcome, start.elapsed());
        Some(outcome)
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let start = Instant::now();
        let outcome = self.live.decide(request).await;
        self.hand_over(request, &outcome, start.elapsed());
        outcome
    }

    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        let start = Instant::now();
        let outcomes = self.live.decide_all(requests, semantic).await;
        let latency = start.elapsed();
        requests.iter().zip(&outcomes).for_each(|(request, outcome)| self.hand_over(request, outcome, latency));
        outcomes
    }

    /// Asks the candidate too, and waits for it up to its deadline; needs a runtime of `tokio` with time.
    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        let live = self.live.explain(request).await;
        let said = live.outcome().cloned().unwrap_or_else(|| Err(Failure::unavailable("an explanation says nothing")));
        let explained = AssertUnwindSafe(async { self.shared.candidate.explain(request).await }).catch_unwind();
        let candidate = match tokio::time::timeout(self.shared.deadline, explained).await {
            Ok(Ok(candidate)) => candidate,
            _ => {
                let failure = Failure::unavailable("the candidate took too long, or panicked");
                Explanation::leaf(self.shared.candidate.outline().name(), Err(failure))
            }
        };
        Explanation::branch(NAME, said, vec![live, candidate.without_weight()])
    }

    fn scope_alternatives(&self) -> Vec<Vec<&str>> {
        self.live.scope_alternatives()
    }

    fn outline(&self) -> Outline {
        Outline::branch(NAME, [self.live.outline(), self.shared.candidate.outline()])
    }
}

const NAME: &str = "shadow, the second is not enforced";

impl<L: Authorize> fmt::Debug for Shadow<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shadow").field(&self.outline()).finish()
    }
}

/// Asks the candidate of a [`shadow`], and compares. When it is dropped, nothing is compared any more.
#[must_use]
pub struct ShadowRunner {
    receiver: Receiver<Job>,
    shared: Arc<Shared>,
    sink: Arc<dyn DecisionSink>,
    allowed: Allowed,
    concurrency: usize,
}

impl ShadowRunner {
    /// Asks until the [`Shadow`] is gone and nothing waits any more. Needs a runtime of `tokio` with time.
    ///
    /// A candidate that computes for long without waiting holds up the task that this is run in, so it has one of its own.
    pub async fn run(self) {
        let mut comparisons = FuturesUnordered::new();
        let mut is_ended = false;
        loop {
            while comparisons.len() < self.concurrency
                && let Some(job) = self.receiver.take()
            {
                comparisons.push(self.compare(job));
            }
            if is_ended && comparisons.is_empty() {
                return;
            }
            let has_room = comparisons.len() < self.concurrency && !is_ended;
            tokio::select! {
                _ = comparisons.next(), if !comparisons.is_empty() => {}
                has_more = self.receiver.wait(), if has_room => is_ended = !has_more,
            }
        }
    }

    async fn compare(&self, job: Job) {
        let request = job.request.as_request();
        let candidate = self.shared.ask(&request).await;
        let counters = &self.shared.counters;
        match &candidate {
            Ok(decision) if is_equal(&job.live, decision) => return Counters::count(&counters.equal, "equal"),
            Ok(_) => Counters::count(&counters.different, "different"),
            Err(_) => Counters::count(&counters.failed, "failed"),
        }
        #[cfg(feature = "metrics")]
        {
            let outcome = candidate.as_ref().map_or("error", |decision| decision.effect().as_str());
            metrics::counter!("sekisho_decisions_total", "outcome" => outcome, "source" => "shadow-diff").increment(1);
        }
        let made = if job.live.id().is_some() { None } else { random_id() };
        let id = job.live.id().or(made.as_deref()).unwrap_or_default();
        let record = DecisionRecord::new(&request, &Ok(job.live.clone()), id, job.latency, &self.allowed);
        if self.sink.record(&record.with_candidate(&candidate)).is_err() {
            counters.unrecorded.fetch_add(1, Ordering::Relaxed);
            count_untaken();
        }
    }
}

fn is_equal(live: &Decision, candidate: &Decision) -> bool {
    live.effect() == candidate.effect()
        && (!live.is_permitted() || has_equal_obligations(live.obligations(), candidate.obligations()))
}

/// Compares names and parameters, in whatever order.
fn has_equal_obligations(live: &[Obligation], candidate: &[Obligation]) -> bool {
    // `None` is what cannot be read, and equals nothing.
    let read = |one: &Obligation| -> Option<(String, Value)> {
        let parameters = one.parameters().map_or(Some(Value::Null), |parameters| parameters.deserialize().ok())?;
        Some((one.id().to_owned(), parameters))
    };
    if live.len() != candidate.len() {
        return false;
    }
    let Some(mut left) = candidate.iter().map(read).collect::<Option<Vec<_>>>() else { return false };
    live.iter().all(|one| {
        let found = read(one).and_then(|one| left.iter().position(|other| *other == one));
        found.map(|place| left.swap_remove(place)).is_some()
    })
}

impl fmt::Debug for ShadowRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowRunner").field("counts", &self.shared.counters.counts()).finish_non_exhaustive()
    }
}
