#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!(
    "sekisho-jwks: switch on at least one crypto backend, feature `aws-lc-rs` (default) or `ring`; both at once is fine"
);

mod algorithm;
mod key;
mod source;
mod sync;

pub use algorithm::{Algorithm, KeyFamily};
pub use key::VerifyingKey;
pub use source::{Candidates, KeyHealth, KeyLife, KeyLookup, KeyQuery, KeySource, TrustedKey};
