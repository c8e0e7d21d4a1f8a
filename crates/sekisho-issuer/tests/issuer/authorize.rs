use crate::setup::{Browser, CHALLENGE, ISSUER, World, authorize_query, claims_of, read_form, url_encode};

const WEB: &str = "https://web.example/cb";

#[tokio::test]
async fn tricks_with_the_redirect_uri_end_on_a_page_and_never_elsewhere() {
    let world = World::new().await;
    for trick in [
        "",
        "https://evil.example/cb",
        "http://web.example/cb",
        "https://web.example/cb/",
        "https://web.example/CB",
        "https://WEB.example/cb",
        "https://web.example:443/cb",
        "https://web.example/cb?x=1",
        "https://web.example/cb?fixed=1&x=1",
        "https://web.example/cb?fixed=2",
        "https://web.example/cb#x",
        "https://web.example/cb/../evil",
        "https://web.example/%63b",
        "https://web.example@evil.example/cb",
        "https://web.example\\@evil.example/cb",
        "https://web.example.evil.example/cb",
        "https://evil.example/https://web.example/cb",
        "//web.example/cb",
        "web.example/cb",
        "https://web.example/cb\r\nLocation: https://evil.example",
        "https://web.example/cb ",
        "javascript:alert(1)//https://web.example/cb",
        "data:text/html,x",
        "https://house.example/cb",
        "http://127.0.0.1:3000/cb",
    ] {
        let answer = world.get(&format!("/authorize?{}", authorize_query("web", trick, &[]))).await;
        assert!(answer.page(400).contains("not known here"), "{trick:?}");
        assert_eq!(answer.header("location"), "", "{trick:?}");
        assert!(!answer.body.contains("evil"), "{trick:?}");
    }
    for client in ["", "nobody", "WEB", "web ", &"x".repeat(300)] {
        let answer = world.get(&format!("/authorize?{}", authorize_query(client, WEB, &[]))).await;
        assert!(answer.page(400).contains("not known here"), "{client:?}");
    }
}

