use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sekisho_core::{ConfigError, Failure, Secret, UnixSeconds};

use crate::{
    AccountId, CredentialStore, HashPolicy, PasswordError, PasswordHasher, PasswordPolicy, SealingKeys, ThrottlePolicy,
    TotpSettings,
};

mod factors;
mod login;
#[cfg(feature = "passkeys")]
mod passkeys;
mod passwords;
mod sealed;
mod throttling;

pub use factors::SecondFactors;
pub use login::{Authenticated, LoginOutcome};
#[cfg(feature = "passkeys")]
pub use passkeys::{CeremonyTicket, PasskeyCeremony, PasskeyError, Passkeys};
pub use passwords::PreparedPassword;
pub use sealed::{LoginTicket, ResetToken};

/// Answers who somebody is by what they know and have: the credential database with its rules.
///
/// Clones share everything. Processes that have the same store and [`SealingKeys`] act as one.
///
/// All methods may answer with a [`Failure`]: the store or the hasher broke or is too busy, and nothing is known about
/// the caller. Never let one pass as "wrong". Sessions are not kept here: end them after
/// [`change_password`](Self::change_password),
/// [`finish_reset`](Self::finish_reset), [`set_disabled`](Self::set_disabled) and
/// [`delete_account`](Self::delete_account).
///
/// Events go to `tracing` and name accounts by their id: no name, address, password or code.
#[derive(Clone)]
pub struct Credentials {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn CredentialStore>,
    keys: SealingKeys,
    hasher: PasswordHasher,
    passwords: PasswordPolicy,
    throttle: ThrottlePolicy,
    totp: TotpSettings,
    ticket_lifetime: Duration,
    device_lifetime: Duration,
    address_lifetime: Duration,
    attempts: AtomicU32,
}

impl Credentials {
    /// Begins with what must be given: where credentials are kept, and the keys under which secrets are encrypted
    /// there.
    #[must_use]
    pub fn builder(store: Arc<dyn CredentialStore>, keys: SealingKeys) -> CredentialsBuilder {
        CredentialsBuilder {
            store,
            keys,
            hasher: None,
            passwords: PasswordPolicy::default(),
            throttle: ThrottlePolicy::default(),
            totp: TotpSettings::default(),
            ticket_lifetime: Duration::from_secs(300),
            device_lifetime: Duration::from_secs(90 * 24 * 3600),
            address_lifetime: Duration::from_secs(30 * 24 * 3600),
        }
    }

    /// Removes counters of throttling that are forgotten or too many. Done by itself at every 1,024th attempt of a
    /// process.
    ///
    /// # Errors
    /// [`Failure`] of the store.
    pub async fn prune(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.shared.store.prune_counters(self.shared.throttle.most_counters, now).await
    }

    async fn prune_sometimes(&self, now: UnixSeconds) {
        if self.shared.attempts.fetch_add(1, Ordering::Relaxed) % 1024 == 1023
            && let Err(failure) = self.prune(now).await
        {
            tracing::warn!(%failure, "counters of throttling were not pruned");
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { store, keys, hasher, passwords, throttle, totp, .. } = &*self.shared;
        f.debug_struct("Credentials")
            .field("store", store)
            .field("keys", keys)
            .field("hasher", hasher)
            .field("passwords", passwords)
            .field("throttle", throttle)
            .field("totp", totp)
            .finish_non_exhaustive()
    }
}

/// Builds [`Credentials`].
#[derive(Debug)]
pub struct CredentialsBuilder {
    store: Arc<dyn CredentialStore>,
    keys: SealingKeys,
    hasher: Option<PasswordHasher>,
    passwords: PasswordPolicy,
    throttle: ThrottlePolicy,
    totp: TotpSettings,
    ticket_lifetime: Duration,
    device_lifetime: Duration,
    address_lifetime: Duration,
}

impl CredentialsBuilder {
    /// Sets who hashes passwords. Default: [`HashPolicy::default`] without pepper.
    #[must_use]
    pub fn with_hasher(mut self, hasher: PasswordHasher) -> Self {
        self.hasher = Some(hasher);
        self
    }

    /// Sets which passwords may be chosen. Default: [`PasswordPolicy::default`].
    #[must_use]
    pub fn with_password_policy(mut self, policy: PasswordPolicy) -> Self {
        self.passwords = policy;
        self
    }

