//! A service, its browsers, and a store that fails on demand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Failure, Principal, UnixSeconds};
use sekisho_http::HeadParts;
use sekisho_session::{
    ListedSession, Login, MemorySessionStore, NewSession, RequestSession, Saved, Sealed, Session, SessionHash,
    SessionKey, SessionKeys, SessionStore, SessionTag, SessionUpdate, Sessions, SessionsBuilder, SetCookie,
    StoredSession,
};
use sekisho_testkit::FixedClock;
use serde::{Deserialize, Serialize};

pub(crate) const START: UnixSeconds = UnixSeconds::new(1_800_000_000);
pub(crate) const ISSUER: &str = "https://id.example";

#[derive(Default, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub(crate) struct Cart {
    pub(crate) items: Vec<u32>,
    pub(crate) count: u64,
}

pub(crate) struct World {
    pub(crate) store: Arc<Watched>,
    pub(crate) clock: FixedClock,
    pub(crate) sessions: Sessions,
    pub(crate) key: SessionKey,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(set: impl FnOnce(SessionsBuilder) -> SessionsBuilder) -> Self {
        let (store, clock, key) =
            (Arc::new(Watched::default()), FixedClock::at(START), SessionKey::generate().unwrap());
        let builder = Sessions::builder(Arc::clone(&store) as _, SessionKeys::new(key.clone()));
        let sessions = set(builder.with_clock(Arc::new(clock.clone()))).build().unwrap();
        Self { store, clock, sessions, key }
    }

    /// Is another service over the same store.
    pub(crate) fn service_with(&self, keys: SessionKeys) -> Sessions {
        let builder = Sessions::builder(Arc::clone(&self.store) as _, keys);
        builder.with_clock(Arc::new(self.clock.clone())).build().unwrap()
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn logged_in(&self, subject: &str) -> Browser {
        let mut browser = Browser::default();
        let request = browser.request(&self.sessions);
        request.log_in(Login::new(&somebody(subject)).with_device("Firefox"));
        browser.take(request.finish().await.unwrap());
        browser
    }
}

pub(crate) fn somebody(subject: &str) -> Principal {
    PrincipalBuilder::new(ISSUER, subject).build().unwrap()
}

/// Is a browser: one cookie at the most.
#[derive(Clone, Default, Debug, PartialEq)]
pub(crate) struct Browser {
    pub(crate) cookie: Option<String>,
}

impl Browser {
    pub(crate) fn request(&self, sessions: &Sessions) -> RequestSession {
        let value = self.cookie.clone().unwrap_or_default();
        let headers: &[(&str, &[u8])] = &[("cookie", value.as_bytes())];
        let headers = if self.cookie.is_some() { headers } else { &[] };
        sessions.begin(&HeadParts { method: "GET", path: "/", headers })
    }

    pub(crate) fn take(&mut self, set: Vec<SetCookie>) {
        for cookie in set {
            let text = cookie.expose();
            let pair = text.split(';').next().unwrap();
            self.cookie = (!text.contains("Max-Age=0")).then(|| pair.to_owned());
        }
    }

    /// Asks who the service takes it for.
    pub(crate) async fn who(&self, sessions: &Sessions) -> Option<String> {
        let session = self.session(sessions).await;
        session.principal().unwrap().map(|principal| principal.subject().to_owned())
    }

    pub(crate) async fn session(&self, sessions: &Sessions) -> Session<Cart> {
        self.request(sessions).session(None).await.unwrap()
    }

    /// Makes one request that changes the data.
    pub(crate) async fn add(&mut self, sessions: &Sessions, item: u32) -> Result<(), Failure> {
        let mut session = self.session(sessions).await;
        session.update(move |cart| cart.items.push(item));
        let set = session.finish().await?;
        self.take(set);
        Ok(())
    }

