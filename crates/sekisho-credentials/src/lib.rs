#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod account;
mod client;
mod credentials;
mod hash;
mod passkey;
mod password;
mod random;
mod recovery;
mod sealing;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod throttle;
mod totp;
mod username;
#[cfg(feature = "passkeys")]
mod webauthn;

pub use account::{Account, AccountId};
pub use client::{ClientContext, DeviceToken, SourceHash};
pub use credentials::{
    Authenticated, ChangeError, Credentials, CredentialsBuilder, LoginOutcome, LoginTicket, PreparedPassword,
    ResetToken, SecondFactors, SignUpError,
};
#[cfg(feature = "passkeys")]
pub use credentials::{CeremonyTicket, PasskeyCeremony, PasskeyError, Passkeys};
pub use hash::{HashPolicy, HashWork, PasswordHash, PasswordHasher, PasswordVerdict, Pepper};
pub use passkey::{Passkey, PasskeyUse};
pub use password::{Password, PasswordError, PasswordPolicy};
pub use recovery::{RecoveryCode, RecoveryHash};
pub use sealing::{SealingKey, SealingKeys};
#[cfg(feature = "postgres")]
pub use store::PostgresStore;
#[cfg(feature = "sqlite")]
pub use store::SqliteStore;
pub use store::{
    AccountStore, Admission, ChallengeUse, CredentialStore, FactorStore, MemoryStore, PasskeyAddition, PasskeyStore,
    ThrottleStore, TotpRecord, TotpRecords,
};
pub use throttle::{Counter, CounterKey, DelayCurve, ThrottlePolicy};
pub use totp::{TotpAlgorithm, TotpSecret, TotpSettings};
pub use username::{Username, UsernameError};
#[cfg(feature = "passkeys")]
pub use webauthn::{
    AssertionResponse, CounterPolicy, NewPasskey, PasskeyChallenge, PasskeyReject, RegistrationResponse, RelyingParty,
    UserVerification, VerifiedAssertion,
};
