//! Passkeys in a real browser with a virtual authenticator (`passkeys.mjs`), against our own authorization server.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use sekisho_core::Secret;
use sekisho_credentials::{
    AccountId, Credentials, MemoryStore as CredentialMemory, RelyingParty, SealingKey, SealingKeys, Username,
};
use sekisho_issuer::{
    AuthorizationServer, Client, CredentialLogin, Essentials, IssuerKeys, KeyRotation, MasterKey, MemoryKeyStore,
    MemoryStore, StaticClients,
};
use sekisho_jwt::Algorithm;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::scripts::{self, Report};
use crate::setup;

const NAME: &str = "alice";
const PASSWORD: &str = "correct horse battery staple";

/// The server under the name `localhost`, for which browsers allow passkeys without TLS; dropping it ends it.
struct Site {
    input: Value,
    credentials: Credentials,
    account: AccountId,
    tasks: [JoinHandle<()>; 2],
}

impl Site {
    async fn start() -> Self {
        let shop = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let redirect_uri = format!("http://{}/callback", shop.local_addr().unwrap());
        let page = || async { Html("<!DOCTYPE html><title>Shop</title><link rel=icon href=data:,><h1>The shop</h1>") };
        let shop = tokio::spawn(async move { axum::serve(shop, Router::new().fallback(page)).await.unwrap() });

        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let keys = SealingKeys::new(SealingKey::generate().unwrap());
        let credentials = Credentials::builder(Arc::new(CredentialMemory::new()), keys).build().unwrap();
        let name = Username::parse(NAME).unwrap();
        let account = credentials.sign_up(&name, &Secret::from(PASSWORD), setup::now()).await.unwrap();
        let login = CredentialLogin::new(credentials.clone())
            .with_contexts("urn:example:password", "urn:example:two-factors")
            .with_passkeys(RelyingParty::new("localhost", "Example", [url.as_str()]).unwrap())
            .with_passkey_context("phr");

        let (store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate().unwrap());
        let keys = IssuerKeys::open(store, master, &[Algorithm::Es256], KeyRotation::default(), setup::now()).await;
        let client =
            Client::public("shop").with_redirect_uri(&redirect_uri).with_scopes("openid profile").build().unwrap();
        let essentials = Essentials {
            clients: Arc::new(StaticClients::new(vec![client]).unwrap()),
            login: Arc::new(login.clone()),
            store: Arc::new(MemoryStore::new()),
            keys: Arc::new(keys.unwrap()),
        };
        let server = AuthorizationServer::builder(&url, essentials)
            .with_users(Arc::new(login.clone()))
            .with_account_pages(login)
            .build()
            .unwrap();
        let service = server.router().into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        let user = json!({ "name": NAME, "password": PASSWORD });
        let input = json!({ "issuer": url, "redirectUri": redirect_uri, "user": user });
        Self { input, credentials, account, tasks: [task, shop] }
    }

    async fn run(&self, test: &str, journey: &str) -> Option<Report> {
        let mut input = self.input.clone();
        input["journey"] = json!(journey);
        scripts::browse(test, "passkeys.mjs", input).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[tokio::test]
async fn a_passkey_is_added_after_a_login_and_logs_in_from_then_on() {
    let site = Site::start().await;
    let Some(report) = site.run("passkeys", "whole").await else { return };
    let offered = report.step("without a passkey");
    assert_eq!(offered["button"], true, "the script shows the button");
    assert_eq!(offered["autocomplete"], "username webauthn");

    assert_eq!(report.step("added")["passkeys"], json!(["My laptop"]));
    let kept = site.credentials.list_passkeys(&site.account).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].is_user_verified && !kept[0].is_backup_eligible && kept[0].last_used_at.is_some());
    let inside = &report.step("in the authenticator")["credentials"];
    assert_eq!(inside.as_array().map(Vec::len), Some(1), "{inside}");
    assert_eq!(
        (&inside[0]["rpId"], &inside[0]["isResidentCredential"]),
        (&json!("localhost"), &json!(true)),
        "{inside}"
    );
    assert_eq!(inside[0]["user"], site.account.as_str(), "the user handle is the account's id");
    let alone = report.step("by the password alone");
    assert_eq!(alone["status"], 403, "a further one wants the first: {alone}");
    let again = report.step("added again");
    assert_eq!((&again["failed"], &again["count"]), (&json!(true), &json!(1)), "the browser knows that it has one");

