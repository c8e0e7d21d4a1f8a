use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{Request, Response, StatusCode, Uri};
use sekisho_core::{ConfigError, Credential, Failure, FailureKind, Principal, Refusal, Reject, Secret, UnixSeconds};
use sekisho_gateway::{Guard, NormalPath, ReverseProxy, Route, TokenForward, TokenSwap, Upstream};
use sekisho_http::{Checkpoint, HeadParts, RequestHead};
use sekisho_session::{RequestSession, ReturnTo};

use crate::service::{ServiceTokens, TokenRequest};
use crate::session::access::{AccessError, AccessToken};
use crate::session::bff::Bff;
use crate::session::login::refuse;
use crate::session::party::RelyingParty;
use crate::session::reply::Reply;
use crate::tokens::TokenError;

/// Passes a frontend's calls on to services, with the access token of whoever is logged in: to those that are listed, and to nothing
/// else ([RFC 10017](https://www.rfc-editor.org/rfc/rfc10017)).
///
/// Below its prefix (`/bff/api` by default, which is taken off), each call:
/// - needs the header `X-CSRF` whatever its method, and a session; without one it is 401, never a redirect;
/// - goes by a [`ReverseProxy`]: the path is read in one form or refused, hop-by-hop and forwarding headers and what could name a
///   caller are taken out, bodies stream;
/// - loses its cookies, all of them, and any `Authorization` of its own, and gets `Authorization: Bearer` with the session's token,
///   refreshed if need be, or with one [exchanged](ApiRoute::with_exchange) for the service;
/// - is sent once more with another token, if it has no body and the service answers 401 to a token that is older than 10 s.
///
/// Of an answer `Set-Cookie` and `Clear-Site-Data` are taken out: a service behind sets no cookies of this host. What does not say how
/// it may be cached gets `Cache-Control: no-store`, and what does not say that others may share it gets `private`: the service was sent
/// an `Authorization`, which keeps answers out of shared caches, and the browser sends none. A clone costs a counter.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use sekisho_oidc::{Bff, ClientCredentials, Provider, RelyingParty};
/// # use sekisho_session::{MemorySessionStore, SessionKey, SessionKeys, Sessions};
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let provider = Provider::discover("https://id.example", ClientCredentials::basic("shop", "secret"))
/// #     .redirect_uri("https://shop.example/bff/callback").build()?;
/// # let keys = SessionKeys::new(SessionKey::generate()?);
/// # let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys.clone()).build()?;
/// # let party = RelyingParty::builder(sessions, keys).with_provider("shop", provider).build()?;
/// # let bff = Bff::builder(party).build()?;
/// use sekisho_gateway::Upstream;
/// use sekisho_oidc::{ApiProxy, ApiRoute};
/// let orders = Upstream::new("orders", "http://127.0.0.1:9000")?;
/// let proxy = ApiProxy::builder(&bff).with_route(ApiRoute::new("/orders/*", ["GET", "POST"], &orders)).build()?;
/// assert_eq!(proxy.prefix(), "/bff/api"); // `/bff/api/orders/7` becomes `/orders/7` there
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ApiProxy(Arc<Inner>);

struct Inner {
    bff: Bff,
    prefix: Box<str>,
    proxy: ReverseProxy,
    exchanges: Vec<ServiceTokens>,
}

impl ApiProxy {
    /// Starts from the backend that the calls belong to.
    pub fn builder(bff: &Bff) -> ApiProxyBuilder {
        ApiProxyBuilder {
            bff: bff.clone(),
            prefix: format!("{}/api", bff.base()),
            routes: Vec::new(),
            tune: Vec::new(),
        }
    }

    /// Returns the path that all calls are below.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// Answers one call of the client at `peer`, whose path stands whole.
    pub async fn handle(&self, request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        let session = self.0.bff.party().sessions().begin(&Head::of(&request));
        let mut response = match self.exchange(request, peer, &session).await {
            Ok(response) => response,
            Err(reply) => response_of(&reply),
        };
        match session.finish().await {
            Ok(cookies) => {
                for cookie in cookies {
                    if let Ok(mut value) = HeaderValue::from_str(cookie.expose()) {
                        value.set_sensitive(true);
                        response.headers_mut().append(SET_COOKIE, value);
                        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    }
                }
                response
            }
            Err(failure) => response_of(&Reply::of(&sekisho_http::Answer::of_failure(&failure))),
        }
    }

