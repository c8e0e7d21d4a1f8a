//! Tokens bound to a client's certificate (RFC 8705) through each real proxy, which ends TLS and asks our forward-auth endpoint.

use std::net::SocketAddr;

use sekisho_core::scope;
use sekisho_gateway::{Access, Dialect, ExtAuthz, ForwardAuth, IdentityHeaders, Rule, RuleTable};
use sekisho_http::{Checkpoint, ClientCertificateHeader, TrustedProxies};
use sekisho_jwt::{Algorithm, Jwt};
use sekisho_testkit::Issuer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::certificates::{Pki, Shown, told};
use crate::forward_auth::{ext_authz, haproxy_script};
use crate::gateway_process::free_port;
use crate::gateways::{Gateway, Upstream, everything_to};

const HOST: &str = "api.example";

/// Makes the header by which a proxy hands certificates over.
type HeaderOf = fn(TrustedProxies) -> ClientCertificateHeader;

/// The endpoint, the service and the certificates; `tls` is the port on which the proxy ends TLS.
struct Guarded {
    upstream: Upstream,
    issuer: Issuer,
    pki: Pki,
    own: Shown,
    port: u16,
    tls: u16,
    task: JoinHandle<()>,
}

impl Guarded {
    /// `dialect`: `None` for Envoy's over gRPC, where no header is believed.
    async fn start(dialect: Option<(Dialect, HeaderOf)>) -> Self {
        let issuer = Issuer::with_url("https://id.example").with_algorithm(Algorithm::Es256);
        let proxies = || TrustedProxies::new(["127.0.0.1"]).expect("an address");
        let jwt = Jwt::issuer(issuer.url()).audience("orders-api").with_keys(issuer.static_keys());
        let mut checkpoint = Checkpoint::builder().accept(jwt.with_certificate_binding());
        if let Some((_, header)) = dialect {
            checkpoint = checkpoint.with_client_certificate_header(header(proxies()));
        }
        let checkpoint = checkpoint.build().expect("a checkpoint");
        let rules = RuleTable::new([Rule::new("/orders/*", Access::Require(scope("orders:read")))]).expect("rules");
        let (port, task);
        if let Some((dialect, _)) = dialect {
            let auth = ForwardAuth::new(dialect, checkpoint, rules, proxies()).expect("an endpoint");
            let app = auth.with_identity(IdentityHeaders::standard()).router("/check");
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
            port = listener.local_addr().expect("an address").port();
            let service = app.into_make_service_with_connect_info::<SocketAddr>();
            task = tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
        } else {
            port = free_port();
            let endpoint = ExtAuthz::new(checkpoint, rules, proxies()).expect("an endpoint");
            let endpoint = endpoint.with_identity(IdentityHeaders::standard());
            let server = tonic::transport::Server::builder().add_service(endpoint);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            task = tokio::spawn(async move { server.serve(address).await.expect("it serves") });
        }
        let pki = Pki::new(HOST);
        let own = pki.issue("own.example");
        Self { upstream: Upstream::start().await, issuer, pki, own, port, tls: free_port(), task }
    }

    async fn get(&self, shown: Option<&Shown>, token: &str, headers: &[(&str, String)]) -> u16 {
        let client = self.pki.client(shown, [127, 0, 0, 1], self.tls);
        let mut request = client.get(format!("https://{HOST}:{}/orders/7", self.tls)).bearer_auth(token);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.send().await.expect("an answer").status().as_u16()
    }

