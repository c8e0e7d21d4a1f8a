use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use sekisho_core::Permit;
use sekisho_http::{Answer, Passage, Pending, PendingDecision};
use tower_service::Service;

use crate::body::RefusalBody;
use crate::error::response;

pin_project! {
    /// Resolves to the response of the service behind, or to a refusal.
    ///
    /// Nothing is boxed unless the checkpoint has to wait.
    pub struct ResponseFuture<S: Service<Request<ReqBody>>, ReqBody, Body> {
        #[pin]
        state: State<S, ReqBody, S::Future>,
        // For the client's next DPoP proof.
        nonce: Option<Bytes>,
        body: PhantomData<fn() -> Body>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, ReqBody, Inner> {
        Inner { #[pin] future: Inner },
        Refused { answer: Option<Answer> },
        Waiting { pending: Resolve, is_grpc: bool, held: Option<(S, Request<ReqBody>)> },
    }
}

fn add_nonce(headers: &mut HeaderMap, nonce: Bytes) {
    if let Ok(value) = HeaderValue::from_maybe_shared(nonce) {
        headers.entry(DPOP_NONCE).or_insert(value);
    }
}

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

fn in_terms_of(answer: Answer, is_grpc: bool) -> Answer {
    if is_grpc { answer.into_grpc() } else { answer }
}

/// Lets a request pass a checkpoint, and returns the nonce for the client's next DPoP proof.
///
/// INVARIANT: a permit of another checkpoint's principal is none behind this one.
pub(crate) fn admit(passage: Passage, extensions: &mut Extensions) -> Option<Bytes> {
    let nonce = passage.next_nonce();
    extensions.remove::<Permit>();
    extensions.insert(passage);
    nonce
}

type Resolve = Pin<Box<dyn Future<Output = Result<Leave, Answer>> + Send>>;

/// Is what a request takes along when it passes.
enum Leave {
    Passage(Passage),
    Permit(Permit),
}

impl<S: Service<Request<ReqBody>>, ReqBody, Body> ResponseFuture<S, ReqBody, Body> {
    pub(crate) const fn inner(future: S::Future) -> Self {
        Self { state: State::Inner { future }, nonce: None, body: PhantomData }
    }

    pub(crate) fn with_nonce(mut self, nonce: Option<Bytes>) -> Self {
        self.nonce = nonce;
        self
    }

    pub(crate) fn refused(answer: Answer, is_grpc: bool) -> Self {
        Self { state: State::Refused { answer: Some(in_terms_of(answer, is_grpc)) }, nonce: None, body: PhantomData }
    }

    pub(crate) fn waiting(pending: Pending, is_grpc: bool, service: S, request: Request<ReqBody>) -> Self {
        Self::waiting_for(async { pending.resolve().await.map(Leave::Passage) }, is_grpc, service, request)
    }

    pub(crate) fn deciding(pending: PendingDecision, is_grpc: bool, service: S, request: Request<ReqBody>) -> Self {
        Self::waiting_for(async { pending.resolve().await.map(Leave::Permit) }, is_grpc, service, request)
    }

    fn waiting_for(
        pending: impl Future<Output = Result<Leave, Answer>> + Send + 'static,
        is_grpc: bool,
        service: S,
        request: Request<ReqBody>,
    ) -> Self {
        let (pending, held): (Resolve, _) = (Box::pin(pending), Some((service, request)));
        Self { state: State::Waiting { pending, is_grpc, held }, nonce: None, body: PhantomData }
    }
}

impl<S, ReqBody, ResBody, Body> Future for ResponseFuture<S, ReqBody, Body>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    Body: RefusalBody<ResBody>,
{
    type Output = Result<Response<Body::Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (mut state, nonce) = (this.state, this.nonce);
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Inner { future } => {
                    return future.poll(cx).map_ok(|mut response| {
                        if let Some(nonce) = nonce.take() {
                            add_nonce(response.headers_mut(), nonce);
                        }
                        response.map(Body::pass)
                    });
                }
                StateProjection::Refused { answer } => match answer.take() {
                    Some(answer) => return Poll::Ready(Ok(response(&answer, Body::refuse))),
                    // Polled after it was done, against the contract of futures.
                    None => return Poll::Pending,
                },
                StateProjection::Waiting { pending, is_grpc, held } => {
                    let resolved = ready!(pending.as_mut().poll(cx));
                    match (resolved, held.take()) {
                        (Ok(leave), Some((mut service, mut request))) => {
                            match leave {
                                Leave::Passage(passage) => *nonce = admit(passage, request.extensions_mut()),
                                Leave::Permit(permit) => drop(request.extensions_mut().insert(permit)),
                            }
                            State::Inner { future: service.call(request) }
                        }
                        (Err(answer), _) => State::Refused { answer: Some(in_terms_of(answer, *is_grpc)) },
                        (Ok(_), None) => State::Refused { answer: None },
                    }
                }
            };
            state.set(next);
        }
    }
}

impl<S: Service<Request<ReqBody>>, ReqBody, Body> fmt::Debug for ResponseFuture<S, ReqBody, Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
