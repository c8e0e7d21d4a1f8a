//! Our forward-auth endpoint, asked by each real proxy with the configuration of `docs/gateway.md`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use sekisho_core::scope;
use sekisho_gateway::{Access, Dialect, ExtAuthz, ForwardAuth, IdentityHeaders, Rule, RuleTable};
use sekisho_http::{Checkpoint, TrustedProxies};
use sekisho_jwt::{Algorithm, Jwt};
use sekisho_testkit::Issuer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::gateway_process::free_port;
use crate::gateways::{Gateway, RawAnswer, Upstream, everything_to};
use crate::setup::altered;

/// Within this the endpoint has found keys that are there. The longest pause between attempts is 5 s.
const SOON: Duration = Duration::from_secs(20);

const IDENTITY: [&str; 4] = ["X-Auth-Subject", "X-Auth-Issuer", "X-Auth-Client", "X-Auth-Scope"];

/// The endpoint, and an issuer whose keys cannot be had until [`publish`](Self::publish).
struct Authz {
    port: u16,
    issuer: Issuer,
    keys_port: u16,
    tasks: Vec<JoinHandle<()>>,
}

impl Authz {
    /// `dialect`: `None` for Envoy's over gRPC.
    async fn start(dialect: Option<Dialect>) -> Self {
        let keys_port = free_port();
        let issuer = Issuer::with_url(format!("http://127.0.0.1:{keys_port}")).with_algorithm(Algorithm::Es256);
        let verifier = Jwt::issuer(issuer.url()).audience("orders-api").build().expect("a verifier");
        let checkpoint = Checkpoint::builder().accept(verifier).with_cookie("__Host-token");
        let checkpoint = checkpoint.build().expect("a checkpoint");
        let rules = RuleTable::new([
            Rule::new("/health", Access::Public),
            Rule::new("/public/*", Access::Public),
            Rule::new("/orders/*", Access::Require(scope("orders:read"))).for_methods(["GET"]),
        ])
        .expect("rules");
        let proxies = TrustedProxies::new(["127.0.0.1"]).expect("an address");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let mut port = listener.local_addr().expect("an address").port();
        let task = if let Some(dialect) = dialect {
            let endpoint = ForwardAuth::new(dialect, checkpoint, rules, proxies).expect("an endpoint");
            let app = endpoint.with_identity(IdentityHeaders::standard()).router("/check");
            let service = app.into_make_service_with_connect_info::<SocketAddr>();
            tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") })
        } else {
            drop(listener);
            port = free_port();
            let endpoint = ExtAuthz::new(checkpoint, rules, proxies).expect("an endpoint");
            let endpoint = endpoint.with_identity(IdentityHeaders::standard());
            let server = tonic::transport::Server::builder().add_service(endpoint);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            tokio::spawn(async move { server.serve(address).await.expect("it serves") })
        };
        Self { port, issuer, keys_port, tasks: vec![task] }
    }

    async fn publish(&mut self) {
        let url = self.issuer.url().to_owned();
        let metadata = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string();
        let keys = self.issuer.key_set();
        let json = |text: String| get(move || async move { ([("content-type", "application/json")], text) });
        let app = Router::new()
            .route("/.well-known/openid-configuration", json(metadata.clone()))
            .route("/.well-known/oauth-authorization-server", json(metadata))
            .route("/keys", json(keys));
        let listener = TcpListener::bind(("127.0.0.1", self.keys_port)).await.expect("the port is still free");
        self.tasks.push(tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") }));
    }

    fn token(&self, scope: &str) -> String {
        self.issuer.token().audience("orders-api").subject("alice").scope(scope).sign()
    }
}

impl Drop for Authz {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Returns all that the service saw under names that it may read as this one.
fn seen<'a>(answer: &'a RawAnswer, name: &str) -> Vec<&'a str> {
    let pairs = answer.body["pairs"].as_array().unwrap_or_else(|| panic!("not from the service: {answer:?}"));
    let alike = |pair: &&Value| pair[0].as_str().is_some_and(|own| own.replace('_', "-").eq_ignore_ascii_case(name));
    pairs.iter().filter(alike).map(|pair| pair[1].as_str().unwrap_or_default()).collect()
}

