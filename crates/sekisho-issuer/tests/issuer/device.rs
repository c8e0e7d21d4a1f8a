use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use sekisho_issuer::DeviceLimits;
use serde_json::Value;

use crate::setup::{Answer, Browser, World, claims_of, post};

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn begin(world: &World) -> Value {
    let form = [("client_id", "tv"), ("scope", "openid orders:read")];
    world.post("/device_authorization", &form).await.json(200)
}

async fn poll(world: &World, client: &str, begun: &Value) -> Answer {
    let code = begun["device_code"].as_str().unwrap();
    world.token(&[("grant_type", DEVICE), ("client_id", client), ("device_code", code)]).await
}

#[tokio::test]
async fn refuses_devices_that_may_not_begin() {
    let world = World::new().await;
    for (form, status, error) in [
        (&[("client_id", "nobody"), ("scope", "openid")][..], 401, "invalid_client"),
        (&[("client_id", "house"), ("scope", "openid")], 400, "unauthorized_client"),
        (&[("client_id", "tv")], 400, "invalid_scope"),
        (&[("client_id", "tv"), ("scope", "openid admin")], 400, "invalid_scope"),
        (&[("client_id", "tv"), ("scope", "openid"), ("resource", "x")], 400, "invalid_target"),
        (&[("client_id", "tv"), ("client_id", "tv")], 400, "invalid_request"),
    ] {
        world.post("/device_authorization", form).await.error(status, error);
    }
}

#[tokio::test]
async fn a_device_waits_for_a_users_word() {
    let world = World::new().await;
    let begun = begin(&world).await;
    assert_eq!((&begun["expires_in"], &begun["interval"]), (&600.into(), &5.into()));
    assert_eq!(begun["verification_uri"], "https://id.example/device");
    let user_code = begun["user_code"].as_str().unwrap();
    assert_eq!(user_code.len(), 9);
    poll(&world, "tv", &begun).await.error(400, "authorization_pending");
    poll(&world, "tv", &begun).await.error(400, "slow_down");
    world.wait(9);
    poll(&world, "tv", &begun).await.error(400, "slow_down");
    poll(&world, "house", &begun).await.error(400, "unauthorized_client");

    let mut browser = Browser::new(&world);
    let login = browser.get("/device").await;
    assert!(login.page(200).contains("name=\"password\""));
    let ask = browser.log_in(&login, "alice").await;
    assert!(ask.page(200).contains("name=\"user_code\""));
    let wrong = browser.submit(&ask, &[("user_code", "BBBB-BBBB")]).await;
    assert!(wrong.page(403).contains("That is not right"));
    let consent = browser.submit(&ask, &[("user_code", &user_code.to_lowercase().replace('-', " "))]).await;
    assert!(consent.page(200).contains(user_code) && consent.body.contains("<strong>TV</strong>"));
    poll(&world, "tv", &begun).await.error(400, "slow_down");
    world.wait(30);
    let done = browser.submit(&consent, &[("decision", "allow")]).await;
    assert!(done.page(200).contains("connected"));
    let tokens = poll(&world, "tv", &begun).await.json(200);
    let claims = claims_of(tokens["access_token"].as_str().unwrap());
    assert_eq!((&claims["sub"], &claims["client_id"]), (&"alice".into(), &"tv".into()));
    assert!(tokens["id_token"].is_string());
    world.refresh("tv", tokens["refresh_token"].as_str().unwrap()).await.json(200);
    poll(&world, "tv", &begun).await.error(400, "invalid_grant");
    browser.submit(&consent, &[("decision", "allow")]).await.page(400);
}

#[tokio::test]
async fn a_link_with_the_code_still_asks() {
    let world = World::new().await;
    let begun = begin(&world).await;
    let link = begun["verification_uri_complete"].as_str().unwrap().strip_prefix("https://id.example").unwrap();
    let mut browser = Browser::new(&world);
    let login = browser.get(link).await;
    let ask = browser.log_in(&login, "alice").await;
    let user_code = begun["user_code"].as_str().unwrap();
    assert!(ask.page(200).contains(&format!("name=\"user_code\" value=\"{user_code}\"")));
    let consent = browser.submit(&ask, &[("user_code", user_code)]).await;
    assert!(consent.page(200).contains("Go on only if your device shows"));
    let denied = browser.submit(&consent, &[("decision", "deny")]).await;
    assert!(denied.page(200).contains("not connected"));
    poll(&world, "tv", &begun).await.error(400, "access_denied");
}

#[tokio::test]
async fn nobody_decides_in_time_or_the_code_is_guessed() {
    let world = World::new().await;
    let begun = begin(&world).await;
    world.wait(600);
    poll(&world, "tv", &begun).await.error(400, "expired_token");
    world.wait(600);
    poll(&world, "tv", &begun).await.error(400, "invalid_grant");
    for guess in ["x", &"A".repeat(43)] {
        world
            .token(&[("grant_type", DEVICE), ("client_id", "tv"), ("device_code", guess)])
            .await
            .error(400, "invalid_grant");
    }
    world.token(&[("grant_type", DEVICE), ("client_id", "tv")]).await.error(400, "invalid_request");
}

