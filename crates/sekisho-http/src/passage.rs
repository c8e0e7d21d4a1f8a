use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use sekisho_core::{
    AccessRequest, Barred, Enforcer, Failure, FailureKind, Permit, Principal, Refusal, Reject, Requirement, Resource,
    UnixSeconds,
};
use serde::de::DeserializeOwned;

use crate::access::{Question, told};
use crate::answer::{Answer, RefusalBody, is_nonce, problem_json};
use crate::checkpoint::{Checkpoint, log_failure};

/// Is the leave to pass that a checkpoint gave one request: with a principal, or without one for a stated reason.
///
/// The adapters put it into the request's extensions, over whatever stood there; nothing but a checkpoint makes one.
/// A clone costs two counters.
#[derive(Clone)]
pub struct Passage {
    checkpoint: Checkpoint,
    bearer: Bearer,
    next_nonce: Option<Bytes>,
}

#[derive(Clone)]
pub(crate) enum Bearer {
    Principal(Principal),
    /// The checkpoint was optional, and no credential came.
    Nobody,
    /// The route is public: nobody was asked.
    Public,
    /// A CORS preflight, where the owner lets them pass: it has no credential by its nature.
    Preflight,
}

impl Passage {
    pub(crate) const fn new(checkpoint: Checkpoint, bearer: Bearer) -> Self {
        Self { checkpoint, bearer, next_nonce: None }
    }

    /// Adds what only a request with a DPoP proof has.
    pub(crate) fn with_next_nonce(mut self, nonce: Option<String>) -> Self {
        self.next_nonce = nonce.filter(|nonce| is_nonce(nonce)).map(Bytes::from);
        self
    }

    /// Returns the nonce for the client's next DPoP proof, where nonces are demanded and the request came with a proof: the value of
    /// `DPoP-Nonce` on the answer, so that the next request need not be refused first
    /// ([RFC 9449 §8.2](https://www.rfc-editor.org/rfc/rfc9449#section-8.2)). The adapters set it, unless the service behind did.
    #[must_use]
    pub fn next_nonce(&self) -> Option<Bytes> {
        self.next_nonce.clone()
    }

    /// Returns who calls, or `None` for a public route, an optional checkpoint without a credential, or a preflight where
    /// the owner lets them pass.
    #[must_use]
    pub const fn principal(&self) -> Option<&Principal> {
        match &self.bearer {
            Bearer::Principal(principal) => Some(principal),
            Bearer::Nobody | Bearer::Public | Bearer::Preflight => None,
        }
    }

    /// Returns the checkpoint that let the request pass.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    pub(crate) const fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    /// Returns the caller for a handler that needs one; `found` is what the request's extensions hold.
    ///
    /// # Errors
    /// - 500, with a clear line in the log, when no checkpoint guards the route.
    /// - 401 without an error code when the checkpoint let the request pass without a principal.
    pub fn caller(found: Option<&Self>) -> Result<Caller, Answer> {
        let optional = Self::optional_caller(found)?;
        match (optional, found) {
            (Some(caller), _) => Ok(caller),
            (None, Some(passage)) => Err(passage.checkpoint.ask()),
            (None, None) => Err(unguarded(&problem_json)),
        }
    }

    /// Returns the caller for a handler that can do without one.
    ///
    /// # Errors
    /// 500, with a clear line in the log, when no checkpoint guards the route.
    pub fn optional_caller(found: Option<&Self>) -> Result<Option<Caller>, Answer> {
        let Self { checkpoint, bearer, next_nonce: _ } = found.ok_or_else(|| unguarded(&problem_json))?;
        Ok(match bearer {
            Bearer::Principal(principal) => {
                Some(Caller { principal: principal.clone(), checkpoint: checkpoint.clone() })
            }
            Bearer::Nobody | Bearer::Public | Bearer::Preflight => None,
        })
    }
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passage").field("principal", &self.principal()).finish_non_exhaustive()
    }
}

/// Is a principal together with the checkpoint that it passed, so that a handler can ask more of it and refuse in the
/// checkpoint's own words. A clone costs two counters.
#[derive(Clone)]
pub struct Caller {
    pub(crate) principal: Principal,
    pub(crate) checkpoint: Checkpoint,
}

impl Caller {
    /// Checks that the principal satisfies `rule` now.
    ///
    /// # Errors
    /// The response to send, plain HTTP also for a gRPC call: 403, or 401 when the caller must step up, each with its challenge.
    pub fn require(&self, rule: &Requirement) -> Result<(), Answer> {
        self.checkpoint.check(&self.principal, rule)
    }

