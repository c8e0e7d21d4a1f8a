use crate::setup::{Browser, PASSWORD, World, authorize_query, read_form};

const HOUSE: &str = "https://house.example/cb";

async fn login_page<'a>(world: &'a World) -> (Browser<'a>, crate::setup::Answer) {
    let mut browser = Browser::new(world);
    let page = browser.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[]))).await;
    (browser, page)
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_are_the_same_answer() {
    let world = World::new().await;
    let (mut browser, page) = login_page(&world).await;
    let mut answers = Vec::new();
    for (username, password) in [("alice", "wrong"), ("nobody", PASSWORD), ("nobody", "wrong")] {
        let answer = browser.submit(&page, &[("username", username), ("password", password)]).await;
        assert!(answer.page(403).contains("That is not right"));
        assert!(!browser.cookies.contains_key("__Host-sekisho-sso"));
        let token = read_form(&answer.body).1.into_iter().find(|(name, _)| name == "token").unwrap().1;
        answers.push(answer.body.replace(username, "NAME").replace(&token, "TOKEN"));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn what_cannot_be_a_name_or_a_password_is_not_even_asked_about() {
    let world = World::new().await;
    let (mut browser, page) = login_page(&world).await;
    let (long_name, long_password) = ("x".repeat(257), "x".repeat(1025));
    for (username, password) in
        [("", PASSWORD), ("alice", ""), (&long_name, PASSWORD), ("alice", &long_password), ("al\nice", PASSWORD)]
    {
        let answer = browser.submit(&page, &[("username", username), ("password", password)]).await;
        answer.page(403);
    }
    assert!(world.login.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_form_from_elsewhere_logs_nobody_in() {
    let world = World::new().await;
    let (mut browser, page) = login_page(&world).await;
    let credentials = [("username", "alice"), ("password", PASSWORD)];
    // An attacker has a form of their own browser; the victim's browser has another cookie, or none.
    let mut victim = Browser::new(&world);
    let answer = victim.submit(&page, &credentials).await;
    assert!(answer.page(403).contains("open for too long"));
    let (_, other_page) = login_page(&world).await;
    let answer = browser.submit(&other_page, &credentials).await;
    assert!(answer.page(403).contains("open for too long"));
    world.wait(1800);
    let answer = browser.submit(&page, &credentials).await;
    assert!(answer.page(403).contains("open for too long"));
    assert!(world.login.seen.lock().unwrap().is_empty(), "nothing was checked");
    // The page that came back is good.
    assert!(browser.submit(&answer, &credentials).await.redirect().1.contains_key("code"));
}

#[tokio::test]
async fn too_many_attempts_and_a_broken_database_say_so() {
    let world = World::new().await;
    let (mut browser, page) = login_page(&world).await;
    let hasty = browser.log_in(&page, "hasty").await;
    assert!(hasty.page(429).contains("wait 30 seconds"));
    assert_eq!(hasty.header("retry-after"), "30");
    let broken = browser.log_in(&page, "broken").await;
    assert!(broken.page(503).contains("our side"));
    assert_eq!(broken.header("retry-after"), "1");
    assert!(!broken.body.contains("database"));
    let nonsense = browser.log_in(&page, "nonsense").await;
    nonsense.page(500);
    // A user who is named like a client could pass for it.
    browser.log_in(&page, "worker").await.page(500);
    assert!(!browser.cookies.contains_key("__Host-sekisho-sso"));
}

#[tokio::test]
async fn the_second_factor_is_due_before_there_is_a_session() {
    let world = World::new().await;
    let (mut browser, page) = login_page(&world).await;
    let second = browser.log_in(&page, "bob").await;
    assert!(second.page(200).contains("name=\"code\""));
    assert!(!browser.cookies.contains_key("__Host-sekisho-sso"));
    let wrong = browser.submit(&second, &[("code", "000000")]).await;
    assert!(wrong.page(403).contains("That is not right"));
    let later = browser.submit(&wrong, &[("code", "later")]).await;
    assert!(later.page(429).contains("wait 5 seconds"));
    let gone = browser.submit(&later, &[("code", "gone")]).await;
    assert!(gone.page(403).contains("name=\"password\""), "it begins anew");
    for code in ["", &"x".repeat(65)] {
        browser.submit(&second, &[("code", code)]).await.page(403);
    }
    let done = browser.submit(&second, &[("code", "123456")]).await;
    assert!(done.redirect().1.contains_key("code"));
    // A pending login in another browser than the one that began it.
    let mut thief = Browser::new(&world);
    assert!(thief.submit(&second, &[("code", "123456")]).await.page(403).contains("open for too long"));
}

#[tokio::test]
async fn the_session_changes_with_each_login_and_only_the_new_one_is_good() {
    let world = World::new().await;
    let (mut browser, page) = login_page(&world).await;
    browser.log_in(&page, "alice").await;
    let first = browser.cookies["__Host-sekisho-sso"].clone();
    let again = browser.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[("prompt", "login")]))).await;
    browser.log_in(&again, "alice").await;
    assert_ne!(browser.cookies["__Host-sekisho-sso"], first);
    let mut fixed = Browser::new(&world);
    for planted in [first.as_str(), "x", &"A".repeat(43)] {
        fixed.cookies.insert("__Host-sekisho-sso".to_owned(), planted.to_owned());
        let answer = fixed.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[]))).await;
        assert!(answer.page(200).contains("name=\"password\""), "{planted}");
    }
    // Two cookies of one name: nobody knows whose the second is.
    let cookie = browser.cookies["__Host-sekisho-sso"].clone();
    let mut request = http::Request::get(format!("/authorize?{}", authorize_query("house", HOUSE, &[])));
    request = request.header("cookie", format!("__Host-sekisho-sso={cookie}; __Host-sekisho-sso=x"));
    world.send(request.body(axum::body::Body::empty()).unwrap()).await.page(200);
}

