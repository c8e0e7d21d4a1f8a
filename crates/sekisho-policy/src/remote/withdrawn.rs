use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Clock, Failure, SubjectId};
use sekisho_revocation::{Cursor, FeedBatch, FeedConnection, RevocationFeed, Withdrawal, Withdrawn};

use super::{Purger, Remote};

impl Remote {
    /// Forgets what was decided about the bearers of what is withdrawn.
    pub fn purge_withdrawn(&self, withdrawal: &Withdrawal) {
        let issuer = withdrawal.issuer();
        match withdrawal.what() {
            Withdrawn::Token(id) => self.purge_token(issuer, id),
            Withdrawn::Session(id) => self.purge_session(issuer, id),
            Withdrawn::Grant(id) => self.purge_grant(issuer, id),
            Withdrawn::Subject { subject, not_before: _ } => {
                self.purge_subject(&SubjectId::new(issuer, &**subject));
            }
        }
    }

    /// Puts itself in front of a feed: what the feed tells the list that follows it is forgotten here on the way.
    ///
    /// # Examples
    /// ```
    /// # use sekisho_policy::remote::Remote;
    /// use sekisho_revocation::{Following, MemoryFeed, RevocationList};
    ///
    /// # async fn setup(opa: &Remote, feed: MemoryFeed) -> Result<Following, sekisho_core::ConfigError> {
    /// let list = RevocationList::new()?;
    /// let following = list.follow(opa.purged_by(feed)).start()?;
    /// # Ok(following) }
    /// ```
    #[must_use]
    pub fn purged_by(&self, feed: impl RevocationFeed + 'static) -> PurgingFeed {
        Purger::new().with_remote(self).purged_by(feed)
    }
}

impl Purger {
    /// Puts itself in front of a feed, as [`Remote::purged_by`] does.
    #[must_use]
    pub fn purged_by(&self, feed: impl RevocationFeed + 'static) -> PurgingFeed {
        PurgingFeed { feed: Arc::new(feed), purger: self.clone() }
    }
}

/// Is a feed that a [`Remote`] or a [`Purger`] listens to. Made by [`Remote::purged_by`] and [`Purger::purged_by`].
#[derive(Clone)]
pub struct PurgingFeed {
    feed: Arc<dyn RevocationFeed>,
    purger: Purger,
}

#[async_trait]
impl RevocationFeed for PurgingFeed {
    async fn connect(&self, cursor: Option<&Cursor>) -> Result<Box<dyn FeedConnection>, Failure> {
        let connection = self.feed.connect(cursor).await?;
        Ok(Box::new(PurgingConnection { connection, purger: self.purger.clone() }))
    }

    fn patience(&self) -> Duration {
        self.feed.patience()
    }

    fn origin(&self) -> &str {
        self.feed.origin()
    }
}

impl fmt::Debug for PurgingFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PurgingFeed").field(&self.feed).finish()
    }
}

struct PurgingConnection {
    connection: Box<dyn FeedConnection>,
    purger: Purger,
}

#[async_trait]
impl FeedConnection for PurgingConnection {
    async fn next(&mut self, clock: &dyn Clock) -> Result<FeedBatch, Failure> {
        let batch = self.connection.next(clock).await?;
        batch.withdrawals().iter().for_each(|withdrawal| self.purger.purge_withdrawn(withdrawal));
        Ok(batch)
    }
}
