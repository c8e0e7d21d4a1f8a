use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::json::JsonObject;
use sekisho_core::{
    AcceptedProofs, Authenticate, Claim, ConfigError, Credential, Failure, FailureKind, IntoAuthenticate, Principal,
    Refusal, Reject, RevocationCheck, Secret, SubjectId, UnixSeconds,
};
use sekisho_jwt::{Backend, Candidate, Dpop, Profile, SenderConstraint, Verifier};

use crate::base64;
use crate::claims::Rules;
use crate::engine::check_kind;
use crate::phantom::{InnerToken, TokenSwap, proved_as};

mod handle;
mod memory;
mod record;
mod store;

pub use handle::{ReferenceDigest, ReferenceToken};
pub use memory::{MemoryReferenceStore, ReferenceLimits};
pub use record::{RecordError, ReferenceContent, ReferenceRecord};
pub use store::ReferenceStore;

/// Issues and authenticates reference tokens: random handles that stand for claims or a JWT kept in a [`ReferenceStore`]. Made by
/// [`Opaque::reference`](crate::Opaque::reference).
///
/// A handle is 256 random bits in base64url, with a prefix of your own before it. The store knows its SHA-256 only, so who reads the
/// store can impersonate nobody. Cloning costs a counter.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use sekisho_core::{UnixSeconds, json::JsonObject};
/// use sekisho_opaque::{MemoryReferenceStore, Opaque};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let tokens = Opaque::reference(Arc::new(MemoryReferenceStore::default()))
///     .issuer("https://id.example")
///     .audience("orders")
///     .with_prefix("shop_")
///     .build()?;
/// let now = UnixSeconds::new(1_800_000_000);
/// let claims = br#"{"sub":"alice","aud":"orders","scope":"orders:read","exp":1800000600}"#;
/// let token = tokens.issue(JsonObject::parse(claims.to_vec())?, now).await?;
/// assert_eq!(token.expose().len(), 48);
/// assert_eq!(tokens.look_up(token.expose(), now).await?.subject(), "alice");
/// tokens.revoke(token.expose(), now).await?;
/// assert!(tokens.look_up(token.expose(), now).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Reference(Arc<Inner>);

struct Inner {
    backend: Backend,
    store: Arc<dyn ReferenceStore>,
    prefix: Box<str>,
    reading: Reading,
    revocation: Option<Arc<dyn RevocationCheck>>,
}

/// Says what handles stand for.
enum Reading {
    Claims(Box<Rules>),
    Jwt(Verifier),
    /// The client holds the signature, the store the rest.
    Split(Verifier),
}

/// Says what a JWT is that is to be kept.
#[derive(Clone, Copy)]
pub(crate) enum Kept {
    Access,
    /// Anything else that was verified; nobody gets in by its handle.
    Statement,
}

/// Is what a record says, before a JWT is verified.
enum Found {
    Claims(Candidate),
    Jwt(Secret),
}

/// Is whom a handle stands for, before it is known that its sender may send it, and the JWT if there is one.
struct Checked {
    candidate: Candidate,
    jwt: Option<Arc<Secret>>,
}

impl Checked {
    fn into_jwt(self) -> Result<(Candidate, Arc<Secret>), Failure> {
        let none = || misconfigured("reference tokens stand for claims here, not for JWTs");
        Ok((self.candidate, self.jwt.ok_or_else(none)?))
    }
}

impl Reference {
    /// Issues a handle for claims, held to the same rules as when it is used.
    ///
    /// `exp` must be there: it is when the handle dies. `sub`, and `sid` if it is there, are what it can be revoked by.
    ///
    /// # Errors
    /// - What [`look_up`](Self::look_up) would refuse the claims with; [`Reject::Missing`] without `exp`.
    /// - [`Refusal::Failure`]: the store broke or is full; `Misconfigured` when handles stand for JWTs here.
    pub async fn issue(&self, claims: JsonObject, now: UnixSeconds) -> Result<ReferenceToken, Refusal> {
        let Reading::Claims(rules) = &self.0.reading else {
            return Err(misconfigured("reference tokens stand for JWTs here, not for claims").into());
        };
        let candidate = rules.check(claims.clone(), now)?.candidate;
        let expires_at = candidate.expires_at().ok_or(Reject::Missing(Claim::Expiry))?;
        let session = candidate.session_id().map(Into::into);
        let record = ReferenceRecord::new(candidate.id(), session, expires_at, ReferenceContent::Claims(claims));
        Ok(self.insert_new(&record, now).await?)
    }

