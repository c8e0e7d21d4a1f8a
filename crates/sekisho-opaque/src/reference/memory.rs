use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, SubjectId, UnixSeconds};

use super::{ReferenceDigest, ReferenceRecord, ReferenceStore};

/// Keeps reference tokens in the memory of this process: for one instance, and for tests. They end with the process.
///
/// Every answer is given at once. When it is full, it refuses to insert; nobody is thrown out for somebody else.
#[derive(Default)]
pub struct MemoryReferenceStore {
    limits: ReferenceLimits,
    state: RwLock<State>,
}

/// Bounds a [`MemoryReferenceStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReferenceLimits {
    /// Tokens alive at once. Default 100,000.
    pub records: usize,
    /// Bytes of memory, about. Default 256 MiB.
    pub bytes: usize,
    /// Tokens of one subject alive at once, so that nobody alone can fill it. Default 1,000.
    pub per_subject: usize,
}

impl Default for ReferenceLimits {
    fn default() -> Self {
        Self { records: 100_000, bytes: 256 << 20, per_subject: 1000 }
    }
}

/// INVARIANT: every record stands in each of the indexes that it belongs to, and nothing else does.
#[derive(Default)]
struct State {
    records: HashMap<ReferenceDigest, ReferenceRecord>,
    by_subject: HashMap<SubjectId, HashSet<ReferenceDigest>>,
    by_session: HashMap<(Box<str>, Box<str>), HashSet<ReferenceDigest>>,
    by_end: BTreeSet<(UnixSeconds, ReferenceDigest)>,
    bytes: usize,
}

impl MemoryReferenceStore {
    /// Makes an empty store with other bounds.
    #[must_use]
    pub fn with_limits(limits: ReferenceLimits) -> Self {
        Self { limits, state: RwLock::default() }
    }

