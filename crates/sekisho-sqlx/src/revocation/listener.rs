use std::fmt;

use async_trait::async_trait;
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_issuer::{Revocation, RevocationListener};

/// Writes what an issuer revokes into the table that a [`TableFeed`](crate::TableFeed) reads.
///
/// What is withdrawn, and for how long, is said at [`Revocation::to_withdrawal`].
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use std::sync::Arc;
/// use sekisho_sqlx::{SqliteStore, TableListener};
///
/// let store = SqliteStore::in_memory().await?; // or a file, or PostgreSQL
/// let listener = Arc::new(TableListener::new("https://id.example", store));
/// // AuthorizationServer::builder("https://id.example", essentials).with_revocation_listener(listener)
/// # let _ = listener;
/// # Ok::<(), sekisho_core::Failure>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TableListener<S> {
    issuer: Box<str>,
    store: S,
}

impl<S> TableListener<S> {
    /// Makes a listener for one issuer.
    ///
    /// `issuer`: the server's own name, byte for byte as it stands in `iss`.
    #[must_use]
    pub fn new(issuer: impl Into<Box<str>>, store: S) -> Self {
        Self { issuer: issuer.into(), store }
    }
}

impl<S> fmt::Debug for TableListener<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableListener").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

macro_rules! implement {
    ($store:ident) => {
        #[async_trait]
        impl RevocationListener for TableListener<crate::$store> {
            async fn revoked(&self, revocation: &Revocation, now: UnixSeconds) -> Result<(), Failure> {
                let withdrawal = revocation.to_withdrawal(&self.issuer, now).map_err(|error| {
                    Failure::new(FailureKind::Misconfigured, "what was revoked cannot be withdrawn").with_source(error)
                })?;
                self.store.withdraw(&[withdrawal]).await
            }
        }
    };
}

#[cfg(feature = "sqlite")]
implement!(SqliteStore);
#[cfg(feature = "postgres")]
implement!(PostgresStore);
