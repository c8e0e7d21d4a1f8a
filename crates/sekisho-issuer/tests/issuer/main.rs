//! The authorization server as clients and browsers see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod authorize;
mod client_auth;
mod device;
mod exchange;
mod introspect;
mod login;
mod logout;
mod meanwhile;
mod metadata;
mod setup;
mod token;
mod userinfo;
#[cfg(feature = "revocation")]
mod withdraw;
