use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use redis::Value;
use sekisho_core::{ConfigError, Failure, FailureKind, SubjectId, UnixSeconds};
use sekisho_opaque::{ReferenceDigest, ReferenceRecord, ReferenceStore};

use crate::Redis;
use crate::error::{Fault, FaultKind};
use crate::names::{base64url, digest_of, nonce};
use crate::reply;
use crate::script::Script;

/// Keeps reference tokens in Redis, for all instances of a gateway.
///
/// - A record stands under the digest of its token, and lives there for as long as it does, and a minute more for clocks that differ.
/// - A subject and a session each have an index of their own, under a hash of their names. An insertion stands in the indexes before the
///   record is kept, so a revocation that begins after it finds it; an index may name what is gone, which ends with it.
/// - In a cluster records are spread over all servers. A revocation of a subject goes from record to record: when it returns, all are gone;
///   when it fails, some may be, and it is to be repeated.
/// - Nobody is thrown out for somebody else: a subject or session with its share, and a Redis that is full, are failures.
/// - Records hold claims or JWTs in the clear, as [`ReferenceRecord::encode`] writes them.
pub struct RedisReferenceStore {
    redis: Redis,
    scripts: Scripts,
    most_per_index: u32,
}

struct Scripts {
    enter: Script,
    insert: Script,
    find: Script,
    remove: Script,
    list: Script,
    leave: Script,
}

/// Names one insertion, in an index and in the record.
type Nonce = [u8; 16];

impl RedisReferenceStore {
    /// Makes a store that keeps 1,000 tokens of a subject and of a session.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        let scripts = Scripts {
            enter: Script::new(ENTER),
            insert: Script::new(INSERT),
            find: Script::new(FIND),
            remove: Script::new(REMOVE),
            list: Script::new(LIST),
            leave: Script::new(LEAVE),
        };
        Self { redis, scripts, most_per_index: 1_000 }
    }

    /// Sets how many tokens of one subject, and of one session, are kept.
    ///
    /// # Errors
    /// [`ConfigError`] for zero and for more than 100,000, which are revoked one by one.
    pub fn with_max_per_subject(mut self, tokens: u32) -> Result<Self, ConfigError> {
        if !(1..=100_000).contains(&tokens) {
            return Err(ConfigError::new("a subject may have 1 to 100,000 reference tokens"));
        }
        self.most_per_index = tokens;
        Ok(self)
    }

    fn record_key(&self, digest: &[u8]) -> String {
        self.redis.key("reference", &base64url(digest))
    }

    fn subject_key(&self, subject: &SubjectId) -> String {
        let names = [subject.issuer().as_bytes(), subject.subject().as_bytes()];
        self.redis.key("reference-subject", &base64url(&digest_of(&names)))
    }

    fn session_key(&self, issuer: &str, session: &str) -> String {
        let names = [issuer.as_bytes(), session.as_bytes()];
        self.redis.key("reference-session", &base64url(&digest_of(&names)))
    }

    fn indexes(&self, record: &ReferenceRecord) -> impl Iterator<Item = String> {
        let session = record.session().map(|session| self.session_key(record.subject().issuer(), session));
        [Some(self.subject_key(record.subject())), session].into_iter().flatten()
    }

    async fn enter(&self, index: &str, entry: &[u8], kept: Duration) -> Result<(), Failure> {
        let call = self.scripts.enter.on(index).arg(entry).number(kept.as_secs()).number(self.most_per_index.into());
        match reply::integer(&self.redis.run(call).await?)? {
            1 => Ok(()),
            _ => Err(Failure::unavailable("one subject has too many reference tokens").with_retry_after(FULL)),
        }
    }

    async fn leave(&self, index: &str, entries: &[Vec<u8>]) -> Result<(), Fault> {
        let call = entries.iter().fold(self.scripts.leave.on(index), |call, entry| call.arg(entry.as_slice()));
        self.redis.run(call).await.map(drop)
    }

    /// Removes a record, if it is still that of the insertion that is meant. Tells whether it was alive, or `None` if there is none.
    async fn remove(
        &self,
        digest: &[u8],
        inserted: Option<&[u8]>,
        now: UnixSeconds,
    ) -> Result<Option<(bool, Vec<u8>)>, Fault> {
        let call = self.scripts.remove.on(self.record_key(digest)).number(seconds(now)).number(LONGEST as u64);
        match self.redis.run(call.arg(inserted.unwrap_or_default())).await? {
            Value::Nil => Ok(None),
            answer => {
                let [alive, record] =
                    <[Value; 2]>::try_from(reply::array(answer)?).map_err(|_| Fault::new(FaultKind::Content))?;
                Ok(Some((reply::integer(&alive)? == 1, reply::bytes(record)?)))
            }
        }
    }

    async fn revoke_index(&self, index: String, now: UnixSeconds) -> Result<u64, Failure> {
        let answer = self.redis.run(self.scripts.list.on(index.as_str()).number(MOST_LISTED)).await?;
        let entries = reply::array(answer)?.into_iter().map(reply::bytes).collect::<Result<Vec<_>, _>>()?;
        let (mut alive, mut gone) = (0, Vec::new());
        let remove = |entry: Vec<u8>| async move {
            let (digest, nonce) = entry.split_at_checked(32).ok_or_else(|| Fault::new(FaultKind::Content))?;
            let removed = self.remove(digest, Some(nonce), now).await?;
            Ok::<_, Fault>((removed.map(|(was_alive, _)| was_alive), entry))
        };
        let mut removing = stream::iter(entries.into_iter().map(remove)).buffer_unordered(AT_ONCE);
        while let Some((removed, entry)) = removing.try_next().await? {
            if let Some(was_alive) = removed {
                alive += u64::from(was_alive);
                gone.push(entry);
            }
            // Whatever is not there may be about to be: its entry stays for the next revocation, and ends by itself.
        }
        for entries in gone.chunks(500) {
            self.leave(&index, entries).await?;
        }
        Ok(alive)
    }
}

