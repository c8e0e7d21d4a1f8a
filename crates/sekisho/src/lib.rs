#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "actix")]
pub use sekisho_actix as actix;
#[cfg(feature = "axum")]
pub use sekisho_axum as axum;
pub use sekisho_core::{
    AcceptedProofs, AccessRequest, Attribute, Attributes, Authenticate, Authorize, Barred, CertificateForm, Claim,
    ClaimValue, Clock, ConfigError, Confirmation, Credential, CredentialKind, Decision, DecisionSource, Denial, Effect,
    Enforcer, EvaluationsSemantic, Explanation, Failure, FailureKind, IntoAuthenticate, Obligation, ObligationHandler,
    Occurrence, OneTimeUse, Outline, Permit, Presentation, Principal, ProofFault, ProofHeader, Reason, Refusal, Reject,
    ReplayGuard, Requirement, Resource, RevocationCheck, Secret, ShownCertificate, SubjectId, SystemClock, UnixSeconds,
    all_of, any_of, authentication_context, claim, dangerous, decided_by, json, max_age, not, owner, role, same_tenant,
    scope, when, when_async,
};
#[cfg(feature = "credentials")]
pub use sekisho_credentials as credentials;
#[cfg(feature = "gateway")]
pub use sekisho_gateway as gateway;
pub use sekisho_http::{self as http, Checkpoint, CheckpointBuilder, ProtectedResourceMetadata};
#[cfg(feature = "issuer")]
pub use sekisho_issuer as issuer;
#[cfg(feature = "jwt")]
pub use sekisho_jwt::{
    self as jwt, Algorithm, Backend, CacheLimits, Claims, CustomProfile, Dpop, Jwt, JwtBuilder, Profile, Signer, Trace,
    Verified, Verifier, jwks,
};
#[cfg(feature = "oidc")]
pub use sekisho_oidc as oidc;
#[cfg(feature = "opaque")]
pub use sekisho_opaque::{
    self as opaque, ClientCredentials, Introspection, Opaque, OutboundSwap, PhantomSwap, Reference, TokenSwap,
};
#[cfg(feature = "policy")]
pub use sekisho_policy as policy;
#[cfg(feature = "redis")]
pub use sekisho_redis as redis;
#[cfg(feature = "revocation")]
pub use sekisho_revocation as revocation;
#[cfg(feature = "session")]
pub use sekisho_session as session;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sekisho_sqlx as sqlx;
#[cfg(feature = "testing")]
pub use sekisho_testkit as testing;
#[cfg(feature = "tower")]
pub use sekisho_tower as tower;
