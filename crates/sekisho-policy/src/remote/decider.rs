use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, Shared, join, join_all};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use sekisho_core::{
    AccessRequest, Authorize, Decision, DecisionSource, EvaluationsSemantic, Failure, FailureKind, Outline, SubjectId,
};
use sekisho_http::single_flight::{Boarding, Landing, SingleFlight};
use sekisho_http::{HttpRequest, HttpResponse};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::builder::RemoteBuilder;
use super::cache::{Asked, DecisionCache};
use super::exchange::{Exchange, LATE};
use super::key::Keys;
use super::protocol::{DecisionProtocol, Purge};
use super::question::Question;
use super::sync::Mutex;
use super::writing::{UNWRITABLE, Written, check_in_time};
use crate::key::{IdKind, Key};

/// Asks a decision service, within bounds, and remembers its decisions for a moment.
///
/// | bound | default | beyond it |
/// |---|---|---|
/// | time for one decision, or for one batch with all that it takes | 200 ms | failure |
/// | a second request | after 50 ms without an answer, or at once when the connection is lost; never a third; none where the protocol says that a question is good once | |
/// | requests at once | 64 | wait, within the time |
/// | who wait for that | 256 | failure at once |
/// | who wait for an equal question of another's | 4,096 | failure at once |
/// | failures in a row, or of the last 32 | 5, or 16 | failure at once for 1 s, then one request to see |
/// | body of an answer, decoded | 150,000 bytes | failure |
/// | decisions kept | 10,000 and 16 MiB | the least used goes |
/// | copies of them near each thread that asks, of at most four times as many threads as cores, and 64 | 2,048 and 1 MiB each, and no more than are kept; of those up to 1 KiB | the least used goes |
/// | a permit is kept | 5 s, not past the end of the credential, nor the decision's own lifetime | |
/// | a denial is kept, and that no policy applies | 1 s, likewise | |
///
/// Whatever goes wrong is a [`Failure`], never a decision, and never kept.
///
/// **Equal questions** are asked once and answered from the cache. Two are equal when everything is that a policy may be shown:
/// issuer, subject and its kind, all claims, scopes, roles, client, tenant, end and binding of the credential, the action and
/// its properties, kind and id of the resource, its attributes, the context. A context with a time or a request id in it makes every
/// question another; [`depends_on_context`](RemoteBuilder::depends_on_context) names the members that the policies look at.
///
/// **What is kept is forgotten** by the `purge_*` methods and when a decision comes from other
/// [policies](Decision::revision) than the one before. Whoever asks afterwards gets no answer to a question that was put
/// before, neither kept nor on its way. Where a [fallback](crate::combine::fallback) remembers its answers too, a
/// [`Purger`](super::Purger) purges both in the right order. While several servers with different policies answer in turn, nothing is kept.
///
/// Clones are the same decider. It needs a tokio runtime with time and I/O.
///
/// # Examples
/// ```
/// use sekisho_policy::remote::{Remote, opa::Opa};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "reqwest")] {
/// let opa = Remote::builder(Opa::at("http://127.0.0.1:8181", "shop/authz")?)
///     .depends_on_context(["ip"]) // the policies look at nothing else of it
///     .build()?;
/// // In a handler: `opa.decide(&request).await`, or as a rule: `decided_by(opa, …)`.
/// # assert_eq!(opa.health().kept, 0); }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

pub(super) struct Inner {
    pub(super) deadline: Duration,
    pub(super) exchange: Exchange,
    pub(super) keys: Keys,
    pub(super) cache: DecisionCache,
    pub(super) flights: Arc<SingleFlight<Key, Outcome>>,
    /// Questions on their way in a batch, which take no place from those that are alone.
    pub(super) in_batches: Arc<SingleFlight<Key, Outcome>>,
    pub(super) most_calls: usize,
    /// Of the latest decision.
    pub(super) revision: Mutex<Option<Arc<str>>>,
}

pub(super) type Outcome = Result<Decision, Failure>;

/// Tells how a decider is doing, for a readiness probe and for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteHealth {
    /// The service is left alone after failures.
    pub is_open: bool,
    /// How many decisions are kept, those included that are over.
    pub kept: usize,
    /// How many requests can be sent at once, beside those that are.
    pub free: usize,
}

impl Remote {
    /// Prepares to ask a service in its own language.
    pub fn builder(protocol: impl DecisionProtocol + 'static) -> RemoteBuilder {
        RemoteBuilder::new(Arc::new(protocol))
    }

