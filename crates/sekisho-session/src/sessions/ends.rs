//! Every way to end sessions before their time.

use std::collections::BTreeSet;
use std::time::Duration;

use sekisho_core::{Failure, SessionEnd, SubjectId};

use super::{Sessions, UNREADABLE_CARD};
use crate::content::{self, Card, Loaded};
use crate::ending::Ending;
use crate::keys::SessionKey;
use crate::overview::SessionId;
use crate::token::SessionTag;

impl Sessions {
    /// Ends one session of a subject. Returns whether it was alive, and the subject's.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: it may be alive still.
    pub async fn end(&self, subject: &SubjectId, id: &SessionId) -> Result<bool, Failure> {
        if !self.list(subject).await?.iter().any(|session| session.id() == id) {
            return Ok(false);
        }
        let _ending = self.ending(SessionEnd::Subject(subject));
        self.end_tagged(|key| content::handle_tag(key, id.as_str())).await.map(|ended| ended > 0)
    }

    /// Ends all sessions of a subject. Returns how many ids were alive; one that is just getting another one has two.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: some may be alive still.
    pub async fn end_all(&self, subject: &SubjectId) -> Result<u64, Failure> {
        let _ending = self.ending(SessionEnd::Subject(subject));
        self.end_tagged(|key| content::subject_tag(key, subject)).await
    }

    /// Ends all sessions of a subject but one.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: some may be alive still.
    pub async fn end_others(&self, subject: &SubjectId, keep: &SessionId) -> Result<u64, Failure> {
        let _ending = self.ending(SessionEnd::Subject(subject));
        let mut ended = 0;
        for _ in 0..MOST_PASSES {
            let before = ended;
            for handle in self.handles(subject).await? {
                if &*handle != keep.as_str() {
                    ended += self.end_tagged(|key| content::handle_tag(key, &handle)).await?;
                }
            }
            if ended == before {
                return Ok(ended);
            }
        }
        Err(TOO_FAST.with_retry_after(Duration::from_secs(1)))
    }

    /// Finds the public ids of all that a subject has in the store.
    ///
    /// INVARIANT: also of what was retired, or a session that came of it while the store made its list would be missed:
    /// see [`end_tagged`](Self::end_tagged).
    async fn handles(&self, subject: &SubjectId) -> Result<BTreeSet<Box<str>>, Failure> {
        let mut handles = BTreeSet::new();
        for key in self.0.keys.iter() {
            for listed in self.0.store.list(&content::subject_tag(key, subject), self.now()).await? {
                let card = Card::open(&self.0.keys, &listed.id, &listed.card).ok_or(UNREADABLE_CARD)?;
                handles.insert(card.handle);
            }
        }
        Ok(handles)
    }

    /// Ends all sessions that came of one session at a provider (`sid`). For back-channel logout
    /// [`end_by_provider`](Self::end_by_provider) does more: it reaches a login that is being finished too.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: some may be alive still.
    pub async fn end_provider_session(&self, issuer: &str, sid: &str) -> Result<u64, Failure> {
        let _ending = self.ending(SessionEnd::ProviderSession { issuer, id: sid });
        self.end_tagged(|key| content::provider_tag(key, issuer, sid)).await
    }

    /// Ends all sessions whose principal came by this client of an issuer.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: some may be alive still.
    pub async fn end_client(&self, issuer: &str, client: &str) -> Result<u64, Failure> {
        let _ending = self.ending(SessionEnd::Client { issuer, client });
        self.end_tagged(|key| content::client_tag(key, issuer, client)).await
    }

    /// Tells those who listen of an end, once what this returns is dropped: to be held until the store has been asked.
    pub(crate) fn ending<'a>(&'a self, end: SessionEnd<'a>) -> Ending<'a> {
        self.0.listeners.ending(end)
    }

    /// Returns who is logged in in a session that is about to end; `None` when nobody is, or nobody listens.
    pub(crate) fn subject_to_tell(&self, loaded: &Loaded) -> Option<SubjectId> {
        if self.0.listeners.is_empty() {
            return None;
        }
        // Who cannot be read was let in nowhere.
        loaded.principal().ok().flatten().map(|principal| principal.id())
    }

    /// Ends what has a tag, under all keys, until a whole pass finds nobody alive.
    ///
    /// INVARIANT: one pass is not enough. A session that gets a new id while the store goes through its list is on that list
    /// under the old one; but the new one was there before the old one was retired, so the next pass finds it. After a pass that
    /// found nobody there is none left that could get a new id.
    pub(crate) async fn end_tagged(&self, tag: impl Fn(&SessionKey) -> SessionTag) -> Result<u64, Failure> {
        let mut ended = 0;
        for _ in 0..MOST_PASSES {
            let before = ended;
            for key in self.0.keys.iter() {
                ended += self.0.store.delete_tagged(&tag(key), self.now()).await?;
            }
            if ended == before {
                return Ok(ended);
            }
        }
        Err(TOO_FAST.with_retry_after(Duration::from_secs(1)))
    }

    /// Ends a session under all ids that it has, and what is remembered of its login, as [`end_tagged`](Self::end_tagged) does; but id by
    /// id, so that a [memory in front of the store](crate::TwoLevelSessionStore) forgets this session and no other. For what happens often.
    pub(crate) async fn end_handle(&self, handle: &str) -> Result<(), Failure> {
        let store = self.store();
        for _ in 0..MOST_PASSES {
            // Also who has just died: for a process whose clock is behind they may live.
            let (mut found, since) = (Vec::new(), self.now().saturating_sub(SKEW));
            for key in self.0.keys.iter() {
                let listed = store.list(&content::handle_tag(key, handle), since).await?;
                found.extend(listed.into_iter().map(|listed| listed.id));
            }
            match found.len() {
                0 => return Ok(()),
                1..=FEW => {
                    for id in &found {
                        store.delete(id, self.now()).await?;
                    }
                }
                _ => return self.end_tagged(|key| content::handle_tag(key, handle)).await.map(|_| ()),
            }
        }
        Err(TOO_FAST.with_retry_after(Duration::from_secs(1)))
    }
}

/// A session can get a new id once in a pass, at the price of a request each time.
const MOST_PASSES: usize = 100;

const SKEW: Duration = Duration::from_secs(60);

/// So many ids are ended one by one.
const FEW: usize = 8;

const TOO_FAST: Failure = Failure::unavailable("sessions come faster than they can be ended");
