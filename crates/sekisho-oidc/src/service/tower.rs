use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use http_body::Body;
use sekisho_core::ConfigError;
use tower_layer::Layer;
use tower_service::Service;

use super::attach::Attacher;
use super::origins::{AllowedOrigins, Origin};
use super::request::TokenRequest;
use super::source::ServiceTokens;

/// Attaches access tokens to the requests of an HTTP client.
///
/// A request gets a token if it goes to one of the [`AllowedOrigins`] and has no `Authorization` of its own; any other passes as it is.
/// Which token, the request's extensions say by a [`TokenRequest`], or else the [default](Self::with_default). With tokens that are
/// [bound to a key](super::ServiceTokensBuilder::with_dpop), each request gets a proof of its own too.
///
/// An answer of 401 makes it send the request again, once with another token, and once with the nonce that the service asks for
/// (`use_dpop_nonce`):
/// - if the body can be repeated: an empty one by default; [any that can be cloned](Self::with_cloned_bodies) by choice;
/// - for a fresh token, if the method is idempotent, or the challenge says `invalid_token`: then the service has done nothing;
/// - and not for a token that was fetched less than 5 s ago. Otherwise the 401 is the answer.
///
/// Put a layer that follows redirects outside of this one: each hop is then looked at anew. A layer or client inside that follows them
/// would carry the token along.
///
/// gRPC: tonic's channels send requests without an origin; [say where they go](Self::with_channel_origin). Their bodies are streams and
/// are not repeated.
///
/// # Examples
/// ```
/// use sekisho_oidc::{AllowedOrigins, ServiceTokenLayer, ServiceTokens, TokenRequest};
///
/// fn layer(tokens: ServiceTokens) -> Result<ServiceTokenLayer, sekisho_core::ConfigError> {
///     let origins = AllowedOrigins::new(["https://stock.example"])?;
///     let wanted = TokenRequest::client_credentials().with_audience("stock");
///     Ok(ServiceTokenLayer::new(tokens, origins).with_default(wanted))
/// }
/// // tower::ServiceBuilder::new().layer(layer(tokens)?).service(client)
/// // In the caller's name: request.extensions_mut().insert(TokenRequest::on_behalf_of(&caller, bearer).with_audience("stock"))
/// ```
pub struct ServiceTokenLayer<Repeat = EmptyBody> {
    attacher: Arc<Attacher>,
    channel: Option<Arc<Origin>>,
    repeat: PhantomData<fn() -> Repeat>,
}

impl ServiceTokenLayer {
    /// Attaches `tokens` to requests that go to these servers.
    #[must_use]
    pub fn new(tokens: ServiceTokens, origins: AllowedOrigins) -> Self {
        let attacher = Arc::new(Attacher { tokens, origins, default: None });
        Self { attacher, channel: None, repeat: PhantomData }
    }

    /// Repeats any body, which must be `Clone` and whose clone must send the same again, as that of `Full<Bytes>` does. Default: an
    /// empty body only.
    #[must_use]
    pub fn with_cloned_bodies(self) -> ServiceTokenLayer<ClonedBody> {
        ServiceTokenLayer { attacher: self.attacher, channel: self.channel, repeat: PhantomData }
    }
}

impl<Repeat> ServiceTokenLayer<Repeat> {
    /// Sets which token is attached to requests that do not say. Default: none, and such a request fails.
    #[must_use]
    pub fn with_default(mut self, wanted: TokenRequest) -> Self {
        self.attacher = Arc::new(Attacher { default: Some(wanted), ..(*self.attacher).clone() });
        self
    }

    /// Says where requests go whose URI has no origin, as those of tonic before its channel. It must be on the list too.
    ///
    /// # Errors
    /// [`ConfigError`] for what is no origin, or is not on the list.
    pub fn with_channel_origin(mut self, origin: &str) -> Result<Self, ConfigError> {
        let origin = Origin::parse(origin, true)?;
        if !self.attacher.origins.contains(&origin) {
            return Err(ConfigError::new(format!("`{origin}` is not on the list of allowed origins")));
        }
        self.channel = Some(Arc::new(origin));
        Ok(self)
    }
}

impl<S, Repeat> Layer<S> for ServiceTokenLayer<Repeat> {
    type Service = ServiceTokenService<S, Repeat>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { attacher, channel, repeat } = self;
        ServiceTokenService { inner, attacher: Arc::clone(attacher), channel: channel.clone(), repeat: *repeat }
    }
}

impl<Repeat> Clone for ServiceTokenLayer<Repeat> {
    fn clone(&self) -> Self {
        let Self { attacher, channel, repeat } = self;
        Self { attacher: Arc::clone(attacher), channel: channel.clone(), repeat: *repeat }
    }
}

