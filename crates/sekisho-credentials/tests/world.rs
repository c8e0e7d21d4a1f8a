//! What the tests share: credentials with cheap hashes, a few people, and short ways to try.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Secret, UnixSeconds};
use sekisho_credentials::{
    AccountId, Authenticated, ClientContext, CredentialStore, Credentials, CredentialsBuilder, DeviceToken, HashPolicy,
    LoginOutcome, LoginTicket, MemoryStore, PasswordHasher, SealingKey, SealingKeys, SqliteStore, TotpSecret, Username,
};

pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_764_072_000);
pub(crate) const RIGHT: &str = "correct horse battery";
pub(crate) const CHEAP: HashPolicy = HashPolicy::dangerous_new(64, 2, 1);

pub(crate) struct World {
    pub(crate) store: Arc<dyn CredentialStore>,
    pub(crate) hasher: PasswordHasher,
    pub(crate) credentials: Credentials,
    pub(crate) _folder: Option<Folder>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(set: impl FnOnce(CredentialsBuilder) -> CredentialsBuilder) -> Self {
        Self::on(Arc::new(MemoryStore::new()), None, set)
    }

    pub(crate) async fn in_a_file(name: &str) -> Self {
        let folder = Folder::new(name);
        let store = SqliteStore::open(folder.file()).await.unwrap();
        Self::on(Arc::new(store), Some(folder), |builder| builder)
    }

    fn on(
        store: Arc<dyn CredentialStore>,
        folder: Option<Folder>,
        set: impl FnOnce(CredentialsBuilder) -> CredentialsBuilder,
    ) -> Self {
        let hasher = PasswordHasher::new(CHEAP).unwrap();
        let builder = Credentials::builder(store.clone(), keys()).with_hasher(hasher.clone());
        Self { store, hasher, credentials: set(builder).build().unwrap(), _folder: folder }
    }

    pub(crate) async fn sign_up(&self, name: &str) -> AccountId {
        self.credentials.sign_up(&self::name(name), &secret(RIGHT), NOW).await.unwrap()
    }

    /// An account with an app; the code that confirmed it is used.
    pub(crate) async fn with_totp(&self, name: &str) -> (AccountId, TotpSecret) {
        let account = self.sign_up(name).await;
        let app = self.credentials.begin_totp(&account, NOW).await.unwrap().unwrap();
        assert!(self.credentials.confirm_totp(&account, &app.code(NOW), NOW).await.unwrap());
        (account, app)
    }

    pub(crate) async fn try_at(
        &self,
        name: &str,
        password: &str,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> LoginOutcome {
        self.credentials.check_password(name, &secret(password), client, now).await.unwrap()
    }

    pub(crate) async fn fail(&self, name: &str, address: &str, now: UnixSeconds) -> LoginOutcome {
        self.try_at(name, "wrong horse battery", from(address), now).await
    }

    pub(crate) async fn log_in(&self, name: &str, client: ClientContext<'_>, now: UnixSeconds) -> Authenticated {
        authenticated(self.try_at(name, RIGHT, client, now).await)
    }

    pub(crate) async fn ticket(&self, name: &str, now: UnixSeconds) -> LoginTicket {
        match self.try_at(name, RIGHT, ClientContext::default(), now).await {
            LoginOutcome::SecondFactorNeeded(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn code(&self, ticket: &LoginTicket, code: &Secret, now: UnixSeconds) -> LoginOutcome {
        self.credentials.check_second_factor(ticket, code, ClientContext::default(), now).await.unwrap()
    }

    /// Logs in from an address and remembers the device.
    pub(crate) async fn device(&self, name: &str, address: &str, now: UnixSeconds) -> DeviceToken {
        let login = self.log_in(name, from(address), now).await;
        self.credentials.remember_device(&login, None, now).await.unwrap()
    }
}

pub(crate) fn keys() -> SealingKeys {
    SealingKeys::new(key('A'))
}

pub(crate) fn key(which: char) -> SealingKey {
    SealingKey::from_text(&format!("{}A", which.to_string().repeat(42))).unwrap()
}

pub(crate) fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::from(text)
}

pub(crate) fn at(later: u64) -> UnixSeconds {
    NOW.saturating_add(Duration::from_secs(later))
}

pub(crate) fn from(address: &str) -> ClientContext<'static> {
    ClientContext { address: Some(address.parse::<IpAddr>().unwrap()), device: None }
}

pub(crate) fn on<'a>(device: &'a DeviceToken, address: &str) -> ClientContext<'a> {
    ClientContext { device: Some(device), ..from(address) }
}

pub(crate) fn authenticated(outcome: LoginOutcome) -> Authenticated {
    match outcome {
        LoginOutcome::Authenticated(login) => login,
        other => panic!("{other:?}"),
    }
}

/// The seconds to wait, or 0 when the attempt was made.
pub(crate) fn wait(outcome: &LoginOutcome) -> u64 {
    if let LoginOutcome::TryLater(wait) = outcome { wait.as_secs() } else { 0 }
}

pub(crate) fn is_refused(outcome: &LoginOutcome) -> bool {
    matches!(outcome, LoginOutcome::Refused)
}

/// A folder of one test, gone with it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sekisho-credentials-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("credentials.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
