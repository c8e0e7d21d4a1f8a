use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
#[cfg(feature = "passkeys")]
use sekisho_core::Secret;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_credentials::{
    AccountId, Authenticated, ClientContext, Credentials, DeviceToken, LoginOutcome as Outcome, LoginTicket,
};

use crate::login::{
    AuthenticatedUser, DeviceMark, LoginCheck, LoginOutcome, PasswordAttempt, PendingLogin, SecondFactorAttempt,
};
#[cfg(feature = "passkeys")]
use crate::{PasskeyAttempt, PasskeyPrompt};
use crate::{UserClaims, UserDirectory, handle};

/// Lets the users of a credential database log in: passwords, authenticator apps, recovery codes, throttling.
///
/// It is a [`LoginCheck`], and a [`UserDirectory`] that bars disabled and deleted accounts: give it as both. The subject of tokens is the
/// [`AccountId`]; `amr` is `pwd`, or `pwd otp mfa` with an app or a recovery code. A clone is the same.
///
/// Changes of an account end its logins and tokens when they are made by the [account pages](crate::AuthorizationServerBuilder::with_account_pages)
/// or by [`Accounts`](crate::Accounts). `Debug` shows no content.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use sekisho_credentials::{Credentials, MemoryStore, SealingKey, SealingKeys};
/// use sekisho_issuer::CredentialLogin;
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = SealingKeys::new(SealingKey::generate()?);
/// let credentials = Credentials::builder(Arc::new(MemoryStore::new()), keys).build()?; // or SqliteStore::open(…)
/// let login = CredentialLogin::new(credentials).with_contexts("urn:example:password", "urn:example:two-factors");
/// // Essentials { login: Arc::new(login.clone()), … }, then
/// // AuthorizationServer::builder(…).with_users(Arc::new(login.clone())).with_account_pages(login)
/// # let _ = login;
/// # Ok(()) }
/// # example().unwrap();
/// ```
#[derive(Clone)]
#[must_use]
pub struct CredentialLogin {
    credentials: Credentials,
    contexts: Option<Contexts>,
    profiles: Option<Arc<dyn UserDirectory>>,
    service: Option<Arc<str>>,
    #[cfg(feature = "passkeys")]
    passkeys: Option<sekisho_credentials::Passkeys>,
}

#[derive(Clone, Debug)]
struct Contexts {
    password: Arc<str>,
    second_factor: Arc<str>,
    passkey: Option<Arc<str>>,
}

