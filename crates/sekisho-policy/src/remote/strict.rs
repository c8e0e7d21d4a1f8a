//! What every answer of a decision service goes through before it is looked at, and what every question is written with.

use std::hash::{BuildHasher as _, RandomState};

use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Failure, FailureKind};
use sekisho_http::{HttpMethod, HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::random;

/// Bounds a question in bytes, as JSON.
pub(crate) const MAX_QUESTION: usize = 256 * 1024;

/// Describes an answer that is none.
pub(crate) const fn malformed(context: &'static str) -> Failure {
    Failure::new(FailureKind::BadGateway, context)
}

/// Reads the JSON object of a 200; everything else is no answer.
pub(crate) fn json_answer(response: &HttpResponse) -> Result<JsonObject, Failure> {
    match response.status {
        200 => {}
        429 | 500..=599 => return Err(Failure::unavailable("the decision service is in trouble")),
        401 | 403 => return Err(malformed("the decision service refuses to be asked by us")),
        _ => return Err(malformed("the decision service answered with an unexpected status")),
    }
    if !response.header("content-type").is_some_and(is_json) {
        return Err(malformed("the decision service answered with something else than JSON"));
    }
    JsonObject::parse(response.body.clone())
        .map_err(|error| malformed("the decision service sent no JSON object").with_source(error))
}

/// Tells whether a media type is `application/json`, whatever its parameters.
pub(crate) fn is_json(media_type: &str) -> bool {
    media_type.split(';').next().unwrap_or_default().trim_ascii().eq_ignore_ascii_case("application/json")
}

/// Makes a request that carries `question` as JSON.
pub(crate) fn post(url: &str, question: &impl Serialize) -> Result<HttpRequest, Failure> {
    let body = serde_json::to_vec(question).map_err(|_| unwritable("a question cannot be written as JSON"))?;
    if body.len() > MAX_QUESTION {
        return Err(unwritable("a question is too long for a decision service"));
    }
    let headers = vec![("content-type", "application/json".to_owned()), ("accept", "application/json".to_owned())];
    Ok(HttpRequest { method: HttpMethod::Post, url: url.to_owned(), headers, body })
}

/// Describes a question that cannot be put.
pub(crate) const fn unwritable(context: &'static str) -> Failure {
    Failure::new(FailureKind::Misconfigured, context)
}

/// Takes an object as it is written.
pub(crate) fn raw_object(object: &JsonObject) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(object.as_str().to_owned()).map_err(|_| unwritable("an object cannot be written as JSON"))
}

/// Takes what there is to say of the resource.
pub(crate) fn raw_attributes(request: &AccessRequest<'_>) -> Result<Option<Box<RawValue>>, Failure> {
    let Some(attributes) = request.resource().attributes() else { return Ok(None) };
    let object = attributes.to_json();
    let object =
        object.map_err(|error| unwritable("the attributes of a resource cannot be written").with_source(error))?;
    raw_object(&object).map(Some)
}

/// Makes 256 bits of any text, with keys of its own that nobody outside can know or aim at: equal texts of one process have
/// equal ones.
#[derive(Clone, Default)]
pub(crate) struct Digest([RandomState; 4]);

impl Digest {
    pub(crate) fn of(&self, text: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        for (part, keys) in digest.chunks_exact_mut(8).zip(&self.0) {
            part.copy_from_slice(&keys.hash_one(text).to_ne_bytes());
        }
        digest
    }
}

/// Makes an id that nobody can guess.
pub(crate) fn random_id() -> Result<String, Failure> {
    random::id().map_err(|error| Failure::unavailable("no randomness").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, media_type: &str, body: &str) -> HttpResponse {
        let headers = vec![("content-type".to_owned(), media_type.to_owned())];
        HttpResponse { status, headers, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn reads_nothing_but_a_json_object_that_came_with_200() {
        assert!(json_answer(&answer(200, "application/json", "{}")).is_ok());
        assert!(json_answer(&answer(200, "Application/JSON; charset=utf-8", "{}")).is_ok());
        for status in [201, 204, 206, 301, 302, 400, 401, 403, 404, 429, 500, 502, 503] {
            assert!(json_answer(&answer(status, "application/json", "{}")).is_err(), "{status}");
        }
        for media_type in ["text/html", "", "application/jsonp", "application/problem+json", "text/application/json"] {
            assert!(json_answer(&answer(200, media_type, "{}")).is_err(), "{media_type}");
        }
        for body in ["", "[]", "true", "{", "{}{}", r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, "\u{feff}{}"] {
            assert!(json_answer(&answer(200, "application/json", body)).is_err(), "{body}");
        }
        assert!(json_answer(&HttpResponse { status: 200, headers: Vec::new(), body: b"{}".to_vec() }).is_err());
    }

    #[test]
    fn tells_a_service_in_trouble_from_one_that_refuses() {
        let kind = |status| json_answer(&answer(status, "application/json", "{}")).unwrap_err().kind();
        assert_eq!(kind(503), FailureKind::Unavailable);
        assert_eq!(kind(429), FailureKind::Unavailable);
        assert_eq!(kind(401), FailureKind::BadGateway);
        assert_eq!(kind(404), FailureKind::BadGateway);
    }

    #[test]
    fn refuses_a_question_without_end() {
        assert!(post("https://pdp.example", &"x".repeat(MAX_QUESTION)).is_err());
        assert!(post("https://pdp.example", &"x").is_ok());
    }

    #[test]
    fn makes_a_new_id_each_time() {
        let (one, other) = (random_id().unwrap(), random_id().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
