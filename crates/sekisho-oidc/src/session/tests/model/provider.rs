//! A provider that rotates refresh tokens strictly: one that comes again ends all that came of its login.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Clock, Failure, Refusal, Secret, UnixSeconds};
use sekisho_testkit::FixedClock;
use zeroize::Zeroizing;

use super::gate::{Broken, Gate};
use crate::provider::{LoggedIn, LoginError, LoginRequest, UserInfo, UserInfoError};
use crate::session::protocol::{Notice, Protocol, Started};
use crate::session::tests::world::{ISSUER, LIFE, text};
use crate::tokens::{TokenError, TokenSet};

/// Is the provider's side of all logins.
pub(super) struct Idp {
    clock: FixedClock,
    broken: Option<Broken>,
    state: Mutex<State>,
}

#[derive(Default, Hash, Debug)]
struct State {
    /// Sessions at the provider that have ended.
    ended: BTreeSet<String>,
    /// Of each login: the refresh token that is good; none when it was killed.
    logins: BTreeMap<String, Option<u64>>,
    issued: BTreeMap<String, u64>,
    /// Refresh tokens that came again.
    reused: u64,
}

impl Idp {
    pub(super) fn new(clock: &FixedClock, broken: Option<Broken>) -> Self {
        Self { clock: clock.clone(), broken, state: Mutex::default() }
    }

    pub(super) fn digest(&self, into: &mut DefaultHasher) {
        self.state.lock().unwrap().hash(into);
    }

    /// Ends a session here: what was logged in by it is over.
    pub(super) fn end(&self, sid: &str) {
        let mut state = self.state.lock().unwrap();
        state.ended.insert(sid.to_owned());
        for (login, good) in &mut state.logins {
            if login.split('/').next() == Some(sid) {
                *good = None;
            }
        }
    }

    fn issue(&self, state: &mut State, login: &str) -> TokenSet {
        let number = state.issued.entry(login.to_owned()).or_default();
        *number += 1;
        state.logins.insert(login.to_owned(), Some(*number));
        TokenSet {
            access_token: Secret::from(format!("access {login} {number}")),
            is_dpop: false,
            expires_at: Some(UnixSeconds::new(self.clock.now().as_secs() + LIFE)),
            refresh_token: Some(Secret::from(format!("refresh {login} {number}"))),
            id_token: None,
            scope: None,
        }
    }

    /// Answers to a code, which says which session here it is of: `sid/login`.
    fn code(&self, login: &str) -> Result<LoggedIn, LoginError> {
        let mut state = self.state.lock().unwrap();
        let sid = login.split('/').next().unwrap();
        if state.ended.contains(sid) {
            return Err(LoginError::Code);
        }
        let now = self.clock.now().as_secs();
        let principal = PrincipalBuilder::new(ISSUER, sid.split('-').next().unwrap())
            .with_claim("sid", sid)
            .with_claim("iat", now)
            .with_claim("auth_time", now)
            .build()
            .unwrap();
        Ok(LoggedIn { principal, tokens: self.issue(&mut state, login) })
    }

    fn rotate(&self, sent: &str) -> Result<TokenSet, TokenError> {
        let mut state = self.state.lock().unwrap();
        let mut parts = sent.split(' ').skip(1);
        let (login, number) = (parts.next().unwrap().to_owned(), parts.next().unwrap().parse::<u64>().unwrap());
        match state.logins.get(&login).copied().flatten() {
            Some(good) if good == number => {
                let login = match self.broken {
                    Some(Broken::ProviderMixesUp) => state.logins.keys().find(|other| **other != login).cloned(),
                    _ => Some(login),
                };
                Ok(self.issue(&mut state, &login.unwrap()))
            }
            _ => {
                state.reused += 1;
                state.logins.insert(login, None);
                Err(TokenError::Grant)
            }
        }
    }

    fn revoke(&self, sent: &str) {
        let login = sent.split(' ').nth(1).unwrap().to_owned();
        self.state.lock().unwrap().logins.insert(login, None);
    }
}

/// Is the way to the provider from one process.
pub(super) struct Line {
    pub(super) idp: Arc<Idp>,
    pub(super) gate: Arc<Gate>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

fn shown<T, E: fmt::Debug>(answer: &Result<T, E>) -> String {
    answer.as_ref().map_or_else(|error| format!("{error:?}"), |_| "ok".to_owned())
}

#[async_trait]
impl Protocol for Line {
    fn issuer(&self) -> &str {
        ISSUER
    }

    fn redirect_uri(&self) -> String {
        "https://shop.example/bff/callback".to_owned()
    }

    async fn start(&self, _: &LoginRequest, _: UnixSeconds) -> Result<Started, Failure> {
        let state = format!("{}{}", crate::session::random(), crate::session::random());
        let pending = Zeroizing::new(state.clone().into_bytes());
        Ok(Started { url: format!("{ISSUER}/authorize?state={state}"), state, pending })
    }

    async fn finish(&self, _: &[u8], query: &str, _: UnixSeconds) -> Result<LoggedIn, LoginError> {
        let code =
            url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code").unwrap().1.into_owned();
        let (idp, label) = (Arc::clone(&self.idp), format!("code {code}"));
        self.gate.call(label, async move { idp.code(&code) }, shown).await
    }

    async fn refresh(&self, tokens: &TokenSet, _: &str, _: UnixSeconds) -> Result<TokenSet, TokenError> {
        let sent = text(tokens.refresh_token.as_ref().unwrap());
        let (idp, label) = (Arc::clone(&self.idp), sent.clone());
        self.gate.call(label, async move { idp.rotate(&sent) }, shown).await
    }

    async fn user_info(&self, _: &TokenSet, _: &str, _: UnixSeconds) -> Result<UserInfo, UserInfoError> {
        panic!("nobody asks here; `tests/provider` does")
    }

    async fn revoke(&self, refresh_token: &Secret, _: UnixSeconds) -> Result<(), TokenError> {
        let (idp, sent) = (Arc::clone(&self.idp), text(refresh_token));
        let revoke = async move {
            idp.revoke(&sent);
            Ok(())
        };
        self.gate.call("revoke".to_owned(), revoke, shown).await
    }

    async fn logout_url(&self, _: Option<&Secret>, _: Option<&str>, _: UnixSeconds) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    async fn logout_notice(&self, logout_token: &str, now: UnixSeconds) -> Result<Notice, Refusal> {
        let sid = super::system::sid_in(logout_token);
        Ok(Notice { sid: Some(sid.into()), subject: None, issued_at: now, proved: None })
    }

    fn logout_undone(&self, _: &Notice, _: UnixSeconds) {}
}