impl CredentialLogin {
    /// Lets the users of a credential database log in.
    pub const fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            contexts: None,
            profiles: None,
            service: None,
            #[cfg(feature = "passkeys")]
            passkeys: None,
        }
    }

    /// Lets users log in by passkeys, and add them on their [account pages](crate::AuthorizationServerBuilder::with_account_pages).
    /// Default: none.
    ///
    /// `party` names this issuer's origin, or the login page cannot ask for any. `amr` is `pop user mfa`, for a passkey that verifies its
    /// user is two factors; see [`Passkeys::finish_login`](sekisho_credentials::Passkeys::finish_login) for what is asked otherwise.
    /// Passkeys reach the contexts that their factors do, and [`with_passkey_context`](Self::with_passkey_context).
    #[cfg(feature = "passkeys")]
    pub fn with_passkeys(mut self, party: sekisho_credentials::RelyingParty) -> Self {
        self.passkeys = Some(self.credentials.passkeys(party));
        self
    }

    /// Names the context that passkeys with user verification reach besides those of [`with_contexts`](Self::with_contexts), such as
    /// `phr` (phishing-resistant). Default: none. It has no effect without contexts.
    ///
    /// It says how somebody logged in, not how the passkey came to the account: the first one is added by whoever gives the password, and
    /// further ones by whoever shows one or a code of an app. Where that is not enough, add first passkeys yourself
    /// ([`Passkeys::finish_registration`](sekisho_credentials::Passkeys::finish_registration)) after a check of your own.
    #[cfg(feature = "passkeys")]
    pub fn with_passkey_context(mut self, name: impl Into<Arc<str>>) -> Self {
        if let Some(contexts) = &mut self.contexts {
            contexts.passkey = Some(name.into());
        }
        self
    }

    #[cfg(feature = "passkeys")]
    pub(crate) const fn passkeys(&self) -> Option<&sekisho_credentials::Passkeys> {
        self.passkeys.as_ref()
    }

    /// Names the authentication contexts that a login reaches, the `acr` of tokens: with the password alone, and with a second factor,
    /// which reaches both. Default: none has a name.
    ///
    /// Whoever has an authenticator app is asked for it at each login; whoever has none cannot reach the second, and a client that
    /// asks for it is told so.
    pub fn with_contexts(mut self, password: impl Into<Arc<str>>, second_factor: impl Into<Arc<str>>) -> Self {
        self.contexts =
            Some(Contexts { password: password.into(), second_factor: second_factor.into(), passkey: None });
        self
    }

    /// Sets who knows the claims of users; it is asked about accounts that are there and not disabled, and can bar further ones. Default:
    /// the only claim is `preferred_username`, the user name.
    pub fn with_profiles(mut self, profiles: Arc<dyn UserDirectory>) -> Self {
        self.profiles = Some(profiles);
        self
    }

    /// Sets the name under which authenticator apps list the service, 1 to 64 bytes. Default: the issuer's host.
    pub fn with_service_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// Returns the credential database.
    #[must_use]
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Says whom a finished login names, and marks the device if it is the user's own, or forgets it if not. `None` when nobody was asked.
    async fn finish(
        &self,
        login: Authenticated,
        wanted_contexts: &[String],
        device: Option<&DeviceToken>,
        is_own_device: Option<bool>,
        now: UnixSeconds,
    ) -> Result<LoginOutcome, Failure> {
        let mark = match (is_own_device, device) {
            (Some(true), _) => {
                let token = self.credentials.remember_device(&login, device, now).await?.to_text();
                token.expose_str().and_then(DeviceMark::parse)
            }
            // The owner does not call it theirs (any more).
            (Some(false), Some(device)) => {
                self.credentials.forget_device(&login.account, device).await?;
                None
            }
            _ => None,
        };
        let user = AuthenticatedUser {
            subject: login.account.as_str().to_owned(),
            context: self.context(login.methods, wanted_contexts),
            methods: login.methods.iter().map(|method| (*method).to_owned()).collect(),
            authenticated_at: login.at,
            revision: Some(login.revision),
        };
        Ok(match mark {
            Some(mark) => LoginOutcome::AuthenticatedOnDevice(user, mark),
            None => LoginOutcome::Authenticated(user),
        })
    }

    /// Names the context that a login reaches: of those that it does the one that is wanted most, else the highest.
    fn context(&self, methods: &[&str], wanted: &[String]) -> Option<String> {
        let Contexts { password, second_factor, passkey } = self.contexts.as_ref()?;
        let is_two = methods.contains(&"mfa");
        // `pop otp mfa` is a passkey that did not verify its user, and a code.
        let passkey = passkey.as_ref().filter(|_| is_two && methods.contains(&"pop") && !methods.contains(&"otp"));
        let second_factor = is_two.then_some(second_factor);
        let reached: Vec<&Arc<str>> = passkey.into_iter().chain(second_factor).chain([password]).collect();
        let fits = |wanted: &&String| reached.iter().any(|reached| ***reached == ***wanted);
        wanted.iter().find(fits).cloned().or_else(|| reached.first().map(|reached| reached.to_string()))
    }
}

#[async_trait]
impl LoginCheck for CredentialLogin {
    async fn password(&self, attempt: PasswordAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        let PasswordAttempt { username, password, client_address, wanted_contexts, device, is_own_device } = attempt;
        let device = token_of(device);
        let client = client_of(client_address, device.as_ref());
        match self.credentials.check_password(username, password, client, now).await? {
            Outcome::Authenticated(login) => {
                self.finish(login, wanted_contexts, device.as_ref(), Some(is_own_device), now).await
            }
            Outcome::SecondFactorNeeded(ticket) => {
                Ok(LoginOutcome::SecondFactorNeeded(PendingLogin::new(ticket.text().clone())))
            }
            Outcome::TryLater(wait) => Ok(LoginOutcome::TryLater(wait)),
            _ => Ok(LoginOutcome::Refused),
        }
    }

    async fn second_factor(&self, attempt: SecondFactorAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        let SecondFactorAttempt { pending, code, client_address, wanted_contexts, device, is_own_device } = attempt;
        let device = token_of(device);
        let client = client_of(client_address, device.as_ref());
        let ticket = LoginTicket::new(pending.handle().clone());
        match self.credentials.check_second_factor(&ticket, code, client, now).await? {
            Outcome::Authenticated(login) => {
                self.finish(login, wanted_contexts, device.as_ref(), Some(is_own_device), now).await
            }
            Outcome::TryLater(wait) => Ok(LoginOutcome::TryLater(wait)),
            // The code was wrong, or the login begins anew.
            _ if self.credentials.is_ticket_live(&ticket, now).await? => {
                Ok(LoginOutcome::SecondFactorNeeded(pending.clone()))
            }
            _ => Ok(LoginOutcome::Refused),
        }
    }

