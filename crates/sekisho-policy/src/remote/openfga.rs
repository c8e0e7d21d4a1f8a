//! OpenFGA: relations between users and objects, asked over its own HTTP API.
//!
//! The question becomes a tuple: the user is `KIND:SUB` of the principal, the relation is the action, and the object is
//! `KIND:ID` of the resource. OpenFGA reads `type:id#relation` and `type:*` out of such texts, so whatever could make
//! another tuple of a name is not sent: `:`, `#`, `*`, white space and control characters, nothing at all, or too much
//! (user 512 bytes, object 256, relation 50).
//!
//! A user is unique within an issuer, and a store knows no issuers: name [yours](OpenFgaBuilder::with_issuer).
//!
//! # Examples
//! ```
//! use sekisho_policy::remote::openfga::{Consistency, OpenFga};
//!
//! let fga = OpenFga::builder("https://fga.example", "01J0000000000000000000000S", "01J0000000000000000000000M")
//!     .with_issuer("https://id.example")
//!     .with_relation("read", "can_read")
//!     .with_consistency(Consistency::HigherConsistency)
//!     .build()?;
//! # let _ = fga;
//! # Ok::<(), sekisho_core::ConfigError>(())
//! ```
//!
//! # Bounds
//! 50 checks in a batch, 100 contextual tuples in a question, 262,144 bytes in a question, 1,000 objects in a list.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::json::JsonKind;
use sekisho_core::{
    AccessRequest, ConfigError, Decision, DecisionSource, Denial, EvaluationsSemantic, Failure, Secret,
};
use sekisho_http::{HttpRequest, HttpResponse, address};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::remote::strict::{self, malformed, unwritable};
use crate::remote::{DecisionProtocol, Remote};

/// Bounds the checks of one batch; OpenFGA's own default.
const MAX_CHECKS: usize = 50;
/// Bounds the contextual tuples of one question; OpenFGA's own bound.
const MAX_TUPLES: usize = 100;
/// Bounds the objects of a list; OpenFGA's own default. A list as long as this may be cut off.
const MAX_OBJECTS: usize = 1000;

/// Asks OpenFGA.
#[derive(Clone)]
pub struct OpenFga {
    store_url: String,
    model: String,
    token: Option<Secret>,
    issuer: Option<String>,
    relations: BTreeMap<String, String>,
    consistency: Consistency,
    sends_context: bool,
    tuples: Option<ContextualTuples>,
    digest: strict::Digest,
}

type ContextualTuples = Arc<dyn Fn(&AccessRequest<'_>) -> Vec<Relation> + Send + Sync>;

/// Says how fresh the relations must be that a decision is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the service has these two")]
pub enum Consistency {
    /// Caches of the service may answer.
    #[default]
    MinimizeLatency,
    /// The service reads what is written now.
    HigherConsistency,
}

/// Is a relation that holds for one question only: what the caller knows and the store does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Relation {
    user: String,
    relation: String,
    object: String,
}

impl Relation {
    /// Says that the user `(type, id)` has a relation to the object `(type, id)`.
    ///
    /// # Errors
    /// [`Failure`] when one of the names could be read as another tuple, as the module's head says.
    pub fn new(user: (&str, &str), relation: &str, object: (&str, &str)) -> Result<Self, Failure> {
        Ok(Self { user: name(user, MAX_USER)?, relation: relation_name(relation)?, object: name(object, MAX_OBJECT)? })
    }
}

impl OpenFga {
    /// Starts with the address of the server, a store and the authorization model that is asked: a newer one decides nothing
    /// before it is named here.
    ///
    /// `url`: `https`, or `http` to this machine; no query.
    pub fn builder(url: &str, store: &str, model: &str) -> OpenFgaBuilder {
        OpenFgaBuilder {
            url: url.to_owned(),
            store: store.to_owned(),
            asks: Self {
                store_url: String::new(),
                model: model.to_owned(),
                token: None,
                issuer: None,
                relations: BTreeMap::new(),
                consistency: Consistency::default(),
                sends_context: false,
                tuples: None,
                digest: strict::Digest::default(),
            },
        }
    }

