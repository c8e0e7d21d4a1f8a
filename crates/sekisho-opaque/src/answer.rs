//! What a provider answered, and what that means.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{Failure, FailureKind, Refusal, Reject, Secret, UnixSeconds};
use sekisho_http::{HttpError, HttpResponse};
use sekisho_jwt::{SenderConstraint, StatementVerifier, Verifier};

use crate::claims::{Accepted, Rules};

/// Is a token that the provider says is active, and that passed every check of ours.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub(crate) accepted: Accepted,
    /// The JWT behind it, when one was asked for.
    pub(crate) jwt: Option<Arc<Secret>>,
}

impl Active {
    pub(crate) fn check_time(&self, now: UnixSeconds) -> Result<(), Reject> {
        self.accepted.check_time(now)
    }

    pub(crate) fn dies(&self) -> UnixSeconds {
        self.accepted.dies
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.accepted.candidate.heap_bytes() + self.jwt.as_ref().map_or(0, |jwt| jwt.len() + 64)
    }
}

/// Is a question that came to nothing.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered {
    pub(crate) failure: Failure,
    /// The provider cannot be reached, does not answer in time or is broken; nothing else makes an older answer do.
    pub(crate) is_outage: bool,
}

impl Unanswered {
    pub(crate) const fn outage(failure: Failure) -> Self {
        Self { failure, is_outage: true }
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self { failure, is_outage: false }
    }
}

/// Says in which form the answer is asked for, and how it is read.
#[derive(Debug)]
pub(crate) enum Form {
    /// A JSON object ([RFC 7662 §2.2](https://www.rfc-editor.org/rfc/rfc7662#section-2.2)).
    Json(Rules),
    /// A signed one ([RFC 9701](https://www.rfc-editor.org/rfc/rfc9701)).
    Signed(Rules, StatementVerifier),
    /// The JWT that the token stands for.
    Phantom(Verifier),
}

impl Form {
    pub(crate) const fn accept(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Signed(..) => "application/token-introspection+jwt",
            Self::Phantom(_) => "application/jwt",
        }
    }

    /// Says which bound tokens are taken.
    pub(crate) fn constraint(&self) -> SenderConstraint {
        match self {
            Self::Json(rules) | Self::Signed(rules, _) => rules.constraint.clone(),
            Self::Phantom(verifier) => verifier.sender_constraint().clone(),
        }
    }

    /// Reads a whole answer. Whatever is not a plain yes or no is trouble on the provider's side.
    pub(crate) async fn read(
        &self,
        response: &HttpResponse,
        now: UnixSeconds,
    ) -> Result<Result<Active, Reject>, Unanswered> {
        match self {
            Self::Json(rules) => {
                let object = parse(expect_ok(response)?)?;
                Ok(judge(rules, object, now)?.map(|accepted| Active { accepted, jwt: None }))
            }
            Self::Signed(rules, verifier) => {
                let body = expect_ok(response)?;
                // A provider that answers unsigned when a signature was asked for may not be the provider.
                if media_type(response).as_deref() != Some("application/token-introspection+jwt") {
                    return Err(bad_gateway("the introspection answer is not signed").into());
                }
                let text = std::str::from_utf8(body).map_err(|_| nonsense())?.trim_ascii();
                let claims = match verifier.verify(text, now).await {
                    Ok(claims) => claims.into_inner(),
                    Err(Refusal::Reject(reject)) => {
                        let failure = bad_gateway("the signed introspection answer cannot be trusted");
                        return Err(failure.with_source(reject).into());
                    }
                    Err(Refusal::Failure(failure)) => return Err(failure.into()),
                };
                let inner = claims.get("token_introspection").filter(|value| value.kind() == JsonKind::Object);
                let object = parse(inner.ok_or_else(nonsense)?.as_json().as_bytes())?;
                Ok(judge(rules, object, now)?.map(|accepted| Active { accepted, jwt: None }))
            }
            Self::Phantom(verifier) => {
                // Only because a JWT was asked for: there is none to give.
                if response.status == 204 {
                    return Ok(Err(Reject::Inactive));
                }
                let body = expect_ok(response)?;
                let jwt = match media_type(response).as_deref() {
                    Some("application/jwt") => {
                        std::str::from_utf8(body).map_err(|_| nonsense())?.trim_ascii().to_owned()
                    }
                    Some("application/json") => match jwt_member(&parse(body)?)? {
                        Ok(jwt) => jwt,
                        Err(reject) => return Ok(Err(reject)),
                    },
                    _ => return Err(bad_gateway("the introspection answer is neither a JWT nor JSON").into()),
                };
                Ok(phantom(verifier, jwt, now).await?)
            }
        }
    }
}

