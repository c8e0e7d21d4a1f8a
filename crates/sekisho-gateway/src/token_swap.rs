use std::fmt;

use async_trait::async_trait;
use sekisho_core::{ConfigError, Credential, Principal, Refusal, Secret, UnixSeconds};

/// Gives another token for the one that came with a request: a JWT for an opaque token, a token of narrower scope by exchange.
///
/// Contract for implementers:
/// - It is asked only after `credential` was authenticated as `principal`, and must give a token for that same principal.
/// - [`swap_now`](Self::swap_now) answers from memory alone; `None` means "I would have to wait".
/// - The token is sent on as `Authorization: Bearer …`: visible ASCII by the grammar of
///   [RFC 6750 §2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1).
/// - Trouble on our side is a [`Failure`](sekisho_core::Failure), never a [`Reject`](sekisho_core::Reject). Dropping the future is safe.
#[async_trait]
pub trait TokenSwap: Send + Sync + fmt::Debug {
    /// Swaps at once if that is possible without waiting, otherwise returns `None`.
    fn swap_now(
        &self,
        credential: Credential<'_>,
        principal: &Principal,
        now: UnixSeconds,
    ) -> Option<Result<Secret, Refusal>>;

    /// Swaps, waiting for the network where it must.
    ///
    /// # Errors
    /// [`Refusal::Reject`] when there is nothing to be had for this credential, [`Refusal::Failure`] when our side broke.
    async fn swap(
        &self,
        credential: Credential<'_>,
        principal: &Principal,
        now: UnixSeconds,
    ) -> Result<Secret, Refusal>;
}

/// Gives services the caller's own token as `Authorization: Bearer …`, wherever the caller put it: a JWT out of a cookie, for services that
/// know nothing of cookies.
///
/// With a [`ForwardAuth`](crate::ForwardAuth::with_token_swap) or a [route](TokenForward::Swap); in a file `token = "as_bearer"`. A token that
/// [RFC 6750 §2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1) has no place for goes nowhere: 502.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AsBearer;

impl AsBearer {
    /// Makes it; it has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl TokenSwap for AsBearer {
    fn swap_now(&self, credential: Credential<'_>, _: &Principal, _: UnixSeconds) -> Option<Result<Secret, Refusal>> {
        Some(Ok(Secret::from(credential.expose())))
    }

    async fn swap(&self, credential: Credential<'_>, _: &Principal, _: UnixSeconds) -> Result<Secret, Refusal> {
        Ok(Secret::from(credential.expose()))
    }
}

/// Says which token a service behind the gateway gets.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum TokenForward {
    /// None: the credential is taken out of the request.
    #[default]
    Drop,
    /// The client's own, where the client put it.
    AsIs,
    /// Another one, in `Authorization`; the client's own is taken out.
    Swap(std::sync::Arc<dyn TokenSwap>),
}

/// Demands that somebody says it where a token that one client alone can send becomes one that anybody can.
pub(crate) fn check_swap_of_bound(swaps_bound: bool, checks_proofs_here: bool) -> Result<(), ConfigError> {
    match (swaps_bound, checks_proofs_here) {
        (true, false) => Err(ConfigError::new(
            "a bound token would become one that anybody can send: say that its proof is checked here and nowhere behind",
        )),
        (false, true) => Err(ConfigError::new("no bound token is swapped here, so no proof is left unchecked behind")),
        _ => Ok(()),
    }
}