    /// Lists the ids of the objects, of the type of the request's resource, that its subject may do its action to. The
    /// resource's own id is not looked at.
    ///
    /// For showing, not a leave: whoever acts on one asks again.
    ///
    /// It is asked through `remote`, made of a clone of this: within its time, as one of the requests that it sends at once, and
    /// not while the service is left alone. Where lists take longer than decisions may, make another `Remote` for them.
    ///
    /// # Errors
    /// [`Failure`] when a name cannot be sent, no answer comes in time or it is not one, or there are 1,000 objects or more:
    /// the service may have left some out.
    pub async fn list_objects(&self, remote: &Remote, request: &AccessRequest<'_>) -> Result<Vec<String>, Failure> {
        let kind = request.resource().kind();
        let asked = self.post(
            "list-objects",
            &ListObjects {
                kind: kind_name(kind)?,
                relation: self.relation(request)?,
                user: self.user(request)?,
                facts: self.facts(request)?,
                rules: self.rules(),
            },
        )?;
        remote.list(asked, remote.list_deadline()?, |response| read_objects(response, kind)).await
    }

    fn check(&self, request: &AccessRequest<'_>) -> Result<Check, Failure> {
        let resource = request.resource();
        let object = name((resource.kind(), resource.id()), MAX_OBJECT)?;
        let tuple_key = Relation { user: self.user(request)?, relation: self.relation(request)?, object };
        Ok(Check { tuple_key, facts: self.facts(request)? })
    }

    fn user(&self, request: &AccessRequest<'_>) -> Result<String, Failure> {
        if self.knows_not(request) {
            return Err(unwritable(STRANGER));
        }
        name((request.subject_kind(), request.subject().subject()), MAX_USER)
    }

    fn knows_not(&self, request: &AccessRequest<'_>) -> bool {
        self.issuer.as_deref().is_some_and(|issuer| issuer != request.subject().issuer())
    }

    fn relation(&self, request: &AccessRequest<'_>) -> Result<String, Failure> {
        relation_name(self.relations.get(request.action()).map_or(request.action(), String::as_str))
    }

    fn facts(&self, request: &AccessRequest<'_>) -> Result<Facts, Failure> {
        let tuple_keys = self.tuples.as_ref().map(|tuples| tuples(request)).unwrap_or_default();
        if tuple_keys.len() > MAX_TUPLES {
            return Err(unwritable("too many contextual tuples"));
        }
        let context = request.context().filter(|_| self.sends_context).map(strict::raw_object).transpose()?;
        let contextual_tuples = (!tuple_keys.is_empty()).then_some(TupleKeys { tuple_keys });
        Ok(Facts { contextual_tuples, context })
    }

    fn rules(&self) -> Rules<'_> {
        let consistency = match self.consistency {
            Consistency::MinimizeLatency => "MINIMIZE_LATENCY",
            Consistency::HigherConsistency => "HIGHER_CONSISTENCY",
        };
        Rules { authorization_model_id: &self.model, consistency }
    }

    fn post(&self, path: &str, question: &impl Serialize) -> Result<HttpRequest, Failure> {
        let request = strict::post(&format!("{}/{path}", self.store_url), question)?;
        let Some(token) = &self.token else { return Ok(request) };
        let token = token.expose_str().ok_or(unwritable("a credential cannot be sent"))?;
        Ok(request.with_header("authorization", format!("Bearer {token}")))
    }

    fn decision(&self, allowed: Option<bool>) -> Result<Decision, Failure> {
        let decision = match allowed {
            Some(true) => Decision::permit(),
            Some(false) => Decision::deny(Denial::Forbidden { reason: "there is no such relation" }),
            None => return Err(malformed("an answer does not say whether it is allowed")),
        };
        Ok(decision.with_revision(&*self.model).with_source(DecisionSource::Remote))
    }
}

/// Reads a list: the ids of objects of this type.
fn read_objects(response: &HttpResponse, kind: &str) -> Result<Vec<String>, Failure> {
    let answer = strict::json_answer(response)?;
    let objects = answer.get("objects").filter(|objects| objects.kind() == JsonKind::Array);
    let objects = objects.and_then(|objects| objects.as_strings()).ok_or(malformed("a list holds no objects"))?;
    if objects.len() >= MAX_OBJECTS {
        return Err(malformed("a list of objects may not be whole"));
    }
    let id = |object: &str| {
        let id = object.strip_prefix(kind)?.strip_prefix(':')?;
        is_name(id).then(|| id.to_owned())
    };
    let ids: Option<Vec<_>> = objects.iter().map(|object| id(object)).collect();
    ids.ok_or(malformed("a list holds something of another type"))
}

const STRANGER: &str = "the store knows no subjects of this issuer";

