//! What only an authenticator may do: declare somebody to be a principal.
//!
//! A [`Principal`] is the proof that a credential was checked. Whoever calls
//! [`PrincipalBuilder`] says that they have checked it. Services never need this module;
//! implementers of [`Authenticate`](crate::Authenticate) do.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use crate::json::{JsonError, JsonObject, JsonValue};
use crate::principal::{Confirmation, Inner, KeptHash, Principal, Text};
use crate::{Claim, Reject, UnixSeconds};

/// Declares somebody to be a principal.
///
/// # Examples
/// ```
/// use sekisho_core::dangerous::PrincipalBuilder;
/// let principal = PrincipalBuilder::new("https://id.example", "alice").with_scope("orders:read").build()?;
/// assert_eq!(principal.id().to_string(), "alice@https://id.example");
/// assert!(principal.has_scope("orders:read"));
/// # Ok::<(), sekisho_core::json::JsonError>(())
/// ```
#[must_use]
pub struct PrincipalBuilder {
    issuer: Arc<str>,
    members: serde_json::Map<String, serde_json::Value>,
    roles: Vec<Box<str>>,
    tenant_claim: Option<String>,
    confirmation: Option<Confirmation>,
}

impl PrincipalBuilder {
    /// Starts from an issuer and a subject within it.
    pub fn new(issuer: impl Into<Arc<str>>, subject: impl Into<String>) -> Self {
        let issuer = issuer.into();
        let mut members = serde_json::Map::new();
        members.insert("iss".into(), (*issuer).into());
        members.insert("sub".into(), subject.into().into());
        Self { issuer, members, roles: Vec::new(), tenant_claim: None, confirmation: None }
    }

    /// Adds or replaces a claim. `iss` and `sub` cannot be replaced.
    pub fn with_claim(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        if !matches!(name, "iss" | "sub") {
            self.members.insert(name.into(), value.into());
        }
        self
    }

    /// Sets the granted scopes, separated by spaces.
    pub fn with_scope(self, scope: &str) -> Self {
        self.with_claim("scope", scope)
    }

    /// Sets the client.
    pub fn with_client(self, client: &str) -> Self {
        self.with_claim("client_id", client)
    }

    /// Sets when the credential dies.
    pub fn with_expiry(self, at: UnixSeconds) -> Self {
        self.with_claim("exp", at.as_secs())
    }

    /// Sets the roles.
    pub fn with_roles<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, roles: I) -> Self {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the tenant.
    pub fn with_tenant(mut self, tenant: &str) -> Self {
        self.tenant_claim = Some("tenant".to_owned());
        self.with_claim("tenant", tenant)
    }

    /// Sets what the credential is bound to.
    pub fn with_confirmation(mut self, confirmation: Confirmation) -> Self {
        self.confirmation = Some(confirmation);
        self
    }

    /// Builds the principal.
    ///
    /// # Errors
    /// [`JsonError`] when a claim that was added is nested too deep.
    pub fn build(self) -> Result<Principal, JsonError> {
        let claims = JsonObject::from_serialize(&self.members)?;
        let tenant = self.tenant_claim.as_deref();
        CheckedClaims::new(self.issuer, claims)
            .and_then(|c| if let Some(name) = tenant { c.with_tenant(name) } else { Ok(c) })
            .map(|c| c.with_roles(self.roles).with_confirmation(self.confirmation).into_principal())
            .map_err(|_| JsonError::Malformed)
    }
}

/// Turns claims whose origin has been proved into a principal, without copying them.
///
/// The types of `sub`, `client_id`/`azp`, `scope`/`scp` and `exp` are checked here, so that every
/// kind of credential is held to the same shapes.
#[derive(Clone)]
#[must_use]
pub struct CheckedClaims(Inner);

impl CheckedClaims {
    /// Starts from the issuer as configured and all claims.
    ///
    /// The scopes are `scope`, else `scp`, each a string of scopes separated by spaces or an array of strings.
    /// The client is `client_id`, else `azp`.
    ///
    /// # Errors
    /// - [`Reject::Missing`]: no `sub`.
    /// - [`Reject::Invalid`]: `sub` is not a string or empty; another of the claims named above has the wrong type.
    pub fn new(issuer: Arc<str>, claims: JsonObject) -> Result<Self, Reject> {
        let subject = claims.get("sub").ok_or(Reject::Missing(Claim::Subject))?;
        let subject = text(&claims, subject).ok_or(Reject::Invalid(Claim::Subject))?;
        Self::with_subject(issuer, claims, subject)
    }

    /// Like [`new`](Self::new), for issuers whose machine tokens have no `sub`: the client stands in for it.
    ///
    /// A client whose id is also the `sub` of a user then is that user, so the issuer must keep the two apart
    /// ([RFC 9068 §5](https://www.rfc-editor.org/rfc/rfc9068#section-5)). A token that speaks of a user's login is never a
    /// machine's: without `sub` it is refused, or all users of a client would be one.
    ///
    /// # Errors
    /// As for [`new`](Self::new); [`Reject::Missing`] when there is no client either, or the token is a user's.
    pub fn new_or_client(issuer: Arc<str>, claims: JsonObject) -> Result<Self, Reject> {
        const OF_USERS: [&str; 6] = ["sid", "session_state", "auth_time", "preferred_username", "username", "email"];
        if claims.get("sub").is_some() {
            return Self::new(issuer, claims);
        }
        if OF_USERS.iter().any(|name| claims.get(name).is_some()) {
            return Err(Reject::Missing(Claim::Subject));
        }
        let client = client(&claims)?.ok_or(Reject::Missing(Claim::Subject))?;
        Self::with_subject(issuer, claims, client)
    }

