//! Asking a provider about tokens: cache, one question for each token, bounds, and what to do when it cannot be reached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::json::JsonObject;
use sekisho_core::{
    Credential, CredentialKind, Failure, FailureKind, Refusal, Reject, RevocationCheck, Secret, UnixSeconds,
};
use sekisho_http::single_flight::{Boarding, Landing, SingleFlight};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse, address};
use sekisho_jwt::{Backend, SenderConstraint};
use tokio::runtime::Handle;
use url::form_urlencoded::Serializer;

use crate::answer::{Active, Form, Unanswered, no_answer};
use crate::base64;
use crate::cache::{AnswerCache, TokenHasher, TokenKey};
use crate::credentials::ClientCredentials;
use crate::freshness::Freshness;

/// Is what a question came to: yes, no, or nobody knows.
pub(crate) type Outcome = Result<Result<Active, Reject>, Unanswered>;

/// One question at a time for each token, and not too many at once.
pub(crate) type Flights = SingleFlight<TokenKey, Outcome>;

/// Holds everything that one introspection endpoint is asked with.
pub(crate) struct Engine {
    pub(crate) url: String,
    pub(crate) issuer: String,
    pub(crate) credentials: ClientCredentials,
    pub(crate) client: Arc<dyn HttpClient>,
    pub(crate) limits: HttpLimits,
    pub(crate) backend: Backend,
    pub(crate) form: Form,
    pub(crate) constraint: SenderConstraint,
    pub(crate) hasher: TokenHasher,
    pub(crate) cache: AnswerCache,
    pub(crate) flights: Arc<Flights>,
    pub(crate) most_calls: usize,
    pub(crate) longest_token: usize,
    pub(crate) also_jwts: bool,
    pub(crate) revocation: Option<Arc<dyn RevocationCheck>>,
}

impl Engine {
    /// Tells, from the look of it, whether to ask about this credential.
    pub(crate) fn recognizes(&self, credential: Credential<'_>) -> bool {
        (credential.kind() != CredentialKind::Dpop || self.constraint.takes_dpop())
            && (self.also_jwts || !looks_like_jwt(credential.expose()))
    }

    /// Answers from memory, or not at all.
    pub(crate) fn answer_now(&self, token: &str, now: UnixSeconds) -> Option<Result<Active, Refusal>> {
        if let Err(reject) = self.check_form(token) {
            return Some(Err(reject.into()));
        }
        self.remembered(&self.hasher.hash(token)?, now)
    }

    pub(crate) async fn answer(self: &Arc<Self>, token: &str, now: UnixSeconds) -> Result<Active, Refusal> {
        self.check_form(token)?;
        let key = self.hash(token)?;
        if let Some(answer) = self.remembered(&key, now) {
            return answer;
        }
        let boarding = self.flights.board(
            key,
            self.most_calls,
            || self.cache.get(&key, now).filter(|answer| self.is_sound(answer, now)).map(Ok),
            |landing| Box::pin(Self::question(Arc::clone(self), landing, Secret::from(token), key, now)),
        );
        let outcome = match boarding {
            Boarding::Aboard(flight, _seat) => flight.await,
            Boarding::Known(outcome) => outcome,
            // That we are busy says nothing of the provider, and anybody can make us so.
            Boarding::Full => return Err(busy().into()),
        };
        match outcome {
            Ok(Ok(active)) => {
                // The question may have been another request's, with another `now`.
                active.check_time(now)?;
                self.check_revocation(active, now)
            }
            Ok(Err(reject)) => Err(reject.into()),
            Err(Unanswered { failure, is_outage: true }) => match self.cache.get_stale(&key, now) {
                Some(active) if self.still_holds(&active, now) => self.check_revocation(active, now),
                _ => Err(failure.into()),
            },
            Err(Unanswered { failure, is_outage: false }) => Err(failure.into()),
        }
    }

    /// Forgets what is known of a token, also what a running question will answer.
    pub(crate) fn purge(&self, token: &str) {
        if let Some(key) = self.hasher.hash(token) {
            self.flights.disown(Some(&key), || self.cache.forget(&key));
        }
    }

    pub(crate) fn purge_where(&self, is_gone: impl Fn(&Active) -> bool) {
        self.flights.disown(None, || self.cache.forget_where(is_gone));
    }

    /// Bounds the length; what cannot be a token at all is not asked about.
    fn check_form(&self, token: &str) -> Result<(), Reject> {
        match token.len() {
            0 => Err(Reject::Malformed),
            length if length > self.longest_token => Err(Reject::TooLarge),
            _ => Ok(()),
        }
    }

    fn hash(&self, token: &str) -> Result<TokenKey, Failure> {
        self.hasher.hash(token).ok_or(Failure::new(FailureKind::Misconfigured, "a token cannot be hashed"))
    }

    fn remembered(&self, key: &TokenKey, now: UnixSeconds) -> Option<Result<Active, Refusal>> {
        let answer = self.cache.get(key, now)?;
        if !self.is_sound(&answer, now) {
            self.cache.forget(key);
            return None;
        }
        Some(match answer {
            Ok(active) => self.check_revocation(active, now),
            Err(reject) => Err(reject.into()),
        })
    }

    fn is_sound(&self, answer: &Result<Active, Reject>, now: UnixSeconds) -> bool {
        answer.as_ref().map_or(true, |active| self.still_holds(active, now))
    }

