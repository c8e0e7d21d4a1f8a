//! The proxy as clients and services see it, over real connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod configured;
#[cfg(feature = "opaque")]
mod opaque;
mod refuse;
mod reload;
mod smuggle;
mod stream;
#[cfg(all(feature = "tls", feature = "aws-lc-rs"))]
mod tls;
mod tunnel;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Requirement, scope};
use sekisho_gateway::{Gateway, Guard, IdentityHeaders, ProxyLimits, ProxyTimeouts, ReverseProxy, Route, Upstream};
use sekisho_http::Checkpoint;
use sekisho_testkit::FakeAuthenticator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::upstream::TestUpstream;

pub(crate) fn checkpoint() -> Checkpoint {
    Checkpoint::builder().accept(FakeAuthenticator).with_cookie("token").build().unwrap()
}

pub(crate) fn guarded(requirement: Requirement) -> Guard {
    Guard::Checkpoint { checkpoint: checkpoint(), requirement }
}

pub(crate) fn timeouts() -> ProxyTimeouts {
    ProxyTimeouts {
        request_head: Duration::from_secs(2),
        response: Duration::from_millis(700),
        idle: Duration::from_millis(700),
        total: None,
        shutdown: Duration::from_secs(2),
    }
}

/// The routes of most tests: public, guarded, guarded by a scope nobody has, denied.
pub(crate) fn routes(upstream: &Upstream) -> Vec<Route> {
    vec![
        Route::new("/public", upstream, Guard::Public),
        Route::new("/public/*", upstream, Guard::Public).with_websockets(),
        Route::new("/admin/*", upstream, Guard::Deny),
        Route::new("/orders/*", upstream, guarded(scope("a"))).for_methods(["GET", "POST"]),
        Route::new("/orders/*", upstream, guarded(scope("nobody"))).for_methods(["DELETE"]),
        Route::new("/inner/*", upstream, Guard::Public).on_host("inner.example"),
    ]
}

pub(crate) fn proxy(routes: Vec<Route>) -> ReverseProxy {
    let limits = ProxyLimits { body_bytes: 64 * 1024 * 1024, ..ProxyLimits::default() };
    ReverseProxy::new(routes)
        .unwrap()
        .with_identity(IdentityHeaders::standard())
        .with_timeouts(timeouts())
        .with_limits(limits)
}

/// A gateway that serves, until it is told to end.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Gateway,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<std::io::Result<()>>>,
}

impl Served {
    pub(crate) async fn start(proxy: ReverseProxy) -> Self {
        Self::of(Gateway::new(proxy)).await
    }

    pub(crate) async fn of(gateway: Gateway) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = gateway.clone();
        let task = tokio::spawn(async move { serving.serve(listener, async { drop(stopped.await) }).await });
        Self { address, gateway, stop: Some(stop), task: Some(task) }
    }

    /// Tells it to end; the task is done when it has.
    pub(crate) fn end(&mut self) -> JoinHandle<std::io::Result<()>> {
        drop(self.stop.take());
        self.task.take().unwrap()
    }

    /// Sends raw bytes and returns all that comes until the connection closes.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        raw(self.address, bytes).await
    }

    /// Sends a request without a body, on a connection of its own.
    pub(crate) async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        Reply::read(&self.raw(text).await)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

pub(crate) async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may refuse before it has read all of it.
    let _refused_early = stream.write_all(bytes.as_ref()).await;
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(read) = stream.read(&mut buffer).await {
            if read == 0 {
                break;
            }
            answer.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the connection is closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// An answer taken apart.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

pub(crate) async fn echo() -> (TestUpstream, Upstream) {
    let service = TestUpstream::start().await;
    let upstream = Upstream::new("test", &service.origin()).unwrap();
    (service, upstream)
}

pub(crate) type Shared<T> = Arc<std::sync::Mutex<T>>;
