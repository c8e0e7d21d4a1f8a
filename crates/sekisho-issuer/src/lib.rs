#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "credentials")]
mod accounts;
mod answer;
mod browser;
mod certificate;
mod client;
mod client_auth;
#[cfg(feature = "credentials")]
mod credentials;
mod endpoints;
mod form;
mod handle;
mod incoming;
mod inspect;
mod issue;
mod issuer;
mod keys;
mod login;
mod pages;
mod redirect;
mod revocation;
mod scope;
mod server;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tokens;
mod user;
#[cfg(feature = "revocation")]
mod withdraw;

#[cfg(feature = "credentials")]
pub use accounts::Accounts;
pub use client::{
    AccessTokenFormat, CertificateRule, Client, ClientAuthentication, ClientBuilder, ClientSecret, ClientStore,
    ExchangeRules, GrantKind, StaticClients,
};
#[cfg(feature = "credentials")]
pub use credentials::CredentialLogin;
pub use handle::{GrantId, HandleHash};
pub use inspect::ActiveToken;
pub use issue::{IssueRequest, IssuedToken};
pub use keys::{FileKeyStore, IssuerKeys, KeyRotation, KeyStore, MasterKey, MemoryKeyStore, SealedKeys};
pub use login::{
    AuthenticatedUser, DeviceMark, LoginCheck, LoginOutcome, PasskeyAttempt, PasskeyPrompt, PasswordAttempt,
    PendingLogin, SecondFactorAttempt,
};
pub use pages::{
    Message, NewApp, Page, PageContent, PageForm, Pages, PasskeyForm, PlainPages, Problem, ProofPurpose, ShownCodes,
    ShownPasskey, escape,
};
pub use revocation::{Revocation, RevocationListener};
pub use scope::ScopeSet;
pub use server::{AuthorizationServer, AuthorizationServerBuilder, DeviceLimits, Essentials, Lifetimes};
pub use store::{
    Authentication, Claims, CodeRecord, CountStore, DevicePoll, DeviceRequest, DeviceStore, Grant, GrantStore,
    IssuerStore, MAX_RECORD_BYTES, MemoryLimits, MemoryStore, RecordError, ReferenceRecord, RefreshFamily, SsoSession,
    SsoStore, StoredRecord, TakenCode,
};
pub use user::{UserClaims, UserDirectory};
#[cfg(feature = "revocation")]
pub use withdraw::WithdrawingListener;
