use sekisho_core::{Failure, Reject, Secret, UnixSeconds};

/// Is what a token endpoint handed out. `Debug` shows no token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenSet {
    /// The access token.
    pub access_token: Secret,
    /// Whether it is bound to our key and sent as `DPoP` ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)).
    pub is_dpop: bool,
    /// When the access token ends, by the provider's `expires_in` and our clock; `None` when it did not say.
    pub expires_at: Option<UnixSeconds>,
    /// The refresh token.
    pub refresh_token: Option<Secret>,
    /// The ID token, as it came.
    pub id_token: Option<Secret>,
    /// The scopes that were granted.
    pub scope: Option<Box<str>>,
}

/// Says why a token endpoint gave no tokens.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The grant is over: a code or refresh token that is used up, withdrawn or expired (`invalid_grant`). Log in again.
    #[error("the provider no longer honours the grant")]
    Grant,
    /// The provider refused otherwise; its error code, if that is a registered one.
    #[error("the provider refused: {0}")]
    Refused(&'static str),
    /// The ID token that came with a refresh is not good, or of somebody else: end the session.
    #[error("the ID token is refused")]
    IdToken(#[source] Reject),
    /// No answer, one that makes no sense, or our own configuration.
    #[error(transparent)]
    Failure(#[from] Failure),
}
