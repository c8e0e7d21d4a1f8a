//! A page that keeps a JWT in eight places side by side, and a stranger's script in it that tries each of them.
//!
//! ```sh
//! cargo run --example browser-storage             # stays until Ctrl-C: open the printed URL
//! cargo run --example browser-storage -- --once   # what needs no browser, and ends by itself
//! ```
//!
//! What comes out, and which place to choose when: `docs/browser-storage.md`.
#![expect(clippy::print_stdout, reason = "it is a program that people run and read")]

mod pages;
mod service;
mod stranger;
mod walk;

use std::error::Error;

use clap::Parser;
use tokio::net::TcpListener;

/// Shows what a script that somebody injected can do, by where the page keeps its token.
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
    let shop = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    let stranger = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (shop_port, stranger_port) = (shop.local_addr()?.port(), stranger.local_addr()?.port());
    // Browsers look for names below `localhost` on this machine alone, and take them for as trustworthy as HTTPS. The shop
    // and its sibling are one site; the stranger is another.
    let origin = format!("http://app.shop.localhost:{shop_port}");
    let sibling = format!("http://sibling.shop.localhost:{stranger_port}");
    let elsewhere = format!("http://stranger.localhost:{stranger_port}");

    let api = format!("http://127.0.0.1:{shop_port}");
    let service = service::router(&origin, &api, &elsewhere)?;
    tokio::spawn(async move { axum::serve(shop, service).await });
    let strangers = stranger::router(&origin, &api)?;
    tokio::spawn(async move { axum::serve(stranger, strangers).await });

    walk::walk(&origin, &api, &format!("http://127.0.0.1:{stranger_port}")).await?;
    if !arguments.once {
        println!("\nShop      {origin}/    log in, then show the comments: one is an attacker's");
        println!("Unsafe    {origin}/dangerously-unescaped    the same page, in which that comment is a script");
        println!("Halfway   {origin}/dangerously-unescaped-with-policy    the same mistake, under a policy");
        println!("Sibling   {sibling}/    another host of the same site");
        println!("Stranger  {elsewhere}/    another site; it sends forms to the shop. Ctrl-C ends it.\n");
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}
