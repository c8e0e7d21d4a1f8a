use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sekisho_core::{Failure, FailureKind, Principal, Refusal, Reject};
use sekisho_http::{Answer as HttpAnswer, Forgery};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::authenticator::Passed;
use crate::client_side::Brought;
use crate::content::{Kind, Loaded};
use crate::cookie::SetCookie;
use crate::crypto;
use crate::form_token::{form_token, is_form_token};
use crate::overview::SessionId;
use crate::remembered::{Found, RememberedToken};
use crate::session::Session;
use crate::sessions::Sessions;
use crate::token::{SessionHash, SessionToken};

mod browser;
mod commit;
mod login;

pub use login::Login;
use login::Remembering;

/// Is the session of one request: what its cookie leads to, and what is to become of it. A clone is the same one.
///
/// The store is asked when something is wanted of it, once; and it is written to when the request is
/// [finished](Self::finish), once. A request that asks for nothing costs it nothing.
///
/// What a handler wants is noted and done at the end, in the order login or logout, then data. Of several logins, logouts and
/// changes of rights in one request the last one counts; but after a logout nobody is there whose rights could change.
///
/// Of a handler that fails, with an answer of 500 and more or 408, nothing is done but a logout, and what it has
/// [flushed](Self::flush) before: see [`finish_failed`](Self::finish_failed).
#[derive(Clone)]
pub struct RequestSession(Arc<Shared>);

struct Shared {
    sessions: Sessions,
    presented: Presented,
    remembered: Presented,
    /// One load for all that ask at the same time.
    loading: tokio::sync::Mutex<()>,
    /// Made when somebody asks or notes something for the first time: most requests of most services never do.
    state: OnceLock<Arc<Mutex<State>>>,
    /// Is a write that somebody began and gave up waiting for, if there is one: whoever comes next goes on with it.
    ///
    /// INVARIANT: of all that is here a write holds on to `state` alone, or neither of both would ever be dropped.
    writing: tokio::sync::Mutex<Option<Commit>>,
}

type Commit = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Is what the request brought as the session's cookie.
#[derive(Clone)]
pub(crate) enum Presented {
    Nothing,
    /// Something that no session was ever named by.
    Foreign,
    Token(SessionToken),
    /// The session itself.
    InBrowser(Brought),
    /// That of a remembered login, in its own cookie.
    Remembered(RememberedToken),
    /// Two of them, or none that can be read.
    Unreadable(Reject),
}

impl Presented {
    pub(crate) fn read(found: Result<Option<&str>, Reject>) -> Self {
        match found {
            Ok(None) => Self::Nothing,
            Ok(Some(text)) => SessionToken::from_text(text).map_or(Self::Foreign, Self::Token),
            Err(reject) => Self::Unreadable(reject),
        }
    }

    pub(crate) fn read_remembered(found: Result<Option<&str>, Reject>) -> Self {
        match found {
            Ok(None) => Self::Nothing,
            Ok(Some(text)) => RememberedToken::from_text(text).map_or(Self::Foreign, Self::Remembered),
            Err(reject) => Self::Unreadable(reject),
        }
    }
}

#[derive(Default)]
struct State {
    loaded: Answer,
    /// It was loaded by [`RequestSession::load_quietly`] alone: the idle time is as it was.
    is_quiet: bool,
    turn: Option<Turn>,
    /// Somebody wanted a logout, also if a login came after it.
    logs_out: bool,
    /// A logout is being written, or was.
    is_leaving: bool,
    changes: Vec<Change>,
    /// The public id of a session that does not exist yet.
    new_handle: Option<Box<str>>,
    cookie: Option<SetCookie>,
    /// Those of a session that the browser keeps itself.
    browser_cookies: Vec<SetCookie>,
    remembered_cookie: Option<SetCookie>,
}

impl State {
    fn is_anything_noted(&self) -> bool {
        self.turn.is_some() || !self.changes.is_empty()
    }

    fn take_noted(&mut self) -> (Option<Turn>, Vec<Change>) {
        self.is_leaving |= matches!(self.turn, Some(Turn::LogOut));
        self.logs_out = false;
        (self.turn.take(), std::mem::take(&mut self.changes))
    }

