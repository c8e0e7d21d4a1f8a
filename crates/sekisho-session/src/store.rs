use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};

use crate::token::{SessionHash, SessionTag};

/// Keeps sessions. It reads nothing of them: names are hashes, contents are sealed.
///
/// Contract for implementers; `sekisho_testkit::session_store_suite` checks it:
/// - Each call is atomic for the one session that it names, among all processes that share the store. Indexes by tag may
///   follow a moment later, save that [`delete_tagged`](Self::delete_tagged) and [`list`](Self::list) meet every session whose
///   creation was acknowledged before the call.
/// - A session is dead from the second [`idle_until`](StoredSession::idle_until) or [`expires_at`](StoredSession::expires_at)
///   on, whichever is first, and is then as if it was not there, cleared away or not.
/// - A store that is full refuses to create. It throws nobody out for somebody else: a session is never lost in silence.
/// - What was acknowledged is there for the next call of any process, as far as the engine promises that. Only `load` and
///   `load_now` of a store that says so may be late with what another process did, by a bound that it states.
/// - Dropping a future is safe: the call then has happened or not, never half.
/// - Trouble is a [`Failure`], never "not there". No name, tag or content stands in it.
#[async_trait]
pub trait SessionStore: Send + Sync + fmt::Debug {
    /// Keeps a new session with version 1, if the name is free. Returns whether it was.
    ///
    /// A name is taken while its session lives, and after [`delete`](Self::delete) until its session's end.
    ///
    /// # Errors
    /// [`Failure`] when the store broke or is full; the session may be there in the first case.
    async fn create(&self, id: SessionHash, session: &NewSession, now: UnixSeconds) -> Result<bool, Failure>;

    /// Answers [`load`](Self::load) at once if that is possible from memory, otherwise returns `None`. Never waits.
    fn load_now(&self, _id: &SessionHash, _now: UnixSeconds) -> Option<Result<Option<StoredSession>, Failure>> {
        None
    }

    /// Returns the live session of this name.
    ///
    /// # Errors
    /// [`Failure`] when the store broke.
    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure>;

    /// Returns the live session of this name by the word of the store itself, past any memory in front of it.
    ///
    /// Whoever saw a [`Saved::Conflict`], or has waited for another process, asks this. Default: [`load`](Self::load), which is
    /// right where `load` never answers by what it remembers. A store that does, and one that wraps another, overrides it.
    ///
    /// # Errors
    /// [`Failure`] when the store broke.
    async fn load_latest(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        self.load(id, now).await
    }

    /// Replaces the content if the version is still `expected`, and makes it `expected + 1`: compare-and-set.
    ///
    /// The idle deadline becomes the later one of what is kept and what is given, so that a save takes back no touch;
    /// `expires_at` becomes what is given.
    ///
    /// # Errors
    /// [`Failure`] when the store broke; it may have saved.
    async fn save(
        &self,
        id: &SessionHash,
        expected: u64,
        update: &SessionUpdate,
        now: UnixSeconds,
    ) -> Result<Saved, Failure>;

    /// Moves the idle deadline of a live session to `idle_until` if that is later; content and version stay. Returns
    /// whether the session is alive.
    ///
    /// # Errors
    /// [`Failure`] when the store broke.
    async fn touch(&self, id: &SessionHash, idle_until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure>;

    /// Ends a session. Returns whether it was alive.
    ///
    /// No save, touch or create of this name brings it back, however late it comes: the store remembers the name until the
    /// session would have ended by itself.
    ///
    /// # Errors
    /// [`Failure`] when the store broke; it may be alive still.
    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure>;

    /// Lists the live sessions that have this tag, in any order. Those that come or go meanwhile may be there or not.
    ///
    /// # Errors
    /// [`Failure`] when the store broke. Never a part of the list.
    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure>;

    /// Ends, as [`delete`](Self::delete) does, all sessions that have this tag. Returns how many were alive: who must be sure
    /// that none is left calls again until it is none, for others may come while the store goes through its list.
    ///
    /// # Errors
    /// [`Failure`] when the store broke; some may be alive still, and the call can be repeated.
    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure>;

    /// Clears away what is dead and what is remembered of the ended, once its time has come. Returns how many records that
    /// were. Nothing but memory depends on it.
    ///
    /// # Errors
    /// [`Failure`] when the store broke.
    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure>;
}

/// Is what a store gets to keep at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "authors of stores take it apart, and the suite builds it")]
pub struct NewSession {
    /// When it is dead unless it is touched before.
    pub idle_until: UnixSeconds,
    /// When it is dead in any case.
    pub expires_at: UnixSeconds,
    /// What it can be listed and ended by; at most [`MAX_TAGS`](Self::MAX_TAGS), never changed.
    pub tags: Vec<SessionTag>,
    /// What is shown of it in lists, sealed; at most [`MAX_CARD`](Self::MAX_CARD) bytes, never changed.
    pub card: Sealed,
    /// Its content, sealed; at most [`MAX_BODY`](Self::MAX_BODY) bytes.
    pub body: Sealed,
}

impl NewSession {
    /// Bounds the tags of one session.
    pub const MAX_TAGS: usize = 8;
    /// Bounds the card, in bytes.
    pub const MAX_CARD: usize = 4096;
    /// Bounds the content, in bytes.
    pub const MAX_BODY: usize = 256 * 1024;

    /// Tells whether nobody is logged in, for stores that keep room for those who are. Every session has a tag for its own public id; a
    /// subject, a client and the like come with a login.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.tags.len() <= 1
    }
}

/// Is what a store knows of a live session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "authors of stores build it")]
pub struct StoredSession {
    /// Counts the contents that it has had, from 1.
    pub version: u64,
    /// When it is dead unless it is touched before.
    pub idle_until: UnixSeconds,
    /// When it is dead in any case.
    pub expires_at: UnixSeconds,
    /// Its content, sealed.
    pub body: Sealed,
}

/// Is a new content for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "authors of stores take it apart, and the suite builds it")]
pub struct SessionUpdate {
    /// When it is dead unless it is touched before.
    pub idle_until: UnixSeconds,
    /// When it is dead in any case.
    pub expires_at: UnixSeconds,
    /// The content, sealed; at most [`NewSession::MAX_BODY`] bytes.
    pub body: Sealed,
}

/// Is one line of a list of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "authors of stores build it")]
pub struct ListedSession {
    /// Its name.
    pub id: SessionHash,
    /// When it is dead unless it is touched before.
    pub idle_until: UnixSeconds,
    /// When it is dead in any case.
    pub expires_at: UnixSeconds,
    /// The card, as it was when the session was created.
    pub card: Sealed,
}

/// Says what became of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth way")]
pub enum Saved {
    /// It is kept.
    Done,
    /// Somebody else has saved since: [load the latest](SessionStore::load_latest), and decide anew.
    Conflict,
    /// The session is dead; nothing was kept.
    Gone,
}

/// Is ciphertext. A clone costs a counter; `Debug` shows the length.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sealed(Arc<[u8]>);

impl Sealed {
    /// Takes over bytes that a store kept.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}
