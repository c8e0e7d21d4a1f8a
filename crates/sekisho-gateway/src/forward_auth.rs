use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::any;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use sekisho_core::{Clock, ConfigError, Principal, Refusal, SystemClock};
use sekisho_http::{Checkpoint, TrustedProxies};

use crate::decision::{DPOP_NONCE, Original, Passed, decide};
use crate::header_names::is_override;
use crate::identity::IdentityHeaders;
use crate::origins::Origins;
use crate::path::{NormalPath, normal_host};
use crate::proxy::swapped;
use crate::refusal::{Refused, failed, misconfigured, of_answer, problem};
use crate::rules::RuleTable;
use crate::token_swap::{TokenSwap, check_swap_of_bound};

#[cfg(test)]
mod tests;

/// Names the proxy that asks, and so where the client's request is described.
///
/// How each proxy is set up for it stands in [`docs/gateway.md`](https://github.com/sekisho-rs/sekisho/blob/main/docs/gateway.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// nginx's `auth_request`: `X-Original-Method`, `X-Original-URI`, and `X-Original-Host` if a rule names a host; all set by the
    /// operator's configuration. nginx passes 2xx, 401 and 403 on, and makes 500 of everything else.
    Nginx,
    /// Traefik's `ForwardAuth`: `X-Forwarded-Method`, `X-Forwarded-Host`, `X-Forwarded-Uri`.
    Traefik,
    /// Caddy's `forward_auth`: the same headers as Traefik's.
    Caddy,
    /// Envoy's `ext_authz` over HTTP: the client's own method, `Host`, and path behind the `path_prefix`.
    Envoy,
}

/// Answers proxies that ask, for each request, whether it may pass.
///
/// 200 means yes, with the [identity headers](IdentityHeaders) to set on the request, and the [token](Self::with_token_swap), all of them each time: one that says nothing is empty (or,
/// for Envoy, listed in `x-envoy-auth-headers-to-remove`), so that what a client sent under its name is overwritten. Anything else means
/// no: 400 for a path that can be read in two ways, 401 and 403 with a challenge, 500, 502 or 503 when our side broke.
///
/// 400 too for what an answer could not take out: a header that some servers read as an identity header (`X_Auth_Subject`, `X.Auth.Subject`), or
/// as another method or path (`X-HTTP-Method-Override`, `X-Original-URL`, `X-Rewrite-URL`, …). Envoy shows us few headers, so there its own
/// configuration has to; see `docs/gateway.md`.
///
/// A credential in a cookie counts only where no [other site](Self::with_origins) can have caused the request.
///
/// The certificate of the connection is the proxy's own and never taken for the client's. A token that is bound to the client's
/// ([RFC 8705 §3](https://www.rfc-editor.org/rfc/rfc8705#section-3)) passes only where the checkpoint believes this proxy's
/// [header](sekisho_http::CheckpointBuilder::with_client_certificate_header).
///
/// Only [listed proxies](TrustedProxies) are answered. Whoever else asks gets 403 and a line in the log: what they say of a request is worth nothing.
///
/// # Examples
/// ```
/// # use sekisho_testkit::FakeAuthenticator as Jwt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sekisho_core::scope;
/// use sekisho_gateway::{Access, Dialect, ForwardAuth, IdentityHeaders, Rule, RuleTable};
/// use sekisho_http::{Checkpoint, TrustedProxies};
///
/// let checkpoint = Checkpoint::builder().accept(Jwt).build()?;
/// let rules = RuleTable::new([Rule::new("/health", Access::Public), Rule::new("/orders/*", Access::Require(scope("orders")))])?;
/// let app = ForwardAuth::new(Dialect::Nginx, checkpoint, rules, TrustedProxies::new(["127.0.0.1"])?)?
///     .with_identity(IdentityHeaders::standard())
///     .router("/check");
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// // The address of the peer must be known:
/// let service = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
/// # let server = axum::serve(listener, service);
/// # drop(server); Ok(()) }
/// ```
#[derive(Clone)]
pub struct ForwardAuth(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    dialect: Dialect,
    checkpoint: Checkpoint,
    rules: RuleTable,
    proxies: TrustedProxies,
    identity: IdentityHeaders,
    origins: Origins,
    swap: Option<Arc<dyn TokenSwap>>,
    checks_proofs_here: bool,
    clock: Arc<dyn Clock>,
}

