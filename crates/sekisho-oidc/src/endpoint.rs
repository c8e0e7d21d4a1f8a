//! Asking a provider's endpoints as its client: who we are, proofs of our key, and what an answer or a refusal means.

use std::fmt;
use std::sync::Arc;

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthorizationCode, EndpointNotSet, EndpointSet, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError,
    Scope, StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use sekisho_core::json::JsonObject;
use sekisho_core::{ConfigError, Failure, FailureKind, Secret, UnixSeconds};
use sekisho_http::{HttpClient, HttpLimits, HttpResponse};
use sekisho_jwt::{Backend, DpopSigner};
use sekisho_opaque::ClientCredentials;

use crate::endpoint::answer::{Extra, Rules};
use crate::endpoint::nonces::Nonces;
use crate::endpoint::wire::Wire;
use crate::tokens::TokenError;

mod answer;
mod nonces;
mod refusal;
mod wire;

pub(crate) use answer::TokenAnswer;
pub(crate) use wire::send;

/// Is one provider's endpoints as its client sees them. A clone costs a counter, and shares the nonces.
#[derive(Clone)]
pub(crate) struct TokenEndpoint(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    credentials: ClientCredentials,
    issuer: Arc<str>,
    backend: Backend,
    http: Arc<dyn HttpClient>,
    limits: HttpLimits,
    dpop: Option<DpopSigner>,
    takes_bearer: bool,
    nonces: Nonces,
}

impl TokenEndpoint {
    /// - `issuer`: the audience of client assertions.
    /// - `dpop`: the key that access tokens are to be bound to; without one, bearer tokens are asked for.
    pub(crate) fn new(
        credentials: ClientCredentials,
        issuer: impl Into<Arc<str>>,
        backend: Backend,
        http: Arc<dyn HttpClient>,
        dpop: Option<DpopSigner>,
    ) -> Result<Self, ConfigError> {
        credentials.check()?;
        let (issuer, limits, nonces) = (issuer.into(), HttpLimits::default(), Nonces::new());
        Ok(Self(Arc::new(Inner { credentials, issuer, backend, http, limits, dpop, takes_bearer: false, nonces })))
    }

    /// Sets the bounds of each exchange; a body is never read beyond 150,000 bytes.
    pub(crate) fn with_limits(self, limits: HttpLimits) -> Self {
        let max_body_bytes = limits.max_body_bytes.min(HttpLimits::default().max_body_bytes);
        Self(Arc::new(Inner { limits: HttpLimits { max_body_bytes, ..limits }, ..(*self.0).clone() }))
    }

    /// Takes an unbound token although we sent a proof: for providers that bind only those of some clients.
    pub(crate) fn accepting_bearer(self) -> Self {
        Self(Arc::new(Inner { takes_bearer: true, ..(*self.0).clone() }))
    }

