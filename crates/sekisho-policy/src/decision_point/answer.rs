//! Answers as they go out.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use sekisho_core::json::JsonObject;
use sekisho_core::{Decision, Denial, Failure, FailureKind, Obligation};
use sekisho_http::Answer;
use serde_json::{Map, Value, json};

use super::Inner;

/// Writes a decision (§5.5).
pub(super) fn decision(decision: &Decision, point: &Inner) -> Value {
    let mut context = Map::new();
    let obligations = obligations(decision);
    if !obligations.is_empty() {
        context.insert("obligations".into(), obligations.into());
    }
    match decision.denial().filter(|_| !decision.is_permitted()) {
        Some(Denial::InsufficientAuthentication { acr_values, max_age }) => {
            context.extend(acr_values.as_ref().map(|values| ("acr_values".to_owned(), json!(**values))));
            context.extend(max_age.map(|age| ("max_age".to_owned(), json!(age.as_secs()))));
        }
        Some(Denial::InsufficientScope { scope }) => {
            context.insert("required_scope".into(), json!(**scope));
        }
        // Its reason is for our log.
        Some(_) | None => {}
    }
    if let Some(lifetime) = decision.lifetime() {
        context.insert("valid_for".into(), lifetime.as_secs().into());
    }
    if point.tells_reasons {
        let reason = |reason: &sekisho_core::Reason| match reason.revision() {
            Some(revision) => json!({ "policy": reason.policy(), "revision": revision }),
            None => json!(reason.policy()),
        };
        let reasons: Vec<Value> = decision.reasons().iter().map(reason).collect();
        if !reasons.is_empty() {
            context.insert("reasons".into(), reasons.into());
        }
        context.extend(decision.revision().map(|revision| ("policy_revision".to_owned(), json!(revision))));
    }
    let mut answer = Map::from_iter([("decision".to_owned(), json!(decision.is_permitted()))]);
    if !context.is_empty() {
        answer.insert("context".into(), context.into());
    }
    answer.into()
}

/// Writes obligations as of the AuthZEN Obligations Profile.
pub(super) fn obligations(decision: &Decision) -> Vec<Value> {
    let one = |(index, obligation): (usize, &Obligation)| {
        let parameters = obligation.parameters();
        let (kind, properties) = match parameters.filter(|_| obligation.id() == Obligation::STEP_UP).and_then(one_class)
        {
            Some(acr) => ("step-up", json!({ "acr_value": acr })),
            None => {
                let parameters = parameters.map_or("{}", JsonObject::as_str);
                // What was checked once is JSON; if it were not, whoever reads it cannot comply.
                (obligation.id(), serde_json::from_str(parameters).unwrap_or(Value::Null))
            }
        };
        json!({ "id": format!("o{index}"), "type": kind, "properties": properties })
    };
    decision.obligations().iter().enumerate().map(one).collect()
}

/// The profile has a word for one context class and nothing else.
fn one_class(parameters: &JsonObject) -> Option<String> {
    let values = parameters.get("acr_values").filter(|_| parameters.len() == 1)?.as_strings()?;
    let [acr] = &*values else { return None };
    Some(acr.to_string())
}

/// Denies for a reason that lies with the question (§7.2.1).
pub(super) fn error(status: u16, message: &str) -> Value {
    json!({ "decision": false, "context": { "error": { "status": status, "message": message } } })
}

/// Denies because no decision could be had.
pub(super) fn failed(failure: &Failure) -> Value {
    error(status(failure).as_u16(), "no decision could be had")
}

fn status(failure: &Failure) -> StatusCode {
    match failure.kind() {
        FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(super) fn json_response(answer: &Value) -> Response {
    let mut response = Response::new(Body::from(answer.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers with an error message (§10.1.2): words of ours, nothing of the request's.
pub(super) fn message(status: StatusCode, words: &'static str) -> Response {
    let mut response = Response::new(Body::from(words));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn failure(failure: &Failure) -> Response {
    let status = status(failure);
    let mut response = message(status, "no decision could be had");
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let after = failure.retry_after().unwrap_or(Duration::from_secs(1)).as_secs().max(1);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after));
    }
    response
}

/// Refuses a caller in the checkpoint's own words.
pub(super) fn refusal(answer: &Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body()));
    *response.status_mut() = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers() {
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
