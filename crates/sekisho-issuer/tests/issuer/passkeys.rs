//! Passkeys through the router, with an authenticator in software.

use std::time::Duration;

use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use sekisho_credentials::testing::authenticator::{SoftAssertion, SoftAuthenticator, UV};
use sekisho_credentials::{AccountId, RelyingParty, UserVerification, Username};
use serde_json::json;

use crate::account::app_of;
use crate::bank::Bank;
use crate::setup::{Answer, Browser, ISSUER, PASSWORD, World, authorize_query, claims_of, post, read_form};

const HOUSE: &str = "https://house.example/cb";
const FORM: &str = "__Host-sekisho-form";

pub(crate) fn party() -> RelyingParty {
    RelyingParty::new("id.example", "Example", [ISSUER]).unwrap()
}

async fn open(name: &str) -> Bank {
    Bank::open_with(name, |login| login.with_passkeys(party()).with_passkey_context("phr")).await.0
}

/// The form of a page that a passkey answers, and its options.
pub(crate) fn asked(page: &Answer) -> ((String, Vec<(String, String)>), String) {
    let at = page.body.find("data-passkey=").unwrap_or_else(|| panic!("no passkey is asked for: {page:?}"));
    let form = &page.body[page.body[..at].rfind("<form").unwrap()..];
    let options = form.split_once("data-options=\"").unwrap().1.split('"').next().unwrap();
    (read_form(form), options.replace("&quot;", "\""))
}

pub(crate) fn answered(page: &Answer, json: Vec<u8>, more: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
    let ((action, mut fields), _) = asked(page);
    let response = fields.iter_mut().find(|(name, _)| name == "response").unwrap();
    response.1 = String::from_utf8(json).unwrap();
    fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    (action, fields)
}

/// Adds a passkey for somebody, in a browser that is logged in then.
pub(crate) async fn add<'a>(bank: &'a Bank, name: &str) -> (Browser<'a>, SoftAuthenticator, String) {
    let mut browser = Browser::new(&bank.world);
    let page = browser.get("/account/passkeys/new").await;
    let page = browser.log_in(&page, name).await;
    assert!(page.page(200).contains("Add a passkey"));
    let page = browser.submit(&page, &[("password", PASSWORD)]).await;
    let key = SoftAuthenticator::new();
    let json = key.register(&asked(&page).1, ISSUER).to_json();
    let (action, fields) = answered(&page, json, &[("label", "My <key>")]);
    let page = browser.send(Method::POST, &action, &fields).await;
    assert!(page.page(200).contains("<strong>My &lt;key&gt;</strong>"), "{page:?}");
    let account = bank.credentials.find(&sekisho_credentials::Username::parse(name).unwrap()).await.unwrap().unwrap();
    (browser, key, account.as_str().to_owned())
}

/// Answers a login page by a passkey, changed before it is signed.
pub(crate) async fn use_key(
    browser: &mut Browser<'_>,
    page: &Answer,
    key: &SoftAuthenticator,
    user: &str,
    change: impl FnOnce(&mut SoftAssertion),
) -> Answer {
    let mut answer = key.log_in(&asked(page).1, ISSUER, user);
    change(&mut answer);
    let (action, fields) = answered(page, answer.to_json(key), &[]);
    browser.send(Method::POST, &action, &fields).await
}

/// Logs in by a passkey, for a page about the account.
async fn log_in_by<'a>(bank: &'a Bank, key: &SoftAuthenticator, user: &str, path: &str) -> (Browser<'a>, Answer) {
    let mut browser = Browser::new(&bank.world);
    let page = browser.get(path).await;
    let page = use_key(&mut browser, &page, key, user, |_| {}).await;
    (browser, page)
}

fn id_of(key: &SoftAuthenticator) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(&key.credential_id)
}

async fn id_in(bank: &Bank, name: &str) -> AccountId {
    bank.credentials.find(&Username::parse(name).unwrap()).await.unwrap().unwrap()
}

fn is_refused(answer: &Answer) {
    assert!(answer.page(403).contains("That passkey was not accepted."), "{answer:?}");
    asked(answer);
}

