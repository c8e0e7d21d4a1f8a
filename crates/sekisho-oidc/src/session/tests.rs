//! The relying party with a provider that does what it is told, and browsers that are nothing but cookies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(unused_must_use, reason = "what counts of many answers is what the browser keeps")]

mod bff;
mod log;
mod login;
mod logout;
mod model;
#[cfg(feature = "proxy")]
mod proxy;
mod refresh;
mod world;
