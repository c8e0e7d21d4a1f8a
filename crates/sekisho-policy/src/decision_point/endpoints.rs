//! The routes.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{Decision, EvaluationsSemantic, Failure};
use sekisho_http::{HeadParts, Passage};
use serde_json::{Value, json};

use super::question::{Defaults, Malformed, Parts, Question};
use super::search::{NoResult, Sought, search};
use super::{Inner, answer};

const REQUEST_ID: &str = "x-request-id";
/// Bounds a request id, in visible ASCII characters.
const MAX_REQUEST_ID: usize = 256;

pub(super) async fn evaluation(State(point): State<Arc<Inner>>, request: Request) -> Response {
    answer_to(&point, request, async |body| one(body, &point).await).await
}

pub(super) async fn evaluations(State(point): State<Arc<Inner>>, request: Request) -> Response {
    answer_to(&point, request, async |body| several(body, &point).await).await
}

pub(super) async fn search_subjects(State(point): State<Arc<Inner>>, request: Request) -> Response {
    answer_to(&point, request, async |body| found(Sought::Subjects, body, &point).await).await
}

pub(super) async fn search_resources(State(point): State<Arc<Inner>>, request: Request) -> Response {
    answer_to(&point, request, async |body| found(Sought::Resources, body, &point).await).await
}

pub(super) async fn search_actions(State(point): State<Arc<Inner>>, request: Request) -> Response {
    answer_to(&point, request, async |body| found(Sought::Actions, body, &point).await).await
}

pub(super) async fn metadata(State(point): State<Arc<Inner>>) -> Response {
    let url = point.url.as_deref().unwrap_or_default();
    let mut document = json!({
        "policy_decision_point": url,
        "access_evaluation_endpoint": format!("{url}/access/v1/evaluation"),
        "access_evaluations_endpoint": format!("{url}/access/v1/evaluations"),
    });
    if point.candidates.is_some()
        && let Some(document) = document.as_object_mut()
    {
        for name in ["subject", "resource", "action"] {
            document.insert(format!("search_{name}_endpoint"), json!(format!("{url}/access/v1/search/{name}")));
        }
    }
    answer::json_response(&document)
}

