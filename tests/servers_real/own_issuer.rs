//! Our own authorization server with people and clients, for programs that others wrote.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::response::Html;
use sekisho_core::json::JsonObject;
use sekisho_core::{Failure, Secret, UnixSeconds};
use sekisho_issuer::{
    AuthenticatedUser, AuthorizationServer, Client, ClientAuthentication, ClientBuilder, ClientSecret, Essentials,
    ExchangeRules, IssuerKeys, KeyRotation, Lifetimes, LoginCheck, LoginOutcome, MasterKey, MemoryKeyStore,
    MemoryStore, PasswordAttempt, ScopeSet, SecondFactorAttempt, StaticClients, UserClaims, UserDirectory,
};
use sekisho_jwks::{Backend, StaticKeys, VerifyingKey};
use sekisho_jwt::Algorithm;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::setup;

pub(crate) const NAME: &str = "alice";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const SUBJECT: &str = "user-1";

/// The key of RFC 7515 appendix A.3, by which the client `signer` signs.
const SIGNING_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;

/// Knows one person.
#[derive(Debug)]
struct People;

#[async_trait]
impl LoginCheck for People {
    async fn password(&self, attempt: PasswordAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        if attempt.username != NAME || attempt.password.expose_str() != Some(PASSWORD) {
            return Ok(LoginOutcome::Refused);
        }
        let (subject, methods) = (SUBJECT.to_owned(), vec!["pwd".to_owned()]);
        let user = AuthenticatedUser { subject, methods, context: None, authenticated_at: now, revision: None };
        Ok(LoginOutcome::Authenticated(user))
    }

    async fn second_factor(&self, _: SecondFactorAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }
}

#[async_trait]
impl UserDirectory for People {
    async fn user(&self, subject: &str, _: UnixSeconds) -> Result<Option<UserClaims>, Failure> {
        let claims = || UserClaims::new().with_claim("name", "Alice").with_claim("email", "alice@people.example");
        Ok((subject == SUBJECT).then(claims))
    }
}

/// The server on a loopback port, and a client's own place beside it; dropping it ends both.
pub(crate) struct OwnIssuer {
    pub(crate) url: String,
    /// Where codes go. It shows a page with the heading "The shop".
    pub(crate) redirect_uri: String,
    logged_out_uri: String,
    tasks: [JoinHandle<()>; 2],
}

