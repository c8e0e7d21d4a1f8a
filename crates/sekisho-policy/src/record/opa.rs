use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::entry::is_unsafe;
use super::{DecisionRecord, RecordedOutcome};

/// The longest line, in bytes, with its line feed.
pub(super) const LONGEST_LINE: usize = 64 << 10;

/// What is left out of a line that would be too long, one step after the other. What is left then always fits: texts that are
/// bounded one by one, and who asked, for what, and what was said among them.
const ERASABLE: [&[&str]; 2] = [
    // Much of it comes from whoever asked, who could otherwise keep her own decisions out of the log.
    &["/input/context", "/input/resource/properties", "/input/subject/claims"],
    &["/candidate/reasons", "/candidate/obligations", "/result/reasons", "/result/obligations"],
];

/// Writes a record as an event of [OPA's decision log](https://www.openpolicyagent.org/docs/management-decision-logs),
/// without a line feed. What had to be left out is named under `erased`, as OPA does.
pub(super) fn line(record: &DecisionRecord, labels: &Map<String, Value>) -> String {
    let mut subject = json!({ "type": record.subject_kind, "id": record.subject, "issuer": record.issuer });
    let mut resource = json!({ "type": record.resource_kind, "id": record.resource_id });
    put(&mut subject, "client_id", record.client.as_deref());
    put(&mut subject, "token_id", record.token_id.as_deref());
    put(&mut subject, "claims", some(&record.claims));
    put(&mut resource, "properties", some(&record.attributes));
    let mut input = json!({ "subject": subject, "action": { "name": record.action }, "resource": resource });
    put(&mut input, "context", some(&record.context));

    let mut event = json!({
        "labels": labels,
        "decision_id": record.decision_id,
        "timestamp": timestamp(record.at),
        "path": "sekisho/decision",
        "input": input,
        "metrics": { "timer_server_handler_ns": u64::try_from(record.latency.as_nanos()).unwrap_or(u64::MAX) },
    });
    if let Some(revision) = record.outcome.revision() {
        put(&mut event, "bundles", Some(json!({ "sekisho": { "revision": revision } })));
    }
    match record.outcome.failure() {
        // OPA leaves `result` out where there was none.
        Some(failure) => put(&mut event, "error", Some(json!({ "code": "internal_error", "message": failure }))),
        None => put(&mut event, "result", Some(result(&record.outcome))),
    }
    if let Some(candidate) = record.candidate() {
        put(&mut event, "candidate", Some(result(candidate)));
    }
    let mut line = escaped(&event.to_string());
    for pointers in ERASABLE {
        if line.len() < LONGEST_LINE {
            break;
        }
        erase(&mut event, pointers);
        line = escaped(&event.to_string());
    }
    line
}

/// Writes labels as they stand in a line.
pub(super) fn labels(labels: &Map<String, Value>) -> String {
    escaped(&json!(labels).to_string())
}

/// Takes members out of an event, and adds their JSON pointers to `erased`.
fn erase(event: &mut Value, pointers: &[&str]) {
    for pointer in pointers {
        let Some((object, name)) = pointer.rsplit_once('/') else { continue };
        let found = event.pointer_mut(object).and_then(Value::as_object_mut);
        if found.and_then(|members| members.remove(name)).is_none() {
            continue;
        }
        if let Value::Object(members) = event
            && let Value::Array(erased) = members.entry("erased").or_insert_with(|| json!([]))
        {
            erased.push(json!(pointer));
        }
    }
}

fn result(outcome: &RecordedOutcome) -> Value {
    let mut result = json!({
        "decision": outcome.effect() == "permit",
        "effect": outcome.effect(),
        "source": outcome.source(),
    });
    put(&mut result, "revision", outcome.revision());
    put(&mut result, "reasons", (!outcome.reasons().is_empty()).then(|| json!(outcome.reasons())));
    put(&mut result, "obligations", (!outcome.obligations().is_empty()).then(|| json!(outcome.obligations())));
    put(&mut result, "lacking", outcome.lacking());
    put(&mut result, "error", outcome.failure());
    result
}

fn put(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let (Value::Object(members), Some(value)) = (object, value) {
        members.insert(name.to_owned(), value.into());
    }
}

fn some(members: &Map<String, Value>) -> Option<Value> {
    (!members.is_empty()).then(|| Value::Object(members.clone()))
}

/// Escapes what JSON leaves as it is and a terminal does not. Such characters stand in strings only.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Writes an instant as RFC 3339 in UTC, with nanoseconds.
pub(super) fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years begin in March here, so that the day that is not in each of them is the last: eras of 400 years, from the
    // year 0.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, year) = (day - (153 * month + 2) / 5 + 1, year + 400 * era);
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_nanos()
    )
}
