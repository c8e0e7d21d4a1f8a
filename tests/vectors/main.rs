//! Test vectors that others published, read where they lie; none of them is copied into this repository.
//!
//! What counts is exact: each file has a line with how many cases agree, and each case that does not agree with its
//! label stands in a table with the reason. A change of either is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod cookbook;
mod http_state;
mod josekit;
mod jwt_verify_lib;
mod opa;
mod openid_rp;
mod rfc;
mod tally;
mod wycheproof;