#[tokio::test]
async fn a_passkey_logs_in_and_is_two_factors() {
    let bank = open("passkey").await;
    let (_, key, alice) = add(&bank, "alice").await;
    let (mut browser, page) = bank.visit().await;
    let code = use_key(&mut browser, &page, &key, &alice, |_| {}).await.redirect().1["code"].clone();
    let tokens = bank.world.redeem("house", &code).await.json(200);
    let claims = claims_of(tokens["id_token"].as_str().unwrap());
    assert_eq!((&claims["sub"], &claims["acr"]), (&json!(alice), &json!("phr")));
    assert_eq!(claims["amr"], json!(["pop", "user", "mfa"]));
    for (wanted, reached) in [("urn:mfa", "urn:mfa"), ("urn:pwd", "urn:pwd"), ("phr urn:mfa", "phr")] {
        let mut browser = Browser::new(&bank.world);
        let query = authorize_query("house", HOUSE, &[("acr_values", wanted)]);
        let page = browser.get(&format!("/authorize?{query}")).await;
        let code = use_key(&mut browser, &page, &key, &alice, |_| {}).await.redirect().1["code"].clone();
        let tokens = bank.world.redeem("house", &code).await.json(200);
        assert_eq!(claims_of(tokens["id_token"].as_str().unwrap())["acr"], reached);
    }
}

#[tokio::test]
async fn a_page_that_asks_for_a_passkey_runs_our_script_and_no_other() {
    let bank = open("passkey-script").await;
    let (_, page) = bank.visit().await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains(&format!("script-src {ISSUER}/passkey.js; ")), "{policy}");
    assert!(!policy.contains("unsafe") && !page.body.contains("onclick"), "{policy}");
    assert_eq!(page.body.matches("<script").count(), 1);
    assert!(page.body.contains(r#"<script src="/passkey.js" defer></script>"#));
    assert!(page.body.contains(r#"autocomplete="username webauthn""#));
    let script = bank.world.get("/passkey.js").await;
    assert_eq!((script.status, script.header("content-type")), (200, "text/javascript; charset=utf-8"));
    assert_eq!(script.header("x-content-type-options"), "nosniff");

    let without = World::new().await;
    let page = without.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[]))).await;
    assert!(!page.page(200).contains("passkey") && !page.body.contains("<script"));
    assert!(!page.header("content-security-policy").contains("script-src"));
}

#[tokio::test]
async fn refuses_a_passkey_that_is_of_another_origin_unverified_unknown_or_anothers() {
    let bank = open("passkey-refused").await;
    let (_, key, alice) = add(&bank, "alice").await;
    let other = SoftAuthenticator::new();
    let (mut browser, mut page) = bank.visit().await;
    page =
        use_key(&mut browser, &page, &key, &alice, |it| it.said.client_data["origin"] = "https://evil.example".into())
            .await;
    is_refused(&page);
    page = use_key(&mut browser, &page, &key, &alice, |it| it.said.client_data["origin"] = "http://id.example".into())
        .await;
    is_refused(&page);
    page = use_key(&mut browser, &page, &key, &alice, |it| it.said.flags &= !UV).await;
    is_refused(&page);
    page = use_key(&mut browser, &page, &other, &alice, |_| {}).await;
    is_refused(&page);
    page = use_key(&mut browser, &page, &key, "somebody", |_| {}).await;
    is_refused(&page);
    let (action, fields) = answered(&page, b"{}".to_vec(), &[]);
    page = browser.send(Method::POST, &action, &fields).await;
    is_refused(&page);
    use_key(&mut browser, &page, &key, &alice, |_| {}).await.redirect();
}

#[tokio::test]
async fn an_answer_is_good_in_its_own_form_and_browser_and_once() {
    let bank = open("passkey-form").await;
    let (_, key, alice) = add(&bank, "alice").await;
    let (mut browser, page) = bank.visit().await;
    let answer = key.log_in(&asked(&page).1, ISSUER, &alice).to_json(&key);
    let (action, fields) = answered(&page, answer.clone(), &[]);

    // As an attacker would have it who wants a victim to be logged in as the attacker: another browser's form, or answer.
    let (mut victim, others) = bank.visit().await;
    let outdated = victim.send(Method::POST, &action, &fields).await;
    assert!(outdated.page(403).contains("open for too long"), "{outdated:?}");
    let ticket = fields.iter().find(|(name, _)| name == "ticket").unwrap().1.clone();
    let (_, mut stolen) = answered(&others, answer.clone(), &[]);
    stolen.iter_mut().find(|(name, _)| name == "ticket").unwrap().1 = ticket;
    is_refused(&victim.send(Method::POST, &action, &stolen).await);
    let (_, mixed) = answered(&others, answer, &[]);
    is_refused(&victim.send(Method::POST, &action, &mixed).await);

    let form = browser.cookies[FORM].clone();
    browser.send(Method::POST, &action, &fields).await.redirect();
    let mut again = Browser::new(&bank.world);
    again.cookies.insert(FORM.to_owned(), form);
    is_refused(&again.send(Method::POST, &action, &fields).await);
}

