use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{AcceptedProofs, Authenticate, Credential, Principal, Refusal, Reject, UnixSeconds};
use sekisho_jwt::Candidate;

use crate::engine::{Engine, check_kind};

/// Authenticates opaque tokens by asking their issuer ([RFC 7662](https://www.rfc-editor.org/rfc/rfc7662)). Made by
/// [`Opaque::introspect`](crate::Opaque::introspect).
///
/// Cloning shares the cache, and costs a counter. Requests that bring the same token at the same time share one question;
/// when the one that asked goes away, the others go on.
///
/// What becomes of a token:
///
/// | the provider | the caller gets |
/// |---|---|
/// | `{"active":true,…}`, and issuer, audience, times and use fit | a principal |
/// | `{"active":false}`, or something of that does not fit | [`Refusal::Reject`]: 401 |
/// | `active` that is not a JSON boolean, no JSON object, a member twice, a claim of the wrong type | [`Refusal::Failure`]: 502 |
/// | 401, 403: refuses our own credentials; 3xx, 400, 404 and the like; an answer that is too large | 502 |
/// | cannot be reached, does not answer in time, breaks off; 5xx, 408, 425, 429 | 503 with `Retry-After` |
/// | more questions at once than allowed | 503 at once |
#[derive(Clone)]
pub struct Introspection(Arc<Engine>);

impl Introspection {
    pub(crate) fn new(engine: Engine) -> Self {
        Self(Arc::new(engine))
    }

    /// Says whose token it is, asking the provider unless the answer is in memory.
    ///
    /// It knows the token alone, so one that is bound to a key or certificate is refused: proofs come with requests, to [`Authenticate`].
    ///
    /// - `token`: as it came, 1 to 8,192 bytes unless configured otherwise.
    /// - `now`: whole seconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// Stops at the first failed step, in this order:
    /// - [`Reject::Malformed`](sekisho_core::Reject::Malformed), `TooLarge`: no byte at all, or too many.
    /// - [`Refusal::Failure`]: no plain answer, as the table above says.
    /// - `Inactive`: the provider says so.
    /// - `Issuer`, `Missing` or `Audience`, `Expired`, `NotYetValid`, `IssuedInFuture`.
    /// - `TokenUse`: a refresh or ID token, by its marks. `ProofRequired`, `Confirmation`: bound to a key or certificate in a
    ///   way that was not switched on.
    /// - `Missing`: no `sub`.
    /// - `Revoked`; [`Refusal::Failure`] when revocation cannot be told.
    /// - `ProofRequired`: bound to a key or certificate. `Unbound`: not, where [proofs are required](sekisho_jwt::Dpop::requiring_proof).
    pub async fn introspect(&self, token: &str, now: UnixSeconds) -> Result<Principal, Refusal> {
        self.prove(Credential::bearer(token), now).await
    }

    /// Answers from memory alone: `None` means that the provider would have to be asked.
    ///
    /// # Errors
    /// As for [`introspect`](Self::introspect).
    #[must_use]
    pub fn introspect_now(&self, token: &str, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        self.prove_now(Credential::bearer(token), now)
    }

    /// Refuses the scheme `DPoP` where no proofs are checked, whoever asks.
    fn check_kind(&self, credential: Credential<'_>) -> Result<(), Reject> {
        check_kind(credential, &self.0.constraint)
    }

    async fn prove(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        let active = self.0.answer(credential.expose(), now).await?;
        active.accepted.candidate.prove(&self.0.constraint, credential, now).await
    }

    fn prove_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        match self.0.answer_now(credential.expose(), now)? {
            Ok(active) => active.accepted.candidate.prove_now(&self.0.constraint, credential, now),
            Err(refusal) => Some(Err(refusal)),
        }
    }

    /// Forgets what is known of this token, as after its revocation. What a question that is running will answer is not kept.
    pub fn purge(&self, token: &str) {
        self.0.purge(token);
    }

    /// Forgets every token that is meant, as after a logout: of a subject, of a session. Goes through the whole cache.
    ///
    /// Refusals stay: they let nobody in.
    pub fn purge_where(&self, is_meant: impl Fn(&Candidate) -> bool) {
        self.0.purge_where(|active| is_meant(&active.accepted.candidate));
    }

    /// Tells how many answers are in memory: tokens that are good, and tokens that were refused.
    #[must_use]
    pub fn cached_tokens(&self) -> (usize, usize) {
        self.0.cache.len()
    }
}

#[async_trait]
impl Authenticate for Introspection {
    /// Recognizes whatever does not look like a JWT, unless told to take those too; the scheme `DPoP` only
    /// [where that is taken](crate::IntrospectionBuilder::with_dpop).
    fn recognizes(&self, credential: Credential<'_>) -> bool {
        self.0.recognizes(credential)
    }

    fn authenticate_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        if let Err(reject) = self.check_kind(credential) {
            return Some(Err(reject.into()));
        }
        self.prove_now(credential, now)
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        self.check_kind(credential)?;
        self.prove(credential, now).await
    }

    fn accepted_proofs(&self) -> AcceptedProofs {
        self.0.constraint.accepted_proofs()
    }

    fn proof_nonce(&self, now: UnixSeconds) -> Option<String> {
        self.0.constraint.nonce(now)
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
