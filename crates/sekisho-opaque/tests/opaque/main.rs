//! Opaque tokens against in-process servers over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![cfg(all(feature = "aws-lc-rs", feature = "reqwest"))]

mod bound;
mod caching;
mod config;
mod credentials;
mod faults;
mod logs;
mod outbound;
mod phantom;
mod reference;
mod server;
mod signed;
mod support;
