//! A service that misbehaves on demand, and a clock that stands still: what `Remote` sends, and when it gives up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{
    AccessRequest, Authorize, Decision, DecisionSource, Effect, EvaluationsSemantic, Failure, FailureKind, Principal,
    Resource, UnixSeconds,
};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::opa::Opa;
use super::{Remote, RemoteBuilder};

mod batches;
mod bounds;
mod ends;
mod keeping;
mod purging;
#[cfg(feature = "revocation")]
mod withdrawals;

const ISSUER: &str = "https://id.example";
const NOW: UnixSeconds = UnixSeconds::new(1_700_000_000);
const DEADLINE: Duration = Duration::from_millis(200);

/// What the service does with a request; without a word it decides at once.
#[derive(Clone, Copy, Debug)]
enum Does {
    Decide,
    DecideAfter(u64),
    Hang,
    Lose,
    Break,
    Status(u16),
    Say(&'static str),
}

/// Permits what is done to resources whose id begins with `p`, denies it for `d`, and knows nothing of others.
#[derive(Debug, Default)]
struct Service {
    script: Mutex<VecDeque<Does>>,
    always: Mutex<Option<Does>>,
    revision: Mutex<&'static str>,
    requests: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    asked_of: Mutex<Vec<String>>,
}

impl Service {
    fn with(script: &[Does]) -> Arc<Self> {
        let service = Self::default();
        service.script.lock().unwrap().extend(script);
        Arc::new(service)
    }

    fn that(does: Does) -> Arc<Self> {
        let service = Self::default();
        *service.always.lock().unwrap() = Some(does);
        Arc::new(service)
    }

    fn always(&self, does: Does) {
        *self.always.lock().unwrap() = Some(does);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn decide(&self, request: &HttpRequest) -> HttpResponse {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON, not compressed");
        let provenance = json!({"bundles": {"shop": {"revision": *self.revision.lock().unwrap()}}});
        let one = |input: &Value| {
            let id = input["resource"]["id"].as_str().unwrap().to_owned();
            let mut answer = Map::from_iter([("decision_id".to_owned(), json!(format!("about-{id}")))]);
            if id.starts_with(['p', 'd']) {
                answer.insert("result".to_owned(), json!(id.starts_with('p')));
            }
            self.asked_of.lock().unwrap().push(id);
            answer
        };
        let answer = if let Some(inputs) = body["inputs"].as_object() {
            let responses: Map<_, _> = inputs.iter().map(|(key, input)| (key.clone(), one(input).into())).collect();
            json!({"responses": responses, "provenance": provenance})
        } else {
            let mut answer = one(&body["input"]);
            answer.insert("provenance".to_owned(), provenance);
            answer.into()
        };
        said(200, &answer.to_string())
    }
}

fn said(status: u16, body: &str) -> HttpResponse {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    HttpResponse { status, headers, body: body.as_bytes().to_vec() }
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl HttpClient for Service {
    /// It does not heed its limits.
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let _running = Running(&self.running);
        let next = self.script.lock().unwrap().pop_front();
        let does = next.or(*self.always.lock().unwrap()).unwrap_or(Does::Decide);
        match does {
            Does::Decide => Ok(self.decide(&request)),
            Does::DecideAfter(millis) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok(self.decide(&request))
            }
            Does::Hang => std::future::pending().await,
            Does::Lose => Err(HttpError::Connect("refused".into())),
            Does::Break => Err(HttpError::Broken("reset".into())),
            Does::Status(status) => Ok(said(status, r#"{"result":true}"#)),
            Does::Say(body) => Ok(said(200, body)),
        }
    }
}

fn builder(service: &Arc<Service>) -> RemoteBuilder {
    let service: Arc<dyn HttpClient> = Arc::<Service>::clone(service);
    Remote::builder(Opa::at("https://opa.example", "shop").unwrap().with_gzip_above(usize::MAX)).with_client(service)
}

fn remote(service: &Arc<Service>) -> Remote {
    builder(service).build().unwrap()
}

fn alice() -> Principal {
    PrincipalBuilder::new(ISSUER, "alice").with_claim("jti", "g-1.t-1").with_claim("sid", "s-1").build().unwrap()
}

fn read<'a>(who: &'a Principal, id: &'a str) -> AccessRequest<'a> {
    AccessRequest::new(who, "read", Resource::new("order", id), NOW)
}

async fn decide(remote: &Remote, id: &str) -> Result<Decision, Failure> {
    let alice = alice();
    remote.decide(&read(&alice, id)).await
}

/// Decides, and says how long it took.
async fn timed(remote: &Remote, id: &str) -> (Result<Decision, Failure>, u128) {
    let begin = Instant::now();
    let outcome = decide(remote, id).await;
    (outcome, begin.elapsed().as_millis())
}

fn kind(outcome: &Result<Decision, Failure>) -> Option<FailureKind> {
    outcome.as_ref().err().map(Failure::kind)
}
