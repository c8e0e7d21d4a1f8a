//! An HTTP server that answers each path as told, counts, and keeps what it was sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// Says what to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Status, headers, body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A body shorter than its `content-length`.
    Truncated(Vec<u8>),
    /// Nothing, until the other side goes away.
    Hang,
    /// A whole 200 after a while.
    After(Duration, Vec<u8>),
    /// A byte each 50 ms, without end.
    Drip,
    /// So many bytes, without a `content-length`.
    Flood(usize),
    /// The same with the `ETag` as validator: 304 if the other side has it.
    Tagged(&'static str, Vec<u8>),
}

impl Reply {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(200, vec![("content-type", "application/json".to_owned())], body.into())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Whole(status, Vec::new(), Vec::new())
    }
}

#[derive(Default)]
struct Shared {
    replies: Mutex<HashMap<String, Reply>>,
    requests: Mutex<Vec<String>>,
    /// Connections that the other side ended while they got nothing.
    abandoned: Mutex<usize>,
}

pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    /// Holds the port of a killed server, without listening.
    reserved: Option<TcpSocket>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let mut server = Self { address, shared, accepting: None, reserved: None };
        server.accept(listener);
        server
    }

    /// Takes the server away: connections are refused, running ones end.
    pub(crate) async fn kill(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            drop(accepting.await);
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.reserved = Some(socket);
    }

    /// Brings it back on the same address.
    pub(crate) fn revive(&mut self) {
        let listener = self.reserved.take().unwrap().listen(64).unwrap();
        self.accept(listener);
    }

    fn accept(&mut self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        }));
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) {
        self.shared.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Returns the heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        let line = format!("GET {path} ");
        self.requests().iter().filter(|head| head.starts_with(&line)).count()
    }

    pub(crate) fn abandoned(&self) -> usize {
        *self.shared.abandoned.lock().unwrap()
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(head) = read_head(&mut stream).await else { return };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let validator = head.lines().find_map(|line| line.strip_prefix("if-none-match: ")).map(str::to_owned);
    shared.requests.lock().unwrap().push(head);
    let reply = shared.replies.lock().unwrap().get(&path).cloned().unwrap_or(Reply::status(404));
    // The other side may go away at any moment.
    drop(answer(&mut stream, reply, validator, &shared).await);
}

async fn answer(
    stream: &mut TcpStream,
    reply: Reply,
    validator: Option<String>,
    shared: &Shared,
) -> std::io::Result<()> {
    match reply {
        Reply::Whole(status, headers, body) => whole(stream, status, &headers, &body).await,
        Reply::Truncated(body) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len() + 10);
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await
        }
        Reply::Hang => {
            let gone = stream.read(&mut [0]).await;
            *shared.abandoned.lock().unwrap() += 1;
            gone.map(drop)
        }
        Reply::After(delay, body) => {
            tokio::time::sleep(delay).await;
            whole(stream, 200, &[], &body).await
        }
        Reply::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Reply::Flood(bytes) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            for _ in 0..bytes / 1000 {
                stream.write_all(&[b' '; 1000]).await?;
            }
            Ok(())
        }
        Reply::Tagged(tag, body) => {
            let headers = [("etag", tag.to_owned())];
            if validator.as_deref() == Some(tag) {
                whole(stream, 304, &headers, b"").await
            } else {
                whole(stream, 200, &headers, &body).await
            }
        }
    }
}

async fn whole(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&'static str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Said\r\nconnection: close\r\n");
    if status != 304 {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}
