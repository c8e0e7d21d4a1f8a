use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{AccessRequest, EvaluationsSemantic, Failure};
use serde_json::{Map, Value, json};

use super::question::{Action, Entity, Parts, Question, Subject, action, context, entity, principal};
use super::{Inner, answer};

/// Bounds the candidates of one page.
const MAX_PAGE: usize = 100;
/// Bounds a page token, in bytes.
const MAX_TOKEN: usize = 1024;

/// Names what candidates are wanted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the standard has these three")]
pub enum CandidatesOf<'a> {
    /// Subjects of this type.
    Subjects(&'a str),
    /// Resources of this type.
    Resources(&'a str),
    /// Actions on resources of this type.
    Actions(&'a str),
}

/// Names what may be found by a search; the authorizer decides about each.
///
/// Contract for implementers: a page has at most `limit` candidates, 1 to 100, fewer where the question is long; more are cut
/// off. The next page starts where this one ends. A type that is not known has no candidates, and is no failure.
#[async_trait]
pub trait Candidates: Send + Sync {
    /// Returns a page of candidates: the first one, or the one of `token`.
    ///
    /// # Errors
    /// [`Failure`] when they cannot be had.
    async fn page(&self, of: CandidatesOf<'_>, token: Option<&str>, limit: usize) -> Result<CandidatePage, Failure>;
}

/// Is something that may be found.
#[derive(Clone, Debug)]
pub struct Candidate {
    id: String,
    properties: Option<JsonObject>,
}

impl Candidate {
    /// Names a subject or resource by its id, an action by its name.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), properties: None }
    }

    /// Adds its properties, in place of those of the question.
    #[must_use]
    pub fn with_properties(mut self, properties: JsonObject) -> Self {
        self.properties = Some(properties);
        self
    }
}

/// Is a page of candidates.
#[derive(Clone, Debug, Default)]
pub struct CandidatePage {
    candidates: Vec<Candidate>,
    next: Option<String>,
}

impl CandidatePage {
    /// Takes the candidates of a page that is the last one.
    #[must_use]
    pub fn new(candidates: Vec<Candidate>) -> Self {
        Self { candidates, next: None }
    }

    /// Says that there is another page, and its token, of at most 1,000 bytes.
    #[must_use]
    pub fn with_next(mut self, token: impl Into<String>) -> Self {
        self.next = Some(token.into());
        self
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sought {
    Subjects,
    Resources,
    Actions,
}

/// Says why there is no result.
pub(super) enum NoResult {
    Malformed(&'static str),
    Failed(Failure),
}

impl From<&'static str> for NoResult {
    fn from(words: &'static str) -> Self {
        Self::Malformed(words)
    }
}

/// Answers a search (§8).
pub(super) async fn search(sought: Sought, body: &JsonObject, point: &Inner) -> Result<Value, NoResult> {
    let Some(source) = &point.candidates else { return Ok(json!({ "results": [] })) };
    let parts = Parts::of(body);
    let subject = entity(parts.subject.ok_or("subject is missing")?, sought != Sought::Subjects)?;
    let resource = entity(parts.resource.ok_or("resource is missing")?, sought != Sought::Resources)?;
    let action = match sought {
        Sought::Actions => Action { name: "".into(), properties: None },
        Sought::Subjects | Sought::Resources => action(parts.action)?,
    };
    let subject_of = |subject: &Entity| principal(subject, point);
    let asked = Question {
        subject: Subject {
            kind: Arc::clone(&subject.kind),
            principal: if sought == Sought::Subjects { None } else { subject_of(&subject)? },
        },
        action,
        resource: resource.clone(),
        context: context(parts.context)?,
    };
    let (token, limit) = page(body.get("page"), fingerprint(parts))?;
    // As in a batch, the questions of a page are bounded together.
    let limit = limit.min(point.max_questions_bytes() / parts.bytes().max(1)).max(1);
    let kind = match sought {
        Sought::Subjects => CandidatesOf::Subjects(&subject.kind),
        Sought::Resources => CandidatesOf::Resources(&resource.kind),
        Sought::Actions => CandidatesOf::Actions(&resource.kind),
    };
    let CandidatePage { mut candidates, next } =
        source.page(kind, token.as_deref(), limit).await.map_err(NoResult::Failed)?;
    candidates.truncate(limit);
    let mut questions = Vec::with_capacity(candidates.len());
    for Candidate { id, properties } in candidates {
        let (id, properties) = (Arc::from(id), properties.map(Arc::new));
        let with = |entity: &Entity| {
            let properties = properties.clone().or_else(|| entity.properties.clone());
            Entity { kind: Arc::clone(&entity.kind), id: Arc::clone(&id), properties }
        };
        let mut question = asked.clone();
        match sought {
            Sought::Subjects => question.subject.principal = subject_of(&with(&subject))?,
            Sought::Resources => question.resource = with(&resource),
            Sought::Actions => question.action = Action { name: Arc::clone(&id), properties: properties.clone() },
        }
        questions.push(question);
    }
    let now = point.clock.now();
    let asked: Vec<(&Question, AccessRequest<'_>)> =
        questions.iter().filter_map(|question| Some((question, question.request(now)?))).collect();
    let requests: Vec<_> = asked.iter().map(|(_, request)| request.clone()).collect();
    let decisions = point.authorizer.decide_all(&requests, EvaluationsSemantic::ExecuteAll).await;
    if decisions.len() != requests.len() {
        return Err(NoResult::Failed(Failure::unavailable("a search has fewer decisions than candidates")));
    }
    let mut results = Vec::new();
    for ((question, request), decision) in asked.iter().zip(decisions) {
        // A list that leaves out what could not be decided would look like a whole one.
        let decision = decision.map_err(NoResult::Failed)?;
        if decision.is_permitted() {
            let mut result = match sought {
                Sought::Subjects => entity_result(&question.subject.kind, request.subject().subject()),
                Sought::Resources => entity_result(&question.resource.kind, &question.resource.id),
                Sought::Actions => Map::from_iter([("name".to_owned(), json!(*question.action.name))]),
            };
            let obligations = answer::obligations(&decision);
            if !obligations.is_empty() {
                result.insert("obligations".into(), obligations.into());
            }
            results.push(Value::Object(result));
        }
    }
    let next = next.filter(|token| !token.is_empty()).map(|token| format!("{:016x}.{token}", fingerprint(parts)));
    Ok(json!({ "page": { "next_token": next.unwrap_or_default(), "count": results.len() }, "results": results }))
}

fn entity_result(kind: &str, id: &str) -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), json!(kind)), ("id".to_owned(), json!(id))])
}

