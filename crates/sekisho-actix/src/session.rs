mod extract;
mod layer;
mod service;

pub use extract::{Session, SessionOrAnonymous};
pub use layer::SessionMiddleware;
pub use service::SessionService;
