use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::header::HeaderValue;
use http::request::Parts;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use sekisho_core::{
    Clock, ConfigError, Credential, CredentialKind, Failure, FailureKind, Principal, Refusal, SystemClock,
};
use sekisho_http::{ClientCertificate, TrustedProxies};
use tokio::time::Instant;

use crate::decision::{DPOP_NONCE, Original, Passed, guard};
use crate::identity::IdentityHeaders;
use crate::journey::{Journey, JourneyListener, JourneyStep, shown};
use crate::path::{NormalPath, normal_host};
use crate::refusal::{Refused, failed, of_answer, problem};
use crate::token_swap::{TokenForward, TokenSwap};

mod body;
mod headers;
mod io;
mod route;
mod tunnel;
mod upstream;

use body::{Bounds, LimitedBody, Trouble};
pub(crate) use io::StallGuard;
pub use route::{Guard, Route};
use tunnel::TunnelBounds;
pub(crate) use tunnel::{ConnectionPermit, Tunnels};

pub use upstream::{Upstream, UpstreamOptions};

/// Passes requests on to services, after the same decisions as everywhere: who calls, may they, what is the service told.
///
/// - Nothing of a request chooses the upstream: a route does, and routes are fixed.
/// - The path is normalised once; the route is found by that form and it is what the upstream gets. What can be read in two ways is 400.
/// - Bodies stream both ways, as fast as the slower side takes them. WebSockets are tunnelled on routes that say so, until the caller's
///   credential expires.
/// - Hop-by-hop headers, identity headers of the client's own, `Forwarded`, `X-Forwarded-*` and what overrides method or path
///   (`X-HTTP-Method-Override`, `X-Original-URL`, …), and names with anything but letters, digits and `-` are taken out; forwarding
///   headers are set anew.
/// - Headers of client certificates (`Client-Cert`, `SSL-Client-*`, …, and the one that the route's checkpoint reads) go on from
///   [listed proxies](Self::with_trusted_proxies) only.
/// - Trailers of requests are taken out: no rule for headers would hold for them.
/// - The credential is taken out unless the route says otherwise, and with it a `DPoP` proof. One in a cookie proves nothing where another
///   site may have caused the request; see [`Route::with_origins`].
///
/// A clone is the same proxy and costs a counter.
#[derive(Clone)]
pub struct ReverseProxy(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    routes: Vec<Arc<Route>>,
    limits: ProxyLimits,
    timeouts: ProxyTimeouts,
    proxies: TrustedProxies,
    identity: IdentityHeaders,
    clock: Arc<dyn Clock>,
    listener: Option<Arc<dyn JourneyListener>>,
    journeys: Arc<AtomicU64>,
    tunnels: Tunnels,
}

/// Bounds what a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it by its fields")]
pub struct ProxyLimits {
    /// Bytes of request line and headers, in HTTP/2 with 32 for each of them ([RFC 9113 §6.5.2](https://www.rfc-editor.org/rfc/rfc9113#section-6.5.2)).
    /// Default 16 KiB, at least 8 KiB.
    pub header_bytes: usize,
    /// How many headers. Default 100.
    pub headers: usize,
    /// Bytes of a request's body, unless the route has a limit of its own. Default 10 MiB.
    pub body_bytes: u64,
    /// Open connections of clients, tunnels among them; more wait to be accepted. Default 10,000.
    pub connections: usize,
    /// Requests under way at once on one connection of HTTP/2. Default 100.
    pub streams: u32,
    /// Open tunnels, those among them that are about to open; more are answered 503. Default 10,000.
    pub tunnels: usize,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            header_bytes: 16 * 1024,
            headers: 100,
            body_bytes: 10 * 1024 * 1024,
            connections: 10_000,
            streams: 100,
            tunnels: 10_000,
        }
    }
}

/// Bounds how long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it by its fields")]
pub struct ProxyTimeouts {
    /// To read a request's line and headers, and between two requests of a connection; in HTTP/2, without any request. Default 10 s.
    pub request_head: Duration,
    /// From the request sent until the response's headers are there. Default 30 s.
    pub response: Duration,
    /// Without any byte of a body, a tunnel, or one that the client takes. Default 60 s.
    pub idle: Duration,
    /// For the whole exchange, tunnels excepted. Default none, so that streams can go on.
    pub total: Option<Duration>,
    /// How long running requests have when the gateway ends. Default 30 s.
    pub shutdown: Duration,
}

