use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, ConfigError, Failure, SessionEndListener, SubjectId, SystemClock, UnixSeconds};
use sekisho_http::RequestHead;

use crate::authenticator::SessionAuthenticator;
use crate::client_side::{ClientSide, ClientSideSessionsBuilder, NoStore};
use crate::content::{self, Card, Kind, Loaded};
use crate::cookie::SessionCookie;
use crate::ending::EndListeners;
use crate::keys::SessionKeys;
use crate::opened::Opened;
use crate::overview::SessionOverview;
use crate::remembered::RememberedLogins;
use crate::request::{Presented, RequestSession};
use crate::store::{Sealed, SessionStore, StoredSession};
use crate::token::{SessionHash, SessionToken};

mod ends;
mod provider_logout;

pub use provider_logout::ProviderLogout;

/// Is a service's sessions: where they are kept, under which cookie, for how long. A clone costs a counter.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use sekisho_core::dangerous::PrincipalBuilder;
/// use sekisho_http::HeadParts;
/// use sekisho_session::{Login, MemorySessionStore, SessionKey, SessionKeys, Sessions};
///
/// let keys = SessionKeys::new(SessionKey::generate()?); // services that share a store share the key
/// let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys).build()?;
///
/// // What a framework's adapter does with each request:
/// let request = sessions.begin(&HeadParts { method: "POST", path: "/login", headers: &[] });
/// let alice = PrincipalBuilder::new("https://shop.example", "alice").build()?; // after her password was checked
/// request.log_in(Login::new(&alice).with_device("Firefox on Linux"));
/// let set_cookie = request.finish().await?;
/// assert!(set_cookie[0].expose().starts_with("__Host-session="));
/// assert_eq!(sessions.list(&alice.id()).await?[0].device(), Some("Firefox on Linux"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    store: Arc<dyn SessionStore>,
    keys: SessionKeys,
    cookie: SessionCookie,
    timeouts: Timeouts,
    grace: Duration,
    limit: Option<usize>,
    remembered: Option<RememberedLogins>,
    /// What records said a moment ago, if that is remembered.
    opened: Option<Opened>,
    /// Where the records are, if there is no store.
    client_side: Option<ClientSide>,
    listeners: EndListeners,
    clock: Arc<dyn Clock>,
    /// One for some sessions together.
    turns: [tokio::sync::Mutex<()>; TURNS],
}

/// Says how long a session lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30 * 60), absolute: Duration::from_secs(12 * 3600) }
    }
}

impl Timeouts {
    pub(crate) fn check(self) -> Result<(), ConfigError> {
        let Self { idle, absolute } = self;
        if idle.as_secs() == 0 || absolute < idle || absolute > MAX_ABSOLUTE {
            return Err(ConfigError::new(
                "a session must idle for a second at least, and live no shorter than that and no longer than 400 days",
            ));
        }
        Ok(())
    }

    /// Says how seldom the idle time is extended.
    fn touch_interval(self) -> Duration {
        (self.idle / 10).min(Duration::from_secs(60))
    }
}

