#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod extract;
mod layer;

pub use error::RefusalResponse;
pub use extract::{Claims, Principal};
pub use layer::CheckpointExt;
