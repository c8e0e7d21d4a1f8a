use std::fmt;
use std::sync::Arc;

use sekisho_core::{Secret, UnixSeconds};

/// Is an access token for another service. Secret; `Debug` shows none of it. A clone costs a counter.
#[derive(Clone)]
pub struct ServiceToken(Arc<Inner>);

struct Inner {
    token: Secret,
    is_dpop: bool,
    asked_at: UnixSeconds,
    expires_at: Option<UnixSeconds>,
    scope: Option<Box<str>>,
}

impl ServiceToken {
    pub(super) fn new(
        token: Secret,
        is_dpop: bool,
        asked_at: UnixSeconds,
        expires_at: Option<UnixSeconds>,
        scope: Option<Box<str>>,
    ) -> Self {
        Self(Arc::new(Inner { token, is_dpop, asked_at, expires_at, scope }))
    }

    /// Reads the token.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0.token
    }

    /// Writes the value of `Authorization`: `Bearer` or `DPoP`, and the token.
    #[must_use]
    pub fn authorization(&self) -> Secret {
        let scheme = if self.0.is_dpop { "DPoP" } else { "Bearer" };
        format!("{scheme} {}", self.0.token.expose_str().unwrap_or_default()).into()
    }

    /// Tells whether it is bound to our key, so that each request needs a [proof](super::ServiceTokens::proof) too.
    #[must_use]
    pub fn is_dpop(&self) -> bool {
        self.0.is_dpop
    }

    /// Returns when it ends: with the token that it was exchanged for at the latest. `None` when nobody said.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixSeconds> {
        self.0.expires_at
    }

    /// Returns the scopes that were granted, if the provider said which.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// Returns when it was asked for.
    pub(super) fn asked_at(&self) -> UnixSeconds {
        self.0.asked_at
    }

    pub(super) fn is_alive(&self, now: UnixSeconds) -> bool {
        self.0.expires_at.is_none_or(|end| now < end)
    }

    /// Tells whether both are the same answer of the provider.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn weight(&self) -> u64 {
        (self.0.token.len() + self.0.scope.as_deref().map_or(0, str::len)) as u64
    }
}

impl fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { token: _, is_dpop, asked_at: _, expires_at, scope } = &*self.0;
        f.debug_struct("ServiceToken")
            .field("is_dpop", is_dpop)
            .field("expires_at", expires_at)
            .field("scope", scope)
            .finish_non_exhaustive()
    }
}
