use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use sekisho_core::{Clock, ConfigError, Principal, Refusal, Reject};
use sekisho_jwt::{Step, Verifier};

use crate::journey::{Journey, JourneyStep};

mod answer;
mod builder;
mod client;
#[cfg(test)]
mod tests;

pub use answer::AuthorizerAnswer;
pub use builder::{JwtAuthorizerBuilder, JwtAuthorizerStart};
use client::Fetches;

/// Verifies the JWT of each request as the JWT authorizer of an AWS API Gateway HTTP API does, and answers in its words.
///
/// | what | rule |
/// |---|---|
/// | where the token stands | one header, `Authorization` by default: the bare token, or the token after `Bearer` |
/// | keys | `ISSUER/.well-known/openid-configuration`, then its `jwks_uri`; each within 1500 ms and 150,000 bytes; kept for two hours |
/// | algorithm | RS256, RS384 and RS512 only |
/// | `kid` | must be there; an unknown one brings one new fetch, at most every 30 s |
/// | `iss` | the configured one, byte for byte |
/// | `aud`, `client_id` | one of the audiences in `aud`; in `client_id` only if there is no `aud` |
/// | `exp`, `nbf`, `iat` | `now < exp`, `nbf <= now`, `iat <= now`, without leeway |
/// | `scope`, `scp` | at least one of the route's scopes; without scopes on the route, not looked at |
/// | `typ` | not looked at |
/// | bounds | 50 audiences, 10 scopes on a route, 10,240 bytes of request line and headers |
///
/// Without scopes on its route **an ID token passes**, as it does there: it is signed by the same issuer, for a client that may stand
/// among the audiences. Ask for scopes, or build [`with_access_tokens_only`](JwtAuthorizerBuilder::with_access_tokens_only).
///
/// Where this differs from the original, on purpose: keys that cannot be had are 503 and not 401; a token bound to a key or
/// certificate (`cnf`) is refused; two `Authorization` headers are refused; duplicate members and the like in a token are refused.
///
/// Cloning costs a counter.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use sekisho_gateway::{JwtAuthorizer, RouteScopes};
/// let authorizer = JwtAuthorizer::aws_http_api("https://id.example/").audience("orders").build()?;
/// let write = RouteScopes::any_of(["orders:write", "orders:admin"])?;
/// # let _ = (authorizer, write);
/// # }
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct JwtAuthorizer(Arc<Inner>);

struct Inner {
    verifier: Verifier,
    /// In lower case.
    header: Box<str>,
    clock: Arc<dyn Clock>,
    fetches: Fetches,
}

impl JwtAuthorizer {
    /// How many bytes a request line and its headers may have.
    pub const MAX_HEADER_BYTES: usize = 10_240;
    /// How many audiences an authorizer may have.
    pub const MAX_AUDIENCES: usize = 50;

    /// Starts an authorizer for this issuer, as it stands in `iss`, with the `aws-lc-rs` backend.
    #[cfg(feature = "aws-lc-rs")]
    pub fn aws_http_api(issuer: impl Into<String>) -> JwtAuthorizerStart {
        JwtAuthorizerStart::new(sekisho_jwt::Backend::default(), issuer.into())
    }

    /// Starts an authorizer for this issuer with a crypto backend of one's choice.
    pub fn aws_http_api_with(backend: sekisho_jwt::Backend, issuer: impl Into<String>) -> JwtAuthorizerStart {
        JwtAuthorizerStart::new(backend, issuer.into())
    }

    /// Decides about one request, waiting for keys where a fetch is due.
    ///
    /// # Errors
    /// The answer to send:
    /// - 431 when request line and headers are longer than 10,240 bytes.
    /// - 401 when there is no token, more than one, or it does not hold.
    /// - 503 when no keys are at hand.
    /// - 403 when none of the route's scopes was granted.
    pub async fn authorize(&self, request: &Parts, scopes: &RouteScopes) -> Result<Principal, AuthorizerAnswer> {
        self.authorize_watched(request, scopes, &Journey::silent()).await
    }

