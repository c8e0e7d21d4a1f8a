use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, Failure, FailureKind, SubjectId, UnixSeconds};
use sekisho_http::address;
use sekisho_http::single_flight::{Boarding, Landing, SingleFlight};
use sekisho_jwt::Backend;

use super::cache::{BACK_OFF, RequestKey, TokenCache};
use super::request::{ACCESS_TOKEN, JWT, TokenRequest};
use super::token::ServiceToken;
use crate::endpoint::TokenEndpoint;
use crate::tokens::TokenError;

/// Gets access tokens for calls to other services, in our own name or in the caller's, and keeps them while they live.
///
/// Whoever asks for the same at the same time shares one question. A token is replaced before it ends: 60 s, or a tenth of its life if
/// that is less; while the provider cannot be reached, the old one is handed out up to its end. Failures are not remembered; a refusal
/// is, for 5 s. What is kept is found by a hash of what was asked for, never by a token. A clone shares all of it and costs a counter.
///
/// A withdrawal at the provider does not reach tokens that are kept: call one of the `purge_*` methods when somebody logs out.
///
/// # Examples
/// ```
/// use sekisho_core::{Principal, Secret, UnixSeconds};
/// use sekisho_oidc::{ClientCredentials, ServiceToken, ServiceTokens, TokenError, TokenRequest};
///
/// # fn setup() -> Result<ServiceTokens, sekisho_core::ConfigError> {
/// let tokens = ServiceTokens::at("https://id.example/token", "https://id.example", ClientCredentials::basic("orders", "secret"))
///     .build()?;
/// # Ok(tokens) }
/// // In a handler: the stock service is asked in the name of whoever called us.
/// async fn for_stock(tokens: &ServiceTokens, caller: &Principal, bearer: Secret, now: UnixSeconds) -> Result<ServiceToken, TokenError> {
///     let wanted = TokenRequest::on_behalf_of(caller, bearer).with_audience("stock").with_scope("stock:read");
///     tokens.token(&wanted, now).await
/// }
/// # assert!(setup().is_ok());
/// ```
#[derive(Clone)]
pub struct ServiceTokens(Arc<Source>);

pub(super) type Outcome = Result<ServiceToken, TokenError>;

/// One question at a time for each request, and not too many at once.
pub(super) type Flights = SingleFlight<RequestKey, Outcome>;

pub(super) struct Source {
    pub(super) url: Box<str>,
    pub(super) backend: Backend,
    pub(super) endpoint: TokenEndpoint,
    pub(super) cache: TokenCache,
    pub(super) flights: Arc<Flights>,
    pub(super) most_calls: usize,
    #[cfg_attr(
        not(any(feature = "tower", feature = "reqwest-middleware")),
        expect(dead_code, reason = "no layer reads it")
    )]
    pub(super) clock: Arc<dyn Clock>,
}

impl ServiceTokens {
    pub(super) fn new(source: Source) -> Self {
        Self(Arc::new(source))
    }

    /// Returns a token, asking the provider unless one is kept.
    ///
    /// # Errors
    /// - [`TokenError::Failure`] (misconfigured): an audience, resource or scope that cannot be sent.
    /// - [`TokenError::Refused`]: a subject token of no token's form; or what the provider says, also up to 5 s ago.
    /// - [`TokenError::Grant`]: the subject token has ended; or the provider does not honour it.
    /// - [`TokenError::Failure`]: no answer, one that makes no sense, another type of token than was asked for, or 4,096 wait already.
    pub async fn token(&self, request: &TokenRequest, now: UnixSeconds) -> Result<ServiceToken, TokenError> {
        request.check(now)?;
        let key = request.key(self.0.backend);
        if let Some(known) = self.0.cache.get(&key, now) {
            return known;
        }
        let boarding = self.0.flights.board(
            key,
            self.0.most_calls,
            || self.0.cache.get(&key, now),
            |landing| Box::pin(Source::question(Arc::clone(&self.0), landing, request.clone(), key, now)),
        );
        match boarding {
            Boarding::Aboard(flight, _seat) => flight.await,
            Boarding::Known(outcome) => outcome,
            Boarding::Full => Err(BUSY.with_retry_after(Duration::from_secs(1)).into()),
        }
    }

    /// Returns another token after a service has refused `refused` with 401; `None` when no other is to be had now.
    ///
    /// Of many who were refused the same token, the first fetches another. One that was fetched less than 5 s ago is not replaced, so a
    /// service that refuses everything cannot make us ask the provider for each request.
    ///
    /// # Errors
    /// As for [`token`](Self::token).
    pub async fn renew(
        &self,
        request: &TokenRequest,
        refused: &ServiceToken,
        now: UnixSeconds,
    ) -> Result<Option<ServiceToken>, TokenError> {
        self.refused(request, refused, now);
        let token = self.token(request, now).await?;
        Ok((!token.is(refused)).then_some(token))
    }

    /// Forgets a token that a service has refused, unless it is fresh.
    pub(super) fn refused(&self, request: &TokenRequest, refused: &ServiceToken, now: UnixSeconds) {
        if now >= refused.asked_at().saturating_add(BACK_OFF) {
            self.0.cache.forget_token(&request.key(self.0.backend), refused);
        }
    }