    async fn still_counts(&self, subject: &str, revision: u64, _now: UnixSeconds) -> Result<bool, Failure> {
        let Some(id) = AccountId::parse(subject) else { return Ok(false) };
        let account = self.credentials.account(&id).await?;
        Ok(account.is_some_and(|account| !account.is_disabled && account.revision == revision))
    }

    fn marks_devices(&self) -> bool {
        true
    }

    #[cfg(feature = "passkeys")]
    fn begin_passkey(&self, browser: &Secret, now: UnixSeconds) -> Result<Option<PasskeyPrompt>, Failure> {
        let Some(passkeys) = &self.passkeys else { return Ok(None) };
        let ceremony = passkeys.begin_login(None, browser, now)?;
        Ok(Some(PasskeyPrompt { options: ceremony.options, ticket: ceremony.ticket.text().clone() }))
    }

    #[cfg(feature = "passkeys")]
    async fn passkey(&self, attempt: PasskeyAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        let Some(passkeys) = &self.passkeys else { return Ok(LoginOutcome::Refused) };
        let PasskeyAttempt { browser, ticket, response, client_address, wanted_contexts, device } = attempt;
        let ticket = sekisho_credentials::CeremonyTicket::new(ticket.clone());
        let device = token_of(device);
        let client = client_of(client_address, device.as_ref());
        match passkeys.finish_login(browser, &ticket, response.expose(), client, now).await? {
            Outcome::Authenticated(login) => self.finish(login, wanted_contexts, device.as_ref(), None, now).await,
            Outcome::SecondFactorNeeded(ticket) => {
                Ok(LoginOutcome::SecondFactorNeeded(PendingLogin::new(ticket.text().clone())))
            }
            Outcome::TryLater(wait) => Ok(LoginOutcome::TryLater(wait)),
            _ => Ok(LoginOutcome::Refused),
        }
    }
}

#[async_trait]
impl UserDirectory for CredentialLogin {
    async fn user(&self, subject: &str, now: UnixSeconds) -> Result<Option<UserClaims>, Failure> {
        let Some(id) = AccountId::parse(subject) else { return Ok(None) };
        let account = self.credentials.account(&id).await?.filter(|account| !account.is_disabled);
        let Some(account) = account else { return Ok(None) };
        let user = match &self.profiles {
            Some(profiles) => profiles.user(subject, now).await?,
            None => Some(UserClaims::new().with_claim("preferred_username", account.username.as_str())),
        };
        // A directory beside may know of a later end.
        Ok(user.map(|user| match account.logins_ended_at {
            Some(ended_at) if user.counts_login_at(ended_at) => user.with_logins_ended_at(ended_at),
            _ => user,
        }))
    }
}

impl fmt::Debug for CredentialLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credentials, contexts, profiles, service, .. } = self;
        f.debug_struct("CredentialLogin")
            .field("credentials", credentials)
            .field("contexts", contexts)
            .field("profiles", profiles)
            .field("service", service)
            .finish_non_exhaustive()
    }
}

/// Reads a mark; one that is no token of ours counts as none.
pub(crate) fn token_of(mark: Option<&DeviceMark>) -> Option<DeviceToken> {
    mark.and_then(|mark| DeviceToken::parse(handle::text(mark.text())))
}

pub(crate) const fn client_of(address: Option<IpAddr>, device: Option<&DeviceToken>) -> ClientContext<'_> {
    ClientContext { address, device }
}

#[cfg(test)]
mod tests {
    use sekisho_credentials::{MemoryStore, SealingKey, SealingKeys};

    use super::*;

    fn login() -> CredentialLogin {
        let keys = SealingKeys::new(SealingKey::generate().unwrap());
        CredentialLogin::new(Credentials::builder(Arc::new(MemoryStore::new()), keys).build().unwrap())
    }

    #[test]
    fn a_login_reaches_the_context_that_is_wanted_most_and_never_one_above_it() {
        let login = login().with_contexts("one", "two");
        let reached = |methods: &[&str], wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|wanted| (*wanted).to_owned()).collect();
            login.context(methods, &wanted)
        };
        for (wanted, alone, both) in [
            (&[][..], "one", "two"),
            (&["two"], "one", "two"),
            (&["one"], "one", "one"),
            (&["three", "one", "two"], "one", "one"),
            (&["two", "one"], "one", "two"),
            (&["three"], "one", "two"),
        ] {
            assert_eq!(reached(&["pwd"], wanted).as_deref(), Some(alone), "{wanted:?}");
            assert_eq!(reached(&["pwd", "otp", "mfa"], wanted).as_deref(), Some(both), "{wanted:?}");
        }
        assert_eq!(super::tests::login().context(&["pwd", "otp", "mfa"], &["two".to_owned()]), None);
    }
}
