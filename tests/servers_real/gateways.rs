//! The gateways that a service may stand behind, each with as little configuration as it runs with, and what they do
//! with a request and with a token of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, Uri};
use axum::{Json, Router};
use sekisho_jwt::Algorithm;
use sekisho_testkit::Issuer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::gateway_process::{Proxy, free_port};
use crate::setup::{self, altered};

/// Answered by 200 in every gateway as soon as its configuration is in force, whatever guards the other paths.
const READY: &str = "/gateway-ready";

/// A running gateway on a port of its own.
pub(crate) struct Gateway {
    url: String,
    proxy: Proxy,
}

/// Each of these returns `None`, after a line that says so, when the gateway is not installed. `test` names the test in
/// that line and in the name of the log.
impl Gateway {
    /// Starts nginx with the configuration of `docs/gateway.md`: it asks the forward-auth endpoint on port `endpoint` before it passes a
    /// request on to `upstream`. `own` stands in the location, where it sets what services are told.
    pub(crate) async fn asking_nginx(test: &str, endpoint: u16, upstream: u16, own: &str) -> Option<Self> {
        let server = format!(
            "location / {{
                auth_request /_authz;
                auth_request_set $authz $upstream_status;
                {own}
                proxy_pass http://127.0.0.1:{upstream};
                error_page 500 = @authz_failed;
            }}
            location = /_authz {{
                internal;
                proxy_pass http://127.0.0.1:{endpoint}/check;
                proxy_pass_request_body off;
                proxy_set_header Content-Length \"\";
                proxy_set_header X-Original-Method $request_method;
                proxy_set_header X-Original-URI    $request_uri;
                proxy_set_header X-Original-Host   $host;
            }}
            location @authz_failed {{
                if ($authz = 400) {{ return 400; }}
                if ($authz = 502) {{ return 502; }}
                if ($authz = 503) {{ return 503; }}
                return 500;
            }}"
        );
        Self::nginx(test, &server).await
    }

    /// Starts nginx; `server` is what stands in the block `server` beside `listen`.
    pub(crate) async fn nginx(test: &str, server: &str) -> Option<Self> {
        Self::nginx_at(test, free_port(), server).await
    }

    /// Starts nginx at this port, which others may have been told of.
    pub(crate) async fn nginx_at(test: &str, port: u16, server: &str) -> Option<Self> {
        let program = setup::variable("SEKISHO_NGINX", test)?;
        let temporary =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};"));
        // Started by root, its workers would else run by an account that may not reach this folder.
        let settings = format!(
            "daemon off; user root; pid nginx.pid; error_log stderr notice;\n\
             events {{}}\n\
             http {{\n access_log off; {temporary}\n\
             server {{\n listen 127.0.0.1:{port};\n location = {READY} {{ return 200; }}\n{server}\n}}\n}}\n",
            temporary = temporary.join(" "),
        );
        let files = [("nginx.conf", &*settings)];
        // `-e` too, because nginx would open the system's log before it reads the configuration.
        let arguments = ["-p", ".", "-e", "stderr", "-c", "nginx.conf"];
        Some(Self::start(test, "nginx", &program, &files, &arguments, port).await)
    }

    /// Starts HAProxy; `frontend` is what stands in the section `frontend` beside `bind`, `rest` are further sections.
    pub(crate) async fn haproxy(test: &str, frontend: &str, rest: &str, files: &[(&str, &str)]) -> Option<Self> {
        Self::haproxy_with(test, "", frontend, rest, files).await
    }

    /// Starts HAProxy with more in the section `global`.
    pub(crate) async fn haproxy_with(
        test: &str,
        global: &str,
        frontend: &str,
        rest: &str,
        files: &[(&str, &str)],
    ) -> Option<Self> {
        let program = setup::variable("SEKISHO_HAPROXY", test)?;
        let port = free_port();
        let settings = format!(
            "global\n maxconn 256\n{global}\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             frontend gateway\n bind 127.0.0.1:{port}\n monitor-uri {READY}\n{frontend}\n{rest}\n"
        );
        let files: Vec<_> = files.iter().copied().chain([("haproxy.cfg", &*settings)]).collect();
        Some(Self::start(test, "haproxy", &program, &files, &["-db", "-f", "haproxy.cfg"], port).await)
    }

    /// Starts Envoy; `filters` stand before the router, `routes` lead to the `clusters`, which are names and loopback
    /// ports; those whose name ends in `_grpc` speak HTTP/2.
    pub(crate) async fn envoy(
        test: &str,
        filters: Vec<Value>,
        routes: Value,
        clusters: &[(&str, u16)],
    ) -> Option<Self> {
        Self::envoy_with(test, filters, routes, clusters, &json!({})).await
    }

    /// Starts Envoy with further settings of the connection manager.
    pub(crate) async fn envoy_with(
        test: &str,
        filters: Vec<Value>,
        routes: Value,
        clusters: &[(&str, u16)],
        settings: &Value,
    ) -> Option<Self> {
        Self::envoy_on(test, filters, routes, clusters, settings, None).await
    }

    /// Starts Envoy on one more port, with what ends TLS there.
    pub(crate) async fn envoy_on(
        test: &str,
        filters: Vec<Value>,
        routes: Value,
        clusters: &[(&str, u16)],
        settings: &Value,
        tls: Option<(u16, Value)>,
    ) -> Option<Self> {
        let program = setup::variable("SEKISHO_ENVOY", test)?;
        let port = free_port();
        let extension = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
        let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
        let ready = json!({ "name": "ready", "typed_config": {
            "@type": extension("http.health_check.v3.HealthCheck"),
            "pass_through_mode": false,
            "headers": [{ "name": ":path", "string_match": { "exact": READY } }],
        } });
        let router = json!({ "name": "router", "typed_config": { "@type": extension("http.router.v3.Router") } });
        let filters: Vec<_> = [ready].into_iter().chain(filters).chain([router]).collect();
        let clusters: Vec<_> = clusters
            .iter()
            .map(|(name, port)| {
                let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address(*port) } }] }]);
                let assignment = json!({ "cluster_name": name, "endpoints": endpoints });
                let mut cluster = json!({ "name": name, "connect_timeout": "5s", "type": "STATIC" });
                cluster["load_assignment"] = assignment;
                if name.ends_with("_grpc") {
                    cluster["http2_protocol_options"] = json!({});
                }
                cluster
            })
            .collect();
        let mut manager = json!({
            "@type": extension("network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "gateway",
            // By default it waits for a second before it closes after an answer of its own.
            "delayed_close_timeout": "0.05s",
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
            "http_filters": filters,
        });
        for (name, value) in settings.as_object().expect("an object") {
            manager[name] = value.clone();
        }
        let chain = json!({ "filters": [{ "name": "http", "typed_config": manager }] });
        let mut listeners =
            vec![json!({ "name": "gateway", "address": address(port), "filter_chains": [chain.clone()] })];
        if let Some((port, context)) = tls {
            let mut chain = chain;
            chain["transport_socket"] = json!({ "name": "tls", "typed_config": context });
            listeners.push(json!({ "name": "tls", "address": address(port), "filter_chains": [chain] }));
        }
        let settings = json!({ "static_resources": { "listeners": listeners, "clusters": clusters } }).to_string();
        let files = [("envoy.json", &*settings)];
        let arguments = ["-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"];
        Some(Self::start(test, "envoy", &program, &files, &arguments, port).await)
    }

    /// Starts Traefik; `http` is the dynamic configuration under that name.
    pub(crate) async fn traefik(test: &str, http: Value) -> Option<Self> {
        Self::traefik_on(test, http, None).await
    }

    /// Starts Traefik on one more port, with what its dynamic configuration says of TLS there.
    pub(crate) async fn traefik_on(test: &str, mut http: Value, tls: Option<(u16, Value)>) -> Option<Self> {
        let program = setup::variable("SEKISHO_TRAEFIK", test)?;
        let port = free_port();
        http["routers"]["gateway-ready"] =
            json!({ "rule": format!("Path(`{READY}`)"), "priority": 1_000_000, "service": "ping@internal" });
        let mut settings = json!({
            "global": { "checkNewVersion": false, "sendAnonymousUsage": false },
            "entryPoints": { "gateway": { "address": format!("127.0.0.1:{port}") } },
            "ping": { "manualRouting": true },
            "providers": { "file": { "filename": "dynamic.yml", "watch": false } },
            "log": { "level": "INFO", "noColor": true },
        });
        let mut dynamic = json!({ "http": http });
        if let Some((port, tls)) = tls {
            let entry = json!({ "address": format!("127.0.0.1:{port}"), "http": { "tls": {} } });
            settings["entryPoints"]["tls"] = entry;
            dynamic["tls"] = tls;
        }
        // JSON is YAML.
        let (settings, dynamic) = (settings.to_string(), dynamic.to_string());
        let files = [("traefik.yml", &*settings), ("dynamic.yml", &*dynamic)];
        Some(Self::start(test, "traefik", &program, &files, &["--configFile=traefik.yml"], port).await)
    }

    /// Starts Caddy; `site` are the directives of its only site.
    pub(crate) async fn caddy(test: &str, site: &str) -> Option<Self> {
        Self::caddy_with(test, site, "").await
    }

    /// Starts Caddy with `more` sites.
    pub(crate) async fn caddy_with(test: &str, site: &str, more: &str) -> Option<Self> {
        let program = setup::variable("SEKISHO_CADDY", test)?;
        let port = free_port();
        let settings = format!(
            "{{\n admin off\n auto_https off\n persist_config off\n}}\n\
             http://127.0.0.1:{port} {{\n bind 127.0.0.1\n\
             handle {READY} {{\n respond 200\n}}\n\
             handle {{\n{site}\n}}\n}}\n{more}\n"
        );
        let files = [("Caddyfile", &*settings)];
        let arguments = ["run", "--config", "Caddyfile", "--adapter", "caddyfile"];
        Some(Self::start(test, "caddy", &program, &files, &arguments, port).await)
    }

    async fn start(
        test: &str,
        kind: &str,
        program: &str,
        files: &[(&str, &str)],
        arguments: &[&str],
        port: u16,
    ) -> Self {
        let plain: String = test.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let url = format!("http://127.0.0.1:{port}");
        let ready = format!("{url}{READY}");
        let proxy = Proxy::start(&format!("{kind}--{plain}"), program, files, arguments, &ready).await;
        Self { url, proxy }
    }

    /// Sends a GET, with a bearer token if there is one, and returns status and body.
    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = setup::http().get(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{error}: {}", self.proxy.output()));
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
    }
}

