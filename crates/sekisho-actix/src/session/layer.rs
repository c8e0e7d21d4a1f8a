use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use sekisho_session::{CsrfRules, LoginRedirect, Sessions};

use crate::session::SessionService;

/// Gives each request its session, and writes it at the end.
///
/// It is added after the checkpoint's middleware, so that it stands outside of it and of every handler that extracts a
/// [`Session`](crate::Session). Of a request it checks that no other site caused it; it asks the store nothing by itself. Of an
/// answer it adds the cookies, and replaces it by 503 when the session could not be written. A request that is dropped before its
/// answer, or that a middleware further inside ends with an error, writes nothing.
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
pub struct SessionMiddleware(Arc<Rules>);

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) sessions: Sessions,
    pub(crate) csrf: Option<CsrfRules>,
    pub(crate) login: Option<LoginRedirect>,
}

impl SessionMiddleware {
    /// Takes [`CsrfRules::new`], and leaves every 401 as it is.
    #[must_use]
    pub fn new(sessions: Sessions) -> Self {
        Self(Arc::new(Rules { sessions, csrf: Some(CsrfRules::new()), login: None }))
    }

    /// Says which requests could have been caused by another site. Default: [`CsrfRules::new`].
    #[must_use]
    pub fn with_csrf(self, csrf: CsrfRules) -> Self {
        self.with(|rules| rules.csrf = Some(csrf))
    }

    /// Checks no request for having been caused by another site: for services that do it otherwise, for every route.
    #[must_use]
    pub fn dangerous_without_csrf(self) -> Self {
        self.with(|rules| rules.csrf = None)
    }

    /// Sends navigations that are answered with 401 to the login. Default: a 401 stays one.
    #[must_use]
    pub fn with_login_redirect(self, login: LoginRedirect) -> Self {
        self.with(|rules| rules.login = Some(login))
    }

    fn with(self, set: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Arc::unwrap_or_clone(self.0);
        set(&mut rules);
        Self(Arc::new(rules))
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
        ready(Ok(SessionService::new(inner, Arc::clone(&self.0))))
    }
}
