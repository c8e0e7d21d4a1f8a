use std::sync::Arc;

use async_trait::async_trait;

use crate::{AcceptedProofs, ConfigError, Credential, Failure, Principal, Refusal, UnixSeconds};

/// Turns a credential into the principal it proves.
///
/// Contract for implementers:
/// - A [`Principal`] is returned only after every check of this kind of credential has passed.
/// - [`now`](Self::authenticate_now) answers from memory alone: no lock held over input or output, no waiting.
///   `None` means "I would have to wait"; the caller then awaits [`authenticate`](Self::authenticate).
/// - Both give the same answer for the same state of the world. Dropping the future is safe at
///   every await: nothing is half done, and nothing has been let through.
/// - A proof of possession is used up by an answer: whoever asks twice about the same request gets a replay the second time.
/// - Trouble on our side is a [`Failure`], never a [`Reject`](crate::Reject).
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// Tells, from the look of it alone, whether this credential is of the kind checked here.
    ///
    /// It proves nothing. A checkpoint that accepts several kinds asks the first that recognizes
    /// the credential, and only that one.
    fn recognizes(&self, credential: Credential<'_>) -> bool;

    /// Answers at once if that is possible without waiting, otherwise returns `None`.
    fn authenticate_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>>;

    /// Answers, waiting for the network where it must.
    ///
    /// # Errors
    /// [`Refusal::Reject`] when the credential is no good, [`Refusal::Failure`] when our side broke.
    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal>;

    /// Tells which proofs of possession are taken beside the credential. Default: none, so none is asked for. Always the
    /// same: a checkpoint asks once, when it is built. Whoever wraps authenticators passes the question on.
    fn accepted_proofs(&self) -> AcceptedProofs {
        AcceptedProofs::none()
    }

    /// Returns the nonce for the client's next DPoP proof, sent along with [`Reject::ProofNonce`](crate::Reject::ProofNonce)
    /// ([RFC 9449 §9](https://www.rfc-editor.org/rfc/rfc9449#section-9)). Default: none.
    fn proof_nonce(&self, _now: UnixSeconds) -> Option<String> {
        None
    }
}

/// Becomes an [`Authenticate`]; implemented by every authenticator and by the builders of the family.
///
/// It lets `Checkpoint::builder().accept(…)` take a builder as it stands, and report its
/// configuration errors in one place, `build()`.
pub trait IntoAuthenticate {
    /// Finishes the construction.
    ///
    /// # Errors
    /// [`ConfigError`] says which setting cannot work.
    fn into_authenticate(self) -> Result<Arc<dyn Authenticate>, ConfigError>;
}

impl<A: Authenticate + 'static> IntoAuthenticate for A {
    fn into_authenticate(self) -> Result<Arc<dyn Authenticate>, ConfigError> {
        Ok(Arc::new(self))
    }
}

/// Knows which principals have been withdrawn before their credential expired.
///
/// Asked after every authentication, also after one that a cache answered. It answers from memory;
/// how old that memory may be is the implementer's to state.
pub trait RevocationCheck: Send + Sync {
    /// Tells whether this principal's credential, session or subject has been withdrawn.
    ///
    /// # Errors
    /// [`Failure`] when nothing trustworthy is known; the request is then refused.
    fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> Result<bool, Failure>;
}
