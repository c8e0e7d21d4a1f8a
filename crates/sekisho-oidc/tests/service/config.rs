//! What is refused when it is built, and what is never shown.

use std::time::Duration;

use sekisho_core::FailureKind;
use sekisho_oidc::{AllowedOrigins, ClientCredentials, ServiceTokens, TokenError, TokenRequest};

use crate::support::{Endpoint, NOW, URL, builder, caller, tokens};

#[test]
fn refuses_what_cannot_work() {
    let endpoint = Endpoint::living(300);
    let other = |url: &str, issuer: &str, credentials| {
        ServiceTokens::at(url, issuer, credentials).with_http_client(endpoint.clone()).build().is_err()
    };
    let credentials = || ClientCredentials::basic("orders", "hunter2");
    assert!(other("http://id.example/token", "https://id.example", credentials()));
    assert!(other("https://u:p@id.example/token", "https://id.example", credentials()));
    assert!(other("token", "https://id.example", credentials()));
    assert!(other(URL, "", credentials()));
    assert!(other(URL, "a\nb", credentials()));
    assert!(other(URL, "https://id.example", ClientCredentials::basic("", "x")));
    assert!(builder(&endpoint).with_timeout(Duration::ZERO).build().is_err());
    assert!(builder(&endpoint).with_timeout(Duration::from_secs(61)).build().is_err());
    assert!(builder(&endpoint).with_concurrency(0).build().is_err());
    assert!(builder(&endpoint).with_cache_limits(0, 1 << 20).build().is_err());
    assert!(builder(&endpoint).with_cache_limits(10, 1000).build().is_err());
    assert!(
        ServiceTokens::at(URL, "https://id.example", ClientCredentials::certificate("orders")).build().is_err(),
        "a default client has no certificate"
    );
    assert!(builder(&endpoint).build().is_ok());
}

#[test]
fn refuses_origins_that_are_none_or_in_the_clear() {
    for bad in [
        "http://stock.example",
        "https://stock.example/api",
        "https://stock.example?a",
        "https://stock.example#a",
        "https://user@stock.example",
        "https://",
        "stock.example",
        "*",
        "",
        "ftp://localhost",
    ] {
        assert!(AllowedOrigins::new([bad]).is_err(), "{bad}");
    }
    let origins = AllowedOrigins::new(["https://stock.example", "http://127.0.0.1:8080", "https://a:8443/"]).unwrap();
    let origins = origins.dangerous_with_plain_http("http://stock.internal:8080").unwrap();
    for bad in ["http://u@stock.internal", "ftp://stock.internal", "http://stock.internal/a", "stock.internal"] {
        assert!(origins.clone().dangerous_with_plain_http(bad).is_err(), "{bad}");
    }
    let shown = r#"["https://stock.example", "http://127.0.0.1:8080", "https://a:8443", "http://stock.internal:8080"]"#;
    assert_eq!(format!("{origins:?}"), shown);
}

#[tokio::test]
async fn asks_for_nothing_that_cannot_be_sent() {
    let endpoint = Endpoint::living(300);
    let tokens = tokens(&endpoint);
    let own = TokenRequest::client_credentials;
    for bad in [
        own().with_audience(""),
        own().with_audience("a\nb"),
        own().with_resource("r".repeat(2049)),
        own().with_scope("a\tb"),
        (0..65).fold(own(), |request, number| request.with_audience(format!("a{number}"))),
    ] {
        let error = tokens.token(&bad, NOW).await.unwrap_err();
        assert!(matches!(&error, TokenError::Failure(f) if f.kind() == FailureKind::Misconfigured), "{error:?}");
    }
    for bad in [String::new(), "a b".to_owned(), "a\r\nb".to_owned(), "a".repeat(16 * 1024 + 1), "ä".to_owned()] {
        for request in [TokenRequest::exchange(&*bad), TokenRequest::exchange("a").with_actor_token(&*bad)] {
            let error = tokens.token(&request, NOW).await.unwrap_err();
            assert!(matches!(error, TokenError::Refused("invalid_request")), "{error:?}");
        }
    }
    assert_eq!(endpoint.count(), 0);
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let endpoint = Endpoint::living(300);
    let tokens = tokens(&endpoint);
    let (caller, bearer) = caller("alice", 300);
    let request = TokenRequest::on_behalf_of(&caller, &*bearer).with_audience("stock").with_actor_token("actor-1");
    let token = tokens.token(&request, NOW).await.unwrap();
    assert_eq!(token.secret().expose_str(), Some("at-1"));
    let shown = format!("{tokens:?} {request:?} {token:?} {:?} {:?}", token.authorization(), builder(&endpoint));
    for secret in [&*bearer, "actor-1", "at-1", "hunter2", "alice"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert!(shown.contains("stock") && shown.contains("https://id.example/token"), "{shown}");
}
