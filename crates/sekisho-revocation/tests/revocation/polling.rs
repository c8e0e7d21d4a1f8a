use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Clock, FailureKind, RevocationCheck};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse, ReqwestClient};
use sekisho_revocation::{Cursor, FeedBatch, PollingFeed, PollingFeedBuilder, RevocationDocument, RevocationFeed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{NOW, bearer, clock, list, token, until};

const URL: &str = "https://id.example/withdrawals?tenant=7";

/// Answers by a script, and keeps what it was asked.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: VecDeque<Result<HttpResponse, HttpError>>,
    requests: Vec<HttpRequest>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    fn answer(&self, status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.lock().unwrap().answers.push_back(Ok(HttpResponse { status, headers, body: body.into() }));
    }

    fn document(&self, document: &RevocationDocument) {
        self.answer(200, &[], document.to_json());
    }

    fn urls(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        state.requests.iter().map(|request| request.url.strip_prefix(URL).unwrap().to_owned()).collect()
    }

    fn header(&self, request: usize, name: &str) -> Option<String> {
        let state = self.0.lock().unwrap();
        let headers = &state.requests[request].headers;
        headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
    }

    fn feed(&self) -> PollingFeedBuilder {
        PollingFeed::builder(URL, Arc::new(self.clone()))
    }
}

#[async_trait]
impl HttpClient for Server {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let mut state = self.0.lock().unwrap();
        state.requests.push(request);
        state.answers.pop_front().unwrap_or(Err(HttpError::Timeout))
    }
}

fn document(ids: &[&str]) -> RevocationDocument {
    RevocationDocument::new(ids.iter().map(|id| token(id)).collect())
}

fn cursor(text: &str) -> Cursor {
    Cursor::new(text).unwrap()
}

/// Asks once, and returns the kind of failure.
async fn refusal(server: &Server, after: Option<&Cursor>) -> FailureKind {
    let feed = server.feed().with_max_body_bytes(2_000).build().unwrap();
    let mut connection = feed.connect(after).await.unwrap();
    connection.next(&*clock().1).await.unwrap_err().kind()
}

