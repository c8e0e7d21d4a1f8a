//! Shows the hostile-token corpus and published vectors to several libraries, and prints who takes what.
//!
//! `cargo xtask compare` prints; with `-- --write` it also puts the tables into `docs/comparison.md`.

mod corpus;
mod document;
mod libraries;
mod snippets;
mod tally;
mod vectors;

use std::pin::pin;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Runtime;

fn main() -> ExitCode {
    // Two of the libraries share `jsonwebtoken`, which wants one provider for the process when features name two.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    // A panic is counted, not printed: the corpus is meant to bring them about.
    std::panic::set_hook(Box::new(|_| {}));

    let libraries = libraries::all();
    let corpus = corpus::run(&libraries);
    let vectors = vectors::run(&libraries);
    let text = document::tables(&libraries, &corpus, vectors.as_deref());
    println!("{text}");
    if std::env::args().any(|argument| argument == "--write") {
        if vectors.is_none() {
            eprintln!("not written: without SEKISHO_VECTORS half of it would be missing");
            return ExitCode::FAILURE;
        }
        if let Err(error) = document::write(&text) {
            eprintln!("docs/comparison.md: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs a future that never waits.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future wanted to wait"),
    }
}

/// Runs a future that may use the network of this machine.
fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime")).block_on(future)
}
