use std::fmt;
use std::sync::Arc;

use sekisho_core::{ConfigError, Resource};
use sekisho_http::address;
use sekisho_opaque::{Backend, ClientCredentials};

use super::kept::{Kept, KeptPermissions};
use super::question::By;
use super::{Keycloak, NameChallenge, NameResource, NameScope, Parts};

/// Configures a [`Keycloak`].
#[must_use]
pub struct KeycloakBuilder {
    issuer: Box<str>,
    resource_server: Box<str>,
    endpoint: Option<Box<str>>,
    credentials: Option<ClientCredentials>,
    backend: Option<Backend>,
    resource_name: Box<NameResource>,
    by: By,
    scope_name: Box<NameScope>,
    challenge_scope: Box<NameChallenge>,
    pushed: Vec<Box<str>>,
    kept: Option<KeptPermissions>,
    believes_token: bool,
}

impl KeycloakBuilder {
    pub(super) fn new(issuer: Box<str>, resource_server: Box<str>) -> Self {
        Self {
            issuer,
            resource_server,
            endpoint: None,
            credentials: None,
            backend: None,
            resource_name: Box::new(kind_and_id),
            by: By::Name,
            scope_name: Box::new(|action| Some(action.to_owned())),
            challenge_scope: Box::new(|_, scope| Some(scope.to_owned())),
            pushed: Vec::new(),
            kept: None,
            believes_token: false,
        }
    }

