//! Tokens on requests of a tower client: to whom, and when a request is sent again.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body as AxumBody;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use sekisho_core::UnixSeconds;
use sekisho_jwt::{Backend, DpopSigner};
use sekisho_oidc::{AllowedOrigins, ServiceTokenLayer, ServiceTokens, TokenError, TokenRequest};
use sekisho_testkit::FixedClock;
use serde_json::Value;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Endpoint, NOW, at, builder, good, refuse};

const STOCK: &str = "https://stock.example";
const INVALID: &[(&str, &str)] =
    &[("www-authenticate", r#"Bearer realm="a", error="invalid_token", error_description="x""#)];

type Body = Full<Bytes>;
type Script = Box<dyn FnMut(usize) -> (u16, Vec<(String, String)>) + Send>;

/// Is a service that answers as it is told, and keeps what came.
struct Downstream {
    seen: Mutex<Vec<(Method, String, HeaderMap)>>,
    answer: Mutex<Script>,
}

impl Downstream {
    fn new(
        mut answer: impl FnMut(usize) -> (u16, &'static [(&'static str, &'static str)]) + Send + 'static,
    ) -> Arc<Self> {
        let owned = move |number| {
            let (status, headers) = answer(number);
            (status, headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        Arc::new(Self { seen: Mutex::default(), answer: Mutex::new(Box::new(owned)) })
    }

    fn refusing_first(most: usize, status: u16, headers: &'static [(&'static str, &'static str)]) -> Arc<Self> {
        Self::new(move |number| if number <= most { (status, headers) } else { (200, &[]) })
    }

    fn call<B>(&self, request: &Request<B>) -> Response<Body> {
        let mut seen = self.seen.lock().unwrap();
        seen.push((request.method().clone(), request.uri().to_string(), request.headers().clone()));
        let (status, headers) = (*self.answer.lock().unwrap())(seen.len());
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        response.body(Body::default()).unwrap()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn header(&self, index: usize, name: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        seen[index].2.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    fn tokens(&self) -> Vec<Option<String>> {
        (0..self.count()).map(|index| self.header(index, "authorization")).collect()
    }

    fn proof(&self, index: usize) -> Value {
        let proof = self.header(index, "dpop").expect("a proof");
        let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(proof.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// Has fetched a token already, 10 s ago.
struct Fixture {
    endpoint: Arc<Endpoint>,
    tokens: ServiceTokens,
    layer: ServiceTokenLayer,
}

fn wanted() -> TokenRequest {
    TokenRequest::client_credentials().with_audience("stock")
}

async fn fixture_at(is_dpop: bool, now: UnixSeconds) -> Fixture {
    let endpoint = Endpoint::new(move |number, _| {
        let mut answer = good(number, 3600);
        answer["token_type"] = if is_dpop { "DPoP" } else { "Bearer" }.into();
        Some((200, answer))
    });
    let builder = builder(&endpoint).with_clock(Arc::new(FixedClock::at(now)));
    let builder = if is_dpop { builder.with_dpop(DpopSigner::generate(Backend::aws_lc()).unwrap()) } else { builder };
    let tokens = builder.build().unwrap();
    tokens.token(&wanted(), NOW).await.unwrap();
    let layer = ServiceTokenLayer::new(tokens.clone(), AllowedOrigins::new([STOCK]).unwrap()).with_default(wanted());
    Fixture { endpoint, tokens, layer }
}

async fn fixture() -> Fixture {
    fixture_at(false, at(10)).await
}

impl Fixture {
    async fn send(&self, downstream: &Arc<Downstream>, request: Request<Body>) -> StatusCode {
        self.try_send(downstream, request).await.unwrap()
    }

    async fn try_send(
        &self,
        downstream: &Arc<Downstream>,
        request: Request<Body>,
    ) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
        let downstream = Arc::clone(downstream);
        let service = self.layer.layer(service_fn(move |request: Request<Body>| {
            let response = downstream.call(&request);
            async move { Ok::<_, Infallible>(response) }
        }));
        service.oneshot(request).await.map(|response| response.status())
    }
}

fn get(uri: &str) -> Request<Body> {
    Request::builder().uri(uri).body(Body::default()).unwrap()
}

#[tokio::test]
async fn a_token_goes_to_listed_origins_and_to_nobody_else() {
    let fixture = fixture().await;
    for uri in [
        "http://stock.example/",
        "https://stock.example:8443/",
        "https://stock.example.evil.example/",
        "https://evil.example/?https://stock.example/",
        "https://evil.example/stock.example",
        "https://sub.stock.example/",
        "https://stock.example./",
        "https://stock.example@evil.example/",
        "https://user@stock.example/",
        "wss://stock.example/",
        "/orders",
        "stock.example:443",
    ] {
        let downstream = Downstream::new(|_| (401, INVALID));
        assert_eq!(fixture.send(&downstream, get(uri)).await, 401, "the answer goes on as it is");
        assert_eq!(downstream.tokens(), [None], "{uri}");
    }
    for uri in ["https://stock.example/a?b", "https://stock.example:443/", "https://STOCK.example/"] {
        let downstream = Downstream::new(|_| (200, &[]));
        fixture.send(&downstream, get(uri)).await;
        assert_eq!(downstream.tokens(), [Some("Bearer at-1".to_owned())], "{uri}");
        assert_eq!(downstream.header(0, "dpop"), None);
    }
}

#[tokio::test]
async fn a_redirect_that_is_followed_outside_is_looked_at_anew() {
    let fixture = fixture().await;
    let downstream = Downstream::new(|_| (302, &[("location", "https://evil.example/")]));
    assert_eq!(fixture.send(&downstream, get("https://stock.example/")).await, 302);
    // What a layer outside sends next is the request as it was before us, to the other host.
    fixture.send(&downstream, get("https://evil.example/")).await;
    assert_eq!(downstream.tokens(), [Some("Bearer at-1".to_owned()), None]);
}

#[tokio::test]
async fn an_authorization_of_the_requests_own_stays() {
    let fixture = fixture().await;
    let downstream = Downstream::new(|_| (401, INVALID));
    let mut request = get("https://stock.example/");
    request.headers_mut().insert("authorization", "Basic eDp5".parse().unwrap());
    assert_eq!(fixture.send(&downstream, request).await, 401);
    assert_eq!(downstream.tokens(), [Some("Basic eDp5".to_owned())]);
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_request_sent_again_once() {
    let fixture = fixture().await;
    let downstream = Downstream::refusing_first(1, 401, &[]);
    assert_eq!(fixture.send(&downstream, get("https://stock.example/a?b")).await, 200);
    assert_eq!(downstream.tokens(), [Some("Bearer at-1".to_owned()), Some("Bearer at-2".to_owned())]);
    assert_eq!(downstream.seen.lock().unwrap()[1].1, "https://stock.example/a?b");

    let stubborn = Downstream::new(|_| (401, INVALID));
    let fixture = self::fixture().await;
    assert_eq!(fixture.send(&stubborn, get("https://stock.example/")).await, 401);
    assert_eq!((stubborn.count(), fixture.endpoint.count()), (2, 2));
    // Another request does not ask for another token: this one is fresh.
    assert_eq!(fixture.send(&stubborn, get("https://stock.example/")).await, 401);
    assert_eq!((stubborn.count(), fixture.endpoint.count()), (3, 2));
}

#[tokio::test]
async fn no_other_answer_makes_it_send_again() {
    for status in [200, 302, 400, 403, 407, 429, 500, 503] {
        let fixture = fixture().await;
        let downstream = Downstream::new(move |_| (status, INVALID));
        assert_eq!(fixture.send(&downstream, get("https://stock.example/")).await.as_u16(), status);
        assert_eq!((downstream.count(), fixture.endpoint.count()), (1, 1), "{status}");
    }
}

#[tokio::test]
async fn a_request_that_could_do_its_work_twice_is_not_sent_again() {
    let request = |method: Method| Request::builder().method(method).uri(STOCK).body(Body::default()).unwrap();
    let other: &[(&str, &str)] = &[("www-authenticate", r#"Bearer error="insufficient_scope""#)];
    for (method, headers, count) in [
        (Method::POST, &[][..], 1),
        (Method::POST, other, 1),
        (Method::PATCH, &[], 1),
        (Method::POST, INVALID, 2),
        (Method::PUT, &[], 2),
        (Method::DELETE, &[], 2),
        (Method::HEAD, &[], 2),
    ] {
        let fixture = fixture().await;
        let downstream = Downstream::refusing_first(1, 401, headers);
        fixture.send(&downstream, request(method.clone())).await;
        assert_eq!(downstream.count(), count, "{method} {headers:?}");
        // The next one has a fresh token in any case.
        fixture.send(&downstream, get(STOCK)).await;
        assert_eq!(downstream.tokens().pop().unwrap().as_deref(), Some("Bearer at-2"));
    }
}

#[tokio::test]
async fn a_body_is_sent_twice_by_choice_only() {
    let request = || Request::builder().method("PUT").uri(STOCK).body(Full::new(Bytes::from_static(b"x"))).unwrap();
    let fixture = fixture().await;
    let downstream = Downstream::refusing_first(1, 401, INVALID);
    assert_eq!(fixture.send(&downstream, request()).await, 401);
    assert_eq!(downstream.count(), 1);

    let fixture = self::fixture().await;
    let downstream = Downstream::refusing_first(1, 401, INVALID);
    let (inner, bodies) = (Arc::clone(&downstream), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&bodies);
    let service = fixture.layer.clone().with_cloned_bodies().layer(service_fn(move |request: Request<Body>| {
        let response = inner.call(&request);
        let kept = Arc::clone(&kept);
        async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
            kept.lock().unwrap().push(body);
            Ok::<_, Infallible>(response)
        }
    }));
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
    assert_eq!(*bodies.lock().unwrap(), ["x", "x"]);
}

#[tokio::test]
async fn a_stream_is_not_sent_twice_and_an_empty_body_is() {
    for (body, count) in [
        (AxumBody::empty(), 2),
        (AxumBody::from("x"), 1),
        (AxumBody::from_stream(futures_util::stream::iter([Ok::<_, Infallible>("x")])), 1),
    ] {
        let fixture = fixture().await;
        let downstream = Downstream::refusing_first(1, 401, INVALID);
        let inner = Arc::clone(&downstream);
        let service = fixture.layer.layer(service_fn(move |request: Request<AxumBody>| {
            let response = inner.call(&request);
            async move { Ok::<_, Infallible>(response) }
        }));
        let request = Request::builder().method("PUT").uri(STOCK).body(body).unwrap();
        service.oneshot(request).await.unwrap();
        assert_eq!(downstream.count(), count);
    }
}

#[tokio::test]
async fn trouble_with_another_token_leaves_the_services_own_answer() {
    let fixture = fixture().await;
    fixture.endpoint.then(|_, _| None);
    let downstream = Downstream::new(|_| (401, INVALID));
    assert_eq!(fixture.send(&downstream, get(STOCK)).await, 401);
    assert_eq!(downstream.count(), 1);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let fixture = fixture().await;
    fixture.endpoint.then(|_, _| refuse("invalid_scope"));
    let downstream = Downstream::new(|_| (200, &[]));
    let mut request = get(STOCK);
    request.extensions_mut().insert(TokenRequest::client_credentials().with_scope("other"));
    let error = fixture.try_send(&downstream, request).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(TokenError::Refused("invalid_scope"))), "{error:?}");

    let layer = ServiceTokenLayer::new(fixture.tokens.clone(), AllowedOrigins::new([STOCK]).unwrap());
    let unsaid = Fixture { layer, ..fixture };
    let error = unsaid.try_send(&downstream, get(STOCK)).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(TokenError::Failure(_))), "{error:?}");
    assert_eq!(downstream.count(), 0);
}

#[tokio::test]
async fn a_request_says_in_whose_name_it_goes() {
    let fixture = fixture().await;
    fixture.endpoint.then(|_, form| {
        let mut answer = good(0, 300);
        answer["access_token"] = format!("for-{}", form["subject_token"][0]).into();
        Some((200, answer))
    });
    let downstream = Downstream::new(|_| (200, &[]));
    for subject in ["alice", "bob", "alice"] {
        let mut request = get(STOCK);
        request.extensions_mut().insert(TokenRequest::exchange(subject));
        fixture.send(&downstream, request).await;
    }
    let expected = ["Bearer for-alice", "Bearer for-bob", "Bearer for-alice"].map(|text| Some(text.to_owned()));
    assert_eq!(downstream.tokens(), expected);
}

#[tokio::test]
async fn the_values_are_marked_as_secret_and_no_debug_shows_them() {
    let fixture = fixture().await;
    let downstream = Downstream::new(|_| (200, &[]));
    fixture.send(&downstream, get(STOCK)).await;
    let seen = downstream.seen.lock().unwrap();
    assert!(seen[0].2["authorization"].is_sensitive());
    let shown = format!("{:?} {:?}", seen[0].2, fixture.layer);
    assert!(!shown.contains("at-1") && !shown.contains("hunter2"), "{shown}");
}

const NONCE: &[(&str, &str)] = &[("www-authenticate", r#"DPoP error="use_dpop_nonce""#), ("dpop-nonce", "n-1")];

#[tokio::test]
async fn each_request_has_a_proof_of_its_own_with_the_servers_nonce() {
    let fixture = fixture_at(true, at(10)).await;
    let downstream = Downstream::refusing_first(1, 401, NONCE);
    assert_eq!(fixture.send(&downstream, get("https://stock.example/a?b")).await, 200);
    assert_eq!(downstream.tokens(), [Some("DPoP at-1".to_owned()), Some("DPoP at-1".to_owned())], "the same token");
    let (first, second) = (downstream.proof(0), downstream.proof(1));
    assert_eq!((first.get("nonce"), &second["nonce"]), (None, &"n-1".into()));
    assert_eq!((&first["htm"], &first["htu"]), (&"GET".into(), &"https://stock.example/a".into()));
    assert!(first["ath"].is_string());
    assert_ne!(first["jti"], second["jti"]);
    fixture.send(&downstream, get(STOCK)).await;
    assert_eq!((&downstream.proof(2)["nonce"], fixture.endpoint.count()), (&"n-1".into(), 1));
}

#[tokio::test]
async fn a_nonce_makes_it_send_again_once() {
    for (headers, count) in [
        (NONCE, 2),
        (&[("www-authenticate", r#"DPoP error="use_dpop_nonce""#)][..], 1),
        (&[("www-authenticate", r#"DPoP error="use_dpop_nonce""#), ("dpop-nonce", "a b")], 1),
    ] {
        let fixture = fixture_at(true, at(10)).await;
        let downstream = Downstream::new(move |_| (401, headers));
        assert_eq!(fixture.send(&downstream, get(STOCK)).await, 401);
        assert_eq!((downstream.count(), fixture.endpoint.count()), (count, 1), "{headers:?}");
    }
    // A server that always has a new one is not followed for ever.
    let fixture = fixture_at(true, at(10)).await;
    let downstream = Downstream::new(|_| (401, NONCE));
    *downstream.answer.lock().unwrap() = Box::new(|number| {
        let challenge = r#"DPoP error="use_dpop_nonce""#.to_owned();
        (401, vec![("www-authenticate".to_owned(), challenge), ("dpop-nonce".to_owned(), format!("n-{number}"))])
    });
    assert_eq!(fixture.send(&downstream, get(STOCK)).await, 401);
    assert_eq!(downstream.count(), 2);
    // A nonce, and then a token that is refused: once each.
    let fixture = fixture_at(true, at(10)).await;
    let downstream = Downstream::new(|number| match number {
        1 => (401, NONCE),
        _ => (401, &[("www-authenticate", r#"DPoP error="invalid_token""#)]),
    });
    assert_eq!(fixture.send(&downstream, get(STOCK)).await, 401);
    assert_eq!((downstream.count(), fixture.endpoint.count()), (3, 2));
}

#[tokio::test]
async fn a_bearer_token_is_not_sent_again_for_a_nonce() {
    let fixture = fixture().await;
    let downstream = Downstream::new(|_| (401, NONCE));
    assert_eq!(fixture.send(&downstream, Request::post(STOCK).body(Body::default()).unwrap()).await, 401);
    assert_eq!(downstream.count(), 1);
}

#[test]
fn a_channels_origin_must_be_on_the_list() {
    let tokens = builder(&Endpoint::living(300)).build().unwrap();
    let layer = ServiceTokenLayer::new(tokens, AllowedOrigins::new([STOCK]).unwrap());
    assert!(layer.clone().with_channel_origin("https://other.example").is_err());
    assert!(layer.clone().with_channel_origin("http://stock.example").is_err());
    assert!(layer.clone().with_channel_origin("https://stock.example/path").is_err());
    assert!(layer.with_channel_origin(STOCK).is_ok());
}

#[tokio::test]
async fn tonics_requests_get_their_token_by_the_channels_origin() {
    let fixture = fixture().await;
    let downstream = Downstream::new(|_| (200, &[]));
    let inner = Arc::clone(&downstream);
    let service = fixture.layer.clone().with_channel_origin(STOCK).unwrap().layer(service_fn(
        move |request: Request<tonic::body::Body>| {
            let response = inner.call(&request);
            async move { Ok::<_, Infallible>(response) }
        },
    ));
    let mut client = tonic::client::Grpc::new(service);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/stock.Stock/Get");
    let codec = Text;
    let _ = client.unary(tonic::Request::new(String::new()), path, codec).await;
    let seen = downstream.seen.lock().unwrap();
    assert_eq!(seen[0].2["authorization"], "Bearer at-1", "{}", seen[0].1);
}

/// Is a codec of texts, enough to send a request.
#[derive(Clone, Copy)]
struct Text;

impl tonic::codec::Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl tonic::codec::Encoder for Text {
    type Item = String;
    type Error = tonic::Status;

    fn encode(&mut self, item: String, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put_slice(buffer, item.as_bytes());
        Ok(())
    }
}

impl tonic::codec::Decoder for Text {
    type Item = String;
    type Error = tonic::Status;

    fn decode(&mut self, _: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<String>, tonic::Status> {
        Ok(Some(String::new()))
    }
}
