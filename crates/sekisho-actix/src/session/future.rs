use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use actix_web::{Error, ResponseError as _};
use pin_project_lite::pin_project;
use sekisho_http::Answer;
use sekisho_session::{FinishedRequest, LayeredRequest};

use crate::RefusalError;

pin_project! {
    /// Resolves to the response of the service behind, with the session's cookies.
    ///
    /// Nothing is boxed unless something is to be written.
    pub struct SessionFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, B> {
        Inner { #[pin] future: F, layered: Option<LayeredRequest> },
        Refused { held: Option<(Answer, ServiceRequest)> },
        Finishing { future: Pin<Box<dyn Future<Output = ServiceResponse<EitherBody<B, BoxBody>>>>> },
        Abandoning { future: Pin<Box<dyn Future<Output = Error>>> },
    }
}

impl<F, B> SessionFuture<F, B> {
    pub(crate) const fn inner(future: F, layered: LayeredRequest) -> Self {
        Self { state: State::Inner { future, layered: Some(layered) } }
    }

    pub(crate) const fn refused(answer: Answer, request: ServiceRequest) -> Self {
        Self { state: State::Refused { held: Some((answer, request)) } }
    }
}

impl<F, B> Future for SessionFuture<F, B>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody + 'static,
{
    type Output = Result<ServiceResponse<EitherBody<B, BoxBody>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Inner { future, layered } => match (ready!(future.poll(cx)), layered.take()) {
                    (Ok(response), Some(layered)) => match layered.finish_now(response.status().as_u16()) {
                        Ok(finished) => return Poll::Ready(Ok(finish(&finished, response))),
                        Err(layered) => State::Finishing { future: Box::pin(write(layered, response)) },
                    },
                    (Err(error), Some(layered)) => State::Abandoning { future: Box::pin(abandon(layered, error)) },
                    // Polled after it was done, against the contract of futures.
                    (_, None) => return Poll::Pending,
                },
                StateProjection::Refused { held } => match held.take() {
                    Some((answer, request)) => {
                        let response = RefusalError::from(answer).error_response();
                        return Poll::Ready(Ok(request.into_response(response).map_into_right_body()));
                    }
                    None => return Poll::Pending,
                },
                StateProjection::Finishing { future } => return future.as_mut().poll(cx).map(Ok),
                StateProjection::Abandoning { future } => return future.as_mut().poll(cx).map(Err),
            };
            state.set(next);
        }
    }
}

impl<F, B> fmt::Debug for SessionFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}

/// Returns the error to answer with: that of the handler, unless a logout could not be written.
async fn abandon(layered: LayeredRequest, error: Error) -> Error {
    match layered.abandon().await {
        Ok(()) => error,
        Err(failure) => RefusalError::from(Answer::of_failure(&failure)).into(),
    }
}

async fn write<B: MessageBody>(
    layered: LayeredRequest,
    response: ServiceResponse<B>,
) -> ServiceResponse<EitherBody<B, BoxBody>> {
    let challenges: Vec<HeaderValue> = match response.status() {
        StatusCode::UNAUTHORIZED => response.headers().get_all(WWW_AUTHENTICATE).cloned().collect(),
        _ => Vec::new(),
    };
    let challenges = challenges.iter().map(HeaderValue::as_bytes);
    match layered.finish_challenged(response.status().as_u16(), challenges).await {
        Ok(finished) => finish(&finished, response),
        Err(broken) => {
            let broken = RefusalError::from(broken).error_response();
            response.into_response(broken).map_into_right_body()
        }
    }
}

/// Changes an answer as the end of its session says.
fn finish<B>(finished: &FinishedRequest, response: ServiceResponse<B>) -> ServiceResponse<EitherBody<B, BoxBody>> {
    let mut response = match finished.location().and_then(|location| HeaderValue::from_str(location).ok()) {
        Some(location) => redirect(response, location),
        None => response.map_into_left_body(),
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

fn redirect<B>(response: ServiceResponse<B>, location: HeaderValue) -> ServiceResponse<EitherBody<B, BoxBody>> {
    response.map_body(|head, _| {
        head.status = StatusCode::SEE_OTHER;
        head.headers.retain(|name, _| FinishedRequest::keeps(name.as_str()));
        head.headers.insert(LOCATION, location);
        head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        EitherBody::right(BoxBody::new(()))
    })
}
