use async_trait::async_trait;
use redis::Value;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_issuer::{CodeRecord, Grant, GrantId, GrantStore, HandleHash, ReferenceRecord, RefreshFamily, TakenCode};

use super::index::{AT_ONCE, LIST, MOST_LISTED, REMOVE_LISTED, remove_listed};
use super::{KeptGrant, RedisIssuerStore, Script, bytes_of, content, instant, kept, parts, record, seconds, too_many};
use crate::names::base64url;
use crate::reply;

pub(super) struct Scripts {
    begin: Script,
    take: Script,
    grant: Script,
    list: Script,
    revoke_listed: Script,
    withdraw: Script,
    withdrawn: Script,
    begin_refresh: Script,
    family: Script,
    rotate: Script,
    put_reference: Script,
    reference: Script,
    remove: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            begin: Script::new(BEGIN),
            take: Script::new(TAKE),
            grant: Script::new(GRANT),
            list: Script::new(LIST),
            revoke_listed: Script::new(REMOVE_LISTED),
            withdraw: Script::new(WITHDRAW),
            withdrawn: Script::new(WITHDRAWN),
            begin_refresh: Script::new(BEGIN_REFRESH),
            family: Script::new(FAMILY),
            rotate: Script::new(ROTATE),
            put_reference: Script::new(PUT_REFERENCE),
            reference: Script::new(REFERENCE),
            remove: Script::new("return redis.call('DEL', KEYS[1])"),
        }
    }
}

impl RedisIssuerStore {
    async fn revoke_index(&self, index: String) -> Result<(), Failure> {
        let inner = &*self.0;
        let ids = reply::array(inner.redis.run(inner.grants.list.on(index.as_str()).number(MOST_LISTED)).await?)?;
        let id = |id| GrantId::parse(&reply::text(id)?).ok_or_else(content);
        let ids = ids.into_iter().map(id).collect::<Result<Vec<_>, Failure>>()?;
        for ids in ids.chunks(AT_ONCE) {
            let grants = ids.iter().map(|id| (inner.grant_key(id), id.as_str()));
            inner.redis.run(remove_listed(&inner.grants.revoke_listed, &index, grants)).await?;
        }
        Ok(())
    }

    async fn remove(&self, key: String) -> Result<(), Failure> {
        self.0.redis.run(self.0.grants.remove.on(key)).await?;
        Ok(())
    }
}

#[async_trait]
impl GrantStore for RedisIssuerStore {
    async fn begin_grant(&self, grant: &Grant, code: Option<&CodeRecord>, now: UnixSeconds) -> Result<(), Failure> {
        let inner = &*self.0;
        let KeptGrant { keys: [key, subject, session], arguments } = KeptGrant::new(inner, grant, now)?;
        let mut call = inner.grants.begin.on(key).key(subject).key(session).number(seconds(now));
        for argument in arguments {
            call = call.arg(argument);
        }
        if let Some(code) = code {
            call = call.key(inner.hash_key("code", &code.code)).arg(bytes_of(code)?).arg(code.grant.as_str());
            call = call.number(seconds(code.expires_at)).number(seconds(code.remembered_until));
            call = call.number(kept(code.remembered_until.max(code.expires_at), now));
        }
        match reply::integer(&inner.redis.run(call).await?)? {
            1 => Ok(()),
            _ => Err(too_many()),
        }
    }

    async fn take_code(&self, code: &HandleHash, now: UnixSeconds) -> Result<TakenCode, Failure> {
        let inner = &*self.0;
        let call = inner.grants.take.on(inner.hash_key("code", code)).number(seconds(now));
        let answer = inner.redis.run(call.arg(inner.grant_slot("grant", ""))).await?;
        let Some([first, second]) = parts(answer)? else { return Ok(TakenCode::Unknown) };
        if first == Value::Int(0) {
            let id = GrantId::parse(&reply::text(second)?).ok_or_else(content)?;
            return Ok(TakenCode::Replayed(id));
        }
        let (kept, grant): (CodeRecord, Grant) = (record(first)?, record(second)?);
        if kept.code != *code || kept.grant != grant.id {
            return Err(content());
        }
        Ok(TakenCode::Fresh(Box::new((kept, grant))))
    }

    async fn grant(&self, id: &GrantId, now: UnixSeconds) -> Result<Option<Grant>, Failure> {
        let inner = &*self.0;
        match inner.redis.run(inner.grants.grant.on(inner.grant_key(id)).number(seconds(now))).await? {
            Value::Nil => Ok(None),
            found => record(found).map(Some),
        }
    }

