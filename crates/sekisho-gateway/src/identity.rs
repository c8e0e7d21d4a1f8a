use std::fmt;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sekisho_core::{ConfigError, Failure, FailureKind, Principal, UnixSeconds};
use sekisho_jwt::Signer;
use serde_json::json;

use crate::header_names::{is_override, is_plain, reads_as};

/// Names what a service behind the gateway can be told of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityField {
    /// The subject.
    Subject,
    /// The issuer; a subject is unique only together with it.
    Issuer,
    /// The client.
    Client,
    /// The scopes, separated by spaces.
    Scope,
    /// The roles, separated by commas; a comma within one is written `%2C`.
    Roles,
    /// The tenant.
    Tenant,
}

/// Says by which headers a service behind the gateway is told who calls.
///
/// What the client sends under these names never gets through: it is taken out before anything is set, also where a name differs in
/// nothing but `_`, `.` or the like for `-`, which some servers read as the same. Values are made of visible ASCII: every other byte, and `%`, is
/// percent-encoded, so that no two callers can have the same value. `Debug` shows names only.
///
/// # Examples
/// ```
/// use sekisho_gateway::{IdentityField, IdentityHeaders};
/// let headers = IdentityHeaders::new().with(IdentityField::Subject, "X-Auth-Subject")?.with(IdentityField::Scope, "X-Auth-Scope")?;
/// # let _ = headers;
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct IdentityHeaders {
    fields: Vec<(HeaderName, IdentityField)>,
    token: Option<(HeaderName, InternalToken)>,
}

/// Says how a token for the services behind the gateway is signed.
#[derive(Clone, Debug)]
pub struct InternalToken {
    signer: Signer,
    issuer: String,
    audience: String,
    lifetime: Duration,
}

impl InternalToken {
    /// Signs tokens of this issuer, the gateway, for this audience, the services behind it. They live 30 s, and never longer than the
    /// caller's credential.
    #[must_use]
    pub fn new(signer: Signer, issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self { signer, issuer: issuer.into(), audience: audience.into(), lifetime: Duration::from_secs(30) }
    }

    /// Sets how long they live, in whole seconds, 1 to 300.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Duration::from_secs(lifetime.as_secs().clamp(1, 300));
        self
    }

    fn sign(&self, principal: &Principal, now: UnixSeconds) -> Result<String, Failure> {
        let Self { signer, issuer, audience, lifetime } = self;
        let ends = now.saturating_add(*lifetime);
        let ends = principal.expires_at().map_or(ends, |own| ends.min(own));
        let mut claims = json!({
            "iss": issuer,
            "aud": audience,
            "sub": principal.subject(),
            "scope": principal.scope(),
            "roles": principal.roles(),
            "iat": now.as_secs(),
            "exp": ends.as_secs(),
            // The subject is unique only within the issuer that authenticated it.
            "idp": principal.issuer(),
        });
        if let (Some(claims), Some(client)) = (claims.as_object_mut(), principal.client()) {
            claims.insert("client_id".to_owned(), client.into());
        }
        signer.sign(&claims).map_err(|error| misconfigured("the internal token cannot be signed").with_source(error))
    }
}

/// Bounds a value, in bytes after encoding.
const MAX_VALUE: usize = 4096;

/// What is not visible ASCII is encoded, and the sign of encoding itself. A space separates scopes and stays.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');
const ENCODED_ROLE: &AsciiSet = &ENCODED.add(b',');

impl IdentityHeaders {
    /// Tells services nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells subject, issuer, client and scope, by `X-Auth-Subject`, `X-Auth-Issuer`, `X-Auth-Client` and `X-Auth-Scope`.
    #[must_use]
    pub fn standard() -> Self {
        let fields = vec![
            (HeaderName::from_static("x-auth-subject"), IdentityField::Subject),
            (HeaderName::from_static("x-auth-issuer"), IdentityField::Issuer),
            (HeaderName::from_static("x-auth-client"), IdentityField::Client),
            (HeaderName::from_static("x-auth-scope"), IdentityField::Scope),
        ];
        Self { fields, token: None }
    }

    /// Tells services this, by a header of this name.
    ///
    /// # Errors
    /// A name that is none, has a meaning of its own in HTTP, or is used already.
    pub fn with(mut self, field: IdentityField, name: &str) -> Result<Self, ConfigError> {
        let name = self.free_name(name)?;
        self.fields.push((name, field));
        Ok(self)
    }