/// The same for every proxy.
async fn assert_guards(gateway: &Gateway, upstream: &Upstream, authz: &mut Authz) {
    let good = format!("Bearer {}", authz.token("orders:read"));
    let authorized = [("Authorization", &*good)];

    // The keys cannot be had: that is not the caller's fault, and nobody passes.
    let down = gateway.get_raw("/orders/7", &authorized).await;
    assert_eq!(down.status, 503, "{down:?}");
    assert!(!down.head.contains("www-authenticate"), "{down:?}");
    assert_eq!(upstream.requests(), 0, "passed without keys");
    authz.publish().await;
    let begun = Instant::now();
    while gateway.get_raw("/orders/7", &authorized).await.status != 200 {
        assert_eq!(upstream.requests(), 0);
        assert!(begun.elapsed() < SOON, "the keys are not found");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let passed = upstream.requests();

    // Credentials.
    let answer = gateway.get_raw("/orders/7", &authorized).await;
    assert_eq!((answer.status, &answer.body["path"]), (200, &json!("/orders/7")), "{answer:?}");
    assert_eq!(seen(&answer, "x-auth-subject"), ["alice"]);
    assert_eq!(seen(&answer, "x-auth-scope"), ["orders:read"]);
    assert_eq!(seen(&answer, "x-auth-issuer"), [authz.issuer.url()]);
    let stranger = Issuer::with_url(authz.issuer.url()).with_algorithm(Algorithm::Es256);
    let token = authz.token("orders:read");
    let expired = authz.issuer.token().audience("orders-api").scope("orders:read").expired().sign();
    let other = authz.issuer.token().audience("billing-api").scope("orders:read").sign();
    let forged = stranger.token().audience("orders-api").scope("orders:read").sign();
    for (what, token, status) in [
        ("no token", None, 401),
        ("a word", Some("word".to_owned()), 401),
        ("altered claims", Some(altered(&token, 1)), 401),
        ("an altered signature", Some(altered(&token, 2)), 401),
        ("expired", Some(expired), 401),
        ("for another audience", Some(other), 401),
        ("by a stranger's key", Some(forged), 401),
        ("without the scope", Some(authz.token("orders:write")), 403),
    ] {
        let header = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = header.iter().map(|value| ("Authorization", &**value)).collect();
        let answer = gateway.get_raw("/orders/7", &headers).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(status != 401 || answer.head.contains("\r\nwww-authenticate: bearer"), "{what}: {answer:?}");
    }
    assert_eq!(gateway.get_raw("/unlisted", &authorized).await.status, 403);
    assert_eq!(upstream.requests(), passed + 1, "a refused request reached the service");

    assert_cookies_come_from_our_pages(gateway, &token).await;
    assert_identity_is_ours(gateway, &good).await;
    assert_paths_are_one(gateway, &good).await;
}

/// The proxy shows us what tells who caused a request.
async fn assert_cookies_come_from_our_pages(gateway: &Gateway, token: &str) {
    let cookie = format!("__Host-token={token}");
    let socket = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let site = |site: &'static str| ("Sec-Fetch-Site", site);
    for (headers, status) in [
        (&[site("cross-site")][..], 200),
        (&[socket], 403),
        (&[socket, site("cross-site")], 403),
        (&[socket, site("same-site")], 403),
        (&[socket, ("Origin", "https://evil.example")], 403),
        (&[socket, site("same-origin"), ("Origin", "http://127.0.0.1")], 200),
        (&[socket, ("X-CSRF", "1")], 200),
    ] {
        let headers: Vec<_> = headers.iter().copied().chain([("Cookie", &*cookie)]).collect();
        let answer = gateway.get_raw("/orders/7", &headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
}

/// A socket over HTTP/2 has no key, and the proxy makes a `GET` of it.
async fn assert_sockets_over_http2_are_opened_by_our_pages(gateway: &Gateway, upstream: &Upstream, authz: &Authz) {
    let cookie = format!("__Host-token={}", authz.token("orders:read"));
    let passed = upstream.requests();
    for cause in [&[("origin", "https://evil.example")][..], &[("sec-fetch-site", "cross-site")], &[]] {
        let headers: Vec<_> =
            [("cookie", &*cookie), ("sec-websocket-version", "13")].iter().chain(cause).copied().collect();
        assert_eq!(gateway.open_socket_over_http2("/orders/7", &headers).await, 403, "{cause:?}");
    }
    // `Upgrade`, which the proxy writes, is enough.
    let bare = [("cookie", &*cookie), ("sec-fetch-site", "cross-site")];
    assert_eq!(gateway.open_socket_over_http2("/orders/7", &bare).await, 403);
    assert_eq!(upstream.requests(), passed, "a refused request reached the service");
    let own = [("cookie", &*cookie), ("sec-websocket-version", "13"), ("sec-fetch-site", "same-origin")];
    let status = gateway.open_socket_over_http2("/orders/7", &own).await;
    assert_eq!(upstream.requests(), passed + 1, "our own page is answered with {status}");
}

async fn assert_identity_is_ours(gateway: &Gateway, good: &str) {
    for name in ["X-Auth-Subject", "x-auth-subject", "X_Auth_Subject", "X-Auth_Subject", "x_auth-subject"] {
        for (target, token) in [("/public/page", None), ("/health", None), ("/orders/7", Some(good))] {
            let mut headers = vec![(name, "root"), ("X-Auth-Scope", "admin"), (name, "root")];
            headers.extend(token.map(|token| ("Authorization", token)));
            let answer = gateway.get_raw(target, &headers).await;
            if answer.status != 200 {
                assert!(answer.status == 400 && name.contains('_'), "{name} {target}: {answer:?}");
                continue;
            }
            let (subject, scope) = token.map_or(("", ""), |_| ("alice", "orders:read"));
            for (header, own) in [("x-auth-subject", subject), ("x-auth-scope", scope)] {
                let all = seen(&answer, header);
                let said: Vec<_> = all.into_iter().filter(|value| !value.is_empty()).collect();
                let expected: &[&str] = if own.is_empty() { &[] } else { &[own] };
                assert_eq!(said, expected, "{name} {target}: {answer:?}");
            }
        }
        for value in ["root", "alice"] {
            let answer = gateway.get_raw("/orders/7", &[(name, value)]).await;
            assert!([400, 401].contains(&answer.status), "{name}: {answer:?}");
        }
    }
    // A client that asks for the removal of what the proxy adds stays nobody; it never becomes somebody.
    let hop = [("Connection", "close, X-Auth-Subject"), ("X-Auth-Subject", "root"), ("Authorization", good)];
    let answer = gateway.get_raw("/orders/7", &hop).await;
    if answer.status == 200 {
        let all = seen(&answer, "x-auth-subject");
        assert!(all.iter().all(|value| ["", "alice"].contains(value)), "{answer:?}");
    }
}

async fn assert_paths_are_one(gateway: &Gateway, good: &str) {
    for target in [
        "/public/../orders/7",
        "/public/./../orders/7",
        "/public//../orders/7",
        "/public/%2e%2e/orders/7",
        "/public/..%2forders/7",
        "/public/..%252forders/7",
        "/public/..;/orders/7",
        "/public/..\\orders/7",
        "/public/..%5corders/7",
        "/public/%c0%ae%c0%ae/orders/7",
        "/health/../orders/7",
        "/health%00/../orders/7",
        "//orders/7",
        "///orders//7",
        "/./orders/7",
        "/orders%2f7",
        "/orders%2F7",
        "/orders;x/7",
        "/%6frders/7",
        "/orders/7?x=/../../health",
        "/orders/7?/public/",
        "/orders/7#/../health",
    ] {
        let answer = gateway.get_raw(target, &[]).await;
        let path = answer.body["path"].as_str().unwrap_or_default();
        let is_public = path.starts_with("/public/") && !path.contains([';', '%', '\\']) && !path.contains("..");
        assert!(answer.status != 200 || is_public, "{target} is open: {answer:?}");
        // With a token it may pass, but only as what it was decided to be.
        let lacking = gateway.get_raw(target, &[("Authorization", good)]).await;
        let path = lacking.body["path"].as_str().unwrap_or_default();
        let is_plain = path.starts_with("/public/") || path.starts_with("/orders/") || path == "/%6frders/7";
        assert!(lacking.status != 200 || is_plain && !path.contains(".."), "{target}: {lacking:?}");
    }
    // What a client says about its request in the proxy's words.
    for (name, value) in [
        ("X-Original-URI", "/health"),
        ("X-Original-Method", "OPTIONS"),
        ("X-Forwarded-Uri", "/health"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-Prefix", "/health"),
        ("X-Original-URL", "/health"),
        ("X-Rewrite-URL", "/health"),
        ("X-Envoy-Original-Path", "/health"),
        ("X_Original_URI", "/health"),
        ("X_Forwarded_Uri", "/health"),
    ] {
        let answer = gateway.get_raw("/orders/7", &[(name, value)]).await;
        assert!([400, 401].contains(&answer.status), "{name} opens: {answer:?}");
    }
}

#[tokio::test]
async fn nginx_asks_and_obeys() {
    let (upstream, mut authz) = (Upstream::start().await, Authz::start(Some(Dialect::Nginx)).await);
    let mut identity = String::new();
    for name in IDENTITY {
        let variable = name.to_lowercase().replace('-', "_");
        identity.push_str(&format!("auth_request_set ${variable} $upstream_http_{variable};\n"));
        identity.push_str(&format!("proxy_set_header {name} ${variable};\n"));
    }
    let own = format!("{identity}proxy_set_header Authorization \"\";");
    let gateway = Gateway::asking_nginx("forward-auth by nginx", authz.port, upstream.port, &own).await;
    let Some(gateway) = gateway else { return };
    assert_guards(&gateway, &upstream, &mut authz).await;
    let refused = gateway.get_raw("/public/../orders/7", &[]).await;
    assert_eq!(refused.status, 400, "the location turns 500 back into ours: {refused:?}");
}

#[tokio::test]
async fn traefik_asks_and_obeys() {
    let (upstream, mut authz) = (Upstream::start().await, Authz::start(Some(Dialect::Traefik)).await);
    let server = json!([{ "url": format!("http://127.0.0.1:{}", upstream.port) }]);
    // Names that a service may read as those of identity headers; an empty value takes them out.
    let alike = ["Subject", "Issuer", "Client", "Scope"]
        .iter()
        .flat_map(|field| ["X_Auth_", "X_Auth-", "X-Auth_"].map(|prefix| (format!("{prefix}{field}"), json!(""))));
    let alike: serde_json::Map<_, _> = alike.collect();
    let http = json!({
        "middlewares": {
            "plain": { "headers": { "customRequestHeaders": alike } },
            "sekisho": { "forwardAuth": {
                "address": format!("http://127.0.0.1:{}/check", authz.port),
                "authResponseHeaders": IDENTITY,
            } },
        },
        "routers": { "all": { "rule": "PathPrefix(`/`)", "service": "service", "middlewares": ["plain", "sekisho"] } },
        "services": { "service": { "loadBalancer": { "servers": server } } },
    });
    let Some(gateway) = Gateway::traefik("forward-auth by Traefik", http).await else { return };
    assert_guards(&gateway, &upstream, &mut authz).await;
}

#[tokio::test]
async fn caddy_asks_and_obeys() {
    let (upstream, mut authz) = (Upstream::start().await, Authz::start(Some(Dialect::Caddy)).await);
    let site = format!(
        "forward_auth 127.0.0.1:{endpoint} {{
            uri /check
            copy_headers {identity}
        }}
        request_header -X-Auth-Token
        reverse_proxy 127.0.0.1:{upstream}",
        endpoint = authz.port,
        identity = IDENTITY.join(" "),
        upstream = upstream.port,
    );
    let Some(gateway) = Gateway::caddy("forward-auth by Caddy", &site).await else { return };
    assert_guards(&gateway, &upstream, &mut authz).await;
}

/// Returns the script of `docs/gateway.md` by which HAProxy asks, in the words of nginx.
pub(crate) fn haproxy_script() -> &'static str {
    let rest = include_str!("../../docs/gateway.md").split_once("```lua\n").expect("a script").1;
    rest.split("```").next().expect("its end")
}

#[tokio::test]
async fn haproxy_asks_by_a_script_and_obeys() {
    let (upstream, mut authz) = (Upstream::start().await, Authz::start(Some(Dialect::Nginx)).await);
    let frontend = format!(
        " http-request lua.sekisho http://127.0.0.1:{}/check
 http-request deny deny_status 503 unless {{ var(txn.sekisho) -m str passes }}
 http-request del-header Authorization
 default_backend service",
        authz.port
    );
    let backend = format!("backend service\n server one 127.0.0.1:{}", upstream.port);
    let (test, files) = ("forward-auth by HAProxy", [("sekisho.lua", haproxy_script())]);
    let gateway = Gateway::haproxy_with(test, " lua-load sekisho.lua", &frontend, &backend, &files).await;
    let Some(gateway) = gateway else { return };
    assert_guards(&gateway, &upstream, &mut authz).await;
    assert_sockets_over_http2_are_opened_by_our_pages(&gateway, &upstream, &authz).await;
    // A script that fails is as if it had not been there: the line after it has to refuse.
    let passed = upstream.requests();
    drop(authz);
    let good = [("Authorization", "Bearer x")];
    assert_eq!(gateway.get_raw("/health", &good).await.status, 503, "nobody to ask");
    assert_eq!(upstream.requests(), passed);
}

#[tokio::test]
async fn haproxy_refuses_when_its_script_fails() {
    let upstream = Upstream::start().await;
    let frontend = " http-request lua.sekisho nowhere
 http-request deny deny_status 503 unless { var(txn.sekisho) -m str passes }
 default_backend service";
    let backend = format!("backend service\n server one 127.0.0.1:{}", upstream.port);
    let script = r#"core.register_action("sekisho", { "http-req" }, function(txn, endpoint) error("broken") end, 1)"#;
    let (test, files) = ("a broken script of HAProxy", [("sekisho.lua", script)]);
    let gateway = Gateway::haproxy_with(test, " lua-load sekisho.lua", frontend, &backend, &files).await;
    let Some(gateway) = gateway else { return };
    assert_eq!(gateway.get_raw("/health", &[]).await.status, 503);
    assert_eq!(upstream.requests(), 0);
}

pub(crate) fn ext_authz(settings: Value) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": false,
        "status_on_error": { "code": "ServiceUnavailable" },
    });
    for (name, value) in settings.as_object().expect("an object") {
        config[name] = value.clone();
    }
    json!({ "name": "envoy.filters.http.ext_authz", "typed_config": config })
}

