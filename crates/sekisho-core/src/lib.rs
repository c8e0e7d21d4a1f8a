#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod attributes;
mod authenticate;
mod authorize;
pub mod claims;
mod credential;
pub mod dangerous;
mod decision;
mod enforce;
mod error;
pub mod json;
mod outline;
mod presentation;
mod principal;
mod reject;
mod replay;
mod requirement;
mod secret;
mod session_end;
mod time;

pub use attributes::{Attribute, Attributes};
pub use authenticate::{Authenticate, IntoAuthenticate, RevocationCheck};
pub use authorize::{AccessRequest, Authorize, EvaluationsSemantic, Resource};
pub use credential::{Credential, CredentialKind};
pub use decision::{Decision, DecisionSource, Effect, Obligation, Reason};
pub use enforce::{Barred, Enforcer, ObligationHandler, Permit};
pub use error::{ConfigError, Failure, FailureKind, Refusal};
pub use outline::{Explanation, Outline};
pub use presentation::{AcceptedProofs, CertificateForm, Presentation, ProofHeader, ShownCertificate};
pub use principal::{Confirmation, Principal, SubjectId};
pub use reject::{Claim, ProofFault, Reject};
pub use replay::{Occurrence, OneTimeUse, ReplayGuard};
pub use requirement::{
    ClaimValue, Denial, Requirement, all_of, any_of, authentication_context, claim, decided_by, max_age, not, owner,
    role, same_tenant, scope, when,
};
pub use secret::Secret;
pub use session_end::{SessionEnd, SessionEndListener};
pub use time::{Clock, SystemClock, UnixSeconds};
