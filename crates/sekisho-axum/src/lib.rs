#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod enforce;
mod error;
mod extract;
mod layer;
#[cfg(feature = "oidc")]
mod oidc;
#[cfg(feature = "session")]
mod session;

pub use enforce::{Permit, Permitted};
pub use error::RefusalResponse;
pub use extract::{Claims, Principal};
pub use layer::CheckpointExt;
#[cfg(feature = "oidc-proxy")]
pub use oidc::ApiProxyExt;
#[cfg(feature = "oidc")]
pub use oidc::{BffExt, BffResponse};
#[doc(no_inline)]
pub use sekisho_http::Ask;
#[cfg(feature = "session")]
pub use session::{Session, SessionFuture, SessionLayer, SessionOrAnonymous, SessionService};
