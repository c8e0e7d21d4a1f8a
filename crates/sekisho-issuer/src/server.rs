use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, ConfigError, SystemClock};
use sekisho_http::{ClientCertificateHeader, TrustedProxies};
use sekisho_jwks::Algorithm;

use crate::issuer::IssuerName;
use crate::pages::{Pages, PlainPages};
use crate::revocation::RevocationListener;
use crate::user::UserDirectory;
use crate::{Client, ClientStore, IssuerKeys, IssuerStore, LoginCheck};

/// Is an authentication service: it knows users by a [`LoginCheck`] and clients by a [`ClientStore`], and hands out tokens.
///
/// [`router`](Self::router) has all endpoints; [`issue`](Self::issue), [`inspect`](Self::inspect) and [`revoke`](Self::revoke) do the same
/// without HTTP. A clone is the same server.
///
/// # Examples
/// ```no_run
/// # use std::sync::Arc;
/// # use sekisho_issuer::{AuthorizationServer, Essentials, IssuerKeys, LoginCheck, MemoryStore, StaticClients};
/// # async fn example(clients: StaticClients, login: Arc<dyn LoginCheck>, keys: IssuerKeys) -> Result<(), Box<dyn std::error::Error>> {
/// let server = AuthorizationServer::builder("https://id.example", Essentials {
///     clients: Arc::new(clients),
///     login,
///     store: Arc::new(MemoryStore::new()),
///     keys: Arc::new(keys),
/// })
/// .build()?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// let service = server.router().into_make_service_with_connect_info::<std::net::SocketAddr>();
/// axum::serve(listener, service).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AuthorizationServer(Arc<Parts>);

/// Is what every server needs.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a further need must break every construction")]
pub struct Essentials {
    /// Who may ask.
    pub clients: Arc<dyn ClientStore>,
    /// Who may log in.
    pub login: Arc<dyn LoginCheck>,
    /// What is kept.
    pub store: Arc<dyn IssuerStore>,
    /// By what is signed.
    pub keys: Arc<IssuerKeys>,
}

/// Says how long things live. Units are whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lifetimes {
    /// Authorization codes. Default 60 s, at most 10 min.
    pub code: Duration,
    /// Access tokens, unless the client says otherwise. Default 5 min, at most 24 h.
    pub access_token: Duration,
    /// ID tokens. Default 5 min, at most 24 h.
    pub id_token: Duration,
    /// Refresh tokens that are not used. Default 14 days.
    pub refresh_idle: Duration,
    /// Refresh tokens from the login on, however often they are used. Default 30 days.
    pub refresh: Duration,
    /// Logins that are not used. Default 2 h.
    pub session_idle: Duration,
    /// Logins. Default 12 h.
    pub session: Duration,
    /// Device codes. Default 10 min, at most 30 min.
    pub device_code: Duration,
    /// Between two questions of a device. Default 5 s.
    pub device_interval: Duration,
    /// The forms of the login pages. Default 30 min.
    pub form: Duration,
    /// The marks of devices, from the last login on. Default 90 days, at most 400 days.
    pub device: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            code: MINUTE,
            access_token: 5 * MINUTE,
            id_token: 5 * MINUTE,
            refresh_idle: 14 * 24 * 60 * MINUTE,
            refresh: 30 * 24 * 60 * MINUTE,
            session_idle: 2 * 60 * MINUTE,
            session: 12 * 60 * MINUTE,
            device_code: 10 * MINUTE,
            device_interval: Duration::from_secs(5),
            form: 30 * MINUTE,
            device: 90 * 24 * 60 * MINUTE,
        }
    }
}

impl Lifetimes {
    fn check(&self) -> Result<(), ConfigError> {
        let Self {
            code,
            access_token,
            id_token,
            refresh_idle,
            refresh,
            session_idle,
            session,
            device_code,
            device_interval,
            form,
            device,
        } = *self;
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let years = minutes(60 * 24 * 366);
        for (what, life, longest) in [
            ("codes", code, minutes(10)),
            ("access tokens", access_token, minutes(60 * 24)),
            ("ID tokens", id_token, minutes(60 * 24)),
            ("refresh tokens that are not used", refresh_idle, years),
            ("refresh tokens", refresh, years),
            ("logins that are not used", session_idle, years),
            ("logins", session, years),
            ("device codes", device_code, minutes(30)),
            ("intervals of devices", device_interval, minutes(1)),
            ("forms", form, minutes(60 * 24)),
            ("marks of devices", device, minutes(60 * 24 * 400)),
        ] {
            if life < Duration::from_secs(1) || life > longest {
                return Err(ConfigError::new(format!("{what} last from 1 s to {} s", longest.as_secs())));
            }
        }
        Ok(())
    }
}

