use std::fmt;
use std::time::{Duration, Instant};

use sekisho_core::{Failure, Secret, UnixSeconds};

use super::{Authenticated, Bound, ChangeError, Credentials, ResetToken, SignUpError};
use crate::{Account, AccountId, ClientContext, PasswordError, PasswordHash, Username};

/// Is a new password that may be set: whoever wants it has proved to be the owner, the policy allows it, and it is hashed.
///
/// It ends when the account gets another password, or is disabled. `Debug` shows the account only.
#[must_use = "the password has not changed yet: see Credentials::replace_password"]
pub struct PreparedPassword {
    account: AccountId,
    revision: u64,
    hash: PasswordHash,
}

impl PreparedPassword {
    /// Says whose it is to be.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.account
    }
}

impl fmt::Debug for PreparedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedPassword").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Makes an account with a new id.
    ///
    /// # Errors
    /// In this order: the policy refuses the password, the hasher fails, the name is taken, the store fails.
    pub async fn sign_up(
        &self,
        username: &Username,
        password: &Secret,
        now: UnixSeconds,
    ) -> Result<AccountId, SignUpError> {
        let password = self.shared.passwords.check_new(password, username)?;
        let hash = self.shared.hasher.hash(&password).await?;
        let id = AccountId::generate()?;
        let account = Account {
            id: id.clone(),
            username: username.clone(),
            password: Some(hash),
            revision: 1,
            is_disabled: false,
            created_at: now,
            logins_ended_at: None,
        };
        if !self.shared.store.create_account(&account).await? {
            return Err(SignUpError::NameTaken);
        }
        tracing::info!(account = %id, "an account was made");
        Ok(id)
    }

    /// Changes the password of somebody who is logged in and gives the present one, which is throttled as at login.
    ///
    /// Unfinished logins and resets end, known devices are forgotten, and finished logins of before count no more
    /// ([`Account::logins_ended_at`], by `now` and the time that this took, to a second). A second factor is not asked: to ask for it,
    /// and to end logins by a clock of your own, take [`prepare_change`](Self::prepare_change).
    ///
    /// # Errors
    /// In this order: [`ChangeError::Refused`] when there is no such account, [`ChangeError::Password`],
    /// [`ChangeError::TryLater`],
    /// [`ChangeError::Refused`] when the present password is wrong or has just been changed.
    pub async fn change_password(
        &self,
        account: &AccountId,
        present: &Secret,
        new: &Secret,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<(), ChangeError> {
        let begun = Instant::now();
        let prepared = self.prepare_change_by_password(account, present, new, client, now).await?;
        self.replace_password(prepared, now.saturating_add(begun.elapsed())).await.map(drop)
    }

    /// Prepares a new password for somebody who gives the present one, as [`change_password`](Self::change_password) does, and changes
    /// nothing yet.
    ///
    /// # Errors
    /// As for [`change_password`](Self::change_password).
    pub async fn prepare_change_by_password(
        &self,
        account: &AccountId,
        present: &Secret,
        new: &Secret,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<PreparedPassword, ChangeError> {
        let account = self.shared.store.account(account).await?.ok_or(ChangeError::Refused)?;
        let new = self.shared.passwords.check_new(new, &account.username)?;
        let name = account.username.clone();
        let begun = self.begin_password(name.as_str().as_bytes(), Some(&account.id), client, now).await?;
        let attempt = begun.map_err(ChangeError::TryLater)?;
        let account = match self.verify(Some(account), present).await {
            Ok(account) => account.ok_or(ChangeError::Refused)?,
            Err(failure) => {
                self.undo(&attempt).await;
                return Err(failure.into());
            }
        };
        self.succeed(&attempt).await?;
        let hash = self.shared.hasher.hash(&new).await?;
        Ok(PreparedPassword { account: account.id, revision: account.revision, hash })
    }

    /// Checks whether the policy allows a password for an account, without changing anything.
    ///
    /// # Errors
    /// [`PasswordError`] says why not.
    pub fn check_new_password(&self, account: &Account, new: &Secret) -> Result<(), PasswordError> {
        self.shared.passwords.check_new(new, &account.username).map(drop)
    }

    /// Prepares a new password for somebody who has proved just now to be the owner. Nothing is changed yet.
    ///
    /// # Errors
    /// In this order: [`ChangeError::Refused`] when the account is gone, disabled, has another password since, or has an authenticator
    /// app of which the login knew nothing; [`ChangeError::Password`].
    pub async fn prepare_change(&self, login: &Authenticated, new: &Secret) -> Result<PreparedPassword, ChangeError> {
        let account = self.shared.store.account(&login.account).await?;
        let account = account.filter(|account| !account.is_disabled && account.revision == login.revision);
        let account = account.ok_or(ChangeError::Refused)?;
        if !login.is_two_factors() && self.shared.store.totp(&account.id).await?.confirmed.is_some() {
            return Err(ChangeError::Refused);
        }
        let new = self.shared.passwords.check_new(new, &account.username)?;
        let hash = self.shared.hasher.hash(&new).await?;
        Ok(PreparedPassword { account: account.id, revision: account.revision, hash })
    }

    /// Sets a prepared password, ends logins up to `now`, and returns whose it is.
    ///
    /// - `now`: the clock as it is at this moment, not as it was when the request came: hashing may have waited in between.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when another change was faster.
    pub async fn replace_password(
        &self,
        prepared: PreparedPassword,
        now: UnixSeconds,
    ) -> Result<AccountId, ChangeError> {
        let PreparedPassword { account, revision, hash } = prepared;
        if !self.shared.store.replace_password(&account, revision, &hash, now).await? {
            return Err(ChangeError::Refused);
        }
        tracing::info!(%account, "a password was changed");
        Ok(account)
    }

    /// Makes a token for choosing a new password, good once and for `lifetime`, cut to 7 days. `None` when the account
    /// is not there or is disabled.
    ///
    /// How it gets to the owner, and to nobody else, is yours; answer whoever asks for one the same whether there is an
    /// account or not. A second factor is asked at the next login all the same.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn begin_reset(
        &self,
        account: &AccountId,
        lifetime: Duration,
        now: UnixSeconds,
    ) -> Result<Option<ResetToken>, Failure> {
        let account = self.shared.store.account(account).await?.filter(|account| !account.is_disabled);
        let Some(Account { id, revision, .. }) = account else { return Ok(None) };
        tracing::info!(account = %id, "a password reset was begun");
        let bound = Bound { account: id, revision, time: now.saturating_add(lifetime.min(LONGEST_RESET)) };
        Ok(Some(ResetToken::new(bound.seal(&self.shared.keys, RESET)?)))
    }

    /// Sets a new password by a token, and returns whose it is. Every other token of that account ends, and unfinished
    /// logins; known devices are forgotten. Passkeys and second factors stay, those of a thief too: show them to the owner, or remove them
    /// (`remove_passkeys`, [`remove_second_factors`](Self::remove_second_factors)).
    ///
    /// # Errors
    /// In this order: [`ChangeError::Refused`] when the token is not ours, used or too old, or the account is gone or
    /// disabled;
    /// [`ChangeError::Password`], after which the token is still good; [`ChangeError::Refused`] when another was
    /// faster.
    pub async fn finish_reset(
        &self,
        token: &ResetToken,
        new: &Secret,
        now: UnixSeconds,
    ) -> Result<AccountId, ChangeError> {
        let begun = Instant::now();
        let prepared = self.prepare_reset(token, new, now).await?;
        self.replace_password(prepared, now.saturating_add(begun.elapsed())).await
    }

    /// Prepares a new password by a token, as [`finish_reset`](Self::finish_reset) does, and changes nothing yet: the token stays good
    /// until the password is [replaced](Self::replace_password).
    ///
    /// # Errors
    /// As for [`finish_reset`](Self::finish_reset).
    pub async fn prepare_reset(
        &self,
        token: &ResetToken,
        new: &Secret,
        now: UnixSeconds,
    ) -> Result<PreparedPassword, ChangeError> {
        let bound = Bound::open(&self.shared.keys, RESET, token.text()).ok_or(ChangeError::Refused)?;
        if bound.time <= now {
            return Err(ChangeError::Refused);
        }
        let account = self.shared.store.account(&bound.account).await?;
        let account = account
            .filter(|account| !account.is_disabled && account.revision == bound.revision)
            .ok_or(ChangeError::Refused)?;
        let new = self.shared.passwords.check_new(new, &account.username)?;
        let hash = self.shared.hasher.hash(&new).await?;
        tracing::info!(account = %account.id, "a password is reset");
        Ok(PreparedPassword { account: account.id, revision: bound.revision, hash })
    }

    /// Returns the id of the account with a name, for administrators and for resets. Its answer tells who has an
    /// account.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn find(&self, username: &Username) -> Result<Option<AccountId>, Failure> {
        Ok(self.shared.store.account_by_name(username).await?.map(|account| account.id))
    }

    /// Returns an account, disabled or not; `None` when there is none.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn account(&self, account: &AccountId) -> Result<Option<Account>, Failure> {
        self.shared.store.account(account).await
    }

    /// Disables or enables an account; `false` when there is none. What was handed out before it was disabled, unfinished logins and
    /// [`ResetToken`]s among it, is not good again afterwards.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn set_disabled(
        &self,
        account: &AccountId,
        is_disabled: bool,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let is_there = self.shared.store.set_disabled(account, is_disabled, now).await?;
        if is_there {
            tracing::info!(%account, is_disabled, "an account was disabled or enabled");
        }
        Ok(is_there)
    }

    /// Removes an account and all that is kept for it; `false` when there is none. Its name is free then, its id is not
    /// used again.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn delete_account(&self, account: &AccountId) -> Result<bool, Failure> {
        let is_gone = self.shared.store.delete_account(account).await?;
        if is_gone {
            tracing::info!(%account, "an account was deleted");
        }
        Ok(is_gone)
    }
}

const RESET: &str = "password reset";
const LONGEST_RESET: Duration = Duration::from_secs(7 * 24 * 3600);
