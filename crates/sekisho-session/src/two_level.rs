use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{ConfigError, Failure, UnixSeconds};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::invalidation::{Invalidation, Invalidations};
use crate::store::{ListedSession, NewSession, Saved, SessionStore, SessionUpdate, StoredSession};
use crate::token::{SessionHash, SessionTag};

#[cfg(all(test, sekisho_shuttle))]
mod interleavings;
mod listener;
mod near;

use listener::Listener;
use near::NearCache;

/// Keeps sessions in another store, and remembers in this process, for a second, those that were asked for.
///
/// **How late.** What is done through this store counts here at once: no answer after a logout, an end by tag or a save has returned shows
/// what was before. What other processes do counts here as soon as the [`Invalidations`] bring it, and in any case after
/// [`max_age`](TwoLevelBuilder::with_max_age), by default one second of this machine's running time since the other store was asked. That bound
/// needs nobody's message: it also holds where one is lost unnoticed, or where a write fails or is dropped before it was told. While the
/// invalidations are known to be lost, nothing is answered from memory.
///
/// **Never late** are writes, lists and [`load_latest`](SessionStore::load_latest): they go to the other store. A save is a compare-and-set
/// there, so no update is lost by what was remembered here; and that there is no session is never remembered.
///
/// Which sessions have a tag is known to the other store alone. So [`delete_tagged`](SessionStore::delete_tagged) makes this process forget
/// everything, and all others too if it ended any: the next request of each session asks the other store again.
/// A logout, which happens often, ends by what the store lists: it makes nobody forget the sessions of others.
///
/// Memory holds what the other store holds, ciphertext, bounded by [`NearLimits`].
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use sekisho_session::{LocalInvalidations, MemorySessionStore, SessionKey, SessionKeys, Sessions, TwoLevelSessionStore};
///
/// // In earnest both are in Redis, say.
/// let (store, invalidations) = (Arc::new(MemorySessionStore::new()), Arc::new(LocalInvalidations::new()));
/// let store = TwoLevelSessionStore::builder(store, invalidations).start()?;
/// let sessions = Sessions::builder(Arc::new(store), SessionKeys::new(SessionKey::generate()?)).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct TwoLevelSessionStore {
    store: Arc<dyn SessionStore>,
    invalidations: Arc<dyn Invalidations>,
    near: Arc<NearCache>,
    listener: Listener,
    /// Whether the last one was told, so that an outage is logged once.
    is_heard: AtomicBool,
}

/// Bounds what a [`TwoLevelSessionStore`] remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NearLimits {
    /// Sessions at once, about. Default 50,000.
    pub entries: usize,
    /// Bytes of memory, about; a session that takes more than a 64th of it is not remembered. Default 64 MiB.
    pub bytes: usize,
}

impl Default for NearLimits {
    fn default() -> Self {
        Self { entries: 50_000, bytes: 64 << 20 }
    }
}

impl TwoLevelSessionStore {
    /// Starts from the store that all processes share, and from what tells them of each other's changes.
    pub fn builder(store: Arc<dyn SessionStore>, invalidations: Arc<dyn Invalidations>) -> TwoLevelBuilder {
        TwoLevelBuilder { store, invalidations, max_age: DEFAULT_MAX_AGE, limits: NearLimits::default() }
    }

