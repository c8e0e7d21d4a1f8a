//! The project's recipes; `cargo xtask --help` lists them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program talks to its terminal")]

mod check;
mod drill;
mod gates;
mod layout;
mod libtest;
mod perform;
mod process;
mod progress;
mod servers;
mod steps;
mod summary;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::layout::Layout;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Recipes of the Sekisho workspace")]
struct Arguments {
    #[command(subcommand)]
    recipe: Recipe,
}

#[derive(Subcommand)]
enum Recipe {
    /// Before each commit: formatting, clippy, unit tests of the crates that changed.
    Check,
    /// Everything: tests against real servers, features, docs, licences, fuzz and bench smoke runs.
    Test {
        /// Leaves servers, fuzz targets and benches out.
        #[arg(long)]
        fast: bool,
    },
    /// Starts the servers of the tests and keeps them until Ctrl-C.
    Servers {
        /// Starts this one, and others that are named so; without it all of them.
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        #[command(subcommand)]
        action: Option<ServersAction>,
    },
    /// Fuzzes one target, or each in turn.
    Fuzz {
        /// The name of a file in fuzz/fuzz_targets, without `.rs`.
        target: Option<String>,
        /// Seconds per target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Runs one bench, prints its table and writes target/bench/NAME.jsonl.
    Bench {
        /// The name of a program in benches/.
        name: String,
        /// Few rounds: shows that the bench works, not how fast anything is.
        #[arg(long)]
        quick: bool,
        /// Handed to the bench as they are.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Runs a drill at its full length and prints what it measured; docs/drills.md has its figures.
    Drill {
        /// Which one.
        name: drill::Drill,
    },
    /// Runs the comparison with other libraries.
    Compare {
        /// Handed to the comparison as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Subcommand)]
enum ServersAction {
    /// Installs them into the cache and starts nothing.
    Install,
}

fn main() -> ExitCode {
    match run(Arguments::parse().recipe) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(recipe: Recipe) -> Result<ExitCode> {
    let layout = Layout::find()?;
    match recipe {
        Recipe::Check => check::run(&layout),
        Recipe::Test { fast } => test::run(&layout, fast),
        Recipe::Servers { action: None, only } => servers::stay(&layout, &only),
        Recipe::Servers { action: Some(ServersAction::Install), only: _ } => servers::install(&layout),
        Recipe::Fuzz { target, seconds } => perform::fuzz(&layout, target.as_deref(), seconds),
        Recipe::Bench { name, quick, arguments } => perform::bench(&layout, &name, quick, &arguments),
        Recipe::Drill { name } => drill::run(&layout, name),
        Recipe::Compare { arguments } => perform::compare(&layout, &arguments),
    }
}