    async fn revoke_grant(&self, id: &GrantId, _now: UnixSeconds) -> Result<(), Failure> {
        // What hangs on it asks for it; the indexes forget it at its end.
        self.remove(self.0.grant_key(id)).await
    }

    async fn revoke_session_grants(&self, sid: &str, _now: UnixSeconds) -> Result<(), Failure> {
        self.revoke_index(self.0.grants_of_session(sid)).await
    }

    async fn revoke_subject_grants(&self, subject: &str, _now: UnixSeconds) -> Result<(), Failure> {
        self.revoke_index(self.0.grants_of_subject(subject)).await
    }

    async fn withdraw_subject(
        &self,
        subject: &str,
        up_to: UnixSeconds,
        until: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<(), Failure> {
        let inner = &*self.0;
        let key = inner.lone_key("subject-withdrawn", &[subject.as_bytes()]);
        let call = inner.grants.withdraw.on(key).number(seconds(now)).number(seconds(up_to)).number(seconds(until));
        inner.redis.run(call.number(kept(until, now))).await?;
        Ok(())
    }

    async fn withdrawn_up_to(&self, subject: &str, now: UnixSeconds) -> Result<Option<UnixSeconds>, Failure> {
        let inner = &*self.0;
        let key = inner.lone_key("subject-withdrawn", &[subject.as_bytes()]);
        match inner.redis.run(inner.grants.withdrawn.on(key).number(seconds(now))).await? {
            Value::Nil => Ok(None),
            up_to => instant(up_to).map(Some),
        }
    }

    async fn begin_refresh(&self, family: &RefreshFamily, now: UnixSeconds) -> Result<(), Failure> {
        let inner = &*self.0;
        let call = inner.grants.begin_refresh.on(inner.hash_key("refresh", &family.family)).arg(bytes_of(family)?);
        let call = call.arg(family.grant.as_str()).arg(base64url(family.current.as_bytes()));
        let call = call.number(seconds(family.idle_until)).number(seconds(family.expires_at));
        inner.redis.run(call.number(kept(family.idle_until, now))).await?;
        Ok(())
    }

    async fn refresh_family(
        &self,
        family: &HandleHash,
        now: UnixSeconds,
    ) -> Result<Option<(RefreshFamily, Grant)>, Failure> {
        let inner = &*self.0;
        let call = inner.grants.family.on(inner.hash_key("refresh", family)).number(seconds(now));
        let answer = inner.redis.run(call.arg(inner.grant_slot("grant", ""))).await?;
        let Some([kept, current, idle_until, grant]) = parts(answer)? else { return Ok(None) };
        let (mut kept, grant): (RefreshFamily, Grant) = (record(kept)?, record(grant)?);
        kept.current = hash(&reply::bytes(current)?)?;
        kept.idle_until = instant(idle_until)?;
        if kept.family != *family || kept.grant != grant.id {
            return Err(content());
        }
        Ok(Some((kept, grant)))
    }

    async fn rotate_refresh(
        &self,
        family: &HandleHash,
        from: &HandleHash,
        to: &HandleHash,
        idle_until: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let inner = &*self.0;
        let call = inner.grants.rotate.on(inner.hash_key("refresh", family)).number(seconds(now));
        let call = call.arg(inner.grant_slot("grant", "")).arg(base64url(from.as_bytes()));
        let call = call.arg(base64url(to.as_bytes())).number(seconds(idle_until)).number(kept(idle_until, now));
        Ok(reply::integer(&inner.redis.run(call).await?)? == 1)
    }

    async fn put_reference(&self, token: &ReferenceRecord, now: UnixSeconds) -> Result<(), Failure> {
        let inner = &*self.0;
        let call = inner.grants.put_reference.on(inner.hash_key("handle", &token.token)).arg(bytes_of(token)?);
        let call = call.arg(token.grant.as_ref().map(GrantId::as_str).unwrap_or_default());
        let call = call.number(seconds(token.expires_at)).number(kept(token.expires_at, now));
        inner.redis.run(call).await?;
        Ok(())
    }

    async fn reference(&self, token: &HandleHash, now: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure> {
        let inner = &*self.0;
        let call = inner.grants.reference.on(inner.hash_key("handle", token)).number(seconds(now));
        let found = match inner.redis.run(call.arg(inner.grant_slot("grant", ""))).await? {
            Value::Nil => return Ok(None),
            found => record::<ReferenceRecord>(found)?,
        };
        if found.token == *token { Ok(Some(found)) } else { Err(content()) }
    }

    async fn revoke_reference(&self, token: &HandleHash) -> Result<(), Failure> {
        self.remove(self.0.hash_key("handle", token)).await
    }
}

fn hash(text: &[u8]) -> Result<HandleHash, Failure> {
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(HandleHash::from_bytes).ok_or_else(content)
}

// A key `…:grant:` with an id behind it is in the slot of the first key, so that scripts may look at it unannounced.

/// KEYS: the grant, its indexes, a code or nothing. ARGV: now, four of the grant; of the code the record, the grant, end, memory, seconds.
const BEGIN: &str = concat!(
    prelude!(),
    keep_grant!(),
    "\
if not grant_has_room() then return 0 end
if KEYS[4] then
  redis.call('HSET', KEYS[4], 'record', ARGV[6], 'grant', ARGV[7], 'end', ARGV[8], 'remembered', ARGV[9])
  redis.call('EXPIRE', KEYS[4], ARGV[10])
end
keep_grant()
return 1"
);

/// KEYS: the code. ARGV: now, how keys of grants begin.
const TAKE: &str = concat!(
    prelude!(),
    "\
if not lives(KEYS[1], 'remembered') then return nil end
local id = read(KEYS[1], 'grant') or error('no grant')
if redis.call('HEXISTS', KEYS[1], 'taken') == 1 then return {0, id} end
if not lives(KEYS[1], 'end') then return nil end
redis.call('HSET', KEYS[1], 'taken', '1')
local grant = ARGV[2] .. id
if not lives(grant, 'end') then return nil end
return {read(KEYS[1], 'record'), read(grant, 'record')}"
);

/// KEYS: the grant. ARGV: now.
const GRANT: &str =
    concat!(prelude!(), leave!(), "if lives(KEYS[1], 'end') then return read(KEYS[1], 'record') end return nil");

/// KEYS: the subject. ARGV: now, up to when, until when, for how many seconds.
const WITHDRAW: &str = concat!(
    prelude!(),
    "\
local function later(name, text)
  local before = lives(KEYS[1], 'until') and number(KEYS[1], name)
  if before and before > tonumber(text) then return read(KEYS[1], name) end
  return text
end
redis.call('HSET', KEYS[1], 'up_to', later('up_to', ARGV[2]), 'until', later('until', ARGV[3]))
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1"
);

/// KEYS: the subject. ARGV: now.
const WITHDRAWN: &str =
    concat!(prelude!(), leave!(), "if lives(KEYS[1], 'until') then return read(KEYS[1], 'up_to') end return nil");

/// KEYS: the family. ARGV: record, grant, current, idle end, end, for how many seconds.
const BEGIN_REFRESH: &str = "\
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'grant', ARGV[2], 'current', ARGV[3], 'idle', ARGV[4], 'end', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[6])
return 1";

/// KEYS: the family. ARGV: now, how keys of grants begin.
const FAMILY: &str = concat!(
    prelude!(),
    leave!(),
    "\
if not (lives(KEYS[1], 'idle') and lives(KEYS[1], 'end')) then return nil end
local grant = ARGV[2] .. (read(KEYS[1], 'grant') or error('no grant'))
if not lives(grant, 'end') then return nil end
return {read(KEYS[1], 'record'), read(KEYS[1], 'current'), read(KEYS[1], 'idle'), read(grant, 'record')}"
);

/// KEYS: the family. ARGV: now, how keys of grants begin, from, to, idle end, for how many seconds.
const ROTATE: &str = concat!(
    prelude!(),
    "\
if not (lives(KEYS[1], 'idle') and lives(KEYS[1], 'end')) then return 0 end
local grant = ARGV[2] .. (read(KEYS[1], 'grant') or error('no grant'))
if not lives(grant, 'end') or read(KEYS[1], 'current') ~= ARGV[3] then return 0 end
local idle = ARGV[5]
if number(KEYS[1], 'end') < tonumber(idle) then idle = read(KEYS[1], 'end') end
redis.call('HSET', KEYS[1], 'current', ARGV[4], 'idle', idle)
redis.call('EXPIRE', KEYS[1], ARGV[6])
return 1"
);

/// KEYS: the token. ARGV: record, grant or nothing, end, for how many seconds.
const PUT_REFERENCE: &str = "\
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'grant', ARGV[2], 'end', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1";

/// KEYS: the token. ARGV: now, how keys of grants begin.
const REFERENCE: &str = concat!(
    prelude!(),
    leave!(),
    "\
if not lives(KEYS[1], 'end') then return nil end
local id = read(KEYS[1], 'grant') or error('no grant')
if id ~= '' and not lives(ARGV[2] .. id, 'end') then return nil end
return read(KEYS[1], 'record')"
);
