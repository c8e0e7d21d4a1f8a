use std::collections::HashSet;
use std::time::Duration;

use sekisho_core::{Clock, FailureKind, SystemClock, UnixSeconds};
use sekisho_revocation::{Cursor, FeedBatch, FeedConnection, RevocationFeed, Withdrawal, Withdrawn};
use tokio::time::timeout;

/// Checks that a feed keeps the contract of [`RevocationFeed`].
///
/// - `feed`: without any withdrawal of the issuer `https://suite.example` yet.
/// - `push`: withdraws something, where the feed listens.
///
/// It checks that a snapshot holds everything, that nothing falls between snapshot and changes, that a quiet feed
/// shows that it is alive, and what cursors promise. It takes a few times the feed's patience.
///
/// # Panics
/// When the feed breaks the contract; the message says where.
pub async fn revocation_feed_suite<F: RevocationFeed + ?Sized>(feed: &F, push: impl AsyncFn(Withdrawal)) {
    push(withdrawal("before-1")).await;
    push(withdrawal("before-2")).await;
    let mut first = Listener::connect(feed, None).await;
    first.read_until_current().await;
    first.expect(&["before-1", "before-2"], "a snapshot holds what was withdrawn before");

    push(withdrawal("after")).await;
    first.read_until("after").await;
    let cursor = first.cursor.clone();

    first.read_until_current().await;

    // While others connect, withdrawals go on: none may fall between their snapshot and what follows it.
    let names: Vec<String> = (0..50).map(|number| format!("meanwhile-{number}")).collect();
    let pushing = async {
        for name in &names {
            push(withdrawal(name)).await;
        }
    };
    let reading = async {
        let mut second = Listener::connect(feed, None).await;
        second.read_until("meanwhile-49").await;
        second
    };
    let ((), second) = tokio::join!(pushing, reading);
    second.expect(&["before-1", "before-2", "after"], "each connection begins with everything");
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    second.expect(&all, "no withdrawal falls between the snapshot and the changes");
    first.read_until("meanwhile-49").await;
    first.expect(&all, "a connection that listens misses nothing");

    if let Some(cursor) = cursor {
        let mut resumed = Listener::connect(feed, Some(&cursor)).await;
        resumed.read_until("meanwhile-49").await;
        resumed.expect(&all, "a cursor is followed by everything that came after it");
    }
    if let Some(strange) = Cursor::new("~a-cursor-that-nobody-gave~") {
        match feed.connect(Some(&strange)).await {
            Err(failure) => refuses_cursor(failure.kind()),
            Ok(connection) => {
                let mut lost = Listener { connection, patience: feed.patience(), heard: HashSet::new(), cursor: None };
                match lost.try_read_until_current().await {
                    Err(kind) => refuses_cursor(kind),
                    Ok(()) => {
                        lost.expect(&["before-1", "meanwhile-49"], "an unknown cursor is answered with everything")
                    }
                }
            }
        }
    }
}

#[track_caller]
fn refuses_cursor(kind: FailureKind) {
    assert_ne!(kind, FailureKind::Unavailable, "an unknown cursor must not be offered again, so it is no outage");
}

fn withdrawal(name: &str) -> Withdrawal {
    let made = Withdrawal::token("https://suite.example", name, UnixSeconds::MAX);
    #[expect(clippy::expect_used, reason = "the names are those above")]
    made.expect("within bounds")
}

/// Is one connection, and what was heard on it.
struct Listener {
    connection: Box<dyn FeedConnection>,
    patience: Duration,
    heard: HashSet<String>,
    cursor: Option<Cursor>,
}

impl Listener {
    async fn connect<F: RevocationFeed + ?Sized>(feed: &F, cursor: Option<&Cursor>) -> Self {
        let (patience, connecting) = (feed.patience(), feed.connect(cursor));
        match timeout(patience, connecting).await {
            Ok(Ok(connection)) => Self { connection, patience, heard: HashSet::new(), cursor: None },
            Ok(Err(failure)) => fail(&format!("{feed:?} does not connect: {failure:?}")),
            Err(_) => fail(&format!("{feed:?} does not connect within its patience")),
        }
    }

