use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::UnixSeconds;
use crate::json::{ALLOCATION, JsonObject, Span};

/// Is who calls: an authenticated subject of an issuer, and what the issuer said of it.
///
/// The same type whatever proved it (a JWT, an introspected token, a session), so a service can
/// change its pattern without touching its handlers. A clone costs one counter.
///
/// A subject is only unique together with its issuer. So `==` and `Hash` compare both and nothing
/// else, and [`id`](Self::id) is what to key maps by and to log.
///
/// `Debug` shows issuer, subject, client and expiry; other claims are personal data and stay out.
#[derive(Clone)]
pub struct Principal(pub(crate) Arc<Inner>);

#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) issuer: Arc<str>,
    pub(crate) subject: Text,
    pub(crate) client: Option<Text>,
    pub(crate) scope: Option<Text>,
    pub(crate) roles: Box<[Box<str>]>,
    pub(crate) tenant: Option<Text>,
    pub(crate) expires_at: Option<UnixSeconds>,
    pub(crate) confirmation: Option<Confirmation>,
    pub(crate) claims: JsonObject,
    pub(crate) context: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) hash: KeptHash,
}

/// Is a hash of the rest, by whoever was the first to make one. What is cloned may be changed, so it has none.
#[derive(Default)]
pub(crate) struct KeptHash(OnceLock<(u64, [u64; 2])>);

impl Clone for KeptHash {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Text that lies in the claims, or that was made from them.
#[derive(Clone)]
pub(crate) enum Text {
    Claims(Span),
    Own(Box<str>),
}

impl Text {
    fn read<'a>(&'a self, claims: &'a JsonObject) -> &'a str {
        match self {
            Self::Claims(span) => span.read(claims.as_str()),
            Self::Own(text) => text,
        }
    }
}

impl Principal {
    /// Returns the issuer (`iss`), as it was configured.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the subject (`sub`), unique within its issuer only.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.0.subject.read(&self.0.claims)
    }

    /// Returns issuer and subject together: the key for maps, the name for logs.
    #[must_use]
    pub fn id(&self) -> SubjectId {
        SubjectId { issuer: Arc::clone(&self.0.issuer), subject: self.subject().into() }
    }

