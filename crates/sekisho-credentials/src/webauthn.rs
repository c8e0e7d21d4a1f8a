//! The checks of a relying party ([WebAuthn Level 3](https://www.w3.org/TR/webauthn-3/)), without store, clock or network.
//!
//! Numbers of steps in comments are those of §7.1 (registration) and §7.2 (authentication) of Level 3.

mod assertion;
mod attestation;
mod authenticator_data;
mod cbor;
mod client_data;
mod key;
mod reject;
mod relying_party;
mod response;

pub use assertion::VerifiedAssertion;
pub use attestation::NewPasskey;
pub use client_data::PasskeyChallenge;
pub use reject::PasskeyReject;
pub(crate) use relying_party::LONGEST_LIFETIME;
pub use relying_party::{CounterPolicy, RelyingParty, UserVerification};
pub use response::{AssertionResponse, RegistrationResponse};
