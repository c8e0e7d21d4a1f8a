use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use pin_project_lite::pin_project;
use sekisho_http::Answer;
use sekisho_session::{FinishedRequest, LayeredRequest};

pin_project! {
    /// Resolves to the response of the service behind, with the session's cookies.
    ///
    /// Nothing is boxed unless something is to be written.
    pub struct SessionFuture<F, E> {
        #[pin]
        state: State<F, E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, E> {
        Inner { #[pin] future: F, layered: Option<LayeredRequest> },
        Refused { answer: Option<Answer> },
        Finishing { future: Pin<Box<dyn Future<Output = Response> + Send>> },
        Abandoning { future: Pin<Box<dyn Future<Output = ()> + Send>>, error: Option<E> },
    }
}

impl<F, E> SessionFuture<F, E> {
    pub(crate) const fn inner(future: F, layered: LayeredRequest) -> Self {
        Self { state: State::Inner { future, layered: Some(layered) } }
    }

    pub(crate) const fn refused(answer: Answer) -> Self {
        Self { state: State::Refused { answer: Some(answer) } }
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for SessionFuture<F, E> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Inner { future, layered } => match (ready!(future.poll(cx)), layered.take()) {
                    (Ok(response), Some(layered)) => match layered.finish_now(response.status().as_u16()) {
                        Ok(finished) => return Poll::Ready(Ok(finish(&finished, response))),
                        Err(layered) => State::Finishing { future: Box::pin(write(layered, response)) },
                    },
                    (Err(error), Some(layered)) => {
                        State::Abandoning { future: Box::pin(abandon(layered)), error: Some(error) }
                    }
                    (_, None) => return Poll::Pending,
                },
                StateProjection::Refused { answer } => match answer.take() {
                    Some(answer) => return Poll::Ready(Ok(sekisho_tower::response(&answer, Body::from))),
                    // Polled after it was done, against the contract of futures.
                    None => return Poll::Pending,
                },
                StateProjection::Finishing { future } => return future.as_mut().poll(cx).map(Ok),
                StateProjection::Abandoning { future, error } => {
                    ready!(future.as_mut().poll(cx));
                    match error.take() {
                        Some(error) => return Poll::Ready(Err(error)),
                        None => return Poll::Pending,
                    }
                }
            };
            state.set(next);
        }
    }
}

impl<F, E> fmt::Debug for SessionFuture<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}

async fn abandon(layered: LayeredRequest) {
    if let Err(failure) = layered.abandon().await {
        // For the log: what goes out is the error.
        let _ = Answer::of_failure(&failure);
    }
}

async fn write(layered: LayeredRequest, response: Response) -> Response {
    let challenges: Vec<HeaderValue> = match response.status() {
        StatusCode::UNAUTHORIZED => response.headers().get_all(WWW_AUTHENTICATE).iter().cloned().collect(),
        _ => Vec::new(),
    };
    let challenges = challenges.iter().map(HeaderValue::as_bytes);
    let finished = match layered.finish_challenged(response.status().as_u16(), challenges).await {
        Ok(finished) => finished,
        Err(broken) => return sekisho_tower::response(&broken, Body::from),
    };
    finish(&finished, response)
}

/// Changes an answer as the end of its session says.
fn finish(finished: &FinishedRequest, response: Response) -> Response {
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
