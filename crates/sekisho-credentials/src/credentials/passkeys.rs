use std::fmt;

use sekisho_core::{Failure, FailureKind, Secret, UnixSeconds};

use super::{Bound, Credentials};
use crate::random::{digest, from_base64, to_base64};
use crate::webauthn::LONGEST_LIFETIME;
use crate::{
    Account, AccountId, AssertionResponse, ChallengeUse, ClientContext, LoginOutcome, LoginTicket, Passkey,
    PasskeyAddition, PasskeyChallenge, PasskeyReject, RegistrationResponse, RelyingParty, TotpRecords, Username,
    VerifiedAssertion,
};

/// Registers passkeys, and logs in by them. Made by [`Credentials::passkeys`].
///
/// Each ceremony has two requests of one browser: `begin_…` gives options for the browser's script and a ticket, `finish_…` takes
/// the ticket and what the browser answered. `browser` is a secret of at least 16 bytes that this browser alone sends, such as a
/// cookie with `HttpOnly` from before the ceremony: a ticket is good with that one only, so that nobody can finish in a victim's
/// browser what was begun in another. A challenge is good once and for minutes.
///
/// There is nothing to guess, but answers that are refused count for their address as wrong passwords do
/// ([`ThrottlePolicy`](crate::ThrottlePolicy)), and an account uses at most 256 challenges in 17 minutes. Passkeys outlive a change of the password: show people
/// [theirs](Credentials::list_passkeys), after a reset above all.
#[derive(Clone, Debug)]
pub struct Passkeys {
    credentials: Credentials,
    party: RelyingParty,
}

impl Credentials {
    /// Adds passkeys for a site.
    #[must_use]
    pub fn passkeys(&self, party: RelyingParty) -> Passkeys {
        Passkeys { credentials: self.clone(), party }
    }

    /// Returns the passkeys of an account, the oldest first.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn list_passkeys(&self, account: &AccountId) -> Result<Vec<Passkey>, Failure> {
        self.shared.store.passkeys(account).await
    }

    /// Removes a passkey of an account; `false` when it has no such.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn remove_passkey(
        &self,
        account: &AccountId,
        credential_id: &[u8],
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let had = self.shared.store.remove_passkey(account, credential_id, now).await?;
        if had {
            tracing::info!(%account, "a passkey was removed");
        }
        Ok(had)
    }

    /// Removes all passkeys of an account, and returns how many there were: for an owner who was robbed, for passkeys survive a change and
    /// a reset of the password.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn remove_passkeys(&self, account: &AccountId, now: UnixSeconds) -> Result<u64, Failure> {
        let count = self.shared.store.remove_passkeys(account, now).await?;
        if count > 0 {
            tracing::info!(%account, count, "all passkeys were removed");
        }
        Ok(count)
    }
}

/// Is a ceremony that was begun. `Debug` shows nothing of it: options name the user, their passkeys and the challenge.
#[derive(Clone)]
#[non_exhaustive]
pub struct PasskeyCeremony {
    /// JSON for `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`, and with that for
    /// `navigator.credentials.create` or `get`.
    pub options: String,
    /// What the browser brings along with its answer.
    pub ticket: CeremonyTicket,
}

impl fmt::Debug for PasskeyCeremony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasskeyCeremony(..)")
    }
}

/// Stands for a ceremony between two requests of one browser.
///
/// Encrypted: nothing of it can be read or made by others. At most 512 visible ASCII characters. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct CeremonyTicket(Secret);

impl CeremonyTicket {
    /// Takes over a text, which may be anything.
    #[must_use]
    pub fn new(text: impl Into<Secret>) -> Self {
        Self(text.into())
    }

    /// Reads the text.
    #[must_use]
    pub const fn text(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Debug for CeremonyTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CeremonyTicket(..)")
    }
}

