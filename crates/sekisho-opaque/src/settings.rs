//! What is set alike for every way to ask a provider.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{ConfigError, RevocationCheck};
use sekisho_http::{HttpClient, HttpLimits, address};
use sekisho_jwt::{Backend, CacheLimits};

use crate::answer::Form;
use crate::cache::{AnswerCache, Lifetimes, TokenHasher};
use crate::credentials::ClientCredentials;
use crate::engine::{Engine, Flights, MOST_WAITING};

pub(crate) struct Settings {
    pub(crate) backend: Backend,
    pub(crate) url: String,
    pub(crate) issuer: String,
    pub(crate) credentials: ClientCredentials,
    pub(crate) cache_for: Option<Duration>,
    pub(crate) cache_limits: CacheLimits,
    pub(crate) negative_for: Duration,
    pub(crate) stale_for: Duration,
    pub(crate) despite_headers: bool,
    pub(crate) most_calls: usize,
    pub(crate) timeout: Duration,
    pub(crate) longest_token: usize,
    pub(crate) also_jwts: bool,
    pub(crate) revocation: Option<Arc<dyn RevocationCheck>>,
    pub(crate) client: Option<Arc<dyn HttpClient>>,
}

impl Settings {
    pub(crate) fn new(backend: Backend, url: String, issuer: String, credentials: ClientCredentials) -> Self {
        Self {
            backend,
            url,
            issuer,
            credentials,
            cache_for: None,
            cache_limits: CacheLimits::default(),
            negative_for: Duration::from_secs(5),
            stale_for: Duration::ZERO,
            despite_headers: false,
            most_calls: 64,
            timeout: Duration::from_secs(5),
            longest_token: 8 * 1024,
            also_jwts: false,
            revocation: None,
            client: None,
        }
    }

    pub(crate) fn build(self, form: Form) -> Result<Engine, ConfigError> {
        let Self {
            backend,
            url,
            issuer,
            credentials,
            cache_for,
            cache_limits,
            negative_for,
            stale_for,
            despite_headers,
            most_calls,
            timeout,
            longest_token,
            also_jwts,
            revocation,
            client,
        } = self;
        address::check(&url).map_err(|e| {
            ConfigError::new(format!("the introspection endpoint `{}` cannot be asked", address::shown(&url)))
                .with_source(e)
        })?;
        crate::claims::check_name("issuer", &issuer)?;
        credentials.check()?;
        if cache_for.is_some_and(|time| !(Duration::from_secs(1)..=LONGEST_CACHE).contains(&time)) {
            return Err(ConfigError::new(
                "answers are cached for 1 s to 3,600 s; leave `cache_for` out for not at all",
            ));
        }
        if negative_for > LONGEST_NEGATIVE {
            return Err(ConfigError::new("refusals are cached for at most 60 s"));
        }
        if stale_for > LONGEST_CACHE || !stale_for.is_zero() && cache_for.is_none() {
            return Err(ConfigError::new("stale answers need `cache_for`, and may be used for at most 3,600 s"));
        }
        if !(1..=10_000).contains(&most_calls) {
            return Err(ConfigError::new("between 1 and 10,000 introspections may run at once"));
        }
        if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
            return Err(ConfigError::new("the timeout must be above zero and at most 60 s"));
        }
        if !(16..=65_536).contains(&longest_token) {
            return Err(ConfigError::new("the longest token must be between 16 and 65,536 bytes"));
        }
        let limits = HttpLimits { total_timeout: timeout, max_body_bytes: LONGEST_ANSWER, ..HttpLimits::default() };
        let client = match client {
            Some(client) => client,
            None if credentials.needs_client_certificate() => {
                return Err(ConfigError::new(
                    "`ClientCredentials::certificate` needs an HTTP client that has the certificate",
                ));
            }
            None => default_client(limits.connect_timeout)?,
        };
        let lifetimes = Lifetimes { positive: cache_for, negative: negative_for, stale: stale_for, despite_headers };
        Ok(Engine {
            hasher: TokenHasher::new(backend, &issuer)?,
            cache: AnswerCache::new(lifetimes, cache_limits)?,
            url,
            issuer,
            credentials,
            client,
            limits,
            backend,
            constraint: form.constraint(),
            form,
            flights: Arc::new(Flights::new(MOST_WAITING)),
            most_calls,
            longest_token,
            also_jwts,
            revocation,
        })
    }
}

