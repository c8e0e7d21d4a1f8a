use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Failure, Refusal, Reject, Secret, UnixSeconds};
use sekisho_http::HeadParts;
use sekisho_session::{
    ListedSession, MemorySessionStore, NewSession, RequestSession, Saved, SessionCookie, SessionHash, SessionKey,
    SessionKeys, SessionStore, SessionTag, SessionUpdate, Sessions, SetCookie, StoredSession,
};
use sekisho_testkit::FixedClock;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use zeroize::Zeroizing;

use crate::provider::{LoggedIn, LoginError, LoginRequest, UserInfo, UserInfoError};
use crate::session::protocol::{Notice, Protocol, Started};
use crate::session::{Bff, RelyingParty, Reply};
use crate::tokens::{TokenError, TokenSet};

pub(crate) const START: UnixSeconds = UnixSeconds::new(1_800_000_000);
pub(crate) const ISSUER: &str = "https://id.example";
/// Seconds for which an access token is good.
pub(crate) const LIFE: u64 = 300;

/// Is a service, or two of them that share store and keys, and the provider that both know.
pub(crate) struct World {
    pub(crate) clock: FixedClock,
    pub(crate) store: Arc<Shaky>,
    pub(crate) provider: Arc<Script>,
    pub(crate) other: Arc<Script>,
    key: SessionKey,
    cookie: SessionCookie,
    pub(crate) bff: Bff,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_cookie(SessionCookie::builder().build().unwrap())
    }

    pub(crate) fn with_cookie(cookie: SessionCookie) -> Self {
        let clock = FixedClock::at(START);
        let store = Arc::new(Shaky::default());
        let provider = Arc::new(Script::new(ISSUER, &clock));
        let other = Arc::new(Script::new("https://other.example", &clock));
        let key = SessionKey::generate().unwrap();
        let bff = process(&clock, &store, &key, &cookie, &provider, &other);
        Self { clock, store, provider, other, key, cookie, bff }
    }

    /// Is another process over the same store.
    pub(crate) fn another_process(&self) -> Bff {
        process(&self.clock, &self.store, &self.key, &self.cookie, &self.provider, &self.other)
    }

    /// Is the service after somebody has mixed up what it calls its providers.
    pub(crate) fn with_the_providers_names_swapped(&self) -> Bff {
        process(&self.clock, &self.store, &self.key, &self.cookie, &self.other, &self.provider)
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn logged_in(&self, subject: &str) -> Browser {
        let mut browser = Browser::default();
        browser.log_in(&self.bff, subject, "/").await;
        browser
    }
}

fn process(
    clock: &FixedClock,
    store: &Arc<Shaky>,
    key: &SessionKey,
    cookie: &SessionCookie,
    provider: &Arc<Script>,
    other: &Arc<Script>,
) -> Bff {
    let keys = SessionKeys::new(key.clone());
    let sessions = Sessions::builder(Arc::clone(store) as _, keys.clone());
    let sessions = sessions.with_clock(Arc::new(clock.clone())).with_cookie(cookie.clone()).build().unwrap();
    let party = RelyingParty::builder(sessions, keys)
        .with_protocol("main", Arc::clone(provider) as _)
        .with_protocol("other", Arc::clone(other) as _)
        .with_origin("https://shop.example")
        .with_post_logout_url("https://shop.example/bye")
        .with_clock(Arc::new(clock.clone()))
        .build()
        .unwrap();
    Bff::builder(party).with_user_claims(["sub", "name"]).build().unwrap()
}

/// Is a browser: cookies by name.
#[derive(Clone, Default)]
pub(crate) struct Browser(pub(crate) BTreeMap<String, String>);

pub(crate) type Headers<'h> = &'h [(&'h str, &'h str)];

