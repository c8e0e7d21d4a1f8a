//! A tonic server and client over loopback. The service echoes bytes, so no generated code is needed.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes};
use sekisho_core::scope;
use sekisho_http::{Checkpoint, Passage, RefusalContent};
use sekisho_tower::{CheckpointExt as _, CheckpointLayer, RequireLayer};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataValue;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tower::{Layer as _, ServiceExt as _};

use crate::fake::{Fake, checkpoint};

/// Carries bytes as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Answers with the name of the caller.
#[derive(Clone)]
struct Who;

impl UnaryService<Bytes> for Who {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let passage = request.extensions().get::<Passage>();
        let name = passage.and_then(Passage::principal).map_or("nobody", |p| p.subject()).to_owned();
        Box::pin(async move { Ok(Response::new(name.into())) })
    }
}

impl Service<http::Request<Body>> for Who {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(Grpc::new(Raw).unary(Who, request).await) })
    }
}

impl NamedService for Who {
    const NAME: &'static str = "test.Who";
}

/// The same service behind a scope that alice does not have.
#[derive(Clone)]
struct Admin<S>(S);

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Admin<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        self.0.call(request)
    }
}

impl<S> NamedService for Admin<S> {
    const NAME: &'static str = "test.Admin";
}

async fn serve(layer: CheckpointLayer, require: RequireLayer) -> Channel {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let admin = Admin(require.layer(Who));
    let server = Server::builder().layer(layer).add_service(Who).add_service(admin);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(server.serve_with_incoming(incoming));
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Layers that answer in gRPC's terms.
async fn serve_grpc() -> Channel {
    let checkpoint = checkpoint();
    serve(checkpoint.layer().answering_grpc(), checkpoint.require(scope("admin")).answering_grpc()).await
}

/// Layers that answer with HTTP statuses, and no body.
async fn serve_plain(checkpoint: Checkpoint) -> Channel {
    serve(checkpoint.layer(), checkpoint.require(scope("admin"))).await
}

async fn call(channel: &Channel, path: &'static str, credential: Option<&str>) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(Bytes::new());
    if let Some(credential) = credential {
        let value: MetadataValue<_> = format!("Bearer {credential}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    client.unary(request, http::uri::PathAndQuery::from_static(path), Raw).await.map(Response::into_inner)
}

#[tokio::test]
async fn a_tonic_client_gets_an_answer_or_a_status_that_it_understands() {
    let channel = serve_grpc().await;
    for suffix in ["", "-slow"] {
        let call = async |path, credential: &str| call(&channel, path, Some(&format!("{credential}{suffix}"))).await;
        assert_eq!(call("/test.Who/Ask", "good").await.unwrap(), "alice");
        let refused = call("/test.Who/Ask", "bad").await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, "Unauthorized"));
        assert_eq!(
            refused.metadata().get("www-authenticate").unwrap(),
            r#"Bearer error="invalid_token", error_description="the credential is not accepted""#
        );
        assert_eq!(call("/test.Who/Ask", "down").await.unwrap_err().code(), Code::Unavailable);
        let denied = call("/test.Admin/Ask", "good").await.unwrap_err();
        assert_eq!((denied.code(), denied.message()), (Code::PermissionDenied, "Forbidden"));
        assert!(denied.metadata().get("www-authenticate").unwrap().to_str().unwrap().contains(r#"scope="admin""#));
    }
    let asked = call(&channel, "/test.Who/Ask", None).await.unwrap_err();
    assert_eq!(asked.code(), Code::Unauthenticated);
    assert_eq!(asked.metadata().get("www-authenticate").unwrap(), r#"Bearer realm="protected""#);
    let malformed = call(&channel, "/test.Who/Ask", Some("a b")).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_tonic_client_reads_http_statuses_of_refusals_without_a_body() {
    let empty = |_: &_| RefusalContent::new("text/plain", "");
    let channel = serve_plain(Checkpoint::builder().accept(Fake).with_refusal_body(empty).build().unwrap()).await;
    for suffix in ["", "-slow"] {
        let call = async |path, credential: &str| call(&channel, path, Some(&format!("{credential}{suffix}"))).await;
        assert_eq!(call("/test.Who/Ask", "good").await.unwrap(), "alice");
        assert_eq!(call("/test.Who/Ask", "bad").await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(call("/test.Who/Ask", "down").await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(call("/test.Admin/Ask", "good").await.unwrap_err().code(), Code::PermissionDenied);
    }
    assert_eq!(call(&channel, "/test.Who/Ask", None).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_tonic_client_takes_a_refusal_with_a_body_for_an_internal_error() {
    let channel = serve_plain(checkpoint()).await;
    for credential in [None, Some("bad"), Some("bad-slow")] {
        let refused = call(&channel, "/test.Who/Ask", credential).await.unwrap_err();
        assert_eq!(refused.code(), Code::Internal, "{refused:?}");
        assert!(refused.message().contains("401"), "{refused:?}");
    }
}

/// Sends any HTTP/2 request, past the client's own notion of a call; returns status and gRPC status.
async fn raw(channel: &Channel, method: &str, headers: &[(&str, &str)]) -> (u16, Option<String>) {
    let mut request = http::Request::builder().method(method).uri("/test.Admin/Ask");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = channel.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let grpc = response.headers().get("grpc-status").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), grpc)
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const GOOD: (&str, &str) = ("authorization", "Bearer good");
const ORIGIN: (&str, &str) = ("origin", "https://a.example");
const ASKS: (&str, &str) = ("access-control-request-method", "POST");

#[tokio::test]
async fn a_preflight_reaches_no_tonic_service_which_routes_by_the_path_alone() {
    let channel = serve_grpc().await;
    assert_eq!(raw(&channel, "OPTIONS", &[ORIGIN, ASKS]).await, (401, None));
    assert_eq!(raw(&channel, "OPTIONS", &[ORIGIN, ASKS, GRPC]).await, (401, None));
    let open = Checkpoint::builder().accept(Fake).with_preflight_passing().build().unwrap();
    let channel = serve_plain(open).await;
    assert_eq!(raw(&channel, "OPTIONS", &[ORIGIN, ASKS, GRPC]).await, (401, None));
    // This is what the option opens: a passing preflight is in the service.
    assert_eq!(raw(&channel, "OPTIONS", &[ORIGIN, ASKS]).await.0, 200);
}

#[tokio::test]
async fn only_a_post_with_grpcs_content_type_is_refused_in_grpcs_terms_and_only_when_asked_for() {
    let channel = serve_grpc().await;
    assert_eq!(raw(&channel, "POST", &[GRPC]).await, (200, Some("16".to_owned())));
    assert_eq!(raw(&channel, "POST", &[GRPC, GOOD]).await, (200, Some("7".to_owned())));
    assert_eq!(raw(&channel, "GET", &[GRPC]).await, (401, None));
    assert_eq!(raw(&channel, "GET", &[GRPC, GOOD]).await, (403, None));
    assert_eq!(raw(&channel, "POST", &[]).await, (401, None));
    assert_eq!(raw(&channel, "POST", &[("content-type", "application/grpc-web")]).await, (401, None));
    let channel = serve_plain(checkpoint()).await;
    assert_eq!(raw(&channel, "POST", &[GRPC]).await, (401, None));
    assert_eq!(raw(&channel, "POST", &[GRPC, GOOD]).await, (403, None));
    assert_eq!(raw(&channel, "POST", &[GRPC, ("authorization", "Bearer bad-slow")]).await, (401, None));
}