impl Default for ProxyTimeouts {
    fn default() -> Self {
        Self {
            request_head: Duration::from_secs(10),
            response: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            total: None,
            shutdown: Duration::from_secs(30),
        }
    }
}

impl ReverseProxy {
    /// Puts routes together. The first that fits a request takes it.
    ///
    /// # Errors
    /// No route; one that is never reached because one before it covers it; what a route finds wrong.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Result<Self, ConfigError> {
        let mut checked: Vec<Arc<Route>> = Vec::new();
        for mut route in routes {
            let number = checked.len() + 1;
            route.check().map_err(|error| ConfigError::new(format!("route {number}: {error}")))?;
            if let Some(before) = checked.iter().position(|earlier| earlier.covers(&route)) {
                let before = before + 1;
                return Err(ConfigError::new(format!("route {number} is never reached: route {before} covers it")));
            }
            checked.push(Arc::new(route));
        }
        if checked.is_empty() {
            return Err(ConfigError::new("a proxy without a route passes nothing on"));
        }
        Ok(Self::of(checked))
    }

    /// Passes nothing on: for a gateway that only answers other proxies.
    pub(crate) fn without_routes() -> Self {
        Self::of(Vec::new())
    }

    fn of(routes: Vec<Arc<Route>>) -> Self {
        Self(Arc::new(Inner {
            routes,
            limits: ProxyLimits::default(),
            timeouts: ProxyTimeouts::default(),
            proxies: TrustedProxies::none(),
            identity: IdentityHeaders::new(),
            clock: Arc::new(SystemClock),
            listener: None,
            journeys: Arc::default(),
            tunnels: Tunnels::default(),
        }))
    }

    /// Sets the limits. Default [`ProxyLimits::default`].
    #[must_use]
    pub fn with_limits(self, limits: ProxyLimits) -> Self {
        self.with(|inner| inner.limits = limits)
    }

    /// Sets the timeouts. Default [`ProxyTimeouts::default`].
    #[must_use]
    pub fn with_timeouts(self, timeouts: ProxyTimeouts) -> Self {
        self.with(|inner| inner.timeouts = timeouts)
    }

    /// Believes `X-Forwarded-For` and `X-Forwarded-Proto` of these peers, and adds to them. Default: nobody's.
    #[must_use]
    pub fn with_trusted_proxies(self, proxies: TrustedProxies) -> Self {
        self.with(|inner| inner.proxies = proxies)
    }

    /// Tells services who calls. Default: nothing.
    #[must_use]
    pub fn with_identity(self, identity: IdentityHeaders) -> Self {
        self.with(|inner| inner.identity = identity)
    }

    /// Takes the time from this clock. Default: the operating system's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.with(|inner| inner.clock = clock)
    }

    /// Tells somebody of each request's steps. Default: nobody.
    #[must_use]
    pub fn with_listener(self, listener: Arc<dyn JourneyListener>) -> Self {
        self.with(|inner| inner.listener = Some(listener))
    }

    pub(crate) fn with_tunnels(self, tunnels: Tunnels) -> Self {
        self.with(|inner| inner.tunnels = tunnels)
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }

    pub(crate) fn limits(&self) -> ProxyLimits {
        self.0.limits
    }

    pub(crate) fn timeouts(&self) -> ProxyTimeouts {
        self.0.timeouts
    }

    /// Answers one request of the client at `peer`.
    ///
    /// Within another server, a [`ClientCertificate`] in the request's extensions counts as the client's own: put there what that server's
    /// TLS layer verified, and nothing else.
    pub async fn handle(&self, request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        let journey = match &self.0.listener {
            None => Journey::silent(),
            Some(listener) => {
                let number = self.0.journeys.fetch_add(1, Ordering::Relaxed) + 1;
                Journey::told_to(Arc::clone(listener), number)
            }
        };
        journey.tell(JourneyStep::Request, || {
            format!("{} {} from {}", shown(request.method().as_str()), shown(request.uri().path()), peer.ip())
        });
        let response = match self.exchange(request, peer, &journey).await {
            Ok(response) => response,
            Err(refusal) => refusal.map(Body::from),
        };
        journey.tell(JourneyStep::Client, || response.status().to_string());
        response
    }

    async fn exchange(
        &self,
        mut request: Request<Body>,
        peer: SocketAddr,
        journey: &Journey,
    ) -> Result<Response<Body>, Refused> {
        let Inner { identity, proxies, clock, timeouts, .. } = &*self.0;
        let started = Instant::now();
        // Asked for before the request is taken apart, or it would be lost.
        let client_upgrade = headers::asks_for_websocket(&request).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let target = Target::read(&parts)?;
        let route = self.route(&target, &parts.method).ok_or_else(|| problem(StatusCode::NOT_FOUND))?;
        let is_websocket = client_upgrade.is_some() && route.takes_websockets();
        let is_encrypted = parts.extensions.get::<Encrypted>().is_some();
        route.origins().check_page(&parts.headers)?;
        if identity.strip(&mut parts.headers) {
            tracing::info!(target: "sekisho", peer = %peer.ip(), "a client sent identity headers of its own; taken out");
        }
        let Passed { principal, nonce } = self.authenticate(&route, &parts, &target, peer, journey).await?;
        let swapped = self.token(&route, &parts, &target, principal.as_ref()).await?;
        let (peer_address, is_trusted) = (peer.ip(), proxies.contains(peer.ip()));
        let forwarding = headers::Forwarding { peer: peer_address, is_trusted, is_encrypted, host: &target.raw_host };
        let mut outgoing = headers::for_upstream(&parts.headers, &forwarding, is_websocket);
        route.take_credentials(&mut outgoing);
        // Services that read the same header as the checkpoint would believe a client's word for its own certificate.
        if !is_trusted {
            route.take_certificate(&mut outgoing);
        }
        if let Some(token) = swapped {
            outgoing.insert(header::AUTHORIZATION, token);
        }
        let values = identity.values(principal.as_ref(), clock.now()).map_err(|failure| failed(&failure))?;
        for (name, value) in values {
            if let Some(value) = value {
                outgoing.insert(name, value);
            }
        }
        // Before anything is sent: a service need not learn of what cannot be.
        let place = match is_websocket {
            true => Some(self.0.tunnels.place(self.0.limits.tunnels).ok_or_else(|| {
                tracing::warn!(target: "sekisho", "request refused: too many tunnels are open");
                problem(StatusCode::SERVICE_UNAVAILABLE)
            })?),
            false => None,
        };
        let upstream = route.upstream();
        if upstream.preserves_host()
            && let Ok(host) = HeaderValue::from_str(&target.raw_host)
        {
            outgoing.insert(header::HOST, host);
        }
        let limit = route.max_body().unwrap_or(self.0.limits.body_bytes);
        if http_body::Body::size_hint(&body).lower() > limit {
            return Err(problem(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let deadline = timeouts.total.map(|total| started + total);
        let trouble = Trouble::default();
        let bounds = Bounds { idle: timeouts.idle, deadline, max_bytes: Some(limit), takes_trailers: false };
        let mut sent = Request::new(Body::new(LimitedBody::new(body, bounds, trouble.clone())));
        *sent.method_mut() = parts.method.clone();
        *sent.uri_mut() = upstream.uri(&target.path, target.query.as_deref())?;
        *sent.headers_mut() = outgoing;
        journey.tell(JourneyStep::Backend, || format!("to {}: {}", upstream.name(), shown(target.path.as_str())));
        let mut response = self.send(upstream, sent, deadline, &trouble).await?;
        journey.tell(JourneyStep::Gateway, || format!("{} answers {}", upstream.name(), response.status()));
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(place), Some(client)) = (place, client_upgrade) else {
                return Err(bad_gateway("the upstream switched protocols without having been asked"));
            };
            let ends = principal.and_then(|principal| principal.expires_in(clock.now()));
            let permit = parts.extensions.get::<ConnectionPermit>().cloned();
            let bounds = TunnelBounds { idle: timeouts.idle, ends, permit, place };
            return tunnel::open(client, &mut response, bounds);
        }
        let (mut parts, body) = response.into_parts();
        headers::for_client(&mut parts.headers);
        // Nonces are demanded here, so one of the service's own would be refused.
        if let Some(nonce) = nonce {
            parts.headers.insert(DPOP_NONCE, nonce);
        }
        parts.version = Version::HTTP_11;
        let bounds = Bounds { idle: timeouts.idle, deadline, max_bytes: None, takes_trailers: true };
        Ok(Response::from_parts(parts, Body::new(LimitedBody::new(body, bounds, Trouble::default()))))
    }

    fn route(&self, target: &Target, method: &Method) -> Option<Arc<Route>> {
        let fits = |route: &&Arc<Route>| route.matches(&target.host, &target.path, method.as_str());
        self.0.routes.iter().find(fits).cloned()
    }

    async fn authenticate(
        &self,
        route: &Route,
        parts: &Parts,
        target: &Target,
        peer: SocketAddr,
        journey: &Journey,
    ) -> Result<Passed, Refused> {
        match route.guard() {
            Guard::Public => Ok(Passed::default()),
            Guard::Deny => {
                tracing::info!(target: "sekisho", "request denied: the route lets nobody pass");
                Err(problem(StatusCode::FORBIDDEN))
            }
            Guard::Checkpoint { checkpoint, requirement } => {
                let original = Original {
                    method: parts.method.as_str(),
                    host: Some(&target.host),
                    authority: Some(&target.raw_host),
                    path: &target.path,
                    headers: &parts.headers,
                    peer: Some(peer.ip()),
                    certificate: parts.extensions.get::<ClientCertificate>().cloned(),
                };
                journey.tell(JourneyStep::Authorizer, || "the route's checkpoint is asked".to_owned());
                let found = guard(checkpoint, requirement, route.origins(), &original).await;
                journey.tell(JourneyStep::Verify, || match &found {
                    Ok(Passed { principal: Some(principal), .. }) => format!("passes: {}", principal.id()),
                    Ok(_) => "passes without a principal".to_owned(),
                    Err(refusal) => format!("refused: {}", refusal.status()),
                });
                found
            }
            Guard::Authorizer { authorizer, scopes } => {
                let found = authorizer.authorize_watched(parts, scopes, journey).await;
                let passed = |principal| Passed { principal: Some(principal), nonce: None };
                found.map(passed).map_err(|answer| Box::new(answer.into_response()))
            }
        }
    }

    /// Swaps the credential, where the route says so.
    async fn token(
        &self,
        route: &Route,
        parts: &Parts,
        target: &Target,
        principal: Option<&Principal>,
    ) -> Result<Option<HeaderValue>, Refused> {
        let (TokenForward::Swap(swap), Some(principal)) = (route.token(), principal) else { return Ok(None) };
        let now = self.0.clock.now();
        let (method, headers) = (parts.method.as_str(), &parts.headers);
        let (host, authority) = (None, None);
        let original = Original { method, host, authority, path: &target.path, headers, peer: None, certificate: None };
        let (credential, checkpoint) = match route.guard() {
            Guard::Checkpoint { checkpoint, .. } => {
                (checkpoint.sources().extract(&original).ok().flatten(), Some(checkpoint))
            }
            Guard::Authorizer { authorizer, .. } => {
                (authorizer.token(parts).map(|token| Credential::new(CredentialKind::Bearer, token)), None)
            }
            Guard::Public | Guard::Deny => (None, None),
        };
        let lost =
            || failed(&Failure::new(FailureKind::Misconfigured, "the credential was gone after it was verified"));
        let credential = credential.ok_or_else(lost)?;
        match swapped(&**swap, credential, principal, now).await {
            Ok(value) => Ok(Some(value)),
            Err(Refusal::Failure(failure)) => Err(failed(&failure)),
            Err(refusal @ Refusal::Reject(_)) => Err(match checkpoint {
                Some(checkpoint) => of_answer(&checkpoint.refuse(&refusal)),
                None => Box::new(crate::authorizer::AuthorizerAnswer::of(&refusal).into_response()),
            }),
        }
    }

    async fn send(
        &self,
        upstream: &Upstream,
        request: Request<Body>,
        deadline: Option<Instant>,
        trouble: &Trouble,
    ) -> Result<Response<hyper::body::Incoming>, Refused> {
        let timeouts = &self.0.timeouts;
        let sending = upstream.send(request);
        // The upstream has its time from when it has the request, and a body may take long to come.
        let waiting = trouble.wait(sending, *timeouts, deadline);
        match waiting.await {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(match trouble.status() {
                Some(status) => problem(status),
                None => upstream.refusal(&error),
            }),
            None => {
                tracing::warn!(target: "sekisho", upstream = upstream.name(), "the upstream does not answer in time");
                Err(problem(StatusCode::GATEWAY_TIMEOUT))
            }
        }
    }
}

