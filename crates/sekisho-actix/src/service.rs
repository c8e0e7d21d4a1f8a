use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, forward_ready};
use actix_web::http::header::HeaderValue;
use actix_web::{Error, HttpMessage as _};
use sekisho_core::Requirement;
use sekisho_http::{Checkpoint, ClientCertificate, Inspection, Passage, Presence, RequestHead};

use crate::future::{ResponseFuture, admit};

/// Lets requests pass to the service behind it, or refuses them; made by
/// [`CheckpointMiddleware`](crate::CheckpointMiddleware).
pub struct CheckpointService<S> {
    pub(crate) inner: Rc<S>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) presence: Presence,
}

impl<S, B> Service<ServiceRequest> for CheckpointService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = Error;
    type Future = ResponseFuture<S>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        match self.checkpoint.inspect(&Head(&request), self.presence) {
            Inspection::Pass(passage) => {
                let nonce = admit(passage, &request);
                ResponseFuture::inner(self.inner.call(request)).with_nonce(nonce)
            }
            Inspection::Refuse(answer) => ResponseFuture::refused(answer, request),
            Inspection::Wait(pending) => ResponseFuture::waiting(pending, Rc::clone(&self.inner), request),
        }
    }
}

impl<S> fmt::Debug for CheckpointService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointService").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}

/// Lets requests pass whose principal satisfies a rule; made by [`RequireMiddleware`](crate::RequireMiddleware).
pub struct RequireService<S> {
    pub(crate) inner: S,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) rule: Requirement,
}

impl<S, B> Service<ServiceRequest> for RequireService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = Error;
    type Future = ResponseFuture<S>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let decided = self.checkpoint.check_passage(request.extensions().get::<Passage>(), &self.rule, &Head(&request));
        match decided {
            Ok(()) => ResponseFuture::inner(self.inner.call(request)),
            Err(answer) => ResponseFuture::refused(answer, request),
        }
    }
}

impl<S> fmt::Debug for RequireService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireService").field("rule", &self.rule).finish_non_exhaustive()
    }
}

/// Reads a request of actix-web.
pub(crate) struct Head<'r>(pub(crate) &'r ServiceRequest);

impl RequestHead for Head<'_> {
    fn method(&self) -> &str {
        self.0.method().as_str()
    }

    fn path(&self) -> &str {
        self.0.uri().path()
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.headers().get_all(name).map(HeaderValue::as_bytes)
    }

    fn peer(&self) -> Option<IpAddr> {
        self.0.peer_addr().map(|peer| peer.ip())
    }

    fn client_certificate(&self) -> Option<ClientCertificate> {
        // Put there for the connection by `HttpServer::on_connect`, or for the request by a middleware outside of this one.
        let of_connection = self.0.conn_data::<ClientCertificate>().cloned();
        of_connection.or_else(|| self.0.extensions().get::<ClientCertificate>().cloned())
    }
}
