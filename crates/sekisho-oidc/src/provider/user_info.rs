//! What the provider says of a user on demand ([OIDC Core §5.3](https://openid.net/specs/openid-connect-core-1_0.html#UserInfo)).

use std::fmt;

use sekisho_core::json::JsonObject;
use sekisho_core::{Claim, Failure, FailureKind, Refusal, Reject, Secret, UnixSeconds};
use sekisho_http::{HttpError, HttpLimits, HttpRequest, HttpResponse};

use super::Inner;
use super::error::UserInfoError;
use super::id_token::text;
use crate::endpoint;
use crate::tokens::TokenSet;

/// Is what the userinfo endpoint says, of the very subject that was asked about. Personal data; `Debug` shows none of it.
///
/// Aggregated and distributed claims (`_claim_sources`) are left as they are: nothing in them is verified.
#[derive(Clone)]
pub struct UserInfo {
    claims: JsonObject,
}

impl UserInfo {
    /// Returns the claims, `sub` among them. They are as current as the question; nothing of them is in the principal.
    #[must_use]
    pub const fn claims(&self) -> &JsonObject {
        &self.claims
    }
}

impl fmt::Debug for UserInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserInfo(..)")
    }
}

impl Inner {
    pub(super) async fn user_info(
        &self,
        tokens: &TokenSet,
        subject: &str,
        now: UnixSeconds,
    ) -> Result<UserInfo, UserInfoError> {
        let metadata = self.metadata.get(now).await?;
        let url = metadata
            .userinfo
            .as_deref()
            .ok_or_else(|| Failure::new(FailureKind::Misconfigured, "the provider has no userinfo endpoint"))?;
        let response = self.ask_user_info(url, tokens, now).await?;
        let claims = self.read_user_info(response, now).await?;
        // §5.3.2: without this, whose token it is would decide whose claims these are.
        if text(&claims, "sub", Claim::Subject).map_err(UserInfoError::Refused)? != subject {
            return Err(UserInfoError::Refused(Reject::Invalid(Claim::Subject)));
        }
        Ok(UserInfo { claims })
    }

    /// Asks, and once more when the server wants a nonce in the proof ([RFC 9449 §9](https://www.rfc-editor.org/rfc/rfc9449#section-9)).
    async fn ask_user_info(
        &self,
        url: &str,
        tokens: &TokenSet,
        now: UnixSeconds,
    ) -> Result<HttpResponse, UserInfoError> {
        let mut is_first = true;
        loop {
            let request = self.user_info_request(url, &tokens.access_token, tokens.is_dpop, now)?;
            let response = endpoint::send(&*self.http, request, HttpLimits::default()).await.map_err(no_answer)?;
            let is_new = tokens.is_dpop && self.endpoint.note_nonce(url, response.header("dpop-nonce"));
            if is_first && is_new && response.status == 401 {
                is_first = false;
                continue;
            }
            return Ok(response);
        }
    }

    fn user_info_request(
        &self,
        url: &str,
        access_token: &Secret,
        is_dpop: bool,
        now: UnixSeconds,
    ) -> Result<HttpRequest, UserInfoError> {
        let token = access_token.expose_str().filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        let token = token.ok_or(UserInfoError::AccessToken)?;
        let request = HttpRequest::get(url).with_header("accept", "application/json, application/jwt");
        if !is_dpop {
            return Ok(request.with_header("authorization", format!("Bearer {token}")));
        }
        let proof = self.endpoint.proof("GET", url, Some(access_token), now)?;
        let proof = proof.ok_or_else(|| {
            Failure::new(FailureKind::Misconfigured, "the access token is bound to a key that is not configured")
        })?;
        Ok(request.with_header("authorization", format!("DPoP {token}")).with_header("dpop", proof))
    }

    async fn read_user_info(&self, response: HttpResponse, now: UnixSeconds) -> Result<JsonObject, UserInfoError> {
        match response.status {
            200 => {}
            401 => return Err(UserInfoError::AccessToken),
            408 | 425 | 429 | 500..=599 => return Err(Failure::unavailable("the provider cannot answer now").into()),
            _ => return Err(bad_gateway("the provider refuses to say anything about the user").into()),
        }
        let kind = response.header("content-type").unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/json" => JsonObject::parse(response.body).map_err(|_| nonsense().into()),
            "application/jwt" => {
                let jwt = std::str::from_utf8(&response.body).map_err(|_| nonsense())?.trim_ascii();
                match self.id_tokens.statements.verify(jwt, now).await {
                    Ok(claims) => Ok(claims.into_inner()),
                    Err(Refusal::Reject(reject)) => Err(UserInfoError::Refused(reject)),
                    Err(Refusal::Failure(failure)) => Err(failure.into()),
                }
            }
            _ => Err(nonsense().into()),
        }
    }
}

fn no_answer(error: HttpError) -> Failure {
    match error {
        HttpError::TooLarge => bad_gateway("the provider's answer is too large"),
        error => Failure::unavailable("the provider does not answer").with_source(error),
    }
}

const fn nonsense() -> Failure {
    bad_gateway("the provider's answer about the user makes no sense")
}

const fn bad_gateway(context: &'static str) -> Failure {
    Failure::new(FailureKind::BadGateway, context)
}
