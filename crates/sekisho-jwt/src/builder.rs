use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Authenticate, Clock, ConfigError, IntoAuthenticate, RevocationCheck, SystemClock, claims};
use sekisho_http::HttpClient;
use sekisho_jwks::{Discovery, IntoKeySource, KeyFamily, KeySource, SourceContext};

use crate::algorithms::AlgorithmSet;
use crate::cache::{CacheLimits, TokenCache};
use crate::header::HeaderMemo;
use crate::issuer::Issuer;
use crate::verifier::{Issuers, Parts, Verifier};
use crate::{Algorithm, Backend, Dpop, Profile, SenderConstraint};

/// Bounds the leeway.
const LONGEST_LEEWAY: Duration = Duration::from_secs(300);
const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);
const DEFAULT_LONGEST_TOKEN: usize = 8 * 1024;
const MOST_ISSUERS: usize = 1000;
const LONGEST_NAME: usize = 1024;

/// Starts the configuration of a [`Verifier`].
///
/// # Examples
/// ```
/// use sekisho_jwt::{Jwt, Profile};
/// let verifier = Jwt::issuer("https://id.example/realms/shop") // keys by discovery, in the background
///     .audience("orders-api")
///     .with_profile(Profile::keycloak())
///     .build()?;
/// # let _ = verifier;
/// # Ok::<(), sekisho_jwt::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Jwt(());

impl Jwt {
    /// Names the issuer to trust, as it stands in `iss`, byte for byte. Uses the `aws-lc-rs` backend.
    #[cfg(feature = "aws-lc-rs")]
    pub fn issuer(issuer: impl Into<String>) -> JwtIssuer {
        Self::with_backend(Backend::default()).issuer(issuer)
    }

    /// Chooses the crypto backend.
    pub const fn with_backend(backend: Backend) -> JwtStart {
        JwtStart { backend }
    }
}

/// Waits for the issuer's name.
#[derive(Debug)]
#[must_use]
pub struct JwtStart {
    backend: Backend,
}

impl JwtStart {
    /// Names the issuer to trust, as it stands in `iss`, byte for byte.
    pub fn issuer(self, issuer: impl Into<String>) -> JwtIssuer {
        JwtIssuer { backend: self.backend, issuer: issuer.into() }
    }
}

/// Waits for the audience; without one there is no verifier.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use sekisho_jwt::Jwt;
/// let verifier = Jwt::issuer("https://id.example").audience("orders").build();
/// # }
/// ```
/// ```compile_fail,E0599
/// # use sekisho_jwt::Jwt;
/// let verifier = Jwt::issuer("https://id.example").build(); // no audience
/// ```
#[derive(Debug)]
#[must_use]
pub struct JwtIssuer {
    backend: Backend,
    issuer: String,
}

impl JwtIssuer {
    /// Names this service as it stands in `aud`, byte for byte.
    pub fn audience(self, audience: impl Into<String>) -> JwtBuilder {
        JwtBuilder {
            rules: Rules {
                backend: self.backend,
                issuer: self.issuer,
                audiences: vec![audience.into()],
                keys: None,
                algorithms: None,
                leeway: DEFAULT_LEEWAY,
                profile: Profile::default(),
                roles_at: Vec::new(),
                client_claim: None,
                tenant_claim: None,
            },
            others: Vec::new(),
            longest_token: None,
            cache: None,
            revocation: None,
            dpop: None,
            binds_certificates: false,
            http_client: None,
            clock: None,
            conflict: None,
            #[cfg(feature = "jwe")]
            decryption: Vec::new(),
        }
    }
}

/// Makes a key source once backend, clock and HTTP client are known.
type MakeKeys = Box<dyn FnOnce(&SourceContext) -> Result<Arc<dyn KeySource>, ConfigError> + Send>;

/// Configures a [`Verifier`]. Everything here has a safe default.
#[must_use]
pub struct JwtBuilder {
    rules: Rules,
    others: Vec<Rules>,
    longest_token: Option<usize>,
    /// `Some(None)` when it was switched off.
    cache: Option<Option<CacheLimits>>,
    revocation: Option<Arc<dyn RevocationCheck>>,
    dpop: Option<Dpop>,
    binds_certificates: bool,
    http_client: Option<Arc<dyn HttpClient>>,
    clock: Option<Arc<dyn Clock>>,
    conflict: Option<&'static str>,
    #[cfg(feature = "jwe")]
    decryption: Vec<crate::jwe::DecryptionKey>,
}

