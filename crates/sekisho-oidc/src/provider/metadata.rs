//! What a provider publishes about itself: fetched when it is needed first, kept for an hour, refreshed beside.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sekisho_core::json::JsonObject;
use sekisho_core::{ConfigError, Failure, UnixSeconds};
use sekisho_http::address::{self, UrlError};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest};
use tokio::runtime::Handle;
use url::Url;

use super::builder::Endpoints;
use crate::endpoint;

/// Is where a provider is asked for what, each address checked.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) authorization: Url,
    pub(super) token: String,
    pub(super) userinfo: Option<String>,
    pub(super) revocation: Option<String>,
    pub(super) end_session: Option<Url>,
    pub(super) pushed: Option<String>,
    pub(super) requires_pushed: bool,
    /// Whether each return has `iss`.
    pub(super) sends_issuer: bool,
}

impl Metadata {
    /// Checks endpoints of the configuration.
    pub(super) fn from_endpoints(endpoints: &Endpoints) -> Result<Self, ConfigError> {
        let Endpoints { authorization, token, jwks: _, userinfo, revocation, end_session, pushed, sends_issuer } =
            endpoints;
        let check = |url: &str| {
            address::check(url).map_err(|error| {
                ConfigError::new(format!("the endpoint `{}` cannot be used", address::shown(url))).with_source(error)
            })
        };
        for url in [Some(token), userinfo.as_ref(), revocation.as_ref(), pushed.as_ref()].into_iter().flatten() {
            check(url)?;
        }
        Ok(Self {
            authorization: check(authorization)?,
            token: token.clone(),
            userinfo: userinfo.clone(),
            revocation: revocation.clone(),
            end_session: end_session.as_deref().map(check).transpose()?,
            pushed: pushed.clone(),
            requires_pushed: false,
            sends_issuer: *sends_issuer,
        })
    }

    /// Reads a document ([OIDC Discovery §4.3](https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationValidation)).
    fn read(body: &[u8], expected: &Expected) -> Result<Self, MetadataError> {
        // RFC 8259 §8.1: a byte order mark may be passed over.
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let document = JsonObject::parse(body.to_vec()).map_err(|_| MetadataError::Document)?;
        let issuer = document.get("issuer").and_then(|issuer| issuer.as_str()).ok_or(MetadataError::Document)?;
        // A document of another issuer would send codes and secrets to it.
        if *issuer != *expected.issuer {
            return Err(MetadataError::OtherIssuer);
        }
        let endpoint = |name: &'static str| -> Result<Option<Url>, MetadataError> {
            let Some(value) = document.get(name) else { return Ok(None) };
            let text = value.as_str().ok_or(MetadataError::Document)?;
            let url = address::check(&text).map_err(|why| MetadataError::Endpoint(name, why))?;
            if address::points_here(&url) && !expected.is_local {
                return Err(MetadataError::Endpoint(name, UrlError::Loopback));
            }
            Ok(Some(url))
        };
        // RFC 8705 §5: over a connection with a client certificate some endpoints have another address.
        let aliases = document.get("mtls_endpoint_aliases").filter(|_| expected.has_certificate);
        let asked = |name: &'static str| -> Result<Option<String>, MetadataError> {
            let published = endpoint(name)?.map(String::from);
            let Some(alias) = aliases.and_then(|aliases| aliases.member(name)) else { return Ok(published) };
            let text = alias.as_str().ok_or(MetadataError::Document)?;
            let url = address::check(&text).map_err(|why| MetadataError::Endpoint(name, why))?;
            if address::points_here(&url) && !expected.is_local {
                return Err(MetadataError::Endpoint(name, UrlError::Loopback));
            }
            Ok(Some(url.into()))
        };
        let flag = |name: &str| match document.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or(MetadataError::Document),
        };
        Ok(Self {
            authorization: endpoint("authorization_endpoint")?.ok_or(MetadataError::Document)?,
            token: asked("token_endpoint")?.ok_or(MetadataError::Document)?,
            userinfo: asked("userinfo_endpoint")?,
            revocation: asked("revocation_endpoint")?,
            end_session: endpoint("end_session_endpoint")?,
            pushed: asked("pushed_authorization_request_endpoint")?,
            requires_pushed: flag("require_pushed_authorization_requests")?,
            sends_issuer: flag("authorization_response_iss_parameter_supported")?,
        })
    }
}

/// Is what a document is compared with.
pub(super) struct Expected {
    pub(super) issuer: Arc<str>,
    /// An issuer on this machine may name endpoints on this machine.
    pub(super) is_local: bool,
    pub(super) has_certificate: bool,
}

/// Says why there are no metadata. Holds nothing of the answer.
#[derive(Debug, thiserror::Error)]
enum MetadataError {
    #[error("the provider cannot be asked")]
    Http(#[from] HttpError),
    #[error("the provider answered with status {0}")]
    Status(u16),
    #[error("the metadata are not a JSON object with the members that OpenID Connect requires")]
    Document,
    #[error("the metadata are of another issuer than the one configured")]
    OtherIssuer,
    #[error("`{0}` of the metadata cannot be used")]
    Endpoint(&'static str, #[source] UrlError),
}

impl MetadataError {
    const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Http(HttpError::Connect(_) | HttpError::Timeout | HttpError::Broken(_)) | Self::Status(502..=504)
        )
    }
}

