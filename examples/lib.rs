//! Programs that show one pattern each. Run one with `cargo run --example NAME`.
//!
//! - `authorization`: a small shop that asks four patterns of authorization the same questions, before and after its decision service is killed.
//! - `bff`: two services with a backend for their frontend, which log people in at an authentication service, share sessions and pass calls on to an API.
//! - `browser-storage`: a page that keeps a JWT in eight places, and a stranger's script in it that tries each of them.
//! - `gateway`: a gateway before two services, and a walk with a JWT, a phantom token and a revocation.
//! - `issuer`: an authentication service with users in a SQLite file, and a walk through login with a second factor, tokens, refresh, exchange, introspection and logout.
//! - `quickstart`: an axum service behind a checkpoint, and a walk through what it accepts and refuses.
//! - `sessions`: two services that share their sessions, and a page that lists where a user is logged in and ends it.

/// The snippets of the front page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod front_page {}
