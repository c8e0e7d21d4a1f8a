//! An authentication service, and a walk through what it does.
//!
//! ```sh
//! cargo run --example issuer             # stays until Ctrl-C: open the printed URL, sign in as alice
//! cargo run --example issuer -- --once   # the walk only
//! cargo run --example issuer -- --data users create bob   # also disable, enable, reset-second-factor
//! ```
#![expect(clippy::print_stdout, reason = "it is a program that people run and read")]

mod users;
mod walk;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use sekisho::credentials::TotpSecret;
use sekisho::issuer::{
    Accounts, AuthorizationServer, Client, ClientAuthentication, ClientSecret, CredentialLogin, Essentials,
    ExchangeRules, IssuerKeys, KeyRotation, MasterKey, MemoryKeyStore, MemoryStore, PlainPages, ScopeSet,
    StaticClients,
};
use sekisho::{Algorithm, Clock, SystemClock};
use users::Administration;

/// Runs an authentication service, and shows what it does.
#[derive(Parser)]
struct Arguments {
    /// Ends after the walk instead of waiting for requests.
    #[arg(long)]
    once: bool,
    /// The port to listen on, on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The folder of the credential database. Without it users are gone with the program.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Administers users instead of serving them; wants `--data`.
    #[command(subcommand)]
    administration: Option<Administration>,
}

/// Is a running issuer, the secret of its confidential clients, and the authenticator app of alice if she was made just now.
struct Running {
    url: String,
    secret: String,
    app: Option<TotpSecret>,
    server: AuthorizationServer,
    login: CredentialLogin,
}

/// Is where users are kept; removed afterwards if nobody asked for it.
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    fn new(data: Option<PathBuf>) -> std::io::Result<Self> {
        let is_temporary = data.is_none();
        let temporary = || std::env::temp_dir().join(format!("sekisho-example-issuer-{}", std::process::id()));
        let path = data.unwrap_or_else(temporary);
        // A temporary folder must be new: one that is there could be somebody else's.
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(!is_temporary);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self { path, is_temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if arguments.administration.is_some() && arguments.data.is_none() {
        return Err("users who are gone with the program need no administration: say --data FOLDER".into());
    }
    let folder = Folder::new(arguments.data)?;
    let running = start(arguments.port, &folder).await?;
    if let Some(administration) = &arguments.administration {
        let accounts = Accounts::new(running.server.clone(), running.login.credentials().clone());
        println!("{}", administration.run(&running.login, &accounts).await?);
        return Ok(());
    }
    match running.app {
        Some(_) => walk::walk(&running).await?,
        None => println!(
            "Authentication service  {}\nalice is there from before, and her app is hers: no walk",
            running.url
        ),
    }
    if !arguments.once {
        walk::print_invitation(&running);
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

async fn start(port: u16, folder: &Folder) -> Result<Running, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (secret, hash) = ClientSecret::generate()?;
    let login = users::open(&folder.path).await?;
    let app = users::make_alice(&login).await?;
    // A real service reads the master key from its configuration, and keeps the keys in a database.
    let (key_store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate()?);
    let algorithms = [Algorithm::Es256];
    let keys = IssuerKeys::open(key_store, master, &algorithms, KeyRotation::default(), SystemClock.now()).await?;
    let essentials = Essentials {
        clients: Arc::new(StaticClients::new(clients(hash)?)?),
        login: Arc::new(login.clone()),
        store: Arc::new(MemoryStore::new()),
        keys: Arc::new(keys),
    };
    let pages = PlainPages::new().with_name("The example issuer");
    let server = AuthorizationServer::builder(&url, essentials)
        .with_users(Arc::new(login.clone()))
        .with_account_pages(login.clone())
        .with_pages(Arc::new(pages))
        .build()?;
    let service = server.router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let secret = secret.expose_str().unwrap_or_default().to_owned();
    Ok(Running { url, secret, app, server, login })
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
