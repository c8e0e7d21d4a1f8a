//! An axum service behind a checkpoint, and a walk through what it accepts and refuses.
//!
//! ```sh
//! cargo run --example quickstart                    # own identity provider; stays until Ctrl-C
//! cargo run --example quickstart -- --once          # the same, and ends by itself
//! cargo run --example quickstart -- --issuer https://id.example/realms/shop --audience orders-api
//! ```
#![expect(clippy::print_stdout, reason = "it is a program that people run and read")]

mod service;
mod walk;

use std::error::Error;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sekisho::jwks::Discovery;
use sekisho::{Clock, Jwt, Profile, SystemClock, Verifier};
use sekisho_testkit::Issuer;
use service::Service;

/// Guards a small service with Sekisho, and shows what it accepts and refuses.
#[derive(Parser)]
struct Arguments {
    /// A real provider to trust, as it stands in `iss`. Without it, one runs in this process.
    #[arg(long, requires = "audience")]
    issuer: Option<String>,
    /// What the provider writes into `aud` for this service.
    #[arg(long, requires = "issuer")]
    audience: Option<String>,
    /// Whose tokens they are.
    #[arg(long, value_enum, default_value = "compatible")]
    profile: Kind,
    /// Ends after the walk instead of waiting for requests.
    #[arg(long)]
    once: bool,
    /// The port to listen on, on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Compatible,
    Rfc9068,
    Keycloak,
    Entra,
    Cognito,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let service = match (&arguments.issuer, &arguments.audience) {
        (Some(issuer), Some(audience)) => guard_for(issuer, audience, &arguments).await?,
        _ => {
            let provider = Issuer::new().serve_under("/realms/shop").await?;
            // The default is one question for an unknown key in 30 s; a walk is quicker than that.
            let keys = Discovery::new(provider.url()).with_unknown_kid_interval(Duration::from_secs(1));
            let verifier = Jwt::issuer(provider.url()).audience(walk::AUDIENCE).with_keys(keys).build()?;
            let service = Service::start(verifier, arguments.port).await?;
            walk::walk(&provider, &service).await?;
            if !arguments.once {
                service.explain_refusals();
                walk::print_invitation(&provider, &service);
                tokio::signal::ctrl_c().await?;
            }
            return Ok(());
        }
    };
    if arguments.once && !service.verifier.health(SystemClock.now()).iter().all(|(_, health)| health.is_ready()) {
        return Err("the provider's keys could not be had".into());
    }
    if !arguments.once {
        service.explain_refusals();
        println!("\nEach refused request is explained here. Ctrl-C ends it.\n");
        tokio::signal::ctrl_c().await?;
    }
    drop(service);
    Ok(())
}

/// Guards the service for a real provider, and tells whether its keys can be had.
async fn guard_for(issuer: &str, audience: &str, arguments: &Arguments) -> Result<Service, Box<dyn Error>> {
    let profile = match arguments.profile {
        Kind::Compatible => Profile::compatible(),
        Kind::Rfc9068 => Profile::rfc9068(),
        Kind::Keycloak => Profile::keycloak(),
        Kind::Entra => Profile::entra(),
        Kind::Cognito => Profile::cognito(),
    };
    let verifier = Jwt::issuer(issuer).audience(audience).with_profile(profile).build()?;
    let service = Service::start(verifier, arguments.port).await?;
    println!("Guarding {}/orders for tokens of {issuer}, audience {audience}.", service.url());
    println!("\n  curl -i -H \"Authorization: Bearer $TOKEN\" {}/orders", service.url());
    print_keys(&service.verifier).await;
    Ok(service)
}

/// Waits a little for the keys, only to be able to say how it stands; requests would not wait for this.
async fn print_keys(verifier: &Verifier) {
    // A token that nobody signed: asking for its key makes the source fetch.
    let _refused = verifier.verify("eyJhbGciOiJFUzI1NiIsImtpZCI6InF1aWNrc3RhcnQifQ.e30.AA", SystemClock.now()).await;
    for (issuer, health) in verifier.health(SystemClock.now()) {
        println!("\nKeys of {issuer}: {health:?}");
        if !health.is_ready() {
            println!("No keys yet: requests get 503 until the provider answers; it is asked again in the background.");
        }
    }
}
