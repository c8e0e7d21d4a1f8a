use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{
    AcceptedProofs, Authenticate, Confirmation, Credential, CredentialKind, Principal, Refusal, Reject,
    RevocationCheck, UnixSeconds,
};
use sekisho_jwks::{KeyHealth, KeyLookup, KeyQuery, KeySource};
use serde::de::DeserializeOwned;

use crate::cache::TokenCache;
use crate::candidate::Candidate;
use crate::claims::Accepted;
use crate::compact::{Compact, parse_object};
use crate::header::{Header, HeaderMemo};
use crate::issuer::Issuer;
use crate::signature::{self, Checked};
use crate::trace::{Recorder, Silent, Step, Trace, Written, shown};
use crate::verified::{Claims, Verified};
use crate::{SenderConstraint, claims};

/// Verifies JWT access tokens of the issuers it was built for. Made by [`Jwt::issuer`](crate::Jwt::issuer).
///
/// Cloning shares keys and cache, and costs a counter.
#[derive(Clone)]
pub struct Verifier(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) issuers: Issuers,
    pub(crate) longest_token: usize,
    pub(crate) headers: HeaderMemo,
    pub(crate) cache: Option<TokenCache>,
    pub(crate) revocation: Option<Arc<dyn RevocationCheck>>,
    pub(crate) constraint: SenderConstraint,
    #[cfg(feature = "jwe")]
    pub(crate) decryption: Vec<crate::jwe::DecryptionKey>,
}

/// Holds one issuer, or several by their exact `iss`.
#[derive(Debug)]
pub(crate) enum Issuers {
    One(Box<Issuer>),
    Many(HashMap<Box<str>, Issuer>),
}