    /// Counts the tokens in memory, also those that have died and were not cleared away yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().records.len()
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn look_up(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Option<ReferenceRecord> {
        self.read().records.get(digest).filter(|record| now < record.expires_at()).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Clears away what has died. What is cleared here was paid for by its own insertion.
    fn clear_dead(&mut self, now: UnixSeconds) {
        while let Some((end, digest)) = self.by_end.first().copied()
            && end <= now
        {
            self.remove(&digest);
        }
    }

    fn insert(&mut self, digest: ReferenceDigest, record: ReferenceRecord) {
        self.bytes += cost(&record);
        self.by_end.insert((record.expires_at(), digest));
        self.by_subject.entry(record.subject().clone()).or_default().insert(digest);
        if let Some(session) = session_of(&record) {
            self.by_session.entry(session).or_default().insert(digest);
        }
        self.records.insert(digest, record);
    }

    fn remove(&mut self, digest: &ReferenceDigest) -> Option<ReferenceRecord> {
        let record = self.records.remove(digest)?;
        self.bytes = self.bytes.saturating_sub(cost(&record));
        self.by_end.remove(&(record.expires_at(), *digest));
        unlink(&mut self.by_subject, record.subject(), digest);
        if let Some(session) = session_of(&record) {
            unlink(&mut self.by_session, &session, digest);
        }
        Some(record)
    }

    fn remove_all(&mut self, digests: Vec<ReferenceDigest>, now: UnixSeconds) -> u64 {
        let removed = digests.iter().filter_map(|digest| self.remove(digest));
        removed.filter(|record| now < record.expires_at()).count() as u64
    }
}

fn session_of(record: &ReferenceRecord) -> Option<(Box<str>, Box<str>)> {
    Some((record.subject().issuer().into(), record.session()?.into()))
}

fn unlink<K: Eq + Hash>(index: &mut HashMap<K, HashSet<ReferenceDigest>>, key: &K, digest: &ReferenceDigest) {
    if let Some(digests) = index.get_mut(key) {
        digests.remove(digest);
        if digests.is_empty() {
            index.remove(key);
        }
    }
}

/// Estimates what a record costs, its places in the indexes included.
fn cost(record: &ReferenceRecord) -> usize {
    record.heap_bytes() + 2 * (record.subject().subject().len() + record.session().map_or(0, str::len)) + 400
}

#[async_trait]
impl ReferenceStore for MemoryReferenceStore {
    async fn insert(
        &self,
        digest: ReferenceDigest,
        record: &ReferenceRecord,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let mut state = self.write();
        state.clear_dead(now);
        if state.records.contains_key(&digest) {
            return Ok(false);
        }
        let full = |context| Err(Failure::unavailable(context).with_retry_after(Duration::from_secs(60)));
        if state.by_subject.get(record.subject()).is_some_and(|digests| digests.len() >= self.limits.per_subject) {
            return full("one subject has too many reference tokens");
        }
        if state.records.len() >= self.limits.records || state.bytes + cost(record) > self.limits.bytes {
            return full("the store of reference tokens is full");
        }
        if now < record.expires_at() {
            state.insert(digest, record.clone());
        }
        Ok(true)
    }

    fn find_now(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Option<Result<Option<ReferenceRecord>, Failure>> {
        Some(Ok(self.look_up(digest, now)))
    }

    async fn find(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure> {
        Ok(self.look_up(digest, now))
    }

    async fn revoke(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<bool, Failure> {
        Ok(self.write().remove(digest).is_some_and(|record| now < record.expires_at()))
    }

    async fn revoke_subject(&self, subject: &SubjectId, now: UnixSeconds) -> Result<u64, Failure> {
        let mut state = self.write();
        let digests = state.by_subject.get(subject).into_iter().flatten().copied().collect();
        Ok(state.remove_all(digests, now))
    }

    async fn revoke_session(&self, issuer: &str, session: &str, now: UnixSeconds) -> Result<u64, Failure> {
        let mut state = self.write();
        let key = (issuer.into(), session.into());
        let digests = state.by_session.get(&key).into_iter().flatten().copied().collect();
        Ok(state.remove_all(digests, now))
    }
}

impl fmt::Debug for MemoryReferenceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryReferenceStore({} tokens)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use sekisho_core::Secret;

    use super::*;
    use crate::reference::ReferenceContent;

    const NOW: UnixSeconds = UnixSeconds::new(1000);

    fn record(subject: &str, end: u64) -> ReferenceRecord {
        let subject = SubjectId::new("https://id.example", subject);
        ReferenceRecord::new(subject, Some("s".into()), UnixSeconds::new(end), ReferenceContent::Jwt(Secret::from("j")))
    }

    const fn digest(number: u8) -> ReferenceDigest {
        ReferenceDigest::from_bytes([number; 32])
    }

    #[tokio::test]
    async fn a_full_store_throws_nobody_out_and_has_room_again_when_some_have_died() {
        let store = MemoryReferenceStore::with_limits(ReferenceLimits { records: 2, ..ReferenceLimits::default() });
        assert!(store.insert(digest(1), &record("a", 1010), NOW).await.expect("room"));
        assert!(store.insert(digest(2), &record("b", 2000), NOW).await.expect("room"));
        assert!(store.insert(digest(3), &record("c", 2000), NOW).await.is_err());
        assert!(store.find(&digest(1), NOW).await.expect("there").is_some());
        let later = UnixSeconds::new(1010);
        assert!(store.insert(digest(3), &record("c", 2000), later).await.expect("room"));
        assert_eq!(store.len(), 2);
    }

    #[tokio::test]
    async fn nobody_alone_can_fill_the_store() {
        let store = MemoryReferenceStore::with_limits(ReferenceLimits { per_subject: 1, ..ReferenceLimits::default() });
        assert!(store.insert(digest(1), &record("a", 2000), NOW).await.expect("room"));
        assert!(store.insert(digest(2), &record("a", 2000), NOW).await.is_err());
        assert!(store.insert(digest(3), &record("b", 2000), NOW).await.expect("room"));
        let small = MemoryReferenceStore::with_limits(ReferenceLimits { bytes: 100, ..ReferenceLimits::default() });
        assert!(small.insert(digest(1), &record("a", 2000), NOW).await.is_err());
    }

    #[tokio::test]
    async fn no_index_keeps_what_is_gone() {
        let store = MemoryReferenceStore::default();
        for number in 0..10 {
            let name = if number % 2 == 0 { "even" } else { "odd" };
            store.insert(digest(number), &record(name, 2000 + u64::from(number)), NOW).await.expect("room");
        }
        assert_eq!(store.revoke_subject(&SubjectId::new("https://id.example", "even"), NOW).await.expect("asked"), 5);
        assert!(store.revoke(&digest(1), NOW).await.expect("asked"));
        assert_eq!(store.revoke_session("https://id.example", "s", NOW).await.expect("asked"), 4);
        let state = store.read();
        assert!(state.records.is_empty() && state.by_subject.is_empty() && state.by_session.is_empty());
        assert!(state.by_end.is_empty());
        assert_eq!(state.bytes, 0);
    }
}
