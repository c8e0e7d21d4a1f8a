#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod around;
mod body;
mod enforce;
mod error;
mod future;
mod head;
mod layer;
mod service;

pub use around::{Around, ReadAround};
pub use body::{CheckpointBody, Kept, RefusalBody, Wrapped};
pub use enforce::{EnforceLayer, EnforceService};
pub use error::response;
pub use future::ResponseFuture;
pub use head::PartsHead;
pub use layer::{CheckpointExt, CheckpointLayer, RequireLayer};
pub use service::{CheckpointService, RequireService};
