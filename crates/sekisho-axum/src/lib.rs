#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod extract;
mod layer;
#[cfg(feature = "session")]
mod session;

pub use error::RefusalResponse;
pub use extract::{Claims, Principal};
pub use layer::CheckpointExt;
#[cfg(feature = "session")]
pub use session::{Session, SessionLayer, SessionOrAnonymous, SessionService};