#[async_trait]
impl DecisionProtocol for OpenFga {
    fn name(&self) -> &'static str {
        "openfga"
    }

    fn answer_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        self.knows_not(request).then(|| Ok(Decision::refuse(Denial::Forbidden { reason: STRANGER })))
    }

    /// Contextual tuples may come of anything in the request.
    fn key_part(&self, request: &AccessRequest<'_>) -> Option<[u8; 32]> {
        self.tuples.as_ref()?;
        Some(self.digest.of(&serde_json::to_vec(&self.facts(request).ok()?).ok()?))
    }

    async fn ask(&self, request: &AccessRequest<'_>) -> Result<HttpRequest, Failure> {
        self.post("check", &SingleCheck { check: self.check(request)?, rules: self.rules() })
    }

    fn read(&self, response: &HttpResponse) -> Result<Decision, Failure> {
        self.decision(strict::json_answer(response)?.get("allowed").and_then(|allowed| allowed.as_bool()))
    }

    fn max_batch(&self) -> usize {
        MAX_CHECKS
    }

    /// All are decided, whatever the semantic; what stands behind the one at which it ends is left out when it is read.
    async fn ask_all(
        &self,
        requests: &[AccessRequest<'_>],
        _semantic: EvaluationsSemantic,
    ) -> Result<HttpRequest, Failure> {
        if requests.is_empty() || requests.len() > MAX_CHECKS {
            return Err(unwritable("no question, or too many for one batch"));
        }
        let item = |(index, request): (usize, &AccessRequest<'_>)| {
            Ok(BatchItem { check: self.check(request)?, correlation_id: correlation(index) })
        };
        let checks = requests.iter().enumerate().map(item).collect::<Result<Vec<_>, Failure>>()?;
        self.post("batch-check", &Batch { checks, rules: self.rules() })
    }

    fn read_all(
        &self,
        response: &HttpResponse,
        count: usize,
        semantic: EvaluationsSemantic,
    ) -> Result<Vec<Result<Decision, Failure>>, Failure> {
        let answer = strict::json_answer(response)?;
        let result = answer.get("result").filter(|result| result.kind() == JsonKind::Object);
        let result = result.ok_or(malformed("an answer to several checks holds no result"))?;
        let members: BTreeMap<String, &RawValue> =
            result.deserialize().map_err(|_| malformed("an answer to several checks cannot be read"))?;
        if members.len() != count {
            return Err(malformed("an answer has another number of decisions than there were questions"));
        }
        let mut decisions = Vec::with_capacity(count);
        let mut has_ended = false;
        for index in 0..count {
            let item = result.member(&correlation(index));
            let item = item.ok_or(malformed("an answer is to other questions than were asked"))?;
            let decision = match item.member("error") {
                None => self.decision(item.member("allowed").and_then(|allowed| allowed.as_bool())),
                Some(_) => Err(malformed("one of several checks could not be decided")),
            };
            if !has_ended {
                has_ended = semantic.ends_with(&decision);
                decisions.push(decision);
            }
        }
        Ok(decisions)
    }
}

impl fmt::Debug for OpenFga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFga")
            .field("store", &self.store_url)
            .field("model", &self.model)
            .field("issuer", &self.issuer)
            .field("relations", &self.relations)
            .field("consistency", &self.consistency)
            .finish_non_exhaustive()
    }
}

/// Configures [`OpenFga`].
#[must_use]
pub struct OpenFgaBuilder {
    url: String,
    store: String,
    asks: OpenFga,
}

impl OpenFgaBuilder {
    /// Authenticates us with a token, as `Authorization: Bearer`. Default: not at all.
    pub fn with_bearer(mut self, token: Secret) -> Self {
        self.asks.token = Some(token);
        self
    }

