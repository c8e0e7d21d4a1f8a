use std::fmt;
use std::time::Duration;

use sekisho_core::{ConfigError, Failure, Secret, UnixSeconds};
use serde_json::{Map, Value};

use crate::tokens::{AccessToken, MadeToken, misconfigured};
use crate::{AuthorizationServer, ScopeSet};

/// Asks for an access token by hand, for whom and with what the caller answers for: for gateways that put a token of their own in the
/// place of what came in, for operators, and for tests.
///
/// # Examples
/// ```
/// # async fn example(server: sekisho_issuer::AuthorizationServer, now: sekisho_core::UnixSeconds) -> Result<(), Box<dyn std::error::Error>> {
/// use sekisho_issuer::IssueRequest;
/// let request = IssueRequest::new("gateway", "alice").with_audience("orders-api").with_scopes("orders:read")?;
/// let issued = server.issue(request, now).await?;
/// # let _ = issued;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct IssueRequest {
    client_id: String,
    subject: String,
    audience: Vec<String>,
    scope: ScopeSet,
    claims: Map<String, Value>,
    lifetime: Option<Duration>,
}

impl IssueRequest {
    /// Begins a token of a registered client for a subject.
    pub fn new(client_id: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            subject: subject.into(),
            audience: Vec::new(),
            scope: ScopeSet::default(),
            claims: Map::new(),
            lifetime: None,
        }
    }

    /// Adds a resource server that it is for. Without any it is for the issuer itself.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// Sets the scopes, separated by spaces, whatever the client may ask for itself.
    ///
    /// # Errors
    /// [`ConfigError`] when they are no scopes.
    pub fn with_scopes(mut self, scopes: &str) -> Result<Self, ConfigError> {
        self.scope = ScopeSet::parse(scopes).ok_or_else(|| ConfigError::new(format!("{scopes:?} are no scopes")))?;
        Ok(self)
    }

    /// Adds a claim. Those that the issuer writes cannot be replaced.
    pub fn with_claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Sets how long it lives, 1 s to 24 h. Default: as long as the client's others.
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }
}

impl fmt::Debug for IssueRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssueRequest")
            .field("client_id", &self.client_id)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Is a token that was issued by hand. `Debug` shows its id and end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssuedToken {
    /// The token.
    pub token: Secret,
    /// Its `jti`.
    pub id: String,
    /// When it ends.
    pub expires_at: UnixSeconds,
}

impl AuthorizationServer {
    /// Issues an access token in the client's format, without asking anybody.
    ///
    /// # Errors
    /// [`Failure`]: no such client; a subject that cannot stand in a token, or is another client's id; a lifetime out of range; the store or
    /// the keys fail.
    pub async fn issue(&self, request: IssueRequest, now: UnixSeconds) -> Result<IssuedToken, Failure> {
        let IssueRequest { client_id, subject, audience, scope, claims, lifetime } = request;
        let clients = &self.parts().clients;
        let client = clients.client(&client_id).await?.ok_or_else(|| misconfigured("no client has this id"))?;
        let fits = (1..=255).contains(&subject.len()) && subject.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !fits || (subject != client_id && clients.client(&subject).await?.is_some()) {
            return Err(misconfigured("the subject cannot stand in a token, or is a client's id"));
        }
        let day = Duration::from_secs(86_400);
        if lifetime.is_some_and(|life| life < Duration::from_secs(1) || life > day) {
            return Err(misconfigured("access tokens live from 1 s to 24 h"));
        }
        let token = AccessToken {
            client: &client,
            subject: &subject,
            audience: &audience,
            scope: &scope,
            grant: None,
            sid: None,
            authentication: None,
            actor: None,
            thumbprint: None,
            extra: Some(&claims),
            not_after: UnixSeconds::MAX,
            lifetime,
        };
        let MadeToken { token, id, expires_at } = self.make_access_token(token, now).await?;
        Ok(IssuedToken { token, id, expires_at })
    }
}
