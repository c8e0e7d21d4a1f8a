use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{
    Authenticate, Clock, ConfigError, Requirement, RevocationCheck, Secret, SystemClock, all_of, any_of, role, scope,
};
use sekisho_http::{HttpClient, TrustedProxies};
use sekisho_jwt::Backend;

use crate::forward_auth::{Dialect, ForwardAuth};
use crate::gateway::{Endpoint, Serving};
use crate::identity::{IdentityField, IdentityHeaders};
use crate::journey::JourneyListener;
use crate::proxy::{Guard, ProxyLimits, ProxyTimeouts, ReverseProxy, Route, Upstream, UpstreamOptions};
use crate::rules::{Access, Rule, RuleTable};
use crate::token_swap::{AsBearer, TokenForward, TokenSwap, check_swap_of_bound};

mod credentials;
mod mistake;
mod reader;
#[cfg(test)]
mod tests;
mod tls;

use credentials::{Credential, CredentialSettings};
pub use mistake::{ConfigMistake, ConfigMistakes};
use reader::{Reader, Section};

/// Is a gateway's whole configuration, read from TOML, checked and ready to serve.
///
/// Whoever starts a gateway is told of every mistake, each with its line: what cannot be read, keys that are not known, names of nothing,
/// an audience or an introspection endpoint that is missing, routes that are never reached. There is no configuration with which it starts
/// and lets pass what it was not told to.
///
/// All keys stand in [`docs/gateway.md`](https://github.com/sekisho-rs/sekisho/blob/main/docs/gateway.md). `Debug` shows no secret.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] tokio::runtime::Runtime::new()?.block_on(async {
/// use sekisho_gateway::{ConfigContext, GatewayConfig};
/// let mistakes = GatewayConfig::parse(r#"
///     [upstreams.orders]
///     url = "http://127.0.0.1:9000"
///     [credentials.shop]
///     kind = "jwt"
///     issuer = "https://id.example"
///     [[routes]]
///     path = "/orders/*"
///     upstream = "orders"
///     credentials = "shop"
/// "#, &ConfigContext::default()).unwrap_err();
/// assert_eq!(mistakes.to_string(), "line 4: [credentials.shop] lacks `audiences`");
/// # });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GatewayConfig {
    pub(crate) serving: Serving,
    credentials: Vec<(CredentialSettings, Credential)>,
    /// What the verifiers were made with.
    context: ConfigContext,
    upstreams: Vec<(UpstreamSettings, Upstream)>,
}

#[derive(Clone, Debug, PartialEq)]
struct UpstreamSettings {
    name: String,
    url: String,
    options: UpstreamOptions,
}

/// Is what a configuration needs from outside of its file. A clone has the same parts.
#[derive(Clone)]
pub struct ConfigContext {
    backend: Option<Backend>,
    environment: Arc<ReadEnvironment>,
    introspection: Option<Arc<dyn MakeIntrospection>>,
    http_client: Option<Arc<dyn HttpClient>>,
    clock: Arc<dyn Clock>,
    revocation: Option<Arc<dyn RevocationCheck>>,
    listener: Option<Arc<dyn JourneyListener>>,
}

type ReadEnvironment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Makes what verifies opaque tokens by asking the issuer. With the feature `opaque` there is `OpaqueIntrospection`.
pub trait MakeIntrospection: Send + Sync {
    /// Makes it from what the file says. Opens no connection.
    ///
    /// - `context`: what the program says. Its revocation must be asked for each token, its HTTP client be the one that asks, its clock
    ///   tell the time.
    ///
    /// # Errors
    /// What cannot work.
    fn make(&self, settings: &IntrospectionSettings, context: &ConfigContext) -> Result<Introspection, ConfigError>;
}

