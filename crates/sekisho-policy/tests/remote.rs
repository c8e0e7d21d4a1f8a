//! What no real decision service can be made to say, said over a real connection: never a permit, always in time.
#![cfg(all(feature = "remote", feature = "reqwest"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize, Decision, Effect, EvaluationsSemantic, Failure, Resource, UnixSeconds};
use sekisho_policy::remote::Remote;
use sekisho_policy::remote::opa::Opa;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const DEADLINE: Duration = Duration::from_millis(200);
/// A machine with much to do is late; a service that is waited for without end would be later still.
const SLACK: Duration = Duration::from_secs(2);
const GOOD: &str = r#"{"result":true}"#;

/// What is written to whoever asks.
#[derive(Clone)]
enum Says {
    /// These bytes; then the connection ends.
    Bytes(Vec<u8>),
    /// These bytes, to each question of the connection.
    Keeps(Vec<u8>),
    /// These bytes, one each 50 ms.
    Drip(Vec<u8>),
    /// Nothing.
    Nothing,
    /// These bytes, and then nothing more, with the connection held open.
    AndHangs(Vec<u8>),
}

struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn that(says: Says) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                open.spawn(answer(stream, says.clone()));
            }
        });
        Self { address, connections, task }
    }

    fn remote(&self) -> Remote {
        Remote::builder(Opa::at(&format!("http://{}", self.address), "shop").unwrap()).build().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, says: Says) {
    // The whole question: its length is not looked at, it comes in one piece.
    let mut question = vec![0; 64 * 1024];
    let Ok(1..) = stream.read(&mut question).await else { return };
    match says {
        Says::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Says::Keeps(bytes) => {
            while stream.write_all(&bytes).await.is_ok() && matches!(stream.read(&mut question).await, Ok(1..)) {}
        }
        Says::Drip(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Says::Nothing => std::future::pending().await,
        Says::AndHangs(bytes) => {
            drop(stream.write_all(&bytes).await);
            std::future::pending().await
        }
    }
}

fn message(status: u16, more: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{more}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn json(body: &str) -> Vec<u8> {
    message(200, "content-type: application/json\r\n", body)
}

async fn decide(remote: &Remote) -> Result<Decision, Failure> {
    let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(1_700_000_000));
    remote.decide(&request).await
}

async fn assert_failure(name: &str, says: Says) {
    let server = Server::that(says).await;
    let remote = server.remote();
    for _ in 0..2 {
        let begin = Instant::now();
        let outcome = decide(&remote).await;
        assert!(outcome.is_err(), "{name}: {outcome:?}");
        assert!(begin.elapsed() < DEADLINE + SLACK, "{name}");
    }
    assert!(server.connections.load(Ordering::SeqCst) >= 1, "{name} was asked");
    assert_eq!(remote.health().kept, 0, "{name}");
}

#[tokio::test]
async fn the_server_of_these_tests_can_be_understood() {
    let server = Server::that(Says::Bytes(json(GOOD))).await;
    assert!(decide(&server.remote()).await.unwrap().is_permitted());
    let server = Server::that(Says::Bytes(json("{}"))).await;
    assert_eq!(decide(&server.remote()).await.unwrap().effect(), Effect::NotApplicable);
}

#[tokio::test]
async fn questions_one_after_the_other_go_over_one_connection_that_many_at_once_do_not_use_up() {
    let server = Server::that(Says::Keeps(json(GOOD))).await;
    let opa = || Opa::at(&format!("http://{}", server.address), "shop").unwrap();
    // A hedge has a connection of its own.
    let remote = |opa| Remote::builder(opa).with_deadline(Duration::from_secs(10)).without_cache().without_hedge();
    let one = remote(opa()).build().unwrap();
    for _ in 0..20 {
        assert!(decide(&one).await.unwrap().is_permitted());
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    // Twenty rounds of four: each of the four may need one, and the next round none.
    let four = remote(opa()).build().unwrap();
    let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
    let ask = |id| AccessRequest::new(&alice, "read", Resource::new("order", id), UnixSeconds::new(1_700_000_000));
    for _ in 0..20 {
        let outcomes = four.decide_all(&["1", "2", "3", "4"].map(ask), EvaluationsSemantic::ExecuteAll).await;
        assert!(outcomes.len() == 4 && outcomes.iter().all(|outcome| outcome.as_ref().unwrap().is_permitted()));
    }
    let connections = server.connections.load(Ordering::SeqCst);
    assert!((2..=1 + 4).contains(&connections), "{connections}");
}

#[tokio::test]
async fn a_status_that_comes_with_no_decision_is_none_whatever_the_body_says() {
    for status in [201, 202, 204, 206, 226, 301, 302, 303, 307, 308, 400, 401, 403, 404, 418, 429, 500, 502, 503, 504] {
        let bytes = message(status, "content-type: application/json\r\n", GOOD);
        assert_failure(&status.to_string(), Says::Bytes(bytes)).await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::that(Says::Bytes(json(GOOD))).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: http://{}/v1/data/shop\r\n", elsewhere.address);
        assert_failure("redirect", Says::Bytes(message(status, &location, ""))).await;
    }
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_that_is_not_what_was_promised_is_no_decision() {
    let huge = format!(r#"{{"result":true,"note":"{}"}}"#, "a".repeat(200_000));
    let deep = format!(r#"{{"result":true,"note":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for body in [
        "",
        "true",
        "null",
        "[]",
        "{",
        r#"{"result":true"#,
        r#"{"result":true}}"#,
        r#"{"result":true,"result":true}"#,
        r#"{"result":false,"result":true}"#,
        r#"{"result":"true"}"#,
        r#"{"result":{"decision":"true"}}"#,
        r#"{"decision":"true","result":{}}"#,
        r#"{"result":{"allow":true,"allow":true}}"#,
        "<html><body>true</body></html>",
        huge.as_str(),
        deep.as_str(),
    ] {
        assert_failure(body.get(..60).unwrap_or(body), Says::Bytes(json(body))).await;
    }
    for head in ["content-type: text/html\r\n", "content-type: text/plain\r\n", ""] {
        assert_failure(head, Says::Bytes(message(200, head, GOOD))).await;
    }
    let zipped = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    assert_failure("not gzip", Says::Bytes(message(200, zipped, GOOD))).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_never_ends_is_no_decision() {
    let whole = json(GOOD);
    let cut = whole[..whole.len() - 1].to_vec();
    let head = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\n".to_vec();
    let endless = [head.clone(), b"transfer-encoding: chunked\r\n\r\nf\r\n{\"result\":true}\r\n".to_vec()].concat();
    for (name, says) in [
        ("closed in the body", Says::Bytes(cut.clone())),
        ("closed in the head", Says::Bytes(head)),
        ("closed at once", Says::Bytes(Vec::new())),
        ("a chunk without an end, closed", Says::Bytes(endless.clone())),
        ("a chunk without an end", Says::AndHangs(endless)),
        ("one byte short", Says::AndHangs(cut)),
        ("drop by drop", Says::Drip(whole)),
        ("silence", Says::Nothing),
        ("no HTTP", Says::Bytes(b"{\"result\":true}\r\n\r\n".to_vec())),
    ] {
        assert_failure(name, says).await;
    }
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let server = Server::that(Says::Nothing).await;
    let remote = server.remote();
    server.task.abort();
    while !server.task.is_finished() {
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    assert!(decide(&remote).await.is_err());
    assert!(begin.elapsed() < DEADLINE + SLACK);
}

#[tokio::test]
async fn a_batch_is_no_better() {
    for says in [Says::Nothing, Says::Bytes(json("{}")), Says::Bytes(json(GOOD)), Says::Bytes(message(500, "", ""))] {
        let server = Server::that(says).await;
        let opa = Opa::at(&format!("http://{}", server.address), "shop").unwrap().with_batch();
        let remote = Remote::builder(opa).build().unwrap();
        let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
        let ask = |id| AccessRequest::new(&alice, "read", Resource::new("order", id), UnixSeconds::new(1_700_000_000));
        let begin = Instant::now();
        let outcomes = remote.decide_all(&[ask("1"), ask("2")], EvaluationsSemantic::ExecuteAll).await;
        assert!(outcomes.len() == 2 && outcomes.iter().all(Result::is_err), "{outcomes:?}");
        assert!(begin.elapsed() < DEADLINE + SLACK);
    }
}
