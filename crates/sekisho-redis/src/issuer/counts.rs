use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_issuer::{CountStore, HandleHash};

use super::{RedisIssuerStore, Script, kept, seconds};
use crate::names::base64url;
use crate::reply;

pub(super) struct Scripts {
    count: Script,
    counted: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { count: Script::new(COUNT), counted: Script::new(COUNTED) }
    }
}

#[async_trait]
impl CountStore for RedisIssuerStore {
    async fn count(&self, key: &HandleHash, until: UnixSeconds, now: UnixSeconds) -> Result<u32, Failure> {
        let inner = &*self.0;
        let call = inner.counts.count.on(inner.redis.key("count", &base64url(key.as_bytes()))).number(seconds(now));
        let answer = inner.redis.run(call.number(seconds(until)).number(kept(until, now))).await?;
        Ok(u32::try_from(reply::count(&answer)?).unwrap_or(u32::MAX))
    }

    async fn counted(&self, key: &HandleHash, now: UnixSeconds) -> Result<u32, Failure> {
        let inner = &*self.0;
        let call = inner.counts.counted.on(inner.redis.key("count", &base64url(key.as_bytes()))).number(seconds(now));
        Ok(u32::try_from(reply::count(&inner.redis.run(call).await?)?).unwrap_or(u32::MAX))
    }
}

/// KEYS: the count. ARGV: now, until when, for how many seconds.
const COUNT: &str = concat!(
    prelude!(),
    "\
if lives(KEYS[1], 'until') then return redis.call('HINCRBY', KEYS[1], 'count', 1) end
redis.call('HSET', KEYS[1], 'count', '1', 'until', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1"
);

/// KEYS: the count. ARGV: now.
const COUNTED: &str =
    concat!(prelude!(), "if lives(KEYS[1], 'until') then return number(KEYS[1], 'count') end return 0");