#[cfg(feature = "reqwest")]
fn default_client(connect_timeout: Duration) -> Result<Arc<dyn HttpClient>, ConfigError> {
    Ok(Arc::new(sekisho_http::ReqwestClient::new(connect_timeout)?))
}

#[cfg(not(feature = "reqwest"))]
fn default_client(_connect_timeout: Duration) -> Result<Arc<dyn HttpClient>, ConfigError> {
    Err(ConfigError::new("no HTTP client for introspection: give one, or switch on the feature `reqwest`"))
}

/// Writes the setters that the builders have in common.
macro_rules! asking_setters {
    () => {
        /// Keeps good answers for so long at most, 1 s to 3,600 s; also never past the token's `exp`, nor longer than the
        /// answer's `Cache-Control` grants (`no-store` and `no-cache`: not at all). Default: each request asks.
        ///
        /// This is how late a revocation at the provider is noticed.
        pub fn cache_for(mut self, time: Duration) -> Self {
            self.settings.cache_for = Some(time);
            self
        }

        /// Sets the bounds of the cache of good answers. Default 10,000 tokens and 64 MiB.
        pub fn with_cache_limits(mut self, limits: CacheLimits) -> Self {
            self.settings.cache_limits = limits;
            self
        }

        /// Keeps refusals for so long at most, 10,000 of them, apart from good answers. Default 5 s, at most 60 s, zero for not
        /// at all.
        pub fn with_negative_cache(mut self, time: Duration) -> Self {
            self.settings.negative_for = time;
            self
        }

        /// Uses a good answer for so long past its life in the cache while the provider cannot be reached, does not answer in time or
        /// answers 5xx; never past the token's `exp`, nor if the answer said `must-revalidate`, nor because too many questions run
        /// or the provider says so (429). Default: not at all, which is 503.
        ///
        /// During an outage a revocation is noticed later by this much.
        pub fn with_stale_on_failure(mut self, time: Duration) -> Self {
            self.settings.stale_for = time;
            self
        }

        /// Caches for [`cache_for`](Self::cache_for) whatever the answer's headers say, also against a `no-store` that the provider
        /// writes under everything. Not past `exp` even so.
        pub fn dangerous_cache_despite_headers(mut self) -> Self {
            self.settings.despite_headers = true;
            self
        }

        /// Lets so many questions run at once, 1 to 10,000; requests beyond are answered 503 at once. Default 64.
        pub fn with_concurrency(mut self, most: usize) -> Self {
            self.settings.most_calls = most;
            self
        }

        /// Waits for an answer for so long, at most 60 s. Default 5 s, of which 1 s to connect.
        ///
        /// A tokio runtime must have its timer on (`enable_time`, `enable_all`, or `#[tokio::main]`): without, asking panics.
        /// Outside of tokio, the HTTP client alone keeps the time.
        pub fn with_timeout(mut self, timeout: Duration) -> Self {
            self.settings.timeout = timeout;
            self
        }

        /// Sets how long a token may be, 16 to 65,536 bytes. Default 8,192.
        pub fn with_max_token_bytes(mut self, bytes: usize) -> Self {
            self.settings.longest_token = bytes;
            self
        }

        /// Asks about JWTs too. Default: what looks like one is left to another authenticator.
        ///
        /// One whose payload says that it is bound (`cnf`) is refused also if the provider does not say so.
        pub fn also_jwts(mut self) -> Self {
            self.settings.also_jwts = true;
            self
        }

        /// Asks, after each answer, also one from memory, whether the principal was withdrawn.
        pub fn with_revocation(mut self, revocation: Arc<dyn RevocationCheck>) -> Self {
            self.settings.revocation = Some(revocation);
            self
        }

        /// Sets the client that asks. Default: `reqwest` with rustls, if the feature `reqwest` is on.
        pub fn with_http_client(mut self, client: Arc<dyn HttpClient>) -> Self {
            self.settings.client = Some(client);
            self
        }
    };
}
pub(crate) use asking_setters;

const LONGEST_CACHE: Duration = Duration::from_secs(3600);
const LONGEST_NEGATIVE: Duration = Duration::from_secs(60);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const LONGEST_ANSWER: usize = 64 * 1024;
