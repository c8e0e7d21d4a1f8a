use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, ConfigError, SystemClock};
use sekisho_http::{HttpClient, HttpLimits, address};
use sekisho_jwt::{Backend, DpopSigner};
use sekisho_opaque::ClientCredentials;

use super::ServiceTokens;
use super::cache::TokenCache;
use super::source::{Flights, MOST_WAITING, Source};
use crate::endpoint::TokenEndpoint;

impl ServiceTokens {
    /// Starts from the provider's token endpoint, its issuer, which client assertions are made for, and who we are to it.
    #[cfg(feature = "aws-lc-rs")]
    pub fn at(
        token_endpoint: impl Into<String>,
        issuer: impl Into<Arc<str>>,
        credentials: ClientCredentials,
    ) -> ServiceTokensBuilder {
        Self::with_backend(Backend::aws_lc()).at(token_endpoint, issuer, credentials)
    }

    /// Starts with a crypto backend of one's choice.
    pub const fn with_backend(backend: Backend) -> ServiceTokensStart {
        ServiceTokensStart { backend }
    }
}

/// Waits for the provider.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ServiceTokensStart {
    backend: Backend,
}

impl ServiceTokensStart {
    /// Names the provider's token endpoint, its issuer, and who we are to it.
    pub fn at(
        self,
        token_endpoint: impl Into<String>,
        issuer: impl Into<Arc<str>>,
        credentials: ClientCredentials,
    ) -> ServiceTokensBuilder {
        ServiceTokensBuilder {
            backend: self.backend,
            url: token_endpoint.into(),
            issuer: issuer.into(),
            credentials,
            dpop: None,
            takes_bearer: false,
            http: None,
            timeout: Duration::from_secs(5),
            most_calls: 64,
            entries: 10_000,
            bytes: 64 << 20,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Configures [`ServiceTokens`]. Everything here has a safe default.
#[must_use]
pub struct ServiceTokensBuilder {
    backend: Backend,
    url: String,
    issuer: Arc<str>,
    credentials: ClientCredentials,
    dpop: Option<DpopSigner>,
    takes_bearer: bool,
    http: Option<Arc<dyn HttpClient>>,
    timeout: Duration,
    most_calls: usize,
    entries: usize,
    bytes: u64,
    clock: Arc<dyn Clock>,
}

impl ServiceTokensBuilder {
    /// Has tokens bound to this key ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)), so that who steals one cannot use it. An
    /// answer with a bearer token is then refused. Default: bearer tokens.
    pub fn with_dpop(mut self, signer: DpopSigner) -> Self {
        self.dpop = Some(signer);
        self
    }

    /// Takes a bearer token too where a bound one was asked for: whoever takes our proofs away on their way to the provider gets tokens
    /// that anybody can use. For providers that bind tokens of some grants only. No effect without a key.
    pub const fn dangerous_accept_bearer(mut self) -> Self {
        self.takes_bearer = true;
        self
    }

    /// Sets the client that asks. Default: `reqwest` with rustls, if the feature `reqwest` is on.
    pub fn with_http_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.http = Some(client);
        self
    }

    /// Waits for an answer for so long, at most 60 s. Default 5 s, of which 1 s to connect.
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Lets so many questions run at once, 1 to 10,000; those beyond fail at once. Default 64.
    pub const fn with_concurrency(mut self, most: usize) -> Self {
        self.most_calls = most;
        self
    }

    /// Bounds what is kept: tokens, at most 1,000,000, and bytes, at least 64 KiB. Default 10,000 and 64 MiB.
    pub const fn with_cache_limits(mut self, tokens: usize, bytes: u64) -> Self {
        (self.entries, self.bytes) = (tokens, bytes);
        self
    }

    /// Sets the clock of the layers that attach tokens to requests. Default: the system's. The methods are told the time.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Ends the configuration. It neither waits nor asks the network.
    ///
    /// # Errors
    /// [`ConfigError`] for: an address that may not be asked; an issuer that is none; a client id or secret that cannot be sent; a
    /// duration or bound out of its range; no HTTP client, or none with the certificate that is the proof.
    pub fn build(self) -> Result<ServiceTokens, ConfigError> {
        let Self {
            backend,
            url,
            issuer,
            credentials,
            dpop,
            takes_bearer,
            http,
            timeout,
            most_calls,
            entries,
            bytes,
            clock,
        } = self;
        address::check(&url).map_err(|e| {
            ConfigError::new(format!("the token endpoint `{}` cannot be asked", address::shown(&url))).with_source(e)
        })?;
        if issuer.is_empty() || issuer.len() > 2048 || issuer.chars().any(char::is_control) {
            return Err(ConfigError::new("the issuer must be 1 to 2,048 bytes without control characters"));
        }
        if timeout.is_zero() || timeout > Duration::from_secs(60) {
            return Err(ConfigError::new("the timeout must be above zero and at most 60 s"));
        }
        if !(1..=10_000).contains(&most_calls) {
            return Err(ConfigError::new("between 1 and 10,000 questions may run at once"));
        }
        let limits = HttpLimits { total_timeout: timeout, ..HttpLimits::default() };
        let http = match http {
            Some(http) => http,
            None if credentials.needs_client_certificate() => {
                return Err(ConfigError::new(
                    "`ClientCredentials::certificate` needs an HTTP client that has the certificate",
                ));
            }
            None => default_client(limits.connect_timeout)?,
        };
        let endpoint = TokenEndpoint::new(credentials, issuer, backend, http, dpop)?.with_limits(limits);
        let endpoint = if takes_bearer { endpoint.accepting_bearer() } else { endpoint };
        let cache = TokenCache::new(entries, bytes)?;
        let (url, flights) = (url.into(), Arc::new(Flights::new(MOST_WAITING)));
        Ok(ServiceTokens::new(Source { url, backend, endpoint, cache, flights, most_calls, clock }))
    }
}

impl fmt::Debug for ServiceTokensBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceTokensBuilder")
            .field("url", &address::shown(&self.url))
            .field("issuer", &self.issuer)
            .field("credentials", &self.credentials)
            .field("dpop", &self.dpop)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "reqwest")]
fn default_client(connect_timeout: Duration) -> Result<Arc<dyn HttpClient>, ConfigError> {
    Ok(Arc::new(sekisho_http::ReqwestClient::new(connect_timeout)?))
}

#[cfg(not(feature = "reqwest"))]
fn default_client(_connect_timeout: Duration) -> Result<Arc<dyn HttpClient>, ConfigError> {
    Err(ConfigError::new("no HTTP client for the token endpoint: give one, or switch on the feature `reqwest`"))
}
