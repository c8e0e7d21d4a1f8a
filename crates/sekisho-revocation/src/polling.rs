use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Clock, ConfigError, Failure, FailureKind, Secret};
use sekisho_http::{HttpClient, HttpLimits, HttpRequest, HttpResponse};
use url::Url;

use crate::{Cursor, DocumentError, FeedBatch, FeedConnection, RevocationDocument, RevocationFeed, address, follow};

/// Bounds a validator that is sent back, in bytes.
const LONGEST_ETAG: usize = 256;
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// Asks an address for withdrawals, every ten seconds unless told otherwise.
///
/// `GET` of the address, with the query parameter `cursor` after the first answer that had one; the answer is a
/// [`RevocationDocument`]. 304 for an `ETag` that was sent along means that nothing changed, 410 that the cursor is
/// not known any more. Every other status, redirects too, is a failure.
///
/// A withdrawal takes effect within 1.1 times the interval and the time of two exchanges: one that was on its way when
/// it was published, and the next. Caches are asked not to answer (`Cache-Control: no-cache`); what one does answer is as
/// old as its `Age` says, and so is the list then.
///
/// # Examples
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{sync::Arc, time::Duration};
/// use sekisho_http::ReqwestClient;
/// use sekisho_revocation::{PollingFeed, RevocationList};
///
/// let client = Arc::new(ReqwestClient::new(Duration::from_secs(1))?);
/// let feed = PollingFeed::builder("https://id.example/withdrawals", client).build()?;
/// let list = RevocationList::new()?;
/// let following = list.follow(feed).start()?; // kept for as long as the service runs
/// let check = list.check(); // fails closed when the address has not answered for 60 s
/// # let _ = (following, check); Ok(()) }
/// ```
#[derive(Clone)]
pub struct PollingFeed(Arc<Settings>);

struct Settings {
    url: Url,
    origin: String,
    client: Arc<dyn HttpClient>,
    authorization: Option<Secret>,
    interval: Duration,
    limits: HttpLimits,
}

/// Configures a [`PollingFeed`].
#[must_use]
pub struct PollingFeedBuilder {
    url: String,
    client: Arc<dyn HttpClient>,
    authorization: Option<Secret>,
    interval: Duration,
    limits: HttpLimits,
}

impl PollingFeedBuilder {
    /// Sets how long to wait between an answer and the next question; up to a tenth is added at random. Default 10 s;
    /// at least 1 s, at most 1 h, and well below the staleness that the checks allow.
    pub const fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sends this as the header `Authorization`, such as `Bearer …`. Default: none.
    pub fn with_authorization(mut self, value: impl Into<Secret>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// Sets how long an answer may be, in bytes. Default 4 MiB, about 40,000 withdrawals; more come in several answers.
    pub const fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_body_bytes = bytes;
        self
    }

    /// Sets how long an exchange may take, connecting included. Default 5 s, at most 10 min.
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.limits.total_timeout = timeout;
        self
    }

    /// Builds the feed. It asks nobody yet.
    ///
    /// # Errors
    /// [`ConfigError`] for an address that is neither `https` nor `http` to this machine, or holds a user name, a
    /// fragment or a `cursor`; for an authorization that is not visible ASCII and spaces; for an interval, a timeout
    /// or a length out of range.
    pub fn build(self) -> Result<PollingFeed, ConfigError> {
        let Self { url, client, authorization, interval, limits } = self;
        let origin = address::shown(&url);
        let url = address::check(&url)?;
        if url.query_pairs().any(|(name, _)| name == "cursor") {
            return Err(ConfigError::new("the address of a revocation feed holds a cursor already"));
        }
        let is_header = |value: &Secret| {
            let text = value.expose();
            !text.is_empty() && text.iter().all(|byte| matches!(byte, b' '..=b'~'))
        };
        if !authorization.as_ref().is_none_or(is_header) {
            return Err(ConfigError::new("the authorization of a revocation feed is not visible ASCII"));
        }
        if !(Duration::from_secs(1)..=LONGEST_INTERVAL).contains(&interval) {
            return Err(ConfigError::new("the interval of a revocation feed must be between 1 s and 1 h"));
        }
        if limits.total_timeout.is_zero() || limits.total_timeout > LONGEST_TIMEOUT {
            return Err(ConfigError::new("the timeout of a revocation feed must be above zero and at most 10 min"));
        }
        if limits.max_body_bytes == 0 {
            return Err(ConfigError::new("an answer of a revocation feed cannot be without any byte"));
        }
        Ok(PollingFeed(Arc::new(Settings { url, origin, client, authorization, interval, limits })))
    }
}

impl fmt::Debug for PollingFeedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollingFeedBuilder").field("url", &address::shown(&self.url)).finish_non_exhaustive()
    }
}

impl PollingFeed {
    /// Starts the configuration of a feed that asks `url`.
    pub fn builder(url: impl Into<String>, client: Arc<dyn HttpClient>) -> PollingFeedBuilder {
        let limits = HttpLimits { max_body_bytes: 4 << 20, ..HttpLimits::default() };
        PollingFeedBuilder { url: url.into(), client, authorization: None, interval: Duration::from_secs(10), limits }
    }
}