    pub(super) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Forgets what was decided about a subject, as when its rights have changed or it has logged out everywhere.
    pub fn purge_subject(&self, subject: &SubjectId) {
        self.0.keys.purge(IdKind::Subject, subject.issuer(), subject.subject());
        self.0.exchange.protocol.purge(Purge::Subject(subject));
    }

    /// Forgets what was decided in a session at the issuer (`sid`), as after a logout.
    pub fn purge_session(&self, issuer: &str, session_id: &str) {
        self.0.keys.purge(IdKind::Session, issuer, session_id);
        self.0.exchange.protocol.purge(Purge::Session { issuer, id: session_id });
    }

    /// Forgets what was decided about the bearer of one token (`jti`).
    pub fn purge_token(&self, issuer: &str, token_id: &str) {
        self.0.keys.purge(IdKind::Token, issuer, token_id);
        self.0.exchange.protocol.purge(Purge::Token { issuer, id: token_id });
    }

    /// Forgets what was decided about the bearers of the tokens of one grant, whose `jti` begins with it and a dot.
    pub fn purge_grant(&self, issuer: &str, grant_id: &str) {
        self.0.keys.purge(IdKind::Grant, issuer, grant_id);
        self.0.exchange.protocol.purge(Purge::Grant { issuer, id: grant_id });
    }

    /// Forgets everything, as when the policies have changed.
    pub fn purge_all(&self) {
        self.0.keys.purge_all();
        self.0.exchange.protocol.purge(Purge::All);
        self.0.cache.clear();
    }

    /// Tells until when a list that is asked for now must be there.
    pub(crate) fn list_deadline(&self) -> Result<Instant, Failure> {
        check_runtime()?;
        Ok(Instant::now() + self.0.deadline)
    }

    /// Asks for a list, or a page of one: within the bounds of a decision, but for the length of the answer.
    pub(crate) async fn list<T>(
        &self,
        http: HttpRequest,
        deadline: Instant,
        read: impl Fn(&HttpResponse) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let exchange = &self.0.exchange;
        let most = exchange.max_body_bytes.max(LONGEST_LIST);
        timeout_at(deadline, exchange.run_within(http, deadline, most, read)).await.unwrap_or(Err(LATE))
    }

    /// Tells how it is doing.
    #[must_use]
    pub fn health(&self) -> RemoteHealth {
        let Inner { exchange, cache, .. } = &*self.0;
        RemoteHealth {
            is_open: exchange.breaker.is_open(),
            kept: cache.len(),
            free: exchange.places.available_permits(),
        }
    }
}

