use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::OriginalUri;
use axum::response::Response;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE};
use http::{Extensions, HeaderMap, Method, Request, StatusCode, Uri};
use sekisho_http::{Answer, RequestHead};
use sekisho_session::RequestSession;
use tower_service::Service;

use crate::session::layer::Rules;

/// Gives each request its session; made by [`SessionLayer`](crate::SessionLayer).
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> SessionService<S> {
    pub(crate) const fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }
}

impl<S, B> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Rules { sessions, csrf, login } = &*self.rules;
        let head = Head::of(request.method(), request.uri(), request.headers(), request.extensions());
        let session = sessions.begin(&head);
        if let Some(Err(forgery)) = csrf.as_ref().map(|csrf| csrf.check(&head, session.has_cookie())) {
            let refused = sekisho_tower::response(&forgery.answer(), Body::from);
            return Box::pin(async move { Ok(refused) });
        }
        let login = login.as_ref().and_then(|login| login.location(&head, head.uri.query()));
        request.extensions_mut().insert(session.clone());
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            Ok(finish(&session, login, response).await)
        })
    }
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("inner", &self.inner).field("rules", &self.rules).finish()
    }
}

async fn finish(session: &RequestSession, login: Option<String>, response: Response) -> Response {
    let cookies = match session.finish().await {
        Ok(cookies) => cookies,
        // Whatever the handler said was done is not.
        Err(failure) => return sekisho_tower::response(&Answer::of_failure(&failure), Body::from),
    };
    let mut response = match login.and_then(|login| HeaderValue::try_from(login).ok()) {
        Some(login) if response.status() == StatusCode::UNAUTHORIZED => redirect(login),
        _ => response,
    };
    for cookie in cookies {
        if let Ok(mut value) = HeaderValue::from_str(cookie.expose()) {
            value.set_sensitive(true);
            response.headers_mut().append(SET_COOKIE, value);
            // A cache that kept it would hand one caller's session to the next.
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    response
}

fn redirect(location: HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
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
