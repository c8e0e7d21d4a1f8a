//! Drills: our own issuer and our own gateways, each in a process of its own, under load while something happens.
//!
//! They print what they measure: `cargo xtask drill revocation`, `cargo xtask drill outage`. What they assert are promises and
//! statuses. Without those commands they are short, and print into the void.

mod browser;
mod load;
mod outage;
mod parts;
mod revocation;

use std::env;
use std::time::Duration;

use tokio::sync::Mutex;

/// Held by each drill, so that no load is in the way of another's.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Returns the number that `variable` holds.
fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, and not {text:?}")))
}

/// Writes seconds with tenths.
fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
