#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod extract;
mod future;
mod layer;
mod service;

pub use error::RefusalError;
pub use extract::{Claims, MaybeClaims, MaybePrincipal, Principal};
pub use future::ResponseFuture;
pub use layer::{CheckpointExt, CheckpointMiddleware, MetadataResource, RequireMiddleware};
pub use service::{CheckpointService, RequireService};
