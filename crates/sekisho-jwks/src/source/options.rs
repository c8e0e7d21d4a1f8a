//! What can be set of a source that loads over HTTP.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::ConfigError;
use sekisho_http::{HttpClient, HttpLimits};

use super::context::SourceContext;
use super::http_load::{Freshness, Http};
use super::policy::Policy;
use super::snapshot::Nameless;
use super::told::Skips;
use crate::KeySet;

/// Bounds the timeouts; longer is a mistake in the unit.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub(super) struct HttpOptions {
    pub(super) client: Option<Arc<dyn HttpClient>>,
    pub(super) freshness: Freshness,
    pub(super) policy: Policy,
    pub(super) connect_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            client: None,
            freshness: Freshness {
                default: Duration::from_secs(10 * 60),
                least: Duration::from_secs(60),
                most: Duration::from_secs(24 * 3600),
            },
            policy: Policy {
                refresh_ahead: Duration::from_secs(30),
                stale_bound: Duration::from_secs(3600),
                miss_interval: Duration::from_secs(30),
                miss_memory: Duration::from_secs(60),
                retry_first: Duration::from_secs(1),
                retry_longest: Duration::from_secs(5),
                budget: Duration::from_secs(5),
                nameless: Nameless::Skip,
            },
            connect_timeout: Duration::from_secs(1),
        }
    }
}

impl HttpOptions {
    /// Checks the settings and finds the client.
    pub(super) fn into_http(self, context: &SourceContext) -> Result<(Http, Policy), ConfigError> {
        let Self { client, freshness, policy, connect_timeout } = self;
        let total_timeout = policy.budget;
        let Freshness { default: _, least, most } = freshness;
        for (what, duration) in [
            ("the shortest time that keys are fresh", least),
            ("the interval of attempts for unknown keys", policy.miss_interval),
            ("the first pause after a failure", policy.retry_first),
        ] {
            // Time is counted in whole seconds: less would be no bound at all.
            if duration < Duration::from_secs(1) {
                return Err(ConfigError::new(format!("{what} is below one second")));
            }
        }
        if least > most {
            return Err(ConfigError::new("the shortest time that keys are fresh is longer than the longest"));
        }
        if policy.retry_first > policy.retry_longest {
            return Err(ConfigError::new("the first pause after a failure is longer than the longest"));
        }
        if connect_timeout.is_zero() || total_timeout.is_zero() {
            return Err(ConfigError::new("a timeout for the key server is zero"));
        }
        if connect_timeout.max(total_timeout) > LONGEST_TIMEOUT {
            return Err(ConfigError::new("a timeout for the key server is above one hour"));
        }
        let limits = HttpLimits { connect_timeout, total_timeout, max_body_bytes: KeySet::MAX_BYTES };
        let client = match client.or_else(|| context.http_client.clone()) {
            Some(client) => client,
            None => default_client(connect_timeout)?,
        };
        Ok((Http { client, limits, backend: context.backend, freshness, skips: Skips::default() }, policy))
    }
}

#[cfg(feature = "reqwest")]
fn default_client(connect_timeout: Duration) -> Result<Arc<dyn HttpClient>, ConfigError> {
    Ok(Arc::new(sekisho_http::ReqwestClient::new(connect_timeout)?))
}

#[cfg(not(feature = "reqwest"))]
fn default_client(_connect_timeout: Duration) -> Result<Arc<dyn HttpClient>, ConfigError> {
    Err(ConfigError::new("no HTTP client for the key server: give one, or switch on the feature `reqwest`"))
}

