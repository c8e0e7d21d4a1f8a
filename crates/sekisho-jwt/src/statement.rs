use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::json::JsonObject;
use sekisho_core::{Claim, ConfigError, Refusal, Reject, UnixSeconds, claims};
use sekisho_jwks::{KeyFamily, KeySource};

use crate::Algorithm;
use crate::algorithms::AlgorithmSet;
use crate::document::DocumentVerifier;
use crate::header::normal_type;
use crate::verified::Verified;

/// Verifies signed JWTs that state something and are nobody's access token: introspection answers
/// ([RFC 9701](https://www.rfc-editor.org/rfc/rfc9701)), ID tokens on their way through a gateway.
///
/// It checks form, `typ`, algorithm, signature, `iss`, `aud`, and of `exp`, `nbf`, `iat` what is there. What comes out is
/// [`Verified`] claims and never a [`Principal`](sekisho_core::Principal): a statement lets nobody in by itself.
///
/// # Examples
/// ```
/// use sekisho_jwt::StatementVerifier;
/// # use sekisho_jwt::jwks::StaticKeys;
/// # let keys = StaticKeys::new([]);
/// let verifier = StatementVerifier::new("https://id.example", "gateway", std::sync::Arc::new(keys))?
///     .with_type("token-introspection+jwt");
/// # let _ = verifier;
/// # Ok::<(), sekisho_jwt::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct StatementVerifier {
    issuer: Arc<str>,
    audiences: Arc<[Box<str>]>,
    leeway: Duration,
    document: DocumentVerifier,
}

impl StatementVerifier {
    /// Trusts `issuer` (`iss`) to make statements to `audience` (one of `aud`), both byte for byte, signed by `keys`.
    ///
    /// Takes no `typ` at all until it is told which.
    ///
    /// # Errors
    /// [`ConfigError`] for an issuer or audience that is empty, longer than 1,024 bytes or holds control characters.
    pub fn new(
        issuer: impl Into<Arc<str>>,
        audience: impl Into<Box<str>>,
        keys: Arc<dyn KeySource>,
    ) -> Result<Self, ConfigError> {
        let (issuer, audience) = (issuer.into(), audience.into());
        crate::builder::check_name("issuer", &issuer)?;
        crate::builder::check_name("audience", &audience)?;
        let (audiences, document) = ([audience].into(), DocumentVerifier::untyped(keys));
        Ok(Self { issuer, audiences, leeway: Duration::from_secs(60), document })
    }

    /// Takes statements with this `typ`, compared without regard to case and to a leading `application/`.
    #[must_use]
    pub fn with_type(mut self, kind: &str) -> Self {
        self.document.types.push(normal_type(kind));
        self
    }

    /// Takes statements without `typ` too, as ID tokens often are.
    #[must_use]
    pub const fn with_absent_type(mut self) -> Self {
        self.document.takes_absent_type = true;
        self
    }

    /// Sets which algorithms may sign; shared secrets are left out whatever is named. Default: all with a public key.
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.document.algorithms =
            AlgorithmSet::new(algorithms.into_iter().filter(|algorithm| algorithm.family() != KeyFamily::Hmac));
        self
    }

    /// Sets by how much the issuer's clock may differ from ours, in whole seconds. Default 60 s; more than 300 s is 300 s.
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway.min(Duration::from_secs(300));
        self
    }

    /// Verifies a statement and returns its claims, waiting for a fetch of keys where one is due.
    ///
    /// # Errors
    /// Stops at the first failed step, in this order: [`Reject::TooLarge`] above 65,536 bytes; [`Reject::Malformed`] and what
    /// else a header can be; [`Reject::Type`]; [`Reject::Algorithm`]; [`Reject::UnknownKey`], [`Reject::AmbiguousKey`],
    /// [`Refusal::Failure`] when no keys are at hand; [`Reject::Signature`]; [`Reject::Issuer`], [`Reject::Audience`], or either
    /// of them missing or misshapen; [`Reject::Expired`], [`Reject::NotYetValid`], [`Reject::IssuedInFuture`].
    pub async fn verify(&self, token: &str, now: UnixSeconds) -> Result<Verified<JsonObject>, Refusal> {
        let claims = self.document.verify(token, now).await?;
        Ok(Verified::new(self.check_claims(claims.into_inner(), now)?))
    }

    fn check_claims(&self, claims: JsonObject, now: UnixSeconds) -> Result<JsonObject, Reject> {
        if crate::claims::issuer_claim(&claims)? != *self.issuer {
            return Err(Reject::Issuer);
        }
        let audience = claims.get("aud").ok_or(Reject::Missing(Claim::Audience))?;
        claims::check_audience(audience, &self.audiences)?;
        claims::check_expiry(&claims, self.leeway, now)?;
        claims::check_beginning(&claims, self.leeway, now)?;
        Ok(claims)
    }
}

impl fmt::Debug for StatementVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, audiences, document, leeway: _ } = self;
        f.debug_struct("StatementVerifier")
            .field("issuer", issuer)
            .field("audiences", audiences)
            .field("types", &document.types)
            .finish_non_exhaustive()
    }
}
