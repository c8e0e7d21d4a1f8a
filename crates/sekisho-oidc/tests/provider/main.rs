//! Logging in, refreshing and logging out at a scripted provider.
#![cfg(feature = "aws-lc-rs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod assertion;
mod conformance;
mod leak;
mod login;
mod logout;
mod refresh;
mod scripted;
#[cfg(feature = "session")]
mod session_user_info;
mod settings;
mod sockets;
mod user_info;