#[async_trait]
impl ReferenceStore for RedisReferenceStore {
    async fn insert(
        &self,
        digest: ReferenceDigest,
        record: &ReferenceRecord,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let key = self.record_key(digest.as_bytes());
        let bytes = record.encode();
        if bytes.len() > LONGEST - OVERHEAD {
            return Err(Failure::new(FailureKind::Misconfigured, "a reference token stands for too much"));
        }
        let nonce: Nonce = nonce()?;
        let kept = record.expires_at().since(now).min(FOREVER).saturating_add(SKEW);
        let entry = [digest.as_bytes().as_slice(), &nonce].concat();
        for index in self.indexes(record) {
            self.enter(&index, &entry, kept).await?;
        }
        let end = seconds(record.expires_at());
        let value = [format!("{end}:").as_bytes(), &nonce, &bytes].concat();
        let call = self.scripts.insert.on(key).number(seconds(now)).number(kept.as_secs());
        let was_kept = reply::integer(&self.redis.run(call.arg(value)).await?)? == 1;
        if !was_kept {
            for index in self.indexes(record) {
                // It ends by itself otherwise.
                let _ = self.leave(&index, std::slice::from_ref(&entry)).await;
            }
        }
        Ok(was_kept)
    }

    async fn find(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure> {
        let call = self.scripts.find.on(self.record_key(digest.as_bytes())).number(LONGEST as u64);
        let Some(value) = reply::optional(self.redis.run(call).await?)? else { return Ok(None) };
        let record = decode(&value)?;
        Ok(Some(record).filter(|record| now < record.expires_at()))
    }

    async fn revoke(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<bool, Failure> {
        let Some((was_alive, value)) = self.remove(digest.as_bytes(), None, now).await? else { return Ok(false) };
        // It is gone; what follows is tidying, which the end of the entries does otherwise.
        if let (Some((nonce, _)), Ok(record)) = (split(&value), decode(&value)) {
            let entry = [digest.as_bytes().as_slice(), nonce].concat();
            for index in self.indexes(&record) {
                let _ = self.leave(&index, std::slice::from_ref(&entry)).await;
            }
        }
        Ok(was_alive)
    }

    async fn revoke_subject(&self, subject: &SubjectId, now: UnixSeconds) -> Result<u64, Failure> {
        self.revoke_index(self.subject_key(subject), now).await
    }

    async fn revoke_session(&self, issuer: &str, session: &str, now: UnixSeconds) -> Result<u64, Failure> {
        self.revoke_index(self.session_key(issuer, session), now).await
    }
}

impl fmt::Debug for RedisReferenceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redis, scripts: _, most_per_index } = self;
        f.debug_struct("RedisReferenceStore").field("redis", redis).field("most_per_index", most_per_index).finish()
    }
}

