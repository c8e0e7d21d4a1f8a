use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Clock, Failure, UnixSeconds};

use crate::Withdrawal;

/// Tells what has been withdrawn elsewhere: first all of it, then what is new.
///
/// Contract for implementers:
/// - **At least once.** A withdrawal may come several times and in any order. None is taken back: it holds until its
///   end.
/// - **No gap.** With [`connect`](Self::connect) without a cursor begins a snapshot of everything withdrawn and not
///   over, followed by whatever comes after. Where changes are pushed, subscribe first, then read the snapshot, then
///   hand on what the subscription brought meanwhile: the other order loses what falls between the two.
/// - **A cursor is a promise.** Whoever [connects](Self::connect) with one gets all that came after it. If that is
///   not known any more, the answer is a whole snapshot, or a [`Failure`] of another kind than `Unavailable`, after
///   which no cursor is offered.
/// - **A lost message is a lost connection.** A subscriber that was too slow, or was cut off, ends with a
///   [`Failure`]; the follower connects anew.
/// - **A sign of life.** [`FeedConnection::next`] returns within [`patience`](Self::patience), with an empty batch if
///   nothing happened, and only if the other side has answered since.
/// - **Bounded.** A batch holds a few thousand withdrawals at most; a snapshot comes in several.
#[async_trait]
pub trait RevocationFeed: Send + Sync + fmt::Debug {
    /// Connects, and begins after `cursor`, or from the beginning.
    ///
    /// # Errors
    /// [`Failure`] when that cannot be had now. The follower pauses and tries again.
    async fn connect(&self, cursor: Option<&Cursor>) -> Result<Box<dyn FeedConnection>, Failure>;

    /// Returns how long connecting, and each [`FeedConnection::next`], may take. Beyond that the connection is given
    /// up for dead.
    ///
    /// It must be well below the staleness that the checks allow.
    fn patience(&self) -> Duration;

    /// Names the feed in logs: an address of the configuration, without secrets.
    fn origin(&self) -> &str;
}

/// Is one connection to a [`RevocationFeed`]. Dropping it, and dropping the future of [`next`](Self::next), ends it.
#[async_trait]
pub trait FeedConnection: Send {
    /// Returns what comes next, waiting for it.
    ///
    /// - `clock`: asked for the instant of [`FeedBatch::current`], before the other side is asked for the data.
    ///
    /// # Errors
    /// [`Failure`] when the connection is lost, a message was lost, or what came cannot be understood.
    async fn next(&mut self, clock: &dyn Clock) -> Result<FeedBatch, Failure>;
}

/// Is a part of what a feed tells.
#[derive(Clone, Debug)]
#[must_use]
pub struct FeedBatch {
    pub(crate) withdrawals: Vec<Withdrawal>,
    pub(crate) as_of: Option<UnixSeconds>,
    pub(crate) cursor: Option<Cursor>,
}

impl FeedBatch {
    /// Is a part after which more must come before the list is complete, such as the first half of a snapshot.
    pub const fn partial(withdrawals: Vec<Withdrawal>) -> Self {
        Self { withdrawals, as_of: None, cursor: None }
    }

    /// Is a part after which, with all before it, the list holds everything that was withdrawn until `as_of`.
    pub const fn current(withdrawals: Vec<Withdrawal>, as_of: UnixSeconds) -> Self {
        Self { withdrawals, as_of: Some(as_of), cursor: None }
    }

    /// Returns the withdrawals.
    #[must_use]
    pub fn withdrawals(&self) -> &[Withdrawal] {
        &self.withdrawals
    }

    /// Returns the instant up to which everything is known then; `None` when more must come first.
    #[must_use]
    pub const fn as_of(&self) -> Option<UnixSeconds> {
        self.as_of
    }

    /// Returns from where a later connection may go on.
    #[must_use]
    pub const fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Adds from where a later connection may go on. Followers heed that of a current batch only; a publisher can end an
    /// answer where a partial one has it.
    pub fn with_cursor(mut self, cursor: Option<Cursor>) -> Self {
        self.cursor = cursor;
        self
    }
}

/// Is a feed's own mark of a place in its changes: 1 to 256 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(Box<str>);

impl Cursor {
    /// Wraps a mark, or returns `None` when it is empty, too long or not visible ASCII.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_cursor = (1..=256).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        is_cursor.then(|| Self(text.into()))
    }

    /// Returns the mark.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
