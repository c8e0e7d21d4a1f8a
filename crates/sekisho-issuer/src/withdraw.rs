use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_revocation::{MemoryFeed, RevocationList, Withdrawal, WithdrawalError};

use crate::{Revocation, RevocationListener};

/// Withdraws what the issuer revokes, for services that verify JWTs by themselves and ask a [`RevocationList`].
///
/// What it can do:
///
/// | revoked at the issuer | withdrawn |
/// |---|---|
/// | a token, by the revocation endpoint or [`revoke`](crate::AuthorizationServer::revoke) | the token, by `jti` |
/// | a login, by logout | the session, by `sid` |
/// | a user, by [`revoke_subject`](crate::AuthorizationServer::revoke_subject) | the subject: all tokens issued until now |
/// | a grant, by its refresh token, or because a code or an old refresh token was used again | the grant: all tokens whose `jti` begins with it |
///
/// Grants, sessions and subjects stay withdrawn for a day, the longest that an access token of this issuer may live.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use sekisho_issuer::WithdrawingListener;
/// use sekisho_revocation::{MemoryFeed, RevocationList};
/// let feed = MemoryFeed::new(); // all lists of this process follow it
/// let listener = Arc::new(WithdrawingListener::to_feed("https://id.example", feed));
/// // AuthorizationServer::builder("https://id.example", essentials).with_revocation_listener(listener)
/// # let _ = listener;
/// // Or, where services and issuer are one program, straight into the list that verifiers ask:
/// let list = RevocationList::new()?;
/// let listener = Arc::new(WithdrawingListener::to_list("https://id.example", list.clone()));
/// // Jwt::issuer("https://id.example").audience("orders").with_revocation(Arc::new(list.local()))
/// # let _ = listener;
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct WithdrawingListener {
    issuer: Box<str>,
    to: Destination,
}

#[derive(Clone, Debug)]
enum Destination {
    List(RevocationList),
    Feed(MemoryFeed),
}

impl WithdrawingListener {
    /// Withdraws in a list of this process.
    ///
    /// `issuer`: the server's own name, byte for byte as it stands in `iss`.
    #[must_use]
    pub fn to_list(issuer: impl Into<Box<str>>, list: RevocationList) -> Self {
        Self { issuer: issuer.into(), to: Destination::List(list) }
    }

    /// Withdraws through a feed, for all lists that follow it.
    ///
    /// `issuer`: the server's own name, byte for byte as it stands in `iss`.
    #[must_use]
    pub fn to_feed(issuer: impl Into<Box<str>>, feed: MemoryFeed) -> Self {
        Self { issuer: issuer.into(), to: Destination::Feed(feed) }
    }
}

impl Revocation {
    /// Writes it as a withdrawal, for feeds of other kinds.
    ///
    /// `issuer`: the server's own name, byte for byte as it stands in `iss`.
    ///
    /// # Errors
    /// [`WithdrawalError`] for a name or an id that is empty or too long.
    pub fn to_withdrawal(&self, issuer: &str, now: UnixSeconds) -> Result<Withdrawal, WithdrawalError> {
        let until = now.saturating_add(LONGEST_TOKEN);
        match self {
            Self::Token { id, expires_at } => Withdrawal::token(issuer, id, *expires_at),
            Self::Grant(id) => Withdrawal::grant(issuer, id.as_str(), until),
            Self::Session(sid) => Withdrawal::session(issuer, sid, until),
            Self::Subject(subject) => Withdrawal::subject_up_to(issuer, subject, now, until),
        }
    }
}

#[async_trait]
impl RevocationListener for WithdrawingListener {
    async fn revoked(&self, revocation: &Revocation, now: UnixSeconds) -> Result<(), Failure> {
        let withdrawal = revocation.to_withdrawal(&self.issuer, now).map_err(|error| {
            Failure::new(FailureKind::Misconfigured, "what was revoked cannot be withdrawn").with_source(error)
        })?;
        match &self.to {
            Destination::List(list) => Ok(list.withdraw(&withdrawal, now)?),
            Destination::Feed(feed) => feed.push(withdrawal, now),
        }
    }
}

impl fmt::Debug for WithdrawingListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, to } = self;
        f.debug_struct("WithdrawingListener").field("issuer", issuer).field("to", to).finish()
    }
}

/// What [`Lifetimes`](crate::Lifetimes), clients and tokens issued by hand allow at most.
const LONGEST_TOKEN: Duration = Duration::from_secs(86_400);
