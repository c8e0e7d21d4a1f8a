//! Our authorization server, with what a drill needs beside it: withdrawals for those who poll, and a way to bar a user.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use sekisho_core::{Clock as _, Failure, Secret, SystemClock, UnixSeconds};
use sekisho_issuer::{
    AuthenticatedUser, AuthorizationServer, Client, ClientAuthentication, ClientSecret, Essentials, IssuerKeys,
    KeyRotation, LoginCheck, LoginOutcome, MasterKey, MemoryStore, PasswordAttempt, SecondFactorAttempt, StaticClients,
    WithdrawingListener,
};
use sekisho_jwt::Algorithm;
use sekisho_revocation::{Cursor, MemoryFeed, RevocationDocument, RevocationFeed as _};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::key_file::KeyFile;

#[derive(Deserialize)]
pub(crate) struct Settings {
    port: u16,
    /// A folder that outlives the process.
    state: PathBuf,
    master_key: String,
    /// Of all clients and users.
    secret: String,
    /// For how long those who introspect may keep an answer.
    introspection_max_age_s: u64,
}

pub(crate) async fn serve(settings: Settings) {
    let Settings { port, state, master_key, secret, introspection_max_age_s } = settings;
    let url = format!("http://127.0.0.1:{port}");
    let master = MasterKey::from_text(&master_key).expect("a master key");
    let store = Arc::new(KeyFile(state.join("keys.json")));
    let keys = IssuerKeys::open(store, master, &[Algorithm::Es256], KeyRotation::default(), SystemClock.now()).await;
    let secret = Secret::from(secret);
    let feed = MemoryFeed::new();
    let essentials = Essentials {
        clients: Arc::new(StaticClients::new(clients(&secret)).expect("clients")),
        login: Arc::new(OnePassword(secret)),
        store: Arc::new(MemoryStore::new()),
        keys: Arc::new(keys.expect("keys")),
    };
    let server = AuthorizationServer::builder(&url, essentials)
        .with_revocation_listener(Arc::new(WithdrawingListener::to_feed(url.as_str(), feed.clone())))
        .with_introspection_max_age(Duration::from_secs(introspection_max_age_s))
        .build()
        .expect("a server");
    let published = Published { feed, life: std::process::id() };
    let app = Router::new()
        .route("/ready", get(|| async { "ready" }))
        .route("/withdrawals", get(withdrawals).with_state(Arc::new(published)))
        .route("/drill/bar", post(bar).with_state(server.clone()))
        .merge(server.router());
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await.expect("it serves");
}

fn clients(secret: &Secret) -> Vec<Client> {
    let hash = || ClientAuthentication::Secret(vec![ClientSecret::from_secret(secret).expect("a secret")]);
    let worker = |id: &str| {
        Client::confidential(id, hash())
            .with_client_credentials()
            .with_scopes("orders:read")
            .with_audience("orders-api")
    };
    let shop = Client::public("shop")
        .with_redirect_uri("https://shop.example/callback")
        .with_scopes("openid orders:read")
        .with_audience("orders-api")
        .with_refresh_tokens()
        .without_consent();
    let lasting = Duration::from_secs(3600);
    [
        shop.with_access_token_lifetime(lasting),
        worker("worker").with_access_token_lifetime(lasting),
        worker("warehouse").with_reference_tokens().with_access_token_lifetime(lasting),
        Client::confidential("gateway", hash()).with_own_audience("orders-api"),
    ]
    .map(|client| client.build().expect("a client"))
    .into()
}

/// Lets everybody in who knows the one password, by the name that they give.
#[derive(Debug)]
struct OnePassword(Secret);

#[async_trait]
impl LoginCheck for OnePassword {
    async fn password(&self, attempt: PasswordAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        if *attempt.password != self.0 {
            return Ok(LoginOutcome::Refused);
        }
        Ok(LoginOutcome::Authenticated(AuthenticatedUser {
            subject: attempt.username.to_owned(),
            methods: vec!["pwd".to_owned()],
            context: None,
            authenticated_at: now,
        }))
    }

    async fn second_factor(&self, _: SecondFactorAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }
}

struct Published {
    feed: MemoryFeed,
    /// Tells this process from the one before: the numbers of a feed in memory begin anew with each.
    life: u32,
}

#[derive(Deserialize)]
struct After {
    cursor: Option<String>,
}

/// Answers who polls with a [`RevocationDocument`].
async fn withdrawals(
    State(published): State<Arc<Published>>,
    Query(after): Query<After>,
) -> Result<String, StatusCode> {
    let Published { feed, life } = &*published;
    let own = after.cursor.as_deref().and_then(|cursor| cursor.strip_prefix(&format!("{life}-")));
    let cursor = own.and_then(Cursor::new);
    let unavailable = |_: Failure| StatusCode::SERVICE_UNAVAILABLE;
    let mut connection = feed.connect(cursor.as_ref()).await.map_err(unavailable)?;
    let mut all = Vec::new();
    loop {
        let batch = connection.next(&SystemClock).await.map_err(unavailable)?;
        all.extend_from_slice(batch.withdrawals());
        if batch.as_of().is_some() {
            let seen = batch.cursor().map_or("0", Cursor::as_str);
            let cursor = Cursor::new(&format!("{life}-{seen}")).expect("visible ASCII");
            return Ok(RevocationDocument::new(all).with_cursor(cursor).to_json());
        }
    }
}

#[derive(Deserialize)]
struct Barred {
    subject: String,
}

/// Does what an operator would do with an account that was broken into.
async fn bar(State(server): State<AuthorizationServer>, Query(barred): Query<Barred>) -> StatusCode {
    match server.revoke_subject(&barred.subject, SystemClock.now()).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