    /// The same for every proxy.
    async fn assert_binds(&self) {
        let other = self.pki.issue("other.example");
        let token = || self.issuer.token().audience("orders-api").scope("orders:read");
        let (unbound, bound) = (token().sign(), token().bound_to_certificate(&self.own.der).sign());
        for (what, shown, token, status) in [
            ("the token with its certificate", Some(&self.own), &bound, 200),
            ("the token alone", None, &bound, 401),
            ("another's certificate", Some(&other), &bound, 401),
            ("a token that is bound to nobody", None, &unbound, 200),
        ] {
            assert_eq!(self.get(shown, token, &[]).await, status, "{what}");
        }
        assert_eq!(self.upstream.requests(), 2);
        for lie in told(&self.own) {
            let name = lie.0;
            let twice = [lie.clone(), lie.clone()];
            let named = [("Connection", name.to_owned()), lie.clone()];
            for headers in [&[lie.clone()][..], &twice, &named] {
                for (what, shown) in [("no certificate", None), ("another's certificate", Some(&other))] {
                    let status = self.get(shown, &bound, headers).await;
                    assert!([400, 401].contains(&status), "{what} and {name}: {status}");
                }
            }
        }
        assert_eq!(self.upstream.requests(), 2, "a header of the client's own opened");
        // Another's word beside the certificate changes nothing; it may be refused.
        for lie in told(&other) {
            let name = lie.0;
            let status = self.get(Some(&self.own), &bound, &[lie]).await;
            assert!([200, 400].contains(&status), "{name}: {status}");
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn nginx_hands_over_the_certificate_and_no_client_can() {
    let header = |proxies| ClientCertificateHeader::escaped_pem("ssl-client-cert", proxies).expect("a header");
    let guarded = Guarded::start(Some((Dialect::Nginx, header))).await;
    let file = |name: &str| guarded.pki.file(name);
    let settings = format!(
        "listen 127.0.0.1:{tls} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_client_certificate {authorities};
        ssl_verify_client optional;
        location / {{
            auth_request /_authz;
            proxy_set_header Authorization \"\";
            proxy_set_header ssl-client-cert \"\";
            proxy_pass http://127.0.0.1:{upstream};
        }}
        location = /_authz {{
            internal;
            proxy_pass http://127.0.0.1:{endpoint}/check;
            proxy_pass_request_body off;
            proxy_set_header Content-Length \"\";
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Original-URI    $request_uri;
            proxy_set_header ssl-client-cert   $ssl_client_escaped_cert;
        }}",
        tls = guarded.tls,
        chain = file("chain.pem"),
        key = file("key.pem"),
        authorities = file("authorities.pem"),
        upstream = guarded.upstream.port,
        endpoint = guarded.port,
    );
    let Some(_gateway) = Gateway::nginx("client certificates through nginx", &settings).await else { return };
    guarded.assert_binds().await;
}

#[tokio::test]
async fn traefik_hands_over_the_certificate_and_no_client_can() {
    let guarded = Guarded::start(Some((Dialect::Traefik, ClientCertificateHeader::traefik))).await;
    let file = |name: &str| guarded.pki.file(name);
    let tls = json!({
        "certificates": [{ "certFile": file("chain.pem"), "keyFile": file("key.pem") }],
        "options": { "default": { "clientAuth": {
            "caFiles": [file("authorities.pem")],
            "clientAuthType": "VerifyClientCertIfGiven",
        } } },
    });
    let server = json!([{ "url": format!("http://127.0.0.1:{}", guarded.upstream.port) }]);
    let middlewares = json!(["certificate", "sekisho"]);
    let http = json!({
        "middlewares": {
            "certificate": { "passTLSClientCert": { "pem": true } },
            "sekisho": { "forwardAuth": { "address": format!("http://127.0.0.1:{}/check", guarded.port) } },
        },
        "routers": { "all": { "rule": "PathPrefix(`/`)", "service": "service", "middlewares": middlewares } },
        "services": { "service": { "loadBalancer": { "servers": server } } },
    });
    let test = "client certificates through Traefik";
    let Some(_gateway) = Gateway::traefik_on(test, http, Some((guarded.tls, tls))).await else { return };
    guarded.assert_binds().await;
}

#[tokio::test]
async fn caddy_hands_over_the_certificate_and_no_client_can() {
    let header = |proxies| ClientCertificateHeader::base64("X-Client-Cert", proxies).expect("a header");
    let guarded = Guarded::start(Some((Dialect::Caddy, header))).await;
    let file = |name: &str| guarded.pki.file(name);
    let site = format!(
        "https://{HOST}:{tls} {{
            bind 127.0.0.1
            tls {chain} {key} {{
                client_auth {{
                    mode verify_if_given
                    trust_pool file {{
                        pem_file {authorities}
                    }}
                }}
            }}
            route {{
                forward_auth 127.0.0.1:{endpoint} {{
                    uri /check
                    header_up X-Client-Cert {{http.request.tls.client.certificate_der_base64}}
                }}
                reverse_proxy 127.0.0.1:{upstream}
            }}
        }}",
        tls = guarded.tls,
        chain = file("chain.pem"),
        key = file("key.pem"),
        authorities = file("authorities.pem"),
        endpoint = guarded.port,
        upstream = guarded.upstream.port,
    );
    let test = "client certificates through Caddy";
    let Some(_gateway) = Gateway::caddy_with(test, "respond 404", &site).await else { return };
    guarded.assert_binds().await;
}

#[tokio::test]
async fn haproxy_hands_over_the_certificate_by_a_script_and_no_client_can() {
    let guarded = Guarded::start(Some((Dialect::Nginx, ClientCertificateHeader::rfc9440))).await;
    let frontend = format!(
        " bind 127.0.0.1:{tls} ssl crt {server} ca-file {authorities} verify optional
 http-request del-header Client-Cert
 http-request set-header Client-Cert :%[ssl_c_der,base64]: if {{ ssl_c_used }}
 http-request lua.sekisho http://127.0.0.1:{endpoint}/check
 http-request deny deny_status 503 unless {{ var(txn.sekisho) -m str passes }}
 default_backend service",
        tls = guarded.tls,
        server = guarded.pki.file("server.pem"),
        authorities = guarded.pki.file("authorities.pem"),
        endpoint = guarded.port,
    );
    let backend = format!("backend service\n server one 127.0.0.1:{}", guarded.upstream.port);
    let (test, files) = ("client certificates through HAProxy", [("sekisho.lua", haproxy_script())]);
    let gateway = Gateway::haproxy_with(test, " lua-load sekisho.lua", &frontend, &backend, &files).await;
    let Some(_gateway) = gateway else { return };
    guarded.assert_binds().await;
}

/// Starts Envoy with this filter; `endpoint` is the name of the endpoint's cluster.
async fn envoy(guarded: &Guarded, test: &str, endpoint: &str, filter: Value) -> Option<Gateway> {
    let file = |name: &str| json!({ "filename": guarded.pki.file(name) });
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [{ "certificate_chain": file("chain.pem"), "private_key": file("key.pem") }],
            "validation_context": { "trusted_ca": file("authorities.pem") },
        },
    });
    let settings = json!({
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": { "cert": true },
    });
    let clusters = [("service", guarded.upstream.port), (endpoint, guarded.port)];
    let (routes, tls) = (everything_to("service"), Some((guarded.tls, tls)));
    Gateway::envoy_on(test, vec![filter], routes, &clusters, &settings, tls).await
}

