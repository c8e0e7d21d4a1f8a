use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_core::{
    AccessRequest, ConfigError, Decision, DecisionSource, SessionEnd, SessionEndListener, SubjectId, UnixSeconds,
};

use crate::key::{IdKind, Key, KeyMaker, Part};

/// Bounds what is remembered of decisions. Both bounds hold at once; the oldest make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastKnownLimits {
    entries: usize,
    bytes: usize,
}

impl LastKnownLimits {
    /// Sets the bounds: decisions, and bytes of memory for them, about.
    #[must_use]
    pub const fn new(entries: usize, bytes: usize) -> Self {
        Self { entries, bytes }
    }
}

impl Default for LastKnownLimits {
    /// Returns 10,000 decisions and 8 MiB.
    fn default() -> Self {
        Self::new(10_000, 8 << 20)
    }
}

/// What an entry costs beside its decision's own texts: itself, its places in two maps.
const OVERHEAD: usize = 400;
/// The largest decision that is remembered, in bytes.
const LARGEST: usize = 16 << 10;

/// Holds the last decisions of an authorizer about each question. A clone is the same one.
///
/// Whoever hears of logouts and withdrawals tells it here, after whatever is asked before it and remembers something itself:
/// `remote::Purger` keeps to that order. A decision that is on its way meanwhile is not remembered: it may have been made
/// before.
#[derive(Clone)]
pub struct LastKnown(Arc<Inner>);

struct Inner {
    keys: KeyMaker,
    time: Duration,
    limits: LastKnownLimits,
    memory: Mutex<Memory>,
    /// How many decisions came, and how often something had to be forgotten. Both change only while the memory is locked;
    /// whoever asks a question reads them without.
    came: AtomicU64,
    purged: AtomicU64,
}

#[derive(Default)]
struct Memory {
    entries: HashMap<Key, Entry>,
    /// The keys in the order in which their decisions came.
    order: BTreeMap<u64, Key>,
    bytes: usize,
}

struct Entry {
    decision: Decision,
    at: UnixSeconds,
    place: u64,
    bytes: usize,
    subject: Key,
    session: Option<Key>,
    token: Option<Key>,
    grant: Option<Key>,
}

/// Stands for the moment at which a question was asked.
#[derive(Clone, Copy)]
pub(in crate::combine) struct Asked {
    came: u64,
    purged: u64,
}