/// What is set for each issuer.
struct Rules {
    backend: Backend,
    issuer: String,
    audiences: Vec<String>,
    keys: Option<MakeKeys>,
    algorithms: Option<AlgorithmSet>,
    leeway: Duration,
    profile: Profile,
    roles_at: Vec<String>,
    client_claim: Option<String>,
    tenant_claim: Option<String>,
}

/// Settings of one issuer.
impl JwtBuilder {
    /// Takes tokens for this audience too.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// Sets where the keys come from. Default: the issuer's discovery document, OpenID Connect's or RFC 8414's.
    pub fn with_keys(mut self, keys: impl IntoKeySource + Send + 'static) -> Self {
        self.rules.keys = Some(Box::new(move |context: &SourceContext| keys.into_key_source(context)));
        self
    }

    /// Sets which algorithms the issuer may use. Default: all with a public key.
    ///
    /// Shared secrets (`HS256` and the like) are never taken unless named here, and never together with public keys.
    pub fn with_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.rules.algorithms = Some(AlgorithmSet::new(algorithms));
        self
    }

    /// Sets what the issuer's access tokens look like. Default [`Profile::compatible`].
    pub fn with_profile(mut self, profile: impl Into<Profile>) -> Self {
        self.rules.profile = profile.into();
        self
    }

    /// Sets by how much the issuer's clock may differ from ours, in whole seconds. Default 60 s, at most 300 s.
    pub const fn with_leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// Adds a place of roles, a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) such as `/realm_access/roles`.
    ///
    /// The value must be a string or an array of strings. The first call replaces the profile's own place.
    pub fn with_roles_at(mut self, pointer: impl Into<String>) -> Self {
        self.rules.roles_at.push(pointer.into());
        self
    }

    /// Adds Keycloak's roles of one client, `/resource_access/CLIENT/roles`.
    pub fn with_client_roles(self, client: &str) -> Self {
        let step = client.replace('~', "~0").replace('/', "~1");
        self.with_roles_at(format!("/resource_access/{step}/roles"))
    }

    /// Sets which claim names the client when `client_id` and `azp` are absent, such as Okta's `cid`. Default: the profile's.
    pub fn with_client_claim(mut self, claim: impl Into<String>) -> Self {
        self.rules.client_claim = Some(claim.into());
        self
    }

    /// Sets which claim names the tenant; tokens without it are refused. Default: the profile's.
    pub fn with_tenant_claim(mut self, claim: impl Into<String>) -> Self {
        self.rules.tenant_claim = Some(claim.into());
        self
    }

    /// Trusts the issuers of another builder too, each with its own rules.
    ///
    /// `iss` is then looked up among the trusted names before any work with keys. Of what belongs to the verifier as a
    /// whole (the settings below) the stricter wins where both builders set it: the shorter token, the smaller cache or
    /// none, both revocation checks. DPoP and certificates are then for the tokens of all issuers. Two HTTP clients, two
    /// clocks or two settings of DPoP are an error of [`build`](Self::build).
    pub fn also(mut self, other: Self) -> Self {
        let Self {
            rules,
            others,
            longest_token,
            cache,
            revocation,
            dpop,
            binds_certificates,
            http_client,
            clock,
            conflict,
            #[cfg(feature = "jwe")]
            decryption,
        } = other;
        // Dropping a setting in silence could drop a check: the stricter of two wins, and what has no stricter is an error.
        self.others.push(rules);
        self.others.extend(others);
        self.longest_token = match (self.longest_token, longest_token) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
        self.cache = match (self.cache, cache) {
            (Some(own), Some(other)) => Some(own.zip(other).map(|(own, other)| own.smaller(other))),
            (own, other) => own.or(other),
        };
        self.conflict = self.conflict.or(conflict);
        if self.http_client.is_some() && http_client.is_some() || self.clock.is_some() && clock.is_some() {
            self.conflict = Some("two builders that were put together each set an HTTP client or a clock");
        }
        if self.dpop.is_some() && dpop.is_some() {
            self.conflict = Some("two builders that were put together each set DPoP");
        }
        self.dpop = self.dpop.or(dpop);
        self.binds_certificates |= binds_certificates;
        self.revocation = match (self.revocation, revocation) {
            (Some(own), Some(other)) => Some(Arc::new(Both(own, other))),
            (own, other) => own.or(other),
        };
        self.http_client = self.http_client.or(http_client);
        self.clock = self.clock.or(clock);
        #[cfg(feature = "jwe")]
        self.decryption.extend(decryption);
        self
    }
}

