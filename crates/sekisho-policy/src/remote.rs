//! Deciders on the network: what is asked, within which bounds, and what of the answer is kept.

mod body;
mod breaker;
mod builder;
mod cache;
mod decider;
mod exchange;
mod key;
mod protocol;
mod question;
#[cfg(feature = "revocation")]
mod withdrawn;

pub mod authzen;
pub mod keycloak;
pub mod opa;
pub mod openfga;
mod strict;

pub use builder::RemoteBuilder;
pub use decider::{Remote, RemoteHealth};
pub use protocol::DecisionProtocol;
#[cfg(feature = "revocation")]
pub use withdrawn::PurgingFeed;

#[cfg(test)]
mod tests;