impl fmt::Debug for ReverseProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { routes, limits, timeouts, proxies, identity, .. } = &*self.0;
        f.debug_struct("ReverseProxy")
            .field("routes", routes)
            .field("limits", limits)
            .field("timeouts", timeouts)
            .field("proxies", proxies)
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

/// Swaps a credential, and writes what comes of it as a value of `Authorization`.
pub(crate) async fn swapped(
    swap: &dyn TokenSwap,
    credential: Credential<'_>,
    principal: &Principal,
    now: sekisho_core::UnixSeconds,
) -> Result<HeaderValue, Refusal> {
    let token = match swap.swap_now(credential, principal, now) {
        Some(answer) => answer?,
        None => swap.swap(credential, principal, now).await?,
    };
    let is_token =
        |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
    let nonsense = || Failure::new(FailureKind::BadGateway, "what a token was swapped for is no bearer token");
    let text = token.expose_str().filter(is_token).ok_or_else(nonsense)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| nonsense())?;
    value.set_sensitive(true);
    Ok(value)
}

pub(crate) fn bad_gateway(context: &'static str) -> Refused {
    failed(&Failure::new(FailureKind::BadGateway, context))
}

/// Marks, in a request's extensions, that TLS ended here.
#[derive(Clone, Copy)]
pub(crate) struct Encrypted;

