use std::sync::Arc;

use sekisho_core::Failure;
use sekisho_http::{Answer, CsrfRules, RequestHead};

use crate::cookie::SetCookie;
use crate::navigation::{LoginRedirect, with_step_up};
use crate::request::RequestSession;
use crate::sessions::Sessions;

/// Says what the layer of a framework does around each request, so that all of them do the same. A clone costs a counter.
///
/// Adapters take it by `Into`, so that [`Sessions`] alone are enough where the defaults are.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use sekisho_http::HeadParts;
/// use sekisho_session::{LoginRedirect, MemorySessionStore, SessionKey, SessionKeys, SessionRules, Sessions};
///
/// let keys = SessionKeys::new(SessionKey::generate()?);
/// let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys).build()?;
/// let rules = SessionRules::new(sessions).with_login_redirect(LoginRedirect::to("/login")?);
///
/// // What an adapter does with each request:
/// let head = HeadParts { method: "GET", path: "/orders", headers: &[("sec-fetch-mode", b"navigate")] };
/// let layered = rules.begin(&head, None).map_err(|refused| refused.status()).unwrap();
/// let _for_handlers = layered.session().clone();
/// let status = 401; // of the answer
/// let finished = layered.finish(status).await.map_err(|broken| broken.status()).unwrap();
/// assert_eq!(finished.location(), Some("/login?return_to=%2Forders"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct SessionRules(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    sessions: Sessions,
    csrf: Option<CsrfRules>,
    login: Option<LoginRedirect>,
}

impl From<Sessions> for SessionRules {
    fn from(sessions: Sessions) -> Self {
        Self::new(sessions)
    }
}

impl SessionRules {
    /// Takes [`CsrfRules::new`], and leaves every 401 as it is.
    #[must_use]
    pub fn new(sessions: Sessions) -> Self {
        Self(Arc::new(Inner { sessions, csrf: Some(CsrfRules::new()), login: None }))
    }

    /// Says which requests could have been caused by another site. Default: [`CsrfRules::new`].
    #[must_use]
    pub fn with_csrf(self, csrf: CsrfRules) -> Self {
        self.with(|inner| inner.csrf = Some(csrf))
    }

    /// Checks no request for having been caused by another site: for services that do it otherwise, for every route.
    #[must_use]
    pub fn dangerous_without_csrf(self) -> Self {
        self.with(|inner| inner.csrf = None)
    }

    /// Sends navigations that are answered with 401 to the login. Default: a 401 stays one.
    #[must_use]
    pub fn with_login_redirect(self, login: LoginRedirect) -> Self {
        self.with(|inner| inner.login = Some(login))
    }

    fn with(self, set: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        set(&mut inner);
        Self(Arc::new(inner))
    }

    /// Begins a request; the store is asked nothing. `query` is that of the request, without the question mark.
    ///
    /// # Errors
    /// The [`Answer`] to a request that another site may have caused: 403, or 400 for one that cannot be read.
    pub fn begin(&self, head: &impl RequestHead, query: Option<&str>) -> Result<LayeredRequest, Answer> {
        let Inner { sessions, csrf, login } = &*self.0;
        let session = sessions.begin(head);
        if let Some(csrf) = csrf {
            csrf.check(head, session.has_cookie()).map_err(|forgery| forgery.answer())?;
        }
        let login = login.as_ref().and_then(|login| login.location(head, query));
        Ok(LayeredRequest { session: Unfinished { session, is_over: false }, login })
    }
}

/// Is a request between a layer and its handler; made by [`SessionRules::begin`].
///
/// Dropped before it is finished, because the browser hung up or the handler panicked, it does a logout that was noted all the same, in
/// a task of its own where there is a tokio runtime, and nothing else: whoever wanted to leave does not stay.
#[derive(Debug)]
#[must_use = "what the handler does with its session is written when it is finished"]
pub struct LayeredRequest {
    session: Unfinished,
    /// Where to go if it is answered with 401.
    login: Option<String>,
}

impl LayeredRequest {
    /// Returns the session, to be put where handlers find it.
    #[must_use]
    pub const fn session(&self) -> &RequestSession {
        &self.session.session
    }

    /// Ends the request by the status of the handler's answer: writes what was noted, and says what is to be changed at the answer.
    /// Of a handler that failed, with 500 and more or with 408, it does as [`RequestSession::finish_failed`].
    ///
    /// # Errors
    /// The [`Answer`] to be sent instead: whatever the handler said was done is not.
    pub async fn finish(self, status: u16) -> Result<FinishedRequest, Answer> {
        self.finish_challenged(status, []).await
    }