impl ForwardAuth {
    /// Puts the parts together.
    ///
    /// # Errors
    /// No listed proxy: then nobody could ask.
    pub fn new(
        dialect: Dialect,
        checkpoint: Checkpoint,
        rules: RuleTable,
        proxies: TrustedProxies,
    ) -> Result<Self, ConfigError> {
        if proxies.is_empty() {
            return Err(ConfigError::new("forward-auth without a listed proxy answers nobody"));
        }
        let (identity, clock) = (IdentityHeaders::new(), Arc::new(SystemClock));
        Ok(Self(Arc::new(Inner {
            dialect,
            checkpoint,
            rules,
            proxies,
            identity,
            origins: Origins::default(),
            swap: None,
            checks_proofs_here: false,
            clock,
        })))
    }

    /// Tells the services behind the proxy who calls. Default: nothing.
    #[must_use]
    pub fn with_identity(self, identity: IdentityHeaders) -> Self {
        Self(Arc::new(Inner { identity, ..(*self.0).clone() }))
    }

    /// Names the origins (`https://shop.example`) whose pages may change something with a credential in a cookie. Default: those of the host
    /// that the client named, as the proxy tells it.
    ///
    /// A cookie goes along whoever causes the request. So by the [rules](sekisho_http::CsrfRules) that sessions have, whatever has another
    /// method than `GET`, `HEAD`, `OPTIONS` and `TRACE`, or opens a WebSocket, is refused with 403 where `Sec-Fetch-Site` or `Origin` says
    /// that another site caused it, or nothing tells who did. The proxy must show us both, and
    /// `Sec-WebSocket-*`. Credentials that are no cookie are not concerned.
    ///
    /// # Errors
    /// What is no origin in the form that browsers send; an empty list.
    pub fn with_origins<S: Into<String>>(self, origins: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(Inner { origins: Origins::listed(origins)?, ..(*self.0).clone() })))
    }

    /// Gives services another token for the caller's own, or the [same one out of a cookie](crate::AsBearer), as `Authorization: Bearer …` of the answer, which the proxy must set on the
    /// request that goes on. Default: none, and the answer does not speak of `Authorization`.
    ///
    /// On public routes, where nobody is known to call, it is empty, or to be removed, as an identity header is. When there is no token to
    /// be had, nothing passes: 401 if the credential is at fault, 502 or 503 if it is our side.
    ///
    /// # Errors
    /// The checkpoint takes bound tokens, and it was not said before that [their proofs are checked here](Self::with_proofs_checked_here); or
    /// it was said, and the checkpoint takes none.
    pub fn with_token_swap(self, swap: Arc<dyn TokenSwap>) -> Result<Self, ConfigError> {
        let Inner { checkpoint, checks_proofs_here, .. } = &*self.0;
        check_swap_of_bound(checkpoint.takes_bound_tokens(), *checks_proofs_here)?;
        Ok(Self(Arc::new(Inner { swap: Some(swap), ..(*self.0).clone() })))
    }

    /// Sends what a bound token is swapped for as a bearer token: the proof is checked here, and nowhere behind. Needed before
    /// [`with_token_swap`](Self::with_token_swap) where the checkpoint takes bound tokens; what it means for services is told at
    /// [`Route::with_proofs_checked_here`](crate::Route::with_proofs_checked_here).
    #[must_use]
    pub fn with_proofs_checked_here(self) -> Self {
        Self(Arc::new(Inner { checks_proofs_here: true, ..(*self.0).clone() }))
    }

    /// Takes the time from this clock. Default: the operating system's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { clock, ..(*self.0).clone() }))
    }

    /// Makes a router that answers at `path`, for any method; for Envoy, at everything below it too.
    ///
    /// To be served [with the peer's address](axum::Router::into_make_service_with_connect_info), a `SocketAddr`.
    pub fn router(&self, path: &str) -> Router {
        let path = path.strip_suffix('/').unwrap_or(path).to_owned();
        let (this, prefix) = (self.clone(), path.clone());
        let handler = move |request: axum::extract::Request| {
            let (this, prefix) = (this.clone(), prefix.clone());
            async move {
                let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
                // The body of an authorization request is never looked at.
                let (parts, _) = request.into_parts();
                this.answer(&parts, peer, &prefix).await.map(Body::from)
            }
        };
        match self.0.dialect {
            Dialect::Envoy => {
                let router = Router::new().route(&format!("{path}/"), any(handler.clone()));
                router.route(&format!("{path}/{{*rest}}"), any(handler))
            }
            _ => Router::new().route(if path.is_empty() { "/" } else { &path }, any(handler)),
        }
    }

    /// Tells whether a request with this path asks, where the endpoint is at `prefix`.
    pub(crate) fn is_at(&self, prefix: &str, path: &str) -> bool {
        match self.0.dialect {
            Dialect::Envoy => path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')),
            _ => path == prefix,
        }
    }

    /// Answers one authorization request.
    ///
    /// - `peer`: who sent it; `None` if that is not known, and then the answer is 500.
    /// - `prefix`: what Envoy puts before the client's path; of no meaning to other dialects.
    pub async fn answer(&self, request: &Parts, peer: Option<IpAddr>, prefix: &str) -> Response<Bytes> {
        let told = match self.read(request, peer, prefix) {
            Ok(told) => told,
            Err(refusal) => return *refusal,
        };
        let Inner { dialect, checkpoint, rules, .. } = &*self.0;
        let Told { method, host, authority, path } = &told;
        let headers = &request.headers;
        let (host, authority) = (host.as_deref(), authority.as_deref());
        let original = Original { method, host, authority, path, headers, peer, certificate: None };
        let (values, nonce) = match self.pass(checkpoint, rules, &original).await {
            Ok(passed) => passed,
            Err(refusal) => return *refusal,
        };
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(nonce) = nonce {
            headers.insert(DPOP_NONCE, nonce);
        }
        let mut unsaid = Vec::new();
        for (name, value) in values {
            match (value, dialect) {
                (Some(value), _) => {
                    headers.insert(name, value);
                }
                (None, Dialect::Envoy) => unsaid.push(name),
                (None, _) => {
                    headers.insert(name, HeaderValue::from_static(""));
                }
            }
        }
        if !unsaid.is_empty() {
            let list = unsaid.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(",");
            if let Ok(list) = HeaderValue::try_from(list) {
                headers.insert(HeaderName::from_static("x-envoy-auth-headers-to-remove"), list);
            }
        }
        response
    }

    async fn pass(
        &self,
        checkpoint: &Checkpoint,
        rules: &RuleTable,
        original: &Original<'_>,
    ) -> Result<(Vec<(HeaderName, Option<HeaderValue>)>, Option<HeaderValue>), Refused> {
        let Passed { principal, nonce } = decide(checkpoint, rules, &self.0.origins, original).await?;
        let values = self.0.identity.values(principal.as_ref(), self.0.clock.now());
        let mut values = values.map_err(|failure| failed(&failure))?;
        if let Some(swap) = &self.0.swap {
            values.push((AUTHORIZATION, self.token(&**swap, original, principal.as_ref()).await?));
        }
        Ok((values, nonce))
    }

    /// Gets the token for services; none where nobody is known to call.
    async fn token(
        &self,
        swap: &dyn TokenSwap,
        original: &Original<'_>,
        principal: Option<&Principal>,
    ) -> Result<Option<HeaderValue>, Refused> {
        let Some(principal) = principal else { return Ok(None) };
        let checkpoint = &self.0.checkpoint;
        let credential = checkpoint.sources().extract(original).ok().flatten();
        let credential = credential.ok_or_else(|| misconfigured("the credential was gone after it was verified"))?;
        match swapped(swap, credential, principal, self.0.clock.now()).await {
            Ok(token) => Ok(Some(token)),
            Err(Refusal::Failure(failure)) => Err(failed(&failure)),
            Err(refusal @ Refusal::Reject(_)) => Err(of_answer(&checkpoint.refuse(&refusal))),
        }
    }

    fn read(&self, request: &Parts, peer: Option<IpAddr>, prefix: &str) -> Result<Told, Refused> {
        let Inner { dialect, rules, proxies, .. } = &*self.0;
        check_peer(proxies, peer)?;
        let headers = &request.headers;
        self.check_names(headers)?;
        let (method, host, target) = match dialect {
            Dialect::Nginx => {
                let host = if rules.names_hosts() { Some(one(headers, "x-original-host")?) } else { None };
                (one(headers, "x-original-method")?, host, one(headers, "x-original-uri")?)
            }
            Dialect::Traefik | Dialect::Caddy => {
                let host = one(headers, "x-forwarded-host")?;
                (one(headers, "x-forwarded-method")?, Some(host), one(headers, "x-forwarded-uri")?)
            }
            Dialect::Envoy => {
                let target = request.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
                let target = target.strip_prefix(prefix).unwrap_or_default();
                (request.method.as_str(), Some(one(headers, HOST.as_str())?), target)
            }
        };
        let told = told(method, host, target)?;
        // Where no rule asks for it, nginx need not tell it; a word of several kinds is none.
        let mut named =
            headers.get_all("x-original-host").iter().filter(|_| host.is_none() && *dialect == Dialect::Nginx);
        Ok(match (named.next().map(HeaderValue::to_str), named.next()) {
            (Some(Ok(named)), None) => Told { authority: Some(named.to_owned()), ..told },
            _ => told,
        })
    }

    /// Refuses what an answer could not take out of the request that goes on: it can only set headers by their exact names.
    fn check_names(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Inner { dialect, identity, .. } = &*self.0;
        let refuse = |what: &str| {
            tracing::info!(target: "sekisho", "request refused: {what}");
            Err(problem(StatusCode::BAD_REQUEST))
        };
        for name in headers.keys() {
            if identity.is_look_alike(name) {
                return refuse("a header of it is read as an identity header by some servers");
            }
            if is_override(name.as_str()) && !dialect.own_headers().contains(&name.as_str()) {
                return refuse("a header of it stands for another method or path");
            }
        }
        Ok(())
    }
}