#[tokio::test]
async fn a_prompt_ends_after_minutes_and_the_next_page_has_a_new_one() {
    let bank = open("passkey-late").await;
    let (_, key, alice) = add(&bank, "alice").await;
    let (mut browser, page) = bank.visit().await;
    bank.world.wait(301);
    let late = use_key(&mut browser, &page, &key, &alice, |_| {}).await;
    is_refused(&late);
    use_key(&mut browser, &late, &key, &alice, |_| {}).await.redirect();
}

#[tokio::test]
async fn without_user_verification_a_code_is_asked_of_whoever_has_an_app() {
    let lenient = party().with_user_verification(UserVerification::Preferred);
    let (bank, _, app) = Bank::open_with("passkey-code", |login| login.with_passkeys(lenient)).await;
    let bob = bank.credentials.find(&sekisho_credentials::Username::parse("bob").unwrap()).await.unwrap().unwrap();
    let mut browser = Browser::new(&bank.world);
    let page = browser.get("/account/passkeys/new").await;
    let ask = browser.log_in(&page, "bob").await;
    let page = browser.submit(&ask, &[("code", &bank.code(&app))]).await;
    assert!(browser.submit(&page, &[("password", PASSWORD)]).await.page(403).contains("not right"), "a code too");
    bank.world.wait(30);
    let page = browser.get("/account/passkeys/new").await;
    let page = browser.submit(&page, &[("password", PASSWORD), ("code", &bank.code(&app))]).await;
    let key = SoftAuthenticator::new();
    let (action, fields) = answered(&page, key.register(&asked(&page).1, ISSUER).to_json(), &[("label", "")]);
    assert!(browser.send(Method::POST, &action, &fields).await.page(200).contains("<strong>Passkey</strong>"));

    bank.world.wait(30);
    let (mut browser, page) = bank.visit().await;
    let ask = use_key(&mut browser, &page, &key, bob.as_str(), |it| it.said.flags &= !UV).await;
    assert!(ask.page(200).contains("name=\"code\""));
    assert!(browser.submit(&ask, &[("code", "000000")]).await.page(403).contains("name=\"code\""));
    let code = browser.submit(&ask, &[("code", &bank.code(&app))]).await.redirect().1["code"].clone();
    let tokens = bank.world.redeem("house", &code).await.json(200);
    let claims = claims_of(tokens["id_token"].as_str().unwrap());
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pop", "user", "otp", "mfa"]), &json!("urn:mfa")));
}

#[tokio::test]
async fn a_passkey_that_is_removed_ends_all_logins_and_logs_in_no_more() {
    let bank = open("passkey-removed").await;
    let (_, key, alice) = add(&bank, "alice").await;
    let (_, tokens) = bank.tokens("alice").await;
    bank.world.wait(1);
    let (mut browser, page) = log_in_by(&bank, &key, &alice, "/account/passkeys").await;
    let id = id_of(&key);
    assert!(page.page(200).contains(&format!("value=\"{id}\"")));
    let ask = browser.submit(&page, &[("passkey", &id)]).await;
    assert!(ask.page(200).contains("name=\"password\"") && ask.body.contains("Remove a passkey"));
    let refused = browser.submit(&ask, &[("password", "wrong")]).await;
    assert!(refused.page(403).contains("not right"), "{refused:?}");
    let asked_again = browser.submit(&ask, &[("password", "")]).await;
    assert!(asked_again.page(200).contains("name=\"password\""), "{asked_again:?}");
    assert_eq!(bank.credentials.list_passkeys(&id_in(&bank, "alice").await).await.unwrap().len(), 1);
    let done = browser.submit(&ask, &[("password", PASSWORD)]).await;
    assert!(done.page(200).contains("The passkey is removed."));
    let refreshed = bank.world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await;
    refreshed.error(400, "invalid_grant");
    assert!(browser.get("/account").await.page(200).contains("name=\"password\""), "logged out");
    bank.world.wait(1);
    let (mut browser, page) = bank.visit().await;
    is_refused(&use_key(&mut browser, &page, &key, &alice, |_| {}).await);
}

