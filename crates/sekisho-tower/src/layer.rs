use std::fmt;
use std::marker::PhantomData;

use sekisho_core::Requirement;
use sekisho_http::{Checkpoint, Presence};
use tower_layer::Layer;

use crate::body::{Kept, Wrapped};
use crate::service::{CheckpointService, RequireService};

/// Makes tower layers of a checkpoint.
pub trait CheckpointExt {
    /// Lets only requests with a good credential pass, save public routes and CORS preflights.
    ///
    /// The leave to pass, a [`Passage`](sekisho_http::Passage), goes into the request's extensions over any other: of
    /// nested checkpoints the inner one decides anew.
    fn layer(&self) -> CheckpointLayer;

    /// Lets requests without a credential pass as well, without a principal. A bad credential is still refused.
    fn optional_layer(&self) -> CheckpointLayer;

    /// Lets only requests pass whose principal satisfies `rule`.
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
    body: PhantomData<fn() -> Body>,
}

impl CheckpointLayer {
    /// Makes the layer; [`CheckpointExt`] is shorter.
    #[must_use]
    pub const fn new(checkpoint: Checkpoint, presence: Presence) -> Self {
        Self { checkpoint, presence, body: PhantomData }
    }

    /// Leaves the body type of the response as it is, for services whose body is `From<Bytes>`.
    #[must_use]
    pub fn keeping_body(self) -> CheckpointLayer<Kept> {
        CheckpointLayer { checkpoint: self.checkpoint, presence: self.presence, body: PhantomData }
    }
}

impl<S, Body> Layer<S> for CheckpointLayer<Body> {
    type Service = CheckpointService<S, Body>;

    fn layer(&self, inner: S) -> Self::Service {
        CheckpointService { inner, checkpoint: self.checkpoint.clone(), presence: self.presence, body: PhantomData }
    }
}

impl<Body> Clone for CheckpointLayer<Body> {
    fn clone(&self) -> Self {
        Self { checkpoint: self.checkpoint.clone(), presence: self.presence, body: PhantomData }
    }
}

impl<Body> fmt::Debug for CheckpointLayer<Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointLayer")
            .field("checkpoint", &self.checkpoint)
            .field("presence", &self.presence)
            .finish()
    }
}

/// Puts a [`RequireService`] before a service.
///
/// `Body` is [`Wrapped`] or [`Kept`].
pub struct RequireLayer<Body = Wrapped> {
    checkpoint: Checkpoint,
    rule: Requirement,
    body: PhantomData<fn() -> Body>,
}

impl RequireLayer {
    /// Makes the layer; [`CheckpointExt`] is shorter.
    #[must_use]
    pub const fn new(checkpoint: Checkpoint, rule: Requirement) -> Self {
        Self { checkpoint, rule, body: PhantomData }
    }

    /// Leaves the body type of the response as it is, for services whose body is `From<Bytes>`.
    #[must_use]
    pub fn keeping_body(self) -> RequireLayer<Kept> {
        RequireLayer { checkpoint: self.checkpoint, rule: self.rule, body: PhantomData }
    }
}

impl<S, Body> Layer<S> for RequireLayer<Body> {
    type Service = RequireService<S, Body>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireService { inner, checkpoint: self.checkpoint.clone(), rule: self.rule.clone(), body: PhantomData }
    }
}

impl<Body> Clone for RequireLayer<Body> {
    fn clone(&self) -> Self {
        Self { checkpoint: self.checkpoint.clone(), rule: self.rule.clone(), body: PhantomData }
    }
}

impl<Body> fmt::Debug for RequireLayer<Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireLayer").field("checkpoint", &self.checkpoint).field("rule", &self.rule).finish()
    }
}