    /// Reads one batch, and tells whether it is a current one.
    async fn try_read(&mut self) -> Result<bool, FailureKind> {
        let next = timeout(self.patience, self.connection.next(&SystemClock)).await;
        let batch: FeedBatch = match next {
            Ok(Ok(batch)) => batch,
            Ok(Err(failure)) => return Err(failure.kind()),
            Err(_) => fail("a connection was silent for longer than its patience"),
        };
        for withdrawal in batch.withdrawals() {
            if let Withdrawn::Token(id) = withdrawal.what() {
                self.heard.insert(id.to_string());
            }
        }
        let Some(as_of) = batch.as_of() else { return Ok(false) };
        assert!(as_of <= SystemClock.now(), "a batch is current as of the future");
        self.cursor = batch.cursor().cloned();
        Ok(true)
    }

    async fn try_read_until_current(&mut self) -> Result<(), FailureKind> {
        for _ in 0..MOST_BATCHES {
            if self.try_read().await? {
                return Ok(());
            }
        }
        fail("a snapshot does not come to an end")
    }

    async fn read_until_current(&mut self) {
        if let Err(kind) = self.try_read_until_current().await {
            fail(&format!("a connection is lost: {kind:?}"));
        }
    }

    async fn read_until(&mut self, name: &str) {
        let mut quiet = 0;
        while quiet < MOST_QUIET {
            if self.heard.contains(name) {
                return;
            }
            let heard = self.heard.len();
            if let Err(kind) = self.try_read().await {
                fail(&format!("a connection is lost before {name}: {kind:?}"));
            }
            quiet = if self.heard.len() == heard { quiet + 1 } else { 0 };
        }
        fail(&format!("{name} does not come"));
    }

    #[track_caller]
    fn expect(&self, names: &[&str], why: &str) {
        for name in names {
            assert!(self.heard.contains(*name), "{why}: {name} is missing");
        }
    }
}

#[track_caller]
#[expect(clippy::panic, reason = "documented; for tests only")]
fn fail(why: &str) -> ! {
    panic!("{why}")
}

const MOST_BATCHES: usize = 1_000;
/// How many batches in a row may bring nothing new, when something is due.
const MOST_QUIET: usize = 3;

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use sekisho_core::Failure;
    use sekisho_revocation::MemoryFeed;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_feed_in_memory_keeps_the_contract() {
        let feed = MemoryFeed::new();
        revocation_feed_suite(&feed, async |withdrawal| feed.push(withdrawal, UnixSeconds::new(0)).expect("room"))
            .await;
    }

    /// Loses what is pushed first after its snapshot.
    #[derive(Debug)]
    struct Gap(MemoryFeed);

    struct GapConnection {
        inner: Box<dyn FeedConnection>,
        batches: usize,
    }

    #[async_trait]
    impl RevocationFeed for Gap {
        async fn connect(&self, _: Option<&Cursor>) -> Result<Box<dyn FeedConnection>, Failure> {
            Ok(Box::new(GapConnection { inner: self.0.connect(None).await?, batches: 0 }))
        }

        fn patience(&self) -> Duration {
            self.0.patience()
        }

        fn origin(&self) -> &str {
            "gap"
        }
    }

    #[async_trait]
    impl FeedConnection for GapConnection {
        async fn next(&mut self, clock: &dyn Clock) -> Result<FeedBatch, Failure> {
            self.batches += 1;
            let batch = self.inner.next(clock).await?;
            Ok(if self.batches == 2 { FeedBatch::current(Vec::new(), clock.now()) } else { batch })
        }
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "after does not come")]
    async fn a_feed_with_a_gap_is_caught() {
        let feed = MemoryFeed::new();
        let push = async |withdrawal| feed.push(withdrawal, UnixSeconds::new(0)).expect("room");
        revocation_feed_suite(&Gap(feed.clone()), push).await;
    }
}