impl Sessions {
    /// Starts from a store and the keys. All services that share the store share the keys.
    pub fn builder(store: Arc<dyn SessionStore>, keys: SessionKeys) -> SessionsBuilder {
        SessionsBuilder {
            store,
            keys,
            cookie: None,
            timeouts: Timeouts::default(),
            grace: Duration::from_secs(10),
            limit: Some(DEFAULT_LIMIT),
            remembered: None,
            remembers_opened: true,
            listeners: EndListeners::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Starts from the keys alone: there is no store, and each browser keeps its session itself, sealed, in cookies. For set-ups that
    /// hold a few tokens and have no place for them; where there is one, a [`SessionStore`] is better in every way but that.
    ///
    /// Everything is written as with a store, and this is different:
    /// - **Nothing is ended from here.** A logout takes the cookies away; a copy of them counts until it idles out, and whoever has one
    ///   can keep it alive until its absolute end. So it is after a step back in rights, and after somebody else has logged in. What a
    ///   provider or a list of your own withdraws is refused with
    ///   [`with_revocation`](ClientSideSessionsBuilder::with_revocation).
    /// - **Updates are lost.** Of two requests at once the answer that comes later wins, whole: also that of a request which was under
    ///   way while somebody logged out, and brings the session back. An earlier state can be brought back by the browser's owner at
    ///   any time: nothing in it may count what somebody must not do again.
    /// - **Nothing is listed**, and nobody is ended by subject, `sid`, client or id: [`list`](Self::list) and all `end…` are
    ///   [`Failure`]s, `Misconfigured`, and so is a login that is to be remembered. There is no limit of sessions.
    /// - **It is small**: who is logged in, 2,800 bytes of JSON, and data of 8,500. Longer ones are a `Failure`, `Misconfigured`. The
    ///   header `Cookie` grows to 15 KiB: more than some servers take, nginx 8 KiB and Apache 8,190 bytes by default.
    /// - **Every request extends the idle time**, also one in which nobody looks at the session, but for
    ///   [`load_quietly`](RequestSession::load_quietly).
    /// - **Data that do not belong to the rest** are a 400, and the cookies are taken away with it.
    ///
    /// # Examples
    /// ```
    /// use sekisho_session::{SessionKey, SessionKeys, Sessions};
    /// let sessions = Sessions::client_side(SessionKeys::new(SessionKey::generate()?)).build()?;
    /// assert_eq!(sessions.cookie().name(), "__Host-session");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_side(keys: SessionKeys) -> ClientSideSessionsBuilder {
        ClientSideSessionsBuilder::new(keys)
    }

    pub(crate) fn without_store(
        client_side: ClientSide,
        keys: SessionKeys,
        cookie: SessionCookie,
        timeouts: Timeouts,
        listeners: EndListeners,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (store, grace) = (Arc::new(NoStore), Duration::ZERO);
        let (limit, remembered, client_side) = (None, None, Some(client_side));
        Self(Arc::new(Inner {
            store,
            keys,
            cookie,
            timeouts,
            grace,
            limit,
            remembered,
            opened: None,
            client_side,
            listeners,
            clock,
            turns: turns(),
        }))
    }

    /// Begins a request: takes its cookie and asks the store nothing.
    pub fn begin(&self, head: &impl RequestHead) -> RequestSession {
        let remembered = match &self.0.remembered {
            Some(remembered) => Presented::read_remembered(remembered.cookie().read(head)),
            None => Presented::Nothing,
        };
        let presented = match &self.0.client_side {
            Some(client_side) => client_side.read(head),
            None => Presented::read(self.0.cookie.read(head)),
        };
        RequestSession::new(self.clone(), presented, remembered)
    }

    /// Authenticates by the session's cookie in a [`sekisho_http::Checkpoint`], which must be told
    /// [`with_cookie(sessions.cookie().name())`](sekisho_http::CheckpointBuilder::with_cookie).
    #[must_use]
    pub fn authenticator(&self) -> SessionAuthenticator {
        SessionAuthenticator::new(self.clone())
    }

    /// Returns the cookie.
    #[must_use]
    pub fn cookie(&self) -> &SessionCookie {
        &self.0.cookie
    }

    /// Tells whether there is no store: [`client_side`](Self::client_side).
    #[must_use]
    pub fn is_client_side(&self) -> bool {
        self.0.client_side.is_some()
    }

    /// Lists the live sessions of a subject, the newest first.
    ///
    /// # Errors
    /// [`Failure`] when the store broke, or holds a session that none of the keys opens.
    pub async fn list(&self, subject: &SubjectId) -> Result<Vec<SessionOverview>, Failure> {
        let now = self.now();
        let mut found: Vec<SessionOverview> = Vec::new();
        for key in self.0.keys.iter() {
            for listed in self.0.store.list(&content::subject_tag(key, subject), now).await? {
                let card = Card::open(&self.0.keys, &listed.id, &listed.card).ok_or(UNREADABLE_CARD)?;
                let idle = match &self.0.remembered {
                    Some(remembered) if card.is_remembered => remembered.lifetime(),
                    _ => self.0.timeouts.idle,
                };
                let last_used_at = if card.is_remembered && self.0.remembered.is_none() {
                    UnixSeconds::new(card.created_at)
                } else {
                    listed.idle_until.saturating_sub(idle)
                };
                let session = SessionOverview::new(card, last_used_at, listed.expires_at);
                // For a moment after a rotation the store has two that are one, and a remembered login is one with its session.
                match found.iter_mut().find(|other| other.id() == session.id()) {
                    Some(other) => other.merge(&session),
                    None => found.push(session),
                }
            }
        }
        found.sort_by(|a, b| (b.created_at(), b.id().as_str()).cmp(&(a.created_at(), a.id().as_str())));
        Ok(found)
    }

    /// Clears dead sessions out of the store. Stores with their own expiry need it not; call it every few minutes for others.
    ///
    /// # Errors
    /// [`Failure`] when the store broke.
    pub async fn sweep(&self) -> Result<u64, Failure> {
        self.0.store.sweep(self.now()).await
    }

    /// Answers [`load`](Self::load) without waiting, if that is possible. `id` is the token's.
    pub(crate) fn load_now(
        &self,
        token: &SessionToken,
        id: &SessionHash,
    ) -> Option<Result<Option<Arc<Loaded>>, Failure>> {
        if self.0.keys.named(token.key_name()).is_none() {
            return Some(Ok(None));
        }
        let now = self.now();
        let found = self.0.store.load_now(id, now)?;
        match found.and_then(|stored| self.open(token, id, stored, now)) {
            Ok(Some(loaded)) if self.is_touch_due(&loaded, now) => None,
            opened => Some(opened),
        }
    }

    /// Loads a session and extends its idle time if that is due; `None` when there is none any more.
    pub(crate) async fn load(&self, token: &SessionToken) -> Result<Option<Arc<Loaded>>, Failure> {
        let id = Kind::Session.hash(token);
        let Some(loaded) = self.load_untouched(token, &id).await? else { return Ok(None) };
        Ok(self.extend(&loaded).await.then_some(loaded))
    }

    /// Extends the idle time of a session if that is due. Returns whether it is alive still.
    pub(crate) async fn extend(&self, loaded: &Loaded) -> bool {
        let now = self.now();
        // In the browser that is done with the answer.
        if !self.is_touch_due(loaded, now) || self.0.client_side.is_some() {
            return true;
        }
        // If that fails it is alive, and may die early: less harm than refusing it now.
        self.0.store.touch(&loaded.id, self.idle_until(now), now).await.unwrap_or_else(|failure| {
            tracing::warn!(target: "sekisho", %failure, "the idle time of a session was not extended");
            true
        })
    }

    pub(crate) async fn load_untouched(
        &self,
        token: &SessionToken,
        id: &SessionHash,
    ) -> Result<Option<Arc<Loaded>>, Failure> {
        // A key that was dropped has taken its sessions along.
        if self.0.keys.named(token.key_name()).is_none() {
            return Ok(None);
        }
        let now = self.now();
        let found = match self.0.store.load_now(id, now) {
            Some(found) => found?,
            None => self.0.store.load(id, now).await?,
        };
        self.open(token, id, found, now)
    }

    /// Loads a session by the word of the store itself, and does not touch it.
    pub(crate) async fn load_latest(&self, token: &SessionToken) -> Result<Option<Arc<Loaded>>, Failure> {
        if self.0.keys.named(token.key_name()).is_none() {
            return Ok(None);
        }
        let (id, now) = (Kind::Session.hash(token), self.now());
        let found = self.0.store.load_latest(&id, now).await?;
        self.open(token, &id, found, now)
    }

    fn open(
        &self,
        token: &SessionToken,
        id: &SessionHash,
        found: Option<StoredSession>,
        now: UnixSeconds,
    ) -> Result<Option<Arc<Loaded>>, Failure> {
        let Some(stored) = found else { return Ok(None) };
        if let Some(loaded) = self.0.opened.as_ref().and_then(|opened| opened.find(id, &stored, now)) {
            return Ok(loaded.lives(&stored, now).then_some(loaded));
        }
        let Some(loaded) = Loaded::open(&self.0.keys, Kind::Session, token.clone(), &stored, now)? else {
            return Ok(None);
        };
        let loaded = Arc::new(loaded);
        self.remember(&stored.body, &loaded);
        Ok(Some(loaded))
    }

    /// Remembers what a record says that was opened or written just now.
    pub(crate) fn remember(&self, body: &Sealed, loaded: &Arc<Loaded>) {
        if let Some(opened) = &self.0.opened {
            opened.remember(loaded.id, body, loaded, self.now());
        }
    }

    /// Waits until no other request of this process that was refused by a conflict writes to this session: many that write at once
    /// then go one after the other, and do not refuse each other again and again. Nothing depends on it but how soon they are done; so
    /// `None`, when it takes too long, is no failure.
    pub(crate) async fn turn(&self, id: &SessionHash) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let place = id.as_bytes().first().copied().map(usize::from).unwrap_or_default() % TURNS;
        tokio::time::timeout(LONGEST_TURN, self.0.turns.get(place)?.lock()).await.ok()
    }

