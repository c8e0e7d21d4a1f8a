use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Clock, Failure, FailureKind};
use sekisho_http::HttpResponse;
use url::form_urlencoded;

use crate::{Cursor, FeedConnection, RevocationDocument, RevocationFeed, follow};

/// Publishes a feed over HTTP, as the document that a [`PollingFeed`](crate::PollingFeed) reads.
///
/// It is no server: whatever routes requests gives it the query of a `GET` and writes down what it answers, with all headers.
/// **It asks nobody for a password.** What is withdrawn names users and sessions, so put the route behind the authentication
/// that the followers send ([`with_authorization`](crate::PollingFeedBuilder::with_authorization), or a network of its own).
///
/// Each question is answered by the feed of that moment: a connection of its own, with the cursor that came along. One that
/// the feed does not know is answered with everything. Clones are the same publisher.
///
/// # Examples
/// ```
/// # use sekisho_core::{SystemClock, UnixSeconds};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use sekisho_revocation::{FeedPublisher, MemoryFeed, Withdrawal};
/// let feed = MemoryFeed::new(); // or `TableFeed` of `sekisho-sqlx`, which outlives the process
/// let publisher = FeedPublisher::new(feed.clone());
///
/// feed.push(Withdrawal::session("https://id.example", "s-42", UnixSeconds::MAX)?, UnixSeconds::new(1_700_000_000))?;
/// let answer = publisher.answer("", &SystemClock).await; // in axum, behind a middleware that authenticates
/// assert_eq!(answer.status, 200);
/// assert_eq!(answer.header("content-type"), Some("application/json"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FeedPublisher {
    feed: Arc<dyn RevocationFeed>,
    max_body_bytes: usize,
}

impl FeedPublisher {
    /// Makes one for a feed.
    pub fn new(feed: impl RevocationFeed + 'static) -> Self {
        Self { feed: Arc::new(feed), max_body_bytes: DEFAULT_MAX_BODY_BYTES }
    }

    /// Sets how long an answer may be, in bytes: at most what the followers take. Default 4 MiB, as theirs.
    #[must_use]
    pub const fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Answers one question.
    ///
    /// - `query`: what stands behind `?` in the address, or nothing. Only the parameter `cursor` is looked at.
    /// - `clock`: the feed's clock.
    ///
    /// The status is
    /// - 200 with a [`RevocationDocument`]. What does not fit into one answer comes in several, if the feed's batches have cursors;
    /// - 400 for a query longer than 4096 bytes, or with more than one cursor;
    /// - 410 for a cursor that no feed can have made: the follower asks again without one;
    /// - 503 when the feed fails, or what must go into one answer is too long for it. The follower's list then goes stale, and
    ///   fails closed. The reason goes to the log.
    pub async fn answer(&self, query: &str, clock: &dyn Clock) -> HttpResponse {
        if query.len() > LONGEST_QUERY {
            return refusal(400);
        }
        let mut cursors = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "cursor");
        let cursor = match (cursors.next(), cursors.next()) {
            (None, _) => None,
            (Some((_, text)), None) => match Cursor::new(&text) {
                Some(cursor) => Some(cursor),
                None => return refusal(410),
            },
            (Some(_), Some(_)) => return refusal(400),
        };
        match self.document(cursor.as_ref(), clock).await {
            Ok(body) => HttpResponse { status: 200, headers: headers(&[("content-type", "application/json")]), body },
            Err(failure) => {
                let cause = follow::causes(&failure);
                tracing::error!(feed = %self.feed.origin(), %cause, "withdrawals cannot be published");
                refusal(503)
            }
        }
    }

    async fn document(&self, cursor: Option<&Cursor>, clock: &dyn Clock) -> Result<Vec<u8>, Failure> {
        let silent = |_| Failure::unavailable("the revocation feed does not answer in time");
        let patience = self.feed.patience();
        let mut connection = tokio::time::timeout(patience, self.feed.connect(cursor)).await.map_err(silent)??;
        // The parts of a snapshot come one after the other; together they have no longer than one sign of life.
        tokio::time::timeout(patience, self.collect(&mut *connection, cursor, clock)).await.map_err(silent)?
    }

    async fn collect(
        &self,
        connection: &mut dyn FeedConnection,
        from: Option<&Cursor>,
        clock: &dyn Clock,
    ) -> Result<Vec<u8>, Failure> {
        let too_long = || Failure::new(FailureKind::Misconfigured, "withdrawals are longer than one answer may be");
        let (mut all, mut bytes) = (Vec::new(), ENVELOPE);
        // How many of them there are up to the last cursor, from which another answer may go on.
        let mut reached: Option<(usize, Cursor)> = None;
        loop {
            let batch = connection.next(clock).await?;
            bytes += batch.withdrawals.iter().map(|withdrawal| withdrawal.to_json().len() + 1).sum::<usize>();
            if bytes > self.max_body_bytes {
                let (count, cursor) = reached.ok_or_else(too_long)?;
                all.truncate(count);
                return Ok(written(RevocationDocument::new(all).with_cursor(cursor).with_more()));
            }
            all.extend(batch.withdrawals);
            if batch.as_of.is_some() {
                let document = RevocationDocument::new(all);
                return Ok(written(match batch.cursor {
                    Some(cursor) => document.with_cursor(cursor),
                    None => document,
                }));
            }
            // More is promised only where something came, and the place has moved: else a follower would go round in circles.
            if let Some(cursor) = batch.cursor.filter(|cursor| !all.is_empty() && Some(cursor) != from) {
                reached = Some((all.len(), cursor));
            }
        }
    }
}

fn written(document: RevocationDocument) -> Vec<u8> {
    document.to_json().into_bytes()
}

fn refusal(status: u16) -> HttpResponse {
    let mut headers = headers(&[]);
    if status == 503 {
        headers.push(("retry-after".to_owned(), RETRY_AFTER.as_secs().to_string()));
    }
    HttpResponse { status, headers, body: Vec::new() }
}

/// A cache would make what was withdrawn late.
fn headers(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let always = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")];
    always.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const DEFAULT_MAX_BODY_BYTES: usize = 4 << 20;
const LONGEST_QUERY: usize = 4096;
/// Room for what stands around the withdrawals, the cursor included.
const ENVELOPE: usize = 1024;
const RETRY_AFTER: Duration = Duration::from_secs(1);
