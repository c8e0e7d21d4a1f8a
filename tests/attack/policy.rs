//! Group `policy`: what a decision service can answer that is no decision.

use std::sync::{Arc, Mutex};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize as _, Effect, EvaluationsSemantic, Resource, UnixSeconds};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_policy::remote::authzen::AuthZen;
use sekisho_policy::remote::opa::Opa;
use sekisho_policy::remote::{DecisionProtocol, Remote};
use sekisho_tests::{ISSUER, NOW, wait};

/// Gives everybody the same answer, as one to the very question.
#[derive(Debug)]
struct Service(Mutex<Option<(u16, String)>>);

impl Service {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn says(&self, status: u16, body: &str) {
        *self.0.lock().unwrap() = Some((status, body.to_owned()));
    }

    fn remote(self: &Arc<Self>, protocol: impl DecisionProtocol + 'static) -> Remote {
        let client: Arc<dyn HttpClient> = Arc::<Self>::clone(self);
        // What it says shall count each time, and not that it was silent before.
        Remote::builder(protocol).with_client(client).without_cache().with_circuit_breaker(32, SECOND).build().unwrap()
    }
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

#[async_trait::async_trait]
impl HttpClient for Service {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let Some((status, body)) = self.0.lock().unwrap().clone() else { return Err(HttpError::Timeout) };
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let id = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
        headers.extend(id.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        Ok(HttpResponse { status, headers, body: body.into_bytes() })
    }
}

fn opa() -> Opa {
    Opa::at("https://pdp.example", "shop").unwrap()
}

fn authzen() -> AuthZen {
    AuthZen::builder("https://pdp.example").with_issuer(ISSUER).build().unwrap()
}

/// Asks about orders, and returns what each came to; `None` where no decision could be had.
fn effects(remote: &Remote, count: usize, semantic: EvaluationsSemantic) -> Vec<Option<Effect>> {
    let alice = PrincipalBuilder::new(ISSUER, "alice").build().unwrap();
    let ids: Vec<String> = (0..count).map(|id| id.to_string()).collect();
    let ask = |id| AccessRequest::new(&alice, "read", Resource::new("order", id), UnixSeconds::new(NOW.as_secs()));
    let requests: Vec<_> = ids.iter().map(|id| ask(id)).collect();
    let outcomes = wait(remote.decide_all(&requests, semantic));
    outcomes.into_iter().map(|outcome| outcome.ok().map(|decision| decision.effect())).collect()
}

fn effect(remote: &Remote) -> Option<Effect> {
    effects(remote, 1, EvaluationsSemantic::ExecuteAll)[0]
}

#[test]
fn a143_pdp_non_200() {
    let service = Service::new();
    let (opa, authzen) = (service.remote(opa()), service.remote(authzen()));
    service.says(200, r#"{"result":true}"#);
    assert_eq!(effect(&opa), Some(Effect::Permit));
    service.says(200, r#"{"decision":true}"#);
    assert_eq!(effect(&authzen), Some(Effect::Permit));

    for status in [201, 204, 301, 400, 401, 403, 404, 500, 502, 503] {
        for (remote, body) in [(&opa, r#"{"result":true}"#), (&authzen, r#"{"decision":true}"#)] {
            service.says(status, body);
            assert_eq!(effect(remote), None, "{status}");
        }
    }
    for body in [
        "",
        "{",
        "true",
        "[]",
        r#"{"decision":"true"}"#,
        r#"{"decision":1}"#,
        r#"{"decision":null}"#,
        r#"{"decision":true"#,
        r#"{"decision":false,"decision":true}"#,
        "{}",
    ] {
        service.says(200, body);
        assert_eq!(effect(&authzen), None, "{body}");
        let result = body.replace("decision", "result");
        service.says(200, &result);
        // OPA leaves `result` out where the rule is undefined.
        let expected = (body == "{}").then_some(Effect::NotApplicable);
        assert_eq!(effect(&opa), expected, "{result}");
    }
    *service.0.lock().unwrap() = None;
    assert_eq!((effect(&opa), effect(&authzen)), (None, None));
}

/// The case says to deny all of a batch whose order was changed. That can be done where answers have names or say what they are
/// about. In AuthZEN's bare array nothing tells the items apart but their place, so that an array of the right length in the
/// wrong order is believed, here as by any client: what protects it is the connection to the service.
#[test]
fn a144_batch_order() {
    let service = Service::new();
    let (authzen, opa) = (service.remote(authzen()), service.remote(opa().with_batch()));
    let all = |remote| effects(remote, 2, EvaluationsSemantic::ExecuteAll);
    let evaluations = |items: &[&str]| format!(r#"{{"evaluations":[{}]}}"#, items.join(","));
    let (yes, no) = (r#"{"decision":true}"#, r#"{"decision":false}"#);
    service.says(200, &evaluations(&[yes, no]));
    assert_eq!(all(&authzen), [Some(Effect::Permit), Some(Effect::Deny)]);
    service.says(200, r#"{"responses":{"1":{"result":false},"0":{"result":true}}}"#);
    assert_eq!(all(&opa), [Some(Effect::Permit), Some(Effect::Deny)]);

    for items in [&[][..], &[yes], &[yes, yes, yes], &[yes, yes, no]] {
        service.says(200, &evaluations(items));
        assert_eq!(all(&authzen), [None, None], "{items:?}");
    }
    for body in [yes, r#"{"evaluations":{}}"#, r#"{"evaluations":true}"#] {
        service.says(200, body);
        assert_eq!(all(&authzen), [None, None], "{body}");
    }
    service.says(200, &evaluations(&[no, yes]));
    assert_eq!(all(&authzen), [Some(Effect::Deny), Some(Effect::Permit)], "which of the two is wrong, nobody can see");
    // Where answers have names, others than we gave are refused; the order of names is none.
    for body in [
        r#"{"responses":{"0":{"result":true}}}"#,
        r#"{"responses":{"1":{"result":true},"2":{"result":true}}}"#,
        r#"{"responses":{"0":{"result":true},"1":{"result":true},"2":{"result":true}}}"#,
        r#"{"responses":{"0":{"result":true},"0":{"result":true}}}"#,
    ] {
        service.says(200, body);
        assert_eq!(all(&opa), [None, None], "{body}");
    }
}
