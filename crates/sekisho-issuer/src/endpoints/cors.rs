//! Scripts of registered origins may read answers; those of others may not ([Fetch, CORS protocol](https://fetch.spec.whatwg.org/#http-cors-protocol)).

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};

use crate::{AuthorizationServer, answer};

/// Cookies are never let in: no answer here depends on one.
pub(super) async fn layer(State(server): State<AuthorizationServer>, request: Request, next: Next) -> Response {
    let mut origins = request.headers().get_all(ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (Some(origin), None) => origin.to_str().ok().filter(|origin| origin.len() <= 255).map(str::to_owned),
        _ => None,
    };
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let allowed = match &origin {
        Some(origin) => match server.parts().clients.has_origin(origin).await {
            Ok(allowed) => allowed,
            Err(failure) => return answer::Refused::from(failure).into_response("cors"),
        },
        None => false,
    };
    let mut response = if is_preflight { answer::bare(204) } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin.filter(|_| allowed).and_then(|origin| HeaderValue::from_str(&origin).ok()) else {
        return response;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if is_preflight {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    } else {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("WWW-Authenticate"));
    }
    response
}