    /// Asks about subjects of this issuer only; another's are denied without asking. Default: about all, so that equal `sub`
    /// of two issuers are one user.
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.asks.issuer = Some(issuer.to_owned());
        self
    }

    /// Asks for another relation than the action's own name.
    pub fn with_relation(mut self, action: &str, relation: &str) -> Self {
        self.asks.relations.insert(action.to_owned(), relation.to_owned());
        self
    }

    /// Sets how fresh the relations must be. Default [`Consistency::MinimizeLatency`].
    pub const fn with_consistency(mut self, consistency: Consistency) -> Self {
        self.asks.consistency = consistency;
        self
    }

    /// Sends the request's context, for conditions of the model. Default: it is not sent.
    pub const fn with_context(mut self) -> Self {
        self.asks.sends_context = true;
        self
    }

    /// Adds relations that hold for one question only, such as groups out of a token.
    pub fn with_contextual_tuples(
        mut self,
        tuples: impl Fn(&AccessRequest<'_>) -> Vec<Relation> + Send + Sync + 'static,
    ) -> Self {
        self.asks.tuples = Some(Arc::new(tuples));
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`ConfigError`] when the address is not `https` nor on this machine, or has a query; store or model are not letters
    /// and digits; a relation could be read as another tuple; the token cannot be sent.
    pub fn build(self) -> Result<OpenFga, ConfigError> {
        let Self { url, store, mut asks } = self;
        address::check_issuer(&url).map_err(|error| {
            ConfigError::new(format!("the OpenFGA server {}", address::shown(&url))).with_source(error)
        })?;
        let is_id = |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id(&store) || !is_id(&asks.model) {
            return Err(ConfigError::new("the ids of a store and of an authorization model are letters and digits"));
        }
        if let Some(relation) = asks.relations.values().find(|relation| relation_name(relation).is_err()) {
            return Err(ConfigError::new(format!("no relation has the name {relation:?}")));
        }
        let is_sent =
            |token: &Secret| !token.is_empty() && token.expose().iter().all(|byte| matches!(byte, b'!'..=b'~'));
        if asks.token.as_ref().is_some_and(|token| !is_sent(token)) {
            return Err(ConfigError::new("the token for OpenFGA has characters that no header can hold"));
        }
        asks.store_url = format!("{}/stores/{store}", url.trim_end_matches('/'));
        Ok(asks)
    }
}

impl fmt::Debug for OpenFgaBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFgaBuilder").field("asks", &self.asks).finish_non_exhaustive()
    }
}

const MAX_USER: usize = 512;
const MAX_OBJECT: usize = 256;
const MAX_RELATION: usize = 50;

/// Writes `type:id`, if nothing but that can be read out of it.
/// Refuses a question whose names could be read as others, once they are put together.
pub(super) fn check_names(request: &AccessRequest<'_>) -> Result<(), Failure> {
    let resource = request.resource();
    name((request.subject_kind(), request.subject().subject()), MAX_USER)?;
    name((resource.kind(), resource.id()), MAX_OBJECT)?;
    relation_name(request.action()).map(drop)
}

fn name((kind, id): (&str, &str), max: usize) -> Result<String, Failure> {
    let name = format!("{}:{id}", kind_name(kind)?);
    if is_name(id) && name.len() <= max { Ok(name) } else { Err(AMBIGUOUS) }
}

const AMBIGUOUS: Failure = unwritable("a name could be read as another relation, so it is not asked about");

fn kind_name(kind: &str) -> Result<&str, Failure> {
    if is_name(kind) && !kind.contains('@') { Ok(kind) } else { Err(AMBIGUOUS) }
}

fn relation_name(relation: &str) -> Result<String, Failure> {
    let is_relation = is_name(relation) && !relation.contains('@') && relation.len() <= MAX_RELATION;
    if is_relation { Ok(relation.to_owned()) } else { Err(AMBIGUOUS) }
}

/// `user:*` would be everybody, and `group:x#member` all of a group. An `@` divides nothing in JSON, and stands in many ids.
fn is_name(text: &str) -> bool {
    let divides = |c: char| matches!(c, ':' | '#' | '*') || c.is_whitespace() || c.is_control();
    !text.is_empty() && !text.contains(divides)
}

fn correlation(index: usize) -> String {
    format!("q{index}")
}

#[derive(Serialize)]
struct Rules<'a> {
    authorization_model_id: &'a str,
    consistency: &'static str,
}

#[derive(Serialize)]
struct TupleKeys {
    tuple_keys: Vec<Relation>,
}

#[derive(Serialize)]
struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    contextual_tuples: Option<TupleKeys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Check {
    tuple_key: Relation,
    #[serde(flatten)]
    facts: Facts,
}

#[derive(Serialize)]
struct SingleCheck<'a> {
    #[serde(flatten)]
    check: Check,
    #[serde(flatten)]
    rules: Rules<'a>,
}

#[derive(Serialize)]
struct BatchItem {
    #[serde(flatten)]
    check: Check,
    correlation_id: String,
}

#[derive(Serialize)]
struct Batch<'a> {
    checks: Vec<BatchItem>,
    #[serde(flatten)]
    rules: Rules<'a>,
}

#[derive(Serialize)]
struct ListObjects<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    relation: String,
    user: String,
    #[serde(flatten)]
    facts: Facts,
    #[serde(flatten)]
    rules: Rules<'a>,
}

#[cfg(test)]
mod tests;
