use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{ConfigError, Failure, FailureKind, Occurrence, OneTimeUse, ReplayGuard, UnixSeconds};

use crate::Redis;
use crate::names::base64url;
use crate::reply;
use crate::script::Script;

/// Remembers one-time uses in Redis, for all processes that share it.
///
/// - One script looks and remembers, so of any number of processes one hears [`Occurrence::First`].
/// - Each holder has a sorted set of its own, of about 100 bytes for each use. A use is kept a minute beyond its end, so the clocks of the
///   services may differ by as much. How much time there is until then is counted by Redis' clock alone.
/// - A holder that has used up its share, a Redis that is full, and one that is away are failures: the request is refused with 503, and
///   nothing is thrown away for it. `maxmemory` of Redis bounds the memory in all.
/// - What Redis loses is forgotten: without `appendonly yes` by a restart, and by a failover whatever the new master had not got yet, which
///   is the last moment before it. Within the window of the proofs, a proof that was lost so could be used again.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use sekisho_redis::{Redis, RedisReplayGuard};
/// let guard = RedisReplayGuard::new(Redis::standalone("redis://127.0.0.1").build()?);
/// // sekisho_jwt::Dpop::new(…).with_replay_guard(Arc::new(guard))
/// # let _: Arc<dyn sekisho_core::ReplayGuard> = Arc::new(guard);
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
pub struct RedisReplayGuard {
    redis: Redis,
    script: Script,
    most_per_holder: u32,
}

impl RedisReplayGuard {
    /// Makes one that takes 50,000 uses of one holder at a time.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, script: Script::new(INSERT), most_per_holder: DEFAULT_PER_HOLDER }
    }

    /// Sets how many uses of one holder are remembered at a time.
    ///
    /// # Errors
    /// [`ConfigError`] for zero and for more than a million: they are forgotten in one step, for which Redis stands still.
    pub fn with_max_per_holder(mut self, uses: u32) -> Result<Self, ConfigError> {
        if !(1..=1_000_000).contains(&uses) {
            return Err(ConfigError::new("a replay guard takes 1 to 1,000,000 uses of one holder"));
        }
        self.most_per_holder = uses;
        Ok(self)
    }
}

#[async_trait]
impl ReplayGuard for RedisReplayGuard {
    fn is_immediate(&self) -> bool {
        false
    }

    fn insert_now(&self, _: &OneTimeUse, _: UnixSeconds) -> Option<Result<Occurrence, Failure>> {
        None
    }

    async fn insert(&self, once: &OneTimeUse, now: UnixSeconds) -> Result<Occurrence, Failure> {
        let left = once.until().since(now);
        if left.is_zero() {
            // It may have been forgotten: the clock was set back, or the caller is mistaken.
            return Err(Failure::unavailable("the memory of used proofs does not reach back to this one"));
        }
        let kept = left.min(LONGEST).saturating_add(SKEW);
        let call = self
            .script
            .on(self.redis.key("used", &base64url(once.holder())))
            .arg(*once.id())
            .number(kept.as_secs())
            .number(self.most_per_holder.into());
        match reply::integer(&self.redis.run(call).await?)? {
            1 => Ok(Occurrence::First),
            0 => Ok(Occurrence::Repeated),
            -1 => Err(Failure::unavailable("one key has used too many proofs").with_retry_after(RETRY_AFTER)),
            _ => Err(Failure::new(FailureKind::BadGateway, "redis answers what no script of ours does")),
        }
    }
}

impl fmt::Debug for RedisReplayGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redis, script: _, most_per_holder } = self;
        f.debug_struct("RedisReplayGuard").field("redis", redis).field("most_per_holder", most_per_holder).finish()
    }
}

/// As `MemoryReplayGuard` has.
const DEFAULT_PER_HOLDER: u32 = 50_000;
const SKEW: Duration = Duration::from_secs(60);
/// No proof is good for longer; it keeps numbers within what Redis can count.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// KEYS: the holder's set. ARGV: the use, for how many seconds, how many of a holder.
///
/// What needs memory comes first: after the first change a script is not stopped any more by a memory that is full.
const INSERT: &str = "\
local now = tonumber(redis.call('TIME')[1])
local seconds = tonumber(ARGV[2])
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ends and now < tonumber(ends) then return 0 end
if redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf') >= tonumber(ARGV[3]) then return -1 end
redis.call('ZADD', KEYS[1], now + seconds, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('TTL', KEYS[1]) < seconds then redis.call('EXPIRE', KEYS[1], seconds + 1) end
return 1";
