mod extract;
mod future;
mod layer;
mod service;

pub use extract::{Session, SessionOrAnonymous};
pub use future::SessionFuture;
pub use layer::SessionMiddleware;
pub use service::SessionService;
