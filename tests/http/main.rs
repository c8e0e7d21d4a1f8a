//! The rules of HTTP over real sockets: one service for each framework, and the testkit's suite for both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod actix_service;
mod axum_placement;
mod axum_service;
mod certificates;
mod contract;
mod cors;
mod hot_path;
mod log;
mod logout;
mod nonce;
mod suite;
