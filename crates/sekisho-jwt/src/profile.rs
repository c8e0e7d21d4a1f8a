use sekisho_core::json::JsonObject;
use sekisho_core::{Claim, Reject};

use crate::header::{Header, normal_type};

/// Says what an issuer's access tokens look like, beyond signature, issuer, audience and time.
///
/// Every profile refuses what is not an access token: a `typ` it does not take, and claims that only ID, refresh or
/// logout tokens have. Which one to take:
///
/// | | `typ` in the header | also required | subject | roles |
/// |---|---|---|---|---|
/// | [`compatible`](Self::compatible), the default | absent, `JWT`, `at+jwt` | – | `sub` | – |
/// | [`rfc9068`](Self::rfc9068) | `at+jwt` | `sub`, `client_id`, `iat`, `jti` | `sub` | – |
/// | [`keycloak`](Self::keycloak) | absent, `JWT`, `at+jwt` | claim `typ` is `Bearer` if present | `sub`, else the client (lightweight tokens) | `/realm_access/roles` |
/// | [`entra`](Self::entra) | absent, `JWT` | `azp` or `appid` | `sub` | `/roles`; tenant is `tid` |
/// | [`cognito`](Self::cognito) | absent, `JWT` | `token_use` is `access` | `sub`, else the client | `/cognito:groups` |
///
/// A Cognito access token has no `aud` unless a resource was asked for; its `client_id` stands in, so the configured audience is the app client's id.
#[derive(Clone, Debug)]
pub struct Profile {
    name: &'static str,
    types: Vec<String>,
    absent_type: bool,
    required: Vec<String>,
    equals: Vec<(String, String)>,
    flavour: Flavour,
    subject: SubjectRule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    Common,
    Keycloak,
    Entra,
    Cognito,
}

/// Says which claim names the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectRule {
    Required,
    OrClient,
}

impl Profile {
    /// Takes access tokens of any careful issuer: `typ` may be absent, `JWT` or `at+jwt`.
    #[must_use]
    pub fn compatible() -> Self {
        Self::new("compatible", &["jwt", "at+jwt"], true, &[], Flavour::Common, SubjectRule::Required)
    }

    /// Takes [RFC 9068](https://www.rfc-editor.org/rfc/rfc9068#section-4) access tokens and nothing else.
    #[must_use]
    pub fn rfc9068() -> Self {
        let required = ["client_id", "iat", "jti"];
        Self::new("rfc9068", &["at+jwt"], false, &required, Flavour::Common, SubjectRule::Required)
    }

    /// Takes access tokens of Keycloak, lightweight ones too.
    #[must_use]
    pub fn keycloak() -> Self {
        Self::new("keycloak", &["jwt", "at+jwt"], true, &[], Flavour::Keycloak, SubjectRule::OrClient)
    }

    /// Takes access tokens of Microsoft Entra ID, versions 1.0 and 2.0.
    #[must_use]
    pub fn entra() -> Self {
        Self::new("entra", &["jwt"], true, &[], Flavour::Entra, SubjectRule::Required)
    }

    /// Takes access tokens of Amazon Cognito user pools.
    #[must_use]
    pub fn cognito() -> Self {
        Self::new("cognito", &["jwt"], true, &[], Flavour::Cognito, SubjectRule::OrClient)
    }

    /// Starts a profile of one's own, which takes no `typ` at all until it is told which.
    pub fn custom() -> CustomProfile {
        CustomProfile(Self::new("custom", &[], false, &[], Flavour::Common, SubjectRule::Required))
    }

    fn new(
        name: &'static str,
        types: &[&str],
        absent_type: bool,
        required: &[&str],
        flavour: Flavour,
        subject: SubjectRule,
    ) -> Self {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self { name, types: own(types), absent_type, required: own(required), equals: Vec::new(), flavour, subject }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn subject(&self) -> SubjectRule {
        self.subject
    }

    /// Tells where roles stand unless the configuration says otherwise.
    pub(crate) const fn roles_at(&self) -> Option<&'static str> {
        match self.flavour {
            Flavour::Common => None,
            Flavour::Keycloak => Some("/realm_access/roles"),
            Flavour::Entra => Some("/roles"),
            Flavour::Cognito => Some("/cognito:groups"),
        }
    }

