use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage as _, ResponseError as _};
use pin_project_lite::pin_project;
use sekisho_core::Permit;
use sekisho_http::{Answer, Passage, Pending, PendingDecision};

use crate::RefusalError;

pin_project! {
    /// Resolves to the response of the service behind, or to a refusal.
    ///
    /// Nothing is boxed unless the checkpoint has to wait.
    pub struct ResponseFuture<S: Service<ServiceRequest>> {
        #[pin]
        state: State<S, S::Future>,
        // For the client's next DPoP proof.
        nonce: Option<Bytes>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, Inner> {
        Inner { #[pin] future: Inner },
        Refused { held: Option<(Answer, ServiceRequest)> },
        Waiting { pending: Resolve, held: Option<(Rc<S>, ServiceRequest)> },
    }
}

fn add_nonce(headers: &mut HeaderMap, nonce: Bytes) {
    if let Ok(value) = HeaderValue::from_maybe_shared(nonce)
        && !headers.contains_key("dpop-nonce")
    {
        headers.insert(DPOP_NONCE, value);
    }
}

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Lets a request pass a checkpoint, and returns the nonce for the client's next DPoP proof.
///
/// INVARIANT: a permit of another checkpoint's principal is none behind this one.
pub(crate) fn admit(passage: Passage, request: &ServiceRequest) -> Option<Bytes> {
    let (nonce, mut extensions) = (passage.next_nonce(), request.extensions_mut());
    extensions.remove::<Permit>();
    extensions.insert(passage);
    nonce
}

type Resolve = Pin<Box<dyn Future<Output = Result<Leave, Answer>>>>;

/// Is what a request takes along when it passes.
enum Leave {
    Passage(Passage),
    Permit(Permit),
}

impl<S: Service<ServiceRequest>> ResponseFuture<S> {
    pub(crate) const fn inner(future: S::Future) -> Self {
        Self { state: State::Inner { future }, nonce: None }
    }

    pub(crate) fn with_nonce(mut self, nonce: Option<Bytes>) -> Self {
        self.nonce = nonce;
        self
    }

    pub(crate) const fn refused(answer: Answer, request: ServiceRequest) -> Self {
        Self { state: State::Refused { held: Some((answer, request)) }, nonce: None }
    }

    pub(crate) fn waiting(pending: Pending, service: Rc<S>, request: ServiceRequest) -> Self {
        Self::waiting_for(async { pending.resolve().await.map(Leave::Passage) }, service, request)
    }

    pub(crate) fn deciding(pending: PendingDecision, service: Rc<S>, request: ServiceRequest) -> Self {
        Self::waiting_for(async { pending.resolve().await.map(Leave::Permit) }, service, request)
    }

    fn waiting_for(
        pending: impl Future<Output = Result<Leave, Answer>> + 'static,
        service: Rc<S>,
        request: ServiceRequest,
    ) -> Self {
        let (pending, held): (Resolve, _) = (Box::pin(pending), Some((service, request)));
        Self { state: State::Waiting { pending, held }, nonce: None }
    }
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<EitherBody<B, BoxBody>>, Error>;

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
                        response.map_into_left_body()
                    });
                }
                StateProjection::Refused { held } => match held.take() {
                    Some((answer, request)) => {
                        let response = RefusalError::from(answer).error_response();
                        return Poll::Ready(Ok(request.into_response(response).map_into_right_body()));
                    }
                    // Polled after it was done, against the contract of futures.
                    None => return Poll::Pending,
                },
                StateProjection::Waiting { pending, held } => {
                    let resolved = ready!(pending.as_mut().poll(cx));
                    match (resolved, held.take()) {
                        (Ok(leave), Some((service, request))) => {
                            match leave {
                                Leave::Passage(passage) => *nonce = admit(passage, &request),
                                Leave::Permit(permit) => drop(request.extensions_mut().insert(permit)),
                            }
                            State::Inner { future: service.call(request) }
                        }
                        (Err(answer), Some((_, request))) => State::Refused { held: Some((answer, request)) },
                        (_, None) => State::Refused { held: None },
                    }
                }
            };
            state.set(next);
        }
    }
}

impl<S: Service<ServiceRequest>> fmt::Debug for ResponseFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
