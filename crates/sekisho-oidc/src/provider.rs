use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{ConfigError, Failure, Principal, Reject, Secret, UnixSeconds};
use sekisho_jwt::Verified;
use sekisho_opaque::ClientCredentials;

use crate::tokens::{TokenError, TokenSet};

/// Is one provider of OpenID Connect as a relying party sees it: who it is, who we are to it, its keys and endpoints.
///
/// It knows no session and no framework. Building never waits: the provider's metadata are fetched when they are needed first, and
/// kept fresh behind the scenes. A clone costs a counter.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {}

impl Provider {
    /// Starts from the issuer, byte for byte as it stands in `iss`, and from who we are to it.
    pub fn discover(issuer: impl Into<String>, credentials: ClientCredentials) -> ProviderBuilder {
        let _ = (issuer.into(), credentials);
        ProviderBuilder {}
    }

    /// Makes the address to send the browser to, pushing the request first where the provider wants that
    /// ([RFC 9126](https://www.rfc-editor.org/rfc/rfc9126)), and what must be kept, in the same browser, until it comes back.
    ///
    /// # Errors
    /// [`Failure`] when the provider's metadata cannot be had, or it refuses the pushed request.
    pub async fn start(&self, request: &LoginRequest, now: UnixSeconds) -> Result<LoginStart, Failure> {
        let _ = (request, now);
        Err(NOT_YET)
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
    /// [`Reject`] or [`Failure`], as [`sekisho_core::Refusal`].
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
        ""
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {} = &*self.0;
        f.debug_struct("Provider").finish_non_exhaustive()
    }
}

/// Configures a [`Provider`].
#[derive(Debug)]
#[must_use]
pub struct ProviderBuilder {}

impl ProviderBuilder {
    /// Ends the configuration.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn build(self) -> Result<Provider, ConfigError> {
        Ok(Provider(Arc::new(Inner {})))
    }
}

/// Says how to log in.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LoginRequest {
    /// `prompt=none`: answer from the session at the provider, or not at all.
    pub(crate) is_silent: bool,
    /// `max_age`.
    pub(crate) max_age: Option<Duration>,
    /// `acr_values`; the login fails unless the ID token's `acr` is one of them.
    pub(crate) acr_values: Vec<Box<str>>,
    /// `login_hint`.
    pub(crate) login_hint: Option<Box<str>>,
}

/// Is the beginning of a login.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoginStart {
    /// Where to send the browser.
    pub url: String,
    /// What to keep until it returns: in this browser, and nowhere that another could put it.
    pub pending: PendingLogin,
}

/// Is a login that is under way: `state`, `nonce`, PKCE verifier and what was asked for. Secret; `Debug` shows none of it.
///
/// Good for one return, within ten minutes.
#[derive(Clone)]
pub struct PendingLogin {}

impl fmt::Debug for PendingLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingLogin(..)")
    }
}

impl PendingLogin {
    /// Returns `state`, by which the return finds it.
    #[must_use]
    pub fn state(&self) -> &str {
        ""
    }

    /// Writes it down, to be sealed.
    #[must_use]
    pub fn to_bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
        zeroize::Zeroizing::new(Vec::new())
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let _ = bytes;
        None
    }
}

/// Is the query of the browser's return; parameters that come twice are refused.
#[derive(Clone)]
pub struct Callback<'q> {
    query: &'q str,
}

impl<'q> Callback<'q> {
    /// Takes the query, without its `?`.
    #[must_use]
    pub const fn from_query(query: &'q str) -> Self {
        Self { query }
    }

    /// Returns `state`, to find the login that was under way; `None` when there is none or several.
    #[must_use]
    pub fn state(&self) -> Option<String> {
        let _ = self.query;
        None
    }
}

impl fmt::Debug for Callback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback(..)")
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

/// Says why a login did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The return is not of this login: `state` or `iss` differ, a parameter is missing or there twice, or it came too late.
    #[error("the return does not belong to this login")]
    Foreign,
    /// With `prompt=none`: the provider must ask the user (`login_required`, `interaction_required` and their like).
    #[error("the provider must ask the user")]
    InteractionRequired,
    /// The user, or the provider for her, said no (`access_denied`).
    #[error("the login was denied at the provider")]
    Denied,
    /// The provider refused otherwise; its error code, if that is a registered one.
    #[error("the provider refused: {0}")]
    Refused(&'static str),
    /// The code is used up or the provider does not know it.
    #[error("the code is not good any more")]
    Code,
    /// The ID token, or what came with it, is not good.
    #[error("the ID token is refused")]
    IdToken(Reject),
    /// The ID token is good, and does not prove what was asked for: `acr`, `max_age`.
    #[error("the login is weaker or older than what was asked for")]
    TooWeak,
    /// Our side or the provider's broke.
    #[error(transparent)]
    Failure(#[from] Failure),
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
