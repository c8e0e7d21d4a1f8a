use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sekisho_core::ConfigError;

use crate::journey::shown;
use crate::path::NormalPath;
use crate::refusal::{Refused, misconfigured, problem};

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// Says how an upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it by its fields")]
pub struct UpstreamOptions {
    /// Whether it is spoken to in HTTP/2, without asking first. Default HTTP/1.1.
    pub http2: bool,
    /// Whether it gets the client's `Host`. Default its own.
    pub client_host: bool,
    /// How long connecting may take. Default 2 s.
    pub connect_timeout: Duration,
}

impl Default for UpstreamOptions {
    fn default() -> Self {
        Self { http2: false, client_host: false, connect_timeout: Duration::from_secs(2) }
    }
}

/// Is a service that requests are passed on to: a fixed origin, and a pool of connections to it.
///
/// A clone shares the pool.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    name: Box<str>,
    scheme: Scheme,
    authority: Authority,
    is_http2: bool,
    preserves_host: bool,
    client: Client<Connector, Body>,
}

impl Upstream {
    /// Names a service, and where it is: `http://orders.internal:8080`, or `https://…` with the feature `tls`.
    ///
    /// Connections are kept and used again, HTTP/1.1, for 60 s without use, 64 of them at most.
    ///
    /// # Errors
    /// What is no origin: another scheme, a path, a query, user info, no host. TLS that cannot be set up.
    pub fn new(name: impl Into<Box<str>>, origin: &str) -> Result<Self, ConfigError> {
        Self::with_options(name, origin, UpstreamOptions::default())
    }

    /// Names a service, where it is, and how it is spoken to.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(
        name: impl Into<Box<str>>,
        origin: &str,
        options: UpstreamOptions,
    ) -> Result<Self, ConfigError> {
        let name = name.into();
        let UpstreamOptions { http2: is_http2, client_host: preserves_host, connect_timeout } = options;
        let refuse = |why: &str| ConfigError::new(format!("upstream {name:?}: {why}"));
        let uri: Uri = origin.parse().map_err(|_| refuse("not a URL"))?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(refuse("must be `http://HOST:PORT` or `https://HOST`"));
        };
        let is_bare = parts.path_and_query.is_none_or(|path| path == "/");
        if !is_bare || origin.contains(['#', '?']) {
            return Err(refuse("must be an origin, without path and query: the request's own path is passed on"));
        }
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(refuse("must name a host, without user name and password"));
        }
        if scheme != Scheme::HTTP && (scheme != Scheme::HTTPS || !cfg!(feature = "tls")) {
            return Err(refuse("must be `http`, or `https` with the feature `tls`"));
        }
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(connect_timeout));
        let mut client = Client::builder(TokioExecutor::new());
        client
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(64)
            .http2_only(is_http2);
        let client = client.build(connector(http, is_http2).map_err(|why| refuse(&why))?);
        Ok(Self(Arc::new(Inner { name, scheme, authority, is_http2, preserves_host, client })))
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns where it is.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.0.scheme, self.0.authority)
    }

    pub(super) fn is_http2(&self) -> bool {
        self.0.is_http2
    }

    pub(super) fn preserves_host(&self) -> bool {
        self.0.preserves_host && !self.0.is_http2
    }

    pub(super) fn uri(&self, path: &NormalPath, query: Option<&str>) -> Result<Uri, Refused> {
        let target = match query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_string(),
        };
        let Inner { scheme, authority, .. } = &*self.0;
        let uri = Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query(target);
        uri.build().map_err(|_| misconfigured("a normalised target is no target"))
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        self.0.client.request(request).await
    }

    /// Answers for an upstream that gave no answer.
    pub(super) fn refusal(&self, error: &Error) -> Refused {
        let mut causes = String::new();
        let mut is_timeout = false;
        let mut source = std::error::Error::source(error);
        for _ in 0..8 {
            let Some(cause) = source else { break };
            causes.push_str(": ");
            causes.push_str(&shown(&cause.to_string()));
            let io = cause.downcast_ref::<std::io::Error>();
            is_timeout |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut);
            source = cause.source();
        }
        tracing::warn!(target: "sekisho", upstream = self.name(), "the upstream gave no answer: {error}{causes}");
        problem(if is_timeout { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY })
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({} at {})", self.name(), self.origin())
    }
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "the other one fails")]
fn connector(http: HttpConnector, _is_http2: bool) -> Result<Connector, String> {
    Ok(http)
}

#[cfg(feature = "tls")]
fn connector(http: HttpConnector, is_http2: bool) -> Result<Connector, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_platform_verifier(provider)
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .https_or_http();
    Ok(if is_http2 { builder.enable_http2().wrap_connector(http) } else { builder.enable_http1().wrap_connector(http) })
}
