//! A feed published over HTTP, and read again by one that polls.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::Failure;
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_revocation::{FeedBatch, FeedPublisher, MemoryFeed, PollingFeed, RevocationDocument, RevocationFeed as _};
use sekisho_testkit::FixedClock;

use crate::support::{Event, NOW, Script, bearer, clock, is_revoked, list, token, until};

fn at_now() -> FixedClock {
    FixedClock::at(NOW)
}

fn feed_of(count: usize) -> MemoryFeed {
    let feed = MemoryFeed::new();
    for number in 0..count {
        feed.push(token(&format!("t-{number}")), NOW).unwrap();
    }
    feed
}

async fn document(publisher: &FeedPublisher, query: &str) -> RevocationDocument {
    let answer = publisher.answer(query, &at_now()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        (answer.header("cache-control"), answer.header("content-type")),
        (Some("no-store"), Some("application/json"))
    );
    RevocationDocument::parse(answer.body).unwrap()
}

fn after(document: &RevocationDocument) -> String {
    format!("tenant=7&cursor={}", document.cursor().unwrap().as_str())
}

#[tokio::test]
async fn tells_all_and_then_what_is_new() {
    let feed = feed_of(3);
    let publisher = FeedPublisher::new(feed.clone());
    let first = document(&publisher, "").await;
    assert_eq!((first.withdrawals().len(), first.has_more()), (3, false));
    assert_eq!(document(&publisher, &after(&first)).await.withdrawals(), []);
    feed.push(token("late"), NOW).unwrap();
    let second = document(&publisher, &after(&first)).await;
    assert_eq!(second.withdrawals(), [token("late")]);
}

#[tokio::test]
async fn a_cursor_of_another_log_is_answered_with_everything() {
    let before = document(&FeedPublisher::new(feed_of(2)), "").await;
    // As after a restart: the numbers of the new log go as far, and stand for others.
    let publisher = FeedPublisher::new(feed_of(5));
    for query in [after(&before), "cursor=2".to_owned(), "cursor=0000000000000000.2".to_owned()] {
        assert_eq!(document(&publisher, &query).await.withdrawals().len(), 5, "{query}");
    }
}

#[tokio::test]
async fn refuses_questions_that_no_follower_asks() {
    let publisher = FeedPublisher::new(feed_of(1));
    let long = format!("cursor={}", "c".repeat(300));
    let longer = format!("x={}", "y".repeat(5000));
    for (query, status) in
        [("cursor=", 410), ("cursor=a%20b", 410), (&*long, 410), (&*longer, 400), ("cursor=a&cursor=b", 400)]
    {
        let answer = publisher.answer(query, &at_now()).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{query}");
    }
}

#[tokio::test]
async fn what_is_too_long_comes_in_several_answers_none_too_long() {
    const MOST: usize = 300_000;
    let publisher = FeedPublisher::new(feed_of(5_500)).with_max_body_bytes(MOST);
    let (mut query, mut seen, mut answers) = (String::new(), 0, 0);
    loop {
        let answer = publisher.answer(&query, &at_now()).await;
        assert!(answer.body.len() <= MOST, "{}", answer.body.len());
        let document = RevocationDocument::parse(answer.body).unwrap();
        (seen, answers) = (seen + document.withdrawals().len(), answers + 1);
        if !document.has_more() {
            break;
        }
        query = after(&document);
    }
    assert_eq!(seen, 5_500);
    assert!(answers > 1, "{answers}");
}

#[tokio::test]
async fn what_can_neither_be_sent_nor_parted_is_no_answer() {
    let parts = || {
        [Event::Batch(FeedBatch::partial(vec![token("a")])), Event::Batch(FeedBatch::current(vec![token("b")], NOW))]
    };
    let answer = FeedPublisher::new(Script::new([parts()])).answer("", &at_now()).await;
    assert_eq!(RevocationDocument::parse(answer.body).unwrap().withdrawals(), [token("a"), token("b")]);
    let short = FeedPublisher::new(Script::new([parts()])).with_max_body_bytes(1_100);
    let answer = short.answer("", &at_now()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_or_falls_silent_is_never_an_empty_document() {
    let lost = Event::Lose(Failure::unavailable("lost"));
    let half = [Event::Batch(FeedBatch::partial(vec![token("a")])), Event::Silence];
    for feed in [Script::new([[lost]]), Script::new([half]), Script::new([[Event::Silence]]), Script::default()] {
        let begun = tokio::time::Instant::now();
        let patience = feed.patience();
        let answer = FeedPublisher::new(feed).answer("", &at_now()).await;
        assert_eq!((answer.status, answer.body.len()), (503, 0));
        assert!(begun.elapsed() <= patience * 2 + Duration::from_secs(1));
    }
}

/// Is the wire between who polls and who publishes.
struct Wire(FeedPublisher);

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

#[async_trait]
impl HttpClient for Wire {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let query = request.url.split_once('?').map_or("", |(_, query)| query);
        Ok(self.0.answer(query, &at_now()).await)
    }
}

#[tokio::test(start_paused = true)]
async fn a_polling_feed_reads_what_is_published() {
    let (feed, list) = (feed_of(2_500), list(10_000));
    let wire = Arc::new(Wire(FeedPublisher::new(feed.clone()).with_max_body_bytes(150_000)));
    let polling = PollingFeed::builder("https://id.example/withdrawals", wire).build().unwrap();
    let mut following = list.follow(polling).with_clock(clock().1).start().unwrap();
    following.synchronized().await;
    assert_eq!(list.len(), 2_500);
    feed.push(token("late"), NOW).unwrap();
    until("it arrives", || is_revoked(&list, &bearer("late"), NOW)).await;
}
