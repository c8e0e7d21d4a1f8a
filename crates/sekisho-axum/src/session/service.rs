use std::fmt;
use std::task::{Context, Poll};

use axum::extract::OriginalUri;
use axum::response::Response;
use http::header::{COOKIE, HeaderValue};
use http::{Extensions, HeaderMap, Method, Request, Uri};
use sekisho_http::RequestHead;
use sekisho_session::SessionRules;
use tower_service::Service;

use crate::session::SessionFuture;

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
{
    type Response = Response;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let head = Head::of(request.method(), request.uri(), request.headers(), request.extensions());
        let layered = match self.rules.begin(&head, head.uri.query()) {
            Ok(layered) => layered,
            Err(refused) => return SessionFuture::refused(refused),
        };
        request.extensions_mut().insert(layered.session().clone());
        SessionFuture::inner(self.inner.call(request), layered)
    }
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("inner", &self.inner).field("rules", &self.rules).finish()
    }
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
        // Of what is looked for in each request the name needs not be read each time.
        let values = match name {
            "cookie" => self.headers.get_all(COOKIE),
            name => self.headers.get_all(name),
        };
        values.iter().map(HeaderValue::as_bytes)
    }

    fn has_any(&self, names: &[&str]) -> bool {
        // A look-up hashes its name, which takes longer than to compare it with those of a whole head.
        self.headers.keys().any(|name| names.contains(&name.as_str()))
    }
}
