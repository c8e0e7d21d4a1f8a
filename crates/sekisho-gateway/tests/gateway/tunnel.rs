//! WebSockets, and how they end.

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Authenticate, Clock, Credential, Principal, Refusal, SystemClock, UnixSeconds};

use super::*;
use crate::upstream::raw_upstream;

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn handshake(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: a.example\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n{more}\r\n"
    )
}

/// Opens a tunnel, and returns it after the switch.
async fn open(served: &Served, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the switch"));
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("sec-websocket-accept"), "{head}");
    stream
}

async fn echoes(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    let mut back = vec![0; bytes.len()];
    let talk = async {
        stream.write_all(bytes).await?;
        stream.read_exact(&mut back).await
    };
    matches!(tokio::time::timeout(Duration::from_secs(5), talk).await, Ok(Ok(_))) && back == bytes
}

/// Tells whether the other side closes within this time.
async fn closes_within(stream: &mut TcpStream, time: Duration) -> bool {
    let mut buffer = [0; 64];
    let closed = async { while !matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(time, closed).await.is_ok()
}

/// `good` for as many seconds as stand behind it.
struct Lives;

#[async_trait]
impl Authenticate for Lives {
    fn recognizes(&self, _: Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        let seconds = credential.expose().parse().unwrap();
        let expiry = now.saturating_add(Duration::from_secs(seconds));
        Some(Ok(PrincipalBuilder::new("https://id.example", "alice").with_expiry(expiry).build().unwrap()))
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        self.authenticate_now(credential, now).unwrap()
    }
}

struct Setting {
    served: Served,
    heads: Shared<Vec<String>>,
    _upstream: JoinHandle<()>,
}

async fn setting(timeouts: ProxyTimeouts) -> Setting {
    let (address, heads, task) = raw_upstream(SWITCHED).await;
    let upstream = Upstream::new("echo", &format!("http://{address}")).unwrap();
    let lives = Checkpoint::builder().accept(Lives).build().unwrap();
    let all = vec![
        Route::new("/socket", &upstream, Guard::Public).with_websockets(),
        Route::new("/plain", &upstream, Guard::Public),
        Route::new("/lives", &upstream, Guard::checkpoint(lives)).with_websockets(),
        Route::new("/cookie", &upstream, Guard::checkpoint(checkpoint()))
            .with_websockets()
            .with_origins(["https://shop.example"]),
    ];
    let served = Served::start(proxy(all).with_timeouts(timeouts)).await;
    Setting { served, heads, _upstream: task }
}

fn long() -> ProxyTimeouts {
    ProxyTimeouts { idle: Duration::from_secs(30), ..timeouts() }
}

#[tokio::test]
async fn a_websocket_is_tunnelled_both_ways() {
    let setting = setting(long()).await;
    let mut stream = open(&setting.served, &handshake("/socket?room=1", "")).await;
    assert!(echoes(&mut stream, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58").await);
    assert!(echoes(&mut stream, &vec![7; 300_000]).await);
    let head = setting.heads.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /socket?room=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n") && !head.contains("keep-alive"), "{head}");
    assert_eq!(setting.served.gateway.tunnels(), 1);
    drop(stream);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if setting.served.gateway.tunnels() == 0 {
            return;
        }
    }
    panic!("the tunnel stays open");
}

#[tokio::test]
async fn what_is_no_clean_handshake_or_not_allowed_is_never_switched() {
    let setting = setting(timeouts()).await;
    for request in [
        // A route without WebSockets; a method, a version and a body that a handshake does not have; other protocols.
        handshake("/plain", ""),
        handshake("/socket", "").replace("GET ", "POST "),
        handshake("/socket", "").replace("HTTP/1.1", "HTTP/1.0"),
        handshake("/socket", "content-length: 4\r\n"),
        handshake("/socket", "").replace("upgrade: websocket", "upgrade: h2c"),
        handshake("/socket", "upgrade: h2c\r\n"),
        handshake("/socket", "").replace("sec-websocket-key", "x-key"),
        handshake("/socket", "").replace("keep-alive, Upgrade", "keep-alive"),
    ] {
        let text = setting.served.raw(format!("{request}abcd")).await;
        assert!(!text.starts_with("HTTP/1.1 101"), "{request} {text}");
    }
    for head in &*setting.heads.lock().unwrap() {
        assert!(!head.to_ascii_lowercase().contains("\r\nupgrade:"), "{head}");
    }
    setting.heads.lock().unwrap().clear();
    for (request, status) in [
        (handshake("/cookie", ""), 401),
        (handshake("/cookie", "cookie: token=bad\r\norigin: https://shop.example\r\n"), 401),
        (handshake("/cookie", "cookie: token=good\r\n"), 403),
        (handshake("/cookie", "cookie: token=good\r\norigin: https://evil.example\r\n"), 403),
        (handshake("/cookie", "cookie: token=good\r\norigin: null\r\n"), 403),
        (handshake("/cookie", "cookie: token=good\r\norigin: https://shop.example.evil\r\n"), 403),
        (
            handshake(
                "/cookie",
                "cookie: token=good\r\norigin: https://shop.example\r\norigin: https://evil.example\r\n",
            ),
            403,
        ),
        (handshake("/socket/../lives", ""), 400),
    ] {
        let text = setting.served.raw(request.replace("keep-alive, Upgrade", "close, Upgrade")).await;
        assert_eq!(Reply::read(&text).status, status, "{request}");
    }
    assert!(setting.heads.lock().unwrap().is_empty());
    let mut own =
        open(&setting.served, &handshake("/cookie", "cookie: token=good\r\norigin: https://shop.example\r\n")).await;
    assert!(echoes(&mut own, b"hello").await);
    let head = setting.heads.lock().unwrap()[0].clone();
    assert!(head.contains("x-auth-subject: alice") && !head.contains("token=good"), "{head}");
}

#[tokio::test]
async fn a_tunnel_ends_with_its_callers_credential() {
    let setting = setting(long()).await;
    let mut short = open(&setting.served, &handshake("/lives", "authorization: Bearer 1\r\n")).await;
    let mut lasting = open(&setting.served, &handshake("/lives", "authorization: Bearer 60\r\n")).await;
    assert!(echoes(&mut short, b"now").await);
    assert!(closes_within(&mut short, Duration::from_secs(3)).await);
    assert!(echoes(&mut lasting, b"still").await);
    assert!(SystemClock.now() > UnixSeconds::new(0));
}

#[tokio::test]
async fn a_silent_tunnel_is_given_up_and_one_that_talks_is_not() {
    let setting = setting(timeouts()).await;
    let mut stream = open(&setting.served, &handshake("/socket", "")).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert!(echoes(&mut stream, b"x").await);
    }
    assert!(closes_within(&mut stream, Duration::from_secs(3)).await);
}

#[tokio::test]
async fn tunnels_end_with_the_gateway() {
    let mut setting = setting(long()).await;
    let mut stream = open(&setting.served, &handshake("/socket", "")).await;
    assert!(echoes(&mut stream, b"x").await);
    let ended = setting.served.end();
    assert!(closes_within(&mut stream, Duration::from_secs(3)).await);
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_among_the_connections() {
    let (address, _heads, _upstream) = raw_upstream(SWITCHED).await;
    let upstream = Upstream::new("echo", &format!("http://{address}")).unwrap();
    let route = Route::new("/socket", &upstream, Guard::Public).with_websockets();
    let limits = ProxyLimits { connections: 1, ..ProxyLimits::default() };
    let served = Served::start(proxy(vec![route]).with_timeouts(long()).with_limits(limits)).await;
    let mut first = open(&served, &handshake("/socket", "")).await;
    assert!(echoes(&mut first, b"x").await);
    let waiting = tokio::spawn(raw(served.address, "GET /none HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished() && served.gateway.tunnels() == 1);
    drop(first);
    assert_eq!(Reply::read(&waiting.await.unwrap()).status, 404);
    assert_eq!(served.gateway.tunnels(), 0);
}

#[tokio::test]
async fn tunnels_are_bounded_within_another_server_too() {
    let (address, heads, _upstream) = raw_upstream(SWITCHED).await;
    let upstream = Upstream::new("echo", &format!("http://{address}")).unwrap();
    let route = Route::new("/socket", &upstream, Guard::Public).with_websockets();
    let limits = ProxyLimits { tunnels: 2, ..ProxyLimits::default() };
    let proxy = proxy(vec![route]).with_timeouts(long()).with_limits(limits);
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let proxy = proxy.clone();
        async move { proxy.handle(request, "127.0.0.1:1".parse().unwrap()).await }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(handshake("/socket", "").as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
        open.push(stream);
    }
    let status = || async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(handshake("/socket", "").as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        String::from_utf8_lossy(&status[9..]).into_owned()
    };
    for _ in 0..3 {
        assert_eq!(status().await, "503");
    }
    assert_eq!(heads.lock().unwrap().len(), 2, "a service learns nothing of what cannot be");
    drop(open.pop());
    let mut freed = String::new();
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        freed = status().await;
        if freed == "101" {
            break;
        }
    }
    assert_eq!(freed, "101");
    server.abort();
}
