use std::fmt;

use async_trait::async_trait;

use crate::{Failure, UnixSeconds};

/// Names something that may be used once: a DPoP proof by its key and `jti`, a client assertion by its client and `jti`.
///
/// Both names are SHA-256 digests, so they have one length whatever the caller chose, and nothing of the caller shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OneTimeUse {
    holder: [u8; 32],
    id: [u8; 32],
    until: UnixSeconds,
}

impl OneTimeUse {
    /// Names the use `id` of `holder`. From `until` on nobody would accept it any more, so it can be forgotten.
    #[must_use]
    pub const fn new(holder: [u8; 32], id: [u8; 32], until: UnixSeconds) -> Self {
        Self { holder, id, until }
    }

    /// Returns whose use it is; quotas count by this.
    #[must_use]
    pub const fn holder(&self) -> &[u8; 32] {
        &self.holder
    }

    /// Returns what is used, unique within its holder only.
    #[must_use]
    pub const fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// Returns the first second in which it need not be remembered any more.
    #[must_use]
    pub const fn until(&self) -> UnixSeconds {
        self.until
    }
}

impl fmt::Debug for OneTimeUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneTimeUse").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Tells whether a one-time use came for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Occurrence {
    /// It was not known, and is from now on.
    First,
    /// It was known: a replay.
    Repeated,
}

/// Remembers what was used, so that nothing is used twice.
///
/// Contract for implementers:
/// - Looking and remembering are one atomic step: of any number of callers with the same holder and id, at the same time
///   and in whatever process shares the memory, one hears [`Occurrence::First`]. It is so until `until`.
/// - What was remembered is never forgotten before its `until`, whatever else comes. A memory that is full, or a holder
///   that has used up its share, is a [`Failure`], and the request is refused.
/// - Memory is bounded, in all and for each holder.
/// - When the future is dropped, the use may have been remembered or not; nobody is let through by it.
#[async_trait]
pub trait ReplayGuard: Send + Sync + fmt::Debug {
    /// Tells whether [`insert_now`](Self::insert_now) answers. Always the same; asked before a proof is looked at, so that
    /// no work is done twice.
    fn is_immediate(&self) -> bool;

    /// Answers at once when the memory is in this process; otherwise returns `None` and has remembered nothing.
    fn insert_now(&self, once: &OneTimeUse, now: UnixSeconds) -> Option<Result<Occurrence, Failure>>;

    /// Answers, waiting for the network where it must.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told, the memory is full, or the holder has used up its share.
    async fn insert(&self, once: &OneTimeUse, now: UnixSeconds) -> Result<Occurrence, Failure>;
}