/// Knows the metadata, or how to get them.
pub(super) enum MetadataSource {
    Configured(Arc<Metadata>),
    Published(Arc<Published>),
}

impl MetadataSource {
    pub(super) fn published(http: Arc<dyn HttpClient>, expected: Expected) -> Self {
        let url = format!(
            "{}/.well-known/openid-configuration",
            expected.issuer.strip_suffix('/').unwrap_or(&expected.issuer)
        );
        let (state, flight) = (Mutex::new(State::default()), tokio::sync::Mutex::new(()));
        Self::Published(Arc::new(Published { http, url, expected, state, flight }))
    }

    /// Returns them, waiting only when none are at hand that may still be used.
    pub(super) async fn get(&self, now: UnixSeconds) -> Result<Arc<Metadata>, Failure> {
        match self {
            Self::Configured(metadata) => Ok(Arc::clone(metadata)),
            Self::Published(published) => published.get(now).await,
        }
    }
}

/// Holds what was fetched.
pub(super) struct Published {
    http: Arc<dyn HttpClient>,
    url: String,
    expected: Expected,
    state: Mutex<State>,
    /// Held by whoever fetches.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    loaded: Option<(Arc<Metadata>, UnixSeconds)>,
    /// The last attempt, if it failed, and until when nobody tries again.
    failed: Option<(Failure, UnixSeconds)>,
}

impl State {
    /// Returns what may be used at `now`, and whether it is fresh.
    fn usable(&self, now: UnixSeconds) -> Option<(Arc<Metadata>, bool)> {
        let (metadata, since) = self.loaded.as_ref()?;
        // A clock that was set back: nobody knows how old they are.
        if now.saturating_add(CLOCK_SLACK) < *since {
            return None;
        }
        let age = now.since(*since);
        (age < FRESH + STALE).then(|| (Arc::clone(metadata), age < FRESH))
    }

    fn pause(&self, now: UnixSeconds) -> Option<&Failure> {
        let (failure, until) = self.failed.as_ref()?;
        // A clock that was set back must not make the pause long.
        (now < *until && *until <= now.saturating_add(PAUSE_OTHERWISE)).then_some(failure)
    }
}

impl Published {
    async fn get(self: &Arc<Self>, now: UnixSeconds) -> Result<Arc<Metadata>, Failure> {
        if let Some((metadata, is_fresh)) = self.usable(now) {
            if !is_fresh {
                self.refresh_beside(now);
            }
            return Ok(metadata);
        }
        // Who waits here finds what the one before fetched, or its failure: one request serves all.
        let _flight = self.flight.lock().await;
        if let Some((metadata, _)) = self.usable(now) {
            return Ok(metadata);
        }
        if let Some(failure) = self.lock().pause(now) {
            return Err(failure.clone());
        }
        self.fetch(now).await
    }

    fn refresh_beside(self: &Arc<Self>, now: UnixSeconds) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.lock().pause(now).is_some() {
            return;
        }
        let this = Arc::clone(self);
        drop(runtime.spawn(async move {
            let Ok(_flight) = this.flight.try_lock() else { return };
            if this.usable(now).is_none_or(|(_, is_fresh)| !is_fresh) {
                // What went wrong is kept, and told in the log.
                let _ = this.fetch(now).await;
            }
        }));
    }

    async fn fetch(&self, now: UnixSeconds) -> Result<Arc<Metadata>, Failure> {
        let result = self.ask().await;
        let mut state = self.lock();
        match result {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *state = State { loaded: Some((Arc::clone(&metadata), now)), failed: None };
                Ok(metadata)
            }
            Err(error) => {
                let pause = if error.is_transient() { PAUSE } else { PAUSE_OTHERWISE };
                let issuer = &*self.expected.issuer;
                // Told once for each outage, not with each attempt.
                if state.failed.is_none() {
                    tracing::warn!(issuer, %error, "the provider's metadata cannot be loaded");
                } else {
                    tracing::debug!(issuer, %error, "the provider's metadata still cannot be loaded");
                }
                let failure = Failure::unavailable("the provider's metadata cannot be loaded").with_source(error);
                state.failed = Some((failure.clone(), now.saturating_add(pause)));
                Err(failure)
            }
        }
    }

    async fn ask(&self) -> Result<Metadata, MetadataError> {
        let request = HttpRequest::get(&*self.url).with_header("accept", "application/json");
        let response = endpoint::send(&*self.http, request, HttpLimits::default()).await?;
        match response.status {
            200 => Metadata::read(&response.body, &self.expected),
            status => Err(MetadataError::Status(status)),
        }
    }

    fn usable(&self, now: UnixSeconds) -> Option<(Arc<Metadata>, bool)> {
        self.lock().usable(now)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MetadataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured(_) => "MetadataSource(configured)",
            Self::Published(_) => "MetadataSource(published)",
        })
    }
}

/// How long metadata are taken as they are, as with the address of a key set.
const FRESH: Duration = Duration::from_secs(3600);
/// How much longer they are used while they cannot be fetched.
const STALE: Duration = Duration::from_secs(3600);
/// How long nobody tries again when the provider seems to be away, and when its answer makes no sense.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_OTHERWISE: Duration = Duration::from_secs(30);
const CLOCK_SLACK: Duration = Duration::from_secs(60);