    fn take_cookies(&mut self) -> Vec<SetCookie> {
        let mut set = std::mem::take(&mut self.browser_cookies);
        set.extend([self.cookie.take(), self.remembered_cookie.take()].into_iter().flatten());
        set
    }
}

/// Waits for the end of a write, if there is one.
async fn go_on(writing: &mut Option<Commit>) -> Result<(), Failure> {
    let Some(commit) = writing else { return Ok(()) };
    let ended = commit.await;
    *writing = None;
    ended
}

#[derive(Clone, Default)]
enum Answer {
    #[default]
    NotAsked,
    Nothing,
    Found(Arc<Loaded>),
    /// The store could not be asked, and the handler goes on without: nothing can be kept.
    Unknown,
}

/// Says what a load does to the idle time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    Extended,
    Kept,
}

/// Is what becomes of the id.
enum Turn {
    LogIn(Login),
    Elevate(Principal),
    Rotate,
    LogOut,
    /// A session must be there at the end, for a form refers to it.
    Exist,
}

type Change = Box<dyn Fn(&mut Map<String, Value>) -> Result<(), Failure> + Send + Sync>;

const UNKNOWN: Failure = Failure::unavailable("the session store did not answer earlier in this request");

impl RequestSession {
    pub(crate) fn new(sessions: Sessions, presented: Presented, remembered: Presented) -> Self {
        Self::with_state(sessions, presented, remembered, OnceLock::new())
    }