    /// Tells whether changes elsewhere are heard of. Nothing is answered from memory otherwise.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.near.is_open()
    }

    /// Waits until changes elsewhere are heard of. Put a timeout around it.
    pub async fn listening(&self) {
        self.listener.listening().await;
    }

    /// Counts the sessions in memory, also those that are too old to be answered and were not cleared away yet.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.near.len()
    }

    /// Tells the other processes. They need it not in order to be right, but to be right sooner: so it is no failure of the write that
    /// came before, and there is no point in trying for longer than they remember.
    async fn tell(&self, invalidation: Invalidation) {
        let told = timeout(self.near.max_age(), self.invalidations.publish(invalidation)).await;
        let told = told.unwrap_or_else(|_| Err(Failure::unavailable("nobody took it in time")));
        let was_heard = self.is_heard.swap(told.is_ok(), Ordering::Relaxed);
        match told {
            Ok(()) if !was_heard => tracing::info!(target: "sekisho", "changes of sessions are told to others again"),
            Err(failure) if was_heard => {
                tracing::warn!(target: "sekisho", %failure, "a change of a session was not told: others learn it by age");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[async_trait]
impl SessionStore for TwoLevelSessionStore {
    async fn create(&self, id: SessionHash, session: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        // Nobody remembers a name that was free.
        self.near.changing(&id, self.store.create(id, session, now)).await
    }

    fn load_now(&self, id: &SessionHash, now: UnixSeconds) -> Option<Result<Option<StoredSession>, Failure>> {
        self.near.find(id, now, instant()).map(|found| Ok(Some(found)))
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        self.near.load(&*self.store, id, now, instant()).await
    }

    async fn load_latest(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        self.near.load_latest(&*self.store, id, now, instant()).await
    }

    async fn save(
        &self,
        id: &SessionHash,
        expected: u64,
        update: &SessionUpdate,
        now: UnixSeconds,
    ) -> Result<Saved, Failure> {
        let saved = self.near.changing(id, self.store.save(id, expected, update, now)).await;
        if matches!(saved, Ok(Saved::Done)) {
            self.tell(Invalidation::Changed(*id, expected.saturating_add(1))).await;
        }
        saved
    }

    async fn touch(&self, id: &SessionHash, idle_until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        // Not told: who remembers an earlier deadline asks the store when that has come.
        self.near.touch(&*self.store, id, idle_until, now).await
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        let deleted = self.near.changing(id, self.store.delete(id, now)).await;
        // What fails may have ended it, and the next attempt then finds nothing to tell of.
        if !matches!(deleted, Ok(false)) {
            self.tell(Invalidation::Ended(*id)).await;
        }
        deleted
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        self.store.list(tag, now).await
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        // INVARIANT: also when it ended none. Another process may just have ended what this one still remembers.
        let ended = self.near.changing_all(self.store.delete_tagged(tag, now)).await;
        if !matches!(ended, Ok(0)) {
            self.tell(Invalidation::All).await;
        }
        ended
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.near.sweep(instant());
        self.store.sweep(now).await
    }
}

impl fmt::Debug for TwoLevelSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, invalidations, near, listener: _, is_heard: _ } = self;
        f.debug_struct("TwoLevelSessionStore")
            .field("store", store)
            .field("invalidations", invalidations)
            .field("max_age", &near.max_age())
            .field("is_listening", &near.is_open())
            .finish_non_exhaustive()
    }
}

/// Builds a [`TwoLevelSessionStore`].
#[derive(Debug)]
#[must_use]
pub struct TwoLevelBuilder {
    store: Arc<dyn SessionStore>,
    invalidations: Arc<dyn Invalidations>,
    max_age: Duration,
    limits: NearLimits,
}

impl TwoLevelBuilder {
    /// Sets for how long a session is answered from memory, and so how late this process can be with what another one did. Default 1 s, at
    /// most 60 s.
    pub fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// Sets other bounds of memory.
    pub fn with_limits(self, limits: NearLimits) -> Self {
        Self { limits, ..self }
    }

    /// Builds it, and begins to listen in a task of the current tokio runtime. That ends when the store is dropped.
    ///
    /// # Errors
    /// [`ConfigError`] for an age of zero or above 60 s, for bounds that leave no room, and outside of a tokio runtime.
    pub fn start(self) -> Result<TwoLevelSessionStore, ConfigError> {
        let Self { store, invalidations, max_age, limits } = self;
        if max_age.is_zero() || max_age > MOST_MAX_AGE {
            return Err(ConfigError::new("a session is remembered for 60 seconds at the most, and not for no time"));
        }
        if limits.entries == 0 || limits.bytes == 0 {
            return Err(ConfigError::new("the memory in front of a session store needs room"));
        }
        let runtime = Handle::try_current().map_err(|error| {
            ConfigError::new("a session store of two levels needs a tokio runtime").with_source(error)
        })?;
        let near = Arc::new(NearCache::new(max_age, limits));
        let listener = Listener::start(&runtime, Arc::clone(&near), Arc::clone(&invalidations));
        Ok(TwoLevelSessionStore { store, invalidations, near, listener, is_heard: AtomicBool::new(true) })
    }
}

/// Takes tokio's clock, which tests can move.
fn instant() -> std::time::Instant {
    Instant::now().into_std()
}

const DEFAULT_MAX_AGE: Duration = Duration::from_secs(1);
const MOST_MAX_AGE: Duration = Duration::from_secs(60);
