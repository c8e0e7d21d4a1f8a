//! The credential database behind the login page.

use std::sync::Arc;

use sekisho_core::Secret;
use sekisho_credentials::Username;
use sekisho_issuer::{AuthorizationServer, CredentialLogin, MemoryStore};
use sqlx::Connection as _;

use crate::bank::{Bank, HOUSE, SSO};
use crate::setup::{Browser, ISSUER, PASSWORD, authorize_query, claims_of, read_form};

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
    assert!(bank.credentials.set_disabled(&dora, true, bank.now()).await.unwrap());
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
async fn an_account_that_is_disabled_or_gone_gets_nothing_at_the_next_refresh() {
    let (bank, alice, _) = Bank::open("disabled").await;
    // At the database alone, as another program would.
    let (_, tokens) = bank.tokens("alice").await;
    bank.credentials.set_disabled(&alice, true, bank.now()).await.unwrap();
    bank.world.refresh("house", refresh_token(&tokens)).await.error(400, "invalid_grant");
    bank.credentials.set_disabled(&alice, false, bank.now()).await.unwrap();
    bank.world.refresh("house", refresh_token(&tokens)).await.error(400, "invalid_grant");
    bank.world.wait(1);
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
    for secret in [app.to_base32().expose_str().unwrap(), bank.sealing_key.expose_str().unwrap(), "alice", "argon2id$"]
    {
        assert!(!shown.contains(secret), "{shown}");
    }
}
