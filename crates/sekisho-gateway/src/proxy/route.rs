use http::header::{self, HeaderMap};
use sekisho_core::{ConfigError, Requirement, all_of};
use sekisho_http::Checkpoint;

use super::headers::take_cookie;
use super::upstream::Upstream;
use crate::authorizer::{JwtAuthorizer, RouteScopes};
use crate::origins::Origins;
use crate::path::NormalPath;
use crate::rules::Matcher;
use crate::token_swap::{TokenForward, check_swap_of_bound};

/// Says who may use a route.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Guard {
    /// Everybody, without a look at any credential.
    Public,
    /// Nobody: for taking a part out of what a later route lets pass.
    Deny,
    /// Whom a checkpoint lets pass and who satisfies a rule.
    Checkpoint {
        /// Which credentials are taken.
        checkpoint: Checkpoint,
        /// What the principal must have.
        requirement: Requirement,
    },
    /// Whom a JWT authorizer lets pass.
    Authorizer {
        /// Which tokens are taken.
        authorizer: JwtAuthorizer,
        /// One of which a token must have.
        scopes: RouteScopes,
    },
}

impl Guard {
    /// Lets everybody pass whom the checkpoint lets pass.
    #[must_use]
    pub fn checkpoint(checkpoint: Checkpoint) -> Self {
        Self::Checkpoint { checkpoint, requirement: all_of([]) }
    }
}

/// Sends some requests to an upstream. Errors surface in [`ReverseProxy::new`](super::ReverseProxy::new).
///
/// # Examples
/// ```
/// use sekisho_gateway::{Guard, Route, Upstream};
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let orders = Upstream::new("orders", "http://127.0.0.1:9000")?;
/// let route = Route::new("/health", &orders, Guard::Public).for_methods(["GET"]);
/// # let _ = route;
/// # Ok::<(), sekisho_core::ConfigError>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Route {
    path: String,
    host: Option<String>,
    methods: Vec<String>,
    matcher: Option<Matcher>,
    upstream: Upstream,
    guard: Guard,
    token: TokenForward,
    checks_proofs_here: bool,
    takes_websockets: bool,
    listed: Option<Vec<String>>,
    origins: Origins,
    max_body: Option<u64>,
}

impl Route {
    /// Sends requests for these paths there, if the guard lets them pass: `/orders`, `/orders/{id}`, `/orders/*`.
    ///
    /// `/orders/*` stands for `/orders` and `/orders/` too, and `/orders/{id}` for `/orders/{id}/` and the reverse, unless the guard is
    /// [`Guard::Public`].
    pub fn new(path: impl Into<String>, upstream: &Upstream, guard: Guard) -> Self {
        Self {
            path: path.into(),
            host: None,
            methods: Vec::new(),
            matcher: None,
            upstream: upstream.clone(),
            guard,
            token: TokenForward::Drop,
            checks_proofs_here: false,
            takes_websockets: false,
            listed: None,
            origins: Origins::default(),
            max_body: None,
        }
    }

    /// Speaks of this host only, in lower case without port. Default: every host.
    pub fn on_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Speaks of these methods only, in upper case. Default: every method.
    pub fn for_methods<I: IntoIterator<Item = S>, S: Into<String>>(mut self, methods: I) -> Self {
        self.methods = methods.into_iter().map(Into::into).collect();
        self
    }

    /// Says which token the upstream gets. Default: none.
    pub fn forwarding(mut self, token: TokenForward) -> Self {
        self.token = token;
        self
    }

    /// Sends what a bound token is swapped for as a bearer token: the proof is checked here, and nowhere behind. Needed where the checkpoint
    /// takes bound tokens and the token is [swapped](TokenForward::Swap).
    ///
    /// Services cannot check it again: the client's DPoP proof names the token that the client has, not the JWT, and stays here. The JWT may
    /// say that it is bound (`cnf`), and then a service that goes by [RFC 9449 §7.2](https://www.rfc-editor.org/rfc/rfc9449#section-7.2)
    /// refuses it as a bearer token; it must trust the gateway for that, and be reached through the gateway alone.
    pub const fn with_proofs_checked_here(mut self) -> Self {
        self.checks_proofs_here = true;
        self
    }

    /// Tunnels WebSockets. Default: the upgrade is taken out of the request.
    ///
    /// Where the credential may come in a cookie, [`with_origins`](Self::with_origins) is needed too: browsers open WebSockets from any page, cookies and all.
    pub const fn with_websockets(mut self) -> Self {
        self.takes_websockets = true;
        self
    }