#[tokio::test]
async fn a_user_types_twenty_codes_in_a_quarter_of_an_hour_and_no_more() {
    let world = World::new().await;
    let begun = begin(&world).await;
    let mut browser = Browser::new(&world);
    let login = browser.get("/device").await;
    let ask = browser.log_in(&login, "alice").await;
    for guess in 0..20 {
        browser.submit(&ask, &[("user_code", if guess % 2 == 0 { "BBBB-BBBB" } else { "x" })]).await.page(403);
    }
    let right = [("user_code", begun["user_code"].as_str().unwrap())];
    assert!(browser.submit(&ask, &right).await.page(429).contains("wait"));
    let mut other = Browser::new(&world);
    let login = other.get("/device").await;
    let same_user = other.log_in(&login, "alice").await;
    other.submit(&same_user, &right).await.page(429);
    world.wait(900);
    let ask = browser.get("/device").await;
    browser.submit(&ask, &[("user_code", "BBBB-BBBB")]).await.page(403);
}

#[tokio::test]
async fn links_use_up_no_attempts_and_tell_nothing() {
    let world = World::new().await;
    let begun = begin(&world).await;
    let user_code = begun["user_code"].as_str().unwrap();
    let mut browser = Browser::new(&world);
    let login = browser.get("/device").await;
    browser.log_in(&login, "alice").await;
    for _ in 0..15 {
        let wrong = browser.get("/device?user_code=BBBB-BBBB").await;
        assert!(wrong.page(200).contains("value=\"BBBB-BBBB\"") && !wrong.body.contains("alert"));
        browser.get("/device?user_code=%22%3E%3Cscript%3E").await.page(200);
    }
    let ask = browser.get(&format!("/device?user_code={user_code}")).await;
    assert!(!ask.body.contains("<strong>TV</strong>"), "a link alone does not tell whether the code is right");
    let consent = browser.submit(&ask, &[("user_code", user_code)]).await;
    assert!(consent.page(200).contains("<strong>TV</strong>"));
}

#[tokio::test]
async fn forms_of_devices_count_for_their_session_only() {
    let world = World::new().await;
    let begun = begin(&world).await;
    let path = format!("/device?user_code={}", begun["user_code"].as_str().unwrap());
    let mut attacker = Browser::new(&world);
    let login = attacker.get(&path).await;
    let ask = attacker.log_in(&login, "carol").await;
    let consent = attacker.submit(&ask, &[("user_code", begun["user_code"].as_str().unwrap())]).await;
    let mut victim = Browser::new(&world);
    let login = victim.get("/device").await;
    victim.log_in(&login, "alice").await;
    victim.submit(&consent, &[("decision", "allow")]).await.page(400);
    Browser::new(&world).submit(&consent, &[("decision", "allow")]).await.page(400);
    poll(&world, "tv", &begun).await.error(400, "authorization_pending");
}

async fn begin_from(world: &World, client: &str, peer: &str, forwarded: Option<&str>) -> Answer {
    let mut request = post("/device_authorization", &[("client_id", client), ("scope", "openid")]);
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4000)));
    if let Some(forwarded) = forwarded {
        request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
    }
    world.send(request).await
}

fn limits(per_address: u32, per_client: u32) -> DeviceLimits {
    let mut limits = DeviceLimits::default();
    (limits.per_address, limits.per_client) = (per_address, per_client);
    limits
}

#[tokio::test]
async fn one_address_begins_so_many_requests_and_others_go_on() {
    let world = World::with("https://id.example", |builder| builder.with_device_limits(limits(2, 100))).await;
    for (one, same, other) in
        [("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"), ("2001:db8:0:1::1", "2001:db8:0:1:ffff::", "2001:db8:0:2::1")]
    {
        begin_from(&world, "tv", one, None).await.json(200);
        begin_from(&world, "tv", same, None).await.json(200);
        let refused = begin_from(&world, "tv", one, None).await;
        assert_eq!(refused.headers.get("retry-after").unwrap(), "600");
        refused.error(429, "slow_down");
        begin_from(&world, "tv", same, None).await.error(429, "slow_down");
        begin_from(&world, "tv", other, None).await.json(200);
    }
    // What anybody can write is not who he is; what a proxy of ours writes is.
    begin_from(&world, "tv", "192.0.2.1", Some("198.51.100.1")).await.error(429, "slow_down");
    begin_from(&world, "tv", "10.0.0.1", Some("192.0.2.1")).await.error(429, "slow_down");
    begin_from(&world, "tv", "10.0.0.1", Some("192.0.2.1, 198.51.100.1")).await.json(200);
    // What is refused for another reason counts for nothing.
    for _ in 0..5 {
        begin_from(&world, "nobody", "192.0.2.9", None).await.error(401, "invalid_client");
    }
    begin_from(&world, "tv", "192.0.2.9", None).await.json(200);
    world.wait(599);
    begin_from(&world, "tv", "192.0.2.1", None).await.error(429, "slow_down");
    world.wait(1);
    begin_from(&world, "tv", "192.0.2.1", None).await.json(200);
}

#[tokio::test]
async fn one_client_begins_so_many_requests_and_one_address_cannot_use_them_up() {
    let world = World::with("https://id.example", |builder| builder.with_device_limits(limits(1, 3))).await;
    begin_from(&world, "tv", "192.0.2.1", None).await.json(200);
    for _ in 0..10 {
        begin_from(&world, "tv", "192.0.2.1", None).await.error(429, "slow_down");
    }
    begin_from(&world, "tv", "192.0.2.2", None).await.json(200);
    // Without connect info no address is known, and the client is bounded still.
    begin(&world).await;
    world.post("/device_authorization", &[("client_id", "tv"), ("scope", "openid")]).await.error(429, "slow_down");
    begin_from(&world, "tv", "192.0.2.3", None).await.error(429, "slow_down");
    world.wait(600);
    begin_from(&world, "tv", "192.0.2.3", None).await.json(200);
}