    fn with_state(
        sessions: Sessions,
        presented: Presented,
        remembered: Presented,
        state: OnceLock<Arc<Mutex<State>>>,
    ) -> Self {
        let (loading, writing) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Shared { sessions, presented, remembered, loading, state, writing }))
    }

    /// Makes the same request, for a write to hold on to.
    fn to_be_written(&self) -> Self {
        let Shared { sessions, presented, remembered, loading: _, state, writing: _ } = &*self.0;
        Self::with_state(sessions.clone(), presented.clone(), remembered.clone(), state.clone())
    }

    /// Tells whether the request brought a cookie that may be a session's or a remembered login's; the store is not asked.
    #[must_use]
    pub fn has_cookie(&self) -> bool {
        let Shared { presented, remembered, .. } = &*self.0;
        !matches!((presented, remembered), (Presented::Nothing, Presented::Nothing))
    }

    /// Begins anew with the same session, as another request of the same browser would: nothing is loaded and nothing is noted.
    ///
    /// For tasks that must end though the request is dropped: what they change is written by their own [`flush`](Self::flush), and
    /// what the handler has noted stays its own. A session that gets a new id meanwhile can be read for the grace, and not changed
    /// any more. A new cookie cannot be set this way.
    #[must_use]
    pub fn detached(&self) -> Self {
        let token = match (self.loaded(), &self.0.presented) {
            (Some(loaded), _) => Some(loaded.token.clone()),
            (None, Presented::Token(token)) => Some(token.clone()),
            (None, Presented::InBrowser(_)) => Some(SessionToken::of_no_store()),
            (None, _) => None,
        };
        let presented = token.map_or(Presented::Nothing, Presented::Token);
        Self::new(self.0.sessions.clone(), presented, Presented::Nothing)
    }

    /// Asks the store, if it was not asked before. `passed` is the principal that a checkpoint found in this request: if it
    /// came of this session, that was already loaded.
    ///
    /// # Errors
    /// - [`Refusal::Reject`]: the cookie stands twice or cannot be read.
    /// - [`Refusal::Failure`]: the store broke, or what it holds was changed; also when somebody else has chosen for this request
    ///   to [go on without](Self::session_or_anonymous).
    pub async fn load(&self, passed: Option<&Principal>) -> Result<(), Refusal> {
        self.ask(passed, Idle::Extended).await
    }

    /// Does as [`load`](Self::load), but does not extend the idle time: for a page that a script asks again and again whether
    /// somebody is still logged in, which must not keep the session alive. Then [`principal`](Self::principal) and
    /// [`id`](Self::id) tell. Whoever else loads the session in the same request extends it, a handler's
    /// [`session`](Self::session), a change, and a checkpoint that lets in by its cookie: such a page stands outside of that.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub async fn load_quietly(&self, passed: Option<&Principal>) -> Result<(), Refusal> {
        self.ask(passed, Idle::Kept).await
    }

    async fn ask(&self, passed: Option<&Principal>, idle: Idle) -> Result<(), Refusal> {
        let _one_at_a_time = self.0.loading.lock().await;
        let sessions = &self.0.sessions;
        let (loaded, is_quiet) = {
            let state = self.state();
            (state.loaded.clone(), state.is_quiet)
        };
        let found = match loaded {
            // Who did not choose to go on without it must not take the caller for nobody.
            Answer::Unknown => return Err(UNKNOWN.into()),
            Answer::Found(loaded) if is_quiet && idle == Idle::Extended => Some((loaded, true)),
            Answer::Nothing | Answer::Found(_) => return Ok(()),
            Answer::NotAsked => match &self.0.presented {
                Presented::Nothing | Presented::Foreign | Presented::Remembered(_) => None,
                Presented::Unreadable(reject) => return Err((*reject).into()),
                Presented::InBrowser(brought) => browser::open(self, brought)?.map(|loaded| (Arc::new(loaded), true)),
                Presented::Token(token) => {
                    let id = Kind::Session.hash(token);
                    match self.already_loaded(passed, &id) {
                        Some(loaded) => Some((loaded, false)),
                        None => match sessions.load_now(token, &id) {
                            // There is nothing to be extended.
                            Some(found) => found?.map(|loaded| (loaded, idle == Idle::Kept)),
                            None => sessions.load_untouched(token, &id).await?.map(|loaded| (loaded, true)),
                        },
                    }
                }
            },
        };
        let (answer, is_quiet) = match found {
            Some((loaded, true)) if idle == Idle::Extended && !sessions.extend(&loaded).await => (None, false),
            Some((loaded, is_new)) => (Some(loaded), is_new && idle == Idle::Kept),
            None => (None, false),
        };
        let mut state = self.state();
        (state.loaded, state.is_quiet) = (answer.map_or(Answer::Nothing, Answer::Found), is_quiet);
        Ok(())
    }

    /// Reads the session again, by the word of the store itself (where there is one): for who has waited for another process, and must know what that one
    /// wrote. What was noted in this request stays noted, and is applied to what is read here. A session that has ended meanwhile
    /// reads as none. [`Session`]s that were read before show what they showed: read anew.
    ///
    /// # Errors
    /// Those of [`load`](Self::load); what was loaded before stays then.
    pub async fn reload(&self) -> Result<(), Refusal> {
        if self.0.sessions.in_browser().is_some() {
            return self.load(None).await;
        }
        let _one_at_a_time = self.0.loading.lock().await;
        let loaded = self.state().loaded.clone();
        let token = match (&loaded, &self.0.presented) {
            // Who did not choose to go on without it must not take the caller for nobody.
            (Answer::Unknown, _) => return Err(UNKNOWN.into()),
            // It may have got another id in this request.
            (Answer::Found(loaded), _) => Some(&loaded.token),
            (_, Presented::Token(token)) => Some(token),
            (_, Presented::Unreadable(reject)) => return Err((*reject).into()),
            (_, _) => None,
        };
        let found = match token {
            Some(token) => self.0.sessions.load_latest(token).await?,
            None => None,
        };
        let mut state = self.state();
        // Nobody has extended the idle time yet.
        state.is_quiet |= matches!(loaded, Answer::NotAsked);
        state.loaded = found.map_or(Answer::Nothing, Answer::Found);
        Ok(())
    }

    fn already_loaded(&self, passed: Option<&Principal>, id: &SessionHash) -> Option<Arc<Loaded>> {
        let Passed { sessions, loaded } = passed?.context()?;
        let is_own = sessions.is_same(&self.0.sessions) && loaded.id == *id;
        is_own.then(|| Arc::clone(loaded))
    }

    /// Loads the session and reads its data as `T`.
    ///
    /// # Errors
    /// Those of [`load`](Self::load); [`Failure`], `Misconfigured`, when the data do not have the shape of `T`.
    pub async fn session<T>(&self, passed: Option<&Principal>) -> Result<Session<T>, Refusal>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        self.load(passed).await?;
        let data = self.data()?;
        Ok(Session::new(self.clone(), data))
    }

    /// Does as [`session`](Self::session), but where the store cannot be asked the request goes on as an anonymous one that
    /// keeps nothing, and a line is logged. By choice, for routes that can do without.
    ///
    /// # Errors
    /// Those of [`session`](Self::session) but for the store's trouble.
    pub async fn session_or_anonymous<T>(&self, passed: Option<&Principal>) -> Result<Session<T>, Refusal>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        match self.session(passed).await {
            Err(Refusal::Failure(failure)) if failure.kind() == FailureKind::Unavailable => {
                tracing::warn!(target: "sekisho", %failure, "a request goes on without its session");
                self.state().loaded = Answer::Unknown;
                Ok(Session::new(self.clone(), self.data()?))
            }
            answer => answer,
        }
    }

    /// Answers, and logs, that a session could not be had: 400 for a cookie that cannot be read, else 500, 502 or 503.
    #[must_use]
    pub fn answer(refusal: &Refusal) -> HttpAnswer {
        match refusal {
            Refusal::Reject(reject) => {
                tracing::info!(target: "sekisho", reason = reject.code(), "the session's cookie is refused");
                HttpAnswer::bad_request()
            }
            Refusal::Failure(failure) => HttpAnswer::of_failure(failure),
        }
    }

    /// Answers, and logs, for adapters whose handler asks for a session where none was begun: 500.
    #[must_use]
    pub fn missing() -> HttpAnswer {
        let context = "no session was begun for this route: put the session's layer around it and its checkpoint";
        HttpAnswer::of_failure(&Failure::new(FailureKind::Misconfigured, context))
    }

    /// Tells whether the store could not be asked, and what is changed is lost.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        matches!(self.state().loaded, Answer::Unknown)
    }

    /// Returns who was logged in when the request came, as far as the session was loaded.
    ///
    /// # Errors
    /// [`Failure`] when the record holds no principal that can be read.
    pub fn principal(&self) -> Result<Option<Principal>, Failure> {
        self.loaded().map_or(Ok(None), |loaded| loaded.principal())
    }

    /// Returns the public id of the session that was loaded.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.loaded().map(|loaded| SessionId::new(&loaded.content.handle))
    }

    /// Logs somebody in, with a new id; the old one dies. Beyond the limit of sessions, the subject's oldest one ends.
    pub fn log_in(&self, login: Login) {
        let mut state = self.state();
        // INVARIANT: a login never takes over a public id, so no form token of before counts after it; but for one that is
        // remembered, which goes on.
        state.new_handle = None;
        state.turn = Some(Turn::LogIn(login));
    }

    /// Logs in by the token of a remembered login, if the request brought one that is good: for the login page, before it asks
    /// for anything. Returns who that is, once the request is finished: then the token is used up, and another one is set. Of
    /// several requests that bring it at once one is finished, the others fail and can be sent again. A token that was used longer
    /// ago ends all that came of its login: see [`RememberedLogins`](crate::RememberedLogins).
    ///
    /// The principal says that nobody was asked: its `auth_time` is that of the login which was remembered, `amr` is
    /// `["remembered"]`, and it has no `acr`; its roles and scope are those of then, also if the user has lost them since. Rules such as [`max_age`](sekisho_core::max_age) ask for more where it matters.
    ///
    /// # Errors
    /// [`Failure`] when the store broke, or holds a record that was changed.
    pub async fn log_in_remembered(&self) -> Result<Option<Principal>, Failure> {
        let Shared { sessions, remembered: Presented::Remembered(token), .. } = &*self.0 else { return Ok(None) };
        let found = match crate::remembered::find(sessions, token).await? {
            Found::Login(found) => *found,
            Found::Nothing => return Ok(None),
            Found::Stolen => {
                let removal = sessions.remembered().map(|remembered| remembered.cookie().removal());
                self.state().remembered_cookie = removal;
                return Ok(None);
            }
        };
        let login = Login::new(&found.principal);
        let login = found.device.iter().fold(login, |login, device| login.with_device(device));
        self.log_in(Login { remembering: Remembering::Again { handle: found.handle }, ..login });
        Ok(Some(found.principal))
    }

    /// Replaces the principal by one with more proof or other rights, of the same subject, with a new id: after step-up, and
    /// whenever privileges change.
    ///
    /// After step-up the principal must say when that was, in the claim `auth_time`: without it the session counts as
    /// authenticated when it was before, so that other rights alone satisfy no [`max_age`](sekisho_core::max_age). What it leaves
    /// out otherwise is gone: without `sid` the provider's logout no longer finds the session.
    pub fn elevate(&self, principal: &Principal) {
        let mut state = self.state();
        if !matches!(state.turn, Some(Turn::LogOut)) {
            state.turn = Some(Turn::Elevate(principal.clone()));
        }
    }

    /// Gives the session a new id. A login, a logout and a change of rights do so by themselves.
    pub fn rotate(&self) {
        let mut state = self.state();
        if matches!(state.turn, None | Some(Turn::Exist)) {
            state.turn = Some(Turn::Rotate);
        }
    }

    /// Ends the session, its data with it, and takes the cookie away.
    pub fn log_out(&self) {
        let mut state = self.state();
        state.changes.clear();
        state.new_handle = None;
        (state.turn, state.logs_out) = (Some(Turn::LogOut), true);
    }

    /// Makes a token for a form of this session; where there is no session yet, one comes of it, and room is taken in the
    /// store: a page that anybody can open then lets anybody fill it. A login form needs none where
    /// [`CsrfRules`](crate::CsrfRules) are checked. The store must have been asked.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no randomness.
    pub fn form_token(&self) -> Result<String, Failure> {
        form_token(self.0.sessions.keys(), &self.handle()?)
    }

    /// Checks the token that came with a form. The store must have been asked.
    ///
    /// # Errors
    /// [`Forgery::NoToken`]; HTTP 403.
    pub fn check_form_token(&self, token: &str) -> Result<(), Forgery> {
        let sessions = &self.0.sessions;
        match self.loaded() {
            Some(loaded) if is_form_token(sessions.keys(), &loaded.content.handle, token) => Ok(()),
            _ => Err(Forgery::NoToken),
        }
    }

    /// Writes what is to be kept, once, and returns the cookies to set. To be called when the response is known and before its
    /// headers are sent; a response whose session could not be written must not go out as a success.
    ///
    /// # Errors
    /// [`Failure`]: the store broke; too many requests wrote at once; the session got a new id while this request changed it
    /// (the browser has the new one, and may try again); data or a principal that cannot be written.
    pub async fn finish(&self) -> Result<Vec<SetCookie>, Failure> {
        if let Some(set) = self.finish_now() {
            return Ok(set);
        }
        self.flush().await?;
        browser::extend(self).await;
        Ok(self.state().take_cookies())
    }

    /// Does as [`finish`](Self::finish) where nothing is to be written; `None` where something is, or where a browser keeps its session
    /// itself.
    pub(crate) fn finish_now(&self) -> Option<Vec<SetCookie>> {
        if self.0.sessions.in_browser().is_some() {
            return None;
        }
        // Nobody has asked for anything, so nobody has written either.
        if self.0.state.get().is_none() {
            return Some(Vec::new());
        }
        if self.0.writing.try_lock().ok()?.is_some() {
            return None;
        }
        let mut state = self.state();
        (!state.is_anything_noted()).then(|| state.take_cookies())
    }

    /// Does as [`finish`](Self::finish) for a handler that failed: when its answer has a status of 500 and more, or 408, or there is
    /// none. Of what it noted only a logout is done, and nothing of what came after that. Nobody is logged in by a page that
    /// says that it did not work, and nobody who wanted to leave stays.
    ///
    /// What the handler has [flushed](Self::flush) is kept, and its cookies go out.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    pub async fn finish_failed(&self) -> Result<Vec<SetCookie>, Failure> {
        {
            let mut state = self.state();
            let turn = state.logs_out.then_some(Turn::LogOut);
            if turn.is_none() && state.is_anything_noted() {
                tracing::info!(target: "sekisho", "what was to become of a session is dropped, for the request failed");
            }
            (state.turn, state.new_handle) = (turn, None);
            state.changes.clear();
        }
        self.finish().await
    }

    /// Writes now what was noted until now, for handlers that must know that it is kept. What fails is not tried again.
    ///
    /// Dropping the future, as a timeout does, loses nothing: what was not begun is noted still, and what was begun is gone on with
    /// by the next call of this or of [`finish`](Self::finish), which tells how it ended; it is not done twice.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    pub async fn flush(&self) -> Result<(), Failure> {
        let mut writing = self.0.writing.lock().await;
        let before = go_on(&mut writing).await;
        // A logout must not wait for somebody to ask again.
        let now = self.write(&mut writing).await;
        before.and(now)
    }

    async fn write(&self, writing: &mut Option<Commit>) -> Result<(), Failure> {
        if !self.state().is_anything_noted() {
            return Ok(());
        }
        // A handler may have noted a login or logout without a look at the session.
        let loaded = match self.load(None).await {
            Ok(()) => Ok(self.state().loaded.clone()),
            // A logout goes on: an unreadable cookie is taken away all the same.
            Err(Refusal::Reject(_)) => Ok(Answer::Nothing),
            // So does one that needs nothing but the browser, whatever cannot be told of the session.
            Err(Refusal::Failure(_)) if self.logs_out_in_browser() => Ok(Answer::Nothing),
            Err(Refusal::Failure(failure)) => Err(failure),
        };
        // INVARIANT: from here on to where the write is put down nothing waits, or a timeout could lose what was noted.
        let (turn, changes) = self.state().take_noted();
        let prior = match loaded? {
            Answer::Found(loaded) => Some(loaded),
            Answer::Nothing | Answer::NotAsked => None,
            Answer::Unknown => return Err(UNKNOWN),
        };
        if let Some(client_side) = self.0.sessions.in_browser() {
            return browser::commit(self, client_side, prior, turn, &changes);
        }
        let request = self.to_be_written();
        *writing = Some(Box::pin(async move { commit::commit(&request, prior, turn, &changes).await }));
        go_on(writing).await
    }

    /// Tells whether somebody wanted a logout, written or not.
    pub(crate) fn logs_out(&self) -> bool {
        if self.0.state.get().is_none() {
            return false;
        }
        let state = self.state();
        state.logs_out || state.is_leaving
    }

    fn logs_out_in_browser(&self) -> bool {
        self.0.sessions.in_browser().is_some() && matches!(self.state().turn, Some(Turn::LogOut))
    }

    /// Notes a change of the data. It is applied again to what another request has written meanwhile.
    pub(crate) fn note(&self, change: Change) {
        self.state().changes.push(change);
    }

    fn data<T: Serialize + DeserializeOwned + Default>(&self) -> Result<T, Failure> {
        self.loaded().map_or_else(|| Ok(T::default()), |loaded| crate::session::read(&loaded.content.data))
    }

    fn loaded(&self) -> Option<Arc<Loaded>> {
        self.0.state.get()?;
        match &self.state().loaded {
            Answer::Found(loaded) => Some(Arc::clone(loaded)),
            Answer::NotAsked | Answer::Nothing | Answer::Unknown => None,
        }
    }

    /// Returns the public id of the session that is there after this request, if need be of one that is still to come.
    fn handle(&self) -> Result<Box<str>, Failure> {
        let mut state = self.state();
        if let Some(Turn::LogIn(Login { remembering: Remembering::Again { handle }, .. })) = &state.turn {
            return Ok(handle.clone());
        }
        let changes_hands = matches!(state.turn, Some(Turn::LogIn(_) | Turn::LogOut));
        if let (Answer::Found(loaded), false) = (&state.loaded, changes_hands) {
            return Ok(loaded.content.handle.clone());
        }
        if state.turn.is_none() {
            state.turn = Some(Turn::Exist);
        }
        match &state.new_handle {
            Some(handle) => Ok(handle.clone()),
            None => Ok(state.new_handle.insert(new_handle()?).clone()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.get_or_init(Arc::default).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws a public id.
fn new_handle() -> Result<Box<str>, Failure> {
    Ok(base64_simd::URL_SAFE_NO_PAD.encode_to_string(crypto::random::<16>()?).into())
}

impl fmt::Debug for RequestSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSession")
            .field("has_cookie", &self.has_cookie())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
