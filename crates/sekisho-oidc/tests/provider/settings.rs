//! What is no configuration, and what is asked where there are no metadata.

use std::time::Duration;

use sekisho_core::FailureKind;
use sekisho_jwt::Algorithm;
use sekisho_oidc::{ClientCredentials, Endpoints, LoginError, LoginRequest, ProviderBuilder};
use serde_json::json;

use crate::scripted::{CLIENT, ISSUER, NOW, RETURN, SECRET, Scripted};

#[tokio::test]
async fn refuses_what_cannot_work_when_it_is_built() {
    let op = Scripted::new();
    let build = |change: fn(ProviderBuilder) -> ProviderBuilder| change(op.builder()).build();
    assert!(build(|builder| builder).is_ok());
    for bad in [
        build(|builder| builder.with_scopes(["a b"])),
        build(|builder| builder.with_scopes([""])),
        build(|builder| builder.with_scopes(["a\"b"])),
        build(|builder| builder.with_scopes(["a".repeat(1024)])),
        build(|builder| builder.with_parameters(["redirect_uri"])),
        build(|builder| builder.with_parameters(["request"])),
        build(|builder| builder.with_parameters(["response_mode"])),
        build(|builder| builder.with_parameters(["a=b"])),
        build(|builder| builder.with_parameters([""])),
        build(|builder| builder.with_algorithms([])),
        build(|builder| builder.with_algorithms([Algorithm::Rs256, Algorithm::Hs256])),
        build(|builder| builder.with_shared_secret(Algorithm::Hs256, "short")),
        build(|builder| builder.with_shared_secret(Algorithm::Rs256, SECRET)),
        build(|builder| builder.with_roles_at("roles")),
        build(|builder| builder.with_leeway(Duration::from_secs(301))),
        build(|builder| builder.with_max_login_time(Duration::from_secs(59))),
        build(|builder| builder.with_max_login_time(Duration::from_secs(3601))),
        build(|builder| {
            builder.with_endpoints(Endpoints::new("http://id.example/", "https://id.example/", "https://id.example/"))
        }),
        build(|builder| {
            builder.with_endpoints(Endpoints::new("https://id.example/", "http://id.example/", "https://id.example/"))
        }),
        op.builder().with_shared_secret(Algorithm::Hs256, SECRET).with_keys(op.issuer.static_keys()).build(),
        op.builder_with(ClientCredentials::bearer("token")).build(),
        op.builder_with(ClientCredentials::basic("", SECRET)).build(),
    ] {
        assert!(bad.is_err(), "{bad:?}");
    }
    let start = |issuer: &str, uri: &str| {
        let start = sekisho_oidc::Provider::with_backend(sekisho_jwt::Backend::aws_lc());
        start.discover(issuer, ClientCredentials::basic(CLIENT, SECRET)).redirect_uri(uri).build()
    };
    for (issuer, uri) in [
        ("http://id.example", RETURN),
        ("https://id.example?a", RETURN),
        ("id.example", RETURN),
        (ISSUER, "http://shop.example/callback"),
        (ISSUER, "https://shop.example/callback#a"),
        (ISSUER, "/callback"),
        (ISSUER, "shop:callback"),
    ] {
        assert!(start(issuer, uri).is_err(), "{issuer} {uri}");
    }
    assert!(start(ISSUER, "http://127.0.0.1:8080/callback").is_ok());
}

#[tokio::test]
async fn asks_for_no_metadata_where_the_endpoints_are_configured() {
    let op = Scripted::new();
    let at = |path: &str| format!("{ISSUER}{path}");
    let endpoints = Endpoints::new(at("/authorize"), at("/token"), at("/jwks")).with_end_session(at("/logout"));
    let provider = op.builder().with_endpoints(endpoints.clone()).build().unwrap();
    op.login(&provider).await.expect("logged in");
    assert!(op.asked("/.well-known/openid-configuration").is_empty());
    assert!(provider.logout_url(None, None, None, NOW).await.unwrap().is_some());
    let strict = op.builder().with_endpoints(endpoints.with_issuer_in_response()).build().unwrap();
    assert!(matches!(op.login(&strict).await, Err(LoginError::Foreign)));
}

#[tokio::test]
async fn endpoints_that_nobody_may_be_sent_to_spoil_the_metadata() {
    for (name, value) in [
        ("authorization_endpoint", json!("http://id.example/authorize")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("authorization_endpoint", json!(null)),
        ("token_endpoint", json!("http://169.254.169.254/")),
        ("token_endpoint", json!("https://localhost/token")),
        ("token_endpoint", json!(["https://id.example/token"])),
        ("userinfo_endpoint", json!("https://127.0.0.1/")),
        ("end_session_endpoint", json!("ftp://id.example/")),
        ("pushed_authorization_request_endpoint", json!("http://localhost/")),
        ("authorization_response_iss_parameter_supported", json!("true")),
        ("issuer", json!(null)),
    ] {
        let op = Scripted::new();
        let shown = format!("{name} {value}");
        op.metadata(move |mut metadata| {
            metadata[name] = value.clone();
            metadata
        });
        let failure = op.provider().start(&LoginRequest::new(), NOW).await.expect_err(&shown);
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{shown}");
    }
}

#[tokio::test]
async fn many_who_begin_at_once_ask_for_the_metadata_once() {
    let op = Scripted::new();
    let provider = op.builder().with_keys(op.issuer.static_keys()).build().unwrap();
    let logins = (0..50).map(|_| {
        let provider = provider.clone();
        tokio::spawn(async move { provider.start(&LoginRequest::new(), NOW).await.map(drop) })
    });
    for login in logins.collect::<Vec<_>>() {
        login.await.unwrap().expect("started");
    }
    assert_eq!(op.asked("/.well-known/openid-configuration").len(), 1);
}

#[tokio::test]
async fn a_provider_that_is_away_is_asked_once_in_a_while_and_found_when_it_is_back() {
    let op = Scripted::new();
    let provider = op.builder().with_keys(op.issuer.static_keys()).build().unwrap();
    let at = |secs: u64| sekisho_core::UnixSeconds::new(NOW.as_secs() + secs);
    let start = async |secs| provider.start(&LoginRequest::new(), at(secs)).await.map(drop);
    let asked = || op.asked("/.well-known/openid-configuration").len();
    op.instead("/.well-known/openid-configuration", Some((503, "")));
    for _ in 0..5 {
        assert!(start(0).await.is_err());
    }
    assert_eq!(asked(), 1);
    op.instead("/.well-known/openid-configuration", None);
    assert!(start(1).await.is_ok());
    assert_eq!(asked(), 2);
    // Fresh for an hour; then used for another while it is fetched beside, and not beyond.
    assert!(start(3600).await.is_ok());
    assert_eq!(asked(), 2);
    op.instead("/.well-known/openid-configuration", Some((200, "[]")));
    assert!(start(3601).await.is_ok());
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert_eq!(asked(), 3);
    assert!(start(7200).await.is_ok());
    assert!(start(7201).await.is_err());
    // A clock that was set back says nothing about their age.
    assert!(start(3_000_000).await.is_err());
    op.instead("/.well-known/openid-configuration", None);
    assert!(start(4_000_000).await.is_ok());
    let before = asked();
    assert!(start(100).await.is_ok());
    assert_eq!(asked(), before + 1);
}
