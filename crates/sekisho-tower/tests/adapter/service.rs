use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use sekisho_core::scope;
use sekisho_http::Passage;
use sekisho_tower::CheckpointExt as _;
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _, service_fn};

use crate::fake::checkpoint;

/// Answers with the subject, or `nobody`.
async fn who(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let passage = request.extensions().get::<Passage>();
    let name = passage.and_then(Passage::principal).map_or("nobody", |p| p.subject()).to_owned();
    Ok(Response::new(Full::from(name)))
}

fn request(credential: &str) -> Request<()> {
    let builder = Request::builder().uri("/");
    let builder =
        if credential.is_empty() { builder } else { builder.header("authorization", format!("Bearer {credential}")) };
    builder.body(()).unwrap()
}

async fn send<S, B>(service: S, request: Request<()>) -> (u16, String)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error = Infallible>,
{
    let response = service.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn passes_and_refuses_at_once_and_after_waiting_alike() {
    for suffix in ["", "-slow"] {
        let send = |credential: &str| {
            send(checkpoint().layer().layer(service_fn(who)), request(&format!("{credential}{suffix}")))
        };
        assert_eq!(send("good").await, (200, "alice".to_owned()));
        assert_eq!(send("bad").await.0, 401);
        assert_eq!(send("down").await.0, 503);
    }
}

#[tokio::test]
async fn refuses_without_a_credential_unless_it_is_optional() {
    let required = checkpoint().layer().layer(service_fn(who));
    let optional = checkpoint().optional_layer().layer(service_fn(who));
    assert_eq!(send(required, request("")).await.0, 401);
    assert_eq!(send(optional, request("")).await, (200, "nobody".to_owned()));
    assert_eq!(send(optional_bad(), request("bad")).await.0, 401);
    fn optional_bad()
    -> impl Service<Request<()>, Response = Response<sekisho_tower::CheckpointBody<Full<Bytes>>>, Error = Infallible>
    {
        checkpoint().optional_layer().layer(service_fn(who))
    }
}

#[tokio::test]
async fn keeps_the_body_type_when_asked_to() {
    // `Full<Bytes>` is `From<Bytes>`, so the response type does not change.
    let kept = checkpoint().layer().keeping_body().layer(service_fn(who));
    let response: Response<Full<Bytes>> = kept.oneshot(request("bad")).await.unwrap();
    assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
    assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"{"type":"about:blank","title":"Unauthorized","status":401}"#);
}

#[tokio::test]
async fn an_inner_checkpoint_decides_anew() {
    let (outer, inner) = (checkpoint(), checkpoint());
    let nested = |credential| {
        let service = ServiceBuilder::new().layer(outer.layer()).layer(inner.optional_layer()).service_fn(who);
        send(service, request(credential))
    };
    assert_eq!(nested("good").await, (200, "alice".to_owned()));
    // The outer passage is gone even where the inner checkpoint asks nobody.
    let mut planted = request("");
    *planted.uri_mut() = "/health".parse().unwrap();
    let mut carrier = None;
    let capture = service_fn(|request: Request<()>| {
        carrier = request.extensions().get::<Passage>().cloned();
        who(request)
    });
    send(outer.layer().layer(Once(capture)), request("good")).await;
    planted.extensions_mut().insert(carrier.unwrap());
    assert_eq!(send(inner.layer().layer(service_fn(who)), planted).await, (200, "nobody".to_owned()));
}

/// Makes a service clonable that is called once.
pub(crate) struct Once<S>(pub(crate) S);

impl<S> Clone for Once<S> {
    fn clone(&self) -> Self {
        panic!("an answer from memory needs no clone of the service")
    }
}

impl<R, S: Service<R>> Service<R> for Once<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

#[tokio::test]
async fn require_needs_its_own_checkpoint_before_it() {
    let checkpoint = checkpoint();
    let guarded = |rule: &str| {
        ServiceBuilder::new().layer(checkpoint.layer()).layer(checkpoint.require(scope(rule))).service_fn(who)
    };
    assert_eq!(send(guarded("a"), request("good")).await, (200, "alice".to_owned()));
    assert_eq!(send(guarded("b"), request("good")).await.0, 403);
    assert_eq!(send(guarded("a"), request("")).await.0, 401);
    let bare = checkpoint.require(scope("a")).layer(service_fn(who));
    assert_eq!(send(bare, request("good")).await.0, 500);
    let foreign = ServiceBuilder::new()
        .layer(crate::fake::checkpoint().layer())
        .layer(checkpoint.require(scope("a")))
        .service_fn(who);
    assert_eq!(send(foreign, request("good")).await.0, 500);
}

/// Panics, as tower's own buffers do, when it is called without having been polled ready.
struct Strict {
    is_ready: bool,
    clones: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self { is_ready: false, clones: Arc::clone(&self.clones) }
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(self.is_ready, "called without poll_ready");
        self.is_ready = false;
        std::future::ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn calls_the_very_service_that_was_polled_ready() {
    let clones = Arc::<AtomicUsize>::default();
    let strict = Strict { is_ready: false, clones: Arc::clone(&clones) };
    let mut service = checkpoint().layer().layer(strict);
    for credential in ["good", "good-slow", "bad", "good", "good-slow"] {
        let expected = if credential == "bad" { 401 } else { 200 };
        let response = service.ready().await.unwrap().call(request(credential)).await.unwrap();
        assert_eq!(response.status(), expected);
    }
    assert_eq!(clones.load(Ordering::SeqCst), 2, "one for each request that had to wait");
}

#[tokio::test]
async fn a_dropped_wait_lets_nothing_pass() {
    let reached = Arc::<AtomicBool>::default();
    let flag = Arc::clone(&reached);
    let inner = service_fn(move |request: Request<()>| {
        flag.store(true, Ordering::SeqCst);
        who(request)
    });
    let mut future = Box::pin(checkpoint().layer().layer(inner).oneshot(request("good-slow")));
    let waker = std::task::Waker::noop();
    assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    drop(future);
    assert!(!reached.load(Ordering::SeqCst));
}
