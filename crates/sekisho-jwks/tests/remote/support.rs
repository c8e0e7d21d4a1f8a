use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sekisho_core::{Clock, Failure, FailureKind, UnixSeconds};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwks::{
    Algorithm, Backend, IntoKeySource, KeyLookup, KeyQuery, KeySource, SigningKey, SourceContext, TrustedKey,
};

/// Where every test clock begins.
pub(crate) const START: u64 = 1_000_000;

/// Stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(START)))
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds::new(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn context(clock: &Arc<TestClock>) -> SourceContext {
    SourceContext::new(Backend::aws_lc()).with_clock(Arc::clone(clock) as Arc<dyn Clock>)
}

pub(crate) fn build(source: impl IntoKeySource, clock: &Arc<TestClock>) -> Arc<dyn KeySource> {
    source.into_key_source(&context(clock)).unwrap()
}

pub(crate) fn kid(kid: &str) -> KeyQuery<'_> {
    KeyQuery { kid: Some(kid), algorithm: Algorithm::Ed25519 }
}

/// Writes a set with a new key for each name.
pub(crate) fn set(kids: &[&str]) -> String {
    let keys: Vec<_> = kids.iter().map(|kid| jwk(kid)).collect();
    serde_json::json!({ "keys": keys }).to_string()
}

pub(crate) fn jwk(kid: &str) -> serde_json::Value {
    SigningKey::generate(Backend::aws_lc(), Algorithm::Ed25519).unwrap().with_kid(kid).public_jwk().unwrap()
}

/// Asks as a verifier does.
pub(crate) async fn ask(source: &Arc<dyn KeySource>, name: &str, now: UnixSeconds) -> KeyLookup {
    match source.find(kid(name), now) {
        KeyLookup::FetchNeeded => source.fetch(kid(name), now).await,
        answer => answer,
    }
}

pub(crate) fn found(lookup: KeyLookup) -> TrustedKey {
    match lookup {
        KeyLookup::Found(candidates) => candidates.as_slice()[0].clone(),
        other => panic!("{other:?}"),
    }
}

/// Takes a failure that becomes a 503 with `Retry-After`.
pub(crate) fn unavailable(lookup: KeyLookup) -> Failure {
    match lookup {
        KeyLookup::Failed(failure) => {
            assert_eq!(failure.kind(), FailureKind::Unavailable);
            assert!(failure.retry_after().is_some_and(|after| after >= Duration::from_secs(1)));
            failure
        }
        other => panic!("{other:?}"),
    }
}

/// Writes an error with all its causes.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Waits for what is to come; fails only after half a minute.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(30), "did not come in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

type Answer = dyn Fn(&HttpRequest) -> Result<HttpResponse, HttpError> + Send + Sync;

/// Answers by a function, and keeps the requests.
pub(crate) struct FakeClient {
    answer: Mutex<Box<Answer>>,
    pub(crate) requests: Mutex<Vec<HttpRequest>>,
}

impl FakeClient {
    pub(crate) fn new(
        answer: impl Fn(&HttpRequest) -> Result<HttpResponse, HttpError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(Box::new(answer)), requests: Mutex::default() })
    }

    pub(crate) fn set(&self, answer: impl Fn(&HttpRequest) -> Result<HttpResponse, HttpError> + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse { status: 200, headers: Vec::new(), body: body.into() })
}

impl std::fmt::Debug for FakeClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeClient")
    }
}

#[async_trait]
impl HttpClient for FakeClient {
    async fn send(&self, request: HttpRequest, _limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        let answer = (self.answer.lock().unwrap())(&request);
        self.requests.lock().unwrap().push(request);
        // Gives others a turn, as the network does.
        std::future::poll_fn({
            let mut polled = false;
            move |context| {
                if std::mem::replace(&mut polled, true) {
                    return std::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            }
        })
        .await;
        answer
    }
}
