use std::fmt;
use std::sync::Arc;

use sekisho_core::{
    Authenticate, ConfigError, Credential, CredentialKind, Failure, IntoAuthenticate, Principal, Refusal, Reject,
    Requirement, UnixSeconds,
};
use sekisho_http::CredentialSources;
use serde_json::{Map, Value};

mod event;
mod response;
#[cfg(test)]
mod tests;

pub use event::{AuthorizerEvent, EventFormat};
pub use response::{AuthorizerResponse, PolicyDocument, PolicyEffect, PolicyStatement};

/// Is an AWS Lambda authorizer for API Gateway: event in, response out, nothing of AWS in between.
///
/// It takes the events of REST APIs (`TOKEN`, `REQUEST`) and of HTTP APIs (payload formats 1.0 and 2.0), and answers with an IAM
/// policy, or, for format 2.0 and if told so, with a simple response. Whatever is in doubt is denied: no token, two tokens, a
/// token that does not hold, a rule that is not satisfied. A denial never has a context.
///
/// When our side broke, there is no response but a [`LambdaError`]: API Gateway answers 500 to an authorizer that fails, while it would
/// keep a denial for as long as its cache lives.
///
/// With API Gateway's cache on, one policy is used for all requests with the same identity source. So the policy names the one
/// method that was asked for, and others are refused until the cache forgets; switch the cache off, or make the method part of the
/// identity source, or [`cover the stage`](Self::covering_stage) if the rule is the same for all of it.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use sekisho_gateway::LambdaAuthorizer;
/// use sekisho_jwt::Jwt;
/// let authorizer = LambdaAuthorizer::new(Jwt::issuer("https://id.example").audience("orders"))?
///     .with_simple_responses()
///     .requiring(sekisho_core::scope("orders:read"));
/// // In the runtime's handler: authorizer.answer(&event_bytes, now).await
/// # let _ = authorizer;
/// # }
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct LambdaAuthorizer {
    authenticator: Arc<dyn Authenticate>,
    sources: CredentialSources,
    requirement: Option<Requirement>,
    simple: bool,
    covers_stage: bool,
    context_claims: Vec<Box<str>>,
}

impl LambdaAuthorizer {
    /// How many bytes an event may have. API Gateway's own bounds (10,240 bytes of headers, each of them twice in some formats) lie below.
    pub const MAX_EVENT_BYTES: usize = 256 * 1024;

    /// Takes tokens that this authenticator recognizes, from `Authorization`, or from `authorizationToken` of `TOKEN` events.
    ///
    /// # Errors
    /// What the builder of the authenticator finds wrong.
    pub fn new(authenticator: impl IntoAuthenticate) -> Result<Self, ConfigError> {
        Ok(Self {
            authenticator: authenticator.into_authenticate()?,
            sources: CredentialSources::new(),
            requirement: None,
            simple: false,
            covers_stage: false,
            context_claims: Vec::new(),
        })
    }

    /// Takes tokens from where these say, in events that have headers.
    ///
    /// A cookie goes along whoever causes the request. Who did is not looked at here, since API Gateway's cache answers without asking us: services
    /// behind it that take cookies ask the [rules](sekisho_http::CsrfRules) themselves.
    #[must_use]
    pub fn with_sources(mut self, sources: CredentialSources) -> Self {
        self.sources = sources;
        self
    }

    /// Asks this of each principal. Default: nothing beyond a good token.
    #[must_use]
    pub fn requiring(mut self, requirement: Requirement) -> Self {
        self.requirement = Some(requirement);
        self
    }

    /// Answers events of format 2.0 with `{"isAuthorized": …}`, as an API with simple responses switched on expects. Default: IAM policies.
    #[must_use]
    pub const fn with_simple_responses(mut self) -> Self {
        self.simple = true;
        self
    }

    /// Lets a policy that allows cover all methods and paths of the stage, for APIs that cache what is answered here. Default: the one
    /// method and path that was asked for.
    ///
    /// Only where the rule does not depend on the route: what was allowed for one is then allowed for all.
    #[must_use]
    pub const fn covering_stage(mut self) -> Self {
        self.covers_stage = true;
        self
    }

    /// Hands this claim on in the context, if it is text, a number or a boolean. The context always has `sub`, `iss` and `scope`.
    #[must_use]
    pub fn with_context_claim(mut self, claim: impl Into<Box<str>>) -> Self {
        self.context_claims.push(claim.into());
        self
    }

    /// Answers an event as it comes from the runtime, JSON to JSON.
    ///
    /// # Errors
    /// [`LambdaError`], see there.
    pub async fn answer(&self, event: &[u8], now: UnixSeconds) -> Result<Vec<u8>, LambdaError> {
        let event = AuthorizerEvent::parse(event)?;
        let response = self.authorize(&event, now).await?;
        serde_json::to_vec(&response).map_err(|_| LambdaError::event("the response cannot be written"))
    }

    /// Decides about an event, waiting for keys where a fetch is due.
    ///
    /// # Errors
    /// [`LambdaError`] when our side broke.
    pub async fn authorize(
        &self,
        event: &AuthorizerEvent,
        now: UnixSeconds,
    ) -> Result<AuthorizerResponse, LambdaError> {
        let found = match event.credential(&self.sources) {
            Ok(Some(credential)) => self.authenticate(credential, now).await,
            Ok(None) => Err(Reject::Unrecognized.into()),
            Err(reject) => Err(reject.into()),
        };
        self.decide(event, found, now)
    }