/// What came back from a request whose bytes a test wrote itself.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    /// Status line and headers, in small letters.
    pub(crate) head: String,
    /// Null when it is not a JSON object.
    pub(crate) body: Value,
}

impl Gateway {
    /// Sends a GET for this very target, which no client library puts in order before.
    pub(crate) async fn get_raw(&self, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
        let address = self.address();
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection")) {
            request.push_str("Connection: close\r\n");
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        send_raw(address, request.as_bytes()).await
    }

    /// Asks for a WebSocket at this target over HTTP/2 ([RFC 8441 §4](https://www.rfc-editor.org/rfc/rfc8441#section-4)), and returns the
    /// status.
    pub(crate) async fn open_socket_over_http2(&self, target: &str, headers: &[(&str, &str)]) -> u16 {
        let exchange = async {
            let stream = tokio::net::TcpStream::connect(self.address()).await.expect("the gateway listens");
            let (client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
            let connection = tokio::spawn(connection);
            // The client learns by the gateway's settings that it may ask.
            while !client.is_extended_connect_protocol_enabled() {
                assert!(!connection.is_finished(), "the gateway hung up");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let mut request = axum::http::Request::builder()
                .method("CONNECT")
                .uri(format!("{}{target}", self.url))
                .extension(h2::ext::Protocol::from_static("websocket"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut client = client.ready().await.expect("a connection");
            let (answer, _body) = client.send_request(request.body(()).expect("a request"), false).expect("it is sent");
            let status = answer.await.expect("an answer").status().as_u16();
            connection.abort();
            status
        };
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| panic!("no answer: {}", self.proxy.output()))
    }

    /// Returns host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

/// Sends these very bytes, a request after whose answer the connection ends.
pub(crate) async fn send_raw(address: &str, request: &[u8]) -> RawAnswer {
    let what = String::from_utf8_lossy(request.get(..200).unwrap_or(request)).into_owned();
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("the gateway listens");
    // A server may refuse before it has read all; what it says then is still there to be read.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(read.is_ok(), "no end of {text:?} for {what}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    // Chunked or not, an object of ours is in one piece.
    let object = body.find('{').zip(body.rfind('}')).and_then(|(from, to)| body.get(from..=to));
    RawAnswer {
        status: status.unwrap_or_else(|| panic!("no answer to {what}: {text:?}")),
        head: head.to_ascii_lowercase(),
        body: object.and_then(|object| serde_json::from_str(object).ok()).unwrap_or_default(),
    }
}

/// A service of this process that tells what reached it; dropping it ends it.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    requests: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let echo = |uri: Uri, headers: HeaderMap| async move {
            counted.fetch_add(1, Ordering::Relaxed);
            let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let all: Vec<_> = headers.keys().map(|name| (name.to_string(), text(name.as_str()))).collect();
            let all: serde_json::Map<_, _> = all.into_iter().map(|(name, value)| (name, json!(value))).collect();
            let pairs: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().ok())).collect();
            Json(json!({ "path": uri.path(), "headers": all, "pairs": pairs }))
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let app = Router::new().fallback(echo);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { port, requests, task }
    }

