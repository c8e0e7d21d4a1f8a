use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use sekisho_core::{Claim, Failure, FailureKind, Refusal, Reject};

use super::RouteScopes;

/// Is how a [`JwtAuthorizer`](super::JwtAuthorizer) refuses: a status, a body `{"message":"…"}`, and a challenge.
///
/// The challenge says in fixed words what is wrong with the token, as the original's does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizerAnswer {
    status: StatusCode,
    message: &'static str,
    challenge: Option<String>,
    retry_after: Option<u64>,
}

impl AuthorizerAnswer {
    /// Returns the status code.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the value of `WWW-Authenticate`, if there is one.
    #[must_use]
    pub fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref()
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> String {
        format!(r#"{{"message":"{}"}}"#, self.message)
    }

    /// Makes the response.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(Bytes::from(self.body())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    pub(super) fn missing() -> Self {
        tracing::debug!(target: "sekisho", "no credential");
        Self::unauthorized("Bearer".to_owned())
    }

    pub(super) fn refused(reject: Reject) -> Self {
        tracing::info!(target: "sekisho", reason = reject.code(), detail = %reject, "credential refused");
        let description = describe(reject);
        Self::unauthorized(format!(r#"Bearer scope="" error="invalid_token" error_description="{description}""#))
    }

    pub(crate) fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Reject(reject) => Self::refused(*reject),
            Refusal::Failure(failure) => Self::failed(failure),
        }
    }

    pub(super) fn lacking(scopes: &RouteScopes) -> Self {
        tracing::info!(target: "sekisho", "request denied: none of the route's scopes");
        let challenge = format!(
            r#"Bearer scope="{}" error="insufficient_scope" error_description="the token has none of the route's scopes""#,
            scopes.joined()
        );
        Self { status: StatusCode::FORBIDDEN, message: "Forbidden", challenge: Some(challenge), retry_after: None }
    }

    pub(super) const fn too_large() -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self { status, message: "Request Header Fields Too Large", challenge: None, retry_after: None }
    }

    const fn unauthorized(challenge: String) -> Self {
        let status = StatusCode::UNAUTHORIZED;
        Self { status, message: "Unauthorized", challenge: Some(challenge), retry_after: None }
    }

    fn failed(failure: &Failure) -> Self {
        tracing::warn!(target: "sekisho", kind = ?failure.kind(), "{failure}");
        let (status, message) = match failure.kind() {
            FailureKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
            FailureKind::BadGateway => (StatusCode::BAD_GATEWAY, "Bad Gateway"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        };
        let retry = failure.retry_after().map_or(5, |after| after.as_secs().max(1));
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(retry);
        Self { status, message, challenge: None, retry_after }
    }
}

/// Says what is wrong without a byte of the token.
const fn describe(reject: Reject) -> &'static str {
    match reject {
        Reject::Audience | Reject::Missing(Claim::Audience) | Reject::Invalid(Claim::Audience | Claim::Client) => {
            "the token does not have a valid audience"
        }
        Reject::Issuer | Reject::Missing(Claim::Issuer) | Reject::Invalid(Claim::Issuer) => {
            "the token does not have a valid issuer"
        }
        Reject::Expired { .. } => "the token has expired",
        Reject::NotYetValid { .. } => "the token is not valid yet",
        Reject::IssuedInFuture { .. } => "the token was issued in the future",
        Reject::Algorithm => "the token is not signed with an RSA algorithm that is taken here",
        Reject::UnknownKey | Reject::AmbiguousKey => "the token does not name a key of the issuer",
        Reject::Signature => "the token does not have a valid signature",
        Reject::TooLarge | Reject::Malformed | Reject::DuplicateMember => "the token cannot be read",
        Reject::Missing(_) | Reject::Invalid(_) => "the token does not have a valid claim that is needed",
        _ => "the token is not valid",
    }
}
