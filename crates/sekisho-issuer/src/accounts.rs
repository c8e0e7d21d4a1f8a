use std::future::Future;
use std::time::Duration;

use sekisho_core::{Failure, FailureKind, Secret, UnixSeconds};
use sekisho_credentials::{
    AccountId, Authenticated, ChangeError, ClientContext, Credentials, PreparedPassword, ResetToken, SignUpError,
    Username,
};

use crate::AuthorizationServer;

/// Administers accounts so that a change ends what the account had before: for operators' programs. Whom to let is yours.
///
/// | what is done | logins, grants, refresh and reference tokens |
/// |---|---|
/// | account disabled or deleted, password changed or reset, second factors or passkeys removed, app confirmed | all end ([`revoke_subject`](AuthorizationServer::revoke_subject)) |
/// | account enabled or made, recovery codes drawn | stay |
///
/// They are ended before the change, so that nothing changes while the issuer's store or the listener is down, and after it, up to the
/// clock as it is then: a login that is under way meanwhile is none. JWT access tokens stay good until they end, except where introspection
/// or a [`RevocationListener`](crate::RevocationListener) is asked.
///
/// What was changed at [`Credentials`] directly, by another program for example, ends sessions and refresh as well, if the server asks
/// [`CredentialLogin`](crate::CredentialLogin) about [users](crate::AuthorizationServerBuilder::with_users): accounts say up to when
/// their logins ended.
///
/// What has begun is finished by a task of its own when the caller goes away; so all methods that end logins want a tokio runtime. When a
/// method fails after the change, logins may not have ended: the log names the account. Call it again, or, after a password was changed,
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
        if !is_disabled {
            return self.credentials.set_disabled(account, false, now).await;
        }
        let (of, clock) = (self.of(account), self.clock(now));
        self.ending(account, now, async move { of.credentials.set_disabled(&of.account, true, clock.now()).await })
            .await
    }

    /// Removes an account, and ends all that it has. `false` when there is none.
    ///
    /// # Errors
    /// As for [`set_disabled`](Self::set_disabled).
    pub async fn delete(&self, account: &AccountId, now: UnixSeconds) -> Result<bool, Failure> {
        let of = self.of(account);
        self.ending(account, now, async move { of.credentials.delete_account(&of.account).await }).await
    }

    /// Removes app and recovery codes of somebody who has lost them, and ends all logins: the password alone opens the account then.
    /// `false` when there were none.
    ///
    /// # Errors
    /// As for [`set_disabled`](Self::set_disabled).
    pub async fn remove_second_factors(&self, account: &AccountId, now: UnixSeconds) -> Result<bool, Failure> {
        let (of, clock) = (self.of(account), self.clock(now));
        self.ending(account, now, async move { of.credentials.remove_second_factors(&of.account, clock.now()).await })
            .await
    }

    /// Checks the first code of an app, as [`Credentials::confirm_totp`], and ends all logins if it is right: whoever is logged in by the
    /// password alone has to show the app too. `false`, and nothing ends, when it is not.
    ///
    /// # Errors
    /// As for [`set_disabled`](Self::set_disabled).
    pub async fn confirm_totp(&self, account: &AccountId, code: &Secret, now: UnixSeconds) -> Result<bool, Failure> {
        let (of, server, clock, code) = (self.of(account), self.server.clone(), self.clock(now), code.clone());
        finish(async move {
            if !of.credentials.confirm_totp(&of.account, &code, now).await? {
                return Ok(false);
            }
            end_after(&server, &of.account, &clock).await?;
            Ok(true)
        })
        .await
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
    /// Passkeys and second factors stay, those too that a thief has added meanwhile: after a theft also
    /// [`remove_second_factors`](Self::remove_second_factors) and `remove_passkeys`, or let the owner look at the list.
    ///
    /// # Errors
    /// As for [`Credentials::finish_reset`], then [`ChangeError::LoginsNotEnded`].
    pub async fn finish_reset(
        &self,
        token: &ResetToken,
        new: &Secret,
        now: UnixSeconds,
    ) -> Result<AccountId, ChangeError> {
        self.set_password(self.credentials.prepare_reset(token, new, now).await?, now).await
    }

    /// Changes the password of somebody who gives the present one, and ends all logins. No second factor is asked, whether the account has
    /// one or not: ask for it, or take [`change_password_after`](Self::change_password_after).
    ///
    /// # Errors
    /// As for [`Credentials::change_password`], then [`ChangeError::LoginsNotEnded`].
    pub async fn change_password(
        &self,
        account: &AccountId,
        present: &Secret,
        new: &Secret,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<(), ChangeError> {
        let prepared = self.credentials.prepare_change_by_password(account, present, new, client, now).await?;
        self.set_password(prepared, now).await.map(drop)
    }

    /// Changes the password of somebody who has proved just now to be the owner, with all factors that the account has, and ends all
    /// logins.
    ///
    /// # Errors
    /// As for [`Credentials::prepare_change`], then [`ChangeError::LoginsNotEnded`].
    pub async fn change_password_after(
        &self,
        login: &Authenticated,
        new: &Secret,
        now: UnixSeconds,
    ) -> Result<(), ChangeError> {
        self.set_password(self.credentials.prepare_change(login, new).await?, now).await.map(drop)
    }

    /// Removes a passkey, and ends all logins: whoever has found or copied it may have used it. `false`, and nothing ends, when the account
    /// has no such.
    ///
    /// # Errors
    /// As for [`set_disabled`](Self::set_disabled).
    #[cfg(feature = "passkeys")]
    pub async fn remove_passkey(
        &self,
        account: &AccountId,
        credential_id: &[u8],
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let (of, clock, id) = (self.of(account), self.clock(now), credential_id.to_vec());
        if self.credentials.list_passkeys(account).await?.iter().all(|passkey| passkey.credential_id != id) {
            return Ok(false);
        }
        self.ending(account, now, async move { of.credentials.remove_passkey(&of.account, &id, clock.now()).await })
            .await
    }

    /// Removes all passkeys of somebody who was robbed, and ends all logins; returns how many there were. With none nothing ends.
    ///
    /// # Errors
    /// As for [`set_disabled`](Self::set_disabled).
    #[cfg(feature = "passkeys")]
    pub async fn remove_passkeys(&self, account: &AccountId, now: UnixSeconds) -> Result<u64, Failure> {
        let (of, clock) = (self.of(account), self.clock(now));
        if self.credentials.list_passkeys(account).await?.is_empty() {
            return Ok(0);
        }
        self.ending(account, now, async move { of.credentials.remove_passkeys(&of.account, clock.now()).await }).await
    }

    async fn set_password(&self, prepared: PreparedPassword, now: UnixSeconds) -> Result<AccountId, ChangeError> {
        let account = prepared.account().clone();
        let (of, server, clock) = (self.of(&account), self.server.clone(), self.clock(now));
        finish(async move {
            server.revoke_subject(of.account.as_str(), clock.now()).await?;
            let account = of.credentials.replace_password(prepared, clock.now()).await?;
            match end_after(&server, &account, &clock).await {
                Ok(()) => Ok(account),
                Err(failure) => Err(ChangeError::LoginsNotEnded { account, failure }),
            }
        })
        .await
    }

    /// Ends all logins, makes a change, and ends those that came meanwhile.
    async fn ending<T: Send + 'static>(
        &self,
        account: &AccountId,
        now: UnixSeconds,
        change: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let (of, server, clock) = (self.of(account), self.server.clone(), self.clock(now));
        finish(async move {
            server.revoke_subject(of.account.as_str(), clock.now()).await?;
            let done = change.await?;
            end_after(&server, &of.account, &clock).await?;
            Ok(done)
        })
        .await
    }

    fn of(&self, account: &AccountId) -> Of {
        Of { credentials: self.credentials.clone(), account: account.clone() }
    }

    fn clock(&self, now: UnixSeconds) -> Meanwhile {
        Meanwhile { server: self.server.clone(), begun_at: now }
    }
}

/// Is what a change is made on, by a task that outlives whoever asked for it.
struct Of {
    credentials: Credentials,
    account: AccountId,
}

/// Tells the time while a change is under way: hashes wait for each other, so a request's own time is long past.
struct Meanwhile {
    server: AuthorizationServer,
    begun_at: UnixSeconds,
}

impl Meanwhile {
    fn now(&self) -> UnixSeconds {
        self.begun_at.max(self.server.parts().clock.now())
    }
}

/// INVARIANT: with the clock read after the change. A login that was checked before the change has an earlier time or this one, and looks
/// for what is set here after it has kept its session.
async fn end_after(server: &AuthorizationServer, account: &AccountId, clock: &Meanwhile) -> Result<(), Failure> {
    let ended = server.revoke_subject(account.as_str(), clock.now()).await;
    if let Err(failure) = &ended {
        tracing::error!(%account, %failure, "an account was changed, but its logins may not have ended");
    }
    ended
}

/// Goes through with a change although the caller goes away in the middle.
async fn finish<T: Send + 'static, E: From<Failure> + Send + 'static>(
    change: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    let broken_off = |_| Failure::new(FailureKind::Unavailable, "a change of an account broke off");
    tokio::spawn(change).await.map_err(broken_off)?
}
