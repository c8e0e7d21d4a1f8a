//! A store whose answers and writes can be held back.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_session::{
    ListedSession, MemorySessionStore, NewSession, Saved, SessionHash, SessionStore, SessionTag, SessionUpdate,
    StoredSession,
};
use tokio::sync::watch;

/// Is the store in memory. What passes a gate that is shut has happened there, and is answered when it opens.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) inner: MemorySessionStore,
    pub(crate) loads: AtomicUsize,
    pub(crate) answers_loads: watch::Sender<bool>,
    pub(crate) answers_writes: watch::Sender<bool>,
}

impl Default for Gated {
    fn default() -> Self {
        Self {
            inner: MemorySessionStore::new(),
            loads: AtomicUsize::new(0),
            answers_loads: watch::Sender::new(true),
            answers_writes: watch::Sender::new(true),
        }
    }
}

async fn pass(gate: &watch::Sender<bool>) {
    let _ = gate.subscribe().wait_for(|is_open| *is_open).await;
}

#[async_trait]
impl SessionStore for Gated {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        let created = self.inner.create(id, new, now).await;
        pass(&self.answers_writes).await;
        created
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let found = self.inner.load(id, now).await;
        pass(&self.answers_loads).await;
        found
    }

    async fn save(&self, id: &SessionHash, v: u64, to: &SessionUpdate, now: UnixSeconds) -> Result<Saved, Failure> {
        let saved = self.inner.save(id, v, to, now).await;
        pass(&self.answers_writes).await;
        saved
    }

    async fn touch(&self, id: &SessionHash, until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        let touched = self.inner.touch(id, until, now).await;
        pass(&self.answers_writes).await;
        touched
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        let deleted = self.inner.delete(id, now).await;
        pass(&self.answers_writes).await;
        deleted
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        self.inner.list(tag, now).await
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        let deleted = self.inner.delete_tagged(tag, now).await;
        pass(&self.answers_writes).await;
        deleted
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.inner.sweep(now).await
    }
}
