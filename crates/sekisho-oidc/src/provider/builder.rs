use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, ConfigError, ReplayGuard, Secret};
use sekisho_http::{HttpClient, address};
use sekisho_jwt::jwks::{IntoKeySource, KeySource, SigningKey, SourceContext};
use sekisho_jwt::{Algorithm, Backend};
use sekisho_opaque::ClientCredentials;

use super::Provider;

impl Provider {
    /// Starts from the issuer, byte for byte as it stands in `iss`, and from who we are to it. Uses the `aws-lc-rs` backend.
    #[cfg(feature = "aws-lc-rs")]
    pub fn discover(issuer: impl Into<String>, credentials: ClientCredentials) -> ProviderIssuer {
        Self::with_backend(Backend::default()).discover(issuer, credentials)
    }

    /// Chooses the crypto backend.
    pub const fn with_backend(backend: Backend) -> ProviderStart {
        ProviderStart { backend }
    }
}

/// Waits for the issuer's name.
#[derive(Debug)]
#[must_use]
pub struct ProviderStart {
    backend: Backend,
}

impl ProviderStart {
    /// Starts from the issuer, byte for byte as it stands in `iss`, and from who we are to it.
    pub fn discover(self, issuer: impl Into<String>, credentials: ClientCredentials) -> ProviderIssuer {
        ProviderIssuer { backend: self.backend, issuer: issuer.into(), credentials }
    }
}

/// Waits for the address to which the browser returns; without one there is no login.
///
/// ```compile_fail,E0599
/// # use sekisho_oidc::{ClientCredentials, Provider};
/// let credentials = ClientCredentials::basic("shop", "secret");
/// let provider = Provider::discover("https://id.example", credentials).build(); // nowhere to return to
/// ```
#[must_use]
pub struct ProviderIssuer {
    backend: Backend,
    issuer: String,
    credentials: ClientCredentials,
}

impl ProviderIssuer {
    /// Sets to which address of ours the browser returns, as it is registered at the provider, character by character: `https`, or
    /// `http` to this machine.
    ///
    /// With several providers give each an address of its own where you can: whoever mixes them up is then noticed whatever they send.
    pub fn redirect_uri(self, uri: impl Into<String>) -> ProviderBuilder {
        let Self { backend, issuer, credentials } = self;
        ProviderBuilder {
            backend,
            issuer,
            credentials,
            redirect_uri: uri.into(),
            scopes: Vec::new(),
            parameters: Vec::new(),
            pushed_requests: PushedRequests::Auto,
            endpoints: None,
            keys: None,
            algorithms: vec![Algorithm::Rs256],
            shared_secret: None,
            trusted_audiences: Vec::new(),
            roles_at: Vec::new(),
            leeway: Duration::from_secs(60),
            max_login_time: Duration::from_secs(600),
            dpop: None,
            takes_untyped_logout_tokens: false,
            replay_guard: None,
            client: None,
            clock: None,
        }
    }
}

/// Makes keys once backend, clock and HTTP client are known.
pub(super) type MakeKeys = Box<dyn FnOnce(&SourceContext) -> Result<Arc<dyn KeySource>, ConfigError> + Send>;

/// Configures a [`Provider`]. Everything here has a safe default.
#[must_use]
pub struct ProviderBuilder {
    pub(super) backend: Backend,
    pub(super) issuer: String,
    pub(super) credentials: ClientCredentials,
    pub(super) redirect_uri: String,
    pub(super) scopes: Vec<String>,
    pub(super) parameters: Vec<Box<str>>,
    pub(super) pushed_requests: PushedRequests,
    pub(super) endpoints: Option<Endpoints>,
    pub(super) keys: Option<MakeKeys>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) shared_secret: Option<(Algorithm, Secret)>,
    pub(super) trusted_audiences: Vec<Box<str>>,
    pub(super) roles_at: Vec<Box<str>>,
    pub(super) leeway: Duration,
    pub(super) max_login_time: Duration,
    pub(super) dpop: Option<SigningKey>,
    pub(super) takes_untyped_logout_tokens: bool,
    pub(super) replay_guard: Option<Arc<dyn ReplayGuard>>,
    pub(super) client: Option<Arc<dyn HttpClient>>,
    pub(super) clock: Option<Arc<dyn Clock>>,
}

