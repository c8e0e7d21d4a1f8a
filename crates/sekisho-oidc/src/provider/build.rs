//! From a configuration to a provider.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{ConfigError, SystemClock, claims};
use sekisho_http::{HttpClient, address};
use sekisho_jwt::jwks::{
    Discovery, IntoKeySource as _, KeySource, RemoteKeys, SourceContext, StaticKeys, VerifyingKey,
};
use sekisho_jwt::{Algorithm, Backend, DpopSigner, MemoryReplayGuard, StatementVerifier};

use super::builder::ProviderBuilder;
use super::id_token::IdTokens;
use super::logout::{LogoutTokens, Undone};
use super::metadata::{Expected, Metadata, MetadataSource};
use super::{Inner, Provider};
use crate::endpoint::TokenEndpoint;

impl ProviderBuilder {
    /// Builds it. It neither waits nor asks the network.
    ///
    /// # Errors
    /// [`ConfigError`] for: an address that may not be asked or returned to; credentials without a client id, or that cannot be sent; a
    /// scope or parameter that is none; an algorithm that cannot be used; a shared secret that is too short; a duration out of its range; a
    /// roles place that is no JSON pointer; no HTTP client; what the key source finds wrong.
    pub fn build(self) -> Result<Provider, ConfigError> {
        let Self {
            backend,
            issuer,
            credentials,
            redirect_uri,
            scopes,
            parameters,
            pushed_requests,
            endpoints,
            keys,
            algorithms,
            shared_secret,
            trusted_audiences,
            roles_at,
            leeway,
            max_login_time,
            dpop,
            takes_untyped_logout_tokens,
            replay_guard,
            client,
            clock,
        } = self;
        let parsed = address::check_issuer(&issuer)
            .map_err(|error| ConfigError::new("the issuer cannot be used for discovery").with_source(error))?;
        address::check(&redirect_uri)
            .map_err(|error| ConfigError::new("the browser cannot return to this `redirect_uri`").with_source(error))?;
        credentials.check()?;
        let client_id: Box<str> = credentials
            .client_id()
            .ok_or_else(|| ConfigError::new("a login needs credentials with a client id"))?
            .into();
        check_durations(leeway, max_login_time)?;
        check_parameters(&parameters)?;
        if let Some(bad) = roles_at.iter().find(|place| !claims::is_pointer(place)) {
            return Err(ConfigError::new(format!("`{bad}` is no JSON pointer to roles")));
        }
        let scope = scope(&scopes)?;
        let has_certificate = credentials.needs_client_certificate();
        let http = match client {
            Some(client) => client,
            None if has_certificate => {
                return Err(ConfigError::new(
                    "`ClientCredentials::certificate` needs an HTTP client that has the certificate",
                ));
            }
            None => default_client()?,
        };
        let issuer: Arc<str> = issuer.into();
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock));
        let context = SourceContext { backend, clock, http_client: Some(Arc::clone(&http)) };
        if shared_secret.is_some() && keys.is_some() {
            return Err(ConfigError::new("the provider signs by a shared secret or by keys, not by both"));
        }
        let signers = match shared_secret {
            Some((algorithm, secret)) => {
                let key = VerifyingKey::hmac(backend, algorithm, secret.expose())
                    .map_err(|error| ConfigError::new("the shared secret cannot be used").with_source(error))?;
                Signers { keys: Arc::new(StaticKeys::new([key])), algorithms: vec![algorithm], is_shared: true }
            }
            None => {
                check_algorithms(backend, &algorithms)?;
                let keys = match (keys, &endpoints) {
                    (Some(make), _) => make(&context)?,
                    (None, Some(endpoints)) => RemoteKeys::new(&*endpoints.jwks).into_key_source(&context)?,
                    (None, None) => Discovery::oidc(&*issuer).into_key_source(&context)?,
                };
                Signers { keys, algorithms, is_shared: false }
            }
        };
        let statements = |signers: &Signers| -> Result<StatementVerifier, ConfigError> {
            let Signers { keys, algorithms, is_shared } = signers;
            let verifier =
                StatementVerifier::new(Arc::clone(&issuer), client_id.clone(), Arc::clone(keys))?.with_leeway(leeway);
            Ok(if *is_shared {
                verifier.with_shared_secret_algorithms(algorithms.iter().copied())
            } else {
                verifier.with_algorithms(algorithms.iter().copied())
            })
        };
        let id_tokens = IdTokens {
            backend,
            issuer: Arc::clone(&issuer),
            client_id: client_id.clone(),
            trusted_audiences: trusted_audiences.into(),
            roles_at: roles_at.into(),
            leeway,
            statements: statements(&signers)?.with_type("JWT").with_absent_type(),
        };
        let logout = statements(&signers)?.with_type("logout+jwt").brought_by_callers();
        let logout_tokens = LogoutTokens {
            backend,
            issuer: Arc::clone(&issuer),
            leeway,
            statements: if takes_untyped_logout_tokens { logout.with_type("JWT").with_absent_type() } else { logout },
            guard: replay_guard.unwrap_or_else(|| Arc::new(MemoryReplayGuard::new())),
            undone: Undone::default(),
        };
        let metadata = match endpoints {
            Some(endpoints) => MetadataSource::Configured(Arc::new(Metadata::from_endpoints(&endpoints)?)),
            None => {
                let is_local = address::is_loopback(&parsed);
                let expected = Expected { issuer: Arc::clone(&issuer), is_local, has_certificate };
                MetadataSource::published(Arc::clone(&http), expected)
            }
        };
        let dpop = dpop.map(|key| DpopSigner::new(backend, key)).transpose()?;
        let endpoint = TokenEndpoint::new(credentials, Arc::clone(&issuer), backend, Arc::clone(&http), dpop)?;
        let name = [&*issuer, &*client_id, &*redirect_uri].map(|part| format!("{}:{part}", part.len())).concat();
        Ok(Provider(Arc::new(Inner {
            name: backend.sha256(name.as_bytes()),
            backend,
            issuer,
            client_id,
            redirect_uri: redirect_uri.into(),
            scope,
            parameters: parameters.into(),
            pushed_requests,
            leeway,
            max_login_time,
            http,
            metadata,
            endpoint,
            id_tokens,
            logout_tokens,
        })))
    }
}

