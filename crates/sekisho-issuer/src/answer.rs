//! Answers: OAuth errors as JSON, pages with their headers, redirects.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, PRAGMA, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use sekisho_core::{Failure, FailureKind};
use serde_json::{Value, json};

use crate::form::FormError;

/// Is why a request is not answered as asked ([RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2)). Flat: nothing of the request is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OAuthError {
    pub(crate) code: &'static str,
    pub(crate) description: &'static str,
    pub(crate) status: u16,
}

impl OAuthError {
    pub(crate) const fn new(code: &'static str, description: &'static str) -> Self {
        Self { code, description, status: 400 }
    }

    pub(crate) const fn request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    pub(crate) const fn grant(description: &'static str) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(crate) const fn scope() -> Self {
        Self::new("invalid_scope", "a scope is missing, malformed, or not for this client")
    }

    pub(crate) const fn target() -> Self {
        Self::new("invalid_target", "the audience is not for this client")
    }

    /// One answer for an unknown client, a wrong secret, and a wrong way to prove.
    pub(crate) const fn client() -> Self {
        Self { code: "invalid_client", description: "the client did not prove to be one", status: 401 }
    }

    pub(crate) const fn unauthorized() -> Self {
        Self::new("unauthorized_client", "this client may not do this")
    }
}

impl From<FormError> for OAuthError {
    fn from(error: FormError) -> Self {
        let status = if error == FormError::TooLarge { 413 } else { 400 };
        Self { status, ..Self::request(error.description()) }
    }
}

/// Ends a request: it is refused, or our side broke.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    Error(OAuthError),
    Failure(Failure),
}

impl From<OAuthError> for Refused {
    fn from(error: OAuthError) -> Self {
        Self::Error(error)
    }
}

impl From<FormError> for Refused {
    fn from(error: FormError) -> Self {
        Self::Error(error.into())
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Refused {
    /// Writes the answer of an endpoint for programs.
    pub(crate) fn into_response(self, endpoint: &'static str) -> Response {
        match self {
            Self::Error(error) => {
                tracing::debug!(endpoint, error = error.code, reason = error.description, "refused");
                let body = json!({ "error": error.code, "error_description": error.description });
                let mut response = json_response(error.status, &body);
                if error.status == 401 {
                    let challenge = HeaderValue::from_static("Basic realm=\"client\"");
                    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                }
                response
            }
            Self::Failure(failure) => {
                tracing::error!(endpoint, error = %failure, source = ?std::error::Error::source(&failure), "failed");
                let (status, error) = failure_status(&failure);
                let mut response = json_response(status, &json!({ "error": error }));
                add_retry_after(&mut response, &failure);
                response
            }
        }
    }
}

/// Says by which status and code a failure is told.
pub(crate) const fn failure_status(failure: &Failure) -> (u16, &'static str) {
    match failure.kind() {
        FailureKind::Unavailable => (503, "temporarily_unavailable"),
        FailureKind::BadGateway => (502, "server_error"),
        _ => (500, "server_error"),
    }
}

pub(crate) fn add_retry_after(response: &mut Response, failure: &Failure) {
    if failure.kind() == FailureKind::Unavailable {
        let seconds = failure.retry_after().map_or(1, |after| after.as_secs().max(1));
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

pub(crate) fn json_response(status: u16, body: &Value) -> Response {
    with_type(status, "application/json", body.to_string())
}

/// Writes an answer that nobody keeps.
pub(crate) fn with_type(status: u16, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = bare(status);
    *response.body_mut() = body.into();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Writes an answer without a body that nobody keeps.
pub(crate) fn bare(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Writes a document that everybody may keep for a while.
pub(crate) fn kept(content_type: &'static str, seconds: u64, body: impl Into<Body>) -> Response {
    let mut response = with_type(200, content_type, body);
    response.headers_mut().remove(PRAGMA);
    set(&mut response, CACHE_CONTROL, &format!("public, max-age={seconds}"));
    response
}

/// Writes a page. `leads_to` is where its form may end up, beside here; `script` is the address of the one script that runs in it.
pub(crate) fn page(status: u16, html: String, leads_to: Option<&str>, script: Option<&str>) -> Response {
    let mut response = with_type(status, "text/html; charset=utf-8", html);
    let form_action = match leads_to {
        Some(source) => format!("'self' {source}"),
        None => "'self'".to_owned(),
    };
    let scripts = script.map_or(String::new(), |script| format!("script-src {script}; "));
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; {scripts}form-action {form_action}; frame-ancestors 'none'; base-uri 'none'"
    );
    set(&mut response, CONTENT_SECURITY_POLICY, &policy);
    set(&mut response, X_FRAME_OPTIONS, "DENY");
    // Not `no-referrer`: browsers would then say `Origin: null` with our own forms.
    set(&mut response, REFERRER_POLICY, "same-origin");
    response
}

/// Sends the browser elsewhere by GET. The address was registered, or is our own.
pub(crate) fn redirect(to: &str) -> Response {
    let mut response = bare(303);
    set(&mut response, LOCATION, to);
    set(&mut response, REFERRER_POLICY, "no-referrer");
    response
}

pub(crate) fn add_cookie(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, value);
    }
}

/// Sets a header to a text of ours, which is visible ASCII.
pub(crate) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
