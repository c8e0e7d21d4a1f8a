use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Authenticate, Clock, ConfigError, IntoAuthenticate, RevocationCheck, SystemClock};
use sekisho_http::{HttpClient, address};
use sekisho_jwt::jwks::{IntoKeySource, KeySource, SourceContext};
use sekisho_jwt::{Backend, CacheLimits, Dpop, Profile, SenderConstraint, StatementVerifier};

use crate::answer::Form;
use crate::claims::Rules;
use crate::credentials::ClientCredentials;
use crate::introspection::Introspection;
use crate::phantom::PhantomStart;
use crate::reference::{ReferenceStart, ReferenceStore};
use crate::settings::{Settings, asking_setters};

/// Starts the configuration of whatever takes opaque tokens.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use sekisho_opaque::{ClientCredentials, Opaque};
/// let introspection = Opaque::introspect("https://id.example/introspect", ClientCredentials::basic("orders", "secret"))
///     .issuer("https://id.example")
///     .audience("orders")
///     .cache_for(Duration::from_secs(30))
///     .build()?;
/// # let _ = introspection;
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Opaque(());

impl Opaque {
    /// Asks an introspection endpoint ([RFC 7662](https://www.rfc-editor.org/rfc/rfc7662)) whose token it is. Uses the `aws-lc-rs` backend.
    ///
    /// `url`: `https`, or `http` to this machine.
    #[cfg(feature = "aws-lc-rs")]
    pub fn introspect(url: impl Into<String>, credentials: ClientCredentials) -> IntrospectionStart {
        Self::with_backend(Backend::default()).introspect(url, credentials)
    }

    /// Asks an introspection endpoint for the JWT that a token stands for. Uses the `aws-lc-rs` backend.
    ///
    /// `url`: `https`, or `http` to this machine.
    #[cfg(feature = "aws-lc-rs")]
    pub fn phantom(url: impl Into<String>, credentials: ClientCredentials) -> PhantomStart {
        Self::with_backend(Backend::default()).phantom(url, credentials)
    }

    /// Looks reference tokens up in a store. Uses the `aws-lc-rs` backend.
    #[cfg(feature = "aws-lc-rs")]
    pub fn reference(store: Arc<dyn ReferenceStore>) -> ReferenceStart {
        Self::with_backend(Backend::default()).reference(store)
    }

    /// Chooses the crypto backend.
    pub const fn with_backend(backend: Backend) -> OpaqueStart {
        OpaqueStart { backend }
    }
}

/// Waits for what kind of opaque token it is to be.
#[derive(Debug)]
#[must_use]
pub struct OpaqueStart {
    backend: Backend,
}

impl OpaqueStart {
    /// Asks an introspection endpoint whose token it is.
    pub fn introspect(self, url: impl Into<String>, credentials: ClientCredentials) -> IntrospectionStart {
        IntrospectionStart { backend: self.backend, url: url.into(), credentials }
    }

    /// Asks an introspection endpoint for the JWT that a token stands for.
    pub fn phantom(self, url: impl Into<String>, credentials: ClientCredentials) -> PhantomStart {
        PhantomStart::new(self.backend, url.into(), credentials)
    }

    /// Looks reference tokens up in a store.
    pub fn reference(self, store: Arc<dyn ReferenceStore>) -> ReferenceStart {
        ReferenceStart::new(self.backend, store)
    }
}

/// Waits for the issuer's name.
#[must_use]
pub struct IntrospectionStart {
    backend: Backend,
    url: String,
    credentials: ClientCredentials,
}

impl IntrospectionStart {
    /// Names the issuer whose endpoint this is; if the answer has an `iss`, it must be this, byte for byte.
    pub fn issuer(self, issuer: impl Into<String>) -> IntrospectionIssuer {
        IntrospectionIssuer { settings: Settings::new(self.backend, self.url, issuer.into(), self.credentials) }
    }
}

