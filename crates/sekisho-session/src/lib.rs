#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod authenticator;
mod client_side;
mod content;
mod cookie;
mod crypto;
mod ending;
mod form_token;
mod invalidation;
mod keys;
mod memory;
mod navigation;
mod opened;
mod overview;
mod remembered;
mod request;
mod rules;
mod session;
mod sessions;
mod store;
mod sync;
mod token;
mod two_level;

pub use authenticator::SessionAuthenticator;
pub use client_side::ClientSideSessionsBuilder;
pub use cookie::{ClientSideCookie, ClientSideCookieBuilder, SameSite, SessionCookie, SessionCookieBuilder, SetCookie};
pub use invalidation::{Invalidation, InvalidationSubscription, Invalidations, LocalInvalidations};
pub use keys::{SessionKey, SessionKeys};
pub use memory::{MemorySessionStore, SessionLimits};
pub use navigation::{LoginRedirect, ReturnTo, is_navigation};
pub use overview::{SessionId, SessionOverview};
pub use remembered::RememberedLogins;
pub use request::{Login, RequestSession};
pub use rules::{FinishedRequest, LayeredRequest, SessionRules};
pub use sekisho_http::{CsrfRules, Forgery};
pub use session::Session;
pub use sessions::{ProviderLogout, Sessions, SessionsBuilder};
pub use store::{ListedSession, NewSession, Saved, Sealed, SessionStore, SessionUpdate, StoredSession};
pub use token::{SessionHash, SessionTag};
pub use two_level::{NearLimits, TwoLevelBuilder, TwoLevelSessionStore};
