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

    /// Takes statements that are signed by a secret which the issuer shares with the audience, with these algorithms, and no others: of
    /// those named, only the ones with a shared secret count. The keys must then be that secret.
    ///
    /// Whoever can verify such a statement could have made it.
    #[must_use]
    pub fn with_shared_secret_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.document.algorithms =
            AlgorithmSet::new(algorithms.into_iter().filter(|algorithm| algorithm.family() == KeyFamily::Hmac));
        self
    }

    /// Takes statements that callers bring, and not the issuer itself: when a signature does not hold, the keys are not
    /// [looked up anew](KeySource::fetch_anew), which anybody could then have done with a forgery.
    #[must_use]
    pub const fn brought_by_callers(mut self) -> Self {
        self.document.looks_anew = false;
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

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sekisho_core::UnixSeconds;
    use sekisho_jwks::{Backend, KeyHealth, KeyLookup, KeyQuery, SigningKey, StaticKeys};
    use serde_json::json;

    use super::*;
    use crate::Signer;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn statement(key: &SigningKey) -> String {
        let claims = json!({"iss": "https://id.example", "aud": "shop", "exp": NOW.as_secs() + 60});
        Signer::new(key.clone()).with_type("JWT").sign(&claims).expect("signed")
    }

    fn verifier(keys: impl KeySource + 'static) -> StatementVerifier {
        StatementVerifier::new("https://id.example", "shop", Arc::new(keys)).expect("built").with_type("JWT")
    }

    #[tokio::test]
    async fn a_shared_secret_is_taken_only_where_it_was_asked_for_and_then_nothing_else() {
        let secret = SigningKey::hmac(Backend::aws_lc(), Algorithm::Hs256, &[7; 32]).expect("a key");
        let public = SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).expect("a key");
        let keys = StaticKeys::new([secret.verifying_key(), public.verifying_key()]);
        let all = [Algorithm::Hs256, Algorithm::Es256];
        let (shared, published) =
            (verifier(keys.clone()).with_shared_secret_algorithms(all), verifier(keys).with_algorithms(all));
        for (verifier, good, bad) in [(&shared, &secret, &public), (&published, &public, &secret)] {
            assert!(verifier.verify(&statement(good), NOW).await.is_ok());
            let refused = verifier.verify(&statement(bad), NOW).await;
            assert!(matches!(refused, Err(Refusal::Reject(Reject::Algorithm))), "{refused:?}");
        }
    }

    /// Counts how often it is made to look anew.
    #[derive(Debug)]
    struct Counted(StaticKeys, Arc<AtomicUsize>);

    #[async_trait::async_trait]
    impl KeySource for Counted {
        fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
            self.0.find(query, now)
        }

        async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
            self.0.fetch(query, now).await
        }

        async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.fetch(query, now).await
        }

        fn health(&self, now: UnixSeconds) -> KeyHealth {
            self.0.health(now)
        }
    }

    #[tokio::test]
    async fn a_forgery_that_a_caller_brings_has_no_keys_looked_up() {
        let key = SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).expect("a key");
        let other = SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).expect("a key");
        let (forgery, looked) = (statement(&other.with_kid(key.kid())), Arc::new(AtomicUsize::new(0)));
        let from_issuer = verifier(Counted(StaticKeys::new([key.verifying_key()]), Arc::clone(&looked)));
        for (verifier, expected) in [(from_issuer.clone().brought_by_callers(), 0), (from_issuer, 1)] {
            let refused = verifier.verify(&forgery, NOW).await;
            assert!(matches!(refused, Err(Refusal::Reject(Reject::Signature))), "{refused:?}");
            assert_eq!(looked.load(Ordering::SeqCst), expected);
        }
    }
}
