use std::fmt;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};

use crate::GrantId;

/// Is told what the issuer has revoked, so that services that check JWTs by themselves can be told.
///
/// If it fails, the request that revokes fails with 503 and is repeated by whoever sent it: being told twice must do no harm. It is told
/// of a token or a session before the issuer's own store has its end, so that it can be told again; of a grant or a subject after.
#[async_trait]
pub trait RevocationListener: Send + Sync + fmt::Debug {
    /// Passes on what was revoked.
    ///
    /// # Errors
    /// [`Failure`] when it could not be passed on.
    async fn revoked(&self, revocation: &Revocation, now: UnixSeconds) -> Result<(), Failure>;
}

/// Says what was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revocation {
    /// One access token, by its `jti`.
    #[non_exhaustive]
    Token {
        /// The `jti`.
        id: String,
        /// When it would have ended.
        expires_at: UnixSeconds,
    },
    /// A grant with all that came of it: the `jti` of its JWTs begins with the id and a dot.
    Grant(GrantId),
    /// A login with all that came of it, by the `sid` of its tokens.
    Session(String),
    /// All tokens of a user, by `sub`, that were issued until now.
    Subject(String),
}