    /// Tells which claim names the tenant unless the configuration says otherwise.
    pub(crate) const fn tenant_claim(&self) -> Option<&'static str> {
        match self.flavour {
            Flavour::Entra => Some("tid"),
            Flavour::Common | Flavour::Keycloak | Flavour::Cognito => None,
        }
    }

    /// Tells whether `client_id` stands in for an absent `aud`.
    pub(crate) fn audience_may_be_client(&self) -> bool {
        self.flavour == Flavour::Cognito
    }

    /// Checks `typ`, before any work with keys ([RFC 8725 §3.11](https://www.rfc-editor.org/rfc/rfc8725#section-3.11)).
    pub(crate) fn check_type(&self, header: &Header) -> Result<(), Reject> {
        let fits = match header.kind.as_deref() {
            None => self.absent_type,
            Some(kind) => self.types.iter().any(|taken| taken == kind),
        };
        if fits { Ok(()) } else { Err(Reject::Type) }
    }

    /// Refuses tokens that were made for another use, by what their claims say.
    pub(crate) fn check_use(&self, claims: &JsonObject) -> Result<(), Reject> {
        refuse_other_uses(claims)?;
        let has = |name: &str| claims.get(name).is_some();
        match self.flavour {
            Flavour::Common | Flavour::Keycloak => {}
            // ID tokens of Entra carry neither.
            Flavour::Entra if !has("azp") && !has("appid") => return Err(Reject::TokenUse),
            Flavour::Cognito if !has("token_use") => return Err(Reject::TokenUse),
            Flavour::Entra | Flavour::Cognito => {}
        }
        for name in &self.required {
            let value = claims.get(name).ok_or_else(|| Reject::Missing(claim_of(name)))?;
            if matches!(name.as_str(), "jti" | "client_id") && value.as_str().is_none_or(|text| text.is_empty()) {
                return Err(Reject::Invalid(claim_of(name)));
            }
        }
        for (name, wanted) in &self.equals {
            let value = claims.get(name).ok_or_else(|| Reject::Missing(claim_of(name)))?;
            if value.as_str().as_deref() != Some(wanted) {
                return Err(Reject::Invalid(claim_of(name)));
            }
        }
        Ok(())
    }
}

/// Refuses, for every issuer, what marks an ID, refresh or logout token.
fn refuse_other_uses(claims: &JsonObject) -> Result<(), Reject> {
    let has = |name: &str| claims.get(name).is_some();
    // Hashes of a code, an access token or a state stand in ID tokens only (OpenID Connect Core §3.1.3.6, §3.3.2.11);
    // `events` in logout tokens and security events (Back-Channel Logout §2.4, RFC 8417 §2.2).
    if has("at_hash") || has("c_hash") || has("s_hash") || has("events") {
        return Err(Reject::TokenUse);
    }
    // `nonce` is the ID token's; issuers that repeat it in access tokens also write the scopes there.
    if has("nonce") && !has("scope") && !has("scp") {
        return Err(Reject::TokenUse);
    }
    // Cognito's marker: `access` or `id`.
    if let Some(token_use) = claims.get("token_use")
        && token_use.as_str().as_deref() != Some("access")
    {
        return Err(Reject::TokenUse);
    }
    // Keycloak's marker, a claim beside the header parameter of the same name: `Bearer`, `DPoP`, `ID`, `Refresh`, `Offline`, `Logout` and more.
    match claims.get("typ").map(|kind| kind.as_str().map(|text| text.to_ascii_lowercase())) {
        None => Ok(()),
        Some(Some(kind)) if matches!(kind.as_str(), "bearer" | "jwt" | "at+jwt" | "access") => Ok(()),
        Some(Some(kind)) if kind == "dpop" => Err(Reject::ProofRequired),
        Some(_) => Err(Reject::TokenUse),
    }
}

fn claim_of(name: &str) -> Claim {
    match name {
        "iss" => Claim::Issuer,
        "sub" => Claim::Subject,
        "aud" => Claim::Audience,
        "exp" => Claim::Expiry,
        "nbf" => Claim::NotBefore,
        "iat" => Claim::IssuedAt,
        "jti" => Claim::TokenId,
        "client_id" | "azp" => Claim::Client,
        "scope" | "scp" => Claim::Scope,
        "cnf" => Claim::Confirmation,
        "auth_time" => Claim::AuthenticationTime,
        "acr" | "amr" => Claim::AuthenticationContext,
        _ => Claim::Custom,
    }
}

