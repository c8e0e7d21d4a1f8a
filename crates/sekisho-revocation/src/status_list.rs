use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use sekisho_core::json::JsonValue;
use sekisho_core::{
    Clock, ConfigError, Failure, FailureKind, Principal, Refusal, Reject, RevocationCheck, UnixSeconds,
};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest};
use sekisho_jwt::DocumentVerifier;
use sekisho_jwt::jwks::KeySource;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::{Following, address, follow};

mod list;
mod shelf;

use list::{ListError, Rules, StatusList};
use shelf::{Held, Shelf};

/// How many lists are loaded at once.
const AT_ONCE: usize = 4;
/// Bounds how long the background sleeps, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Asks the status lists of one issuer, by [Token Status
/// List](https://datatracker.ietf.org/doc/draft-ietf-oauth-status-list/).
///
/// A token names its place by `status.status_list`: an index and the address of a list. The address only selects
/// among the lists that were [configured](StatusListBuilder::with_list): none is ever fetched because a token says so
/// from anywhere else. Lists are signed JWTs of the type `statuslist+jwt`, fetched in the background
/// ([`follow`](Self::follow)) and kept in memory; a look-up allocates nothing.
///
/// | the principal | answer |
/// |---|---|
/// | is of another issuer | not withdrawn |
/// | has no claim `status` | not withdrawn, unless [required](StatusListBuilder::requiring_status) |
/// | has one that is not understood, or an index beyond its list | withdrawn |
/// | names a list that is not configured | [`Failure`], 500 |
/// | names a list that is not in memory, or too old | [`Failure`], 503 |
/// | status 0 (VALID) | not withdrawn |
/// | status 1 (INVALID), 2 (SUSPENDED) or any other | withdrawn |
///
/// A list is used for its `ttl`, until its `exp` (without one, while it is not older than a [configured
/// age](StatusListBuilder::with_max_age)), and for the [configured
/// time](StatusListBuilder::with_max_lifetime), whichever ends first; that is how late a withdrawal can take effect.
/// It is fetched anew before that. When that fails, it is used until its end and no longer.
///
/// # Examples
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{sync::Arc, time::Duration};
/// use sekisho_core::SystemClock;
/// use sekisho_http::ReqwestClient;
/// use sekisho_jwt::jwks::{Backend, Discovery, IntoKeySource, SourceContext};
/// use sekisho_revocation::StatusListCheck;
///
/// let issuer = "https://id.example";
/// let keys = Discovery::new(issuer).into_key_source(&SourceContext::new(Backend::default()))?;
/// let client = Arc::new(ReqwestClient::new(Duration::from_secs(1))?);
/// let lists = StatusListCheck::builder(issuer, keys, client).with_prefix("https://id.example/status/").build()?;
/// let following = lists.follow(Arc::new(SystemClock))?; // kept for as long as the service runs
/// // `JwtBuilder::with_revocation(Arc::new(lists))`
/// # let _ = following; Ok(()) }
/// ```
#[derive(Clone)]
pub struct StatusListCheck(Arc<Inner>);

struct Inner {
    issuer: Box<str>,
    prefixes: Vec<String>,
    requires_status: bool,
    rules: Rules,
    verifier: DocumentVerifier,
    client: Arc<dyn HttpClient>,
    limits: HttpLimits,
    shelf: Shelf,
}

/// Tells how the lists of a [`StatusListCheck`] are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusListHealth {
    /// How many lists are kept or wanted.
    pub lists: usize,
    /// How many of them can be used.
    pub current: usize,
    /// Bytes of memory behind them.
    pub heap_bytes: usize,
}

/// Configures a [`StatusListCheck`].
#[must_use]
pub struct StatusListBuilder {
    issuer: String,
    keys: Arc<dyn KeySource>,
    client: Arc<dyn HttpClient>,
    lists: Vec<String>,
    prefixes: Vec<String>,
    requires_status: bool,
    max_lists: usize,
    rules: Rules,
    timeout: Duration,
}

impl StatusListBuilder {
    /// Allows the list at this address, as tokens name it, byte for byte. It is loaded from the start.
    pub fn with_list(mut self, uri: impl Into<String>) -> Self {
        self.lists.push(uri.into());
        self
    }

    /// Allows all lists below this address, which must end in a slash. They are loaded when a verified token first
    /// names them; that request gets 503 with `Retry-After: 1`.
    ///
    /// What follows must be plain path: letters, digits, `-._~` and slashes, no empty or dotted segments.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// Refuses principals of this issuer without the claim `status`. Default: they pass.
    pub const fn requiring_status(mut self) -> Self {
        self.requires_status = true;
        self
    }

    /// Sets how many lists are kept at most. Default 64.
    ///
    /// One more pushes out the list below a prefix that was not asked for longest, if that is ten minutes or more;
    /// else its tokens get 503.
    pub const fn with_max_lists(mut self, lists: usize) -> Self {
        self.max_lists = lists;
        self
    }

