use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{Authenticate, Credential, CredentialKind, Failure, Principal, Refusal, Reject, UnixSeconds};

use crate::client_side::ClientSide;
use crate::content::{Kind, Loaded};
use crate::sessions::Sessions;
use crate::token::SessionToken;

/// Authenticates whoever is logged in by the session's cookie; made by [`Sessions::authenticator`].
///
/// A cookie without a session, or of one in which nobody is logged in, is [`Reject::SignedOut`]: for the checkpoint the request
/// has no credential then. The principal brings its session along, so that a handler's session is not loaded again.
#[derive(Clone, Debug)]
pub struct SessionAuthenticator(Sessions);

impl SessionAuthenticator {
    pub(crate) const fn new(sessions: Sessions) -> Self {
        Self(sessions)
    }

    fn principal(&self, found: Result<Option<Arc<Loaded>>, Failure>) -> Result<Principal, Refusal> {
        let loaded = found?.ok_or(Reject::SignedOut)?;
        let checked = loaded.identity()?.ok_or(Reject::SignedOut)?;
        Ok(checked.with_context(Arc::new(Passed { sessions: self.0.clone(), loaded })).into_principal())
    }
}

impl SessionAuthenticator {
    /// Opens the first cookie, which says who is logged in. The data are not there, so nothing is passed on to handlers.
    fn in_browser(&self, client_side: &ClientSide, credential: Credential<'_>) -> Result<Principal, Refusal> {
        let loaded = client_side.open_head(credential.expose(), self.0.now())?.ok_or(Reject::SignedOut)?;
        Ok(loaded.principal()?.ok_or(Reject::SignedOut)?)
    }
}

/// Is the session by which a principal passed a checkpoint, for the rest of the request.
pub(crate) struct Passed {
    /// Who loaded it: what other sessions hold under the same name is another matter.
    pub(crate) sessions: Sessions,
    pub(crate) loaded: Arc<Loaded>,
}

#[async_trait]
impl Authenticate for SessionAuthenticator {
    fn recognizes(&self, credential: Credential<'_>) -> bool {
        // Of whatever form: a browser sends what it has, and a checkpoint takes credentials from one cookie.
        credential.kind() == CredentialKind::Cookie
    }

    fn authenticate_now(&self, credential: Credential<'_>, _: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        if let Some(client_side) = self.0.in_browser() {
            return Some(self.in_browser(client_side, credential));
        }
        match SessionToken::from_text(credential.expose()) {
            Some(token) => self.0.load_now(&token, &Kind::Session.hash(&token)).map(|found| self.principal(found)),
            None => Some(Err(Reject::SignedOut.into())),
        }
    }

    async fn authenticate(&self, credential: Credential<'_>, _: UnixSeconds) -> Result<Principal, Refusal> {
        if let Some(client_side) = self.0.in_browser() {
            return self.in_browser(client_side, credential);
        }
        let token = SessionToken::from_text(credential.expose()).ok_or(Reject::SignedOut)?;
        self.principal(self.0.load(&token).await)
    }
}
