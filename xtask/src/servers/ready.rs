//! Waiting for a server: free ports and the smallest possible HTTP GET.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::Group;
use crate::progress::Line;

/// Beside a build on a busy machine Keycloak needs two to three times its quiet minute.
const LIMIT: Duration = Duration::from_secs(300);

/// Returns a loopback port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until the server says that it is ready, and fails when it ends before that.
pub(crate) fn wait(group: &mut Group, is_ready: &dyn Fn() -> bool, log: &Path, line: &Line) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    line.say("starting");
    while Instant::now() < deadline {
        if is_ready() {
            return Ok(());
        }
        if !group.is_running() {
            bail!("ended while starting:\n{}", last_lines(log));
        }
        line.say("starting");
        thread::sleep(Duration::from_millis(50));
    }
    bail!("is not ready after {} s:\n{}", LIMIT.as_secs(), last_lines(log))
}

/// Waits until nobody listens at `port` any more.
pub(crate) fn wait_gone(port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_open(port) {
        if Instant::now() >= deadline {
            bail!("port {port} still answers after the kill");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Says whether somebody listens at `port`.
pub(crate) fn is_open(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Says whether a GET of `path` is answered by 200.
pub(crate) fn answers_ok(port: u16, path: &str) -> bool {
    status(port, path) == Some(200)
}

/// Sends `question` and returns the first bytes of what comes back until the server hangs up, or until there are `most`.
pub(crate) fn ask(port: u16, question: &str, most: u64) -> Option<Vec<u8>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(question.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(most).read_to_end(&mut answer).ok()?;
    Some(answer)
}

fn status(port: u16, path: &str) -> Option<u16> {
    let question = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    status_of(&ask(port, &question, 512)?)
}

fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status_of_an_answer() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), Some(200));
        assert_eq!(status_of(b"HTTP/1.1 404 \r\n\r\n"), Some(404));
    }

    #[test]
    fn takes_no_status_from_anything_else() {
        for head in [&b""[..], b"HTTP/1.1", b"HTTP/1.1 abc\r\n", b"SSH-2.0 200\r\n", b"\xff 200\r\n"] {
            assert_eq!(status_of(head), None);
        }
    }

    #[test]
    fn gets_no_status_where_nobody_listens() {
        assert_eq!(free_port().ok().and_then(|port| status(port, "/")), None);
    }
}