#[tokio::test]
async fn a_native_application_is_answered_on_any_port_of_this_machine() {
    let world = World::new().await;
    for uri in ["http://127.0.0.1:49152/cb", "http://[::1]:1/cb"] {
        let code = Browser::new(&world).code("house", uri, "openid").await;
        world.redeem("house", &code).await.json(200);
    }
    // Any program could listen there: even a client of the house is asked about, each time.
    let mut browser = Browser::new(&world);
    browser.code("house", "http://127.0.0.1:2/cb", "openid").await;
    let query = |changes: &[(&str, &str)]| authorize_query("house", "http://127.0.0.1:2/cb", changes);
    let again = browser.get(&format!("/authorize?{}", query(&[]))).await;
    assert!(again.page(200).contains("Allow access?"));
    let silent = browser.get(&format!("/authorize?{}", query(&[("prompt", "none")]))).await;
    assert_eq!(silent.redirect().1["error"], "consent_required");
    for uri in ["http://localhost:1/cb", "http://127.0.0.1:1/other", "http://127.0.0.2:1/cb"] {
        world.get(&format!("/authorize?{}", authorize_query("house", uri, &[]))).await.page(400);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_to_the_client_with_state_and_issuer() {
    let world = World::new().await;
    let long = "x".repeat(600);
    for (changes, error) in [
        (&[("response_type", "")][..], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("response_type", "code id_token")], "unsupported_response_type"),
        (&[("response_mode", "fragment")], "invalid_request"),
        (&[("response_mode", "form_post")], "invalid_request"),
        // The PKCE downgrade: without, plain, or plain by leaving the method out.
        (&[("code_challenge", ""), ("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "s256")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge", "too-short")], "invalid_request"),
        (&[("code_challenge", &long)], "invalid_request"),
        (&[("scope", "")], "invalid_scope"),
        (&[("scope", "openid admin")], "invalid_scope"),
        (&[("scope", "openid  orders:read")], "invalid_scope"),
        (&[("resource", "https://other.example")], "invalid_target"),
        (&[("nonce", &long)], "invalid_request"),
        (&[("max_age", "-1")], "invalid_request"),
        (&[("max_age", "1e3")], "invalid_request"),
        (&[("prompt", "none login")], "invalid_request"),
        (&[("prompt", "create")], "invalid_request"),
        (&[("prompt", "none")], "login_required"),
        (&[("request", "eyJ.x.y")], "request_not_supported"),
        (&[("request_uri", "https://web.example/r")], "request_uri_not_supported"),
        (&[("id_token_hint", "eyJ.x.y")], "invalid_request"),
    ] {
        let answer = world.get(&format!("/authorize?{}", authorize_query("web", WEB, changes))).await;
        let (to, parameters) = answer.redirect();
        assert_eq!(to, WEB);
        assert_eq!(parameters["error"], error, "{changes:?}");
        assert_eq!(parameters["state"], "s t&a=te", "{changes:?}");
        assert_eq!(parameters["iss"], ISSUER, "{changes:?}");
        assert!(!parameters.contains_key("code"));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
    let state = "x".repeat(3000);
    for state in [state.as_str(), "a\nb", "\u{fc}"] {
        let answer = world.get(&format!("/authorize?{}", authorize_query("web", WEB, &[("state", state)]))).await;
        let (_, parameters) = answer.redirect();
        assert_eq!(parameters["error"], "invalid_request");
        assert!(!parameters.contains_key("state"), "a state that cannot be echoed is left out");
    }
    let orders = world.get(&format!("/authorize?{}", authorize_query("tv", WEB, &[]))).await;
    orders.page(400);
}

#[tokio::test]
async fn parameters_that_stand_twice_or_are_malformed_end_on_a_page() {
    let world = World::new().await;
    let good = authorize_query("web", WEB, &[]);
    for bad in [
        format!("{good}&client_id=web"),
        format!("{good}&redirect_uri=https%3A%2F%2Fevil.example"),
        format!("{good}&state=x"),
        format!("{good}&x=%"),
        format!("{good}&x=%00"),
        format!("{good}&x={}", "y".repeat(9000)),
    ] {
        world.get(&format!("/authorize?{bad}")).await.page(400);
    }
}

#[tokio::test]
async fn a_post_is_sent_on_as_a_get_so_that_the_browser_adds_its_cookies() {
    let world = World::new().await;
    let query = authorize_query("web", WEB, &[]);
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let answer = Browser::new(&world).send(http::Method::POST, "/authorize", &pairs).await;
    assert_eq!(answer.status, 303);
    let location = answer.header("location").to_owned();
    assert!(location.starts_with("/authorize?"), "{location}");
    world.get(&location).await.page(200);
    let twice = world.post("/authorize?x=1", &[("client_id", "web")]).await;
    twice.page(400);
    let malformed = world.post("/authorize", &[("client_id", "web"), ("client_id", "web")]).await;
    malformed.page(400);
}

#[tokio::test]
async fn the_whole_flow_gives_a_code_with_state_and_issuer() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let login = browser.get(&format!("/authorize?{}", authorize_query("web", WEB, &[("login_hint", "al\"ice")]))).await;
    assert!(login.page(200).contains("The &lt;Web&gt; Shop"));
    assert!(login.body.contains("value=\"al&quot;ice\""));
    assert!(!login.body.contains("<script") && !login.body.contains("style="));
    let policy = login.header("content-security-policy");
    assert!(policy.contains("form-action 'self' https://web.example;"), "{policy}");
    let consent = browser.log_in(&login, "alice").await;
    assert!(consent.page(200).contains("<code>orders:read</code>"));
    let answer = browser.submit(&consent, &[("decision", "allow")]).await;
    let (to, parameters) = answer.redirect();
    assert_eq!(to, WEB);
    assert_eq!(parameters.keys().collect::<Vec<_>>(), ["code", "iss", "state"]);
    assert_eq!((parameters["iss"].as_str(), parameters["state"].as_str()), (ISSUER, "s t&a=te"));
    assert_eq!(parameters["code"].len(), 43);
    let tokens = world.redeem("web", &parameters["code"]).await.json(200);
    let id = claims_of(tokens["id_token"].as_str().unwrap());
    assert_eq!(id["nonce"], "n-1");

    // Logged in and allowed: the next time there is nothing to ask.
    let answer = browser.get(&format!("/authorize?{}", authorize_query("web", WEB, &[("prompt", "none")]))).await;
    assert!(answer.redirect().1.contains_key("code"));
    // More than was allowed is asked for.
    let more = authorize_query("web", WEB, &[("prompt", "none"), ("scope", "openid orders:write")]);
    assert_eq!(browser.get(&format!("/authorize?{more}")).await.redirect().1["error"], "consent_required");
    let again = browser.get(&format!("/authorize?{}", authorize_query("web", WEB, &[("prompt", "consent")]))).await;
    assert!(again.page(200).contains("Allow access?"));
    let denied = browser.submit(&again, &[("decision", "deny")]).await;
    assert_eq!(denied.redirect().1["error"], "access_denied");
    let silent = browser.submit(&again, &[]).await;
    assert_eq!(silent.redirect().1["error"], "access_denied", "no word is a no");
}

#[tokio::test]
async fn an_answer_keeps_the_query_that_was_registered() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let query = authorize_query("web", "https://web.example/cb?fixed=1", &[]);
    let login = browser.get(&format!("/authorize?{query}")).await;
    let consent = browser.log_in(&login, "alice").await;
    let answer = browser.submit(&consent, &[("decision", "allow")]).await;
    assert!(answer.header("location").starts_with("https://web.example/cb?fixed=1&code="));
}

