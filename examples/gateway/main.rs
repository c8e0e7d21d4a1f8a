//! An authentication service, a gateway and two services behind it, and a walk through what passes.
//!
//! ```sh
//! cargo run --example gateway             # stays until Ctrl-C, and tells each request's steps
//! cargo run --example gateway -- --once   # the walk only
//! ```
#![expect(clippy::print_stdout, reason = "it is a program that people run and read")]

mod issuer;
mod services;
mod walk;

use std::error::Error;
use std::sync::Arc;

use clap::Parser;
use sekisho::Secret;
use sekisho::gateway::{ConfigContext, Gateway, JourneyListener, JourneyStep};
use tokio::net::TcpListener;

/// Runs a gateway before two services, and shows what it does.
#[derive(Parser)]
struct Arguments {
    /// Ends after the walk instead of waiting for requests.
    #[arg(long)]
    once: bool,
    /// The port of the gateway, on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Is where everything listens, and the secret of the clients.
struct Running {
    gateway: String,
    issuer: String,
    secret: Secret,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let (issuer, secret) = issuer::start().await?;
    let orders = services::orders().await?;
    let stock = services::stock(&issuer).await?;
    let text = configuration(&issuer, &orders, &stock);
    // A real program reads the file with `Gateway::from_file`, and the secret from its own environment.
    let known = secret.clone();
    let context = ConfigContext::default()
        .with_environment(move |name| (name == "GATEWAY_SECRET").then(|| text_of(&known)))
        .with_listener(Arc::new(Printed));
    let gateway = Gateway::from_config(sekisho::gateway::GatewayConfig::parse(&text, &context)?);
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    let running = Running { gateway: format!("http://{}", listener.local_addr()?), issuer, secret };
    let serving = gateway.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });

    println!("Authentication service  {}", running.issuer);
    println!("Gateway                 {}", running.gateway);
    println!("Service behind it       {orders}/orders");
    println!("Service behind it       {stock}/stock");
    walk::walk(&running).await?;
    if !arguments.once {
        walk::print_invitation(&running);
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

/// Is the gateway's file.
fn configuration(issuer: &str, orders: &str, stock: &str) -> String {
    format!(
        r#"
[identity]
subject = "X-Auth-Subject"

# JWTs, by the rules of the AWS HTTP API's JWT authorizer.
[credentials.jwt]
kind = "aws_http_api"
issuer = "{issuer}"
audiences = ["orders-api"]

# Opaque tokens: the issuer is asked about each; `cache_s` would keep its answers, and notice revocations as much later.
[credentials.opaque]
kind = "introspection"
endpoint = "{issuer}/introspect"
issuer = "{issuer}"
audiences = ["stock-api"]
client_id = "gateway"
client_secret = {{ env = "GATEWAY_SECRET" }}

[upstreams.orders]
url = "{orders}"

[upstreams.stock]
url = "{stock}"

[[routes]]
path = "/orders/*"
methods = ["GET"]
upstream = "orders"
credentials = "jwt"
any_scope = ["orders:read", "orders:admin"]

# The service gets the JWT behind the client's token.
[[routes]]
path = "/stock/*"
methods = ["GET"]
upstream = "stock"
credentials = "opaque"
scopes = ["stock:read"]
token = "swap"
"#
    )
}

/// Prints each step of a request as it happens.
#[derive(Debug)]
struct Printed;

impl JourneyListener for Printed {
    fn on_step(&self, _: u64, step: JourneyStep, detail: &str) {
        println!("   step {}     {:<10} {detail}", step.number(), step.name());
    }
}

fn text_of(secret: &Secret) -> String {
    secret.expose_str().unwrap_or_default().to_owned()
}

/// Cuts a token down to what may be shown.
fn cut(token: &str) -> String {
    format!("{}… ({} bytes)", token.get(..8).unwrap_or_default(), token.len())
}