impl Dialect {
    /// Lists the headers by which the proxy itself describes the request.
    const fn own_headers(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["x-original-method", "x-original-uri", "x-original-host"],
            Self::Traefik | Self::Caddy => &["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"],
            Self::Envoy => &[],
        }
    }
}

impl fmt::Debug for ForwardAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { dialect, checkpoint, proxies, identity, .. } = &*self.0;
        f.debug_struct("ForwardAuth")
            .field("dialect", dialect)
            .field("checkpoint", checkpoint)
            .field("proxies", proxies)
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

/// Is what a proxy told of the client's request.
pub(crate) struct Told {
    pub(crate) method: String,
    pub(crate) host: Option<String>,
    /// The host as it was told, with the port.
    pub(crate) authority: Option<String>,
    pub(crate) path: NormalPath,
}

pub(crate) fn told(method: &str, host: Option<&str>, target: &str) -> Result<Told, Refused> {
    let refuse = |what: &str| {
        tracing::info!(target: "sekisho", "request refused: its {what} can be read in more than one way");
        problem(StatusCode::BAD_REQUEST)
    };
    let is_method =
        !method.is_empty() && method.len() <= 32 && method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    if !is_method {
        return Err(refuse("method"));
    }
    let authority = host.map(str::to_owned);
    let host = match host {
        Some(host) => Some(normal_host(host).ok_or_else(|| refuse("host"))?),
        None => None,
    };
    let (path, _) = NormalPath::parse_target(target).map_err(|_| refuse("path"))?;
    Ok(Told { method: method.to_owned(), host, authority, path })
}

/// Lets only listed proxies ask.
pub(crate) fn check_peer(proxies: &TrustedProxies, peer: Option<IpAddr>) -> Result<(), Refused> {
    match peer {
        Some(peer) if proxies.contains(peer) => Ok(()),
        Some(peer) => {
            tracing::warn!(target: "sekisho", %peer, "an authorization request came from an address that is no listed proxy");
            Err(problem(StatusCode::FORBIDDEN))
        }
        None => Err(misconfigured(
            "the address of the asking proxy is not known: serve the router with `into_make_service_with_connect_info`",
        )),
    }
}

/// Reads a header that the proxy must have set, once.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| {
            tracing::info!(target: "sekisho", name, "request refused: a forwarded header is not visible ASCII");
            problem(StatusCode::BAD_REQUEST)
        }),
        (None, _) => {
            tracing::error!(target: "sekisho", name, "the proxy does not say what the client asked for; see docs/gateway.md");
            Err(misconfigured("the proxy is not set up for this endpoint"))
        }
        (Some(_), Some(_)) => {
            tracing::warn!(target: "sekisho", name, "the proxy lets the client's own header through beside its own");
            Err(problem(StatusCode::BAD_REQUEST))
        }
    }
}
