use std::fmt;
use std::sync::Arc;

use sekisho_core::ConfigError;
use sekisho_http::address;

use super::context::{IntoKeySource, SourceContext};
use super::http_load::SetLoad;
use super::managed::managed;
use super::options::{HttpOptions, http_setters};
use crate::KeySource;

/// Loads a published key set from a fixed URL, and keeps it fresh.
///
/// Building it neither waits nor fails on the network: a service starts while its provider is down. Inside a tokio runtime (with
/// time enabled) the first load begins at once, otherwise with the first question.
///
/// - A token whose key is at hand never waits for the provider, whatever a refresh is doing.
/// - A token with an unknown `kid` waits for a load, shared by all who wait, if one is allowed; see
///   [`with_unknown_kid_interval`](Self::with_unknown_kid_interval). If one runs already, that may have read the set before the key
///   came into it: then the token waits for one more, two in all. Such a request waits for at most twice the
///   [total timeout](Self::with_total_timeout) and one second each, 12 s by default, and then gets 503. However many such tokens come, the requests to the provider stay at a flat rate.
/// - While the provider fails, the keys at hand go on within [`with_stale_bound`](Self::with_stale_bound), and an unknown `kid` is a
///   [`Failure`](sekisho_core::Failure), not a refusal. The background goes on asking; see [`with_retry_pauses`](Self::with_retry_pauses).
/// - Another key under a `kid` that is at hand brings no load, as nothing is missing: until the next refresh its tokens are refused, and those of
///   the key before are taken. Providers give a new key a new `kid` ([RFC 7517 §4.5](https://www.rfc-editor.org/rfc/rfc7517#section-4.5)).
/// - Without a tokio runtime there is no background: keys are then loaded only when none is at hand, when those at hand are older than
///   freshness and stale bound together, and for an unknown `kid`.
/// - A key that the provider has removed dies with the next refresh, in caches of verified tokens too. A set without any usable key counts as
///   a failure of the provider, not as the removal of all keys; but keys whose private half stands in it die,
///   and are not taken again when the private half is gone from it, before the source is built anew; the last 100 such keys are remembered.
/// - A member `issuer` of a key is not looked at, as the URL does not say whose keys are meant. For a set that several issuers share, as
///   tenants of Microsoft Entra do, take [`Discovery`](crate::Discovery).
/// - Only `https`, save to 127.0.0.0/8, ::1 and `localhost`; no redirects; at most [`KeySet::MAX_BYTES`](crate::KeySet::MAX_BYTES) and
///   [`KeySet::MAX_KEYS`](crate::KeySet::MAX_KEYS). Nothing of a token goes into a request.
///
/// # Examples
/// ```
/// # #[cfg(all(feature = "aws-lc-rs", feature = "reqwest"))] {
/// use std::time::Duration;
/// use sekisho_jwks::{Backend, IntoKeySource, RemoteKeys, SourceContext};
///
/// let keys = RemoteKeys::new("https://id.example/keys")
///     .with_stale_bound(Duration::from_secs(600)) // optional, default 1 h
///     .into_key_source(&SourceContext::new(Backend::default()))?;
/// # }
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RemoteKeys {
    url: String,
    options: HttpOptions,
}

impl RemoteKeys {
    /// Names the URL of the set: `https`, or `http` to this machine.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), options: HttpOptions::default() }
    }

    http_setters!();
}

impl IntoKeySource for RemoteKeys {
    /// # Errors
    /// [`ConfigError`]: the URL or a setting cannot be used, or there is no HTTP client.
    fn into_key_source(self, context: &SourceContext) -> Result<Arc<dyn KeySource>, ConfigError> {
        address::check(&self.url)
            .map_err(|error| ConfigError::new("the URL of the key set cannot be used").with_source(error))?;
        let (http, policy) = self.options.into_http(context)?;
        let loader = Arc::new(SetLoad { http, url: self.url });
        Ok(managed(policy, loader, Arc::clone(&context.clock)))
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, options } = self;
        f.debug_struct("RemoteKeys").field("url", &address::shown(url)).field("options", options).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_query() {
        let keys = RemoteKeys::new("https://user:hush@id.example/keys?code=hush#hush");
        let debug = format!("{keys:?}");
        assert!(debug.contains("https://id.example/keys") && !debug.contains("hush"), "{debug}");
    }
}