    /// Issues a handle for a JWT, after verifying it.
    ///
    /// # Errors
    /// - What the verifier refuses it with.
    /// - [`Refusal::Failure`]: the store broke or is full; `Misconfigured` when handles stand for claims here.
    pub async fn issue_for_jwt(&self, jwt: &str, now: UnixSeconds) -> Result<ReferenceToken, Refusal> {
        let candidate = self.verifier()?.candidate(jwt, now).await?;
        let expires_at = candidate.expires_at().ok_or(Reject::Missing(Claim::Expiry))?;
        let session = candidate.session_id().map(Into::into);
        Ok(self.keep((Kept::Access, jwt), candidate.id(), session, expires_at, now).await?)
    }

    /// Says whose handle it is.
    ///
    /// # Errors
    /// - [`Reject::Malformed`]: not a handle of ours by its form.
    /// - [`Refusal::Failure`]: the store broke.
    /// - [`Reject::Inactive`]: not known, revoked or expired; never told apart.
    /// - [`Reject::TokenUse`]: it stands for an ID token or the like, of an [`OutboundSwap`](crate::OutboundSwap).
    /// - For claims: `Issuer`, `Audience` and the rest, as for introspection. For a JWT: what the verifier says of it.
    /// - [`Reject::Revoked`]; [`Refusal::Failure`] when revocation cannot be told.
    pub async fn look_up(&self, token: &str, now: UnixSeconds) -> Result<Principal, Refusal> {
        self.prove(Credential::bearer(token), now).await
    }

    async fn prove(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        let checked = self.checked(credential.expose(), now).await?;
        checked.candidate.prove(self.constraint(), credential, now).await
    }

    /// Says which bound tokens are taken.
    fn constraint(&self) -> &SenderConstraint {
        match &self.0.reading {
            Reading::Claims(rules) => &rules.constraint,
            Reading::Jwt(verifier) | Reading::Split(verifier) => verifier.sender_constraint(),
        }
    }

    /// Ends one handle. Returns whether it was alive.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: it may be alive still.
    pub async fn revoke(&self, token: &str, now: UnixSeconds) -> Result<bool, Failure> {
        match self.digest(token) {
            Some(digest) => self.0.store.revoke(&digest, now).await,
            None => Ok(false),
        }
    }

    /// Ends every handle of a subject. Returns how many were alive.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: some may be alive still.
    pub async fn revoke_subject(&self, subject: &SubjectId, now: UnixSeconds) -> Result<u64, Failure> {
        self.0.store.revoke_subject(subject, now).await
    }

    /// Ends every handle of one session (`sid`) of an issuer. Returns how many were alive.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: some may be alive still.
    pub async fn revoke_session(&self, issuer: &str, session: &str, now: UnixSeconds) -> Result<u64, Failure> {
        self.0.store.revoke_session(issuer, session, now).await
    }