    let claims = &report.step("logged in")["claims"];
    assert_eq!(claims["sub"], site.account.as_str(), "{claims}");
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pop", "user", "mfa"]), &json!("phr")), "{claims}");
    let replayed = report.step("replayed");
    assert_eq!((&replayed["status"], &replayed["alert"]), (&json!(403), &json!(NOT_ACCEPTED)), "{replayed}");
    assert_eq!(report.step("trouble")["trouble"], json!([]), "no policy is broken");
}

#[tokio::test]
async fn a_passkey_that_was_removed_does_not_log_in() {
    let site = Site::start().await;
    let Some(report) = site.run("a removed passkey", "removed").await else { return };
    assert_eq!(report.step("before")["claims"]["sub"], site.account.as_str());
    assert_eq!(report.step("removed")["heading"], "Done");
    assert!(site.credentials.list_passkeys(&site.account).await.unwrap().is_empty());
    assert_eq!(report.step("logged out")["heading"], "Sign in", "all logins have ended");
    let after = report.step("after");
    assert_eq!((&after["status"], &after["alert"]), (&json!(403), &json!(NOT_ACCEPTED)), "{after}");
}

#[tokio::test]
async fn an_authenticator_that_does_not_verify_its_user_does_not_log_in() {
    let site = Site::start().await;
    let Some(report) = site.run("an unverified user", "unverified").await else { return };
    let asked = report.step("asked for verification");
    assert_eq!((&asked["failed"], &asked["heading"]), (&json!(true), &json!("Sign in")), "the browser refuses");
    let not_asked = report.step("not asked");
    assert_eq!((&not_asked["status"], &not_asked["alert"]), (&json!(403), &json!(NOT_ACCEPTED)), "we do: {not_asked}");
    assert_eq!(report.step("verified")["claims"]["sub"], site.account.as_str(), "and take the same with a user");
}

#[tokio::test]
async fn a_copy_of_an_authenticator_does_not_log_in_after_the_original() {
    let site = Site::start().await;
    let Some(report) = site.run("a copied authenticator", "copied").await else { return };
    assert_eq!(report.step("original")["claims"]["sub"], site.account.as_str());
    let copy = report.step("copy");
    assert_eq!((&copy["status"], &copy["alert"]), (&json!(403), &json!(NOT_ACCEPTED)), "{copy}");
    let ahead = report.step("ahead");
    assert_eq!(ahead["claims"]["sub"], site.account.as_str(), "it was the counter, and nothing else");
}

#[tokio::test]
async fn a_passkey_that_is_offered_among_the_user_names_logs_in_without_a_click() {
    let site = Site::start().await;
    let Some(report) = site.run("an offered passkey", "offered").await else { return };
    let told = report.step("logged in");
    assert_eq!((&told["claims"]["sub"], &told["trouble"]), (&json!(site.account.as_str()), &json!([])));
}

#[tokio::test]
async fn without_scripts_the_password_is_asked_for_as_ever() {
    let site = Site::start().await;
    let Some(report) = site.run("passkeys without scripts", "scriptless").await else { return };
    let page = report.step("login page");
    assert_eq!((&page["buttons"], &page["failures"]), (&json!(["Sign in"]), &json!(0)), "{page}");
    assert_eq!(report.step("logged in")["claims"]["amr"], json!(["pwd"]));
}

const NOT_ACCEPTED: &str = "That passkey was not accepted. Please try again.";
