use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use sekisho_core::{
    Authenticate, Clock, Confirmation, Credential, CredentialKind, Denial, Enforcer, Failure, FailureKind, Principal,
    Refusal, Reject, Requirement, Secret, UnixSeconds,
};

use crate::access::{Enforcement, PendingDecision, Question};
use crate::answer::{Answer, RefusalBody, Status};
use crate::certificate::ClientCertificateHeader;
use crate::challenge::Challenges;
use crate::extract::CredentialSources;
use crate::head::{RequestHead, is_preflight};
use crate::metadata::MetadataDocument;
use crate::passage::{Bearer, Caller, Passage, unguarded};
use crate::public_routes::PublicRoutes;

mod binding;
mod builder;

use binding::{Binding, Shown};

pub use builder::{CheckpointBuilder, NeedsAuthenticator, Ready};

/// Stands before a service: takes the credential out of each request, has it authenticated, and lets the request pass
/// or says how to refuse it.
///
/// It knows no framework; the adapters turn it into layers, middleware and extractors. A clone costs one counter and
/// is the same checkpoint.
///
/// A request passes without a principal in two cases only: its route is public, or the checkpoint was asked optionally and
/// no credential came (the cookie of an [ended session](Reject::SignedOut) is none). An owner can add a third, [CORS preflights](CheckpointBuilder::with_preflight_passing).
///
/// One request passes one checkpoint: with checkpoints one inside of the other, each asks, and with DPoP the inner one refuses every
/// request as replayed, since a proof is good once and the outer one has used it. Where that cannot be avoided, give them verifiers
/// that do not share a memory of used proofs.
///
/// A credential in a cookie is sent by browsers from any page: guard routes that change something against
/// cross-site requests too (`SameSite`, an `Origin` check, or a token of your own).
///
/// # Examples
/// ```
/// # use sekisho_core::*;
/// # struct Fake;
/// # #[async_trait::async_trait]
/// # impl Authenticate for Fake {
/// #     fn recognizes(&self, _: Credential<'_>) -> bool { true }
/// #     fn authenticate_now(&self, _: Credential<'_>, _: UnixSeconds) -> Option<Result<Principal, Refusal>> { Some(Err(Reject::Signature.into())) }
/// #     async fn authenticate(&self, _: Credential<'_>, _: UnixSeconds) -> Result<Principal, Refusal> { Err(Reject::Signature.into()) }
/// # }
/// # let jwt = Fake;
/// use sekisho_http::{Checkpoint, HeadParts, Inspection, Presence};
///
/// let checkpoint = Checkpoint::builder().accept(jwt).with_public_routes(["/health"]).build()?;
/// let head = HeadParts { method: "GET", path: "/orders", headers: &[] };
/// let Inspection::Refuse(answer) = checkpoint.inspect(&head, Presence::Required) else { panic!("passed") };
/// assert_eq!(answer.status(), 401);
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Checkpoint(Arc<Inner>);

struct Inner {
    authenticators: Box<[Accepted]>,
    sources: CredentialSources,
    challenges: Challenges,
    /// What bound tokens need to be proved; `None` where nobody takes them.
    binding: Option<Binding>,
    metadata: Option<MetadataDocument>,
    public_routes: PublicRoutes,
    lets_preflight_pass: bool,
    clock: Arc<dyn Clock>,
    body: Arc<RefusalBody>,
}

struct Accepted {
    authenticator: Arc<dyn Authenticate>,
    /// As it said when the checkpoint was built.
    takes_dpop: bool,
}

/// Tells whether a request without any credential passes. A bad credential never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Presence {
    /// It is refused with 401.
    Required,
    /// It passes, and there is no principal.
    Optional,
}

/// Is what a checkpoint found at once.
#[expect(clippy::exhaustive_enums, reason = "every adapter must handle each case")]
#[derive(Debug)]
pub enum Inspection {
    /// The request passes with this in its extensions, over any other.
    Pass(Passage),
    /// The request is refused with this answer.
    Refuse(Answer),
    /// The answer needs waiting.
    Wait(Pending),
}