#[async_trait]
impl Authorize for Remote {
    /// Decides as it was decided a moment ago; `None` when that is not known.
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Outcome> {
        self.0.decide_now(request)
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Outcome {
        check_runtime()?;
        let asked = asked(request);
        let deadline = asked.instant + self.0.deadline;
        self.0.decide(request, asked, deadline).await
    }

    async fn decide_all(&self, requests: &[AccessRequest<'_>], semantic: EvaluationsSemantic) -> Vec<Outcome> {
        let Some(first) = requests.first() else { return Vec::new() };
        if let Err(failure) = check_runtime() {
            return up_to_the_end(requests.iter().map(|_| Some(Err(failure.clone()))), semantic);
        }
        let deadline = asked(first).instant + self.0.deadline;
        let mut outcomes: Vec<Option<Outcome>> = requests.iter().map(|request| self.decide_now(request)).collect();
        // Behind a known decision that ends it nothing needs to be asked.
        let is_end = |outcome: &Option<Outcome>| outcome.as_ref().is_some_and(|outcome| semantic.ends_with(outcome));
        if let Some(end) = outcomes.iter().position(is_end) {
            outcomes.truncate(end + 1);
        }
        let open = outcomes.iter().zip(requests).enumerate().filter(|(_, (outcome, _))| outcome.is_none());
        let (places, open): (Vec<usize>, Vec<AccessRequest<'_>>) =
            open.map(|(index, (_, request))| (index, request.clone())).unzip();
        let answers = self.0.decide_open(&open, semantic, deadline).await;
        for (place, answer) in places.into_iter().zip(answers) {
            if let Some(outcome) = outcomes.get_mut(place) {
                *outcome = Some(answer);
            }
        }
        up_to_the_end(outcomes.into_iter(), semantic)
    }

    fn outline(&self) -> Outline {
        Outline::leaf(format!("remote {}", self.0.exchange.protocol.name()))
    }
}

impl Inner {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Outcome> {
        if let Some(outcome) = self.exchange.protocol.answer_now(request) {
            return Some(outcome);
        }
        self.cache.get(&self.key(request)?, request.now()).map(Ok)
    }

    fn key(&self, request: &AccessRequest<'_>) -> Option<Key> {
        self.keys.key(request, self.exchange.protocol.key_part(request))
    }

    async fn decide(self: &Arc<Self>, request: &AccessRequest<'_>, asked: Asked, deadline: Instant) -> Outcome {
        if let Some(outcome) = self.exchange.protocol.answer_now(request) {
            return outcome;
        }
        let key = self.key(request);
        if let Some(key) = &key
            && let Some(decision) = self.cache.get(key, asked.at)
        {
            return Ok(decision);
        }
        timeout_at(deadline, self.ask(request, key, asked, deadline)).await.unwrap_or(Err(LATE))
    }

    async fn ask(
        self: &Arc<Self>,
        request: &AccessRequest<'_>,
        key: Option<Key>,
        asked: Asked,
        deadline: Instant,
    ) -> Outcome {
        let Some(key) = key else {
            let question = self.exchange.protocol.ask(request).await?;
            return self.send(question, request, deadline).await;
        };
        let boarding = match self.join(&key) {
            Some(boarding) => boarding,
            None => {
                let http = self.exchange.protocol.ask(request).await?;
                let question = Question::of(request);
                self.flights.board(
                    key,
                    self.most_calls,
                    || self.cache.get(&key, asked.at).map(Ok),
                    |landing| Box::pin(Self::question(Arc::clone(self), landing, http, question, key, asked, deadline)),
                )
            }
        };
        land(boarding).await
    }

    /// Joins an equal question that is on its way, alone or in a batch.
    fn join(&self, key: &Key) -> Option<Boarding<Key, Outcome>> {
        self.flights.join(key).or_else(|| self.in_batches.join(key))
    }

    async fn question(
        self: Arc<Self>,
        landing: Landing<Key, Outcome>,
        http: HttpRequest,
        question: Question,
        key: Key,
        asked: Asked,
        deadline: Instant,
    ) -> Outcome {
        let decision = self.send(http, &question.request(), deadline).await?;
        landing.land(|is_owned| {
            if is_owned {
                self.keep(key, &decision, asked);
            }
        });
        Ok(decision)
    }

    async fn send(&self, http: HttpRequest, request: &AccessRequest<'_>, deadline: Instant) -> Outcome {
        let read = |response: &_| self.exchange.protocol.read_for(request, response);
        Ok(self.exchange.run(http, deadline, read).await?.with_source(DecisionSource::Remote))
    }

    fn keep(&self, key: Key, decision: &Decision, asked: Asked) {
        if let Some(revision) = decision.revision() {
            let mut latest = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
            if latest.as_deref() != Some(revision) && latest.replace(revision.into()).is_some() {
                // INVARIANT: before anybody else may take the new policies for known, and tell what they say while there is
                // still something of the old ones to be found. The key of this question is among what is forgotten.
                self.keys.purge_all();
                return;
            }
        }
        self.cache.insert(key, decision, asked);
    }

    /// Decides what is not known, in order; what stands behind the end may be missing.
    async fn decide_open(
        self: &Arc<Self>,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
        deadline: Instant,
    ) -> Vec<Outcome> {
        let most = self.exchange.protocol.max_batch().clamp(1, LONGEST_BATCH);
        if semantic == EvaluationsSemantic::ExecuteAll {
            let at_once = if most == 1 { SINGLES_AT_ONCE } else { BATCHES_AT_ONCE };
            let (distinct, places) = self.distinct(requests);
            let batches: Vec<_> = distinct.chunks(most).map(|batch| self.batch(batch, semantic, deadline)).collect();
            let outcomes: Vec<Vec<Outcome>> = stream::iter(batches).buffered(at_once).collect().await;
            let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
            return places.into_iter().map(|at| outcomes.get(at).cloned().unwrap_or(Err(OTHER_COUNT))).collect();
        }
        let mut outcomes = Vec::new();
        for batch in requests.chunks(most) {
            outcomes.extend(self.batch(batch, semantic, deadline).await);
            if outcomes.iter().any(|outcome| semantic.ends_with(outcome)) {
                break;
            }
        }
        outcomes
    }

    /// Returns the questions of which none equals another, and for each of `requests` which of them it is.
    fn distinct<'r>(&self, requests: &[AccessRequest<'r>]) -> (Vec<AccessRequest<'r>>, Vec<usize>) {
        let mut known = HashMap::new();
        let (mut distinct, mut places) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
        for request in requests {
            let new = distinct.len();
            let place = self.key(request).map_or(new, |key| *known.entry(key).or_insert(new));
            if place == new {
                distinct.push(request.clone());
            }
            places.push(place);
        }
        (distinct, places)
    }

    async fn batch(
        self: &Arc<Self>,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
        deadline: Instant,
    ) -> Vec<Outcome> {
        if let [request] = requests {
            return vec![self.decide(request, asked(request), deadline).await];
        }
        let asking = async {
            match semantic {
                EvaluationsSemantic::ExecuteAll => self.ask_shared_batch(requests, deadline).await,
                // What stands behind the end may have no answer, so nobody else waits for it.
                _ => self.ask_batch(requests, semantic, deadline).await,
            }
        };
        match timeout_at(deadline, asking).await.unwrap_or(Err(LATE)) {
            Ok(outcomes) => outcomes,
            Err(failure) => requests.iter().map(|_| Err(failure.clone())).collect(),
        }
    }

    async fn ask_batch(
        self: &Arc<Self>,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, Failure> {
        // Before the question, so that a purge meanwhile is not overlooked.
        let keys: Vec<_> = requests.iter().map(|request| (self.key(request), asked(request))).collect();
        let protocol = &self.exchange.protocol;
        let question = match protocol.ask_all(requests, semantic).await {
            Err(failure) if failure.kind() == UNWRITABLE => {
                return self.ask_halves(requests, semantic, deadline).await;
            }
            question => question?,
        };
        let count = requests.len();
        let read = |response: &_| {
            let outcomes = protocol.read_all(response, count, semantic)?;
            if is_whole(&outcomes, count, semantic) { Ok(outcomes) } else { Err(OTHER_COUNT) }
        };
        let mut outcomes = self.exchange.run(question, deadline, read).await?;
        for (outcome, (key, asked)) in outcomes.iter_mut().zip(keys) {
            if let Ok(decision) = outcome {
                *decision = decision.clone().with_source(DecisionSource::Remote);
                if let Some(key) = key {
                    self.keep(key, decision, asked);
                }
            }
        }
        Ok(outcomes)
    }

    /// Asks for several in two batches, one after the other, for together they could not be written: one that never can be fails
    /// alone.
    fn ask_halves<'a>(
        self: &'a Arc<Self>,
        requests: &'a [AccessRequest<'_>],
        semantic: EvaluationsSemantic,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        async move {
            check_in_time(deadline)?;
            let (first, second) = requests.split_at(requests.len() / 2);
            let mut outcomes = self.batch(first, semantic, deadline).await;
            if !outcomes.iter().any(|outcome| semantic.ends_with(outcome)) {
                outcomes.extend(self.batch(second, semantic, deadline).await);
            }
            Ok(outcomes)
        }
        .boxed()
    }
}