    /// Tells services who calls by a signed token in a header of this name, so that they need not trust the network in between.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn with_token(mut self, name: &str, token: InternalToken) -> Result<Self, ConfigError> {
        if self.token.is_some() {
            return Err(ConfigError::new("there is one internal token already"));
        }
        self.token = Some((self.free_name(name)?, token));
        Ok(self)
    }

    fn free_name(&self, name: &str) -> Result<HeaderName, ConfigError> {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| ConfigError::new(format!("{name:?} cannot be the name of a header")))?;
        let text = parsed.as_str();
        let is_taken = [
            "authorization",
            "cookie",
            "host",
            "forwarded",
            "connection",
            "upgrade",
            "te",
            "trailer",
            "transfer-encoding",
            "content-length",
            "content-type",
            "keep-alive",
            "proxy-authorization",
            "proxy-connection",
            "expect",
        ];
        let is_prefixed = text.starts_with("x-forwarded-") || text.starts_with("x-original-");
        if is_taken.contains(&text) || is_prefixed || is_override(text) {
            return Err(ConfigError::new(format!("`{text}` has a meaning of its own and cannot name the caller")));
        }
        if !is_plain(text) {
            return Err(ConfigError::new(format!(
                "`{text}`: made of letters, digits and `-`, as servers read others as `-`"
            )));
        }
        if self.names().any(|other| *other == parsed) {
            return Err(ConfigError::new(format!("`{text}` is used twice")));
        }
        Ok(parsed)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.fields.iter().map(|(name, _)| name).chain(self.token.as_ref().map(|(name, _)| name))
    }

    /// Takes out of a request what only the gateway may say. Tells whether there was anything.
    pub(crate) fn strip(&self, headers: &mut HeaderMap) -> bool {
        let forged: Vec<HeaderName> = headers.keys().filter(|name| self.is_own(name)).cloned().collect();
        for name in &forged {
            headers.remove(name);
        }
        !forged.is_empty()
    }

    fn is_own(&self, name: &HeaderName) -> bool {
        self.names().any(|own| reads_as(name.as_str(), own.as_str()))
    }

    /// Tells whether a name is none of ours and yet read as one of ours by some server.
    pub(crate) fn is_look_alike(&self, name: &HeaderName) -> bool {
        self.is_own(name) && !self.names().any(|own| own == name)
    }

    /// Lists each header with its value; `None` where there is nothing to say, and then the request must not have it.
    ///
    /// # Errors
    /// A value longer than 4 KiB: better no request than one in somebody else's name.
    pub(crate) fn values(
        &self,
        principal: Option<&Principal>,
        now: UnixSeconds,
    ) -> Result<Vec<(HeaderName, Option<HeaderValue>)>, Failure> {
        let mut values = Vec::with_capacity(self.fields.len() + 1);
        for (name, field) in &self.fields {
            let text = principal.and_then(|principal| field.read(principal));
            values.push((name.clone(), text.map(|text| header_value(&text)).transpose()?));
        }
        if let Some((name, token)) = &self.token {
            let signed = principal.map(|principal| token.sign(principal, now)).transpose()?;
            values.push((name.clone(), signed.map(|text| header_value(&text)).transpose()?));
        }
        Ok(values)
    }
}

impl fmt::Debug for IdentityHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl IdentityField {
    fn read(self, principal: &Principal) -> Option<String> {
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let text = match self {
            Self::Subject => encode(principal.subject()),
            Self::Issuer => encode(principal.issuer()),
            Self::Client => encode(principal.client()?),
            Self::Scope => encode(principal.scope()),
            Self::Roles => {
                let roles: Vec<String> =
                    principal.roles().iter().map(|role| utf8_percent_encode(role, ENCODED_ROLE).to_string()).collect();
                roles.join(",")
            }
            Self::Tenant => encode(principal.tenant()?),
        };
        Some(text).filter(|text| !text.is_empty())
    }
}

fn header_value(text: &str) -> Result<HeaderValue, Failure> {
    // A space at an end would be cut off on the way, and make one caller out of two.
    let spaces = |text: &str| text.starts_with(' ') || text.ends_with(' ');
    let text = if spaces(text) { text.replace(' ', "%20") } else { text.to_owned() };
    if text.len() > MAX_VALUE {
        return Err(misconfigured("what is said of the caller does not fit into a header"));
    }
    HeaderValue::from_str(&text).map_err(|_| misconfigured("what is said of the caller is no header"))
}

