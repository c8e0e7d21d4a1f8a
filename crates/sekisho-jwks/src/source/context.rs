use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{Clock, ConfigError, SystemClock, UnixSeconds};
use sekisho_http::HttpClient;

use crate::{Backend, KeyHealth, KeyLookup, KeyQuery, KeySource};

/// Is what the builder of a verifier makes, and hands to its key sources when it builds them.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "a new part must be thought of wherever one is made")]
pub struct SourceContext {
    /// Parses and checks the keys.
    pub backend: Backend,
    /// Tells background refreshes the time.
    ///
    /// It must be the same kind of clock as the one that gives `now` to [`KeySource::find`], both the system's or both a test's.
    /// Nothing ties the two together: if they differ, refreshes come early or late, and keys are trusted for too long or not at all.
    pub clock: Arc<dyn Clock>,
    /// Sends the requests; `None` for the default client.
    pub http_client: Option<Arc<dyn HttpClient>>,
}

impl SourceContext {
    /// Takes a backend, with the clock of the operating system and the default HTTP client.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        Self { backend, clock: Arc::new(SystemClock), http_client: None }
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the HTTP client.
    #[must_use]
    pub fn with_http_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.http_client = Some(client);
        self
    }
}

impl fmt::Debug for SourceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, clock, http_client } = self;
        f.debug_struct("SourceContext")
            .field("backend", backend)
            .field("clock", clock)
            .field("http_client", http_client)
            .finish()
    }
}

/// Becomes a [`KeySource`] once backend, clock and HTTP client are known.
///
/// A finished source is its own, so `StaticKeys`, a user's own source and an `Arc<dyn KeySource>` fit where a builder does.
pub trait IntoKeySource {
    /// Checks the settings and builds the source. Never waits, and never fails on the network.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting cannot work.
    fn into_key_source(self, context: &SourceContext) -> Result<Arc<dyn KeySource>, ConfigError>;
}

impl<K: KeySource + 'static> IntoKeySource for K {
    fn into_key_source(self, _context: &SourceContext) -> Result<Arc<dyn KeySource>, ConfigError> {
        Ok(Arc::new(self))
    }
}

#[async_trait]
impl<K: KeySource + ?Sized> KeySource for Arc<K> {
    fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        (**self).find(query, now)
    }

    async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        (**self).fetch(query, now).await
    }

    async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        (**self).fetch_anew(query, now).await
    }

    fn health(&self, now: UnixSeconds) -> KeyHealth {
        (**self).health(now)
    }
}
