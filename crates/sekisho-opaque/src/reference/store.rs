use std::fmt;

use async_trait::async_trait;
use sekisho_core::{Failure, SubjectId, UnixSeconds};

use super::{ReferenceDigest, ReferenceRecord};

/// Keeps what reference tokens stand for.
///
/// Contract for implementers, checked by `sekisho_testkit::reference_store_suite`:
/// - A record lives from its insertion until `expires_at` (at `now >= expires_at` it is dead) or until it is revoked, whichever comes
///   first. It is never dropped before that to make room: a full store refuses to insert.
/// - [`insert`](Self::insert) is atomic: of two that race for one digest, one gets `true`. A dead record does not stand in the way.
/// - After a revocation has returned, no look-up that begins later finds what it ended. It ends what was inserted before it began;
///   what is inserted meanwhile may go either way, and what is inserted later lives.
/// - A subject is issuer and subject together, a session is issuer and `sid` together: the same text of another issuer is somebody else.
/// - Dropping a future is safe: the operation has happened or it has not.
/// - When the store cannot be asked, the answer is a [`Failure`], never `None` or `false`.
/// - The digest and the record's own methods are all that is stored; no token reaches the store.
#[async_trait]
pub trait ReferenceStore: Send + Sync + fmt::Debug {
    /// Keeps `record` if nothing alive has this digest. Returns whether it was kept.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be asked, or is full.
    async fn insert(
        &self,
        digest: ReferenceDigest,
        record: &ReferenceRecord,
        now: UnixSeconds,
    ) -> Result<bool, Failure>;

    /// Looks up from memory alone, if this store can: no waiting, no input or output. `None` means that it would have to wait.
    fn find_now(
        &self,
        _digest: &ReferenceDigest,
        _now: UnixSeconds,
    ) -> Option<Result<Option<ReferenceRecord>, Failure>> {
        None
    }

    /// Looks up what is alive at `now`.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be asked.
    async fn find(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure>;

    /// Ends one. Returns whether it was alive.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be asked; it may have happened.
    async fn revoke(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<bool, Failure>;

    /// Ends all of a subject. Returns how many were alive.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be asked; it may have happened, also in part.
    async fn revoke_subject(&self, subject: &SubjectId, now: UnixSeconds) -> Result<u64, Failure>;

    /// Ends all of one session of an issuer. Returns how many were alive.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be asked; it may have happened, also in part.
    async fn revoke_session(&self, issuer: &str, session: &str, now: UnixSeconds) -> Result<u64, Failure>;
}
