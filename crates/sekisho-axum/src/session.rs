mod extract;
mod layer;
mod service;

pub use extract::{Session, SessionOrAnonymous};
pub use layer::SessionLayer;
pub use service::SessionService;
