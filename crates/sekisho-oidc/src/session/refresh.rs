//! One refresh of one session's tokens, from the wish to the record: run as a task of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sekisho_core::{Failure, FailureKind, Refusal, Secret, UnixSeconds};
use sekisho_session::RequestSession;
use tokio::time::Instant;

use crate::session::access::{AccessToken, held};
use crate::session::cycle::{self, Claim, Need};
use crate::session::flights::{Landing, Stranded};
use crate::session::party::RelyingParty;
use crate::session::protocol::Protocol;
use crate::session::record::{Held, Member};
use crate::tokens::TokenError;

/// Refreshes the token of serial `seen`, or finds out that somebody else has. `session` is the task's own.
pub(crate) async fn fly(party: RelyingParty, session: RequestSession, seen: u64, refused: Option<u64>) -> Landing {
    let flight = Flight { me: crate::session::random(), party, session, seen, refused };
    flight.run().await.unwrap_or_else(|failure| {
        tracing::warn!(target: "sekisho", %failure, "an access token was not refreshed");
        failed(&failure)
    })
}

struct Flight {
    /// Whose mark ours is.
    me: Box<str>,
    party: RelyingParty,
    session: RequestSession,
    seen: u64,
    refused: Option<u64>,
}

impl Flight {
    async fn run(&self) -> Result<Landing, Failure> {
        let Self { party, session, seen, refused, .. } = self;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match session.reload().await {
                Ok(()) => {}
                Err(Refusal::Failure(failure)) => return Err(failure),
                Err(Refusal::Reject(_)) => return Ok(Landing::Gone),
            }
            let Some(held) = held(session).await? else { return Ok(Landing::Gone) };
            if held.life.serial != *seen {
                return Ok(Landing::Token(AccessToken::of(&held)));
            }
            if let Some(landing) = self.adopt(&held).await? {
                return Ok(landing);
            }
            let Some((claim, held)) = self.claim().await? else { return Ok(Landing::Gone) };
            let is_good = |held: &Held| {
                let need = cycle::need(&held.life, *refused, party.now(), party.rules());
                matches!(need, Need::Nothing | Need::Ahead)
            };
            match claim {
                Claim::Won if cycle::is_in_time(&held.life, party.now(), party.refresh_timeout()) => {
                    return self.send(held).await;
                }
                Claim::Renewed => return Ok(Landing::Token(AccessToken::of(&held))),
                Claim::Over => return Ok(Landing::Over),
                Claim::Taken | Claim::CoolingOff(_) if is_good(&held) => {
                    return Ok(Landing::Token(AccessToken::of(&held)));
                }
                Claim::CoolingOff(until) => {
                    return Ok(Landing::Failed(FailureKind::Unavailable, Some(until.since(party.now()))));
                }
                Claim::Won | Claim::Taken if Instant::now() >= deadline => {
                    return Ok(Landing::Failed(FailureKind::Unavailable, Some(Duration::from_secs(1))));
                }
                // It took so long to write the mark that its time is nearly over: it is taken anew.
                Claim::Won => {}
                Claim::Taken => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Takes the mark by compare-and-set. What is returned beside is the record as it was then, so nothing that another process
    /// wrote before is missed; `None` when the session has ended.
    async fn claim(&self) -> Result<Option<(Claim, Held)>, Failure> {
        let (me, seen, now, rules) = (self.me.clone(), self.seen, self.party.now(), *self.party.rules());
        self.change(move |held| (cycle::claim(&mut held.life, &me, seen, now, &rules), held.clone())).await
    }

    /// Sends the refresh token, once, and writes down what comes of it.
    async fn send(&self, held: Held) -> Result<Landing, Failure> {
        let Self { party, session, .. } = self;
        let Some(principal) = session.principal()? else { return Ok(Landing::Gone) };
        let Some(provider) = party.provider_of(&held, principal.issuer()) else {
            let unknown = Failure::new(FailureKind::Misconfigured, "a session's provider is not configured any more");
            return Ok(self.give_back(&held, &unknown).await);
        };
        let tokens = held.tokens();
        let sending = provider.refresh(&tokens, principal.subject(), party.now());
        let answer = match tokio::time::timeout(party.refresh_timeout(), sending).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::unavailable("the provider did not answer in time").into()),
        };
        match answer {
            Ok(tokens) => match Held::of(&held.provider, &tokens, party.now()) {
                Ok(new) => self.keep(new, &**provider).await,
                Err(failure) => Ok(self.give_back(&held, &failure).await),
            },
            Err(TokenError::Grant | TokenError::IdToken(_)) => self.end().await,
            Err(TokenError::Failure(failure)) => Ok(self.give_back(&held, &failure).await),
            Err(error) => {
                let failure =
                    Failure::new(FailureKind::BadGateway, "the provider refused a refresh").with_source(error);
                Ok(self.give_back(&held, &failure).await)
            }
        }
    }

