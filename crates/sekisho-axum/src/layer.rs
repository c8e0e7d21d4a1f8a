use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, OriginalUri};
use axum::routing::get;
use http::Extensions;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use sekisho_core::{Enforcer, Requirement};
use sekisho_http::{Answer, Checkpoint, Presence, Question, RouteQuestion};
use sekisho_tower::{Around, CheckpointLayer, EnforceLayer, Kept, RequireLayer};

/// Makes axum layers of a checkpoint.
///
/// They fit `Router::layer`, `Router::route_layer`, `MethodRouter::layer` and nested routers. axum runs the layer that
/// was added last first, so the checkpoint's own layer is added after each `require`.
pub trait CheckpointExt {
    /// Lets only requests with a good credential pass, save public routes.
    ///
    /// Of nested checkpoints the inner one decides anew.
    fn layer(&self) -> CheckpointLayer<Kept>;

    /// Lets requests without a credential pass as well, without a principal. A bad credential is still refused.
    fn optional_layer(&self) -> CheckpointLayer<Kept>;

    /// Lets only requests pass whose principal satisfies `rule`; besides CORS preflights, if the checkpoint was built
    /// [with these passing](sekisho_http::CheckpointBuilder::with_preflight_passing).
    ///
    /// Goes inside of [`layer`](Self::layer) or [`optional_layer`](Self::optional_layer) of this same checkpoint;
    /// without it, every request is answered with 500 and a clear line in the log.
    fn require(&self, rule: Requirement) -> RequireLayer<Kept>;

    /// Lets only requests pass that `enforcer` permits, as `question` says what is asked of them; besides CORS preflights, as
    /// [`require`](Self::require) does.
    ///
    /// For routes whose path names the resource: it goes on the route itself (`MethodRouter::layer`, `Router::route_layer`),
    /// and the id is what the router found, however the client has written the path. The handler gets the
    /// [`Permit`](crate::Permit). Where the resource must be loaded first, ask in the handler, by
    /// [`Principal::enforce`](crate::Principal::enforce). It goes inside of [`layer`](Self::layer) as
    /// [`require`](Self::require) does.
    fn enforce(
        &self,
        enforcer: &Enforcer,
        question: RouteQuestion,
    ) -> EnforceLayer<impl Fn(&mut Parts) -> Result<Question, Answer> + Clone + Send + Sync + 'static, Kept>;

    /// Serves the protected resource metadata at the path that
    /// [RFC 9728 §3](https://www.rfc-editor.org/rfc/rfc9728#section-3) gives it, to be merged into the outermost router.
    /// Without configured metadata, the router is empty.
    fn metadata_route<S: Clone + Send + Sync + 'static>(&self) -> Router<S>;
}

impl CheckpointExt for Checkpoint {
    fn layer(&self) -> CheckpointLayer<Kept> {
        CheckpointLayer::new(self.clone(), Presence::Required).keeping_body().reading(around)
    }

    fn optional_layer(&self) -> CheckpointLayer<Kept> {
        CheckpointLayer::new(self.clone(), Presence::Optional).keeping_body().reading(around)
    }

    fn require(&self, rule: Requirement) -> RequireLayer<Kept> {
        RequireLayer::new(self.clone(), rule).keeping_body()
    }

    fn enforce(
        &self,
        enforcer: &Enforcer,
        question: RouteQuestion,
    ) -> EnforceLayer<impl Fn(&mut Parts) -> Result<Question, Answer> + Clone + Send + Sync + 'static, Kept> {
        let ask = move |parts: &mut Parts| crate::enforce::ask(&question, parts);
        EnforceLayer::new(self.clone(), enforcer.clone(), ask).keeping_body()
    }

    fn metadata_route<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let Some(document) = self.metadata() else { return Router::new() };
        Router::new().route(document.path(), get(([(CONTENT_TYPE, "application/json")], document.json().clone())))
    }
}

/// Reads the whole path, of which a nested router sees a part, and the peer, if the application serves with it.
fn around(extensions: &Extensions) -> Around<'_> {
    let whole_path = extensions.get::<OriginalUri>().map(|OriginalUri(uri)| uri.path());
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    Around::of_extensions(extensions).with_whole_path(whole_path).with_peer(peer)
}
