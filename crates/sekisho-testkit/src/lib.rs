#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod crypto;
mod dpop;
mod enforcement_suite;
mod fake;
mod forge;
mod hostile;
mod hostile_proof;
mod http_suite;
#[cfg(feature = "session")]
mod invalidations_suite;
mod issuer;
mod key_source_suite;
mod log_recorder;
#[cfg(feature = "opaque")]
mod reference_store_suite;
mod replay_guard_suite;
mod revocation_feed_suite;
mod route_suites;
mod served;
#[cfg(feature = "session")]
mod session_store_suite;
mod token;

pub use clock::FixedClock;
pub use dpop::{DpopKey, ProofBuilder};
pub use enforcement_suite::{OrderPolicy, enforcement_suite};
pub use fake::FakeAuthenticator;
pub use hostile::{HonestToken, HostileContext, HostileGroup, HostileToken, honest_tokens, hostile_tokens};
pub use hostile_proof::{HostileProof, hostile_proofs};
pub use http_suite::HttpSuite;
#[cfg(feature = "session")]
pub use invalidations_suite::invalidations_suite;
pub use issuer::Issuer;
pub use key_source_suite::key_source_suite;
pub use log_recorder::LogRecorder;
#[cfg(feature = "opaque")]
pub use reference_store_suite::reference_store_suite;
pub use replay_guard_suite::replay_guard_suite;
pub use revocation_feed_suite::revocation_feed_suite;
pub use route_suites::{KIOSK_QUESTION, circumstances_suite, kiosk_policy, preflight_suite};
pub use served::{Endpoint, Fault, ServedIssuer};
#[cfg(feature = "session")]
pub use session_store_suite::{late_session_store_suite, session_store_suite};
pub use token::TokenBuilder;
