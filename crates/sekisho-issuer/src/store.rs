//! What the issuer keeps, by trait. Each method is one statement or one transaction of a database.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};

use crate::{GrantId, HandleHash, ScopeSet};

mod codec;
mod memory;
mod records;

pub use codec::{MAX_RECORD_BYTES, RecordError, StoredRecord};
pub use memory::{MemoryLimits, MemoryStore};
pub use records::{
    Authentication, Claims, CodeRecord, DeviceRequest, Grant, ReferenceRecord, RefreshFamily, SsoSession,
};

/// Keeps everything; implemented by whatever implements all parts.
pub trait IssuerStore: GrantStore + SsoStore + DeviceStore + CountStore {}

impl<S: GrantStore + SsoStore + DeviceStore + CountStore> IssuerStore for S {}

/// Keeps grants and what is handed out under them: codes, refresh tokens, reference tokens.
///
/// Contract, for all methods of all stores here:
/// - Each call is atomic and durable when it returns; two calls of anybody at the same time come in some order.
/// - A record lives while `now` is before its end; an ended one is as one that never was, unless said otherwise.
/// - What cannot be kept is a [`Failure`]; nothing is dropped silently. After a failure nothing or all of the call has happened.
/// - Dropping the future in the middle is a failure of that kind.
/// - Nothing of a record stands in a failure or a log.
#[async_trait]
pub trait GrantStore: Send + Sync + fmt::Debug {
    /// Keeps a new grant, and a code for it, if one is given, together.
    ///
    /// # Errors
    /// [`Failure`] when nothing was kept.
    async fn begin_grant(&self, grant: &Grant, code: Option<&CodeRecord>, now: UnixSeconds) -> Result<(), Failure>;

    /// Takes a code. Of all calls for one code at most one ever gets [`TakenCode::Fresh`].
    ///
    /// A taken code is remembered until [`CodeRecord::remembered_until`], to tell a replay from a guess.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told; the code may be taken.
    async fn take_code(&self, code: &HandleHash, now: UnixSeconds) -> Result<TakenCode, Failure>;

    /// Returns a grant that is neither revoked nor ended.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn grant(&self, id: &GrantId, now: UnixSeconds) -> Result<Option<Grant>, Failure>;

    /// Revokes a grant: from now on it, its code, refresh tokens and reference tokens are no more. An unknown one is no error.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn revoke_grant(&self, id: &GrantId, now: UnixSeconds) -> Result<(), Failure>;

    /// Revokes all grants with this [`Grant::sid`].
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn revoke_session_grants(&self, sid: &str, now: UnixSeconds) -> Result<(), Failure>;

    /// Revokes all grants of a user.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn revoke_subject_grants(&self, subject: &str, now: UnixSeconds) -> Result<(), Failure>;

    /// Withdraws what a user got up to an instant, that second included. Of several instants the latest stands; it is kept until the latest
    /// `until`.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn withdraw_subject(
        &self,
        subject: &str,
        up_to: UnixSeconds,
        until: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<(), Failure>;

    /// Returns the instant up to which what a user got is withdrawn, if something is.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn withdrawn_up_to(&self, subject: &str, now: UnixSeconds) -> Result<Option<UnixSeconds>, Failure>;

    /// Keeps the first refresh token of a grant. If the grant is gone, it may be kept, and is never found.
    ///
    /// # Errors
    /// [`Failure`] when nothing was kept.
    async fn begin_refresh(&self, family: &RefreshFamily, now: UnixSeconds) -> Result<(), Failure>;

    /// Returns a family and its grant, both live.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn refresh_family(
        &self,
        family: &HandleHash,
        now: UnixSeconds,
    ) -> Result<Option<(RefreshFamily, Grant)>, Failure>;

    /// Puts `to` in the place of the current token if that is `from`; tells whether it was. Compare and set in one step.
    ///
    /// A family that is ended or whose grant is gone is never rotated. `idle_until` is the new end, cut to the family's absolute one.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn rotate_refresh(
        &self,
        family: &HandleHash,
        from: &HandleHash,
        to: &HandleHash,
        idle_until: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<bool, Failure>;

    /// Keeps a reference token.
    ///
    /// # Errors
    /// [`Failure`] when nothing was kept.
    async fn put_reference(&self, token: &ReferenceRecord, now: UnixSeconds) -> Result<(), Failure>;

    /// Returns a reference token that lives, and whose grant, if it has one, lives.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn reference(&self, token: &HandleHash, now: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure>;

    /// Revokes a reference token. An unknown one is no error.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn revoke_reference(&self, token: &HandleHash) -> Result<(), Failure>;
}

