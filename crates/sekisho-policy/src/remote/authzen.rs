//! AuthZEN: decision services that speak the [Authorization API 1.0](https://openid.net/specs/authorization-api-1_0.html),
//! Cerbos, OpenFGA and our own [decision point](crate::decision_point) among them.
//!
//! # What is asked
//! The subject is `{type, id}` from [`AccessRequest::subject_kind`] and the principal's `sub`, with the properties `iss`,
//! `roles`, `scopes`, `tenant`, and those claims that are [allowed by name](AuthZenBuilder::with_claims); nothing else of a
//! token leaves the service. Each question has an `X-Request-ID` of its own; an answer that names another is none.
//!
//! # What is kept of the answer
//! `decision` must be `true` or `false`; every status but 200 is a failure, never a decision. Of `context`:
//!
//! | member | becomes |
//! |---|---|
//! | `obligations` ([Obligations Profile](https://openid.github.io/authzen/authzen-obligations-profile-1_0.html): `type`, `properties`) | [`Obligation`](sekisho_core::Obligation)s, also unknown ones, which an [`Enforcer`](sekisho_core::Enforcer) refuses; one that cannot be read makes a denial of a permit |
//! | `acr_values`, `max_age` | a denial that the caller can mend by a login; beside a permit, the obligation to step up |
//! | `required_scope` | a denial that names the missing scopes |
//! | `reasons`, `reason`, `reason_admin` | reasons; `reason_user` is not kept |
//! | `policy_revision` | the revision |
//! | `valid_for` (seconds) | the lifetime |
//!
//! The last four but `reason_admin` are our decision point's words; the standard has none for them. The answer to several
//! questions decides none of them unless it has as many items as its semantic wants.
//!
//! # Examples
//! ```
//! use sekisho_core::Secret;
//! use sekisho_policy::remote::authzen::AuthZen;
//!
//! let pdp = AuthZen::builder("https://pdp.example")
//!     .with_bearer(Secret::from("a token of ours"))
//!     .with_issuer("https://id.example")
//!     .with_claims(["department"])
//!     .build()?;
//! # let _ = pdp;
//! # Ok::<(), sekisho_core::ConfigError>(())
//! ```
//!
//! # Bounds
//! A question has at most 262,144 bytes, a decision 32 obligations and 16 reasons of 256 bytes each, a search 20 pages and
//! 10,000 results.

use std::fmt;

use async_trait::async_trait;
use sekisho_core::{AccessRequest, Decision, Denial, EvaluationsSemantic, Failure, Secret};
use sekisho_http::{HttpRequest, HttpResponse};

use crate::remote::{DecisionProtocol, strict};

mod answer;
mod builder;
mod metadata;
mod question;
mod search;

pub use builder::AuthZenBuilder;
pub use metadata::AuthZenMetadata;
pub use search::Sought;

const REQUEST_ID: &str = "x-request-id";

/// Asks a decision service over AuthZEN.
#[derive(Clone)]
pub struct AuthZen {
    endpoints: Endpoints,
    credentials: Vec<(&'static str, Secret)>,
    subjects: Subjects,
    max_batch: usize,
    echoes_ids: bool,
    digest: strict::Digest,
}

/// Where the five questions are put; `None` where the service cannot be asked.
#[derive(Clone, Debug)]
struct Endpoints {
    evaluation: String,
    evaluations: Option<String>,
    subjects: Option<String>,
    resources: Option<String>,
    actions: Option<String>,
}

impl Endpoints {
    /// The paths of §10.1, below the address of the service.
    fn below(base: &str) -> Self {
        let at = |path: &str| format!("{}/access/v1/{path}", base.trim_end_matches('/'));
        Self {
            evaluation: at("evaluation"),
            evaluations: Some(at("evaluations")),
            subjects: Some(at("search/subject")),
            resources: Some(at("search/resource")),
            actions: Some(at("search/action")),
        }
    }
}

/// What is told of a subject.
#[derive(Clone, Debug)]
struct Subjects {
    issuer: Option<String>,
    roles_property: &'static str,
    claims: Vec<String>,
    /// Whether the service puts names together, so that what divides them must not stand in one.
    joins_names: bool,
}

impl Subjects {
    /// Tells whether a question is about somebody else's subject.
    fn knows_not(&self, request: &AccessRequest<'_>) -> bool {
        self.issuer.as_deref().is_some_and(|issuer| issuer != request.subject().issuer())
    }
}

impl AuthZen {
    /// Starts with the address of a decision service, below which the paths of the standard lie.
    ///
    /// `url`: `https`, or `http` to this machine; no query.
    pub fn builder(url: &str) -> AuthZenBuilder {
        AuthZenBuilder {
            url: url.to_owned(),
            endpoints: None,
            credentials: Vec::new(),
            subjects: Subjects { issuer: None, roles_property: "roles", claims: Vec::new(), joins_names: false },
            max_batch: 100,
            echoes_ids: true,
        }
    }