    pub(crate) async fn items(&self, sessions: &Sessions) -> Vec<u32> {
        self.session(sessions).await.data().items.clone()
    }
}

/// Is the store in memory, counted, and broken on demand.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) inner: MemorySessionStore,
    pub(crate) calls: AtomicUsize,
    pub(crate) writes: AtomicUsize,
    pub(crate) is_down: AtomicBool,
    pub(crate) is_corrupt: AtomicBool,
    pub(crate) fails_to_write: AtomicBool,
    pub(crate) fails_to_save: AtomicBool,
    /// `load` does not know yet of what was created; `load_latest` does.
    pub(crate) is_late: AtomicBool,
    /// It does what it is told and does not answer.
    pub(crate) is_silent: AtomicBool,
    /// All names that were created.
    pub(crate) names: Mutex<Vec<SessionHash>>,
    /// All that it was ever handed: names, tags, cards, bodies, also of what is over by now.
    pub(crate) handed: Mutex<Vec<u8>>,
}

impl Watched {
    fn call(&self) -> Result<(), Failure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) { Err(Failure::unavailable("the store is down")) } else { Ok(()) }
    }

    fn write(&self) -> Result<(), Failure> {
        self.call()?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.fails_to_write.load(Ordering::SeqCst) {
            return Err(Failure::unavailable("the store takes no writes"));
        }
        Ok(())
    }

    fn hand(&self, parts: &[&[u8]]) {
        self.handed.lock().unwrap().extend(parts.concat());
    }

    async fn answer<T>(&self, answer: T) -> T {
        while self.is_silent.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answer
    }

    /// Gives each session the content of the one created before it.
    pub(crate) async fn swap_all(&self) {
        let names = self.names.lock().unwrap().clone();
        let mut bodies = Vec::new();
        for name in &names {
            bodies.push(self.inner.load(name, START).await.unwrap().unwrap());
        }
        bodies.rotate_left(1);
        for (name, StoredSession { version, idle_until, expires_at, body }) in names.iter().zip(bodies) {
            // So that the version fits as well: what is put in is one version older than what it replaces.
            let update = SessionUpdate { idle_until, expires_at, body };
            assert_eq!(self.inner.save(name, version, &update, START).await.unwrap(), Saved::Done);
        }
    }

    /// Returns how many calls there were since this was last asked: all, and those that write.
    pub(crate) fn counted(&self) -> (usize, usize) {
        (self.calls.swap(0, Ordering::SeqCst), self.writes.swap(0, Ordering::SeqCst))
    }
}

#[async_trait]
impl SessionStore for Watched {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        self.write()?;
        self.names.lock().unwrap().push(id);
        self.hand(&[id.as_bytes(), new.card.as_bytes(), new.body.as_bytes()]);
        new.tags.iter().for_each(|tag| self.hand(&[tag.as_bytes()]));
        let created = self.inner.create(id, new, now).await;
        self.answer(created).await
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        if self.is_late.load(Ordering::SeqCst) {
            self.call()?;
            return Ok(None);
        }
        self.load_latest(id, now).await
    }

    async fn load_latest(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        self.call()?;
        self.hand(&[id.as_bytes()]);
        tokio::task::yield_now().await;
        let found = self.inner.load(id, now).await?;
        if self.is_corrupt.load(Ordering::SeqCst) {
            return Ok(found.map(|found| StoredSession { body: Sealed::from_bytes(*b"garbage"), ..found }));
        }
        Ok(found)
    }

    async fn save(
        &self,
        id: &SessionHash,
        expected: u64,
        update: &SessionUpdate,
        now: UnixSeconds,
    ) -> Result<Saved, Failure> {
        self.write()?;
        self.hand(&[id.as_bytes(), update.body.as_bytes()]);
        if self.fails_to_save.load(Ordering::SeqCst) {
            return Err(Failure::unavailable("the store saves nothing"));
        }
        tokio::task::yield_now().await;
        let saved = self.inner.save(id, expected, update, now).await;
        self.answer(saved).await
    }

    async fn touch(&self, id: &SessionHash, idle_until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        self.write()?;
        self.inner.touch(id, idle_until, now).await
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        self.write()?;
        let deleted = self.inner.delete(id, now).await;
        self.answer(deleted).await
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        self.call()?;
        self.hand(&[tag.as_bytes()]);
        self.inner.list(tag, now).await
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        self.write()?;
        self.hand(&[tag.as_bytes()]);
        self.inner.delete_tagged(tag, now).await
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.write()?;
        self.inner.sweep(now).await
    }
}
