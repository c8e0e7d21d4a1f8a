use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::ConfigError;
use sekisho_http::HttpClient;
use sekisho_http::single_flight::SingleFlight;
use tokio::sync::Semaphore;

use super::breaker::Breaker;
use super::cache::{DecisionCache, Lifetimes};
use super::decider::{Inner, Remote};
use super::exchange::Exchange;
use super::key::Keys;
use super::protocol::DecisionProtocol;
use super::sync::Mutex;
use crate::key::Part;

/// Prepares to ask a decision service. Made by [`Remote::builder`].
#[must_use = "nothing is asked before `build`"]
pub struct RemoteBuilder {
    protocol: Arc<dyn DecisionProtocol>,
    client: Option<Arc<dyn HttpClient>>,
    deadline: Duration,
    hedge: Hedge,
    max_concurrent: usize,
    max_waiting: usize,
    most_failures: u32,
    open_for: Duration,
    max_body_bytes: usize,
    cache: Option<(usize, u64)>,
    lifetimes: Lifetimes,
    context: Part,
    attributes: Part,
}

#[derive(Clone, Copy)]
enum Hedge {
    /// After a quarter of the time that there is.
    Quarter,
    After(Duration),
    Never,
}

impl RemoteBuilder {
    pub(super) fn new(protocol: Arc<dyn DecisionProtocol>) -> Self {
        Self {
            protocol,
            client: None,
            deadline: Duration::from_millis(200),
            hedge: Hedge::Quarter,
            max_concurrent: 64,
            max_waiting: 256,
            most_failures: 5,
            open_for: Duration::from_secs(1),
            max_body_bytes: 150_000,
            cache: Some((10_000, 16 << 20)),
            lifetimes: Lifetimes { permit: Duration::from_secs(5), deny: Duration::from_secs(1) },
            context: Part::Whole,
            attributes: Part::Whole,
        }
    }

    /// Sets the HTTP client. Default: one on `reqwest` that keeps its connections, with the feature `reqwest`.
    pub fn with_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets the time for one decision, waiting included. Default 200 ms, at most 10 s.
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets when a question without an answer is put a second time. Default: a quarter of the deadline, and never where the
    /// protocol [says](DecisionProtocol::may_send_twice) that it must not be.
    pub const fn with_hedge_after(mut self, after: Duration) -> Self {
        self.hedge = Hedge::After(after);
        self
    }

    /// Puts no question a second time, also not when the connection is lost.
    pub const fn without_hedge(mut self) -> Self {
        self.hedge = Hedge::Never;
        self
    }

    /// Sets how many requests are sent at once, and how many may wait for that. Default 64 and 256, at most 10,000 and 100,000.
    pub const fn with_max_concurrent(mut self, requests: usize, waiting: usize) -> Self {
        (self.max_concurrent, self.max_waiting) = (requests, waiting);
        self
    }

    /// Sets after how many failures in a row the service is left alone, and for how long. Default 5 and 1 s, at most 32 and 60 s.
    /// Half of the last 32 do so too.
    ///
    /// A failure is no whole answer, or status 429, 502, 503 or 504. Any other answer is none, whatever it says: a question that
    /// makes the service stumble must not cost others their answers.
    pub const fn with_circuit_breaker(mut self, failures: u32, open_for: Duration) -> Self {
        (self.most_failures, self.open_for) = (failures, open_for);
        self
    }

    /// Sets how long the body of an answer may be when it is decoded. Default 150,000 bytes, at most 16 MiB.
    pub const fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets how many decisions are kept, in how many bytes. Default 10,000 in 16 MiB, at most 1,000,000, at least 64 KiB.
    /// Each thread that asks has copies of some beside: see the table at [`Remote`].
    pub const fn with_cache_bounds(mut self, entries: usize, bytes: u64) -> Self {
        self.cache = Some((entries, bytes));
        self
    }

    /// Sets for how long decisions are kept at the most: permits, and what else there is. Default 5 s and 1 s, at most 60 s.
    /// Zero keeps none.
    pub const fn with_cache_lifetimes(mut self, permit: Duration, deny: Duration) -> Self {
        self.lifetimes = Lifetimes { permit, deny };
        self
    }

    /// Keeps no decision. Equal questions at the same time are still asked once.
    pub const fn without_cache(mut self) -> Self {
        self.cache = None;
        self
    }

