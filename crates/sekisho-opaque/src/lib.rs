#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod base64;
mod builder;
mod cache;
mod claims;
mod credentials;
mod engine;
mod freshness;
mod introspection;
mod outbound;
mod phantom;
mod reference;
mod settings;

pub use builder::{IntrospectionBuilder, IntrospectionIssuer, IntrospectionStart, Opaque, OpaqueStart};
pub use credentials::{ClientCredentials, ClientProof};
pub use introspection::Introspection;
pub use outbound::{OutboundBuilder, OutboundResponse, OutboundSwap, OutboundVerifier};
pub use phantom::{InnerToken, PhantomBuilder, PhantomIssuer, PhantomStart, PhantomSwap, TokenSwap};
pub use reference::{
    MemoryReferenceStore, RecordError, Reference, ReferenceBuilder, ReferenceContent, ReferenceDigest, ReferenceIssuer,
    ReferenceLimits, ReferenceRecord, ReferenceStart, ReferenceStore, ReferenceToken,
};
pub use sekisho_jwt::{Backend, CacheLimits, Candidate, Dpop, Profile};