/// Settings of the verifier as a whole.
impl JwtBuilder {
    /// Sets how long a token may be, in bytes. Default 8,192; at least 256, at most 65,536.
    pub const fn with_max_token_bytes(mut self, bytes: usize) -> Self {
        self.longest_token = Some(bytes);
        self
    }

    /// Sets the bounds of the verified-token cache. Default 10,000 tokens and 64 MiB.
    pub const fn with_cache(mut self, limits: CacheLimits) -> Self {
        self.cache = Some(Some(limits));
        self
    }

    /// Verifies each token anew.
    pub const fn without_cache(mut self) -> Self {
        self.cache = Some(None);
        self
    }

    /// Asks, for each token, whether it was withdrawn.
    pub fn with_revocation(mut self, revocation: Arc<dyn RevocationCheck>) -> Self {
        self.revocation = Some(revocation);
        self
    }

    /// Takes tokens that are bound to a key (`cnf` with `jkt`), if each request proves that its sender has it
    /// ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)). Default: they are refused.
    ///
    /// The checkpoint then needs [`with_public_url`](sekisho_http::CheckpointBuilder::with_public_url). Such a token sent as
    /// a bearer token is refused, and so is a token that is not bound when it is sent as bound.
    pub fn with_dpop(mut self, dpop: Dpop) -> Self {
        self.dpop = Some(dpop);
        self
    }

    /// Takes tokens that are bound to a client certificate (`cnf` with `x5t#S256`), over connections of that certificate
    /// ([RFC 8705 §3](https://www.rfc-editor.org/rfc/rfc8705#section-3)). Default: they are refused.
    ///
    /// The certificate comes from the application's TLS layer, as a [`ClientCertificate`](sekisho_http::ClientCertificate),
    /// or from a [header of a trusted proxy](sekisho_http::CheckpointBuilder::with_client_certificate_header).
    pub const fn with_certificate_binding(mut self) -> Self {
        self.binds_certificates = true;
        self
    }

    /// Sets the client that fetches keys. Default: `reqwest` with rustls, if the feature `reqwest` is on.
    pub fn with_http_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.http_client = Some(client);
        self
    }

    /// Sets the clock of background refreshes. Default: the system's. Verification is told the time.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Takes encrypted tokens ([RFC 7516](https://www.rfc-editor.org/rfc/rfc7516)) too, if a signed token is inside. Callable several times.
    #[cfg(feature = "jwe")]
    pub fn with_decryption_key(mut self, key: crate::jwe::DecryptionKey) -> Self {
        self.decryption.push(key);
        self
    }

    /// Builds the verifier. It neither waits nor asks the network.
    ///
    /// # Errors
    /// [`ConfigError`] for: an empty name, or one with control characters; the same issuer twice; a leeway above 300 s; no algorithm,
    /// or shared secrets together with public keys; a token length out of range; a roles place that is no JSON pointer; a cache without room;
    /// DPoP with a lifetime, an algorithm or a secret that cannot work;
    /// what the key source finds wrong.
    pub fn build(self) -> Result<Verifier, ConfigError> {
        if let Some(conflict) = self.conflict {
            return Err(ConfigError::new(conflict));
        }
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let http_client = self.http_client;
        let context = |backend| SourceContext { backend, clock: Arc::clone(&clock), http_client: http_client.clone() };
        let longest_token = self.longest_token.unwrap_or(DEFAULT_LONGEST_TOKEN);
        if !(256..=65_536).contains(&longest_token) {
            return Err(ConfigError::new("the longest token must be between 256 and 65,536 bytes"));
        }
        let cache = match self.cache.unwrap_or_else(|| Some(CacheLimits::default())) {
            Some(limits) => TokenCache::new(limits.check()?),
            None => None,
        };
        let constraint = SenderConstraint::new(self.rules.backend);
        let constraint = if self.binds_certificates { constraint.with_certificate_binding() } else { constraint };
        let constraint = match self.dpop {
            Some(dpop) => constraint.with_dpop(dpop)?,
            None => constraint,
        };
        let issuers = if self.others.is_empty() {
            Issuers::One(Box::new(self.rules.build(&context)?))
        } else {
            let mut many = HashMap::new();
            for rules in std::iter::once(self.rules).chain(self.others) {
                let issuer = rules.build(&context)?;
                if many.len() == MOST_ISSUERS {
                    return Err(ConfigError::new("more than 1,000 issuers"));
                }
                if let Some(twice) = many.insert(Box::from(&*issuer.name), issuer) {
                    return Err(ConfigError::new(format!("the issuer {} is configured twice", twice.name)));
                }
            }
            Issuers::Many(many)
        };
        Ok(Verifier::new(Parts {
            issuers,
            longest_token,
            headers: HeaderMemo::new(),
            cache,
            revocation: self.revocation,
            constraint,
            #[cfg(feature = "jwe")]
            decryption: self.decryption,
        }))
    }
}

