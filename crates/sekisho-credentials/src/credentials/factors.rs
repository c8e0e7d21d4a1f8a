use std::time::Duration;

use sekisho_core::{Failure, FailureKind, Secret, UnixSeconds};

use super::{Authenticated, Credentials};
use crate::random::random;
use crate::{AccountId, RecoveryCode, TotpRecord, TotpSecret};

/// Says which second factors an account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecondFactors {
    /// Whether an authenticator app is asked at login.
    pub has_totp: bool,
    /// How many recovery codes are left.
    pub recovery_codes: u32,
}

/// Says which factor was taken.
pub(super) enum Factor {
    Totp,
    RecoveryCode { left: u32 },
}

impl Credentials {
    /// Draws a secret for an authenticator app, to be shown once; it is asked at login only after
    /// [`confirm_totp`](Self::confirm_totp), and an app that was confirmed before stays until then. `None` when there
    /// is no such account.
    ///
    /// Ask for the password again before, so that a stolen session cannot bind an app.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn begin_totp(&self, account: &AccountId, now: UnixSeconds) -> Result<Option<TotpSecret>, Failure> {
        Ok(self.begin_enrolment(account, now).await?.map(|(secret, _)| secret))
    }

    /// Draws a secret for an authenticator app, as [`begin_totp`](Self::begin_totp), for somebody who has proved just now to be the
    /// owner. `None` too when the account has an app by now of which that proof knew nothing: the password alone does not replace it.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn begin_totp_after(
        &self,
        login: &Authenticated,
        now: UnixSeconds,
    ) -> Result<Option<TotpSecret>, Failure> {
        let Some((secret, enrolment)) = self.begin_enrolment(&login.account, now).await? else { return Ok(None) };
        // INVARIANT: asked after the enrolment is kept. An app that is confirmed at the same time is seen here, or finds its own
        // enrolment replaced by this one.
        if !login.is_two_factors() && self.shared.store.totp(&login.account).await?.confirmed.is_some() {
            self.shared.store.drop_pending_totp(&login.account, &enrolment).await?;
            return Ok(None);
        }
        Ok(Some(secret))
    }

    async fn begin_enrolment(
        &self,
        account: &AccountId,
        now: UnixSeconds,
    ) -> Result<Option<(TotpSecret, [u8; 16])>, Failure> {
        let secret = TotpSecret::generate(self.shared.totp)?;
        let enrolment = random::<16>()?;
        let sealed = self.shared.keys.seal(TOTP, &context(account, &enrolment), &secret.to_stored())?;
        let record = TotpRecord { enrolment, sealed, last_counter: None, created_at: now };
        Ok(self.shared.store.begin_totp(account, &record).await?.then_some((secret, enrolment)))
    }

    /// Checks the first code of an app, within 15 minutes of [`begin_totp`](Self::begin_totp); from then on it is asked
    /// at login, and one that was asked before is not. `false` when the code is wrong, or nothing waits for one. The
    /// code is used up.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn confirm_totp(&self, account: &AccountId, code: &Secret, now: UnixSeconds) -> Result<bool, Failure> {
        let Some(record) = self.shared.store.totp(account).await?.pending else { return Ok(false) };
        if record.created_at.saturating_add(ENROLMENT_LIFETIME) <= now {
            return Ok(false);
        }
        let secret = self.open_totp(account, &record)?;
        let Some(counter) = secret.matching(code, None, now) else { return Ok(false) };
        let is_confirmed = self.shared.store.confirm_totp(account, &record.enrolment, counter).await?;
        if is_confirmed {
            tracing::info!(%account, "an authenticator app was added");
        }
        Ok(is_confirmed)
    }

    /// Draws ten recovery codes, to be shown once, in the place of all that the account had. `None` when there is no
    /// such account.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn issue_recovery_codes(&self, account: &AccountId) -> Result<Option<Vec<RecoveryCode>>, Failure> {
        let codes = (0..10).map(|_| RecoveryCode::generate()).collect::<Result<Vec<_>, _>>()?;
        let hashes: Vec<_> = codes.iter().map(|code| code.hash(account)).collect();
        if !self.shared.store.replace_recovery_codes(account, &hashes).await? {
            return Ok(None);
        }
        tracing::info!(%account, "recovery codes were issued");
        Ok(Some(codes))
    }

    /// Returns which second factors an account has; none when there is no such account.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn second_factors(&self, account: &AccountId) -> Result<SecondFactors, Failure> {
        Ok(SecondFactors {
            has_totp: self.shared.store.totp(account).await?.confirmed.is_some(),
            recovery_codes: self.shared.store.recovery_codes_left(account).await?,
        })
    }

    /// Removes app and recovery codes: the password alone opens the account then. `false` when there were none.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn remove_second_factors(&self, account: &AccountId, now: UnixSeconds) -> Result<bool, Failure> {
        let had = self.shared.store.remove_factors(account, now).await?;
        if had {
            tracing::info!(%account, "second factors were removed");
        }
        Ok(had)
    }

    /// Uses up the code that was typed, if it is good.
    pub(super) async fn take_factor(
        &self,
        account: &AccountId,
        typed: &Secret,
        now: UnixSeconds,
    ) -> Result<Option<Factor>, Failure> {
        if let Some(code) = RecoveryCode::parse(typed) {
            if !self.shared.store.take_recovery_code(account, &code.hash(account)).await? {
                return Ok(None);
            }
            let left = self.shared.store.recovery_codes_left(account).await?;
            tracing::info!(%account, left, "a recovery code was used");
            return Ok(Some(Factor::RecoveryCode { left }));
        }
        let Some(record) = self.shared.store.totp(account).await?.confirmed else { return Ok(None) };
        let secret = self.open_totp(account, &record)?;
        let Some(counter) = secret.matching(typed, record.last_counter, now) else { return Ok(None) };
        if !self.shared.store.use_totp(account, &record.enrolment, counter).await? {
            return Ok(None);
        }
        if !self.shared.keys.is_current(&record.sealed) {
            let sealed = self.shared.keys.seal(TOTP, &context(account, &record.enrolment), &secret.to_stored())?;
            self.shared.store.reseal_totp(account, &record.enrolment, &sealed).await?;
        }
        Ok(Some(Factor::Totp))
    }

    fn open_totp(&self, account: &AccountId, record: &TotpRecord) -> Result<TotpSecret, Failure> {
        let plain = self.shared.keys.open(TOTP, &context(account, &record.enrolment), &record.sealed);
        plain
            .and_then(|plain| TotpSecret::from_stored(&plain))
            .ok_or(const { Failure::new(FailureKind::Misconfigured, "a TOTP secret cannot be decrypted") })
    }
}

/// Binds a sealed secret to its row: one that is moved to another account does not open there.
fn context(account: &AccountId, enrolment: &[u8; 16]) -> Vec<u8> {
    [&enrolment[..], account.as_str().as_bytes()].concat()
}

const TOTP: &str = "totp secret";
const ENROLMENT_LIFETIME: Duration = Duration::from_secs(900);
