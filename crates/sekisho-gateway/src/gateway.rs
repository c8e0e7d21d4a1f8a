use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use sekisho_core::ConfigError;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{ConfigContext, ConfigMistakes, GatewayConfig};
use crate::forward_auth::ForwardAuth;
use crate::path::NormalPath;
use crate::proxy::{ReverseProxy, Tunnels};
use crate::refusal::problem;
#[cfg(feature = "tls")]
use crate::tls::ServerTls;

mod connection;
#[cfg(feature = "tls")]
mod streams;

/// Serves a [`ReverseProxy`] on a listener, and takes another one in its place without dropping a request.
///
/// Each request is answered by what was current when it came; requests under way are ended by what they began with. A clone is the
/// same gateway.
///
/// # Examples
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use sekisho_gateway::{Gateway, Guard, ReverseProxy, Route, Upstream};
/// let upstream = Upstream::new("orders", "http://127.0.0.1:9000")?;
/// let gateway = Gateway::new(ReverseProxy::new([Route::new("/health", &upstream, Guard::Public)])?);
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// gateway.serve(listener, std::future::pending()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Gateway(Arc<State>);

struct State {
    current: ArcSwap<Serving>,
    /// What it was read from, so that what has not changed can go on.
    config: ArcSwapOption<GatewayConfig>,
    tunnels: Tunnels,
}

/// Is what is served at a time.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) proxy: ReverseProxy,
    pub(crate) forward_auth: Option<Endpoint>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<ServerTls>,
}

/// Is where other proxies ask.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) path: Box<str>,
    pub(crate) auth: ForwardAuth,
}

impl Gateway {
    /// Serves this.
    #[must_use]
    pub fn new(proxy: ReverseProxy) -> Self {
        Self::of(Serving::new(proxy, None))
    }

    /// Answers other proxies on the same listener, and passes nothing on: a plain [`ForwardAuth`] that needs no framework around it.
    ///
    /// # Errors
    /// A path that is not in its normal form, or ends with a slash.
    pub fn answering(path: &str, auth: ForwardAuth) -> Result<Self, ConfigError> {
        let endpoint = Endpoint::new(path, auth)?;
        Ok(Self::of(Serving::new(ReverseProxy::without_routes(), Some(endpoint))))
    }

    fn of(serving: Serving) -> Self {
        let tunnels = Tunnels::default();
        let current = ArcSwap::from_pointee(serving.with_tunnels(&tunnels));
        Self(Arc::new(State { current, config: ArcSwapOption::empty(), tunnels }))
    }

    /// Serves what a configuration describes.
    #[must_use]
    pub fn from_config(config: GatewayConfig) -> Self {
        let gateway = Self::of(config.serving.clone());
        gateway.0.config.store(Some(Arc::new(config)));
        gateway
    }

    /// Serves another configuration from the next request on, if it has no mistake; otherwise goes on as before.
    ///
    /// Verifiers keep their keys and caches, and upstreams their connections, where their settings are the same; verifiers only if the context
    /// has the same parts as before, so hand in the same one.
    ///
    /// # Errors
    /// All mistakes, by line; they are logged too.
    pub fn reload(&self, text: &str, context: &ConfigContext) -> Result<(), ConfigMistakes> {
        let before = self.0.config.load_full();
        match GatewayConfig::parse_after(text, context, before.as_deref()) {
            Ok(config) => {
                self.serve_from_now(config.serving.clone());
                self.0.config.store(Some(Arc::new(config)));
                tracing::info!(target: "sekisho", "the configuration was read anew");
                Ok(())
            }
            Err(mistakes) => {
                tracing::error!(target: "sekisho", "the new configuration is not taken, the old one stays:\n{mistakes}");
                Err(mistakes)
            }
        }
    }

    /// Reads a file and serves it as [`reload`](Self::reload) does.
    ///
    /// # Errors
    /// As [`reload`](Self::reload); a file that cannot be read is a mistake on line 1.
    pub async fn reload_file(&self, path: impl AsRef<Path>, context: &ConfigContext) -> Result<(), ConfigMistakes> {
        self.reload(&read_file(path.as_ref()).await?, context)
    }

    /// Reads a file for a gateway to begin with.
    ///
    /// # Errors
    /// All mistakes, by line; a file that cannot be read is one on line 1.
    pub async fn from_file(path: impl AsRef<Path>, context: &ConfigContext) -> Result<Self, ConfigMistakes> {
        GatewayConfig::parse(&read_file(path.as_ref()).await?, context).map(Self::from_config)
    }

