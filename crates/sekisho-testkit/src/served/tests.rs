#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// Sends a request and returns whatever comes until the server closes.
async fn get(provider: &ServedIssuer, target: &str, header: &str) -> Vec<u8> {
    let host = provider.url().strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{header}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

async fn text(provider: &ServedIssuer, target: &str) -> String {
    String::from_utf8(get(provider, target, "").await).unwrap()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn both_discovery_forms_name_the_issuer_and_its_keys() {
    let provider = Issuer::new().serve_under("/realms/shop").await.unwrap();
    for target in
        ["/realms/shop/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/shop"]
    {
        let document = body(&text(&provider, target).await);
        assert_eq!(document["issuer"], provider.url());
        assert_eq!(document["jwks_uri"], provider.key_set_url());
    }
    assert_eq!(provider.requests_to(Endpoint::OpenidConfiguration), 1);
    assert_eq!(provider.requests_to(Endpoint::OauthMetadata), 1);
    assert!(text(&provider, "/.well-known/openid-configuration").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_rotation_shows_at_the_next_request() {
    let provider = Issuer::new().serve().await.unwrap();
    let kid = |provider: &ServedIssuer| provider.issuer().signing_key().kid().to_owned();
    let first = kid(&provider);
    assert!(text(&provider, "/jwks").await.contains(&first));
    provider.rotate();
    let second = kid(&provider);
    let both = text(&provider, "/jwks?x=y").await;
    assert!(first != second && both.contains(&first) && both.contains(&second));
    provider.issuer().withdraw_retired();
    let one = text(&provider, "/jwks").await;
    assert!(!one.contains(&first) && one.contains(&second));
    assert_eq!(provider.requests_to(Endpoint::KeySet), 3);
    assert_eq!(provider.requests(), ["/jwks", "/jwks?x=y", "/jwks"]);
}

#[tokio::test]
async fn entity_tags_and_cache_control_are_sent_when_asked_for() {
    let provider = Issuer::new().serve().await.unwrap();
    let plain = text(&provider, "/jwks").await;
    assert!(!plain.contains("ETag") && !plain.contains("Cache-Control"));
    provider.set_etag(true);
    provider.set_cache_control(Some("max-age=120"));
    let tagged = text(&provider, "/jwks").await;
    assert!(tagged.contains("\r\nCache-Control: max-age=120\r\n"));
    let etag = tagged.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
    let again = get(&provider, "/jwks", &format!("If-None-Match: {etag}\r\n")).await;
    assert!(again.starts_with(b"HTTP/1.1 304 ") && again.ends_with(b"\r\n\r\n"));
    assert_eq!(provider.not_modified(), 1);
    provider.rotate();
    assert!(get(&provider, "/jwks", &format!("If-None-Match: {etag}\r\n")).await.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let provider = Issuer::new().serve().await.unwrap();
    provider.set_fault(Fault::Status(500));
    assert!(text(&provider, "/jwks").await.starts_with("HTTP/1.1 500 "));
    provider.set_fault(Fault::Html);
    assert!(text(&provider, "/jwks").await.contains("text/html"));
    provider.set_fault(Fault::Garbage);
    assert!(serde_json::from_slice::<Value>(&get(&provider, "/jwks", "").await).is_err());
    provider.set_fault(Fault::Redirect);
    assert!(text(&provider, "/jwks").await.contains("\r\nLocation: /elsewhere/jwks\r\n"));
    assert_eq!(body(&text(&provider, "/elsewhere/jwks").await)["keys"].as_array().unwrap().len(), 1);
    provider.set_fault(Fault::Truncated);
    assert!(serde_json::from_str::<Value>(text(&provider, "/jwks").await.split_once("\r\n\r\n").unwrap().1).is_err());
    provider.set_fault(Fault::Huge);
    assert!(get(&provider, "/jwks", "").await.len() > HUGE);
    provider.set_fault(Fault::Slow(Duration::from_millis(60)));
    let before = Instant::now();
    assert!(text(&provider, "/jwks").await.starts_with("HTTP/1.1 200 "));
    assert!(before.elapsed() >= Duration::from_millis(60));
    provider.clear_faults();
    provider.set_fault(Fault::EmptySet);
    assert_eq!(body(&text(&provider, "/jwks").await), json!({ "keys": [] }));
    assert_eq!(body(&text(&provider, "/.well-known/openid-configuration").await)["issuer"], provider.url());
    provider.set_fault(Fault::WrongIssuer);
    assert_ne!(body(&text(&provider, "/.well-known/openid-configuration").await)["issuer"], provider.url());
}

#[tokio::test]
async fn a_fault_on_one_endpoint_leaves_the_others() {
    let provider = Issuer::new().serve().await.unwrap();
    provider.set_fault_on(Endpoint::KeySet, Fault::Status(503));
    assert!(text(&provider, "/jwks").await.starts_with("HTTP/1.1 503 "));
    assert!(text(&provider, "/.well-known/openid-configuration").await.starts_with("HTTP/1.1 200 "));
    provider.clear_faults();
    assert!(text(&provider, "/jwks").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn stopping_cuts_hanging_requests_and_the_port_comes_back() {
    let provider = Arc::new(Issuer::new().serve().await.unwrap());
    let host = provider.url().strip_prefix("http://").unwrap().to_owned();
    provider.set_fault(Fault::Hang);
    let mut hanging = TcpStream::connect(&host).await.unwrap();
    hanging.write_all(b"GET /jwks HTTP/1.1\r\n\r\n").await.unwrap();
    while provider.requests_to(Endpoint::KeySet) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    provider.stop().await;
    let mut rest = Vec::new();
    // Cut means end of file or a reset, but no answer.
    let _cut = hanging.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert!(TcpStream::connect(&host).await.is_err());
    provider.clear_faults();
    provider.restart().await.unwrap();
    assert!(text(&provider, "/jwks").await.starts_with("HTTP/1.1 200 "));
    drop(provider);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(&host).await.is_err());
}