/// Is what the file says of an introspection endpoint ([RFC 7662](https://www.rfc-editor.org/rfc/rfc7662)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntrospectionSettings {
    /// The URL of the endpoint.
    pub endpoint: String,
    /// The issuer that its answers speak for.
    pub issuer: String,
    /// One of which a token must be made for.
    pub audiences: Vec<String>,
    /// Our own name at the issuer.
    pub client_id: String,
    /// Our own secret at the issuer.
    pub client_secret: Secret,
    /// How long an answer may be used again. Default none: each token is asked for.
    pub cache: Option<Duration>,
    /// Whether tokens that are bound to a key pass, with DPoP proofs.
    pub dpop: bool,
    /// Whether tokens that are bound to a client certificate pass.
    pub certificate_bound: bool,
}

/// Is what a [`MakeIntrospection`] makes.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "implementers build it by its fields")]
pub struct Introspection {
    /// Verifies opaque tokens.
    pub authenticator: Arc<dyn Authenticate>,
    /// Gives JWTs for them, if the issuer does.
    pub swap: Option<Arc<dyn TokenSwap>>,
}

impl Default for ConfigContext {
    /// Secrets from the process's environment, the system clock, the default backend and HTTP client; introspection by
    /// `OpaqueIntrospection` if the feature `opaque` is on, otherwise none.
    fn default() -> Self {
        Self {
            backend: default_backend(),
            environment: Arc::new(|name| std::env::var(name).ok()),
            introspection: default_introspection(),
            http_client: None,
            clock: Arc::new(SystemClock),
            revocation: None,
            listener: None,
        }
    }
}

#[cfg(feature = "aws-lc-rs")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature there is none")]
fn default_backend() -> Option<Backend> {
    Some(Backend::default())
}

#[cfg(not(feature = "aws-lc-rs"))]
const fn default_backend() -> Option<Backend> {
    None
}

#[cfg(feature = "opaque")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature there is none")]
fn default_introspection() -> Option<Arc<dyn MakeIntrospection>> {
    Some(Arc::new(crate::opaque::OpaqueIntrospection::new()))
}

#[cfg(not(feature = "opaque"))]
fn default_introspection() -> Option<Arc<dyn MakeIntrospection>> {
    None
}

impl ConfigContext {
    /// Verifies with this crypto backend.
    #[must_use]
    pub fn with_backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Takes secrets that the file names as `{ env = "NAME" }` from here.
    #[must_use]
    pub fn with_environment(mut self, read: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.environment = Arc::new(read);
        self
    }

    /// Verifies credentials of the kind `introspection` by what this makes. Without any they are a mistake.
    #[must_use]
    pub fn with_introspection(mut self, make: Arc<dyn MakeIntrospection>) -> Self {
        self.introspection = Some(make);
        self
    }

    /// Fetches keys, and asks introspection endpoints, with this client.
    #[must_use]
    pub fn with_http_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.http_client = Some(client);
        self
    }

    /// Takes the time from this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Asks, for each credential, whether it was withdrawn.
    #[must_use]
    pub fn with_revocation(mut self, revocation: Arc<dyn RevocationCheck>) -> Self {
        self.revocation = Some(revocation);
        self
    }

    /// Tells somebody of each request's steps.
    #[must_use]
    pub fn with_listener(mut self, listener: Arc<dyn JourneyListener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Returns the crypto backend, if one was chosen or is the default.
    #[must_use]
    pub const fn backend(&self) -> Option<Backend> {
        self.backend
    }

    /// Returns the HTTP client, if one was given.
    #[must_use]
    pub const fn http_client(&self) -> Option<&Arc<dyn HttpClient>> {
        self.http_client.as_ref()
    }

    /// Returns the clock.
    #[must_use]
    pub const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns what tells whether a credential was withdrawn, if there is something.
    #[must_use]
    pub const fn revocation(&self) -> Option<&Arc<dyn RevocationCheck>> {
        self.revocation.as_ref()
    }

    /// Tells whether a verifier made with this is as good as one made with the other: the very same parts, not only equal ones.
    fn makes_the_same(&self, other: &Self) -> bool {
        let Self { backend, environment: _, introspection, http_client, clock, revocation, listener: _ } = self;
        *backend == other.backend
            && same_part(introspection.as_ref(), other.introspection.as_ref())
            && same_part(http_client.as_ref(), other.http_client.as_ref())
            && same_part(revocation.as_ref(), other.revocation.as_ref())
            && Arc::ptr_eq(clock, &other.clock)
    }
}

