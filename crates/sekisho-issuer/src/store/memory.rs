use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};

use super::{
    CodeRecord, CountStore, DevicePoll, DeviceRequest, DeviceStore, Grant, GrantStore, ReferenceRecord, RefreshFamily,
    SsoSession, SsoStore, TakenCode,
};
use crate::{GrantId, HandleHash, ScopeSet};

/// Keeps everything in memory, bounded: for tests, examples and services of one process that may forget all logins at a restart.
///
/// A full table first drops what has ended; what then finds no room is a failure, HTTP 503, never dropped.
#[derive(Default)]
pub struct MemoryStore {
    limits: MemoryLimits,
    tables: Mutex<Tables>,
}

/// Bounds a [`MemoryStore`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MemoryLimits {
    /// Entries of each kind. Default 100,000, about 100 MB when all kinds are full.
    pub entries: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { entries: 100_000 }
    }
}

#[derive(Default)]
struct Tables {
    grants: HashMap<GrantId, Grant>,
    codes: HashMap<HandleHash, Code>,
    families: HashMap<HandleHash, RefreshFamily>,
    references: HashMap<HandleHash, ReferenceRecord>,
    sessions: HashMap<HandleHash, SsoSession>,
    consents: HashMap<(String, String), ScopeSet>,
    devices: HashMap<HandleHash, Device>,
    counts: HashMap<HandleHash, Count>,
    withdrawn: HashMap<String, Withdrawn>,
}

struct Code {
    record: CodeRecord,
    taken: bool,
}

struct Device {
    request: DeviceRequest,
    interval: Duration,
    last_poll: Option<UnixSeconds>,
    state: DeviceState,
}

enum DeviceState {
    Undecided,
    Approved(GrantId),
    Denied,
    Told,
}

struct Count {
    count: u32,
    until: UnixSeconds,
}

#[derive(Clone, Copy)]
struct Withdrawn {
    up_to: UnixSeconds,
    until: UnixSeconds,
}

impl MemoryStore {
    /// Makes an empty store of the default size.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty store with other bounds.
    #[must_use]
    pub fn with_limits(limits: MemoryLimits) -> Self {
        Self { limits, tables: Mutex::default() }
    }

    /// Changes nothing in the middle: what is checked is checked before the first change, so a poisoned lock holds whole tables.
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more entry, or fails.
    fn room<K: Eq + Hash, V>(
        &self,
        table: &mut HashMap<K, V>,
        mut is_live: impl FnMut(&V) -> bool,
    ) -> Result<(), Failure> {
        if table.len() >= self.limits.entries {
            table.retain(|_, entry| is_live(entry));
        }
        let full = table.len() >= self.limits.entries;
        if full { Err(Failure::unavailable("the issuer's memory is full")) } else { Ok(()) }
    }
}

impl Tables {
    fn live_grant(&self, id: &GrantId, now: UnixSeconds) -> Option<&Grant> {
        self.grants.get(id).filter(|grant| now < grant.expires_at)
    }
}

#[async_trait]
impl GrantStore for MemoryStore {
    async fn begin_grant(&self, grant: &Grant, code: Option<&CodeRecord>, now: UnixSeconds) -> Result<(), Failure> {
        let mut tables = self.lock();
        self.room(&mut tables.grants, |grant| now < grant.expires_at)?;
        if let Some(code) = code {
            self.room(&mut tables.codes, |code| now < code.record.remembered_until)?;
            tables.codes.insert(code.code, Code { record: code.clone(), taken: false });
        }
        tables.grants.insert(grant.id.clone(), grant.clone());
        Ok(())
    }

    async fn take_code(&self, code: &HandleHash, now: UnixSeconds) -> Result<TakenCode, Failure> {
        let mut tables = self.lock();
        let Some(kept) = tables.codes.get_mut(code) else { return Ok(TakenCode::Unknown) };
        if now >= kept.record.remembered_until {
            return Ok(TakenCode::Unknown);
        }
        if kept.taken {
            return Ok(TakenCode::Replayed(kept.record.grant.clone()));
        }
        if now >= kept.record.expires_at {
            return Ok(TakenCode::Unknown);
        }
        kept.taken = true;
        let record = kept.record.clone();
        let Some(grant) = tables.live_grant(&record.grant, now) else { return Ok(TakenCode::Unknown) };
        Ok(TakenCode::Fresh(Box::new((record, grant.clone()))))
    }

    async fn grant(&self, id: &GrantId, now: UnixSeconds) -> Result<Option<Grant>, Failure> {
        Ok(self.lock().live_grant(id, now).cloned())
    }

    async fn revoke_grant(&self, id: &GrantId, _now: UnixSeconds) -> Result<(), Failure> {
        self.lock().grants.remove(id);
        Ok(())
    }

    async fn revoke_session_grants(&self, sid: &str, _now: UnixSeconds) -> Result<(), Failure> {
        self.lock().grants.retain(|_, grant| grant.sid.as_deref() != Some(sid));
        Ok(())
    }

