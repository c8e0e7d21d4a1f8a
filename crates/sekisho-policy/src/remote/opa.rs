//! OPA by its REST data API.
//!
//! ```
//! use sekisho_core::Secret;
//! use sekisho_policy::remote::{Remote, opa::Opa};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "reqwest")] {
//! let protocol = Opa::at("http://127.0.0.1:8181", "shop/authz")?
//!     .with_claims(["department"])
//!     .with_token(Secret::from("opa-token"));
//! let opa = Remote::builder(protocol).build()?;
//! # assert!(!opa.health().is_open); }
//! # Ok(()) }
//! ```

use std::fmt;

use async_trait::async_trait;
use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{AccessRequest, ConfigError, Decision, EvaluationsSemantic, Failure, FailureKind, Secret};
use sekisho_http::{HttpMethod, HttpRequest, HttpResponse, address};

use super::DecisionProtocol;
use super::body::compress;
use crate::input::InputOptions;
use crate::outcome;

/// Asks OPA: `POST /v1/data/<path>` with `{"input": …}`.
///
/// The input is the one that Rego in process gets (`type`, `id`, `issuer`, `roles`, `scopes` … of the subject, `action`,
/// `resource`, `context`, `now`). The rule at the path comes to
///
/// | result | decision |
/// |---|---|
/// | `true`, `false` | permit, deny |
/// | an object with `decision` or `allow`, a boolean | that, with its `reasons`, `obligations` and `lifetime_s` |
/// | nothing: the rule is undefined, or not there | not applicable |
/// | anything else | failure |
///
/// OPA's `decision_id` is the id of the [`Decision`]; the revisions of its bundles are the decision's revision, so that a new
/// bundle ends what a [`Remote`](super::Remote) has kept.
///
/// OPA itself knows no batch: several questions are put one beside the other, as many at once as `Remote` allows. OPA
/// Enterprise does, see [`with_batch`](Self::with_batch). To ask less often, write one rule that takes a list.
pub struct Opa {
    url: String,
    batch_url: Option<String>,
    provenance: bool,
    authorization: Option<Secret>,
    input: InputOptions,
    gzip_above: usize,
}

impl Opa {
    /// Names the server and the rule.
    ///
    /// - `server`: for example `http://127.0.0.1:8181` or `https://opa.example/prefix`; plain http for this machine only.
    /// - `path`: the package and the rule, `shop/authz/allow`: names of letters, digits, `_` and `-`, with slashes between them.
    ///
    /// # Errors
    /// [`ConfigError`] for anything else.
    pub fn at(server: &str, path: &str) -> Result<Self, ConfigError> {
        let url = address::check_issuer(server).map_err(|error| {
            ConfigError::new(format!("the decision service `{}` cannot be asked", address::shown(server)))
                .with_source(error)
        })?;
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if path.len() > LONGEST_PATH || !path.split('/').all(is_name) {
            return Err(ConfigError::new(
                "the path of a rule is names of letters, digits, `_` and `-`, with slashes between them",
            ));
        }
        let url = format!("{}/v1/data/{path}", url.as_str().trim_end_matches('/'));
        Ok(Self {
            url,
            batch_url: None,
            provenance: true,
            authorization: None,
            input: InputOptions::default(),
            gzip_above: 2048,
        })
    }

    /// Sends `Authorization: Bearer` with this token, which OPA asks for with `--authentication=token`.
    #[must_use]
    pub fn with_token(mut self, token: Secret) -> Self {
        self.authorization = Some(token);
        self
    }

    /// Lets the policies see these claims of the subject's token, by name, as its `properties`. Default: none.
    #[must_use]
    pub fn with_claims<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, names: I) -> Self {
        self.input = InputOptions::with_claims(names);
        self
    }

    /// Does not ask for the revisions of the bundles. A new bundle then shows when what is kept has ended, 5 s at the latest.
    #[must_use]
    pub const fn without_provenance(mut self) -> Self {
        self.provenance = false;
        self
    }

    /// Sets from how many bytes on a question is sent compressed. Default 2,048.
    #[must_use]
    pub const fn with_gzip_above(mut self, bytes: usize) -> Self {
        self.gzip_above = bytes;
        self
    }

    /// Puts up to 100 questions into one request, to `/v1/batch/data/<path>`, which OPA Enterprise has and OPA has not.
    #[must_use]
    pub fn with_batch(mut self) -> Self {
        self.batch_url = Some(self.url.replacen("/v1/data/", "/v1/batch/data/", 1));
        self
    }

    fn post(&self, url: &str, body: Vec<u8>) -> Result<HttpRequest, Failure> {
        let query = if self.provenance { "?provenance=true" } else { "" };
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json".to_owned()),
            ("accept-encoding", "gzip".to_owned()),
        ];
        if let Some(token) = &self.authorization {
            let token = token
                .expose_str()
                .ok_or(Failure::new(FailureKind::Misconfigured, "the token for the decision service is no text"))?;
            headers.push(("authorization", format!("Bearer {token}")));
        }
        compress(HttpRequest { method: HttpMethod::Post, url: format!("{url}{query}"), headers, body }, self.gzip_above)
    }
}

