use std::time::Duration;

use sekisho_core::{Failure, Secret, UnixSeconds};

use super::{Bound, Credentials, LoginTicket};
use crate::credentials::factors::Factor;
use crate::{Account, AccountId, ClientContext, DeviceToken, PasswordVerdict, Username};

/// Says how an attempt to log in ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LoginOutcome {
    /// Everything that was due is proved.
    Authenticated(Authenticated),
    /// The password was right; a second factor is due.
    SecondFactorNeeded(LoginTicket),
    /// Wrong, unknown or disabled: nothing more is said.
    Refused,
    /// Too many attempts; nothing was checked. How long to wait.
    TryLater(Duration),
}

/// Names an account whose owner proved to be who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authenticated {
    /// Who.
    pub account: AccountId,
    /// How: the `amr` of tokens ([RFC 8176](https://www.rfc-editor.org/rfc/rfc8176)).
    pub methods: &'static [&'static str],
    /// When.
    pub at: UnixSeconds,
    /// How many recovery codes are left, if one was used just now.
    pub recovery_codes_left: Option<u32>,
    /// The [`revision`](Account::revision) whose password or passkey it was.
    pub revision: u64,
}

impl Authenticated {
    /// Tells whether two factors were proved.
    #[must_use]
    pub fn is_two_factors(&self) -> bool {
        self.methods.contains(&"mfa")
    }
}

impl Credentials {
    /// Checks a user name and a password.
    ///
    /// - `username`: as typed.
    /// - `client`: where the attempt comes from; throttling goes by it, see [`ThrottlePolicy`](crate::ThrottlePolicy).
    ///
    /// An unknown name, a name that nobody can have, a wrong password, a disabled account and one without password are
    /// the same answer after the same hashing. A hash that falls short of the policy is replaced when the password is
    /// right.
    ///
    /// # Errors
    /// [`Failure`] of the store, or when too many passwords are being checked (unavailable, with a time to come again).
    pub async fn check_password(
        &self,
        username: &str,
        password: &Secret,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<LoginOutcome, Failure> {
        let parsed = Username::parse(username);
        let account = match &parsed {
            Ok(username) => self.shared.store.account_by_name(username).await?,
            Err(_) => None,
        };
        let name = parsed.as_ref().map_or(username.as_bytes(), |name| name.as_str().as_bytes());
        let attempt = match self.begin_password(name, account.as_ref().map(|account| &account.id), client, now).await? {
            Ok(attempt) => attempt,
            Err(wait) => return Ok(LoginOutcome::TryLater(wait)),
        };
        let account = match self.verify(account, password).await {
            Ok(Some(account)) => account,
            Ok(None) => return Ok(LoginOutcome::Refused),
            Err(failure) => {
                self.undo(&attempt).await;
                return Err(failure);
            }
        };
        self.succeed(&attempt).await?;
        if self.shared.store.totp(&account.id).await?.confirmed.is_some() {
            tracing::debug!(account = %account.id, "the password is right, a second factor is due");
            let bound = Bound { account: account.id, revision: account.revision, time: now };
            return Ok(LoginOutcome::SecondFactorNeeded(LoginTicket::new(bound.seal(&self.shared.keys, TICKET)?)));
        }
        self.finish(account, PASSWORD, None, client, now).await
    }

    /// Checks the second factor of a login that [`check_password`](Self::check_password) or a passkey without user
    /// verification began: a code of the authenticator app, or a recovery code. Each is good once.
    ///
    /// A ticket that is not ours, too old, or of an account that is disabled or has another password since, or, after a passkey, of one
    /// that has lost a passkey since, is [`LoginOutcome::Refused`]; as is a wrong or used code, after which the ticket can be used again.
    ///
    /// # Errors
    /// [`Failure`] of the store; misconfigured, when the key under which the app's secret was encrypted is gone.
    pub async fn check_second_factor(
        &self,
        ticket: &LoginTicket,
        code: &Secret,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<LoginOutcome, Failure> {
        let Some((account, methods)) = self.account_of(ticket, now).await? else { return Ok(LoginOutcome::Refused) };
        let attempt = match self.begin_second_factor(&account.id, client, now).await? {
            Ok(attempt) => attempt,
            Err(wait) => return Ok(LoginOutcome::TryLater(wait)),
        };
        let factor = match self.take_factor(&account.id, code, now).await {
            Ok(factor) => factor,
            Err(failure) => {
                self.undo(&attempt).await;
                return Err(failure);
            }
        };
        let left = match factor {
            Some(Factor::Totp) => None,
            Some(Factor::RecoveryCode { left }) => Some(left),
            None => {
                tracing::info!(account = %account.id, "a second factor was wrong or used");
                return Ok(LoginOutcome::Refused);
            }
        };
        self.succeed(&attempt).await?;
        self.finish(account, methods, left, client, now).await
    }

    /// Tells whether a ticket may still become a login: what tells a wrong code from a login that has to begin anew.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn is_ticket_live(&self, ticket: &LoginTicket, now: UnixSeconds) -> Result<bool, Failure> {
        Ok(self.account_of(ticket, now).await?.is_some())
    }

    /// Remembers the device of a finished login, so that others' failures do not keep its owner out there: see
    /// [`ThrottlePolicy`](crate::ThrottlePolicy). Do so only if the user says that it is theirs.
    ///
    /// A device that is known for this account keeps its token; any other gets a new one, whatever it shows: somebody else may have put
    /// that there, and know it. At most 32 devices and addresses of one account are known. Nothing is remembered when the account has
    /// another password since the login.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn remember_device(
        &self,
        login: &Authenticated,
        has: Option<&DeviceToken>,
        now: UnixSeconds,
    ) -> Result<DeviceToken, Failure> {
        let Authenticated { account, revision, .. } = login;
        let known = match has {
            Some(token) => {
                let known = self.shared.store.known_sources(account, &[token.source()], now).await?;
                Some(token).filter(|_| !known.is_empty())
            }
            None => None,
        };
        let token = known.cloned().map_or_else(DeviceToken::generate, Ok)?;
        let until = now.saturating_add(self.shared.device_lifetime);
        self.shared.store.remember_source(account, *revision, &token.source(), until, MOST_SOURCES).await?;
        Ok(token)
    }

