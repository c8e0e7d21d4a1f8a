//! What lets a principal out although nothing of this request proved that its token's sender may send it.
//!
//! For other kinds of authenticators, whose own code makes up for it.

use sekisho_core::Principal;

use crate::Candidate;

/// Looks at a candidate before its sender has proved anything: for what lets nobody in, such as asking whether it was withdrawn, or
/// forgetting it.
///
/// Whoever lets this principal pass takes stolen bound tokens. What is needed most is at the [`Candidate`] itself.
#[must_use]
pub const fn peek(candidate: &Candidate) -> &Principal {
    candidate.principal()
}

/// Lets the principal out to a sender who has just been authenticated as `proven`: if the token is bound to what that principal is
/// bound to, or to nobody. `None` for any other.
///
/// For a second token of the same request, whose proof is used up. `proven` must be of this very request: one that was kept from an
/// earlier request proves nothing of this one.
#[must_use]
pub fn proved_as(candidate: Candidate, proven: &Principal) -> Option<Principal> {
    let is_proved = candidate.confirmation().is_none_or(|bound_to| Some(bound_to) == proven.confirmation());
    is_proved.then(|| candidate.into_principal())
}
