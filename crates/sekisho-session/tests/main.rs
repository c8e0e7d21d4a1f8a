//! Sessions from request to request: stores, logins, rotations, races, and what must never be seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod broken_stores;
mod checkpoint;
mod client_side;
mod detached;
mod ends_heard;
mod failed_handlers;
mod given_up;
mod interleavings;
mod lifecycle;
mod near_logout;
mod provider_logout;
mod quiet;
mod races;
mod reload;
mod remembered;
mod return_to;
mod stores;
mod two_level;
mod world;