    /// Keeps a JWT that was verified, and returns what the client gets in its place.
    pub(crate) async fn keep(
        &self,
        (kind, jwt): (Kept, &str),
        subject: SubjectId,
        session: Option<Box<str>>,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<ReferenceToken, Failure> {
        match &self.0.reading {
            Reading::Claims(_) => Err(misconfigured("reference tokens stand for claims here, not for JWTs")),
            Reading::Jwt(_) => {
                let content = match kind {
                    Kept::Access => ReferenceContent::Jwt(Secret::from(jwt)),
                    Kept::Statement => ReferenceContent::Statement(Secret::from(jwt)),
                };
                self.insert_new(&ReferenceRecord::new(subject, session, expires_at, content), now).await
            }
            Reading::Split(_) => {
                let parts = jwt.rsplit_once('.').filter(|(_, signature)| is_signature(signature));
                let (head, signature) = parts.ok_or(misconfigured("a JWT has no signature to split off"))?;
                let content = match kind {
                    Kept::Access => ReferenceContent::SplitJwt(Secret::from(head)),
                    Kept::Statement => ReferenceContent::Statement(Secret::from(head)),
                };
                let record = ReferenceRecord::new(subject, session, expires_at, content);
                let token = ReferenceToken::new(&self.0.prefix, signature);
                let digest = ReferenceDigest::of(self.0.backend, signature);
                // The same JWT, handed out again, has the same signature and the same record.
                if self.0.store.insert(digest, &record, now).await?
                    || self.0.store.find(&digest, now).await?.is_some_and(|known| known == record)
                {
                    return Ok(token);
                }
                Err(misconfigured("two JWTs have one signature"))
            }
        }
    }

    async fn insert_new(&self, record: &ReferenceRecord, now: UnixSeconds) -> Result<ReferenceToken, Failure> {
        if now >= record.expires_at() {
            return Err(misconfigured("a reference token would be dead when it is issued"));
        }
        let mut random = [0; 32];
        self.0
            .backend
            .fill_random(&mut random)
            .map_err(|e| misconfigured("no random bytes for a reference token").with_source(e))?;
        let text = base64::encode(&random);
        let digest = ReferenceDigest::of(self.0.backend, &text);
        if self.0.store.insert(digest, record, now).await? {
            Ok(ReferenceToken::new(&self.0.prefix, &text))
        } else {
            // 256 random bits do not come twice: the source of randomness is broken, and trying again would hide it.
            Err(misconfigured("a new reference token was taken already"))
        }
    }

    /// Takes prefix and form off; `None` for what is no handle of ours.
    fn digest(&self, token: &str) -> Option<ReferenceDigest> {
        let text = token.strip_prefix(&*self.0.prefix)?;
        let sound = match &self.0.reading {
            Reading::Split(_) => is_signature(text),
            // 32 bytes in canonical form: there is one way to write a handle.
            Reading::Claims(_) | Reading::Jwt(_) => text.len() == 43 && base64::decode(text).is_some(),
        };
        sound.then(|| ReferenceDigest::of(self.0.backend, text))
    }

    async fn find(&self, token: &str, now: UnixSeconds) -> Result<Found, Refusal> {
        let digest = self.digest(token).ok_or(Reject::Malformed)?;
        let record = match self.0.store.find_now(&digest, now) {
            Some(record) => record?,
            None => self.0.store.find(&digest, now).await?,
        };
        self.read(record, token, now)
    }

    fn read(&self, record: Option<ReferenceRecord>, token: &str, now: UnixSeconds) -> Result<Found, Refusal> {
        // A store that answers with what is dead breaks its contract; nobody gets in by that.
        let record = record.filter(|record| now < record.expires_at()).ok_or(Reject::Inactive)?;
        match (&self.0.reading, record.content()) {
            (Reading::Claims(rules), ReferenceContent::Claims(claims))
                if record.subject().issuer() == &*rules.issuer =>
            {
                Ok(Found::Claims(rules.check(claims.clone(), now)?.candidate))
            }
            (Reading::Claims(_), ReferenceContent::Claims(_)) => Err(Reject::Issuer.into()),
            (Reading::Jwt(_), ReferenceContent::Jwt(jwt)) => Ok(Found::Jwt(jwt.clone())),
            (Reading::Split(_), ReferenceContent::SplitJwt(head)) => {
                let signature = token.strip_prefix(&*self.0.prefix).unwrap_or_default();
                Ok(Found::Jwt(Secret::from(format!("{}.{signature}", head.expose_str().unwrap_or_default()))))
            }
            // INVARIANT: a JWT that was not verified as an access token never is one, whatever its claims say.
            (_, ReferenceContent::Statement(_)) => Err(Reject::TokenUse.into()),
            _ => Err(misconfigured("a reference token stands for something else than this service reads").into()),
        }
    }

    async fn checked(&self, token: &str, now: UnixSeconds) -> Result<Checked, Refusal> {
        let (candidate, jwt) = match self.find(token, now).await? {
            Found::Claims(candidate) => (candidate, None),
            Found::Jwt(jwt) => {
                (self.verifier()?.candidate(jwt.expose_str().unwrap_or_default(), now).await?, Some(Arc::new(jwt)))
            }
        };
        self.check_revocation(Checked { candidate, jwt }, now)
    }

    /// As [`checked`](Self::checked), from memory alone.
    fn checked_now(&self, token: &str, now: UnixSeconds) -> Option<Result<Checked, Refusal>> {
        let checked = match self.find_now(token, now)? {
            Ok(Found::Claims(candidate)) => Ok(Checked { candidate, jwt: None }),
            Ok(Found::Jwt(jwt)) => match self.verifier() {
                Ok(verifier) => {
                    let verified = verifier.candidate_now(jwt.expose_str().unwrap_or_default(), now)?;
                    verified.map(|candidate| Checked { candidate, jwt: Some(Arc::new(jwt)) })
                }
                Err(failure) => Err(failure.into()),
            },
            Err(refusal) => Err(refusal),
        };
        Some(checked.and_then(|checked| self.check_revocation(checked, now)))
    }

    /// Answers from memory, or not at all.
    fn find_now(&self, token: &str, now: UnixSeconds) -> Option<Result<Found, Refusal>> {
        let Some(digest) = self.digest(token) else { return Some(Err(Reject::Malformed.into())) };
        let found = self.0.store.find_now(&digest, now)?;
        Some(found.map_err(Refusal::from).and_then(|record| self.read(record, token, now)))
    }

    pub(crate) fn stands_for_jwts(&self) -> bool {
        !matches!(self.0.reading, Reading::Claims(_))
    }

    fn verifier(&self) -> Result<&Verifier, Failure> {
        match &self.0.reading {
            Reading::Jwt(verifier) | Reading::Split(verifier) => Ok(verifier),
            Reading::Claims(_) => Err(misconfigured("reference tokens stand for claims here, not for JWTs")),
        }
    }

    fn check_revocation(&self, checked: Checked, now: UnixSeconds) -> Result<Checked, Refusal> {
        if let Some(check) = &self.0.revocation {
            checked.candidate.check_revocation(&**check, now)?;
        }
        Ok(checked)
    }
}

/// Tells whether a text can be the signature of a JWT: canonical base64url of 32 to 1,024 bytes.
fn is_signature(text: &str) -> bool {
    text.len() <= 1366 && base64::decode(text).is_some_and(|bytes| (32..=1024).contains(&bytes.len()))
}

const fn misconfigured(context: &'static str) -> Failure {
    Failure::new(FailureKind::Misconfigured, context)
}

#[async_trait]
impl Authenticate for Reference {
    /// Recognizes handles by prefix and form; under the scheme `DPoP` only where bound tokens are taken.
    fn recognizes(&self, credential: Credential<'_>) -> bool {
        check_kind(credential, self.constraint()).is_ok() && self.digest(credential.expose()).is_some()
    }