/// Says what became of taking a code.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a further outcome must break every store and the token endpoint")]
pub enum TakenCode {
    /// It was live and is taken now.
    Fresh(Box<(CodeRecord, Grant)>),
    /// It was taken before: two have it, and one is not the client. The grant to revoke.
    Replayed(GrantId),
    /// Never was, has ended, or its grant is gone.
    Unknown,
}

/// Keeps who is logged in, and what users allowed to clients. See [`GrantStore`] for the contract.
#[async_trait]
pub trait SsoStore: Send + Sync + fmt::Debug {
    /// Keeps a session, in the place of another if that is given, which then is no more.
    ///
    /// # Errors
    /// [`Failure`] when nothing has changed.
    async fn put_session(
        &self,
        session: &SsoSession,
        instead_of: Option<&HandleHash>,
        now: UnixSeconds,
    ) -> Result<(), Failure>;

    /// Returns a live session and moves its idle end to `now + idle`, cut to its absolute end.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn use_session(
        &self,
        session: &HandleHash,
        idle: Duration,
        now: UnixSeconds,
    ) -> Result<Option<SsoSession>, Failure>;

    /// Ends a session. An unknown one is no error.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn end_session(&self, session: &HandleHash) -> Result<(), Failure>;

    /// Ends all sessions of a user.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn end_subject_sessions(&self, subject: &str) -> Result<(), Failure>;

    /// Returns the scopes that a user has allowed a client so far; none if none.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn consent(&self, subject: &str, client_id: &str) -> Result<ScopeSet, Failure>;

    /// Keeps what a user allows a client, in the place of what was before. No scopes forget it.
    ///
    /// # Errors
    /// [`Failure`] when nothing has changed.
    async fn put_consent(&self, subject: &str, client_id: &str, scope: &ScopeSet) -> Result<(), Failure>;
}

/// Keeps requests of devices ([RFC 8628](https://www.rfc-editor.org/rfc/rfc8628)). See [`GrantStore`] for the contract.
#[async_trait]
pub trait DeviceStore: Send + Sync + fmt::Debug {
    /// Keeps a request, unless a live one has the same user code: then `false`.
    ///
    /// # Errors
    /// [`Failure`] when nothing was kept.
    async fn begin_device(&self, request: &DeviceRequest, now: UnixSeconds) -> Result<bool, Failure>;

    /// Returns the live request with a user code, if nobody has decided about it.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn undecided_device(
        &self,
        user_code: &HandleHash,
        now: UnixSeconds,
    ) -> Result<Option<DeviceRequest>, Failure>;

    /// Decides about a request: `Some` allows it and begins the grant, together; `None` denies it. Of all calls for one request
    /// at most one gets `true`.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn decide_device(
        &self,
        user_code: &HandleHash,
        grant: Option<&Grant>,
        now: UnixSeconds,
    ) -> Result<bool, Failure>;

    /// Answers a device that asks, if it is the client of the request.
    ///
    /// Of all calls for one request at most one gets [`DevicePoll::Approved`]. A call less than the interval after the one before is
    /// [`DevicePoll::SlowDown`], and lengthens the interval by 5 s for good ([RFC 8628 §3.5](https://www.rfc-editor.org/rfc/rfc8628#section-3.5)).
    /// An ended request is remembered for ten minutes, for [`DevicePoll::Expired`].
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told; the approval may be taken.
    async fn poll_device(&self, device: &HandleHash, client_id: &str, now: UnixSeconds) -> Result<DevicePoll, Failure>;
}

/// Answers a device.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a further outcome must break every store and the token endpoint")]
pub enum DevicePoll {
    /// Nobody has decided yet.
    Pending,
    /// Asked too soon.
    SlowDown,
    /// The user said no.
    Denied,
    /// The user said yes; this is the only time that it is told.
    Approved(Box<Grant>),
    /// Nobody decided in time.
    Expired,
    /// Never was, of another client, or told already.
    Unknown,
}

/// Counts: what may be used once, and what may be tried a few times. See [`GrantStore`] for the contract.
#[async_trait]
pub trait CountStore: Send + Sync + fmt::Debug {
    /// Counts `key` up by one and returns the count, this time included. The first call sets when it is forgotten.
    ///
    /// Two calls never return the same count: whoever gets 1 is the first.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn count(&self, key: &HandleHash, until: UnixSeconds, now: UnixSeconds) -> Result<u32, Failure>;

    /// Returns the count as it is, 0 if none.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn counted(&self, key: &HandleHash, now: UnixSeconds) -> Result<u32, Failure>;
}
