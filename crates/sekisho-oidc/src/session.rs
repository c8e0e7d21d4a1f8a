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
mod user_info;

use sekisho_core::{Failure, FailureKind};
use tracing::Instrument as _;

pub use access::{AccessError, AccessToken};
pub use bff::{Bff, BffBuilder};
pub use logout::LogoutScope;
pub use party::{RelyingParty, RelyingPartyBuilder};
#[cfg(feature = "proxy")]
pub use proxy::{ApiProxy, ApiProxyBuilder, ApiRoute};
pub use reply::Reply;

/// Runs to its end though whoever waits goes away, as the handler does of a client that hangs up.
async fn to_the_end<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> Result<T, Failure> {
    let broken = Failure::new(FailureKind::Misconfigured, "a task broke off");
    tokio::spawn(task.in_current_span()).await.map_err(|_| broken)
}

/// Draws a name for a mark: 128 random bits as text.
fn random() -> Box<str> {
    oauth2::CsrfToken::new_random().into_secret().into()
}
