//! Tokens of our own authorization server before gateways that others wrote.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{Failure, Secret, UnixSeconds};
use sekisho_issuer::{
    AuthorizationServer, Client, ClientAuthentication, ClientSecret, Essentials, IssuerKeys, KeyRotation, LoginCheck,
    LoginOutcome, MasterKey, MemoryKeyStore, MemoryStore, PasswordAttempt, SecondFactorAttempt, StaticClients,
};
use sekisho_jwt::Algorithm;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::gateways::{Gateway, Upstream, everything_to, p256_pem};
use crate::setup::{self, altered, header};

/// Knows nobody: clients speak for themselves here.
#[derive(Debug)]
struct NoLogin;

#[async_trait]
impl LoginCheck for NoLogin {
    async fn password(&self, _: PasswordAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }

    async fn second_factor(&self, _: SecondFactorAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }
}

/// Our server on a loopback port; dropping it ends it.
struct Server {
    url: String,
    port: u16,
    secret: Secret,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let url = format!("http://127.0.0.1:{port}");
        let (secret, hash) = ClientSecret::generate().expect("a secret");
        let worker = Client::confidential("worker", ClientAuthentication::Secret(vec![hash]))
            .with_client_credentials()
            .with_scopes("orders:read")
            .with_audience("orders-api")
            .with_audience("billing-api")
            .build()
            .expect("a client");
        let (store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate().expect("a key"));
        let keys = IssuerKeys::open(store, master, &[Algorithm::Es256], KeyRotation::default(), setup::now()).await;
        let essentials = Essentials {
            clients: Arc::new(StaticClients::new([worker]).expect("clients")),
            login: Arc::new(NoLogin),
            store: Arc::new(MemoryStore::new()),
            keys: Arc::new(keys.expect("keys")),
        };
        let server = AuthorizationServer::builder(&url, essentials).build().expect("a server");
        let service = server.router().into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
        Self { url, port, secret, task }
    }

    async fn metadata(&self) -> Value {
        let url = format!("{}/.well-known/openid-configuration", self.url);
        setup::http().get(url).send().await.expect("an answer").json().await.expect("JSON")
    }

    /// Returns the address of the keys, as the metadata names it, and the keys.
    async fn keys(&self) -> (String, String) {
        let url = self.metadata().await["jwks_uri"].as_str().expect("an address").to_owned();
        let keys = setup::http().get(&url).send().await.expect("an answer").text().await.expect("a body");
        (url, keys)
    }

    async fn token(&self, audience: &str) -> String {
        let url = self.metadata().await["token_endpoint"].as_str().expect("an address").to_owned();
        let form = [("grant_type", "client_credentials"), ("scope", "orders:read"), ("resource", audience)];
        let request = setup::http().post(url).basic_auth("worker", self.secret.expose_str()).form(&form);
        let answer = request.send().await.expect("an answer");
        let (status, body) = (answer.status(), answer.text().await.expect("a body"));
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        answer["access_token"].as_str().expect("an access token").to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The gateway, which has this server's keys, takes its tokens, and none that was altered or that another server made.
async fn assert_takes(gateway: &Gateway, upstream: &Upstream, server: &Server) {
    let good = server.token("orders-api").await;
    assert_eq!((&*header(&good, "alg"), &*header(&good, "typ")), ("ES256", "at+jwt"));
    let (status, seen) = gateway.get("/orders", Some(&good)).await;
    assert_eq!((status, &seen["path"]), (200, &json!("/orders")), "{seen}");
    let stranger = Server::start().await.token("orders-api").await;
    let (head, claims, signature) = (altered(&good, 0), altered(&good, 1), altered(&good, 2));
    let mut parts = good.rsplitn(2, '.');
    let unsigned = parts.nth(1).map(|rest| format!("{rest}.")).expect("three parts");
    for (what, token) in [
        ("no token", None),
        ("an altered header", Some(&*head)),
        ("altered claims", Some(&*claims)),
        ("an altered signature", Some(&*signature)),
        ("no signature", Some(&*unsigned)),
        ("another server's", Some(&*stranger)),
    ] {
        assert_eq!(gateway.get("/orders", token).await.0, 401, "{what}");
    }
    assert_eq!(upstream.requests(), 1, "a refused request reached the service");
}

#[tokio::test]
async fn envoy_takes_tokens_of_our_server_by_its_published_keys() {
    let (upstream, server) = (Upstream::start().await, Server::start().await);
    let (keys_url, _) = server.keys().await;
    let filter = json!({ "name": "jwt", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": { "issuer": {
            "issuer": server.url,
            "audiences": ["orders-api"],
            "remote_jwks": { "http_uri": { "uri": keys_url, "cluster": "issuer", "timeout": "5s" } },
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "issuer" } }],
    } });
    let clusters = [("service", upstream.port), ("issuer", server.port)];
    let test = "Envoy takes tokens of our server";
    let Some(gateway) = Gateway::envoy(test, vec![filter], everything_to("service"), &clusters).await else { return };
    assert_takes(&gateway, &upstream, &server).await;
    let billing = server.token("billing-api").await;
    assert_eq!(gateway.get("/orders", Some(&billing)).await.0, 403, "Envoy calls another audience forbidden");
}

#[tokio::test]
async fn haproxy_takes_tokens_of_our_server() {
    let (upstream, server) = (Upstream::start().await, Server::start().await);
    let (_, keys) = server.keys().await;
    let audience = "http-request deny deny_status 401 unless \
                    { var(txn.token),jwt_payload_query('$.aud') -m sub orders-api }";
    let frontend = [
        "http-request set-var(txn.token) http_auth_bearer",
        "http-request deny deny_status 401 unless { var(txn.token),jwt_header_query('$.alg') -m str ES256 }",
        "http-request deny deny_status 401 unless { var(txn.token),jwt_verify(ES256,issuer.pem) -m int 1 }",
        audience,
        "default_backend service",
    ]
    .join("\n");
    let backend = format!("backend service\n server one 127.0.0.1:{}", upstream.port);
    let pem = p256_pem(&keys);
    let files = [("issuer.pem", &*pem)];
    let test = "HAProxy takes tokens of our server";
    let Some(gateway) = Gateway::haproxy(test, &frontend, &backend, &files).await else { return };
    assert_takes(&gateway, &upstream, &server).await;
    let billing = server.token("billing-api").await;
    assert_eq!(gateway.get("/orders", Some(&billing)).await.0, 401);
}