/// Writes the setters that the sources over HTTP have in common.
macro_rules! http_setters {
    () => {
        /// Sets the HTTP client. Default: that of the [`SourceContext`](crate::SourceContext), if the builder of the verifier was
        /// given one, or else a new one on `reqwest` with rustls; without the feature `reqwest` the source is refused.
        pub fn with_http_client(mut self, client: std::sync::Arc<dyn sekisho_http::HttpClient>) -> Self {
            self.options.client = Some(client);
            self
        }

        /// Sets how long keys are fresh when the provider does not say so by `Cache-Control`, default 10 min.
        ///
        /// Cut to the bounds of [`with_freshness_bounds`](Self::with_freshness_bounds).
        pub fn with_default_freshness(mut self, freshness: std::time::Duration) -> Self {
            self.options.freshness.default = freshness;
            self
        }

        /// Bounds what the provider may say about how long keys are fresh, default 1 min to 24 h; at least 1 s.
        ///
        /// The upper bound is also how long a key that the provider has removed can go on being trusted, unless
        /// an unknown key brings a refresh earlier.
        pub fn with_freshness_bounds(mut self, least: std::time::Duration, most: std::time::Duration) -> Self {
            self.options.freshness.least = least;
            self.options.freshness.most = most;
            self
        }

        /// Sets how long before they get stale keys are refreshed in the background, default 30 s.
        ///
        /// Up to 5 % of the time that they are fresh is added at random; never more than half of it in all.
        pub fn with_refresh_ahead(mut self, ahead: std::time::Duration) -> Self {
            self.options.policy.refresh_ahead = ahead;
            self
        }

        /// Sets how long stale keys are trusted while they cannot be refreshed, default 1 h.
        ///
        /// When the clock was set back by more than 60 s since the load, the time that has really passed counts.
        pub fn with_stale_bound(mut self, bound: std::time::Duration) -> Self {
            self.options.policy.stale_bound = bound;
            self
        }

        /// Sets how often a token with an unknown `kid` may make the source ask the provider, default once in 30 s; at least 1 s.
        ///
        /// The first load and background refreshes do not count. In between, such a token is refused without asking.
        ///
        /// So whoever sends tokens with invented `kid`s can delay the discovery of a key that the provider signs with the moment it
        /// publishes it, by this interval or until the next refresh. Providers that publish a key some time before are not affected.
        pub fn with_unknown_kid_interval(mut self, interval: std::time::Duration) -> Self {
            self.options.policy.miss_interval = interval;
            self
        }

        /// Sets how long a `kid` that the provider did not have is refused without asking again, default 60 s.
        ///
        /// Any refresh of the set ends it earlier.
        ///
        /// So whoever knows the `kid` of a key before it is published can send a token with it, and once the key is published and signs at
        /// once, its tokens are refused until the memory or the next refresh ends it. Ids that cannot be guessed, such as thumbprints,
        /// and keys that are published some time before they sign are not affected.
        pub fn with_unknown_kid_memory(mut self, memory: std::time::Duration) -> Self {
            self.options.policy.miss_memory = memory;
            self
        }

        /// Sets the pauses after attempts that failed, default 1 s, doubling up to 5 s; at least 1 s.
        ///
        /// They hold for a provider that cannot be reached, answers 502 to 504, or not in time. They are shorter than the interval for
        /// unknown `kid`s on purpose: while no key is at hand every request gets 503, and that has to end within seconds of the
        /// provider's return. A `Retry-After` in seconds with 503 makes a pause longer, up to that interval.
        ///
        /// After any other bad answer (another status, 429 too, a redirect, no key set, no usable key) the pause is at least the interval
        /// for unknown `kid`s.
        pub fn with_retry_pauses(mut self, first: std::time::Duration, longest: std::time::Duration) -> Self {
            self.options.policy.retry_first = first;
            self.options.policy.retry_longest = longest;
            self
        }

        /// Sets how long connecting may take, default 1 s; above zero and at most 1 h. A client that was given may know better.
        pub fn with_connect_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options.connect_timeout = timeout;
            self
        }

        /// Sets how long a whole load may take, discovery included, default 5 s; above zero and at most 1 h.
        pub fn with_total_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options.policy.budget = timeout;
            self
        }
    };
}

pub(super) use http_setters;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the setters' docs state.
    #[test]
    fn the_defaults_are_those_that_are_documented() {
        let HttpOptions { client, freshness, policy, connect_timeout } = HttpOptions::default();
        let (second, minute, hour) = (Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(3600));
        assert!(client.is_none());
        assert_eq!((freshness.default, freshness.least, freshness.most), (10 * minute, minute, 24 * hour));
        assert_eq!((policy.refresh_ahead, policy.stale_bound), (30 * second, hour));
        assert_eq!((policy.miss_interval, policy.miss_memory), (30 * second, 60 * second));
        assert_eq!((policy.retry_first, policy.retry_longest), (second, 5 * second));
        assert_eq!((connect_timeout, policy.budget), (second, 5 * second));
        assert_eq!((KeySet::MAX_BYTES, KeySet::MAX_KEYS), (150_000, 100));
    }

    #[cfg(not(feature = "reqwest"))]
    #[test]
    fn without_any_http_client_the_source_is_refused() {
        use crate::{Backend, IntoKeySource, RemoteKeys};

        #[cfg(feature = "aws-lc-rs")]
        let backend = Backend::aws_lc();
        #[cfg(not(feature = "aws-lc-rs"))]
        let backend = Backend::ring();
        let refused = RemoteKeys::new("https://id.example/keys").into_key_source(&SourceContext::new(backend));
        assert!(refused.is_err_and(|error| error.to_string().contains("no HTTP client")));
    }
}