    /// Serves this from the next request on.
    ///
    /// Limits and timeouts of connections hold for connections that are opened later; how many may be open stays as it was.
    pub fn replace(&self, proxy: ReverseProxy) {
        self.serve_from_now(Serving { proxy, ..(**self.0.current.load()).clone() });
    }

    /// Ends TLS on the listener. Default: connections are plain HTTP/1.1.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, tls: ServerTls) -> Self {
        self.replace_tls(tls);
        self
    }

    /// Shows these certificates from the next connection on.
    #[cfg(feature = "tls")]
    pub fn replace_tls(&self, tls: ServerTls) {
        self.serve_from_now(Serving { tls: Some(tls), ..(**self.0.current.load()).clone() });
    }

    fn serve_from_now(&self, serving: Serving) {
        self.0.current.store(Arc::new(serving.with_tunnels(&self.0.tunnels)));
    }

    /// Serves until `shutdown` is done. Then nothing new is accepted, requests under way are brought to their end, within
    /// [`ProxyTimeouts::shutdown`](crate::ProxyTimeouts::shutdown), and tunnels are cut.
    ///
    /// Connections are plain HTTP/1.1, unless the gateway was told to [end TLS](Self::with_tls); then HTTP/2 is spoken too.
    ///
    /// # Errors
    /// When the listener has no address.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let address = listener.local_addr()?;
        let limits = self.0.current.load().proxy.limits();
        let permits = Arc::new(Semaphore::new(limits.connections));
        let (stop, _) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        tracing::info!(target: "sekisho", %address, "the gateway listens");
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = accept(&listener, &permits) => {
                    let Some((stream, peer, permit)) = accepted else { continue };
                    connections.spawn(self.clone().connection(stream, peer, stop.subscribe(), permit));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        stop.send_replace(true);
        let grace = self.0.current.load().proxy.timeouts().shutdown;
        tracing::info!(target: "sekisho", connections = connections.len(), "the gateway ends");
        let all_done = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all_done).await.is_err() {
            tracing::warn!(target: "sekisho", "requests under way are cut off");
        }
        self.0.tunnels.end();
        connections.shutdown().await;
        Ok(())
    }

    /// Returns how many tunnels are open.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.0.tunnels.count()
    }
}

impl Endpoint {
    pub(crate) fn new(path: &str, auth: ForwardAuth) -> Result<Self, ConfigError> {
        let is_sound = NormalPath::parse(path).is_ok_and(|normal| normal.as_str() == path) && !path.ends_with('/');
        if !is_sound {
            return Err(ConfigError::new(format!("{path:?} is no path for an endpoint, such as `/check`")));
        }
        Ok(Self { path: path.into(), auth })
    }
}

impl Serving {
    pub(crate) const fn new(proxy: ReverseProxy, forward_auth: Option<Endpoint>) -> Self {
        Self {
            proxy,
            forward_auth,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    fn with_tunnels(mut self, tunnels: &Tunnels) -> Self {
        self.proxy = self.proxy.with_tunnels(tunnels.clone());
        self
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        // HTTP/2 bounds their bytes alone.
        if request.headers().len() > self.proxy.limits().headers {
            return problem(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).map(Body::from);
        }
        if let Some(Endpoint { path, auth }) = &self.forward_auth
            && auth.is_at(path, request.uri().path())
        {
            let (parts, _) = request.into_parts();
            return auth.answer(&parts, Some(peer.ip()), path).await.map(Body::from);
        }
        self.proxy.handle(request.map(Body::new), peer).await
    }
}

async fn read_file(path: &Path) -> Result<String, ConfigMistakes> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let bound = u64::try_from(GatewayConfig::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        std::fs::File::open(path)?.take(bound).read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    });
    let read = reading.await.unwrap_or_else(|_| Err(io::Error::other("the runtime ends")));
    read.map_err(|error| ConfigMistakes::one(1, format!("the file cannot be read: {}", error.kind())))
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            // Out of file descriptors, say: it passes, and must not become a busy loop.
            tracing::warn!(target: "sekisho", "a connection could not be accepted: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("current", &**self.0.current.load()).field("tunnels", &self.0.tunnels).finish()
    }
}
