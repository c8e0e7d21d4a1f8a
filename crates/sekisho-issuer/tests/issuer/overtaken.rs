//! What happens to logins, and to changes of an account, when something else comes in between.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
#[cfg(feature = "passkeys")]
use http::Method;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use sekisho_core::{Failure, Secret, UnixSeconds};
use sekisho_credentials::{AccountId, ChangeError, ClientContext, TotpSecret};
use sekisho_issuer::{
    Accounts, CredentialLogin, LoginCheck, LoginOutcome, PasskeyAttempt, PasskeyPrompt, PasswordAttempt, Revocation,
    RevocationListener, SecondFactorAttempt,
};
use tokio::sync::Semaphore;

use crate::bank::{Bank, HOUSE, SSO};
#[cfg(feature = "passkeys")]
use crate::setup::ISSUER;
use crate::setup::{Answer, Browser, PASSWORD, authorize_query, post, read_form};

const NEW: &str = "another horse battery";

/// What overtakes a login.
#[derive(Clone, Debug)]
enum Change {
    Password,
    PasswordElsewhere,
    Disabled,
    DisabledElsewhere,
    Deleted,
    #[cfg(feature = "passkeys")]
    PasskeyRemoved,
}

type Next = Arc<Mutex<Option<(Accounts, AccountId, Change)>>>;

/// Lets a change of alice's account overtake the next login, after its password or passkey was found right.
#[derive(Debug)]
struct Overtaken {
    login: CredentialLogin,
    next: Next,
}

impl Overtaken {
    async fn overtake(&self, now: UnixSeconds) {
        let next = self.next.lock().unwrap().take();
        let Some((accounts, alice, change)) = next else { return };
        // The request for the change came earlier, and waited for its hashes.
        let earlier = UnixSeconds::new(now.as_secs() - 30);
        let (present, new, client) = (Secret::from(PASSWORD), Secret::from(NEW), ClientContext::default());
        let credentials = self.login.credentials();
        match change {
            Change::Password => accounts.change_password(&alice, &present, &new, client, earlier).await.unwrap(),
            Change::PasswordElsewhere => {
                credentials.change_password(&alice, &present, &new, client, earlier).await.unwrap();
            }
            Change::Disabled => assert!(accounts.set_disabled(&alice, true, earlier).await.unwrap()),
            Change::DisabledElsewhere => {
                assert!(credentials.set_disabled(&alice, true, earlier).await.unwrap());
                assert!(credentials.set_disabled(&alice, false, earlier).await.unwrap());
            }
            Change::Deleted => assert!(accounts.delete(&alice, earlier).await.unwrap()),
            #[cfg(feature = "passkeys")]
            Change::PasskeyRemoved => {
                let keys = credentials.list_passkeys(&alice).await.unwrap();
                assert!(accounts.remove_passkey(&alice, &keys[0].credential_id, earlier).await.unwrap());
            }
        }
    }
}

#[async_trait]
impl LoginCheck for Overtaken {
    async fn password(&self, attempt: PasswordAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        let outcome = self.login.password(attempt, now).await;
        self.overtake(now).await;
        outcome
    }

    async fn second_factor(&self, attempt: SecondFactorAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        self.login.second_factor(attempt, now).await
    }

    fn begin_passkey(&self, browser: &Secret, now: UnixSeconds) -> Result<Option<PasskeyPrompt>, Failure> {
        self.login.begin_passkey(browser, now)
    }

    async fn passkey(&self, attempt: PasskeyAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        let outcome = self.login.passkey(attempt, now).await;
        self.overtake(now).await;
        outcome
    }

    async fn still_counts(&self, subject: &str, revision: u64, now: UnixSeconds) -> Result<bool, Failure> {
        self.login.still_counts(subject, revision, now).await
    }
}

/// A bank in which the next login can be overtaken.
async fn open(name: &str, configure: impl FnOnce(CredentialLogin) -> CredentialLogin) -> (Bank, AccountId, Next) {
    let next = Next::default();
    let own = Arc::clone(&next);
    let check = |login| Arc::new(Overtaken { login, next: own }) as Arc<dyn LoginCheck>;
    let (bank, alice, _) = Bank::open_for(name, configure, check, |builder| builder).await;
    (bank, alice, next)
}

#[tokio::test]
async fn a_login_with_the_old_password_is_none_when_a_change_overtakes_it() {
    for change in
        [Change::Password, Change::PasswordElsewhere, Change::Disabled, Change::DisabledElsewhere, Change::Deleted]
    {
        let (bank, alice, next) = open(&format!("overtaken-{change:?}"), |login| login).await;
        let (mut thief, page) = bank.visit().await;
        *next.lock().unwrap() = Some((bank.accounts.clone(), alice, change.clone()));
        let answer = thief.log_in(&page, "alice").await;
        assert!(answer.page(403).contains("name=\"password\""), "{change:?}");
        assert!(!thief.cookies.contains_key(SSO), "{change:?}");
        assert!(next.lock().unwrap().is_none(), "{change:?}");
    }
}

