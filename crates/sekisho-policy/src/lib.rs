#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "bundle")]
pub mod bundle;
#[cfg(feature = "cedar")]
pub mod cedar;
pub mod combine;
#[cfg(feature = "decision-point")]
pub mod decision_point;
pub mod filter;
#[cfg(any(feature = "rego", feature = "remote"))]
mod input;
mod key;
#[cfg(any(feature = "rego", feature = "remote"))]
mod outcome;
#[cfg(any(feature = "cedar", feature = "rego", feature = "remote"))]
mod per_thread;
mod random;
pub mod record;
#[cfg(feature = "rego")]
pub mod rego;
#[cfg(feature = "remote")]
pub mod remote;
pub mod source;
