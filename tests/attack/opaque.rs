//! Group `opaque`: what an introspection endpoint can answer, and what a token can try to be on the way there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sekisho_core::{FailureKind, Principal, Refusal, Reject, UnixSeconds};
use sekisho_http::{
    Checkpoint, HeadParts, HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse, Inspection, Presence,
};
use sekisho_opaque::{ClientCredentials, Introspection, IntrospectionBuilder, Opaque};
use sekisho_testkit::FixedClock;
use sekisho_tests::{AUDIENCE, ISSUER, NOW, wait};
use serde_json::{Value, json};

/// Answers every request with the same, and keeps what it was sent.
#[derive(Debug)]
struct Endpoint {
    answer: Mutex<Result<HttpResponse, &'static str>>,
    asked: AtomicUsize,
    bodies: Mutex<Vec<String>>,
}

impl Endpoint {
    fn new(answer: HttpResponse) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(Ok(answer)), asked: AtomicUsize::new(0), bodies: Mutex::default() })
    }

    fn set(&self, answer: HttpResponse) {
        *self.answer.lock().unwrap() = Ok(answer);
    }

    fn fail(&self, how: &'static str) {
        *self.answer.lock().unwrap() = Err(how);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn builder(self: &Arc<Self>) -> IntrospectionBuilder {
        Opaque::introspect("https://id.example/introspect", ClientCredentials::post("orders", "secret"))
            .issuer(ISSUER)
            .audience(AUDIENCE)
            .with_http_client(Arc::clone(self) as _)
    }
}

#[async_trait::async_trait]
impl HttpClient for Endpoint {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert!(!request.url.contains("token"));
        self.bodies.lock().unwrap().push(String::from_utf8(request.body).unwrap());
        self.answer.lock().unwrap().clone().map_err(|how| match how {
            "timeout" => HttpError::Timeout,
            _ => HttpError::Connect("refused".into()),
        })
    }
}

