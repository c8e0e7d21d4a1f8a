use std::future::{Ready, ready};

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use sekisho_session::SessionRules;

use crate::session::SessionService;

/// Gives each request its session, and writes it at the end.
///
/// It is added after the checkpoint's middleware, so that it stands outside of it and of every handler that extracts a
/// [`Session`](crate::Session). Of a request it checks that no other site caused it; it asks the store nothing by itself. Of an
/// answer it adds the cookies, and replaces it by 503 when the session could not be written. Where the handler answers with 500 and
/// more or 408, or a middleware further inside ends the request with an error, only a logout is done. A request that is dropped before its
/// answer does a logout that was noted, and otherwise writes nothing, unless it was writing just then.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use actix_web::{App, web};
/// use sekisho_actix::{Session, SessionMiddleware};
/// use sekisho_session::{MemorySessionStore, SessionKey, SessionKeys, Sessions};
///
/// let keys = SessionKeys::new(SessionKey::generate()?);
/// let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys).build()?;
/// let app = App::new()
///     .route("/", web::get().to(|session: Session<()>| async move { format!("{:?}", session.id()) }))
///     .wrap(SessionMiddleware::new(sessions));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SessionMiddleware(SessionRules);

impl SessionMiddleware {
    /// Takes the rules, or [`Sessions`](sekisho_session::Sessions) alone for the [default ones](SessionRules::new).
    #[must_use]
    pub fn new(rules: impl Into<SessionRules>) -> Self {
        Self(rules.into())
    }
}

impl<S, B> Transform<S, ServiceRequest> for SessionMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = <Self::Transform as Service<ServiceRequest>>::Response;
    type Error = Error;
    type Transform = SessionService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(SessionService::new(inner, self.0.clone())))
    }
}
