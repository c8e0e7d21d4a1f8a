//! Marks of devices, and who is kept out by strangers' failures.

use sekisho_core::Secret;
use sekisho_issuer::{CredentialLogin, LoginCheck as _, LoginOutcome, PasswordAttempt, SecondFactorAttempt};

use crate::bank::{Bank, HOUSE};
use crate::setup::{Browser, PASSWORD, World, authorize_query};

const DEVICE: &str = "__Host-sekisho-device";

#[tokio::test]
async fn strangers_lock_nobody_out_of_a_device_that_is_known() {
    let (bank, _, app) = Bank::open("device").await;
    let (mut own, page) = bank.visit().await;
    assert!(page.body.contains("name=\"own_device\""));
    let ask = own.submit(&page, &[("username", "bob"), ("password", PASSWORD), ("own_device", "yes")]).await;
    assert!(!own.cookies.contains_key(DEVICE), "not before the login is finished");
    let done = own.submit(&ask, &[("code", &bank.code(&app))]).await;
    done.redirect();
    let line = done.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
    let line = line.filter(|line| line.starts_with(DEVICE)).collect::<Vec<_>>().join("");
    assert!(line.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=7776000"), "{line}");
    bank.attack("bob").await;
    // Elsewhere, the owner waits.
    let (mut elsewhere, page) = bank.visit_from([203, 0, 113, 1]).await;
    elsewhere.log_in(&page, "bob").await.page(429);
    // The known device, elsewhere, does not. It stays known when the user logs out.
    own.address = [203, 0, 113, 2];
    let mark = own.cookies[DEVICE].clone();
    let out = own.get("/end_session").await;
    own.submit(&out, &[("decision", "allow")]).await.page(200);
    let again = own.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[]))).await;
    assert!(!again.body.contains("value=\"yes\" checked"), "the mark may be anybody's");
    let ask = own.submit(&again, &[("username", "bob"), ("password", PASSWORD), ("own_device", "yes")]).await;
    assert!(ask.page(200).contains("name=\"code\""));
    bank.world.wait(30);
    own.submit(&ask, &[("code", &bank.code(&app))]).await.redirect();
    assert_eq!(own.cookies[DEVICE], mark, "one device has one mark");
}

#[tokio::test]
async fn no_mark_is_left_unless_the_user_says_that_the_device_is_theirs() {
    let (bank, _, app) = Bank::open("unmarked").await;
    for own in ["", "no", "YES", "1"] {
        let (mut browser, page) = bank.visit().await;
        browser.submit(&page, &[("username", "alice"), ("password", PASSWORD), ("own_device", own)]).await.redirect();
        assert!(!browser.cookies.contains_key(DEVICE), "{own}");
    }
    let (mut browser, page) = bank.visit().await;
    let ask = browser.log_in(&page, "bob").await;
    browser.submit(&ask, &[("code", &bank.code(&app))]).await.redirect();
    assert!(!browser.cookies.contains_key(DEVICE));
    let (mut browser, page) = bank.visit().await;
    browser.submit(&page, &[("username", "alice"), ("password", "wrong"), ("own_device", "yes")]).await.page(403);
    assert!(!browser.cookies.contains_key(DEVICE));
}

#[tokio::test]
async fn a_device_is_marked_by_those_alone_who_are_asked_for_it() {
    let (bank, _, app) = Bank::open("asked").await;
    let login = CredentialLogin::new(bank.credentials.clone());
    let password = Secret::from(PASSWORD);
    let mut attempt = PasswordAttempt::new("alice", &password);
    let outcome = login.password(attempt, bank.now()).await.unwrap();
    assert!(matches!(outcome, LoginOutcome::Authenticated(_)), "{outcome:?}");
    attempt.is_own_device = true;
    let outcome = login.password(attempt, bank.now()).await.unwrap();
    assert!(matches!(outcome, LoginOutcome::AuthenticatedOnDevice(..)), "{outcome:?}");
    attempt.username = "bob";
    let outcome = login.password(attempt, bank.now()).await.unwrap();
    let LoginOutcome::SecondFactorNeeded(pending) = outcome else { panic!("{outcome:?}") };
    let code = app.code(bank.now());
    let outcome = login.second_factor(SecondFactorAttempt::new(&pending, &code), bank.now()).await.unwrap();
    assert!(matches!(outcome, LoginOutcome::Authenticated(_)), "{outcome:?}");
    // A check that does not say that it marks devices leaves no mark.
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let page = browser.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[]))).await;
    assert!(!page.body.contains("own_device"));
    let fields = [("username", "marked"), ("password", PASSWORD), ("own_device", "yes")];
    browser.submit(&page, &fields).await.redirect();
    assert!(!browser.cookies.contains_key(DEVICE));
}

#[tokio::test]
async fn a_mark_that_is_forged_too_long_or_of_another_account_opens_no_way_past_the_throttle() {
    let (bank, _, _) = Bank::open("marks").await;
    let mut marks = vec![String::new(), "x".to_owned(), "A".repeat(43), "*".repeat(43), "A".repeat(5000)];
    let (mut others, page) = bank.visit().await;
    bank.create("mallory").await;
    others.submit(&page, &[("username", "mallory"), ("password", PASSWORD), ("own_device", "yes")]).await.redirect();
    marks.push(others.cookies[DEVICE].clone());
    bank.attack("alice").await;
    for mark in marks {
        let (mut browser, page) = bank.visit_from([203, 0, 113, 3]).await;
        browser.cookies.insert(DEVICE.to_owned(), mark.clone());
        let answer =
            browser.submit(&page, &[("username", "alice"), ("password", PASSWORD), ("own_device", "yes")]).await;
        answer.page(429);
        assert!(!answer.headers.contains_key("set-cookie"), "{mark}");
    }
    // Later, what is no mark of ours is replaced.
    bank.world.wait(3600);
    let (mut browser, page) = bank.visit().await;
    browser.cookies.insert(DEVICE.to_owned(), "x".to_owned());
    browser.submit(&page, &[("username", "alice"), ("password", PASSWORD), ("own_device", "yes")]).await.redirect();
    assert_eq!(browser.cookies[DEVICE].len(), 43);
}

#[tokio::test]
async fn a_changed_password_forgets_the_devices() {
    let (bank, alice, _) = Bank::open("forgotten").await;
    let (mut own, page) = bank.visit().await;
    own.submit(&page, &[("username", "alice"), ("password", PASSWORD), ("own_device", "yes")]).await.redirect();
    let (present, new) = (Secret::from(PASSWORD), Secret::from("another horse battery"));
    let client = sekisho_credentials::ClientContext::default();
    bank.accounts.change_password(&alice, &present, &new, client, bank.now()).await.unwrap();
    bank.attack("alice").await;
    let page = own.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[]))).await;
    own.address = [203, 0, 113, 9];
    own.submit(&page, &[("username", "alice"), ("password", "another horse battery")]).await.page(429);
}
