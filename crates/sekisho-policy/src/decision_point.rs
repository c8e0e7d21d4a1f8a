//! An AuthZEN decision point: any authorizer, asked over HTTP by programs in any language
//! ([Authorization API 1.0](https://openid.net/specs/authorization-api-1_0.html)).
//!
//! `POST /access/v1/evaluation`, `/access/v1/evaluations` and, with [`Candidates`], `/access/v1/search/{subject,resource,action}`;
//! `GET /.well-known/authzen-configuration`, if its address was [stated](DecisionPointBuilder::at).
//!
//! # Who may ask
//! Whoever asks learns who may do what, and says himself who the subject is and which roles it has. So the router is put
//! behind a checkpoint, or says that it is [open to everybody](DecisionPointBuilder::open_to_everybody); otherwise it is not
//! built. A request that has not passed that very checkpoint is answered with 500, one without a good credential with 401.
//!
//! # What becomes of a question
//! - The subject is a principal of the issuer that was [stated for its type](DecisionPointBuilder::with_subjects); its
//!   properties are its claims, `roles` (strings) its roles, `scopes` (strings), else `scope`, its scopes, `tenant` its
//!   tenant. A subject of a type that was not stated, or with another `iss`, is denied without a look at the policy.
//! - Properties of the resource are its attributes. Members that the standard does not know are ignored.
//! - Permits and denials are a 200. No decision is 503 with `Retry-After`, or 500; in a batch, `false` with an `error`.
//!   Not applicable is `false`.
//!
//! # What is told of a decision
//! Obligations always, for a permit without its conditions would be another one; what the caller can mend (`acr_values`,
//! `max_age`, `required_scope`); the lifetime (`valid_for`, seconds). Reasons and the revision of the policy are told if
//! [asked for](DecisionPointBuilder::with_reasons): they show how policies are made.
//!
//! # Bounds
//! 262,144 bytes in a question, 32 levels deep, 100 evaluations in a batch, 1,024 bytes in a type, an id or a name, 256 visible
//! characters in an `X-Request-ID`, 100 candidates on a page of a search. The evaluations of a batch, and the questions of a
//! page, are 1,048,576 bytes together at the most, each with all that it takes from around it: a larger batch is a 413, and a
//! page is shorter. What stands around them is read once and shared; so one request takes 16 MiB of memory at the most, apart
//! from what the authorizer needs.
//!
//! # Examples
//! ```
//! use sekisho_core::role;
//! use sekisho_policy::decision_point::DecisionPoint;
//!
//! let router = DecisionPoint::builder(role("clerk"))
//!     .with_subjects("user", "https://id.example")
//!     .open_to_everybody() // or `.behind(&checkpoint, scope("decisions"))`, and `router.layer(checkpoint.layer())`
//!     .build()?
//!     .into_router();
//! # let _: axum::Router = router;
//! # Ok::<(), sekisho_core::ConfigError>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use sekisho_core::{Authorize, Clock, ConfigError, Requirement, SystemClock};
use sekisho_http::{Checkpoint, address};

mod answer;
mod endpoints;
mod question;
mod search;

pub use search::{Candidate, CandidatePage, Candidates, CandidatesOf};

/// Serves an authorizer's decisions.
pub struct DecisionPoint(Arc<Inner>);

struct Inner {
    authorizer: Arc<dyn Authorize>,
    /// What callers must have; `None` for everybody.
    guard: Option<(Checkpoint, Requirement)>,
    /// The issuer of each type of subjects.
    subjects: BTreeMap<String, Arc<str>>,
    /// `https://…` without a slash at its end.
    url: Option<String>,
    candidates: Option<Arc<dyn Candidates>>,
    tells_reasons: bool,
    max_evaluations: usize,
    max_body_bytes: usize,
    clock: Arc<dyn Clock>,
}

impl Inner {
    /// Bounds the questions of one request together, in bytes, with what they have in common in each.
    const fn max_questions_bytes(&self) -> usize {
        self.max_body_bytes.saturating_mul(4)
    }
}

impl DecisionPoint {
    /// Starts with who decides.
    pub fn builder(authorizer: impl Authorize + 'static) -> DecisionPointBuilder {
        DecisionPointBuilder {
            inner: Inner {
                authorizer: Arc::new(authorizer),
                guard: None,
                subjects: BTreeMap::new(),
                url: None,
                candidates: None,
                tells_reasons: false,
                max_evaluations: 100,
                max_body_bytes: 256 * 1024,
                clock: Arc::new(SystemClock),
            },
            is_open: false,
        }
    }