#[tokio::test]
async fn a_login_is_asked_for_anew_when_the_client_wants_it_so() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let house = "https://house.example/cb";
    let ask = |changes: &[(&str, &str)]| format!("/authorize?{}", authorize_query("house", house, changes));
    browser.code("house", house, "openid").await;
    world.wait(100);
    assert!(browser.get(&ask(&[("max_age", "100")])).await.redirect().1.contains_key("code"));
    for changes in
        [&[("max_age", "99")][..], &[("max_age", "0")], &[("prompt", "login")], &[("prompt", "select_account")]]
    {
        let page = browser.get(&ask(changes)).await;
        assert!(page.page(200).contains("name=\"password\""), "{changes:?}");
    }
    let page = browser.get(&ask(&[("max_age", "99")])).await;
    let code = browser.log_in(&page, "alice").await.redirect().1["code"].clone();
    let tokens = world.redeem("house", &code).await.json(200);
    assert_eq!(claims_of(tokens["id_token"].as_str().unwrap())["auth_time"], world.now().as_secs());
    let none = browser.get(&ask(&[("prompt", "none"), ("max_age", "0")])).await;
    assert!(none.redirect().1.contains_key("code"), "logged in this very second");
    world.wait(1);
    let none = browser.get(&ask(&[("prompt", "none"), ("max_age", "0")])).await;
    assert_eq!(none.redirect().1["error"], "login_required");
}

#[tokio::test]
async fn a_wanted_context_is_reached_or_refused() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let house = "https://house.example/cb";
    let ask = |context: &str| format!("/authorize?{}", authorize_query("house", house, &[("acr_values", context)]));
    browser.code("house", house, "openid").await;
    let page = browser.get(&ask("urn:mfa urn:gold")).await;
    let second = browser.log_in(&page, "alice").await;
    assert!(second.page(200).contains("name=\"code\""), "a second factor is due");
    let answer = browser.submit(&second, &[("code", "123456")]).await;
    let tokens = world.redeem("house", &answer.redirect().1["code"]).await.json(200);
    for token in ["id_token", "access_token"] {
        let claims = claims_of(tokens[token].as_str().unwrap());
        assert_eq!(claims["acr"], "urn:mfa");
        assert_eq!(claims["amr"], serde_json::json!(["pwd", "otp", "mfa"]));
    }
    assert!(browser.get(&ask("urn:mfa")).await.redirect().1.contains_key("code"), "reached already");
    let page = browser.get(&ask("urn:platinum")).await;
    let answer = browser.log_in(&page, "alice").await;
    assert_eq!(answer.redirect().1["error"], "unmet_authentication_requirements");
    let seen = world.login.seen.lock().unwrap().clone();
    assert!(seen.iter().any(|seen| seen == "alice Some(192.0.2.7) [\"urn:mfa\", \"urn:gold\"]"), "{seen:?}");
}