/// Takes `END:` off, and splits nonce and record.
fn split(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = value.iter().take(17).position(|byte| *byte == b':')?;
    value.get(colon + 1..)?.split_at_checked(size_of::<Nonce>())
}

fn decode(value: &[u8]) -> Result<ReferenceRecord, Failure> {
    let content = || Failure::from(Fault::new(FaultKind::Content));
    let (_, record) = split(value).ok_or_else(content)?;
    ReferenceRecord::decode(record).map_err(|_| content())
}

/// Lua counts in floating point: beyond this nobody's clock goes.
fn seconds(instant: UnixSeconds) -> u64 {
    instant.as_secs().min(1 << 50)
}

/// Bounds a record with what stands before it, in bytes.
const LONGEST: usize = 256 << 10;
const OVERHEAD: usize = 64;
const SKEW: Duration = Duration::from_secs(60);
/// Redis takes no later end.
const FOREVER: Duration = Duration::from_secs(100 * 366 * 86_400);
const FULL: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 32;
const MOST_LISTED: u64 = 200_000;

/// KEYS: an index. ARGV: the entry, for how many seconds, how many at most.
///
/// What needs memory comes first: after the first change a script is not stopped any more by a memory that is full.
const ENTER: &str = "\
local now = tonumber(redis.call('TIME')[1])
local seconds = tonumber(ARGV[2])
if redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf') >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + seconds, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('TTL', KEYS[1]) < seconds then redis.call('EXPIRE', KEYS[1], seconds + 1) end
return 1";

/// KEYS: the record. ARGV: now, for how many seconds, the value.
const INSERT: &str = "\
local stands = redis.call('GETRANGE', KEYS[1], 0, 16)
if stands ~= '' then
  local ends = tonumber(string.match(stands, '^(%d+):'))
  if not ends then return redis.error_reply('WRONGTYPE not a record') end
  if tonumber(ARGV[1]) < ends then return 0 end
end
redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[2])
return 1";

/// KEYS: the record. ARGV: how long it may be.
const FIND: &str = "\
if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[1]) then return redis.error_reply('TOOLARGE a record') end
return redis.call('GET', KEYS[1])";

/// KEYS: the record. ARGV: now, how long it may be, the insertion that is meant or nothing.
const REMOVE: &str = "\
if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[2]) then return redis.error_reply('TOOLARGE a record') end
local value = redis.call('GET', KEYS[1])
if not value then return nil end
local ends, rest = string.match(value, '^(%d+):(.*)$')
if not ends then return redis.error_reply('WRONGTYPE not a record') end
if ARGV[3] ~= '' and string.sub(rest, 1, #ARGV[3]) ~= ARGV[3] then return nil end
redis.call('DEL', KEYS[1])
return {tonumber(ARGV[1]) < tonumber(ends) and 1 or 0, value}";

/// KEYS: an index. ARGV: how many at most.
const LIST: &str = "\
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[1]) then return redis.error_reply('TOOLARGE an index') end
local entries = redis.call('ZRANGE', KEYS[1], 0, -1)
for _, entry in ipairs(entries) do
  if #entry ~= 48 then return redis.error_reply('WRONGTYPE not an index') end
end
return entries";

/// KEYS: an index. ARGV: entries.
const LEAVE: &str = "return redis.call('ZREM', KEYS[1], unpack(ARGV))";
