#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod algorithms;
mod base64;
mod binding;
mod builder;
mod cache;
mod candidate;
mod claims;
mod compact;
pub mod dangerous;
mod document;
mod dpop;
mod header;
#[cfg(feature = "interop-jsonwebtoken")]
pub mod interop;
mod issuer;
#[cfg(feature = "jwe")]
mod jwe;
mod profile;
mod replay;
mod signature;
mod signer;
mod statement;
mod sync;
mod trace;
mod verified;
mod verifier;

pub use binding::SenderConstraint;
pub use builder::{Jwt, JwtBuilder, JwtIssuer, JwtStart};
pub use cache::CacheLimits;
pub use candidate::Candidate;
pub use document::DocumentVerifier;
pub use dpop::{Dpop, DpopSigner, NonceKeys};
#[cfg(feature = "jwe")]
pub use jwe::{ContentEncryption, DecryptionKey, KeyManagement, encrypt};
pub use profile::{CustomProfile, Profile};
pub use replay::MemoryReplayGuard;
pub use sekisho_core::{Claim, ConfigError, Failure, Principal, Refusal, Reject, UnixSeconds};
pub use sekisho_jwks as jwks;
pub use sekisho_jwks::{Algorithm, Backend};
pub use signer::{SignError, Signer};
pub use statement::StatementVerifier;
pub use trace::{Step, StepOutcome, Trace};
pub use verified::{Claims, Verified};
pub use verifier::Verifier;