impl Inner {
    /// Asks for several at once. What is on its way already is waited for and not asked again, and what is asked here is waited
    /// for by whoever asks an equal question meanwhile.
    async fn ask_shared_batch(
        self: &Arc<Self>,
        requests: &[AccessRequest<'_>],
        deadline: Instant,
    ) -> Result<Vec<Outcome>, Failure> {
        let keys: Vec<_> = requests.iter().map(|request| (self.key(request), asked(request))).collect();
        let mut waits: Vec<_> =
            keys.iter().map(|(key, _)| key.as_ref().and_then(|key| self.join(key)).map(land)).collect();
        let is_open = |index: &usize| waits.get(*index).is_some_and(Option::is_none);
        let open: Vec<usize> = (0..requests.len()).filter(is_open).collect();
        let Written { batches, alone } = self.write(requests, open, deadline).await?;
        for (open, http) in batches {
            let answers = Self::answers(Arc::clone(self), http, open.len(), deadline).boxed().shared();
            for (nth, index) in open.into_iter().enumerate() {
                let (Some(wait), Some(&(key, asked))) = (waits.get_mut(index), keys.get(index)) else { continue };
                let Some(key) = key else {
                    *wait = Some(answers.clone().map(move |answers| nth_of(answers, nth)).boxed());
                    continue;
                };
                *wait = Some(land(self.in_batches.board(
                    key,
                    usize::MAX,
                    || self.cache.get(&key, asked.at).map(Ok),
                    |landing| Box::pin(Self::nth(Arc::clone(self), landing, answers.clone(), nth, key, asked)),
                )));
            }
        }
        let alone = alone.into_iter().filter_map(|index| {
            let (request, &(key, asked)) = (requests.get(index)?, keys.get(index)?);
            Some(async move { (index, self.ask(request, key, asked, deadline).await) })
        });
        let alone: Vec<_> = alone.collect();
        let alone = stream::iter(alone).buffer_unordered(SINGLES_AT_ONCE).collect::<Vec<_>>();
        let in_batches = join_all(waits.into_iter().map(async |wait| match wait {
            Some(wait) => wait.await,
            None => Err(OTHER_COUNT),
        }));
        let (mut outcomes, alone) = join(in_batches, alone).await;
        for (index, outcome) in alone {
            if let Some(place) = outcomes.get_mut(index) {
                *place = outcome;
            }
        }
        Ok(outcomes)
    }

    /// Asks `count` questions, and answers all of them.
    async fn answers(self: Arc<Self>, http: HttpRequest, count: usize, deadline: Instant) -> Answers {
        let semantic = EvaluationsSemantic::ExecuteAll;
        let read = |response: &_| {
            let outcomes = self.exchange.protocol.read_all(response, count, semantic)?;
            if outcomes.len() == count { Ok(outcomes) } else { Err(OTHER_COUNT) }
        };
        Ok(self.exchange.run(http, deadline, read).await?.into())
    }

    /// Takes the answer to one question out of those to a batch, and keeps it.
    async fn nth(
        self: Arc<Self>,
        landing: Landing<Key, Outcome>,
        answers: Shared<BoxFuture<'static, Answers>>,
        nth: usize,
        key: Key,
        asked: Asked,
    ) -> Outcome {
        let outcome = nth_of(answers.await, nth);
        if let Ok(decision) = &outcome {
            landing.land(|is_owned| {
                if is_owned {
                    self.keep(key, decision, asked);
                }
            });
        }
        outcome
    }
}

/// Waits for the answer, in its seat.
fn land(boarding: Boarding<Key, Outcome>) -> BoxFuture<'static, Outcome> {
    Box::pin(async move {
        match boarding {
            Boarding::Aboard(flight, _seat) => flight.await,
            Boarding::Known(outcome) => outcome,
            // That we are busy says nothing of the service.
            Boarding::Full => Err(BUSY.with_retry_after(Duration::from_secs(1))),
        }
    })
}