    fn authenticate_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        if let Err(reject) = check_kind(credential, self.constraint()) {
            return Some(Err(reject.into()));
        }
        match self.checked_now(credential.expose(), now)? {
            Ok(checked) => checked.candidate.prove_now(self.constraint(), credential, now),
            Err(refusal) => Some(Err(refusal)),
        }
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        check_kind(credential, self.constraint())?;
        self.prove(credential, now).await
    }

    fn accepted_proofs(&self) -> AcceptedProofs {
        self.constraint().accepted_proofs()
    }

    fn proof_nonce(&self, now: UnixSeconds) -> Option<String> {
        self.constraint().nonce(now)
    }
}

#[async_trait]
impl TokenSwap for Reference {
    fn to_jwt_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<InnerToken, Refusal>> {
        if let Err(reject) = check_kind(credential, self.constraint()) {
            return Some(Err(reject.into()));
        }
        let (candidate, jwt) = match self.checked_now(credential.expose(), now)? {
            Ok(checked) => match checked.into_jwt() {
                Ok(parts) => parts,
                Err(failure) => return Some(Err(failure.into())),
            },
            Err(refusal) => return Some(Err(refusal)),
        };
        let proved = candidate.prove_now(self.constraint(), credential, now)?;
        Some(proved.map(|principal| InnerToken::new(principal, jwt)))
    }

