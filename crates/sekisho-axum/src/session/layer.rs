use std::sync::Arc;

use sekisho_session::{CsrfRules, LoginRedirect, Sessions};
use tower_layer::Layer;

use crate::session::SessionService;

/// Gives each request its session, and writes it at the end.
///
/// It stands outside of the checkpoint and of every handler that extracts a [`Session`](crate::Session). Of a request it
/// checks that no other site caused it; it asks the store nothing by itself. Of an answer it adds the cookies, and replaces it
/// by 503 when the session could not be written. A request that is dropped before its answer writes nothing.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use axum::{Router, routing::get};
/// use sekisho_axum::{Session, SessionLayer};
/// use sekisho_session::{LoginRedirect, MemorySessionStore, SessionKey, SessionKeys, Sessions};
///
/// let keys = SessionKeys::new(SessionKey::generate()?);
/// let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys).build()?;
/// let app: Router = Router::new()
///     .route("/", get(|session: Session<()>| async move { format!("{:?}", session.id()) }))
///     .layer(SessionLayer::new(sessions).with_login_redirect(LoginRedirect::to("/login")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SessionLayer(Arc<Rules>);

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) sessions: Sessions,
    pub(crate) csrf: Option<CsrfRules>,
    pub(crate) login: Option<LoginRedirect>,
}

impl SessionLayer {
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

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService::new(inner, Arc::clone(&self.0))
    }
}
