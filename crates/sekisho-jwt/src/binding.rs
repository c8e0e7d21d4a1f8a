use std::fmt;
use std::sync::Arc;

use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{
    AcceptedProofs, Claim, ConfigError, Confirmation, Credential, CredentialKind, Failure, Occurrence, OneTimeUse,
    ProofFault, Refusal, Reject, UnixSeconds,
};
use sekisho_http::certificate_der;
use subtle::ConstantTimeEq;

use crate::dpop::{ProofCheck, thumbprint};
use crate::{Backend, Dpop, base64};

/// Checks that whoever sends a token may send it: that a token bound to a key comes with a proof of that key, and one bound
/// to a certificate over a connection of that certificate.
///
/// For any kind of access token: an authenticator reads the token's `cnf` with [`confirmation`](Self::confirmation), and
/// before it lets anybody pass asks [`check_now`](Self::check_now), each time anew, also when the token came out of a cache.
/// Whatever was not switched on is refused. A clone costs a counter.
///
/// # Examples
/// ```
/// use sekisho_core::{Credential, UnixSeconds, json::JsonObject};
/// use sekisho_jwt::{Backend, Dpop, Refusal, Reject, SenderConstraint};
/// let constraint = SenderConstraint::new(Backend::default()).with_dpop(Dpop::new())?;
/// let cnf = br#"{"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}"#;
/// let confirmation = constraint.confirmation(&JsonObject::parse(cnf.to_vec()).unwrap()).unwrap();
/// let stolen = Credential::bearer("token"); // no proof
/// let answer = constraint.check_now(confirmation.as_ref(), stolen, UnixSeconds::new(1_800_000_000)).unwrap();
/// assert!(matches!(answer, Err(Refusal::Reject(Reject::ProofRequired))));
/// # Ok::<(), sekisho_jwt::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct SenderConstraint {
    backend: Backend,
    dpop: Option<Arc<ProofCheck>>,
    certificates: bool,
}

impl SenderConstraint {
    /// Takes no bound token at all.
    #[must_use]
    pub const fn new(backend: Backend) -> Self {
        Self { backend, dpop: None, certificates: false }
    }

    /// Takes tokens bound to a key, with DPoP proofs ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)).
    ///
    /// # Errors
    /// [`ConfigError`] for a lifetime, a skew, an algorithm or a secret that cannot work.
    pub fn with_dpop(mut self, dpop: Dpop) -> Result<Self, ConfigError> {
        self.dpop = Some(Arc::new(dpop.build(self.backend)?));
        Ok(self)
    }

    /// Takes tokens bound to the client's certificate ([RFC 8705 §3](https://www.rfc-editor.org/rfc/rfc8705#section-3)).
    #[must_use]
    pub const fn with_certificate_binding(mut self) -> Self {
        self.certificates = true;
        self
    }

    /// Tells whether tokens bound to a key are taken, and with them the scheme `DPoP`.
    #[must_use]
    pub const fn takes_dpop(&self) -> bool {
        self.dpop.is_some()
    }

    /// Tells what is taken, for [`Authenticate::accepted_proofs`](sekisho_core::Authenticate::accepted_proofs).
    #[must_use]
    pub fn accepted_proofs(&self) -> AcceptedProofs {
        let mut proofs = AcceptedProofs::none();
        if let Some(dpop) = &self.dpop {
            proofs = proofs.with_dpop(dpop.algorithm_names());
            proofs = if dpop.is_required() { proofs.requiring_dpop() } else { proofs };
        }
        if self.certificates { proofs.with_certificates() } else { proofs }
    }

    /// Makes a nonce, for [`Authenticate::proof_nonce`](sekisho_core::Authenticate::proof_nonce); `None` without [nonces](Dpop::with_nonces).
    #[must_use]
    pub fn nonce(&self, now: UnixSeconds) -> Option<String> {
        self.dpop.as_ref()?.nonce(now)
    }

    /// Reads what a token is bound to out of its claims, or those of its introspection. `None`: to nothing.
    ///
    /// # Errors
    /// - [`Reject::Invalid`]: `cnf` is not an object, or the thumbprint in it is not 32 bytes in base64url.
    /// - [`Reject::Confirmation`]: another member is in it ([RFC 7800](https://www.rfc-editor.org/rfc/rfc7800)), or both are. Only
    ///   `"kc-jkt-type": "DPoP"` may stand beside `jkt`, as Keycloak writes it.
    /// - [`Reject::ProofRequired`]: bound in a way that was not switched on.
    pub fn confirmation(&self, claims: &JsonObject) -> Result<Option<Confirmation>, Reject> {
        let Some(cnf) = claims.get("cnf") else { return Ok(None) };
        if cnf.kind() != JsonKind::Object {
            return Err(Reject::Invalid(Claim::Confirmation));
        }
        // RFC 9449 §6 and RFC 8705 §3.1.
        let (key, certificate) = (cnf.member("jkt"), cnf.member("x5t#S256"));
        let read = |value: JsonValue<'_>| thumbprint(value).ok_or(Reject::Invalid(Claim::Confirmation));
        let found = match (key, certificate) {
            (None, None) => return Err(Reject::Confirmation),
            (Some(_), Some(_)) if self.dpop.is_some() || self.certificates => return Err(Reject::Confirmation),
            (Some(key), None) if self.dpop.is_some() => Confirmation::KeyThumbprint(read(key)?),
            (None, Some(certificate)) if self.certificates => Confirmation::CertificateThumbprint(read(certificate)?),
            _ => return Err(Reject::ProofRequired),
        };
        // Two bindings of which one is not understood are not a binding that was checked. Keycloak's mark is none: it says
        // of `jkt` what it is for.
        let is_marked =
            key.is_some() && cnf.member(KEYCLOAK_MARK).and_then(JsonValue::as_str).as_deref() == Some("DPoP");
        let members = JsonObject::parse(cnf.as_json().into()).map_or(0, |members| members.len());
        if members == 1 + usize::from(is_marked) { Ok(Some(found)) } else { Err(Reject::Confirmation) }
    }