    async fn to_jwt(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<InnerToken, Refusal> {
        check_kind(credential, self.constraint())?;
        let (candidate, jwt) = self.checked(credential.expose(), now).await?.into_jwt()?;
        Ok(InnerToken::new(candidate.prove(self.constraint(), credential, now).await?, jwt))
    }

    fn to_jwt_for_now(&self, token: &str, proven: &Principal, now: UnixSeconds) -> Option<Result<InnerToken, Refusal>> {
        Some(self.checked_now(token, now)?.and_then(|checked| {
            let (candidate, jwt) = checked.into_jwt()?;
            proved_as(candidate, proven, jwt)
        }))
    }

    async fn to_jwt_for(&self, token: &str, proven: &Principal, now: UnixSeconds) -> Result<InnerToken, Refusal> {
        let (candidate, jwt) = self.checked(token, now).await?.into_jwt()?;
        proved_as(candidate, proven, jwt)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { store, prefix, .. } = &*self.0;
        f.debug_struct("Reference").field("store", store).field("prefix", prefix).finish_non_exhaustive()
    }
}

/// Waits for what the handles stand for: claims of an issuer for an audience, or JWTs that a verifier takes.
#[derive(Debug)]
#[must_use]
pub struct ReferenceStart {
    backend: Backend,
    store: Arc<dyn ReferenceStore>,
}

impl ReferenceStart {
    pub(crate) const fn new(backend: Backend, store: Arc<dyn ReferenceStore>) -> Self {
        Self { backend, store }
    }

    /// Lets handles stand for claims of this issuer.
    pub fn issuer(self, issuer: impl Into<String>) -> ReferenceIssuer {
        ReferenceIssuer { start: self, issuer: issuer.into() }
    }

    /// Lets handles stand for JWTs, which are verified when a handle is issued and whenever it is used.
    pub fn verifier(self, verifier: Verifier) -> ReferenceBuilder {
        ReferenceBuilder::new(self, Reading::Jwt(verifier))
    }
}

/// Waits for the audience; without one there is no authenticator.
///
/// ```compile_fail,E0599
/// use std::sync::Arc;
/// use sekisho_opaque::{MemoryReferenceStore, Opaque};
/// let tokens = Opaque::reference(Arc::new(MemoryReferenceStore::default())).issuer("https://id.example").build(); // no audience
/// ```
#[derive(Debug)]
#[must_use]
pub struct ReferenceIssuer {
    start: ReferenceStart,
    issuer: String,
}

impl ReferenceIssuer {
    /// Names this service as it stands in `aud`, byte for byte.
    pub fn audience(self, audience: impl Into<String>) -> ReferenceBuilder {
        let rules = Rules::new(self.start.backend, self.issuer, Some(audience.into()));
        ReferenceBuilder::new(self.start, Reading::Claims(Box::new(rules)))
    }
}

/// Configures a [`Reference`]. Everything here has a safe default.
#[must_use]
pub struct ReferenceBuilder {
    start: ReferenceStart,
    reading: Reading,
    prefix: Box<str>,
    splits: bool,
    /// A rule for claims was set where handles stand for JWTs.
    is_misplaced: bool,
    dpop: Option<Dpop>,
    revocation: Option<Arc<dyn RevocationCheck>>,
}

impl ReferenceBuilder {
    fn new(start: ReferenceStart, reading: Reading) -> Self {
        Self {
            start,
            reading,
            prefix: Box::default(),
            splits: false,
            is_misplaced: false,
            dpop: None,
            revocation: None,
        }
    }

