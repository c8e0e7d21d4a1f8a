//! The authorization server as clients and browsers see it, by the tests of `sekisho-issuer`, over SQLite.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod backing {
    use sekisho_sqlx::SqliteStore;

    /// In memory: what a file adds, other tests try.
    pub(crate) async fn store() -> SqliteStore {
        SqliteStore::in_memory().await.unwrap()
    }
}

#[path = "../../../sekisho-issuer/tests/issuer/authorize.rs"]
mod authorize;
#[path = "../../../sekisho-issuer/tests/issuer/client_auth.rs"]
mod client_auth;
#[path = "../../../sekisho-issuer/tests/issuer/device.rs"]
mod device;
#[path = "../../../sekisho-issuer/tests/issuer/exchange.rs"]
mod exchange;
#[path = "../../../sekisho-issuer/tests/issuer/introspect.rs"]
mod introspect;
#[path = "../../../sekisho-issuer/tests/issuer/login.rs"]
mod login;
#[path = "../../../sekisho-issuer/tests/issuer/logout.rs"]
mod logout;
#[path = "../../../sekisho-issuer/tests/issuer/metadata.rs"]
mod metadata;
#[expect(dead_code, reason = "logins of the credential database are not among these tests")]
#[path = "../../../sekisho-issuer/tests/issuer/setup.rs"]
mod setup;
#[path = "../../../sekisho-issuer/tests/issuer/token.rs"]
mod token;
#[path = "../../../sekisho-issuer/tests/issuer/userinfo.rs"]
mod userinfo;
#[path = "../../../sekisho-issuer/tests/issuer/withdraw.rs"]
mod withdraw;