    /// Authenticates us to the realm, as the resource server, and hands the caller's token over beside it (`subject_token`).
    ///
    /// Needed to push claims, and for tokens that are bound to a key or a certificate. Default: we show the caller's token as
    /// our own (`Authorization: Bearer`), and ask with the rights of the client that got it.
    ///
    /// An assertion (`private_key_jwt`) is good once, and a hedged question would be the second use of it: build the
    /// `Remote` [without](crate::remote::RemoteBuilder::without_hedge).
    pub fn with_client(mut self, credentials: ClientCredentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Sets the token endpoint. Default `ISSUER/protocol/openid-connect/token`.
    pub fn with_token_endpoint(mut self, url: impl Into<Box<str>>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Chooses the crypto backend. Default `aws-lc-rs`, if that feature is on.
    pub const fn with_backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Says which name a resource has at Keycloak; `None` for one that Keycloak does not decide about, to which the answer is
    /// [not applicable](sekisho_core::Effect::NotApplicable).
    ///
    /// Default `TYPE:ID`, so that each thing is a resource of its own; one that Keycloak does not have is denied. Where it
    /// has one resource for all things of a type, name that: `|resource| Some(resource.kind().to_owned())`.
    ///
    /// Keycloak takes a name for an id, if there is such a one, and then looks it up among the caller's own resources first. Of
    /// a list of permissions only those count that have this name. To a question about one scope it answers yes or no, and not
    /// about which resource: where callers own resources, or somebody chooses their ids, take
    /// [`with_resource_id`](Self::with_resource_id).
    pub fn with_resource_name(mut self, name: impl Fn(Resource<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        (self.resource_name, self.by) = (Box::new(name), By::Name);
        self
    }

    /// Says which id a resource has at Keycloak (`_id`), in the place of its name.
    ///
    /// Where there is no such id, Keycloak takes it for a name, which the owner of another resource may have chosen. So it is
    /// always asked for the permissions themselves, and only those of this id count.
    pub fn with_resource_id(mut self, id: impl Fn(Resource<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        (self.resource_name, self.by) = (Box::new(id), By::Id);
        self
    }

    /// Says which scope of the resource an action needs; `None` for one that Keycloak does not decide about. Default: the
    /// action's own name.
    pub fn with_scope_name(mut self, name: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.scope_name = Box::new(name);
        self
    }

    /// Says by which OAuth scopes, separated by spaces, a caller is told that a scope of the resource is lacking; `None` for a
    /// plain 403. Default: the name of the scope at Keycloak.
    pub fn with_challenge_scope(
        mut self,
        name: impl Fn(Resource<'_>, &str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.challenge_scope = Box::new(name);
        self
    }

    /// Pushes these members of the request's context as claims for Keycloak's policies (`claim_token`): texts, numbers,
    /// truths and lists of texts, 4 KiB together. Default none. Needs [`with_client`](Self::with_client).
    pub fn with_pushed_claims<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, names: I) -> Self {
        self.pushed = names.into_iter().map(Into::into).collect();
        self
    }

    /// Asks for all that the caller may do to the resource, and answers further questions about it from that for a while.
    /// Default: each question is asked by itself. Questions with pushed claims always are.
    pub const fn with_kept_permissions(mut self, limits: KeptPermissions) -> Self {
        self.kept = Some(limits);
        self
    }

    /// Believes the permissions that stand in the caller's own token, if it is a requesting party token for our resource
    /// server alone. What it lists is permitted without the provider for as long as the token lives; what it does not list is
    /// asked. Default off.
    pub const fn with_permissions_in_token(mut self) -> Self {
        self.believes_token = true;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`ConfigError`] for: an issuer or token endpoint that is no URL to be asked; a resource server that is empty, too long
    /// or has control characters; credentials that cannot be sent, or that are a bearer token; pushed claims without
    /// credentials, without a name, or more than 16; bounds of kept permissions out of range; no crypto backend, or no
    /// randomness.
    pub fn build(self) -> Result<Keycloak, ConfigError> {
        let Self {
            issuer,
            resource_server,
            endpoint,
            credentials,
            backend,
            resource_name,
            by,
            scope_name,
            challenge_scope,
            pushed,
            kept,
            believes_token,
        } = self;
        let unusable = |what: &str, url: &str| format!("the {what} `{}` cannot be asked", address::shown(url));
        address::check_issuer(&issuer).map_err(|e| ConfigError::new(unusable("realm", &issuer)).with_source(e))?;
        let endpoint = endpoint.unwrap_or_else(|| {
            format!("{}/protocol/openid-connect/token", issuer.strip_suffix('/').unwrap_or(&issuer)).into()
        });
        address::check(&endpoint)
            .map_err(|e| ConfigError::new(unusable("token endpoint", &endpoint)).with_source(e))?;
        if resource_server.is_empty() || resource_server.len() > 1024 || resource_server.chars().any(char::is_control) {
            return Err(ConfigError::new("the resource server is named by its client id, 1 to 1,024 bytes of text"));
        }
        if let Some(credentials) = &credentials {
            credentials.check()?;
            if credentials.client_id().is_none() {
                return Err(ConfigError::new("a bearer token is no client's credentials at the token endpoint"));
            }
        }
        if !pushed.is_empty() && credentials.is_none() {
            return Err(ConfigError::new("claims are pushed by a client that authenticates: set `with_client`"));
        }
        if pushed.len() > 16 || pushed.iter().any(|name| name.is_empty()) {
            return Err(ConfigError::new("at most 16 claims are pushed, each by its name"));
        }
        let backend = backend.or_else(default_backend);
        let backend = backend.ok_or_else(|| ConfigError::new("choose a crypto backend: `with_backend`"))?;
        let mut salt = [0; 32];
        backend.fill_random(&mut salt).map_err(|e| ConfigError::new("no random bytes").with_source(e))?;
        Ok(Keycloak(Arc::new(Parts {
            issuer,
            endpoint,
            resource_server,
            credentials,
            backend,
            resource_name,
            by,
            scope_name,
            challenge_scope,
            pushed: pushed.into(),
            kept: kept.map(Kept::new).transpose()?,
            believes_token,
            salt,
        })))
    }
}

impl fmt::Debug for KeycloakBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeycloakBuilder")
            .field("issuer", &self.issuer)
            .field("resource_server", &self.resource_server)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// Names a resource by type and id. A type with a colon in it could be another type with the start of an id.
fn kind_and_id(resource: Resource<'_>) -> Option<String> {
    let kind = resource.kind();
    // An empty name is refused.
    Some(if kind.contains(':') { String::new() } else { format!("{kind}:{}", resource.id()) })
}

#[cfg(feature = "aws-lc-rs")]
#[expect(clippy::unnecessary_wraps, reason = "there may be none")]
fn default_backend() -> Option<Backend> {
    Some(Backend::aws_lc())
}

#[cfg(not(feature = "aws-lc-rs"))]
const fn default_backend() -> Option<Backend> {
    None
}
