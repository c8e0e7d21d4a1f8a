use std::fmt;

use async_trait::async_trait;
use redis::Value;
use sekisho_core::{Failure, FailureKind};
use sekisho_issuer::{KeyStore, SealedKeys};

use crate::Redis;
use crate::error::{Fault, FaultKind};
use crate::reply;
use crate::script::Script;

/// Keeps an issuer's sealed keys in Redis: one document under the prefix.
///
/// It is encrypted by the issuer's master key before it comes here. A Redis that loses it makes the issuer make new keys, and all its
/// tokens end: give it `appendonly yes` and replicas, or keep the keys in SQL.
pub struct RedisKeyStore {
    redis: Redis,
    load: Script,
    replace: Script,
}

impl RedisKeyStore {
    /// Makes a store; issuers that share a Redis need [prefixes](crate::RedisBuilder::with_prefix) of their own.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, load: Script::new(LOAD), replace: Script::new(REPLACE) }
    }

    fn key(&self) -> String {
        self.redis.key("keys", &self.redis.config().prefix)
    }
}

#[async_trait]
impl KeyStore for RedisKeyStore {
    async fn load(&self) -> Result<Option<SealedKeys>, Failure> {
        let content = || Failure::from(Fault::new(FaultKind::Content));
        let answer = match self.redis.run(self.load.on(self.key()).number(LONGEST as u64)).await? {
            Value::Nil => return Ok(None),
            answer => reply::array(answer)?,
        };
        let [revision, bytes] = <[Value; 2]>::try_from(answer).map_err(|_| content())?;
        let revision = reply::text(revision)?.parse().map_err(|_| content())?;
        Ok(Some(SealedKeys { revision, bytes: reply::bytes(bytes)? }))
    }

    async fn replace(&self, keys: &SealedKeys) -> Result<bool, Failure> {
        if keys.bytes.len() > LONGEST {
            return Err(Failure::new(FailureKind::Misconfigured, "the sealed keys are too long"));
        }
        let Some(before) = keys.revision.checked_sub(1) else { return Ok(false) };
        let call = self.replace.on(self.key()).number(before).number(keys.revision).arg(keys.bytes.as_slice());
        Ok(reply::integer(&self.redis.run(call).await?)? == 1)
    }
}

impl fmt::Debug for RedisKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisKeyStore").field("redis", &self.redis).finish_non_exhaustive()
    }
}

/// What [`SealedKeys`] allows.
const LONGEST: usize = 150_000;

/// KEYS: the document. ARGV: how long it may be.
const LOAD: &str = "\
if redis.call('EXISTS', KEYS[1]) == 0 then return nil end
local revision, length = redis.call('HSTRLEN', KEYS[1], 'revision'), redis.call('HSTRLEN', KEYS[1], 'bytes')
if revision > 20 or length > tonumber(ARGV[1]) then return redis.error_reply('TOOLARGE the keys') end
return redis.call('HMGET', KEYS[1], 'revision', 'bytes')";

/// KEYS: the document. ARGV: the revision before, the new one, the bytes. Revisions are compared as text: Lua counts in floating point.
const REPLACE: &str = "\
local revision = redis.call('HGET', KEYS[1], 'revision')
if not revision and redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE no keys') end
if (revision or '0') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'bytes', ARGV[3])
return 1";