/// Bounds how many device requests are begun. Who asks for more is told so, HTTP 429 with `Retry-After`.
///
/// A public client is whoever says so: one who asks from many addresses can use up a client's share, and its other devices wait.
/// Without a share he would fill the store, and every further request makes a user code easier to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceLimits {
    /// By one address; an IPv6 network of 64 bits is one. Default 30. Without connect info no address is known, and only clients
    /// are bounded.
    pub per_address: u32,
    /// By one client. Default 1,000.
    pub per_client: u32,
    /// Within so long from the first on. Default 10 min, at most 24 h.
    pub within: Duration,
}

impl Default for DeviceLimits {
    fn default() -> Self {
        Self { per_address: 30, per_client: 1_000, within: Duration::from_secs(600) }
    }
}

impl DeviceLimits {
    fn check(&self) -> Result<(), ConfigError> {
        let Self { per_address, per_client, within } = *self;
        let times = Duration::from_secs(1)..=Duration::from_secs(86_400);
        if per_address == 0 || per_client == 0 || !times.contains(&within) {
            return Err(ConfigError::new("devices need room for one request, within 1 s to 86400 s"));
        }
        Ok(())
    }
}

pub(crate) struct Parts {
    pub(crate) issuer: IssuerName,
    pub(crate) clients: Arc<dyn ClientStore>,
    pub(crate) login: Arc<dyn LoginCheck>,
    pub(crate) store: Arc<dyn IssuerStore>,
    pub(crate) keys: Arc<IssuerKeys>,
    pub(crate) users: Option<Arc<dyn UserDirectory>>,
    pub(crate) pages: Arc<dyn Pages>,
    pub(crate) listener: Option<Arc<dyn RevocationListener>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) device_limits: DeviceLimits,
    pub(crate) proxies: TrustedProxies,
    pub(crate) certificate_header: ClientCertificateHeader,
    pub(crate) introspection_age: Option<Duration>,
    #[cfg(feature = "credentials")]
    pub(crate) accounts: Option<crate::CredentialLogin>,
}

impl AuthorizationServer {
    /// Begins a server that is called `issuer`: an https URL without final slash; `http` on this machine only.
    pub fn builder(issuer: impl Into<String>, essentials: Essentials) -> AuthorizationServerBuilder {
        AuthorizationServerBuilder {
            issuer: issuer.into(),
            essentials,
            users: None,
            pages: None,
            listener: None,
            clock: None,
            lifetimes: Lifetimes::default(),
            device_limits: DeviceLimits::default(),
            proxies: TrustedProxies::none(),
            certificate_header: None,
            introspection_age: None,
            #[cfg(feature = "credentials")]
            accounts: None,
        }
    }

    /// Returns the issuer's name, the `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.0.issuer.as_str()
    }

    /// Returns the keys, to be [maintained](IssuerKeys::maintain).
    #[must_use]
    pub fn keys(&self) -> &Arc<IssuerKeys> {
        &self.0.keys
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// Returns the algorithm of a client's tokens.
    pub(crate) fn algorithm(&self, client: &Client) -> Algorithm {
        let default = || self.0.keys.algorithms().first().copied().unwrap_or(Algorithm::Es256);
        client.algorithm.unwrap_or_else(default)
    }
}

impl fmt::Debug for AuthorizationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorizationServer({})", self.issuer())
    }
}

/// Configures an [`AuthorizationServer`]. Everything here has a safe default.
#[derive(Debug)]
#[must_use]
pub struct AuthorizationServerBuilder {
    issuer: String,
    essentials: Essentials,
    users: Option<Arc<dyn UserDirectory>>,
    pages: Option<Arc<dyn Pages>>,
    listener: Option<Arc<dyn RevocationListener>>,
    clock: Option<Arc<dyn Clock>>,
    lifetimes: Lifetimes,
    device_limits: DeviceLimits,
    proxies: TrustedProxies,
    certificate_header: Option<ClientCertificateHeader>,
    introspection_age: Option<Duration>,
    #[cfg(feature = "credentials")]
    accounts: Option<crate::CredentialLogin>,
}

