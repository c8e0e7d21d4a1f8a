//! The authorization server as clients and browsers see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[cfg(feature = "credentials")]
mod account;
mod authorize;
mod backing;
#[cfg(feature = "credentials")]
mod bank;
mod client_auth;
#[cfg(feature = "credentials")]
mod credentials;
mod device;
#[cfg(feature = "credentials")]
mod devices;
mod exchange;
mod introspect;
mod login;
mod logout;
mod meanwhile;
mod metadata;
#[cfg(feature = "credentials")]
mod overtaken;
#[cfg(feature = "passkeys")]
mod passkeys;
#[cfg(feature = "credentials")]
mod second_factor;
mod setup;
mod token;
mod userinfo;
#[cfg(feature = "revocation")]
mod withdraw;
