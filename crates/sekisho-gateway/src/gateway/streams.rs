//! Knows what the streams of an HTTP/2 connection wait for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Is shared by a connection and the bodies of its answers.
#[derive(Clone)]
pub(super) struct Streams(Arc<Mutex<Inner>>);

struct Inner {
    next: u64,
    open: BTreeMap<u64, Open>,
    /// Ends the stream that began last, until its task has begun.
    begun: Option<Arc<Notify>>,
    /// When the last stream ended.
    unused_since: Instant,
}

struct Open {
    /// Since when it has had something for the client that it did not take; `None` when it waits for us.
    offered: Option<Instant>,
    ends: Arc<Notify>,
    /// When it was told to end.
    ended: Option<Instant>,
}

/// Says what a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Busy,
    /// There has been no request for too long.
    Unused,
    /// There is a stream that should have been ended for its client's slowness, and was not.
    Stalled,
}

impl Default for Streams {
    fn default() -> Self {
        let (open, unused_since) = (BTreeMap::new(), Instant::now());
        Self(Arc::new(Mutex::new(Inner { next: 0, open, begun: None, unused_since })))
    }
}

impl Streams {
    pub(super) fn begin(&self) -> Stream {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        let ends = Arc::new(Notify::new());
        inner.begun = Some(Arc::clone(&ends));
        inner.open.insert(number, Open { offered: None, ends, ended: None });
        Stream { streams: self.clone(), number }
    }

    /// Ends each stream of whose answer the client has taken nothing for too long; the others of its connection go on.
    pub(super) fn end_stalled(&self, now: Instant, longest_stall: Duration) {
        for stream in self.lock().open.values_mut() {
            let has_stalled = stream.offered.is_some_and(|since| now.saturating_duration_since(since) >= longest_stall);
            if has_stalled && stream.ended.is_none() {
                stream.ended = Some(now);
                stream.ends.notify_one();
            }
        }
    }

    pub(super) fn state(&self, now: Instant, longest_unused: Duration, longest_stall: Duration) -> State {
        let inner = self.lock();
        let mut ended = inner.open.values().filter_map(|stream| stream.ended);
        if ended.any(|at| now.saturating_duration_since(at) >= longest_stall) {
            return State::Stalled;
        }
        let is_unused = inner.open.is_empty() && now.saturating_duration_since(inner.unused_since) >= longest_unused;
        if is_unused { State::Unused } else { State::Busy }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs each stream in a task, which [`Streams::end_stalled`] ends. h2 resets a stream (`CANCEL`) that nobody holds any more.
#[derive(Clone)]
pub(super) struct StreamTasks(pub(super) Streams);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamTasks {
    fn execute(&self, task: F) {
        // hyper asks the service and hands its task in here at once, so the last that began is this one.
        let ends = self.0.lock().begun.take();
        tokio::spawn(async move {
            match ends {
                Some(ends) => tokio::select! {
                    () = task => {}
                    () = ends.notified() => {}
                },
                None => task.await,
            }
        });
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
        if let Some(open) = self.streams.lock().open.get_mut(&self.number) {
            open.offered = offered;
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
    async fn an_answer_that_nobody_takes_ends_its_stream_and_one_that_the_service_owes_does_not() {
        let streams = Streams::default();
        let tasks = StreamTasks(streams.clone());
        let held = |stream: Stream| async move {
            let _held = stream;
            std::future::pending::<()>().await;
        };
        let waits = streams.begin();
        tasks.execute(held(waits));
        let offers = streams.begin();
        offers.set(Some(Instant::now()));
        tasks.execute(held(offers));
        let start = Instant::now();
        streams.end_stalled(start, IDLE);
        assert_eq!(streams.state(start + IDLE, HEAD, IDLE), State::Busy);
        tokio::task::yield_now().await;
        assert_eq!(streams.lock().open.len(), 2);
        streams.end_stalled(start + IDLE, IDLE);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(streams.lock().open.keys().collect::<Vec<_>>(), [&0]);
        assert_eq!(streams.state(start + IDLE * 2, HEAD, IDLE), State::Busy);
    }

    #[tokio::test]
    async fn a_connection_stalls_when_a_stream_cannot_be_ended() {
        let (streams, start) = (Streams::default(), Instant::now());
        let offers = streams.begin();
        offers.set(Some(start));
        // However late that is noticed, it has its time to end.
        streams.end_stalled(start + IDLE * 3, IDLE);
        assert_eq!(streams.state(start + IDLE * 3, HEAD, IDLE), State::Busy);
        streams.end_stalled(start + IDLE * 4, IDLE);
        assert_eq!(streams.state(start + IDLE * 4, HEAD, IDLE), State::Stalled);
        drop(offers);
        assert_eq!(streams.state(start + IDLE * 4, HEAD, IDLE), State::Unused);
    }
}
