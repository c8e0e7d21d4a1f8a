use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Reject;

/// Tells what kind of trouble on our side a [`Failure`] is; it answers "retry?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// Something we depend on does not answer: keys never loaded, store down. Worth a retry. HTTP 503.
    Unavailable,
    /// What we depend on answered, and refused us or sent nonsense. A retry does not help. HTTP 502.
    BadGateway,
    /// Our own set-up is wrong: a layer is missing, a handler asks for what nobody provides. HTTP 500.
    Misconfigured,
}

/// Says that our side broke, so nothing is known about the caller.
///
/// A failure never lets a request pass, and never becomes a 401: a caller with a good token must
/// not be told to log in because our key server is down. Cloning costs a counter.
#[derive(Clone)]
pub struct Failure {
    kind: FailureKind,
    context: &'static str,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Failure {
    /// Describes a failure in a few fixed words (`context`), lower case, no full stop.
    #[must_use]
    pub const fn new(kind: FailureKind, context: &'static str) -> Self {
        Self { kind, context, retry_after: None, source: None }
    }

    /// Shortens `Failure::new(FailureKind::Unavailable, context)`.
    #[must_use]
    pub const fn unavailable(context: &'static str) -> Self {
        Self::new(FailureKind::Unavailable, context)
    }

    /// Adds the error that caused it. It is shown in logs, so it must hold no secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Adds when a retry makes sense, sent as `Retry-After` in whole seconds, 1 at the least.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Returns when a retry makes sense, if that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.context)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("kind", &self.kind)
            .field("context", &self.context)
            .field("retry_after", &self.retry_after)
            .field("source", &self.source)
            .finish()
    }
}

/// Ends an authentication without a principal: the input was refused, or our side broke.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "a third outcome must break every caller's match")]
pub enum Refusal {
    /// The caller's credential is no good.
    #[error(transparent)]
    Reject(#[from] Reject),
    /// Nothing is known about the caller, because our side broke.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// Says that a value given at construction cannot work. Surfaces in `build()`, not on the first request.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConfigError {
    /// Describes what is wrong and what would be right, lower case, no secret in it.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Adds the error that caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