/// What the connection manager has to do in both of Envoy's ways.
fn manager() -> Value {
    json!({
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        // WebSockets, over HTTP/2 too.
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "http2_protocol_options": { "allow_connect": true },
    })
}

#[tokio::test]
async fn envoy_asks_over_http_and_obeys() {
    let (upstream, mut authz) = (Upstream::start().await, Authz::start(Some(Dialect::Envoy)).await);
    let exact = |name: &str| json!({ "exact": name });
    let mut to_us = ["cookie", "origin", "sec-fetch-site", "upgrade", "x-csrf"].map(exact).to_vec();
    to_us.push(json!({ "prefix": "sec-websocket-" }));
    let to_client = ["www-authenticate", "content-type", "cache-control", "retry-after"].map(exact);
    let uri = format!("http://127.0.0.1:{}", authz.port);
    let filter = ext_authz(json!({ "http_service": {
        "server_uri": { "uri": uri, "cluster": "sekisho", "timeout": "1s" },
        "path_prefix": "/check",
        "authorization_request": { "allowed_headers": { "patterns": to_us } },
        "authorization_response": {
            "allowed_upstream_headers": {
                "patterns": [{ "prefix": "x-auth-" }, exact("x-envoy-auth-headers-to-remove")],
            },
            "allowed_client_headers": { "patterns": to_client },
        },
    } }));
    let clusters = [("service", upstream.port), ("sekisho", authz.port)];
    let test = "forward-auth by Envoy over HTTP";
    let mut settings = manager();
    settings["common_http_protocol_options"] = json!({ "headers_with_underscores_action": "REJECT_REQUEST" });
    let routes = everything_to("service");
    let gateway = Gateway::envoy_with(test, vec![filter], routes, &clusters, &settings).await;
    let Some(gateway) = gateway else { return };
    assert_guards(&gateway, &upstream, &mut authz).await;
    assert_sockets_over_http2_are_opened_by_our_pages(&gateway, &upstream, &authz).await;
}

#[tokio::test]
async fn envoy_asks_over_grpc_and_obeys() {
    let (upstream, mut authz) = (Upstream::start().await, Authz::start(None).await);
    let filter = ext_authz(json!({ "grpc_service": {
        "envoy_grpc": { "cluster_name": "sekisho_grpc" },
        "timeout": "1s",
    } }));
    let clusters = [("service", upstream.port), ("sekisho_grpc", authz.port)];
    let test = "forward-auth by Envoy over gRPC";
    // Look-alikes with `_` come through Envoy; our answer has them taken out.
    let settings = manager();
    let routes = everything_to("service");
    let gateway = Gateway::envoy_with(test, vec![filter], routes, &clusters, &settings).await;
    let Some(gateway) = gateway else { return };
    assert_guards(&gateway, &upstream, &mut authz).await;
    assert_sockets_over_http2_are_opened_by_our_pages(&gateway, &upstream, &authz).await;
}
