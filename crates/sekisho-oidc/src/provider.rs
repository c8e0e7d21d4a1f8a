use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Failure, FailureKind, Principal, Refusal, Secret, UnixSeconds};
use sekisho_http::{HttpClient, address};
use sekisho_jwt::Backend;

use crate::endpoint::TokenEndpoint;
use crate::tokens::{TokenError, TokenSet};

mod authorization;
mod build;
mod builder;
mod callback;
mod error;
mod id_token;
mod logout;
mod metadata;
mod pending;
mod request;
mod user_info;

pub use builder::{Endpoints, ProviderBuilder, ProviderIssuer, ProviderStart, PushedRequests};
pub use callback::Callback;
pub use error::{LoginError, UserInfoError};
pub use logout::LogoutNotice;
pub use pending::{LoginStart, PendingLogin};
pub use request::{LoginRequest, Prompt};
pub use user_info::UserInfo;

use id_token::{IdTokens, same};
use logout::LogoutTokens;
use metadata::MetadataSource;

/// Is one provider of OpenID Connect as a relying party sees it: who it is, who we are to it, its keys and endpoints.
///
/// It knows no session and no framework. Building never waits: the provider's metadata are fetched when they are needed first, and
/// kept fresh behind the scenes. A clone costs a counter.
///
/// # Examples
/// ```
/// use sekisho_oidc::{ClientCredentials, Provider};
/// let provider = Provider::discover("https://id.example", ClientCredentials::basic("shop", "secret"))
///     .redirect_uri("https://shop.example/callback")
///     .with_scopes(["profile"])
///     .build()?;
/// # let _ = provider;
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    /// Digest of issuer, client and redirect address, by which a pending login knows its provider.
    name: [u8; 32],
    backend: Backend,
    issuer: Arc<str>,
    client_id: Box<str>,
    redirect_uri: Box<str>,
    scope: Box<str>,
    parameters: Box<[Box<str>]>,
    pushed_requests: PushedRequests,
    leeway: Duration,
    max_login_time: Duration,
    http: Arc<dyn HttpClient>,
    metadata: MetadataSource,
    endpoint: TokenEndpoint,
    id_tokens: IdTokens,
    logout_tokens: LogoutTokens,
}

/// Logging in.
impl Provider {
    /// Makes the address to send the browser to, pushing the request first where the provider wants that
    /// ([RFC 9126](https://www.rfc-editor.org/rfc/rfc9126)), and what must be kept, in the same browser, until it comes back.
    ///
    /// # Errors
    /// [`Failure`] when `request` asks for what it cannot, the provider's metadata cannot be had, or it refuses the pushed request.
    pub async fn start(&self, request: &LoginRequest, now: UnixSeconds) -> Result<LoginStart, Failure> {
        self.0.start(request, now).await
    }

    /// Tells whether a login was begun here: at this provider, as this client, to return to this address. The way to find which
    /// of several providers a return is for.
    #[must_use]
    pub fn began(&self, pending: &PendingLogin) -> bool {
        self.0.name == pending.provider
    }