fn same_part<T: ?Sized>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl fmt::Debug for ConfigContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigContext").field("introspection", &self.introspection.is_some()).finish_non_exhaustive()
    }
}

impl GatewayConfig {
    /// How many bytes a file may have.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// Reads and checks a configuration, and makes what it describes. Nothing is listened to, and no request is sent.
    ///
    /// # Errors
    /// All mistakes, by line.
    pub fn parse(text: &str, context: &ConfigContext) -> Result<Self, ConfigMistakes> {
        Self::parse_after(text, context, None)
    }

    /// Reads and checks a configuration that takes the place of another: verifiers with their keys and caches, and upstreams with their
    /// connections, go on where their settings are the same. Verifiers are made anew for a context with other parts, so hand in a clone of
    /// the same one.
    ///
    /// # Errors
    /// All mistakes, by line.
    pub fn parse_after(text: &str, context: &ConfigContext, before: Option<&Self>) -> Result<Self, ConfigMistakes> {
        let reader = Reader::new(text);
        let table = reader.table();
        let built = table.as_ref().and_then(|table| {
            let root = reader.root(table);
            Builder { context, reader: &reader, before }.build(&root)
        });
        match (reader.into_mistakes(), built) {
            (None, Some(built)) => Ok(built),
            (Some(mistakes), _) => Err(mistakes),
            // A builder that gives up says why.
            (None, None) => Err(ConfigMistakes::one(1, "the configuration cannot be used")),
        }
    }
}

impl fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("serving", &self.serving)
            .field("credentials", &self.credentials.iter().map(|(settings, _)| settings).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Makes what a file describes, going on after mistakes to find them all.
struct Builder<'a> {
    context: &'a ConfigContext,
    reader: &'a Reader<'a>,
    before: Option<&'a GatewayConfig>,
}

type Named<T> = BTreeMap<String, Option<T>>;

