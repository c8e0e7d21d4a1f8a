use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::body::MessageBody;
use actix_web::dev::{AppService, HttpServiceFactory, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::{Error, HttpResponse, Resource, web};
use sekisho_core::{Enforcer, Requirement};
use sekisho_http::{Checkpoint, MetadataDocument, Presence, RouteQuestion};

use crate::enforce::EnforceMiddleware;
use crate::service::{CheckpointService, RequireService};

/// Makes actix-web middleware of a checkpoint.
///
/// It fits `App::wrap`, `Scope::wrap` and `Resource::wrap`. actix-web runs the middleware that was added last first, so
/// the checkpoint's own middleware is added after each `require`.
pub trait CheckpointExt {
    /// Lets only requests with a good credential pass, save public routes.
    ///
    /// Of nested checkpoints the inner one decides anew.
    fn middleware(&self) -> CheckpointMiddleware;

    /// Lets requests without a credential pass as well, without a principal. A bad credential is still refused.
    fn optional_middleware(&self) -> CheckpointMiddleware;

    /// Lets only requests pass whose principal satisfies `rule`; besides CORS preflights, if the checkpoint was built
    /// [with these passing](sekisho_http::CheckpointBuilder::with_preflight_passing).
    ///
    /// Goes inside of [`middleware`](Self::middleware) or [`optional_middleware`](Self::optional_middleware) of this
    /// same checkpoint; without it, every request is answered with 500 and a clear line in the log.
    fn require(&self, rule: Requirement) -> RequireMiddleware;

    /// Lets only requests pass that `enforcer` permits, as `question` says what is asked of them; besides CORS preflights, as
    /// [`require`](Self::require) does.
    ///
    /// For resources whose path names what it is about: it goes on the resource itself (`Resource::wrap`), and the id is what
    /// the router found, however the client has written the path. The handler gets the [`Permit`](crate::Permit). Where the
    /// object must be loaded first, ask in the handler, by [`Principal::enforce`](crate::Principal::enforce). It goes inside
    /// of [`middleware`](Self::middleware) as [`require`](Self::require) does.
    fn enforce(&self, enforcer: &Enforcer, question: RouteQuestion) -> EnforceMiddleware;

    /// Serves the protected resource metadata at the path that
    /// [RFC 9728 §3](https://www.rfc-editor.org/rfc/rfc9728#section-3) gives it, for `App::service`. Without configured
    /// metadata, it serves nothing.
    fn metadata_resource(&self) -> MetadataResource;
}

impl CheckpointExt for Checkpoint {
    fn middleware(&self) -> CheckpointMiddleware {
        CheckpointMiddleware { checkpoint: self.clone(), presence: Presence::Required }
    }

    fn optional_middleware(&self) -> CheckpointMiddleware {
        CheckpointMiddleware { checkpoint: self.clone(), presence: Presence::Optional }
    }

    fn require(&self, rule: Requirement) -> RequireMiddleware {
        RequireMiddleware { checkpoint: self.clone(), rule }
    }

    fn enforce(&self, enforcer: &Enforcer, question: RouteQuestion) -> EnforceMiddleware {
        EnforceMiddleware { checkpoint: self.clone(), enforcer: enforcer.clone(), question }
    }

    fn metadata_resource(&self) -> MetadataResource {
        MetadataResource(self.metadata().cloned())
    }
}

/// Puts a checkpoint before a service; made by [`CheckpointExt`].
#[derive(Clone, Debug)]
pub struct CheckpointMiddleware {
    checkpoint: Checkpoint,
    presence: Presence,
}

impl<S, B> Transform<S, ServiceRequest> for CheckpointMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody,
{
    type Response = <Self::Transform as Service<ServiceRequest>>::Response;
    type Error = Error;
    type Transform = CheckpointService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let (checkpoint, presence) = (self.checkpoint.clone(), self.presence);
        ready(Ok(CheckpointService { inner: Rc::new(inner), checkpoint, presence }))
    }
}

/// Puts a rule before a service; made by [`CheckpointExt::require`].
#[derive(Clone, Debug)]
pub struct RequireMiddleware {
    checkpoint: Checkpoint,
    rule: Requirement,
}

impl<S, B> Transform<S, ServiceRequest> for RequireMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody,
{
    type Response = <Self::Transform as Service<ServiceRequest>>::Response;
    type Error = Error;
    type Transform = RequireService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let (checkpoint, rule) = (self.checkpoint.clone(), self.rule.clone());
        ready(Ok(RequireService { inner, checkpoint, rule }))
    }
}

/// Serves the metadata document; made by [`CheckpointExt::metadata_resource`].
#[derive(Clone, Debug)]
pub struct MetadataResource(Option<MetadataDocument>);

impl HttpServiceFactory for MetadataResource {
    fn register(self, config: &mut AppService) {
        let Some(document) = self.0 else { return };
        let json = document.json().clone();
        let answer = move || {
            let response = HttpResponse::Ok().content_type("application/json").body(json.clone());
            ready(response)
        };
        let resource = Resource::new(document.path());
        resource.route(web::get().to(answer.clone())).route(web::head().to(answer)).register(config);
    }
}