    /// Makes the routes. With a checkpoint, put its layer around them.
    pub fn into_router(self) -> Router {
        let mut router = Router::new()
            .route("/access/v1/evaluation", post(endpoints::evaluation))
            .route("/access/v1/evaluations", post(endpoints::evaluations));
        if self.0.candidates.is_some() {
            router = router
                .route("/access/v1/search/subject", post(endpoints::search_subjects))
                .route("/access/v1/search/resource", post(endpoints::search_resources))
                .route("/access/v1/search/action", post(endpoints::search_actions));
        }
        if self.0.url.is_some() {
            router = router.route("/.well-known/authzen-configuration", get(endpoints::metadata));
        }
        router.with_state(self.0)
    }
}

impl fmt::Debug for DecisionPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionPoint")
            .field("authorizer", &self.0.authorizer.outline().name())
            .field("is_guarded", &self.0.guard.is_some())
            .field("subjects", &self.0.subjects)
            .field("url", &self.0.url)
            .finish_non_exhaustive()
    }
}

/// Configures a [`DecisionPoint`].
#[must_use]
pub struct DecisionPointBuilder {
    inner: Inner,
    is_open: bool,
}

impl DecisionPointBuilder {
    /// Answers only requests that have passed `checkpoint`, whose layer is put around the router, with a principal that
    /// satisfies `rule`.
    pub fn behind(mut self, checkpoint: &Checkpoint, rule: Requirement) -> Self {
        self.inner.guard = Some((checkpoint.clone(), rule));
        self
    }

    /// Answers whoever can reach it: on a loopback address, or where something before it checks who asks.
    pub const fn open_to_everybody(mut self) -> Self {
        self.is_open = true;
        self
    }

    /// Says whose subjects those of a type are: `("user", "https://id.example")`. At least one type is needed.
    ///
    /// Two types of one issuer are told apart by the policy only: a `service` and a `user` of the same id are then the same
    /// principal.
    pub fn with_subjects(mut self, kind: &str, issuer: &str) -> Self {
        self.inner.subjects.insert(kind.to_owned(), issuer.into());
        self
    }

    /// States the address under which it is known, its name in the metadata: `https://HOST`, or `http` on this machine,
    /// without a path. Default: none, and no metadata.
    pub fn at(mut self, url: &str) -> Self {
        self.inner.url = Some(url.to_owned());
        self
    }

    /// Answers searches: of the candidates that are named here, those are found that the authorizer permits. Default: 404.
    pub fn with_candidates(mut self, candidates: impl Candidates + 'static) -> Self {
        self.inner.candidates = Some(Arc::new(candidates));
        self
    }

    /// Tells the reasons of a decision and the revision of the policy. Default: not.
    pub const fn with_reasons(mut self) -> Self {
        self.inner.tells_reasons = true;
        self
    }

    /// Bounds the evaluations of one request. Default 100.
    pub const fn with_max_evaluations(mut self, count: usize) -> Self {
        self.inner.max_evaluations = count;
        self
    }

    /// Bounds a request in bytes. Default 262,144. The questions of a batch or of a page of a search may be four times as
    /// long together, each with what it takes from around it.
    pub const fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.inner.max_body_bytes = bytes;
        self
    }

    /// Sets the clock. Default: the system's.
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.inner.clock = Arc::new(clock);
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`ConfigError`] when neither [`behind`](Self::behind) nor [`open_to_everybody`](Self::open_to_everybody) was said, or
    /// both; no type of subjects was stated, or one is empty; the address is not usable or has a path; a bound is 0.
    pub fn build(self) -> Result<DecisionPoint, ConfigError> {
        let Self { mut inner, is_open } = self;
        if is_open == inner.guard.is_some() {
            return Err(ConfigError::new("either a checkpoint before the decision point, or it is open to everybody"));
        }
        if inner.subjects.is_empty() || inner.subjects.iter().any(|(kind, issuer)| kind.is_empty() || issuer.is_empty())
        {
            return Err(ConfigError::new("no issuer was stated for the subjects that are asked about"));
        }
        if inner.max_evaluations == 0 || inner.max_body_bytes == 0 {
            return Err(ConfigError::new("a decision point that takes nothing"));
        }
        if let Some(url) = &mut inner.url {
            let checked = address::check_issuer(url).map_err(|error| {
                ConfigError::new(format!("the address {} of the decision point", address::shown(url)))
                    .with_source(error)
            })?;
            if checked.path() != "/" || url.ends_with('/') {
                return Err(ConfigError::new("the address of a decision point has no path, and no slash at its end"));
            }
        }
        Ok(DecisionPoint(Arc::new(inner)))
    }
}

impl fmt::Debug for DecisionPointBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionPointBuilder").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