    fn with_subject(issuer: Arc<str>, claims: JsonObject, subject: Text) -> Result<Self, Reject> {
        let client = client(&claims)?;
        let scope = match claims.get("scope").or_else(|| claims.get("scp")) {
            None => None,
            Some(value) => Some(scope_text(&claims, value).ok_or(Reject::Invalid(Claim::Scope))?),
        };
        let expires_at = match claims.get("exp") {
            None => None,
            Some(exp) => Some(UnixSeconds::new(exp.as_numeric_date().ok_or(Reject::Invalid(Claim::Expiry))?)),
        };
        let (roles, tenant, confirmation, context) = (Box::default(), None, None, None);
        let hash = KeptHash::default();
        Ok(Self(Inner {
            issuer,
            subject,
            client,
            scope,
            roles,
            tenant,
            expires_at,
            confirmation,
            claims,
            context,
            hash,
        }))
    }

    /// Reads the claims.
    #[must_use]
    pub fn claims(&self) -> &JsonObject {
        &self.0.claims
    }

    /// Takes the client from the claim of this name, if `client_id` and `azp` are absent and it is there.
    ///
    /// # Errors
    /// [`Reject::Invalid`] when it is not a string, or empty.
    pub fn with_client_at(mut self, claim: &str) -> Result<Self, Reject> {
        if self.0.client.is_none()
            && let Some(value) = self.0.claims.get(claim)
        {
            self.0.client = Some(text(&self.0.claims, value).ok_or(Reject::Invalid(Claim::Client))?);
        }
        Ok(self)
    }

    /// Sets the roles.
    pub fn with_roles(mut self, roles: Vec<Box<str>>) -> Self {
        self.0.roles = roles.into_boxed_slice();
        self
    }

    /// Takes the tenant from the claim of this name.
    ///
    /// # Errors
    /// [`Reject::Missing`] or [`Reject::Invalid`] for [`Claim::Custom`].
    pub fn with_tenant(mut self, claim: &str) -> Result<Self, Reject> {
        let value = self.0.claims.get(claim).ok_or(Reject::Missing(Claim::Custom))?;
        self.0.tenant = Some(text(&self.0.claims, value).ok_or(Reject::Invalid(Claim::Custom))?);
        Ok(self)
    }

    /// Sets what the credential is bound to, after the binding was proved.
    pub fn with_confirmation(mut self, confirmation: Option<Confirmation>) -> Self {
        self.0.confirmation = confirmation;
        self
    }

    /// Sets the client, whatever the claims say: for whoever kept a principal and makes it again.
    pub fn with_client(mut self, client: &str) -> Self {
        self.0.client = Some(Text::Own(client.into()));
        self
    }

    /// Sets the tenant, whatever the claims say: for whoever kept a principal and makes it again.
    pub fn with_tenant_text(mut self, tenant: &str) -> Self {
        self.0.tenant = Some(Text::Own(tenant.into()));
        self
    }

    /// Puts something beside the principal that later parts of the same request need, such as the session that it came
    /// from. Principals that are kept beyond a request must not have one.
    pub fn with_context(mut self, context: Arc<dyn Any + Send + Sync>) -> Self {
        self.0.context = Some(context);
        self
    }

    /// Declares the claims to be those of a principal.
    #[must_use]
    pub fn into_principal(self) -> Principal {
        Principal(Arc::new(self.0))
    }
}

/// Reads a string that is not empty.
fn text(claims: &JsonObject, value: JsonValue<'_>) -> Option<Text> {
    if let Some(span) = claims.plain_str_span(value) {
        return (!span.read(claims.as_str()).is_empty()).then_some(Text::Claims(span));
    }
    let unescaped = value.as_str()?;
    (!unescaped.is_empty()).then(|| Text::Own(unescaped.into()))
}

fn client(claims: &JsonObject) -> Result<Option<Text>, Reject> {
    match claims.get("client_id").or_else(|| claims.get("azp")) {
        None => Ok(None),
        Some(value) => text(claims, value).map(Some).ok_or(Reject::Invalid(Claim::Client)),
    }
}

fn scope_text(claims: &JsonObject, value: JsonValue<'_>) -> Option<Text> {
    if let Some(span) = claims.plain_str_span(value) {
        return Some(Text::Claims(span));
    }
    let scopes = value.as_strings()?;
    // One array element is one scope: an element with a space inside must not become two.
    let array = scopes.len() != 1 || value.as_json().starts_with('[');
    if array && scopes.iter().any(|scope| scope.contains(' ')) {
        return None;
    }
    Some(Text::Own(scopes.iter().map(Cow::as_ref).collect::<Vec<_>>().join(" ").into()))
}
