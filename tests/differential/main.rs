//! The same tokens before this family, `jsonwebtoken` and `josekit`, each set up as its documentation advises.
//!
//! Every difference stands in a table with its reason; one that is not listed, and one that is gone, fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod hostile;
mod peers;
mod tables;
mod vectors;
