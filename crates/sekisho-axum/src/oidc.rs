use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue, SET_COOKIE};
use sekisho_oidc::{Bff, Reply};

use crate::session::Head;

/// Makes axum routes of a backend for a frontend.
///
/// # Examples
/// ```
/// use axum::Router;
/// use sekisho_axum::BffExt as _;
/// fn app(bff: &sekisho_oidc::Bff) -> Router {
///     Router::new().merge(bff.router()) // beside pages and their layers
/// }
/// ```
pub trait BffExt {
    /// Serves its addresses, to be merged into the outermost router. They need no layer of sessions, and must not stand behind one that
    /// demands a header of every request, or the provider's own could not come in.
    fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S>;
}

impl BffExt for Bff {
    fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let mut router = Router::new();
        for name in ["login", "callback", "callback/{provider}", "initiate", "user", "logout", "backchannel"] {
            let bff = self.clone();
            let answer = any(move |request: Request| {
                let bff = bff.clone();
                async move { answer(&bff, request).await }
            });
            router = router.route(&format!("{}/{name}", self.base()), answer);
        }
        router
    }
}

async fn answer(bff: &Bff, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, Bff::MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let head = Head::of(&parts.method, &parts.uri, &parts.headers, &parts.extensions);
    let reply = bff.handle(&head, parts.uri.query(), &body).await;
    BffResponse(reply).into_response()
}

/// Is a [`Reply`] as a response, for handlers of one's own that call a [`RelyingParty`](sekisho_oidc::RelyingParty).
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "handlers build it")]
pub struct BffResponse(pub Reply);

impl IntoResponse for BffResponse {
    fn into_response(self) -> Response {
        let Self(reply) = self;
        let mut response = Response::new(Body::from(reply.body().to_vec()));
        *response.status_mut() = StatusCode::from_u16(reply.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in reply.headers() {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        for cookie in reply.cookies() {
            if let Ok(mut value) = HeaderValue::from_str(cookie.expose()) {
                value.set_sensitive(true);
                response.headers_mut().append(SET_COOKIE, value);
            }
        }
        response
    }
}

impl From<Reply> for BffResponse {
    fn from(reply: Reply) -> Self {
        Self(reply)
    }
}

/// Makes axum routes of the proxy of a backend for a frontend.
#[cfg(feature = "oidc-proxy")]
pub trait ApiProxyExt {
    /// Serves all calls below its prefix, to be merged into the outermost router, without a layer of sessions around it.
    ///
    /// Services are told the peer's address by `X-Forwarded-For` if the application serves with
    /// [`ConnectInfo`](axum::extract::ConnectInfo); otherwise they are told `0.0.0.0`.
    fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S>;
}

#[cfg(feature = "oidc-proxy")]
impl ApiProxyExt for sekisho_oidc::ApiProxy {
    fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        use std::net::{Ipv4Addr, SocketAddr};

        use axum::extract::{ConnectInfo, OriginalUri};

        let proxy = self.clone();
        let answer = any(move |mut request: Request| {
            let proxy = proxy.clone();
            async move {
                if let Some(OriginalUri(whole)) = request.extensions().get::<OriginalUri>().cloned() {
                    *request.uri_mut() = whole;
                }
                let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
                let peer = peer.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
                proxy.handle(request, peer).await
            }
        });
        // Also with what a router would not take for a part of a path: the proxy refuses that itself.
        Router::new().route(&format!("{}/{{*rest}}", self.prefix()), answer)
    }
}
