use std::fmt;
use std::sync::Arc;

use sekisho_core::json::JsonObject;
use sekisho_core::{ConfigError, Failure, Principal, Secret, UnixSeconds};
use sekisho_jwt::Verified;

use crate::tokens::{TokenError, TokenSet};

mod builder;
mod callback;
mod error;
mod pending;
mod request;

pub use builder::{Endpoints, ProviderBuilder, ProviderIssuer, ProviderStart, PushedRequests};
pub use callback::Callback;
pub use error::{LoginError, UserInfoError};
pub use pending::{LoginStart, PendingLogin};
pub use request::{LoginRequest, Prompt};

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
    issuer: Arc<str>,
    client_id: Box<str>,
    redirect_uri: Box<str>,
}

impl Provider {
    /// Makes the address to send the browser to, pushing the request first where the provider wants that
    /// ([RFC 9126](https://www.rfc-editor.org/rfc/rfc9126)), and what must be kept, in the same browser, until it comes back.
    ///
    /// # Errors
    /// [`Failure`] when the provider's metadata cannot be had, it refuses the pushed request, or `request` asks for what it cannot.
    pub async fn start(&self, request: &LoginRequest, now: UnixSeconds) -> Result<LoginStart, Failure> {
        let _ = (request, now);
        Err(NOT_YET)
    }

    /// Tells whether a login was begun here: at this provider, as this client, to return to this address. The way to find which
    /// of several providers a return is for.
    #[must_use]
    pub fn began(&self, pending: &PendingLogin) -> bool {
        let _ = pending;
        true
    }

    /// Takes the browser's return: checks `state` and `iss`, fetches the tokens, verifies the ID token.
    ///
    /// # Errors
    /// [`LoginError`]
    pub async fn finish(
        &self,
        pending: PendingLogin,
        callback: &Callback<'_>,
        now: UnixSeconds,
    ) -> Result<LoggedIn, LoginError> {
        let _ = (pending, callback, now);
        Err(NOT_YET.into())
    }

    /// Exchanges a refresh token for new tokens. What the answer leaves out (refresh token, ID token, scope) is taken over from
    /// `tokens`; an ID token that comes must be of the same `sub`, issuer and `auth_time`
    /// ([OIDC Core §12.2](https://openid.net/specs/openid-connect-core-1_0.html#RefreshTokenResponse)).
    ///
    /// Sends the refresh token at most once: whether to try again after a [`TokenError::Failure`] is the caller's to decide.
    ///
    /// # Errors
    /// [`TokenError`]
    pub async fn refresh(&self, tokens: &TokenSet, subject: &str, now: UnixSeconds) -> Result<TokenSet, TokenError> {
        let _ = (tokens, subject, now);
        Err(NOT_YET.into())
    }

    /// Withdraws a refresh token ([RFC 7009](https://www.rfc-editor.org/rfc/rfc7009)); does nothing at providers without the endpoint.
    ///
    /// # Errors
    /// [`TokenError`]
    pub async fn revoke(&self, refresh_token: &Secret, now: UnixSeconds) -> Result<(), TokenError> {
        let _ = (refresh_token, now);
        Err(NOT_YET.into())
    }

    /// Asks what else the provider says about the user
    /// ([OIDC Core §5.3](https://openid.net/specs/openid-connect-core-1_0.html#UserInfo)).
    ///
    /// # Errors
    /// [`UserInfoError`]
    pub async fn user_info(
        &self,
        tokens: &TokenSet,
        subject: &str,
        now: UnixSeconds,
    ) -> Result<UserInfo, UserInfoError> {
        let _ = (tokens, subject, now);
        Err(NOT_YET.into())
    }

    /// Makes the address that ends the session at the provider too
    /// ([OIDC RP-Initiated Logout](https://openid.net/specs/openid-connect-rpinitiated-1_0.html)); `None` at providers without the endpoint.
    ///
    /// # Errors
    /// [`Failure`] when the provider's metadata cannot be had.
    pub async fn logout_url(
        &self,
        id_token: Option<&Secret>,
        return_to: Option<&str>,
        state: Option<&str>,
        now: UnixSeconds,
    ) -> Result<Option<String>, Failure> {
        let _ = (id_token, return_to, state, now);
        Err(NOT_YET)
    }

    /// Verifies a logout token ([OIDC Back-Channel Logout §2.6](https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation)),
    /// each `jti` once.
    ///
    /// # Errors
    /// [`Reject`](sekisho_core::Reject) or [`Failure`], as [`sekisho_core::Refusal`].
    pub async fn logout_notice(
        &self,
        logout_token: &str,
        now: UnixSeconds,
    ) -> Result<Verified<LogoutNotice>, sekisho_core::Refusal> {
        let _ = (logout_token, now);
        Err(NOT_YET.into())
    }

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

impl ProviderBuilder {
    /// Ends the configuration.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn build(self) -> Result<Provider, ConfigError> {
        let client_id = "".into();
        Ok(Provider(Arc::new(Inner { issuer: self.issuer.into(), client_id, redirect_uri: self.redirect_uri.into() })))
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { issuer, client_id, redirect_uri } = &*self.0;
        f.debug_struct("Provider")
            .field("issuer", issuer)
            .field("client_id", client_id)
            .field("redirect_uri", redirect_uri)
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

/// Is what the userinfo endpoint says, of the very subject that was asked about. Personal data; `Debug` shows the subject.
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

/// Is what a verified logout token says: end these sessions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogoutNotice {
    /// The issuer.
    pub issuer: Arc<str>,
    /// The one session at the provider; `None` means all of the subject's.
    pub sid: Option<Box<str>>,
    /// The subject; there is at least one of both.
    pub subject: Option<Box<str>>,
}

const NOT_YET: Failure = Failure::unavailable("this part is not there yet");