#[tokio::test]
async fn a_login_ends_when_it_is_not_used_and_at_last_in_any_case() {
    let world = World::new().await;
    let (mut browser, page) = login_page(&world).await;
    browser.log_in(&page, "alice").await;
    let path = format!("/authorize?{}", authorize_query("house", HOUSE, &[("prompt", "none")]));
    for _ in 0..7 {
        world.wait(6000);
        assert!(browser.get(&path).await.redirect().1.contains_key("code"));
    }
    world.wait(6000); // 48,000 s of 43,200
    assert_eq!(browser.get(&path).await.redirect().1["error"], "login_required");
    let (mut browser, page) = login_page(&world).await;
    browser.log_in(&page, "alice").await;
    world.wait(7200);
    assert_eq!(browser.get(&path).await.redirect().1["error"], "login_required");
}

#[tokio::test]
async fn another_user_in_the_same_browser_ends_what_the_one_before_allowed() {
    let world = World::new().await;
    let (mut browser, page) = login_page(&world).await;
    let code = browser.log_in(&page, "alice").await.redirect().1["code"].clone();
    let tokens = world.redeem("house", &code).await.json(200);
    let again = browser.get(&format!("/authorize?{}", authorize_query("house", HOUSE, &[("prompt", "login")]))).await;
    browser.log_in(&again, "carol").await.redirect();
    world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_is_the_one_it_saw() {
    let world = World::new().await;
    let (browser, page) = login_page(&world).await;
    let (action, mut fields) = read_form(&page.body);
    fields.extend([("username".to_owned(), "alice".to_owned()), ("password".to_owned(), "wrong".to_owned())]);
    for (peer, forwarded, seen) in [
        ([192, 0, 2, 7], "198.51.100.1", "Some(192.0.2.7)"),
        ([10, 0, 0, 1], "203.0.113.9, 198.51.100.1", "Some(198.51.100.1)"),
        ([10, 0, 0, 1], "198.51.100.1, 10.0.0.2", "Some(198.51.100.1)"),
        ([10, 0, 0, 1], "198.51.100.1, nonsense", "Some(10.0.0.1)"),
        ([10, 0, 0, 1], "10.0.0.3", "Some(10.0.0.1)"),
    ] {
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut request = crate::setup::post(&action, &pairs);
        let cookie = &browser.cookies["__Host-sekisho-form"];
        request.headers_mut().insert("cookie", format!("__Host-sekisho-form={cookie}").parse().unwrap());
        request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        let peer = std::net::SocketAddr::from((peer, 1));
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        world.send(request).await.page(403);
        let last = world.login.seen.lock().unwrap().last().cloned().unwrap();
        assert_eq!(last, format!("alice {seen} []"), "{forwarded}");
    }
}

#[tokio::test]
async fn a_store_that_keeps_nothing_is_our_trouble_and_nobody_elses() {
    let mut limits = sekisho_issuer::MemoryLimits::default();
    limits.entries = 0;
    let store = sekisho_issuer::MemoryStore::with_limits(limits);
    let world = World::with_store("https://id.example", store, |builder| builder).await;
    let (mut browser, page) = login_page(&world).await;
    let answer = browser.log_in(&page, "alice").await;
    answer.page(503);
    assert_eq!(answer.header("retry-after"), "1");
    let device = world.post("/device_authorization", &[("client_id", "tv"), ("scope", "openid")]).await;
    assert_eq!(device.json(503), serde_json::json!({ "error": "temporarily_unavailable" }));
    assert_eq!(device.header("cache-control"), "no-store");
    // What cannot be remembered as used is not let in.
    let token = world.worker_token().await;
    world.post_as("worker", "/revoke", &[("token", &token)]).await.json(503);
}

#[tokio::test]
async fn forms_want_to_be_forms() {
    let world = World::new().await;
    for path in ["/login", "/login/code", "/consent", "/device", "/device/decision", "/end_session/decision"] {
        world.get(path).await.status_is(if path == "/device" { 200 } else { 405 });
        world.post(path, &[]).await.page(400);
        world.post(path, &[("target", "nonsense"), ("token", "x")]).await.page(400);
        let json = http::Request::post(path).header("content-type", "application/json");
        world.send(json.body(axum::body::Body::from("{}")).unwrap()).await.page(400);
        let twice = http::Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        world.send(twice.body(axum::body::Body::from("username=a&username=b")).unwrap()).await.page(400);
        let long = vec![b'a'; 40_000];
        let long_form = http::Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        world.send(long_form.body(axum::body::Body::from(long)).unwrap()).await.page(400);
    }
}
