//! Deciders on the network: what is asked, within which bounds, and what of the answer is kept.
//!
//! A [`Remote`] is an [`Authorize`](sekisho_core::Authorize) that asks a service in the language of a [`DecisionProtocol`]:
//! [OPA](opa::Opa), [AuthZEN](authzen::AuthZen), OpenFGA, Keycloak, or one of your own. Whatever goes wrong is a failure, never a
//! permit; one decision takes 200 ms at the most. The table of bounds stands at [`Remote`].
//!
//! ```
//! use std::time::Duration;
//! use sekisho_core::{AccessRequest, Authorize, Decision, Failure, Principal, Resource, UnixSeconds};
//! use sekisho_policy::remote::{Remote, opa::Opa};
//!
//! fn decider() -> Result<Remote, sekisho_core::ConfigError> {
//!     let protocol = Opa::at("http://127.0.0.1:8181", "shop/authz")?;
//!     Remote::builder(protocol).with_deadline(Duration::from_millis(100)).depends_on_context(["ip"]).build()
//! }
//!
//! async fn may_read(opa: &Remote, who: &Principal, order: &str, now: UnixSeconds) -> Result<Decision, Failure> {
//!     opa.decide(&AccessRequest::new(who, "read", Resource::new("order", order), now)).await
//! }
//! ```

mod body;
mod breaker;
mod builder;
mod cache;
mod decider;
mod ended;
mod exchange;
mod key;
mod protocol;
mod purger;
mod question;
mod sync;
#[cfg(feature = "revocation")]
mod withdrawn;
mod writing;

pub mod authzen;
pub mod keycloak;
pub mod opa;
pub mod openfga;
mod strict;

pub use builder::RemoteBuilder;
pub use decider::{Remote, RemoteHealth};
pub use protocol::{DecisionProtocol, Purge};
pub use purger::Purger;
#[cfg(feature = "revocation")]
pub use withdrawn::PurgingFeed;

#[cfg(all(test, sekisho_shuttle))]
mod interleavings;
#[cfg(test)]
mod tests;
