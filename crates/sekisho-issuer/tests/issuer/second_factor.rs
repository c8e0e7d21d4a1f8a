//! Pending logins: between the password and the second factor.

use std::sync::Arc;

use http::Method;
use sekisho_credentials::Username;

use crate::bank::{Bank, HOUSE, SSO};
use crate::setup::{Answer, Browser, PASSWORD, authorize_query, read_form};

#[tokio::test]
async fn five_wrong_codes_end_a_pending_login_and_the_throttle_counts_them_all() {
    let (bank, _, app) = Bank::open("codes").await;
    let (mut browser, page) = bank.visit().await;
    let ask = browser.log_in(&page, "bob").await;
    let wrong = if bank.code(&app) == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        let answer = browser.submit(&ask, &[("code", wrong)]).await;
        assert!(answer.page(403).contains("name=\"code\""));
    }
    bank.world.wait(2);
    let answer = browser.submit(&ask, &[("code", &bank.code(&app))]).await;
    assert!(answer.page(403).contains("name=\"password\""), "the sixth is not looked at, though it is right");
    assert!(!browser.cookies.contains_key(SSO));
    // Another pending login of the same user does not begin at nothing.
    let ask = browser.log_in(&answer, "bob").await;
    let seventh = browser.submit(&ask, &[("code", wrong)]).await;
    assert!(seventh.page(403).contains("name=\"code\""));
    let eighth = browser.submit(&ask, &[("code", &bank.code(&app))]).await;
    assert!(eighth.page(429).contains("wait 2 seconds"), "{}", eighth.body);
    assert_eq!(eighth.header("retry-after"), "2");
    bank.world.wait(2);
    browser.submit(&eighth, &[("code", &bank.code(&app))]).await.redirect();
}

