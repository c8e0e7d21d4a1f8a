use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::task::{Context, Poll};

use http::{Request, Response};
use sekisho_core::Requirement;
use sekisho_http::{Checkpoint, Inspection, Passage, Presence, is_grpc_call};
use tower_service::Service;

use crate::around::ReadAround;
use crate::body::RefusalBody;
use crate::future::{ResponseFuture, admit};
use crate::head::PartsHead;

/// Lets requests pass to the service behind it, or refuses them; made by [`CheckpointLayer`](crate::CheckpointLayer).
pub struct CheckpointService<S, Body> {
    pub(crate) inner: S,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) presence: Presence,
    pub(crate) answers_grpc: bool,
    pub(crate) around: ReadAround,
    pub(crate) body: PhantomData<fn() -> Body>,
}

impl<S, Body, ReqBody, ResBody> Service<Request<ReqBody>> for CheckpointService<S, Body>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    Body: RefusalBody<ResBody>,
{
    type Response = Response<Body::Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.checkpoint.inspect(&PartsHead::of(&request).reading(self.around), self.presence) {
            Inspection::Pass(passage) => {
                let nonce = admit(passage, request.extensions_mut());
                ResponseFuture::inner(self.inner.call(request)).with_nonce(nonce)
            }
            Inspection::Refuse(answer) => ResponseFuture::refused(answer, self.is_grpc(&request)),
            Inspection::Wait(pending) => {
                // The service that was polled ready goes along with the request; a fresh clone takes its place.
                let fresh = self.inner.clone();
                let ready = mem::replace(&mut self.inner, fresh);
                let is_grpc = self.is_grpc(&request);
                ResponseFuture::waiting(pending, is_grpc, ready, request)
            }
        }
    }
}

impl<S, Body> CheckpointService<S, Body> {
    /// Tells whether this request is refused in gRPC's terms.
    fn is_grpc<B>(&self, request: &Request<B>) -> bool {
        self.answers_grpc && is_grpc_call(&PartsHead::of(request).reading(self.around))
    }
}

impl<S: Clone, Body> Clone for CheckpointService<S, Body> {
    fn clone(&self) -> Self {
        let Self { inner, checkpoint, presence, answers_grpc, around, body } = self;
        let (inner, checkpoint) = (inner.clone(), checkpoint.clone());
        Self { inner, checkpoint, presence: *presence, answers_grpc: *answers_grpc, around: *around, body: *body }
    }
}

impl<S: fmt::Debug, Body> fmt::Debug for CheckpointService<S, Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointService").field("inner", &self.inner).field("checkpoint", &self.checkpoint).finish()
    }
}

/// Lets requests pass whose principal satisfies a rule; made by [`RequireLayer`](crate::RequireLayer).
pub struct RequireService<S, Body> {
    pub(crate) inner: S,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) rule: Requirement,
    pub(crate) answers_grpc: bool,
    pub(crate) body: PhantomData<fn() -> Body>,
}

impl<S, Body, ReqBody, ResBody> Service<Request<ReqBody>> for RequireService<S, Body>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    Body: RefusalBody<ResBody>,
{
    type Response = Response<Body::Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let head = PartsHead::of(&request);
        match self.checkpoint.check_passage(request.extensions().get::<Passage>(), &self.rule, &head) {
            Ok(()) => ResponseFuture::inner(self.inner.call(request)),
            Err(answer) => ResponseFuture::refused(answer, self.answers_grpc && is_grpc_call(&head)),
        }
    }
}

impl<S: Clone, Body> Clone for RequireService<S, Body> {
    fn clone(&self) -> Self {
        let Self { inner, checkpoint, rule, answers_grpc, body } = self;
        let (inner, checkpoint, rule) = (inner.clone(), checkpoint.clone(), rule.clone());
        Self { inner, checkpoint, rule, answers_grpc: *answers_grpc, body: *body }
    }
}

impl<S: fmt::Debug, Body> fmt::Debug for RequireService<S, Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireService").field("inner", &self.inner).field("rule", &self.rule).finish()
    }
}
