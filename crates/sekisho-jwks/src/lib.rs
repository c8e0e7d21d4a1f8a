#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!(
    "sekisho-jwks: switch on at least one crypto backend, feature `aws-lc-rs` (default) or `ring`; both at once is fine"
);

mod algorithm;
mod backend;
mod jwk;
mod key;
mod key_ring;
mod key_set;
mod signing;
mod source;
mod sync;

pub use algorithm::{Algorithm, KeyFamily};
pub use backend::Backend;
pub use key::{KeyError, VerifyingKey};
pub use key_ring::{KeyRing, KeyRingError, RingKeys};
pub use key_set::{KeySet, KeySetError, SkippedKey};
pub use signing::SigningKey;
pub use source::{
    Candidates, Discovery, FileKeys, IntoKeySource, KeyHealth, KeyLife, KeyLookup, KeyQuery, KeySource, RemoteKeys,
    SourceContext, StaticKeys, TrustedKey,
};
