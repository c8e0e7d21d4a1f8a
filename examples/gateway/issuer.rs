use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho::issuer::{
    AuthorizationServer, Client, ClientAuthentication, ClientSecret, Essentials, IssuerKeys, KeyRotation, LoginCheck,
    LoginOutcome, MasterKey, MemoryKeyStore, MemoryStore, PasswordAttempt, SecondFactorAttempt, StaticClients,
};
use sekisho::{Algorithm, Clock, Failure, Secret, SystemClock, UnixSeconds};

/// Starts the authentication service; returns its name and the secret that its clients share here.
pub(crate) async fn start() -> Result<(String, Secret), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (secret, hash) = ClientSecret::generate()?;
    let (key_store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate()?);
    // The AWS HTTP API, and an authorizer that behaves as it does, takes RSA only.
    let algorithms = [Algorithm::Rs256];
    let keys = IssuerKeys::open(key_store, master, &algorithms, KeyRotation::default(), SystemClock.now()).await?;
    let essentials = Essentials {
        clients: Arc::new(StaticClients::new(clients(hash)?)?),
        login: Arc::new(NobodyLogsIn),
        store: Arc::new(MemoryStore::new()),
        keys: Arc::new(keys),
    };
    let server = AuthorizationServer::builder(&url, essentials).build()?;
    let service = server.router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok((url, secret))
}

fn clients(secret: ClientSecret) -> Result<Vec<Client>, Box<dyn Error>> {
    let by_secret = || ClientAuthentication::Secret(vec![secret]);
    Ok(vec![
        Client::confidential("shop", by_secret())
            .with_client_credentials()
            .with_scopes("orders:read")
            .with_audience("orders-api")
            .build()?,
        Client::confidential("warehouse", by_secret())
            .with_client_credentials()
            .with_scopes("stock:read")
            .with_audience("stock-api")
            .with_reference_tokens()
            .build()?,
        // May ask what tokens for the stock service are worth.
        Client::confidential("gateway", by_secret()).with_own_audience("stock-api").build()?,
    ])
}

/// Knows no user: the clients here are programs.
#[derive(Debug)]
struct NobodyLogsIn;

#[async_trait]
impl LoginCheck for NobodyLogsIn {
    async fn password(&self, _: PasswordAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }

    async fn second_factor(&self, _: SecondFactorAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }
}
