//! A small HTTP/1.1 client that sends what it is told, well formed or not.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Is a request as it goes over the wire; header values may hold any bytes.
#[derive(Clone)]
pub(super) struct Request {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: String,
}

impl Request {
    pub(super) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: Vec::new(), body: String::new() }
    }

    pub(super) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub(super) fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    pub(super) fn dpop(self, token: &str, proof: &str) -> Self {
        self.header("Authorization", format!("DPoP {token}")).header("DPoP", proof)
    }

    pub(super) fn form(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self.header("Content-Type", "application/x-www-form-urlencoded")
    }

    fn bytes(&self, last: bool) -> Vec<u8> {
        let Self { method, target, headers, body } = self;
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: service.test\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if !body.is_empty() || *method == "POST" {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        if last {
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body.as_bytes());
        bytes
    }
}

/// Is a whole answer.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// Lists the values of a header, given in lower case.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the one value of a header; several are shown as none.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        match *self.all(name) {
            [value] => Some(value),
            _ => None,
        }
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Shows it in one line.
    pub(super) fn shown(&self) -> String {
        let challenge = self.all("www-authenticate");
        let body: String = String::from_utf8_lossy(&self.body).chars().take(120).collect();
        format!("{} {challenge:?} {body:?}", self.status)
    }
}

/// Sends one request on a connection of its own.
pub(super) async fn send(base_url: &str, request: &Request) -> io::Result<Response> {
    let mut answers = exchange(base_url, std::slice::from_ref(request)).await?;
    answers.pop().ok_or_else(|| io::Error::other("no answer"))
}

/// Sends requests one after another on the same connection.
pub(super) async fn exchange(base_url: &str, requests: &[Request]) -> io::Result<Vec<Response>> {
    let all = async {
        let authority = base_url.strip_prefix("http://").unwrap_or(base_url).trim_end_matches('/');
        let mut stream = TcpStream::connect(authority).await?;
        let mut rest = Vec::new();
        let mut answers = Vec::new();
        for (place, request) in requests.iter().enumerate() {
            let sent = stream.write_all(&request.bytes(place + 1 == requests.len())).await;
            match read_answer(&mut stream, &mut rest, request.method == "HEAD").await {
                Ok(answer) => answers.push(answer),
                // A server may answer and close before it has read all of a head that is too long.
                Err(error) => return Err(sent.err().unwrap_or(error)),
            }
        }
        Ok(answers)
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn read_answer(stream: &mut TcpStream, rest: &mut Vec<u8>, bodiless: bool) -> io::Result<Response> {
    let end = loop {
        if let Some(at) = find(rest, b"\r\n\r\n") {
            break at;
        }
        more(stream, rest).await?;
    };
    let head = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
    rest.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no status"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Response { status, headers, body: Vec::new() };
    if bodiless || status == 204 || status == 304 {
        return Ok(answer);
    }
    if answer.one("transfer-encoding") == Some("chunked") {
        answer.body = chunked(stream, rest).await?;
    } else {
        let length = answer.one("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        answer.body = take(stream, rest, length).await?;
    }
    Ok(answer)
}

async fn chunked(stream: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = find(rest, b"\r\n") {
                break at;
            }
            more(stream, rest).await?;
        };
        let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
        rest.drain(..end + 2);
        let size = usize::from_str_radix(line.trim(), 16).map_err(|_| io::Error::other("no chunk size"))?;
        let chunk = take(stream, rest, size.saturating_add(2)).await?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(chunk.get(..size).unwrap_or_default());
    }
}

async fn take(stream: &mut TcpStream, rest: &mut Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    while rest.len() < length {
        more(stream, rest).await?;
    }
    Ok(rest.drain(..length).collect())
}

async fn more(stream: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<()> {
    if rest.len() > MAX_ANSWER || stream.read_buf(rest).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

const PATIENCE: Duration = Duration::from_secs(20);
const MAX_ANSWER: usize = 1 << 20;