#[tokio::test]
async fn removing_a_passkey_that_is_not_there_says_so_and_ends_nothing() {
    let bank = open("passkey-not-removed").await;
    let (_, key, alice) = add(&bank, "alice").await;
    bank.create("carol").await;
    let (_, carols, _) = add(&bank, "carol").await;
    let (_, tokens) = bank.tokens("alice").await;
    let (mut browser, page) = log_in_by(&bank, &key, &alice, "/account/passkeys").await;
    for id in [id_of(&SoftAuthenticator::new()), id_of(&carols)] {
        let ask = browser.submit(&page, &[("passkey", &id)]).await;
        let done = browser.submit(&ask, &[("password", PASSWORD)]).await;
        assert!(done.page(404).contains("You have no such passkey.") && !done.body.contains("is removed"));
    }
    assert!(browser.get("/account").await.page(200).contains("Signed in as"), "still logged in");
    bank.world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await.json(200);
    assert_eq!(bank.credentials.list_passkeys(&id_in(&bank, "carol").await).await.unwrap().len(), 1);
}

#[tokio::test]
async fn beside_a_passkey_the_password_alone_changes_no_factor() {
    let bank = open("passkey-beside").await;
    let mut thief = Browser::new(&bank.world);
    // Begun while there was no passkey yet.
    let page = thief.get("/account/passkeys/new").await;
    let new = thief.log_in(&page, "alice").await;
    let add_app = thief.get("/account/app").await;
    let create = thief.submit(&new, &[("password", PASSWORD)]).await;
    let confirm = thief.submit(&add_app, &[("password", PASSWORD)]).await;
    let app = app_of(&confirm);

    let (_, key, alice) = add(&bank, "alice").await;
    let account = id_in(&bank, "alice").await;
    let needs_it = |answer: Answer| assert!(answer.page(403).contains("Sign in with a passkey first"), "{answer:?}");
    for path in ["/account/passkeys/new", "/account/app"] {
        needs_it(thief.get(path).await);
    }
    for form in [&new, &add_app] {
        needs_it(thief.submit(form, &[("password", PASSWORD)]).await);
    }
    let json = SoftAuthenticator::new().register(&asked(&create).1, ISSUER).to_json();
    let (action, fields) = answered(&create, json, &[("label", "thief")]);
    needs_it(thief.send(Method::POST, &action, &fields).await);
    needs_it(thief.submit(&confirm, &[("code", &bank.code(&app))]).await);
    let list = thief.get("/account/passkeys").await;
    needs_it(thief.submit(&list, &[("passkey", &id_of(&key))]).await);
    needs_it(thief.submit(&list, &[("passkey", &id_of(&key)), ("password", PASSWORD)]).await);
    assert_eq!(bank.credentials.list_passkeys(&account).await.unwrap().len(), 1);
    assert!(!bank.credentials.second_factors(&account).await.unwrap().has_totp);

    let (mut owner, page) = log_in_by(&bank, &key, &alice, "/account/passkeys/new").await;
    let page = owner.submit(&page, &[("password", PASSWORD)]).await;
    let json = SoftAuthenticator::new().register(&asked(&page).1, ISSUER).to_json();
    let (action, fields) = answered(&page, json, &[("label", "second")]);
    assert!(owner.send(Method::POST, &action, &fields).await.page(200).contains("second"));
    let page = owner.get("/account/app").await;
    assert!(owner.submit(&page, &[("password", PASSWORD)]).await.page(200).contains("otpauth"));
}

#[tokio::test]
async fn a_challenge_registers_one_passkey_and_no_other() {
    let bank = open("passkey-once").await;
    let (_, key, alice) = add(&bank, "alice").await;
    let (mut browser, page) = log_in_by(&bank, &key, &alice, "/account/passkeys/new").await;
    let page = browser.submit(&page, &[("password", PASSWORD)]).await;
    let mut answer = async |key: &SoftAuthenticator| {
        let json = key.register(&asked(&page).1, ISSUER).to_json();
        let (action, fields) = answered(&page, json, &[("label", "key")]);
        browser.send(Method::POST, &action, &fields).await
    };
    answer(&SoftAuthenticator::new()).await.page(200);
    assert!(answer(&SoftAuthenticator::new()).await.page(403).contains("was not added"));
    assert_eq!(bank.credentials.list_passkeys(&id_in(&bank, "alice").await).await.unwrap().len(), 2);
}

#[tokio::test]
async fn all_passkeys_of_an_account_go_at_once_and_with_them_its_logins() {
    let bank = open("passkeys-removed").await;
    let (mut browser, key, alice) = add(&bank, "alice").await;
    let account = id_in(&bank, "alice").await;
    bank.world.wait(1);
    assert_eq!(bank.accounts.remove_passkeys(&account, bank.now()).await.unwrap(), 1);
    assert!(browser.get("/account").await.page(200).contains("name=\"password\""), "logged out");
    let (mut other, page) = bank.visit().await;
    is_refused(&use_key(&mut other, &page, &key, &alice, |_| {}).await);
    bank.world.wait(1);
    let (mut browser, _) = bank.tokens("alice").await;
    bank.world.wait(1);
    assert_eq!(bank.accounts.remove_passkeys(&account, bank.now()).await.unwrap(), 0);
    assert!(browser.get("/account").await.page(200).contains("Signed in as"), "with none nothing ends");
}