/// What is asked for.
impl ProviderBuilder {
    /// Asks for these scopes beside `openid`, which is always there. Default: none.
    ///
    /// `offline_access` is what most providers want for a refresh token that outlives the session at the provider.
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Allows these further parameters in a [`LoginRequest`](crate::LoginRequest::with_parameter). Default: none.
    pub fn with_parameters<S: Into<Box<str>>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.parameters.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets whether requests are pushed ([RFC 9126](https://www.rfc-editor.org/rfc/rfc9126)). Default [`PushedRequests::Auto`].
    pub const fn with_pushed_requests(mut self, pushed_requests: PushedRequests) -> Self {
        self.pushed_requests = pushed_requests;
        self
    }

    /// Has tokens bound to this key, and sends them with proofs of it ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)); tokens that
    /// are not bound are then refused. Default: bearer tokens.
    pub fn with_dpop(mut self, key: SigningKey) -> Self {
        self.dpop = Some(key);
        self
    }

    /// Sets how long a login may take, from leaving to returning, in whole seconds. Default 10 min; 1 min to 1 h.
    pub const fn with_max_login_time(mut self, time: Duration) -> Self {
        self.max_login_time = time;
        self
    }
}

/// What an ID token must be.
impl ProviderBuilder {
    /// Sets by which algorithms the provider may sign: what was registered for the client. Default RS256 alone, as the standard has it.
    /// Shared secrets are refused here.
    pub fn with_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Takes what is signed by a secret that provider and client share, of at least 32 bytes with HS256, and nothing that is signed by a key.
    ///
    /// The client secret often is that secret. Whoever knows it can then log in as anybody, so it is to be kept as a signing key is.
    pub fn with_shared_secret(mut self, algorithm: Algorithm, secret: impl Into<Secret>) -> Self {
        self.shared_secret = Some((algorithm, secret.into()));
        self
    }

    /// Takes the provider's keys from elsewhere. Default: where its metadata say.
    pub fn with_keys(mut self, keys: impl IntoKeySource + Send + 'static) -> Self {
        self.keys = Some(Box::new(move |context: &SourceContext| keys.into_key_source(context)));
        self
    }

    /// Takes ID tokens that name this audience too, beside our client id. Default: no other one.
    pub fn with_trusted_audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.trusted_audiences.push(audience.into());
        self
    }

    /// Adds a place of roles in the ID token, a JSON pointer such as `/realm_access/roles`. Default: none.
    pub fn with_roles_at(mut self, pointer: impl Into<Box<str>>) -> Self {
        self.roles_at.push(pointer.into());
        self
    }

    /// Sets by how much the provider's clock may differ from ours, in whole seconds. Default 60 s, at most 300 s.
    pub const fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }
}

/// What a logout token must be.
impl ProviderBuilder {
    /// Takes logout tokens whose `typ` is `JWT` or absent too. Default: `logout+jwt` only, which Keycloak and most others send.
    pub const fn with_untyped_logout_tokens(mut self) -> Self {
        self.takes_untyped_logout_tokens = true;
        self
    }

    /// Remembers used logout tokens elsewhere. Default: in this process.
    pub fn with_replay_guard(mut self, guard: Arc<dyn ReplayGuard>) -> Self {
        self.replay_guard = Some(guard);
        self
    }
}

/// How it is reached.
impl ProviderBuilder {
    /// Uses these endpoints and asks for no metadata. Keys are then those of [`Endpoints::new`], unless there are
    /// [others](Self::with_keys).
    pub fn with_endpoints(mut self, endpoints: Endpoints) -> Self {
        self.endpoints = Some(endpoints);
        self
    }

    /// Sets the HTTP client, for metadata, keys and all that is asked. Default: a new one on `reqwest` with rustls; without the feature
    /// `reqwest` the provider is refused.
    pub fn with_http_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets the clock of background refreshes of keys. Default: the system's. Everything else is told the time.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }
}

impl fmt::Debug for ProviderIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend: _, issuer, credentials } = self;
        f.debug_struct("ProviderIssuer")
            .field("issuer", issuer)
            .field("credentials", credentials)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProviderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderBuilder")
            .field("issuer", &self.issuer)
            .field("credentials", &self.credentials)
            .field("redirect_uri", &address::shown(&self.redirect_uri))
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Says whether an authorization request is sent by ourselves first, so that the browser carries no more than a reference to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PushedRequests {
    /// Where the provider's metadata name the endpoint.
    Auto,
    /// Never; a provider that requires it refuses the login.
    Never,
    /// Always; without the endpoint there is no login.
    Always,
}

/// Names a provider's endpoints, where it publishes no metadata. Each is `https`, or `http` to this machine.
#[derive(Clone, Debug)]
#[must_use]
pub struct Endpoints {
    pub(super) authorization: String,
    pub(super) token: String,
    pub(super) jwks: String,
    pub(super) userinfo: Option<String>,
    pub(super) revocation: Option<String>,
    pub(super) end_session: Option<String>,
    pub(super) pushed: Option<String>,
    pub(super) sends_issuer: bool,
}

impl Endpoints {
    /// Names the authorization endpoint, the token endpoint and the key set.
    pub fn new(authorization: impl Into<String>, token: impl Into<String>, jwks: impl Into<String>) -> Self {
        Self {
            authorization: authorization.into(),
            token: token.into(),
            jwks: jwks.into(),
            userinfo: None,
            revocation: None,
            end_session: None,
            pushed: None,
            sends_issuer: false,
        }
    }

    /// Names the userinfo endpoint.
    pub fn with_userinfo(mut self, url: impl Into<String>) -> Self {
        self.userinfo = Some(url.into());
        self
    }

    /// Names the revocation endpoint.
    pub fn with_revocation(mut self, url: impl Into<String>) -> Self {
        self.revocation = Some(url.into());
        self
    }

    /// Names the address that ends the session at the provider.
    pub fn with_end_session(mut self, url: impl Into<String>) -> Self {
        self.end_session = Some(url.into());
        self
    }

    /// Names the endpoint for pushed requests.
    pub fn with_pushed_requests(mut self, url: impl Into<String>) -> Self {
        self.pushed = Some(url.into());
        self
    }

    /// Demands `iss` in the return ([RFC 9207](https://www.rfc-editor.org/rfc/rfc9207)). Default: it is compared where it is there.
    pub const fn with_issuer_in_response(mut self) -> Self {
        self.sends_issuer = true;
        self
    }
}
