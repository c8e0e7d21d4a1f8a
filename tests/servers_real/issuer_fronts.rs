//! Our own authorization server behind each real proxy that ends TLS, with the configuration of `docs/issuer-fronts.md`.

mod flows;
mod spoils;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sekisho_core::{Failure, Secret, UnixSeconds};
use sekisho_http::{ClientCertificateHeader, TrustedProxies};
use sekisho_issuer::{
    AuthenticatedUser, AuthorizationServer, CertificateRule, Client, ClientAuthentication, ClientBuilder, ClientSecret,
    Essentials, IssuerKeys, KeyRotation, LoginCheck, LoginOutcome, MasterKey, MemoryKeyStore, MemoryStore,
    PasswordAttempt, SecondFactorAttempt, StaticClients,
};
use sekisho_jwt::Algorithm;
use serde_json::json;
use tokio::net::TcpListener;

use crate::certificates::{Pki, Shown};
use crate::gateway_process::free_port;
use crate::gateways::{Gateway, everything_to};
use crate::setup;

const HOST: &str = "id.example";
const REDIRECT_URI: &str = "https://shop.example/callback";
/// Where clients come from: not the proxy's own address, or the server would look behind it.
const CLIENT: [u8; 4] = [127, 0, 0, 2];

/// Knows one person, and remembers from where people came.
#[derive(Debug, Default)]
struct People {
    addresses: Mutex<Vec<Option<IpAddr>>>,
}

#[async_trait]
impl LoginCheck for People {
    async fn password(&self, attempt: PasswordAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        self.addresses.lock().expect("a lock").push(attempt.client_address);
        if attempt.username != "alice" || attempt.password.expose_str() != Some("alice-password") {
            return Ok(LoginOutcome::Refused);
        }
        let (subject, methods) = ("user-1".to_owned(), vec!["pwd".to_owned()]);
        Ok(LoginOutcome::Authenticated(AuthenticatedUser {
            subject,
            methods,
            context: None,
            authenticated_at: now,
            revision: None,
        }))
    }

    async fn second_factor(&self, _: SecondFactorAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }
}

/// The server on a loopback port, whose issuer identifier is the proxy's URL; dropping it ends it.
struct Behind {
    url: String,
    port: u16,
    tls: u16,
    pki: Pki,
    /// The certificate of the clients `tls-worker`, by its thumbprint, and `named-worker`, by its subject.
    own: Shown,
    people: Arc<People>,
    task: tokio::task::JoinHandle<()>,
}

impl Behind {
    async fn start(header: impl FnOnce(TrustedProxies) -> ClientCertificateHeader) -> Self {
        let (tls, pki, people) = (free_port(), Pki::new(HOST), Arc::new(People::default()));
        let own = pki.issue("worker");
        let url = format!("https://{HOST}:{tls}");
        let (store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate().expect("a key"));
        let keys = IssuerKeys::open(store, master, &[Algorithm::Es256], KeyRotation::default(), setup::now()).await;
        let essentials = Essentials {
            clients: Arc::new(StaticClients::new(clients(&own)).expect("clients")),
            login: Arc::<People>::clone(&people),
            store: Arc::new(MemoryStore::new()),
            keys: Arc::new(keys.expect("keys")),
        };
        let proxies = TrustedProxies::new(["127.0.0.1"]).expect("an address");
        let server = AuthorizationServer::builder(&url, essentials)
            .with_trusted_proxies(proxies.clone())
            .with_client_certificate_header(header(proxies))
            .build()
            .expect("a server");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let service = server.router().into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
        Self { url, port, tls, pki, own, people, task }
    }

