//! What the source does by itself, and when it stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Clock, SystemClock};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwks::{Backend, IntoKeySource, KeyHealth, KeyLookup, KeySource, RemoteKeys, SourceContext};

use crate::server::{Reply, Server};
use crate::support::{FakeClient, TestClock, ask, build, context, eventually, found, kid, ok, set};

const SECOND: Duration = Duration::from_secs(1);

fn with_system_clock(keys: RemoteKeys) -> Arc<dyn KeySource> {
    keys.into_key_source(&SourceContext::new(Backend::aws_lc())).unwrap()
}

#[tokio::test]
async fn keys_are_refreshed_though_nobody_asks() {
    let server = Server::start().await;
    server.set("/keys", Reply::json(set(&["a"])));
    let keys =
        RemoteKeys::new(server.url("/keys")).with_default_freshness(SECOND).with_freshness_bounds(SECOND, SECOND);
    let source = with_system_clock(keys);
    eventually(|| server.count("/keys") >= 3).await;
    found(source.find(kid("a"), SystemClock.now()));
}

#[tokio::test]
async fn a_dropped_source_breaks_off_its_load_and_asks_no_more() {
    let server = Server::start().await;
    server.set("/keys", Reply::Hang);
    let source = with_system_clock(RemoteKeys::new(server.url("/keys")).with_total_timeout(SECOND * 60));
    eventually(|| server.count("/keys") == 1).await;
    drop(source);
    eventually(|| server.abandoned() == 1).await;

    server.set("/keys", Reply::json(set(&["a"])));
    let keys =
        RemoteKeys::new(server.url("/keys")).with_default_freshness(SECOND).with_freshness_bounds(SECOND, SECOND);
    let source = with_system_clock(keys);
    eventually(|| server.count("/keys") >= 3).await;
    drop(source);
    let seen = server.count("/keys");
    tokio::time::sleep(SECOND * 3).await;
    assert!(server.count("/keys") <= seen + 1);
}

#[tokio::test]
async fn a_readiness_probe_alone_brings_the_keys() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::json(set(&["a"])));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    eventually(|| source.health(clock.now()) == KeyHealth::Fresh { keys: 1 }).await;
    clock.advance(600 + 3600);
    assert_eq!(source.health(clock.now()), KeyHealth::Unavailable);
    eventually(|| source.health(clock.now()) == KeyHealth::Fresh { keys: 1 }).await;
}

#[test]
fn a_source_made_outside_of_a_runtime_wakes_up_in_the_first_that_asks_and_outlives_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = runtime();
    let (server, clock) = (servers.block_on(Server::start()), TestClock::new());
    server.set("/keys", Reply::json(set(&["a"])));
    let serving = std::thread::spawn({
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = move || servers.block_on(stopped).unwrap_or_default();
        std::mem::forget(stop);
        served
    });
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    assert!(matches!(source.find(kid("a"), clock.now()), KeyLookup::FetchNeeded));
    for round in 1..4 {
        runtime().block_on(async {
            found(ask(&source, "a", clock.now()).await);
            eventually(|| source.health(clock.now()) == KeyHealth::Fresh { keys: 1 }).await;
        });
        assert_eq!(server.count("/keys"), round);
        clock.advance(601);
    }
    drop(serving);
}

#[test]
fn a_load_stuck_in_a_runtime_that_stands_still_is_begun_anew_elsewhere() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (still, clock) = (runtime(), TestClock::new());
    let client = Arc::new(FirstNever(AtomicUsize::new(0)));
    let keys = RemoteKeys::new("https://id.example/keys").with_http_client(client.clone());
    let keys = keys.with_total_timeout(Duration::from_millis(500));
    let source = still.block_on(async {
        let source = keys.into_key_source(&context(&clock)).unwrap();
        tokio::task::yield_now().await;
        source
    });
    // The load has begun, and nobody drives even its timeout.
    assert_eq!(client.0.load(Ordering::SeqCst), 1);
    found(runtime().block_on(ask(&source, "a", clock.now())));
    assert_eq!(client.0.load(Ordering::SeqCst), 2);
    drop(still);
}

/// Leaves the first request without an answer and counts them.
#[derive(Debug)]
struct FirstNever(AtomicUsize);

#[async_trait]
impl HttpClient for FirstNever {
    async fn send(&self, _request: HttpRequest, _limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        ok(set(&["a"]))
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_break_off_the_load() {
    let (server, clock) = (Server::start().await, TestClock::new());
    server.set("/keys", Reply::After(Duration::from_millis(500), set(&["a"]).into_bytes()));
    let source = build(RemoteKeys::new(server.url("/keys")), &clock);
    for _ in 0..5 {
        let gone = tokio::time::timeout(Duration::from_millis(20), ask(&source, "a", clock.now())).await;
        assert!(gone.is_err());
    }
    eventually(|| matches!(source.find(kid("a"), clock.now()), KeyLookup::Found(_))).await;
    assert_eq!(server.count("/keys"), 1);
    assert_eq!(server.abandoned(), 0);
}

#[test]
fn with_a_client_that_needs_no_tokio_the_source_needs_none() {
    let clock = TestClock::new();
    let client = FakeClient::new(|_| ok(set(&["a"])));
    let keys = RemoteKeys::new("https://id.example/keys").with_http_client(client.clone());
    let source = keys.into_key_source(&context(&clock)).unwrap();
    found(block_on(ask(&source, "a", clock.now())));
    assert!(matches!(block_on(ask(&source, "b", clock.now())), KeyLookup::Unknown));
    assert_eq!(client.count(), 2);
}

/// Drives a future by a waker that unparks this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