    /// Takes the browser's return: checks `state` and `iss`, fetches the tokens, verifies the ID token
    /// ([OIDC Core §3.1.3.7](https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation)).
    ///
    /// # Errors
    /// Stops at the first failed step, in this order:
    /// - [`LoginError::Foreign`]: the login was begun elsewhere, is over, or the return is not its own by `state` and `iss`
    ///   ([RFC 9207](https://www.rfc-editor.org/rfc/rfc9207)).
    /// - [`LoginError::InteractionRequired`], [`LoginError::Denied`], [`LoginError::Refused`]: the provider says no.
    /// - [`LoginError::Code`]: it says no to the code.
    /// - [`LoginError::IdToken`], [`LoginError::TooWeak`]: its ID token is not good, or not good enough.
    /// - [`LoginError::Failure`], anywhere: metadata, tokens or keys cannot be had.
    pub async fn finish(
        &self,
        pending: PendingLogin,
        callback: &Callback<'_>,
        now: UnixSeconds,
    ) -> Result<LoggedIn, LoginError> {
        let inner = &*self.0;
        if !self.began(&pending) || pending.is_over(inner.max_login_time, inner.leeway, now) {
            return Err(LoginError::Foreign);
        }
        let parameters = callback.parameters().ok_or(LoginError::Foreign)?;
        // Before anything else of it is believed, an error too: anybody can have made this link.
        if !parameters.state.is_some_and(|state| same(&state, pending.state())) {
            return Err(LoginError::Foreign);
        }
        if parameters.issuer.as_ref().is_some_and(|issuer| **issuer != *inner.issuer) {
            return Err(LoginError::Foreign);
        }
        let metadata = inner.metadata.get(now).await?;
        if metadata.sends_issuer && parameters.issuer.is_none() {
            return Err(LoginError::Foreign);
        }
        let code = match (parameters.error, parameters.code) {
            (Some(error), None) => return Err(LoginError::from_code(&error)),
            (None, Some(code)) if is_code(&code) => Secret::from(&*code),
            _ => return Err(LoginError::Foreign),
        };
        let verifier = Secret::from(pending.verifier());
        let answer = inner.endpoint.code(&metadata.token, &code, &verifier, &inner.redirect_uri, now).await?;
        let mut tokens = answer.tokens;
        let id_token = tokens.id_token.as_ref().and_then(Secret::expose_str);
        let id_token = id_token.ok_or(Failure::new(FailureKind::BadGateway, "the provider sent no ID token"))?;
        let code = code.expose_str().unwrap_or_default();
        let principal = inner.id_tokens.logged_in(id_token, &pending, code, &tokens.access_token, now).await?;
        // RFC 6749 §5.1: what is not said is what was asked for.
        tokens.scope.get_or_insert_with(|| inner.scope.clone());
        Ok(LoggedIn { principal, tokens })
    }
}

/// After the login.
impl Provider {
    /// Exchanges a refresh token for new tokens. What the answer leaves out (refresh token, ID token, scope) is taken over from
    /// `tokens`. An ID token that comes must be of `subject`, of the same login by its `nonce`, and not of an earlier one by its `auth_time`
    /// ([OIDC Core §12.2](https://openid.net/specs/openid-connect-core-1_0.html#RefreshTokenResponse)); one that cannot be verified for
    /// want of keys is passed over, as if it had not come, because the refresh token is used up by now.
    ///
    /// Sends the refresh token at most once: whether to try again after a [`TokenError::Failure`] is the caller's to decide.
    ///
    /// # Errors
    /// [`TokenError`]; [`TokenError::Grant`] too when there is no refresh token.
    pub async fn refresh(&self, tokens: &TokenSet, subject: &str, now: UnixSeconds) -> Result<TokenSet, TokenError> {
        let inner = &*self.0;
        let refresh_token = tokens.refresh_token.as_ref().ok_or(TokenError::Grant)?;
        let metadata = inner.metadata.get(now).await?;
        let mut new = inner.endpoint.refresh(&metadata.token, refresh_token, None, now).await?.tokens;
        if let Some(id_token) = new.id_token.as_ref().and_then(Secret::expose_str) {
            let before = tokens.id_token.as_ref();
            match inner.id_tokens.refreshed(id_token, before, subject, &new.access_token, now).await {
                Ok(()) => {}
                Err(Refusal::Reject(reject)) => return Err(TokenError::IdToken(reject)),
                Err(Refusal::Failure(failure)) => {
                    let issuer = &*inner.issuer;
                    tracing::warn!(issuer, %failure, "an ID token that came with a refresh is passed over");
                    new.id_token = None;
                }
            }
        }
        new.id_token = new.id_token.or_else(|| tokens.id_token.clone());
        new.refresh_token = new.refresh_token.or_else(|| tokens.refresh_token.clone());
        new.scope = new.scope.or_else(|| tokens.scope.clone());
        Ok(new)
    }

    /// Withdraws a refresh token ([RFC 7009](https://www.rfc-editor.org/rfc/rfc7009)); does nothing at providers without the endpoint.
    ///
    /// # Errors
    /// [`TokenError`]
    pub async fn revoke(&self, refresh_token: &Secret, now: UnixSeconds) -> Result<(), TokenError> {
        let metadata = self.0.metadata.get(now).await?;
        match &metadata.revocation {
            Some(url) => self.0.endpoint.revoke(url, refresh_token, "refresh_token", now).await,
            None => Ok(()),
        }
    }

