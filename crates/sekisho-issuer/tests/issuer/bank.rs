//! An issuer whose users are in a credential database, in a SQLite file.

use std::path::PathBuf;
use std::sync::Arc;

use sekisho_core::{Secret, UnixSeconds};
use sekisho_credentials::{
    AccountId, Credentials, HashPolicy, PasswordHasher, SealingKey, SealingKeys, SqliteStore, TotpSecret, Username,
};
use sekisho_issuer::{Accounts, AuthorizationServerBuilder, CredentialLogin, LoginCheck, MemoryStore};

use crate::setup::{Answer, Browser, ISSUER, PASSWORD, World, authorize_query};

pub(crate) const HOUSE: &str = "https://house.example/cb";
pub(crate) const SSO: &str = "__Host-sekisho-sso";

/// Is a world whose users are in a database.
pub(crate) struct Bank {
    pub(crate) world: World,
    pub(crate) credentials: Credentials,
    pub(crate) accounts: Accounts,
    pub(crate) hasher: PasswordHasher,
    pub(crate) folder: PathBuf,
    pub(crate) sealing_key: Secret,
}

impl Drop for Bank {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Bank {
    /// Has alice, who has a password, and bob, who has an app too.
    pub(crate) async fn open(name: &str) -> (Self, AccountId, TotpSecret) {
        Self::open_with(name, |login| login).await
    }

    pub(crate) async fn open_with(
        name: &str,
        configure: impl FnOnce(CredentialLogin) -> CredentialLogin,
    ) -> (Self, AccountId, TotpSecret) {
        Self::open_for(name, configure, |login| Arc::new(login), |builder| builder).await
    }

    /// `check` may stand before the database's own.
    pub(crate) async fn open_for(
        name: &str,
        configure: impl FnOnce(CredentialLogin) -> CredentialLogin,
        check: impl FnOnce(CredentialLogin) -> Arc<dyn LoginCheck>,
        build: impl FnOnce(AuthorizationServerBuilder) -> AuthorizationServerBuilder,
    ) -> (Self, AccountId, TotpSecret) {
        let folder = std::env::temp_dir().join(format!("sekisho-issuer-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = Arc::new(SqliteStore::open(folder.join("credentials.db")).await.unwrap());
        let hasher = PasswordHasher::new(HashPolicy::dangerous_new(64, 2, 1)).unwrap();
        let key = SealingKey::generate().unwrap();
        let (sealing_key, keys) = (key.to_text(), SealingKeys::new(key));
        let credentials = Credentials::builder(store, keys).with_hasher(hasher.clone()).build().unwrap();
        let login = CredentialLogin::new(credentials.clone()).with_contexts("urn:pwd", "urn:mfa");
        let login = configure(login);
        let check = check(login.clone());
        let world = World::with_login(ISSUER, MemoryStore::new(), Some(check), |builder| {
            build(builder.with_users(Arc::new(login.clone())).with_account_pages(login))
        })
        .await;
        let accounts = Accounts::new(world.server.clone(), credentials.clone());
        let bank = Self { world, credentials, accounts, hasher, folder, sealing_key };
        let alice = bank.create("alice").await;
        let bob = bank.create("bob").await;
        let app = bank.credentials.begin_totp(&bob, bank.now()).await.unwrap().unwrap();
        assert!(bank.credentials.confirm_totp(&bob, &app.code(bank.now()), bank.now()).await.unwrap());
        bank.world.wait(60);
        (bank, alice, app)
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.world.now()
    }

    pub(crate) async fn create(&self, name: &str) -> AccountId {
        let (name, password) = (Username::parse(name).unwrap(), Secret::from(PASSWORD));
        self.accounts.create(&name, &password, self.now()).await.unwrap()
    }

    pub(crate) fn code(&self, app: &TotpSecret) -> String {
        app.code(self.now()).expose_str().unwrap().to_owned()
    }

    /// A new browser at the login page.
    pub(crate) async fn visit(&self) -> (Browser<'_>, Answer) {
        self.visit_from([192, 0, 2, 7]).await
    }

    pub(crate) async fn visit_from(&self, address: [u8; 4]) -> (Browser<'_>, Answer) {
        let mut browser = Browser::new(&self.world);
        browser.address = address;
        let page = browser.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[]))).await;
        page.page(200);
        (browser, page)
    }

    /// Logs somebody without an app in, and returns their tokens.
    pub(crate) async fn tokens(&self, name: &str) -> (Browser<'_>, serde_json::Value) {
        let (mut browser, page) = self.visit().await;
        let code = browser.log_in(&page, name).await.redirect().1["code"].clone();
        let tokens = self.world.redeem("house", &code).await.json(200);
        (browser, tokens)
    }

    /// Makes failures of 21 addresses at an account: as many as stop everybody who is not known there.
    pub(crate) async fn attack(&self, name: &str) {
        for address in 0..21 {
            let (mut bot, page) = self.visit_from([198, 51, 100, address]).await;
            bot.submit(&page, &[("username", name), ("password", "guess")]).await.page(403);
        }
    }

    pub(crate) async fn recovery_codes(&self, name: &str) -> Vec<String> {
        let account = self.credentials.find(&Username::parse(name).unwrap()).await.unwrap().unwrap();
        let codes = self.credentials.issue_recovery_codes(&account).await.unwrap().unwrap();
        codes.iter().map(|code| code.text().expose_str().unwrap().to_owned()).collect()
    }
}