impl Checkpoint {
    /// Starts a checkpoint; at least one [`accept`](CheckpointBuilder::accept) is needed.
    pub fn builder() -> CheckpointBuilder<NeedsAuthenticator> {
        CheckpointBuilder::new()
    }

    /// Inspects a request, without waiting.
    ///
    /// When the authenticator answers from memory, this is all there is to it: nothing is copied from the request.
    ///
    /// Every refusal is a plain HTTP answer, whatever the request says of itself. An adapter for services that serve nothing
    /// but gRPC turns it with [`Answer::into_grpc`].
    pub fn inspect(&self, head: &impl RequestHead, presence: Presence) -> Inspection {
        self.try_inspect(head, presence).unwrap_or_else(Inspection::Refuse)
    }

    fn try_inspect(&self, head: &impl RequestHead, presence: Presence) -> Result<Inspection, Answer> {
        let inner = &*self.0;
        let pass = |bearer| Ok(Inspection::Pass(Passage::new(self.clone(), bearer)));
        if inner.lets_preflight_pass && is_preflight(head) {
            return pass(Bearer::Preflight);
        }
        if self.is_public(head) {
            return pass(Bearer::Public);
        }
        let credential = match (inner.sources.extract(head).map_err(|reject| self.refuse(&reject.into()))?, presence) {
            (Some(credential), _) => credential,
            (None, Presence::Optional) => return pass(Bearer::Nobody),
            (None, Presence::Required) => {
                if is_preflight(head) {
                    tracing::info!(
                        target: "sekisho",
                        "a CORS preflight is refused: put the CORS layer outside of the checkpoint, so that it answers first"
                    );
                }
                return Err(self.ask());
            }
        };
        let (certificate, shown);
        let credential = match &inner.binding {
            None => credential,
            Some(binding) => {
                certificate = binding.certificate_of_connection(head);
                shown = binding.presentation(head, certificate.as_ref());
                credential.with_presentation(&shown)
            }
        };
        let authenticator = match self.authenticator_for(credential) {
            Ok(authenticator) => authenticator,
            Err(reject) => return Err(self.refuse_sent_as(credential.kind(), None, &reject.into())),
        };
        match authenticator.authenticate_now(credential, inner.clock.now()) {
            Some(Ok(principal)) => Ok(Inspection::Pass(self.passage(credential.kind(), &**authenticator, principal))),
            Some(Err(refusal)) if is_signed_out(credential.kind(), &refusal) => {
                self.without_credential(presence).map(Inspection::Pass)
            }
            Some(Err(refusal)) => Err(self.refuse_sent_as(credential.kind(), Some(&**authenticator), &refusal)),
            None => Ok(Inspection::Wait(Pending {
                checkpoint: self.clone(),
                authenticator: Arc::clone(authenticator),
                presence,
                kind: credential.kind(),
                value: credential.expose().into(),
                shown: credential.presentation().map(Shown::copy),
            })),
        }
    }

    fn passage(&self, kind: CredentialKind, asked: &dyn Authenticate, principal: Principal) -> Passage {
        let passage = Passage::new(self.clone(), Bearer::Principal(principal));
        match kind {
            CredentialKind::Dpop => passage.with_next_nonce(asked.proof_nonce(self.0.clock.now())),
            _ => passage,
        }
    }

    /// Decides about a request whose credential turned out to be none.
    fn without_credential(&self, presence: Presence) -> Result<Passage, Answer> {
        match presence {
            Presence::Optional => Ok(Passage::new(self.clone(), Bearer::Nobody)),
            Presence::Required => Err(self.ask()),
        }
    }

    fn is_public(&self, head: &impl RequestHead) -> bool {
        let whole = head.whole_path();
        // Where something between has made another path of it, what is public by the whole one could be routed elsewhere.
        self.0.public_routes.contains(whole) && whole.ends_with(head.path())
    }

