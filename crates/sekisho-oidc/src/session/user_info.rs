use sekisho_core::{Failure, FailureKind};
use sekisho_session::RequestSession;

use crate::provider::{UserInfo, UserInfoError};
use crate::session::access::{AccessError, AccessToken, held};
use crate::session::party::RelyingParty;

impl RelyingParty {
    /// Asks what else the provider says about whoever is logged in
    /// ([OIDC Core §5.3](https://openid.net/specs/openid-connect-core-1_0.html#UserInfo)): the provider of this session, by the session's
    /// [access token](Self::access_token), which is refreshed first where it needs that. JSON, or a JWT for us that is signed as ID tokens are.
    ///
    /// - An answer whose `sub` is not the session's is refused
    ///   ([§5.3.2](https://openid.net/specs/openid-connect-core-1_0.html#UserInfoResponse)).
    /// - An answer of 401 is asked for once more with another token, if [that can be had](Self::access_token_after).
    /// - It asks each time and keeps nothing; what is to be kept goes into the session's own data.
    ///
    /// # Errors
    /// [`UserInfoError`], in this order: [`SignedOut`](UserInfoError::SignedOut), after which the removed cookie goes with the answer;
    /// [`AccessToken`](UserInfoError::AccessToken), which is over with nothing to refresh it, or refused;
    /// [`Refused`](UserInfoError::Refused); [`Failure`](UserInfoError::Failure), anywhere. None shows a token or a word of the answer.
    pub async fn user_info(&self, session: &RequestSession) -> Result<UserInfo, UserInfoError> {
        let token = self.access_token(session).await?;
        match self.ask_user_info(&token, session).await {
            Err(UserInfoError::AccessToken) => match self.access_token_after(&token, session).await {
                Ok(other) => self.ask_user_info(&other, session).await,
                Err(AccessError::SignedOut) => Err(UserInfoError::SignedOut),
                Err(AccessError::Over | AccessError::Failure(_)) => Err(UserInfoError::AccessToken),
            },
            answer => answer,
        }
    }

    async fn ask_user_info(&self, token: &AccessToken, session: &RequestSession) -> Result<UserInfo, UserInfoError> {
        let (Some(held), Some(principal)) = (held(session).await?, session.principal()?) else {
            return Err(UserInfoError::SignedOut);
        };
        let provider = self.provider_of(&held, principal.issuer()).ok_or(UNKNOWN)?;
        provider.user_info(&token.tokens(), principal.subject(), self.now()).await
    }
}

impl From<AccessError> for UserInfoError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::SignedOut => Self::SignedOut,
            AccessError::Over => Self::AccessToken,
            AccessError::Failure(failure) => Self::Failure(failure),
        }
    }
}

const UNKNOWN: Failure = Failure::new(FailureKind::Misconfigured, "a session's provider is not configured any more");
