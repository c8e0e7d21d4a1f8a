//! What attackers send: one test for each known attack, named by its id in `attack-cases/cases.json` or by what the
//! peers of this family got wrong; the hostile tokens of the testkit; and random changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod alg;
mod claims;
mod complete;
mod corpus;
mod dpop;
mod forge;
mod found;
mod jwe;
mod jwks;
mod key;
mod mtls;
mod oidc;
mod opaque;
mod parse;
mod peer_sessions;
mod peers;
mod policy;
mod policy_protocols;
mod random;
mod session;
mod sig;