    /// Asks the first authenticator that recognizes the credential, and no other: a second opinion on a refused
    /// credential would be a way around the first.
    ///
    /// With a DPoP token, only those are asked that check proofs: any other, if it forgets to look at the kind, would
    /// take it as a bearer token.
    fn authenticator_for(&self, credential: Credential<'_>) -> Result<&Arc<dyn Authenticate>, Reject> {
        let is_dpop = credential.kind() == CredentialKind::Dpop;
        let mut able = self.0.authenticators.iter().filter(|accepted| accepted.takes_dpop || !is_dpop);
        let found = able.find(|accepted| accepted.authenticator.recognizes(credential));
        found.map(|accepted| &accepted.authenticator).ok_or(Reject::Unrecognized)
    }

    /// Checks, for a `require` before a route, that the request passed this checkpoint with a principal that satisfies
    /// `rule`. `found` is what the request's extensions hold.
    ///
    /// A preflight that the checkpoint was told to let pass passes here too, if it still is one: what another method has
    /// been made of meanwhile must have a principal.
    ///
    /// # Errors
    /// - 500, with a clear line in the log, when no checkpoint stands before, or another one: a principal of one
    ///   checkpoint says nothing to the next.
    /// - 401 without an error code when there is no principal.
    /// - What [`check`](Self::check) answers.
    pub fn check_passage(
        &self,
        found: Option<&Passage>,
        rule: &Requirement,
        head: &impl RequestHead,
    ) -> Result<(), Answer> {
        match self.passed(found, head)? {
            Some(principal) => self.check(principal, rule),
            None => Ok(()),
        }
    }

    /// Tells whether this is a CORS preflight that this checkpoint let pass, and still is one. `found` is what the request's
    /// extensions hold.
    ///
    /// Nobody stands behind it, and nothing is asked about it: an enforcement point looks here before it puts its question,
    /// for of a route's methods `OPTIONS` may be none that a question can be put of.
    #[must_use]
    pub fn lets_preflight_pass(&self, found: Option<&Passage>, head: &impl RequestHead) -> bool {
        let is_ours = |passage: &Passage| self.is_same(passage.checkpoint());
        found.is_some_and(|passage| is_ours(passage) && matches!(passage.bearer(), Bearer::Preflight))
            && is_preflight(head)
    }

    /// Enforces, before a route, that the principal may do what `question` asks of this request. `found` is what the
    /// request's extensions hold. A preflight passes as in [`check_passage`](Self::check_passage).
    ///
    /// Refused is, besides what is denied, what `check_passage` refuses before it asks for the rule, and with 502, 503 or
    /// 500 what could not be decided.
    #[must_use]
    pub fn enforce_passage(
        &self,
        found: Option<&Passage>,
        enforcer: &Enforcer,
        question: Question,
        head: &impl RequestHead,
    ) -> Enforcement {
        let principal = match self.passed(found, head) {
            Ok(Some(principal)) => principal,
            Ok(None) => return Enforcement::Pass(None),
            Err(answer) => return Enforcement::Refuse(answer),
        };
        let outcome = enforcer.enforce_now(&question.of(principal, self.now()));
        let caller = || Caller { principal: principal.clone(), checkpoint: self.clone() };
        match outcome {
            Some(Ok(permit)) => Enforcement::Pass(Some(permit)),
            Some(Err(barred)) => Enforcement::Refuse(caller().answer_to(barred)),
            None => Enforcement::Wait(PendingDecision { caller: caller(), enforcer: enforcer.clone(), question }),
        }
    }

