//! Where the processes of the model touch the world: each call waits until it is told to happen, to fail, or to happen too late.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_session::{
    ListedSession, MemorySessionStore, NewSession, Saved, Sealed, SessionHash, SessionStore, SessionTag, SessionUpdate,
    StoredSession,
};
use tokio::sync::oneshot;

/// Is what breaks a promise on purpose, so that a property is seen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A save of what was ended brings it back.
    SaveRevives,
    /// A save counts, whoever has saved since.
    SaveIsBlind,
    /// Ending by tag ends nobody.
    EndsNothingByTag,
    /// A service's clock stands.
    TimeStandsStill,
    /// The second process's clock is so far ahead that no mark counts for it.
    ClockAhead,
    /// The provider answers a refresh with tokens of the other login.
    ProviderMixesUp,
    /// What a logout leaves for logins under way is not found.
    ForgetsEnds,
}

/// Is the store that the processes share: the real one in memory, told apart from it only where it is to break a promise.
#[derive(Debug, Default)]
pub(super) struct Disk {
    inner: MemorySessionStore,
    broken: Option<Broken>,
    overrides: Mutex<HashMap<SessionHash, StoredSession>>,
    names: Mutex<Names>,
}

/// Gives what is random names that are the same in each run.
#[derive(Debug, Default)]
struct Names {
    sessions: BTreeMap<String, SessionHash>,
    of: HashMap<SessionHash, String>,
    bodies: HashMap<Sealed, String>,
}

impl Disk {
    pub(super) fn new(broken: Option<Broken>) -> Self {
        Self { broken, ..Self::default() }
    }

    fn found(&self, id: &SessionHash, found: Option<StoredSession>) -> Option<StoredSession> {
        self.overrides.lock().unwrap().get(id).cloned().or(found)
    }

    fn name(&self, id: &SessionHash) -> String {
        self.names.lock().unwrap().of.get(id).cloned().unwrap_or_else(|| "?".to_owned())
    }

    fn call_body(&self, body: &Sealed, name: impl FnOnce() -> String) {
        self.names.lock().unwrap().bodies.entry(body.clone()).or_insert_with(name);
    }

    fn show(&self, found: &Option<StoredSession>) -> String {
        let Some(StoredSession { version, idle_until, expires_at, body }) = found else { return "none".to_owned() };
        let name = self.names.lock().unwrap().bodies.get(body).cloned();
        format!("v{version} {idle_until} {expires_at} {}", name.unwrap_or_default())
    }

    /// Describes all that is in it.
    pub(super) fn digest(&self, now: UnixSeconds, into: &mut DefaultHasher) {
        let sessions = self.names.lock().unwrap().sessions.clone();
        for (name, id) in sessions {
            let found = SessionStore::load(self, &id, now).now_or_never().unwrap().unwrap();
            (name, self.show(&found)).hash(into);
        }
    }
}

#[async_trait]
impl SessionStore for Disk {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        self.inner.create(id, new, now).await
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        let found = self.inner.load(id, now).await?;
        Ok(self.found(id, found))
    }

    async fn save(&self, id: &SessionHash, v: u64, to: &SessionUpdate, now: UnixSeconds) -> Result<Saved, Failure> {
        let saved = self.inner.save(id, v, to, now).await?;
        let is_taken = match (self.broken, saved) {
            (Some(Broken::SaveRevives), Saved::Gone) | (Some(Broken::SaveIsBlind), Saved::Conflict) => true,
            // From the first broken one on the versions here are our own.
            (Some(_), Saved::Conflict) => {
                self.overrides.lock().unwrap().get(id).is_some_and(|stored| stored.version == v)
            }
            _ => false,
        };
        if !is_taken {
            return Ok(saved);
        }
        let SessionUpdate { idle_until, expires_at, body } = to.clone();
        let stored = StoredSession { version: v + 1, idle_until, expires_at, body };
        self.overrides.lock().unwrap().insert(*id, stored);
        Ok(Saved::Done)
    }

    async fn touch(&self, id: &SessionHash, until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        self.inner.touch(id, until, now).await
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        self.overrides.lock().unwrap().remove(id);
        self.inner.delete(id, now).await
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        self.inner.list(tag, now).await
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        if self.broken == Some(Broken::EndsNothingByTag) {
            return Ok(0);
        }
        self.inner.delete_tagged(tag, now).await
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.inner.sweep(now).await
    }
}

/// Is a call that waits. It can happen without being answered, and be answered without having happened.
pub(super) struct Call {
    pub(super) label: String,
    /// Does it, and shows what came of it.
    pub(super) happen: Box<dyn FnOnce() -> String + Send>,
    tell: oneshot::Sender<bool>,
}

impl Call {
    pub(super) fn answer(self) -> String {
        let shown = (self.happen)();
        let _ = self.tell.send(true);
        shown
    }

    pub(super) fn lose(self) -> String {
        let shown = (self.happen)();
        let _ = self.tell.send(false);
        format!("lost {shown}")
    }

    pub(super) fn refuse(self) {
        let _ = self.tell.send(false);
    }

    /// Tells the caller that there is no answer, and returns what is still on its way.
    pub(super) fn delay(self) -> (String, Box<dyn FnOnce() -> String + Send>) {
        let _ = self.tell.send(false);
        (self.label, self.happen)
    }
}

