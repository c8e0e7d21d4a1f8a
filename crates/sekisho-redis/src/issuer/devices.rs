use std::time::Duration;

use async_trait::async_trait;
use redis::Value;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_issuer::{DevicePoll, DeviceRequest, DeviceStore, Grant, HandleHash};

use super::{KeptGrant, RedisIssuerStore, Script, bytes_of, content, kept, parts, record, seconds, too_many};
use crate::reply;

pub(super) struct Scripts {
    begin: Script,
    undecided: Script,
    allow: Script,
    deny: Script,
    poll: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            begin: Script::new(BEGIN),
            undecided: Script::new(UNDECIDED),
            allow: Script::new(ALLOW),
            deny: Script::new(DENY),
            poll: Script::new(POLL),
        }
    }
}

#[async_trait]
impl DeviceStore for RedisIssuerStore {
    async fn begin_device(&self, request: &DeviceRequest, now: UnixSeconds) -> Result<bool, Failure> {
        let inner = &*self.0;
        let call = inner.devices.begin.on(inner.hash_key("device", &request.device));
        let call = call.key(inner.hash_key("user-code", &request.user_code));
        let interval = u64::try_from(request.interval.as_millis()).unwrap_or(u64::MAX).min(1 << 50);
        let call = call.number(seconds(now)).arg(bytes_of(request)?).arg(request.client_id.as_str()).number(interval);
        let call = call.number(seconds(request.expires_at)).number(kept(request.expires_at, now));
        Ok(reply::integer(&inner.redis.run(call.number(MEMORY.as_secs())).await?)? == 1)
    }

    async fn undecided_device(
        &self,
        user_code: &HandleHash,
        now: UnixSeconds,
    ) -> Result<Option<DeviceRequest>, Failure> {
        let inner = &*self.0;
        let call = inner.devices.undecided.on(inner.hash_key("user-code", user_code)).number(seconds(now));
        let found = match inner.redis.run(call).await? {
            Value::Nil => return Ok(None),
            found => record::<DeviceRequest>(found)?,
        };
        if found.user_code == *user_code { Ok(Some(found)) } else { Err(content()) }
    }

    async fn decide_device(
        &self,
        user_code: &HandleHash,
        grant: Option<&Grant>,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let inner = &*self.0;
        let code = inner.hash_key("user-code", user_code);
        let call = match grant {
            None => inner.devices.deny.on(code).number(seconds(now)),
            Some(grant) => {
                let KeptGrant { keys: [key, subject, session], arguments } = KeptGrant::new(inner, grant, now)?;
                let call = inner.devices.allow.on(key).key(subject).key(session).key(code).number(seconds(now));
                arguments.into_iter().fold(call, |call, argument| call.arg(argument))
            }
        };
        match reply::integer(&inner.redis.run(call).await?)? {
            1 => Ok(true),
            0 => Ok(false),
            _ => Err(too_many()),
        }
    }

    async fn poll_device(&self, device: &HandleHash, client_id: &str, now: UnixSeconds) -> Result<DevicePoll, Failure> {
        let inner = &*self.0;
        let call = inner.devices.poll.on(inner.hash_key("device", device)).number(seconds(now)).arg(client_id);
        let call = call.arg(inner.grant_slot("grant", "")).number(MEMORY.as_secs()).number(SLOW_DOWN);
        let Some([state, grant]) = parts(inner.redis.run(call).await?)? else { return Ok(DevicePoll::Unknown) };
        Ok(match reply::integer(&state)? {
            1 => DevicePoll::Pending,
            2 => DevicePoll::SlowDown,
            3 => DevicePoll::Denied,
            4 => DevicePoll::Expired,
            5 => DevicePoll::Approved(Box::new(record(grant)?)),
            _ => return Err(content()),
        })
    }
}

/// How long an ended request is remembered.
const MEMORY: Duration = Duration::from_secs(600);
/// By how many milliseconds a device that asks too soon has to wait longer.
const SLOW_DOWN: u64 = 5_000;

/// Adds the function that finds a request that waits for a word, by the key of its user code.
macro_rules! find {
    () => {
        "\
local function find(code)
  if redis.call('STRLEN', code) > 1024 then error('too large') end
  local device = redis.call('GET', code)
  if not device or not lives(device, 'end') or redis.call('HEXISTS', device, 'state') == 1 then return nil end
  return device
end
"
    };
}

/// KEYS: the device, the user code. ARGV: now, record, client, interval, end, for how many seconds, for how many more it is remembered.
const BEGIN: &str = concat!(
    prelude!(),
    "\
if redis.call('STRLEN', KEYS[2]) > 1024 then error('too large') end
local other = redis.call('GET', KEYS[2])
if other and lives(other, 'end') then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[2], 'client', ARGV[3], 'interval', ARGV[4], 'end', ARGV[5])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[6]) + tonumber(ARGV[7]))
redis.call('SET', KEYS[2], KEYS[1], 'EX', ARGV[6])
return 1"
);

/// KEYS: the user code. ARGV: now.
const UNDECIDED: &str = concat!(
    prelude!(),
    find!(),
    "\
local device = find(KEYS[1])
if not device then return nil end
return read(device, 'record')"
);

/// KEYS: the grant, its indexes, the user code. ARGV: now, four of the grant.
const ALLOW: &str = concat!(
    prelude!(),
    keep_grant!(),
    find!(),
    "\
local device = find(KEYS[4])
if not device then return 0 end
if not grant_has_room() then return -1 end
redis.call('HSET', device, 'state', 'allowed', 'grant', ARGV[2])
keep_grant()
return 1"
);

/// KEYS: the user code. ARGV: now.
const DENY: &str = concat!(
    prelude!(),
    find!(),
    "\
local device = find(KEYS[1])
if not device then return 0 end
redis.call('HSET', device, 'state', 'denied')
return 1"
);

/// KEYS: the device. ARGV: now, client, how keys of grants begin, for how many seconds it is remembered, how many milliseconds more to wait.
const POLL: &str = concat!(
    prelude!(),
    "\
local ends = number(KEYS[1], 'end')
if not ends or now >= ends + tonumber(ARGV[4]) or read(KEYS[1], 'client') ~= ARGV[2] then return nil end
local state = read(KEYS[1], 'state')
if state == 'told' then return nil end
if state == 'denied' then return {3, ''} end
if now >= ends then return {4, ''} end
if state == 'allowed' then
  redis.call('HSET', KEYS[1], 'state', 'told')
  local grant = ARGV[3] .. (read(KEYS[1], 'grant') or error('no grant'))
  if not lives(grant, 'end') then return nil end
  return {5, read(grant, 'record')}
end
if state then error('no state of ours') end
local before, interval = number(KEYS[1], 'polled'), number(KEYS[1], 'interval')
redis.call('HSET', KEYS[1], 'polled', ARGV[1])
if before and math.max(now - before, 0) * 1000 < interval then
  redis.call('HSET', KEYS[1], 'interval', string.format('%.0f', interval + tonumber(ARGV[5])))
  return {2, ''}
end
return {1, ''}"
);