    /// Asks the verifier of a JWT behind a token again: its key may have been withdrawn. It has its own memory for that.
    fn still_holds(&self, active: &Active, now: UnixSeconds) -> bool {
        let (Form::Phantom(verifier), Some(jwt)) = (&self.form, &active.jwt) else { return true };
        jwt.expose_str().is_some_and(|jwt| matches!(verifier.candidate_now(jwt, now), Some(Ok(_))))
    }

    /// Asks after each answer, also after one from memory.
    fn check_revocation(&self, active: Active, now: UnixSeconds) -> Result<Active, Refusal> {
        if let Some(check) = &self.revocation {
            active.accepted.candidate.check_revocation(&**check, now)?;
        }
        Ok(active)
    }

    async fn question(
        self: Arc<Self>,
        landing: Landing<TokenKey, Outcome>,
        token: Secret,
        key: TokenKey,
        now: UnixSeconds,
    ) -> Outcome {
        let (freshness, answer) = self.ask(&token, now).await?;
        landing.land(|is_owned| match &answer {
            answer if is_owned => self.cache.insert(key, answer, freshness, now),
            // INVARIANT: a refusal ends what was known, whoever asked.
            Err(_) => self.cache.forget_good(&key),
            Ok(_) => {}
        });
        Ok(answer)
    }

    async fn ask(&self, token: &Secret, now: UnixSeconds) -> Result<(Freshness, Result<Active, Reject>), Unanswered> {
        let request = self.request(token.expose_str().unwrap_or_default(), now)?;
        let response = self.send(request).await.map_err(no_answer)?;
        if response.body.len() > self.limits.max_body_bytes {
            return Err(no_answer(HttpError::TooLarge));
        }
        let answer = self.form.read(&response, now).await?;
        let answer = answer.and_then(|active| match active.accepted.candidate.confirmation() {
            None => refuse_bound_jwt(token).map(|()| active),
            Some(_) => Ok(active),
        });
        Ok((Freshness::of(&response.headers), answer))
    }

    /// Writes the request ([RFC 7662 §2.1](https://www.rfc-editor.org/rfc/rfc7662#section-2.1)). The token is encoded once, by the
    /// encoder of forms, so that no byte of it can become another parameter.
    fn request(&self, token: &str, now: UnixSeconds) -> Result<HttpRequest, Failure> {
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token).append_pair("token_type_hint", "access_token");
        let proof = self.credentials.prove(&self.issuer, self.backend, now)?;
        form.extend_pairs(proof.parameters());
        let mut headers = vec![
            ("accept", self.form.accept().to_owned()),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ];
        headers.extend(proof.authorization().map(|value| ("authorization", value.to_owned())));
        Ok(HttpRequest { method: HttpMethod::Post, url: self.url.clone(), headers, body: form.finish().into_bytes() })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let exchange = self.client.send(request, self.limits);
        match Handle::try_current() {
            // Panics in a runtime without its timer, as `with_timeout` says; there is no way to ask for it.
            // A client of the user's own that forgets its limits must not hold everybody who waits for the same token.
            Ok(_) => tokio::time::timeout(self.limits.total_timeout, exchange).await.unwrap_or(Err(HttpError::Timeout)),
            Err(_) => exchange.await,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, issuer, credentials, form, cache, .. } = self;
        f.debug_struct("Introspection")
            .field("url", &address::shown(url))
            .field("issuer", issuer)
            .field("credentials", credentials)
            .field("accept", &form.accept())
            .field("cache", cache)
            .finish_non_exhaustive()
    }
}

/// Refuses what came with a proof of possession where nobody would look at it.
pub(crate) fn check_kind(credential: Credential<'_>, constraint: &SenderConstraint) -> Result<(), Reject> {
    let is_unwanted = credential.kind() == CredentialKind::Dpop && !constraint.takes_dpop();
    if is_unwanted { Err(Reject::Unrecognized) } else { Ok(()) }
}

/// Refuses a JWT that says itself that it is bound to a key, for when the provider does not say so.
fn refuse_bound_jwt(token: &Secret) -> Result<(), Reject> {
    let token = token.expose_str().unwrap_or_default();
    if !looks_like_jwt(token) {
        return Ok(());
    }
    let payload = token.split('.').nth(1).and_then(base64::decode);
    // Something else between two dots, or encrypted.
    let Some(payload) = payload.filter(|payload| payload.trim_ascii_start().starts_with(b"{")) else { return Ok(()) };
    match JsonObject::parse(payload) {
        Ok(claims) if claims.get("cnf").is_none() => Ok(()),
        // Nobody can say that one that cannot be read is not bound.
        _ => Err(Reject::ProofRequired),
    }
}

/// Tells whether a text has the look of a compact JWS or JWE: base64url of an object, and two or four dots.
pub(crate) fn looks_like_jwt(token: &str) -> bool {
    // Base64url of `{"` and of `{` with white space behind it.
    let is_object = token.starts_with("ey") || token.starts_with("ew");
    is_object && matches!(token.bytes().filter(|byte| *byte == b'.').take(5).count(), 2 | 4)
}

fn busy() -> Failure {
    Failure::unavailable("too many introspections at once").with_retry_after(Duration::from_secs(1))
}

/// Bounds how many requests may wait; a flood beyond it is told to come back.
pub(crate) const MOST_WAITING: usize = 4096;
