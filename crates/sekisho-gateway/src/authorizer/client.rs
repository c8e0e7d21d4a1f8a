use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};

/// How long the discovery document, and then the key set, may take each.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long each may be.
pub(super) const FETCH_BYTES: usize = 150_000;

/// Counts requests to the issuer.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetches(Arc<AtomicU64>);

impl Fetches {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Holds each single request to the bounds, and counts it.
pub(super) struct BoundedClient {
    inner: Arc<dyn HttpClient>,
    fetches: Fetches,
}

impl BoundedClient {
    pub(super) fn new(inner: Arc<dyn HttpClient>, fetches: Fetches) -> Self {
        Self { inner, fetches }
    }
}

#[async_trait]
impl HttpClient for BoundedClient {
    async fn send(&self, request: HttpRequest, limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        self.fetches.0.fetch_add(1, Ordering::Relaxed);
        let limits = HttpLimits {
            connect_timeout: limits.connect_timeout.min(FETCH_TIMEOUT),
            total_timeout: limits.total_timeout.min(FETCH_TIMEOUT),
            max_body_bytes: limits.max_body_bytes.min(FETCH_BYTES),
        };
        // A client that does not keep to its limits must not be the reason that requests wait.
        let answer = tokio::time::timeout(FETCH_TIMEOUT, self.inner.send(request, limits)).await;
        answer.map_err(|_| HttpError::Timeout)?
    }
}

impl fmt::Debug for BoundedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoundedClient").field(&self.inner).finish()
    }
}