/// Builds a [`Profile`] for an issuer that none of the named ones fits.
///
/// # Examples
/// ```
/// use sekisho_jwt::Profile;
/// let profile = Profile::custom().with_type("service+jwt").with_required("jti").with_claim("use", "access").build();
/// # let _ = profile;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CustomProfile(Profile);

impl CustomProfile {
    /// Takes tokens with this `typ`, compared without regard to case and to a leading `application/`.
    pub fn with_type(mut self, kind: &str) -> Self {
        self.0.types.push(normal_type(kind));
        self
    }

    /// Takes tokens without `typ` too.
    pub fn with_absent_type(mut self) -> Self {
        self.0.absent_type = true;
        self
    }

    /// Requires a claim to be there.
    pub fn with_required(mut self, claim: &str) -> Self {
        self.0.required.push(claim.to_owned());
        self
    }

    /// Requires a claim to be exactly this string.
    pub fn with_claim(mut self, claim: &str, value: &str) -> Self {
        self.0.equals.push((claim.to_owned(), value.to_owned()));
        self
    }

    /// Lets the client (`client_id`, else `azp`) stand in for an absent `sub`.
    pub fn with_client_as_subject(mut self) -> Self {
        self.0.subject = SubjectRule::OrClient;
        self
    }

    /// Finishes the profile.
    #[must_use]
    pub fn build(self) -> Profile {
        self.0
    }
}

impl From<CustomProfile> for Profile {
    fn from(custom: CustomProfile) -> Self {
        custom.0
    }
}

impl Default for Profile {
    /// Returns [`Profile::compatible`].
    fn default() -> Self {
        Self::compatible()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> JsonObject {
        JsonObject::parse(json.as_bytes().to_vec()).expect("JSON")
    }

    #[test]
    fn refuses_id_refresh_and_logout_tokens_in_every_profile() {
        let profiles = [Profile::compatible(), Profile::keycloak(), Profile::custom().with_absent_type().build()];
        for json in [
            r#"{"at_hash":"x","scope":"openid"}"#,
            r#"{"nonce":"n"}"#,
            r#"{"typ":"ID"}"#,
            r#"{"typ":"Refresh"}"#,
            r#"{"typ":"Offline"}"#,
            r#"{"typ":"Logout"}"#,
            r#"{"typ":1}"#,
            r#"{"token_use":"id"}"#,
            r#"{"token_use":null}"#,
            r#"{"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}"#,
        ] {
            for profile in &profiles {
                assert_eq!(profile.check_use(&claims(json)), Err(Reject::TokenUse), "{json}");
            }
        }
    }

    #[test]
    fn entra_wants_a_mark_that_id_tokens_lack() {
        assert_eq!(Profile::entra().check_use(&claims(r#"{"roles":["a"]}"#)), Err(Reject::TokenUse));
        assert_eq!(Profile::entra().check_use(&claims(r#"{"azp":"c"}"#)), Ok(()));
    }

    #[test]
    fn cognito_wants_its_own_mark() {
        assert_eq!(Profile::cognito().check_use(&claims("{}")), Err(Reject::TokenUse));
        assert_eq!(Profile::cognito().check_use(&claims(r#"{"token_use":"access"}"#)), Ok(()));
    }

    #[test]
    fn rfc9068_wants_its_claims() {
        assert_eq!(
            Profile::rfc9068().check_use(&claims(r#"{"iat":1,"jti":"j"}"#)),
            Err(Reject::Missing(Claim::Client))
        );
        assert_eq!(
            Profile::rfc9068().check_use(&claims(r#"{"client_id":"c","iat":1,"jti":1}"#)),
            Err(Reject::Invalid(Claim::TokenId))
        );
    }

    #[test]
    fn types_are_compared_as_media_types() {
        let header =
            |kind: Option<&str>| Header { algorithm: crate::Algorithm::Rs256, kid: None, kind: kind.map(Into::into) };
        assert_eq!(Profile::rfc9068().check_type(&header(None)), Err(Reject::Type));
        assert_eq!(Profile::rfc9068().check_type(&header(Some("jwt"))), Err(Reject::Type));
        assert_eq!(Profile::rfc9068().check_type(&header(Some("at+jwt"))), Ok(()));
        for other in ["logout+jwt", "dpop+jwt", "secevent+jwt", "token-introspection+jwt", "jose", ""] {
            assert_eq!(Profile::compatible().check_type(&header(Some(other))), Err(Reject::Type), "{other}");
        }
        assert_eq!(normal_type("application/x/y"), "application/x/y");
    }
}