impl<Repeat> fmt::Debug for ServiceTokenLayer<Repeat> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceTokenLayer").field("attacher", &self.attacher).finish_non_exhaustive()
    }
}

/// Attaches access tokens to requests before it passes them on; made by [`ServiceTokenLayer`].
///
/// Its errors are those of the service behind, or a [`TokenError`](crate::TokenError) when there is no token.
pub struct ServiceTokenService<S, Repeat = EmptyBody> {
    inner: S,
    attacher: Arc<Attacher>,
    channel: Option<Arc<Origin>>,
    repeat: PhantomData<fn() -> Repeat>,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<S, Repeat, ReqBody, ResBody> Service<Request<ReqBody>> for ServiceTokenService<S, Repeat>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Repeat: RepeatBody<ReqBody>,
    ReqBody: Send + 'static,
    ResBody: Send + 'static,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let target = Target::of(request.uri(), self.channel.as_deref());
        let target = target.filter(|target| self.attacher.is_meant(Some(&target.origin), request.headers()));
        let Some(Target { url, .. }) = target else {
            let passed = self.inner.call(request);
            return Box::pin(async move { passed.await.map_err(Into::into) });
        };
        // The service that was polled ready goes along with the request; a fresh clone takes its place.
        let fresh = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, fresh);
        let attacher = Arc::clone(&self.attacher);
        Box::pin(async move {
            let own = request.extensions().get::<TokenRequest>().cloned();
            let mut attempt = attacher.begin(own).await?;
            let method = request.method().clone();
            loop {
                let spare = if attempt.may_repeat() { copy::<_, Repeat>(&request) } else { None };
                attempt.write(request.headers_mut(), &method, &url)?;
                let response = ready.call(request).await.map_err(Into::into)?;
                let again = attempt.after(spare.is_some(), &method, &url, response.status(), response.headers()).await;
                match spare {
                    Some(spare) if again => request = spare,
                    _ => return Ok(response),
                }
                poll_fn(|cx| ready.poll_ready(cx)).await.map_err(Into::into)?;
            }
        })
    }
}

impl<S: Clone, Repeat> Clone for ServiceTokenService<S, Repeat> {
    fn clone(&self) -> Self {
        let Self { inner, attacher, channel, repeat } = self;
        Self { inner: inner.clone(), attacher: Arc::clone(attacher), channel: channel.clone(), repeat: *repeat }
    }
}

impl<S: fmt::Debug, Repeat> fmt::Debug for ServiceTokenService<S, Repeat> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceTokenService")
            .field("inner", &self.inner)
            .field("attacher", &self.attacher)
            .finish_non_exhaustive()
    }
}

/// Is where a request goes, and its URL as proofs name it.
struct Target {
    origin: Origin,
    url: String,
}

impl Target {
    fn of(uri: &Uri, channel: Option<&Origin>) -> Option<Self> {
        let path = uri.path();
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            let has_none = uri.scheme().is_none() && uri.authority().is_none();
            let origin = channel.filter(|_| has_none && path.starts_with('/'))?.clone();
            return Some(Self { url: format!("{origin}{path}"), origin });
        };
        // `https://stock.example@evil.example` can be read in two ways.
        if authority.as_str().contains('@') {
            return None;
        }
        let origin = Origin::new(scheme, authority.host(), authority.port_u16())?;
        Some(Self { url: format!("{scheme}://{authority}{path}"), origin })
    }
}

fn copy<B, Repeat: RepeatBody<B>>(request: &Request<B>) -> Option<Request<B>> {
    let mut copy = Request::new(Repeat::repeat(request.body())?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// Says which bodies can be sent a second time.
///
/// Sealed: [`EmptyBody`] fits nearly every client, [`ClonedBody`] those whose bodies are in memory.
pub trait RepeatBody<B>: sealed::Sealed {
    /// Makes a body that sends the same again, or `None`.
    fn repeat(body: &B) -> Option<B>;
}

/// Repeats empty bodies only.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "has no values")]
pub enum EmptyBody {}

/// Repeats every body by its `Clone`.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "has no values")]
pub enum ClonedBody {}

impl<B: Body + Default> RepeatBody<B> for EmptyBody {
    fn repeat(body: &B) -> Option<B> {
        let empty = B::default();
        (body.is_end_stream() && empty.is_end_stream()).then_some(empty)
    }
}

impl<B: Clone> RepeatBody<B> for ClonedBody {
    fn repeat(body: &B) -> Option<B> {
        Some(body.clone())
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "seals the trait above")]
    pub trait Sealed {}
    impl Sealed for super::EmptyBody {}
    impl Sealed for super::ClonedBody {}
}
