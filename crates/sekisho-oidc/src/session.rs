//! Logins kept in sessions: what a relying party does beyond the protocol.

mod access;
mod bff;
mod cycle;
mod flights;
mod form;
mod login;
mod logout;
mod party;
mod pending;
mod protocol;
#[cfg(feature = "proxy")]
mod proxy;
mod record;
mod refresh;
mod reply;
mod sync;
#[cfg(test)]
mod tests;

pub use access::{AccessError, AccessToken};
pub use bff::{Bff, BffBuilder};
pub use logout::LogoutScope;
pub use party::{RelyingParty, RelyingPartyBuilder};
#[cfg(feature = "proxy")]
pub use proxy::{ApiProxy, ApiProxyBuilder, ApiRoute};
pub use reply::Reply;

/// Draws a name for a mark: 128 random bits as text.
fn random() -> Box<str> {
    oauth2::CsrfToken::new_random().into_secret().into()
}
