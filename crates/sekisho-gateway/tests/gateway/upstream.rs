//! Services behind the gateway, for tests.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Shared;

/// Answers every request, and remembers what it saw.
pub(crate) struct TestUpstream {
    pub(crate) address: SocketAddr,
    seen: Shared<Vec<Seen>>,
    task: JoinHandle<()>,
}

/// A request as the service got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let first = found.next();
        assert!(found.next().is_none(), "{name} stands twice");
        first
    }
}

impl TestUpstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Shared<Vec<Seen>> = Shared::default();
        let noted = seen.clone();
        let app = Router::new().fallback(any(move |request: Request| answer(request, noted.clone())));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, seen, task }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the one request that came, and forgets it.
    pub(crate) fn only(&self) -> Seen {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }
}

impl Drop for TestUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(request: Request, seen: Shared<Vec<Seen>>) -> Response {
    let headers = request.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let path = request.uri().path().to_owned();
    seen.lock().unwrap().push(Seen {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        headers: headers.collect(),
    });
    match path.as_str() {
        // Gives each piece back as it comes.
        "/public/echo" => Response::new(request.into_body()),
        "/public/hang" => std::future::pending().await,
        "/public/slow" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "slow".into_response()
        }
        "/public/stall" => {
            let first = futures_like(vec![Ok(Bytes::from_static(b"first"))]);
            Response::new(first)
        }
        "/public/hops" => {
            let headers = [
                ("connection", "x-private"),
                ("x-private", "1"),
                ("keep-alive", "timeout=5"),
                ("x-kept", "1"),
                ("server", "test"),
            ];
            (headers, "hops").into_response()
        }
        _ => {
            let length = match request.into_body().collect().await {
                Ok(body) => body.to_bytes().len(),
                Err(_) => return (http::StatusCode::BAD_REQUEST, "broken").into_response(),
            };
            format!("got {length}").into_response()
        }
    }
}

/// A body that sends these and then nothing, without ending.
fn futures_like(frames: Vec<Result<Bytes, std::convert::Infallible>>) -> Body {
    struct Then(std::vec::IntoIter<Result<Bytes, std::convert::Infallible>>);
    impl http_body::Body for Then {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            match self.0.next() {
                Some(frame) => std::task::Poll::Ready(Some(frame.map(http_body::Frame::data))),
                None => std::task::Poll::Pending,
            }
        }
    }
    Body::new(Then(frames.into_iter()))
}

/// Accepts one connection after the other and answers each with these bytes, then echoes.
pub(crate) async fn raw_upstream(answer: &'static str) -> (SocketAddr, Shared<Vec<String>>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads: Shared<Vec<String>> = Shared::default();
    let noted = heads.clone();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                noted.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                let (mut reading, mut writing) = stream.split();
                let _closed = tokio::io::copy(&mut reading, &mut writing).await;
            });
        }
    });
    (address, heads, task)
}
