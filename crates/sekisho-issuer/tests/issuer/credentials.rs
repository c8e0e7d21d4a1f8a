//! The credential database behind the login page, in a SQLite file.

use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use sekisho_core::{Secret, UnixSeconds};
use sekisho_credentials::{
    AccountId, Credentials, HashPolicy, PasswordHasher, SealingKey, SealingKeys, SqliteStore, TotpSecret, Username,
};
use sekisho_issuer::{Accounts, AuthorizationServer, CredentialLogin, LoginCheck, MemoryStore};
use sqlx::Connection as _;

use crate::setup::{Answer, Browser, ISSUER, PASSWORD, World, authorize_query, claims_of, read_form};

const HOUSE: &str = "https://house.example/cb";
const SSO: &str = "__Host-sekisho-sso";
const DEVICE: &str = "__Host-sekisho-device";

/// Is a world whose users are in a database.
pub(crate) struct Bank {
    pub(crate) world: World,
    pub(crate) credentials: Credentials,
    pub(crate) accounts: Accounts,
    hasher: PasswordHasher,
    folder: PathBuf,
}

impl Drop for Bank {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Bank {
    /// Has alice, who has a password, and bob, who has an app too.
    pub(crate) async fn open(name: &str) -> (Self, AccountId, TotpSecret) {
        let folder = std::env::temp_dir().join(format!("sekisho-issuer-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = Arc::new(SqliteStore::open(folder.join("credentials.db")).await.unwrap());
        let hasher = PasswordHasher::new(HashPolicy::dangerous_new(64, 2, 1)).unwrap();
        let keys = SealingKeys::new(SealingKey::generate().unwrap());
        let credentials = Credentials::builder(store, keys).with_hasher(hasher.clone()).build().unwrap();
        let login = CredentialLogin::new(credentials.clone()).with_contexts("urn:pwd", "urn:mfa");
        let check = Arc::new(login.clone()) as Arc<dyn LoginCheck>;
        let world = World::with_login(ISSUER, MemoryStore::new(), Some(check), |builder| {
            builder.with_users(Arc::new(login.clone())).with_account_pages(login)
        })
        .await;
        let accounts = Accounts::new(world.server.clone(), credentials.clone());
        let bank = Self { world, credentials, accounts, hasher, folder };
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

    async fn visit_from(&self, address: [u8; 4]) -> (Browser<'_>, Answer) {
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
    async fn attack(&self, name: &str) {
        for address in 0..21 {
            let (mut bot, page) = self.visit_from([198, 51, 100, address]).await;
            bot.submit(&page, &[("username", name), ("password", "guess")]).await.page(403);
        }
    }

    async fn recovery_codes(&self, name: &str) -> Vec<String> {
        let account = self.credentials.find(&Username::parse(name).unwrap()).await.unwrap().unwrap();
        let codes = self.credentials.issue_recovery_codes(&account).await.unwrap().unwrap();
        codes.iter().map(|code| code.text().expose_str().unwrap().to_owned()).collect()
    }
}

fn refresh_token(tokens: &serde_json::Value) -> &str {
    tokens["refresh_token"].as_str().unwrap()
}

fn without_token(page: &str, name: &str) -> String {
    let token = read_form(page).1.into_iter().find(|(name, _)| name == "token").unwrap().1;
    page.replace(&token, "TOKEN").replace(&format!("value=\"{name}\""), "value=\"NAME\"")
}

#[tokio::test]
async fn the_password_alone_opens_an_account_without_a_second_factor() {
    let (bank, alice, _) = Bank::open("password").await;
    let (_, tokens) = bank.tokens("alice").await;
    let claims = claims_of(tokens["access_token"].as_str().unwrap());
    assert_eq!(claims["sub"], alice.as_str());
    assert_eq!((&claims["amr"], &claims["acr"]), (&serde_json::json!(["pwd"]), &"urn:pwd".into()));
    let (mut browser, page) = bank.visit().await;
    let query = authorize_query("house", HOUSE, &[("scope", "openid profile"), ("prompt", "login")]);
    browser.submit(&page, &[("username", "ＡＬＩＣＥ"), ("password", PASSWORD)]).await.redirect();
    let page = browser.get(&format!("/authorize?{query}")).await;
    let code = browser.log_in(&page, "Alice").await.redirect().1["code"].clone();
    let tokens = bank.world.redeem("house", &code).await.json(200);
    assert_eq!(claims_of(tokens["id_token"].as_str().unwrap())["preferred_username"], "alice");
}

#[tokio::test]
async fn whoever_has_an_app_is_asked_for_a_code_and_a_recovery_code_will_do_once() {
    let (bank, _, app) = Bank::open("factors").await;
    let codes = bank.recovery_codes("bob").await;
    for code in [bank.code(&app), codes[0].to_lowercase()] {
        let (mut browser, page) = bank.visit().await;
        let ask = browser.log_in(&page, "bob").await;
        assert!(ask.page(200).contains("name=\"code\"") && !browser.cookies.contains_key(SSO));
        let done = browser.submit(&ask, &[("code", &code)]).await;
        let tokens = bank.world.redeem("house", &done.redirect().1["code"]).await.json(200);
        let claims = claims_of(tokens["id_token"].as_str().unwrap());
        assert_eq!((&claims["amr"], &claims["acr"]), (&serde_json::json!(["pwd", "otp", "mfa"]), &"urn:mfa".into()));
        // Used, in another login.
        let (mut browser, page) = bank.visit().await;
        let ask = browser.log_in(&page, "bob").await;
        assert!(browser.submit(&ask, &[("code", &code)]).await.page(403).contains("That is not right"), "{code}");
        assert!(!browser.cookies.contains_key(SSO));
    }
}

#[tokio::test]
async fn a_client_that_asks_for_a_context_gets_it_or_is_told() {
    let (bank, _, app) = Bank::open("contexts").await;
    for (name, wanted, reached) in [
        ("alice", "urn:pwd", Some("urn:pwd")),
        ("alice", "urn:mfa", None),
        ("bob", "urn:mfa", Some("urn:mfa")),
        ("bob", "urn:pwd", Some("urn:pwd")),
        ("bob", "urn:other", None),
    ] {
        bank.world.wait(60);
        let mut browser = Browser::new(&bank.world);
        let query = authorize_query("house", HOUSE, &[("acr_values", wanted)]);
        let page = browser.get(&format!("/authorize?{query}")).await;
        let mut answer = browser.log_in(&page, name).await;
        if name == "bob" {
            answer = browser.submit(&answer, &[("code", &bank.code(&app))]).await;
        }
        let (_, answer) = answer.redirect();
        match reached {
            None => assert_eq!(answer["error"], "unmet_authentication_requirements", "{name} {wanted}"),
            Some(reached) => {
                let tokens = bank.world.redeem("house", &answer["code"]).await.json(200);
                assert_eq!(claims_of(tokens["id_token"].as_str().unwrap())["acr"], reached, "{name} {wanted}");
            }
        }
    }
}

#[tokio::test]
async fn unknown_wrong_and_disabled_are_one_page_byte_for_byte_after_the_same_hashing() {
    let (bank, alice, _) = Bank::open("same").await;
    bank.create("dora").await;
    let dora = bank.credentials.find(&Username::parse("dora").unwrap()).await.unwrap().unwrap();
    assert!(bank.credentials.set_disabled(&dora, true).await.unwrap());
    let mut pages = Vec::new();
    for (count, (name, password)) in
        [("alice", "wrong"), ("bob", "wrong"), ("nobody", PASSWORD), ("dora", PASSWORD), ("dora", "wrong")]
            .into_iter()
            .enumerate()
    {
        let (mut browser, page) = bank.visit_from([192, 0, 2, u8::try_from(count).unwrap()]).await;
        let before = bank.hasher.work();
        let answer = browser.submit(&page, &[("username", name), ("password", password)]).await;
        let after = bank.hasher.work();
        assert_eq!((after.hashes - before.hashes, after.kib_passes - before.kib_passes), (1, 128), "{name}");
        assert!(!answer.page(403).contains(alice.as_str()));
        let mut headers: Vec<String> =
            answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.retain(|line| !line.starts_with("content-length"));
        pages.push((without_token(&answer.body, name), headers));
    }
    assert!(pages.windows(2).all(|pair| pair[0] == pair[1]), "{pages:#?}");
}

#[tokio::test]
async fn too_many_attempts_are_one_page_whether_there_is_an_account_or_not_and_nothing_is_hashed() {
    let (bank, _, _) = Bank::open("throttled").await;
    let mut pages = Vec::new();
    for (count, name) in ["alice", "nobody", "\u{1f512}"].into_iter().enumerate() {
        let (mut browser, page) = bank.visit_from([192, 0, 2, u8::try_from(count).unwrap()]).await;
        for _ in 0..5 {
            browser.submit(&page, &[("username", name), ("password", "wrong")]).await.page(403);
        }
        let before = bank.hasher.work().hashes;
        let answer = browser.log_in(&page, name).await;
        assert_eq!(bank.hasher.work().hashes, before, "{name}");
        assert!(answer.page(429).contains("wait 1 seconds"), "{name}");
        assert_eq!(answer.header("retry-after"), "1");
        pages.push(without_token(&answer.body, name));
    }
    assert!(pages.windows(2).all(|pair| pair[0] == pair[1]));
    bank.world.wait(1);
    let (mut browser, page) = bank.visit_from([192, 0, 2, 0]).await;
    browser.log_in(&page, "alice").await.redirect();
}

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
    assert!(again.body.contains("value=\"yes\" checked"));
    bank.world.wait(30);
    let ask = own.submit(&again, &[("username", "bob"), ("password", PASSWORD), ("own_device", "yes")]).await;
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
    }
}

#[tokio::test]
async fn an_account_that_is_disabled_or_gone_gets_nothing_at_the_next_refresh() {
    let (bank, alice, _) = Bank::open("disabled").await;
    // At the database alone, as another program would.
    let (_, tokens) = bank.tokens("alice").await;
    bank.credentials.set_disabled(&alice, true).await.unwrap();
    bank.world.refresh("house", refresh_token(&tokens)).await.error(400, "invalid_grant");
    bank.credentials.set_disabled(&alice, false).await.unwrap();
    bank.world.refresh("house", refresh_token(&tokens)).await.error(400, "invalid_grant");
    // With the server: the login ends too, and stays ended.
    let (mut browser, tokens) = bank.tokens("alice").await;
    assert!(bank.accounts.set_disabled(&alice, true, bank.now()).await.unwrap());
    assert!(!bank.world.is_active(tokens["access_token"].as_str().unwrap()).await);
    bank.accounts.set_disabled(&alice, false, bank.now()).await.unwrap();
    let none = format!("/authorize?{}", authorize_query("house", HOUSE, &[("prompt", "none")]));
    assert_eq!(browser.get(&none).await.redirect().1["error"], "login_required");
    bank.world.wait(1);
    let (mut browser, tokens) = bank.tokens("alice").await;
    assert!(bank.accounts.delete(&alice, bank.now()).await.unwrap());
    bank.world.refresh("house", refresh_token(&tokens)).await.error(400, "invalid_grant");
    assert_eq!(browser.get(&none).await.redirect().1["error"], "login_required");
    assert!(!bank.accounts.delete(&alice, bank.now()).await.unwrap());
    // The name may come back, the subject does not.
    assert_ne!(bank.create("alice").await, alice);
}

#[tokio::test]
async fn a_password_that_is_changed_or_reset_and_removed_factors_end_logins_and_refresh() {
    let (bank, alice, _) = Bank::open("changed").await;
    let none = format!("/authorize?{}", authorize_query("house", HOUSE, &[("prompt", "none")]));
    for change in ["wrong", "password", "reset", "factors"] {
        bank.world.wait(1);
        let (mut browser, page) = bank.visit().await;
        let password = if matches!(change, "wrong" | "password") { PASSWORD } else { "another horse battery" };
        let answer = browser.submit(&page, &[("username", "alice"), ("password", password)]).await;
        let tokens = bank.world.redeem("house", &answer.redirect().1["code"]).await.json(200);
        let (present, new) = (Secret::from(password), Secret::from("another horse battery"));
        let client = sekisho_credentials::ClientContext::default();
        match change {
            "wrong" => {
                let wrong = Secret::from("wrong horse battery");
                bank.accounts.change_password(&alice, &wrong, &new, client, bank.now()).await.unwrap_err();
                bank.world.refresh("house", refresh_token(&tokens)).await.json(200);
                continue;
            }
            "password" => bank.accounts.change_password(&alice, &present, &new, client, bank.now()).await.unwrap(),
            "reset" => {
                let lifetime = std::time::Duration::from_secs(600);
                let token = bank.accounts.begin_reset(&alice, lifetime, bank.now()).await.unwrap().unwrap();
                assert_eq!(bank.accounts.finish_reset(&token, &new, bank.now()).await.unwrap(), alice);
            }
            _ => assert!(!bank.accounts.remove_second_factors(&alice, bank.now()).await.unwrap()),
        }
        bank.world.refresh("house", refresh_token(&tokens)).await.error(400, "invalid_grant");
        assert_eq!(browser.get(&none).await.redirect().1["error"], "login_required", "{change}");
    }
}

#[tokio::test]
async fn names_and_passwords_that_nobody_can_have_are_refused_and_break_nothing() {
    let (bank, _, _) = Bank::open("names").await;
    let long = "x".repeat(257);
    let fits = "x".repeat(256);
    for (count, name) in [
        "al\u{0}ice",
        "al\nice",
        "al\u{85}ice",
        "alice\u{7f}",
        "\u{1f512}",
        "a\u{301}lice",
        "\u{e1}lice",
        "\u{430}lice",
        "al\u{202e}ice",
        "alice\u{200d}",
        "' OR 1=1 --",
        "<script>alert(1)</script>",
        &long,
        &fits,
    ]
    .into_iter()
    .enumerate()
    {
        let (mut browser, page) = bank.visit_from([192, 0, 2, u8::try_from(count).unwrap()]).await;
        let answer = browser.log_in(&page, name).await;
        let status = if name.contains('\u{0}') { 400 } else { 403 };
        assert!(!answer.page(status).contains("<script"), "{name:?}");
        assert!(!browser.cookies.contains_key(SSO), "{name:?}");
    }
    // One character in two forms is one password; 1,025 bytes are no password, and nothing is hashed.
    let (name, composed) = (Username::parse("carol").unwrap(), Secret::from("caf\u{e9} au lait"));
    bank.credentials.sign_up(&name, &composed, bank.now()).await.unwrap();
    let (mut browser, page) = bank.visit().await;
    let before = bank.hasher.work().hashes;
    for password in ["x".repeat(1025), "\u{1f512}".repeat(257)] {
        browser.submit(&page, &[("username", "carol"), ("password", &password)]).await.page(403);
    }
    assert_eq!(bank.hasher.work().hashes, before);
    browser.submit(&page, &[("username", "carol"), ("password", &"x".repeat(1024))]).await.page(403);
    assert_eq!(bank.hasher.work().hashes, before + 1, "it fits, so it is checked like any other");
    browser.submit(&page, &[("username", "carol"), ("password", "cafe\u{301} au lait")]).await.redirect();
}

#[tokio::test]
async fn a_broken_database_is_our_trouble_and_no_token_is_made() {
    let (bank, _, _) = Bank::open("broken").await;
    let (mut browser, tokens) = bank.tokens("alice").await;
    let login = browser.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[("prompt", "login")]))).await;
    let url = format!("sqlite://{}", bank.folder.join("credentials.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("DROP TABLE sekisho_account").execute(&mut connection).await.unwrap();
    let answer = browser.log_in(&login, "alice").await;
    assert!(answer.page(503).contains("our side"));
    assert!(!answer.body.contains("alice") && !answer.body.contains("sekisho_account"));
    bank.world.refresh("house", refresh_token(&tokens)).await.json(503);
    browser.get("/account").await.page(503);
}

#[tokio::test]
async fn refuses_names_of_services_that_apps_could_not_list() {
    let (bank, _, _) = Bank::open("service").await;
    let essentials = || sekisho_issuer::Essentials {
        clients: Arc::new(sekisho_issuer::StaticClients::new([]).unwrap()),
        login: Arc::new(CredentialLogin::new(bank.credentials.clone())),
        store: Arc::new(MemoryStore::new()),
        keys: Arc::clone(bank.world.server.keys()),
    };
    for (name, fits) in [("", false), ("a\nb", false), (&"x".repeat(65)[..], false), (&"x".repeat(64)[..], true)] {
        let login = CredentialLogin::new(bank.credentials.clone()).with_service_name(name);
        let builder = AuthorizationServer::builder(ISSUER, essentials()).with_account_pages(login);
        assert_eq!(builder.build().is_ok(), fits, "{name:?}");
    }
}

#[tokio::test]
async fn debug_of_a_login_shows_no_content() {
    let (bank, _, app) = Bank::open("debug").await;
    let login = CredentialLogin::new(bank.credentials.clone()).with_service_name("Example");
    let shown = format!("{login:?} {:?} {:?}", bank.accounts, bank.world.server);
    assert!(!shown.contains(app.to_base32().expose_str().unwrap()) && !shown.contains("alice"), "{shown}");
}
