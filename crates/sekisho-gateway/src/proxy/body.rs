use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::ProxyTimeouts;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Bounds a body that passes through.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) idle: Duration,
    pub(super) deadline: Option<Instant>,
    pub(super) max_bytes: Option<u64>,
    /// Whether trailers go on; otherwise they are dropped.
    pub(super) takes_trailers: bool,
}

/// Tells what became of a request's body, to whoever waits for the response.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: AtomicU8,
    /// How many frames have gone on.
    frames: AtomicU64,
    moved: Notify,
}

const DONE: u8 = 1;
const TOO_LARGE: u8 = 2;
const STALLED: u8 = 3;
const BROKEN: u8 = 4;

impl Trouble {
    fn set(&self, state: u8) {
        self.0.state.store(state, Ordering::Release);
        self.0.moved.notify_one();
    }

    /// Returns the status for a request whose body was at fault.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self.0.state.load(Ordering::Acquire) {
            TOO_LARGE => Some(StatusCode::PAYLOAD_TOO_LARGE),
            STALLED => Some(StatusCode::REQUEST_TIMEOUT),
            BROKEN => Some(StatusCode::BAD_REQUEST),
            _ => None,
        }
    }

    /// Waits for an answer. While the body goes on, that is as long as it moves; then for `response`; in all until `deadline`.
    pub(super) async fn wait<F: Future>(
        &self,
        future: F,
        timeouts: ProxyTimeouts,
        deadline: Option<Instant>,
    ) -> Option<F::Output> {
        let ProxyTimeouts { response, idle, .. } = timeouts;
        let mut future = pin!(future);
        loop {
            let is_sending = self.0.state.load(Ordering::Acquire) == 0;
            let frames = self.0.frames.load(Ordering::Acquire);
            // A client that stalls is found out by the body itself; this is for an upstream that takes nothing.
            let patience = if is_sending { response + idle } else { response };
            let until = Instant::now() + patience;
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            tokio::select! {
                biased;
                answer = &mut future => return Some(answer),
                () = self.0.moved.notified() => {}
                () = tokio::time::sleep_until(until) => {
                    let has_moved = frames != self.0.frames.load(Ordering::Acquire);
                    if !has_moved || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return None;
                    }
                }
            }
        }
    }
}

pin_project! {
    /// Passes a body on, frame by frame, within bounds. It holds no frame back and reads none ahead.
    pub(super) struct LimitedBody<B> {
        #[pin]
        inner: B,
        bounds: Bounds,
        trouble: Trouble,
        seen: u64,
        // Made when the first frame does not come at once.
        sleep: Option<Pin<Box<Sleep>>>,
        waiting: bool,
        ended: bool,
    }

    impl<B> PinnedDrop for LimitedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            // Whoever waits for the rest of it waits in vain.
            let this = this.project();
            if !*this.ended && this.trouble.0.state.load(Ordering::Acquire) == 0 {
                this.trouble.set(DONE);
            }
        }
    }
}

impl<B: Body<Data = Bytes>> LimitedBody<B> {
    pub(super) fn new(inner: B, bounds: Bounds, trouble: Trouble) -> Self {
        let ended = inner.is_end_stream();
        if ended {
            trouble.set(DONE);
        }
        Self { inner, bounds, trouble, seen: 0, sleep: None, waiting: false, ended }
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        let polled = loop {
            match this.inner.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if frame.is_trailers() && !this.bounds.takes_trailers => {}
                polled => break polled,
            }
        };
        let Poll::Ready(frame) = polled else {
            // The time counts from when we had to wait: the other side may have been slow to ask.
            let until = || {
                let idle = Instant::now() + this.bounds.idle;
                this.bounds.deadline.map_or(idle, |deadline| deadline.min(idle))
            };
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until())));
            if !*this.waiting {
                *this.waiting = true;
                sleep.as_mut().reset(until());
            }
            ready!(sleep.as_mut().poll(cx));
            *this.ended = true;
            this.trouble.set(STALLED);
            return Poll::Ready(Some(Err("the body stalled".into())));
        };
        *this.waiting = false;
        let frame = match frame {
            None => {
                *this.ended = true;
                this.trouble.set(DONE);
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                *this.ended = true;
                this.trouble.set(BROKEN);
                return Poll::Ready(Some(Err(error.into())));
            }
            Some(Ok(frame)) => frame,
        };
        this.trouble.0.frames.fetch_add(1, Ordering::Release);
        let length = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
        *this.seen = this.seen.saturating_add(length);
        if this.bounds.max_bytes.is_some_and(|max| *this.seen > max) {
            *this.ended = true;
            this.trouble.set(TOO_LARGE);
            return Poll::Ready(Some(Err("the body is longer than allowed".into())));
        }
        if this.bounds.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            *this.ended = true;
            this.trouble.set(STALLED);
            return Poll::Ready(Some(Err("the exchange takes too long".into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
