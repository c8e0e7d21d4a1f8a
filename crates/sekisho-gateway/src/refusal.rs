//! Refusals that are the gateway's own, beside those of checkpoints.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use sekisho_core::{Failure, FailureKind};
use sekisho_http::Answer;

/// Is the response to a request that does not pass.
pub(crate) type Refused = Box<Response<Bytes>>;

/// Turns a checkpoint's answer into a response.
pub(crate) fn of_answer(answer: &Answer) -> Refused {
    let mut response = Response::new(answer.body());
    *response.status_mut() = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers() {
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    Box::new(response)
}

/// Answers with problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) that add nothing to the status.
pub(crate) fn problem(status: StatusCode) -> Refused {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = format!(r#"{{"type":"about:blank","title":"{title}","status":{}}}"#, status.as_u16());
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    Box::new(response)
}

/// Answers, and logs, that our side broke.
pub(crate) fn failed(failure: &Failure) -> Refused {
    let source = std::error::Error::source(failure).map(ToString::to_string).unwrap_or_default();
    let source = crate::journey::shown(&source);
    let status = match failure.kind() {
        FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::BadGateway => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(target: "sekisho", "{failure} {source}");
    } else {
        tracing::warn!(target: "sekisho", "{failure} {source}");
    }
    let mut response = problem(status);
    if let (Some(after), StatusCode::SERVICE_UNAVAILABLE) = (failure.retry_after(), status) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

/// Answers, and logs, that our side is set up wrong.
pub(crate) fn misconfigured(context: &'static str) -> Refused {
    failed(&Failure::new(FailureKind::Misconfigured, context))
}