impl Builder<'_> {
    fn build(&self, root: &Section<'_>) -> Option<GatewayConfig> {
        let proxies = match root.plain_texts("trusted_proxies") {
            listed if listed.is_empty() => Some(TrustedProxies::none()),
            listed => self.kept(TrustedProxies::new(listed), root.span_of("trusted_proxies")),
        };
        let identity = root.section("identity").map(|section| self.identity(&section));
        let limits = root.section("limits").map(|section| limits(&section)).unwrap_or_default();
        let timeouts = root.section("timeouts").map(|section| timeouts(&section)).unwrap_or_default();
        let (mut upstream_settings, mut upstreams) = (Vec::new(), Named::new());
        for (name, section) in root.named_sections("upstreams") {
            let upstream = self.upstream(&name, &section);
            upstream_settings.extend(upstream.clone());
            upstreams.insert(name, upstream.map(|(_, upstream)| upstream));
        }
        let (mut credential_settings, mut credentials) = (Vec::new(), Named::new());
        for (name, section) in root.named_sections("credentials") {
            let credential = self.credential(&section, proxies.as_ref());
            credential_settings.extend(credential.clone());
            credentials.insert(name, credential.map(|(_, credential)| credential));
        }
        let mut routes: Vec<Route> = Vec::new();
        let mut used = (Vec::new(), Vec::new());
        let sections = root.list("routes");
        if sections.is_empty() && !root.has("forward_auth") {
            self.reader.say(root.span(), "neither `[[routes]]` nor `[forward_auth]`: nothing would be passed on");
        }
        for section in &sections {
            used.0.extend(section.plain_text("upstream"));
            used.1.extend(section.plain_text("credentials"));
            let Some(mut route) = self.route(section, &upstreams, &credentials) else { continue };
            if self.kept(route.check(), section.span()).is_none() {
                continue;
            }
            if let Some(before) = routes.iter().position(|earlier| earlier.covers(&route)) {
                self.reader.say(section.span(), format!("never reached: the route {} before it covers it", before + 1));
            }
            routes.push(route);
        }
        let identity = identity.unwrap_or_default();
        let forward_auth = root.section("forward_auth").and_then(|section| {
            used.1.extend(section.plain_text("credentials"));
            self.forward_auth(&section, &credentials, proxies.clone()?, identity.clone())
        });
        for (what, names, used) in
            [("upstreams", keys(&upstreams), used.0), ("credentials", keys(&credentials), used.1)]
        {
            for name in names.into_iter().filter(|name| !used.contains(name)) {
                let span = root.span_within(what, &name);
                self.reader.say(span, format!("[{what}.{name}] is used by no route"));
            }
        }
        let tls = root.section("tls").and_then(|section| tls::read(self, &section));
        self.check_same_transport(root, tls.is_some() || root.has("tls"));
        root.finish();
        if self.reader.has_mistakes() {
            return None;
        }
        let made = if routes.is_empty() { Ok(ReverseProxy::without_routes()) } else { ReverseProxy::new(routes) };
        let proxy = self.kept(made, root.span())?;
        let mut proxy = proxy.with_limits(limits).with_timeouts(timeouts).with_clock(Arc::clone(&self.context.clock));
        proxy = proxy.with_trusted_proxies(proxies?).with_identity(identity);
        if let Some(listener) = &self.context.listener {
            proxy = proxy.with_listener(Arc::clone(listener));
        }
        let serving = Serving {
            #[cfg(feature = "tls")]
            tls,
            ..Serving::new(proxy, forward_auth)
        };
        let context = self.context.clone();
        Some(GatewayConfig { serving, credentials: credential_settings, context, upstreams: upstream_settings })
    }

    /// Keeps a value, or says at this place why there is none.
    fn kept<T>(&self, result: Result<T, ConfigError>, span: Range<usize>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
                self.reader.say(span, format!("{error}{source}"));
                None
            }
        }
    }

    /// Clients of a listener cannot follow when it goes over from TLS to none, or the reverse.
    #[cfg(feature = "tls")]
    fn check_same_transport(&self, root: &Section<'_>, ends_tls: bool) {
        if self.before.is_some_and(|before| before.serving.tls.is_some() != ends_tls) {
            let span = if ends_tls { root.span_of("tls") } else { root.span() };
            self.reader.say(span, "TLS cannot begin or end with a reload, only with a restart");
        }
    }

    #[cfg(not(feature = "tls"))]
    fn check_same_transport(&self, _root: &Section<'_>, _ends_tls: bool) {}

    fn identity(&self, section: &Section<'_>) -> IdentityHeaders {
        let mut headers = IdentityHeaders::new();
        for (key, field) in [
            ("subject", IdentityField::Subject),
            ("issuer", IdentityField::Issuer),
            ("client", IdentityField::Client),
            ("scope", IdentityField::Scope),
            ("roles", IdentityField::Roles),
            ("tenant", IdentityField::Tenant),
        ] {
            let Some(name) = section.plain_text(key) else { continue };
            if let Some(more) = self.kept(headers.clone().with(field, &name), section.span_of(key)) {
                headers = more;
            }
        }
        section.finish();
        headers
    }

    fn upstream(&self, name: &str, section: &Section<'_>) -> Option<(UpstreamSettings, Upstream)> {
        let url = section.required_text("url");
        let defaults = UpstreamOptions::default();
        let options = UpstreamOptions {
            http2: section.flag("http2"),
            client_host: section.flag("client_host"),
            connect_timeout: section.millis("connect_ms").unwrap_or(defaults.connect_timeout),
        };
        if options.http2 && options.client_host {
            self.reader.say(section.span_of("client_host"), "HTTP/2 has no `Host` beside the upstream's own");
        }
        section.finish();
        let settings = UpstreamSettings { name: name.to_owned(), url: url?, options };
        let same = self.before.and_then(|before| before.upstreams.iter().find(|(known, _)| *known == settings));
        if let Some((_, upstream)) = same {
            return Some((settings, upstream.clone()));
        }
        let upstream = self.kept(Upstream::with_options(name, &settings.url, options), section.span_of("url"))?;
        Some((settings, upstream))
    }

    fn credential(
        &self,
        section: &Section<'_>,
        proxies: Option<&TrustedProxies>,
    ) -> Option<(CredentialSettings, Credential)> {
        let settings = CredentialSettings::read(section, &*self.context.environment, proxies)?;
        let before = self.before.filter(|before| before.context.makes_the_same(self.context));
        let same = before.and_then(|before| before.credentials.iter().find(|(known, _)| *known == settings));
        if let Some((_, credential)) = same {
            return Some((settings, credential.clone()));
        }
        let credential = self.kept(settings.build(self.context), section.span())?;
        Some((settings, credential))
    }

    fn route(
        &self,
        section: &Section<'_>,
        upstreams: &Named<Upstream>,
        credentials: &Named<Credential>,
    ) -> Option<Route> {
        let path = section.required_text("path");
        let upstream = self.named(section, "upstream", upstreams, "[upstreams]", true);
        let access = section.choice("access", &["public", "deny"]);
        let credential = self.named(section, "credentials", credentials, "[credentials]", false);
        let has_credential = section.has("credentials");
        if section.has("access") == has_credential {
            let message = "needs either `credentials`, or `access` as \"public\" or \"deny\"";
            self.reader.say(section.span(), message);
        }
        let scopes = section.scopes("scopes");
        let any_scope = section.scopes("any_scope");
        let roles = section.plain_texts("roles");
        if !has_credential {
            for key in ["scopes", "any_scope", "roles", "token"].into_iter().filter(|key| section.has(key)) {
                self.reader.say(section.span_of(key), format!("`{key}` has no meaning without `credentials`"));
            }
        }
        let guard = match (access.as_deref(), &credential) {
            (Some("public"), None) => Some(Guard::Public),
            (Some("deny"), None) => Some(Guard::Deny),
            (None, Some(credential)) => self.guard(section, credential, scopes, any_scope, roles),
            _ => None,
        };
        let token = match section.choice("token", &["drop", "as_is", "as_bearer", "swap"]).as_deref() {
            Some("as_bearer") => TokenForward::Swap(Arc::new(AsBearer::new())),
            Some("as_is") => TokenForward::AsIs,
            Some("swap") => match credential.as_ref().map(|credential| credential.swap.clone()) {
                Some(Some(swap)) => TokenForward::Swap(swap),
                Some(None) => {
                    self.reader.say(section.span_of("token"), "these credentials cannot be swapped for another token");
                    TokenForward::Drop
                }
                None => TokenForward::Drop,
            },
            _ => TokenForward::Drop,
        };
        let (host, methods, origins) =
            (section.plain_text("host"), section.plain_texts("methods"), section.plain_texts("origins"));
        let (has_origins, takes_websockets) = (section.has("origins"), section.flag("websockets"));
        let max_body = section.number("max_body_bytes", 0, u64::MAX);
        let checks_proofs_here = section.flag("proofs_checked_here");
        section.finish();
        let mut route = Route::new(path?, &upstream?, guard?).for_methods(methods).forwarding(token);
        if let Some(host) = host {
            route = route.on_host(host);
        }
        if has_origins {
            route = route.with_origins(origins);
        }
        if takes_websockets {
            route = route.with_websockets();
        }
        if checks_proofs_here {
            route = route.with_proofs_checked_here();
        }
        if let Some(bytes) = max_body {
            route = route.with_max_body(bytes);
        }
        Some(route)
    }

    fn forward_auth(
        &self,
        section: &Section<'_>,
        credentials: &Named<Credential>,
        proxies: TrustedProxies,
        identity: IdentityHeaders,
    ) -> Option<Endpoint> {
        let path = section.required_text("path");
        if !section.has("dialect") {
            section.lacks("dialect");
        }
        let dialect = section.choice("dialect", &["nginx", "traefik", "caddy", "envoy"]);
        let credential = self.named(section, "credentials", credentials, "[credentials]", true);
        let token = section.choice("token", &["drop", "as_bearer", "swap"]);
        let origins =
            section.has("origins").then(|| section.plain_texts("origins")).filter(|origins| !origins.is_empty());
        let checks_proofs_here = section.flag("proofs_checked_here");
        let sections = section.list("rules");
        let rules: Vec<Rule> = sections.iter().filter_map(|section| self.rule(section)).collect();
        section.finish();
        if rules.len() != sections.len() {
            return None;
        }
        let rules = self.kept(RuleTable::new(rules), section.span_of("rules"));
        let credential = credential?;
        let Some(checkpoint) = credential.checkpoint() else {
            let message = "forward-auth takes credentials of the kinds jwt and introspection";
            self.reader.say(section.span_of("credentials"), message);
            return None;
        };
        let swap: Option<Arc<dyn TokenSwap>> = match token.as_deref() {
            Some("as_bearer") => Some(Arc::new(AsBearer::new())),
            Some("swap") if credential.swap.is_none() => {
                self.reader.say(section.span_of("token"), "these credentials cannot be swapped for another token");
                return None;
            }
            Some("swap") => credential.swap.clone(),
            _ => None,
        };
        let dialect = match dialect?.as_str() {
            "nginx" => Dialect::Nginx,
            "traefik" => Dialect::Traefik,
            "caddy" => Dialect::Caddy,
            _ => Dialect::Envoy,
        };
        let auth = ForwardAuth::new(dialect, checkpoint.clone(), rules?, proxies);
        let auth = self.kept(auth, section.span())?.with_identity(identity).with_clock(Arc::clone(&self.context.clock));
        let auth = match (swap, checks_proofs_here) {
            (Some(swap), true) => auth.with_proofs_checked_here().with_token_swap(swap),
            (Some(swap), false) => auth.with_token_swap(swap),
            (None, said) => check_swap_of_bound(false, said).map(|()| auth),
        };
        let auth = self.kept(auth, section.span())?;
        let auth = match origins {
            Some(origins) => self.kept(auth.with_origins(origins), section.span_of("origins"))?,
            None => auth,
        };
        self.kept(Endpoint::new(&path?, auth), section.span_of("path"))
    }

    fn rule(&self, section: &Section<'_>) -> Option<Rule> {
        let path = section.required_text("path");
        let access = section.choice("access", &["public", "deny", "authenticated"]);
        let (scopes, any_scope, roles) =
            (section.scopes("scopes"), section.scopes("any_scope"), section.plain_texts("roles"));
        let requires = ["scopes", "any_scope", "roles"].into_iter().any(|key| section.has(key));
        let (host, methods) = (section.plain_text("host"), section.plain_texts("methods"));
        section.finish();
        if section.has("access") == requires {
            let message =
                "needs either `access` as \"public\", \"deny\" or \"authenticated\", or `scopes`, `any_scope`, `roles`";
            self.reader.say(section.span(), message);
            return None;
        }
        let access = match access.as_deref() {
            Some("public") => Access::Public,
            Some("deny") => Access::Deny,
            Some(_) => Access::Authenticated,
            None if requires => Access::Require(requirement(scopes, any_scope, roles)),
            None => return None,
        };
        let mut rule = Rule::new(path?, access).for_methods(methods);
        if let Some(host) = host {
            rule = rule.on_host(host);
        }
        // Told here with the line of the rule; what it is to the others is told with the table's.
        self.kept(rule.check(), section.span()).map(|()| rule)
    }

    fn guard(
        &self,
        section: &Section<'_>,
        credential: &Credential,
        scopes: Vec<String>,
        any_scope: Vec<String>,
        roles: Vec<String>,
    ) -> Option<Guard> {
        let Some(guard) = credential.authorizer() else {
            let requirement = requirement(scopes, any_scope, roles);
            return Some(Guard::Checkpoint { checkpoint: credential.checkpoint()?.clone(), requirement });
        };
        for key in ["scopes", "roles"].into_iter().filter(|key| section.has(key)) {
            let message =
                format!("`{key}` is not what this kind of credentials knows: it asks for any one, `any_scope`");
            self.reader.say(section.span_of(key), message);
        }
        let scopes = if section.has("any_scope") {
            self.kept(crate::authorizer::RouteScopes::any_of(any_scope), section.span_of("any_scope"))?
        } else {
            crate::authorizer::RouteScopes::not_checked()
        };
        Some(Guard::Authorizer { authorizer: guard.clone(), scopes })
    }

    /// Finds what a key names. A thing with mistakes of its own is found, and there is nothing more to say.
    fn named<T: Clone>(
        &self,
        section: &Section<'_>,
        key: &str,
        all: &Named<T>,
        where_: &str,
        required: bool,
    ) -> Option<T> {
        let name = if required { section.required_text(key) } else { section.plain_text(key) };
        let name = name?;
        match all.get(&name) {
            Some(found) => found.clone(),
            None => {
                self.reader.say(section.span_of(key), format!("{name:?} is not among {where_}"));
                None
            }
        }
    }
}