/// Is what a request asks for, read in one way only.
struct Target {
    /// In the form that is compared.
    host: String,
    /// As it came, with the port.
    raw_host: String,
    path: NormalPath,
    query: Option<String>,
}

impl Target {
    fn read(parts: &Parts) -> Result<Self, Refused> {
        let refuse = |what: &str| {
            tracing::info!(target: "sekisho", "request refused: {what}");
            problem(StatusCode::BAD_REQUEST)
        };
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Err(problem(StatusCode::METHOD_NOT_ALLOWED));
        }
        // RFC 9113 §8.3.1 lets a client name any scheme; a service that goes by it would be misled.
        let is_encrypted = parts.extensions.get::<Encrypted>().is_some();
        if is_encrypted && parts.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
            return Err(refuse("it names another scheme than the connection's"));
        }
        // RFC 9112 §6.1: a message with both is an attempt to be read in two ways.
        if parts.headers.contains_key(header::TRANSFER_ENCODING) && parts.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(refuse("it has both a length and a transfer encoding"));
        }
        let raw_host =
            host_of(&parts.uri, &parts.headers).ok_or_else(|| refuse("it does not name exactly one host"))?;
        let host = normal_host(&raw_host).ok_or_else(|| refuse("its host can be read in more than one way"))?;
        let target = parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default();
        let parsed = NormalPath::parse_target(target);
        let (path, query) = parsed.map_err(|_| refuse("its path can be read in more than one way"))?;
        Ok(Self { host, raw_host, path, query: query.map(str::to_owned) })
    }
}

/// Takes the one host ([RFC 9112 §3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2)).
fn host_of(uri: &Uri, headers: &header::HeaderMap) -> Option<String> {
    let mut named = headers.get_all(header::HOST).iter();
    let (first, second) = (named.next(), named.next());
    if second.is_some() {
        return None;
    }
    let named = match first {
        Some(host) => Some(host.to_str().ok()?),
        None => None,
    };
    match (uri.authority().map(http::uri::Authority::as_str), named) {
        (Some(authority), Some(named)) if !authority.eq_ignore_ascii_case(named) => None,
        (Some(host), _) | (None, Some(host)) => Some(host.to_owned()),
        (None, None) => None,
    }
}