    pub(crate) fn is_touch_due(&self, loaded: &Loaded, now: UnixSeconds) -> bool {
        !loaded.content.superseded && self.idle_until(now).since(loaded.idle_until) >= self.0.timeouts.touch_interval()
    }

    /// Tells whether the other is a clone of this one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.0.clock.now()
    }

    pub(crate) fn idle_until(&self, now: UnixSeconds) -> UnixSeconds {
        now.saturating_add(self.0.timeouts.idle)
    }

    pub(crate) fn ends_at(&self, now: UnixSeconds) -> UnixSeconds {
        now.saturating_add(self.0.timeouts.absolute)
    }

    pub(crate) fn grace(&self) -> Duration {
        self.0.grace
    }

    pub(crate) fn limit(&self) -> Option<usize> {
        self.0.limit
    }

    pub(crate) fn remembered(&self) -> Option<&RememberedLogins> {
        self.0.remembered.as_ref()
    }

    /// Returns how cookies hold sessions, if there is no store.
    pub(crate) fn in_browser(&self) -> Option<&ClientSide> {
        self.0.client_side.as_ref()
    }

    pub(crate) fn keys(&self) -> &SessionKeys {
        &self.0.keys
    }

    pub(crate) fn store(&self) -> &dyn SessionStore {
        &*self.0.store
    }
}