#[cfg(feature = "passkeys")]
#[tokio::test]
async fn a_login_by_a_passkey_is_none_when_a_change_overtakes_it() {
    use crate::passkeys::{add, party, use_key};

    for change in [
        Change::Password,
        Change::PasswordElsewhere,
        Change::Disabled,
        Change::DisabledElsewhere,
        Change::Deleted,
        Change::PasskeyRemoved,
    ] {
        let (bank, alice, next) =
            open(&format!("overtaken-key-{change:?}"), |login| login.with_passkeys(party())).await;
        let (_, key, user) = add(&bank, "alice").await;
        let (mut thief, page) = bank.visit().await;
        *next.lock().unwrap() = Some((bank.accounts.clone(), alice, change.clone()));
        let answer = use_key(&mut thief, &page, &key, &user, |_| {}).await;
        assert!(answer.page(403).contains("name=\"password\""), "{change:?}");
        assert!(!thief.cookies.contains_key(SSO) && next.lock().unwrap().is_none(), "{change:?}");
    }
}

#[cfg(feature = "passkeys")]
#[tokio::test]
async fn neither_a_form_nor_a_ceremony_from_before_the_app_adds_a_passkey() {
    use sekisho_credentials::testing::authenticator::SoftAuthenticator;

    use crate::passkeys::{answered, asked, party};

    let (bank, alice, _) = open("passkey-before-app", |login| login.with_passkeys(party())).await;
    let (mut thief, form) = log_in(&bank, "/account/passkeys/new").await;
    let page = thief.submit(&form, &[("password", PASSWORD)]).await;
    let key = SoftAuthenticator::new();
    let (action, fields) = answered(&page, key.register(&asked(&page).1, ISSUER).to_json(), &[("label", "key")]);
    let app = add_app(&bank, &alice).await;
    assert!(thief.send(Method::POST, &action, &fields).await.page(403).contains("was not added"));
    let refused = thief.submit(&form, &[("password", PASSWORD)]).await;
    assert!(refused.page(403).contains("name=\"code\"") && !refused.body.contains("data-options"));
    assert!(bank.credentials.list_passkeys(&alice).await.unwrap().is_empty());
    let page = thief.submit(&form, &[("password", PASSWORD), ("code", &bank.code(&app))]).await;
    let (action, fields) = answered(&page, key.register(&asked(&page).1, ISSUER).to_json(), &[("label", "key")]);
    thief.send(Method::POST, &action, &fields).await.page(200);
}

#[tokio::test]
async fn what_was_changed_at_the_database_alone_ends_sessions_and_refresh_too() {
    let none = format!("/authorize?{}", authorize_query("house", HOUSE, &[("prompt", "none")]));
    for change in ["password", "disabled and enabled", "factors"] {
        let (bank, alice, _) = Bank::open(&format!("elsewhere-{}", change.len())).await;
        let codes = bank.credentials.issue_recovery_codes(&alice).await.unwrap().unwrap();
        let (mut browser, tokens) = bank.tokens("alice").await;
        browser.get("/account").await.page(200);
        bank.world.wait(5);
        match change {
            "password" => {
                let (present, new, client) = (Secret::from(PASSWORD), Secret::from(NEW), ClientContext::default());
                bank.credentials.change_password(&alice, &present, &new, client, bank.now()).await.unwrap();
            }
            "factors" => {
                assert!(bank.credentials.remove_second_factors(&alice, bank.now()).await.unwrap() && codes.len() == 10);
            }
            _ => {
                assert!(bank.credentials.set_disabled(&alice, true, bank.now()).await.unwrap());
                assert!(bank.credentials.set_disabled(&alice, false, bank.now()).await.unwrap());
            }
        }
        let access = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let userinfo = Request::get("/userinfo").header("authorization", access).body(axum::body::Body::empty());
        assert_eq!(bank.world.send(userinfo.unwrap()).await.status, 401, "{change}");
        assert!(browser.get("/account").await.page(200).contains("name=\"username\""), "{change}");
        assert_eq!(browser.get(&none).await.redirect().1["error"], "login_required", "{change}");
        bank.world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
        bank.world.wait(5);
        let password = if change == "password" { NEW } else { PASSWORD };
        let (mut again, page) = bank.visit().await;
        let done = again.submit(&page, &[("username", "alice"), ("password", password)]).await;
        bank.world.redeem("house", &done.redirect().1["code"]).await.json(200);
    }
}

