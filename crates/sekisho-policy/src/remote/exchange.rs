//! One exchange with a decision service, within its bounds.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Failure, FailureKind};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::body::{TOO_LARGE, decoded};
use super::breaker::Breaker;
use super::protocol::DecisionProtocol;

/// Sends questions: no more than so many at once, none to a service that does not answer, and each a second time at most.
pub(crate) struct Exchange {
    pub(crate) protocol: Arc<dyn DecisionProtocol>,
    pub(crate) client: Arc<dyn HttpClient>,
    pub(crate) max_body_bytes: usize,
    pub(crate) hedge_after: Option<Duration>,
    pub(crate) breaker: Breaker,
    /// Places for those who ask, and for those who wait to.
    pub(crate) line: Semaphore,
    /// Places for those who ask.
    pub(crate) places: Semaphore,
}

/// Is a question with all that one attempt to ask it needs.
struct Attempt<R> {
    request: HttpRequest,
    deadline: Instant,
    max_body_bytes: usize,
    read: R,
}

/// Is what stands in the way of an answer.
struct Trouble {
    failure: Failure,
    /// Nothing came of the connection, and no time went by: another one may be better.
    is_lost: bool,
    /// The service did not answer, or said itself that it cannot.
    is_outage: bool,
}

impl Exchange {
    /// Sends a question and reads the answer.
    pub(crate) async fn run<T>(
        &self,
        request: HttpRequest,
        deadline: Instant,
        read: impl Fn(&HttpResponse) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.run_within(request, deadline, self.max_body_bytes, read).await
    }

    /// Sends a question and reads an answer that has no more than these bytes.
    pub(crate) async fn run_within<T>(
        &self,
        request: HttpRequest,
        deadline: Instant,
        max_body_bytes: usize,
        read: impl Fn(&HttpResponse) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        self.breaker.check(begun)?;
        let _in_line = self.line.try_acquire().map_err(|_| busy())?;
        let Ok(place) = timeout_at(deadline, self.places.acquire()).await else { return Err(busy()) };
        let _place = place.map_err(|_| busy())?;
        let now = Instant::now();
        // Whoever waited until the end has no time left to ask, and the service is not to blame.
        if now >= deadline {
            return Err(busy());
        }
        // It may have opened meanwhile.
        let call = self.breaker.admit(now, deadline)?;
        // Who waited in our own line for most of the time says nothing of the service by running out of it.
        let had_a_fair_share = deadline.saturating_duration_since(now) >= deadline.saturating_duration_since(begun) / 2;
        // A client of the user's own that forgets its limits must not hold everybody who waits for the same answer.
        let outcome = timeout_at(deadline, self.hedged(&Attempt { request, deadline, max_body_bytes, read })).await;
        match outcome.unwrap_or_else(|_| Err(Trouble::outage(LATE))) {
            Ok(answer) => {
                call.answered();
                Ok(answer)
            }
            Err(Trouble { failure, is_outage, .. }) => {
                if is_outage && had_a_fair_share {
                    call.failed()
                } else {
                    call.answered()
                }
                Err(failure)
            }
        }
    }

    /// Sends a second time when the first is lost, or has no answer yet after a while; the first good answer wins.
    async fn hedged<T, R: Fn(&HttpResponse) -> Result<T, Failure>>(&self, attempt: &Attempt<R>) -> Result<T, Trouble> {
        let Some(hedge_after) = self.hedge_after else { return self.attempt(attempt).await };
        let mut first = pin!(self.attempt(attempt));
        let first_trouble = tokio::select! {
            biased;
            outcome = &mut first => match outcome {
                Err(trouble) if trouble.is_lost => Some(trouble),
                outcome => return outcome,
            },
            () = sleep(hedge_after) => None,
        };
        if first_trouble.is_some() {
            return self.attempt(attempt).await;
        }
        // A service that is slow because it has much to do must not get twice as much of it.
        let Ok(_second_place) = self.places.try_acquire() else {
            return match first.await {
                Err(trouble) if trouble.is_lost => self.attempt(attempt).await,
                outcome => outcome,
            };
        };
        let mut second = pin!(self.attempt(attempt));
        tokio::select! {
            biased;
            outcome = &mut first => match outcome {
                Ok(answer) => Ok(answer),
                Err(_) => second.await,
            },
            outcome = &mut second => match outcome {
                Ok(answer) => Ok(answer),
                Err(_) => first.await,
            },
        }
    }

    async fn attempt<T, R: Fn(&HttpResponse) -> Result<T, Failure>>(&self, attempt: &Attempt<R>) -> Result<T, Trouble> {
        let &Attempt { ref request, deadline, max_body_bytes, ref read } = attempt;
        let total_timeout = deadline.saturating_duration_since(Instant::now());
        if total_timeout.is_zero() {
            return Err(Trouble::outage(LATE));
        }
        let limits = HttpLimits { connect_timeout: total_timeout, total_timeout, max_body_bytes };
        let response = self.client.send(request.clone(), limits).await?;
        if matches!(response.status, 429 | 502 | 503 | 504) {
            return Err(Trouble::outage(Failure::unavailable("the decision service says that it cannot answer now")));
        }
        let response = decoded(response, max_body_bytes)?;
        self.protocol.check_answer(request, &response)?;
        Ok(read(&response)?)
    }
}

impl Trouble {
    const fn outage(failure: Failure) -> Self {
        Self { failure, is_lost: false, is_outage: true }
    }
}

/// An answer came, and was no decision.
impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { failure, is_lost: false, is_outage: false }
    }
}

impl From<HttpError> for Trouble {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Timeout => Self::outage(LATE),
            HttpError::TooLarge => TOO_LARGE.into(),
            HttpError::Url => {
                Failure::new(FailureKind::Misconfigured, "the address of the decision service is no usable URL").into()
            }
            HttpError::Connect(source) => {
                let failure = Failure::unavailable("the decision service cannot be reached").with_source(source);
                Self { failure, is_lost: true, is_outage: true }
            }
            HttpError::Broken(source) => {
                let failure = Failure::new(FailureKind::BadGateway, "the answer of the decision service broke off");
                Self { failure: failure.with_source(source), is_lost: true, is_outage: true }
            }
            other => Self::outage(Failure::unavailable("no answer of the decision service").with_source(other)),
        }
    }
}

fn busy() -> Failure {
    Failure::unavailable("too many decisions are asked for at once").with_retry_after(Duration::from_secs(1))
}

pub(crate) const LATE: Failure = Failure::unavailable("the decision service did not answer in time");
