//! The answers that the rules ask for, written out.

use serde_json::{Value, json};

use super::HttpSuite;
use super::client::Response;

/// Says what an answer must be.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// 200 with this JSON.
    Json(Value),
    /// This status, without a challenge and whatever body.
    Status(u16),
    /// One of these statuses.
    OneOf(&'static [u16]),
    /// A refusal with this status and these parameters behind realm and metadata.
    Refused(u16, String),
    /// A refusal that names these schemes in this order, and an error if one is given.
    Challenge { status: u16, schemes: &'static [&'static str], error: Option<&'static str> },
    /// A failure of the service's own side.
    Failed(u16),
}

impl Expected {
    /// The caller's issuer and subject.
    pub(super) fn caller(issuer: &str, subject: &str) -> Self {
        Self::Json(json!({ "issuer": issuer, "subject": subject }))
    }

    /// No credential came ([RFC 6750 §3.1]: no error code).
    pub(super) const fn asked() -> Self {
        Self::Refused(401, String::new())
    }

    pub(super) fn invalid_token() -> Self {
        Self::Refused(401, error("invalid_token", "the credential is not accepted"))
    }

    pub(super) fn invalid_request() -> Self {
        Self::Refused(400, error("invalid_request", "the request must hold one well-formed credential"))
    }

    pub(super) fn insufficient_scope(scope: &str) -> Self {
        let text = error("insufficient_scope", "more scope is needed");
        Self::Refused(403, format!("{text}, scope=\"{scope}\""))
    }

    pub(super) fn forbidden() -> Self {
        Self::Refused(403, error("insufficient_scope", "not allowed"))
    }

    /// RFC 9470 §3.
    pub(super) fn step_up(parameters: &str) -> Self {
        let text = error("insufficient_user_authentication", "log in again");
        Self::Refused(401, format!("{text}, {parameters}"))
    }

    /// Lists what is wrong with an answer.
    pub(super) fn check(&self, answer: &Response) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                wrong.push(what);
            }
        };
        let challenges = answer.all("www-authenticate");
        match self {
            Self::Json(json) => {
                check(answer.status == 200, format!("status {} in place of 200", answer.status));
                check(answer.json().as_ref() == Some(json), format!("body is not {json}"));
                check(challenges.is_empty(), "a challenge on a good answer".to_owned());
            }
            Self::Status(status) => {
                check(answer.status == *status, format!("status {} in place of {status}", answer.status));
                check(challenges.is_empty(), "a challenge where none is due".to_owned());
            }
            Self::OneOf(statuses) => {
                check(statuses.contains(&answer.status), format!("status {} is none of {statuses:?}", answer.status));
            }
            Self::Refused(status, parameters) => {
                check(answer.status == *status, format!("status {} in place of {status}", answer.status));
                let challenge = challenge(parameters);
                check(challenges == [&*challenge], format!("challenge {challenges:?} in place of {challenge:?}"));
                check(answer.one("retry-after").is_none(), "Retry-After on a refusal".to_owned());
                wrong.extend(problem(answer, *status));
            }
            Self::Challenge { status, schemes, error } => {
                check(answer.status == *status, format!("status {} in place of {status}", answer.status));
                let challenge = answer.one("www-authenticate").unwrap_or_default();
                let realm = self::challenge("");
                let realm = realm.trim_start_matches("Bearer ");
                let due: Vec<String> = schemes.iter().map(|scheme| format!("{scheme} {realm}")).collect();
                let places: Vec<_> = due.iter().map(|scheme| challenge.find(scheme.as_str())).collect();
                let in_order =
                    places.iter().all(Option::is_some) && places.is_sorted() && places.first() == Some(&Some(0));
                let others =
                    ["Bearer realm", "DPoP realm"].iter().filter(|scheme| challenge.contains(**scheme)).count();
                check(in_order && others == schemes.len(), format!("challenge {challenge:?} is not of {schemes:?}"));
                check(
                    !schemes.contains(&"DPoP") || (challenge.contains("algs=\"") && challenge.contains("ES256")),
                    "no algorithms".to_owned(),
                );
                if let Some(error) = error {
                    check(challenge.contains(&format!("error=\"{error}\"")), format!("{challenge:?} is not {error}"));
                }
                wrong.extend(problem(answer, *status));
            }
            Self::Failed(status) => {
                check(answer.status == *status, format!("status {} in place of {status}", answer.status));
                check(challenges.is_empty(), "a challenge where our side failed".to_owned());
                let retry = answer.one("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
                check(*status != 503 || retry.is_some_and(|s| s >= 1), "no Retry-After in whole seconds".to_owned());
                wrong.extend(problem(answer, *status));
            }
        }
        wrong
    }
}

/// Checks problem details that say no more than the status ([RFC 9457 §4.2.1]).
fn problem(answer: &Response, status: u16) -> Vec<String> {
    let mut wrong = Vec::new();
    let kind = answer.one("content-type");
    if kind != Some("application/problem+json") {
        wrong.push(format!("content type {kind:?} in place of application/problem+json"));
    }
    if answer.one("cache-control") != Some("no-store") {
        wrong.push("no `Cache-Control: no-store`".to_owned());
    }
    let title = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    };
    let due = json!({ "type": "about:blank", "title": title, "status": status });
    if answer.json().as_ref() != Some(&due) {
        wrong.push(format!("body is not {due}"));
    }
    wrong
}

/// Writes the whole challenge: realm with its quotes escaped, metadata, and these parameters.
fn challenge(parameters: &str) -> String {
    let realm = HttpSuite::REALM.replace('\\', "\\\\").replace('"', "\\\"");
    let metadata = HttpSuite::METADATA_URL;
    let more = if parameters.is_empty() { String::new() } else { format!(", {parameters}") };
    format!("Bearer realm=\"{realm}\", resource_metadata=\"{metadata}\"{more}")
}

fn error(code: &str, description: &str) -> String {
    format!("error=\"{code}\", error_description=\"{description}\"")
}