const END: &str = "end";

/// Holds the calls of one process.
#[derive(Default)]
pub(super) struct Gate(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Who the process is, and in which of its lives.
    me: String,
    is_open: bool,
    next: usize,
    created: usize,
    written: usize,
    calls: BTreeMap<usize, Call>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    pub(super) fn new(me: String, is_open: bool) -> Self {
        Self(Mutex::new(Waiting { me, is_open, ..Waiting::default() }))
    }

    /// From now on calls wait.
    pub(super) fn close(&self) {
        self.0.lock().unwrap().is_open = false;
    }

    pub(super) fn waiting(&self) -> Vec<(usize, String)> {
        self.0.lock().unwrap().calls.iter().map(|(number, call)| (*number, call.label.clone())).collect()
    }

    pub(super) fn take(&self, number: usize) -> Call {
        self.0.lock().unwrap().calls.remove(&number).expect("a call that waits")
    }

    fn count(&self, of: impl FnOnce(&mut Waiting) -> &mut usize) -> String {
        let mut waiting = self.0.lock().unwrap();
        let count = of(&mut waiting);
        *count += 1;
        let count = *count;
        format!("{}.{count}", waiting.me)
    }

    /// Waits to be told, and then happens or not. What happens must be ready at once.
    pub(super) async fn call<R: Send + 'static, E: From<Failure> + Send + 'static>(
        &self,
        label: String,
        action: impl Future<Output = Result<R, E>> + Send + 'static,
        show: impl FnOnce(&Result<R, E>) -> String + Send + 'static,
    ) -> Result<R, E> {
        if self.0.lock().unwrap().is_open {
            return action.await;
        }
        let slot = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&slot);
        let happen = Box::new(move || {
            let answer = action.now_or_never().expect("the memory answers at once");
            let shown = show(&answer);
            *filled.lock().unwrap() = Some(answer);
            shown
        });
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = self.0.lock().unwrap();
            let number = waiting.next;
            waiting.next += 1;
            waiting.calls.insert(number, Call { label, happen, tell });
        }
        match told.await {
            Ok(true) => slot.lock().unwrap().take().expect("an answer"),
            _ => Err(Failure::unavailable("no answer came").into()),
        }
    }
}

/// Is the store as one process sees it.
#[derive(Debug)]
pub(super) struct Gated {
    pub(super) disk: Arc<Disk>,
    pub(super) gate: Arc<Gate>,
}

#[async_trait]
impl SessionStore for Gated {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        // What a logout by the provider leaves is the same for everybody who leaves it.
        let is_end = new.card == new.body;
        let name = if is_end { END.to_owned() } else { self.gate.count(|waiting| &mut waiting.created) };
        self.disk.call_body(&new.body, || format!("first of {name}"));
        {
            let mut names = self.disk.names.lock().unwrap();
            names.of.insert(id, name.clone());
            names.sessions.insert(name.clone(), id);
        }
        let (disk, new) = (Arc::clone(&self.disk), new.clone());
        let create = async move { disk.create(id, &new, now).await };
        self.gate.call(format!("create {name}"), create, |answer| format!("{answer:?}")).await
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        let (disk, id, shown) = (Arc::clone(&self.disk), *id, Arc::clone(&self.disk));
        let label = format!("load {}", disk.name(&id));
        let show = move |answer: &Result<_, Failure>| shown.show(answer.as_ref().unwrap());
        self.gate.call(label, async move { disk.load(&id, now).await }, show).await
    }

    async fn load_latest(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        if self.disk.broken == Some(Broken::ForgetsEnds) && matches!(&*self.disk.name(id), "?" | END) {
            return Ok(None);
        }
        self.load(id, now).await
    }

    async fn save(&self, id: &SessionHash, v: u64, to: &SessionUpdate, now: UnixSeconds) -> Result<Saved, Failure> {
        self.disk.call_body(&to.body, || self.gate.count(|waiting| &mut waiting.written));
        let (disk, id, to) = (Arc::clone(&self.disk), *id, to.clone());
        let label = format!("save {} v{v}", disk.name(&id));
        self.gate.call(label, async move { disk.save(&id, v, &to, now).await }, |answer| format!("{answer:?}")).await
    }

    async fn touch(&self, id: &SessionHash, until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        let (disk, id) = (Arc::clone(&self.disk), *id);
        let label = format!("touch {}", disk.name(&id));
        self.gate.call(label, async move { disk.touch(&id, until, now).await }, |answer| format!("{answer:?}")).await
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        let (disk, id) = (Arc::clone(&self.disk), *id);
        let label = format!("delete {}", disk.name(&id));
        self.gate.call(label, async move { disk.delete(&id, now).await }, |answer| format!("{answer:?}")).await
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        let (disk, tag) = (Arc::clone(&self.disk), *tag);
        let show = |answer: &Result<Vec<_>, Failure>| format!("{}", answer.as_ref().unwrap().len());
        self.gate.call("list".to_owned(), async move { disk.list(&tag, now).await }, show).await
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        let (disk, tag) = (Arc::clone(&self.disk), *tag);
        let end = async move { disk.delete_tagged(&tag, now).await };
        self.gate.call("delete by tag".to_owned(), end, |answer| format!("{answer:?}")).await
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.disk.sweep(now).await
    }
}