    /// Sets how long a list may be once decompressed, in bytes. Default 2,000,000: sixteen million tokens with one
    /// bit each.
    pub const fn with_max_list_bytes(mut self, bytes: usize) -> Self {
        self.rules.max_bytes = bytes;
        self
    }

    /// Sets for how long a list is used that states no `ttl`, default 5 min.
    pub const fn with_default_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.default_lifetime = lifetime;
        self
    }

    /// Sets for how long a list is used at most, whatever it states, default 1 h; at least 10 s, which is also the
    /// least that a `ttl` can ask for.
    pub const fn with_max_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.max_lifetime = lifetime;
        self
    }

    /// Sets how old a list without `exp` may be, by its `iat`. Default 24 h.
    ///
    /// A publisher that states no `exp` must sign its lists anew more often than that. Without a bound, whoever answers in
    /// its place could keep an old list in use for ever.
    pub const fn with_max_age(mut self, age: Duration) -> Self {
        self.rules.max_age = age;
        self
    }

    /// Sets how long fetching a list may take, default 5 s.
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Builds the check. It asks nobody yet.
    ///
    /// # Errors
    /// [`ConfigError`] when no list is allowed, or more than are kept; for an address that is neither `https` nor
    /// `http` to this machine, or has a user name or a fragment; for a prefix that has a query or does not end in a
    /// slash; for bounds of zero, or a longest lifetime below 10 s.
    pub fn build(self) -> Result<StatusListCheck, ConfigError> {
        let Self { issuer, keys, client, lists, prefixes, requires_status, max_lists, rules, timeout } = self;
        if lists.is_empty() && prefixes.is_empty() {
            return Err(ConfigError::new("no status list is allowed: name lists, or a prefix of their addresses"));
        }
        if lists.len() > max_lists || max_lists == 0 {
            return Err(ConfigError::new("more status lists are named than may be kept"));
        }
        for uri in &lists {
            address::check(uri)?;
        }
        for prefix in &prefixes {
            let url = address::check(prefix)?;
            if !prefix.ends_with('/') || url.query().is_some() {
                return Err(ConfigError::new("a prefix of status lists must end in a slash and have no query"));
            }
        }
        let is_zero = rules.max_bytes == 0 || timeout.is_zero() || rules.max_age.is_zero();
        if is_zero || rules.max_lifetime < Duration::from_secs(10) {
            return Err(ConfigError::new("a bound of the status lists is zero, or their longest lifetime below 10 s"));
        }
        // Twice base64url, and room for the other claims.
        let longest = rules.max_bytes.saturating_mul(16) / 9 + 64 * 1024;
        let limits = HttpLimits { total_timeout: timeout, max_body_bytes: longest, ..HttpLimits::default() };
        Ok(StatusListCheck(Arc::new(Inner {
            issuer: issuer.into(),
            prefixes,
            requires_status,
            rules,
            verifier: DocumentVerifier::new(keys, "statuslist+jwt").with_max_bytes(longest),
            client,
            limits,
            shelf: Shelf::new(max_lists, lists),
        })))
    }
}

impl fmt::Debug for StatusListBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusListBuilder").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl StatusListCheck {
    /// Starts the configuration of a check for the tokens of one issuer.
    ///
    /// - `issuer`: as it stands in `iss` of the tokens, byte for byte.
    /// - `keys`: those that the lists are signed with, the issuer's own or those of whoever keeps its lists.
    pub fn builder(
        issuer: impl Into<String>,
        keys: Arc<dyn KeySource>,
        client: Arc<dyn HttpClient>,
    ) -> StatusListBuilder {
        let rules = Rules {
            max_bytes: 2_000_000,
            default_lifetime: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(3600),
            max_age: Duration::from_secs(86_400),
        };
        StatusListBuilder {
            issuer: issuer.into(),
            keys,
            client,
            lists: Vec::new(),
            prefixes: Vec::new(),
            requires_status: false,
            max_lists: 64,
            rules,
            timeout: Duration::from_secs(5),
        }
    }

    /// Loads all lists that are due, and waits for them.
    ///
    /// # Errors
    /// [`Failure`] when a list cannot be used afterwards, with the reason. The others can.
    pub async fn refresh(&self, now: UnixSeconds) -> Result<(), Failure> {
        let due = self.0.shelf.take_due(now);
        stream::iter(due).for_each_concurrent(AT_ONCE, |held| self.0.load(held, now)).await;
        self.0.shelf.first_failure(now).map_or(Ok(()), Err)
    }

    /// Keeps the lists up to date, in a task of the current tokio runtime, until what is returned is dropped.
    ///
    /// - `clock`: of the same kind as the one that tells the checks the time.
    ///
    /// # Errors
    /// [`ConfigError`] outside of a tokio runtime.
    pub fn follow(&self, clock: Arc<dyn Clock>) -> Result<Following, ConfigError> {
        let runtime = Handle::try_current()
            .map_err(|error| ConfigError::new("following status lists needs a tokio runtime").with_source(error))?;
        let (told, synchronized) = watch::channel(false);
        let this = self.clone();
        let task = runtime.spawn(async move {
            loop {
                if this.refresh(clock.now()).await.is_ok() {
                    told.send_replace(true);
                }
                let wait = this.0.shelf.time_until_due(clock.now()).clamp(RETRY_AFTER, LONGEST_SLEEP);
                tokio::select! {
                    () = sleep(wait) => {}
                    () = this.0.shelf.wanted() => {}
                }
            }
        });
        Ok(Following::new(task, synchronized))
    }

    /// Tells how the lists are doing.
    #[must_use]
    pub fn health(&self, now: UnixSeconds) -> StatusListHealth {
        self.0.shelf.health(now)
    }
}