pub(crate) const NAVIGATE: Headers<'static> = &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")];
pub(crate) const CALL: Headers<'static> =
    &[("x-csrf", "1"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")];
pub(crate) const FORM: Headers<'static> = &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "same-origin")];

impl Browser {
    pub(crate) fn header(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn take(&mut self, set: &[SetCookie]) {
        for cookie in set {
            let (name, value) = cookie.expose().split(';').next().unwrap().split_once('=').unwrap();
            if cookie.expose().contains("Max-Age=0") {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Sends a request and keeps the cookies of the answer.
    pub(crate) async fn send(
        &mut self,
        bff: &Bff,
        method: &str,
        target: &str,
        headers: Headers<'_>,
        body: &str,
    ) -> Reply {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let cookies = self.header();
        let mut all: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        if !cookies.is_empty() {
            all.push(("cookie", cookies.as_bytes()));
        }
        let reply = bff.handle(&HeadParts { method, path, headers: &all }, query, body.as_bytes()).await;
        self.take(reply.cookies());
        reply
    }

    /// Follows a link.
    pub(crate) async fn open(&mut self, bff: &Bff, target: &str) -> Reply {
        self.send(bff, "GET", target, NAVIGATE, "").await
    }

    /// Begins a login and returns the `state` that went to the provider.
    pub(crate) async fn begin(&mut self, bff: &Bff, query: &str) -> String {
        let reply = self.open(bff, &format!("/bff/login?{query}")).await;
        assert_eq!(reply.status(), 303, "{query}");
        state_in(location(&reply))
    }

    pub(crate) async fn return_with(&mut self, bff: &Bff, state: &str, code: &str) -> Reply {
        self.open(bff, &format!("/bff/callback?code={code}&state={state}")).await
    }

    pub(crate) async fn log_in(&mut self, bff: &Bff, subject: &str, return_to: &str) -> Reply {
        let state = self.begin(bff, &format!("return_to={return_to}")).await;
        self.return_with(bff, &state, subject).await
    }

    pub(crate) fn session(&self, bff: &Bff) -> RequestSession {
        let cookies = self.header();
        let headers: &[(&str, &[u8])] = &[("cookie", cookies.as_bytes())];
        bff.party().sessions().begin(&HeadParts { method: "GET", path: "/", headers })
    }

    /// Asks who the service takes it for.
    pub(crate) async fn who(&self, bff: &Bff) -> Option<String> {
        let session = self.session(bff);
        session.load(None).await.unwrap();
        session.principal().unwrap().map(|who| who.subject().to_owned())
    }

    pub(crate) async fn token(&self, bff: &Bff) -> Result<String, crate::session::AccessError> {
        bff.party().access_token(&self.session(bff)).await.map(|token| text(token.secret()))
    }

    pub(crate) fn pending(&self) -> usize {
        let names: BTreeSet<&str> = self
            .0
            .keys()
            .filter(|name| name.starts_with("__Host-login-"))
            .map(|name| name.rsplit_once('.').unwrap().0)
            .collect();
        names.len()
    }
}

pub(crate) fn text(secret: &Secret) -> String {
    secret.expose_str().unwrap().to_owned()
}

pub(crate) fn location(reply: &Reply) -> &str {
    reply.headers().find(|(name, _)| *name == "location").expect("a location").1
}

pub(crate) fn state_in(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
}

/// Is a provider that does what it is told.
pub(crate) struct Script {
    issuer: String,
    clock: FixedClock,
    tokens: Mutex<Tokens>,
    pub(crate) started: Mutex<Vec<String>>,
    pub(crate) refreshes: AtomicUsize,
    pub(crate) reused: AtomicUsize,
    pub(crate) revoked: Mutex<Vec<String>>,
    pub(crate) undone: AtomicUsize,
    /// Answers to refreshes: what is in front is taken first, and none is a success.
    pub(crate) answers: Mutex<Vec<TokenError>>,
    /// A refresh waits here for a permit, if it is told so.
    pub(crate) gate: Semaphore,
    pub(crate) is_gated: AtomicBool,
    pub(crate) is_down: AtomicBool,
    pub(crate) gives_refresh: AtomicBool,
    /// Tokens come with their end.
    pub(crate) says_when: AtomicBool,
    pub(crate) returns_to: Mutex<String>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.issuer)
    }
}

#[derive(Default)]
struct Tokens {
    next: u64,
    good: BTreeSet<String>,
}

impl Script {
    fn new(issuer: &str, clock: &FixedClock) -> Self {
        Self {
            issuer: issuer.to_owned(),
            clock: clock.clone(),
            tokens: Mutex::default(),
            started: Mutex::default(),
            refreshes: AtomicUsize::new(0),
            reused: AtomicUsize::new(0),
            revoked: Mutex::default(),
            undone: AtomicUsize::new(0),
            answers: Mutex::default(),
            gate: Semaphore::new(0),
            is_gated: AtomicBool::new(false),
            is_down: AtomicBool::new(false),
            gives_refresh: AtomicBool::new(true),
            says_when: AtomicBool::new(true),
            returns_to: Mutex::new("/bff/callback".to_owned()),
        }
    }

    pub(crate) fn refreshes(&self) -> usize {
        self.refreshes.load(Ordering::SeqCst)
    }

    pub(crate) fn next_answer(&self, error: TokenError) {
        self.answers.lock().unwrap().push(error);
    }

    fn issue(&self) -> TokenSet {
        let mut tokens = self.tokens.lock().unwrap();
        tokens.next += 1;
        let number = tokens.next;
        let refresh = self.gives_refresh.load(Ordering::SeqCst).then(|| format!("refresh-hush-{number}"));
        tokens.good.extend(refresh.clone());
        let end = UnixSeconds::new(sekisho_core::Clock::now(&self.clock).as_secs() + LIFE);
        TokenSet {
            access_token: Secret::from(format!("access-hush-{number}")),
            is_dpop: false,
            expires_at: self.says_when.load(Ordering::SeqCst).then_some(end),
            refresh_token: refresh.map(Secret::from),
            id_token: Some(Secret::from(format!("id-hush-{number}"))),
            scope: Some("openid".into()),
        }
    }
}

pub(crate) fn logout_token(issuer: &str, sid: Option<&str>, subject: Option<&str>) -> String {
    let claims = json!({ "iss": issuer, "sid": sid, "sub": subject });
    format!("e30.{}.good", URL_SAFE_NO_PAD.encode_to_string(claims.to_string()))
}

#[async_trait]
impl Protocol for Script {
    fn issuer(&self) -> &str {
        &self.issuer
    }

    fn redirect_uri(&self) -> String {
        format!("https://shop.example{}", self.returns_to.lock().unwrap())
    }

    async fn start(&self, request: &LoginRequest, _: UnixSeconds) -> Result<Started, Failure> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Failure::unavailable("the provider is down"));
        }
        self.started.lock().unwrap().push(format!("{request:?}"));
        let state = format!("{}{}", crate::session::random(), crate::session::random());
        let pending = Zeroizing::new(format!("{state}{}", "n".repeat(500)).into_bytes());
        Ok(Started { url: format!("{}/authorize?state={state}", self.issuer), state, pending })
    }

    async fn finish(&self, pending: &[u8], query: &str, now: UnixSeconds) -> Result<LoggedIn, LoginError> {
        let pairs: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if !pending.starts_with(pairs["state"].as_bytes()) {
            return Err(LoginError::Foreign);
        }
        match pairs.get("error").map(String::as_str) {
            Some("login_required") => return Err(LoginError::InteractionRequired),
            Some("access_denied") => return Err(LoginError::Denied),
            Some("too_weak") => return Err(LoginError::TooWeak),
            Some("bad_token") => return Err(LoginError::IdToken(Reject::Signature)),
            Some("down") => return Err(Failure::unavailable("the provider is down").into()),
            Some(_) => return Err(LoginError::Refused("invalid_scope")),
            None => {}
        }
        let subject = &pairs["code"];
        let principal = PrincipalBuilder::new(self.issuer.as_str(), subject.as_str())
            .with_claim("sid", format!("sid-{subject}"))
            .with_claim("name", format!("Name of {subject}"))
            .with_claim("salary", 100)
            .with_claim("auth_time", now.as_secs())
            .with_client("shop")
            .build()
            .unwrap();
        Ok(LoggedIn { principal, tokens: self.issue() })
    }

    async fn refresh(&self, tokens: &TokenSet, subject: &str, _: UnixSeconds) -> Result<TokenSet, TokenError> {
        assert!(!subject.is_empty());
        self.refreshes.fetch_add(1, Ordering::SeqCst);
        let sent = text(tokens.refresh_token.as_ref().unwrap());
        if let Some(error) = self.answers.lock().unwrap().pop() {
            return Err(error);
        }
        if !self.tokens.lock().unwrap().good.remove(&sent) {
            self.reused.fetch_add(1, Ordering::SeqCst);
            return Err(TokenError::Grant);
        }
        let new = self.issue();
        if self.is_gated.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        Ok(new)
    }

    async fn user_info(&self, _: &TokenSet, _: &str, _: UnixSeconds) -> Result<UserInfo, UserInfoError> {
        panic!("nobody asks here; `tests/provider` does")
    }

    async fn revoke(&self, refresh_token: &Secret, _: UnixSeconds) -> Result<(), TokenError> {
        if self.is_down.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.revoked.lock().unwrap().push(text(refresh_token));
        Ok(())
    }

    async fn logout_url(
        &self,
        id_token: Option<&Secret>,
        return_to: Option<&str>,
        _: UnixSeconds,
    ) -> Result<Option<String>, Failure> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Failure::unavailable("the provider is down"));
        }
        let hint = id_token.map(text).unwrap_or_default();
        let return_to = return_to.unwrap_or_default();
        Ok(Some(format!("{}/logout?id_token_hint={hint}&post_logout_redirect_uri={return_to}", self.issuer)))
    }

    async fn logout_notice(&self, logout_token: &str, now: UnixSeconds) -> Result<Notice, Refusal> {
        let claims = logout_token.strip_suffix(".good").ok_or(Reject::Signature)?;
        let claims = URL_SAFE_NO_PAD.decode_to_vec(claims.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let read = |name: &str| claims[name].as_str().map(Into::into);
        Ok(Notice { sid: read("sid"), subject: read("sub"), issued_at: now, proved: None })
    }

    fn logout_undone(&self, _: &Notice, _: UnixSeconds) {
        self.undone.fetch_add(1, Ordering::SeqCst);
    }
}