    /// Asks what else the provider says about `subject`, whose access token this is
    /// ([OIDC Core §5.3](https://openid.net/specs/openid-connect-core-1_0.html#UserInfo)). JSON, or a JWT for us that is signed as ID tokens are.
    ///
    /// # Errors
    /// [`UserInfoError`]; [`UserInfoError::Refused`] above all when the answer's `sub` is another.
    pub async fn user_info(
        &self,
        tokens: &TokenSet,
        subject: &str,
        now: UnixSeconds,
    ) -> Result<UserInfo, UserInfoError> {
        self.0.user_info(tokens, subject, now).await
    }
}

/// Logging out.
impl Provider {
    /// Makes the address that ends the session at the provider too
    /// ([OIDC RP-Initiated Logout](https://openid.net/specs/openid-connect-rpinitiated-1_0.html)); `None` at providers without the endpoint.
    ///
    /// - `id_token`: the session's, so that the provider need not ask the user; it then stands in the browser's address.
    /// - `return_to`: where to go on, as registered at the provider, character by character; `https`, or `http` to this machine.
    /// - `state`: comes back with it; 1 to 512 visible ASCII characters.
    ///
    /// # Errors
    /// [`Failure`] when `return_to` or `state` cannot be sent, or the provider's metadata cannot be had.
    pub async fn logout_url(
        &self,
        id_token: Option<&Secret>,
        return_to: Option<&str>,
        state: Option<&str>,
        now: UnixSeconds,
    ) -> Result<Option<String>, Failure> {
        let misused = |context| Failure::new(FailureKind::Misconfigured, context);
        if let Some(return_to) = return_to {
            address::check(return_to)
                .map_err(|error| misused("the browser cannot return there after a logout").with_source(error))?;
        }
        let is_sound = |state: &str| (1..=512).contains(&state.len()) && state.bytes().all(|b| b.is_ascii_graphic());
        if !state.is_none_or(is_sound) {
            return Err(misused("the `state` of a logout is 1 to 512 visible ASCII characters"));
        }
        let metadata = self.0.metadata.get(now).await?;
        let Some(mut url) = metadata.end_session.clone() else { return Ok(None) };
        let mut pairs = url.query_pairs_mut();
        if let Some(id_token) = id_token.and_then(Secret::expose_str) {
            pairs.append_pair("id_token_hint", id_token);
        }
        pairs.append_pair("client_id", &self.0.client_id);
        if let Some(return_to) = return_to {
            pairs.append_pair("post_logout_redirect_uri", return_to);
        }
        if let Some(state) = state {
            pairs.append_pair("state", state);
        }
        drop(pairs);
        Ok(Some(url.into()))
    }

    /// Verifies a logout token that somebody brought
    /// ([OIDC Back-Channel Logout §2.6](https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation)), each `jti` once,
    /// within 5 min of its `iat`.
    ///
    /// # Errors
    /// [`Refusal::Reject`], which is to be answered with 400: it is not one of this provider for us, or was
    /// [used before](sekisho_core::Reject::Replayed). [`Refusal::Failure`]: keys cannot be had, or the memory of used ones fails.
    pub async fn logout_notice(&self, logout_token: &str, now: UnixSeconds) -> Result<LogoutNotice, Refusal> {
        self.0.logout_tokens.notice(logout_token, now).await
    }

    /// Says that a notice could not be followed, so that the same logout token is taken once more if the provider sends it again, in this
    /// process and as long as it is good.
    pub fn logout_undone(&self, notice: &LogoutNotice, now: UnixSeconds) {
        self.0.logout_tokens.undo(notice, now);
    }
}

/// What it is.
impl Provider {
    /// Returns the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns who we are to it.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// Returns the address of ours to which the browser returns.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        &self.0.redirect_uri
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("issuer", &self.0.issuer)
            .field("client_id", &self.0.client_id)
            .field("redirect_uri", &address::shown(&self.0.redirect_uri))
            .finish_non_exhaustive()
    }
}

/// Is a login that succeeded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoggedIn {
    /// Who it is, by the ID token, with `sid`, `acr`, `auth_time` and what else it says.
    pub principal: Principal,
    /// The tokens.
    pub tokens: TokenSet,
}

impl From<TokenError> for LoginError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Grant => Self::Code,
            TokenError::Refused(code) => Self::Refused(code),
            TokenError::IdToken(reject) => Self::IdToken(reject),
            TokenError::Failure(failure) => Self::Failure(failure),
        }
    }
}

/// RFC 6749 appendix A.11.
fn is_code(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
