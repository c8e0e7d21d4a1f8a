//! Two services with a backend for their frontend, which log people in at an authentication service and share sessions, and an API behind.
//!
//! ```sh
//! cargo run --example bff             # stays until Ctrl-C: open the printed URL, sign in as alice
//! cargo run --example bff -- --once   # the walk only
//! ```
#![expect(clippy::print_stdout, reason = "it is a program that people run and read")]

mod issuer;
mod services;
mod walk;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Parser;
use sekisho::session::{MemorySessionStore, SessionKey, SessionKeys, SessionStore, Sessions};
use tokio::net::TcpListener;

/// Runs an authentication service, two services and an API, and shows what they do.
#[derive(Parser)]
struct Arguments {
    /// Ends after the walk instead of waiting for requests.
    #[arg(long)]
    once: bool,
    /// The port of the shop, on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Is where everything runs. All of it is one host for a browser, so the services share their cookies.
struct Running {
    issuer: String,
    shop: String,
    billing: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let (shop, billing, id) = (bind(arguments.port).await?, bind(0).await?, bind(0).await?);
    let (orders, running) = (bind(0).await?, Running { issuer: url(&id)?, shop: url(&shop)?, billing: url(&billing)? });
    // Access tokens that are over soon, so that the walk need not wait for long.
    let (server, secret) = issuer::server(&running, Duration::from_secs(4)).await?;
    let api = url(&orders)?;
    serve(id, server.router());
    serve(orders, services::orders(&running.issuer)?);
    // In the memory of this process, which both services are in. Services on several machines share a store that is on none
    // of them, and read the key from where they keep secrets.
    let store: Arc<dyn SessionStore> = Arc::new(MemorySessionStore::new());
    let key = SessionKey::generate()?;
    let sessions = || Sessions::builder(Arc::clone(&store), SessionKeys::new(key.clone())).build();
    for (listener, url, name) in [(shop, &running.shop, "Shop"), (billing, &running.billing, "Billing")] {
        let party = services::party(&running.issuer, &secret, url, sessions()?, SessionKeys::new(key.clone()))?;
        serve(listener, services::service(name, party, &api)?);
    }
    walk::walk(&running).await?;
    if !arguments.once {
        println!("\nShop     {}    sign in as alice, password {:?}", running.shop, issuer::PASSWORD);
        println!("Billing  {}    knows the same session. Ctrl-C ends it.\n", running.billing);
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

async fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await
}

fn url(listener: &TcpListener) -> std::io::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

fn serve(listener: TcpListener, app: Router) {
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
}
