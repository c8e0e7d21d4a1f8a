//! `[credentials.NAME]`: which credentials are taken, and what verifies them.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{ConfigError, Secret};
use sekisho_http::{Checkpoint, ClientCertificateHeader, TrustedProxies};
use sekisho_jwks::RemoteKeys;
use sekisho_jwt::{Dpop, Jwt, Profile};

use super::reader::Section;
use super::{ConfigContext, IntrospectionSettings};
use crate::authorizer::JwtAuthorizer;
use crate::token_swap::TokenSwap;

/// Is what the file says. Equal settings mean that what was built of them can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CredentialSettings {
    Jwt(JwtSettings, Sources),
    AwsHttpApi(AwsSettings),
    Introspection(IntrospectionSettings, Sources),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JwtSettings {
    issuer: String,
    audiences: Vec<String>,
    profile: Option<String>,
    jwks_url: Option<String>,
    leeway: Option<Duration>,
    roles_at: Vec<String>,
    dpop: bool,
    certificate_bound: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AwsSettings {
    issuer: String,
    audiences: Vec<String>,
    identity_source: Option<String>,
    access_tokens_only: bool,
}

/// Says where credentials stand, and what challenges say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sources {
    cookie: Option<String>,
    header: Option<String>,
    realm: Option<String>,
    public_urls: Vec<String>,
    certificate_header: Option<CertificateHeader>,
}

/// Says where a listed proxy writes the client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CertificateHeader {
    form: String,
    name: Option<String>,
    proxies: TrustedProxies,
}

/// Is what verifies credentials.
#[derive(Clone)]
pub(super) struct Credential {
    verifies: Verifies,
    pub(super) swap: Option<Arc<dyn TokenSwap>>,
}

#[derive(Clone)]
enum Verifies {
    Checkpoint(Checkpoint),
    Authorizer(JwtAuthorizer),
}

impl Credential {
    pub(super) const fn authorizer(&self) -> Option<&JwtAuthorizer> {
        match &self.verifies {
            Verifies::Authorizer(authorizer) => Some(authorizer),
            Verifies::Checkpoint(_) => None,
        }
    }

    pub(super) const fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.verifies {
            Verifies::Checkpoint(checkpoint) => Some(checkpoint),
            Verifies::Authorizer(_) => None,
        }
    }
}

type Environment<'a> = &'a super::ReadEnvironment;

impl CredentialSettings {
    pub(super) fn read(
        section: &Section<'_>,
        environment: Environment<'_>,
        proxies: Option<&TrustedProxies>,
    ) -> Option<Self> {
        if !section.has("kind") {
            section.lacks("kind");
        }
        // Without a kind there is no telling which keys are known.
        let kind = section.choice("kind", &["jwt", "aws_http_api", "introspection"])?;
        let settings = Self::read_kind(&kind, section, environment, proxies);
        section.finish();
        settings
    }

    fn read_kind(
        kind: &str,
        section: &Section<'_>,
        environment: Environment<'_>,
        proxies: Option<&TrustedProxies>,
    ) -> Option<Self> {
        match kind {
            "jwt" => {
                let (issuer, audiences) = (section.required_text("issuer"), audiences(section));
                let profiles = ["compatible", "rfc9068", "keycloak", "entra", "cognito"];
                let settings = JwtSettings {
                    profile: section.choice("profile", &profiles),
                    jwks_url: section.plain_text("jwks_url"),
                    leeway: section.number("leeway_s", 0, 300).map(Duration::from_secs),
                    roles_at: section.plain_texts("roles_at"),
                    dpop: section.flag("dpop"),
                    certificate_bound: section.flag("certificate_bound"),
                    issuer: issuer.clone().unwrap_or_default(),
                    audiences: audiences.clone().unwrap_or_default(),
                };
                let sources = Sources::read(section, proxies);
                let sources = sources?;
                (issuer.is_some() && audiences.is_some()).then_some(Self::Jwt(settings, sources))
            }
            "aws_http_api" => {
                let (issuer, audiences) = (section.required_text("issuer"), audiences(section));
                let identity_source = section.plain_text("identity_source");
                let access_tokens_only = section.flag("access_tokens_only");
                Some(Self::AwsHttpApi(AwsSettings {
                    issuer: issuer?,
                    audiences: audiences?,
                    identity_source,
                    access_tokens_only,
                }))
            }
            _ => {
                let endpoint = section.required_text("endpoint");
                let (issuer, audiences) = (section.required_text("issuer"), audiences(section));
                let client_id = section.required_text("client_id");
                let client_secret = secret(section, "client_secret", environment);
                let cache = section.number("cache_s", 1, 3600).map(Duration::from_secs);
                let (dpop, certificate_bound) = (section.flag("dpop"), section.flag("certificate_bound"));
                let sources = Sources::read(section, proxies);
                let settings = IntrospectionSettings {
                    endpoint: endpoint?,
                    issuer: issuer?,
                    audiences: audiences?,
                    client_id: client_id?,
                    client_secret: client_secret?,
                    cache,
                    dpop,
                    certificate_bound,
                };
                Some(Self::Introspection(settings, sources?))
            }
        }
    }