    /// Forgets a device for one account, whose owner says that it is not theirs. One that is not known is no error.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn forget_device(&self, account: &AccountId, token: &DeviceToken) -> Result<(), Failure> {
        self.shared.store.forget_source(account, &token.source()).await
    }

    /// Forgets all devices and addresses of an account.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn forget_devices(&self, account: &AccountId) -> Result<(), Failure> {
        self.shared.store.forget_sources(account).await
    }

    /// Returns the account that a ticket is for, if the ticket is good, and what is proved once a code is right too.
    async fn account_of(
        &self,
        ticket: &LoginTicket,
        now: UnixSeconds,
    ) -> Result<Option<(Account, &'static [&'static str])>, Failure> {
        let open =
            |(purpose, methods)| Some((Bound::open(&self.shared.keys, purpose, ticket.text())?, purpose, methods));
        let firsts = [(TICKET, TWO_FACTORS), (PASSKEY_TICKET, PASSKEY_AND_CODE)];
        let Some((bound, purpose, methods)) = firsts.into_iter().find_map(open) else { return Ok(None) };
        // The clock of the process that made it may be a little ahead.
        if bound.time.saturating_add(self.shared.ticket_lifetime) <= now {
            return Ok(None);
        }
        let account = self.shared.store.account(&bound.account).await?;
        let account = account.filter(|account| !account.is_disabled && account.revision == bound.revision);
        // The passkey may have been removed since.
        let account = account.filter(|account| purpose != PASSKEY_TICKET || account.counts_login_at(bound.time));
        Ok(account.map(|account| (account, methods)))
    }

    /// Returns the account if the password opens it. Always hashes.
    pub(super) async fn verify(&self, account: Option<Account>, password: &Secret) -> Result<Option<Account>, Failure> {
        let password = self.shared.passwords.prepare(password);
        let open = account.as_ref().filter(|account| !account.is_disabled);
        let hash = open.and_then(|account| account.password.as_ref());
        let verdict = self.shared.hasher.verify(password.as_ref(), hash).await?;
        let Some(account) = account else {
            tracing::info!("a password was given for a name that nobody has");
            return Ok(None);
        };
        match verdict {
            PasswordVerdict::Wrong => {
                let is_disabled = account.is_disabled;
                tracing::info!(account = %account.id, is_disabled, "a password was wrong, or the account is disabled");
                Ok(None)
            }
            PasswordVerdict::Right => Ok(Some(account)),
            PasswordVerdict::RightAndStale(hash) => {
                // The login is good either way; the next one tries again.
                match self.shared.store.upgrade_password(&account.id, account.revision, &hash).await {
                    Ok(_) => tracing::info!(account = %account.id, "a password was hashed anew"),
                    Err(failure) => tracing::warn!(account = %account.id, %failure, "a new hash was not kept"),
                }
                Ok(Some(account))
            }
        }
    }

    pub(super) async fn finish(
        &self,
        account: Account,
        methods: &'static [&'static str],
        recovery_codes_left: Option<u32>,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<LoginOutcome, Failure> {
        let Account { id: account, revision, .. } = account;
        if let Some(source) = self.address_source(&account, client) {
            let until = now.saturating_add(self.shared.address_lifetime);
            self.shared.store.remember_source(&account, revision, &source, until, MOST_SOURCES).await?;
        }
        tracing::info!(%account, ?methods, "logged in");
        Ok(LoginOutcome::Authenticated(Authenticated { account, methods, at: now, recovery_codes_left, revision }))
    }
}

const TICKET: &str = "login ticket";
pub(super) const PASSKEY_TICKET: &str = "login ticket after a passkey";
const MOST_SOURCES: u32 = 32;
const PASSWORD: &[&str] = &["pwd"];
const TWO_FACTORS: &[&str] = &["pwd", "otp", "mfa"];
const PASSKEY_AND_CODE: &[&str] = &["pop", "user", "otp", "mfa"];
