use std::fmt;

use async_trait::async_trait;
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_issuer::{Revocation, RevocationListener};

use crate::RedisRevocationFeed;

/// Tells all services, by a feed in Redis, what the issuer revokes: tokens, logins, grants and users.
///
/// What is told of each is what [`WithdrawingListener`](sekisho_issuer::WithdrawingListener) tells.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use sekisho_redis::{Redis, RedisRevocationFeed, RedisWithdrawingListener};
/// let feed = RedisRevocationFeed::new(Redis::standalone("redis://127.0.0.1").build()?);
/// let listener = Arc::new(RedisWithdrawingListener::new("https://id.example", feed));
/// // AuthorizationServer::builder("https://id.example", essentials).with_revocation_listener(listener)
/// # let _: Arc<dyn sekisho_issuer::RevocationListener> = listener;
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisWithdrawingListener {
    issuer: Box<str>,
    feed: RedisRevocationFeed,
}

impl RedisWithdrawingListener {
    /// Makes one.
    ///
    /// `issuer`: the server's own name, byte for byte as it stands in `iss`.
    #[must_use]
    pub fn new(issuer: impl Into<Box<str>>, feed: RedisRevocationFeed) -> Self {
        Self { issuer: issuer.into(), feed }
    }
}

#[async_trait]
impl RevocationListener for RedisWithdrawingListener {
    async fn revoked(&self, revocation: &Revocation, now: UnixSeconds) -> Result<(), Failure> {
        let withdrawal = revocation.to_withdrawal(&self.issuer, now).map_err(|error| {
            Failure::new(FailureKind::Misconfigured, "what was revoked cannot be withdrawn").with_source(error)
        })?;
        self.feed.push(&withdrawal, now).await
    }
}

impl fmt::Debug for RedisWithdrawingListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, feed } = self;
        f.debug_struct("RedisWithdrawingListener").field("issuer", issuer).field("feed", feed).finish()
    }
}
