use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, ConfigError, SystemClock, UnixSeconds};
use sekisho_session::{ReturnTo, SessionKeys, Sessions};

use crate::provider::Provider;
use crate::session::cycle::Rules;
use crate::session::flights::Flights;
use crate::session::pending::PendingLogins;
use crate::session::protocol::Protocol;
use crate::session::record::Held;

/// Logs people in at providers of OpenID Connect, keeps their tokens in the session, on the server, and ends both.
///
/// - [`login`](Self::login) and [`callback`](Self::callback) are two handlers; between them the login is in a sealed cookie of its
///   own, so several tabs can log in at once, each to where it wanted to go.
/// - [`access_token`](Self::access_token) hands out tokens that are good, to code that calls services.
/// - [`user_info`](Self::user_info) tells what else the provider says of whoever is logged in.
/// - [`logout`](Self::logout) ends the session here and at the provider; [`backchannel_logout`](Self::backchannel_logout) ends it
///   when the provider says so.
///
/// It knows no framework: handlers give it heads and get a [`Reply`](crate::Reply). [`Bff`](crate::Bff) puts it behind a few fixed
/// addresses. Services that share the store and keys of their [`Sessions`] share logins, tokens and logouts.
///
/// A clone costs a counter.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use sekisho_oidc::{ClientCredentials, Provider, RelyingParty};
/// use sekisho_session::{MemorySessionStore, SessionKey, SessionKeys, Sessions};
///
/// let provider = Provider::discover("https://id.example/realms/shop", ClientCredentials::basic("shop", "secret"))
///     .redirect_uri("https://shop.example/bff/callback")
///     .build()?;
/// let keys = SessionKeys::new(SessionKey::generate()?);
/// let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys.clone()).build()?;
/// let party = RelyingParty::builder(sessions, keys).with_provider("shop", provider).build()?;
/// # let _ = party;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RelyingParty(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    providers: Vec<(Box<str>, Arc<dyn Protocol>)>,
    pending: PendingLogins,
    home: ReturnTo,
    origin: Option<Box<str>>,
    post_logout: Option<Box<str>>,
    rules: Rules,
    refresh_timeout: Duration,
    flights: Arc<Flights>,
    clock: Arc<dyn Clock>,
}

impl RelyingParty {
    /// Starts from the sessions, and from the keys that seal pending logins; they may be the sessions' own. All services behind one
    /// address share them.
    pub fn builder(sessions: Sessions, keys: SessionKeys) -> RelyingPartyBuilder {
        RelyingPartyBuilder {
            sessions,
            keys,
            providers: Vec::new(),
            login_cookie: "__Host-login-".to_owned(),
            home: "/".to_owned(),
            origin: None,
            post_logout: None,
            ahead: Duration::from_secs(60),
            refresh_timeout: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
        }
    }

    /// Returns the sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// Finds a provider by its name.
    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<dyn Protocol>> {
        self.0.providers.iter().find(|(own, _)| **own == *name).map(|(_, provider)| provider)
    }

    /// Finds the provider that a session's tokens are of. By its issuer too: a name can have come to mean another one since, who must not
    /// be sent them.
    pub(crate) fn provider_of(&self, held: &Held, issuer: &str) -> Option<&Arc<dyn Protocol>> {
        self.provider(&held.provider).filter(|provider| provider.issuer() == issuer)
    }

    /// Finds a provider by its name, or the first one where none is named.
    pub(crate) fn chosen(&self, name: Option<&str>) -> Option<(&str, &Arc<dyn Protocol>)> {
        let mut providers = self.0.providers.iter().map(|(name, provider)| (&**name, provider));
        match name {
            Some(name) => providers.find(|(own, _)| *own == name),
            None => providers.next(),
        }
    }

    pub(crate) fn providers(&self) -> impl Iterator<Item = (&str, &Arc<dyn Protocol>)> {
        self.0.providers.iter().map(|(name, provider)| (&**name, provider))
    }

    pub(crate) fn pending(&self) -> &PendingLogins {
        &self.0.pending
    }

    pub(crate) fn home(&self) -> &ReturnTo {
        &self.0.home
    }

    pub(crate) fn origin(&self) -> Option<&str> {
        self.0.origin.as_deref()
    }

    pub(crate) fn post_logout(&self) -> Option<&str> {
        self.0.post_logout.as_deref()
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.0.rules
    }

    pub(crate) fn refresh_timeout(&self) -> Duration {
        self.0.refresh_timeout
    }

    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.0.flights
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.0.clock.now()
    }
}

impl fmt::Debug for RelyingParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { sessions, providers, flights, .. } = &*self.0;
        f.debug_struct("RelyingParty")
            .field("sessions", sessions)
            .field("providers", providers)
            .field("flights", flights)
            .finish_non_exhaustive()
    }
}