#[tokio::test]
async fn the_page_after_a_new_password_links_to_the_passkeys_of_whoever_has_some() {
    let bank = open("passkey-password").await;
    let new =
        [("password", PASSWORD), ("new_password", "a new horse battery"), ("repeated_password", "a new horse battery")];
    let (mut browser, _, _) = add(&bank, "alice").await;
    let page = browser.get("/account/password").await;
    let done = browser.submit(&page, &new).await;
    assert!(done.page(200).contains("is changed") && done.body.contains("href=\"/account/passkeys\""), "{done:?}");
    bank.create("carol").await;
    let mut browser = Browser::new(&bank.world);
    let page = browser.get("/account/password").await;
    let page = browser.log_in(&page, "carol").await;
    let done = browser.submit(&page, &new).await;
    assert!(done.page(200).contains("is changed") && !done.body.contains("/account/passkeys"), "{done:?}");
}

#[tokio::test]
async fn an_answer_that_comes_slowly_is_judged_by_when_it_was_complete() {
    let bank = open("passkey-slowly").await;
    let (_, key, alice) = add(&bank, "alice").await;
    let (browser, page) = bank.visit().await;
    let json = key.log_in(&asked(&page).1, ISSUER, &alice).to_json(&key);
    let (action, fields) = answered(&page, json, &[]);
    let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    let cookies: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (mut parts, body) = post(&action, &pairs).into_parts();
    parts.headers.insert("origin", HeaderValue::from_static(ISSUER));
    parts.headers.insert("cookie", HeaderValue::from_str(&cookies.join("; ")).unwrap());
    let clock = bank.world.clock.clone();
    let slow = Full::new(body.collect().await.unwrap().to_bytes()).map_frame(move |frame| {
        clock.advance(Duration::from_secs(301));
        frame
    });
    is_refused(&bank.world.send(Request::from_parts(parts, axum::body::Body::new(slow))).await);
}

#[tokio::test]
async fn a_passkey_is_added_by_who_proves_again_who_they_are_and_in_the_same_session() {
    let bank = open("passkey-added").await;
    let mut browser = Browser::new(&bank.world);
    let page = browser.get("/account/passkeys/new").await;
    let page = browser.log_in(&page, "alice").await;
    for password in ["wrong", ""] {
        let refused = browser.submit(&page, &[("password", password)]).await;
        assert!(refused.page(403).contains("not right") && !refused.body.contains("data-options"));
    }
    let page = browser.submit(&page, &[("password", PASSWORD)]).await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains(&format!("script-src {ISSUER}/passkey.js; ")), "{policy}");
    let key = SoftAuthenticator::new();
    let mut unverified = key.register(&asked(&page).1, ISSUER);
    unverified.said.flags &= !UV;
    let (action, fields) = answered(&page, unverified.to_json(), &[("label", "key")]);
    assert!(browser.send(Method::POST, &action, &fields).await.page(403).contains("was not added"));
    let good = key.register(&asked(&page).1, ISSUER).to_json();
    let (action, fields) = answered(&page, good, &[("label", "key")]);

    let mut other = Browser::new(&bank.world);
    let login = other.get("/account").await;
    other.log_in(&login, "bob").await;
    other.send(Method::POST, &action, &fields).await.page(400);
    Browser::new(&bank.world).send(Method::POST, &action, &fields).await.page(400);
    browser.send(Method::POST, &action, &fields).await.page(200);
    assert!(browser.get("/account").await.page(200).contains("href=\"/account/passkeys\""));
}

#[tokio::test]
async fn there_are_no_pages_of_passkeys_where_there_are_no_passkeys() {
    let (bank, _, _) = Bank::open("passkey-none").await;
    let (mut browser, _) = bank.tokens("alice").await;
    for path in ["/account/passkeys", "/account/passkeys/new"] {
        assert_eq!(browser.get(path).await.status, 404, "{path}");
    }
    assert!(!browser.get("/account").await.page(200).contains("passkey"));
    let (mut browser, page) = bank.visit().await;
    let (_, fields) = read_form(&page.body);
    is_refused_without_form(&browser.send(Method::POST, "/login/passkey", &fields).await);
}

fn is_refused_without_form(answer: &Answer) {
    assert!(answer.page(403).contains("That passkey was not accepted.") && !answer.body.contains("data-passkey"));
}
