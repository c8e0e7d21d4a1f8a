//! An introspection endpoint that answers each token as told, counts, and keeps what it was sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Says how to answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Status, headers, body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A body shorter than its `content-length`.
    Truncated(Vec<u8>),
    /// Nothing, until the other side goes away.
    Hang,
    /// Another reply, after a while.
    After(Duration, Box<Reply>),
    /// So many bytes, without a `content-length`.
    Flood(usize),
    /// Bytes that are no HTTP.
    Gibberish,
}

impl Reply {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(200, vec![("content-type", "application/json".to_owned())], body.into())
    }

    pub(crate) fn jwt(kind: &str, body: &str) -> Self {
        Self::Whole(200, vec![("content-type", kind.to_owned())], body.as_bytes().to_vec())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Whole(status, Vec::new(), Vec::new())
    }

    pub(crate) fn with_header(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Whole(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Self::Whole(status, headers, body)
            }
            other => other,
        }
    }

    pub(crate) fn after(self, milliseconds: u64) -> Self {
        Self::After(Duration::from_millis(milliseconds), Box::new(self))
    }
}

/// Is one request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    /// Returns the form's members, decoded.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }
}

type Answer = Mutex<Box<dyn Fn(&Request) -> Reply + Send>>;

#[derive(Default)]
struct Counts {
    requests: Mutex<Vec<Request>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    abandoned: AtomicUsize,
}

pub(crate) struct Server {
    url: String,
    answer: Arc<Answer>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::answering(move |_| reply.clone()).await
    }

    pub(crate) async fn answering(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/introspect", listener.local_addr().unwrap());
        let (answer, counts): (Arc<Answer>, _) = (Arc::new(Mutex::new(Box::new(answer))), Arc::<Counts>::default());
        let (answering, counting) = (Arc::clone(&answer), Arc::clone(&counts));
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&answering), Arc::clone(&counting)));
            }
        });
        Self { url, answer, counts, accepting }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn set(&self, reply: Reply) {
        *self.answer.lock().unwrap() = Box::new(move |_| reply.clone());
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.counts.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.counts.requests.lock().unwrap().len()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.counts.most_at_once.load(Ordering::SeqCst)
    }

    pub(crate) fn abandoned(&self) -> usize {
        self.counts.abandoned.load(Ordering::SeqCst)
    }

    /// Closes the port: connections are refused from now on.
    pub(crate) async fn stop(&mut self) {
        self.accepting.abort();
        drop((&mut self.accepting).await);
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<Answer>, counts: Arc<Counts>) {
    let Some(request) = read(&mut stream).await else { return };
    counts.requests.lock().unwrap().push(request.clone());
    let running = counts.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    counts.most_at_once.fetch_max(running, Ordering::SeqCst);
    let reply = answer.lock().unwrap()(&request);
    // The other side may go away at any moment.
    drop(write(&mut stream, reply, &counts).await);
    counts.at_once.fetch_sub(1, Ordering::SeqCst);
}

async fn write(stream: &mut TcpStream, reply: Reply, counts: &Counts) -> std::io::Result<()> {
    match reply {
        Reply::Whole(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Said\r\nconnection: close\r\n");
            if status != 204 {
                head.push_str(&format!("content-length: {}\r\n", body.len()));
            }
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.shutdown().await
        }
        Reply::Truncated(body) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len() + 10);
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await
        }
        Reply::Hang => {
            let gone = stream.read(&mut [0]).await;
            counts.abandoned.fetch_add(1, Ordering::SeqCst);
            gone.map(drop)
        }
        Reply::After(wait, reply) => {
            tokio::time::sleep(wait).await;
            Box::pin(write(stream, *reply, counts)).await
        }
        Reply::Flood(bytes) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            for _ in 0..bytes / 1000 {
                stream.write_all(&[b' '; 1000]).await?;
            }
            Ok(())
        }
        Reply::Gibberish => stream.write_all(b"\x16\x03\x01\r\n\r\n").await,
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let mut request = Request { head, body: String::new() };
            let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
            while bytes.len() < end + 4 + length {
                if stream.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            }
            request.body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
            return Some(request);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