    /// Tells at once whether this credential may be sent by whoever sent it; `None` when the memory of used proofs is
    /// elsewhere and must be waited for.
    ///
    /// - `confirmation`: what the token is bound to, as [`confirmation`](Self::confirmation) read it.
    /// - `credential`: as the checkpoint gave it, its [presentation](Credential::presentation) with it.
    ///
    /// A good proof is used up by the answer.
    ///
    /// # Errors
    /// - [`Reject::Unbound`]: under the scheme `DPoP`, or where proofs are required, and not bound to a key.
    /// - [`Reject::ProofRequired`]: bound to a key and sent as a bearer token ([RFC 9449 §7.2](https://www.rfc-editor.org/rfc/rfc9449#section-7.2)),
    ///   bound in a way that was not switched on, or bound to a certificate and none came.
    /// - [`Reject::ProofMismatch`]: the proof or the certificate is another's.
    /// - [`Reject::InvalidProof`], [`Reject::ProofNonce`]: of the proof.
    /// - [`Refusal::Failure`]: the memory of used proofs fails, is full, or the key has used up its share.
    #[must_use]
    pub fn check_now(
        &self,
        confirmation: Option<&Confirmation>,
        credential: Credential<'_>,
        now: UnixSeconds,
    ) -> Option<Result<(), Refusal>> {
        if self.must_wait(confirmation, credential) {
            return None;
        }
        let once = match self.examine(confirmation, credential, now) {
            Ok(Some(once)) => once,
            Ok(None) => return Some(Ok(())),
            Err(reject) => return Some(Err(reject.into())),
        };
        let memory = self.dpop.as_ref()?.replay();
        memory.insert_now(&once, now).map(first_only)
    }

    /// Tells, waiting where it must, whether this credential may be sent by whoever sent it.
    ///
    /// # Errors
    /// As for [`check_now`](Self::check_now).
    pub async fn check(
        &self,
        confirmation: Option<&Confirmation>,
        credential: Credential<'_>,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let Some(once) = self.examine(confirmation, credential, now)? else { return Ok(()) };
        let Some(dpop) = &self.dpop else { return Err(Reject::ProofRequired.into()) };
        first_only(match dpop.replay().insert_now(&once, now) {
            Some(answer) => answer,
            None => dpop.replay().insert(&once, now).await,
        })
    }

    /// Tells, before any work is done, that the memory of used proofs would have to be waited for.
    fn must_wait(&self, confirmation: Option<&Confirmation>, credential: Credential<'_>) -> bool {
        matches!(confirmation, Some(Confirmation::KeyThumbprint(_)))
            && credential.kind() == CredentialKind::Dpop
            && self.dpop.as_ref().is_some_and(|dpop| !dpop.replay().is_immediate())
    }

    /// Makes every check but whether a proof was used before; what it returns is the use to ask for.
    pub(crate) fn examine(
        &self,
        confirmation: Option<&Confirmation>,
        credential: Credential<'_>,
        now: UnixSeconds,
    ) -> Result<Option<OneTimeUse>, Reject> {
        let is_required = self.dpop.as_ref().is_some_and(|dpop| dpop.is_required());
        match (confirmation, credential.kind(), &self.dpop) {
            (None | Some(Confirmation::CertificateThumbprint(_)), CredentialKind::Dpop, _) => Err(Reject::Unbound),
            (None | Some(Confirmation::CertificateThumbprint(_)), _, _) if is_required => Err(Reject::Unbound),
            (None, _, _) => Ok(None),
            (Some(Confirmation::KeyThumbprint(key)), CredentialKind::Dpop, Some(dpop)) => {
                dpop.examine(credential, key, now).map(Some)
            }
            (Some(Confirmation::CertificateThumbprint(certificate)), _, _) if self.certificates => {
                self.check_certificate(certificate, credential).map(|()| None)
            }
            _ => Err(Reject::ProofRequired),
        }
    }

    fn check_certificate(&self, bound_to: &str, credential: Credential<'_>) -> Result<(), Reject> {
        let shown = credential.presentation().and_then(|shown| shown.certificate());
        let der = shown.and_then(certificate_der).ok_or(Reject::ProofRequired)?;
        let thumbprint = base64::encode(&self.backend.sha256(&der));
        let is_same = bool::from(thumbprint.as_bytes().ct_eq(bound_to.as_bytes()));
        if is_same { Ok(()) } else { Err(Reject::ProofMismatch) }
    }
}

/// Stands beside `jkt` in tokens of Keycloak 26.
const KEYCLOAK_MARK: &str = "kc-jkt-type";

fn first_only(answer: Result<Occurrence, Failure>) -> Result<(), Refusal> {
    match answer? {
        Occurrence::First => Ok(()),
        Occurrence::Repeated => Err(Reject::InvalidProof(ProofFault::Replayed).into()),
    }
}

impl fmt::Debug for SenderConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderConstraint")
            .field("dpop", &self.dpop.is_some())
            .field("certificates", &self.certificates)
            .finish()
    }
}