async fn log_in<'a>(bank: &'a Bank, path: &str) -> (Browser<'a>, Answer) {
    let mut browser = Browser::new(&bank.world);
    let page = browser.get(path).await;
    let page = browser.log_in(&page, "alice").await;
    (browser, page)
}

/// Adds an app at the database alone, so that no login ends.
async fn add_app(bank: &Bank, account: &AccountId) -> TotpSecret {
    let app = bank.credentials.begin_totp(account, bank.now()).await.unwrap().unwrap();
    assert!(bank.credentials.confirm_totp(account, &app.code(bank.now()), bank.now()).await.unwrap());
    bank.world.wait(60);
    app
}

fn change() -> [(&'static str, &'static str); 3] {
    [("password", PASSWORD), ("new_password", NEW), ("repeated_password", NEW)]
}

#[tokio::test]
async fn whoever_has_an_app_changes_the_password_with_its_code_only() {
    let (bank, alice, _) = Bank::open("password-code").await;
    let (mut thief, page) = log_in(&bank, "/account/password").await;
    assert!(!page.page(200).contains("name=\"code\""));
    let app = add_app(&bank, &alice).await;
    for code in ["", "000000"] {
        let answer = thief.submit(&page, &[&change()[..], &[("code", code)]].concat()).await;
        assert!(answer.page(403).contains("name=\"code\"") && !answer.body.contains("is changed"), "{code}");
    }
    let code = bank.code(&app);
    let answer = thief.submit(&page, &[&change()[..], &[("code", &code)]].concat()).await;
    assert!(answer.page(200).contains("is changed"));
}

#[tokio::test]
async fn a_form_from_before_the_app_brings_neither_another_app_nor_codes_without_its_code() {
    let (bank, alice, _) = Bank::open("before-app").await;
    let (mut thief, page) = log_in(&bank, "/account/app").await;
    let codes = thief.get("/account/recovery-codes").await;
    add_app(&bank, &alice).await;
    for page in [&page, &codes] {
        let answer = thief.submit(page, &[("password", PASSWORD)]).await;
        assert!(answer.page(403).contains("name=\"code\"") && !answer.body.contains("otpauth"));
    }
    assert_eq!(bank.credentials.second_factors(&alice).await.unwrap().recovery_codes, 0);
}

#[tokio::test]
async fn an_app_that_is_confirmed_ends_the_logins_of_the_password_alone() {
    let (bank, alice, _) = Bank::open("app-ends").await;
    let (mut other, tokens) = bank.tokens("alice").await;
    let app = bank.credentials.begin_totp(&alice, bank.now()).await.unwrap().unwrap();
    let wrong = Secret::from("000000");
    assert!(!bank.accounts.confirm_totp(&alice, &wrong, bank.now()).await.unwrap());
    other.get("/account").await.page(200);
    assert!(bank.accounts.confirm_totp(&alice, &app.code(bank.now()), bank.now()).await.unwrap());
    assert!(other.get("/account").await.page(200).contains("name=\"username\""));
    bank.world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
}

/// Fails at the calls whose numbers, from 1, are named, and waits at each for a permit if told to.
#[derive(Debug, Default)]
struct Shaky {
    calls: AtomicU32,
    fails_at: Mutex<Vec<u32>>,
    waits: Mutex<Option<Arc<Semaphore>>>,
}

#[async_trait]
impl RevocationListener for Shaky {
    async fn revoked(&self, _: &Revocation, _: UnixSeconds) -> Result<(), Failure> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let waits = self.waits.lock().unwrap().clone();
        if let Some(waits) = waits {
            waits.acquire().await.unwrap().forget();
        }
        match self.fails_at.lock().unwrap().contains(&call) {
            true => Err(Failure::unavailable("the listener is down")),
            false => Ok(()),
        }
    }
}

async fn shaky(name: &str) -> (Bank, AccountId, Arc<Shaky>) {
    let listener = Arc::<Shaky>::default();
    let own = Arc::clone(&listener);
    let (bank, alice, _) = Bank::open_for(
        name,
        |login| login,
        |login| Arc::new(login),
        move |builder| builder.with_revocation_listener(own),
    )
    .await;
    (bank, alice, listener)
}

