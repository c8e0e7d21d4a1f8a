//! Between a good token and its sender.

use sekisho_core::{Credential, Principal, Refusal, Reject, UnixSeconds};
use sekisho_jwt::SenderConstraint;

/// Is whom a good token speaks for, before it is known that its sender may send it. Also what the cache remembers: the
/// proof belongs to a request, not to a token.
#[derive(Clone, Debug)]
pub(crate) struct Candidate(Principal);

impl Candidate {
    pub(crate) const fn new(principal: Principal) -> Self {
        Self(principal)
    }

    /// Looks at it for what lets nobody in: sizes, dates, what was withdrawn.
    pub(crate) const fn peek(&self) -> &Principal {
        &self.0
    }

    /// Lets the principal out if the token is bound to nobody.
    pub(crate) fn unbound(self) -> Result<Principal, Reject> {
        if self.0.confirmation().is_none() { Ok(self.0) } else { Err(Reject::ProofRequired) }
    }

    /// Lets the principal out if its sender may send the token; `None` when that must be waited for.
    pub(crate) fn prove_now(
        self,
        constraint: &SenderConstraint,
        credential: Credential<'_>,
        now: UnixSeconds,
    ) -> Option<Result<Principal, Refusal>> {
        let checked = constraint.check_now(self.0.confirmation(), credential, now)?;
        Some(checked.map(|()| self.0))
    }

    /// As [`prove_now`](Self::prove_now), waiting where it must.
    pub(crate) async fn prove(
        self,
        constraint: &SenderConstraint,
        credential: Credential<'_>,
        now: UnixSeconds,
    ) -> Result<Principal, Refusal> {
        constraint.check(self.0.confirmation(), credential, now).await.map(|()| self.0)
    }
}