    /// Returns the client that obtained the credential (`client_id`, else `azp`).
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.0.client.as_ref().map(|text| text.read(&self.0.claims))
    }

    /// Returns the audiences (`aud`).
    #[must_use]
    pub fn audiences(&self) -> Vec<Cow<'_, str>> {
        self.0.claims.get("aud").and_then(|aud| aud.as_strings()).unwrap_or_default()
    }

    /// Returns the granted scopes as the token writes them, separated by spaces.
    #[must_use]
    pub fn scope(&self) -> &str {
        self.0.scope.as_ref().map_or("", |text| text.read(&self.0.claims))
    }

    /// Lists the granted scopes.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        // RFC 6749 §3.3: separated by spaces; no other white space separates.
        self.scope().split(' ').filter(|scope| !scope.is_empty())
    }

    /// Tells whether this very scope was granted; letter case counts.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        !scope.is_empty() && self.scopes().any(|granted| granted == scope)
    }

    /// Returns the roles, read from where the authenticator was told to look.
    #[must_use]
    pub fn roles(&self) -> &[Box<str>] {
        &self.0.roles
    }

    /// Tells whether the principal has this very role; letter case counts.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.0.roles.iter().any(|held| &**held == role)
    }

    /// Returns the tenant, if the authenticator was told which claim names it.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.0.tenant.as_ref().map(|text| text.read(&self.0.claims))
    }

    /// Returns how strongly the subject authenticated (`acr`).
    #[must_use]
    pub fn authentication_context(&self) -> Option<Cow<'_, str>> {
        self.0.claims.get("acr")?.as_str()
    }

    /// Returns by which methods the subject authenticated (`amr`).
    #[must_use]
    pub fn authentication_methods(&self) -> Vec<Cow<'_, str>> {
        self.0.claims.get("amr").and_then(|amr| amr.as_strings()).unwrap_or_default()
    }

    /// Returns when the subject last authenticated (`auth_time`).
    #[must_use]
    pub fn authenticated_at(&self) -> Option<UnixSeconds> {
        self.0.claims.get("auth_time")?.as_numeric_date().map(UnixSeconds::new)
    }

    /// Returns when the credential dies, without leeway; `None` if it has no end of its own.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixSeconds> {
        self.0.expires_at
    }

    /// Returns for how long the credential still lives at `now`, zero when it is dead.
    #[must_use]
    pub fn expires_in(&self, now: UnixSeconds) -> Option<Duration> {
        self.0.expires_at.map(|at| at.since(now))
    }

    /// Returns the credential's own id (`jti`).
    #[must_use]
    pub fn token_id(&self) -> Option<Cow<'_, str>> {
        self.0.claims.get("jti")?.as_str()
    }

    /// Returns the session at the provider (`sid`).
    #[must_use]
    pub fn session_id(&self) -> Option<Cow<'_, str>> {
        self.0.claims.get("sid")?.as_str()
    }

    /// Returns what the credential is bound to (`cnf`), if it is sender-constrained.
    #[must_use]
    pub fn confirmation(&self) -> Option<&Confirmation> {
        self.0.confirmation.as_ref()
    }

    /// Returns what the authenticator has put beside the principal for the rest of this request, if it is a `T`.
    #[must_use]
    pub fn context<T: Any>(&self) -> Option<&T> {
        self.0.context.as_deref().and_then(|context| context.downcast_ref())
    }

    /// Estimates the bytes of memory behind it, for whoever has to bound what it keeps. The [`context`](Self::context) is not
    /// counted.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let own = |text: &Text| match text {
            Text::Claims(_) => 0,
            Text::Own(text) => text.len() + ALLOCATION,
        };
        let Inner {
            issuer: _,
            subject,
            client,
            scope,
            roles,
            tenant,
            expires_at: _,
            confirmation,
            claims,
            context: _,
            hash: _,
        } = &*self.0;
        let texts: usize =
            [Some(subject), client.as_ref(), scope.as_ref(), tenant.as_ref()].into_iter().flatten().map(own).sum();
        // The smallest allocation has room for 24 bytes with common allocators.
        let roles: usize = roles.iter().map(|role| size_of::<Box<str>>() + role.len().max(24) + ALLOCATION).sum();
        let bound_to = confirmation.as_ref().map_or(0, |bound_to| bound_to.thumbprint().len() + ALLOCATION);
        size_of::<Inner>() + ALLOCATION + texts + roles + bound_to + claims.heap_bytes()
    }

    /// Returns what `make` returns, which is kept beside the principal for the next time that the same owner asks.
    ///
    /// For a keyed hash of all that a principal is: with a credential that is verified once and used for many requests, it is
    /// made once. There is room for one owner's, who comes first; for others it is made each time. It must follow from the
    /// principal and the owner alone.
    ///
    /// - `owner`: a number that nobody else has, such as a random one.
    pub fn kept_hash(&self, owner: u64, make: impl FnOnce() -> [u64; 2]) -> [u64; 2] {
        match self.0.hash.0.get() {
            Some((own, hash)) if *own == owner => *hash,
            Some(_) => make(),
            None => {
                let hash = make();
                // Who was quicker meanwhile keeps the room.
                let _ = self.0.hash.0.set((owner, hash));
                hash
            }
        }
    }

    /// Returns all claims, already checked, to be read one by one or as a type.
    #[must_use]
    pub fn claims(&self) -> &JsonObject {
        &self.0.claims
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.issuer() == other.issuer() && self.subject() == other.subject()
    }
}

impl Eq for Principal {}

impl Hash for Principal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.issuer().hash(state);
        self.subject().hash(state);
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .field("client", &self.client())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

/// Names a subject uniquely: the issuer and the subject within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectId {
    issuer: Arc<str>,
    subject: Box<str>,
}

impl SubjectId {
    /// Puts an issuer and one of its subjects together.
    #[must_use]
    pub fn new(issuer: impl Into<Arc<str>>, subject: impl Into<Box<str>>) -> Self {
        Self { issuer: issuer.into(), subject: subject.into() }
    }

    /// Returns the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Display for SubjectId {
    /// Writes subject and issuer on one line, control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.subject.escape_debug(), self.issuer.escape_debug())
    }
}

/// Says what a sender-constrained credential is bound to ([RFC 7800](https://www.rfc-editor.org/rfc/rfc7800)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Confirmation {
    /// `jkt`: the RFC 7638 thumbprint of a DPoP key, base64url ([RFC 9449 §6](https://www.rfc-editor.org/rfc/rfc9449#section-6)).
    KeyThumbprint(Box<str>),
    /// `x5t#S256`: the SHA-256 thumbprint of a client certificate, base64url ([RFC 8705 §3.1](https://www.rfc-editor.org/rfc/rfc8705#section-3.1)).
    CertificateThumbprint(Box<str>),
}

impl Confirmation {
    /// Returns the thumbprint, of whatever it is.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        match self {
            Self::KeyThumbprint(thumbprint) | Self::CertificateThumbprint(thumbprint) => thumbprint,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::dangerous::{CheckedClaims, PrincipalBuilder};

