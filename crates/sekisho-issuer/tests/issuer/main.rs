//! The authorization server as clients and browsers see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[cfg(feature = "credentials")]
mod account;
mod authorize;
mod client_auth;
#[cfg(feature = "credentials")]
mod credentials;
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
