//! What is kept, by trait. Each method is one statement or one transaction of a database.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};

use crate::{
    Account, AccountId, Counter, CounterKey, Passkey, PasskeyUse, PasswordHash, RecoveryHash, SourceHash, Username,
};

mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;

pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use sql::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sql::SqliteStore;

/// Keeps everything; implemented by whatever implements all parts.
pub trait CredentialStore: AccountStore + FactorStore + ThrottleStore + PasskeyStore {}

impl<S: AccountStore + FactorStore + ThrottleStore + PasskeyStore> CredentialStore for S {}

/// Keeps accounts and passwords.
///
/// Contract, for all methods of all stores here:
/// - Each call is atomic and durable when it returns; two calls of anybody at the same time, in any process, come in
///   some order.
/// - What cannot be kept is a [`Failure`]; nothing is dropped silently. After a failure nothing or all of the call has
///   happened.
/// - Dropping the future in the middle is a failure of that kind.
/// - Nothing of a record stands in a failure or a log.
/// - What is kept for an account goes with the account, and cannot be kept for one that is not there: that is `false`,
///   unless said otherwise.
#[async_trait]
pub trait AccountStore: Send + Sync + fmt::Debug {
    /// Keeps a new account. `false`, and nothing is kept, when its id or its name is taken.
    ///
    /// # Errors
    /// [`Failure`] when nothing was kept.
    async fn create_account(&self, account: &Account) -> Result<bool, Failure>;

    /// Returns an account, disabled or not.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn account(&self, id: &AccountId) -> Result<Option<Account>, Failure>;

    /// Returns the account with a name, disabled or not.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn account_by_name(&self, username: &Username) -> Result<Option<Account>, Failure>;

    /// Keeps a new password if the account is still at `revision`, counts the revision up by one, ends logins up to `now`
    /// ([`Account::logins_ended_at`], which never goes back) and forgets the account's known sources; tells whether it was. Of all calls
    /// for one revision at most one is `true`.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn replace_password(
        &self,
        id: &AccountId,
        revision: u64,
        password: &PasswordHash,
        now: UnixSeconds,
    ) -> Result<bool, Failure>;

    /// Keeps another hash of the same password if the account is still at `revision`, which stays; tells whether it
    /// was.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn upgrade_password(&self, id: &AccountId, revision: u64, password: &PasswordHash) -> Result<bool, Failure>;

    /// Disables or enables an account; `false` when there is none. Disabling counts the revision up by one and ends logins up to `now`,
    /// each time.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn set_disabled(&self, id: &AccountId, is_disabled: bool, now: UnixSeconds) -> Result<bool, Failure>;

    /// Removes an account and all that is kept for it; `false` when there is none.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn delete_account(&self, id: &AccountId) -> Result<bool, Failure>;
}

/// Is what a store keeps of an authenticator app. `Debug` shows no secret, not even sealed.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a new field must break every store")]
pub struct TotpRecord {
    /// Tells enrolments of one account apart.
    pub enrolment: [u8; 16],
    /// The secret, encrypted.
    pub sealed: Vec<u8>,
    /// The highest counter whose code was used, or `None` before the first.
    pub last_counter: Option<u64>,
    /// When the enrolment began.
    pub created_at: UnixSeconds,
}

impl fmt::Debug for TotpRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TotpRecord")
            .field("last_counter", &self.last_counter)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// Holds the enrolments of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a new field must break every store")]
pub struct TotpRecords {
    /// The one that is asked at login.
    pub confirmed: Option<TotpRecord>,
    /// The one that waits for its first code.
    pub pending: Option<TotpRecord>,
}

/// Keeps second factors. See [`AccountStore`] for the contract.
#[async_trait]
pub trait FactorStore: Send + Sync + fmt::Debug {
    /// Keeps an enrolment that waits for its first code, in the place of another such; a confirmed one stays.
    ///
    /// # Errors
    /// [`Failure`] when nothing was kept.
    async fn begin_totp(&self, id: &AccountId, record: &TotpRecord) -> Result<bool, Failure>;

    /// Returns the enrolments of an account; none for an account that is not there.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn totp(&self, id: &AccountId) -> Result<TotpRecords, Failure>;

    /// Puts the pending enrolment with this name in the place of the confirmed one, with `counter` used; tells whether
    /// there was one. Of all calls for one enrolment at most one is `true`.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn confirm_totp(&self, id: &AccountId, enrolment: &[u8; 16], counter: u64) -> Result<bool, Failure>;

    /// Marks `counter` of the confirmed enrolment with this name as used, if only lower ones were; tells whether it was
    /// so. Compare and set in one step: of all calls for one counter at most one is `true`.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told; the counter may be used.
    async fn use_totp(&self, id: &AccountId, enrolment: &[u8; 16], counter: u64) -> Result<bool, Failure>;

    /// Keeps the secret of the confirmed enrolment with this name sealed anew.
    ///
    /// # Errors
    /// [`Failure`] when nothing was kept.
    async fn reseal_totp(&self, id: &AccountId, enrolment: &[u8; 16], sealed: &[u8]) -> Result<bool, Failure>;

    /// Removes the enrolment with this name, if it waits for its first code; tells whether it did.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn drop_pending_totp(&self, id: &AccountId, enrolment: &[u8; 16]) -> Result<bool, Failure>;

    /// Removes all enrolments and recovery codes of an account; `false` when there were none. If there were, logins up to `now` end.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn remove_factors(&self, id: &AccountId, now: UnixSeconds) -> Result<bool, Failure>;

