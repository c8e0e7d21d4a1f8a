use sekisho_session::SessionRules;
use tower_layer::Layer;

use crate::session::SessionService;

/// Gives each request its session, and writes it at the end.
///
/// It stands outside of the checkpoint and of every handler that extracts a [`Session`](crate::Session). Of a request it
/// checks that no other site caused it; it asks the store nothing by itself. Of an answer it adds the cookies, and replaces it
/// by 503 when the session could not be written. Where the handler answers with 500 and more or 408, or a service inside with an error,
/// only a logout is done. A request that is dropped before its answer does a logout that was noted, and otherwise writes nothing, unless it was writing just then.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use axum::{Router, routing::get};
/// use sekisho_axum::{Session, SessionLayer};
/// use sekisho_session::{LoginRedirect, MemorySessionStore, SessionKey, SessionKeys, SessionRules, Sessions};
///
/// let keys = SessionKeys::new(SessionKey::generate()?);
/// let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys).build()?;
/// let app: Router = Router::new()
///     .route("/", get(|session: Session<()>| async move { format!("{:?}", session.id()) }))
///     .layer(SessionLayer::new(SessionRules::new(sessions).with_login_redirect(LoginRedirect::to("/login")?)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SessionLayer(SessionRules);

impl SessionLayer {
    /// Takes the rules, or [`Sessions`](sekisho_session::Sessions) alone for the [default ones](SessionRules::new).
    #[must_use]
    pub fn new(rules: impl Into<SessionRules>) -> Self {
        Self(rules.into())
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService::new(inner, self.0.clone())
    }
}
