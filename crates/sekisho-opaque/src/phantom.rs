use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{
    AcceptedProofs, Authenticate, ConfigError, Credential, Failure, FailureKind, IntoAuthenticate, Principal, Refusal,
    Reject, RevocationCheck, Secret, UnixSeconds,
};
use sekisho_http::{HttpClient, address};
use sekisho_jwt::{Backend, CacheLimits, Candidate, Verifier, dangerous};

use crate::answer::{Active, Form};
use crate::credentials::ClientCredentials;
use crate::engine::{Engine, check_kind};
use crate::settings::{Settings, asking_setters};

/// Turns the opaque token of a request into the JWT for the services behind a gateway.
///
/// It is an authenticator as well: the principal is the JWT's. Contract as for [`Authenticate`]; the JWT that comes out has been
/// verified for this very request.
#[async_trait]
pub trait TokenSwap: Authenticate {
    /// Answers at once if that is possible without waiting, otherwise returns `None`.
    fn to_jwt_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<InnerToken, Refusal>>;

    /// Answers, waiting for provider or store where it must.
    ///
    /// # Errors
    /// [`Refusal::Reject`] when the credential is no good, [`Refusal::Failure`] when our side broke.
    async fn to_jwt(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<InnerToken, Refusal>;

    /// As [`to_jwt_for`](Self::to_jwt_for), if that is possible without waiting.
    fn to_jwt_for_now(&self, token: &str, proven: &Principal, now: UnixSeconds) -> Option<Result<InnerToken, Refusal>>;

    /// Answers for a request that was authenticated with this token already, as `proven`, and whose proof of possession, if it had one,
    /// is used up by that. `proven` must be of this very request.
    ///
    /// # Errors
    /// - As for [`to_jwt`](Self::to_jwt).
    /// - [`Reject::ProofRequired`](sekisho_core::Reject::ProofRequired): the JWT is bound, and nothing was proved.
    /// - [`Refusal::Failure`]: the JWT speaks for somebody else, or is bound to something else.
    async fn to_jwt_for(&self, token: &str, proven: &Principal, now: UnixSeconds) -> Result<InnerToken, Refusal>;
}

/// Lets a JWT out for a request that was authenticated already.
pub(crate) fn proved_as(candidate: Candidate, proven: &Principal, jwt: Arc<Secret>) -> Result<InnerToken, Refusal> {
    if candidate.id() != proven.id() {
        return Err(misbehaved("the JWT behind an opaque token speaks for somebody else").into());
    }
    match dangerous::proved_as(candidate, proven) {
        Some(principal) => Ok(InnerToken::new(principal, jwt)),
        None if proven.confirmation().is_none() => Err(Reject::ProofRequired.into()),
        None => Err(misbehaved("the JWT behind an opaque token is bound to something else than the token").into()),
    }
}

const fn misbehaved(context: &'static str) -> Failure {
    Failure::new(FailureKind::BadGateway, context)
}

/// Is a verified JWT for the services behind a gateway, and who it speaks for. It must not leave the gateway towards the client.
///
/// `Debug` shows the principal and the length.
#[derive(Clone)]
pub struct InnerToken {
    principal: Principal,
    jwt: Arc<Secret>,
}

impl InnerToken {
    pub(crate) const fn new(principal: Principal, jwt: Arc<Secret>) -> Self {
        Self { principal, jwt }
    }

    /// Returns who it speaks for.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Tells whether the JWT says that it is bound to the client's key or certificate (`cnf`).
    ///
    /// Whoever checks that by the book refuses it as a bearer token; and the client's DPoP proof is of no use there, for it names
    /// the opaque token and the gateway's URL.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.principal.confirmation().is_some()
    }

    /// Reads the JWT, to be sent as `Authorization: Bearer` to a service behind the gateway. It is a secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.jwt.expose_str().unwrap_or_default()
    }
}

impl fmt::Debug for InnerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InnerToken({:?}, {} bytes)", self.principal, self.jwt.len())
    }
}

/// Turns opaque tokens into JWTs by asking their issuer (the phantom token pattern). Made by [`Opaque::phantom`](crate::Opaque::phantom).
///
/// The endpoint is asked with `Accept: application/jwt`. It answers 200 with the JWT as the body, or with a JSON object that
/// has it as the member `jwt`, as Keycloak does; 204 or `"active":false` says that the token is not active. The JWT is verified before
/// anybody gets it, and again whenever it comes out of the cache. Statuses and failures are as for [`Introspection`](crate::Introspection).
///
/// A JWT that is bound to a key or certificate (`cnf`) is taken if its verifier takes such, and then the client's proof is one for the opaque
/// token: the key and, in a DPoP proof, the hash (`ath`) of what the client has.
///
/// An answer by [RFC 9701](https://www.rfc-editor.org/rfc/rfc9701) is not such a JWT, and is refused.
#[derive(Clone)]
pub struct PhantomSwap(Arc<Engine>);

impl PhantomSwap {
    /// Forgets what is known of this token, as after its revocation.
    pub fn purge(&self, token: &str) {
        self.0.purge(token);
    }

    /// Forgets every token that is meant, as after a logout. Goes through the whole cache.
    pub fn purge_where(&self, is_meant: impl Fn(&Candidate) -> bool) {
        self.0.purge_where(|active| is_meant(&active.accepted.candidate));
    }