    /// Keeps recovery codes in the place of all that the account had.
    ///
    /// # Errors
    /// [`Failure`] when nothing has changed.
    async fn replace_recovery_codes(&self, id: &AccountId, codes: &[RecoveryHash]) -> Result<bool, Failure>;

    /// Takes a recovery code; of all calls for one code at most one is `true`.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told; the code may be taken.
    async fn take_recovery_code(&self, id: &AccountId, code: &RecoveryHash) -> Result<bool, Failure>;

    /// Counts the recovery codes that are left.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn recovery_codes_left(&self, id: &AccountId) -> Result<u32, Failure>;
}

/// Answers an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a further answer must break every caller's match")]
pub enum Admission {
    /// It is counted as failed, and may be made.
    Admitted,
    /// It is not counted, and must wait this long.
    Wait(Duration),
}

/// Keeps counters of failures, and from where accounts are used. See [`AccountStore`] for the contract, from which this
/// differs in one thing: counters may be lost by [`prune_counters`](Self::prune_counters), and only by that.
#[async_trait]
pub trait ThrottleStore: Send + Sync + fmt::Debug {
    /// Counts one failure in each of the counters, unless one of them says to wait; then none, and the longest wait is
    /// returned.
    ///
    /// A counter with a failure at `now` has it as its last, unless the last is later. All counters in one step: of a
    /// hundred calls at once, no more are admitted than would be one after the other.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn begin_attempt(&self, counters: &[Counter], now: UnixSeconds) -> Result<Admission, Failure>;

    /// Takes one failure back from each counter of `one`, and forgets those of `all`. An unknown one is no error.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn forgive(&self, one: &[CounterKey], all: &[CounterKey]) -> Result<(), Failure>;

    /// Removes counters whose failures are forgotten, then those beyond `most`: the fewest failures first, then the
    /// oldest. Returns how many are gone.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn prune_counters(&self, most: u64, now: UnixSeconds) -> Result<u64, Failure>;

    /// Returns which of `sources` the account is used from, those whose end is after `now`.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn known_sources(
        &self,
        id: &AccountId,
        sources: &[SourceHash],
        now: UnixSeconds,
    ) -> Result<Vec<SourceHash>, Failure>;

    /// Keeps a source until `until`, or an old one until later, if the account is still at `revision`; tells whether it was. Beyond
    /// `most` of one account those that end first go.
    ///
    /// # Errors
    /// [`Failure`] when nothing was kept.
    async fn remember_source(
        &self,
        id: &AccountId,
        revision: u64,
        source: &SourceHash,
        until: UnixSeconds,
        most: u32,
    ) -> Result<bool, Failure>;

    /// Forgets one source of an account; none is no error.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn forget_source(&self, id: &AccountId, source: &SourceHash) -> Result<(), Failure>;

    /// Forgets all sources of an account; none is no error.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn forget_sources(&self, id: &AccountId) -> Result<(), Failure>;
}

/// Answers an attempt to add a passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a further answer must break every caller's match")]
pub enum PasskeyAddition {
    /// It is kept.
    Added,
    /// The account is gone, disabled, or at another revision.
    Overtaken,
    /// The account has as many as it may have.
    TooMany,
    /// Some account has its credential id.
    Taken,
}

/// Answers the use of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a further answer must break every caller's match")]
pub enum ChallengeUse {
    /// It was not marked before, and is now.
    First,
    /// It was marked before.
    Again,
    /// It is not marked, for the account has too many marks.
    TooMany,
}

/// Keeps passkeys. See [`AccountStore`] for the contract.
#[async_trait]
pub trait PasskeyStore: Send + Sync + fmt::Debug {
    /// Keeps a passkey, if its account is not disabled and still at `revision`, has fewer than `most`, and no account has its
    /// credential id, looked at in this order. All in one step with the changes of the account: of many at once no more are kept than
    /// may be, and none after a change.
    ///
    /// # Errors
    /// [`Failure`] when nothing was kept.
    async fn add_passkey(&self, passkey: &Passkey, revision: u64, most: u32) -> Result<PasskeyAddition, Failure>;

    /// Returns the passkey with a credential id.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn passkey(&self, credential_id: &[u8]) -> Result<Option<Passkey>, Failure>;

    /// Returns the passkeys of an account, the oldest first.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn passkeys(&self, id: &AccountId) -> Result<Vec<Passkey>, Failure>;

    /// Keeps a use, if the passkey's counter is still `from`; tells whether it was. Compare and set in one step.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn use_passkey(&self, credential_id: &[u8], from: u32, used: PasskeyUse) -> Result<bool, Failure>;

    /// Marks a challenge as used by an account until `ends_at`: of all calls for one challenge until then, whoever's, at most one is
    /// [`First`](ChallengeUse::First). `challenge` is a hash. Marks that have ended by `now` are removed.
    ///
    /// No more than `most` are kept for one account that have not ended; calls at the same moment may go beyond by as many as they are.
    /// Marks do not go with the account, but end.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told; the challenge may be used.
    async fn use_challenge(
        &self,
        id: &AccountId,
        challenge: &[u8; 32],
        ends_at: UnixSeconds,
        most: u32,
        now: UnixSeconds,
    ) -> Result<ChallengeUse, Failure>;

    /// Removes a passkey of an account; `false` when it has no such. If it had, logins up to `now` end.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn remove_passkey(&self, id: &AccountId, credential_id: &[u8], now: UnixSeconds) -> Result<bool, Failure>;

    /// Removes all passkeys of an account, and ends its logins up to `now` if there were any; returns how many.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn remove_passkeys(&self, id: &AccountId, now: UnixSeconds) -> Result<u64, Failure>;
}
