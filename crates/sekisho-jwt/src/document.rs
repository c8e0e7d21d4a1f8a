use std::sync::Arc;

use sekisho_core::json::JsonObject;
use sekisho_core::{Refusal, Reject, UnixSeconds};
use sekisho_jwks::{KeyFamily, KeyQuery, KeySource};

use crate::Algorithm;
use crate::algorithms::AlgorithmSet;
use crate::compact::{Compact, parse_object};
use crate::header::{Header, normal_type};
use crate::signature::{self, Checked};
use crate::trace::Silent;
use crate::verified::Verified;

const DEFAULT_LONGEST: usize = 64 * 1024;

/// Verifies what an issuer signs beside access tokens: status lists, signed answers and the like.
///
/// A document is a compact JWS of one `typ` whose payload is a JSON object. What is proved is who signed it, and as
/// what. Every claim is the caller's to check, the issuer's name and the dates too: use it to build a verifier of one
/// kind of document, never to let anybody in. Shared secrets are not taken unless asked for. Nothing is remembered. Where the document has an
/// issuer and an audience, [`StatementVerifier`](crate::StatementVerifier) checks them too.
///
/// # Examples
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::sync::Arc;
/// use sekisho_jwt::jwks::{SigningKey, StaticKeys};
/// use sekisho_jwt::{Algorithm, Backend, DocumentVerifier, Reject, Refusal, Signer, UnixSeconds};
///
/// let key = SigningKey::generate(Backend::default(), Algorithm::Es256)?;
/// let verifier = DocumentVerifier::new(Arc::new(StaticKeys::new([key.verifying_key()])), "statuslist+jwt");
/// let access_token = Signer::new(key).sign(&serde_json::json!({"sub": "alice"}))?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let refused = verifier.verify(&access_token, UnixSeconds::new(0)).await;
/// assert!(matches!(refused, Err(Refusal::Reject(Reject::Type))));
/// # });
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DocumentVerifier {
    keys: Arc<dyn KeySource>,
    pub(crate) types: Vec<String>,
    pub(crate) takes_absent_type: bool,
    pub(crate) algorithms: AlgorithmSet,
    /// Whether the keys are looked up anew when a signature does not hold.
    pub(crate) looks_anew: bool,
    longest: usize,
}

impl DocumentVerifier {
    /// Takes documents with this `typ`, signed by one of these keys.
    ///
    /// `kind` is compared as a media type: without regard to case and to a leading `application/`. A document without
    /// `typ` is refused, whatever `kind` is.
    #[must_use]
    pub fn new(keys: Arc<dyn KeySource>, kind: &str) -> Self {
        Self { types: vec![normal_type(kind)], ..Self::untyped(keys) }
    }

    /// Takes no `typ` at all until it is told which.
    pub(crate) fn untyped(keys: Arc<dyn KeySource>) -> Self {
        let (types, algorithms) = (Vec::new(), AlgorithmSet::asymmetric());
        Self { keys, types, takes_absent_type: false, algorithms, looks_anew: true, longest: DEFAULT_LONGEST }
    }

    /// Takes documents without `typ` too.
    #[must_use]
    pub const fn with_absent_type(mut self) -> Self {
        self.takes_absent_type = true;
        self
    }