/// Is the store in memory that fails to write on demand.
#[derive(Debug, Default)]
pub(crate) struct Shaky {
    inner: MemorySessionStore,
    pub(crate) is_down: AtomicBool,
    /// This many writes fail.
    pub(crate) failing_saves: AtomicUsize,
    /// Saves never end.
    pub(crate) hangs: AtomicBool,
    /// Deletes wait until they are let go on.
    pub(crate) holds_deletes: AtomicBool,
    released: Notify,
}

impl Shaky {
    pub(crate) fn release(&self) {
        self.holds_deletes.store(false, Ordering::SeqCst);
        self.released.notify_waiters();
    }

    async fn hold(&self) {
        if self.holds_deletes.load(Ordering::SeqCst) {
            self.released.notified().await;
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.is_down.load(Ordering::SeqCst) { Err(Failure::unavailable("the store is down")) } else { Ok(()) }
    }
}

#[async_trait]
impl SessionStore for Shaky {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        self.check()?;
        self.inner.create(id, new, now).await
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        self.check()?;
        tokio::task::yield_now().await;
        self.inner.load(id, now).await
    }

    async fn save(
        &self,
        id: &SessionHash,
        expected: u64,
        update: &SessionUpdate,
        now: UnixSeconds,
    ) -> Result<Saved, Failure> {
        self.check()?;
        tokio::task::yield_now().await;
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let fails = self.failing_saves.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fails.is_ok() {
            return Err(Failure::unavailable("the store does not write"));
        }
        self.inner.save(id, expected, update, now).await
    }

    async fn touch(&self, id: &SessionHash, idle_until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        self.check()?;
        self.inner.touch(id, idle_until, now).await
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        self.check()?;
        self.hold().await;
        self.inner.delete(id, now).await
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        self.check()?;
        self.inner.list(tag, now).await
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        self.check()?;
        self.hold().await;
        self.inner.delete_tagged(tag, now).await
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.inner.sweep(now).await
    }
}