/// Asks for all scopes, one of some, and all roles.
fn requirement(scopes: Vec<String>, any_scope: Vec<String>, roles: Vec<String>) -> Requirement {
    let mut rules: Vec<Requirement> = Vec::new();
    if !scopes.is_empty() {
        rules.push(scope(scopes.join(" ")));
    }
    if !any_scope.is_empty() {
        rules.push(any_of(any_scope.into_iter().map(scope)));
    }
    rules.extend(roles.into_iter().map(role));
    all_of(rules)
}

fn keys<T>(named: &Named<T>) -> Vec<String> {
    named.keys().cloned().collect()
}

fn limits(section: &Section<'_>) -> ProxyLimits {
    let defaults = ProxyLimits::default();
    let size =
        |key: &str, least: u64, most: u64| section.number(key, least, most).and_then(|n| usize::try_from(n).ok());
    let limits = ProxyLimits {
        header_bytes: size("header_bytes", 8192, 1 << 20).unwrap_or(defaults.header_bytes),
        headers: size("headers", 1, 1000).unwrap_or(defaults.headers),
        body_bytes: section.number("body_bytes", 0, u64::MAX).unwrap_or(defaults.body_bytes),
        connections: size("connections", 1, 1 << 20).unwrap_or(defaults.connections),
        streams: section.number("streams", 1, 10_000).and_then(|n| u32::try_from(n).ok()).unwrap_or(defaults.streams),
        tunnels: size("tunnels", 0, 1 << 20).unwrap_or(defaults.tunnels),
    };
    section.finish();
    limits
}

fn timeouts(section: &Section<'_>) -> ProxyTimeouts {
    let defaults = ProxyTimeouts::default();
    let timeouts = ProxyTimeouts {
        request_head: section.millis("request_head_ms").unwrap_or(defaults.request_head),
        response: section.millis("response_ms").unwrap_or(defaults.response),
        idle: section.millis("idle_ms").unwrap_or(defaults.idle),
        total: section.millis("total_ms").or(defaults.total),
        shutdown: section.millis("shutdown_ms").unwrap_or(defaults.shutdown),
    };
    section.finish();
    timeouts
}
