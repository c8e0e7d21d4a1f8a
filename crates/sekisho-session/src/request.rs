use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sekisho_core::{Failure, FailureKind, Principal, Refusal, Reject};
use sekisho_http::Answer as HttpAnswer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::authenticator::Passed;
use crate::content::{Kind, Loaded};
use crate::cookie::SetCookie;
use crate::crypto;
use crate::csrf::{self, Forgery};
use crate::overview::SessionId;
use crate::remembered::Found;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::token::SessionToken;

mod commit;

/// Is the session of one request: what its cookie leads to, and what is to become of it. A clone is the same one.
///
/// The store is asked when something is wanted of it, once; and it is written to when the request is
/// [finished](Self::finish), once. A request that asks for nothing costs it nothing.
///
/// What a handler wants is noted and done at the end, in the order login or logout, then data. Of several logins, logouts and
/// rotations in one request the last one counts.
#[derive(Clone)]
pub struct RequestSession(Arc<Shared>);

struct Shared {
    sessions: Sessions,
    presented: Presented,
    remembered: Presented,
    /// One load for all that ask at the same time.
    loading: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// Is what the request brought as the session's cookie.
pub(crate) enum Presented {
    Nothing,
    /// Something that no session was ever named by.
    Foreign,
    Token(SessionToken),
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
}

#[derive(Default)]
struct State {
    loaded: Answer,
    turn: Option<Turn>,
    changes: Vec<Change>,
    /// The public id of a session that does not exist yet.
    new_handle: Option<Box<str>>,
    cookie: Option<SetCookie>,
    remembered_cookie: Option<SetCookie>,
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

/// Says who logs in, and with what.
#[derive(Clone, Debug)]
#[must_use]
pub struct Login {
    principal: Principal,
    device: Option<Box<str>>,
    keeps_data: bool,
    remembering: Remembering,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Remembering {
    No,
    Yes,
    /// By a token that remembers until then, and belonged to the session of this public id.
    Again {
        until: u64,
        handle: Box<str>,
    },
}

impl Login {
    /// Takes a principal that was proved in this very request: by an identity provider's answer, by a password.
    pub fn new(principal: &Principal) -> Self {
        Self { principal: principal.clone(), device: None, keeps_data: true, remembering: Remembering::No }
    }

    /// Says by what the user will know the session in a list, such as the `User-Agent`. At most 200 characters are kept, and
    /// no control characters. Default: nothing.
    pub fn with_device(mut self, device: &str) -> Self {
        let clean: String = device.chars().filter(|c| !c.is_control()).take(MAX_DEVICE).collect();
        self.device = (!clean.is_empty()).then(|| clean.into());
        self
    }

    /// Drops what was kept before the login. Default: data of the anonymous session, or of the same subject's, stay; those of
    /// another subject never do.
    pub fn without_earlier_data(mut self) -> Self {
        self.keeps_data = false;
        self
    }
}

impl Login {
    /// Remembers the login in this browser beyond the session, by a token of its own. Only where
    /// [`SessionsBuilder::with_remembered_logins`](crate::SessionsBuilder::with_remembered_logins) says how. Default: no.
    pub fn with_remembering(mut self) -> Self {
        self.remembering = Remembering::Yes;
        self
    }
}

const MAX_DEVICE: usize = 200;

const UNKNOWN: Failure = Failure::unavailable("the session store did not answer earlier in this request");

impl RequestSession {
    pub(crate) fn new(sessions: Sessions, presented: Presented, remembered: Presented) -> Self {
        let (loading, state) = (tokio::sync::Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { sessions, presented, remembered, loading, state }))
    }

    /// Tells whether the request brought a cookie that may be a session's or a remembered login's; the store is not asked.
    #[must_use]
    pub fn has_cookie(&self) -> bool {
        let Shared { presented, remembered, .. } = &*self.0;
        !matches!((presented, remembered), (Presented::Nothing, Presented::Nothing))
    }

