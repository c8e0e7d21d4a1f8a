use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, ConfigError, RevocationCheck, SystemClock};
use sekisho_http::HttpClient;
use sekisho_jwks::{Discovery, IntoKeySource, KeySource, SourceContext};
use sekisho_jwt::{Algorithm, Backend, Jwt, Profile};

use super::client::{BoundedClient, FETCH_TIMEOUT, Fetches};
use super::{Inner, JwtAuthorizer};

/// How long keys are kept.
const KEY_LIFETIME: Duration = Duration::from_secs(2 * 3600);

/// Waits for the audience; without one there is no authorizer.
///
/// ```compile_fail,E0599
/// let authorizer = sekisho_gateway::JwtAuthorizer::aws_http_api("https://id.example").build();
/// ```
#[derive(Debug)]
#[must_use]
pub struct JwtAuthorizerStart {
    backend: Backend,
    issuer: String,
}

impl JwtAuthorizerStart {
    pub(super) const fn new(backend: Backend, issuer: String) -> Self {
        Self { backend, issuer }
    }

    /// Names what must stand in `aud`, or in `client_id` where there is no `aud`.
    pub fn audience(self, audience: impl Into<String>) -> JwtAuthorizerBuilder {
        JwtAuthorizerBuilder {
            backend: self.backend,
            issuer: self.issuer,
            audiences: vec![audience.into()],
            identity_source: "$request.header.Authorization".to_owned(),
            access_tokens_only: false,
            keys: None,
            http_client: None,
            clock: Arc::new(SystemClock),
            revocation: None,
        }
    }
}

type MakeKeys = Box<dyn FnOnce(&SourceContext) -> Result<Arc<dyn KeySource>, ConfigError> + Send>;

/// Configures a [`JwtAuthorizer`].
#[must_use]
pub struct JwtAuthorizerBuilder {
    backend: Backend,
    issuer: String,
    audiences: Vec<String>,
    identity_source: String,
    access_tokens_only: bool,
    keys: Option<MakeKeys>,
    http_client: Option<Arc<dyn HttpClient>>,
    clock: Arc<dyn Clock>,
    revocation: Option<Arc<dyn RevocationCheck>>,
}

impl JwtAuthorizerBuilder {
    /// Takes tokens for this audience too; 50 in all.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Sets which header holds the token, in the words of API Gateway. Default `$request.header.Authorization`.
    ///
    /// A query parameter is refused: it ends up in logs, in the browser's history and in `Referer`
    /// ([RFC 9700 §4.3.2](https://www.rfc-editor.org/rfc/rfc9700#section-4.3.2)).
    pub fn with_identity_source(mut self, source: impl Into<String>) -> Self {
        self.identity_source = source.into();
        self
    }

    /// Refuses ID, refresh and logout tokens on routes without scopes too, by the marks that the known providers give them. Default:
    /// they pass there, as they do with API Gateway.
    pub const fn with_access_tokens_only(mut self) -> Self {
        self.access_tokens_only = true;
        self
    }

    /// Sets where the keys come from. Default: the issuer's OpenID discovery document, kept for two hours.
    pub fn with_keys(mut self, keys: impl IntoKeySource + Send + 'static) -> Self {
        self.keys = Some(Box::new(move |context: &SourceContext| keys.into_key_source(context)));
        self
    }

    /// Sets the client that fetches keys. Default: `reqwest` with rustls, if the feature `reqwest` is on.
    pub fn with_http_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.http_client = Some(client);
        self
    }

    /// Takes the time from this clock. Default: the operating system's.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Asks, for each token, whether it was withdrawn; API Gateway has nothing like it. Default: a token is valid until it expires.
    pub fn with_revocation(mut self, revocation: Arc<dyn RevocationCheck>) -> Self {
        self.revocation = Some(revocation);
        self
    }

    /// Builds the authorizer. It neither waits nor asks the network.
    ///
    /// # Errors
    /// [`ConfigError`]: more than 50 audiences; an identity source that is no header; no HTTP client; what the verifier finds wrong.
    pub fn build(self) -> Result<JwtAuthorizer, ConfigError> {
        let Self {
            backend,
            issuer,
            audiences,
            identity_source,
            access_tokens_only,
            keys,
            http_client,
            clock,
            revocation,
        } = self;
        if audiences.len() > JwtAuthorizer::MAX_AUDIENCES {
            return Err(ConfigError::new("an authorizer has at most 50 audiences"));
        }
        let header = header_of(&identity_source)?;
        let profile =
            Profile::custom().with_any_type().with_required_key_id().with_client_as_audience().with_client_as_subject();
        let profile = if access_tokens_only { profile } else { profile.with_any_use() };
        let mut audiences = audiences.into_iter();
        let first = audiences.next().ok_or_else(|| ConfigError::new("an authorizer needs an audience"))?;
        let mut jwt = Jwt::with_backend(backend)
            .issuer(issuer.clone())
            .audience(first)
            .with_profile(profile)
            .with_algorithms([Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512])
            .with_leeway(Duration::ZERO)
            .with_max_token_bytes(JwtAuthorizer::MAX_HEADER_BYTES)
            .with_clock(Arc::clone(&clock));
        for audience in audiences {
            jwt = jwt.with_audience(audience);
        }
        if let Some(revocation) = revocation {
            jwt = jwt.with_revocation(revocation);
        }
        let fetches = Fetches::default();
        if let Some(client) = http_client.map_or_else(default_client, |client| Ok(Some(client)))? {
            jwt = jwt.with_http_client(Arc::new(BoundedClient::new(client, fetches.clone())));
        }
        let jwt = match keys {
            Some(make) => jwt.with_keys(Made(make)),
            None => jwt.with_keys(
                Discovery::oidc(issuer)
                    .with_default_freshness(KEY_LIFETIME)
                    .with_freshness_bounds(Duration::from_secs(60), KEY_LIFETIME)
                    .with_document_lifetime(KEY_LIFETIME)
                    // Document and set come one after the other, each within its own bound.
                    .with_total_timeout(FETCH_TIMEOUT * 2),
            ),
        };
        Ok(JwtAuthorizer(Arc::new(Inner { verifier: jwt.build()?, header, clock, fetches })))
    }
}

impl fmt::Debug for JwtAuthorizerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuthorizerBuilder")
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("identity_source", &self.identity_source)
            .finish_non_exhaustive()
    }
}

struct Made(MakeKeys);

impl IntoKeySource for Made {
    fn into_key_source(self, context: &SourceContext) -> Result<Arc<dyn KeySource>, ConfigError> {
        (self.0)(context)
    }
}

#[cfg(feature = "reqwest")]
fn default_client() -> Result<Option<Arc<dyn HttpClient>>, ConfigError> {
    Ok(Some(Arc::new(sekisho_http::ReqwestClient::new(Duration::from_secs(1))?)))
}

#[cfg(not(feature = "reqwest"))]
fn default_client() -> Result<Option<Arc<dyn HttpClient>>, ConfigError> {
    // The source says that there is none, unless its keys need no client.
    Ok(None)
}

fn header_of(source: &str) -> Result<Box<str>, ConfigError> {
    let refuse = |why: &str| Err(ConfigError::new(format!("the identity source {source:?} {why}")));
    if source.starts_with("$request.querystring.") {
        return refuse("is a query parameter; a token there ends up in logs");
    }
    let Some(name) = source.strip_prefix("$request.header.") else {
        return refuse("must be `$request.header.NAME`");
    };
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) if name == http::header::COOKIE => refuse("is the whole of the cookies"),
        Ok(name) => Ok(name.as_str().into()),
        Err(_) => refuse("does not name a header"),
    }
}