#[tokio::test]
async fn nothing_changes_while_logins_cannot_be_ended() {
    let (bank, alice, listener) = shaky("listener-down").await;
    let (mut browser, page) = log_in(&bank, "/account/password").await;
    *listener.fails_at.lock().unwrap() = (1..=4).collect();
    let answer = browser.submit(&page, &change()).await;
    assert!(answer.page(503).contains("our side"));
    bank.accounts.set_disabled(&alice, true, bank.now()).await.unwrap_err();
    bank.accounts.delete(&alice, bank.now()).await.unwrap_err();
    let token = bank.accounts.begin_reset(&alice, Duration::from_secs(60), bank.now()).await.unwrap().unwrap();
    let reset = bank.accounts.finish_reset(&token, &Secret::from(NEW), bank.now()).await;
    assert!(matches!(reset, Err(ChangeError::Failure(_))));
    bank.world.wait(1);
    let (mut again, page) = bank.visit().await;
    again.log_in(&page, "alice").await.redirect();
    assert_eq!(bank.accounts.finish_reset(&token, &Secret::from(NEW), bank.now()).await.unwrap(), alice);
}

#[tokio::test]
async fn a_change_whose_end_fails_names_the_account_and_leaves_no_login_good() {
    let (bank, alice, listener) = shaky("half-way").await;
    let (mut other, tokens) = bank.tokens("alice").await;
    let (mut browser, page) = log_in(&bank, "/account/password").await;
    bank.world.wait(1);
    *listener.fails_at.lock().unwrap() = vec![2, 4];
    browser.submit(&page, &change()).await.page(503);
    assert!(other.get("/account").await.page(200).contains("name=\"username\""));
    bank.world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
    let token = bank.accounts.begin_reset(&alice, Duration::from_secs(60), bank.now()).await.unwrap().unwrap();
    let reset = bank.accounts.finish_reset(&token, &Secret::from(PASSWORD), bank.now()).await;
    let Err(ChangeError::LoginsNotEnded { account, .. }) = reset else { panic!("{reset:?}") };
    assert_eq!(account, alice);
    bank.world.wait(1);
    let (mut again, page) = bank.visit().await;
    again.log_in(&page, "alice").await.redirect();
}

#[tokio::test]
async fn a_change_is_finished_although_the_browser_goes_away() {
    let (bank, alice, listener) = shaky("goes-away").await;
    let permits = Arc::new(Semaphore::new(0));
    *listener.waits.lock().unwrap() = Some(Arc::clone(&permits));
    let accounts = bank.accounts.clone();
    let (id, now) = (alice.clone(), bank.now());
    let request = tokio::spawn(async move {
        let (present, new) = (Secret::from(PASSWORD), Secret::from(NEW));
        accounts.change_password(&id, &present, &new, ClientContext::default(), now).await
    });
    let called = async |times| {
        for _ in 0..10_000 {
            if listener.calls.load(Ordering::SeqCst) >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the listener was not called {times} times");
    };
    called(1).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    permits.add_permits(10);
    called(2).await;
    assert_eq!(bank.credentials.account(&alice).await.unwrap().unwrap().revision, 2);
}

#[tokio::test]
async fn bytes_in_a_forwarded_header_do_not_switch_throttling_off() {
    let (bank, _, _) = Bank::open("forwarded").await;
    for forwarded in [&b"\xff, 203.0.113.9"[..], b"\xff", b"203.0.113.8:4711"] {
        let (browser, page) = bank.visit().await;
        let name = format!("nobody{}", forwarded.len());
        let mut last = 0;
        for _ in 0..6 {
            let (action, mut fields) = read_form(&page.body);
            fields.extend([("username".to_owned(), name.clone()), ("password".to_owned(), "wrong".to_owned())]);
            let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let mut request = post(&action, &pairs);
            let cookie = format!("__Host-sekisho-form={}", browser.cookies["__Host-sekisho-form"]);
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
            request.headers_mut().insert("x-forwarded-for", HeaderValue::from_bytes(forwarded).unwrap());
            let peer = std::net::SocketAddr::from(([10, 0, 0, 1], 4000));
            request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
            last = bank.world.send(request).await.status;
        }
        assert_eq!(last, 429, "{forwarded:?}");
    }
}

#[tokio::test]
async fn a_form_that_comes_slowly_is_judged_by_when_it_was_complete() {
    let (bank, _, _) = Bank::open("slowly").await;
    let (browser, page) = bank.visit().await;
    let (action, mut fields) = read_form(&page.body);
    fields.extend([("username".to_owned(), "alice".to_owned()), ("password".to_owned(), PASSWORD.to_owned())]);
    let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (mut parts, body) = post(&action, &pairs).into_parts();
    let cookie = format!("__Host-sekisho-form={}", browser.cookies["__Host-sekisho-form"]);
    parts.headers.insert("cookie", cookie.parse().unwrap());
    let bytes = body.collect().await.unwrap().to_bytes();
    let clock = bank.world.clock.clone();
    let slow = Full::new(bytes).map_frame(move |frame| {
        clock.advance(Duration::from_secs(1800));
        frame
    });
    let answer = bank.world.send(Request::from_parts(parts, axum::body::Body::new(slow))).await;
    assert!(answer.page(403).contains("open for too long"));
}
