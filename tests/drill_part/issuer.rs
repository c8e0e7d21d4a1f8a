//! Our authorization server, with what a drill needs beside it: withdrawals for those who poll, and a way to bar a user.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::{get, post};
use sekisho_core::{Clock as _, Failure, Secret, SystemClock, UnixSeconds};
use sekisho_http::HttpResponse;
use sekisho_issuer::{
    AuthenticatedUser, AuthorizationServer, Client, ClientAuthentication, ClientSecret, Essentials, IssuerKeys,
    KeyRotation, LoginCheck, LoginOutcome, MasterKey, PasswordAttempt, Revocation, RevocationListener,
    SecondFactorAttempt, StaticClients,
};
use sekisho_jwt::Algorithm;
use sekisho_redis::{Redis, RedisRevocationFeed};
use sekisho_revocation::FeedPublisher;
use sekisho_sqlx::{SqliteStore, StoreLimits, TableFeed, TableListener};
use serde::Deserialize;
use tokio::net::TcpListener;

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
    /// Where withdrawals go, beside those who poll.
    redis: Option<RedisSettings>,
}

#[derive(Deserialize)]
struct RedisSettings {
    url: String,
    prefix: String,
}

pub(crate) async fn serve(settings: Settings) {
    let Settings { port, state, master_key, secret, introspection_max_age_s, redis } = settings;
    let url = format!("http://127.0.0.1:{port}");
    let master = MasterKey::from_text(&master_key).expect("a master key");
    // A machine that builds other things meanwhile may take seconds to write.
    let mut limits = StoreLimits::default();
    (limits.acquire_timeout, limits.call_timeout) = (Duration::from_secs(30), Duration::from_secs(30));
    let store = SqliteStore::open_with(state.join("issuer.db"), limits).await.expect("a database");
    let (key_store, now) = (Arc::new(store.clone()), SystemClock.now());
    let keys = IssuerKeys::open(key_store, master, &[Algorithm::Es256], KeyRotation::default(), now).await;
    let secret = Secret::from(secret);
    let redis = redis.map(|RedisSettings { url, prefix }| {
        let redis = Redis::standalone(url).with_prefix(prefix).build().expect("a client");
        RedisRevocationFeed::new(redis)
    });
    let told = Told { issuer: url.clone(), table: TableListener::new(url.as_str(), store.clone()), redis };
    let published = FeedPublisher::new(TableFeed::new(store.clone()));
    let essentials = Essentials {
        clients: Arc::new(StaticClients::new(clients(&secret)).expect("clients")),
        login: Arc::new(OnePassword(secret)),
        store: Arc::new(store),
        keys: Arc::new(keys.expect("keys")),
    };
    let server = AuthorizationServer::builder(&url, essentials)
        .with_revocation_listener(Arc::new(told))
        .with_introspection_max_age(Duration::from_secs(introspection_max_age_s))
        .build()
        .expect("a server");
    let app = Router::new()
        .route("/ready", get(|| async { "ready" }))
        .route("/withdrawals", get(withdrawals).with_state(published))
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
            revision: None,
        }))
    }

    async fn second_factor(&self, _: SecondFactorAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }
}

/// Tells those who poll, and Redis.
#[derive(Debug)]
struct Told {
    issuer: String,
    table: TableListener<SqliteStore>,
    redis: Option<RedisRevocationFeed>,
}

#[async_trait]
impl RevocationListener for Told {
    async fn revoked(&self, revocation: &Revocation, now: UnixSeconds) -> Result<(), Failure> {
        self.table.revoked(revocation, now).await?;
        let Some(redis) = &self.redis else { return Ok(()) };
        redis.push(&revocation.to_withdrawal(&self.issuer, now).expect("ids of our own"), now).await
    }
}

/// Answers who polls, out of the table.
async fn withdrawals(
    State(publisher): State<FeedPublisher>,
    RawQuery(query): RawQuery,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let HttpResponse { status, headers, body } = publisher.answer(&query.unwrap_or_default(), &SystemClock).await;
    let header = |(name, value): &(String, String)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?));
    let status = StatusCode::from_u16(status).expect("a status");
    (status, headers.iter().filter_map(header).collect(), body)
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
