//! The caller's own token, kept beside the principal for those who must show it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::dangerous::CheckedClaims;
use sekisho_core::{
    AcceptedProofs, Authenticate, ConfigError, Credential, Failure, FailureKind, IntoAuthenticate, Principal, Refusal,
    Secret, UnixSeconds,
};

/// Keeps the access token that a principal was made of beside the principal, for the rest of the request.
///
/// A [`Principal`] does not hold its token, so that what is logged, kept or passed on holds none either. Where the provider
/// decides, it must be shown the token: wrap the authenticator of its tokens, and no other, and the handlers' principals
/// have it as their [context](Principal::context). Only what looks like a signed JWT (three parts of base64url, 8 KiB at the
/// most) is kept: the cookie of a session or an opaque token never is. What the authenticator itself put beside the principal
/// is replaced.
///
/// # Examples
/// ```
/// use sekisho_http::Checkpoint;
/// use sekisho_policy::remote::keycloak::{CallerToken, KeepToken};
/// # let issuer = sekisho_testkit::Issuer::new();
/// # let token = issuer.token().audience("orders").sign();
/// # let now = issuer.clock().now();
/// # let jwt = sekisho_jwt::Jwt::issuer(issuer.url()).audience("orders").with_keys(issuer.static_keys());
/// let keeping = KeepToken::new(jwt)?;
/// # use sekisho_core::{Authenticate, Credential};
/// # let caller = keeping.authenticate_now(Credential::bearer(&token), now).unwrap()?;
/// let held = CallerToken::of(&caller).map(|token| token.secret().expose_str());
/// assert_eq!(held, Some(Some(&*token)));
/// let checkpoint = Checkpoint::builder().accept(keeping).build()?;
/// # let _ = checkpoint;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeepToken {
    inner: Arc<dyn Authenticate>,
}

impl KeepToken {
    /// Wraps an authenticator, or the builder of one.
    ///
    /// # Errors
    /// [`ConfigError`] of the builder.
    pub fn new(authenticator: impl IntoAuthenticate) -> Result<Self, ConfigError> {
        Ok(Self { inner: authenticator.into_authenticate()? })
    }
}

#[async_trait]
impl Authenticate for KeepToken {
    fn recognizes(&self, credential: Credential<'_>) -> bool {
        self.inner.recognizes(credential)
    }

    fn authenticate_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        let answer = self.inner.authenticate_now(credential, now)?;
        Some(answer.and_then(|principal| keep(&principal, credential.expose())))
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        let principal = self.inner.authenticate(credential, now).await?;
        keep(&principal, credential.expose())
    }

    fn accepted_proofs(&self) -> AcceptedProofs {
        self.inner.accepted_proofs()
    }

    fn proof_nonce(&self, now: UnixSeconds) -> Option<String> {
        self.inner.proof_nonce(now)
    }
}

impl fmt::Debug for KeepToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeepToken(..)")
    }
}

/// Makes the same principal again, with its token beside it.
fn keep(principal: &Principal, token: &str) -> Result<Principal, Refusal> {
    if token.len() > LONGEST_TOKEN || !looks_signed(token) {
        return Ok(principal.clone());
    }
    let roles = principal.roles().to_vec();
    let mut checked = CheckedClaims::new_or_client(principal.issuer().into(), principal.claims().clone())?
        .with_roles(roles)
        .with_confirmation(principal.confirmation().cloned())
        .with_context(Arc::new(CallerToken(token.into())));
    if let Some(client) = principal.client() {
        checked = checked.with_client(client);
    }
    if let Some(tenant) = principal.tenant() {
        checked = checked.with_tenant_text(tenant);
    }
    let again = checked.into_principal();
    // An authenticator may make something else of the claims than this does.
    if again == *principal && again.scope() == principal.scope() && again.expires_at() == principal.expires_at() {
        return Ok(again);
    }
    Err(Failure::new(FailureKind::Misconfigured, "the token of such a principal cannot be kept beside it").into())
}

fn looks_signed(token: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let mut parts = token.split('.');
    let [header, claims, signature] = std::array::from_fn(|_| parts.next());
    parts.next().is_none() && [header, claims, signature].into_iter().all(|part| part.is_some_and(is_part))
}

const LONGEST_TOKEN: usize = 8 * 1024;

/// Is the access token that came with the request. Secret; `Debug` shows none of it.
///
/// It is also what an exchange of tokens needs, for calls to other services in the caller's name.
pub struct CallerToken(Secret);

impl CallerToken {
    /// Returns the token of a principal, if it was [kept](KeepToken).
    #[must_use]
    pub fn of(principal: &Principal) -> Option<&Self> {
        principal.context()
    }

    /// Reads the token.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Debug for CallerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerToken(..)")
    }
}

#[cfg(test)]
pub(super) fn kept(principal: &Principal, token: &str) -> Principal {
    keep(principal, token).expect("it is kept")
}

#[cfg(test)]
mod tests {
    use sekisho_core::{Confirmation, dangerous::PrincipalBuilder};

    use super::*;

    fn alice() -> PrincipalBuilder {
        PrincipalBuilder::new("https://id.example", "alice")
            .with_scope("a b")
            .with_client("shop")
            .with_roles(["clerk"])
            .with_tenant("acme")
            .with_expiry(UnixSeconds::new(9))
            .with_confirmation(Confirmation::KeyThumbprint("thumb".into()))
    }

    #[test]
    fn a_principal_with_its_token_is_the_same_in_all_else_and_shows_none_of_it() {
        let alice = alice().build().unwrap();
        let kept = kept(&alice, "eyJh.eyJi.c2ln");
        assert_eq!(kept, alice);
        assert_eq!((kept.scope(), kept.client(), kept.tenant()), ("a b", Some("shop"), Some("acme")));
        assert_eq!((kept.roles(), kept.confirmation()), (alice.roles(), alice.confirmation()));
        assert_eq!(kept.expires_at(), Some(UnixSeconds::new(9)));
        let token = CallerToken::of(&kept).unwrap();
        assert_eq!(token.secret().expose(), b"eyJh.eyJi.c2ln");
        assert!(!format!("{kept:?} {token:?}").contains("eyJ"));
    }

    #[test]
    fn keeps_nothing_that_is_no_signed_jwt() {
        let alice = alice().build().unwrap();
        let long = format!("a.b.{}", "c".repeat(LONGEST_TOKEN));
        for credential in
            ["", "opaque", "a.b", "a.b.", "a..c", "a.b.c.d", "a.b.c.d.e", "a.b.c=", "a.b.ö", "a b.c.d", &long]
        {
            let same = keep(&alice, credential).unwrap();
            assert!(CallerToken::of(&same).is_none(), "{credential}");
        }
    }

    #[test]
    fn keeps_the_token_of_a_client_that_stands_for_itself() {
        let claims = sekisho_core::json::JsonObject::parse(br#"{"client_id":"worker"}"#.to_vec()).unwrap();
        let worker = CheckedClaims::new_or_client("https://id.example".into(), claims).unwrap().into_principal();
        assert!(CallerToken::of(&kept(&worker, "a.b.c")).is_some());
    }
}