/// Waits for the audience; without one there is no introspection.
///
/// ```compile_fail,E0599
/// # use sekisho_opaque::{ClientCredentials, Opaque};
/// let credentials = ClientCredentials::basic("orders", "secret");
/// let introspection = Opaque::introspect("https://id.example/introspect", credentials).issuer("https://id.example").build(); // no audience
/// ```
///
/// ```compile_fail,E0599
/// # use sekisho_opaque::{ClientCredentials, Opaque};
/// let credentials = ClientCredentials::basic("orders", "secret");
/// let introspection = Opaque::introspect("https://id.example/introspect", credentials).audience("orders"); // no issuer
/// ```
#[must_use]
pub struct IntrospectionIssuer {
    settings: Settings,
}

impl IntrospectionIssuer {
    /// Names this service as it stands in `aud`, byte for byte; an answer without `aud` is refused.
    pub fn audience(self, audience: impl Into<String>) -> IntrospectionBuilder {
        self.with_audience(Some(audience.into()))
    }

    /// Takes tokens made for any audience: whoever gets one for another service can use it here.
    ///
    /// Only for providers that say no audience and answer for no other resource than this one.
    pub fn dangerous_without_audience_check(self) -> IntrospectionBuilder {
        self.with_audience(None)
    }

    fn with_audience(self, audience: Option<String>) -> IntrospectionBuilder {
        let rules = Rules::new(self.settings.backend, self.settings.issuer.clone(), audience);
        IntrospectionBuilder {
            settings: self.settings,
            rules,
            dpop: None,
            binds_certificates: false,
            signed_by: None,
            clock: None,
        }
    }
}

/// Makes the keys of signed answers once backend, clock and HTTP client are known.
type MakeKeys = Box<dyn FnOnce(&SourceContext) -> Result<Arc<dyn KeySource>, ConfigError> + Send>;

/// Configures an [`Introspection`]. Everything here has a safe default.
#[must_use]
pub struct IntrospectionBuilder {
    settings: Settings,
    rules: Rules,
    dpop: Option<Dpop>,
    binds_certificates: bool,
    signed_by: Option<MakeKeys>,
    clock: Option<Arc<dyn Clock>>,
}

/// What the answer must say.
impl IntrospectionBuilder {
    /// Takes tokens for this audience too. After `dangerous_without_audience_check`, the audience is checked again.
    pub fn with_audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// Sets by how much the issuer's clock may differ from ours, in whole seconds. Default 60 s, at most 300 s.
    pub const fn with_leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// Sets what else the issuer's answers look like: marks of use, place of roles. Default [`Profile::compatible`].
    pub fn with_profile(mut self, profile: impl Into<Profile>) -> Self {
        self.rules.profile = profile.into();
        self
    }

    /// Adds a place of roles, a JSON pointer such as `/realm_access/roles`. The first call replaces the profile's own place.
    pub fn with_roles_at(mut self, pointer: impl Into<Box<str>>) -> Self {
        self.rules.roles_at.push(pointer.into());
        self
    }

    /// Sets which claim names the tenant; tokens without it are refused. Default: the profile's.
    pub fn with_tenant_claim(mut self, claim: impl Into<Box<str>>) -> Self {
        self.rules.tenant_claim = Some(claim.into());
        self
    }

    /// Lets the client (`client_id`, else `azp`) stand in for an absent `sub`, for issuers whose machine tokens have none.
    ///
    /// Only where the issuer never gives a client the id of a user. An answer that speaks of a login (`sid`, `auth_time`,
    /// `username` and the like) is refused without `sub`.
    pub const fn with_client_as_subject(mut self) -> Self {
        self.rules.client_as_subject = true;
        self
    }

