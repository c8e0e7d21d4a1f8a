//! TLS and HTTP/2 from clients.

use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AcceptedProofs, Authenticate, Credential, Principal, Refusal, Reject, Secret, UnixSeconds};
use sekisho_gateway::{ClientAuthorities, ConfigContext, GatewayConfig, ServerCertificate, ServerTls, TokenForward};
use sekisho_http::{ClientCertificateHeader, TrustedProxies};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// An authority for tests.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Makes a certificate and its key, both as PEM.
    fn issue(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn server(&self, names: &[&str]) -> ServerCertificate {
        let (chain, key) = self.issue(names);
        ServerCertificate::from_pem(chain.as_bytes(), &Secret::from(key)).unwrap()
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// What a client trusts, and shows, and says that it speaks.
    fn client(&self, shows: Option<&(String, String)>, protocols: &[&[u8]]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                use rustls::pki_types::pem::PemObject;
                let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }
}

const H2: &[&[u8]] = &[b"h2"];

async fn connect(served: &Served, name: &str, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(served.address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    // In TLS 1.3 a client learns only by the first answer that its certificate is not taken.
    stream.flush().await?;
    Ok(stream)
}

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http2(served: &Served, name: &str, config: ClientConfig) -> Sender {
    let stream = connect(served, name, config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, uri: &str) -> http::request::Builder {
    Request::builder().method(method).uri(uri).version(Version::HTTP_2)
}

async fn send(sender: &mut Sender, request: http::request::Builder, body: &'static str) -> (u16, String) {
    let response: Response<Incoming> = sender.send_request(request.body(Full::from(body)).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8_lossy(&response.into_body().collect().await.unwrap().to_bytes()).into_owned())
}

async fn serve(tls: ServerTls) -> (TestUpstream, Served) {
    let (service, upstream) = echo().await;
    let timeouts = ProxyTimeouts { request_head: Duration::from_millis(400), ..timeouts() };
    let served = Served::of(Gateway::new(proxy(routes(&upstream)).with_timeouts(timeouts)).with_tls(tls)).await;
    (service, served)
}

#[tokio::test]
async fn http2_reaches_an_http1_service_with_headers_that_it_can_read() {
    let authority = Authority::new("ca");
    let tls = ServerTls::builder(authority.server(&["api.example"])).build().unwrap();
    let (service, served) = serve(tls).await;
    let mut sender = http2(&served, "api.example", authority.client(None, H2)).await;
    let asks = request("POST", "https://api.example:8443/orders/a?b=%2F")
        .header("authorization", "Bearer good")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x_auth_subject", "root")
        .header("x-auth-subject", "root")
        .header("client-cert", ":YWJj:")
        .header("te", "trailers");
    let (status, body) = send(&mut sender, asks, "abc").await;
    assert_eq!(status, 200, "{body}");
    let seen = service.only();
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/orders/a?b=%2F"));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("content-length"), Some("3"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("api.example:8443"));
    for gone in ["authorization", "te", "x_auth_subject", "client-cert", "transfer-encoding", "connection"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_ne!(seen.header("x-auth-subject"), Some("root"));
    let (status, _) = send(&mut sender, request("GET", "https://api.example/orders/a"), "").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn decisions_and_routes_are_the_same_for_http2() {
    let authority = Authority::new("ca");
    let tls = ServerTls::builder(authority.server(&["api.example"])).build().unwrap();
    let (service, served) = serve(tls).await;
    let mut sender = http2(&served, "api.example", authority.client(None, H2)).await;
    for (method, uri, expected) in [
        ("GET", "https://api.example/admin/x", 403),
        ("GET", "https://api.example/public/../admin/x", 400),
        ("GET", "https://api.example/public/%2e%2e/admin/x", 400),
        ("GET", "https://api.example/public%2fx", 400),
        ("GET", "https://api.example//public/x", 400),
        ("GET", "https://api.example/public/a;b", 400),
        ("GET", "https://api.example/nowhere", 404),
        ("TRACE", "https://api.example/public/x", 405),
        ("GET", "http://api.example/public/x", 400),
        ("GET", "https://a..b/public/x", 400),
        ("GET", "https://inner.example/inner/x", 200),
        ("GET", "https://api.example/inner/x", 404),
    ] {
        let (status, _) = send(&mut sender, request(method, uri), "").await;
        assert_eq!(status, expected, "{method} {uri}");
    }
    assert_eq!(service.only().target, "/inner/x");
    for (host, expected) in [("inner.example", 400), ("api.example", 200), ("API.example", 200), ("api.example:1", 400)]
    {
        let asks = request("GET", "https://api.example/public/x").header("host", host);
        assert_eq!(send(&mut sender, asks, "").await.0, expected, "{host}");
    }
    let asks = request("GET", "https://api.example/public/x").header("host", "api.example").header("host", "b");
    assert_eq!(send(&mut sender, asks, "").await.0, 400, "two hosts");
}

/// Writes frames that no honest client writes, and returns what comes until the other side closes.
async fn frames(served: &Served, authority: &Authority, frames: &[u8]) -> Vec<u8> {
    let mut stream = connect(served, "api.example", authority.client(None, H2)).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(frames);
    let _refused_early = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    let reading = async { while stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the connection is closed in time");
    answer
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:method GET`, `:scheme https`, `:path /` of the static table, `:authority` and more as literals.
fn head(more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84];
    for (name, value) in [(":authority", "api.example")].iter().chain(more) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Tells which error code each frame of this kind carries.
fn errors(answer: &[u8], wanted: u8) -> Vec<u32> {
    let (mut rest, mut found) = (answer, Vec::new());
    while rest.len() >= 9 {
        let length = usize::try_from(u32::from_be_bytes([0, rest[0], rest[1], rest[2]])).unwrap();
        let Some(payload) = rest.get(9..9 + length) else { break };
        if rest[3] == wanted {
            let at = if wanted == 7 { 4 } else { 0 };
            found.push(u32::from_be_bytes(payload[at..at + 4].try_into().unwrap()));
        }
        rest = &rest[9 + length..];
    }
    found
}

const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

#[tokio::test]
async fn what_frames_messages_in_http1_is_malformed_in_http2() {
    let authority = Authority::new("ca");
    let tls = ServerTls::builder(authority.server(&["api.example"])).build().unwrap();
    let (service, served) = serve(tls).await;
    for bad in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "websocket"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("X-Upper", "1"),
        ("content-length", "5"),
    ] {
        let answer = frames(&served, &authority, &frame(1, 5, 1, &head(&[bad]))).await;
        assert!(!errors(&answer, RST_STREAM).is_empty() || !errors(&answer, GOAWAY).is_empty(), "{bad:?}");
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn floods_end_the_connection() {
    let authority = Authority::new("ca");
    let tls = ServerTls::builder(authority.server(&["api.example"])).build().unwrap();
    let (_service, served) = serve(tls).await;
    // CVE-2023-44487: streams that are reset as soon as they begin.
    let mut resets = Vec::new();
    for stream in (1..4000).step_by(2) {
        resets.extend(frame(1, 5, stream, &head(&[])));
        resets.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let answer = frames(&served, &authority, &resets).await;
    assert_eq!(errors(&answer, GOAWAY).last(), Some(&11), "ENHANCE_YOUR_CALM");
    // A head that never ends.
    let mut endless = frame(1, 0, 1, &head(&[]));
    for _ in 0..10_000 {
        endless.extend(frame(9, 0, 1, &[0, 1, b'a', 1, b'b']));
    }
    let answer = frames(&served, &authority, &endless).await;
    assert!(!errors(&answer, GOAWAY).is_empty(), "{answer:?}");
}

#[tokio::test]
async fn a_connection_that_asks_nothing_or_never_finishes_a_head_ends() {
    let authority = Authority::new("ca");
    let tls = ServerTls::builder(authority.server(&["api.example"]));
    let (_service, upstream) = echo().await;
    let short = ProxyTimeouts { request_head: Duration::from_millis(300), ..timeouts() };
    let tls = tls.with_handshake_timeout(Duration::from_millis(300)).build().unwrap();
    let served = Served::of(Gateway::new(proxy(routes(&upstream)).with_timeouts(short)).with_tls(tls)).await;
    let begun = std::time::Instant::now();
    frames(&served, &authority, &[]).await;
    frames(&served, &authority, &frame(1, 0, 1, &head(&[]))).await;
    // No handshake at all, and half of one.
    assert_eq!(served.raw("").await, "");
    assert_eq!(served.raw("\x16\x03\x01\x02\x00").await, "");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

/// A service with an answer of 16 MiB at `/public/big`, and short ones elsewhere.
async fn big() -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                loop {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).await.is_err() {
                        return;
                    }
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        let length = if head.starts_with(b"GET /public/big ") { 16 * 1024 * 1024 } else { 0 };
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                        let answer = [answer.as_bytes(), &vec![0; length]].concat();
                        if stream.write_all(&answer).await.is_err() {
                            return;
                        }
                        head.clear();
                    }
                }
            });
        }
    });
    Upstream::new("test", &origin).unwrap()
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_loses_it_and_nothing_else() {
    let authority = Authority::new("ca");
    let tls = ServerTls::builder(authority.server(&["api.example"])).build().unwrap();
    let served = Served::of(Gateway::new(proxy(routes(&big().await))).with_tls(tls)).await;
    let stream = connect(&served, "api.example", authority.client(None, H2)).await.unwrap();
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = client.await.unwrap();
    let connection = tokio::spawn(connection);
    let asks = request("GET", "https://api.example/public/big").body(Full::from("")).unwrap();
    let response = sender.send_request(asks).await.unwrap();
    assert_eq!(response.status(), 200);
    // Idle is 0.7 s.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let other = send(&mut sender, request("GET", "https://api.example/public/x"), "").await;
        assert_eq!(other.0, 200);
    }
    let lost = response.into_body().collect().await;
    assert!(lost.is_err(), "{} bytes", lost.unwrap().to_bytes().len());
    assert_eq!(send(&mut sender, request("GET", "https://api.example/public/x"), "").await.0, 200);
    let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
    assert!(ended.is_ok(), "without a request it ends");
}

#[tokio::test]
async fn a_client_that_sends_on_and_takes_nothing_does_not_stay() {
    let authority = Authority::new("ca");
    let tls = ServerTls::builder(authority.server(&["api.example"])).build().unwrap();
    let (_service, upstream) = echo().await;
    let served = Served::of(Gateway::new(proxy(routes(&upstream))).with_tls(tls)).await;
    let stream = connect(&served, "api.example", authority.client(None, H2)).await.unwrap();
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = client.await.unwrap();
    let connection = tokio::spawn(connection);
    let asks = request("POST", "https://api.example/public/echo");
    let body = Full::<Bytes>::from(Bytes::from(vec![0; 16 * 1024 * 1024]));
    let response = sender.send_request(asks.body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let ended = tokio::time::timeout(Duration::from_secs(15), connection).await;
    assert!(ended.is_ok(), "with the one stream its connection ends");
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_refused() {
    let authority = Authority::new("ca");
    let tls = ServerTls::builder(authority.server(&["api.example"])).build().unwrap();
    let (service, served) = serve(tls).await;
    let mut sender = http2(&served, "api.example", authority.client(None, H2)).await;
    let many =
        (0..150).fold(request("GET", "https://api.example/public/x"), |asks, n| asks.header(format!("x-{n}"), ""));
    assert_eq!(send(&mut sender, many, "").await.0, 431);
    let long = request("GET", "https://api.example/public/x").header("x-long", "a".repeat(20 * 1024));
    let refused = sender.send_request(long.body(Full::from("")).unwrap()).await;
    assert!(refused.is_err() || refused.unwrap().status() == 431);
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn each_name_has_its_certificate_and_no_other_name_any() {
    let authority = Authority::new("ca");
    let builder = ServerTls::builder(authority.server(&["api.example"]));
    let tls = builder.with_certificate(authority.server(&["*.shop.example"])).build().unwrap();
    let (_service, served) = serve(tls).await;
    let client = || authority.client(None, &[]);
    for good in ["api.example", "a.shop.example"] {
        assert!(connect(&served, good, client()).await.is_ok(), "{good}");
    }
    for bad in ["other.example", "shop.example", "a.b.shop.example"] {
        assert!(connect(&served, bad, client()).await.is_err(), "{bad}");
    }
    // Another protocol than we speak, and plain HTTP, get no answer in HTTP.
    assert!(connect(&served, "api.example", authority.client(None, &[b"h3"])).await.is_err());
    assert!(!served.raw("GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n").await.contains("HTTP/1.1 200"));
    let mut stream = connect(&served, "api.example", authority.client(None, &[b"http/1.1"])).await.unwrap();
    stream.write_all(b"GET /public/x HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Takes whatever comes, from whoever shows a certificate.
struct Shown;

#[async_trait::async_trait]
impl Authenticate for Shown {
    fn recognizes(&self, _: Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(&self, credential: Credential<'_>, _: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        let certificate = credential.presentation().and_then(|shown| shown.certificate());
        Some(match certificate.and_then(sekisho_http::certificate_der) {
            Some(der) => {
                Ok(PrincipalBuilder::new("https://id.example", format!("{} bytes", der.len())).build().unwrap())
            }
            None => Err(Reject::ProofRequired.into()),
        })
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        self.authenticate_now(credential, now).unwrap()
    }

    fn accepted_proofs(&self) -> AcceptedProofs {
        AcceptedProofs::none().with_certificates()
    }
}

#[tokio::test]
async fn a_clients_certificate_counts_if_a_listed_authority_made_it_and_a_header_never_does() {
    let (authority, clients, foreign) = (Authority::new("ca"), Authority::new("clients"), Authority::new("foreign"));
    let (service, upstream) = echo().await;
    let header = ClientCertificateHeader::rfc9440(TrustedProxies::new(["10.0.0.0/8"]).unwrap());
    let checkpoint = Checkpoint::builder().accept(Shown).with_client_certificate_header(header).build().unwrap();
    let served = |tls: ServerTls| {
        let route = Route::new("/a/*", &upstream, Guard::checkpoint(checkpoint.clone()));
        Served::of(Gateway::new(proxy(vec![route])).with_tls(tls))
    };
    let tls =
        |authorities| ServerTls::builder(authority.server(&["api.example"])).with_client_certificates(authorities);
    let optional = served(tls(ClientAuthorities::optional(clients.pem().as_bytes()).unwrap()).build().unwrap()).await;
    let asks = || {
        request("GET", "https://api.example/a/b").header("authorization", "Bearer x").header("client-cert", ":YWJj:")
    };

    let own = clients.issue(&["client"]);
    let mut sender = http2(&optional, "api.example", authority.client(Some(&own), H2)).await;
    assert_eq!(send(&mut sender, asks(), "").await.0, 200);
    let seen = service.only();
    assert_eq!(seen.header("client-cert"), None);
    assert!(seen.header("x-auth-subject").unwrap().ends_with("bytes"));
    assert_ne!(seen.header("x-auth-subject"), Some("3 bytes"));
    let mut sender = http2(&optional, "api.example", authority.client(None, H2)).await;
    assert_eq!(send(&mut sender, asks(), "").await.0, 401);
    for other in [foreign.issue(&["client"]), authority.issue(&["client"])] {
        let mut stream = match connect(&optional, "api.example", authority.client(Some(&other), &[])).await {
            Ok(stream) => stream,
            Err(_) => continue,
        };
        assert!(stream.read_u8().await.is_err(), "a foreign certificate");
    }

    let required = served(tls(ClientAuthorities::required(clients.pem().as_bytes()).unwrap()).build().unwrap()).await;
    let mut stream = connect(&required, "api.example", authority.client(None, &[])).await.unwrap();
    let _refused_early = stream.write_all(b"GET /a/b HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    assert!(stream.read_u8().await.is_err());
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_clients_certificate_is_verified_for_each_connection() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let own = clients.issue(&["client"]);
    for asks in [false, true] {
        let tls = ServerTls::builder(authority.server(&["api.example"]));
        let authorities = ClientAuthorities::required(clients.pem().as_bytes()).unwrap();
        let tls = if asks { tls.with_client_certificates(authorities) } else { tls };
        let (_service, served) = serve(tls.build().unwrap()).await;
        // One configuration, which remembers sessions.
        let client = authority.client(Some(&own), &[]);
        let mut resumed = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(&served, "api.example", client.clone()).await.unwrap();
            stream.write_all(b"GET /public HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            let _closed_at_once = stream.read_to_string(&mut answer).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            resumed.push(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
        }
        assert_eq!(resumed, [false, !asks], "without certificates it is resumed: the test can tell");
    }
}

#[tokio::test]
async fn a_certificate_header_of_any_name_does_not_go_on_from_a_client() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let (service, upstream) = echo().await;
    let header = ClientCertificateHeader::base64("X-Caller-Der", TrustedProxies::new(["10.0.0.0/8"]).unwrap()).unwrap();
    let checkpoint = Checkpoint::builder().accept(Shown).with_client_certificate_header(header).build().unwrap();
    let route = || Route::new("/a/*", &upstream, Guard::checkpoint(checkpoint.clone()));
    let authorities = || ClientAuthorities::optional(clients.pem().as_bytes()).unwrap();
    let tls = ServerTls::builder(authority.server(&["api.example"])).with_client_certificates(authorities());
    let tls = tls.build().unwrap();
    let own = clients.issue(&["client"]);
    let listed = TrustedProxies::new(["127.0.0.1"]).unwrap();
    for (reverse, goes_on) in [
        (proxy(vec![route()]), false),
        (proxy(vec![route().forwarding(TokenForward::AsIs)]), false),
        (proxy(vec![route()]).with_trusted_proxies(listed), true),
    ] {
        let served = Served::of(Gateway::new(reverse).with_tls(tls.clone())).await;
        let mut sender = http2(&served, "api.example", authority.client(Some(&own), H2)).await;
        let asks = request("GET", "https://api.example/a/b").header("authorization", "Bearer x");
        assert_eq!(send(&mut sender, asks.header("x-caller-der", "YWJj"), "").await.0, 200);
        let seen = service.only();
        assert_eq!(seen.header("x-caller-der"), goes_on.then_some("YWJj"));
        assert_ne!(seen.header("x-auth-subject"), Some("3 bytes"));
    }
}

#[test]
fn certificates_that_cannot_work_are_refused_and_no_key_is_shown() {
    let authority = Authority::new("ca");
    let (chain, key) = authority.issue(&["a.example"]);
    let (_, other_key) = authority.issue(&["a.example"]);
    let read = |chain: &str, key: &str| ServerCertificate::from_pem(chain.as_bytes(), &Secret::from(key));
    assert!(read(&chain, &key).is_ok());
    let twelve = chain.repeat(12);
    let cases = [
        ("", &*key),
        (&*chain, ""),
        (&*chain, &*other_key),
        (&*key, &*key),
        (&*chain, &*chain),
        (&*twelve, &*key),
        ("x", "x"),
    ];
    for (chain, key) in cases {
        let error = format!("{:?}", read(chain, key).unwrap_err());
        assert!(!error.contains("PRIVATE") && !error.contains("MII"), "{error}");
    }
    assert!(!format!("{:?}", read(&chain, &key).unwrap()).contains("MII"));
    for bad in ["", "x", &*key] {
        assert!(ClientAuthorities::required(bad.as_bytes()).is_err(), "{bad}");
    }
    let long = ServerTls::builder(read(&chain, &key).unwrap());
    assert!(long.with_handshake_timeout(Duration::from_secs(61)).build().is_err());
}

/// Files in a folder of their own, gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sekisho-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn the_file_names_certificates_and_a_reload_shows_the_new_ones() {
    let (service, _) = echo().await;
    let folder = Folder::new("reload");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let put = |authority: &Authority| {
        let (chain, key) = authority.issue(&["api.example"]);
        (folder.write("chain.pem", &chain), folder.write("key.pem", &key))
    };
    let (chain, key) = put(&old);
    let text = |tls: &str| {
        format!(
            "[upstreams.a]\nurl = {:?}\n[[routes]]\npath = \"/public/*\"\nupstream = \"a\"\naccess = \"public\"\n{tls}",
            service.origin()
        )
    };
    let with_tls = text(&format!("[tls]\n[[tls.certificates]]\nchain = {chain:?}\nkey = {key:?}\n"));
    let context = ConfigContext::default();
    let served = Served::of(Gateway::from_config(GatewayConfig::parse(&with_tls, &context).unwrap())).await;
    let mut before = http2(&served, "api.example", old.client(None, H2)).await;
    put(&new);
    served.gateway.reload(&with_tls, &context).unwrap();
    assert!(connect(&served, "api.example", old.client(None, H2)).await.is_err());
    let mut after = http2(&served, "api.example", new.client(None, H2)).await;
    for sender in [&mut before, &mut after] {
        assert_eq!(send(sender, request("GET", "https://api.example/public/x"), "").await.0, 200);
    }
    let mistakes = served.gateway.reload(&text(""), &context).unwrap_err().to_string();
    assert!(mistakes.contains("TLS cannot begin or end with a reload"), "{mistakes}");
    std::fs::write(&chain, "nonsense").unwrap();
    assert!(served.gateway.reload(&with_tls, &context).is_err());
    assert!(connect(&served, "api.example", new.client(None, H2)).await.is_ok(), "the old ones stay");
}

#[test]
fn each_mistake_about_tls_is_told_with_its_line() {
    let folder = Folder::new("mistakes");
    let (chain, key) = Authority::new("ca").issue(&["api.example"]);
    let (_, other) = Authority::new("ca").issue(&["api.example"]);
    let (chain, key, other) = (folder.write("c", &chain), folder.write("k", &key), folder.write("o", &other));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    for (tls, expected) in [
        ("[tls]\n".to_owned(), "line 7: [tls] lacks `certificates`"),
        ("[tls]\ncertificates = []\n".to_owned(), "lacks `certificates`"),
        ("[tls]\n[[tls.certificates]]\n".to_owned(), "line 8"),
        (
            format!("[tls]\n[[tls.certificates]]\nchain = \"/nowhere\"\nkey = {key:?}\n"),
            "line 9: the file \"/nowhere\" cannot be read",
        ),
        (
            format!("[tls]\n[[tls.certificates]]\nchain = {chain:?}\nkey = {other:?}\n"),
            "line 8: certificate and key do not fit",
        ),
        (format!("[tls]\n[[tls.certificates]]\nchain = {key:?}\nkey = {key:?}\n"), "line 8"),
        (
            format!("[tls]\nhandshake_ms = 100000\n[[tls.certificates]]\nchain = {chain:?}\nkey = {key:?}\n"),
            "line 7: a handshake may take",
        ),
        (format!("[tls]\nhttp3 = true\n[[tls.certificates]]\nchain = {chain:?}\nkey = {key:?}\n"), "line 8"),
        (
            format!(
                "[tls]\n[[tls.certificates]]\nchain = {chain:?}\nkey = {key:?}\n[tls.client_certificates]\nauthorities = {key:?}\n"
            ),
            "line 12",
        ),
    ] {
        let text = format!(
            "[upstreams.a]\nurl = \"http://127.0.0.1:1\"\n[[routes]]\npath = \"/a\"\nupstream = \"a\"\naccess = \"public\"\n{tls}"
        );
        let mistakes = GatewayConfig::parse(&text, &ConfigContext::default()).unwrap_err().to_string();
        assert!(mistakes.contains(expected), "{tls}: {mistakes}");
    }
}
