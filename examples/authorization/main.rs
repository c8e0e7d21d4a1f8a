//! One small shop, four patterns of authorization, the same questions: who decides, what, and in what time. Then the decision
//! service is killed, and the same is asked again.
//!
//! ```sh
//! cargo run --example authorization             # stays until Ctrl-C, with curls to try
//! cargo run --example authorization -- --once   # the tables only
//! ```
#![expect(clippy::print_stdout, reason = "it is a program that people run and read")]

mod decision_service;
mod patterns;
mod service;
mod table;

use std::error::Error;

use clap::Parser;
use decision_service::DecisionService;
use patterns::Patterns;
use sekisho_testkit::Issuer;
use table::{People, Table};

/// Asks four patterns of authorization the same questions, with the decision service alive and dead.
#[derive(Parser)]
struct Arguments {
    /// Ends after the tables instead of waiting for requests.
    #[arg(long)]
    once: bool,
    /// The port of the shop, on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let issuer = Issuer::new();
    let people = People::of(&issuer).await?;
    let decisions = DecisionService::start(issuer.url())?;
    println!("A decision service (AuthZEN) listens on {}. Its policies are in Cedar.\n", decisions.url());
    let patterns = Patterns::new(issuer.url(), decisions.url())?;
    println!("How the hybrid is put together:\n\n{}", patterns.outline_of_hybrid());

    let alive = table::ask_all(&patterns, &people).await?;
    println!("Everything runs:\n\n{alive}");
    if arguments.once {
        return decisions_die(decisions, &patterns, &people, &alive).await;
    }
    let port = service::serve(&issuer, patterns.hybrid(), arguments.port).await?;
    println!("The shop, guarded by the hybrid: http://localhost:{port}/   Try:\n");
    for (who, token) in people.tokens() {
        println!("# {who}\ncurl -i -H 'authorization: Bearer {token}' http://localhost:{port}/orders/42\n");
    }
    println!("Ctrl-C kills the decision service; a second one ends the shop.");
    tokio::signal::ctrl_c().await?;
    println!();
    // Tokens may be over by now, and what was read a while ago is not remembered any more.
    let people = People::of(&issuer).await?;
    let alive = table::ask_all(&patterns, &people).await?;
    decisions_die(decisions, &patterns, &people, &alive).await?;
    println!("Orders that somebody has just read can be read for another minute.");
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// Kills the decision service, and asks the same once more.
async fn decisions_die(
    decisions: DecisionService,
    patterns: &Patterns,
    people: &People,
    alive: &Table,
) -> Result<(), Box<dyn Error>> {
    decisions.kill();
    let dead = table::ask_all(patterns, people).await?;
    println!("The decision service is dead:\n\n{dead}");
    println!("Why the hybrid still lets alice read her order, and nobody refund:\n");
    println!("{}", table::explain(patterns, people).await);
    table::check(alive, &dead)
}
