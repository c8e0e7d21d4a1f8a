use std::fmt;
use std::time::Duration;

use sekisho_core::{Failure, FailureKind, Refusal, Secret, UnixSeconds};
use sekisho_http::{Answer, RequestHead};
use sekisho_session::RequestSession;

use crate::session::cycle::{self, Claim, Need};
use crate::session::flights::Landing;
use crate::session::party::RelyingParty;
use crate::session::record::{Held, Member};
use crate::session::refresh;
use crate::session::reply::Reply;
use crate::tokens::TokenSet;

/// Is an access token of whoever is logged in, to be sent to a service. `Debug` shows none of it.
#[derive(Clone)]
pub struct AccessToken {
    token: Secret,
    is_dpop: bool,
    expires_at: Option<UnixSeconds>,
    scope: Option<Box<str>>,
    pub(crate) serial: u64,
}

impl AccessToken {
    pub(crate) fn of(held: &Held) -> Self {
        Self {
            token: held.access_token(),
            is_dpop: held.is_dpop(),
            expires_at: held.life.expires_at.map(UnixSeconds::new),
            scope: held.scope().map(Into::into),
            serial: held.life.serial,
        }
    }

    /// Is this one alone, as the provider's side knows it.
    pub(crate) fn tokens(&self) -> TokenSet {
        let Self { token, is_dpop, expires_at, scope, serial: _ } = self.clone();
        TokenSet { access_token: token, is_dpop, expires_at, refresh_token: None, id_token: None, scope }
    }

    /// Reads it.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.token
    }

    /// Tells whether it goes with a proof of our key, as `DPoP` ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)), and not as `Bearer`.
    #[must_use]
    pub const fn is_dpop(&self) -> bool {
        self.is_dpop
    }

    /// Returns when it ends, if the provider said so.
    #[must_use]
    pub const fn expires_at(&self) -> Option<UnixSeconds> {
        self.expires_at
    }

    /// Returns the scopes that were granted, if the provider said so.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Says why there is no access token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Nobody is logged in, the session has ended, or the provider no longer honours the login; then the session was ended and its
    /// cookie goes with the answer.
    #[error("nobody is logged in")]
    SignedOut,
    /// The session lives, and the access token is over with nothing to refresh it: log in again, perhaps silently.
    #[error("the access token is over")]
    Over,
    /// Our side or the provider's broke; the session lives on.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl AccessError {
    /// Answers, and logs: 401 where a login helps, else 500, 502 or 503.
    pub fn reply(&self, head: &impl RequestHead) -> Reply {
        match self {
            Self::SignedOut | Self::Over => Reply::refusal(head, 401, "Unauthorized", "Please sign in."),
            Self::Failure(failure) => Reply::of(&Answer::of_failure(failure)),
        }
    }
}

impl RelyingParty {
    /// Returns the access token of whoever is logged in, refreshed where it needs that.
    ///
    /// - More than 60 s before its end (or with more than a tenth of its life left, if that is less) it is handed out as it is.
    /// - After that it is handed out as well, and refreshed beside; in its last 5 s (or last twentieth) callers wait for the new one.
    /// - A session's token is refreshed by one task at a time, in this process and in all others that share the store: by a mark in the
    ///   session's record, written by compare-and-set. Others use the old one while it is good, then wait for 5 s at the most.
    /// - Nobody waits for the task longer than its mark counts, [30 s](crate::RelyingPartyBuilder::with_refresh_timeout).
    /// - The task goes on though the request is dropped, and writes the new tokens down at once: their predecessors are used up.
    /// - It ends the session when the provider no longer honours the login. After other trouble it tries again after 10 s.
    ///
    /// # Errors
    /// [`AccessError`]
    pub async fn access_token(&self, session: &RequestSession) -> Result<AccessToken, AccessError> {
        self.token(session, None).await
    }

