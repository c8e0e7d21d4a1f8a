use super::*;

fn confidential(id: &str) -> ClientBuilder {
    let (_, hash) = ClientSecret::generate().unwrap();
    Client::confidential(id, ClientAuthentication::Secret(vec![hash]))
}

#[test]
fn refuses_redirect_uris_that_cannot_be_trusted() {
    for bad in [
        "",
        "/callback",
        "shop.example/callback",
        "http://shop.example/callback",
        "https://shop.example/callback#x",
        "https://shop.example/callback#",
        "https://user@shop.example/callback",
        "https://shop.example\\@evil.example/",
        "https://*.shop.example/callback",
        "https://shop.example/*",
        "https://shop.example/ callback",
        "https://shop.example/\u{fc}",
        "https://shop.example/a/../callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "com.example.app:/callback",
        "https://",
        "http://127.0.0.1.evil.example/",
    ] {
        assert!(confidential("c").with_redirect_uri(bad).build().is_err(), "{bad:?}");
        assert!(confidential("c").with_post_logout_redirect_uri(bad).build().is_err(), "{bad:?}");
    }
    for good in [
        "https://shop.example/cb",
        "https://shop.example:8443/cb?x=1",
        "http://127.0.0.1:3000/cb",
        "http://localhost/cb",
    ] {
        assert!(confidential("c").with_redirect_uri(good).build().is_ok(), "{good:?}");
    }
    assert!(Client::public("app").with_redirect_uri("com.example.app:/cb").build().is_ok());
    assert!(Client::public("app").with_redirect_uri("app:/cb").build().is_err());
    assert!(Client::public("app").with_loopback_redirect("/cb").build().is_ok());
    for bad in ["", "cb", "@evil.example/", ":1234/cb", ".evil.example/", "/cb#x", "//evil.example"] {
        assert!(Client::public("app").with_loopback_redirect(bad).build().is_err(), "{bad:?}");
    }
}

#[test]
fn refuses_what_does_not_go_together() {
    assert!(Client::public("a").with_client_credentials().build().is_err());
    let rules = || ExchangeRules::new(["orders"], ScopeSet::default());
    assert!(Client::public("a").with_token_exchange(rules()).build().is_err());
    assert!(Client::confidential("a", ClientAuthentication::Secret(Vec::new())).build().is_err());
    assert!(confidential("a").with_certificate_bound_tokens().build().is_err());
    assert!(confidential("a").with_scopes("a  b").build().is_err());
    assert!(confidential("a").with_audience("").build().is_err());
    assert!(confidential("a").with_access_token_lifetime(Duration::ZERO).build().is_err());
    assert!(confidential("a").with_access_token_lifetime(Duration::from_secs(86_401)).build().is_err());
    for origin in
        ["*", "null", "https://shop.example/", "https://shop.example/a", "http://shop.example", "shop.example"]
    {
        assert!(confidential("a").with_origin(origin).build().is_err(), "{origin}");
    }
    assert!(confidential("a").with_origin("https://shop.example").build().is_ok());
    for id in ["", "a b", "ü", &"x".repeat(256)] {
        assert!(confidential(id).build().is_err(), "{id}");
    }
    assert!(StaticClients::new([confidential("a").build().unwrap(), confidential("a").build().unwrap()]).is_err());
}

#[test]
fn secrets_are_hashed_and_short_ones_are_refused() {
    let (secret, hash) = ClientSecret::generate().unwrap();
    assert!(hash.is(secret.expose_str().unwrap()));
    assert!(!hash.is("x"));
    assert_eq!(ClientSecret::from_secret(&secret).unwrap(), hash);
    for bad in ["hunter2", "thirty-one characters are few..", &"ü".repeat(20), &"x".repeat(513)] {
        assert!(ClientSecret::from_secret(&Secret::from(bad)).is_err(), "{bad}");
    }
    let client = Client::confidential("c", ClientAuthentication::Secret(vec![hash])).build().unwrap();
    let shown = format!("{client:?} {hash:?} {:?}", client.authentication);
    assert!(!shown.contains(secret.expose_str().unwrap()));
    assert!(shown.starts_with("Client(c) ClientSecret(HandleHash(..)) Secret(..)"), "{shown}");
}