impl AuthorizationServerBuilder {
    /// Sets who knows what is to be said about users. Default: nobody; then tokens have no claims about them but `sub`, and whoever
    /// logged in counts as a user until the login ends.
    pub fn with_users(mut self, users: Arc<dyn UserDirectory>) -> Self {
        self.users = Some(users);
        self
    }

    /// Sets what the pages look like. Default: [`PlainPages`].
    pub fn with_pages(mut self, pages: Arc<dyn Pages>) -> Self {
        self.pages = Some(pages);
        self
    }

    /// Sets who is told about everything that is revoked. Default: nobody.
    pub fn with_revocation_listener(mut self, listener: Arc<dyn RevocationListener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Sets the clock. Default: the system's.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets how long things live.
    pub const fn with_lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.lifetimes = lifetimes;
        self
    }

    /// Sets how many device requests are begun at most.
    pub const fn with_device_limits(mut self, limits: DeviceLimits) -> Self {
        self.device_limits = limits;
        self
    }

    /// Trusts what these proxies say in `Client-Cert` and `X-Forwarded-For`. Default: nobody.
    ///
    /// Each of them must remove `Client-Cert` from what comes from outside, and append to `X-Forwarded-For`. The router must be
    /// [served with connect info](axum::Router::into_make_service_with_connect_info), or no peer is known and none is trusted.
    pub fn with_trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Takes client certificates from this header instead of `Client-Cert`, for proxies that do not write
    /// [RFC 9440](https://www.rfc-editor.org/rfc/rfc9440), such as nginx.
    pub fn with_client_certificate_header(mut self, header: ClientCertificateHeader) -> Self {
        self.certificate_header = Some(header);
        self
    }

    /// Serves pages on which users change their own account: `/account`, and below it password, authenticator app and recovery codes.
    /// Default: none.
    ///
    /// Each change asks for the password again, and for a code too of whoever has an app; removing a passkey asks for neither. A changed
    /// password, an added app and a removed passkey end all logins and what clients may do for the user. `login` is the server's [`LoginCheck`] too, or knows the same accounts.
    #[cfg(feature = "credentials")]
    pub fn with_account_pages(mut self, login: crate::CredentialLogin) -> Self {
        self.accounts = Some(login);
        self
    }

    /// Lets those who introspect keep an answer for so long, at most until the token ends. Default: not at all (`no-store`).
    ///
    /// A revoked token is good for so long where the answer is kept.
    pub const fn with_introspection_max_age(mut self, age: Duration) -> Self {
        self.introspection_age = Some(age);
        self
    }

    /// Checks the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] for an issuer, a lifetime, a limit or the name of a service that cannot be used.
    pub fn build(self) -> Result<AuthorizationServer, ConfigError> {
        let Self {
            issuer,
            essentials,
            users,
            pages,
            listener,
            clock,
            lifetimes,
            device_limits,
            proxies,
            certificate_header,
            introspection_age,
            #[cfg(feature = "credentials")]
            accounts,
        } = self;
        let certificate_header =
            certificate_header.unwrap_or_else(|| ClientCertificateHeader::rfc9440(proxies.clone()));
        let Essentials { clients, login, store, keys } = essentials;
        lifetimes.check()?;
        device_limits.check()?;
        #[cfg(feature = "credentials")]
        if let Some(name) = accounts.as_ref().and_then(crate::CredentialLogin::service)
            && (name.is_empty() || name.len() > 64 || name.chars().any(char::is_control))
        {
            return Err(ConfigError::new("the name of a service has 1 to 64 bytes without control characters"));
        }
        Ok(AuthorizationServer(Arc::new(Parts {
            issuer: IssuerName::parse(&issuer)?,
            clients,
            login,
            store,
            keys,
            users,
            pages: pages.unwrap_or_else(|| Arc::new(PlainPages::new())),
            listener,
            clock: clock.unwrap_or_else(|| Arc::new(SystemClock)),
            lifetimes,
            device_limits,
            proxies,
            certificate_header,
            introspection_age,
            #[cfg(feature = "credentials")]
            accounts,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_limits_that_leave_no_device_room() {
        let good = DeviceLimits::default();
        assert!(good.check().is_ok());
        for bad in [
            DeviceLimits { per_address: 0, ..good },
            DeviceLimits { per_client: 0, ..good },
            DeviceLimits { within: Duration::ZERO, ..good },
            DeviceLimits { within: Duration::from_secs(86_401), ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
