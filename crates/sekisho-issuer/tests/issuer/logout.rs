use sekisho_issuer::Revocation;

use crate::setup::{Browser, World, authorize_query, claims_of, url_encode};

const BYE: &str = "https://web.example/bye";
const WEB: &str = "https://web.example/cb";

async fn logged_in(world: &World) -> (Browser<'_>, String, String) {
    let mut browser = Browser::new(world);
    let code = browser.code("web", WEB, "openid orders:read").await;
    let tokens = world.redeem("web", &code).await.json(200);
    let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
    (browser, text("id_token"), text("refresh_token"))
}

async fn is_logged_in(browser: &mut Browser<'_>) -> bool {
    let query = authorize_query("web", WEB, &[("prompt", "none")]);
    browser.get(&format!("/authorize?{query}")).await.redirect().1.contains_key("code")
}

#[tokio::test]
async fn a_link_alone_logs_nobody_out() {
    let world = World::new().await;
    let (mut browser, _, refresh) = logged_in(&world).await;
    let query = url_encode(&[("client_id", "web"), ("post_logout_redirect_uri", BYE), ("state", "s")]);
    let page = browser.get(&format!("/end_session?{query}")).await;
    assert!(page.page(200).contains("Sign out?") && page.body.contains("The &lt;Web&gt; Shop"));
    assert!(is_logged_in(&mut browser).await);
    let stays = browser.submit(&page, &[("decision", "deny")]).await;
    assert!(stays.page(200).contains("Still signed in"));
    assert!(is_logged_in(&mut browser).await);
    // Somebody else's form.
    let (mut other, _, _) = logged_in(&world).await;
    let theirs = other.get("/end_session").await;
    browser.submit(&theirs, &[("decision", "allow")]).await.page(400);
    assert!(is_logged_in(&mut browser).await);
    let gone = browser.submit(&page, &[("decision", "allow")]).await;
    let (to, parameters) = gone.redirect();
    assert_eq!((to.as_str(), parameters["state"].as_str()), (BYE, "s"));
    assert!(!browser.cookies.contains_key("__Host-sekisho-sso"));
    assert!(!is_logged_in(&mut browser).await);
    world.refresh("web", &refresh).await.error(400, "invalid_grant");
}

#[tokio::test]
async fn the_id_token_of_this_login_is_reason_enough() {
    let world = World::new().await;
    let (mut browser, id_token, _) = logged_in(&world).await;
    let sid = claims_of(&id_token)["sid"].as_str().unwrap().to_owned();
    world.wait(3600);
    let query = url_encode(&[("id_token_hint", &id_token), ("post_logout_redirect_uri", BYE)]);
    let (to, parameters) = browser.get(&format!("/end_session?{query}")).await.redirect();
    assert_eq!((to.as_str(), parameters.len()), (BYE, 0));
    assert!(!is_logged_in(&mut browser).await);
    assert!(world.heard.0.lock().unwrap().contains(&Revocation::Session(sid)));
    // The login of somebody else is asked about.
    let (mut other, _, _) = logged_in(&world).await;
    let page = other.get(&format!("/end_session?{query}")).await;
    assert!(page.page(200).contains("Sign out?"));
}

#[tokio::test]
async fn nobody_is_sent_where_no_client_lives() {
    let world = World::new().await;
    let (mut browser, id_token, _) = logged_in(&world).await;
    let access = world.worker_token().await;
    for parameters in [
        &[("post_logout_redirect_uri", BYE)][..],
        &[("post_logout_redirect_uri", "https://evil.example/"), ("client_id", "web")],
        &[("post_logout_redirect_uri", "https://web.example/bye/"), ("client_id", "web")],
        &[("post_logout_redirect_uri", BYE), ("client_id", "house")],
        &[("post_logout_redirect_uri", BYE), ("client_id", "nobody")],
        &[("post_logout_redirect_uri", "https://evil.example/"), ("id_token_hint", &id_token)],
        &[("post_logout_redirect_uri", BYE), ("id_token_hint", &id_token), ("client_id", "house")],
        &[("post_logout_redirect_uri", BYE), ("id_token_hint", "x.y.z")],
        &[("post_logout_redirect_uri", BYE), ("id_token_hint", &access)],
    ] {
        let answer = browser.get(&format!("/end_session?{}", url_encode(parameters))).await;
        assert!(!answer.page(400).contains("evil"), "{parameters:?}");
    }
    assert!(is_logged_in(&mut browser).await);
    let nobody = Browser::new(&world).get("/end_session").await;
    assert!(nobody.page(200).contains("Signed out"));
}

#[tokio::test]
async fn what_was_allowed_for_longer_outlives_the_login() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let code = browser.code("web", WEB, "openid offline_access").await;
    let tokens = world.redeem("web", &code).await.json(200);
    assert!(claims_of(tokens["id_token"].as_str().unwrap()).get("sid").is_none());
    let page = browser.get("/end_session").await;
    browser.submit(&page, &[("decision", "allow")]).await.page(200);
    world.refresh("web", tokens["refresh_token"].as_str().unwrap()).await.json(200);
}

#[tokio::test]
async fn a_code_that_was_not_used_ends_with_the_login() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let code = browser.code("web", WEB, "openid").await;
    let page = browser.get("/end_session").await;
    browser.submit(&page, &[("decision", "allow")]).await.page(200);
    world.redeem("web", &code).await.error(400, "invalid_grant");
}