    /// Tells how many answers are in memory: tokens that are good, and tokens that were refused.
    #[must_use]
    pub fn cached_tokens(&self) -> (usize, usize) {
        self.0.cache.len()
    }
}

/// Takes an answer apart. A phantom token's always has a JWT.
fn parts(active: Active) -> (Candidate, Arc<Secret>) {
    let Active { accepted, jwt } = active;
    (accepted.candidate, jwt.unwrap_or_else(|| Arc::new(Secret::from(""))))
}

#[async_trait]
impl TokenSwap for PhantomSwap {
    fn to_jwt_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<InnerToken, Refusal>> {
        let constraint = &self.0.constraint;
        if let Err(reject) = check_kind(credential, constraint) {
            return Some(Err(reject.into()));
        }
        let (candidate, jwt) = match self.0.answer_now(credential.expose(), now)? {
            Ok(active) => parts(active),
            Err(refusal) => return Some(Err(refusal)),
        };
        let proved = candidate.prove_now(constraint, credential, now)?;
        Some(proved.map(|principal| InnerToken::new(principal, jwt)))
    }

    async fn to_jwt(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<InnerToken, Refusal> {
        check_kind(credential, &self.0.constraint)?;
        let (candidate, jwt) = parts(self.0.answer(credential.expose(), now).await?);
        Ok(InnerToken::new(candidate.prove(&self.0.constraint, credential, now).await?, jwt))
    }

    fn to_jwt_for_now(&self, token: &str, proven: &Principal, now: UnixSeconds) -> Option<Result<InnerToken, Refusal>> {
        Some(self.0.answer_now(token, now)?.and_then(|active| {
            let (candidate, jwt) = parts(active);
            proved_as(candidate, proven, jwt)
        }))
    }

    async fn to_jwt_for(&self, token: &str, proven: &Principal, now: UnixSeconds) -> Result<InnerToken, Refusal> {
        let (candidate, jwt) = parts(self.0.answer(token, now).await?);
        proved_as(candidate, proven, jwt)
    }
}

#[async_trait]
impl Authenticate for PhantomSwap {
    /// Recognizes whatever does not look like a JWT, unless told to take those too; the scheme `DPoP` only where the verifier of the
    /// JWTs takes bound ones.
    fn recognizes(&self, credential: Credential<'_>) -> bool {
        self.0.recognizes(credential)
    }

    fn authenticate_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        Some(self.to_jwt_now(credential, now)?.map(|inner| inner.principal))
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        Ok(self.to_jwt(credential, now).await?.principal)
    }

    fn accepted_proofs(&self) -> AcceptedProofs {
        self.0.constraint.accepted_proofs()
    }

    fn proof_nonce(&self, now: UnixSeconds) -> Option<String> {
        self.0.constraint.nonce(now)
    }
}

impl fmt::Debug for PhantomSwap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Waits for the issuer's name.
#[must_use]
pub struct PhantomStart {
    backend: Backend,
    url: String,
    credentials: ClientCredentials,
}

impl PhantomStart {
    pub(crate) const fn new(backend: Backend, url: String, credentials: ClientCredentials) -> Self {
        Self { backend, url, credentials }
    }

    /// Names the issuer whose endpoint this is.
    pub fn issuer(self, issuer: impl Into<String>) -> PhantomIssuer {
        PhantomIssuer { settings: Settings::new(self.backend, self.url, issuer.into(), self.credentials) }
    }
}

/// Waits for the verifier of the JWTs; none is passed on unverified.
#[must_use]
pub struct PhantomIssuer {
    settings: Settings,
}

impl PhantomIssuer {
    /// Sets what the JWTs must be. It should keep a cache, as it does by default: each JWT is verified again when it is used.
    pub fn verifier(self, verifier: Verifier) -> PhantomBuilder {
        PhantomBuilder { settings: self.settings, verifier }
    }
}

/// Configures a [`PhantomSwap`]. Everything here has a safe default.
#[must_use]
pub struct PhantomBuilder {
    settings: Settings,
    verifier: Verifier,
}

impl PhantomBuilder {
    asking_setters!();

    /// Builds it. It neither waits nor asks the network.
    ///
    /// # Errors
    /// [`ConfigError`] for: an address that may not be asked; a name, client id or secret that cannot be sent; a duration or bound out
    /// of its range; no HTTP client.
    pub fn build(self) -> Result<PhantomSwap, ConfigError> {
        self.settings.build(Form::Phantom(self.verifier)).map(|engine| PhantomSwap(Arc::new(engine)))
    }
}

impl IntoAuthenticate for PhantomBuilder {
    fn into_authenticate(self) -> Result<Arc<dyn Authenticate>, ConfigError> {
        Ok(Arc::new(self.build()?))
    }
}

impl fmt::Debug for PhantomStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhantomStart({}, {:?})", address::shown(&self.url), self.credentials)
    }
}

impl fmt::Debug for PhantomIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhantomIssuer({}, {:?})", address::shown(&self.settings.url), self.settings.credentials)
    }
}

impl fmt::Debug for PhantomBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhantomBuilder({}, {:?})", address::shown(&self.settings.url), self.settings.credentials)
    }
}
