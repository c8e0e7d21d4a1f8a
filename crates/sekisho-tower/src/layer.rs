use std::fmt;
use std::marker::PhantomData;

use sekisho_core::Requirement;
use sekisho_http::{Checkpoint, Presence};
use tower_layer::Layer;

use crate::around::{ReadAround, of_extensions};
use crate::body::{Kept, Wrapped};
use crate::service::{CheckpointService, RequireService};

/// Makes tower layers of a checkpoint.
pub trait CheckpointExt {
    /// Lets only requests with a good credential pass, save public routes.
    ///
    /// The leave to pass, a [`Passage`](sekisho_http::Passage), goes into the request's extensions over any other: of
    /// nested checkpoints the inner one decides anew.
    fn layer(&self) -> CheckpointLayer;

    /// Lets requests without a credential pass as well, without a principal. A bad credential is still refused.
    fn optional_layer(&self) -> CheckpointLayer;

    /// Lets only requests pass whose principal satisfies `rule`; besides CORS preflights, if the checkpoint was built
    /// [with these passing](sekisho_http::CheckpointBuilder::with_preflight_passing).
    ///
    /// Goes inside of [`layer`](Self::layer) or [`optional_layer`](Self::optional_layer) of this same checkpoint;
    /// without it, every request is answered with 500 and a clear line in the log.
    fn require(&self, rule: Requirement) -> RequireLayer;
}

impl CheckpointExt for Checkpoint {
    fn layer(&self) -> CheckpointLayer {
        CheckpointLayer::new(self.clone(), Presence::Required)
    }

    fn optional_layer(&self) -> CheckpointLayer {
        CheckpointLayer::new(self.clone(), Presence::Optional)
    }

    fn require(&self, rule: Requirement) -> RequireLayer {
        RequireLayer::new(self.clone(), rule)
    }
}

/// Puts a [`CheckpointService`] before a service.
///
/// `Body` is [`Wrapped`] or [`Kept`].
pub struct CheckpointLayer<Body = Wrapped> {
    checkpoint: Checkpoint,
    presence: Presence,
    answers_grpc: bool,
    around: ReadAround,
    body: PhantomData<fn() -> Body>,
}

impl CheckpointLayer {
    /// Makes the layer; [`CheckpointExt`] is shorter.
    #[must_use]
    pub const fn new(checkpoint: Checkpoint, presence: Presence) -> Self {
        Self { checkpoint, presence, answers_grpc: false, around: of_extensions, body: PhantomData }
    }

    /// Leaves the body type of the response as it is, for services whose body is `From<Bytes>`.
    #[must_use]
    pub fn keeping_body(self) -> CheckpointLayer<Kept> {
        let Self { checkpoint, presence, answers_grpc, around, body: _ } = self;
        CheckpointLayer { checkpoint, presence, answers_grpc, around, body: PhantomData }
    }

    /// Refuses gRPC calls in gRPC's terms: HTTP 200 with `grpc-status` in the headers, and no body. Default: every refusal
    /// is a plain HTTP answer.
    ///
    /// Only for services that serve nothing but gRPC. Any caller can give a request the form of a gRPC call, a `POST` with
    /// gRPC's content type, and to a gateway or a browser 200 means that it passed.
    #[must_use]
    pub fn answering_grpc(self) -> Self {
        Self { answers_grpc: true, ..self }
    }
}

impl<Body> CheckpointLayer<Body> {
    /// Reads in another way what a framework knows of a request, for adapters. Default: [`Around::of_extensions`](crate::Around::of_extensions).
    #[must_use]
    pub fn reading(self, around: ReadAround) -> Self {
        Self { around, ..self }
    }
}

impl<S, Body> Layer<S> for CheckpointLayer<Body> {
    type Service = CheckpointService<S, Body>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { checkpoint, presence, answers_grpc, around, body } = self.clone();
        CheckpointService { inner, checkpoint, presence, answers_grpc, around, body }
    }
}

impl<Body> Clone for CheckpointLayer<Body> {
    fn clone(&self) -> Self {
        let Self { checkpoint, presence, answers_grpc, around, body } = self;
        let checkpoint = checkpoint.clone();
        Self { checkpoint, presence: *presence, answers_grpc: *answers_grpc, around: *around, body: *body }
    }
}

impl<Body> fmt::Debug for CheckpointLayer<Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointLayer")
            .field("checkpoint", &self.checkpoint)
            .field("presence", &self.presence)
            .field("answers_grpc", &self.answers_grpc)
            .finish()
    }
}

/// Puts a [`RequireService`] before a service.
///
/// `Body` is [`Wrapped`] or [`Kept`].
pub struct RequireLayer<Body = Wrapped> {
    checkpoint: Checkpoint,
    rule: Requirement,
    answers_grpc: bool,
    body: PhantomData<fn() -> Body>,
}

impl RequireLayer {
    /// Makes the layer; [`CheckpointExt`] is shorter.
    #[must_use]
    pub const fn new(checkpoint: Checkpoint, rule: Requirement) -> Self {
        Self { checkpoint, rule, answers_grpc: false, body: PhantomData }
    }

    /// Leaves the body type of the response as it is, for services whose body is `From<Bytes>`.
    #[must_use]
    pub fn keeping_body(self) -> RequireLayer<Kept> {
        let Self { checkpoint, rule, answers_grpc, body: _ } = self;
        RequireLayer { checkpoint, rule, answers_grpc, body: PhantomData }
    }

    /// Refuses gRPC calls in gRPC's terms, as [`CheckpointLayer::answering_grpc`] does: only for services that serve nothing
    /// but gRPC. Default: every refusal is a plain HTTP answer.
    #[must_use]
    pub fn answering_grpc(self) -> Self {
        Self { answers_grpc: true, ..self }
    }
}

impl<Body> RequireLayer<Body> {
    /// Returns the rule, whose [scopes](sekisho_core::Authorize::scope_alternatives) can be written down for the route.
    ///
    /// # Examples
    /// For the security requirements of an OpenAPI document:
    /// ```
    /// # use std::collections::BTreeMap;
    /// # use sekisho_core::{Authorize as _, any_of, scope};
    /// # use sekisho_http::Checkpoint;
    /// # use sekisho_tower::RequireLayer;
    /// # fn security(checkpoint: Checkpoint) {
    /// let layer = RequireLayer::new(checkpoint, any_of([scope("orders:write"), scope("admin")]));
    /// // As JSON: [{"oauth": ["orders:write"]}, {"oauth": ["admin"]}]
    /// let security: Vec<_> =
    ///     layer.rule().scope_alternatives().into_iter().map(|scopes| BTreeMap::from([("oauth", scopes)])).collect();
    /// # assert_eq!(security.len(), 2);
    /// # }
    /// ```
    #[must_use]
    pub const fn rule(&self) -> &Requirement {
        &self.rule
    }
}

impl<S, Body> Layer<S> for RequireLayer<Body> {
    type Service = RequireService<S, Body>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { checkpoint, rule, answers_grpc, body } = self.clone();
        RequireService { inner, checkpoint, rule, answers_grpc, body }
    }
}

impl<Body> Clone for RequireLayer<Body> {
    fn clone(&self) -> Self {
        let Self { checkpoint, rule, answers_grpc, body } = self;
        Self { checkpoint: checkpoint.clone(), rule: rule.clone(), answers_grpc: *answers_grpc, body: *body }
    }
}

impl<Body> fmt::Debug for RequireLayer<Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireLayer")
            .field("checkpoint", &self.checkpoint)
            .field("rule", &self.rule)
            .field("answers_grpc", &self.answers_grpc)
            .finish()
    }
}
