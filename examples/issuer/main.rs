//! An authentication service, and a walk through what it does.
//!
//! ```sh
//! cargo run --example issuer             # stays until Ctrl-C: open the printed URL, sign in as alice
//! cargo run --example issuer -- --once   # the walk only
//! ```
#![expect(clippy::print_stdout, reason = "it is a program that people run and read")]

mod login;
mod walk;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser;
use login::DemoLogin;
use sekisho::issuer::{
    AuthorizationServer, Client, ClientAuthentication, ClientSecret, Essentials, ExchangeRules, IssuerKeys,
    KeyRotation, MasterKey, MemoryKeyStore, MemoryStore, PlainPages, ScopeSet, StaticClients,
};
use sekisho::{Algorithm, Clock, SystemClock};

/// Runs an authentication service, and shows what it does.
#[derive(Parser)]
struct Arguments {
    /// Ends after the walk instead of waiting for requests.
    #[arg(long)]
    once: bool,
    /// The port to listen on, on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Is a running issuer, and the secret of its confidential clients.
struct Running {
    url: String,
    secret: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let running = start(arguments.port).await?;
    walk::walk(&running).await?;
    if !arguments.once {
        walk::print_invitation(&running);
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

async fn start(port: u16) -> Result<Running, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (secret, hash) = ClientSecret::generate()?;
    // A real service reads the master key from its configuration, and keeps the keys in a database.
    let (key_store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate()?);
    let algorithms = [Algorithm::Es256];
    let keys = IssuerKeys::open(key_store, master, &algorithms, KeyRotation::default(), SystemClock.now()).await?;
    let essentials = Essentials {
        clients: Arc::new(StaticClients::new(clients(hash)?)?),
        login: Arc::new(DemoLogin),
        store: Arc::new(MemoryStore::new()),
        keys: Arc::new(keys),
    };
    let pages = PlainPages::new().with_name("The example issuer");
    let server = AuthorizationServer::builder(&url, essentials).with_pages(Arc::new(pages)).build()?;
    let service = server.router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let secret = secret.expose_str().unwrap_or_default().to_owned();
    Ok(Running { url, secret })
}

fn clients(secret: ClientSecret) -> Result<Vec<Client>, Box<dyn Error>> {
    let by_secret = || ClientAuthentication::Secret(vec![secret]);
    let reads = ScopeSet::parse("orders:read").ok_or("no scopes")?;
    Ok(vec![
        Client::public("shop")
            .with_name("The Shop")
            .with_redirect_uri(walk::REDIRECT_URI)
            .with_scopes("openid orders:read")
            .with_audience("orders-api")
            .with_refresh_tokens()
            .build()?,
        Client::confidential("worker", by_secret())
            .with_client_credentials()
            .with_scopes("orders:read")
            .with_audience("orders-api")
            .with_reference_tokens()
            .build()?,
        Client::confidential("orders-api", by_secret())
            .with_own_audience("orders-api")
            .with_token_exchange(ExchangeRules::new(["billing-api"], reads))
            .build()?,
    ])
}
