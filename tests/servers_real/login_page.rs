//! The pages of our authorization server in a real browser (`login-page.mjs`).

use serde_json::{Value, json};

use crate::own_issuer::{NAME, OwnIssuer};
use crate::scripts::{self, Report};

async fn journey(test: &str, journey: &str, options: Value) -> Option<(OwnIssuer, Report)> {
    let issuer = OwnIssuer::start().await;
    let mut input = issuer.input();
    input["journey"] = json!(journey);
    input["options"] = options;
    let report = scripts::browse(test, "login-page.mjs", input).await?;
    Some((issuer, report))
}

fn assert_whole_journey(issuer: &OwnIssuer, report: &Report) {
    let login = report.step("login page");
    assert_eq!(login["heading"], "Sign in");
    assert!(login["goesTo"].as_str().unwrap().contains("to go on to The Shop"), "{login}");
    assert_eq!(login["autocomplete"], json!(["username", "current-password"]), "what password managers look for");

    let wrong = report.step("wrong password");
    assert_eq!((&wrong["status"], &wrong["place"]), (&json!(403), &json!(format!("{}/login", issuer.url))), "{wrong}");
    assert_eq!(wrong["alert"], "That is not right. Please try again.");
    assert_eq!(wrong["kept"], json!([NAME, ""]), "the name, and no password");

    let consent = report.step("consent");
    assert_eq!((&consent["heading"], &consent["scopes"]), (&json!("Allow access?"), &json!(["openid", "orders:read"])));
    let callback = report.step("callback");
    let query = &callback["query"];
    assert_eq!(callback["heading"], "The shop", "the policy of our pages lets the form end there");
    assert_eq!((&query["state"], &query["iss"]), (&json!("one"), &json!(issuer.url)), "{query}");
    assert_eq!(query["code"].as_str().map(str::len), Some(43), "{query}");
    assert_eq!(callback["referrer"], "", "the client does not learn what stood in our address");

    let cookies = report.step("cookies")["cookies"].as_array().unwrap();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    for cookie in cookies {
        let attributes = (&cookie["httpOnly"], &cookie["sameSite"], &cookie["path"], &cookie["domain"]);
        let wanted = (&json!(true), &json!("Lax"), &json!("/"), &json!("127.0.0.1"));
        assert_eq!(attributes, wanted, "{cookie}");
        assert_eq!(cookie["expires"], -1, "they end with the browser: {cookie}");
        assert_eq!(cookie["secure"], false, "this server is called http, for this test: {cookie}");
        assert_eq!(cookie["value"].as_str().map(str::len), Some(43), "256 bits: {cookie}");
    }

    let second = report.step("second visit");
    assert_eq!((&second["place"], &second["query"]["state"]), (&json!(issuer.redirect_uri), &json!("two")), "{second}");
    assert!(second["query"]["code"].is_string(), "without any page: {second}");
    let denied = &report.step("denied")["query"];
    assert_eq!((&denied["error"], &denied["code"]), (&json!("access_denied"), &Value::Null), "{denied}");

    let device = report.step("device");
    assert_eq!(device["heading"], "Connect a device");
    assert_eq!(device["code"].as_str().map(str::len), Some(9), "as on the device: {device}");
    assert_eq!(report.step("device consent")["shows"], true, "to be compared");
    assert_eq!(report.step("device allowed")["heading"], "Done");

    assert_eq!(report.step("logout page")["heading"], "Sign out?");
    let stayed = report.step("stayed");
    assert_eq!((&stayed["heading"], &stayed["cookies"]), (&json!("Still signed in"), &json!(2)));
    assert_eq!(report.step("logged out")["cookies"], json!(["sekisho-form"]), "the login's cookie is gone");
    assert_eq!(report.step("third visit")["heading"], "Sign in");
    assert_eq!(report.step("nobody to log out")["heading"], "Signed out");
    let bad = report.step("bad request");
    let stays = json!(format!("{}/authorize", issuer.url));
    assert_eq!((&bad["heading"], &bad["place"]), (&json!("This did not work"), &stays));
    assert_eq!(report.step("trouble")["trouble"], json!([]));
}

#[tokio::test]
async fn a_person_logs_in_and_out_and_no_policy_is_broken() {
    let Some((issuer, report)) = journey("login page", "whole", json!({})).await else { return };
    assert_whole_journey(&issuer, &report);
}

#[tokio::test]
async fn a_person_logs_in_and_out_without_scripts() {
    let options = json!({ "javaScriptEnabled": false });
    let Some((issuer, report)) = journey("login page without scripts", "whole", options).await else { return };
    assert_whole_journey(&issuer, &report);
}

#[tokio::test]
async fn the_keyboard_is_enough_and_shows_where_it_is() {
    let Some((_, report)) = journey("login page by keyboard", "keyboard", json!({})).await else { return };
    let order = |step: &str| {
        let order = report.step(step)["order"].as_array().unwrap();
        let named = order.iter().filter(|at| at["name"] != "");
        let names = named.map(|at| {
            assert_eq!(at["ring"], true, "{step}: {at}");
            at["name"].as_str().unwrap()
        });
        names.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(order("login"), "User name, Password, Sign in", "and the first has the focus at once");
    assert_eq!(order("consent"), "Allow, Deny", "and neither has the focus before it is sought");
    assert_eq!(report.step("consent")["heading"], "Allow access?");
    assert_eq!(report.step("callback")["hasCode"], true);
    assert_eq!(order("logout"), "Sign out, Stay signed in");
    let stayed = report.step("stayed");
    assert_eq!((&stayed["heading"], &stayed["trouble"]), (&json!("Still signed in"), &json!([])));
}

#[tokio::test]
async fn the_pages_fit_on_a_phone_and_follow_its_colours() {
    let Some((_, report)) = journey("login page on a phone", "phone", json!({})).await else { return };
    for step in ["login", "consent"] {
        let told = report.step(step);
        assert!(told["wide"].as_u64().is_some_and(|wide| wide <= 320), "{step}: {told}");
        assert_eq!(told["look"], "light dark", "{step}");
    }
    assert_eq!(report.step("consent")["trouble"], json!([]));
}

#[tokio::test]
async fn a_page_of_another_site_gets_nowhere_in_a_logged_in_browser() {
    let Some((issuer, report)) = journey("login page and a stranger", "stranger", json!({})).await else { return };
    assert_eq!(report.step("logged in")["trouble"], json!([]));
    assert_eq!(
        report.step("framed"),
        &json!({ "step": "framed", "buttons": 0, "url": "chrome-error://chromewebdata/" })
    );
    let login = report.step("login from elsewhere");
    assert_eq!((&login["status"], &login["heading"]), (&json!(403), &json!("Sign in")), "not as the attacker");
    let consent = report.step("consent from elsewhere");
    assert_eq!(consent["place"], format!("{}/consent", issuer.url), "no code went out: {consent}");
    assert_eq!(consent["heading"], "Sign in", "{consent}");
    assert_eq!(report.step("logout from elsewhere")["status"], 400);
    assert_eq!(report.step("cookies")["kept"], true);
    let again = report.step("still logged in");
    assert_eq!((&again["place"], &again["hasCode"]), (&json!(issuer.redirect_uri), &json!(true)), "{again}");
}