    /// Asks the store, if it was not asked before. `passed` is the principal that a checkpoint found in this request: if it
    /// came of this session, that was already loaded.
    ///
    /// # Errors
    /// - [`Refusal::Reject`]: the cookie stands twice or cannot be read.
    /// - [`Refusal::Failure`]: the store broke, or what it holds was changed; also when somebody else has chosen for this request
    ///   to [go on without](Self::session_or_anonymous).
    pub async fn load(&self, passed: Option<&Principal>) -> Result<(), Refusal> {
        let token = match &self.0.presented {
            Presented::Nothing | Presented::Foreign => None,
            Presented::Token(token) => Some(token),
            Presented::Unreadable(reject) => return Err((*reject).into()),
        };
        let _one_at_a_time = self.0.loading.lock().await;
        match self.state().loaded {
            Answer::NotAsked => {}
            // Who did not choose to go on without it must not take the caller for nobody.
            Answer::Unknown => return Err(UNKNOWN.into()),
            Answer::Nothing | Answer::Found(_) => return Ok(()),
        }
        let found = match token {
            None => None,
            Some(token) => match self.already_loaded(passed, token) {
                Some(loaded) => Some(loaded),
                None => self.0.sessions.load(token).await?,
            },
        };
        self.state().loaded = found.map_or(Answer::Nothing, Answer::Found);
        Ok(())
    }

    /// Reads the session again, by the word of the store itself: for who has waited for another process, and must know what that one
    /// wrote. What was noted in this request stays noted, and is applied to what is read here. A session that has ended meanwhile
    /// reads as none. [`Session`]s that were read before show what they showed: read anew.
    ///
    /// # Errors
    /// Those of [`load`](Self::load); what was loaded before stays then.
    pub async fn reload(&self) -> Result<(), Refusal> {
        let _one_at_a_time = self.0.loading.lock().await;
        let loaded = self.state().loaded.clone();
        let token = match (&loaded, &self.0.presented) {
            // Who did not choose to go on without it must not take the caller for nobody.
            (Answer::Unknown, _) => return Err(UNKNOWN.into()),
            // It may have got another id in this request.
            (Answer::Found(loaded), _) => Some(&loaded.token),
            (_, Presented::Token(token)) => Some(token),
            (_, Presented::Unreadable(reject)) => return Err((*reject).into()),
            (_, Presented::Nothing | Presented::Foreign) => None,
        };
        let found = match token {
            Some(token) => self.0.sessions.load_latest(token).await?,
            None => None,
        };
        self.state().loaded = found.map_or(Answer::Nothing, |found| Answer::Found(Arc::new(found)));
        Ok(())
    }

    fn already_loaded(&self, passed: Option<&Principal>, token: &SessionToken) -> Option<Arc<Loaded>> {
        let Passed { sessions, loaded } = passed?.context()?;
        let is_own = sessions.is_same(&self.0.sessions) && loaded.id == Kind::Session.hash(token);
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
        let data = crate::session::read(&self.data())?;
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
                Ok(Session::new(self.clone(), crate::session::read(&self.data())?))
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
        // INVARIANT: a login never takes over a public id, so no form token of before counts after it.
        state.new_handle = None;
        state.turn = Some(Turn::LogIn(login));
    }

    /// Logs in by the token of a remembered login, if the request brought one that is good: for the login page, before it asks
    /// for anything. Returns who that is, once the request is finished: then the token is used up, and another one is set. Of
    /// several requests that bring it at once one is finished, the others fail and can be sent again.
    ///
    /// The principal says that nobody was asked: its `auth_time` is that of the login which was remembered, `amr` is
    /// `["remembered"]`, and it has no `acr`; its roles and scope are those of then, also if the user has lost them since. Rules such as [`max_age`](sekisho_core::max_age) ask for more where it matters.
    ///
    /// # Errors
    /// [`Failure`] when the store broke, or holds a record that was changed.
    pub async fn log_in_remembered(&self) -> Result<Option<Principal>, Failure> {
        let Presented::Token(token) = &self.0.remembered else { return Ok(None) };
        let Some(Found { principal, device, until, handle }) = crate::remembered::find(&self.0.sessions, token).await?
        else {
            return Ok(None);
        };
        let login = Login::new(&principal);
        let login = device.iter().fold(login, |login, device| login.with_device(device));
        self.log_in(Login { remembering: Remembering::Again { until, handle }, ..login });
        Ok(Some(principal))
    }

