//! An enforcement point before a plain service.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use sekisho_core::{Enforcer, when};
use sekisho_http::{Checkpoint, RouteQuestion};
use sekisho_tower::{CheckpointExt as _, EnforceLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::fake::{Fake, checkpoint};

/// Remembers what was asked.
#[derive(Clone, Default)]
struct Readers(Arc<Mutex<Vec<String>>>);

impl Readers {
    /// Permits reading.
    fn enforcer(&self) -> Enforcer {
        let Self(asked) = self.clone();
        Enforcer::new(when("it is read", move |request| {
            asked.lock().unwrap().push(request.action().to_owned());
            request.action() == "read"
        }))
    }
}

async fn reached(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("reached")))
}

/// Tells what becomes of a request with these headers: its status, and what was asked.
async fn ask(checkpoint: &Checkpoint, method: &str, headers: &[(&str, &str)]) -> (u16, Vec<String>) {
    let readers = Readers::default();
    let question = |parts: &mut Parts| RouteQuestion::by_method("order").ask(parts.method.as_str(), |_| None);
    let enforce = EnforceLayer::new(checkpoint.clone(), readers.enforcer(), question);
    let service = checkpoint.layer().layer(enforce.layer(service_fn(reached)));
    let request = Request::builder().method(method).uri("/");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let status = service.oneshot(request.body(()).unwrap()).await.unwrap().status().as_u16();
    let asked = std::mem::take(&mut *readers.0.lock().unwrap());
    (status, asked)
}

const ORIGIN: (&str, &str) = ("origin", "https://shop.example");
const WANTS: (&str, &str) = ("access-control-request-method", "DELETE");
const GOOD: (&str, &str) = ("authorization", "Bearer good");

#[tokio::test]
async fn a_preflight_passes_where_the_checkpoint_lets_it_pass_and_nothing_is_asked_about_it() {
    let passing = Checkpoint::builder().accept(Fake).with_preflight_passing().build().unwrap();
    for (method, headers, status, asked) in [
        ("OPTIONS", &[ORIGIN, WANTS][..], 200, &[][..]),
        ("OPTIONS", &[ORIGIN, WANTS, GOOD], 200, &[]),
        ("OPTIONS", &[], 401, &[]),
        ("OPTIONS", &[ORIGIN], 401, &[]),
        ("OPTIONS", &[WANTS], 401, &[]),
        ("OPTIONS", &[ORIGIN, ORIGIN, WANTS], 401, &[]),
        ("OPTIONS", &[ORIGIN, WANTS, WANTS], 401, &[]),
        ("OPTIONS", &[ORIGIN, WANTS, ("content-type", "application/grpc")], 401, &[]),
        ("OPTIONS", &[GOOD], 403, &[]),
        ("GET", &[ORIGIN, WANTS], 401, &[]),
        ("GET", &[ORIGIN, WANTS, GOOD], 200, &["read"]),
        ("DELETE", &[ORIGIN, WANTS, GOOD], 403, &["delete"]),
    ] {
        let (got, questions) = ask(&passing, method, headers).await;
        assert_eq!(got, status, "{method} {headers:?}");
        assert_eq!(questions, asked, "{method} {headers:?}");
    }
    assert_eq!(ask(&checkpoint(), "OPTIONS", &[ORIGIN, WANTS]).await.0, 401);
    assert_eq!(ask(&checkpoint(), "OPTIONS", &[ORIGIN, WANTS, GOOD]).await.0, 403);
}

/// Who stands between may make another request of it.
#[tokio::test]
async fn what_has_been_made_of_a_preflight_meanwhile_is_none() {
    let passing = Checkpoint::builder().accept(Fake).with_preflight_passing().build().unwrap();
    let readers = Readers::default();
    let question = |_: &mut Parts| Ok(sekisho_http::Question::new("read", "order", ""));
    let enforce = EnforceLayer::new(passing.clone(), readers.enforcer(), question);
    let enforced = enforce.layer(service_fn(reached));
    let between = service_fn(move |mut request: Request<()>| {
        *request.method_mut() = http::Method::GET;
        enforced.clone().oneshot(request)
    });
    let request = Request::options("/").header(ORIGIN.0, ORIGIN.1).header(WANTS.0, WANTS.1).body(()).unwrap();
    assert_eq!(passing.layer().layer(between).oneshot(request).await.unwrap().status(), 401);
    assert!(readers.0.lock().unwrap().is_empty());
}