    /// Decides about an event from memory alone; `None` means that keys would have to be fetched first.
    ///
    /// # Errors
    /// As [`authorize`](Self::authorize).
    #[must_use]
    pub fn authorize_now(
        &self,
        event: &AuthorizerEvent,
        now: UnixSeconds,
    ) -> Option<Result<AuthorizerResponse, LambdaError>> {
        let found = match event.credential(&self.sources) {
            Ok(Some(credential)) if self.authenticator.recognizes(credential) => {
                self.authenticator.authenticate_now(credential, now)?
            }
            Ok(_) => Err(Reject::Unrecognized.into()),
            Err(reject) => Err(reject.into()),
        };
        Some(self.decide(event, found, now))
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        if !self.authenticator.recognizes(credential) {
            return Err(Reject::Unrecognized.into());
        }
        match self.authenticator.authenticate_now(credential, now) {
            Some(answer) => answer,
            None => self.authenticator.authenticate(credential, now).await,
        }
    }

    fn decide(
        &self,
        event: &AuthorizerEvent,
        found: Result<Principal, Refusal>,
        now: UnixSeconds,
    ) -> Result<AuthorizerResponse, LambdaError> {
        let simple = self.simple && event.format() == EventFormat::Http2;
        let deny = |principal: Option<&Principal>| {
            if simple {
                return AuthorizerResponse::simple(false, Map::new());
            }
            let id = principal.map_or_else(|| "nobody".to_owned(), |principal| principal.id().to_string());
            AuthorizerResponse::policy(id, PolicyEffect::Deny, event.arn().to_owned(), Map::new())
        };
        let principal = match found {
            Ok(principal) => principal,
            Err(Refusal::Reject(reject)) => {
                tracing::info!(target: "sekisho", reason = reject.code(), detail = %reject, "credential refused");
                return Ok(deny(None));
            }
            Err(Refusal::Failure(failure)) => return Err(LambdaError(Kind::Failure(failure))),
        };
        if let Some(Err(denial)) = self.requirement.as_ref().map(|rule| rule.check(&principal, now)) {
            tracing::info!(target: "sekisho", subject = %principal.id(), ?denial, "request denied");
            return Ok(deny(Some(&principal)));
        }
        // IAM reads a pattern out of a path with `*`: a policy for it would allow more than was asked for.
        if !simple && !self.covers_stage && event.is_path_a_pattern() {
            tracing::info!(target: "sekisho", "request denied: a policy would read its path as a pattern");
            return Ok(deny(Some(&principal)));
        }
        let context = self.context(&principal);
        if simple {
            return Ok(AuthorizerResponse::simple(true, context));
        }
        let resource = if self.covers_stage { event.stage_arn() } else { event.arn().to_owned() };
        Ok(AuthorizerResponse::policy(principal.id().to_string(), PolicyEffect::Allow, resource, context))
    }

    /// Hands on what services need. REST APIs take text, numbers and booleans only, so nothing else is written.
    fn context(&self, principal: &Principal) -> Map<String, Value> {
        let mut context = Map::new();
        for claim in &self.context_claims {
            let Some(value) = principal.claims().get(claim) else { continue };
            if let Ok(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) = value.deserialize() {
                context.insert(claim.to_string(), value);
            }
        }
        context.insert("sub".to_owned(), principal.subject().into());
        context.insert("iss".to_owned(), principal.issuer().into());
        context.insert("scope".to_owned(), principal.scope().into());
        context
    }
}

impl fmt::Debug for LambdaAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LambdaAuthorizer")
            .field("sources", &self.sources)
            .field("requirement", &self.requirement)
            .field("simple", &self.simple)
            .field("covers_stage", &self.covers_stage)
            .finish_non_exhaustive()
    }
}

/// Says why there is no response. Returned from the Lambda handler, it makes API Gateway answer 500 and let nobody pass.
#[derive(Debug)]
pub struct LambdaError(Kind);

#[derive(Debug)]
enum Kind {
    /// The event cannot be read, so not even its format is known.
    Event(&'static str),
    Failure(Failure),
}

impl LambdaError {
    const fn event(why: &'static str) -> Self {
        Self(Kind::Event(why))
    }

    /// Tells whether a retry makes sense: the event was fine, and what we depend on was not there.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(&self.0, Kind::Failure(failure) if matches!(failure.kind(), sekisho_core::FailureKind::Unavailable))
    }
}

impl fmt::Display for LambdaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Event(why) => write!(f, "no event of an API Gateway authorizer: {why}"),
            Kind::Failure(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for LambdaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Event(_) => None,
            Kind::Failure(failure) => Some(failure),
        }
    }
}

/// Takes a token as it may stand in `authorizationToken`: bare, or after `Bearer`.
fn bare_or_bearer(text: &str) -> Result<Option<Credential<'_>>, Reject> {
    if text.len() > 16 * 1024 {
        return Err(Reject::TooLarge);
    }
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains(' ') {
        return match sekisho_http::authorization(std::iter::once(text.as_bytes()))? {
            Some(credential) => Ok(Some(credential)),
            None => Err(Reject::Unrecognized),
        };
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b',') {
        return Err(Reject::MalformedRequest);
    }
    Ok(Some(Credential::new(CredentialKind::Bearer, text)))
}
