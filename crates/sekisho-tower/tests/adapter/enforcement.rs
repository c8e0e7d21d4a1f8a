//! Decisions before a plain service and before one that speaks gRPC.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use sekisho_core::{AccessRequest, Authorize, Decision, Denial, Enforcer, Failure, Obligation, Permit};
use sekisho_http::{Answer, Checkpoint, Question};
use sekisho_tower::{CheckpointExt as _, EnforceLayer};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};

use crate::fake::{Fake, checkpoint};
use crate::service::Once;

/// Permits the document that is called so, and remembers what it was asked.
#[derive(Clone, Default)]
struct Policy {
    asked: Arc<Mutex<Vec<String>>>,
    waits: bool,
}

impl Policy {
    fn outcome(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let (who, action, what) = (request.subject().subject(), request.action(), request.resource().id());
        self.asked.lock().unwrap().push(format!("{who} {action} {what}"));
        match what {
            "/permitted" => Ok(Decision::permit()),
            "/obliging" => Ok(Decision::permit().with_obligation(Obligation::new("notify"))),
            "/scoped" => Ok(Decision::deny(Denial::InsufficientScope { scope: "docs".into() })),
            "/down" => Err(Failure::unavailable("down")),
            _ => Ok(Decision::not_applicable()),
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Authorize for Policy {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        (!self.waits).then(|| self.outcome(request))
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        tokio::task::yield_now().await;
        self.outcome(request)
    }
}

/// Asks by the path, but for one to which there is no question.
fn question(parts: &mut Parts) -> Result<Question, Answer> {
    match parts.uri.path() {
        "/strange" => Err(Answer::bad_request()),
        path => Ok(Question::new("read", "doc", path.to_owned())),
    }
}

type Asks = fn(&mut Parts) -> Result<Question, Answer>;

fn layer(checkpoint: &Checkpoint, policy: &Policy) -> EnforceLayer<Asks> {
    EnforceLayer::new(checkpoint.clone(), Enforcer::new(policy.clone()), question)
}

fn request(path: &str, credential: Option<&str>) -> http::request::Builder {
    let request = Request::builder().uri(path);
    match credential {
        Some(credential) => request.header("authorization", format!("Bearer {credential}")),
        None => request,
    }
}

/// Serves whoever has a permit, and counts.
async fn served(request: Request<()>, count: Arc<AtomicUsize>) -> Result<Response<Full<Bytes>>, Infallible> {
    count.fetch_add(1, Ordering::SeqCst);
    let text = if request.extensions().get::<Permit>().is_some() { "permitted" } else { "no permit" };
    Ok(Response::new(Full::from(text)))
}

struct Answered {
    status: u16,
    grpc: Option<String>,
    body: String,
    is_served: bool,
}

/// Sends a request through checkpoint and enforcement.
async fn send(checkpoint: &Checkpoint, layer: EnforceLayer<Asks>, request: Request<()>) -> Answered {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let inner = service_fn(move |request| served(request, Arc::clone(&counted)));
    let service = ServiceBuilder::new().layer(checkpoint.layer()).layer(layer).service(inner);
    let response = service.oneshot(request).await.unwrap();
    let grpc = response.headers().get("grpc-status").map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answered { status, grpc, body, is_served: count.load(Ordering::SeqCst) == 1 }
}

#[tokio::test]
async fn only_what_is_permitted_reaches_the_service_and_with_its_permit() {
    let checkpoint = checkpoint();
    for waits in [false, true] {
        for suffix in ["", "-slow"] {
            let policy = Policy { waits, ..Policy::default() };
            let credential = format!("good{suffix}");
            let sent = async |path: &str| {
                let request = request(path, Some(&credential)).body(()).unwrap();
                send(&checkpoint, layer(&checkpoint, &policy), request).await
            };
            let passed = sent("/permitted").await;
            assert_eq!((passed.status, passed.body.as_str(), passed.is_served), (200, "permitted", true));
            assert_eq!(policy.asked(), ["alice read /permitted"]);
            for (path, status, asked) in [
                ("/other", 403, true),
                ("/obliging", 403, true),
                ("/scoped", 403, true),
                ("/down", 503, true),
                ("/strange", 400, false),
                // As it is written: no layer before this one has found a route.
                ("/permitted/", 403, true),
                ("/Permitted", 403, true),
            ] {
                let refused = sent(path).await;
                assert_eq!((refused.status, refused.is_served, refused.grpc), (status, false, None), "{path}");
                assert_eq!(policy.asked().len(), usize::from(asked), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn nobody_is_asked_about_who_did_not_pass_this_very_checkpoint() {
    let (policy, guarding) = (Policy::default(), checkpoint());
    for credential in [None, Some("bad"), Some("bad-slow")] {
        let request = request("/permitted", credential).body(()).unwrap();
        let refused = send(&guarding, layer(&guarding, &policy), request).await;
        assert_eq!((refused.status, refused.is_served), (401, false), "{credential:?}");
    }
    // No checkpoint before it, and another one.
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let alone = layer(&guarding, &policy).layer(service_fn(move |request| served(request, Arc::clone(&counted))));
    let unguarded = alone.oneshot(request("/permitted", Some("good")).body(()).unwrap()).await.unwrap();
    assert_eq!((unguarded.status().as_u16(), count.load(Ordering::SeqCst)), (500, 0));
    let request = request("/permitted", Some("good")).body(()).unwrap();
    let other = send(&checkpoint(), layer(&guarding, &policy), request).await;
    assert_eq!((other.status, other.is_served), (500, false));
    assert!(policy.asked().is_empty());
}

#[tokio::test]
async fn the_permit_of_a_layer_further_out_is_none_for_what_is_further_in() {
    let open = Checkpoint::builder().accept(Fake).with_preflight_passing().build().unwrap();
    let (policy, count) = (Policy::default(), Arc::new(AtomicUsize::new(0)));
    let inner: Asks = |_| Ok(Question::new("read", "doc", "/other"));
    let inner = EnforceLayer::new(open.clone(), Enforcer::new(policy.clone()), inner);
    let serve = |inner: EnforceLayer<Asks>| {
        let counted = Arc::clone(&count);
        let service = service_fn(move |request| served(request, Arc::clone(&counted)));
        ServiceBuilder::new().layer(open.layer()).layer(layer(&open, &policy)).layer(inner).service(service)
    };
    let asked = request("/permitted", Some("good")).body(()).unwrap();
    assert_eq!(serve(inner.clone()).oneshot(asked).await.unwrap().status(), 403);
    assert_eq!((count.load(Ordering::SeqCst), policy.asked().len()), (0, 2));
    // A preflight passes without any, also where the permit of an earlier request is left behind.
    let mut kept = None;
    let keep = service_fn(|request: Request<()>| {
        kept = request.extensions().get::<Permit>().cloned();
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    let keeps = open.layer().layer(layer(&open, &policy).layer(Once(keep)));
    keeps.oneshot(request("/permitted", Some("good")).body(()).unwrap()).await.unwrap();
    policy.asked();
    let preflight = request("/permitted", None).method("OPTIONS").header("origin", "https://a.example");
    let preflight = preflight.header("access-control-request-method", "POST").body(()).unwrap();
    let kept = kept.unwrap();
    let plants = move |mut request: Request<()>| {
        request.extensions_mut().insert(kept.clone());
        request
    };
    let counted = Arc::clone(&count);
    let service = service_fn(move |request| served(request, Arc::clone(&counted)));
    let service = ServiceBuilder::new().layer(open.layer()).map_request(plants).layer(inner).service(service);
    let response = service.oneshot(preflight).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((body.as_ref(), policy.asked().len()), (&b"no permit"[..], 0));
}

#[tokio::test]
async fn a_grpc_call_is_refused_in_grpcs_terms_only_when_asked_for() {
    let checkpoint = checkpoint();
    for waits in [false, true] {
        let policy = Policy { waits, ..Policy::default() };
        let call = |path: &str, media_type: &str| {
            let request = request(path, Some("good")).method("POST").header("content-type", media_type);
            request.body(()).unwrap()
        };
        let grpc = || layer(&checkpoint, &policy).answering_grpc();
        for (path, status) in
            [("/other", "7"), ("/obliging", "7"), ("/scoped", "7"), ("/down", "14"), ("/strange", "3")]
        {
            let refused = send(&checkpoint, grpc(), call(path, "application/grpc")).await;
            let answer = (refused.status, refused.grpc.as_deref(), refused.body.as_str(), refused.is_served);
            assert_eq!(answer, (200, Some(status), "", false), "{path}");
            // What is no gRPC call, and where nobody asked for it.
            let plain = send(&checkpoint, grpc(), call(path, "application/json")).await;
            assert!(plain.status >= 400 && plain.grpc.is_none(), "{path}");
            let plain = send(&checkpoint, layer(&checkpoint, &policy), call(path, "application/grpc")).await;
            assert!(plain.status >= 400 && plain.grpc.is_none(), "{path}");
        }
        let passed = send(&checkpoint, grpc(), call("/permitted", "application/grpc")).await;
        assert_eq!((passed.status, passed.grpc, passed.body.as_str()), (200, None, "permitted"));
    }
}

#[tokio::test]
async fn the_body_type_stays_when_asked_to() {
    let (checkpoint, policy) = (checkpoint(), Policy::default());
    let counted = Arc::new(AtomicUsize::new(0));
    let service = service_fn(move |request| served(request, Arc::clone(&counted)));
    let kept = layer(&checkpoint, &policy).keeping_body().layer(service);
    let service = checkpoint.layer().keeping_body().layer(kept);
    let response: Response<Full<Bytes>> =
        service.oneshot(request("/other", Some("good")).body(()).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["cache-control"].as_bytes()), (403, &b"no-store"[..]));
}
