use std::fmt;
use std::pin::Pin;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, forward_ready};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use actix_web::{Error, HttpMessage as _, ResponseError as _};
use sekisho_http::Answer;
use sekisho_session::{FinishedRequest, LayeredRequest, SessionRules};

use crate::RefusalError;
use crate::service::Head;

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
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let layered = match self.rules.begin(&Head(&request), request.uri().query()) {
            Ok(layered) => layered,
            Err(refused) => {
                let refused = RefusalError::from(refused).error_response();
                return Box::pin(async move { Ok(request.into_response(refused).map_into_right_body()) });
            }
        };
        request.extensions_mut().insert(layered.session().clone());
        let response = self.inner.call(request);
        Box::pin(async move {
            match response.await {
                Ok(response) => Ok(finish(layered, response).await),
                Err(error) => match layered.abandon().await {
                    Ok(()) => Err(error),
                    Err(failure) => Err(RefusalError::from(Answer::of_failure(&failure)).into()),
                },
            }
        })
    }
}

impl<S> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("rules", &self.rules).finish_non_exhaustive()
    }
}

async fn finish<B: MessageBody>(
    layered: LayeredRequest,
    response: ServiceResponse<B>,
) -> ServiceResponse<EitherBody<B, BoxBody>> {
    let challenges: Vec<HeaderValue> = match response.status() {
        StatusCode::UNAUTHORIZED => response.headers().get_all(WWW_AUTHENTICATE).cloned().collect(),
        _ => Vec::new(),
    };
    let challenges = challenges.iter().map(HeaderValue::as_bytes);
    let finished = match layered.finish_challenged(response.status().as_u16(), challenges).await {
        Ok(finished) => finished,
        Err(broken) => {
            let broken = RefusalError::from(broken).error_response();
            return response.into_response(broken).map_into_right_body();
        }
    };
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
