//! An authentication service, and a walk through what it does.
//!
//! ```sh
//! cargo run --example issuer             # stays until Ctrl-C: open the printed URL, sign in as alice
//! cargo run --example issuer -- --once   # the walk only
//! NEW_PASSWORD='…' cargo run --example issuer -- --data users create bob   # also disable, enable, reset-second-factor
//! cargo run --example issuer -- --data users --port 4000  # users, logins and keys outlive the program
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
    AuthorizationServer, Client, ClientAuthentication, ClientSecret, CredentialLogin, Essentials, ExchangeRules,
    IssuerKeys, KeyRotation, MasterKey, PlainPages, ScopeSet, StaticClients,
};
use sekisho::sqlx::SqliteStore;
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
    /// The folder of the databases and their keys. Without it there is alice, for whom everybody knows the password, and all is gone with the
    /// program; with it there are those who were made by `create`. Logins are good at the same port again.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Administers users instead of serving them; wants `--data`.
    #[command(subcommand)]
    administration: Option<Administration>,
}

/// Is a running issuer, the secret of its confidential clients, and the authenticator app of alice if it is a demonstration.
struct Running {
    url: String,
    secret: String,
    app: Option<TotpSecret>,
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
    let login = users::open(&folder.path).await?;
    if let Some(administration) = &arguments.administration {
        if matches!(administration, Administration::Issue { .. }) && arguments.port == 0 {
            return Err("the token's issuer is the service at its port: say --port".into());
        }
        // It serves nobody; the store is the one of the service that may run beside.
        let (server, _) = server(&format!("http://127.0.0.1:{}", arguments.port), &folder, &login).await?;
        println!("{}", administration.run(&login, &server).await?);
        return Ok(());
    }
    let running = start(arguments.port, &folder, login).await?;
    match running.app {
        Some(_) => walk::walk(&running).await?,
        None => println!("Authentication service  {}\nits users are those of the folder: no walk", running.url),
    }
    if !arguments.once {
        walk::print_invitation(&running);
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

async fn start(port: u16, folder: &Folder, login: CredentialLogin) -> Result<Running, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    // Her password is known to everybody, so she is in no folder that is kept.
    let app = if folder.is_temporary { Some(users::make_alice(&login).await?) } else { None };
    let (server, secret) = server(&url, folder, &login).await?;
    let service = server.router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(Running { url, secret, app })
}

/// Builds the server on the databases of the folder, and draws the secret of its confidential clients.
async fn server(
    url: &str,
    folder: &Folder,
    login: &CredentialLogin,
) -> Result<(AuthorizationServer, String), Box<dyn Error>> {
    let store = SqliteStore::open(folder.path.join("issuer.db")).await?;
    let sweeper = store.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_secs(300)).await;
            // A failure is the database's; the next round comes anyway.
            drop(sweeper.sweep(SystemClock.now()).await);
        }
    });
    let master = match users::key_of(&folder.path.join("master.key"))? {
        Some(text) => MasterKey::from_text(&text)?,
        None => {
            let master = MasterKey::generate()?;
            users::write_private(&folder.path.join("master.key"), master.to_text().expose())?;
            master
        }
    };
    let (keys, algorithms) = (Arc::new(store.clone()), [Algorithm::Es256]);
    let keys = IssuerKeys::open(keys, master, &algorithms, KeyRotation::default(), SystemClock.now()).await?;
    let (secret, hash) = ClientSecret::generate()?;
    let essentials = Essentials {
        clients: Arc::new(StaticClients::new(clients(hash)?)?),
        login: Arc::new(login.clone()),
        store: Arc::new(store),
        keys: Arc::new(keys),
    };
    let server = AuthorizationServer::builder(url, essentials)
        .with_users(Arc::new(login.clone()))
        .with_account_pages(login.clone())
        .with_pages(Arc::new(PlainPages::new().with_name("The example issuer")))
        .build()?;
    Ok((server, secret.expose_str().unwrap_or_default().to_owned()))
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
