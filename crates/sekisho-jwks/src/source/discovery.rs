use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::ConfigError;
use sekisho_http::address;
use url::{Position, Url};

use super::context::{IntoKeySource, SourceContext};
use super::discovery_load::DiscoveryLoad;
use super::managed::managed;
use super::options::{HttpOptions, http_setters};
use crate::KeySource;

/// Finds an issuer's key set by its discovery document, and keeps it fresh as [`RemoteKeys`](crate::RemoteKeys) does.
///
/// The document's `issuer` must equal the configured one byte for byte, a final `/` included
/// ([OpenID Connect Discovery §4.3](https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationValidation),
/// [RFC 8414 §3.3](https://www.rfc-editor.org/rfc/rfc8414#section-3.3)). Its `jwks_uri` may lie on another host, as it does with large
/// providers, but must be `https`; a plain `http` address on this machine is taken only from an issuer on this machine. An `https` one
/// may have any port and lead into a private network, since keys of an issuer inside lie there: whoever writes the document can make the
/// service send a GET there, though nothing of the answer comes back. If that matters, give a client that connects to public addresses only.
///
/// A key with a member `issuer`, as in the sets that tenants of Microsoft Entra share, is taken only if that is the configured issuer, or
/// the configured one with `{tenantid}` in the place of one path segment; other keys are left out as
/// [`KeyError::OtherIssuer`](crate::KeyError::OtherIssuer), or as malformed when the member is no string. Otherwise a key for personal accounts could sign for an enterprise tenant.
///
/// # Examples
/// ```
/// # #[cfg(all(feature = "aws-lc-rs", feature = "reqwest"))] {
/// use sekisho_jwks::{Backend, Discovery, IntoKeySource, SourceContext};
///
/// let keys = Discovery::oidc("https://id.example/realms/shop").into_key_source(&SourceContext::new(Backend::default()))?;
/// # }
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Discovery {
    issuer: String,
    form: Form,
    takes_tenant_template: bool,
    document_lifetime: Duration,
    options: HttpOptions,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Any,
    Oidc,
    Oauth,
}

impl Discovery {
    /// Names the issuer; its document is looked for in every place that the standards know.
    ///
    /// In this order, going on when one is not there or is no such document: `ISSUER/.well-known/openid-configuration`,
    /// `/.well-known/oauth-authorization-server` put in front of the issuer's path, and `/.well-known/openid-configuration` put there.
    pub fn new(issuer: impl Into<String>) -> Self {
        Self::with_form(issuer.into(), Form::Any)
    }

    /// Names an OpenID provider; its document is `ISSUER/.well-known/openid-configuration`
    /// ([OpenID Connect Discovery §4](https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig)).
    pub fn oidc(issuer: impl Into<String>) -> Self {
        Self::with_form(issuer.into(), Form::Oidc)
    }

    /// Names an OAuth authorization server; its document has `/.well-known/oauth-authorization-server` between host and path of the
    /// issuer ([RFC 8414 §3](https://www.rfc-editor.org/rfc/rfc8414#section-3)).
    pub fn oauth(issuer: impl Into<String>) -> Self {
        Self::with_form(issuer.into(), Form::Oauth)
    }

    fn with_form(issuer: String, form: Form) -> Self {
        Self {
            issuer,
            form,
            takes_tenant_template: false,
            document_lifetime: Duration::from_secs(3600),
            options: HttpOptions::default(),
        }
    }

    /// Takes a document whose `issuer` has `{tenantid}` where the configured one has a path segment. Default: refused.
    ///
    /// For Microsoft Entra's documents for several tenants: configured `https://login.microsoftonline.com/organizations/v2.0`, document
    /// `https://login.microsoftonline.com/{tenantid}/v2.0`. This finds the keys only; which tenants' tokens are taken is for the verifier to say.
    pub fn with_tenant_template(mut self) -> Self {
        self.takes_tenant_template = true;
        self
    }