    /// Refuses, with 403, requests that come from pages of other origins than these (`https://shop.example`), as `Origin` tells, and lets
    /// these change something with a cookie. Default: a bearer token is taken whatever page sends it.
    ///
    /// With or without, a credential in a cookie is refused, with 403, where another site may have caused the request: by the
    /// [rules](sekisho_http::CsrfRules) that sessions have, for every method but `GET`, `HEAD`, `OPTIONS` and `TRACE`, and for WebSockets. Without,
    /// pages of the request's own host may. An empty list is a mistake.
    pub fn with_origins<I: IntoIterator<Item = S>, S: Into<String>>(mut self, origins: I) -> Self {
        self.listed = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// Bounds the bodies of requests, in bytes. Default: the proxy's limit.
    pub const fn with_max_body(mut self, bytes: u64) -> Self {
        self.max_body = Some(bytes);
        self
    }

    pub(crate) fn check(&mut self) -> Result<(), ConfigError> {
        let covers_itself = !matches!(self.guard, Guard::Public);
        self.matcher = Some(Matcher::new(&self.path, covers_itself, self.host.as_deref(), &self.methods)?);
        if self.takes_websockets && self.upstream.is_http2() {
            return Err(ConfigError::new(
                "WebSockets are tunnelled over HTTP/1.1 only, and the upstream speaks HTTP/2",
            ));
        }
        if self.takes_websockets && self.takes_cookie() && self.listed.is_none() {
            return Err(ConfigError::new("WebSockets with a credential in a cookie need a list of origins"));
        }
        if let Some(listed) = &self.listed {
            self.origins = Origins::listed(listed)?;
        }
        if matches!(self.token, TokenForward::Swap(_)) && matches!(self.guard, Guard::Public | Guard::Deny) {
            return Err(ConfigError::new("there is no credential to swap on a public route"));
        }
        let swaps_bound = matches!(self.token, TokenForward::Swap(_))
            && matches!(&self.guard, Guard::Checkpoint { checkpoint, .. } if checkpoint.takes_bound_tokens());
        check_swap_of_bound(swaps_bound, self.checks_proofs_here)
    }

    fn takes_cookie(&self) -> bool {
        match &self.guard {
            Guard::Checkpoint { checkpoint, .. } => checkpoint.sources().cookie().is_some(),
            _ => false,
        }
    }

    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (&self.matcher, &other.matcher) {
            (Some(own), Some(other)) => own.covers(other),
            _ => false,
        }
    }

    pub(super) fn matches(&self, host: &str, path: &NormalPath, method: &str) -> bool {
        self.matcher.as_ref().is_some_and(|matcher| matcher.matches(Some(host), path, method))
    }

    pub(super) const fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Takes out of a request what proves who calls, unless it is to go on.
    pub(super) fn take_credentials(&self, headers: &mut HeaderMap) {
        if matches!(self.token, TokenForward::AsIs) {
            return;
        }
        headers.remove(header::AUTHORIZATION);
        // A proof (RFC 9449 §4) belongs to the token that stays here, and nobody behind can tell that it was spent.
        headers.remove("dpop");
        match &self.guard {
            Guard::Checkpoint { checkpoint, .. } => {
                if let Some(name) = checkpoint.sources().cookie() {
                    take_cookie(headers, name);
                }
                if let Some(name) = checkpoint.sources().header() {
                    headers.remove(name);
                }
            }
            Guard::Authorizer { authorizer, .. } => {
                headers.remove(authorizer.header());
            }
            Guard::Public | Guard::Deny => {}
        }
    }

    /// Takes out the client's certificate as a proxy would write it, under a name that only the checkpoint knows.
    pub(super) fn take_certificate(&self, headers: &mut HeaderMap) {
        if let Guard::Checkpoint { checkpoint, .. } = &self.guard
            && let Some(header) = checkpoint.client_certificate_header()
        {
            headers.remove(header.name());
        }
    }

    pub(super) const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(super) const fn guard(&self) -> &Guard {
        &self.guard
    }

    pub(super) const fn token(&self) -> &TokenForward {
        &self.token
    }

    pub(super) const fn takes_websockets(&self) -> bool {
        self.takes_websockets
    }

    pub(super) const fn max_body(&self) -> Option<u64> {
        self.max_body
    }
}
