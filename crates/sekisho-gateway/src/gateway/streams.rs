//! Knows what the streams of an HTTP/2 connection wait for.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

/// Is shared by a connection and the bodies of its answers.
#[derive(Clone)]
pub(super) struct Streams(Arc<Mutex<Inner>>);

struct Inner {
    next: u64,
    /// Since when a stream has had something for the client that it did not take; `None` when it waits for us.
    open: BTreeMap<u64, Option<Instant>>,
    /// When the last stream ended.
    unused_since: Instant,
}

/// Says what a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Busy,
    /// There has been no request for too long.
    Unused,
    /// The client has taken nothing of an answer for too long.
    Stalled,
}

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner { next: 0, open: BTreeMap::new(), unused_since: Instant::now() })))
    }
}

impl Streams {
    pub(super) fn begin(&self) -> Stream {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.open.insert(number, None);
        Stream { streams: self.clone(), number }
    }

    pub(super) fn state(&self, now: Instant, longest_unused: Duration, longest_stall: Duration) -> State {
        let inner = self.lock();
        let mut offered = inner.open.values().flatten();
        if offered.any(|since| now.saturating_duration_since(*since) >= longest_stall) {
            return State::Stalled;
        }
        let is_unused = inner.open.is_empty() && now.saturating_duration_since(inner.unused_since) >= longest_unused;
        if is_unused { State::Unused } else { State::Busy }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is a stream from its request to the end of its answer.
pub(super) struct Stream {
    streams: Streams,
    number: u64,
}

impl Stream {
    /// Ends with this body.
    pub(super) fn watch(self, body: Body) -> Body {
        if body.is_end_stream() { body } else { Body::new(Watched { body, stream: self }) }
    }

    fn set(&self, offered: Option<Instant>) {
        if let Some(since) = self.streams.lock().open.get_mut(&self.number) {
            *since = offered;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut inner = self.streams.lock();
        inner.open.remove(&self.number);
        inner.unused_since = Instant::now();
    }
}

struct Watched {
    body: Body,
    stream: Stream,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // Whoever took a frame asks for the next as soon as there is room for it.
        self.stream.set(polled.is_ready().then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_connection_without_a_stream_is_unused_after_its_time_and_not_before() {
        let (streams, start) = (Streams::default(), Instant::now());
        assert_eq!(streams.state(start, HEAD, IDLE), State::Busy);
        assert_eq!(streams.state(start + HEAD + HEAD, HEAD, IDLE), State::Unused);
        let stream = streams.begin();
        assert_eq!(streams.state(start + HEAD + HEAD, HEAD, IDLE), State::Busy);
        drop(stream.watch(Body::empty()));
        assert_eq!(streams.state(Instant::now(), HEAD, IDLE), State::Busy);
        assert_eq!(streams.state(Instant::now() + HEAD, HEAD, IDLE), State::Unused);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_stalls_and_one_that_the_service_owes_does_not() {
        let streams = Streams::default();
        let waits = streams.begin();
        waits.set(None);
        let offers = streams.begin();
        offers.set(Some(Instant::now()));
        assert_eq!(streams.state(Instant::now(), HEAD, IDLE), State::Busy);
        assert_eq!(streams.state(Instant::now() + IDLE, HEAD, IDLE), State::Stalled);
        drop(offers);
        assert_eq!(streams.state(Instant::now() + IDLE, HEAD, IDLE), State::Busy);
    }
}