#[async_trait]
impl DecisionProtocol for Opa {
    fn name(&self) -> &'static str {
        "opa"
    }

    async fn ask(&self, request: &AccessRequest<'_>) -> Result<HttpRequest, Failure> {
        let mut body = br#"{"input":"#.to_vec();
        body.append(&mut self.input.write(request)?);
        body.push(b'}');
        self.post(&self.url, body)
    }

    fn read(&self, response: &HttpResponse) -> Result<Decision, Failure> {
        let answer = object(response, &[200])?;
        let decision = outcome::decision(answer.get("result"))?;
        with_origin(decision, &answer, revision(&answer)?)
    }

    fn max_batch(&self) -> usize {
        if self.batch_url.is_some() { MAX_BATCH } else { 1 }
    }

    async fn ask_all(
        &self,
        requests: &[AccessRequest<'_>],
        _semantic: EvaluationsSemantic,
    ) -> Result<HttpRequest, Failure> {
        let Some(url) = &self.batch_url else { return Err(NO_BATCH) };
        let mut body = br#"{"inputs":{"#.to_vec();
        for (index, request) in requests.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            body.extend_from_slice(format!("{comma}\"{index}\":").as_bytes());
            body.append(&mut self.input.write(request)?);
            if body.len() > LONGEST_BATCH_BYTES {
                return Err(Failure::new(FailureKind::Misconfigured, "the inputs of a batch are too large"));
            }
        }
        body.extend_from_slice(b"}}");
        self.post(url, body)
    }

    fn read_all(
        &self,
        response: &HttpResponse,
        count: usize,
        _semantic: EvaluationsSemantic,
    ) -> Result<Vec<Result<Decision, Failure>>, Failure> {
        // 207: some could not be evaluated.
        let answer = object(response, &[200, 207])?;
        let responses = answer.get("responses").and_then(|responses| nested(responses)).ok_or(NO_DECISION)?;
        // Where the path is undefined for all there are no responses at all; somebody else's are none of ours.
        if responses.len() != count {
            return Err(NO_DECISION);
        }
        let shared = revision(&answer)?;
        (0..count)
            .map(|index| {
                let item = responses.get(&index.to_string()).and_then(|item| nested(item)).ok_or(NO_DECISION)?;
                Ok(read_item(&item, shared.as_deref()))
            })
            .collect()
    }
}

fn read_item(item: &JsonObject, shared: Option<&str>) -> Result<Decision, Failure> {
    let status = item.get("http_status_code");
    let is_good = status.is_none_or(|status| status.as_str().as_deref() == Some("200"));
    if !is_good || item.get("code").is_some() || item.get("errors").is_some() {
        return Err(NO_DECISION);
    }
    let revision = revision(item)?.or_else(|| shared.map(str::to_owned));
    with_origin(outcome::decision(item.get("result"))?, item, revision)
}

/// Reads the body, which must be what it was promised to be.
fn object(response: &HttpResponse, statuses: &[u16]) -> Result<JsonObject, Failure> {
    if !statuses.contains(&response.status) {
        return Err(match response.status {
            401 | 403 => Failure::new(FailureKind::BadGateway, "OPA refuses to be asked by us"),
            _ => Failure::new(FailureKind::BadGateway, "OPA answered with a status that comes with no decision"),
        });
    }
    let media_type = response.header("content-type").and_then(|media_type| media_type.split(';').next());
    if !media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json")) {
        return Err(NO_DECISION);
    }
    JsonObject::parse(response.body.clone()).map_err(|error| NO_DECISION.with_source(error))
}

fn nested(value: JsonValue<'_>) -> Option<JsonObject> {
    if value.kind() != JsonKind::Object {
        return None;
    }
    JsonObject::parse(value.as_json().as_bytes().to_vec()).ok()
}

fn with_origin(mut decision: Decision, answer: &JsonObject, revision: Option<String>) -> Result<Decision, Failure> {
    if let Some(id) = answer.get("decision_id") {
        let id = id.as_str().filter(|id| !id.is_empty() && id.len() <= LONGEST_ID).ok_or(NO_DECISION)?;
        decision = decision.with_id(&*id);
    }
    if let Some(revision) = revision {
        decision = decision.with_revision(revision);
    }
    Ok(decision)
}

/// Writes the revisions of the bundles: that of the only one, or `name=revision` of each, in the order of their names.
fn revision(answer: &JsonObject) -> Result<Option<String>, Failure> {
    let Some(provenance) = answer.get("provenance") else { return Ok(None) };
    let provenance = nested(provenance).ok_or(NO_DECISION)?;
    let Some(bundles) = provenance.get("bundles") else { return Ok(None) };
    let bundles = nested(bundles).ok_or(NO_DECISION)?;
    let mut revisions = Vec::with_capacity(bundles.len());
    for (name, bundle) in bundles.iter() {
        let bundle = nested(bundle).ok_or(NO_DECISION)?;
        let Some(revision) = bundle.get("revision") else { continue };
        revisions.push((name.to_owned(), revision.as_str().ok_or(NO_DECISION)?.into_owned()));
    }
    revisions.sort_unstable();
    let text = match revisions.as_slice() {
        [(_, revision)] => revision.clone(),
        _ => revisions.iter().map(|(name, revision)| format!("{name}={revision}")).collect::<Vec<_>>().join(","),
    };
    match text.len() {
        0 => Ok(None),
        1..=LONGEST_REVISION => Ok(Some(text)),
        _ => Err(NO_DECISION),
    }
}

impl fmt::Debug for Opa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, batch_url, provenance, authorization: _, input, gzip_above } = self;
        f.debug_struct("Opa")
            .field("url", &address::shown(url))
            .field("has_batch", &batch_url.is_some())
            .field("provenance", provenance)
            .field("input", input)
            .field("gzip_above", gzip_above)
            .finish_non_exhaustive()
    }
}

const NO_DECISION: Failure = Failure::new(FailureKind::BadGateway, "OPA answered something that is no decision");
const NO_BATCH: Failure = Failure::new(FailureKind::Misconfigured, "this OPA was not said to know batches");
const MAX_BATCH: usize = 100;
const LONGEST_BATCH_BYTES: usize = 8 << 20;
const LONGEST_PATH: usize = 1024;
const LONGEST_ID: usize = 256;
const LONGEST_REVISION: usize = 4096;

#[cfg(test)]
mod tests;
