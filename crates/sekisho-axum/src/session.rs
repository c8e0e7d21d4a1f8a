mod extract;
mod future;
mod layer;
mod service;

pub use extract::{Session, SessionOrAnonymous};
pub use future::SessionFuture;
pub use layer::SessionLayer;
#[cfg(feature = "oidc")]
pub(crate) use service::Head;
pub use service::SessionService;