    /// Makes a DPoP proof for one request that brings `token`, with the last nonce of that server; `None` for a bearer token.
    ///
    /// - `method`, `url`: of that request.
    ///
    /// # Errors
    /// [`Failure`] when there is no randomness.
    pub fn proof(
        &self,
        method: &str,
        url: &str,
        token: &ServiceToken,
        now: UnixSeconds,
    ) -> Result<Option<String>, Failure> {
        if !token.is_dpop() {
            return Ok(None);
        }
        self.0.endpoint.proof(method, url, Some(token.secret()), now)
    }

    /// Keeps the `DPoP-Nonce` of an answer for the next proof to the server of `url`. Tells whether it is one that was not known.
    pub fn note_nonce(&self, url: &str, nonce: Option<&str>) -> bool {
        self.0.endpoint.note_nonce(url, nonce)
    }

    /// Forgets what is kept for this request, also what a running question will bring.
    pub fn purge(&self, request: &TokenRequest) {
        let key = request.key(self.0.backend);
        self.0.flights.disown(Some(&key), || self.0.cache.forget(&key));
    }

    /// Forgets what was exchanged [in the name of](TokenRequest::on_behalf_of) this subject, as after a logout. Goes through all that is
    /// kept.
    pub fn purge_subject(&self, subject: &SubjectId) {
        let (issuer, subject) = (subject.issuer(), subject.subject());
        self.0.flights.disown(None, || self.0.cache.forget_owned(|owner| owner.is(issuer, subject)));
    }

    /// Forgets what was exchanged in the name of a caller of this session at the provider (`sid`), as after a back-channel logout.
    pub fn purge_session(&self, issuer: &str, sid: &str) {
        self.0.flights.disown(None, || self.0.cache.forget_owned(|owner| owner.is_in(issuer, sid)));
    }

    /// Counts the tokens that are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.0.cache.len()
    }

    #[cfg(any(feature = "tower", feature = "reqwest-middleware"))]
    pub(super) fn now(&self) -> UnixSeconds {
        self.0.clock.now()
    }
}

impl Source {
    async fn question(
        self: Arc<Self>,
        landing: Landing<RequestKey, Outcome>,
        request: TokenRequest,
        key: RequestKey,
        now: UnixSeconds,
    ) -> Outcome {
        let outcome = self.ask(&request, now).await;
        // INVARIANT: a refusal ends what was kept, whoever asked; trouble on the way does not.
        let is_final = outcome.as_ref().is_err_and(is_refusal);
        let due = if outcome.is_err() && !is_final { self.cache.get_due(&key, now) } else { None };
        landing.land(|is_owned| match &outcome {
            Ok(token) if is_owned => self.cache.insert(key, &request, token),
            Err(error) if is_final && is_owned => self.cache.refuse(key, error, now),
            Err(_) if is_final => self.cache.forget(&key),
            Err(_) if is_owned && due.is_some() => self.cache.postpone(key, now),
            Ok(_) | Err(_) => {}
        });
        due.map_or(outcome, Ok)
    }

    async fn ask(&self, request: &TokenRequest, now: UnixSeconds) -> Outcome {
        let scope = request.scope();
        let answer = if request.is_exchange() {
            let mut form = request.exchange_form();
            form.extend(scope.as_deref().map(|scope| ("scope", scope)));
            let answer = self.endpoint.tokens(&self.url, &form, now).await?;
            // RFC 8693 §2.2.1: required. Another type would be no token to call a service with.
            if !matches!(answer.issued_token_type.as_deref(), Some(ACCESS_TOKEN | JWT)) {
                return Err(OTHER_TYPE.into());
            }
            answer
        } else {
            self.endpoint.client_credentials(&self.url, scope.as_deref(), &request.targets(), now).await?
        };
        let tokens = answer.tokens;
        let expires_at = match (tokens.expires_at, request.ends_at()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        // A refresh token is not kept: the subject's own token is what a new one is got by.
        Ok(ServiceToken::new(tokens.access_token, tokens.is_dpop, now, expires_at, tokens.scope))
    }
}

/// Tells a word of the provider about this request or about us from trouble on the way.
fn is_refusal(error: &TokenError) -> bool {
    match error {
        TokenError::Failure(failure) => failure.kind() == FailureKind::Misconfigured,
        _ => true,
    }
}

impl fmt::Debug for ServiceTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source { url, backend: _, endpoint, cache, flights: _, most_calls: _, clock: _ } = &*self.0;
        f.debug_struct("ServiceTokens")
            .field("url", &address::shown(url))
            .field("endpoint", endpoint)
            .field("kept", &cache.len())
            .finish_non_exhaustive()
    }
}

const OTHER_TYPE: Failure =
    Failure::new(FailureKind::BadGateway, "the provider exchanged the token for something that is no access token");
const BUSY: Failure = Failure::unavailable("too many tokens are asked for at once");
/// Bounds how many requests may wait; a flood beyond it is told to come back.
pub(super) const MOST_WAITING: usize = 4096;