    /// Names the members of the context that decide: questions are equal if these are, whatever else the context holds. What
    /// the policies look at and is not named here is decided as it was for somebody else a moment ago. Default: all of it.
    pub fn depends_on_context<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, names: I) -> Self {
        self.context = Part::Named(names.into_iter().map(Into::into).collect());
        self
    }

    /// Names the attributes of the resource that decide, as [`depends_on_context`](Self::depends_on_context) does for the
    /// context. Default: all, which have to be written as JSON for each question.
    pub fn depends_on_attributes<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, names: I) -> Self {
        self.attributes = Part::Named(names.into_iter().map(Into::into).collect());
        self
    }

    /// Makes the decider. Nothing is sent.
    ///
    /// # Errors
    /// [`ConfigError`] for a bound outside of what its setter says; without an HTTP client; without random bytes from the
    /// operating system.
    pub fn build(self) -> Result<Remote, ConfigError> {
        let Self {
            protocol,
            client,
            deadline,
            hedge,
            max_concurrent,
            max_waiting,
            most_failures,
            open_for,
            max_body_bytes,
            cache,
            lifetimes,
            context,
            attributes,
        } = self;
        let check =
            |holds: bool, otherwise: &'static str| if holds { Ok(()) } else { Err(ConfigError::new(otherwise)) };
        check(!deadline.is_zero() && deadline <= LONGEST_DEADLINE, "a decision may take above zero and at most 10 s")?;
        let hedge_after = match hedge {
            Hedge::Quarter if protocol.may_send_twice() => Some(deadline / 4),
            Hedge::After(_) if !protocol.may_send_twice() => {
                return Err(ConfigError::new("a question of this protocol, or of its credentials, is good only once"));
            }
            Hedge::After(after) => Some(after),
            Hedge::Quarter | Hedge::Never => None,
        };
        check(
            hedge_after.is_none_or(|after| !after.is_zero() && after < deadline),
            "a question is put a second time after above zero and before the deadline",
        )?;
        check((1..=10_000).contains(&max_concurrent), "between 1 and 10,000 decisions may be asked for at once")?;
        check(max_waiting <= 100_000, "at most 100,000 may wait for a decision")?;
        check((1..=32).contains(&most_failures), "between 1 and 32 failures in a row open the circuit breaker")?;
        check(
            !open_for.is_zero() && open_for <= MINUTE,
            "the circuit breaker is open for above zero and at most 60 s",
        )?;
        check((1..=16 << 20).contains(&max_body_bytes), "an answer has between 1 byte and 16 MiB")?;
        check(lifetimes.permit <= MINUTE && lifetimes.deny <= MINUTE, "decisions are kept for at most 60 s")?;
        let cache = match cache {
            None => DecisionCache::none(),
            Some((entries, bytes)) => {
                let holds = (1..=1_000_000).contains(&entries) && bytes >= 64 << 10;
                check(holds, "between 1 and 1,000,000 decisions may be kept, in at least 64 KiB")?;
                DecisionCache::new(entries, bytes, lifetimes)?
            }
        };
        let client = match client {
            Some(client) => client,
            None => default_client(deadline)?,
        };
        let most_calls = max_concurrent + max_waiting;
        Ok(Remote::new(Inner {
            deadline,
            exchange: Exchange {
                protocol,
                client,
                max_body_bytes,
                hedge_after,
                breaker: Breaker::new(most_failures, open_for),
                line: Semaphore::new(most_calls),
                places: Semaphore::new(max_concurrent),
            },
            keys: Keys::new(context, attributes)?,
            cache,
            flights: Arc::new(SingleFlight::new(MOST_WAITING)),
            in_batches: Arc::new(SingleFlight::new(MOST_WAITING_IN_BATCHES)),
            most_calls,
            revision: Mutex::new(None),
        }))
    }
}

#[cfg(feature = "reqwest")]
fn default_client(deadline: Duration) -> Result<Arc<dyn HttpClient>, ConfigError> {
    Ok(Arc::new(sekisho_http::ReqwestClient::new(deadline)?))
}

#[cfg(not(feature = "reqwest"))]
fn default_client(_deadline: Duration) -> Result<Arc<dyn HttpClient>, ConfigError> {
    Err(ConfigError::new("no HTTP client for the decision service: give one, or switch on the feature `reqwest`"))
}

impl fmt::Debug for RemoteBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBuilder")
            .field("protocol", &self.protocol.name())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

const LONGEST_DEADLINE: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
/// Bounds how many may wait for equal questions of others; a flood beyond it is told to come back.
const MOST_WAITING: usize = 4096;
/// Bounds how many questions of batches wait at the same time.
const MOST_WAITING_IN_BATCHES: usize = 1 << 16;