impl Issuers {
    fn iter(&self) -> impl Iterator<Item = &Issuer> {
        let (one, many) = match self {
            Self::One(issuer) => (Some(&**issuer), None),
            Self::Many(issuers) => (None, Some(issuers.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// Is what one pass over a token came to. Whether its sender may send it, and whether it was withdrawn, is asked then.
enum Pass {
    Done(Result<Candidate, Refusal>),
    /// The key is not in memory; the source of this issuer may fetch it.
    FetchNeeded(Wanted),
    /// The keys at hand did not make this signature.
    ForeignSignature(Wanted),
}

/// Says which key would be needed.
struct Wanted {
    issuer: Arc<str>,
    header: Arc<Header>,
}

impl Wanted {
    fn query(&self) -> KeyQuery<'_> {
        KeyQuery { kid: self.header.kid.as_deref(), algorithm: self.header.algorithm }
    }
}

/// Says who brought a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Anybody: with every forged token they could have keys fetched.
    Caller,
    /// The issuer itself.
    Issuer,
}

impl Verifier {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Verifies a token and returns who it speaks for, waiting for a fetch of keys where one is due.
    ///
    /// - `token`: `header.payload.signature`, unpadded base64url, at most 8,192 bytes unless configured otherwise.
    /// - `now`: whole seconds since 1970-01-01T00:00:00Z. With leeway `l` in seconds (default 60), a token lives while
    ///   `nbf - l <= now`, `iat - l <= now` and `now < exp + l`.
    ///
    /// Steps follow [RFC 7515 §5.2](https://www.rfc-editor.org/rfc/rfc7515#section-5.2) for the signature and
    /// [RFC 7519 §7.2](https://www.rfc-editor.org/rfc/rfc7519#section-7.2) for the claims.
    ///
    /// # Errors
    /// Stops at the first failed step, in this order:
    /// - [`Reject::TooLarge`], [`Reject::Malformed`]: too long; not three parts, or a part not canonical base64url or not strict JSON.
    /// - [`Reject::DuplicateMember`], [`Reject::Critical`]: of the header.
    /// - [`Reject::Algorithm`]: `alg` is `none`, not known, or not allowed here.
    /// - [`Reject::Issuer`]: with several issuers, none has this name.
    /// - [`Reject::Type`]: `typ` is not one the profile takes.
    /// - [`Reject::UnknownKey`], [`Reject::AmbiguousKey`]; [`Refusal::Failure`] when no keys are at hand.
    /// - [`Reject::Signature`]: the bytes do not match.
    /// - [`Reject::Malformed`], [`Reject::DuplicateMember`]: of the claims.
    /// - [`Reject::Missing`], [`Reject::Invalid`]: a claim, in the order of the lines below.
    /// - [`Reject::Issuer`], [`Reject::Audience`].
    /// - [`Reject::Expired`], [`Reject::NotYetValid`], [`Reject::IssuedInFuture`].
    /// - [`Reject::TokenUse`]: an ID, refresh or logout token.
    /// - [`Reject::ProofRequired`], [`Reject::Confirmation`]: bound to a key or certificate. Here a token comes alone, so it is
    ///   refused also where bound tokens are taken: those go through a checkpoint, or [`Authenticate`].
    /// - [`Reject::Revoked`]; [`Refusal::Failure`] when revocation cannot be told.
    pub async fn verify(&self, token: &str, now: UnixSeconds) -> Result<Verified<Principal>, Refusal> {
        self.verify_credential(Credential::bearer(token), now).await.map(Verified::new)
    }

    /// Verifies from memory alone: `None` means that keys would have to be fetched first.
    ///
    /// A token that was verified before is answered by the cache, without any work with keys.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify).
    #[must_use]
    pub fn verify_now(&self, token: &str, now: UnixSeconds) -> Option<Result<Verified<Principal>, Refusal>> {
        Some(self.verify_credential_now(Credential::bearer(token), now)?.map(Verified::new))
    }

    /// Verifies a token and reads its claims as a type of the caller's.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify), and [`Reject::ClaimsType`] when the claims do not have the shape of `T`.
    pub async fn verify_as<T: DeserializeOwned>(
        &self,
        token: &str,
        now: UnixSeconds,
    ) -> Result<Verified<Claims<T>>, Refusal> {
        Ok(self.verify(token, now).await?.typed()?)
    }

    /// Verifies a token and tells how each step went. It neither asks nor fills the cache.
    pub async fn explain(&self, token: &str, now: UnixSeconds) -> Trace {
        self.explain_credential(Credential::bearer(token), now).await
    }

    /// Explains, as [`explain`](Self::explain) does, a token together with the proof of possession that came with it: see
    /// [`Credential::with_presentation`]. Whether the proof was used before is neither asked nor remembered.
    pub async fn explain_credential(&self, credential: Credential<'_>, now: UnixSeconds) -> Trace {
        let mut written = Written::default();
        let result = self.checked(credential.expose(), now, Origin::Caller, &mut written).await;
        let result = result.and_then(|candidate| self.explain_proof(candidate, credential, now, &mut written));
        let result = result.and_then(|principal| self.check_revocation(principal, now, &mut written));
        written.finish(result.map(drop))
    }

    /// Tells how fresh each issuer's keys are, for a readiness probe.
    #[must_use]
    pub fn health(&self, now: UnixSeconds) -> Vec<(Arc<str>, KeyHealth)> {
        self.0.issuers.iter().map(|issuer| (Arc::clone(&issuer.name), issuer.keys.health(now))).collect()
    }

    /// Tells how many verified tokens the cache holds.
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.0.cache.as_ref().map_or(0, TokenCache::len)
    }

    /// Verifies a token but for who sends it: for JWTs that come from the issuer itself, behind an opaque token, whose sender proves
    /// that one.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify), save that tokens pass which are bound in a way that is taken here.
    pub async fn candidate(&self, token: &str, now: UnixSeconds) -> Result<Candidate, Refusal> {
        let candidate = match self.cached(token, now) {
            Some(candidate) => candidate,
            None => self.checked(token, now, Origin::Caller, &mut Silent).await?,
        };
        self.check_withdrawal(candidate, now)
    }

    /// As [`candidate`](Self::candidate), for a JWT that was just fetched from the issuer itself. If its signature does not hold, the issuer
    /// may have given the `kid` to another key, so the keys are [looked up anew](KeySource::fetch_anew), at most as often as for unknown `kid`s.
    ///
    /// Not for what callers bring: with every forged token they could have keys fetched.
    ///
    /// # Errors
    /// As for [`candidate`](Self::candidate).
    pub async fn candidate_from_issuer(&self, token: &str, now: UnixSeconds) -> Result<Candidate, Refusal> {
        let candidate = match self.cached(token, now) {
            Some(candidate) => candidate,
            None => self.checked(token, now, Origin::Issuer, &mut Silent).await?,
        };
        self.check_withdrawal(candidate, now)
    }

    /// As [`candidate`](Self::candidate), from memory alone: `None` means that keys would have to be fetched first.
    ///
    /// # Errors
    /// As for [`candidate`](Self::candidate).
    #[must_use]
    pub fn candidate_now(&self, token: &str, now: UnixSeconds) -> Option<Result<Candidate, Refusal>> {
        let candidate = match self.cached(token, now) {
            Some(candidate) => candidate,
            None => match self.pass(token, now, None, &mut Silent) {
                Pass::Done(Ok(candidate)) => candidate,
                Pass::Done(Err(refusal)) => return Some(Err(refusal)),
                Pass::FetchNeeded(_) => return None,
                Pass::ForeignSignature(_) => return Some(Err(Reject::Signature.into())),
            },
        };
        Some(self.check_withdrawal(candidate, now))
    }

    /// Returns what proves that somebody may send a token.
    #[must_use]
    pub fn sender_constraint(&self) -> &SenderConstraint {
        &self.0.constraint
    }

    fn check_withdrawal(&self, candidate: Candidate, now: UnixSeconds) -> Result<Candidate, Refusal> {
        if let Some(revocation) = &self.0.revocation {
            candidate.check_revocation(&**revocation, now)?;
        }
        Ok(candidate)
    }

    /// Takes a credential with whatever the request showed beside it through all steps.
    async fn verify_credential(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        let token = credential.expose();
        let candidate = match self.cached(token, now) {
            Some(candidate) => candidate,
            None => self.checked(token, now, Origin::Caller, &mut Silent).await?,
        };
        let principal = candidate.prove(&self.0.constraint, credential, now).await?;
        self.check_revocation(principal, now, &mut Silent)
    }

    /// As [`verify_credential`](Self::verify_credential), from memory alone.
    fn verify_credential_now(
        &self,
        credential: Credential<'_>,
        now: UnixSeconds,
    ) -> Option<Result<Principal, Refusal>> {
        let token = credential.expose();
        let candidate = match self.cached(token, now) {
            Some(candidate) => candidate,
            None => match self.pass(token, now, None, &mut Silent) {
                Pass::Done(Ok(candidate)) => candidate,
                Pass::Done(Err(refusal)) => return Some(Err(refusal)),
                Pass::FetchNeeded(_) => return None,
                Pass::ForeignSignature(_) => return Some(Err(Reject::Signature.into())),
            },
        };
        match candidate.prove_now(&self.0.constraint, credential, now)? {
            Ok(principal) => Some(self.check_revocation(principal, now, &mut Silent)),
            Err(refusal) => Some(Err(refusal)),
        }
    }

    fn explain_proof(
        &self,
        candidate: Candidate,
        credential: Credential<'_>,
        now: UnixSeconds,
        recorder: &mut impl Recorder,
    ) -> Result<Principal, Refusal> {
        let constraint = &self.0.constraint;
        if constraint.accepted_proofs() == AcceptedProofs::none() {
            return Ok(candidate.examine(constraint, credential, now)?);
        }
        recorder.begin(Step::Proof);
        let principal = candidate.examine(constraint, credential, now)?;
        recorder.pass(|| match principal.confirmation() {
            None => "none is due".to_owned(),
            Some(Confirmation::KeyThumbprint(_)) => {
                "the proof holds; whether it was used before is not asked".to_owned()
            }
            Some(_) => "the certificate is the one".to_owned(),
        });
        Ok(principal)
    }

    fn cached(&self, token: &str, now: UnixSeconds) -> Option<Candidate> {
        self.0.cache.as_ref()?.get(token, now)
    }

    /// Takes a token through all steps of its own, waiting for a fetch of keys where one is due.
    async fn checked<R: Recorder + Send>(
        &self,
        token: &str,
        now: UnixSeconds,
        origin: Origin,
        recorder: &mut R,
    ) -> Result<Candidate, Refusal> {
        let lookup = match self.pass(token, now, None, recorder) {
            Pass::Done(result) => return result,
            Pass::FetchNeeded(wanted) => self.keys_of(&wanted)?.fetch(wanted.query(), now).await,
            Pass::ForeignSignature(wanted) if origin == Origin::Issuer => {
                self.keys_of(&wanted)?.fetch_anew(wanted.query(), now).await
            }
            Pass::ForeignSignature(_) => return Err(Reject::Signature.into()),
        };
        match self.pass(token, now, Some(lookup), recorder) {
            Pass::Done(result) => result,
            Pass::ForeignSignature(_) => Err(Reject::Signature.into()),
            // A source that answers so breaks its contract; nobody gets in by that.
            Pass::FetchNeeded(_) => Err(Reject::UnknownKey.into()),
        }
    }

    fn keys_of(&self, wanted: &Wanted) -> Result<&dyn KeySource, Reject> {
        let issuer = self.0.issuers.iter().find(|known| known.name == wanted.issuer);
        issuer.map(|issuer| &*issuer.keys).ok_or(Reject::Issuer)
    }

    fn pass(&self, token: &str, now: UnixSeconds, fetched: Option<KeyLookup>, recorder: &mut impl Recorder) -> Pass {
        match self.try_pass(token, now, fetched, recorder) {
            Ok(Ok(candidate)) => Pass::Done(Ok(candidate)),
            Ok(Err(pass)) => pass,
            Err(refusal) => Pass::Done(Err(refusal)),
        }
    }

    /// Takes all steps of the token itself. The inner error is [`Pass::FetchNeeded`] or [`Pass::ForeignSignature`].
    fn try_pass<R: Recorder>(
        &self,
        token: &str,
        now: UnixSeconds,
        fetched: Option<KeyLookup>,
        recorder: &mut R,
    ) -> Result<Result<Candidate, Pass>, Refusal> {
        let parts = &*self.0;
        recorder.restart();
        recorder.begin(Step::Form);
        if token.len() > parts.longest_token {
            return Err(Reject::TooLarge.into());
        }
        #[cfg(feature = "jwe")]
        let opened = crate::jwe::decrypt_if_encrypted(token, &parts.decryption, recorder)?;
        #[cfg(feature = "jwe")]
        let token = match &opened {
            Some(signed) => {
                if R::FILLS_CACHE
                    && let Some(candidate) = self.cached(signed, now)
                {
                    return Ok(Ok(candidate));
                }
                signed.as_str()
            }
            None => token,
        };
        let Compact { header: encoded_header, payload, signature, signing_input } = Compact::split(token)?;
        recorder.pass(|| format!("three parts, {} bytes of at most {}", token.len(), parts.longest_token));

        recorder.begin(Step::Header);
        let remembered = parts.headers.get(encoded_header);
        let is_remembered = remembered.is_some();
        let header = match remembered {
            Some(header) => header,
            None => Arc::new(Header::parse(encoded_header)?),
        };
        recorder.pass(|| describe(&header));

        let (issuer, peeked) = match &parts.issuers {
            Issuers::One(issuer) => (&**issuer, None),
            Issuers::Many(issuers) => {
                recorder.begin(Step::Issuer);
                let claims = parse_object(payload)?;
                let name = claims::issuer_claim(&claims)?;
                let issuer = issuers.get(&*name).ok_or(Reject::Issuer)?;
                recorder.pass(|| format!("says it is from {}, one of the {} trusted", issuer.name, issuers.len()));
                (issuer, Some(claims))
            }
        };

        recorder.begin(Step::Type);
        issuer.profile.check_type(&header)?;
        recorder.pass(|| format!("`typ` is taken by the profile {}", issuer.profile.name()));

        recorder.begin(Step::Algorithm);
        if !issuer.algorithms.contains(header.algorithm) {
            return Err(Reject::Algorithm.into());
        }
        recorder.pass(|| format!("{} is allowed here", header.algorithm));

        recorder.begin(Step::Key);
        if header.kid.is_none() && issuer.profile.requires_key_id() {
            return Err(Reject::UnknownKey.into());
        }
        let compact = Compact { header: encoded_header, payload, signature, signing_input };
        let life = match signature::check(&*issuer.keys, &header, &compact, fetched, now, recorder) {
            Ok(Checked::Holds(life)) => life,
            Ok(Checked::FetchNeeded) => {
                return Ok(Err(Pass::FetchNeeded(Wanted { issuer: Arc::clone(&issuer.name), header })));
            }
            Err(Refusal::Reject(Reject::Signature)) => {
                return Ok(Err(Pass::ForeignSignature(Wanted { issuer: Arc::clone(&issuer.name), header })));
            }
            Err(refusal) => return Err(refusal),
        };
        if !is_remembered {
            parts.headers.insert(encoded_header, &header);
        }

        recorder.begin(Step::Claims);
        let claims = match peeked {
            Some(claims) => claims,
            None => parse_object(payload)?,
        };
        recorder.pass(|| format!("strict JSON with {} members", claims.len()));

        let accepted = claims::check(issuer, &parts.constraint, claims, now, recorder)?;
        if R::FILLS_CACHE
            && let Some(cache) = &parts.cache
        {
            cache.insert(token, &accepted, &life);
        }
        let Accepted { candidate, .. } = accepted;
        Ok(Ok(candidate))
    }

    /// Asks for each token, also for one that the cache answered.
    fn check_revocation(
        &self,
        principal: Principal,
        now: UnixSeconds,
        recorder: &mut impl Recorder,
    ) -> Result<Principal, Refusal> {
        let Some(revocation) = &self.0.revocation else { return Ok(principal) };
        recorder.begin(Step::Revocation);
        if revocation.is_revoked(&principal, now)? {
            return Err(Reject::Revoked.into());
        }
        recorder.pass(|| "not withdrawn".to_owned());
        Ok(principal)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.issuers.iter().map(|issuer| &*issuer.name).collect();
        f.debug_struct("Verifier").field("issuers", &names).field("cache", &self.0.cache).finish_non_exhaustive()
    }
}

#[async_trait]
impl Authenticate for Verifier {
    /// Recognizes whatever looks like a compact JWS, or a JWE if keys for it were given; under the scheme `DPoP` if
    /// [that is taken](crate::JwtBuilder::with_dpop).
    fn recognizes(&self, credential: Credential<'_>) -> bool {
        if credential.kind() == CredentialKind::Dpop && !self.0.constraint.takes_dpop() {
            return false;
        }
        let token = credential.expose();
        // Base64url of `{"` and of `{` with white space behind it: an opaque token of another issuer may hold two dots too.
        let is_object = token.starts_with("ey") || token.starts_with("ew");
        if !is_object {
            return false;
        }
        // At most five dots are looked for, so a mile of dots costs nothing.
        let dots = memchr::memchr_iter(b'.', token.as_bytes()).take(5).count();
        #[cfg(feature = "jwe")]
        if dots == 4 && !self.0.decryption.is_empty() {
            return true;
        }
        dots == 2
    }

    fn authenticate_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        self.verify_credential_now(credential, now)
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        self.verify_credential(credential, now).await
    }

    fn accepted_proofs(&self) -> AcceptedProofs {
        self.0.constraint.accepted_proofs()
    }

    fn proof_nonce(&self, now: UnixSeconds) -> Option<String> {
        self.0.constraint.nonce(now)
    }
}

fn describe(header: &Header) -> String {
    let Header { algorithm, kid, kind } = header;
    let kid = kid.as_deref().map_or_else(|| "no `kid`".to_owned(), |kid| format!("kid {}", shown(kid)));
    let kind = kind.as_deref().map_or_else(|| "no `typ`".to_owned(), |kind| format!("typ {}", shown(kind)));
    format!("alg {algorithm}, {kid}, {kind}")
}