/// Reads the page that is wanted (§8.2.1).
fn page(page: Option<JsonValue<'_>>, fingerprint: u64) -> Result<(Option<String>, usize), &'static str> {
    const WRONG: &str = "the page cannot be read";
    let Some(page) = page else { return Ok((None, MAX_PAGE)) };
    if page.kind() != JsonKind::Object {
        return Err(WRONG);
    }
    let limit = match page.member("limit") {
        None => MAX_PAGE,
        Some(limit) => limit.deserialize::<u64>().ok().and_then(|limit| usize::try_from(limit).ok()).ok_or(WRONG)?,
    };
    let Some(token) = page.member("token") else { return Ok((None, limit.clamp(1, MAX_PAGE))) };
    let token = token.as_str().filter(|token| token.len() <= MAX_TOKEN).ok_or(WRONG)?;
    if token.is_empty() {
        return Ok((None, limit.clamp(1, MAX_PAGE)));
    }
    // §8.2: with a token of another question, "PDPs SHOULD return an error".
    let own = format!("{fingerprint:016x}.");
    let token = token.strip_prefix(&own).ok_or("the page token belongs to another question")?;
    Ok((Some(token.to_owned()), limit.clamp(1, MAX_PAGE)))
}

/// Tells questions apart, by mistake rather than by intent: whoever may ask may ask both.
fn fingerprint(parts: Parts<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in [parts.subject, parts.action, parts.resource, parts.context] {
        part.map(JsonValue::as_json).hash(&mut hasher);
    }
    hasher.finish()
}
