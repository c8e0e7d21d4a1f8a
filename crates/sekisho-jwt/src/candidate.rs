use std::borrow::Cow;
use std::fmt;

use sekisho_core::{Confirmation, Credential, Principal, Refusal, Reject, RevocationCheck, SubjectId, UnixSeconds};

use crate::SenderConstraint;

/// Is whom a good token speaks for, before it is known that its sender may send it.
///
/// For authenticators: this, not a [`Principal`], is what a cache of theirs remembers, since the proof belongs to a request and not to a
/// token. Making one proves nothing, and without a proof no principal comes out again.
///
/// # Examples
/// ```
/// # let principal = sekisho_core::dangerous::PrincipalBuilder::new("https://id.example", "ada").build().unwrap();
/// use sekisho_core::{Credential, UnixSeconds};
/// use sekisho_jwt::{Backend, Candidate, SenderConstraint};
/// let (constraint, now) = (SenderConstraint::new(Backend::default()), UnixSeconds::new(1_800_000_000));
/// let remembered = Candidate::new(principal);
/// let sent = Credential::bearer("token");
/// let principal = remembered.clone().prove_now(&constraint, sent, now).unwrap()?; // in memory, so at once
/// assert_eq!(principal.subject(), "ada");
/// # Ok::<(), sekisho_core::Refusal>(())
/// ```
#[derive(Clone)]
pub struct Candidate(Principal);

impl Candidate {
    /// Takes whom a token speaks for, after every check but that of its sender.
    #[must_use]
    pub const fn new(principal: Principal) -> Self {
        Self(principal)
    }

    /// Names whom it speaks for.
    #[must_use]
    pub fn id(&self) -> SubjectId {
        self.0.id()
    }

    /// Returns the session that the token belongs to (`sid`), if it says so.
    #[must_use]
    pub fn session_id(&self) -> Option<Cow<'_, str>> {
        self.0.session_id()
    }

    /// Returns when the token ends, if it says so.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixSeconds> {
        self.0.expires_at()
    }

    /// Returns what the token is bound to.
    #[must_use]
    pub fn confirmation(&self) -> Option<&Confirmation> {
        self.0.confirmation()
    }

    /// Returns how many bytes it holds on the heap, for the bounds of a cache.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Asks whether it was withdrawn.
    ///
    /// # Errors
    /// [`Reject::Revoked`]; what `check` fails with.
    pub fn check_revocation(&self, check: &dyn RevocationCheck, now: UnixSeconds) -> Result<(), Refusal> {
        if check.is_revoked(&self.0, now)? { Err(Reject::Revoked.into()) } else { Ok(()) }
    }

    pub(crate) const fn principal(&self) -> &Principal {
        &self.0
    }

    pub(crate) fn into_principal(self) -> Principal {
        self.0
    }

    /// Lets the principal out if the token is bound to nobody.
    ///
    /// # Errors
    /// [`Reject::ProofRequired`] when it is bound.
    pub fn unbound(self) -> Result<Principal, Reject> {
        if self.0.confirmation().is_none() { Ok(self.0) } else { Err(Reject::ProofRequired) }
    }

    /// Lets the principal out if its sender may send the token; `None` when that must be waited for.
    ///
    /// # Errors
    /// As for [`SenderConstraint::check_now`].
    #[must_use]
    pub fn prove_now(
        self,
        constraint: &SenderConstraint,
        credential: Credential<'_>,
        now: UnixSeconds,
    ) -> Option<Result<Principal, Refusal>> {
        let checked = constraint.check_now(self.0.confirmation(), credential, now)?;
        Some(checked.map(|()| self.0))
    }

    /// As [`prove_now`](Self::prove_now), waiting where it must.
    ///
    /// # Errors
    /// As for [`SenderConstraint::check`].
    pub async fn prove(
        self,
        constraint: &SenderConstraint,
        credential: Credential<'_>,
        now: UnixSeconds,
    ) -> Result<Principal, Refusal> {
        constraint.check(self.0.confirmation(), credential, now).await.map(|()| self.0)
    }

    /// As [`prove`](Self::prove), but whether a proof was used before is neither asked nor remembered: for explanations.
    pub(crate) fn examine(
        self,
        constraint: &SenderConstraint,
        credential: Credential<'_>,
        now: UnixSeconds,
    ) -> Result<Principal, Reject> {
        constraint.examine(self.0.confirmation(), credential, now).map(|_| self.0)
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate({:?})", self.0)
    }
}
