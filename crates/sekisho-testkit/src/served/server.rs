//! A small HTTP/1.1 server: one request a connection, bounded heads, answers that may be broken on purpose.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Is one request head; a body is not read.
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Incoming {
    /// Returns the target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Is an answer, and how it is spoilt.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) delivery: Delivery,
}

/// Says how an answer goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    /// Waits first.
    After(Duration),
    /// Announces the whole length, sends the half and closes.
    Half,
    /// Sends the body, and then spaces until this many bytes have gone out, chunk by chunk.
    Padded(usize),
    /// Sends nothing, and keeps the connection open.
    Never,
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type", content_type.to_owned())];
        Self { status, headers, body: body.into(), delivery: Delivery::Whole }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub(crate) type Answer = dyn Fn(&Incoming) -> Reply + Send + Sync;

/// Listens on the loopback; stops, at the latest, when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    answer: Arc<Answer>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Binds a free port.
    pub(crate) async fn bind() -> io::Result<TcpListener> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
    }

    pub(crate) fn start(listener: TcpListener, answer: Arc<Answer>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, Arc::clone(&answer)));
        Ok(Self { address, answer, task: Mutex::new(Some(task)) })
    }

    /// Closes the port and every open connection.
    pub(crate) async fn stop(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            // Waited for, so that the port is closed when this returns.
            let _cancelled = task.await;
        }
    }

    /// Listens again on the same port.
    pub(crate) async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await?;
        let task = tokio::spawn(accept(listener, Arc::clone(&self.answer)));
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, answer: Arc<Answer>) {
    // Dropped with this future, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let answer = Arc::clone(&answer);
                    connections.spawn(async move {
                        // A caller that goes away in the middle is its own affair.
                        let _gone = serve(stream, &*answer).await;
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, answer: &Answer) -> io::Result<()> {
    let Some(request) = read_head(&mut stream).await? else { return Ok(()) };
    let reply = answer(&request);
    match reply.delivery {
        Delivery::Never => std::future::pending::<()>().await,
        Delivery::After(wait) => tokio::time::sleep(wait).await,
        Delivery::Whole | Delivery::Half | Delivery::Padded(_) => {}
    }
    let mut head = format!("HTTP/1.1 {} {}\r\nConnection: close\r\n", reply.status, reason(reply.status));
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let bodiless = reply.status == 304 || request.method == "HEAD";
    match reply.delivery {
        Delivery::Padded(_) => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        _ if reply.status == 304 => head.push_str("\r\n"),
        _ => head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len())),
    }
    stream.write_all(head.as_bytes()).await?;
    match reply.delivery {
        _ if bodiless => {}
        Delivery::Half => stream.write_all(reply.body.get(..reply.body.len() / 2).unwrap_or_default()).await?,
        Delivery::Padded(total) => write_padded(&mut stream, &reply.body, total).await?,
        _ => stream.write_all(&reply.body).await?,
    }
    stream.shutdown().await
}

async fn write_padded(stream: &mut TcpStream, body: &[u8], total: usize) -> io::Result<()> {
    stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await?;
    stream.write_all(body).await?;
    let spaces = vec![b' '; 64 * 1024];
    let mut sent = body.len();
    while sent < total {
        stream.write_all(format!("\r\n{:x}\r\n", spaces.len()).as_bytes()).await?;
        stream.write_all(&spaces).await?;
        sent += spaces.len();
    }
    stream.write_all(b"\r\n0\r\n\r\n").await
}

async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Incoming>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (first.next(), first.next()) else { return Ok(None) };
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Some(Incoming { method: method.to_owned(), target: target.to_owned(), headers }))
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        304 => "Not Modified",
        404 => "Not Found",
        _ => "Status",
    }
}

const MAX_HEAD: usize = 64 * 1024;