    /// Returns the principal that this checkpoint let pass, or `None` for a preflight that may pass.
    fn passed<'p>(&self, found: Option<&'p Passage>, head: &impl RequestHead) -> Result<Option<&'p Principal>, Answer> {
        match found {
            None => Err(unguarded(&*self.0.body)),
            Some(passage) if !self.is_same(passage.checkpoint()) => Err(self.refuse(&Refusal::Failure(Failure::new(
                FailureKind::Misconfigured,
                "the request passed another checkpoint than the one whose `require` guards this route",
            )))),
            Some(passage) => match passage.bearer() {
                Bearer::Principal(principal) => Ok(Some(principal)),
                Bearer::Preflight if is_preflight(head) => Ok(None),
                Bearer::Preflight | Bearer::Nobody | Bearer::Public => Err(self.ask()),
            },
        }
    }

    /// Returns what its clock says.
    pub(crate) fn now(&self) -> UnixSeconds {
        self.0.clock.now()
    }

    /// Checks that a principal satisfies `rule` now.
    ///
    /// # Errors
    /// 403, or 401 when the caller must step up, each with its challenge.
    pub fn check(&self, principal: &Principal, rule: &Requirement) -> Result<(), Answer> {
        rule.check(principal, self.0.clock.now()).map_err(|denial| self.deny(principal, &denial))
    }

    /// Answers, and logs, that an authenticated principal lacks something.
    #[must_use]
    pub fn deny(&self, principal: &Principal, denial: &Denial) -> Answer {
        tracing::info!(target: "sekisho", subject = %principal.id(), ?denial, "request denied");
        let (status, error) = match denial {
            // RFC 9470 §3: 401, because a better token would do.
            Denial::InsufficientAuthentication { .. } => (Status::Unauthorized, "insufficient_user_authentication"),
            Denial::InvalidToken => (Status::Unauthorized, "invalid_token"),
            _ => (Status::Forbidden, "insufficient_scope"),
        };
        let is_bound = matches!(principal.confirmation(), Some(Confirmation::KeyThumbprint(_)));
        Answer::challenge(status, self.0.challenges.denial(denial, is_bound), &*self.0.body, Some(error))
    }

    /// Answers, and logs, that a credential is no good or that our side broke.
    ///
    /// All refused credentials look alike to the caller: 401 `invalid_token`, save requests that cannot be read, which
    /// are 400 `invalid_request` ([RFC 6750 §3.1](https://www.rfc-editor.org/rfc/rfc6750#section-3.1)).
    #[must_use]
    pub fn refuse(&self, refusal: &Refusal) -> Answer {
        let Inner { challenges, body, .. } = &*self.0;
        match refusal {
            Refusal::Reject(reject) => {
                log_reject(*reject);
                let (status, challenge, error) = match reject {
                    Reject::SeveralCredentials | Reject::MalformedRequest => {
                        (Status::BadRequest, &challenges.invalid_request, "invalid_request")
                    }
                    _ => (Status::Unauthorized, &challenges.invalid_token, "invalid_token"),
                };
                Answer::challenge(status, challenge.clone(), &**body, Some(error))
            }
            Refusal::Failure(failure) => {
                log_failure(failure);
                Answer::failure(failure, &**body)
            }
        }
    }

    /// Refuses as [`refuse`](Self::refuse) does, in terms of the scheme under which the credential came.
    ///
    /// Under `DPoP`, a bad proof is 401 `invalid_dpop_proof` and one that lacks a nonce 401 `use_dpop_nonce`, with the nonce
    /// ([RFC 9449 §7.1, §9](https://www.rfc-editor.org/rfc/rfc9449#section-7.1)). `asked` is who refused it.
    fn refuse_sent_as(&self, kind: CredentialKind, asked: Option<&dyn Authenticate>, refusal: &Refusal) -> Answer {
        let Inner { challenges, body, clock, .. } = &*self.0;
        let Refusal::Reject(reject) = refusal else { return self.refuse(refusal) };
        if kind != CredentialKind::Dpop || reject.is_invalid_request() {
            return self.refuse(refusal);
        }
        log_reject(*reject);
        let nonce = match reject {
            Reject::ProofNonce => asked.and_then(|asked| asked.proof_nonce(clock.now())),
            _ => None,
        };
        let (challenge, error) = match (reject, &nonce) {
            (Reject::ProofNonce, Some(_)) => (&challenges.dpop.use_nonce, "use_dpop_nonce"),
            (Reject::ProofNonce, None) | (Reject::InvalidProof(_), _) => {
                (&challenges.dpop.invalid_proof, "invalid_dpop_proof")
            }
            _ => (&challenges.dpop.invalid_token, "invalid_token"),
        };
        let answer = Answer::challenge(Status::Unauthorized, challenge.clone(), &**body, Some(error));
        match nonce {
            Some(nonce) => answer.with_nonce(nonce),
            None => answer,
        }
    }

    /// Answers a request that brought no credential: 401, and a challenge without an error code.
    #[must_use]
    pub fn ask(&self) -> Answer {
        tracing::debug!(target: "sekisho", "no credential");
        Answer::challenge(Status::Unauthorized, self.0.challenges.missing.clone(), &*self.0.body, None)
    }

    /// Returns where this checkpoint looks for credentials, for a proxy that must take them out of what it passes on.
    #[must_use]
    pub fn sources(&self) -> &CredentialSources {
        &self.0.sources
    }

    /// Tells whether tokens pass that are bound to a key or certificate, with their proofs.
    #[must_use]
    pub fn takes_bound_tokens(&self) -> bool {
        self.0.binding.is_some()
    }

    /// Returns where proxies write the client's certificate, if that was configured.
    #[must_use]
    pub fn client_certificate_header(&self) -> Option<&ClientCertificateHeader> {
        self.0.binding.as_ref()?.certificate_header.as_ref()
    }

    /// Returns the metadata document to serve, if one was configured.
    #[must_use]
    pub fn metadata(&self) -> Option<&MetadataDocument> {
        self.0.metadata.as_ref()
    }

    /// Tells whether the other is a clone of this one.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { authenticators, sources, public_routes, lets_preflight_pass, clock, .. } = &*self.0;
        f.debug_struct("Checkpoint")
            .field("authenticators", &authenticators.len())
            .field("sources", sources)
            .field("public_routes", public_routes)
            .field("lets_preflight_pass", lets_preflight_pass)
            .field("clock", clock)
            .finish_non_exhaustive()
    }
}

