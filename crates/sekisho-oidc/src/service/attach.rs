//! When a token goes along with a request, and when the request is sent again. One set of rules for all HTTP clients.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use sekisho_core::{Failure, FailureKind};

use super::origins::{AllowedOrigins, Origin};
use super::request::TokenRequest;
use super::source::ServiceTokens;
use super::token::ServiceToken;
use crate::tokens::TokenError;

/// Attaches tokens to requests for some servers.
#[derive(Clone, Debug)]
pub(super) struct Attacher {
    pub(super) tokens: ServiceTokens,
    pub(super) origins: AllowedOrigins,
    pub(super) default: Option<TokenRequest>,
}

impl Attacher {
    /// Tells whether a request gets a token: it goes to a server on the list, and brings no `Authorization` of its own.
    pub(super) fn is_meant(&self, origin: Option<&Origin>, headers: &HeaderMap) -> bool {
        origin.is_some_and(|origin| self.origins.contains(origin)) && !headers.contains_key(AUTHORIZATION)
    }

    /// Gets the token for a request; `own` is what the request says it wants.
    pub(super) async fn begin(&self, own: Option<TokenRequest>) -> Result<Attempt<'_>, TokenError> {
        let wanted = own.or_else(|| self.default.clone()).ok_or(UNSAID)?;
        let token = self.tokens.token(&wanted, self.tokens.now()).await?;
        Ok(Attempt { attacher: self, wanted, token, may_renew: true, may_add_nonce: true })
    }
}

/// Is one request on its way, which may be sent again for two reasons, once for each.
pub(super) struct Attempt<'a> {
    attacher: &'a Attacher,
    wanted: TokenRequest,
    token: ServiceToken,
    may_renew: bool,
    may_add_nonce: bool,
}

impl Attempt<'_> {
    /// Tells whether there is still a reason to send it again, so that a copy must be kept.
    pub(super) const fn may_repeat(&self) -> bool {
        self.may_renew || self.may_add_nonce
    }

    /// Writes `Authorization` and `DPoP`, over those of an earlier attempt.
    pub(super) fn write(&self, headers: &mut HeaderMap, method: &Method, url: &str) -> Result<(), TokenError> {
        let tokens = &self.attacher.tokens;
        let proof = tokens.proof(method.as_str(), url, &self.token, tokens.now())?;
        let authorization = self.token.authorization();
        headers.insert(AUTHORIZATION, sensitive(authorization.expose())?);
        headers.remove(DPOP);
        if let Some(proof) = proof {
            headers.insert(DPOP, sensitive(proof.as_bytes())?);
        }
        Ok(())
    }

    /// Looks at an answer, and tells whether to send the request again. `can_repeat`: there is a copy of it.
    pub(super) async fn after(
        &mut self,
        can_repeat: bool,
        method: &Method,
        url: &str,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> bool {
        let tokens = &self.attacher.tokens;
        let nonce = headers.get(DPOP_NONCE).and_then(|value| value.to_str().ok());
        let is_new = self.token.is_dpop() && tokens.note_nonce(url, nonce);
        if status != StatusCode::UNAUTHORIZED {
            return false;
        }
        // RFC 9449 §9: the token was not looked at.
        if self.token.is_dpop() && says(headers, "use_dpop_nonce") {
            return can_repeat && is_new && std::mem::take(&mut self.may_add_nonce);
        }
        let is_harmless = method.is_idempotent() || says(headers, "invalid_token");
        if !(can_repeat && is_harmless && std::mem::take(&mut self.may_renew)) {
            tokens.refused(&self.wanted, &self.token, tokens.now());
            return false;
        }
        // If no other is to be had, the service's own 401 says more than our trouble.
        match tokens.renew(&self.wanted, &self.token, tokens.now()).await {
            Ok(Some(token)) => {
                self.token = token;
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "a token that a service refused cannot be replaced");
                false
            }
        }
    }
}

/// Tells whether a challenge gives this reason ([RFC 6750 §3.1](https://www.rfc-editor.org/rfc/rfc6750#section-3.1)).
fn says(headers: &HeaderMap, code: &str) -> bool {
    let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    challenges.flat_map(|challenge| challenge.split([',', ' '])).any(|parameter| {
        let value = parameter.trim().strip_prefix("error=");
        value.is_some_and(|value| value.trim_matches('"') == code)
    })
}

fn sensitive(bytes: &[u8]) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_bytes(bytes)
        .map_err(|_| Failure::new(FailureKind::BadGateway, "the provider's token cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const UNSAID: Failure =
    Failure::new(FailureKind::Misconfigured, "a request says nothing of the token it wants, and there is no default");
