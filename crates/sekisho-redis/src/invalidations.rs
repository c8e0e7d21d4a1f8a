use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{ConfigError, Failure};
use sekisho_session::{Invalidation, InvalidationSubscription, Invalidations};

use crate::Redis;
use crate::channel::{Channel, Subscription};
use crate::error::{Fault, FaultKind};

/// Tells all services which sessions have changed, for those that remember some ([`TwoLevelSessionStore`](sekisho_session::TwoLevelSessionStore)): by a
/// channel of Redis. Clones are the same.
///
/// **Nothing is missed unnoticed.** Messages are numbered. A number that is missing, a subscriber that is too slow (10,000 messages
/// wait at most), a connection that breaks, and a failover or a slot that moves end the subscription with a [`Failure`]: whoever
/// listens forgets all it remembers, and remembers nothing before it has subscribed anew. Every 2 s
/// ([`with_heartbeat`](Self::with_heartbeat)) a subscription asks for the last number, so whatever happens to the wire is noticed within
/// the heartbeat and the command timeout, 3 s unless set otherwise.
///
/// The channel is a sharded one: in a cluster messages go by the master of one slot and its replicas, not to all servers.
#[derive(Clone)]
pub struct RedisInvalidations(Arc<Channel>);

impl RedisInvalidations {
    /// Makes a channel under the prefix.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self(Arc::new(Channel::new(redis, "session", DEFAULT_HEARTBEAT)))
    }

    /// Sets how often a subscription makes sure that it misses nothing. Default 2 s.
    ///
    /// # Errors
    /// [`ConfigError`] for less than a tenth of a second and more than a minute.
    pub fn with_heartbeat(self, heartbeat: Duration) -> Result<Self, ConfigError> {
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&heartbeat) {
            return Err(ConfigError::new("the heartbeat of a channel must be 0.1 s to 60 s"));
        }
        Ok(Self(Arc::new(Channel::new(self.0.redis.clone(), "session", heartbeat))))
    }
}

#[async_trait]
impl Invalidations for RedisInvalidations {
    async fn publish(&self, invalidation: Invalidation) -> Result<(), Failure> {
        self.0.publish(&invalidation.to_bytes()).await
    }

    /// On a connection of its own.
    async fn subscribe(&self) -> Result<Box<dyn InvalidationSubscription>, Failure> {
        Ok(Box::new(Listening(self.0.subscribe(LONGEST).await?)))
    }

    fn patience(&self) -> Duration {
        self.0.patience()
    }
}

impl fmt::Debug for RedisInvalidations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Channel { redis, heartbeat, .. } = &*self.0;
        f.debug_struct("RedisInvalidations").field("redis", redis).field("heartbeat", heartbeat).finish_non_exhaustive()
    }
}

struct Listening(Subscription);

#[async_trait]
impl InvalidationSubscription for Listening {
    async fn next(&mut self) -> Result<Vec<Invalidation>, Failure> {
        let read = |message: Vec<u8>| {
            Invalidation::from_bytes(&message).ok_or_else(|| Failure::from(Fault::new(FaultKind::Content)))
        };
        self.0.next().await?.into_iter().map(read).collect()
    }
}

const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(2);
/// Of a message, in bytes.
const LONGEST: usize = 41;