    /// Decides as [`authorize`](Self::authorize) does, and tells the steps 2 to 5.
    ///
    /// # Errors
    /// As [`authorize`](Self::authorize).
    pub async fn authorize_watched(
        &self,
        request: &Parts,
        scopes: &RouteScopes,
        journey: &Journey,
    ) -> Result<Principal, AuthorizerAnswer> {
        if head_bytes(request) > Self::MAX_HEADER_BYTES {
            return Err(AuthorizerAnswer::too_large());
        }
        let mut values = request.headers.get_all(&*self.0.header).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            journey.tell(JourneyStep::Authorizer, || format!("not exactly one header `{}`: refused", self.0.header));
            return Err(AuthorizerAnswer::missing());
        };
        let token = token_in(value.as_bytes()).ok_or_else(|| AuthorizerAnswer::refused(Reject::Malformed))?;
        journey.tell(JourneyStep::Authorizer, || format!("a token of {} bytes in `{}`", token.len(), self.0.header));
        let principal = self.verify(token, journey).await.map_err(|refusal| AuthorizerAnswer::of(&refusal))?;
        if !scopes.allow(&principal) {
            journey.tell(JourneyStep::Verify, || "none of the route's scopes was granted: refused".to_owned());
            return Err(AuthorizerAnswer::lacking(scopes));
        }
        Ok(principal)
    }

    /// Returns the verifier, for a checkpoint of one's own or a readiness probe.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    /// Returns the header that holds the token, in lower case.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.0.header
    }

    /// Returns what the request's token is, for a swap after it was verified.
    pub(crate) fn token<'a>(&self, request: &'a Parts) -> Option<&'a str> {
        token_in(request.headers.get(&*self.0.header)?.as_bytes())
    }

    async fn verify(&self, token: &str, journey: &Journey) -> Result<Principal, Refusal> {
        let Inner { verifier, clock, fetches, .. } = &*self.0;
        let now = clock.now();
        if !journey.is_told() {
            if let Some(known) = verifier.verify_now(token, now) {
                return known.map(sekisho_jwt::Verified::into_inner);
            }
            return verifier.verify(token, now).await.map(sekisho_jwt::Verified::into_inner);
        }
        let before = fetches.count();
        let trace = verifier.explain(token, now).await;
        let asked = fetches.count() - before;
        if let Some(key) = trace.steps().iter().find(|outcome| outcome.step() == Step::Key) {
            journey.tell(JourneyStep::KeySet, || match asked {
                0 => "in memory".to_owned(),
                asked => format!("fetched, requests to the issuer: {asked}"),
            });
            let named = trace.steps().iter().find(|outcome| outcome.step() == Step::Header);
            let named = named.map_or("", |outcome| outcome.detail());
            journey.tell(JourneyStep::Key, || format!("{named}: {}", key.detail()));
        }
        // What explains does not decide.
        let decision = verifier.verify(token, now).await.map(sekisho_jwt::Verified::into_inner);
        journey.tell(JourneyStep::Verify, || match &decision {
            Ok(principal) => format!("signature and claims hold: {}", principal.id()),
            Err(refusal) => format!("refused: {refusal}"),
        });
        decision
    }
}

impl fmt::Debug for JwtAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuthorizer")
            .field("verifier", &self.0.verifier)
            .field("header", &self.0.header)
            .finish_non_exhaustive()
    }
}

/// Lists the scopes of a route, one of which a token must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteScopes(Arc<[Box<str>]>);

impl RouteScopes {
    /// How many scopes a route may have.
    pub const MAX: usize = 10;

    /// Asks for no scope: any token of the issuer and audience passes, an ID token too.
    #[must_use]
    pub fn not_checked() -> Self {
        Self::default()
    }

    /// Asks for at least one of these.
    ///
    /// # Errors
    /// None at all, more than 10, or one that is not a scope ([RFC 6749 §3.3](https://www.rfc-editor.org/rfc/rfc6749#section-3.3)).
    pub fn any_of<I: IntoIterator<Item = S>, S: Into<Box<str>>>(scopes: I) -> Result<Self, ConfigError> {
        let scopes: Arc<[Box<str>]> = scopes.into_iter().map(Into::into).collect();
        if scopes.is_empty() || scopes.len() > Self::MAX {
            return Err(ConfigError::new("a route has 1 to 10 scopes, or is told not to check any"));
        }
        if let Some(bad) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(ConfigError::new(format!("{bad:?} is not a scope")));
        }
        Ok(Self(scopes))
    }

    pub(crate) fn allow(&self, principal: &Principal) -> bool {
        self.0.is_empty() || self.0.iter().any(|scope| principal.has_scope(scope))
    }

    /// Writes them separated by spaces.
    fn joined(&self) -> String {
        self.0.join(" ")
    }
}

/// Tells whether this is one scope, and so can stand in a challenge.
pub(crate) fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// Takes the token out of a header: all of it, or what follows `Bearer` and spaces.
fn token_in(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let token = match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim_start_matches(' '),
        _ => text,
    };
    let is_sound = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
    is_sound.then_some(token)
}

fn head_bytes(request: &Parts) -> usize {
    // `METHOD target HTTP/1.1`, then `name: value` and a line end each.
    let target = request.uri.path_and_query().map_or(1, |target| target.as_str().len());
    let line = request.method.as_str().len() + target + " HTTP/1.1\r\n ".len();
    request.headers.iter().fold(line, |sum, (name, value)| sum.saturating_add(name.as_str().len() + value.len() + 4))
}
