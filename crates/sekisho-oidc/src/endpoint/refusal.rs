//! What an answer without tokens means.

use std::time::Duration;

use sekisho_core::json::JsonObject;
use sekisho_core::{Failure, FailureKind};
use sekisho_http::{HttpError, HttpResponse};

use crate::tokens::TokenError;

/// Reads an error answer ([RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2)). Its `error_description` goes nowhere.
pub(super) fn of(response: &HttpResponse) -> TokenError {
    let status = response.status;
    if matches!(status, 408 | 425 | 429 | 500..=599) {
        let failure = Failure::unavailable("the provider cannot answer now").with_source(AnswerError::Status(status));
        return failure.with_retry_after(pause(response)).into();
    }
    match code(response) {
        // RFC 6749 §5.2 keeps 401 for `invalid_client`; Keycloak says so of a wrong secret.
        Some("unauthorized_client") if status == 401 => OUR_CREDENTIALS.into(),
        Some("invalid_grant") => TokenError::Grant,
        Some("invalid_client") => OUR_CREDENTIALS.into(),
        Some("server_error" | "temporarily_unavailable") => {
            Failure::unavailable("the provider cannot answer now").with_retry_after(pause(response)).into()
        }
        Some("use_dpop_nonce") => bad_gateway("the provider asks for a nonce again and again").into(),
        Some(code) => TokenError::Refused(code),
        None => bad_gateway("the provider refused without a registered error code")
            .with_source(AnswerError::Status(status))
            .into(),
    }
}

/// Tells whether only the nonce was missing ([RFC 9449 §8](https://www.rfc-editor.org/rfc/rfc9449#section-8)).
pub(super) fn asks_for_nonce(response: &HttpResponse) -> bool {
    matches!(response.status, 400 | 401) && code(response) == Some("use_dpop_nonce")
}

/// Says why there is no whole answer.
pub(super) fn no_answer(error: HttpError) -> Failure {
    match error {
        HttpError::TooLarge => bad_gateway("the provider's answer is too large").with_source(error),
        HttpError::Url => Failure::new(FailureKind::Misconfigured, "an endpoint's address is no usable URL"),
        error => Failure::unavailable("the provider does not answer")
            .with_source(error)
            .with_retry_after(Duration::from_secs(DEFAULT_PAUSE)),
    }
}

/// Is a success that makes no sense.
pub(super) const fn misshapen() -> Failure {
    bad_gateway("the provider's answer is not what it should be")
}

const fn bad_gateway(context: &'static str) -> Failure {
    Failure::new(FailureKind::BadGateway, context)
}

/// Returns the error code in our own words: none of the server's text goes on.
fn code(response: &HttpResponse) -> Option<&'static str> {
    let object = JsonObject::parse(response.body.clone()).ok()?;
    let code = object.get("error")?.as_str()?;
    REGISTERED.iter().find(|known| **known == code).copied()
}

fn pause(response: &HttpResponse) -> Duration {
    let seconds = response.header("retry-after").and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_PAUSE);
    Duration::from_secs(seconds.clamp(1, LONGEST_PAUSE))
}

/// Is the cause of a failure, for the log.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("status {0}")]
    Status(u16),
}

/// The registry of OAuth extensions errors as far as these endpoints answer them: RFC 6749 §4.1.2.1 and §5.2, 6750, 7009, 8693, 8707,
/// 9101, 9126, 9396, 9449, 9470.
const REGISTERED: &[&str] = &[
    "access_denied",
    "insufficient_user_authentication",
    "invalid_authorization_details",
    "invalid_client",
    "invalid_dpop_proof",
    "invalid_grant",
    "invalid_request",
    "invalid_request_object",
    "invalid_request_uri",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "unsupported_token_type",
    "use_dpop_nonce",
];
const OUR_CREDENTIALS: Failure =
    Failure::new(FailureKind::Misconfigured, "the provider refuses our client credentials");
const DEFAULT_PAUSE: u64 = 1;
const LONGEST_PAUSE: u64 = 60;