const TURNS: usize = 64;

fn turns() -> [tokio::sync::Mutex<()>; TURNS] {
    std::array::from_fn(|_| tokio::sync::Mutex::default())
}
const LONGEST_TURN: Duration = Duration::from_secs(1);

const UNREADABLE_CARD: Failure = Failure::unavailable("a session in the list cannot be opened");

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            store,
            keys,
            cookie,
            timeouts,
            grace,
            limit,
            remembered,
            opened: _,
            client_side: _,
            listeners,
            clock: _,
            turns: _,
        } = &*self.0;
        f.debug_struct("Sessions")
            .field("store", store)
            .field("keys", keys)
            .field("cookie", &cookie.name())
            .field("timeouts", timeouts)
            .field("grace", grace)
            .field("limit", limit)
            .field("remembered", remembered)
            .field("listeners", listeners)
            .finish_non_exhaustive()
    }
}

/// Builds [`Sessions`].
#[derive(Debug)]
#[must_use]
pub struct SessionsBuilder {
    store: Arc<dyn SessionStore>,
    keys: SessionKeys,
    cookie: Option<SessionCookie>,
    timeouts: Timeouts,
    grace: Duration,
    limit: Option<usize>,
    remembered: Option<RememberedLogins>,
    remembers_opened: bool,
    listeners: EndListeners,
    clock: Arc<dyn Clock>,
}

impl SessionsBuilder {
    /// Sets the cookie. Default `__Host-session`, `SameSite=Lax`.
    pub fn with_cookie(self, cookie: SessionCookie) -> Self {
        Self { cookie: Some(cookie), ..self }
    }