    /// Asks for an action on a resource, with the checkpoint's clock; add context to it if there is some.
    #[must_use]
    pub fn request<'a>(&'a self, action: &'a str, resource: Resource<'a>) -> AccessRequest<'a> {
        AccessRequest::new(&self.principal, action, resource, self.now())
    }

    /// Checks that the principal may do this: in the middle of a handler, with the loaded object as the resource's
    /// attributes. The obligations of the permit are fulfilled then, or passed on in it.
    ///
    /// # Errors
    /// The response to send: what [`require`](Self::require) answers, and 502, 503 or 500 when no decision could be had.
    pub async fn enforce(&self, enforcer: &Enforcer, action: &str, resource: Resource<'_>) -> Result<Permit, Answer> {
        self.enforce_request(enforcer, &self.request(action, resource)).await
    }

    /// Checks as [`enforce`](Self::enforce) does. `request` is one of this caller, made by [`request`](Self::request).
    ///
    /// # Errors
    /// As there; and 500, with a clear line in the log, when somebody else asks.
    pub async fn enforce_request(&self, enforcer: &Enforcer, request: &AccessRequest<'_>) -> Result<Permit, Answer> {
        self.check_subject(request)?;
        enforcer.enforce(request).await.map_err(|barred| self.answer_to(barred))
    }

    /// Checks each of these resources by itself, in their order: which of these may she read? The authorizer is asked for all
    /// at once.
    ///
    /// There is one item for each resource: its permit, or the response that it alone would be refused with. A list shows the
    /// permitted ones: `zip` them, and leave out the rest.
    pub async fn enforce_all(
        &self,
        enforcer: &Enforcer,
        action: &str,
        resources: &[Resource<'_>],
    ) -> Vec<Result<Permit, Answer>> {
        let requests: Vec<_> = resources.iter().map(|resource| self.request(action, *resource)).collect();
        self.enforce_requests(enforcer, &requests).await
    }

    /// Checks as [`enforce_all`](Self::enforce_all) does; each of `requests` is one of this caller, made by
    /// [`request`](Self::request). If one is not, each is answered with 500, and nobody is asked.
    pub async fn enforce_requests(
        &self,
        enforcer: &Enforcer,
        requests: &[AccessRequest<'_>],
    ) -> Vec<Result<Permit, Answer>> {
        if let Some(answer) = requests.iter().find_map(|request| self.check_subject(request).err()) {
            return requests.iter().map(|_| Err(answer.clone())).collect();
        }
        let enforced = enforcer.enforce_all(requests).await;
        enforced.into_iter().map(|outcome| outcome.map_err(|barred| self.answer_to(barred))).collect()
    }

    /// Checks as [`enforce`](Self::enforce) does, for a question that was put together before.
    ///
    /// # Errors
    /// As there.
    pub async fn enforce_question(&self, enforcer: &Enforcer, question: &Question) -> Result<Permit, Answer> {
        self.enforce_request(enforcer, &question.of(&self.principal, self.now())).await
    }

    fn check_subject(&self, request: &AccessRequest<'_>) -> Result<(), Answer> {
        if std::ptr::eq(request.subject(), &self.principal) || request.subject() == &self.principal {
            return Ok(());
        }
        Err(self.checkpoint.refuse(&Refusal::Failure(Failure::new(
            FailureKind::Misconfigured,
            "the access request is not one of this caller",
        ))))
    }

    pub(crate) fn answer_to(&self, barred: Barred) -> Answer {
        match told(barred) {
            Ok(denial) => self.checkpoint.deny(&self.principal, &denial),
            Err(failure) => self.checkpoint.refuse(&Refusal::Failure(failure)),
        }
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.checkpoint.now()
    }

    /// Reads the claims as `T`.
    ///
    /// # Errors
    /// 401 `invalid_token`, with [`Reject::ClaimsType`] in the log, when they do not have the shape of `T`: for this
    /// service, it is not a usable token.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        self.principal.claims().deserialize().map_err(|_| self.checkpoint.refuse(&Reject::ClaimsType.into()))
    }

    /// Returns the principal.
    #[must_use]
    pub fn into_principal(self) -> Principal {
        self.principal
    }
}

impl Deref for Caller {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.principal.fmt(f)
    }
}

/// Answers a handler or a `require` that no checkpoint stands before.
pub(crate) fn unguarded(body: &RefusalBody) -> Answer {
    let failure = Failure::new(
        FailureKind::Misconfigured,
        "no checkpoint guards this route: put the checkpoint's layer around it, outside of `require` and the handler",
    );
    log_failure(&failure);
    Answer::failure(&failure, body)
}