    /// Starts for Cerbos: it takes the roles from the property `cerbos.roles`.
    ///
    /// Questions are put one by one: in a batch, Cerbos (0.51) gives to all that have the same subject id and resource id
    /// the answer of the first, whatever their properties.
    pub fn cerbos(url: &str) -> AuthZenBuilder {
        let mut builder = Self::builder(url);
        builder.subjects.roles_property = "cerbos.roles";
        builder.max_batch = 1;
        builder
    }

    /// Starts for a store of OpenFGA, which must have been started with `--experimentals=authzen`. The model that is named is
    /// asked, and no newer one.
    ///
    /// OpenFGA (1.22) answers with request ids of its own, so they are not compared. It makes `type:id` of names, and reads
    /// `user:*` as everybody: names that could be read as others are failures, as with
    /// [`OpenFga`](crate::remote::openfga::OpenFga).
    pub fn openfga(url: &str, store: &str, model: &str) -> AuthZenBuilder {
        let mut builder = Self::builder(&format!("{}/stores/{store}", url.trim_end_matches('/')));
        builder.echoes_ids = false;
        builder.subjects.joins_names = true;
        builder.with_header("openfga-authorization-model-id", Secret::from(model))
    }

    fn with_headers(&self, mut request: HttpRequest) -> Result<HttpRequest, Failure> {
        request.headers.push((REQUEST_ID, strict::random_id()?));
        for (name, value) in &self.credentials {
            let value = value.expose_str().ok_or(strict::unwritable("a credential cannot be sent"))?;
            request.headers.push((name, value.to_owned()));
        }
        Ok(request)
    }
}

impl AuthZen {
    /// An answer may leave the id out, as not every service sends it back, but must not have another (§10.1.3).
    fn check_request_id(&self, asked: &HttpRequest, response: &HttpResponse) -> Result<(), Failure> {
        let sent = asked.headers.iter().find(|(name, _)| *name == REQUEST_ID).map(|(_, value)| value.as_str());
        let mut echoes = response.headers.iter().filter(|(name, _)| name == REQUEST_ID);
        if !self.echoes_ids || echoes.all(|(_, value)| Some(value.as_str()) == sent) {
            return Ok(());
        }
        Err(strict::malformed("the answer is to another request"))
    }
}

impl fmt::Debug for AuthZen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoints, credentials: _, subjects, max_batch, echoes_ids, digest: _ } = self;
        f.debug_struct("AuthZen")
            .field("endpoints", endpoints)
            .field("subjects", subjects)
            .field("max_batch", max_batch)
            .field("echoes_ids", echoes_ids)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl DecisionProtocol for AuthZen {
    fn name(&self) -> &'static str {
        "authzen"
    }

    fn answer_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        const STRANGER: Denial = Denial::Forbidden { reason: "the decision service knows no subjects of this issuer" };
        self.subjects.knows_not(request).then(|| Ok(Decision::refuse(STRANGER)))
    }

    /// What is told of the subject: two tokens of one subject may have other scopes.
    fn key_part(&self, request: &AccessRequest<'_>) -> Option<[u8; 32]> {
        let subject = question::subject(request, &self.subjects).ok()?;
        Some(self.digest.of(&serde_json::to_vec(&subject).ok()?))
    }

    async fn ask(&self, request: &AccessRequest<'_>) -> Result<HttpRequest, Failure> {
        let question = question::Evaluation::of(request, &self.subjects)?;
        self.with_headers(strict::post(&self.endpoints.evaluation, &question)?)
    }

    fn check_answer(&self, asked: &HttpRequest, response: &HttpResponse) -> Result<(), Failure> {
        self.check_request_id(asked, response)?;
        match strict::json_answer(response) {
            Ok(answer) if !answer::speaks_of(&answer, &asked.body) => {
                Err(strict::malformed("the answers are to other questions than were asked"))
            }
            // What is no answer at all is found out by reading it.
            _ => Ok(()),
        }
    }

    fn read(&self, response: &HttpResponse) -> Result<Decision, Failure> {
        let answer = strict::json_answer(response)?;
        answer::decision(answer.get("decision"), answer.get("context"), request_id(response))
    }

    fn max_batch(&self) -> usize {
        if self.endpoints.evaluations.is_some() { self.max_batch } else { 1 }
    }

    async fn ask_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Result<HttpRequest, Failure> {
        let url = self.endpoints.evaluations.as_ref().filter(|_| self.max_batch > 1);
        let url = url.ok_or(strict::unwritable("this decision service knows no batch"))?;
        // None at all would be taken for a single question.
        if requests.is_empty() || requests.len() > self.max_batch {
            return Err(strict::unwritable("no question, or too many for one batch"));
        }
        let question = question::Evaluations::of(requests, semantic, &self.subjects)?;
        self.with_headers(strict::post(url, &question)?)
    }

    fn read_all(
        &self,
        response: &HttpResponse,
        count: usize,
        semantic: EvaluationsSemantic,
    ) -> Result<Vec<Result<Decision, Failure>>, Failure> {
        answer::decisions(&strict::json_answer(response)?, count, semantic, request_id(response))
    }
}

fn request_id(response: &HttpResponse) -> Option<&str> {
    response.header(REQUEST_ID).filter(|id| answer::is_plain(id))
}

#[cfg(test)]
mod tests;
