#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod authenticator;
mod content;
mod cookie;
mod crypto;
mod csrf;
mod invalidation;
mod keys;
mod memory;
mod navigation;
mod overview;
mod remembered;
mod request;
mod session;
mod sessions;
mod store;
mod token;

pub use authenticator::SessionAuthenticator;
pub use cookie::{ClientSideCookie, ClientSideCookieBuilder, SameSite, SessionCookie, SessionCookieBuilder, SetCookie};
pub use csrf::{CsrfRules, Forgery};
pub use invalidation::{Invalidation, InvalidationSubscription, Invalidations};
pub use keys::{SessionKey, SessionKeys};
pub use memory::{MemorySessionStore, SessionLimits};
pub use navigation::{LoginRedirect, ReturnTo, is_navigation};
pub use overview::{SessionId, SessionOverview};
pub use remembered::RememberedLogins;
pub use request::{Login, RequestSession};
pub use session::Session;
pub use sessions::{Sessions, SessionsBuilder};
pub use store::{ListedSession, NewSession, Saved, Sealed, SessionStore, SessionUpdate, StoredSession};
pub use token::{SessionHash, SessionTag};
