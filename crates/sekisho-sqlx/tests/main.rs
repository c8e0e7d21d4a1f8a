//! The behaviour of the stores, seen from outside, on a SQLite file, in memory and on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bounds;
mod contract;
mod feed;
mod hostile;
mod migrations;
mod races;
mod records;
mod session_races;
mod sessions;
mod silence;
mod world;
