use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, forward_ready};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE};
use actix_web::{Error, HttpMessage as _, HttpResponse, ResponseError as _};
use sekisho_http::Answer;
use sekisho_session::RequestSession;

use crate::RefusalError;
use crate::service::Head;
use crate::session::layer::Rules;

/// Gives each request its session; made by [`SessionMiddleware`](crate::SessionMiddleware).
pub struct SessionService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> SessionService<S> {
    pub(crate) const fn new(inner: S, rules: Arc<Rules>) -> Self {
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
        let Rules { sessions, csrf, login } = &*self.rules;
        let head = Head(&request);
        let session = sessions.begin(&head);
        if let Some(Err(forgery)) = csrf.as_ref().map(|csrf| csrf.check(&head, session.has_cookie())) {
            let refused = RefusalError::from(forgery.answer()).error_response();
            return Box::pin(async move { Ok(request.into_response(refused).map_into_right_body()) });
        }
        let login = login.as_ref().and_then(|login| login.location(&head, request.uri().query()));
        request.extensions_mut().insert(session.clone());
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            Ok(finish(&session, login, response).await)
        })
    }
}

impl<S> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("rules", &self.rules).finish_non_exhaustive()
    }
}

async fn finish<B: MessageBody>(
    session: &RequestSession,
    login: Option<String>,
    response: ServiceResponse<B>,
) -> ServiceResponse<EitherBody<B, BoxBody>> {
    let cookies = match session.finish().await {
        Ok(cookies) => cookies,
        // Whatever the handler said was done is not.
        Err(failure) => {
            let broken = RefusalError::from(Answer::of_failure(&failure)).error_response();
            return response.into_response(broken).map_into_right_body();
        }
    };
    let mut response = match login.and_then(|login| HeaderValue::try_from(login).ok()) {
        Some(login) if response.status() == StatusCode::UNAUTHORIZED => {
            response.into_response(redirect(login)).map_into_right_body()
        }
        _ => response.map_into_left_body(),
    };
    for cookie in cookies {
        if let Ok(value) = HeaderValue::from_str(cookie.expose()) {
            response.headers_mut().append(SET_COOKIE, value);
            // A cache that kept it would hand one caller's session to the next.
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    response
}

fn redirect(location: HeaderValue) -> HttpResponse {
    let mut response = HttpResponse::SeeOther();
    response.insert_header((LOCATION, location));
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    response.finish()
}