    fn principal(issuer: &str, subject: &str) -> Principal {
        PrincipalBuilder::new(issuer, subject).build().unwrap()
    }

    #[test]
    fn a_subject_of_another_issuer_is_somebody_else() {
        let (one, other) = (principal("https://a.example", "alice"), principal("https://b.example", "alice"));
        assert_ne!(one, other);
        assert_ne!(one.id(), other.id());
        #[expect(clippy::mutable_key_type, reason = "what it keeps of itself has no part in `==` and `Hash`")]
        let people: HashSet<Principal> = [one.clone(), other.clone(), principal("https://a.example", "alice")].into();
        assert_eq!(people.len(), 2);
        let mut ages = HashMap::from([(one.id(), 30), (other.id(), 40)]);
        ages.insert(principal("https://a.example", "alice").id(), 31);
        assert_eq!((ages.len(), ages.get(&one.id())), (2, Some(&31)));
        // Both texts run together would be the same.
        assert_ne!(SubjectId::new("https://a.example", "b"), SubjectId::new("https://a.exampleb", ""));
        assert_eq!(one.id().to_string(), "alice@https://a.example");
        assert!(format!("{one:?}").contains("https://a.example"));
    }

    #[test]
    fn the_same_subject_is_the_same_whatever_its_token_says() {
        let one = PrincipalBuilder::new("https://a.example", "alice").with_scope("a").build().unwrap();
        let other = PrincipalBuilder::new("https://a.example", "alice").with_scope("b").build().unwrap();
        assert_eq!(one, other);
    }

    #[test]
    fn a_clone_is_one_more_counter_of_the_same_memory() {
        let one = principal("https://a.example", "alice");
        let clone = one.clone();
        assert!(Arc::ptr_eq(&one.0, &clone.0));
        assert_eq!(Arc::strong_count(&one.0), 2);
    }

    #[test]
    fn keeps_the_hash_of_its_first_owner_and_of_nobody_else() {
        let one = principal("https://a.example", "alice");
        assert_eq!(one.kept_hash(1, || [10, 11]), [10, 11]);
        assert_eq!(one.clone().kept_hash(1, || panic!("it is kept")), [10, 11]);
        assert_eq!(one.kept_hash(2, || [20, 21]), [20, 21]);
        assert_eq!(one.kept_hash(2, || [22, 23]), [22, 23]);
        assert_eq!(principal("https://a.example", "alice").kept_hash(1, || [12, 13]), [12, 13]);
    }

    #[test]
    fn carries_what_the_authenticator_put_beside_it_and_shows_none_of_it() {
        let claims = JsonObject::parse(br#"{"sub":"alice"}"#.to_vec()).unwrap();
        let checked = CheckedClaims::new("https://a.example".into(), claims).unwrap();
        let principal =
            checked.with_client("shop").with_tenant_text("acme").with_context(Arc::new(77_123_u32)).into_principal();
        assert_eq!(principal.context::<u32>(), Some(&77_123));
        assert_eq!(principal.context::<u64>(), None);
        assert_eq!((principal.client(), principal.tenant()), (Some("shop"), Some("acme")));
        assert!(!format!("{principal:?}").contains("77123"));
    }

    #[test]
    fn reads_how_the_subject_authenticated_and_what_the_credential_is_bound_to() {
        let caller = PrincipalBuilder::new("https://a.example", "alice")
            .with_claim("acr", "gold")
            .with_claim("amr", vec!["pwd", "otp"])
            .with_claim("auth_time", 1_700_000_000)
            .with_claim("jti", "t1")
            .with_claim("sid", "s1")
            .with_tenant("acme")
            .with_expiry(UnixSeconds::new(1_700_000_300))
            .with_confirmation(Confirmation::KeyThumbprint("thumb".into()))
            .build()
            .unwrap();
        assert_eq!(caller.authentication_context().as_deref(), Some("gold"));
        assert_eq!(caller.authentication_methods(), ["pwd", "otp"]);
        assert_eq!(caller.authenticated_at(), Some(UnixSeconds::new(1_700_000_000)));
        assert_eq!((caller.token_id().as_deref(), caller.session_id().as_deref()), (Some("t1"), Some("s1")));
        assert_eq!(caller.tenant(), Some("acme"));
        assert_eq!(caller.expires_in(UnixSeconds::new(1_700_000_000)), Some(Duration::from_secs(300)));
        assert_eq!(caller.expires_in(UnixSeconds::new(1_700_000_301)), Some(Duration::ZERO));
        assert_eq!(caller.confirmation(), Some(&Confirmation::KeyThumbprint("thumb".into())));
        let nobody = principal("https://a.example", "alice");
        assert!(nobody.authentication_methods().is_empty() && nobody.confirmation().is_none());
    }
}
