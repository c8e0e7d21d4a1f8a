//! The behaviour of the crate, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod factors;
mod login;
mod passwords;
mod silence;
mod stores;
mod throttling;
mod world;