/// Is what a batch was answered with.
type Answers = Result<Arc<[Outcome]>, Failure>;

fn nth_of(answers: Answers, nth: usize) -> Outcome {
    let decision = answers?.get(nth).cloned().unwrap_or(Err(OTHER_COUNT))?;
    Ok(decision.with_source(DecisionSource::Remote))
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { deadline, exchange, .. } = &*self.0;
        f.debug_struct("Remote")
            .field("protocol", &exchange.protocol.name())
            .field("deadline", deadline)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

fn asked(request: &AccessRequest<'_>) -> Asked {
    Asked { at: request.now(), instant: Instant::now(), expires_at: request.subject().expires_at() }
}

fn check_runtime() -> Result<(), Failure> {
    // Panics later in a runtime without its timer; there is no way to ask for it.
    Handle::try_current().map(|_| ()).map_err(|error| {
        Failure::new(FailureKind::Misconfigured, "asking a decision service needs a tokio runtime").with_source(error)
    })
}

/// Tells whether an answer to `count` questions has as many items, or ends with the one at which `semantic` ends.
fn is_whole(outcomes: &[Outcome], count: usize, semantic: EvaluationsSemantic) -> bool {
    let ended = outcomes.last().is_some_and(|outcome| semantic.ends_with(outcome));
    outcomes.len() == count || (outcomes.len() < count && ended)
}

/// Collects until nothing is decided any more. What nobody knows is a failure.
fn up_to_the_end(outcomes: impl Iterator<Item = Option<Outcome>>, semantic: EvaluationsSemantic) -> Vec<Outcome> {
    let mut collected = Vec::new();
    for outcome in outcomes {
        let outcome = outcome.unwrap_or(Err(OTHER_COUNT));
        let is_last = semantic.ends_with(&outcome);
        collected.push(outcome);
        if is_last {
            break;
        }
    }
    collected
}

const BUSY: Failure = Failure::unavailable("too many decisions are asked for at once");
const OTHER_COUNT: Failure = Failure::new(
    FailureKind::BadGateway,
    "the decision service answered another number of questions than it was asked",
);
/// Bounds one batch, whatever the protocol says.
const LONGEST_BATCH: usize = 1000;
const BATCHES_AT_ONCE: usize = 4;
/// Bounds a list, or a page of one, in bytes.
const LONGEST_LIST: usize = 1 << 20;
/// How many of a batch are asked at once of a service that knows no batch.
const SINGLES_AT_ONCE: usize = 16;