    /// Takes tokens that the provider says are bound to a key (`cnf` with `jkt`,
    /// [RFC 9449 §6.2](https://www.rfc-editor.org/rfc/rfc9449#section-6.2)), with a DPoP proof for each request, also when the answer
    /// is in memory. Default: they are refused.
    ///
    /// The checkpoint then needs [`with_public_url`](sekisho_http::CheckpointBuilder::with_public_url). Such a token sent as
    /// a bearer token is refused, and so is a token that is not bound when it is sent as bound.
    pub fn with_dpop(mut self, dpop: Dpop) -> Self {
        self.dpop = Some(dpop);
        self
    }

    /// Takes tokens that the provider says are bound to a client certificate (`cnf` with `x5t#S256`), over connections of that
    /// certificate ([RFC 8705 §3.2](https://www.rfc-editor.org/rfc/rfc8705#section-3.2)). Default: they are refused.
    ///
    /// The certificate comes from the application's TLS layer, as a [`ClientCertificate`](sekisho_http::ClientCertificate),
    /// or from a [header of a trusted proxy](sekisho_http::CheckpointBuilder::with_client_certificate_header).
    pub const fn with_certificate_binding(mut self) -> Self {
        self.binds_certificates = true;
        self
    }

    /// Asks for signed answers ([RFC 9701](https://www.rfc-editor.org/rfc/rfc9701)) and takes no others: of type
    /// `token-introspection+jwt`, from the issuer, for our client id, signed by one of `keys`.
    pub fn with_signed_answers(mut self, keys: impl IntoKeySource + Send + 'static) -> Self {
        self.signed_by = Some(Box::new(move |context: &SourceContext| keys.into_key_source(context)));
        self
    }

    /// Sets the clock of background refreshes of those keys. Default: the system's. Introspection is told the time.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }
}

/// How it is asked, and what is kept.
impl IntrospectionBuilder {
    asking_setters!();

    /// Builds it. It neither waits nor asks the network.
    ///
    /// # Errors
    /// [`ConfigError`] for: an address that may not be asked; a name, client id or secret that cannot be sent; a duration or bound out
    /// of its range; a roles place that is no JSON pointer; a rule for proofs that cannot work; signed answers without a client id; no HTTP client; what the key source finds wrong.
    pub fn build(self) -> Result<Introspection, ConfigError> {
        let Self { settings, mut rules, dpop, binds_certificates, signed_by, clock } = self;
        let constraint = SenderConstraint::new(settings.backend);
        let constraint = if binds_certificates { constraint.with_certificate_binding() } else { constraint };
        rules.constraint = match dpop {
            Some(dpop) => constraint.with_dpop(dpop)?,
            None => constraint,
        };
        let rules = rules.build()?;
        let form = match signed_by {
            None => Form::Json(rules),
            Some(make) => {
                let mut context =
                    SourceContext::new(settings.backend).with_clock(clock.unwrap_or_else(|| Arc::new(SystemClock)));
                context.http_client = settings.client.clone();
                let audience = settings.credentials.client_id().ok_or_else(|| {
                    ConfigError::new("signed answers are made out to a client id, and these credentials have none")
                })?;
                let verifier = StatementVerifier::new(&*settings.issuer, audience, make(&context)?)?
                    .with_type("token-introspection+jwt")
                    .with_leeway(rules.leeway);
                Form::Signed(rules, verifier)
            }
        };
        settings.build(form).map(Introspection::new)
    }
}

impl IntoAuthenticate for IntrospectionBuilder {
    fn into_authenticate(self) -> Result<Arc<dyn Authenticate>, ConfigError> {
        Ok(Arc::new(self.build()?))
    }
}

macro_rules! debug_by_settings {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("url", &address::shown(&self.settings.url))
                    .field("issuer", &self.settings.issuer)
                    .field("credentials", &self.settings.credentials)
                    .finish_non_exhaustive()
            }
        }
    )*};
}
debug_by_settings!(IntrospectionIssuer IntrospectionBuilder);

impl fmt::Debug for IntrospectionStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionStart")
            .field("url", &address::shown(&self.url))
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}
