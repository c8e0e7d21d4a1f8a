//! A relay before a server, by which a test makes it slow, silent or wrong; connections that are open obey, too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// It reaches the server.
    Pass,
    /// It reaches the server after this time.
    Late(Duration),
    /// Nobody ever answers it.
    Silent,
    /// It is answered with these bytes, which need not be HTTP, and the connection ends.
    Answer(Vec<u8>),
}

impl Mode {
    /// Answers with a whole HTTP message around `body`.
    pub(crate) fn answer(status: u16, media_type: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n");
        Self::Answer((head + body).into_bytes())
    }
}

/// Listens on a port of its own until it is dropped. Before a server that is dead it hangs up.
pub(crate) struct Relay {
    url: String,
    mode: Arc<Mutex<Mode>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Relays to the server at `url`, `http://HOST:PORT`, at first as it is.
    pub(crate) async fn start(url: &str) -> Self {
        let server = url.strip_prefix("http://").expect("http").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mode = Arc::new(Mutex::new(Mode::Pass));
        let task = tokio::spawn({
            let mode = Arc::clone(&mode);
            async move {
                // Ends with the task, and every connection with it.
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    connections.spawn(relay(client, server.clone(), Arc::clone(&mode)));
                }
            }
        });
        Self { url, mode, task }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(mut client: TcpStream, server: String, mode: Arc<Mutex<Mode>>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut request, mut answer) = ([0; 8192], [0; 8192]);
    loop {
        tokio::select! {
            length = client.read(&mut request) => {
                let length = length?;
                let mode = mode.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match mode {
                    _ if length == 0 => return Ok(()),
                    Mode::Pass => {}
                    Mode::Late(time) => tokio::time::sleep(time).await,
                    Mode::Silent => continue,
                    Mode::Answer(bytes) => {
                        client.write_all(&bytes).await?;
                        return client.shutdown().await;
                    }
                }
                server.write_all(&request[..length]).await?;
            }
            length = server.read(&mut answer) => match length? {
                0 => return Ok(()),
                length => client.write_all(&answer[..length]).await?,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::gateways::Upstream;
    use crate::setup;

    #[tokio::test]
    async fn a_relay_passes_delays_swallows_and_forges() {
        let upstream = Upstream::start().await;
        let relay = Relay::start(&format!("http://127.0.0.1:{}", upstream.port)).await;
        let http = setup::http();
        let get = || http.get(relay.url()).timeout(Duration::from_millis(1500)).send();
        assert_eq!(get().await.expect("an answer").status(), 200);
        relay.set(Mode::Late(Duration::from_millis(300)));
        let begun = Instant::now();
        assert_eq!(get().await.expect("an answer").status(), 200);
        assert!(begun.elapsed() >= Duration::from_millis(300));
        relay.set(Mode::Silent);
        assert!(get().await.expect_err("silence").is_timeout());
        relay.set(Mode::answer(418, "text/plain", "tea"));
        let answer = get().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.text().await.expect("a body").as_str()), (418, "tea"));
        relay.set(Mode::Answer(b"SSH-2.0".to_vec()));
        assert!(!get().await.expect_err("no HTTP").is_timeout());
        relay.set(Mode::Pass);
        assert_eq!(get().await.expect("an answer").status(), 200);
    }
}