struct Signers {
    keys: Arc<dyn KeySource>,
    algorithms: Vec<Algorithm>,
    is_shared: bool,
}

fn check_durations(leeway: Duration, max_login_time: Duration) -> Result<(), ConfigError> {
    if leeway > LONGEST_LEEWAY {
        return Err(ConfigError::new("the leeway is at most 300 s"));
    }
    if !(Duration::from_secs(60)..=Duration::from_secs(3600)).contains(&max_login_time) {
        return Err(ConfigError::new("a login may take between 1 min and 1 h"));
    }
    Ok(())
}

fn check_algorithms(backend: Backend, algorithms: &[Algorithm]) -> Result<(), ConfigError> {
    if algorithms.is_empty() {
        return Err(ConfigError::new("no algorithm is allowed for ID tokens, so none could be good"));
    }
    let bad = algorithms.iter().find(|algorithm| algorithm.is_symmetric() || !backend.supports(**algorithm));
    match bad {
        Some(bad) => Err(ConfigError::new(format!("ID tokens cannot be signed by {bad} with published keys here"))),
        None => Ok(()),
    }
}

fn check_parameters(names: &[Box<str>]) -> Result<(), ConfigError> {
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    match names.iter().find(|name| !is_name(name) || OURS.contains(&&***name)) {
        Some(bad) => {
            Err(ConfigError::new(format!("`{}` is no further parameter of a login request", bad.escape_debug())))
        }
        None => Ok(()),
    }
}

/// Joins the scopes, `openid` first ([RFC 6749 §3.3](https://www.rfc-editor.org/rfc/rfc6749#section-3.3)).
fn scope(scopes: &[String]) -> Result<Box<str>, ConfigError> {
    let mut names = vec!["openid"];
    for name in scopes {
        let is_name = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'));
        if !is_name {
            return Err(ConfigError::new(format!("`{}` is no scope", name.escape_debug())));
        }
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    let joined = names.join(" ");
    if joined.len() > LONGEST_SCOPE {
        return Err(ConfigError::new("the scopes have more than 1,024 bytes together"));
    }
    Ok(joined.into())
}

#[cfg(feature = "reqwest")]
fn default_client() -> Result<Arc<dyn HttpClient>, ConfigError> {
    Ok(Arc::new(sekisho_http::ReqwestClient::new(sekisho_http::HttpLimits::default().connect_timeout)?))
}

#[cfg(not(feature = "reqwest"))]
fn default_client() -> Result<Arc<dyn HttpClient>, ConfigError> {
    Err(ConfigError::new("no HTTP client for the provider: give one, or switch on the feature `reqwest`"))
}

/// The parameters that are for us alone to set, or change where the answer goes or what it is.
const OURS: [&str; 23] = [
    "response_type",
    "response_mode",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
    "registration",
    "dpop_jkt",
    "prompt",
    "max_age",
    "acr_values",
    "login_hint",
    "ui_locales",
    "claims",
    "id_token_hint",
];
const LONGEST_LEEWAY: Duration = Duration::from_secs(300);
const LONGEST_SCOPE: usize = 1024;