impl OwnIssuer {
    pub(crate) async fn start() -> Self {
        let shop = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let origin = format!("http://{}", shop.local_addr().expect("an address"));
        let (redirect_uri, logged_out_uri) = (format!("{origin}/callback"), format!("{origin}/bye"));
        let page = || async { Html("<!DOCTYPE html><title>Shop</title><link rel=icon href=data:,><h1>The shop</h1>") };
        let shop = tokio::spawn(async move {
            axum::serve(shop, Router::new().fallback(page)).await.expect("it serves");
        });

        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate().expect("a key"));
        let algorithms = [Algorithm::Rs256, Algorithm::Es256];
        let keys = IssuerKeys::open(store, master, &algorithms, KeyRotation::default(), setup::now()).await;
        let clients = clients(&redirect_uri, &logged_out_uri);
        let essentials = Essentials {
            clients: Arc::new(StaticClients::new(clients).expect("clients")),
            login: Arc::new(People),
            store: Arc::new(MemoryStore::new()),
            keys: Arc::new(keys.expect("keys")),
        };
        let mut lifetimes = Lifetimes::default();
        lifetimes.device_interval = Duration::from_secs(1);
        let server = AuthorizationServer::builder(&url, essentials).with_users(Arc::new(People));
        let server = server.with_lifetimes(lifetimes).build().expect("a server");
        let service = server.router().into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
        Self { url, redirect_uri, logged_out_uri, tasks: [task, shop] }
    }

    /// Gets a reference token by client credentials.
    pub(crate) async fn reference_token(&self, audience: &str, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope), ("resource", audience)];
        let answer: Value = serde_json::from_str(&self.post("/token", &form).await).expect("JSON");
        answer["access_token"].as_str().expect("an access token").to_owned()
    }

    pub(crate) async fn revoke(&self, token: &str) {
        self.post("/revoke", &[("token", token)]).await;
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> String {
        let (id, secret) = ("reference-worker", secret("reference-worker"));
        let whole: Vec<_> = form.iter().copied().chain([("client_id", id), ("client_secret", &*secret)]).collect();
        let answer = setup::http().post(format!("{}{path}", self.url)).form(&whole).send().await.expect("an answer");
        let (status, body) = (answer.status(), answer.text().await.expect("a body"));
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Returns what a script has to know.
    pub(crate) fn input(&self) -> Value {
        let ids = ["shop", "reference-shop", "worker", "orders-api", "billing-api"];
        let secrets: serde_json::Map<_, _> = ids.iter().map(|id| ((*id).to_owned(), json!(secret(id)))).collect();
        let key: Value = serde_json::from_str(SIGNING_KEY).expect("JSON");
        json!({
            "issuer": self.url,
            "redirectUri": self.redirect_uri,
            "loggedOutUri": self.logged_out_uri,
            "secrets": secrets,
            "signingKey": key,
            "user": { "name": NAME, "password": PASSWORD, "subject": SUBJECT },
        })
    }
}

impl Drop for OwnIssuer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Test values, with what has to be encoded in a header and in a form.
pub(crate) fn secret(id: &str) -> String {
    format!("{id}-secret:+/%&=?~-0123456789abcdef")
}

fn confidential(id: &str) -> ClientBuilder {
    let hash = ClientSecret::from_secret(&Secret::from(secret(id))).expect("a secret");
    Client::confidential(id, ClientAuthentication::Secret(vec![hash]))
}

fn clients(redirect_uri: &str, logged_out_uri: &str) -> Vec<Client> {
    let with_users = |client: ClientBuilder| {
        client
            .with_redirect_uri(redirect_uri)
            .with_scopes("openid profile email orders:read orders:write")
            .with_audience("orders-api")
            .with_refresh_tokens()
    };
    let exchange = |audiences: &[&str]| {
        let scopes = ScopeSet::parse("orders:read").expect("scopes");
        ExchangeRules::new(audiences.iter().copied(), scopes)
    };
    let mut key: Value = serde_json::from_str(SIGNING_KEY).expect("JSON");
    key.as_object_mut().expect("an object").remove("d");
    let key = JsonObject::parse(key.to_string().into_bytes()).expect("JSON");
    let key = VerifyingKey::from_jwk(Backend::default(), &key).expect("a key").with_kid("signer");
    let key = key.with_algorithm(Algorithm::Es256).expect("its algorithm");
    let signer = ClientAuthentication::PrivateKeyJwt(Arc::new(StaticKeys::new(vec![key])));
    let clients = [
        with_users(confidential("shop")).with_name("The Shop").with_post_logout_redirect_uri(logged_out_uri),
        with_users(confidential("reference-shop")).with_reference_tokens(),
        with_users(Client::public("web")),
        with_users(Client::public("tv")).with_name("Your television").with_device_code(),
        with_users(Client::confidential("signer", signer)).with_client_credentials().with_algorithm(Algorithm::Es256),
        confidential("worker").with_client_credentials().with_scopes("orders:read").with_audience("orders-api"),
        confidential("reference-worker")
            .with_client_credentials()
            .with_scopes("orders:read orders:write")
            .with_audience("orders-api")
            .with_audience("billing-api")
            .with_reference_tokens(),
        confidential("orders-api")
            .with_own_audience("orders-api")
            .with_token_exchange(exchange(&["billing-api"]))
            .with_algorithm(Algorithm::Es256),
        confidential("billing-api").with_own_audience("billing-api").with_token_exchange(exchange(&["mail-api"])),
    ];
    clients.into_iter().map(|client| client.build().expect("a client")).collect()
}