    /// Sets how attempts are slowed down. Default: [`ThrottlePolicy::default`].
    #[must_use]
    pub const fn with_throttle(mut self, policy: ThrottlePolicy) -> Self {
        self.throttle = policy;
        self
    }

    /// Sets what new authenticator apps show. Default: [`TotpSettings::default`].
    #[must_use]
    pub const fn with_totp(mut self, settings: TotpSettings) -> Self {
        self.totp = settings;
        self
    }

    /// Sets how long the second factor may take after the password. Default: 5 minutes; 30 s to 1 h.
    #[must_use]
    pub const fn with_ticket_lifetime(mut self, lifetime: Duration) -> Self {
        self.ticket_lifetime = lifetime;
        self
    }

    /// Sets how long a device and an address are known after a login. Default: 90 and 30 days; 1 hour to 400 days.
    #[must_use]
    pub const fn with_memory(mut self, device: Duration, address: Duration) -> Self {
        self.device_lifetime = device;
        self.address_lifetime = address;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`ConfigError`] when a lifetime is out of its bounds, or the default hasher cannot be built.
    pub fn build(self) -> Result<Credentials, ConfigError> {
        let Self { store, keys, hasher, passwords, throttle, totp, ticket_lifetime, device_lifetime, address_lifetime } =
            self;
        if !(30..=3600).contains(&ticket_lifetime.as_secs()) {
            return Err(ConfigError::new("a second factor may take 30 seconds to 1 hour"));
        }
        let is_remembered = |lifetime: Duration| (3600..=400 * 24 * 3600).contains(&lifetime.as_secs());
        if !is_remembered(device_lifetime) || !is_remembered(address_lifetime) {
            return Err(ConfigError::new("devices and addresses are known for 1 hour to 400 days"));
        }
        let hasher = hasher.map_or_else(|| PasswordHasher::new(HashPolicy::default()), Ok)?;
        let attempts = AtomicU32::new(0);
        let shared = Shared {
            store,
            keys,
            hasher,
            passwords,
            throttle,
            totp,
            ticket_lifetime,
            device_lifetime,
            address_lifetime,
            attempts,
        };
        Ok(Credentials { shared: Arc::new(shared) })
    }
}

/// Says why an account was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignUpError {
    /// The policy refuses the password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// Somebody has the name. Telling so tells that they have an account: where that matters, sign-up goes by
    /// invitation.
    #[error("the user name is taken")]
    NameTaken,
    /// Our side broke.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// Says why a password was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The present password is wrong, the token is not good (any more), or the account is not there or disabled.
    #[error("refused")]
    Refused,
    /// Too many attempts; nothing was checked.
    #[error("too many attempts")]
    TryLater(Duration),
    /// The policy refuses the new password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The password is changed, but it is not certain that the account's logins have ended: end them again.
    #[error("the password is changed, and its logins may not have ended")]
    LoginsNotEnded {
        /// Whose password it is.
        account: AccountId,
        /// What broke.
        #[source]
        failure: Failure,
    },
    /// Our side broke.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// What a ticket or token says of the account that it is for.
struct Bound {
    account: AccountId,
    revision: u64,
    time: UnixSeconds,
}

impl Bound {
    fn seal(&self, keys: &SealingKeys, purpose: &str) -> Result<Secret, Failure> {
        let Self { account, revision, time } = self;
        let plain = [&time.as_secs().to_be_bytes()[..], &revision.to_be_bytes(), account.as_str().as_bytes()].concat();
        Ok(Secret::from(crate::random::to_base64(&keys.seal(purpose, &[], &plain)?)))
    }

    fn open(keys: &SealingKeys, purpose: &str, text: &Secret) -> Option<Self> {
        if text.len() > 512 {
            return None;
        }
        let plain = keys.open(purpose, &[], &crate::random::from_base64(text.expose_str()?)?)?;
        let (time, rest) = plain.split_first_chunk()?;
        let (revision, account) = rest.split_first_chunk()?;
        Some(Self {
            account: AccountId::parse(std::str::from_utf8(account).ok()?)?,
            revision: u64::from_be_bytes(*revision),
            time: UnixSeconds::new(u64::from_be_bytes(*time)),
        })
    }
}
