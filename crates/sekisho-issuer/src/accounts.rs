use std::time::Duration;

use sekisho_core::{Failure, Secret, UnixSeconds};
use sekisho_credentials::{AccountId, ChangeError, ClientContext, Credentials, ResetToken, SignUpError, Username};

use crate::AuthorizationServer;

/// Administers accounts so that a change ends what the account had before: for operators' programs. Whom to let is yours.
///
/// | what is done | logins, grants, refresh and reference tokens |
/// |---|---|
/// | account disabled or deleted, password changed or reset, second factors removed | all end ([`revoke_subject`](AuthorizationServer::revoke_subject)) |
/// | account enabled or made, app added, recovery codes drawn | stay |
///
/// JWT access tokens stay good until they end, except where introspection or a [`RevocationListener`](crate::RevocationListener) is asked.
/// A disabled or deleted account gets no token at a refresh in any case, if the server asks
/// [`CredentialLogin`](crate::CredentialLogin) about [users](crate::AuthorizationServerBuilder::with_users); a password that is changed at
/// [`Credentials`] directly ends nothing by itself.
///
/// Each method may end with a [`Failure`] between the change and the end of logins: call it again, or, after a password was changed,
/// [`revoke_subject`](AuthorizationServer::revoke_subject).
#[derive(Clone, Debug)]
pub struct Accounts {
    server: AuthorizationServer,
    credentials: Credentials,
}

impl Accounts {
    /// Takes a server and the credential database of its users.
    #[must_use]
    pub const fn new(server: AuthorizationServer, credentials: Credentials) -> Self {
        Self { server, credentials }
    }

    /// Makes an account, and returns its id, the subject of its tokens.
    ///
    /// # Errors
    /// As for [`Credentials::sign_up`].
    pub async fn create(
        &self,
        username: &Username,
        password: &Secret,
        now: UnixSeconds,
    ) -> Result<AccountId, SignUpError> {
        self.credentials.sign_up(username, password, now).await
    }

    /// Disables an account, and ends all that it has; or enables it again. `false` when there is none.
    ///
    /// # Errors
    /// [`Failure`] of a store, or of the listener of revocations.
    pub async fn set_disabled(
        &self,
        account: &AccountId,
        is_disabled: bool,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let is_there = self.credentials.set_disabled(account, is_disabled).await?;
        if is_disabled {
            self.end_all(account, now).await?;
        }
        Ok(is_there)
    }

    /// Removes an account, and ends all that it has. `false` when there is none.
    ///
    /// # Errors
    /// As for [`set_disabled`](Self::set_disabled).
    pub async fn delete(&self, account: &AccountId, now: UnixSeconds) -> Result<bool, Failure> {
        let is_there = self.credentials.delete_account(account).await?;
        self.end_all(account, now).await?;
        Ok(is_there)
    }

    /// Removes app and recovery codes of somebody who has lost them, and ends all logins: the password alone opens the account then.
    /// `false` when there were none.
    ///
    /// # Errors
    /// As for [`set_disabled`](Self::set_disabled).
    pub async fn remove_second_factors(&self, account: &AccountId, now: UnixSeconds) -> Result<bool, Failure> {
        let had = self.credentials.remove_second_factors(account).await?;
        self.end_all(account, now).await?;
        Ok(had)
    }

    /// Makes a token for choosing a new password, to be handed to the owner: see [`Credentials::begin_reset`].
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn begin_reset(
        &self,
        account: &AccountId,
        lifetime: Duration,
        now: UnixSeconds,
    ) -> Result<Option<ResetToken>, Failure> {
        self.credentials.begin_reset(account, lifetime, now).await
    }

    /// Sets a new password by a token, ends all logins, and returns whose they were.
    ///
    /// # Errors
    /// As for [`Credentials::finish_reset`], then [`ChangeError::Failure`] when it is not certain that all logins have ended.
    pub async fn finish_reset(
        &self,
        token: &ResetToken,
        new: &Secret,
        now: UnixSeconds,
    ) -> Result<AccountId, ChangeError> {
        let account = self.credentials.finish_reset(token, new, now).await?;
        self.end_all(&account, now).await?;
        Ok(account)
    }

    /// Changes the password of somebody who gives the present one, and ends all logins.
    ///
    /// # Errors
    /// As for [`Credentials::change_password`], then [`ChangeError::Failure`] when it is not certain that all logins have ended.
    pub async fn change_password(
        &self,
        account: &AccountId,
        present: &Secret,
        new: &Secret,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<(), ChangeError> {
        self.credentials.change_password(account, present, new, client, now).await?;
        Ok(self.end_all(account, now).await?)
    }

    async fn end_all(&self, account: &AccountId, now: UnixSeconds) -> Result<(), Failure> {
        self.server.revoke_subject(account.as_str(), now).await
    }
}
