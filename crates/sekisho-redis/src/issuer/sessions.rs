use std::time::Duration;

use async_trait::async_trait;
use redis::Value;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_issuer::{HandleHash, ScopeSet, SsoSession, SsoStore};

use super::index::{AT_ONCE, LIST, MOST_LISTED, REMOVE_LISTED, remove_listed};
use super::{
    Inner, RedisIssuerStore, Script, base64url, bytes_of, content, digest_of, instant, kept, parts, record, seconds,
    too_many,
};
use crate::reply;

pub(super) struct Scripts {
    put: Script,
    used: Script,
    end: Script,
    list: Script,
    end_listed: Script,
    consent: Script,
    put_consent: Script,
    forget: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            put: Script::new(PUT),
            used: Script::new(USE),
            end: Script::new(END),
            list: Script::new(LIST),
            end_listed: Script::new(REMOVE_LISTED),
            consent: Script::new(CONSENT),
            put_consent: Script::new("redis.call('HSET', KEYS[1], 'record', ARGV[1]) return 1"),
            forget: Script::new("return redis.call('DEL', KEYS[1])"),
        }
    }
}

impl Inner {
    fn session_key(&self, session: &HandleHash) -> String {
        self.session_slot("session", &base64url(session.as_bytes()))
    }

    fn sessions_of(&self, subject: &str) -> String {
        self.session_slot("of-subject", &base64url(&digest_of(&[subject.as_bytes()])))
    }
}

#[async_trait]
impl SsoStore for RedisIssuerStore {
    async fn put_session(
        &self,
        session: &SsoSession,
        instead_of: Option<&HandleHash>,
        now: UnixSeconds,
    ) -> Result<(), Failure> {
        let inner = &*self.0;
        let call = inner.sessions.put.on(inner.session_key(&session.session)).key(inner.sessions_of(&session.subject));
        let call = call.number(seconds(now)).arg(bytes_of(session)?);
        let call = call.number(seconds(session.idle_until)).number(seconds(session.expires_at));
        // The index must outlive what use prolongs.
        let call = call.number(kept(session.idle_until, now)).number(kept(session.expires_at, now));
        let call = match instead_of {
            Some(former) => call.key(inner.session_key(former)),
            None => call,
        };
        match reply::integer(&inner.redis.run(call).await?)? {
            1 => Ok(()),
            _ => Err(too_many()),
        }
    }

    async fn use_session(
        &self,
        session: &HandleHash,
        idle: Duration,
        now: UnixSeconds,
    ) -> Result<Option<SsoSession>, Failure> {
        let inner = &*self.0;
        let idle_until = now.saturating_add(idle);
        let call = inner.sessions.used.on(inner.session_key(session)).number(seconds(now));
        let call = call.number(seconds(idle_until)).number(kept(idle_until, now));
        let Some([kept, idle_until]) = parts(inner.redis.run(call).await?)? else { return Ok(None) };
        let mut kept: SsoSession = record(kept)?;
        kept.idle_until = instant(idle_until)?;
        if kept.session == *session { Ok(Some(kept)) } else { Err(content()) }
    }

    async fn end_session(&self, session: &HandleHash) -> Result<(), Failure> {
        let inner = &*self.0;
        inner.redis.run(inner.sessions.end.on(inner.session_key(session))).await?;
        Ok(())
    }

    async fn end_subject_sessions(&self, subject: &str) -> Result<(), Failure> {
        let inner = &*self.0;
        let (index, beginning) = (inner.sessions_of(subject), inner.session_slot("session", ""));
        let keys = reply::array(inner.redis.run(inner.sessions.list.on(index.as_str()).number(MOST_LISTED)).await?)?;
        let key = |key| Some(reply::text(key)?).filter(|key| key.starts_with(&beginning)).ok_or_else(content);
        let keys = keys.into_iter().map(key).collect::<Result<Vec<_>, Failure>>()?;
        for keys in keys.chunks(AT_ONCE) {
            let sessions = keys.iter().map(|key| (key.clone(), key.as_str()));
            inner.redis.run(remove_listed(&inner.sessions.end_listed, &index, sessions)).await?;
        }
        Ok(())
    }

    async fn consent(&self, subject: &str, client_id: &str) -> Result<ScopeSet, Failure> {
        let inner = &*self.0;
        let key = inner.lone_key("consent", &[subject.as_bytes(), client_id.as_bytes()]);
        // The prelude wants an instant.
        match inner.redis.run(inner.sessions.consent.on(key).number(0)).await? {
            Value::Nil => Ok(ScopeSet::default()),
            kept => record(kept),
        }
    }

    async fn put_consent(&self, subject: &str, client_id: &str, scope: &ScopeSet) -> Result<(), Failure> {
        let inner = &*self.0;
        let key = inner.lone_key("consent", &[subject.as_bytes(), client_id.as_bytes()]);
        let call = if scope.is_empty() {
            inner.sessions.forget.on(key)
        } else {
            inner.sessions.put_consent.on(key).arg(bytes_of(scope)?)
        };
        inner.redis.run(call).await?;
        Ok(())
    }
}

/// KEYS: the session, the index, the session before or nothing. ARGV: now, record, idle end, end, for how many seconds, the index likewise.
const PUT: &str = concat!(
    prelude!(),
    "\
local before = KEYS[3] and read(KEYS[3], 'index')
if not has_room(KEYS[2]) then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[2], 'idle', ARGV[3], 'end', ARGV[4], 'index', KEYS[2])
redis.call('EXPIRE', KEYS[1], ARGV[5])
enter(KEYS[2], KEYS[1], tonumber(ARGV[6]))
if KEYS[3] and KEYS[3] ~= KEYS[1] then
  redis.call('DEL', KEYS[3])
  if before then redis.call('ZREM', before, KEYS[3]) end
end
return 1"
);

/// KEYS: the session. ARGV: now, idle end, for how many seconds.
const USE: &str = concat!(
    prelude!(),
    "\
if not (lives(KEYS[1], 'idle') and lives(KEYS[1], 'end')) then return nil end
local idle = ARGV[2]
if number(KEYS[1], 'end') < tonumber(idle) then idle = read(KEYS[1], 'end') end
redis.call('HSET', KEYS[1], 'idle', idle)
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {read(KEYS[1], 'record'), idle}"
);

/// KEYS: the session.
const END: &str = "\
local index = redis.call('HGET', KEYS[1], 'index')
redis.call('DEL', KEYS[1])
if index then redis.call('ZREM', index, KEYS[1]) end
return 1";

/// KEYS: the consent.
const CONSENT: &str = concat!(prelude!(), leave!(), "return read(KEYS[1], 'record')");