/// Is an inspection that has to wait. It holds a copy of the credential, wiped when it is done.
pub struct Pending {
    checkpoint: Checkpoint,
    authenticator: Arc<dyn Authenticate>,
    presence: Presence,
    kind: CredentialKind,
    value: Secret,
    shown: Option<Shown>,
}

impl Pending {
    /// Waits for the authenticator. Dropping the future is safe: nothing has passed.
    ///
    /// # Errors
    /// The answer to refuse the request with.
    pub async fn resolve(self) -> Result<Passage, Answer> {
        let Self { checkpoint, authenticator, presence, kind, value, shown } = self;
        // It was text when it was copied; an empty credential would be refused.
        let credential = Credential::new(kind, value.expose_str().unwrap_or_default());
        let bases = checkpoint.0.binding.as_ref().map_or(&[][..], Binding::bases);
        let shown = shown.as_ref().map(|shown| shown.read(bases));
        let credential = match &shown {
            Some(shown) => credential.with_presentation(shown),
            None => credential,
        };
        let now = checkpoint.0.clock.now();
        match authenticator.authenticate(credential, now).await {
            Ok(principal) => Ok(checkpoint.passage(kind, &*authenticator, principal)),
            Err(refusal) if is_signed_out(kind, &refusal) => checkpoint.without_credential(presence),
            Err(refusal) => Err(checkpoint.refuse_sent_as(kind, Some(&*authenticator), &refusal)),
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Tells whether this is a browser's leftover: a cookie, and no authenticator that would call it a credential. Whoever sends
/// anything else means to be somebody.
const fn is_signed_out(kind: CredentialKind, refusal: &Refusal) -> bool {
    matches!((kind, refusal), (CredentialKind::Cookie, Refusal::Reject(Reject::SignedOut)))
}

fn log_reject(reject: Reject) {
    tracing::info!(target: "sekisho", reason = reject.code(), detail = %reject, "credential refused");
}

pub(crate) fn log_failure(failure: &Failure) {
    let mut causes = String::new();
    let mut source = failure.source();
    // A chain of errors can be made to loop; nobody reads more than a few.
    for _ in 0..8 {
        let Some(error) = source else { break };
        causes.push_str(": ");
        // A remote server may have had a word in it; it must stay on its line.
        causes.extend(error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }));
        source = error.source();
    }
    let kind = failure.kind();
    // One line for each refused request: what passes by itself must not wake anybody.
    match kind {
        FailureKind::Unavailable | FailureKind::BadGateway => {
            tracing::warn!(target: "sekisho", ?kind, "{failure}{causes}");
        }
        _ => tracing::error!(target: "sekisho", ?kind, "{failure}{causes}"),
    }
}

#[cfg(test)]
mod binding_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod tests;
