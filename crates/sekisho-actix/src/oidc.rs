use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, SET_COOKIE};
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Responder};
use sekisho_http::RequestHead;
use sekisho_oidc::{Bff, Reply};

/// Makes actix-web routes of a backend for a frontend.
///
/// # Examples
/// ```
/// use actix_web::App;
/// use sekisho_actix::BffExt as _;
/// # fn serve(bff: &sekisho_oidc::Bff) {
/// let app = App::new().configure(bff.configure());
/// # }
/// ```
pub trait BffExt {
    /// Serves its addresses, for `App::configure`. They need no middleware of sessions, and must not stand behind one that demands a
    /// header of every request, or the provider's own could not come in.
    fn configure(&self) -> impl FnOnce(&mut ServiceConfig) + use<Self>;
}

impl BffExt for Bff {
    fn configure(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let bff = self.clone();
        move |config| {
            for name in ["login", "callback", "callback/{provider}", "initiate", "user", "logout", "backchannel"] {
                let (path, bff) = (format!("{}/{name}", bff.base()), bff.clone());
                config.service(web::resource(path).to(move |request: HttpRequest, body: Payload| {
                    let bff = bff.clone();
                    async move { answer(&bff, &request, body).await }
                }));
            }
        }
    }
}

async fn answer(bff: &Bff, request: &HttpRequest, body: Payload) -> HttpResponse {
    let body = match body.to_bytes_limited(Bff::MAX_BODY).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return HttpResponse::BadRequest().finish(),
        Err(_) => return HttpResponse::PayloadTooLarge().finish(),
    };
    response(&bff.handle(&Head(request), request.uri().query(), &body).await)
}

/// Is a [`Reply`] as a response, for handlers of one's own that call a [`RelyingParty`](sekisho_oidc::RelyingParty).
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "handlers build it")]
pub struct BffResponse(pub Reply);

impl Responder for BffResponse {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        response(&self.0)
    }
}

impl From<Reply> for BffResponse {
    fn from(reply: Reply) -> Self {
        Self(reply)
    }
}

fn response(reply: &Reply) -> HttpResponse {
    let mut response =
        HttpResponse::build(StatusCode::from_u16(reply.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in reply.headers() {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.append_header((HeaderName::from_static(name), value));
        }
    }
    for cookie in reply.cookies() {
        if let Ok(mut value) = HeaderValue::from_str(cookie.expose()) {
            value.set_sensitive(true);
            response.append_header((SET_COOKIE, value));
        }
    }
    response.body(reply.body().to_vec())
}

/// Reads a request that has reached its handler.
struct Head<'r>(&'r HttpRequest);

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
}