    async fn exchange(
        &self,
        request: Request<Body>,
        peer: SocketAddr,
        session: &RequestSession,
    ) -> Result<Response<Body>, Reply> {
        let Inner { bff, proxy, exchanges, .. } = &*self.0;
        let party = bff.party();
        if let Err(forgery) = bff.csrf().check_call(&Head::of(&request), session.has_cookie()) {
            return Err(Reply::of(&forgery.answer()));
        }
        let (mut parts, body) = request.into_parts();
        parts.uri = self.inner_uri(&parts)?;
        let refused = |error: &AccessError| error.reply(&CALL);
        let token = party.access_token(session).await.map_err(|error| refused(&error))?;
        self.take_credentials(&mut parts);
        let again = http_body::Body::is_end_stream(&body).then(|| parts.clone());
        let response = passed_on(proxy.handle(Request::from_parts(parts, body), peer).await);
        let Some(again) = again.filter(|_| response.status() == StatusCode::UNAUTHORIZED) else { return Ok(response) };
        match party.access_token_after(&token, session).await {
            Ok(_other) => {
                if let Ok(Some(principal)) = session.principal() {
                    exchanges.iter().for_each(|tokens| tokens.purge_subject(&principal.id()));
                }
                Ok(passed_on(proxy.handle(Request::from_parts(again, Body::empty()), peer).await))
            }
            Err(error @ AccessError::SignedOut) => Err(refused(&error)),
            Err(_) => Ok(response),
        }
    }

    /// Takes the prefix off, in the one form of the path that the proxy decides by.
    fn inner_uri(&self, parts: &Parts) -> Result<Uri, Reply> {
        let target = parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default();
        let (path, query) = NormalPath::parse_target(target)
            .map_err(|_| refuse(&CALL, 400, "Bad Request", "The path can be read in more than one way."))?;
        let inner = path.as_str().strip_prefix(&*self.0.prefix).filter(|inner| inner.starts_with('/'));
        let missing = || refuse(&CALL, 404, "Not Found", "There is nothing here.");
        let inner = inner.ok_or_else(missing)?;
        let target = query.map_or_else(|| inner.to_owned(), |query| format!("{inner}?{query}"));
        target.parse().map_err(|_| missing())
    }

    /// Leaves of what proves who calls the session's cookie alone, which the proxy reads and takes out.
    fn take_credentials(&self, parts: &mut Parts) {
        let cookie = self.0.bff.party().sessions().cookie();
        let head = Head { method: &parts.method, uri: &parts.uri, headers: &parts.headers };
        let session = cookie.read(&head).ok().flatten().map(|value| format!("{}={value}", cookie.name()));
        parts.headers.remove(AUTHORIZATION);
        parts.headers.remove(COOKIE);
        if let Some(mut value) = session.and_then(|session| HeaderValue::try_from(session).ok()) {
            value.set_sensitive(true);
            parts.headers.insert(COOKIE, value);
        }
    }
}

/// Takes out of a service's answer what would change this host's cookies, and keeps it from caches that others share.
fn passed_on(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.remove(SET_COOKIE);
    headers.remove("clear-site-data");
    // RFC 9111 §3.5: the service's request had `Authorization`, so no shared cache kept its answer unless told to. The browser's has not.
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    } else if !says_who_may_keep_it(headers) {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
    response
}

fn says_who_may_keep_it(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|directive| {
        let directive = directive.trim().to_ascii_lowercase();
        // `private="…"` is about some headers only.
        matches!(&*directive, "no-store" | "private" | "public") || directive.starts_with("s-maxage=")
    })
}

fn response_of(reply: &Reply) -> Response<Body> {
    let mut response = Response::new(Body::from(reply.body().to_vec()));
    *response.status_mut() = StatusCode::from_u16(reply.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers() {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    response
}

impl fmt::Debug for ApiProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { prefix, proxy, .. } = &*self.0;
        f.debug_struct("ApiProxy").field("prefix", prefix).field("proxy", proxy).finish_non_exhaustive()
    }
}

