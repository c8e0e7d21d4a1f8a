//! What a revocation list knows, and how feeds keep it up to date, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod check;
mod following;
mod list;
mod logs;
mod model;
mod polling;
mod publishing;
mod support;
mod verifier;