    /// Ends the request as [`finish`](Self::finish) does, and tells the login what the answer's challenges ask for: `challenges` are its
    /// values of `WWW-Authenticate`. Where the user must log in again, better or more lately
    /// ([RFC 9470 §3](https://www.rfc-editor.org/rfc/rfc9470#section-3)), `acr_values` and `max_age` go along in the query of the
    /// login page: one that did not know of them would lead back here, and here to it.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    pub async fn finish_challenged<'c>(
        self,
        status: u16,
        challenges: impl IntoIterator<Item = &'c [u8]>,
    ) -> Result<FinishedRequest, Answer> {
        let Self { session: mut request, login } = self;
        let location = login.filter(|_| status == 401).map(|login| with_step_up(login, challenges));
        let session = &request.session;
        let cookies = if has_failed(status) { session.finish_failed().await } else { session.finish().await };
        request.is_over = true;
        cookies.map(|cookies| FinishedRequest { cookies, location }).map_err(|failure| Answer::of_failure(&failure))
    }

    /// Ends the request as [`finish`](Self::finish) does where that needs no waiting, as for most requests: for adapters that would make
    /// room for a future otherwise.
    ///
    /// # Errors
    /// The request itself, to be [finished](Self::finish_challenged): something is to be written, or read, or the answer is a 401 that
    /// leads to the login, or one of a handler that failed.
    pub fn finish_now(self, status: u16) -> Result<FinishedRequest, Self> {
        if has_failed(status) || (status == 401 && self.login.is_some()) {
            return Err(self);
        }
        let Some(cookies) = self.session.session.finish_now() else { return Err(self) };
        let Self { session: mut request, login: _ } = self;
        request.is_over = true;
        Ok(FinishedRequest { cookies, location: None })
    }

    /// Ends a request that has no answer to put a cookie into: as [`RequestSession::finish_failed`].
    ///
    /// # Errors
    /// [`Failure`]: a logout could not be written.
    pub async fn abandon(self) -> Result<(), Failure> {
        let Self { session: mut request, login: _ } = self;
        let ended = request.session.finish_failed().await;
        request.is_over = true;
        ended.map(|_| ())
    }
}

/// Is a request's session until everything is written.
#[derive(Debug)]
struct Unfinished {
    session: RequestSession,
    is_over: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_over || !self.session.logs_out() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let session = self.session.clone();
        runtime.spawn(async move {
            if let Err(failure) = session.finish_failed().await {
                tracing::warn!(target: "sekisho", %failure, "a logout whose request was dropped is not done");
            }
        });
    }
}

/// Tells whether the handler did not come to its end. 408 is what layers with a timeout answer, which have dropped it halfway.
const fn has_failed(status: u16) -> bool {
    status >= 500 || status == 408
}

/// Says what is to be changed at a handler's answer.
#[derive(Debug)]
#[must_use]
pub struct FinishedRequest {
    cookies: Vec<SetCookie>,
    location: Option<String>,
}

impl FinishedRequest {
    /// Lists the cookies to add, one `Set-Cookie` for each. Where there is one, or a [`location`](Self::location),
    /// `Cache-Control: no-store` goes along: a cache that kept it would hand one caller's session to the next.
    pub fn cookies(&self) -> &[SetCookie] {
        &self.cookies
    }

    /// Returns where to go to instead, with 303 and no body; [some headers](Self::keeps) of the answer stay.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Tells whether a header of the handler's answer, its name in lower case, stays beside the [`location`](Self::location):
    /// cookies and whatever else is not about the body, its age, or the challenge, which are gone.
    #[must_use]
    pub fn keeps(name: &str) -> bool {
        let is_policy = name.starts_with("content-security-policy");
        is_policy || !(name.starts_with("content-") || OF_THE_ANSWER.contains(&name))
    }
}

const OF_THE_ANSWER: [&str; 17] = [
    "accept-ranges",
    "age",
    "authentication-info",
    "cache-control",
    "digest",
    "etag",
    "expires",
    "last-modified",
    "location",
    "pragma",
    "refresh",
    "repr-digest",
    "signature",
    "signature-input",
    "trailer",
    "transfer-encoding",
    "www-authenticate",
];
