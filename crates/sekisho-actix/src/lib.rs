#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod enforce;
mod error;
mod extract;
mod future;
mod layer;
#[cfg(feature = "oidc")]
mod oidc;
mod service;
#[cfg(feature = "session")]
mod session;

pub use enforce::{EnforceMiddleware, EnforceService, Permit, Permitted};
pub use error::RefusalError;
pub use extract::{Claims, MaybeClaims, MaybePrincipal, Principal};
pub use future::ResponseFuture;
pub use layer::{CheckpointExt, CheckpointMiddleware, MetadataResource, RequireMiddleware};
#[cfg(feature = "oidc")]
pub use oidc::{BffExt, BffResponse};
#[doc(no_inline)]
pub use sekisho_http::Ask;
pub use service::{CheckpointService, RequireService};
#[cfg(feature = "session")]
pub use session::{Session, SessionFuture, SessionMiddleware, SessionOrAnonymous, SessionService};
