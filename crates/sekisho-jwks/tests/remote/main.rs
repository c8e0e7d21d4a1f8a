//! Key sources against a small HTTP server on a real socket, and against a counting client.
#![cfg(all(feature = "aws-lc-rs", feature = "reqwest"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod background;
mod config;
mod discovery;
mod faults;
mod file;
mod flood;
mod logs;
mod refresh;
mod server;
mod support;
