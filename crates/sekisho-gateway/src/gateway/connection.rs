//! One connection of a client: TLS, if it ends here, then HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
#[cfg(feature = "tls")]
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sekisho_http::ClientCertificate;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
#[cfg(feature = "tls")]
use tokio::time::{Instant, MissedTickBehavior};

#[cfg(feature = "tls")]
use super::streams::{State, StreamTasks, Streams};
use super::{Gateway, Serving};
use crate::proxy::{ConnectionPermit, Encrypted, StallGuard};
#[cfg(feature = "tls")]
use crate::tls::Accepted;

/// Is what each request of a connection is told of it.
#[derive(Clone)]
struct Marks {
    peer: SocketAddr,
    permit: ConnectionPermit,
    is_encrypted: bool,
    certificate: Option<ClientCertificate>,
}

impl Marks {
    fn put(&self, request: &mut Request<Incoming>) {
        let Self { peer: _, permit, is_encrypted, certificate } = self;
        let extensions = request.extensions_mut();
        extensions.insert(Arc::clone(permit));
        if *is_encrypted {
            extensions.insert(Encrypted);
        }
        if let Some(certificate) = certificate {
            extensions.insert(certificate.clone());
        }
    }
}

impl Gateway {
    pub(super) async fn connection(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        stop: watch::Receiver<bool>,
        permit: OwnedSemaphorePermit,
    ) {
        let serving = self.0.current.load_full();
        // Where it fails, the connection is slower and no less right.
        let _slower = stream.set_nodelay(true);
        let stream = StallGuard::new(stream, serving.proxy.timeouts().idle);
        let marks = Marks { peer, permit: Arc::new(permit), is_encrypted: false, certificate: None };
        #[cfg(feature = "tls")]
        if let Some(tls) = &serving.tls {
            let mut stopped = stop.clone();
            let accepted = tokio::select! {
                accepted = tls.accept(stream) => accepted,
                () = async { drop(stopped.wait_for(|stop| *stop).await) } => return,
            };
            let Accepted { stream, is_http2, certificate } = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(target: "sekisho", peer = %peer.ip(), "a TLS handshake failed: {error}");
                    return;
                }
            };
            let marks = Marks { is_encrypted: true, certificate, ..marks };
            if is_http2 {
                self.http2(TokioIo::new(stream), marks, &serving, stop).await;
            } else {
                self.http1(TokioIo::new(stream), marks, &serving, stop).await;
            }
            return;
        }
        self.http1(TokioIo::new(stream), marks, &serving, stop).await;
    }

    async fn http1<I>(self, io: I, marks: Marks, serving: &Serving, mut stop: watch::Receiver<bool>)
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let (limits, timeouts, peer) = (serving.proxy.limits(), serving.proxy.timeouts(), marks.peer);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let serving = self.0.current.load_full();
            marks.put(&mut request);
            async move { Ok::<_, Infallible>(serving.answer(request, peer).await) }
        });
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(timeouts.request_head)
            .max_headers(limits.headers)
            .max_header_size(limits.header_bytes)
            .keep_alive(true);
        let mut connection = pin!(server.serve_connection(io, service).with_upgrades());
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        told(served, peer);
    }

    /// Serves HTTP/2 ([RFC 9113](https://www.rfc-editor.org/rfc/rfc9113)).
    ///
    /// hyper and h2 bound what one connection can make us do: streams at once, bytes of headers (and by them the number of CONTINUATION
    /// frames), streams that are reset before they were looked at, bytes on their way. They know no time, so that is kept here.
    #[cfg(feature = "tls")]
    async fn http2<I>(self, io: I, marks: Marks, serving: &Serving, mut stop: watch::Receiver<bool>)
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let (limits, timeouts, peer) = (serving.proxy.limits(), serving.proxy.timeouts(), marks.peer);
        let streams = Streams::default();
        let begun = streams.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (serving, stream) = (self.0.current.load_full(), begun.begin());
            marks.put(&mut request);
            async move {
                let response = serving.answer(request, peer).await;
                Ok::<_, Infallible>(response.map(|body| stream.watch(body)))
            }
        });
        let mut server = http2::Builder::new(StreamTasks(streams.clone()));
        server
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MOST_PENDING_RESETS)
            .max_local_error_reset_streams(MOST_ERROR_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER);
        let mut connection = pin!(server.serve_connection(io, service));
        let mut ticks = tokio::time::interval(timeouts.request_head.min(timeouts.idle).max(SHORTEST_TICK * 4) / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Whether nothing new is taken, and when the rest is cut off.
        let (mut is_ending, mut cut_at) = (false, None::<Instant>);
        let served = loop {
            tokio::select! {
                served = connection.as_mut() => break served,
                () = async { drop(stop.wait_for(|stop| *stop).await) }, if !is_ending => {
                    connection.as_mut().graceful_shutdown();
                    is_ending = true;
                }
                now = ticks.tick() => {
                    if cut_at.is_some_and(|cut_at| now >= cut_at) {
                        tracing::debug!(target: "sekisho", peer = %peer.ip(), "a connection is cut off");
                        return;
                    }
                    streams.end_stalled(now, timeouts.idle);
                    let grace = match streams.state(now, timeouts.request_head, timeouts.idle) {
                        State::Busy => continue,
                        State::Unused => timeouts.request_head,
                        // The others have their time.
                        State::Stalled => timeouts.shutdown,
                    };
                    if cut_at.is_none() {
                        connection.as_mut().graceful_shutdown();
                        (is_ending, cut_at) = (true, Some(now + grace));
                    }
                }
            }
        };
        told(served, peer);
    }
}

fn told(served: Result<(), hyper::Error>, peer: SocketAddr) {
    if let Err(error) = served {
        tracing::debug!(target: "sekisho", peer = %peer.ip(), "a connection ended: {error}");
    }
}

/// How many streams a client may open and reset before we looked at them (CVE-2023-44487), until it is cut off.
#[cfg(feature = "tls")]
const MOST_PENDING_RESETS: usize = 20;
/// How many streams we may have to reset for what the client did wrong, until it is cut off.
#[cfg(feature = "tls")]
const MOST_ERROR_RESETS: usize = 64;
/// How many bytes of a body we take before the upstream does.
#[cfg(feature = "tls")]
const STREAM_WINDOW: u32 = 256 * 1024;
#[cfg(feature = "tls")]
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How many bytes of a stream wait for the client.
#[cfg(feature = "tls")]
const SEND_BUFFER: usize = 64 * 1024;
#[cfg(feature = "tls")]
const SHORTEST_TICK: std::time::Duration = std::time::Duration::from_millis(20);
