//! The layers over plain services and over a tonic server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod enforce;
mod enforcement;
mod fake;
mod service;
mod tonic_server;