    /// Returns how many requests have come through.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Routes of Envoy that lead everything to one cluster.
pub(crate) fn everything_to(cluster: &str) -> Value {
    json!([{ "match": { "prefix": "/" }, "route": { "cluster": cluster } }])
}

async fn assert_passes(gateway: &Gateway, upstream: &Upstream) {
    let (status, seen) = gateway.get("/orders/7", Some("t0ken")).await;
    assert_eq!((status, &seen["path"]), (200, &json!("/orders/7")), "{seen}");
    assert_eq!(seen["headers"]["authorization"], "Bearer t0ken", "{seen}");
    assert_eq!(upstream.requests(), 1, "the gateway's own page does not reach the service");
}

#[tokio::test]
async fn nginx_passes_a_request() {
    let upstream = Upstream::start().await;
    let server = format!("location / {{ proxy_pass http://127.0.0.1:{}; }}", upstream.port);
    let Some(gateway) = Gateway::nginx("nginx passes a request", &server).await else { return };
    assert_passes(&gateway, &upstream).await;
}

#[tokio::test]
async fn haproxy_passes_a_request() {
    let upstream = Upstream::start().await;
    let backend = format!("backend service\n server one 127.0.0.1:{}", upstream.port);
    let test = "HAProxy passes a request";
    let Some(gateway) = Gateway::haproxy(test, " default_backend service", &backend, &[]).await else { return };
    assert_passes(&gateway, &upstream).await;
}

#[tokio::test]
async fn envoy_passes_a_request() {
    let upstream = Upstream::start().await;
    let clusters = [("service", upstream.port)];
    let gateway = Gateway::envoy("Envoy passes a request", Vec::new(), everything_to("service"), &clusters).await;
    let Some(gateway) = gateway else { return };
    assert_passes(&gateway, &upstream).await;
}

#[tokio::test]
async fn traefik_passes_a_request() {
    let upstream = Upstream::start().await;
    let server = json!([{ "url": format!("http://127.0.0.1:{}", upstream.port) }]);
    let http = json!({
        "routers": { "all": { "rule": "PathPrefix(`/`)", "service": "service" } },
        "services": { "service": { "loadBalancer": { "servers": server } } },
    });
    let Some(gateway) = Gateway::traefik("Traefik passes a request", http).await else { return };
    assert_passes(&gateway, &upstream).await;
}

#[tokio::test]
async fn caddy_passes_a_request() {
    let upstream = Upstream::start().await;
    let site = format!("reverse_proxy 127.0.0.1:{}", upstream.port);
    let Some(gateway) = Gateway::caddy("Caddy passes a request", &site).await else { return };
    assert_passes(&gateway, &upstream).await;
}

/// What a gateway that knows the keys of `issuer` has to do with tokens for `orders-api`.
pub(crate) async fn assert_verifies(gateway: &Gateway, upstream: &Upstream, issuer: &Issuer) {
    let good = issuer.token().audience("orders-api").sign();
    let (status, seen) = gateway.get("/orders", Some(&good)).await;
    assert_eq!((status, &seen["path"]), (200, &json!("/orders")), "{seen}");
    let stranger = Issuer::with_url(issuer.url()).with_algorithm(issuer.algorithm());
    let forged = stranger.token().audience("orders-api").sign();
    let (claims, signature) = (altered(&good, 1), altered(&good, 2));
    for (what, token) in [
        ("no token", None),
        ("no token at all", Some("word")),
        ("altered claims", Some(&*claims)),
        ("an altered signature", Some(&*signature)),
        ("a stranger's key", Some(&*forged)),
    ] {
        assert_eq!(gateway.get("/orders", token).await.0, 401, "{what}");
    }
    assert_eq!(upstream.requests(), 1, "a refused request reached the service");
}

#[tokio::test]
async fn envoy_verifies_tokens_of_our_issuer() {
    let (upstream, issuer) = (Upstream::start().await, Issuer::new().with_algorithm(Algorithm::Es256));
    let filter = json!({ "name": "jwt", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": { "issuer": {
            "issuer": issuer.url(),
            "audiences": ["orders-api"],
            "local_jwks": { "inline_string": issuer.key_set() },
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "issuer" } }],
    } });
    let clusters = [("service", upstream.port)];
    let gateway = Gateway::envoy("Envoy verifies tokens", vec![filter], everything_to("service"), &clusters).await;
    let Some(gateway) = gateway else { return };
    assert_verifies(&gateway, &upstream, &issuer).await;
    let billing = issuer.token().audience("billing-api").sign();
    assert_eq!(gateway.get("/orders", Some(&billing)).await.0, 403, "Envoy calls another audience forbidden");
    let expired = issuer.token().audience("orders-api").expired().sign();
    assert_eq!(gateway.get("/orders", Some(&expired)).await.0, 401);
}