    /// Returns a client of the proxy's port that ends TLS.
    fn client(&self, shown: Option<&Shown>) -> reqwest::Client {
        self.pki.client(shown, CLIENT, self.tls)
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn secret(id: &str) -> String {
    format!("{id}-secret-0123456789abcdef0123456789")
}

fn clients(own: &Shown) -> Vec<Client> {
    let by_secret = |id: &str| {
        let hash = ClientSecret::from_secret(&Secret::from(secret(id))).expect("a secret");
        Client::confidential(id, ClientAuthentication::Secret(vec![hash]))
    };
    let by_certificate =
        |id: &str, rule: CertificateRule| Client::confidential(id, ClientAuthentication::Certificate(rule));
    let worker =
        |client: ClientBuilder| client.with_client_credentials().with_scopes("orders:read").with_audience("orders-api");
    let web = Client::public("web")
        .with_redirect_uri(REDIRECT_URI)
        .with_scopes("openid orders:read")
        .with_audience("orders-api")
        .without_consent();
    let clients = [
        web,
        worker(by_secret("worker")),
        worker(
            by_certificate("tls-worker", CertificateRule::Thumbprint(own.thumbprint())).with_certificate_bound_tokens(),
        ),
        worker(
            by_certificate("named-worker", CertificateRule::SubjectName("CN=worker".to_owned()))
                .with_certificate_bound_tokens(),
        ),
        by_secret("orders-api").with_own_audience("orders-api"),
    ];
    clients.into_iter().map(|client| client.build().expect("a client")).collect()
}

/// The same for every proxy.
async fn assert_serves(behind: &Behind, gateway: &Gateway) {
    flows::assert_flows(behind).await;
    spoils::assert_addresses(behind).await;
    spoils::assert_certificates(behind, gateway).await;
    spoils::assert_odd_requests(behind, gateway).await;
}

#[tokio::test]
async fn nginx_stands_in_front_and_spoils_nothing() {
    let behind =
        Behind::start(|proxies| ClientCertificateHeader::escaped_pem("ssl-client-cert", proxies).expect("a header"));
    let behind = behind.await;
    let file = |name: &str| behind.pki.file(name);
    let server = format!(
        "listen 127.0.0.1:{tls} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_client_certificate {authorities};
        ssl_verify_client optional;
        location / {{
            proxy_pass http://127.0.0.1:{port};
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header SSL-Client-Cert $ssl_client_escaped_cert;
        }}",
        tls = behind.tls,
        chain = file("chain.pem"),
        key = file("key.pem"),
        authorities = file("authorities.pem"),
        port = behind.port,
    );
    let Some(gateway) = Gateway::nginx("issuer behind nginx", &server).await else { return };
    assert_serves(&behind, &gateway).await;
}

#[tokio::test]
async fn haproxy_stands_in_front_and_spoils_nothing() {
    let behind = Behind::start(ClientCertificateHeader::rfc9440).await;
    let frontend = format!(
        " bind 127.0.0.1:{tls} ssl crt {server} ca-file {authorities} verify optional
 http-request del-header Client-Cert
 http-request set-header Client-Cert :%[ssl_c_der,base64]: if {{ ssl_c_used }}
 option forwardfor
 default_backend issuer",
        tls = behind.tls,
        server = behind.pki.file("server.pem"),
        authorities = behind.pki.file("authorities.pem"),
    );
    let backend = format!("backend issuer\n server one 127.0.0.1:{}", behind.port);
    let Some(gateway) = Gateway::haproxy("issuer behind HAProxy", &frontend, &backend, &[]).await else { return };
    assert_serves(&behind, &gateway).await;
}

#[tokio::test]
async fn envoy_stands_in_front_and_spoils_nothing() {
    let behind = Behind::start(ClientCertificateHeader::envoy).await;
    let file = |name: &str| json!({ "filename": behind.pki.file(name) });
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [{ "certificate_chain": file("chain.pem"), "private_key": file("key.pem") }],
            "validation_context": { "trusted_ca": file("authorities.pem") },
        },
    });
    let settings = json!({
        "use_remote_address": true,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": { "cert": true },
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
    });
    let (test, clusters, tls) = ("issuer behind Envoy", [("issuer", behind.port)], Some((behind.tls, tls)));
    let gateway = Gateway::envoy_on(test, Vec::new(), everything_to("issuer"), &clusters, &settings, tls).await;
    let Some(gateway) = gateway else { return };
    assert_serves(&behind, &gateway).await;
}

#[tokio::test]
async fn traefik_stands_in_front_and_spoils_nothing() {
    let behind = Behind::start(ClientCertificateHeader::traefik).await;
    let file = |name: &str| behind.pki.file(name);
    let tls = json!({
        "certificates": [{ "certFile": file("chain.pem"), "keyFile": file("key.pem") }],
        "options": { "default": { "clientAuth": {
            "caFiles": [file("authorities.pem")],
            "clientAuthType": "VerifyClientCertIfGiven",
        } } },
    });
    let server = json!([{ "url": format!("http://127.0.0.1:{}", behind.port) }]);
    let http = json!({
        "middlewares": { "certificate": { "passTLSClientCert": { "pem": true } } },
        "routers": { "issuer": { "rule": "PathPrefix(`/`)", "service": "issuer", "middlewares": ["certificate"] } },
        "services": { "issuer": { "loadBalancer": { "servers": server } } },
    });
    let gateway = Gateway::traefik_on("issuer behind Traefik", http, Some((behind.tls, tls))).await;
    let Some(gateway) = gateway else { return };
    assert_serves(&behind, &gateway).await;
}

#[tokio::test]
async fn caddy_stands_in_front_and_spoils_nothing() {
    let behind = Behind::start(|proxies| ClientCertificateHeader::base64("x-client-cert", proxies).expect("a header"));
    let behind = behind.await;
    let file = |name: &str| behind.pki.file(name);
    let proxy = format!(
        "reverse_proxy 127.0.0.1:{} {{
            header_up X-Client-Cert {{http.request.tls.client.certificate_der_base64}}
        }}",
        behind.port
    );
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
            {proxy}
        }}",
        tls = behind.tls,
        chain = file("chain.pem"),
        key = file("key.pem"),
        authorities = file("authorities.pem"),
    );
    let Some(gateway) = Gateway::caddy_with("issuer behind Caddy", &proxy, &site).await else { return };
    assert_serves(&behind, &gateway).await;
}