fn json(body: &Value) -> HttpResponse {
    answer(200, body.to_string())
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> HttpResponse {
    HttpResponse { status, headers: vec![("content-type".into(), "application/json".into())], body: body.into() }
}

/// Is what an honest endpoint says, with one member changed.
fn active(name: &str, value: Value) -> HttpResponse {
    let mut members =
        json!({ "active": true, "sub": "u1", "aud": AUDIENCE, "iss": ISSUER, "exp": NOW.as_secs() + 300 });
    members.as_object_mut().unwrap().insert(name.to_owned(), value);
    json(&members)
}

fn honest() -> HttpResponse {
    active("sub", json!("u1"))
}

async fn refused(introspection: &Introspection, token: &str, now: UnixSeconds) -> Reject {
    match introspection.introspect(token, now).await {
        Err(Refusal::Reject(reject)) => reject,
        other => panic!("{other:?}"),
    }
}

async fn failed(introspection: &Introspection) -> FailureKind {
    match introspection.introspect("token", NOW).await {
        Err(Refusal::Failure(failure)) => failure.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a126_active_string() {
    wait(async {
        let endpoint = Endpoint::new(honest());
        let introspection = endpoint.builder().build().unwrap();
        let principal: Principal = introspection.introspect("token", NOW).await.unwrap();
        assert_eq!(principal.subject(), "u1");
        for value in
            [json!("true"), json!(1), json!("1"), json!(null), json!([true]), json!({ "true": true }), json!("yes")]
        {
            endpoint.set(active("active", value.clone()));
            assert_eq!(failed(&introspection).await, FailureKind::BadGateway, "{value}");
        }
        for body in ["{}", "[]", "true", "", "<!doctype html><title>active</title>", "{\"active\":true}{}"] {
            endpoint.set(answer(200, body));
            assert_eq!(failed(&introspection).await, FailureKind::BadGateway, "{body}");
        }
        for twice in [
            r#"{"active":false,"active":true,"sub":"u1","aud":"orders-api"}"#,
            r#"{"active":true,"sub":"u1","aud":"orders-api","\u0061ctive":true}"#,
        ] {
            endpoint.set(answer(200, twice));
            assert_eq!(failed(&introspection).await, FailureKind::BadGateway, "{twice}");
        }
        for status in [401, 403, 400, 404, 302] {
            endpoint.set(answer(status, r#"{"active":true,"sub":"u1","aud":"orders-api"}"#));
            assert_eq!(failed(&introspection).await, FailureKind::BadGateway, "{status}");
        }
        for how in ["timeout", "refused"] {
            endpoint.fail(how);
            assert_eq!(failed(&introspection).await, FailureKind::Unavailable, "{how}");
        }
        // In front of a service: 502 and 503, never 401, and never a pass.
        for (set, status) in [(answer(401, ""), 502), (json(&json!({ "active": "true" })), 502), (answer(503, ""), 503)]
        {
            endpoint.set(set);
            let clock = Arc::new(FixedClock::at(NOW));
            let checkpoint = Checkpoint::builder().accept(endpoint.builder()).with_clock(clock).build().unwrap();
            let headers = [("authorization", &b"Bearer token"[..])];
            let head = HeadParts { method: "GET", path: "/", headers: &headers };
            let Inspection::Wait(pending) = checkpoint.inspect(&head, Presence::Optional) else { panic!("at once") };
            assert_eq!(pending.resolve().await.unwrap_err().status(), status);
        }
    });
}

#[test]
fn a127_active_but_expired() {
    wait(async {
        let endpoint = Endpoint::new(honest());
        let introspection = endpoint.builder().with_negative_cache(Duration::ZERO).build().unwrap();
        let (now, late) = (NOW.as_secs(), NOW.as_secs() + 61);
        for (name, value, expected) in [
            ("exp", json!(now - 60), Reject::Expired { by_secs: 0 }),
            ("exp", json!(0), Reject::Expired { by_secs: now - 60 }),
            ("nbf", json!(late), Reject::NotYetValid { by_secs: 1 }),
            ("iat", json!(late), Reject::IssuedInFuture { by_secs: 1 }),
            ("aud", json!("billing"), Reject::Audience),
            ("aud", json!([]), Reject::Audience),
            ("aud", json!(["billing", "orders-api/"]), Reject::Audience),
            ("iss", json!("https://evil.example"), Reject::Issuer),
            ("iss", json!("https://id.example/"), Reject::Issuer),
            ("cnf", json!({ "jkt": "x" }), Reject::ProofRequired),
            ("cnf", json!({ "x5t#S256": "x" }), Reject::ProofRequired),
            ("cnf", json!({ "new": "x" }), Reject::Confirmation),
            ("token_type", json!("refresh_token"), Reject::TokenUse),
            ("token_use", json!("refresh_token"), Reject::TokenUse),
        ] {
            endpoint.set(active(name, value.clone()));
            assert_eq!(refused(&introspection, "token", NOW).await, expected, "{name} {value}");
        }
        // Dates that no reader may take for "far away".
        for value in [json!("1900000000"), json!(-1), json!(1e300), json!(null), json!([now + 300]), json!(true)] {
            endpoint.set(active("exp", value.clone()));
            assert_eq!(failed(&introspection).await, FailureKind::BadGateway, "{value}");
        }
    });
}

#[test]
fn a128_cache_outlives_exp() {
    wait(async {
        let at = |seconds| NOW.saturating_add(Duration::from_secs(seconds));
        let endpoint = Endpoint::new(active("exp", json!(NOW.as_secs() + 20)));
        let passes =
            |introspection: &Introspection, now| matches!(introspection.introspect_now("token", now), Some(Ok(_)));
        // Until `exp`, however long the configuration would keep it.
        let long = endpoint.builder().cache_for(Duration::from_secs(3600)).build().unwrap();
        long.introspect("token", NOW).await.unwrap();
        assert!(passes(&long, at(19)));
        assert!(!passes(&long, at(20)));
        // Until the configured time, however long the token lives: this is how late a revocation is noticed.
        endpoint.set(honest());
        let short = endpoint.builder().cache_for(Duration::from_secs(30)).build().unwrap();
        short.introspect("token", NOW).await.unwrap();
        endpoint.set(json(&json!({ "active": false })));
        assert!(passes(&short, at(29)));
        assert!(!passes(&short, at(30)));
        assert_eq!(refused(&short, "token", at(30)).await, Reject::Inactive);
        assert!(!passes(&short, at(29)), "and what was refused does not come back");
        // A provider that is away prolongs nothing past `exp`, even where stale answers are wanted.
        endpoint.set(active("exp", json!(NOW.as_secs() + 40)));
        let stale =
            endpoint.builder().cache_for(Duration::from_secs(30)).with_stale_on_failure(Duration::from_secs(3600));
        let stale = stale.build().unwrap();
        stale.introspect("token", NOW).await.unwrap();
        endpoint.fail("timeout");
        assert!(stale.introspect("token", at(39)).await.is_ok());
        assert!(matches!(stale.introspect("token", at(40)).await, Err(Refusal::Failure(_))));
        // `no-store` is obeyed.
        let mut unkept = honest();
        unkept.headers.push(("cache-control".into(), "no-store".into()));
        endpoint.set(unkept);
        let obedient = endpoint.builder().cache_for(Duration::from_secs(30)).build().unwrap();
        obedient.introspect("token", NOW).await.unwrap();
        assert!(obedient.introspect_now("token", NOW).is_none());
    });
}

#[test]
fn a130_token_injection() {
    wait(async {
        let endpoint = Endpoint::new(honest());
        let introspection = endpoint.builder().build().unwrap();
        for token in [
            "a&token_type_hint=b",
            "a&token=b",
            "a&client_id=evil&client_secret=evil",
            "a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1",
            "a\nb",
            "a\0b",
            "a%26token=b",
            "a%00",
            "a+b",
            "a b",
            "a=b",
            "a;b",
            "a#b",
            "\u{ff06}token=b",
        ] {
            let before = endpoint.asked();
            introspection.introspect(token, NOW).await.unwrap();
            assert_eq!(endpoint.asked(), before + 1, "each is another token: {token:?}");
            let body = endpoint.bodies.lock().unwrap().pop().unwrap();
            let pairs: Vec<(String, String)> = body
                .split('&')
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["token", "token_type_hint", "client_id", "client_secret"], "{token:?}");
            assert_eq!(decoded(&pairs[0].1), token, "encoded once");
            assert!(pairs[0].1.bytes().all(|b| b.is_ascii_alphanumeric() || b"*-._+%".contains(&b)), "{body}");
        }
    });
}

/// Decodes a form's value, by hand, so that it is not the encoder's own brother who judges.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}