#[tokio::test]
async fn refuses_every_answer_but_a_document() {
    for (status, kind) in [
        (201, FailureKind::BadGateway),
        (204, FailureKind::BadGateway),
        (302, FailureKind::BadGateway),
        (304, FailureKind::BadGateway), // nobody asked whether something changed
        (401, FailureKind::BadGateway),
        (404, FailureKind::BadGateway),
        (410, FailureKind::BadGateway), // nobody sent a cursor
        (500, FailureKind::Unavailable),
        (503, FailureKind::Unavailable),
    ] {
        let server = Server::default();
        server.answer(status, &[("etag", "\"a\""), ("location", "https://evil.example/")], document(&["t"]).to_json());
        assert_eq!(refusal(&server, None).await, kind, "{status}");
        assert_eq!(server.urls().len(), 1, "{status} is not followed anywhere");
    }
    for body in
        ["", "<!doctype html>", "{}", r#"{"version":2,"withdrawals":[]}"#, r#"{"version":1,"withdrawals":[{}]}"#]
    {
        let server = Server::default();
        server.answer(200, &[], body);
        assert_eq!(refusal(&server, None).await, FailureKind::BadGateway, "{body}");
    }
    let server = Server::default();
    server.answer(200, &[], document(&[&"x".repeat(2_000)]).to_json());
    assert_eq!(refusal(&server, None).await, FailureKind::BadGateway);
    assert_eq!(refusal(&server, None).await, FailureKind::Unavailable, "no answer at all");
}

#[tokio::test]
async fn refuses_a_promise_of_more_that_does_not_move() {
    let server = Server::default();
    server.document(&document(&["a"]).with_cursor(cursor("5")).with_more());
    assert_eq!(refusal(&server, Some(&cursor("5"))).await, FailureKind::BadGateway);
}

#[tokio::test(start_paused = true)]
async fn pages_follow_each_other_at_once_and_the_last_one_makes_the_list_fresh() {
    let (server, list) = (Server::default(), list(10));
    server.document(&document(&["a"]).with_cursor(cursor("1")).with_more());
    server.document(&document(&["b"]).with_cursor(cursor("2&x=/+")).with_more());
    server.document(&document(&["c"]).with_cursor(cursor("3")));
    server.document(&document(&[]).with_cursor(cursor("3")));
    let mut following = list.follow(server.feed().build().unwrap()).with_clock(clock().1).start().unwrap();
    let start = tokio::time::Instant::now();
    following.synchronized().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(list.len(), 3);
    // The cursor is a value, whatever is in it.
    assert_eq!(server.urls(), ["", "&cursor=1", "&cursor=2%26x%3D%2F%2B"]);
    until("the next question", || server.urls().len() == 4).await;
    assert!((Duration::from_secs(10)..Duration::from_secs(12)).contains(&start.elapsed()));
    assert_eq!(server.urls()[3], "&cursor=3");
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_document_keeps_the_list_fresh() {
    let (clock, shared) = clock();
    let (server, list) = (Server::default(), list(10));
    server.answer(200, &[("etag", "\"v1\"")], document(&["t"]).to_json());
    for _ in 0..10 {
        server.answer(304, &[], "");
    }
    let mut following = list.follow(server.feed().build().unwrap()).with_clock(shared).start().unwrap();
    following.synchronized().await;
    for asked in 2..=11 {
        clock.advance(Duration::from_secs(11));
        until("asked", || server.urls().len() >= asked).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!list.check().is_revoked(&bearer("innocent"), clock.now()).unwrap());
    }
    assert_eq!(server.header(0, "if-none-match"), None);
    assert_eq!(server.header(1, "if-none-match").as_deref(), Some("\"v1\""));
    assert_eq!(server.header(10, "if-none-match").as_deref(), Some("\"v1\""));
    // From here on nobody answers.
    clock.advance(Duration::from_secs(61));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(list.check().is_revoked(&bearer("innocent"), clock.now()).is_err());
    assert!(list.check().is_revoked(&bearer("t"), clock.now()).unwrap());
}

#[tokio::test]
async fn an_answer_out_of_a_cache_is_as_old_as_it_says() {
    let (fixed, clock) = clock();
    let current = async |age: &str| {
        let server = Server::default();
        server.answer(200, &[("age", age)], document(&["t"]).to_json());
        let feed = server.feed().build().unwrap();
        let batch = feed.connect(None).await.unwrap().next(&*clock).await.map_err(|failure| failure.kind());
        assert_eq!(server.header(0, "cache-control").as_deref(), Some("no-cache"));
        batch.map(|batch| batch.as_of().unwrap())
    };
    assert_eq!(current("0").await, Ok(fixed.now()));
    assert_eq!(current("3600").await, Ok(fixed.now().saturating_sub(Duration::from_secs(3600))));
    assert_eq!(current("9999999999999999999").await.map(|at| at.as_secs()), Ok(0));
    for bad in ["", "+1", "-1", "1.5", "x", "99999999999999999999999"] {
        assert_eq!(current(bad).await, Err(FailureKind::BadGateway), "{bad:?}");
    }
}

#[tokio::test]
async fn a_forgotten_cursor_is_answered_by_asking_for_everything() {
    let server = Server::default();
    server.answer(410, &[], "");
    server.document(&document(&["a"]).with_cursor(cursor("9")));
    let feed = server.feed().build().unwrap();
    let mut connection = feed.connect(Some(&cursor("5"))).await.unwrap();
    let batch = connection.next(&*clock().1).await.unwrap();
    assert_eq!(server.urls(), ["&cursor=5", ""]);
    assert!(format!("{batch:?}").contains("Cursor(\"9\")"));
    let server = Server::default();
    server.answer(410, &[], "");
    server.answer(410, &[], "");
    assert_eq!(refusal(&server, Some(&cursor("5"))).await, FailureKind::BadGateway);
}

#[tokio::test(start_paused = true)]
async fn a_strange_validator_is_not_sent_back() {
    for etag in ["v1", "\"", "\"a b\"", "\"a\r\nhost: b\"", &format!("\"{}\"", "a".repeat(256))] {
        let server = Server::default();
        server.answer(200, &[("etag", etag)], document(&[]).to_json());
        server.answer(200, &[], document(&[]).to_json());
        let feed = server.feed().with_interval(Duration::from_secs(1)).build().unwrap();
        let mut connection = feed.connect(None).await.unwrap();
        for _ in 0..2 {
            let _batch: FeedBatch = connection.next(&*clock().1).await.unwrap();
        }
        assert_eq!(server.header(1, "if-none-match"), None, "{etag:?}");
    }
}

#[tokio::test]
async fn the_authorization_is_sent_and_shown_nowhere() {
    let server = Server::default();
    server.document(&document(&[]));
    let feed = server.feed().with_authorization("Bearer hush").build().unwrap();
    let shown = format!("{feed:?} {:?} {}", server.feed().with_authorization("Bearer hush"), feed.origin());
    assert!(!shown.contains("hush") && !shown.contains("tenant"), "{shown}");
    let _batch: FeedBatch = feed.connect(None).await.unwrap().next(&*clock().1).await.unwrap();
    assert_eq!(server.header(0, "authorization").as_deref(), Some("Bearer hush"));
    assert_eq!(server.header(0, "accept").as_deref(), Some("application/json"));
}

#[test]
fn refuses_settings_that_cannot_work() {
    let server = Server::default();
    for bad in ["http://id.example/", "https://user@id.example/", "https://id.example/?cursor=1", "id.example", ""] {
        assert!(PollingFeed::builder(bad, Arc::new(server.clone())).build().is_err(), "{bad}");
    }
    let second = Duration::from_secs(1);
    for bad in [
        server.feed().with_interval(Duration::from_millis(999)),
        server.feed().with_interval(3_601 * second),
        server.feed().with_timeout(Duration::ZERO),
        server.feed().with_timeout(601 * second),
        server.feed().with_max_body_bytes(0),
        server.feed().with_authorization(""),
        server.feed().with_authorization("Bearer a\r\nhost: b"),
    ] {
        assert!(bad.build().is_err());
    }
    assert!(server.urls().is_empty(), "building asks nobody");
}

#[tokio::test]
async fn follows_a_server_over_real_http() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/withdrawals", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut head).await.unwrap() > 0);
            }
            let head = String::from_utf8(head).unwrap();
            let body = if head.starts_with("GET /withdrawals?cursor=1 ") {
                document(&["b"]).with_cursor(cursor("2"))
            } else {
                document(&["a"]).with_cursor(cursor("1")).with_more()
            };
            let body = body.to_json();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    let client = Arc::new(ReqwestClient::new(Duration::from_secs(1)).unwrap());
    let list = list(10);
    let mut following = list.follow(PollingFeed::builder(url, client).build().unwrap()).start().unwrap();
    tokio::time::timeout(Duration::from_secs(10), following.synchronized()).await.unwrap();
    let now = sekisho_core::SystemClock.now();
    // The tests' tokens end in 2027; by then they hold nothing any more, and the list is only seen to be fresh.
    if now < NOW {
        assert!(list.check().is_revoked(&bearer("a"), now).unwrap());
        assert!(list.check().is_revoked(&bearer("b"), now).unwrap());
    }
    assert!(!list.check().is_revoked(&bearer("innocent"), now).unwrap());
    serving.abort();
}