/// Does what all questions have in common: whether the caller may ask, the form of the request, and its id in the answer.
async fn answer_to(point: &Inner, request: Request, answer: impl AsyncFnOnce(&JsonObject) -> Response) -> Response {
    if let Some((checkpoint, rule)) = &point.guard {
        let head = HeadParts { method: request.method().as_str(), path: request.uri().path(), headers: &[] };
        let passed = checkpoint.check_passage(request.extensions().get::<Passage>(), rule, &head);
        if let Err(refusal) = passed {
            return answer::refusal(&refusal);
        }
    }
    let bad = |words| answer::message(StatusCode::BAD_REQUEST, words);
    let Ok(id) = request_id(request.headers()) else {
        return bad("X-Request-ID is one, of at most 256 visible characters");
    };
    let id = id.cloned();
    let mut response = match body(point, request).await {
        Err((status, words)) => answer::message(status, words),
        Ok(body) => answer(&body).await,
    };
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn request_id(headers: &HeaderMap) -> Result<Option<&HeaderValue>, ()> {
    let mut ids = headers.get_all(REQUEST_ID).iter();
    let Some(id) = ids.next() else { return Ok(None) };
    let is_visible = id.as_bytes().iter().all(|byte| matches!(byte, b'!'..=b'~'));
    let is_one = ids.next().is_none() && (1..=MAX_REQUEST_ID).contains(&id.len());
    if is_visible && is_one { Ok(Some(id)) } else { Err(()) }
}

async fn body(point: &Inner, request: Request) -> Result<JsonObject, (StatusCode, &'static str)> {
    let mut types = request.headers().get_all(CONTENT_TYPE).iter();
    let is_json = types.next().and_then(|value| value.to_str().ok()).is_some_and(is_json);
    if !is_json || types.next().is_some() {
        return Err((StatusCode::BAD_REQUEST, "the content type is application/json"));
    }
    let bytes = to_bytes(request.into_body(), point.max_body_bytes).await;
    let bytes = bytes.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large, or broke off"))?;
    JsonObject::parse(bytes.into()).map_err(|_| (StatusCode::BAD_REQUEST, "the request is one JSON object"))
}

fn is_json(media_type: &str) -> bool {
    media_type.split(';').next().unwrap_or_default().trim_ascii().eq_ignore_ascii_case("application/json")
}

fn malformed(words: Malformed) -> Response {
    answer::message(StatusCode::BAD_REQUEST, words)
}

async fn found(sought: Sought, body: &JsonObject, point: &Inner) -> Response {
    match search(sought, body, point).await {
        Ok(results) => answer::json_response(&results),
        Err(NoResult::Malformed(words)) => malformed(words),
        Err(NoResult::Failed(failure)) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> Response {
    tracing::warn!(target: "sekisho", error = %failure, "the decision point has no decision");
    answer::failure(failure)
}

async fn one(body: &JsonObject, point: &Inner) -> Response {
    let question = match Question::of(Parts::of(body), point) {
        Ok(question) => question,
        Err(words) => return malformed(words),
    };
    let Some(request) = question.request(point.clock.now()) else { return answer::json_response(&stranger()) };
    let decision = match point.authorizer.decide_now(&request) {
        Some(decision) => decision,
        None => point.authorizer.decide(&request).await,
    };
    match decision {
        Ok(decision) => answer::json_response(&answer::decision(&decision, point)),
        Err(failure) => failed(&failure),
    }
}

fn stranger() -> Value {
    answer::error(404, "no subject of this type or issuer is known")
}

async fn several(body: &JsonObject, point: &Inner) -> Response {
    let items = match body.get("evaluations") {
        // §7.1: without evaluations it is a single one.
        None => return one(body, point).await,
        Some(items) if items.kind() == JsonKind::Array => items.elements(),
        Some(_) => return malformed("evaluations is an array"),
    };
    if items.is_empty() {
        return one(body, point).await;
    }
    if items.len() > point.max_evaluations {
        return malformed("more evaluations than are taken at once");
    }
    let semantic = match semantic(body.get("options")) {
        Ok(semantic) => semantic,
        Err(words) => return malformed(words),
    };
    let Some(questions) = questions(&items, Parts::of(body), point) else {
        return answer::message(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the evaluations are too large together, each with what it takes from around it",
        );
    };
    let evaluations = decide_all(&questions, semantic, point).await;
    answer::json_response(&json!({ "evaluations": evaluations }))
}

/// Reads the questions of a batch; `None` when they are too large together.
fn questions(items: &[JsonValue<'_>], around: Parts<'_>, point: &Inner) -> Option<Vec<Result<Question, Malformed>>> {
    // Here the items share what stands around them. Whoever decides may write each question out: for a decision service, for
    // the log.
    let bytes: usize = items.iter().map(|item| Parts::of_item(*item).over(around).bytes()).sum();
    let defaults = Defaults::new(around);
    (bytes <= point.max_questions_bytes()).then(|| items.iter().map(|item| defaults.question(*item, point)).collect())
}

fn semantic(options: Option<JsonValue<'_>>) -> Result<EvaluationsSemantic, Malformed> {
    let Some(options) = options else { return Ok(EvaluationsSemantic::ExecuteAll) };
    if options.kind() != JsonKind::Object {
        return Err("options is an object");
    }
    let Some(semantic) = options.member("evaluations_semantic") else { return Ok(EvaluationsSemantic::ExecuteAll) };
    match semantic.as_str().as_deref() {
        Some("execute_all") => Ok(EvaluationsSemantic::ExecuteAll),
        Some("deny_on_first_deny") => Ok(EvaluationsSemantic::DenyOnFirstDeny),
        Some("permit_on_first_permit") => Ok(EvaluationsSemantic::PermitOnFirstPermit),
        _ => Err("there is no such evaluations_semantic"),
    }
}

/// Decides the questions that can be asked, and puts what is to be said of the others between (§7.2.1: an error in one
/// evaluation is a denial of that one).
async fn decide_all(
    questions: &[Result<Question, Malformed>],
    semantic: EvaluationsSemantic,
    point: &Inner,
) -> Vec<Value> {
    let now = point.clock.now();
    let is_denied =
        |question: &Result<Question, Malformed>| !question.as_ref().is_ok_and(|one| one.subject.principal.is_some());
    // A denial that needs no decision ends it as any other.
    let end = match semantic {
        EvaluationsSemantic::DenyOnFirstDeny => {
            questions.iter().position(is_denied).map_or(questions.len(), |at| at + 1)
        }
        _ => questions.len(),
    };
    let questions = questions.get(..end).unwrap_or(questions);
    let asked = questions.iter().filter_map(|question| question.as_ref().ok()?.request(now));
    let asked: Vec<_> = asked.collect();
    let mut decisions = point.authorizer.decide_all(&asked, semantic).await.into_iter();
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        let decision: Option<Result<Decision, Failure>> = match question {
            Err(words) => {
                answers.push(answer::error(400, words));
                continue;
            }
            Ok(question) if question.subject.principal.is_none() => {
                answers.push(stranger());
                continue;
            }
            Ok(_) => decisions.next(),
        };
        let decision =
            decision.unwrap_or_else(|| Err(Failure::unavailable("there are fewer decisions than questions")));
        answers.push(match &decision {
            Ok(decision) => answer::decision(decision, point),
            Err(failure) => {
                tracing::warn!(target: "sekisho", error = %failure, "the decision point has no decision for one of several");
                answer::failed(failure)
            }
        });
        if semantic.ends_with(&decision) {
            break;
        }
    }
    answers
}