    /// Puts a text before each handle, by which people and scanners of leaked secrets know it: 1 to 32 letters, digits, `_` and `-`.
    /// Default: none.
    pub fn with_prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Gives the client the signature of the JWT as its token, and keeps header and payload under a hash of it (the split token
    /// pattern): what is in the store is of no use without the client.
    ///
    /// Only for handles that stand for JWTs.
    pub const fn with_split_tokens(mut self) -> Self {
        self.splits = true;
        self
    }

    /// Asks, for each handle, whether its principal was withdrawn.
    pub fn with_revocation(mut self, revocation: Arc<dyn RevocationCheck>) -> Self {
        self.revocation = Some(revocation);
        self
    }

    /// Takes claims that are bound to a key (`cnf` with `jkt`), with a DPoP proof for each request
    /// ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)). Default: they are refused. Where handles stand for JWTs, their verifier says it.
    pub fn with_dpop(mut self, dpop: Dpop) -> Self {
        self.dpop = Some(dpop);
        self.with_rules(|_| ())
    }

    /// Takes claims that are bound to a client certificate (`cnf` with `x5t#S256`), over connections of that certificate
    /// ([RFC 8705 §3](https://www.rfc-editor.org/rfc/rfc8705#section-3)). Default: they are refused. Where handles stand for JWTs, their
    /// verifier says it.
    pub fn with_certificate_binding(self) -> Self {
        self.with_rules(|rules| rules.constraint = rules.constraint.clone().with_certificate_binding())
    }

    /// Takes claims for this audience too. Not for handles that stand for JWTs.
    pub fn with_audience(self, audience: impl Into<Box<str>>) -> Self {
        self.with_rules(|rules| rules.audiences.push(audience.into()))
    }

    /// Sets the leeway for times in claims. Default 60 s, at most 300 s; a handle dies at `exp` without any. Not for handles
    /// that stand for JWTs.
    pub fn with_leeway(self, leeway: Duration) -> Self {
        self.with_rules(|rules| rules.leeway = leeway)
    }

    /// Adds a place of roles in claims, a JSON pointer. Not for handles that stand for JWTs.
    pub fn with_roles_at(self, pointer: impl Into<Box<str>>) -> Self {
        self.with_rules(|rules| rules.roles_at.push(pointer.into()))
    }

    /// Sets what else the claims look like. Default [`Profile::compatible`]. Not for handles that stand for JWTs.
    pub fn with_profile(self, profile: impl Into<Profile>) -> Self {
        self.with_rules(|rules| rules.profile = profile.into())
    }

    fn with_rules(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        match &mut self.reading {
            Reading::Claims(rules) => change(rules),
            Reading::Jwt(_) | Reading::Split(_) => self.is_misplaced = true,
        }
        self
    }

    /// Builds it. It does not ask the store.
    ///
    /// # Errors
    /// [`ConfigError`] for: a prefix of another form; split tokens that do not stand for JWTs; a rule for claims
    /// where they stand for JWTs; a name, leeway or roles place that cannot work.
    pub fn build(self) -> Result<Reference, ConfigError> {
        let Self { start: ReferenceStart { backend, store }, reading, prefix, splits, is_misplaced, dpop, revocation } =
            self;
        if is_misplaced {
            return Err(ConfigError::new(
                "reference tokens stand for JWTs here: set audience, leeway, roles, profile and proofs on the verifier",
            ));
        }
        let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if prefix.len() > 32 || !prefix.bytes().all(is_sound) {
            return Err(ConfigError::new("a prefix of reference tokens is up to 32 letters, digits, `_` and `-`"));
        }
        let reading = match (reading, splits) {
            (Reading::Claims(_), true) => {
                return Err(ConfigError::new("there is nothing to split where reference tokens stand for claims"));
            }
            (Reading::Claims(mut rules), false) => {
                if let Some(dpop) = dpop {
                    rules.constraint = rules.constraint.clone().with_dpop(dpop)?;
                }
                Reading::Claims(Box::new(rules.build()?))
            }
            (Reading::Jwt(verifier) | Reading::Split(verifier), true) => Reading::Split(verifier),
            (reading, false) => reading,
        };
        Ok(Reference(Arc::new(Inner { backend, store, prefix, reading, revocation })))
    }
}

impl IntoAuthenticate for ReferenceBuilder {
    fn into_authenticate(self) -> Result<Arc<dyn Authenticate>, ConfigError> {
        Ok(Arc::new(self.build()?))
    }
}

impl fmt::Debug for ReferenceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferenceBuilder")
            .field("store", &self.start.store)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
