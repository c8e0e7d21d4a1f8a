//! Programs that show one pattern each. Run one with `cargo run --example NAME`.
//!
//! - `quickstart`: an axum service behind a checkpoint, and a walk through what it accepts and refuses.