    /// Sets which algorithms may sign; shared secrets are left out whatever is named. Default: all with a public key.
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms =
            AlgorithmSet::new(algorithms.into_iter().filter(|algorithm| algorithm.family() != KeyFamily::Hmac));
        self
    }

    /// Takes documents that are signed by a secret which the issuer shares with us, with these algorithms, and no others: of those
    /// named, only the ones with a shared secret count. The keys must then be that secret.
    ///
    /// Whoever can verify such a document could have made it.
    #[must_use]
    pub fn with_shared_secret_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms =
            AlgorithmSet::new(algorithms.into_iter().filter(|algorithm| algorithm.family() == KeyFamily::Hmac));
        self
    }

    /// Sets how long a document may be, in bytes. Default 65,536.
    #[must_use]
    pub const fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// Verifies a document and returns its claims, waiting for a fetch of keys where one is due.
    ///
    /// Steps follow [RFC 7515 §5.2](https://www.rfc-editor.org/rfc/rfc7515#section-5.2).
    ///
    /// # Errors
    /// Stops at the first failed step, in this order:
    /// - [`Reject::TooLarge`], [`Reject::Malformed`]: too long; not three parts, or a part not canonical base64url or
    ///   not strict JSON.
    /// - [`Reject::DuplicateMember`], [`Reject::Critical`], [`Reject::Algorithm`]: of the header.
    /// - [`Reject::Type`]: another `typ`, or none.
    /// - [`Reject::Algorithm`]: not one of those that are taken.
    /// - [`Reject::UnknownKey`], [`Reject::AmbiguousKey`]; [`Refusal::Failure`] when no keys are at hand.
    /// - [`Reject::Signature`]: the bytes do not match, also after the keys were [looked up anew](KeySource::fetch_anew).
    /// - [`Reject::Malformed`], [`Reject::DuplicateMember`]: of the claims.
    pub async fn verify(&self, document: &str, now: UnixSeconds) -> Result<Verified<JsonObject>, Refusal> {
        if document.len() > self.longest {
            return Err(Reject::TooLarge.into());
        }
        let compact = Compact::split(document)?;
        let header = Header::parse(compact.header)?;
        let fits = match header.kind.as_deref() {
            None => self.takes_absent_type,
            Some(kind) => self.types.iter().any(|taken| taken == kind),
        };
        if !fits {
            return Err(Reject::Type.into());
        }
        if !self.algorithms.contains(header.algorithm) {
            return Err(Reject::Algorithm.into());
        }
        let query = KeyQuery { kid: header.kid.as_deref(), algorithm: header.algorithm };
        let fetched = match signature::check(&*self.keys, &header, &compact, None, now, &mut Silent) {
            Ok(Checked::Holds(_)) => None,
            Ok(Checked::FetchNeeded) => Some(self.keys.fetch(query, now).await),
            // The name may be another key's by now.
            Err(Refusal::Reject(Reject::Signature)) if self.looks_anew => Some(self.keys.fetch_anew(query, now).await),
            Err(refusal) => return Err(refusal),
        };
        if let Some(fetched) = fetched {
            let again = signature::check(&*self.keys, &header, &compact, Some(fetched), now, &mut Silent)?;
            // A source that answers so breaks its contract; nothing is believed by that.
            if let Checked::FetchNeeded = again {
                return Err(Reject::UnknownKey.into());
            }
        }
        Ok(Verified::new(parse_object(compact.payload)?))
    }
}

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use sekisho_jwks::{
        Algorithm, Backend, Candidates, KeyHealth, KeyLife, KeyLookup, SigningKey, StaticKeys, TrustedKey,
    };
    use serde_json::json;

    use super::*;
    use crate::{Signer, base64};

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    /// Hands its key out whatever has become of it.
    #[derive(Debug)]
    struct OneKey(TrustedKey);

    #[async_trait::async_trait]
    impl KeySource for OneKey {
        fn find(&self, _: KeyQuery<'_>, _: UnixSeconds) -> KeyLookup {
            KeyLookup::FetchNeeded
        }

        async fn fetch(&self, _: KeyQuery<'_>, _: UnixSeconds) -> KeyLookup {
            KeyLookup::Found(Candidates::One(self.0.clone()))
        }

        async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
            self.fetch(query, now).await
        }

        fn health(&self, _: UnixSeconds) -> KeyHealth {
            KeyHealth::Fresh { keys: 1 }
        }
    }

    fn key() -> SigningKey {
        SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).expect("a key")
    }

    fn verifier(key: &SigningKey) -> DocumentVerifier {
        DocumentVerifier::new(Arc::new(StaticKeys::new([key.verifying_key()])), "application/StatusList+JWT")
    }

    fn document(key: &SigningKey, kind: &str) -> String {
        Signer::new(key.clone()).with_type(kind).sign(&json!({"sub": "list"})).expect("signed")
    }

    async fn refusal(verifier: &DocumentVerifier, document: &str) -> Reject {
        match verifier.verify(document, NOW).await {
            Err(Refusal::Reject(reject)) => reject,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn refuses_every_other_type_and_none() {
        let key = key();
        for kind in ["at+jwt", "JWT", "", "statuslist", "logout+jwt", "application/x/statuslist+jwt"] {
            assert_eq!(refusal(&verifier(&key), &document(&key, kind)).await, Reject::Type, "{kind}");
        }
        let header = base64::encode(json!({"alg": "ES256", "kid": key.kid()}).to_string().as_bytes());
        let input = format!("{header}.{}", base64::encode(b"{}"));
        let untyped = format!("{input}.{}", base64::encode(&key.sign(input.as_bytes()).expect("signed")));
        assert_eq!(refusal(&verifier(&key), &untyped).await, Reject::Type);
    }

    #[tokio::test]
    async fn refuses_other_signatures_keys_and_forms() {
        let (key, other) = (key(), key());
        let good = document(&key, "statuslist+jwt");
        let forged = document(&other.clone().with_kid(key.kid()), "statuslist+jwt");
        assert_eq!(refusal(&verifier(&key), &forged).await, Reject::Signature);
        assert_eq!(refusal(&verifier(&key), &document(&other, "statuslist+jwt")).await, Reject::UnknownKey);
        let small = verifier(&key).with_max_bytes(good.len() - 1);
        assert_eq!(refusal(&small, &good).await, Reject::TooLarge);
        for bad in
            ["", "..", "a.b", &format!("{good}."), &format!("{good} "), &format!(" {good}"), &good.replace('.', "")]
        {
            assert_eq!(refusal(&verifier(&key), bad).await, Reject::Malformed, "{bad}");
        }
        let secret = SigningKey::hmac(Backend::aws_lc(), Algorithm::Hs256, &[7; 32]).expect("a key");
        assert_eq!(refusal(&verifier(&key), &document(&secret, "statuslist+jwt")).await, Reject::Algorithm);
    }

    #[tokio::test]
    async fn takes_a_shared_secret_or_no_type_only_where_that_was_asked_for() {
        let (secret, public) = (SigningKey::hmac(Backend::aws_lc(), Algorithm::Hs256, &[7; 32]).expect("a key"), key());
        let keys: Arc<dyn KeySource> = Arc::new(StaticKeys::new([secret.verifying_key(), public.verifying_key()]));
        let all = [Algorithm::Hs256, Algorithm::Es256];
        let published = DocumentVerifier::new(Arc::clone(&keys), "JWT").with_algorithms(all);
        let shared = DocumentVerifier::new(keys, "JWT").with_shared_secret_algorithms(all);
        for (verifier, good, bad) in [(&shared, &secret, &public), (&published, &public, &secret)] {
            assert!(verifier.verify(&document(good, "JWT"), NOW).await.is_ok());
            assert_eq!(refusal(verifier, &document(bad, "JWT")).await, Reject::Algorithm);
        }
        let header = base64::encode(json!({"alg": "ES256", "kid": public.kid()}).to_string().as_bytes());
        let input = format!("{header}.{}", base64::encode(b"{}"));
        let untyped = format!("{input}.{}", base64::encode(&public.sign(input.as_bytes()).expect("signed")));
        assert_eq!(refusal(&published, &untyped).await, Reject::Type);
        assert!(published.with_absent_type().verify(&untyped, NOW).await.is_ok());
    }

    #[tokio::test]
    async fn refuses_a_key_whose_life_has_ended() {
        let key = key();
        let life = Arc::new(KeyLife::forever());
        let keys = OneKey(TrustedKey::new(key.verifying_key(), Arc::clone(&life)));
        let verifier = DocumentVerifier::new(Arc::new(keys), "statuslist+jwt");
        let document = document(&key, "statuslist+jwt");
        assert!(verifier.verify(&document, NOW).await.is_ok());
        life.end();
        assert_eq!(refusal(&verifier, &document).await, Reject::UnknownKey);
    }

    #[tokio::test]
    async fn returns_the_claims_of_a_document_of_its_type() {
        let key = key();
        let claims = verifier(&key).verify(&document(&key, "statuslist+jwt"), NOW).await.expect("verified");
        assert_eq!(claims.get().get("sub").and_then(|sub| sub.as_str()).as_deref(), Some("list"));
    }
}