#[tokio::test]
async fn a_pending_login_becomes_one_login_and_never_a_second() {
    let (bank, _, app) = Bank::open("replay").await;
    let codes = bank.recovery_codes("bob").await;
    let (mut browser, page) = bank.visit().await;
    let ask = browser.log_in(&page, "bob").await;
    let cookies = browser.cookies.clone();
    browser.submit(&ask, &[("code", &bank.code(&app))]).await.redirect();
    let mut replay = Browser::new(&bank.world);
    replay.cookies = cookies.clone();
    let answer = replay.submit(&ask, &[("code", &codes[0])]).await;
    assert!(answer.page(403).contains("name=\"password\"") && !replay.cookies.contains_key(SSO));
    // The same form with its token written in another way.
    let (action, fields) = read_form(&ask.body);
    let padded = |(name, value): &(String, String)| {
        let value = if name == "token" { format!("0{value}") } else { value.clone() };
        (name.clone(), value)
    };
    let mut fields: Vec<(String, String)> = fields.iter().map(padded).collect();
    fields.push(("code".to_owned(), codes[1].clone()));
    replay.cookies = cookies;
    let answer = replay.send(Method::POST, &action, &fields).await;
    assert!(answer.page(403).contains("name=\"password\"") && !replay.cookies.contains_key(SSO));
    let bob = bank.credentials.find(&Username::parse("bob").unwrap()).await.unwrap().unwrap();
    assert_eq!(bank.credentials.second_factors(&bob).await.unwrap().recovery_codes, 10, "no code was used up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_right_codes_at_once_one_is_a_login() {
    let (bank, _, _) = Bank::open("race").await;
    let codes = bank.recovery_codes("bob").await;
    let (mut browser, page) = bank.visit().await;
    let ask = browser.log_in(&page, "bob").await;
    let (body, cookies) = (ask.body, browser.cookies);
    let bank = Arc::new(bank);
    let tasks: Vec<_> = codes
        .into_iter()
        .take(4)
        .map(|code| {
            let (bank, body, cookies) = (Arc::clone(&bank), body.clone(), cookies.clone());
            tokio::spawn(async move {
                let mut browser = Browser::new(&bank.world);
                browser.cookies = cookies;
                let (action, mut fields) = read_form(&body);
                fields.push(("code".to_owned(), code));
                browser.send(Method::POST, &action, &fields).await.status
            })
        })
        .collect();
    let mut logins = 0;
    for task in tasks {
        logins += u32::from(task.await.unwrap() == 303);
    }
    assert_eq!(logins, 1);
}

#[tokio::test]
async fn a_pending_login_is_good_in_its_own_form_of_its_own_browser_alone() {
    let (bank, _, app) = Bank::open("pending").await;
    bank.create("mallory").await;
    let mallory = bank.credentials.find(&Username::parse("mallory").unwrap()).await.unwrap().unwrap();
    let hers = bank.credentials.begin_totp(&mallory, bank.now()).await.unwrap().unwrap();
    assert!(bank.credentials.confirm_totp(&mallory, &hers.code(bank.now()), bank.now()).await.unwrap());
    bank.world.wait(60);
    let (mut browser, page) = bank.visit().await;
    let bobs = browser.log_in(&page, "bob").await;
    let own = browser.log_in(&page, "mallory").await;
    let field =
        |page: &Answer, wanted: &str| read_form(&page.body).1.into_iter().find(|(name, _)| name == wanted).unwrap().1;
    let (action, fields) = read_form(&own.body);
    let with = |name: &str, value: &str, code: &str| {
        let mut fields = fields.clone();
        fields.retain(|(own, _)| own != name);
        fields.extend([(name.to_owned(), value.to_owned()), ("code".to_owned(), code.to_owned())]);
        fields.retain(|(_, value)| !value.is_empty());
        fields
    };
    let (bobs_code, own_code) = (bank.code(&app), bank.code(&hers));
    for (name, value, code) in [
        ("pending", field(&bobs, "pending").as_str(), bobs_code.as_str()),
        ("pending", &field(&bobs, "pending"), &own_code),
        ("pending", "", &own_code),
        ("pending", &"A".repeat(100), &own_code),
        ("pending", &"A".repeat(1025), &own_code),
        ("pending", "a\nb", &own_code),
        ("token", "", &own_code),
        ("token", "1.A", &own_code),
        ("token", &field(&bobs, "token"), &own_code),
        ("token", &field(&page, "token"), &own_code),
    ] {
        let answer = browser.send(Method::POST, &action, &with(name, value, code)).await;
        assert!(answer.page(403).contains("open for too long"), "{name} {value}");
        assert!(!browser.cookies.contains_key(SSO));
    }
    // Nor is the form of a code one for a password.
    let mut password = with("pending", "", "");
    password.extend([("username".to_owned(), "alice".to_owned()), ("password".to_owned(), PASSWORD.to_owned())]);
    browser.send(Method::POST, "/login", &password).await.page(403);
    let mut thief = Browser::new(&bank.world);
    thief.submit(&own, &[("code", &own_code)]).await.page(403);
    browser.submit(&own, &[("code", &own_code)]).await.redirect();
}

#[tokio::test]
async fn a_pending_login_lives_five_minutes_and_ends_with_the_password_and_the_account() {
    let (bank, _, app) = Bank::open("ended").await;
    let bob = bank.credentials.find(&Username::parse("bob").unwrap()).await.unwrap().unwrap();
    let (mut browser, page) = bank.visit().await;
    let ask = browser.log_in(&page, "bob").await;
    bank.world.wait(300);
    let answer = browser.submit(&ask, &[("code", &bank.code(&app))]).await;
    assert!(answer.page(403).contains("name=\"password\""), "it begins anew");
    let ask = browser.log_in(&answer, "bob").await;
    bank.accounts.set_disabled(&bob, true, bank.now()).await.unwrap();
    bank.world.wait(30);
    let answer = browser.submit(&ask, &[("code", &bank.code(&app))]).await;
    assert!(answer.page(403).contains("name=\"password\""));
    // Enabled again: what began before does not come back.
    bank.accounts.set_disabled(&bob, false, bank.now()).await.unwrap();
    bank.world.wait(30);
    let answer = browser.submit(&ask, &[("code", &bank.code(&app))]).await;
    assert!(answer.page(403).contains("name=\"password\"") && !browser.cookies.contains_key(SSO));
}

#[tokio::test]
async fn nobody_who_planted_a_session_is_logged_in_with_the_victim() {
    let (bank, alice, app) = Bank::open("fixation").await;
    let (mallory, _) = bank.tokens("alice").await;
    let planted = mallory.cookies[SSO].clone();
    let (mut victim, page) = bank.visit().await;
    victim.cookies.insert(SSO.to_owned(), planted.clone());
    let ask = victim.log_in(&page, "bob").await;
    assert_eq!(victim.cookies[SSO], planted, "the password alone changes nothing");
    victim.submit(&ask, &[("code", &bank.code(&app))]).await.redirect();
    assert_ne!(victim.cookies[SSO], planted);
    let mut thief = Browser::new(&bank.world);
    thief.cookies.insert(SSO.to_owned(), planted);
    let query = authorize_query("house", HOUSE, &[("prompt", "none")]);
    let answer = thief.get(&format!("/authorize?{query}")).await;
    assert_eq!(answer.redirect().1["error"], "login_required", "{alice}: the planted session has ended");
}

#[tokio::test]
async fn forms_from_elsewhere_log_nobody_in() {
    let (bank, _, app) = Bank::open("csrf").await;
    let (mut browser, page) = bank.visit().await;
    let ask = browser.log_in(&page, "bob").await;
    for (form, more) in [(&page, vec![("username", "alice"), ("password", PASSWORD)]), (&ask, vec![])] {
        let code = bank.code(&app);
        let (action, mut fields) = read_form(&form.body);
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        fields.push(("code".to_owned(), code));
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let cookie = format!("__Host-sekisho-form={}", browser.cookies["__Host-sekisho-form"]);
        for (header, value) in [
            ("cookie", "x=1"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let mut request = crate::setup::post(&action, &pairs);
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
            request.headers_mut().insert(header, value.parse().unwrap());
            let answer = bank.world.send(request).await;
            assert!(answer.page(403).contains("open for too long"), "{action} {header} {value}");
        }
        // The same from our own page is let in, so it was the header that was refused.
        let mut request = crate::setup::post(&action, &pairs);
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        request.headers_mut().insert("origin", "https://id.example".parse().unwrap());
        request.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
        bank.world.send(request).await.redirect();
    }
}
