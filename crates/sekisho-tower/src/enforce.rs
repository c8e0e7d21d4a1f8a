use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response};
use sekisho_core::{Enforcer, Permit};
use sekisho_http::{Answer, Checkpoint, Enforcement, Passage, Question, is_grpc_call};
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{Kept, RefusalBody, Wrapped};
use crate::future::ResponseFuture;
use crate::head::PartsHead;

/// Puts an [`EnforceService`] before a service: only what an [`Enforcer`] permits passes.
///
/// `Ask` makes the [`Question`] of a request's head; of a CORS preflight that the checkpoint
/// [let pass](sekisho_http::CheckpointBuilder::with_preflight_passing) none is made, and it passes. Where a router stands before, it is asked what the router found:
/// never the path as the client wrote it.
///
/// `Body` is [`Wrapped`] or [`Kept`].
pub struct EnforceLayer<Ask, Body = Wrapped> {
    checkpoint: Checkpoint,
    enforcer: Enforcer,
    ask: Ask,
    answers_grpc: bool,
    body: PhantomData<fn() -> Body>,
}

impl<Ask: Fn(&mut Parts) -> Result<Question, Answer>> EnforceLayer<Ask> {
    /// Makes the layer. `ask` may return the answer to refuse the request with, if there is no question to it.
    #[must_use]
    pub const fn new(checkpoint: Checkpoint, enforcer: Enforcer, ask: Ask) -> Self {
        Self { checkpoint, enforcer, ask, answers_grpc: false, body: PhantomData }
    }

    /// Leaves the body type of the response as it is, for services whose body is `From<Bytes>`.
    #[must_use]
    pub fn keeping_body(self) -> EnforceLayer<Ask, Kept> {
        let Self { checkpoint, enforcer, ask, answers_grpc, body: _ } = self;
        EnforceLayer { checkpoint, enforcer, ask, answers_grpc, body: PhantomData }
    }

    /// Refuses gRPC calls in gRPC's terms, as [`CheckpointLayer::answering_grpc`](crate::CheckpointLayer::answering_grpc)
    /// does: only for services that serve nothing but gRPC. Default: every refusal is a plain HTTP answer.
    #[must_use]
    pub fn answering_grpc(self) -> Self {
        Self { answers_grpc: true, ..self }
    }
}

impl<Ask, Body> EnforceLayer<Ask, Body> {
    /// Returns what it enforces, whose [scopes](Enforcer::scope_alternatives) can be written down for the route.
    #[must_use]
    pub const fn enforcer(&self) -> &Enforcer {
        &self.enforcer
    }
}

impl<S, Ask: Clone, Body> Layer<S> for EnforceLayer<Ask, Body> {
    type Service = EnforceService<S, Ask, Body>;

    fn layer(&self, inner: S) -> Self::Service {
        EnforceService { inner, layer: self.clone() }
    }
}

impl<Ask: Clone, Body> Clone for EnforceLayer<Ask, Body> {
    fn clone(&self) -> Self {
        let Self { checkpoint, enforcer, ask, answers_grpc, body } = self;
        let (checkpoint, enforcer, ask) = (checkpoint.clone(), enforcer.clone(), ask.clone());
        Self { checkpoint, enforcer, ask, answers_grpc: *answers_grpc, body: *body }
    }
}

impl<Ask, Body> fmt::Debug for EnforceLayer<Ask, Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnforceLayer")
            .field("checkpoint", &self.checkpoint)
            .field("enforcer", &self.enforcer)
            .field("answers_grpc", &self.answers_grpc)
            .finish_non_exhaustive()
    }
}

/// Lets requests pass that an [`Enforcer`] permits; made by [`EnforceLayer`]. The [`Permit`] goes into their extensions.
pub struct EnforceService<S, Ask, Body> {
    inner: S,
    layer: EnforceLayer<Ask, Body>,
}

impl<S, Ask, Body, ReqBody, ResBody> Service<Request<ReqBody>> for EnforceService<S, Ask, Body>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    Ask: Fn(&mut Parts) -> Result<Question, Answer>,
    Body: RefusalBody<ResBody>,
{
    type Response = Response<Body::Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let EnforceLayer { checkpoint, enforcer, ask, answers_grpc, body: _ } = &self.layer;
        // A permit of another question, of a layer further out, is none for this one.
        request.extensions_mut().remove::<Permit>();
        let head = PartsHead::of(&request);
        if checkpoint.lets_preflight_pass(request.extensions().get::<Passage>(), &head) {
            return ResponseFuture::inner(self.inner.call(request));
        }
        let (mut parts, body) = request.into_parts();
        let asked = ask(&mut parts);
        let mut request = Request::from_parts(parts, body);
        let head = PartsHead::of(&request);
        let is_grpc = *answers_grpc && is_grpc_call(&head);
        let outcome = match asked {
            Ok(question) => {
                checkpoint.enforce_passage(request.extensions().get::<Passage>(), enforcer, question, &head)
            }
            Err(answer) => Enforcement::Refuse(answer),
        };
        match outcome {
            Enforcement::Pass(permit) => {
                if let Some(permit) = permit {
                    request.extensions_mut().insert(permit);
                }
                ResponseFuture::inner(self.inner.call(request))
            }
            Enforcement::Refuse(answer) => ResponseFuture::refused(answer, is_grpc),
            Enforcement::Wait(pending) => {
                // The service that was polled ready goes along with the request; a fresh clone takes its place.
                let fresh = self.inner.clone();
                let ready = mem::replace(&mut self.inner, fresh);
                ResponseFuture::deciding(pending, is_grpc, ready, request)
            }
        }
    }
}

impl<S: Clone, Ask: Clone, Body> Clone for EnforceService<S, Ask, Body> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, Ask, Body> fmt::Debug for EnforceService<S, Ask, Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnforceService").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}