    /// Writes new tokens down: by all means, for they are the only ones that are good.
    async fn keep(&self, new: Held, provider: &dyn Protocol) -> Result<Landing, Failure> {
        let Self { party, session, me, .. } = self;
        let id = session.id();
        let mut wait = Duration::from_millis(20);
        let deadline = Instant::now() + WRITE_PATIENCE;
        loop {
            match self.write(me, &new).await {
                Ok(Some(true)) => return Ok(Landing::Token(AccessToken::of(&new)).next(self.seen)),
                Ok(Some(false)) => {
                    tracing::warn!(target: "sekisho", "a refresh took longer than its mark counts, and another one came before");
                    return Ok(Landing::Failed(FailureKind::Unavailable, Some(Duration::from_secs(1))));
                }
                Ok(None) => {
                    // INVARIANT: whoever logged out is out, at the provider too.
                    if let Some(token) = new.refresh_token() {
                        revoke(provider, &token, party.now()).await;
                    }
                    return Ok(Landing::Gone);
                }
                Err(failure) if Instant::now() + wait >= deadline => {
                    tracing::error!(target: "sekisho", %failure, "refreshed tokens could not be kept; the next request tries again");
                    if let Some(id) = id {
                        let stranded = Stranded { me: me.clone(), new: new.clone() };
                        party.flights().strand(id.as_str(), stranded);
                    }
                    return Ok(Landing::Token(AccessToken::of(&new)).next(self.seen));
                }
                Err(_) => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
            }
        }
    }

    /// Writes what an earlier task of this process could not, if the record still waits for it: the store was down, or the session
    /// got a new id while it ran.
    async fn adopt(&self, held: &Held) -> Result<Option<Landing>, Failure> {
        let Some(id) = self.session.id() else { return Ok(None) };
        let Some(Stranded { me, new }) = self.party.flights().stranded(id.as_str()) else { return Ok(None) };
        if !cycle::is_marked(&held.life, &me) {
            self.party.flights().forget(id.as_str());
            return Ok(None);
        }
        let written = self.write(&me, &new).await?;
        self.party.flights().forget(id.as_str());
        Ok(match written {
            Some(true) => Some(Landing::Token(AccessToken::of(&new)).next(self.seen)),
            Some(false) => None,
            None => Some(Landing::Gone),
        })
    }

    /// Puts new tokens into the record that shows `me`'s mark. `Some(false)` when it shows another one, `None` when it is gone.
    async fn write(&self, me: &str, new: &Held) -> Result<Option<bool>, Failure> {
        let (me, new, now) = (Box::<str>::from(me), new.clone(), self.party.now());
        self.change(move |held| {
            // A write of ours whose answer was lost has done it already.
            held.renew(&me, &new, now) || held.access_token() == new.access_token()
        })
        .await
    }

    /// Ends the session, for the provider no longer honours its refresh token.
    async fn end(&self) -> Result<Landing, Failure> {
        let session = &self.session;
        match session.reload().await {
            Ok(()) => {}
            Err(Refusal::Failure(failure)) => return Err(failure),
            Err(Refusal::Reject(_)) => return Ok(Landing::Gone),
        }
        let Some(held) = held(session).await? else { return Ok(Landing::Gone) };
        if held.life.serial != self.seen {
            return Ok(Landing::Token(AccessToken::of(&held)));
        }
        session.log_out();
        session.flush().await?;
        tracing::info!(target: "sekisho", "a session was ended, for the provider no longer honours its refresh token");
        Ok(Landing::Ended)
    }

    /// Gives the mark back after trouble; the old token is used while it is good.
    async fn give_back(&self, held: &Held, failure: &Failure) -> Landing {
        tracing::warn!(target: "sekisho", %failure, "an access token was not refreshed");
        let (me, now, rules) = (self.me.clone(), self.party.now(), *self.party.rules());
        if let Err(failure) = self.change(move |held| cycle::fail(&mut held.life, &me, now, &rules)).await {
            // Then it ends by itself.
            tracing::warn!(target: "sekisho", %failure, "the mark of a refresh could not be taken back");
        }
        match cycle::need(&held.life, self.refused, now, &rules) {
            Need::Nothing | Need::Ahead => Landing::Token(AccessToken::of(held)),
            Need::Now | Need::Over => failed(failure),
        }
    }

    /// Changes the record by compare-and-set and returns what the last run of `change` said, the one that counted; `None` when the
    /// session, or its login, is gone.
    async fn change<R: Clone + Send + 'static>(
        &self,
        change: impl Fn(&mut Held) -> R + Send + Sync + 'static,
    ) -> Result<Option<R>, Failure> {
        let said: Arc<Mutex<Option<R>>> = Arc::default();
        let saying = Arc::clone(&said);
        let mut member = match self.session.session::<Member>(None).await {
            Ok(member) => member,
            Err(Refusal::Failure(failure)) => return Err(failure),
            Err(Refusal::Reject(_)) => return Ok(None),
        };
        if member.id().is_none() {
            return Ok(None);
        }
        member.update(move |member| {
            let answer = member.held.as_mut().map(&change);
            *saying.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        });
        self.session.flush().await?;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(said.filter(|_| self.session.id().is_some()))
    }
}

impl Landing {
    /// Counts a token that has just been written in the place of the one of serial `seen`.
    fn next(self, seen: u64) -> Self {
        match self {
            Self::Token(mut token) => {
                token.serial = seen.saturating_add(1);
                Self::Token(token)
            }
            other => other,
        }
    }
}

/// Withdraws a refresh token as far as that can be done in a moment.
pub(crate) async fn revoke(provider: &dyn Protocol, token: &Secret, now: UnixSeconds) {
    match tokio::time::timeout(REVOKE, provider.revoke(token, now)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(target: "sekisho", %error, "a refresh token was not revoked"),
        Err(_) => {
            tracing::warn!(target: "sekisho", "a refresh token was not revoked: the provider did not answer in time")
        }
    }
}

fn failed(failure: &Failure) -> Landing {
    let retry_after = failure.retry_after().or((failure.kind() == FailureKind::Unavailable).then_some(RETRY));
    Landing::Failed(failure.kind(), retry_after)
}

/// How long whoever has no good token waits for another process.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
const WRITE_PATIENCE: Duration = Duration::from_secs(3);
const REVOKE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_secs(10);
