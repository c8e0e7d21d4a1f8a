use std::fmt;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, forward_ready};
use actix_web::{Error, HttpMessage as _};
use sekisho_session::SessionRules;

use crate::service::Head;
use crate::session::SessionFuture;

/// Gives each request its session; made by [`SessionMiddleware`](crate::SessionMiddleware).
pub struct SessionService<S> {
    inner: S,
    rules: SessionRules,
}

impl<S> SessionService<S> {
    pub(crate) const fn new(inner: S, rules: SessionRules) -> Self {
        Self { inner, rules }
    }
}

impl<S, B> Service<ServiceRequest> for SessionService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = Error;
    type Future = SessionFuture<S::Future, B>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let layered = match self.rules.begin(&Head(&request), request.uri().query()) {
            Ok(layered) => layered,
            Err(refused) => return SessionFuture::refused(refused, request),
        };
        request.extensions_mut().insert(layered.session().clone());
        SessionFuture::inner(self.inner.call(request), layered)
    }
}

impl<S> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("rules", &self.rules).finish_non_exhaustive()
    }
}