const fn misconfigured(context: &'static str) -> Failure {
    Failure::new(FailureKind::Misconfigured, context)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use sekisho_core::dangerous::PrincipalBuilder;
    use sekisho_jwks::{Algorithm, Backend, SigningKey, StaticKeys};
    use sekisho_jwt::Jwt;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn subject_value(subject: &str) -> Result<String, Failure> {
        let headers = IdentityHeaders::new().with(IdentityField::Subject, "x-auth-subject").unwrap();
        let principal = PrincipalBuilder::new("https://id.example", subject).build().unwrap();
        let values = headers.values(Some(&principal), NOW)?;
        Ok(values.first().unwrap().1.as_ref().unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn no_two_subjects_have_one_value() {
        let subjects = [
            "alice",
            "alice ",
            " alice",
            "al ice",
            "alice\r\nx-auth-subject: root",
            "alice\n",
            "jos\u{e9}",
            "jos%C3%A9",
            "%61lice",
            "\u{0}",
            "a\tb",
            "alice\u{7f}",
            "alice%20",
            "a%09b",
        ];
        let values: Vec<String> = subjects.iter().map(|subject| subject_value(subject).unwrap()).collect();
        for (at, value) in values.iter().enumerate() {
            assert!(value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{value}");
            assert_eq!(value.trim(), value);
            assert!(!values.iter().skip(at + 1).any(|other| other == value), "{value}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_trouble_of_ours_and_not_cut() {
        assert!(subject_value(&"x".repeat(MAX_VALUE)).is_ok());
        assert!(subject_value(&"x".repeat(MAX_VALUE + 1)).is_err());
        assert!(subject_value(&"é".repeat(1000)).is_err());
    }

    #[test]
    fn takes_out_what_the_client_forged_whatever_the_spelling() {
        let identity = IdentityHeaders::standard();
        let mut headers = HeaderMap::new();
        for name in [
            "x-auth-subject",
            "X-AUTH-SUBJECT",
            "x_auth_subject",
            "x-auth_scope",
            "x_auth-issuer",
            "X.Auth.Subject",
            "x~auth`client",
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("root"));
        }
        headers.insert("x-auth-subjects", HeaderValue::from_static("kept"));
        assert!(identity.strip(&mut headers));
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-auth-subjects"]);
        assert!(!identity.strip(&mut headers));
    }

    #[test]
    fn without_a_caller_every_header_is_named_and_has_no_value() {
        let values = IdentityHeaders::standard().values(None, NOW).unwrap();
        assert_eq!(values.len(), 4);
        assert!(values.iter().all(|(_, value)| value.is_none()));
    }

    #[test]
    fn refuses_names_that_mean_something_else() {
        for name in [
            "",
            "a b",
            "Authorization",
            "Cookie",
            "Host",
            "X-Forwarded-User",
            "X-Original-User",
            "Forwarded",
            "x_auth",
            "x.auth",
            "x~auth",
            "X-HTTP-Method-Override",
            "X-Rewrite-URL",
            "Connection",
            "TE",
        ] {
            assert!(IdentityHeaders::new().with(IdentityField::Subject, name).is_err(), "{name:?}");
        }
        assert!(IdentityHeaders::standard().with(IdentityField::Tenant, "X-Auth-Subject").is_err());
    }

    #[test]
    fn the_internal_token_is_short_lived_and_verifies() {
        let key = SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap();
        let token = InternalToken::new(Signer::new(key.clone()), "https://gateway.example", "services");
        let headers = IdentityHeaders::new().with_token("x-auth-token", token).unwrap();
        let principal = PrincipalBuilder::new("https://id.example", "alice")
            .with_expiry(NOW.saturating_add(Duration::from_secs(10)))
            .with_scope("a b")
            .with_client("shop")
            .with_roles(["clerk"])
            .build()
            .unwrap();
        let values = headers.values(Some(&principal), NOW).unwrap();
        let signed = values.first().unwrap().1.as_ref().unwrap().to_str().unwrap();
        let verifier = Jwt::issuer("https://gateway.example")
            .audience("services")
            .with_leeway(Duration::ZERO)
            .with_roles_at("/roles")
            .with_keys(StaticKeys::new([key.verifying_key()]))
            .build()
            .unwrap();
        let caller = verifier.verify_now(signed, NOW).unwrap().unwrap();
        assert_eq!((caller.subject(), caller.scope(), caller.client()), ("alice", "a b", Some("shop")));
        assert!(caller.has_role("clerk"));
        assert_eq!(caller.expires_in(NOW), Some(Duration::from_secs(10)));
    }

    #[test]
    fn debug_shows_names_only() {
        assert_eq!(format!("{:?}", IdentityHeaders::new().with(IdentityField::Subject, "X-A").unwrap()), r#"["x-a"]"#);
    }
}