#[tokio::test]
async fn another_user_than_the_one_of_the_hint_is_refused() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let house = "https://house.example/cb";
    let code = browser.code("house", house, "openid").await;
    let tokens = world.redeem("house", &code).await.json(200);
    let hint = tokens["id_token"].as_str().unwrap();
    let query = authorize_query("house", house, &[("id_token_hint", hint), ("prompt", "none")]);
    assert!(browser.get(&format!("/authorize?{query}")).await.redirect().1.contains_key("code"));
    let query = authorize_query("house", house, &[("id_token_hint", hint)]);
    let mut other = Browser::new(&world);
    let page = other.get(&format!("/authorize?{query}")).await;
    let answer = other.log_in(&page, "carol").await;
    assert_eq!(answer.redirect().1["error"], "login_required");
    // An access token is no hint, and neither is the ID token of another client.
    let access = tokens["access_token"].as_str().unwrap();
    for (client, uri, hint) in [("house", house, access), ("web", WEB, hint)] {
        let query = authorize_query(client, uri, &[("id_token_hint", hint)]);
        assert_eq!(world.get(&format!("/authorize?{query}")).await.redirect().1["error"], "invalid_request");
    }
}

#[tokio::test]
async fn a_consent_form_counts_for_its_browser_its_session_and_its_request_only() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let login = browser.get(&format!("/authorize?{}", authorize_query("web", WEB, &[]))).await;
    let consent = browser.log_in(&login, "alice").await;
    let (action, fields) = read_form(&consent.body);
    let with = |name: &str, value: &str| -> Vec<(String, String)> {
        let mut fields: Vec<_> = fields.iter().filter(|(own, _)| own != name).cloned().collect();
        fields.push((name.to_owned(), value.to_owned()));
        fields.push(("decision".to_owned(), "allow".to_owned()));
        fields
    };
    // Somebody else's form in this browser, this form with another request, and no token at all.
    let other = authorize_query("web", WEB, &[("scope", "openid orders:write")]);
    let mut stranger = Browser::new(&world);
    let page = stranger.get(&format!("/authorize?{}", authorize_query("web", WEB, &[]))).await;
    let theirs = stranger.log_in(&page, "carol").await;
    let (_, their_fields) = read_form(&theirs.body);
    let their_token = &their_fields.iter().find(|(name, _)| name == "token").unwrap().1;
    let login_token = read_form(&login.body).1.into_iter().find(|(name, _)| name == "token").unwrap().1;
    for fields in [with("request", &other), with("token", their_token), with("token", ""), with("token", &login_token)]
    {
        let answer = browser.send(http::Method::POST, &action, &fields).await;
        assert!(answer.page(200).contains("Allow access?"), "it begins anew: {fields:?}");
    }
    // The right form from the wrong place.
    for (origin, site) in [("https://evil.example", "cross-site"), ("null", "same-origin"), (ISSUER, "same-site")] {
        let cookies: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = crate::setup::post(&action, &[]);
        let pairs = with("x", "");
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        *request.body_mut() = url_encode(&pairs).into();
        request.headers_mut().insert("cookie", cookies.join("; ").parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
        let answer = world.send(request).await;
        assert!(answer.page(200).contains("Allow access?"), "{origin} {site}");
    }
    world.wait(1800);
    let answer = browser.send(http::Method::POST, &action, &with("x", "")).await;
    assert!(answer.page(200).contains("Allow access?"), "half an hour later it is outdated");
}

#[tokio::test]
async fn the_challenge_of_the_standard_fits() {
    let world = World::new().await;
    assert_eq!(CHALLENGE.len(), 43);
    let code = Browser::new(&world).code("house", "https://house.example/cb", "openid").await;
    world.redeem("house", &code).await.json(200);
}
