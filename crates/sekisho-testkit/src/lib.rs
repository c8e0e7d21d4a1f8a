#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod crypto;
mod dpop;
mod fake;
mod forge;
mod hostile;
mod hostile_proof;
mod http_suite;
mod issuer;
mod key_source_suite;
mod served;
mod token;

pub use clock::FixedClock;
pub use dpop::{DpopKey, ProofBuilder};
pub use fake::FakeAuthenticator;
pub use hostile::{HonestToken, HostileContext, HostileGroup, HostileToken, honest_tokens, hostile_tokens};
pub use hostile_proof::{HostileProof, hostile_proofs};
pub use http_suite::HttpSuite;
pub use issuer::Issuer;
pub use key_source_suite::key_source_suite;
pub use served::{Endpoint, Fault, ServedIssuer};
pub use token::TokenBuilder;