impl Rules {
    fn build(self, context: &impl Fn(Backend) -> SourceContext) -> Result<Issuer, ConfigError> {
        let Self {
            backend,
            issuer,
            audiences,
            keys,
            algorithms,
            leeway,
            profile,
            mut roles_at,
            client_claim,
            tenant_claim,
        } = self;
        check_name("issuer", &issuer)?;
        for audience in &audiences {
            check_name("audience", audience)?;
        }
        if leeway > LONGEST_LEEWAY {
            return Err(ConfigError::new("the leeway is longer than 300 s; repair the clocks instead"));
        }
        let algorithms = algorithms.unwrap_or_else(AlgorithmSet::asymmetric);
        check_algorithms(algorithms)?;
        if roles_at.is_empty() {
            roles_at.extend(profile.roles_at().map(str::to_owned));
        }
        if let Some(bad) = roles_at.iter().find(|pointer| !claims::is_pointer(pointer)) {
            return Err(ConfigError::new(format!(
                "`{bad}` is not a JSON pointer: it begins with a slash, and a tilde is followed by 0 or 1"
            )));
        }
        let client_claim = client_claim.or_else(|| profile.client_claim().map(str::to_owned));
        let tenant_claim = tenant_claim.or_else(|| profile.tenant_claim().map(str::to_owned));
        let keys = match keys {
            Some(make) => make(&context(backend))?,
            None => Discovery::new(issuer.clone()).into_key_source(&context(backend))?,
        };
        Ok(Issuer {
            name: issuer.into(),
            audiences: audiences.into_iter().map(Into::into).collect(),
            keys,
            algorithms,
            leeway_secs: leeway.as_secs(),
            profile,
            roles_at: roles_at.into_iter().map(Into::into).collect(),
            client_claim: client_claim.map(Into::into),
            tenant_claim: tenant_claim.map(Into::into),
        })
    }
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<(), ConfigError> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(ConfigError::new(format!("the {what} must be 1 to 1,024 bytes without control characters")));
    }
    Ok(())
}

fn check_algorithms(algorithms: AlgorithmSet) -> Result<(), ConfigError> {
    if algorithms.is_empty() {
        return Err(ConfigError::new("no algorithm is allowed, so no token could be"));
    }
    let shared = algorithms.iter().filter(|algorithm| algorithm.family() == KeyFamily::Hmac).count();
    if shared != 0 && shared != algorithms.iter().count() {
        return Err(ConfigError::new("an issuer signs with a shared secret or with key pairs, not with both"));
    }
    Ok(())
}

/// Asks two; one objection is enough.
struct Both(Arc<dyn RevocationCheck>, Arc<dyn RevocationCheck>);

impl RevocationCheck for Both {
    fn is_revoked(
        &self,
        principal: &sekisho_core::Principal,
        now: sekisho_core::UnixSeconds,
    ) -> Result<bool, sekisho_core::Failure> {
        Ok(self.0.is_revoked(principal, now)? || self.1.is_revoked(principal, now)?)
    }
}

impl IntoAuthenticate for JwtBuilder {
    fn into_authenticate(self) -> Result<Arc<dyn Authenticate>, ConfigError> {
        Ok(Arc::new(self.build()?))
    }
}

impl fmt::Debug for JwtBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtBuilder")
            .field("issuer", &self.rules.issuer)
            .field("audiences", &self.rules.audiences)
            .field("others", &self.others.len())
            .finish_non_exhaustive()
    }
}
