//! The stores before real servers, in all three shapes.
//!
//! `cargo xtask servers` starts them and says where they are. Without them each test says on one line that it is skipped; with `CI=true`
//! it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests, which say how long things took"
)]

mod cluster;
mod control;
mod invalidations;
mod issuer;
mod monitor;
mod outages;
mod races;
mod refusals;
mod session_chaos;
mod session_traces;
mod sessions;
mod setup;
mod suites;
mod tls;
