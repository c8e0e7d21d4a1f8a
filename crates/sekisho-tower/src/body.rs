use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// Says how a layer makes the body of a refusal, given the body type of the service behind it.
///
/// Sealed: [`Wrapped`] fits every service, [`Kept`] those whose body can be made from bytes.
pub trait RefusalBody<Inner>: sealed::Sealed {
    /// The body type of the layered service.
    type Body;

    /// Passes a body on.
    fn pass(inner: Inner) -> Self::Body;

    /// Makes the body of a refusal.
    fn refuse(bytes: Bytes) -> Self::Body;
}

/// Wraps the body into [`CheckpointBody`]. Fits every service, tonic's included.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "has no values")]
pub enum Wrapped {}

/// Keeps the body type, which must be `From<Bytes>`, as axum's is.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "has no values")]
pub enum Kept {}

impl<Inner> RefusalBody<Inner> for Wrapped {
    type Body = CheckpointBody<Inner>;

    fn pass(inner: Inner) -> CheckpointBody<Inner> {
        CheckpointBody { part: Part::Inner { inner } }
    }

    fn refuse(bytes: Bytes) -> CheckpointBody<Inner> {
        CheckpointBody { part: Part::Refusal { bytes: Some(bytes).filter(|b| !b.is_empty()) } }
    }
}

impl<Inner: From<Bytes>> RefusalBody<Inner> for Kept {
    type Body = Inner;

    fn pass(inner: Inner) -> Inner {
        inner
    }

    fn refuse(bytes: Bytes) -> Inner {
        Inner::from(bytes)
    }
}

pin_project! {
    /// Is the body of a response: the service's own, or that of a refusal.
    #[derive(Debug)]
    pub struct CheckpointBody<B> {
        #[pin]
        part: Part<B>,
    }
}

pin_project! {
    #[project = PartProjection]
    #[derive(Debug)]
    enum Part<B> {
        Refusal { bytes: Option<Bytes> },
        Inner { #[pin] inner: B },
    }
}

impl<B: Body<Data = Bytes>> Body for CheckpointBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().part.project() {
            PartProjection::Refusal { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            PartProjection::Inner { inner } => inner.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.part {
            Part::Refusal { bytes } => bytes.is_none(),
            Part::Inner { inner } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.part {
            Part::Refusal { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| u64::try_from(b.len()).unwrap_or(u64::MAX)))
            }
            Part::Inner { inner } => inner.size_hint(),
        }
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "seals the trait above")]
    pub trait Sealed {}
    impl Sealed for super::Wrapped {}
    impl Sealed for super::Kept {}
}
