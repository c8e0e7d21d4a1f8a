//! The pages on which users change their own account.

use http::Method;
use sekisho_core::Secret;
use sekisho_credentials::{TotpSecret, TotpSettings, Username};

use crate::bank::{Bank, SSO};
use crate::setup::{Answer, Browser, PASSWORD, World, read_form};

const NEW: &str = "another horse battery";

/// Reads the secret that a page shows, as an app would.
pub(crate) fn app_of(page: &Answer) -> TotpSecret {
    let shown = page.body.split_once("Secret <code>").unwrap().1.split('<').next().unwrap();
    let (mut key, mut word, mut bits) = (Vec::new(), 0_u32, 0);
    for byte in shown.bytes() {
        let digit = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|own| *own == byte).unwrap();
        (word, bits) = (word << 5 & 0xffff | u32::try_from(digit).unwrap(), bits + 5);
        if bits >= 8 {
            bits -= 8;
            key.push(u8::try_from(word >> bits & 0xff).unwrap());
        }
    }
    TotpSecret::from_bytes(TotpSettings::default(), Secret::new(key)).unwrap()
}

fn codes_of(page: &Answer) -> Vec<String> {
    page.body.split("<li><code>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

/// Logs somebody without an app in, at a page of their account.
async fn log_in<'a>(bank: &'a Bank, name: &str, path: &str) -> (Browser<'a>, Answer) {
    let mut browser = Browser::new(&bank.world);
    let page = browser.get(path).await;
    assert!(page.page(200).contains("name=\"username\""));
    let page = browser.log_in(&page, name).await;
    (browser, page)
}

fn change(present: &'static str, new: &'static str) -> [(&'static str, &'static str); 3] {
    [("password", present), ("new_password", new), ("repeated_password", new)]
}

#[tokio::test]
async fn the_pages_are_there_for_those_who_are_logged_in_and_only_if_they_were_asked_for() {
    let (bank, _, _) = Bank::open("account").await;
    let (mut browser, page) = log_in(&bank, "alice", "/account").await;
    assert!(page.page(200).contains("Signed in as <strong>alice</strong>"));
    assert!(page.body.contains("href=\"/account/password\"") && page.body.contains("href=\"/account/app\""));
    assert!(!page.body.contains("recovery-codes"), "they would stand in for an app");
    for (path, field) in [("/account/password", "new_password"), ("/account/app", "password")] {
        let (_, page) = log_in(&bank, "alice", path).await;
        assert!(page.page(200).contains(&format!("name=\"{field}\"")), "{path}");
        assert!(browser.get(path).await.page(200).contains(field));
    }
    bank.world.get("/account/app/code").await.status_is(405);
    let without = World::new().await;
    for path in ["/account", "/account/password", "/account/app", "/account/recovery-codes"] {
        assert_eq!(without.get(path).await.status, 404, "{path}");
    }
    let mut elsewhere = Browser::new(&without);
    let login = elsewhere.get("/device").await;
    let (action, mut fields) = read_form(&login.body);
    fields.retain(|(name, _)| name != "target");
    fields.push(("target".to_owned(), "account".to_owned()));
    elsewhere.send(Method::POST, &action, &fields).await.page(403);
}

#[tokio::test]
async fn a_new_password_wants_the_present_one_and_has_to_be_good() {
    let (bank, _, _) = Bank::open("account-password").await;
    let (mut browser, page) = log_in(&bank, "alice", "/account/password").await;
    let long: &'static str = Box::leak("x".repeat(129).into_boxed_str());
    for (fields, told) in [
        (change(PASSWORD, "short"), "too short"),
        (change(PASSWORD, long), "too long"),
        (change(PASSWORD, ""), "too short"),
        (change("", NEW), "not right"),
        (change("wrong", NEW), "not right"),
        ([("password", PASSWORD), ("new_password", NEW), ("repeated_password", "another horse")], "not the same"),
        ([("password", PASSWORD), ("new_password", NEW), ("repeated_password", "")], "not the same"),
    ] {
        let answer = browser.submit(&page, &fields).await;
        assert!(answer.page(403).contains(told), "{fields:?}: {}", answer.body);
        assert!(!answer.body.contains(NEW) && !answer.body.contains(PASSWORD));
    }
    for _ in 0..4 {
        browser.submit(&page, &change("wrong", NEW)).await.page(403);
    }
    let answer = browser.submit(&page, &change(PASSWORD, NEW)).await;
    assert!(answer.page(429).contains("wait 1 seconds"));
    assert_eq!(answer.header("retry-after"), "1");
    let (_, tokens) = {
        let (mut other, login) = bank.visit().await;
        bank.world.wait(1);
        let code = other.log_in(&login, "alice").await.redirect().1["code"].clone();
        (other, bank.world.redeem("house", &code).await.json(200))
    };
    assert!(browser.submit(&page, &change(PASSWORD, NEW)).await.page(200).contains("is changed"));
    assert!(!browser.cookies.contains_key(SSO), "the login has ended");
    bank.world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
    let (mut again, page) = bank.visit().await;
    bank.world.wait(1);
    again.log_in(&page, "alice").await.page(403);
    again.submit(&page, &[("username", "alice"), ("password", NEW)]).await.redirect();
}

#[tokio::test]
async fn an_app_is_added_with_the_password_and_its_first_code_and_recovery_codes_are_shown_once() {
    let (bank, alice, _) = Bank::open("account-app").await;
    let (mut browser, page) = log_in(&bank, "alice", "/account/app").await;
    assert!(!page.body.contains("name=\"code\""));
    for wrong in ["", "wrong", "\u{1f512}"] {
        let answer = browser.submit(&page, &[("password", wrong)]).await;
        assert!(answer.page(403).contains("not right") && !answer.body.contains("otpauth"));
    }
    let shown = browser.submit(&page, &[("password", PASSWORD)]).await;
    let uri = "otpauth://totp/id.example:alice?secret=";
    assert!(shown.page(200).contains(uri) && shown.body.contains("<svg ") && !shown.body.contains("style="));
    let app = app_of(&shown);
    assert!(shown.body.contains(&format!("{uri}{}", app.to_base32().expose_str().unwrap())));
    let code = bank.code(&app);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for wrong in [wrong, "", &"0".repeat(65)] {
        let answer = browser.submit(&shown, &[("code", wrong)]).await;
        assert!(answer.page(403).contains("not right"), "{wrong}");
        assert!(!answer.body.contains("otpauth") && !answer.body.contains("svg "), "the secret is shown once");
    }
    assert!(!bank.credentials.second_factors(&alice).await.unwrap().has_totp);
    let done = browser.submit(&shown, &[("code", &code)]).await;
    let codes = codes_of(&done);
    assert!(done.page(200).contains("Recovery codes") && codes.len() == 10);
    assert!(!browser.cookies.contains_key(SSO), "whoever is logged in by the password alone is so no more");
    browser.submit(&shown, &[("code", &code)]).await.page(400);
    bank.world.wait(1);
    let page = browser.get("/account").await;
    let ask = browser.log_in(&page, "alice").await;
    assert!(!ask.page(200).contains("name=\"password\""));
    let overview = browser.submit(&ask, &[("code", &codes[0])]).await;
    assert!(overview.page(200).contains("(9 are left)") && !overview.body.contains(&codes[1]));
}

#[tokio::test]
async fn whoever_has_an_app_proves_it_again_before_another_or_new_recovery_codes() {
    let (bank, _, app) = Bank::open("account-codes").await;
    let mut browser = Browser::new(&bank.world);
    let page = browser.get("/account/recovery-codes").await;
    let ask = browser.log_in(&page, "bob").await;
    let page = browser.submit(&ask, &[("code", &bank.code(&app))]).await;
    assert!(page.page(200).contains("name=\"code\""));
    let used = bank.code(&app);
    for (password, code) in [(PASSWORD, ""), (PASSWORD, "000000"), (PASSWORD, used.as_str()), ("wrong", "000000")] {
        let answer = browser.submit(&page, &[("password", password), ("code", code)]).await;
        assert!(answer.page(403).contains("not right") && codes_of(&answer).is_empty());
    }
    bank.world.wait(60);
    let shown = browser.submit(&page, &[("password", PASSWORD), ("code", &bank.code(&app))]).await;
    let first = codes_of(&shown);
    assert_eq!(first.len(), 10);
    bank.world.wait(60);
    let shown = browser.submit(&page, &[("password", PASSWORD), ("code", &first[0])]).await;
    let second = codes_of(&shown);
    assert!(second.len() == 10 && second.iter().all(|code| !first.contains(code)));
    // Another app: the one before is asked for until the new one is confirmed, and recovery codes stay.
    let page = browser.get("/account/app").await;
    browser.submit(&page, &[("password", PASSWORD)]).await.page(403);
    let shown = browser.submit(&page, &[("password", PASSWORD), ("code", &bank.code(&app))]).await;
    let other = app_of(&shown);
    let done = browser.submit(&shown, &[("code", &bank.code(&other))]).await;
    assert!(done.page(200).contains("From now on") && codes_of(&done).is_empty());
    bank.world.wait(60);
    let (mut again, page) = bank.visit().await;
    let ask = again.log_in(&page, "bob").await;
    again.submit(&ask, &[("code", &bank.code(&app))]).await.page(403);
    again.submit(&ask, &[("code", &bank.code(&other))]).await.redirect();
}

#[tokio::test]
async fn recovery_codes_are_not_drawn_for_an_account_without_an_app() {
    let (bank, alice, _) = Bank::open("account-none").await;
    let (mut browser, page) = log_in(&bank, "alice", "/account/recovery-codes").await;
    let answer = browser.submit(&page, &[("password", PASSWORD)]).await;
    assert!(answer.page(400).contains("There is none"));
    assert_eq!(bank.credentials.second_factors(&alice).await.unwrap().recovery_codes, 0);
}

#[tokio::test]
async fn a_form_that_is_not_of_this_page_and_this_login_changes_nothing() {
    let (bank, _, _) = Bank::open("account-csrf").await;
    let (mut browser, page) = log_in(&bank, "alice", "/account/password").await;
    let app = browser.get("/account/app").await;
    let (mut others, foreign) = log_in(&bank, "alice", "/account/password").await;
    others.submit(&page, &change(PASSWORD, NEW)).await.page(400);
    let fields = |answer: &Answer, without: &str| {
        let mut fields = read_form(&answer.body).1;
        fields.retain(|(name, _)| name != without);
        fields.extend(change(PASSWORD, NEW).map(|(name, value)| (name.to_owned(), value.to_owned())));
        fields
    };
    for (path, fields, status) in [
        ("/account/password", fields(&app, ""), 400),
        ("/account/password", fields(&foreign, ""), 400),
        ("/account/password", fields(&page, "token"), 400),
        ("/account/password", fields(&page, "target"), 400),
        ("/account/app", fields(&page, ""), 400),
        ("/account/app/code", fields(&app, ""), 400),
        ("/account/recovery-codes", fields(&app, ""), 400),
    ] {
        let answer = browser.send(Method::POST, path, &fields).await;
        assert!(!answer.page(status).contains("is changed"), "{path}");
    }
    let cookies = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    for (header, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("cookie", "x=1")] {
        let fields = fields(&page, "");
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut request = crate::setup::post("/account/password", &pairs);
        request.headers_mut().insert("cookie", cookies.parse().unwrap());
        request.headers_mut().insert(header, value.parse().unwrap());
        bank.world.send(request).await.page(400);
    }
    // The same browser, with another login.
    let own = browser.cookies.insert(SSO.to_owned(), others.cookies[SSO].clone()).unwrap();
    browser.submit(&page, &change(PASSWORD, NEW)).await.page(400);
    browser.cookies.insert(SSO.to_owned(), own);
    bank.world.wait(1800);
    browser.submit(&page, &change(PASSWORD, NEW)).await.page(400);
    let page = browser.get("/account/password").await;
    assert!(browser.submit(&page, &change(PASSWORD, NEW)).await.page(200).contains("is changed"));
}

#[tokio::test]
async fn a_login_whose_account_was_disabled_or_whose_password_was_changed_elsewhere_changes_nothing() {
    let (bank, alice, _) = Bank::open("account-disabled").await;
    let (mut browser, page) = log_in(&bank, "alice", "/account/password").await;
    // At the database alone: the login is there, and counts no more.
    bank.credentials.set_disabled(&alice, true, bank.now()).await.unwrap();
    browser.submit(&page, &change(PASSWORD, NEW)).await.page(400);
    assert!(browser.get("/account").await.page(200).contains("name=\"username\""));
    bank.accounts.set_disabled(&alice, false, bank.now()).await.unwrap();
    assert!(browser.get("/account").await.page(200).contains("name=\"username\""));
    browser.submit(&page, &change(PASSWORD, NEW)).await.page(400);
    bank.world.wait(1);
    let (mut browser, page) = log_in(&bank, "alice", "/account/password").await;
    // With the server: it has ended.
    bank.accounts.set_disabled(&alice, true, bank.now()).await.unwrap();
    bank.accounts.set_disabled(&alice, false, bank.now()).await.unwrap();
    assert!(browser.get("/account").await.page(200).contains("name=\"username\""));
    browser.submit(&page, &change(PASSWORD, NEW)).await.page(400);
}

#[tokio::test]
async fn a_stolen_login_cannot_guess_its_way_to_an_app_or_to_the_password() {
    let (bank, _, _) = Bank::open("account-stolen").await;
    let (mut owner, page) = log_in(&bank, "alice", "/account/app").await;
    let shown = owner.submit(&page, &[("password", PASSWORD)]).await;
    let app = app_of(&shown);
    let code = bank.code(&app);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..20 {
        owner.submit(&shown, &[("code", wrong)]).await.page(403);
    }
    let answer = owner.submit(&shown, &[("code", &code)]).await;
    assert!(answer.page(429).contains("wait 900 seconds"));
    assert_eq!(answer.header("retry-after"), "900");
    for _ in 0..5 {
        owner.submit(&page, &[("password", "guess")]).await.page(403);
    }
    let answer = owner.submit(&page, &[("password", PASSWORD)]).await;
    assert!(answer.page(429).contains("wait 1 seconds") && !answer.body.contains("otpauth"));
    let name = Username::parse("alice").unwrap();
    let alice = bank.credentials.find(&name).await.unwrap().unwrap();
    assert!(!bank.credentials.second_factors(&alice).await.unwrap().has_totp);
}
