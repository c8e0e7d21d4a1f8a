use sekisho_core::json::{JsonKind, JsonObject};
use sekisho_core::{Claim, Reject};

use crate::header::{Header, normal_type};

/// Says what an issuer's access tokens look like, beyond signature, issuer, audience and time.
///
/// Every profile refuses what bears a mark of another use: a `typ` it does not take, or a claim that only ID, refresh or
/// logout tokens of the known providers have. A token without any mark, with your audience in it, cannot be told from an access
/// token; only [`rfc9068`](Self::rfc9068), or a claim required by [`custom`](Self::custom), rules that out. Which one to take:
///
/// | | `typ` in the header | also required, beside `sub` | client | roles |
/// |---|---|---|---|---|
/// | [`compatible`](Self::compatible), the default | absent, `JWT`, `at+jwt` | – | `client_id`, `azp` | – |
/// | [`rfc9068`](Self::rfc9068) | `at+jwt` | `client_id`, `iat`, `jti` | `client_id` | – |
/// | [`keycloak`](Self::keycloak) | absent, `JWT`, `at+jwt` | claim `typ` is `Bearer` if present | `client_id`, `azp` | `/realm_access/roles` |
/// | [`entra`](Self::entra) | absent, `JWT` | `azp` or `appid` | `azp`, `appid` | `/roles`; tenant is `tid` |
/// | [`cognito`](Self::cognito) | absent, `JWT` | `token_use` is `access` | `client_id` | `/cognito:groups` |
///
/// A Keycloak token without `sub` is refused, or all users of a client would be one: give the client the scope `basic`, and for
/// lightweight tokens let the mapper of `sub` add it to them.
///
/// A Cognito access token has no `aud` unless a resource was asked for; its `client_id` stands in, so the configured audience is the app client's id.
#[derive(Clone, Debug)]
pub struct Profile {
    name: &'static str,
    types: Vec<String>,
    absent_type: bool,
    any_type: bool,
    any_use: bool,
    key_id: bool,
    client_as_audience: bool,
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
        Self::new("keycloak", &["jwt", "at+jwt"], true, &[], Flavour::Keycloak, SubjectRule::Required)
    }

    /// Takes access tokens of Microsoft Entra ID, versions 1.0 and 2.0.
    #[must_use]
    pub fn entra() -> Self {
        Self::new("entra", &["jwt"], true, &[], Flavour::Entra, SubjectRule::Required)
    }

    /// Takes access tokens of Amazon Cognito user pools.
    #[must_use]
    pub fn cognito() -> Self {
        Self::new("cognito", &["jwt"], true, &[], Flavour::Cognito, SubjectRule::Required)
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
        Self {
            name,
            types: own(types),
            absent_type,
            any_type: false,
            any_use: false,
            key_id: false,
            client_as_audience: flavour == Flavour::Cognito,
            required: own(required),
            equals: Vec::new(),
            flavour,
            subject,
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Tells whether the client stands in for an absent `sub`.
    #[must_use]
    pub fn takes_client_as_subject(&self) -> bool {
        self.subject == SubjectRule::OrClient
    }

    pub(crate) const fn subject(&self) -> SubjectRule {
        self.subject
    }

    /// Tells where roles stand unless the configuration says otherwise.
    #[must_use]
    pub const fn roles_at(&self) -> Option<&'static str> {
        match self.flavour {
            Flavour::Common => None,
            Flavour::Keycloak => Some("/realm_access/roles"),
            Flavour::Entra => Some("/roles"),
            Flavour::Cognito => Some("/cognito:groups"),
        }
    }

    /// Tells which claim names the tenant unless the configuration says otherwise.
    #[must_use]
    pub const fn tenant_claim(&self) -> Option<&'static str> {
        match self.flavour {
            Flavour::Entra => Some("tid"),
            Flavour::Common | Flavour::Keycloak | Flavour::Cognito => None,
        }
    }

    /// Tells which claim names the client when `client_id` and `azp` are absent.
    #[must_use]
    pub const fn client_claim(&self) -> Option<&'static str> {
        match self.flavour {
            Flavour::Entra => Some("appid"),
            Flavour::Common | Flavour::Keycloak | Flavour::Cognito => None,
        }
    }

    /// Tells whether `client_id` stands in for an absent `aud`.
    pub(crate) const fn audience_may_be_client(&self) -> bool {
        self.client_as_audience
    }

    /// Tells whether a token without `kid` is refused, however few keys there are.
    pub(crate) const fn requires_key_id(&self) -> bool {
        self.key_id
    }

    /// Checks `typ`, before any work with keys ([RFC 8725 §3.11](https://www.rfc-editor.org/rfc/rfc8725#section-3.11)).
    pub(crate) fn check_type(&self, header: &Header) -> Result<(), Reject> {
        let fits = match header.kind.as_deref() {
            _ if self.any_type => true,
            None => self.absent_type,
            Some(kind) => self.types.iter().any(|taken| taken == kind),
        };
        if fits { Ok(()) } else { Err(Reject::Type) }
    }

    /// Refuses tokens that were made for another use, by what their claims say; the claims come from a proved origin.
    /// `takes_dpop` tells that tokens bound to a key are taken.
    ///
    /// # Errors
    /// - [`Reject::TokenUse`]: an ID, refresh or logout token.
    /// - [`Reject::ProofRequired`]: marked as a DPoP token, and none is taken.
    /// - [`Reject::Missing`], [`Reject::Invalid`]: a claim that the profile requires.
    pub fn check_use(&self, claims: &JsonObject, takes_dpop: bool) -> Result<(), Reject> {
        if !self.any_use {
            refuse_other_uses(claims, takes_dpop)?;
        }
        let says = |name: &str| claims.get(name).and_then(|value| value.as_str()).filter(|text| !text.is_empty());
        match self.flavour {
            // `DPoP` that came this far is taken.
            Flavour::Keycloak
                if says("typ").is_some_and(|kind| !["bearer", "dpop"].iter().any(|k| kind.eq_ignore_ascii_case(k))) =>
            {
                return Err(Reject::TokenUse);
            }
            // ID tokens of Entra carry neither.
            Flavour::Entra if says("azp").or_else(|| says("appid")).is_none() => return Err(Reject::TokenUse),
            Flavour::Cognito if says("token_use").is_none() => return Err(Reject::TokenUse),
            Flavour::Common | Flavour::Keycloak | Flavour::Entra | Flavour::Cognito => {}
        }
        for name in &self.required {
            let value = claims.get(name).filter(|value| value.kind() != JsonKind::Null);
            let value = value.ok_or_else(|| Reject::Missing(claim_of(name)))?;
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
fn refuse_other_uses(claims: &JsonObject, takes_dpop: bool) -> Result<(), Reject> {
    let has = |name: &str| claims.get(name).is_some();
    // Hashes of a code, an access token or a state stand in ID tokens only (OpenID Connect Core §3.1.3.6, §3.3.2.11);
    // `events` in logout tokens and security events (Back-Channel Logout §2.4, RFC 8417 §2.2).
    if has("at_hash") || has("c_hash") || has("s_hash") || has("events") {
        return Err(Reject::TokenUse);
    }
    // Cognito's marker: `access` or `id`; Hydra's, in introspection: `access_token` or `refresh_token`.
    let token_use = claims.get("token_use").map(|token_use| token_use.as_str());
    if token_use.as_ref().is_some_and(|text| !matches!(text.as_deref(), Some("access" | "access_token"))) {
        return Err(Reject::TokenUse);
    }
    // The markers of other servers, refresh tokens above all: PingAM, SimpleJWT, Casdoor, Descope.
    const MARKERS: [&str; 5] = ["token_type", "tokenType", "tokenName", "tok_type", "purpose"];
    let marked = |name: &str| claims.get(name).and_then(|value| value.as_str()).is_some_and(|text| is_other_use(&text));
    if MARKERS.into_iter().any(marked) || claims.get("drn").and_then(|drn| drn.as_str()).as_deref() == Some("DSR") {
        return Err(Reject::TokenUse);
    }
    // Keycloak's marker, a claim beside the header parameter of the same name: `Bearer`, `DPoP`, `ID`, `Refresh`, `Offline`, `Logout` and more.
    let is_marked_access = match claims.get("typ").map(|kind| kind.as_str().map(|text| text.to_ascii_lowercase())) {
        None => token_use.is_some(),
        Some(Some(kind)) if matches!(kind.as_str(), "bearer" | "jwt" | "at+jwt" | "access") => true,
        // An access token that is bound to a key; whether it says so itself is checked with `cnf`, and a mark alone binds nothing.
        Some(Some(kind)) if kind == "dpop" => {
            let is_bound = claims.get("cnf").is_some_and(|cnf| cnf.member("jkt").is_some());
            if !(takes_dpop && is_bound) {
                return Err(Reject::ProofRequired);
            }
            true
        }
        Some(_) => return Err(Reject::TokenUse),
    };
    // `nonce` is the ID token's; issuers that repeat it in access tokens also write the scopes there, or mark them.
    if has("nonce") && !is_marked_access && !has("scope") && !has("scp") {
        return Err(Reject::TokenUse);
    }
    Ok(())
}

/// Tells whether a marker names another use than access.
fn is_other_use(marker: &str) -> bool {
    let marker = marker.to_ascii_lowercase();
    marker == "id" || ["refresh", "id_token", "id-token", "idtoken", "logout"].iter().any(|use_| marker.contains(use_))
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

    /// Takes tokens whatever their `typ`, and without one: for gateways that are told not to look at it.
    pub const fn with_any_type(mut self) -> Self {
        self.0.any_type = true;
        self
    }

    /// Takes tokens that bear the mark of another use, ID tokens above all, for a gateway that must let pass what another one did.
    ///
    /// An ID token goes to every client that logs a user in, and with this each of them can call the service as that user: require
    /// scopes, which ID tokens do not have ([RFC 8725 §3.12](https://www.rfc-editor.org/rfc/rfc8725#section-3.12)).
    pub const fn with_any_use(mut self) -> Self {
        self.0.any_use = true;
        self
    }

    /// Refuses tokens without `kid`. Default: without one, the issuer's only fitting key is tried, and few are.
    pub const fn with_required_key_id(mut self) -> Self {
        self.0.key_id = true;
        self
    }

    /// Lets `client_id` stand in for an absent `aud`, as in Cognito's access tokens; the configured audiences are then ids of clients too.
    ///
    /// Where both are there, `aud` alone counts.
    pub const fn with_client_as_audience(mut self) -> Self {
        self.0.client_as_audience = true;
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

    /// Lets the client (`client_id`, else `azp`) stand in for an absent `sub`, for issuers whose machine tokens have none.
    ///
    /// Only where the issuer never gives a client the id of a user ([RFC 9068 §5](https://www.rfc-editor.org/rfc/rfc9068#section-5)):
    /// the two could not be told apart. A token that speaks of a login (`sid`, `auth_time`, `username` and the like) is refused without `sub`.
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
            r#"{"token_use":"refresh_token"}"#,
            r#"{"tokenName":"refresh_token","token_type":"Bearer","scope":["x"]}"#,
            r#"{"token_type":"refresh"}"#,
            r#"{"tokenType":"refresh-token"}"#,
            r#"{"drn":"DSR"}"#,
            r#"{"token_use":null}"#,
            r#"{"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}"#,
        ] {
            for profile in &profiles {
                assert_eq!(profile.check_use(&claims(json), false), Err(Reject::TokenUse), "{json}");
            }
        }
    }

    #[test]
    fn entra_wants_a_mark_that_id_tokens_lack() {
        assert_eq!(Profile::entra().check_use(&claims(r#"{"roles":["a"]}"#), false), Err(Reject::TokenUse));
        assert_eq!(Profile::entra().check_use(&claims(r#"{"appid":null,"azp":""}"#), false), Err(Reject::TokenUse));
        assert_eq!(Profile::entra().check_use(&claims(r#"{"azp":"c"}"#), false), Ok(()));
        assert_eq!(Profile::entra().check_use(&claims(r#"{"appid":"c"}"#), false), Ok(()));
    }

    #[test]
    fn a_nonce_is_no_mark_in_a_token_that_is_marked_as_access() {
        assert_eq!(Profile::keycloak().check_use(&claims(r#"{"typ":"Bearer","nonce":"n"}"#), false), Ok(()));
        assert_eq!(Profile::compatible().check_use(&claims(r#"{"nonce":"n","scope":"openid"}"#), false), Ok(()));
        assert_eq!(Profile::keycloak().check_use(&claims(r#"{"typ":"access"}"#), false), Err(Reject::TokenUse));
    }

    #[test]
    fn a_required_claim_that_is_null_is_missing() {
        let profile = Profile::custom().with_absent_type().with_required("dept").build();
        assert_eq!(profile.check_use(&claims(r#"{"dept":null}"#), false), Err(Reject::Missing(Claim::Custom)));
        assert_eq!(profile.check_use(&claims(r#"{"dept":"x"}"#), false), Ok(()));
    }

    #[test]
    fn cognito_wants_its_own_mark() {
        assert_eq!(Profile::cognito().check_use(&claims("{}"), false), Err(Reject::TokenUse));
        assert_eq!(Profile::cognito().check_use(&claims(r#"{"token_use":"access"}"#), false), Ok(()));
    }

    #[test]
    fn rfc9068_wants_its_claims() {
        assert_eq!(
            Profile::rfc9068().check_use(&claims(r#"{"iat":1,"jti":"j"}"#), false),
            Err(Reject::Missing(Claim::Client))
        );
        assert_eq!(
            Profile::rfc9068().check_use(&claims(r#"{"client_id":"c","iat":1,"jti":1}"#), false),
            Err(Reject::Invalid(Claim::TokenId))
        );
    }

    #[test]
    fn a_gateway_that_looks_at_neither_type_nor_use_takes_an_id_token() {
        let header = |kind: &str| Header { algorithm: crate::Algorithm::Rs256, kid: None, kind: Some(kind.into()) };
        let lax = Profile::custom().with_any_type().with_any_use().build();
        assert_eq!(lax.check_type(&header("anything")), Ok(()));
        assert_eq!(lax.check_use(&claims(r#"{"at_hash":"x","nonce":"n","token_use":"id"}"#), false), Ok(()));
        let any_type = Profile::custom().with_any_type().build();
        assert_eq!(any_type.check_use(&claims(r#"{"at_hash":"x"}"#), false), Err(Reject::TokenUse));
        assert!(!any_type.requires_key_id() && !any_type.audience_may_be_client());
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