#[tokio::test]
async fn envoy_hands_over_the_certificate_over_http_and_no_client_can() {
    let guarded = Guarded::start(Some((Dialect::Envoy, ClientCertificateHeader::envoy))).await;
    let filter = ext_authz(json!({ "http_service": {
        "server_uri": { "uri": format!("http://127.0.0.1:{}", guarded.port), "cluster": "sekisho", "timeout": "5s" },
        "path_prefix": "/check",
        "authorization_request": { "allowed_headers": { "patterns": [{ "exact": "x-forwarded-client-cert" }] } },
    } }));
    let gateway = envoy(&guarded, "client certificates through Envoy over HTTP", "sekisho", filter).await;
    let Some(_gateway) = gateway else { return };
    guarded.assert_binds().await;
}

#[tokio::test]
async fn envoy_hands_over_the_certificate_over_grpc_and_no_client_can() {
    let guarded = Guarded::start(None).await;
    let filter = ext_authz(json!({
        "grpc_service": { "envoy_grpc": { "cluster_name": "sekisho_grpc" }, "timeout": "5s" },
        "include_peer_certificate": true,
    }));
    let gateway = envoy(&guarded, "client certificates through Envoy over gRPC", "sekisho_grpc", filter).await;
    let Some(_gateway) = gateway else { return };
    guarded.assert_binds().await;
}