/// Sends some of a frontend's calls to a service.
#[derive(Debug)]
#[must_use]
pub struct ApiRoute {
    path: String,
    methods: Vec<String>,
    upstream: Upstream,
    exchange: Option<(ServiceTokens, Box<str>)>,
    exchanged_scope: Option<Box<str>>,
}

impl ApiRoute {
    /// Sends these methods of these paths there: `/orders`, `/orders/{id}`, `/orders/*`, as the service knows them.
    pub fn new<S: Into<String>>(
        path: impl Into<String>,
        methods: impl IntoIterator<Item = S>,
        upstream: &Upstream,
    ) -> Self {
        let methods = methods.into_iter().map(Into::into).collect();
        Self { path: path.into(), methods, upstream: upstream.clone(), exchange: None, exchanged_scope: None }
    }

    /// Sends a token that was exchanged for this audience ([RFC 8693](https://www.rfc-editor.org/rfc/rfc8693)) instead of the login's own:
    /// the service gets one that is good there alone.
    ///
    /// It is kept, and asked for once by all who want it, for (access token of the session, whose it is, audience, scope), and no longer
    /// than that access token lives. Not for the subject alone: two logins of a person can differ in what they may, a token that was
    /// withdrawn or refreshed since must not live on in what it was exchanged for, and what the provider refuses one login it must not get
    /// by another. So each session exchanges its own token, once in the life of that token.
    pub fn with_exchange(mut self, tokens: &ServiceTokens, audience: impl Into<Box<str>>) -> Self {
        self.exchange = Some((tokens.clone(), audience.into()));
        self
    }

    /// Asks for no more than these scopes, separated by spaces, where the token is exchanged. Default: what the provider gives.
    pub fn with_exchanged_scope(self, scope: impl Into<Box<str>>) -> Self {
        Self { exchanged_scope: Some(scope.into()), ..self }
    }
}

/// Builds an [`ApiProxy`].
#[must_use]
pub struct ApiProxyBuilder {
    bff: Bff,
    prefix: String,
    routes: Vec<ApiRoute>,
    tune: Vec<Tune>,
}

type Tune = Box<dyn FnOnce(ReverseProxy) -> ReverseProxy + Send>;

impl ApiProxyBuilder {
    /// Sets the path that all calls are below, which is taken off. Default: the backend's base with `/api`.
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Adds a route; the first that fits a call takes it. At least one is needed.
    pub fn with_route(mut self, route: ApiRoute) -> Self {
        self.routes.push(route);
        self
    }

    /// Changes the proxy underneath: its limits, timeouts and trusted proxies.
    pub fn with_proxy(mut self, tune: impl FnOnce(ReverseProxy) -> ReverseProxy + Send + 'static) -> Self {
        self.tune.push(Box::new(tune));
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// A prefix that is no path; no route; one without methods, or with a scope to exchange for and no exchange; what [`ReverseProxy::new`] finds wrong.
    pub fn build(self) -> Result<ApiProxy, ConfigError> {
        let Self { bff, prefix, routes, tune } = self;
        let is_path = NormalPath::parse(&prefix).is_ok_and(|path| path.as_str() == prefix);
        if !is_path || ReturnTo::parse(&prefix).is_none() || prefix.ends_with('/') {
            return Err(ConfigError::new(format!("{prefix:?} is no path such as `/bff/api`")));
        }
        let sessions = bff.party().sessions();
        let checkpoint =
            Checkpoint::builder().with_cookie(sessions.cookie().name()).accept(sessions.authenticator()).build()?;
        let mut exchanges = Vec::new();
        let mut checked = Vec::new();
        for ApiRoute { path, methods, upstream, exchange, exchanged_scope } in routes {
            if methods.is_empty() {
                return Err(ConfigError::new(format!("the route {path:?} must name its methods")));
            }
            // The login's own token would be sent, with all its scopes.
            if exchanged_scope.is_some() && exchange.is_none() {
                return Err(ConfigError::new(format!(
                    "the route {path:?} has a scope for an exchange, and no exchange"
                )));
            }
            exchanges.extend(exchange.as_ref().map(|(tokens, _)| tokens.clone()));
            let exchange = exchange.map(|(tokens, audience)| (tokens, audience, exchanged_scope));
            let swap = SessionTokens { party: bff.party().clone(), exchange };
            let route = Route::new(path, &upstream, Guard::checkpoint(checkpoint.clone()));
            checked.push(route.for_methods(methods).forwarding(TokenForward::Swap(Arc::new(swap))));
        }
        let proxy = tune.into_iter().fold(ReverseProxy::new(checked)?, |proxy, tune| tune(proxy));
        Ok(ApiProxy(Arc::new(Inner { bff, prefix: prefix.into(), proxy, exchanges })))
    }
}

impl fmt::Debug for ApiProxyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bff: _, prefix, routes, tune: _ } = self;
        f.debug_struct("ApiProxyBuilder").field("prefix", prefix).field("routes", routes).finish_non_exhaustive()
    }
}