    async fn revoke_subject_grants(&self, subject: &str, _now: UnixSeconds) -> Result<(), Failure> {
        self.lock().grants.retain(|_, grant| grant.subject != subject);
        Ok(())
    }

    async fn withdraw_subject(
        &self,
        subject: &str,
        up_to: UnixSeconds,
        until: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<(), Failure> {
        let mut tables = self.lock();
        if let Some(known) = tables.withdrawn.get_mut(subject) {
            *known = Withdrawn { up_to: known.up_to.max(up_to), until: known.until.max(until) };
            return Ok(());
        }
        self.room(&mut tables.withdrawn, |withdrawn| now < withdrawn.until)?;
        tables.withdrawn.insert(subject.to_owned(), Withdrawn { up_to, until });
        Ok(())
    }

    async fn withdrawn_up_to(&self, subject: &str, now: UnixSeconds) -> Result<Option<UnixSeconds>, Failure> {
        let tables = self.lock();
        Ok(tables.withdrawn.get(subject).filter(|withdrawn| now < withdrawn.until).map(|withdrawn| withdrawn.up_to))
    }

    async fn begin_refresh(&self, family: &RefreshFamily, now: UnixSeconds) -> Result<(), Failure> {
        let tables = &mut *self.lock();
        let grants = &tables.grants;
        self.room(&mut tables.families, |family| now < family.idle_until && grants.contains_key(&family.grant))?;
        tables.families.insert(family.family, family.clone());
        Ok(())
    }

    async fn refresh_family(
        &self,
        family: &HandleHash,
        now: UnixSeconds,
    ) -> Result<Option<(RefreshFamily, Grant)>, Failure> {
        let tables = self.lock();
        let live = |family: &&RefreshFamily| now < family.idle_until && now < family.expires_at;
        let Some(family) = tables.families.get(family).filter(live) else { return Ok(None) };
        Ok(tables.live_grant(&family.grant, now).map(|grant| (family.clone(), grant.clone())))
    }

    async fn rotate_refresh(
        &self,
        family: &HandleHash,
        from: &HandleHash,
        to: &HandleHash,
        idle_until: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let tables = &mut *self.lock();
        let Some(kept) = tables.families.get_mut(family) else { return Ok(false) };
        let grant_lives = tables.grants.get(&kept.grant).is_some_and(|grant| now < grant.expires_at);
        let lives = grant_lives && now < kept.idle_until && now < kept.expires_at;
        if !lives || !kept.current.is(from) {
            return Ok(false);
        }
        kept.current = *to;
        kept.idle_until = idle_until.min(kept.expires_at);
        Ok(true)
    }

    async fn put_reference(&self, token: &ReferenceRecord, now: UnixSeconds) -> Result<(), Failure> {
        let tables = &mut *self.lock();
        let grants = &tables.grants;
        let grant_lives = |id: &GrantId| grants.contains_key(id);
        let is_live = |token: &ReferenceRecord| now < token.expires_at && token.grant.as_ref().is_none_or(grant_lives);
        self.room(&mut tables.references, is_live)?;
        tables.references.insert(token.token, token.clone());
        Ok(())
    }

    async fn reference(&self, token: &HandleHash, now: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure> {
        let tables = self.lock();
        let lives = |token: &&ReferenceRecord| {
            let grant_lives = token.grant.as_ref().is_none_or(|id| tables.live_grant(id, now).is_some());
            now < token.expires_at && grant_lives
        };
        Ok(tables.references.get(token).filter(lives).cloned())
    }

    async fn revoke_reference(&self, token: &HandleHash) -> Result<(), Failure> {
        self.lock().references.remove(token);
        Ok(())
    }
}

#[async_trait]
impl SsoStore for MemoryStore {
    async fn put_session(
        &self,
        session: &SsoSession,
        instead_of: Option<&HandleHash>,
        now: UnixSeconds,
    ) -> Result<(), Failure> {
        let mut tables = self.lock();
        self.room(&mut tables.sessions, |session| now < session.idle_until)?;
        if let Some(former) = instead_of {
            tables.sessions.remove(former);
        }
        tables.sessions.insert(session.session, session.clone());
        Ok(())
    }

    async fn use_session(
        &self,
        session: &HandleHash,
        idle: Duration,
        now: UnixSeconds,
    ) -> Result<Option<SsoSession>, Failure> {
        let mut tables = self.lock();
        let live = |session: &&mut SsoSession| now < session.idle_until && now < session.expires_at;
        let Some(session) = tables.sessions.get_mut(session).filter(live) else { return Ok(None) };
        session.idle_until = now.saturating_add(idle).min(session.expires_at);
        Ok(Some(session.clone()))
    }

    async fn end_session(&self, session: &HandleHash) -> Result<(), Failure> {
        self.lock().sessions.remove(session);
        Ok(())
    }

    async fn end_subject_sessions(&self, subject: &str) -> Result<(), Failure> {
        self.lock().sessions.retain(|_, session| session.subject != subject);
        Ok(())
    }

    async fn consent(&self, subject: &str, client_id: &str) -> Result<ScopeSet, Failure> {
        let key = (subject.to_owned(), client_id.to_owned());
        Ok(self.lock().consents.get(&key).cloned().unwrap_or_default())
    }

    async fn put_consent(&self, subject: &str, client_id: &str, scope: &ScopeSet) -> Result<(), Failure> {
        let mut tables = self.lock();
        let key = (subject.to_owned(), client_id.to_owned());
        if scope.is_empty() {
            tables.consents.remove(&key);
            return Ok(());
        }
        self.room(&mut tables.consents, |_| true)?;
        tables.consents.insert(key, scope.clone());
        Ok(())
    }
}

#[async_trait]
impl DeviceStore for MemoryStore {
    async fn begin_device(&self, request: &DeviceRequest, now: UnixSeconds) -> Result<bool, Failure> {
        let mut tables = self.lock();
        let same_code = |device: &Device| device.request.user_code == request.user_code && device.is_live(now);
        if tables.devices.values().any(same_code) {
            return Ok(false);
        }
        self.room(&mut tables.devices, |device| device.is_remembered(now))?;
        let device = Device {
            request: request.clone(),
            interval: request.interval,
            last_poll: None,
            state: DeviceState::Undecided,
        };
        tables.devices.insert(request.device, device);
        Ok(true)
    }

    async fn undecided_device(
        &self,
        user_code: &HandleHash,
        now: UnixSeconds,
    ) -> Result<Option<DeviceRequest>, Failure> {
        let tables = self.lock();
        let wanted = |device: &&Device| device.is_undecided(user_code, now);
        Ok(tables.devices.values().find(wanted).map(|device| device.request.clone()))
    }

    async fn decide_device(
        &self,
        user_code: &HandleHash,
        grant: Option<&Grant>,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let tables = &mut *self.lock();
        let wanted = |device: &&mut Device| device.is_undecided(user_code, now);
        let Some(device) = tables.devices.values_mut().find(wanted) else { return Ok(false) };
        let Some(grant) = grant else {
            device.state = DeviceState::Denied;
            return Ok(true);
        };
        self.room(&mut tables.grants, |grant| now < grant.expires_at)?;
        tables.grants.insert(grant.id.clone(), grant.clone());
        device.state = DeviceState::Approved(grant.id.clone());
        Ok(true)
    }

    async fn poll_device(&self, device: &HandleHash, client_id: &str, now: UnixSeconds) -> Result<DevicePoll, Failure> {
        let tables = &mut *self.lock();
        let wanted = |device: &&mut Device| device.request.client_id == client_id && device.is_remembered(now);
        let Some(device) = tables.devices.get_mut(device).filter(wanted) else { return Ok(DevicePoll::Unknown) };
        match &device.state {
            DeviceState::Told => return Ok(DevicePoll::Unknown),
            DeviceState::Denied => return Ok(DevicePoll::Denied),
            _ if !device.is_live(now) => return Ok(DevicePoll::Expired),
            DeviceState::Approved(grant) => {
                let grant = tables.grants.get(grant).filter(|grant| now < grant.expires_at).cloned();
                device.state = DeviceState::Told;
                return Ok(grant.map_or(DevicePoll::Unknown, |grant| DevicePoll::Approved(Box::new(grant))));
            }
            DeviceState::Undecided => {}
        }
        let before = device.last_poll.replace(now);
        if before.is_some_and(|before| now.since(before) < device.interval) {
            device.interval += DeviceRequest::SLOW_DOWN;
            return Ok(DevicePoll::SlowDown);
        }
        Ok(DevicePoll::Pending)
    }
}

impl Device {
    fn is_live(&self, now: UnixSeconds) -> bool {
        now < self.request.expires_at
    }

    fn is_remembered(&self, now: UnixSeconds) -> bool {
        now < self.request.expires_at.saturating_add(DeviceRequest::REMEMBERED)
    }

    fn is_undecided(&self, user_code: &HandleHash, now: UnixSeconds) -> bool {
        self.request.user_code == *user_code && self.is_live(now) && matches!(self.state, DeviceState::Undecided)
    }
}

#[async_trait]
impl CountStore for MemoryStore {
    async fn count(&self, key: &HandleHash, until: UnixSeconds, now: UnixSeconds) -> Result<u32, Failure> {
        let mut tables = self.lock();
        if let Some(kept) = tables.counts.get_mut(key).filter(|count| now < count.until) {
            kept.count = kept.count.saturating_add(1);
            return Ok(kept.count);
        }
        self.room(&mut tables.counts, |count| now < count.until)?;
        tables.counts.insert(*key, Count { count: 1, until });
        Ok(1)
    }

    async fn counted(&self, key: &HandleHash, now: UnixSeconds) -> Result<u32, Failure> {
        let tables = self.lock();
        Ok(tables.counts.get(key).filter(|count| now < count.until).map_or(0, |count| count.count))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("limits", &self.limits).finish_non_exhaustive()
    }
}