    /// Exchanges an authorization code ([RFC 6749 §4.1.3](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.3),
    /// [RFC 7636 §4.5](https://www.rfc-editor.org/rfc/rfc7636#section-4.5)).
    pub(crate) async fn code(
        &self,
        url: &str,
        code: &Secret,
        verifier: &Secret,
        redirect_uri: &str,
        now: UnixSeconds,
    ) -> Result<TokenAnswer, TokenError> {
        let redirect_uri = RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| UNUSABLE_URL)?;
        let client = self.oauth2(url)?.set_redirect_uri(redirect_uri);
        let wire = self.wire(url, now);
        let answer = client
            .exchange_code(AuthorizationCode::new(text(code)))
            .set_pkce_verifier(PkceCodeVerifier::new(text(verifier)))
            .request_async(&wire)
            .await;
        self.read(answer, now)
    }

    /// Exchanges a refresh token, which is sent once ([RFC 6749 §6](https://www.rfc-editor.org/rfc/rfc6749#section-6)); a second time
    /// only after the provider asked for a nonce instead of looking at it.
    pub(crate) async fn refresh(
        &self,
        url: &str,
        refresh_token: &Secret,
        scope: Option<&str>,
        now: UnixSeconds,
    ) -> Result<TokenAnswer, TokenError> {
        let (client, wire) = (self.oauth2(url)?, self.wire(url, now));
        let refresh_token = RefreshToken::new(text(refresh_token));
        let answer = client.exchange_refresh_token(&refresh_token).add_scopes(scopes(scope)).request_async(&wire).await;
        self.read(answer, now)
    }

    /// Asks for a token of our own ([RFC 6749 §4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)). `extra` are further
    /// parameters, such as `resource` ([RFC 8707](https://www.rfc-editor.org/rfc/rfc8707)).
    pub(crate) async fn client_credentials(
        &self,
        url: &str,
        scope: Option<&str>,
        extra: &[(&str, &str)],
        now: UnixSeconds,
    ) -> Result<TokenAnswer, TokenError> {
        let (client, wire) = (self.oauth2(url)?, self.wire(url, now));
        let mut request = client.exchange_client_credentials().add_scopes(scopes(scope));
        for (name, value) in extra {
            request = request.add_extra_param(*name, *value);
        }
        self.read(request.request_async(&wire).await, now)
    }

    /// Asks for tokens by a form of our own, for grants that `oauth2` does not know.
    pub(crate) async fn tokens(
        &self,
        url: &str,
        form: &[(&str, &str)],
        now: UnixSeconds,
    ) -> Result<TokenAnswer, TokenError> {
        // `oauth2` takes 200 alone; so do we.
        let response = self.post(url, form, now).await?;
        if response.status != 200 {
            return Err(refusal::misshapen().into());
        }
        // Any text after its members stand once: `post` has seen to that for what comes back with 2xx.
        let object = JsonObject::parse(response.body).map_err(|_| refusal::misshapen())?;
        let answer = object.deserialize().map_err(|_| refusal::misshapen())?;
        self.rules().read(answer, now)
    }

    /// Withdraws a token ([RFC 7009 §2.1](https://www.rfc-editor.org/rfc/rfc7009#section-2.1)). A token that the provider does not
    /// know is as good as withdrawn, and it says so.
    pub(crate) async fn revoke(
        &self,
        url: &str,
        token: &Secret,
        hint: &str,
        now: UnixSeconds,
    ) -> Result<(), TokenError> {
        let token = text(token);
        let response = self.0.exchange(url, &[("token", &token), ("token_type_hint", hint)], false, now).await?;
        if response.status == 200 { Ok(()) } else { Err(refusal::of(&response)) }
    }

    /// Sends any other form and returns the JSON object of its 2xx answer, as for pushed requests
    /// ([RFC 9126 §2](https://www.rfc-editor.org/rfc/rfc9126#section-2)).
    pub(crate) async fn post_json(
        &self,
        url: &str,
        form: &[(&str, &str)],
        now: UnixSeconds,
    ) -> Result<JsonObject, TokenError> {
        let response = self.post(url, form, now).await?;
        JsonObject::parse(response.body).map_err(|_| refusal::misshapen().into())
    }

    /// Sends a form with the proof of who we are, of our key too, and returns a 2xx answer that is strict JSON. A `client_id` in the form
    /// is left out where the credentials write it themselves.
    pub(crate) async fn post(
        &self,
        url: &str,
        form: &[(&str, &str)],
        now: UnixSeconds,
    ) -> Result<HttpResponse, TokenError> {
        wire::success(self.0.exchange(url, form, true, now).await?)
    }

    /// Makes a proof of our key with the server's last nonce; `None` without a key. For requests to other endpoints than these, such as
    /// userinfo; tell [`note_nonce`](Self::note_nonce) of the answer.
    pub(crate) fn proof(
        &self,
        method: &str,
        url: &str,
        token: Option<&Secret>,
        now: UnixSeconds,
    ) -> Result<Option<String>, Failure> {
        let Some(signer) = &self.0.dpop else { return Ok(None) };
        signer.prove(method, url, token, self.0.nonces.get(url).as_deref(), now).map(Some)
    }

    /// Keeps the nonce that an answer of this URL's server brought, for the next proof. Tells whether there was one that is new.
    pub(crate) fn note_nonce(&self, url: &str, nonce: Option<&str>) -> bool {
        self.0.nonces.note(url, nonce)
    }

    /// Returns the key that tokens are bound to.
    pub(crate) fn dpop(&self) -> Option<&DpopSigner> {
        self.0.dpop.as_ref()
    }

    fn wire<'e>(&'e self, url: &'e str, now: UnixSeconds) -> Wire<'e> {
        Wire { endpoint: &self.0, url, now }
    }

    /// Who we are is written by [`ClientCredentials`], not by `oauth2`, which knows only secrets.
    fn oauth2(&self, url: &str) -> Result<OAuth2, TokenError> {
        wire::check(url)?;
        let url = TokenUrl::new(url.to_owned()).map_err(|_| UNUSABLE_URL)?;
        Ok(oauth2::Client::new(oauth2::ClientId::new(String::new())).set_token_uri(url))
    }

    fn rules(&self) -> Rules {
        Rules { wants_dpop: self.0.dpop.is_some(), takes_bearer: self.0.takes_bearer }
    }

    fn read(
        &self,
        answer: Result<Answered, RequestTokenError<TokenError, BasicErrorResponse>>,
        now: UnixSeconds,
    ) -> Result<TokenAnswer, TokenError> {
        match answer {
            Ok(answer) => self.rules().read(answer, now),
            Err(RequestTokenError::Request(error)) => Err(error),
            // INVARIANT: nothing of these goes on; they hold the body.
            Err(_) => Err(refusal::misshapen().into()),
        }
    }
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { credentials, issuer, backend: _, http: _, limits: _, dpop, takes_bearer: _, nonces: _ } = &*self.0;
        f.debug_struct("TokenEndpoint")
            .field("credentials", credentials)
            .field("issuer", issuer)
            .field("dpop", dpop)
            .finish_non_exhaustive()
    }
}

type Answered = StandardTokenResponse<Extra, BasicTokenType>;
type OAuth2 = oauth2::Client<
    BasicErrorResponse,
    Answered,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

fn text(secret: &Secret) -> String {
    secret.expose_str().unwrap_or_default().to_owned()
}

fn scopes(scope: Option<&str>) -> impl Iterator<Item = Scope> {
    let names = scope.unwrap_or_default().split(' ').filter(|name| !name.is_empty());
    names.map(|name| Scope::new(name.to_owned()))
}

const UNUSABLE_URL: Failure =
    Failure::new(FailureKind::Misconfigured, "an endpoint or redirect address is no usable URL");

#[cfg(test)]
mod tests;