impl LastKnown {
    pub(in crate::combine) fn new(time: Duration, limits: LastKnownLimits, counted: Part) -> Result<Self, ConfigError> {
        if limits.entries == 0 || limits.bytes < OVERHEAD {
            return Err(ConfigError::new("last known decisions need room for one of them and 400 bytes"));
        }
        let memory = Mutex::default();
        let (came, purged) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self(Arc::new(Inner { keys: KeyMaker::new(counted, Part::Whole)?, time, limits, memory, came, purged })))
    }

    /// Returns how many decisions are remembered now, those too old included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory().entries.len()
    }

    /// Tells whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything: the policies have changed.
    pub fn purge_all(&self) {
        self.purge(|_| true);
    }

    /// Forgets all decisions about a subject.
    pub fn purge_subject(&self, subject: &SubjectId) {
        let id = self.0.keys.id(IdKind::Subject, subject.issuer(), subject.subject());
        self.purge(|entry| entry.subject == id);
    }

    /// Forgets all decisions about credentials of one session at the issuer (`sid`).
    pub fn purge_session(&self, issuer: &str, session_id: &str) {
        let id = self.0.keys.id(IdKind::Session, issuer, session_id);
        self.purge(|entry| entry.session == Some(id));
    }

    /// Forgets all decisions about one token (`jti`).
    pub fn purge_token(&self, issuer: &str, token_id: &str) {
        let id = self.0.keys.id(IdKind::Token, issuer, token_id);
        self.purge(|entry| entry.token == Some(id));
    }

    /// Forgets all decisions about tokens of one grant: those whose `jti` is the grant's id, a dot and whatever follows it.
    pub fn purge_grant(&self, issuer: &str, grant_id: &str) {
        let id = self.0.keys.id(IdKind::Grant, issuer, grant_id);
        self.purge(|entry| entry.grant == Some(id));
    }

    /// Forgets all decisions that a withdrawal speaks of; of a subject, whenever its credentials were issued.
    #[cfg(feature = "revocation")]
    pub fn purge_withdrawn(&self, withdrawal: &sekisho_revocation::Withdrawal) {
        use sekisho_revocation::Withdrawn;
        let issuer = withdrawal.issuer();
        match withdrawal.what() {
            Withdrawn::Token(token_id) => self.purge_token(issuer, token_id),
            Withdrawn::Session(session_id) => self.purge_session(issuer, session_id),
            Withdrawn::Subject { subject, .. } => self.purge_subject(&SubjectId::new(issuer, &**subject)),
            Withdrawn::Grant(grant_id) => self.purge_grant(issuer, grant_id),
        }
    }

    fn purge(&self, is_due: impl Fn(&Entry) -> bool) {
        let mut memory = self.memory();
        self.0.purged.fetch_add(1, Ordering::AcqRel);
        let due: Vec<Key> = memory.entries.iter().filter(|(_, entry)| is_due(entry)).map(|(key, _)| *key).collect();
        due.into_iter().for_each(|key| memory.remove(key));
    }

    pub(in crate::combine) fn time(&self) -> Duration {
        self.0.time
    }

    /// Notes that a question is about to be asked.
    pub(in crate::combine) fn asks(&self) -> Asked {
        Asked { came: self.0.came.load(Ordering::Acquire), purged: self.0.purged.load(Ordering::Acquire) }
    }

    /// Remembers a decision about a question.
    pub(in crate::combine) fn remember(&self, asked: Asked, request: &AccessRequest<'_>, decision: &Decision) {
        // An answer from a cache was remembered when it came, and what stood in is no decision of the inner one.
        let is_second_hand = matches!(decision.source(), DecisionSource::Cache | DecisionSource::Fallback);
        if is_second_hand && decision.is_permitted() || self.0.time.as_secs() == 0 {
            return;
        }
        let Some(key) = self.0.keys.question(request, |_| {}) else { return };
        if is_second_hand {
            // It is no permit any more, whoever has heard of that first.
            let mut memory = self.memory();
            self.0.purged.fetch_add(1, Ordering::AcqRel);
            memory.remove(key);
            return;
        }
        let bytes = bytes_of(decision);
        let is_kept = bytes <= LARGEST.min(self.0.limits.bytes) && decision.lifetime() != Some(Duration::ZERO);
        let subject = request.subject();
        let (keys, issuer) = (&self.0.keys, subject.issuer());
        let token_id = subject.token_id();
        let mut entry = Entry {
            decision: decision.clone(),
            at: request.now(),
            place: 0,
            bytes,
            subject: keys.id(IdKind::Subject, issuer, subject.subject()),
            session: subject.session_id().map(|id| keys.id(IdKind::Session, issuer, &id)),
            token: token_id.as_ref().map(|id| keys.id(IdKind::Token, issuer, id)),
            grant: token_id.as_ref().and_then(|id| Some(keys.id(IdKind::Grant, issuer, id.split_once('.')?.0))),
        };
        let mut memory = self.memory();
        // Of two that were on their way together, no permit takes the place of what is none.
        let is_overtaken = memory
            .entries
            .get(&key)
            .is_some_and(|known| asked.came < known.place && decision.is_permitted() && !known.decision.is_permitted());
        if is_overtaken {
            return;
        }
        // Whatever was known is not the last decision any more, also where this one may not be kept.
        memory.remove(key);
        if !is_kept && !decision.is_permitted() {
            // Nothing will stand here that shows a permit on its way that it was overtaken.
            self.0.purged.fetch_add(1, Ordering::AcqRel);
        }
        if asked.purged != self.0.purged.load(Ordering::Acquire) || !is_kept {
            return;
        }
        entry.place = self.0.came.fetch_add(1, Ordering::AcqRel) + 1;
        memory.bytes += bytes;
        memory.order.insert(entry.place, key);
        memory.entries.insert(key, entry);
        while memory.entries.len() > self.0.limits.entries || memory.bytes > self.0.limits.bytes {
            let Some((_, oldest)) = memory.order.first_key_value() else { break };
            let oldest = *oldest;
            memory.remove(oldest);
        }
        // Those too old go a few at a time, so that nobody pays for all of them.
        for _ in 0..2 {
            let Some(oldest) = memory.order.first_key_value().map(|(_, key)| *key) else { break };
            let is_live = |entry: &Entry| request.now() < entry.at.saturating_add(self.0.time);
            if memory.entries.get(&oldest).is_some_and(is_live) {
                break;
            }
            memory.remove(oldest);
        }
    }

    /// Returns the last decision about an equal question and how old it is, if it may stand in.
    pub(in crate::combine) fn find(&self, request: &AccessRequest<'_>) -> Option<(Decision, Duration)> {
        // A token is taken for a while after its end, for clocks that differ; what was decided of it is not.
        if request.subject().expires_at().is_some_and(|end| end <= request.now()) {
            return None;
        }
        let key = self.0.keys.question(request, |_| {})?;
        let memory = self.memory();
        let entry = memory.entries.get(&key)?;
        // A clock that was set back would make it live longer.
        let is_live = entry.at <= request.now() && request.now() < entry.at.saturating_add(self.0.time);
        is_live.then(|| (entry.decision.clone(), request.now().since(entry.at)))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing panics while it is held; if it did, the counters would still bound it.
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.order.remove(&entry.place);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

/// Estimates what a decision costs.
fn bytes_of(decision: &Decision) -> usize {
    let reasons = decision.reasons().iter().map(|one| one.policy().len() + one.revision().map_or(0, str::len) + 64);
    let obligations = decision
        .obligations()
        .iter()
        .map(|one| one.id().len() + one.parameters().map_or(0, |parameters| parameters.heap_bytes()) + 96);
    let texts = decision.id().map_or(0, str::len) + decision.revision().map_or(0, str::len);
    OVERHEAD + texts + reasons.sum::<usize>() + obligations.sum::<usize>()
}

/// Forgets what was decided about whoever was logged in. Where a `Remote` is behind it that keeps decisions as well, the `Purger` of
/// both listens in the place of this: it has them forget in the right order.
impl SessionEndListener for LastKnown {
    fn session_ended(&self, end: &SessionEnd<'_>) {
        match *end {
            SessionEnd::Subject(subject) => self.purge_subject(subject),
            SessionEnd::ProviderSession { issuer, id } => self.purge_session(issuer, id),
            // Whose sessions these are nobody says.
            SessionEnd::Client { issuer: _, client: _ } => self.purge_all(),
        }
    }
}

impl fmt::Debug for LastKnown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastKnown").field("len", &self.len()).finish_non_exhaustive()
    }
}