/// Gives a session's access token for its cookie.
struct SessionTokens {
    party: RelyingParty,
    exchange: Option<(ServiceTokens, Box<str>, Option<Box<str>>)>,
}

impl SessionTokens {
    async fn token(&self, cookie: Credential<'_>, principal: &Principal) -> Result<AccessToken, Refusal> {
        let sessions = self.party.sessions();
        let pair = format!("{}={}", sessions.cookie().name(), cookie.expose());
        let headers: &[(&str, &[u8])] = &[("cookie", pair.as_bytes())];
        let session = sessions.begin(&HeadParts { method: "GET", path: "/", headers });
        // The checkpoint has loaded it.
        session.load(Some(principal)).await?;
        self.party.access_token(&session).await.map_err(|error| match error {
            AccessError::SignedOut | AccessError::Over => Reject::SignedOut.into(),
            AccessError::Failure(failure) => failure.into(),
        })
    }
}

#[async_trait]
impl TokenSwap for SessionTokens {
    fn swap_now(&self, _: Credential<'_>, _: &Principal, _: UnixSeconds) -> Option<Result<Secret, Refusal>> {
        None
    }

    async fn swap(&self, credential: Credential<'_>, principal: &Principal, _: UnixSeconds) -> Result<Secret, Refusal> {
        let token = self.token(credential, principal).await?;
        let Some((tokens, audience, scope)) = &self.exchange else {
            return if token.is_dpop() { Err(BOUND.into()) } else { Ok(token.secret().clone()) };
        };
        // The principal is the session's, and ends with it: the login's token ends sooner.
        let wanted = TokenRequest::on_behalf_of(principal, token.secret().clone()).ending_at(token.expires_at());
        let wanted = wanted.with_audience(audience.clone());
        let wanted = scope.iter().fold(wanted, |wanted, scope| wanted.with_scope(scope));
        match tokens.token(&wanted, self.party.now()).await {
            Ok(exchanged) if exchanged.is_dpop() => Err(BOUND.into()),
            Ok(exchanged) => Ok(exchanged.secret().clone()),
            Err(TokenError::Failure(failure)) => Err(failure.into()),
            Err(error) => {
                Err(Failure::new(FailureKind::BadGateway, "the provider exchanged no token").with_source(error).into())
            }
        }
    }
}

impl fmt::Debug for SessionTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audience = self.exchange.as_ref().map(|(_, audience, _)| audience);
        f.debug_struct("SessionTokens").field("audience", &audience).finish_non_exhaustive()
    }
}

const BOUND: Failure =
    Failure::new(FailureKind::Misconfigured, "a token that is bound to our key cannot be sent on as a bearer token");

/// What is refused here is always a script's.
const CALL: HeadParts<'static> = HeadParts { method: "GET", path: "/", headers: &[("sec-fetch-mode", b"cors")] };

/// Reads a request of `http`.
struct Head<'r> {
    method: &'r http::Method,
    uri: &'r Uri,
    headers: &'r HeaderMap,
}

impl<'r> Head<'r> {
    fn of(request: &'r Request<Body>) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers() }
    }
}

impl RequestHead for Head<'_> {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}