    /// Makes what verifies. It neither waits nor asks the network.
    pub(super) fn build(&self, context: &ConfigContext) -> Result<Credential, ConfigError> {
        let backend = || context.backend.ok_or_else(|| ConfigError::new("no crypto backend was chosen"));
        match self {
            Self::Jwt(settings, sources) => {
                let JwtSettings { issuer, audiences, profile, jwks_url, leeway, roles_at, dpop, certificate_bound } =
                    settings;
                let mut audiences = audiences.iter().cloned();
                let first = audiences.next().ok_or_else(|| ConfigError::new("no audience"))?;
                let jwt = Jwt::with_backend(backend()?).issuer(issuer).audience(first).with_profile(
                    match profile.as_deref() {
                        Some("rfc9068") => Profile::rfc9068(),
                        Some("keycloak") => Profile::keycloak(),
                        Some("entra") => Profile::entra(),
                        Some("cognito") => Profile::cognito(),
                        _ => Profile::compatible(),
                    },
                );
                let mut jwt = audiences.fold(jwt, sekisho_jwt::JwtBuilder::with_audience);
                jwt = roles_at.iter().fold(jwt, |jwt, place| jwt.with_roles_at(place));
                if let Some(url) = jwks_url {
                    jwt = jwt.with_keys(RemoteKeys::new(url));
                }
                if let Some(leeway) = leeway {
                    jwt = jwt.with_leeway(*leeway);
                }
                if *dpop {
                    jwt = jwt.with_dpop(Dpop::new());
                }
                if *certificate_bound {
                    jwt = jwt.with_certificate_binding();
                }
                if let Some(client) = &context.http_client {
                    jwt = jwt.with_http_client(Arc::clone(client));
                }
                if let Some(revocation) = &context.revocation {
                    jwt = jwt.with_revocation(Arc::clone(revocation));
                }
                let verifier = jwt.with_clock(Arc::clone(&context.clock)).build()?;
                let checkpoint = sources.checkpoint(Arc::new(verifier), context)?;
                Ok(Credential { verifies: Verifies::Checkpoint(checkpoint), swap: None })
            }
            Self::AwsHttpApi(settings) => {
                let AwsSettings { issuer, audiences, identity_source, access_tokens_only } = settings;
                let mut audiences = audiences.iter().cloned();
                let first = audiences.next().ok_or_else(|| ConfigError::new("no audience"))?;
                let start = JwtAuthorizer::aws_http_api_with(backend()?, issuer);
                let mut builder = start.audience(first).with_clock(Arc::clone(&context.clock));
                builder = audiences.fold(builder, crate::authorizer::JwtAuthorizerBuilder::with_audience);
                if let Some(source) = identity_source {
                    builder = builder.with_identity_source(source);
                }
                if *access_tokens_only {
                    builder = builder.with_access_tokens_only();
                }
                if let Some(client) = &context.http_client {
                    builder = builder.with_http_client(Arc::clone(client));
                }
                if let Some(revocation) = &context.revocation {
                    builder = builder.with_revocation(Arc::clone(revocation));
                }
                Ok(Credential { verifies: Verifies::Authorizer(builder.build()?), swap: None })
            }
            Self::Introspection(settings, sources) => {
                let nobody = || ConfigError::new("this gateway was built without introspection");
                let made = context.introspection.as_ref().ok_or_else(nobody)?.make(settings, context)?;
                let checkpoint = sources.checkpoint(made.authenticator, context)?;
                Ok(Credential { verifies: Verifies::Checkpoint(checkpoint), swap: made.swap })
            }
        }
    }
}

impl Sources {
    fn read(section: &Section<'_>, proxies: Option<&TrustedProxies>) -> Option<Self> {
        let certificate_header = match section.table_or("certificate_header") {
            Some(header) => Some(CertificateHeader::read(&header, proxies)?),
            None if section.has("certificate_header") => {
                let message = "`certificate_header` must be a table, such as { form = \"rfc9440\" }";
                section.say(section.span_of("certificate_header"), message);
                return None;
            }
            None => None,
        };
        Some(Self {
            cookie: section.plain_text("cookie"),
            header: section.plain_text("header"),
            realm: section.plain_text("realm"),
            public_urls: section.plain_texts("public_urls"),
            certificate_header,
        })
    }

