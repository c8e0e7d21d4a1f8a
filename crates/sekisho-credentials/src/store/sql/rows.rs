//! From rows to records, and from errors of the database to failures.

use sekisho_core::{Failure, FailureKind, UnixSeconds};

use crate::{Account, AccountId, Passkey, PasswordHash, TotpRecord, Username};

pub(crate) type AccountRow = (String, String, Option<String>, i64, bool, i64, Option<i64>);
pub(crate) type TotpRow = (bool, Vec<u8>, Vec<u8>, Option<i64>, i64);
pub(crate) type PasskeyRow =
    (Vec<u8>, String, Vec<u8>, i64, Vec<u8>, String, bool, bool, bool, String, i64, Option<i64>);

/// Writes a count or a time. What does not fit is later than anything.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn count(value: i64) -> Result<u64, Failure> {
    u64::try_from(value).map_err(|_| UNREADABLE)
}

pub(crate) fn time(value: i64) -> Result<UnixSeconds, Failure> {
    count(value).map(UnixSeconds::new)
}

pub(crate) fn failures(value: i64) -> Result<u32, Failure> {
    count(value).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
}

pub(crate) fn account(row: AccountRow) -> Result<Account, Failure> {
    let (id, username, password, revision, is_disabled, created_at, logins_ended_at) = row;
    let password = password.map(|text| PasswordHash::parse(&text).ok_or(UNREADABLE)).transpose()?;
    Ok(Account {
        id: AccountId::parse(&id).ok_or(UNREADABLE)?,
        username: Username::parse(&username).map_err(|_| UNREADABLE)?,
        password,
        revision: count(revision)?,
        is_disabled,
        created_at: time(created_at)?,
        logins_ended_at: logins_ended_at.map(time).transpose()?,
    })
}

pub(crate) fn totp(row: TotpRow) -> Result<(bool, TotpRecord), Failure> {
    let (is_confirmed, enrolment, sealed, last_counter, created_at) = row;
    let record = TotpRecord {
        enrolment: enrolment.try_into().map_err(|_| UNREADABLE)?,
        sealed,
        last_counter: last_counter.map(count).transpose()?,
        created_at: time(created_at)?,
    };
    Ok((is_confirmed, record))
}

pub(crate) fn passkey(row: PasskeyRow) -> Result<Passkey, Failure> {
    let (
        credential_id,
        account,
        public_key,
        sign_count,
        aaguid,
        transports,
        verified,
        eligible,
        backed_up,
        label,
        created,
        used,
    ) = row;
    Ok(Passkey {
        credential_id,
        account: AccountId::parse(&account).ok_or(UNREADABLE)?,
        public_key,
        sign_count: u32::try_from(sign_count).map_err(|_| UNREADABLE)?,
        aaguid: aaguid.try_into().map_err(|_| UNREADABLE)?,
        transports,
        is_user_verified: verified,
        is_backup_eligible: eligible,
        is_backed_up: backed_up,
        label,
        created_at: time(created)?,
        last_used_at: used.map(time).transpose()?,
    })
}

pub(crate) const UNREADABLE: Failure =
    Failure::new(FailureKind::Misconfigured, "a record of the credential database cannot be read");

/// Turns an error of the database into a failure. Its text may hold values of records, so only its code goes along.
pub(crate) fn failed(error: sqlx::Error) -> Failure {
    let failure = |kind| Failure::new(kind, "the credential database failed");
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            failure(FailureKind::Unavailable).with_source(format!("database error {}", code.escape_debug()))
        }
        sqlx::Error::Io(error) => failure(FailureKind::Unavailable).with_source(error),
        sqlx::Error::PoolTimedOut => failure(FailureKind::Unavailable).with_source("no connection was free in time"),
        sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) => failure(FailureKind::Misconfigured),
        sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_) => UNREADABLE,
        _ => failure(FailureKind::Unavailable),
    }
}

/// Tells whether the account that a record is for is not there.
pub(crate) fn is_orphan(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_foreign_key_violation())
}