/// Verifies the JWT behind a token.
async fn phantom(verifier: &Verifier, jwt: String, now: UnixSeconds) -> Result<Result<Active, Reject>, Failure> {
    let candidate = match verifier.candidate_from_issuer(&jwt, now).await {
        Ok(candidate) => candidate,
        Err(Refusal::Failure(failure)) => return Err(failure),
        Err(Refusal::Reject(reject)) => return blame(reject),
    };
    // The verifier required an `exp`, and looks at all times again whenever it is asked.
    let dies = candidate.expires_at().unwrap_or(now);
    let accepted = Accepted { candidate, from: UnixSeconds::new(0), until: UnixSeconds::MAX, dies };
    Ok(Ok(Active { accepted, jwt: Some(Arc::new(Secret::from(jwt))) }))
}

/// Takes the JWT out of a JSON answer, as Keycloak writes it.
fn jwt_member(object: &JsonObject) -> Result<Result<String, Reject>, Failure> {
    if !is_active(object)? {
        return Ok(Err(Reject::Inactive));
    }
    let jwt = object.get("jwt").and_then(JsonValue::as_str);
    jwt.map(|jwt| Ok(jwt.into_owned())).ok_or_else(|| bad_gateway("the introspection answer holds no JWT"))
}

/// Reads `active`, and nothing but a JSON `true` is a yes.
fn judge(rules: &Rules, object: JsonObject, now: UnixSeconds) -> Result<Result<Accepted, Reject>, Failure> {
    if !is_active(&object)? {
        return Ok(Err(Reject::Inactive));
    }
    match rules.check(object, now) {
        Ok(accepted) => Ok(Ok(accepted)),
        Err(reject) => blame(reject),
    }
}

fn is_active(object: &JsonObject) -> Result<bool, Failure> {
    object.get("active").and_then(JsonValue::as_bool).ok_or_else(nonsense)
}

fn parse(body: &[u8]) -> Result<JsonObject, Failure> {
    JsonObject::parse(body.to_vec()).map_err(|e| nonsense().with_source(e))
}

/// Tells whose fault a refusal is: the caller's, who brought a token that is not for here, or the provider's, who wrote nonsense.
fn blame<T>(reject: Reject) -> Result<Result<T, Reject>, Failure> {
    match reject {
        Reject::Malformed
        | Reject::DuplicateMember
        | Reject::TooLarge
        | Reject::Algorithm
        | Reject::Critical
        | Reject::Type
        | Reject::UnknownKey
        | Reject::AmbiguousKey
        | Reject::Signature
        | Reject::Invalid(_)
        | Reject::ClaimsType => {
            Err(bad_gateway("what the provider says of the token cannot be trusted").with_source(reject))
        }
        _ => Ok(Err(reject)),
    }
}

/// Returns the body of a 200; says of every other status whose trouble it is. None is the caller's.
fn expect_ok(response: &HttpResponse) -> Result<&[u8], Unanswered> {
    match response.status {
        200 => Ok(&response.body),
        // Too many questions, or a server that is in trouble itself: later it may answer.
        status @ (408 | 425 | 429 | 500..=599) => {
            let pause = response.header("retry-after").and_then(|value| value.trim().parse().ok());
            let pause = Duration::from_secs(pause.unwrap_or(DEFAULT_PAUSE)).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            let failure = Failure::unavailable("the introspection endpoint is in trouble")
                .with_source(AnswerError::Status(status))
                .with_retry_after(pause);
            Err(Unanswered { failure, is_outage: status >= 500 })
        }
        status @ (401 | 403) => Err(bad_gateway("the introspection endpoint refuses our own credentials")
            .with_source(AnswerError::Status(status))
            .into()),
        status => Err(bad_gateway("the introspection endpoint does not answer as it should")
            .with_source(AnswerError::Status(status))
            .into()),
    }
}

/// Says what it means that there is no whole answer.
pub(crate) fn no_answer(error: HttpError) -> Unanswered {
    match error {
        HttpError::TooLarge => bad_gateway("the introspection answer is too large").with_source(error).into(),
        HttpError::Url => {
            Failure::new(FailureKind::Misconfigured, "the introspection endpoint is no usable URL").into()
        }
        error => Unanswered::outage(
            Failure::unavailable("the introspection endpoint does not answer")
                .with_source(error)
                .with_retry_after(Duration::from_secs(DEFAULT_PAUSE)),
        ),
    }
}

fn media_type(response: &HttpResponse) -> Option<String> {
    let value = response.header("content-type")?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn bad_gateway(context: &'static str) -> Failure {
    Failure::new(FailureKind::BadGateway, context)
}

fn nonsense() -> Failure {
    bad_gateway("the introspection answer is not what it should be")
}

/// Is the cause of a failure, for the log.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("status {0}")]
    Status(u16),
}

const DEFAULT_PAUSE: u64 = 1;
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