impl RevocationCheck for StatusListCheck {
    fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> Result<bool, Failure> {
        let inner = &*self.0;
        if principal.issuer() != &*inner.issuer {
            return Ok(false);
        }
        let Some(status) = principal.claims().get("status") else { return Ok(inner.requires_status) };
        let list = status.member("status_list");
        let index = list.and_then(|list| list.member("idx")).and_then(whole_number);
        let uri = list.and_then(|list| list.member("uri")).and_then(JsonValue::as_str);
        let (Some(index), Some(uri)) = (index, uri) else { return Ok(true) };
        match inner.shelf.status(&uri, index, now) {
            Some(Ok(status)) => return Ok(status != Some(0)),
            Some(Err(())) => {}
            None if !inner.is_below_prefix(&uri) => {
                return Err(Failure::new(
                    FailureKind::Misconfigured,
                    "a token names a status list that is not configured",
                ));
            }
            None if !inner.shelf.want(&uri, now) => {
                return Err(Failure::unavailable("tokens name more status lists than may be kept"));
            }
            None => {}
        }
        Err(Failure::unavailable("the status list of a token is not at hand").with_retry_after(RETRY_AFTER))
    }
}

impl fmt::Debug for StatusListCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusListCheck")
            .field("issuer", &self.0.issuer)
            .field("lists", &self.0.shelf.len())
            .finish_non_exhaustive()
    }
}

/// Says why a list was not loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("the server cannot be asked")]
    Http(#[from] HttpError),
    #[error("the server answered with status {0}")]
    Status(u16),
    #[error("the answer is not text")]
    Text,
    #[error("the signed list is refused")]
    Refused(#[source] Reject),
    #[error("the signed list cannot be verified")]
    Failed(#[source] Failure),
    #[error("the list cannot be used")]
    List(#[from] ListError),
}

impl Inner {
    /// Tells whether a list that no configuration names one by one may be fetched.
    fn is_below_prefix(&self, uri: &str) -> bool {
        const LONGEST: usize = 512;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
        let rest = self.prefixes.iter().find_map(|prefix| uri.strip_prefix(&**prefix));
        uri.len() <= LONGEST && rest.is_some_and(|rest| rest.split('/').all(is_segment))
    }

    async fn load(&self, held: Held<'_>, now: UnixSeconds) {
        let origin = address::shown(held.uri());
        match self.fetch(held.uri(), held.list(), now).await {
            Ok(list) => {
                if held.succeed(list, follow::random()) {
                    tracing::info!(origin, "the status list can be loaded again");
                }
            }
            Err(error) => {
                let failure = Failure::unavailable("a status list cannot be loaded").with_source(error);
                let cause = follow::causes(&failure);
                // Told once for each outage, not with each attempt.
                match held.fail(failure, now) {
                    1 => {
                        tracing::warn!(origin, cause, "a status list cannot be loaded; one at hand is used to its end")
                    }
                    failures => tracing::debug!(origin, cause, failures, "a status list still cannot be loaded"),
                }
            }
        }
    }

    async fn fetch(&self, uri: &str, held: Option<&StatusList>, now: UnixSeconds) -> Result<StatusList, LoadError> {
        let request = HttpRequest::get(uri).with_header("accept", "application/statuslist+jwt");
        // A cache between may hold a list from before a withdrawal.
        let request = request.with_header("cache-control", "no-cache");
        let response = self.client.send(request, self.limits).await?;
        if response.status != 200 {
            return Err(LoadError::Status(response.status));
        }
        let token = std::str::from_utf8(&response.body).map_err(|_| LoadError::Text)?;
        let claims = match self.verifier.verify(token, now).await {
            Ok(claims) => claims,
            Err(Refusal::Reject(reject)) => return Err(LoadError::Refused(reject)),
            Err(Refusal::Failure(failure)) => return Err(LoadError::Failed(failure)),
        };
        Ok(StatusList::read(claims.get(), &self.issuer, uri, held, self.rules, now)?)
    }
}

fn whole_number(value: JsonValue<'_>) -> Option<u64> {
    value.as_json().parse().ok()
}