/// Builds a [`RelyingParty`].
#[derive(Debug)]
#[must_use]
pub struct RelyingPartyBuilder {
    sessions: Sessions,
    keys: SessionKeys,
    providers: Vec<(Box<str>, Arc<dyn Protocol>)>,
    login_cookie: String,
    home: String,
    origin: Option<String>,
    post_logout: Option<String>,
    ahead: Duration,
    refresh_timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl RelyingPartyBuilder {
    /// Adds a provider under a name of ours: 1 to 32 lower-case letters, digits and `-`. The first one is taken where a login names
    /// none. At least one is needed, 32 at the most. With several of them each has a redirect URI of its own, such as
    /// `…/bff/callback/NAME`, unless all of them send `iss` with their returns: see [`callback`](RelyingParty::callback).
    pub fn with_provider(self, name: impl Into<Box<str>>, provider: Provider) -> Self {
        self.with_protocol(name, Arc::new(provider))
    }

    pub(crate) fn with_protocol(mut self, name: impl Into<Box<str>>, provider: Arc<dyn Protocol>) -> Self {
        self.providers.push((name.into(), provider));
        self
    }

    /// Sets what the names of the cookies begin with that hold pending logins. Default `__Host-login-`; services that share a host
    /// name, such as `localhost`, and not their keys need names of their own. `__Host-` must stay: otherwise another host of the site could
    /// put a login of its own making into a browser.
    pub fn with_login_cookie(self, prefix: impl Into<String>) -> Self {
        Self { login_cookie: prefix.into(), ..self }
    }

    /// Sets the place of ours to go on to where a login or logout named none. Default `/`.
    pub fn with_home(self, place: impl Into<String>) -> Self {
        Self { home: place.into(), ..self }
    }

    /// Sets the origin under which browsers see this service, such as `https://shop.example`: for logins that others begin, which name
    /// the place to go on to as a whole URL. Default: such URLs are refused, paths are taken.
    pub fn with_origin(self, origin: impl Into<String>) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }

    /// Sets the URL to which the provider sends the browser after a logout; it must be registered there. Default: the browser stays
    /// at the provider.
    pub fn with_post_logout_url(self, url: impl Into<String>) -> Self {
        Self { post_logout: Some(url.into()), ..self }
    }

    /// Sets how long before its end an access token is refreshed. Default 60 s; a tenth of its life, if that is less.
    pub fn with_refresh_ahead(self, ahead: Duration) -> Self {
        Self { ahead, ..self }
    }

    /// Sets how long a provider may take to refresh a token. Default 10 s, at least 1 s and at most 60 s. A mark counts for twice as long
    /// and 10 s more.
    pub fn with_refresh_timeout(self, timeout: Duration) -> Self {
        Self { refresh_timeout: timeout, ..self }
    }

    /// Sets the clock. Default: the system's.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Builds it.
    ///
    /// # Errors
    /// Sessions without a store: what is in cookies alone can be neither refreshed beside requests nor ended by the provider. No provider,
    /// more than 32, a name that is none or stands twice, an issuer that stands twice; what cannot be a `__Host-` cookie's name; a home that is no place of ours; an origin or URL that is neither `https` nor on the loopback; a time out of bounds.
    pub fn build(self) -> Result<RelyingParty, ConfigError> {
        let Self { sessions, keys, providers, login_cookie, home, origin, post_logout, ahead, refresh_timeout, clock } =
            self;
        let refuse = |why: String| Err(ConfigError::new(why));
        if sessions.is_client_side() {
            return refuse("logins at a provider need sessions that are in a store".to_owned());
        }
        if providers.is_empty() || providers.len() > MOST_PROVIDERS {
            return refuse("a relying party needs a provider, and takes 32 at the most".to_owned());
        }
        for (place, (name, provider)) in providers.iter().enumerate() {
            let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if !(1..=32).contains(&name.len()) || !name.bytes().all(letter) {
                return refuse(format!("{name:?} names no provider: 1 to 32 lower-case letters, digits and `-`"));
            }
            let before = providers.iter().take(place);
            if before.into_iter().any(|(other, earlier)| other == name || earlier.issuer() == provider.issuer()) {
                return refuse(format!("the provider {name:?}, or its issuer, stands twice"));
            }
        }
        let pending = PendingLogins::new(keys, &login_cookie)?;
        let Some(home) = ReturnTo::parse(&home) else {
            return refuse(format!("{home:?} is no place of this service"));
        };
        if let Some(origin) = &origin
            && !url::Url::parse(origin).is_ok_and(|url| is_sound(&url) && url.origin().ascii_serialization() == *origin)
        {
            return refuse(format!("{origin:?} is no origin such as `https://shop.example`"));
        }
        if let Some(url) = &post_logout
            && !url::Url::parse(url).is_ok_and(|url| is_sound(&url) && url.fragment().is_none())
        {
            return refuse(format!(
                "{url:?} is no URL to return to: `https`, or `http` on the loopback, without fragment"
            ));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&refresh_timeout) {
            return refuse("a refresh may take 1 s to 60 s".to_owned());
        }
        let lease = refresh_timeout * 2 + Duration::from_secs(10);
        let inner = Inner {
            sessions,
            providers,
            pending,
            home,
            origin: origin.map(Into::into),
            post_logout: post_logout.map(Into::into),
            rules: Rules { ahead, lease, cool_off: Duration::from_secs(10) },
            refresh_timeout,
            flights: Arc::default(),
            clock,
        };
        Ok(RelyingParty(Arc::new(inner)))
    }
}

fn is_sound(url: &url::Url) -> bool {
    let is_loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let has_user = !url.username().is_empty() || url.password().is_some();
    url.has_host() && !has_user && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback))
}

const MOST_PROVIDERS: usize = 32;
