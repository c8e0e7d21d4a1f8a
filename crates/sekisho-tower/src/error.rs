use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use sekisho_http::Answer;

/// Turns a refusal into a response; `body` makes its body.
///
/// Adapters of other frameworks over the `http` crate use it too.
pub fn response<B>(answer: &Answer, body: impl FnOnce(Bytes) -> B) -> Response<B> {
    let mut response = Response::new(body(answer.body()));
    *response.status_mut() = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers() {
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
