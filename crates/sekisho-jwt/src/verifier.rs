use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::json::JsonObject;
use sekisho_core::{
    Authenticate, Credential, CredentialKind, Principal, Refusal, Reject, RevocationCheck, UnixSeconds,
};
use sekisho_jwks::{KeyHealth, KeyLookup, KeyQuery};
use serde::de::DeserializeOwned;

use crate::cache::TokenCache;
use crate::claims::Accepted;
use crate::header::{Header, HeaderMemo};
use crate::issuer::Issuer;
use crate::signature::{self, Checked, Compact};
use crate::trace::{Recorder, Silent, Step, Trace, Written, shown};
use crate::verified::{Claims, Verified};
use crate::{base64, claims};

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

/// Is what one pass over a token came to.
enum Pass {
    Done(Result<Principal, Refusal>),
    /// The key is not in memory; the source of this issuer may fetch it.
    FetchNeeded {
        issuer: Arc<str>,
        header: Arc<Header>,
    },
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
    /// - [`Reject::ProofRequired`], [`Reject::Confirmation`]: bound to a key or certificate.
    /// - [`Reject::Revoked`]; [`Refusal::Failure`] when revocation cannot be told.
    pub async fn verify(&self, token: &str, now: UnixSeconds) -> Result<Verified<Principal>, Refusal> {
        if let Some(principal) = self.cached(token, now) {
            return self.check_revocation(principal, now, &mut Silent).map(Verified::new);
        }
        self.verify_uncached(token, now, &mut Silent).await.map(Verified::new)
    }

    /// Verifies from memory alone: `None` means that keys would have to be fetched first.
    ///
    /// A token that was verified before is answered by the cache, without any work with keys.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify).
    #[must_use]
    pub fn verify_now(&self, token: &str, now: UnixSeconds) -> Option<Result<Verified<Principal>, Refusal>> {
        if let Some(principal) = self.cached(token, now) {
            return Some(self.check_revocation(principal, now, &mut Silent).map(Verified::new));
        }
        match self.pass(token, now, None, &mut Silent) {
            Pass::Done(result) => Some(result.map(Verified::new)),
            Pass::FetchNeeded { .. } => None,
        }
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
        let mut written = Written::default();
        let result = self.verify_uncached(token, now, &mut written).await;
        written.finish(result)
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

    fn cached(&self, token: &str, now: UnixSeconds) -> Option<Principal> {
        self.0.cache.as_ref()?.get(token, now)
    }

    async fn verify_uncached<R: Recorder + Send>(
        &self,
        token: &str,
        now: UnixSeconds,
        recorder: &mut R,
    ) -> Result<Principal, Refusal> {
        let (issuer, header) = match self.pass(token, now, None, recorder) {
            Pass::Done(result) => return result,
            Pass::FetchNeeded { issuer, header } => (issuer, header),
        };
        let Some(issuer) = self.0.issuers.iter().find(|known| *known.name == *issuer) else {
            return Err(Reject::Issuer.into());
        };
        let query = KeyQuery { kid: header.kid.as_deref(), algorithm: header.algorithm };
        let fetched = issuer.keys.fetch(query, now).await;
        match self.pass(token, now, Some(fetched), recorder) {
            Pass::Done(result) => result,
            // A source that answers so breaks its contract; nobody gets in by that.
            Pass::FetchNeeded { .. } => Err(Reject::UnknownKey.into()),
        }
    }

    fn pass(&self, token: &str, now: UnixSeconds, fetched: Option<KeyLookup>, recorder: &mut impl Recorder) -> Pass {
        match self.try_pass(token, now, fetched, recorder) {
            Ok(Ok(principal)) => Pass::Done(self.check_revocation(principal, now, recorder)),
            Ok(Err(pass)) => pass,
            Err(refusal) => Pass::Done(Err(refusal)),
        }
    }

    /// Takes all steps but revocation. The inner error is [`Pass::FetchNeeded`].
    fn try_pass<R: Recorder>(
        &self,
        token: &str,
        now: UnixSeconds,
        fetched: Option<KeyLookup>,
        recorder: &mut R,
    ) -> Result<Result<Principal, Pass>, Refusal> {
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
                    && let Some(principal) = self.cached(signed, now)
                {
                    return Ok(Ok(principal));
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
                let claims = parse_claims(payload)?;
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
        let life = match signature::check(&*issuer.keys, &header, &compact, fetched, now, recorder)? {
            Checked::Holds(life) => life,
            Checked::FetchNeeded => {
                return Ok(Err(Pass::FetchNeeded { issuer: Arc::clone(&issuer.name), header }));
            }
        };
        if !is_remembered {
            parts.headers.insert(encoded_header, &header);
        }

        recorder.begin(Step::Claims);
        let claims = match peeked {
            Some(claims) => claims,
            None => parse_claims(payload)?,
        };
        recorder.pass(|| format!("strict JSON with {} members", claims.len()));

        let accepted = claims::check(issuer, claims, now, recorder)?;
        if R::FILLS_CACHE
            && let Some(cache) = &parts.cache
        {
            cache.insert(token, &accepted, &life);
        }
        let Accepted { principal, .. } = accepted;
        Ok(Ok(principal))
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
    /// Recognizes whatever looks like a compact JWS, or a JWE if keys for it were given; DPoP is not taken.
    fn recognizes(&self, credential: Credential<'_>) -> bool {
        if credential.kind() == CredentialKind::Dpop {
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
        self.verify_now(credential.expose(), now).map(|result| result.map(Verified::into_inner))
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        self.verify(credential.expose(), now).await.map(Verified::into_inner)
    }
}

pub(crate) fn parse_claims(payload: &str) -> Result<JsonObject, Reject> {
    let bytes = base64::decode(payload).ok_or(Reject::Malformed)?;
    Ok(JsonObject::parse(bytes)?)
}

fn describe(header: &Header) -> String {
    let Header { algorithm, kid, kind } = header;
    let kid = kid.as_deref().map_or_else(|| "no `kid`".to_owned(), |kid| format!("kid {}", shown(kid)));
    let kind = kind.as_deref().map_or_else(|| "no `typ`".to_owned(), |kind| format!("typ {}", shown(kind)));
    format!("alg {algorithm}, {kid}, {kind}")
}
