//! The behaviour of the stores, seen from outside, on a SQLite file, in memory and on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod contract;
mod world;