    /// Sets how long the address of the key set is kept before the document is read again, default 1 h.
    ///
    /// After a set that could not be loaded it is read again in any case.
    pub fn with_document_lifetime(mut self, lifetime: Duration) -> Self {
        self.document_lifetime = lifetime;
        self
    }

    http_setters!();
}

impl IntoKeySource for Discovery {
    /// # Errors
    /// [`ConfigError`]: the issuer or a setting cannot be used, or there is no HTTP client.
    fn into_key_source(self, context: &SourceContext) -> Result<Arc<dyn KeySource>, ConfigError> {
        let Self { issuer, form, takes_tenant_template, document_lifetime, options } = self;
        let parsed = address::check_issuer(&issuer)
            .map_err(|error| ConfigError::new("the issuer cannot be used for discovery").with_source(error))?;
        let (http, policy) = options.into_http(context)?;
        let documents = well_known(&issuer, &parsed, form);
        let is_local = address::is_loopback(&parsed);
        let loader = DiscoveryLoad::new(http, issuer, documents, is_local, takes_tenant_template, document_lifetime);
        Ok(managed(policy, Arc::new(loader), Arc::clone(&context.clock)))
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, form, takes_tenant_template, document_lifetime, options } = self;
        f.debug_struct("Discovery")
            .field("issuer", &address::shown(issuer))
            .field("form", form)
            .field("takes_tenant_template", takes_tenant_template)
            .field("document_lifetime", document_lifetime)
            .field("options", options)
            .finish()
    }
}

/// Lists where the document may be.
fn well_known(issuer: &str, parsed: &Url, form: Form) -> Vec<String> {
    const OIDC: &str = "/.well-known/openid-configuration";
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    // A final `/` is taken away first, in both standards.
    let appended = |name: &str| format!("{}{name}", issuer.strip_suffix('/').unwrap_or(issuer));
    let inserted = |name: &str| {
        let path = parsed.path();
        let origin = &parsed[..Position::BeforePath];
        format!("{origin}{name}{}", path.strip_suffix('/').unwrap_or(path))
    };
    let mut places = match form {
        Form::Oidc => vec![appended(OIDC)],
        Form::Oauth => vec![inserted(OAUTH)],
        Form::Any => vec![appended(OIDC), inserted(OAUTH), inserted(OIDC)],
    };
    places.dedup();
    if places.len() > 1 && places.first() == places.last() {
        places.pop();
    }
    places
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn places(issuer: &str, form: Form) -> Vec<String> {
        well_known(issuer, &address::check_issuer(issuer).unwrap(), form)
    }

    #[test]
    fn openid_appends_and_oauth_inserts() {
        let issuer = "https://id.example:8443/realms/a";
        assert_eq!(places(issuer, Form::Oidc), ["https://id.example:8443/realms/a/.well-known/openid-configuration"]);
        assert_eq!(
            places(issuer, Form::Oauth),
            ["https://id.example:8443/.well-known/oauth-authorization-server/realms/a"]
        );
        assert_eq!(
            places(issuer, Form::Any),
            [
                "https://id.example:8443/realms/a/.well-known/openid-configuration",
                "https://id.example:8443/.well-known/oauth-authorization-server/realms/a",
                "https://id.example:8443/.well-known/openid-configuration/realms/a",
            ]
        );
    }

    #[test]
    fn debug_shows_no_query() {
        let debug = format!("{:?}", Discovery::oidc("https://user:hush@id.example/a?hush"));
        assert!(debug.contains("https://id.example/a") && !debug.contains("hush"), "{debug}");
    }

    #[test]
    fn a_final_slash_is_taken_away_and_no_place_is_asked_twice() {
        for issuer in ["https://id.example", "https://id.example/"] {
            assert_eq!(
                places(issuer, Form::Any),
                [
                    "https://id.example/.well-known/openid-configuration",
                    "https://id.example/.well-known/oauth-authorization-server",
                ]
            );
        }
        assert_eq!(
            places("https://id.example/a/", Form::Oauth),
            ["https://id.example/.well-known/oauth-authorization-server/a"]
        );
    }
}