    fn checkpoint(
        &self,
        authenticator: Arc<dyn sekisho_core::Authenticate>,
        context: &ConfigContext,
    ) -> Result<Checkpoint, ConfigError> {
        let mut builder = Checkpoint::builder().accept(Shared(authenticator)).with_clock(Arc::clone(&context.clock));
        if let Some(name) = &self.cookie {
            builder = builder.with_cookie(name);
        }
        if let Some(name) = &self.header {
            builder = builder.with_header(name);
        }
        if let Some(realm) = &self.realm {
            builder = builder.with_realm(realm);
        }
        for url in &self.public_urls {
            builder = builder.with_public_url(url);
        }
        if let Some(header) = &self.certificate_header {
            builder = builder.with_client_certificate_header(header.build()?);
        }
        builder.build()
    }
}

impl CertificateHeader {
    fn read(section: &Section<'_>, proxies: Option<&TrustedProxies>) -> Option<Self> {
        let forms = ["rfc9440", "traefik", "envoy", "escaped_pem", "base64"];
        if !section.has("form") {
            section.lacks("form");
        }
        let (form, name) = (section.choice("form", &forms), section.plain_text("name"));
        section.finish();
        let (form, proxies) = (form?, proxies?.clone());
        let wants_name = matches!(&*form, "escaped_pem" | "base64");
        if wants_name != name.is_some() {
            let message =
                if wants_name { "this form needs the header's `name`" } else { "this form has one `name` only" };
            section.say(section.span(), message);
            return None;
        }
        if proxies.is_empty() {
            section
                .say(section.span(), "a header for certificates, and `trusted_proxies` lists nobody who may write it");
            return None;
        }
        Some(Self { form, name, proxies })
    }

    fn build(&self) -> Result<ClientCertificateHeader, ConfigError> {
        let Self { form, name, proxies } = self;
        let (name, proxies) = (name.as_deref().unwrap_or_default(), proxies.clone());
        match &**form {
            "rfc9440" => Ok(ClientCertificateHeader::rfc9440(proxies)),
            "traefik" => Ok(ClientCertificateHeader::traefik(proxies)),
            "envoy" => Ok(ClientCertificateHeader::envoy(proxies)),
            "base64" => ClientCertificateHeader::base64(name, proxies),
            _ => ClientCertificateHeader::escaped_pem(name, proxies),
        }
    }
}

/// Is an authenticator that is there already.
struct Shared(Arc<dyn sekisho_core::Authenticate>);

impl sekisho_core::IntoAuthenticate for Shared {
    fn into_authenticate(self) -> Result<Arc<dyn sekisho_core::Authenticate>, ConfigError> {
        Ok(self.0)
    }
}

fn audiences(section: &Section<'_>) -> Option<Vec<String>> {
    if !section.has("audiences") {
        section.lacks("audiences");
        return None;
    }
    Some(section.plain_texts("audiences")).filter(|audiences| !audiences.is_empty())
}

/// Bounds a secret's file, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Reads a secret from where the file says that it is. No message has any of it.
fn secret(section: &Section<'_>, key: &str, environment: Environment<'_>) -> Option<Secret> {
    if !section.has(key) {
        section.lacks(key);
        return None;
    }
    let say = |message: String| section.say(section.span_of(key), message);
    let Some(place) = section.table_or(key) else {
        say(format!(
            "`{key}` is a secret and does not stand in this file; say where it is: {{ env = \"NAME\" }} or {{ file = \"/path\" }}"
        ));
        return None;
    };
    let (env, file) = (place.plain_text("env"), place.plain_text("file"));
    place.finish();
    let found = match (env, file) {
        (Some(name), None) => match environment(&name) {
            Some(value) => Secret::from(value),
            None => {
                say(format!("the environment has no {name:?}"));
                return None;
            }
        },
        (None, Some(path)) => match read_secret(&path) {
            Ok(secret) => secret,
            Err(error) => {
                say(format!("the secret's file {path:?} cannot be read: {}", error.kind()));
                return None;
            }
        },
        _ => {
            say(format!("`{key}` is either {{ env = \"NAME\" }} or {{ file = \"/path\" }}"));
            return None;
        }
    };
    if found.is_empty() {
        say(format!("`{key}` is empty"));
        return None;
    }
    Some(found)
}

fn read_secret(path: &str) -> std::io::Result<Secret> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_SECRET).read_to_end(&mut bytes)?;
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(Secret::new(bytes))
}
