//! People who log in at a real Keycloak and at a real oidc-provider, in a real browser, to services that keep their
//! sessions in a real Redis (`logins.mjs`).
//!
//! Three services: the shop and its orders are one client and share sessions, as they have host, store and keys in common;
//! the accounts are a client of their own with sessions of their own.

mod hand;
pub(crate) mod realm;
mod scene;
pub(crate) mod services;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::logins::scene::{At, Scene, Stage, at_keycloak, at_oidc_provider};

fn assert_login(stage: &Stage, name: &str) {
    let Scene { shop, orders, account, .. } = &*stage.scene;
    stage.assert_asked("asked");
    let pending = stage.step("pending")["cookies"].as_array().unwrap();
    assert_eq!(pending.len(), 1, "{pending:?}");
    let flags = |cookie: &Value| {
        json!([cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"], cookie["domain"]])
    };
    let wanted = json!([true, true, "Lax", "/", "localhost"]);
    assert_eq!((flags(&pending[0]), &pending[0]["login"]), (wanted.clone(), &json!(true)), "{pending:?}");

    stage.assert_seen("logged in", shop, "/orders/7?from=mail&tag=a%20b", "Order 7", name);
    let cookies = stage.step("cookies")["cookies"].as_array().unwrap();
    assert_eq!(cookies.len(), 1, "the login's own is gone: {cookies:?}");
    assert_eq!((flags(&cookies[0]), &cookies[0]["name"]), (wanted, &json!("__Host-session")), "{cookies:?}");
    assert_eq!((&cookies[0]["length"], &cookies[0]["expires"]), (&json!(48), &json!(-1)), "{cookies:?}");

    let traces = stage.step("traces");
    assert_eq!(traces["user"]["status"], 200, "{traces}");
    assert!(!traces["user"].to_string().contains("eyJ"), "{traces}");
    for (place, wanted) in [
        ("readable", json!(false)),
        ("cookie", json!(false)),
        ("cookies", json!(0)),
        ("page", json!(false)),
        ("urls", json!([])),
    ] {
        assert_eq!(traces[place], wanted, "{place} shows a token, or the session: {traces}");
    }

    let told = stage.step("about");
    let (about, own, exchanged) = (&told["about"]["body"], &told["own"]["body"], &told["exchanged"]);
    if let At::Keycloak { .. } = stage.scene.at {
        assert_eq!(about["sub"], own["subject"], "what the provider says is of whoever is logged in: {told}");
        assert_eq!(about["email"], "alice@shop.example", "{told}");
        let wanted = json!([200, own["subject"], "shop", true]);
        let body = &exchanged["body"];
        assert_eq!(json!([exchanged["status"], body["subject"], body["client"], body["invoices"]]), wanted, "{told}");
        assert_eq!(own["invoices"], false, "the login's own token has not what the exchanged one has: {told}");
        assert_ne!(body["token"], own["token"], "{told}");
    } else {
        assert_eq!(told["about"]["status"], 401, "a token for the orders is none for userinfo there: {told}");
        assert_eq!((&own["subject"], &exchanged["status"]), (&json!("alice"), &json!(404)), "{told}");
    }

    stage.assert_seen("shared", orders, "/orders/8", "Order 8", name);
    assert_eq!(stage.step("shared")["provider"], json!([]), "the provider is not even asked");
    stage.assert_seen("single sign-on", account, "/orders/9", "Order 9", name);
    assert_eq!(stage.step("single sign-on")["provider"], true, "by the provider, which asks nobody");
    stage.assert_seen("silently nobody", account, "/", "Home", "nobody");
    let twice = stage.step("returned twice");
    assert_eq!((&twice["status"], &twice["who"]), (&json!(400), &json!(name)), "{twice}");
    let planted = stage.step("planted");
    assert_eq!(
        (&planted["status"], &planted["who"]),
        (&json!(400), &json!("nobody")),
        "another browser's return: {planted}"
    );
    assert_eq!(stage.step("trouble")["trouble"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_at_keycloak_keeps_its_place_and_leaves_no_token_in_the_browser() {
    let Some(stage) = at_keycloak("a login at Keycloak", "login", "logins-login", 300).await else { return };
    assert_login(&stage, "alice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_at_oidc_provider_keeps_its_place_and_leaves_no_token_in_the_browser() {
    let Some(stage) = at_oidc_provider("a login at oidc-provider", "login", "login").await else { return };
    assert_login(&stage, "alice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_leads_to_another_site() {
    let Some(stage) = at_keycloak("logins that should lead elsewhere", "elsewhere", "logins-elsewhere", 300).await
    else {
        return;
    };
    let told = stage.step("refused");
    assert_eq!(told["evil"], json!([]), "{told}");
    for tried in told["told"].as_array().unwrap() {
        // Nothing is no place, and so home.
        let status = if tried["place"] == "" { 200 } else { 400 };
        assert_eq!((&tried["status"], &tried["ended"]), (&json!(status), &stage.shop("")), "{tried}");
    }
    assert_eq!(told["home"]["url"], stage.shop("/"));
    stage.assert_seen("initiated", &stage.scene.shop, "/orders/5", "Order 5", "alice");
    assert_eq!(stage.step("by a stranger")["status"], 400);
}

fn assert_tabs(stage: &Stage) {
    let shop = &stage.scene.shop;
    let both = stage.step("both");
    assert_eq!((&both["asked"], &both["cookies"]), (&json!([true, true]), &json!(2)), "{both}");
    let after = stage.step("one after the other");
    for (tab, number) in [("first", 1), ("second", 2)] {
        assert_eq!(after[tab]["url"], stage.shop(&format!("/orders/{number}")), "{after}");
        assert_eq!(after[tab]["heading"], format!("Order {number}"), "{after}");
    }
    let usable = stage.step("usable");
    assert_eq!((&usable["statuses"], &usable["cookies"]), (&json!([200, 200]), &json!(["__Host-session"])), "{usable}");
    assert_eq!(usable["here"], 1, "the second login goes on with the session of the first: {usable}");

    let told = stage.step("at once");
    for (end, number) in told["ends"].as_array().unwrap().iter().zip(10..) {
        assert_eq!(end["url"], json!(format!("{}/orders/{number}", shop.origin)), "{told}");
    }
    assert_eq!((&told["usable"], &told["cookies"]), (&json!([200, 200, 200, 200, 200]), &json!(["__Host-session"])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_log_in_at_keycloak_and_each_ends_where_it_wanted_to() {
    let Some(stage) = at_keycloak("tabs at Keycloak", "tabs", "logins-tabs", 300).await else { return };
    assert_tabs(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_log_in_at_oidc_provider_and_each_ends_where_it_wanted_to() {
    let Some(stage) = at_oidc_provider("tabs at oidc-provider", "tabs", "tabs").await else { return };
    assert_tabs(&stage);
}

fn assert_refresh(stage: &Stage) {
    let first = stage.step("first");
    assert_eq!(first["status"], 200, "{first}");
    let headers = first["body"]["headers"].to_string();
    assert!(headers.contains("authorization") && !headers.contains("cookie"), "{first}");
    assert_eq!(stage.step("without the header")["status"], 403);
    let mut seen = vec![first["body"]["token"].clone()];
    for round in 1..=2 {
        let told = stage.step(&format!("round {round}"));
        assert_eq!(told["statuses"], json!([200]), "{told}");
        let tokens = told["tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), 1, "40 calls in two services go by one token: {told}");
        assert!(tokens[0].is_string() && !seen.contains(&tokens[0]), "a new one: {told}");
        seen.extend_from_slice(tokens);
        if let At::Keycloak { .. } = stage.scene.at {
            assert_eq!((&told["refreshes"], &told["errors"]), (&json!(round), &json!(0)), "{told}");
        }
    }
    let still = stage.step("still in");
    assert_eq!((&still["who"], &still["cookies"]), (&json!("alice"), &json!(1)), "{still}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_in_two_services_refresh_a_token_of_keycloak_once() {
    let Some(stage) = at_keycloak("refreshes at Keycloak", "refresh", "logins-refresh", 6).await else { return };
    assert_refresh(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_in_two_services_refresh_a_token_of_oidc_provider_once() {
    let Some(stage) = at_oidc_provider("refreshes at oidc-provider", "refresh", "brief").await else { return };
    assert_refresh(&stage);
}

fn assert_step_up(stage: &Stage) {
    let shop = &stage.scene.shop;
    stage.assert_seen("fresh", shop, "/payout", "Paid out", "alice");
    stage.assert_asked("asked again");
    stage.assert_seen("gone back", shop, "/orders/3", "Order 3", "alice");
    assert_eq!(stage.step("gone back")["same"], true, "nothing has happened yet");
    stage.assert_seen("stepped up", shop, "/payout", "Paid out", "alice");
    assert_eq!(stage.step("stepped up")["same"], false, "another id");
    let ids = stage.step("ids");
    assert_eq!((&ids["before"], &ids["after"], &ids["here"]), (&json!(401), &json!(200), &json!(1)), "{ids}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_wants_a_fresh_login_has_keycloak_ask_again() {
    let Some(stage) = at_keycloak("step-up at Keycloak", "stepUp", "logins-step-up", 300).await else { return };
    assert_step_up(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_wants_a_higher_level_has_keycloak_ask_for_it_once() {
    let Some(stage) = at_keycloak("levels at Keycloak", "levels", "logins-levels", 300).await else { return };
    let shop = &stage.scene.shop;
    stage.assert_seen("silver", shop, "/orders/1", "Order 1", "alice");
    stage.assert_asked("asked for more");
    stage.assert_seen("gold", shop, "/vault", "Vault", "alice");
    assert_eq!(stage.step("gold")["same"], false, "another id");
    stage.assert_seen("again", shop, "/vault", "Vault", "alice");
    assert_eq!(stage.step("again")["provider"], json!([]), "the session knows it");
    let none = stage.step("no such level");
    assert_eq!((&none["status"], &none["url"]), (&json!(403), &stage.shop("/bff/callback")), "{none}");
    stage.assert_seen("all the same", shop, "/vault", "Vault", "alice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_wants_a_fresh_login_has_oidc_provider_ask_again() {
    let Some(stage) = at_oidc_provider("step-up at oidc-provider", "stepUp", "step-up").await else { return };
    assert_step_up(&stage);
}

fn assert_logout(stage: &Stage) {
    let shop = &stage.scene.shop;
    let is_keycloak = matches!(stage.scene.at, At::Keycloak { .. });
    assert_eq!(stage.step("before")["statuses"], json!([200, 200]));
    let forged = stage.step("forged");
    assert_eq!((&forged["status"], &forged["still"]), (&json!(403), &json!(200)), "{forged}");

    stage.assert_seen("logged out", shop, "/", "Home", "nobody");
    let out = stage.step("logged out");
    assert_eq!((&out["provider"], &out["cookies"]), (&json!(true), &json!(0)), "{out}");
    assert_eq!(out["statuses"], json!([401, 401]), "here, and by the back channel there: {out}");
    assert_eq!((&out["here"], &out["accounts"]), (&json!(0), &json!(0)), "{out}");
    if is_keycloak {
        assert_eq!((&out["there"], &out["revoked"], &out["errors"]), (&json!([]), &json!(1), &json!(0)), "{out}");
    }
    stage.assert_asked("asked there");
    stage.assert_asked("asked here");

    stage.assert_seen("by a script", shop, "/", "Home", "nobody");
    let script = stage.step("by a script");
    assert_eq!((&script["status"], &script["here"]), (&json!(200), &json!(0)), "{script}");
    if is_keycloak {
        assert_eq!(script["there"], json!([]), "{script}");
    }
    stage.assert_asked("asked at last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_in_one_service_ends_it_at_keycloak_and_in_the_other() {
    let Some(stage) = at_keycloak("logout at Keycloak", "logout", "logins-logout", 300).await else { return };
    assert_logout(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_in_one_service_ends_it_at_oidc_provider_and_in_the_other() {
    let Some(stage) = at_oidc_provider("logout at oidc-provider", "logout", "logout").await else { return };
    assert_logout(&stage);
}

fn assert_from_there(stage: &Stage) {
    let is_keycloak = matches!(stage.scene.at, At::Keycloak { .. });
    let all = |who: &str, status: u16| -> Value {
        let services = ["shop", "orders", "accounts"].map(|service| (service, json!([who, status])));
        json!(BTreeMap::from(services))
    };
    let (inside, outside) = (all("alice", 200), all("nobody", 401));
    let before = stage.step("before");
    assert_eq!((&before["one"], &before["two"]), (&inside, &inside), "{before}");
    assert_eq!((&before["here"], &before["accounts"]), (&json!(2), &json!(2)), "{before}");
    let ended = stage.step("one ended");
    assert_eq!((&ended["one"], &ended["two"]), (&outside, &inside), "{ended}");
    assert_eq!((&ended["here"], &ended["accounts"]), (&json!(1), &json!(1)), "{ended}");
    stage.assert_asked("one asked");
    if is_keycloak {
        let ended = stage.step("all ended");
        assert_eq!((&ended["one"], &ended["two"]), (&outside, &outside), "{ended}");
        assert_eq!(
            (&ended["here"], &ended["accounts"], &ended["there"]),
            (&json!(0), &json!(0), &json!([])),
            "{ended}"
        );
        stage.assert_asked("two asked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_at_keycloak_ends_in_both_services_of_that_browser_alone() {
    let Some(stage) = at_keycloak("logout from Keycloak", "fromThere", "logins-from-there", 300).await else { return };
    assert_from_there(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_at_oidc_provider_ends_in_both_services_of_that_browser_alone() {
    let Some(stage) = at_oidc_provider("logout from oidc-provider", "fromThere", "from-there").await else { return };
    assert_from_there(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_while_keycloak_is_down_is_503_and_works_when_it_is_back() {
    let Some(stage) = at_keycloak("logins while Keycloak is down", "outage", "logins-outage", 300).await else {
        return;
    };
    let Scene { shop, account, .. } = &*stage.scene;
    let down = stage.step("down");
    assert_eq!((&down["status"], &down["url"]), (&json!(503), &stage.shop("/bff/login")), "{down}");
    stage.assert_seen("up", account, "/orders/1", "Order 1", "alice");
    assert_eq!(stage.step("down at the return")["status"], 503);
    stage.assert_seen("meanwhile", account, "/orders/3", "Order 3", "alice");
    let out = stage.step("logout meanwhile");
    assert_eq!((&out["status"], &out["old"], &out["cookies"]), (&json!(200), &json!(401), &json!(0)), "{out}");
    stage.assert_seen("up again", shop, "/orders/2", "Order 2", "alice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_of_a_user_whom_keycloak_has_disabled_ends_with_the_next_refresh() {
    let Some(stage) = at_keycloak("a disabled user", "disabled", "logins-disabled", 6).await else { return };
    let before = stage.step("before");
    assert_eq!((&before["who"], &before["status"]), (&json!("bob"), &json!(200)), "{before}");
    let after = stage.step("after");
    assert_eq!((&after["api"], &after["user"], &after["old"]), (&json!(401), &json!(401), &json!(401)), "{after}");
    assert_eq!(after["cookies"], 0, "{after}");
    stage.assert_asked("asked");
}