impl fmt::Debug for PollingFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollingFeed")
            .field("url", &self.0.origin)
            .field("interval", &self.0.interval)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RevocationFeed for PollingFeed {
    async fn connect(&self, cursor: Option<&Cursor>) -> Result<Box<dyn FeedConnection>, Failure> {
        let settings = Arc::clone(&self.0);
        Ok(Box::new(Connection { settings, cursor: cursor.cloned(), etag: None, is_current: false }))
    }

    fn patience(&self) -> Duration {
        let Settings { interval, limits, .. } = &*self.0;
        *interval + *interval / 10 + limits.total_timeout * 2 + Duration::from_secs(1)
    }

    fn origin(&self) -> &str {
        &self.0.origin
    }
}

/// Says why an answer is none.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("the address answered with status {0}")]
    Status(u16),
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    #[error("the answer cannot be read")]
    Document(#[from] DocumentError),
    #[error("the answer has an `Age` that is no number of seconds")]
    Age,
    #[error("the answer promises more, and its cursor has not moved")]
    NoProgress,
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        let kind = match error {
            AnswerError::Status(500..) => FailureKind::Unavailable,
            _ => FailureKind::BadGateway,
        };
        Self::new(kind, "the revocation feed answers with something else").with_source(error)
    }
}

struct Connection {
    settings: Arc<Settings>,
    cursor: Option<Cursor>,
    /// Of the last answer for this cursor.
    etag: Option<String>,
    /// All is known, and the next question can wait.
    is_current: bool,
}

impl Connection {
    fn request(&self) -> HttpRequest {
        let mut url = self.settings.url.clone();
        if let Some(cursor) = &self.cursor {
            url.query_pairs_mut().append_pair("cursor", cursor.as_str());
        }
        let mut request = HttpRequest::get(url).with_header("accept", "application/json");
        request = request.with_header("cache-control", "no-cache");
        if let Some(etag) = &self.etag {
            request = request.with_header("if-none-match", etag.clone());
        }
        match self.settings.authorization.as_ref().and_then(Secret::expose_str) {
            Some(value) => request.with_header("authorization", value),
            None => request,
        }
    }

    async fn ask(&self) -> Result<HttpResponse, Failure> {
        let Settings { client, limits, .. } = &*self.settings;
        let sent = client.send(self.request(), *limits).await;
        sent.map_err(|error| Failure::unavailable("the revocation feed does not answer").with_source(error))
    }

    /// Reads a document into a batch that lacks its instant.
    fn read(&mut self, response: HttpResponse) -> Result<FeedBatch, AnswerError> {
        let most = self.settings.limits.max_body_bytes;
        if response.body.len() > most {
            return Err(AnswerError::TooLarge(most));
        }
        let etag = response.header("etag").filter(|etag| is_etag(etag)).map(str::to_owned);
        let (withdrawals, cursor, has_more) = RevocationDocument::parse(response.body)?.into_parts();
        let has_moved = cursor != self.cursor;
        if has_more && !has_moved {
            return Err(AnswerError::NoProgress);
        }
        // The validator is of the answer to another question.
        self.etag = if has_moved { None } else { etag };
        self.cursor = cursor;
        self.is_current = !has_more;
        Ok(FeedBatch::partial(withdrawals).with_cursor(self.cursor.clone()))
    }
}

#[async_trait]
impl FeedConnection for Connection {
    async fn next(&mut self, clock: &dyn Clock) -> Result<FeedBatch, Failure> {
        if self.is_current {
            let tenth = u64::try_from(self.settings.interval.as_millis() / 10).unwrap_or(0);
            let spread = Duration::from_millis(follow::random() % (tenth + 1));
            tokio::time::sleep(self.settings.interval + spread).await;
        }
        let mut as_of = clock.now();
        let mut response = self.ask().await?;
        if response.status == 410 && self.cursor.is_some() {
            (self.cursor, self.etag) = (None, None);
            as_of = clock.now();
            response = self.ask().await?;
        }
        as_of = as_of.saturating_sub(age(&response)?);
        let batch = match response.status {
            200 => self.read(response)?,
            304 if self.etag.is_some() => FeedBatch::partial(Vec::new()).with_cursor(self.cursor.clone()),
            status => return Err(AnswerError::Status(status).into()),
        };
        let FeedBatch { withdrawals, as_of: _, cursor } = batch;
        if self.is_current {
            return Ok(FeedBatch::current(withdrawals, as_of).with_cursor(cursor));
        }
        Ok(FeedBatch::partial(withdrawals))
    }
}

/// Reads how long a cache has kept an answer ([RFC 9111 §5.1](https://www.rfc-editor.org/rfc/rfc9111#section-5.1)).
fn age(response: &HttpResponse) -> Result<Duration, AnswerError> {
    let Some(age) = response.header("age") else { return Ok(Duration::ZERO) };
    let is_number = !age.is_empty() && age.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = age.parse().ok().filter(|_| is_number).ok_or(AnswerError::Age)?;
    Ok(Duration::from_secs(seconds))
}

fn is_etag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let is_quoted = opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"');
    text.len() <= LONGEST_ETAG && is_quoted && opaque.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
}