/// Publishes what is pushed, by cursors that are numbers, three withdrawals a page.
#[derive(Clone, Debug, Default)]
struct Publisher(Arc<Mutex<Vec<sekisho_revocation::Withdrawal>>>);

#[async_trait]
impl HttpClient for Publisher {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        // Whoever pushes gets a turn between two pages.
        tokio::task::yield_now().await;
        let all = self.0.lock().unwrap();
        let from = match request.url.split_once("cursor=") {
            None => 0,
            Some((_, cursor)) => match cursor.parse::<usize>() {
                Ok(from) if from <= all.len() => from,
                _ => return Ok(HttpResponse { status: 410, headers: Vec::new(), body: Vec::new() }),
            },
        };
        let to = all.len().min(from + 3);
        let mut document = RevocationDocument::new(all[from..to].to_vec()).with_cursor(cursor(&to.to_string()));
        if to < all.len() {
            document = document.with_more();
        }
        Ok(HttpResponse { status: 200, headers: Vec::new(), body: document.to_json().into_bytes() })
    }
}

#[tokio::test(start_paused = true)]
async fn the_polling_feed_keeps_the_contract() {
    let publisher = Publisher::default();
    let feed = PollingFeed::builder(URL, Arc::new(publisher.clone())).build().unwrap();
    sekisho_testkit::revocation_feed_suite(&feed, async |withdrawal| {
        publisher.0.lock().unwrap().push(withdrawal);
        tokio::task::yield_now().await;
    })
    .await;
}