/// Says why a passkey was not registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasskeyError {
    /// The answer is not good.
    #[error(transparent)]
    Refused(#[from] PasskeyReject),
    /// Our side broke.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl Passkeys {
    /// Begins to register a passkey for somebody who is logged in. `None` when the account is not there or is disabled.
    ///
    /// Ask for the password or a passkey again before, and for a code of whoever has an app, so that a stolen session cannot bind a passkey.
    /// Of whoever has passkeys but no app ask for a passkey, or the password alone makes two factors. The ticket ends when the account gets
    /// another password or another app.
    ///
    /// # Errors
    /// [`Failure`] of the store; misconfigured, when `browser` is shorter than 16 bytes.
    pub async fn begin_registration(
        &self,
        account: &AccountId,
        browser: &Secret,
        now: UnixSeconds,
    ) -> Result<Option<PasskeyCeremony>, Failure> {
        let store = &self.credentials.shared.store;
        let Some(account) = store.account(account).await?.filter(|account| !account.is_disabled) else {
            return Ok(None);
        };
        let has = store.passkeys(&account.id).await?;
        let challenge = PasskeyChallenge::generate()?;
        let options = self.party.creation_options(&challenge, &account.id, &account.username, &has);
        let of = registrant(&account, &store.totp(&account.id).await?);
        let ceremony = Ceremony { challenge, begun_at: now, of };
        Ok(Some(PasskeyCeremony { options, ticket: self.seal(REGISTRATION, &ceremony, browser)? }))
    }

    /// Registers a passkey, and returns its record.
    ///
    /// - `account`: who is logged in now, which must be who began.
    /// - `response`: the JSON of `PublicKeyCredential.toJSON()`.
    /// - `label`: what its owner calls it, 1 to 64 characters.
    ///
    /// # Errors
    /// In this order: [`PasskeyReject::Label`], [`PasskeyReject::Ceremony`], [`PasskeyReject::Account`], what
    /// [`RegistrationResponse::parse`] and [`RelyingParty::check_registration`] refuse, [`PasskeyReject::ChallengeUsed`],
    /// [`PasskeyReject::TooManyChallenges`], [`PasskeyReject::Ceremony`] when the account was changed or disabled meanwhile, [`PasskeyReject::TooMany`],
    /// [`PasskeyReject::Taken`]. [`Failure`] of the store.
    pub async fn finish_registration(
        &self,
        account: &AccountId,
        browser: &Secret,
        ticket: &CeremonyTicket,
        response: &[u8],
        label: &str,
        now: UnixSeconds,
    ) -> Result<Passkey, PasskeyError> {
        let done = self.register(account, browser, ticket, response, label, now).await;
        match &done {
            Ok(_) => tracing::info!(%account, "a passkey was added"),
            Err(PasskeyError::Refused(reason)) => tracing::info!(%account, %reason, "a passkey was not added"),
            Err(PasskeyError::Failure(_)) => {}
        }
        done
    }

    async fn register(
        &self,
        account: &AccountId,
        browser: &Secret,
        ticket: &CeremonyTicket,
        response: &[u8],
        label: &str,
        now: UnixSeconds,
    ) -> Result<Passkey, PasskeyError> {
        if label.is_empty() || label.chars().count() > 64 || label.chars().any(char::is_control) {
            return Err(PasskeyReject::Label.into());
        }
        let ceremony = self.open(REGISTRATION, ticket, browser, now).ok_or(PasskeyReject::Ceremony)?;
        let store = &self.credentials.shared.store;
        let account = store.account(account).await?.filter(|account| !account.is_disabled);
        let account = account.ok_or(PasskeyReject::Account)?;
        // A ceremony ends when the password or the app changes.
        if ceremony.of != registrant(&account, &store.totp(&account.id).await?) {
            return Err(PasskeyReject::Ceremony.into());
        }
        let response = RegistrationResponse::parse(response)?;
        let new = self.party.check_registration(&ceremony.challenge, &response)?;
        self.use_challenge(&account.id, &ceremony, now).await?;
        let passkey = new.into_passkey(account.id, label.to_owned(), now);
        // 7.1: 26–27, 29.
        match store.add_passkey(&passkey, account.revision, self.party.most_passkeys).await? {
            PasskeyAddition::Added => Ok(passkey),
            PasskeyAddition::Overtaken => Err(PasskeyReject::Ceremony.into()),
            PasskeyAddition::TooMany => Err(PasskeyReject::TooMany.into()),
            PasskeyAddition::Taken => Err(PasskeyReject::Taken.into()),
        }
    }

    /// Begins a login.
    ///
    /// - `username`: as typed, when a passkey of that account alone will do; `None` for whoever has one. The answer is the same
    ///   for every name and for none: options never list passkeys.
    ///
    /// # Errors
    /// [`Failure`] when nothing can be encrypted; misconfigured, when `browser` is shorter than 16 bytes.
    pub fn begin_login(
        &self,
        username: Option<&str>,
        browser: &Secret,
        now: UnixSeconds,
    ) -> Result<PasskeyCeremony, Failure> {
        let challenge = PasskeyChallenge::generate()?;
        let options = self.party.request_options(&challenge);
        let of = username.map_or_else(Vec::new, |typed| match Username::parse(typed) {
            Ok(name) => expected(&name),
            // Nobody has it, and so nobody's passkey will do.
            Err(_) => digest("nobody", &[typed.as_bytes()]).to_vec(),
        });
        let ceremony = Ceremony { challenge, begun_at: now, of };
        Ok(PasskeyCeremony { options, ticket: self.seal(LOGIN, &ceremony, browser)? })
    }

    /// Logs in by a passkey.
    ///
    /// - `response`: the JSON of `PublicKeyCredential.toJSON()`.
    ///
    /// With user verification, at registration and now, it is two factors, and [`methods`](crate::Authenticated::methods) are
    /// `pop`, `user`, `mfa`; without, which [`UserVerification::Preferred`](crate::UserVerification::Preferred) allows, `pop` and
    /// `user`, after which the second factor is asked if the account has one
    /// ([`check_second_factor`](Credentials::check_second_factor)). It is `pop`, a key of which is not said where it is kept,
    /// rather than `hwk` or `swk`, for without attestation nobody knows.
    ///
    /// Everything that is wrong is [`LoginOutcome::Refused`], and counts for the address; the log says why. After too many it is
    /// [`LoginOutcome::TryLater`].
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn finish_login(
        &self,
        browser: &Secret,
        ticket: &CeremonyTicket,
        response: &[u8],
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<LoginOutcome, Failure> {
        let named = match self.name(browser, ticket, response, now).await {
            Err(PasskeyError::Failure(failure)) => return Err(failure),
            Err(PasskeyError::Refused(reason)) => Err(reason),
            Ok(named) => Ok(named),
        };
        let account = named.as_ref().ok().map(|named| &named.passkey.account);
        let attempt = match self.credentials.begin_passkey(account, client, now).await? {
            Ok(attempt) => attempt,
            Err(wait) => return Ok(LoginOutcome::TryLater(wait)),
        };
        let done = match &named {
            Ok(named) => self.authenticate(named, now).await,
            Err(reason) => Err(PasskeyError::Refused(*reason)),
        };
        let (account, is_two_factors) = match done {
            Ok(done) => done,
            Err(PasskeyError::Refused(reason)) => {
                let account = account.map(tracing::field::display);
                // Neither happens to an authenticator that is whole and only one.
                if matches!(reason, PasskeyReject::Counter | PasskeyReject::BackupState) {
                    tracing::warn!(account, %reason, "a passkey was refused, and its authenticator may have been copied");
                } else {
                    tracing::info!(account, %reason, "a passkey was refused");
                }
                return Ok(LoginOutcome::Refused);
            }
            Err(PasskeyError::Failure(failure)) => {
                self.credentials.undo(&attempt).await;
                return Err(failure);
            }
        };
        self.credentials.succeed(&attempt).await?;
        let Credentials { shared } = &self.credentials;
        if !is_two_factors && shared.store.totp(&account.id).await?.confirmed.is_some() {
            tracing::debug!(account = %account.id, "the passkey is right, a second factor is due");
            let bound = Bound { account: account.id, revision: account.revision, time: now };
            let ticket = bound.seal(&shared.keys, super::login::PASSKEY_TICKET)?;
            return Ok(LoginOutcome::SecondFactorNeeded(LoginTicket::new(ticket)));
        }
        let methods = if is_two_factors { VERIFIED } else { PRESENT };
        self.credentials.finish(account, methods, None, client, now).await
    }

    /// Reads an answer, and finds the passkey that it names.
    async fn name(
        &self,
        browser: &Secret,
        ticket: &CeremonyTicket,
        response: &[u8],
        now: UnixSeconds,
    ) -> Result<Named, PasskeyError> {
        let ceremony = self.open(LOGIN, ticket, browser, now).ok_or(PasskeyReject::Ceremony)?;
        let response = AssertionResponse::parse(response)?;
        // 7.2: 6.
        let passkey = self.credentials.shared.store.passkey(response.credential_id()).await?;
        Ok(Named { ceremony, response, passkey: passkey.ok_or(PasskeyReject::Unknown)? })
    }

    async fn authenticate(&self, named: &Named, now: UnixSeconds) -> Result<(Account, bool), PasskeyError> {
        let Named { ceremony, response, passkey } = named;
        let store = &self.credentials.shared.store;
        let account = store.account(&passkey.account).await?.filter(|account| !account.is_disabled);
        let account = account.ok_or(PasskeyReject::Account)?;
        if !ceremony.of.is_empty() && ceremony.of != expected(&account.username) {
            return Err(PasskeyReject::Unknown.into());
        }
        let verified: VerifiedAssertion = self.party.check_assertion(&ceremony.challenge, passkey, response)?;
        self.use_challenge(&account.id, ceremony, now).await?;
        // 7.2: 24. Another use of the same counter, or a removal, was faster.
        if !store.use_passkey(&passkey.credential_id, passkey.sign_count, verified.to_use(now)).await? {
            return Err(PasskeyReject::Counter.into());
        }
        // Who was not verified at registration did not choose the PIN that is given now (7.2: 24, `uvInitialized`).
        Ok((account, verified.is_user_verified() && passkey.is_user_verified))
    }

    /// Sees to it that a challenge is good once. Only after everything else, so that nobody but owners of passkeys makes the
    /// store keep anything.
    async fn use_challenge(
        &self,
        account: &AccountId,
        ceremony: &Ceremony,
        now: UnixSeconds,
    ) -> Result<(), PasskeyError> {
        let name = digest("passkey challenge", &[ceremony.challenge.as_bytes()]);
        // Whatever this process is set to: another one may let the same ticket live as long as any may.
        let ends_at = ceremony.begun_at.saturating_add(LONGEST_LIFETIME).saturating_add(CLOCKS);
        match self.credentials.shared.store.use_challenge(account, &name, ends_at, MOST_CHALLENGES, now).await? {
            ChallengeUse::First => Ok(()),
            ChallengeUse::Again => Err(PasskeyReject::ChallengeUsed.into()),
            ChallengeUse::TooMany => Err(PasskeyReject::TooManyChallenges.into()),
        }
    }

    fn seal(&self, purpose: &str, ceremony: &Ceremony, browser: &Secret) -> Result<CeremonyTicket, Failure> {
        if browser.len() < LEAST_BROWSER {
            return Err(Failure::new(FailureKind::Misconfigured, "a passkey ceremony wants a secret of the browser"));
        }
        let Ceremony { challenge, begun_at, of } = ceremony;
        let plain = [&begun_at.as_secs().to_be_bytes()[..], challenge.as_bytes(), of].concat();
        let sealed = self.credentials.shared.keys.seal(purpose, &self.context(browser), &plain)?;
        Ok(CeremonyTicket::new(to_base64(&sealed)))
    }

    fn open(&self, purpose: &str, ticket: &CeremonyTicket, browser: &Secret, now: UnixSeconds) -> Option<Ceremony> {
        if ticket.text().len() > 512 || browser.len() < LEAST_BROWSER {
            return None;
        }
        let sealed = from_base64(ticket.text().expose_str()?)?;
        let plain = self.credentials.shared.keys.open(purpose, &self.context(browser), &sealed)?;
        let (time, rest) = plain.split_first_chunk()?;
        let (challenge, of) = rest.split_first_chunk()?;
        let begun_at = UnixSeconds::new(u64::from_be_bytes(*time));
        let ceremony = Ceremony { challenge: PasskeyChallenge::from_bytes(*challenge), begun_at, of: of.to_vec() };
        (now < begun_at.saturating_add(self.party.lifetime)).then_some(ceremony)
    }

    /// Ties a ticket to a browser, and to the site.
    fn context(&self, browser: &Secret) -> [u8; 32] {
        digest("passkey ceremony", &[self.party.id().as_bytes(), browser.expose()])
    }
}

/// Is an answer whose passkey is known, and of which nothing is checked yet.
struct Named {
    ceremony: Ceremony,
    response: AssertionResponse,
    passkey: Passkey,
}

struct Ceremony {
    challenge: PasskeyChallenge,
    begun_at: UnixSeconds,
    /// Whose it is: of a registration the account, how many passwords it has had and which app it has, of a login the hash of the name that was
    /// given, or nothing.
    of: Vec<u8>,
}

fn registrant(account: &Account, totp: &TotpRecords) -> Vec<u8> {
    let app = totp.confirmed.as_ref().map_or([0; 16], |app| app.enrolment);
    [&account.revision.to_be_bytes()[..], &app, account.id.as_str().as_bytes()].concat()
}

fn expected(username: &Username) -> Vec<u8> {
    digest("passkey user name", &[username.as_str().as_bytes()]).to_vec()
}

const REGISTRATION: &str = "passkey registration";
const LOGIN: &str = "passkey login";
const LEAST_BROWSER: usize = 16;
/// How many used challenges of one account are remembered at once; whoever has its passkey cannot make the store keep more.
const MOST_CHALLENGES: u32 = 256;
/// How far the clocks of processes may be apart.
const CLOCKS: std::time::Duration = std::time::Duration::from_secs(120);
const PRESENT: &[&str] = &["pop", "user"];
const VERIFIED: &[&str] = &["pop", "user", "mfa"];
