//! A tonic server and client over loopback. The service echoes bytes, so no generated code is needed.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes};
use sekisho_core::scope;
use sekisho_http::Passage;
use sekisho_tower::CheckpointExt as _;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataValue;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tower::Layer as _;

use crate::fake::checkpoint;

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

async fn serve() -> Channel {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let checkpoint = checkpoint();
    let admin = Admin(checkpoint.require(scope("admin")).layer(Who));
    let server = Server::builder().layer(checkpoint.layer()).add_service(Who).add_service(admin);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(server.serve_with_incoming(incoming));
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
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
    let channel = serve().await;
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
