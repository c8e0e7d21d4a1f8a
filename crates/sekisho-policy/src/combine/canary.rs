use std::fmt;
use std::hash::{Hash as _, Hasher as _};

use async_trait::async_trait;
use sekisho_core::{
    AccessRequest, Authorize, ConfigError, Decision, EvaluationsSemantic, Explanation, Failure, Outline, Principal,
};
use siphasher::sip::SipHasher24;

/// The key where none was given, so that all processes choose the same subjects.
const KEY: [u8; 16] = *b"sekisho canary 1";

/// Lets `candidate` decide for a share of the subjects, and `live` for the others.
///
/// `per_mille` is the share, 0 to 1,000. Which subjects these are follows from a keyed hash of issuer and subject: the same
/// ones in each request and each process, and a greater share has those of a smaller one in it. Both decide for real; to try a
/// policy without any effect, see [`shadow`](super::shadow).
///
/// # Errors
/// [`ConfigError`] if the share is greater than 1,000.
pub fn canary<L: Authorize, C: Authorize>(per_mille: u16, live: L, candidate: C) -> Result<Canary<L, C>, ConfigError> {
    if per_mille > 1000 {
        return Err(ConfigError::new("the share of a canary must be 0 to 1,000 of 1,000 subjects"));
    }
    Ok(Canary { live, candidate, per_mille, key: KEY })
}

/// Lets another authorizer decide for a share of the subjects; see [`canary`].
#[derive(Clone)]
pub struct Canary<L, C> {
    live: L,
    candidate: C,
    per_mille: u16,
    key: [u8; 16],
}

impl<L, C> Canary<L, C> {
    /// Sets the key of the hash: another key chooses other subjects, and a secret one lets nobody make a subject that is among
    /// them. It must be the same in all processes. By default it is a public constant.
    #[must_use]
    pub const fn with_key(mut self, key: [u8; 16]) -> Self {
        self.key = key;
        self
    }

    /// Tells whether the candidate decides for this subject.
    #[must_use]
    pub fn is_chosen(&self, subject: &Principal) -> bool {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        // Each text ends with a byte that is in no text, so that two do not run together.
        subject.issuer().hash(&mut hasher);
        subject.subject().hash(&mut hasher);
        hasher.finish() % 1000 < u64::from(self.per_mille)
    }
}

#[async_trait]
impl<L: Authorize, C: Authorize> Authorize for Canary<L, C> {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        if self.is_chosen(request.subject()) {
            self.candidate.decide_now(request)
        } else {
            self.live.decide_now(request)
        }
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        if self.is_chosen(request.subject()) {
            self.candidate.decide(request).await
        } else {
            self.live.decide(request).await
        }
    }

    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        let mut decisions = Vec::with_capacity(requests.len());
        // Requests of one subject, the common case, go to one of the two as they are.
        for run in requests.chunk_by(|one, next| self.is_chosen(one.subject()) == self.is_chosen(next.subject())) {
            let is_chosen = run.first().is_some_and(|request| self.is_chosen(request.subject()));
            let mut some = if is_chosen {
                self.candidate.decide_all(run, semantic).await
            } else {
                self.live.decide_all(run, semantic).await
            };
            some.truncate(run.len());
            let is_short = some.len() < run.len();
            let is_last = some.last().is_some_and(|decision| semantic.ends_with(decision)) || is_short;
            decisions.append(&mut some);
            if is_last {
                break;
            }
        }
        decisions
    }

    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        let is_chosen = self.is_chosen(request.subject());
        let (live, candidate) = if is_chosen {
            (Explanation::not_asked(&self.live.outline()), self.candidate.explain(request).await)
        } else {
            (self.live.explain(request).await, Explanation::not_asked(&self.candidate.outline()))
        };
        let outcome = if is_chosen { candidate.outcome() } else { live.outcome() }.cloned();
        let outcome = outcome.unwrap_or_else(|| Err(Failure::unavailable("an explanation says nothing")));
        Explanation::branch(self.outline().name(), outcome, vec![live, candidate])
    }

    fn outline(&self) -> Outline {
        let name = format!("canary, {} of 1,000 subjects to the second", self.per_mille);
        Outline::branch(name, [self.live.outline(), self.candidate.outline()])
    }
}

impl<L: Authorize, C: Authorize> fmt::Debug for Canary<L, C> {
    /// Leaves out the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Canary").field(&self.outline()).finish()
    }
}
