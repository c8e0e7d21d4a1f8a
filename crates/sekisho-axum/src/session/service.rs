use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::OriginalUri;
use axum::response::Response;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{Extensions, HeaderMap, Method, Request, StatusCode, Uri};
use sekisho_http::{Answer, RequestHead};
use sekisho_session::{FinishedRequest, LayeredRequest, SessionRules};
use tower_service::Service;

/// Gives each request its session; made by [`SessionLayer`](crate::SessionLayer).
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    rules: SessionRules,
}

impl<S> SessionService<S> {
    pub(crate) const fn new(inner: S, rules: SessionRules) -> Self {
        Self { inner, rules }
    }
}

impl<S, B> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let head = Head::of(request.method(), request.uri(), request.headers(), request.extensions());
        let layered = match self.rules.begin(&head, head.uri.query()) {
            Ok(layered) => layered,
            Err(refused) => return Box::pin(async move { Ok(sekisho_tower::response(&refused, Body::from)) }),
        };
        request.extensions_mut().insert(layered.session().clone());
        let response = self.inner.call(request);
        Box::pin(async move {
            match response.await {
                Ok(response) => Ok(finish(layered, response).await),
                Err(error) => {
                    if let Err(failure) = layered.abandon().await {
                        // For the log: what goes out is the error.
                        let _ = Answer::of_failure(&failure);
                    }
                    Err(error)
                }
            }
        })
    }
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("inner", &self.inner).field("rules", &self.rules).finish()
    }
}

async fn finish(layered: LayeredRequest, response: Response) -> Response {
    let challenges: Vec<HeaderValue> = match response.status() {
        StatusCode::UNAUTHORIZED => response.headers().get_all(WWW_AUTHENTICATE).iter().cloned().collect(),
        _ => Vec::new(),
    };
    let challenges = challenges.iter().map(HeaderValue::as_bytes);
    let finished = match layered.finish_challenged(response.status().as_u16(), challenges).await {
        Ok(finished) => finished,
        Err(broken) => return sekisho_tower::response(&broken, Body::from),
    };
    let mut response = match finished.location().and_then(|location| HeaderValue::from_str(location).ok()) {
        Some(location) => redirect(response, location),
        None => response,
    };
    for cookie in finished.cookies() {
        if let Ok(mut value) = HeaderValue::from_str(cookie.expose()) {
            value.set_sensitive(true);
            response.headers_mut().append(SET_COOKIE, value);
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    response
}

fn redirect(response: Response, location: HeaderValue) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::SEE_OTHER;
    let dropped: Vec<_> = parts.headers.keys().filter(|name| !FinishedRequest::keeps(name.as_str())).cloned().collect();
    for name in dropped {
        parts.headers.remove(name);
    }
    parts.headers.insert(LOCATION, location);
    parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::from_parts(parts, Body::empty())
}

/// Reads a request of axum, its path as the client sent it.
pub(crate) struct Head<'r> {
    method: &'r Method,
    uri: &'r Uri,
    headers: &'r HeaderMap,
}

impl<'r> Head<'r> {
    pub(crate) fn of(method: &'r Method, uri: &'r Uri, headers: &'r HeaderMap, extensions: &'r Extensions) -> Self {
        let uri = extensions.get::<OriginalUri>().map_or(uri, |OriginalUri(whole)| whole);
        Self { method, uri, headers }
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