    /// Sets how long a session lives without a request that looks at it. Default 30 minutes.
    ///
    /// It is extended at most once a minute (or in a tenth of this time, if that is less), so it can end by that much early.
    pub fn with_idle_timeout(mut self, idle: Duration) -> Self {
        self.timeouts.idle = idle;
        self
    }

    /// Sets how long a session lives in any case, from the login on. Default 12 hours, at most 400 days.
    pub fn with_absolute_timeout(mut self, absolute: Duration) -> Self {
        self.timeouts.absolute = absolute;
        self
    }

    /// Sets for how long an id that was replaced can still be read with, for requests under way. Default 10 s, at most 5 min.
    ///
    /// It shows what the session was before: who held the id before a login gains nothing by it.
    pub fn with_rotation_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Sets how many sessions a subject may have; a login beyond that ends the oldest. Default 50: more than anybody uses, and few
    /// enough that one account cannot fill a store by logging in again and again. Remembered logins count for as long as they live.
    /// Of two logins in the same moment each may end the other.
    pub fn with_session_limit(self, sessions: usize) -> Self {
        Self { limit: Some(sessions), ..self }
    }

    /// Lets a subject have any number of sessions: for an account that many share, such as a kiosk's, or a store that bounds its own.
    /// It saves a login one question to the store.
    pub fn without_session_limit(self) -> Self {
        Self { limit: None, ..self }
    }

    /// Opens the record anew for each request. Default: what it said is remembered in this process, deciphered, for a minute after
    /// the last request, so that a session in use costs little; the store is asked each time all the same. For who wants nothing of
    /// a session in memory once its request is over.
    pub fn without_opened_records(self) -> Self {
        Self { remembers_opened: false, ..self }
    }

    /// Lets logins be remembered beyond their session. Default: no.
    pub fn with_remembered_logins(self, remembered: RememberedLogins) -> Self {
        Self { remembered: Some(remembered), ..self }
    }

    /// Tells `listener` of every session that is ended from here, so that it forgets what it remembers of whoever was logged in:
    /// the decisions of `sekisho_policy::remote::Remote`, for one. Several calls add up. Default: nobody is told.
    pub fn with_end_listener(mut self, listener: impl SessionEndListener + 'static) -> Self {
        self.listeners.add(listener);
        self
    }

    /// Sets the clock. Default: the system's.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Builds it.
    ///
    /// # Errors
    /// A key that stands in the ring twice; timeouts below a second, or an absolute one below the idle one or above 400 days;
    /// a grace above 5 minutes; a limit of no session; remembered logins under the name of the session's cookie.
    pub fn build(self) -> Result<Sessions, ConfigError> {
        let Self { store, keys, cookie, timeouts, grace, limit, remembered, remembers_opened, listeners, clock } = self;
        keys.check()?;
        timeouts.check()?;
        let refuse = |why: &str| Err(ConfigError::new(why));
        if grace > MAX_GRACE {
            return refuse("an id that was replaced must not live for longer than 5 minutes");
        }
        if limit == Some(0) {
            return refuse("a subject must be allowed one session at least");
        }
        let cookie = match cookie {
            Some(cookie) => cookie,
            None => SessionCookie::builder().build()?,
        };
        if remembered.as_ref().is_some_and(|remembered| remembered.cookie().name() == cookie.name()) {
            return refuse("remembered logins need a cookie of their own");
        }
        let client_side = None;
        let turns = turns();
        let opened = remembers_opened.then(Opened::new);
        Ok(Sessions(Arc::new(Inner {
            store,
            keys,
            cookie,
            timeouts,
            grace,
            limit,
            remembered,
            opened,
            client_side,
            listeners,
            clock,
            turns,
        })))
    }
}

/// What browsers keep cookies for at the most.
const MAX_ABSOLUTE: Duration = Duration::from_secs(400 * 24 * 3600);
const DEFAULT_LIMIT: usize = 50;
const MAX_GRACE: Duration = Duration::from_secs(300);