#[tokio::test]
async fn haproxy_verifies_tokens_of_our_issuer() {
    let (upstream, issuer) = (Upstream::start().await, Issuer::new().with_algorithm(Algorithm::Es256));
    let frontend = [
        "http-request set-var(txn.token) http_auth_bearer",
        "http-request deny deny_status 401 unless { var(txn.token),jwt_header_query('$.alg') -m str ES256 }",
        "http-request deny deny_status 401 unless { var(txn.token),jwt_verify(ES256,issuer.pem) -m int 1 }",
        "default_backend service",
    ]
    .join("\n");
    let backend = format!("backend service\n server one 127.0.0.1:{}", upstream.port);
    let pem = p256_pem(&issuer.key_set());
    let files = [("issuer.pem", &*pem)];
    let gateway = Gateway::haproxy("HAProxy verifies tokens", &frontend, &backend, &files).await;
    let Some(gateway) = gateway else { return };
    assert_verifies(&gateway, &upstream, &issuer).await;
}

/// Writes the first key of a set, which is on P-256, as PEM, the only form that HAProxy reads ([RFC 5480]).
///
/// [RFC 5480]: https://www.rfc-editor.org/rfc/rfc5480#section-2
pub(crate) fn p256_pem(key_set: &str) -> String {
    /// `SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING }` up to the point, which is not compressed.
    const HEAD: [u8; 27] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    let set: Value = serde_json::from_str(key_set).expect("JSON");
    let mut der = HEAD.to_vec();
    for name in ["x", "y"] {
        let text = set["keys"][0][name].as_str().expect("a coordinate");
        der.extend(base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).expect("base64url"));
    }
    let text = base64_simd::STANDARD.encode_to_string(&der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}
