//! Requests that two servers would read as different requests.

use super::*;

/// Sends bytes that hide a second request for `/admin`, and makes sure that no service ever sees it.
async fn assert_harmless(served: &Served, service: &TestUpstream, bytes: &[u8]) -> Vec<u16> {
    let before = service.seen().len();
    let text = served.raw(bytes).await;
    let seen = service.seen();
    let shown = String::from_utf8_lossy(bytes);
    assert!(seen.len() - before <= 1, "{shown:?} became {seen:?}");
    assert!(seen.iter().all(|one| !one.target.contains("hidden")), "{shown:?} became {seen:?}");
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].parse().unwrap()).collect()
}

#[tokio::test]
async fn a_length_together_with_a_transfer_encoding_hides_nothing() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let hidden = "GET /public/hidden HTTP/1.1\r\nhost: api.example\r\n\r\n";
    for head in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "Content-Length: 4\r\nTransfer-Encoding:\tchunked\r\n",
        "transfer-encoding: gzip, chunked\r\ncontent-length: 4\r\n",
        "content-length: 0\r\ntransfer-encoding: chunked\r\n",
        "content-length: 4\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n",
    ] {
        let bytes = format!("POST /public/post HTTP/1.1\r\nhost: api.example\r\n{head}\r\n0\r\n\r\n{hidden}");
        let statuses = assert_harmless(&served, &service, bytes.as_bytes()).await;
        // The connection ends with it, so what comes behind is never a request (RFC 9112 §6.1).
        assert_eq!(statuses.len(), 1, "{head}: {statuses:?}");
    }
    for seen in service.seen() {
        assert!(seen.header("content-length").is_none() || seen.header("transfer-encoding").is_none(), "{seen:?}");
    }
}

#[tokio::test]
async fn odd_lengths_and_encodings_are_400_and_end_the_connection() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let hidden = "GET /public/hidden HTTP/1.1\r\nhost: api.example\r\n\r\n";
    for head in [
        "transfer-encoding: identity\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: \"chunked\"\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer\u{0}-encoding: chunked\r\n",
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: 4, 5\r\n",
        "content-length: -1\r\n",
        "content-length: +4\r\n",
        "content-length: 0x4\r\n",
        "content-length: 4 4\r\n",
        "content-length: 18446744073709551616\r\n",
        "content-length : 4\r\n",
        " content-length: 4\r\n",
        "x: y\r\n folded: content-length\r\n",
        "x: a\rb\r\n",
        "x: a\u{0}b\r\n",
        "x y: z\r\n",
    ] {
        let bytes = format!("POST /public/post HTTP/1.1\r\nhost: api.example\r\n{head}\r\nabcd{hidden}");
        let statuses = assert_harmless(&served, &service, bytes.as_bytes()).await;
        assert_eq!(statuses, [400], "{head:?}");
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn odd_chunks_end_the_request_and_reach_nobody_as_a_second_one() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let hidden = "GET /public/hidden HTTP/1.1\r\nhost: api.example\r\n\r\n";
    for body in [
        "zz\r\nabcd\r\n0\r\n\r\n",
        "-1\r\nabcd\r\n0\r\n\r\n",
        "4\r\nabcdef\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabcd\r\n0\r\n\r\n",
        "4 4\r\nabcd\r\n0\r\n\r\n",
        "\r\n4\r\nabcd\r\n0\r\n\r\n",
        "0x4\r\nabcd\r\n0\r\n\r\n",
    ] {
        let bytes = format!(
            "POST /public/post HTTP/1.1\r\nhost: api.example\r\ntransfer-encoding: chunked\r\n\r\n{body}{hidden}"
        );
        let statuses = assert_harmless(&served, &service, bytes.as_bytes()).await;
        assert!(statuses.len() <= 1 && !statuses.contains(&200), "{body:?}: {statuses:?}");
    }
}

#[tokio::test]
async fn a_request_of_an_older_version_cannot_be_chunked() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let bytes = "POST /public/post HTTP/1.0\r\nhost: api.example\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(assert_harmless(&served, &service, bytes.as_bytes()).await, [400]);
}

#[tokio::test]
async fn other_upgrades_and_their_settings_are_not_passed_on() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    for upgrade in ["h2c", "websocket, h2c", "tls/1.0"] {
        let headers = [
            ("connection", "upgrade, http2-settings"),
            ("upgrade", upgrade),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("sec-websocket-key", "x"),
        ];
        assert_eq!(served.send("GET", "/public/x", &headers).await.status, 200);
        let seen = service.only();
        assert_eq!(
            (seen.header("upgrade"), seen.header("connection"), seen.header("http2-settings")),
            (None, None, None)
        );
    }
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_431() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let long = format!("GET /public HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(17 * 1024));
    assert_eq!(assert_harmless(&served, &service, long.as_bytes()).await, [431]);
    let many: String = (0..101).map(|n| format!("x{n}: y\r\n")).collect();
    let many = format!("GET /public HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    assert_eq!(assert_harmless(&served, &service, many.as_bytes()).await, [431]);
    let line = format!("GET /public?{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(17 * 1024));
    let statuses = assert_harmless(&served, &service, line.as_bytes()).await;
    assert!(statuses == [431] || statuses == [414], "{statuses:?}");
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let (_service, upstream) = echo().await;
    let quick = ProxyTimeouts { request_head: Duration::from_millis(200), ..timeouts() };
    let served = Served::start(proxy(routes(&upstream)).with_timeouts(quick)).await;
    let before = std::time::Instant::now();
    let text = served.raw("GET /public HTTP/1.1\r\nhost: a\r\n").await;
    assert!(!text.contains(" 200 ") && before.elapsed() < Duration::from_secs(3), "{text}");
}
