//! Passkeys: each step of WebAuthn with one thing changed, and the ceremonies around them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "passkeys/ceremonies.rs"]
mod ceremonies;
#[path = "passkeys/login.rs"]
mod login;
#[path = "passkeys/published.rs"]
mod published;
#[path = "passkeys/registration.rs"]
mod registration;
#[path = "passkeys/site.rs"]
mod site;
#[path = "world.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod world;