    /// Replaces the principal by one with more proof or other rights, of the same subject, with a new id: after step-up, and
    /// whenever privileges change.
    ///
    /// After step-up the principal must say when that was, in the claim `auth_time`: without it the session counts as
    /// authenticated when it was before, so that other rights alone satisfy no [`max_age`](sekisho_core::max_age). What it leaves
    /// out otherwise is gone: without `sid` the provider's logout no longer finds the session.
    pub fn elevate(&self, principal: &Principal) {
        self.state().turn = Some(Turn::Elevate(principal.clone()));
    }

    /// Gives the session a new id.
    pub fn rotate(&self) {
        self.state().turn = Some(Turn::Rotate);
    }

    /// Ends the session, its data with it, and takes the cookie away.
    pub fn log_out(&self) {
        let mut state = self.state();
        state.changes.clear();
        state.new_handle = None;
        state.turn = Some(Turn::LogOut);
    }

    /// Makes a token for a form of this session; where there is no session yet, one comes of it, and room is taken in the
    /// store: a page that anybody can open then lets anybody fill it. A login form needs none where
    /// [`CsrfRules`](crate::CsrfRules) are checked. The store must have been asked.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no randomness.
    pub fn form_token(&self) -> Result<String, Failure> {
        csrf::form_token(self.0.sessions.keys(), &self.handle()?)
    }

    /// Checks the token that came with a form. The store must have been asked.
    ///
    /// # Errors
    /// [`Forgery::NoToken`]; HTTP 403.
    pub fn check_form_token(&self, token: &str) -> Result<(), Forgery> {
        let sessions = &self.0.sessions;
        match self.loaded() {
            Some(loaded) if csrf::is_form_token(sessions.keys(), &loaded.content.handle, token) => Ok(()),
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
        self.flush().await?;
        let mut state = self.state();
        Ok([state.cookie.take(), state.remembered_cookie.take()].into_iter().flatten().collect())
    }

    /// Writes now what was noted until now, for handlers that must know that it is kept. What fails is not tried again.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    pub async fn flush(&self) -> Result<(), Failure> {
        let (turn, changes) = {
            let mut state = self.state();
            (state.turn.take(), std::mem::take(&mut state.changes))
        };
        if turn.is_none() && changes.is_empty() {
            return Ok(());
        }
        // A handler may have noted a login or logout without a look at the session.
        let loaded = match self.load(None).await {
            Ok(()) => self.state().loaded.clone(),
            // A logout goes on: an unreadable cookie is taken away all the same.
            Err(Refusal::Reject(_)) => Answer::Nothing,
            Err(Refusal::Failure(failure)) => return Err(failure),
        };
        let prior = match loaded {
            Answer::Found(loaded) => Some(loaded),
            Answer::Nothing | Answer::NotAsked => None,
            Answer::Unknown => return Err(UNKNOWN),
        };
        commit::commit(self, prior, turn, &changes).await
    }

    /// Notes a change of the data. It is applied again to what another request has written meanwhile.
    pub(crate) fn note(&self, change: Change) {
        self.state().changes.push(change);
    }

    fn data(&self) -> Map<String, Value> {
        self.loaded().map(|loaded| loaded.content.data.clone()).unwrap_or_default()
    }

    fn loaded(&self) -> Option<Arc<Loaded>> {
        match &self.state().loaded {
            Answer::Found(loaded) => Some(Arc::clone(loaded)),
            Answer::NotAsked | Answer::Nothing | Answer::Unknown => None,
        }
    }

    /// Returns the public id of the session that is there after this request, if need be of one that is still to come.
    fn handle(&self) -> Result<Box<str>, Failure> {
        let mut state = self.state();
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
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
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