    /// Returns another access token than the one that a service did not take (401), refreshed for this if need be.
    ///
    /// One that was obtained less than 10 s ago is not replaced, so a service that refuses everything cannot make us ask the provider
    /// for each request.
    ///
    /// # Errors
    /// [`AccessError`]; [`AccessError::Failure`] too for one that is too new.
    pub async fn access_token_after(
        &self,
        refused: &AccessToken,
        session: &RequestSession,
    ) -> Result<AccessToken, AccessError> {
        self.token(session, Some(refused.serial)).await
    }

    async fn token(&self, session: &RequestSession, refused: Option<u64>) -> Result<AccessToken, AccessError> {
        let (held, id) = match (held(session).await?, session.id()) {
            (Some(held), Some(id)) => (held, id),
            _ => return Err(AccessError::SignedOut),
        };
        let now = self.now();
        if refused == Some(held.life.serial)
            && let Some(left) = cycle::is_new_for(&held.life, now, self.rules())
        {
            return Err(TOO_NEW.with_retry_after(left).into());
        }
        match cycle::need(&held.life, refused, now, self.rules()) {
            Need::Nothing => return Ok(AccessToken::of(&held)),
            Need::Over => return Err(AccessError::Over),
            Need::Ahead => {
                // Whoever is at it, or could not a moment ago, is left in peace; what could not be written is.
                let claim = cycle::claim(&mut held.life.clone(), "", held.life.serial, now, self.rules());
                if claim == Claim::Won || self.flights().has_stranded(id.as_str()) {
                    let flight = || refresh::fly(self.clone(), session.detached(), held.life.serial, refused);
                    let _beside = self.flights().join(id.as_str(), flight);
                }
                return Ok(AccessToken::of(&held));
            }
            Need::Now => {}
        }
        for _ in 0..2 {
            let flight = || refresh::fly(self.clone(), session.detached(), held.life.serial, refused);
            let mut waiting = self.flights().join(id.as_str(), flight).ok_or(CROWDED)?;
            // A store that never answers holds the task, and must not hold all who wait for it.
            let waited = tokio::time::timeout(self.rules().lease, waiting.wait_for(Option::is_some)).await;
            let landing = waited.map_err(|_| STUCK.with_retry_after(Duration::from_secs(1)))?;
            let landing = landing.ok().and_then(|landing| landing.clone());
            match landing.unwrap_or(Landing::Failed(FailureKind::Misconfigured, None)) {
                // It was refreshed for others, before the service refused it.
                Landing::Token(token) if refused == Some(token.serial) => {}
                Landing::Token(token) => return Ok(token),
                Landing::Over => return Err(AccessError::Over),
                Landing::Gone => return Err(AccessError::SignedOut),
                Landing::Ended => {
                    session.log_out();
                    return Err(AccessError::SignedOut);
                }
                Landing::Failed(kind, retry_after) => {
                    let failure = Failure::new(kind, "the access token could not be refreshed");
                    let failure = retry_after.into_iter().fold(failure, Failure::with_retry_after);
                    return Err(failure.into());
                }
            }
        }
        Err(CROWDED.into())
    }
}

/// Reads what a session holds; `None` where nobody is logged in by a provider.
pub(crate) async fn held(session: &RequestSession) -> Result<Option<Held>, Failure> {
    match session.session::<Member>(None).await {
        Ok(member) => Ok(member.data().held.clone().filter(|_| session.principal().is_ok_and(|who| who.is_some()))),
        // A cookie that cannot be read is nobody's.
        Err(Refusal::Reject(_)) => Ok(None),
        Err(Refusal::Failure(failure)) => Err(failure),
    }
}

const TOO_NEW: Failure = Failure::unavailable("a service refuses an access token that has just been obtained");
const STUCK: Failure = Failure::unavailable("the refresh of an access token does not come to its end");
const CROWDED: Failure = Failure::unavailable("too many access tokens are being refreshed");
