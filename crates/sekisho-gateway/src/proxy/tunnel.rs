use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::{bad_gateway, headers};
use crate::refusal::Refused;

/// Is a client's place among the connections that may be open. A tunnel keeps it: it is the same connection, and lasts longer than what
/// served it in HTTP.
pub(crate) type ConnectionPermit = Arc<OwnedSemaphorePermit>;

/// Knows the open tunnels, so that they end with the gateway.
#[derive(Clone)]
pub(crate) struct Tunnels(Arc<watch::Sender<bool>>);

impl Default for Tunnels {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Tunnels {
    /// Ends all tunnels, and those yet to come.
    pub(crate) fn end(&self) {
        self.0.send_replace(true);
    }

    /// Returns how many are open.
    pub(crate) fn count(&self) -> usize {
        self.0.receiver_count()
    }

    /// Takes a place among `most` tunnels; `None` when all are taken.
    pub(super) fn place(&self, most: usize) -> Option<TunnelPlace> {
        // Whoever comes is counted before the count is looked at, so it is never too low.
        let place = self.0.subscribe();
        (self.count() <= most).then_some(TunnelPlace(place))
    }
}

/// Is a tunnel's place among those that may be open; it learns by it when all end.
pub(super) struct TunnelPlace(watch::Receiver<bool>);

/// Bounds a tunnel.
pub(super) struct TunnelBounds {
    /// Without any byte either way.
    pub(super) idle: Duration,
    /// After how long the caller's credential is worth nothing any more.
    pub(super) ends: Option<Duration>,
    /// Held as long as the tunnel is open.
    pub(super) permit: Option<ConnectionPermit>,
    pub(super) place: TunnelPlace,
}

/// Joins both sides, once both have switched.
pub(super) fn open(
    client: OnUpgrade,
    response: &mut Response<hyper::body::Incoming>,
    bounds: TunnelBounds,
) -> Result<Response<Body>, Refused> {
    let TunnelBounds { idle, ends, permit, place: TunnelPlace(mut ended) } = bounds;
    let said = response.headers().get(header::UPGRADE).map(HeaderValue::as_bytes);
    if !said.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        return Err(bad_gateway("the upstream switched to another protocol than the one asked for"));
    }
    let upstream = hyper::upgrade::on(&mut *response);
    let mut headers = std::mem::take(response.headers_mut());
    headers::take_hop_by_hop(&mut headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = headers;
    tokio::spawn(async move {
        let _held = permit;
        let run = async {
            let (client, upstream) = tokio::try_join!(client, upstream).ok()?;
            join(client, upstream, idle).await.ok()
        };
        let expiry = async {
            match ends {
                Some(ends) => tokio::time::sleep(ends).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = run => {}
            () = expiry => tracing::info!(target: "sekisho", "a tunnel ends with its caller's credential"),
            _ = ended.wait_for(|ended| *ended) => {}
        }
    });
    Ok(answer)
}

impl fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tunnels({})", self.count())
    }
}

async fn join(client: Upgraded, upstream: Upgraded, idle: Duration) -> io::Result<()> {
    let last = Arc::new(Mutex::new(Instant::now()));
    let mut client = Watched { inner: TokioIo::new(client), last: Arc::clone(&last) };
    let mut upstream = TokioIo::new(upstream);
    let mut copy = std::pin::pin!(tokio::io::copy_bidirectional(&mut client, &mut upstream));
    loop {
        let until = *last.lock().unwrap_or_else(PoisonError::into_inner) + idle;
        tokio::select! {
            done = &mut copy => return done.map(|_| ()),
            () = tokio::time::sleep_until(until) => {
                if *last.lock().unwrap_or_else(PoisonError::into_inner) + idle <= Instant::now() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }
}

pin_project! {
    /// Notes when bytes last went either way.
    struct Watched<T> {
        #[pin]
        inner: T,
        last: Arc<Mutex<Instant>>,
    }
}

fn note(last: &Mutex<Instant>) {
    *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
}

impl<T: AsyncRead> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let read = this.inner.poll_read(cx, buffer);
        if read.is_ready() {
            note(this.last);
        }
        read
    }
}

impl<T: AsyncWrite> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.inner.poll_write(cx, bytes);
        if written.is_ready() {
            note(this.last);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(cx)
    }
}
