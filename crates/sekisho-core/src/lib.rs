#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod authenticate;
mod authorize;
pub mod claims;
mod credential;
pub mod dangerous;
mod error;
pub mod json;
mod presentation;
mod principal;
mod reject;
mod replay;
mod requirement;
mod secret;
mod time;

pub use authenticate::{Authenticate, IntoAuthenticate, RevocationCheck};
pub use authorize::{AccessRequest, Authorize, Decision, Effect, Obligation, Resource};
pub use credential::{Credential, CredentialKind};
pub use error::{ConfigError, Failure, FailureKind, Refusal};
pub use presentation::{AcceptedProofs, CertificateForm, Presentation, ProofHeader, ShownCertificate};
pub use principal::{Confirmation, Principal, SubjectId};
pub use reject::{Claim, ProofFault, Reject};
pub use replay::{Occurrence, OneTimeUse, ReplayGuard};
pub use requirement::{Denial, Requirement, all_of, any_of, authentication_context, max_age, role, scope};
pub use secret::Secret;
pub use time::{Clock, SystemClock, UnixSeconds};
