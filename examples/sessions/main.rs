//! Two services that share their sessions: a login form, a cart, and a page that lists a user's sessions and ends them.
//!
//! ```sh
//! cargo run --example sessions             # stays until Ctrl-C: open the printed URL, sign in as alice
//! cargo run --example sessions -- --once   # the walk only
//! ```
#![expect(clippy::print_stdout, reason = "it is a program that people run and read")]

mod pages;
mod service;
mod walk;

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use clap::Parser;
use sekisho::session::{MemorySessionStore, SessionKey, SessionKeys, SessionStore, Sessions};

/// Runs two services over one session store, and shows what they do.
#[derive(Parser)]
struct Arguments {
    /// Ends after the walk instead of waiting for requests.
    #[arg(long)]
    once: bool,
    /// The port of the shop, on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    // In the memory of this process, which both services are in. Services on several machines share a store that is on none
    // of them, and read the key from where they keep secrets.
    let store: Arc<dyn SessionStore> = Arc::new(MemorySessionStore::new());
    let key = SessionKey::generate()?;
    let sessions =
        || Sessions::builder(Arc::clone(&store), SessionKeys::new(key.clone())).with_session_limit(5).build();
    let shop = serve(service::shop(sessions()?)?, arguments.port).await?;
    let billing = serve(service::billing(sessions()?)?, 0).await?;
    walk::walk(&shop, &billing).await?;
    if !arguments.once {
        println!("\nShop     http://localhost:{shop}/    sign in as alice, password {:?}", service::PASSWORD);
        println!("Billing  http://localhost:{billing}/    knows the same session. Ctrl-C ends it.\n");
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

/// Serves in the background; returns the port.
async fn serve(app: Router, port: u16) -> Result<u16, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}
