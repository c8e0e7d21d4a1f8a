use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use sekisho_core::{
    AccessRequest, Authorize, Clock, ConfigError, Decision, EvaluationsSemantic, Explanation, Failure, Outline,
    SystemClock, UnixSeconds,
};

use super::{Loaded, PolicyFiles, PolicySource};

type Make<P> = dyn Fn(&PolicyFiles) -> Result<P, ConfigError> + Send + Sync;
type IsNewer = dyn Fn(&str, Option<&str>) -> bool + Send + Sync;

/// Decides by the current set of policies of a source. A clone costs one counter; all clones share the set.
pub struct Live<P>(Arc<Inner<P>>);

struct Inner<P> {
    current: ArcSwapOption<P>,
    /// When the source last said that this set is current, in seconds.
    confirmed_at: AtomicU64,
    max_age: Option<Duration>,
    source: Box<dyn PolicySource>,
    make: Arc<Make<P>>,
    is_newer: Option<Arc<IsNewer>>,
    clock: Arc<dyn Clock>,
    interval: (Duration, Duration),
    /// Held while a set is loaded, so that an older one never replaces a newer one.
    loading: tokio::sync::Mutex<Known>,
    status: Mutex<SourceStatus>,
}

#[derive(Default)]
struct Known {
    files: Option<PolicyFiles>,
    tag: Option<String>,
}

/// Tells how a source is doing, for a health report.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SourceStatus {
    /// The revision in use, or a digest of the files if they have none; `None` while there are no policies.
    pub revision: Option<Arc<str>>,
    /// When the source last said that the set in use is current.
    pub confirmed_at: Option<UnixSeconds>,
    /// How many loads have failed since the start.
    pub failures: u64,
    /// How many loads have failed since the last good one.
    pub failures_in_a_row: u32,
    /// Why the last load failed, with its causes; `None` if it did not.
    pub error: Option<Arc<str>>,
}

impl SourceStatus {
    /// Tells whether there are policies to decide by.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.revision.is_some()
    }
}

impl<P: Authorize + 'static> Live<P> {
    /// Follows a source; `make` makes policies of its files, on a thread for blocking work. A panic of either is a failed load.
    pub fn builder(
        source: impl PolicySource + 'static,
        make: impl Fn(&PolicyFiles) -> Result<P, ConfigError> + Send + Sync + 'static,
    ) -> LiveBuilder<P> {
        LiveBuilder {
            source: Box::new(source),
            make: Arc::new(make),
            is_newer: None,
            clock: Arc::new(SystemClock),
            interval: (Duration::from_secs(60), Duration::from_secs(120)),
            max_age: None,
        }
    }

    /// Returns the policies in use.
    #[must_use]
    pub fn current(&self) -> Option<Arc<P>> {
        self.0.current.load_full()
    }

    /// Tells how the source is doing.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        self.0.status().clone()
    }

    /// Loads now, and tells whether there is a new set. Loads run one after the other. If this is dropped, no set is swapped.
    ///
    /// # Errors
    /// [`ConfigError`] when there is no good set; the last good one stays.
    pub async fn reload(&self) -> Result<bool, ConfigError> {
        self.0.reload().await
    }

    /// Loads again and again, each time after a random time between the bounds of the interval, and after a failure from 1 s on,
    /// doubling up to the same time. Ends when nobody holds the policies any more. Spawn it.
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<P> {
        let inner = Arc::downgrade(&self.0);
        async move {
            loop {
                let Some(pause) = inner.upgrade().map(|inner| inner.pause()) else { return };
                tokio::time::sleep(pause).await;
                let Some(inner) = inner.upgrade() else { return };
                // The outcome is told by `reload` itself.
                drop(inner.reload().await);
            }
        }
    }

    fn usable(&self, now: UnixSeconds) -> Result<Arc<P>, Failure> {
        let policies = self.current().ok_or_else(|| Failure::unavailable("no policies are loaded"))?;
        let confirmed = UnixSeconds::new(self.0.confirmed_at.load(Ordering::Acquire));
        match self.0.max_age {
            Some(most) if now.since(confirmed) > most => Err(Failure::unavailable("the policies are too old")),
            _ => Ok(policies),
        }
    }
}

impl<P: Authorize + 'static> Inner<P> {
    async fn reload(&self) -> Result<bool, ConfigError> {
        let mut known = self.loading.lock().await;
        let now = self.clock.now();
        let outcome = self.load(&mut known, now).await;
        drop(known);
        match &outcome {
            Ok(_) => {
                self.confirmed_at.store(now.as_secs(), Ordering::Release);
                let mut status = self.status();
                (status.confirmed_at, status.failures_in_a_row, status.error) = (Some(now), 0, None);
            }
            Err(error) => {
                let cause = causes(error);
                let mut status = self.status();
                status.failures = status.failures.saturating_add(1);
                status.failures_in_a_row = status.failures_in_a_row.saturating_add(1);
                status.error = Some(cause.as_str().into());
                let is_first = status.failures_in_a_row == 1;
                drop(status);
                if is_first {
                    tracing::warn!(source = ?self.source, cause, "policies cannot be loaded; the last good ones stay");
                } else {
                    tracing::debug!(source = ?self.source, cause, "policies still cannot be loaded");
                }
            }
        }
        outcome
    }

    async fn load(&self, known: &mut Known, now: UnixSeconds) -> Result<bool, ConfigError> {
        let loading = AssertUnwindSafe(self.source.load(known.tag.as_deref(), now)).catch_unwind();
        let loaded = loading.await.map_err(|_| panicked("the source of the policies"))??;
        let (files, tag) = match loaded {
            Loaded::Unchanged if known.files.is_some() => return Ok(false),
            Loaded::Unchanged => {
                return Err(ConfigError::new("the source says that nothing changed, but brought nothing yet"));
            }
            Loaded::Files { files, tag } => (files, tag),
        };
        if known.files.as_ref() == Some(&files) {
            known.tag = tag;
            return Ok(false);
        }
        // Nothing is remembered of a set that is no good, so that it is asked for again.
        let policies = self.make(files.clone(), known.files.as_ref()).await?;
        let revision = files.revision_or_digest();
        self.current.store(Some(Arc::new(policies)));
        self.status().revision = Some(Arc::clone(&revision));
        (known.files, known.tag) = (Some(files), tag);
        tracing::info!(source = ?self.source, %revision, "policies are in use");
        Ok(true)
    }

    /// Makes policies where that holds up nobody, a large set takes seconds; but of nothing older than what is in use.
    async fn make(&self, files: PolicyFiles, in_use: Option<&PolicyFiles>) -> Result<P, ConfigError> {
        let (make, is_newer) = (Arc::clone(&self.make), self.is_newer.clone());
        let in_use = in_use.and_then(PolicyFiles::revision).map(ToOwned::to_owned);
        let make = move || {
            let made = catch_unwind(AssertUnwindSafe(|| {
                if let Some(is_newer) = is_newer {
                    check_order(&*is_newer, &files, in_use.as_deref())?;
                }
                make(&files)
            }));
            made.unwrap_or_else(|_| Err(panicked("what makes policies of the files")))
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime
                .spawn_blocking(make)
                .await
                .map_err(|error| ConfigError::new("making policies of the files broke off").with_source(error))?,
            Err(_) => make(),
        }
    }

    fn status(&self) -> MutexGuard<'_, SourceStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self) -> Duration {
        let (least, most) = self.interval;
        let spread = u32::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u32::MAX);
        let usual = least + Duration::from_millis(random_below(spread).into());
        let status = self.status();
        match status.failures_in_a_row {
            0 if status.is_ready() => usual,
            failures => usual.min(Duration::from_secs(1 << failures.saturating_sub(1).min(16))),
        }
    }
}

fn check_order(is_newer: &IsNewer, files: &PolicyFiles, in_use: Option<&str>) -> Result<(), ConfigError> {
    let revision = files.revision().ok_or_else(|| ConfigError::new("the policies have no revision"))?;
    if is_newer(revision, in_use) {
        return Ok(());
    }
    let than = in_use.unwrap_or("what was there before");
    Err(ConfigError::new(format!("the revision {revision:?} of the policies is not newer than {than:?}")))
}

/// A panic would end the task that loads, and the policies would stay as they are for ever. What it says is not passed on.
fn panicked(what: &str) -> ConfigError {
    ConfigError::new(format!("{what} panicked"))
}

fn random_below(bound: u32) -> u32 {
    let random = getrandom::u32().unwrap_or_default();
    random.checked_rem(bound).unwrap_or_default()
}

/// Writes an error with its causes on one line, bounded.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    for _ in 0..8 {
        let Some(cause) = next else { break };
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text.chars().take(1024).flat_map(char::escape_debug).collect()
}

/// Puts a source to use.
#[must_use]
pub struct LiveBuilder<P> {
    source: Box<dyn PolicySource>,
    make: Arc<Make<P>>,
    is_newer: Option<Arc<IsNewer>>,
    clock: Arc<dyn Clock>,
    interval: (Duration, Duration),
    max_age: Option<Duration>,
}

impl<P: Authorize + 'static> LiveBuilder<P> {
    /// Sets between which bounds the time between two loads is chosen. Default 60 to 120 s, as OPA; at least 1 s.
    pub fn with_interval(mut self, least: Duration, most: Duration) -> Self {
        let least = least.max(Duration::from_secs(1));
        self.interval = (least, most.max(least));
        self
    }

    /// Refuses to decide by policies that their source has not confirmed for so long. By default there is no bound, as in OPA: an
    /// outage of the source changes nothing but [`SourceStatus`].
    pub const fn with_max_age(mut self, most: Duration) -> Self {
        self.max_age = Some(most);
        self
    }

    /// Takes a set only if its revision is newer, so that nobody brings an old one again that was signed well in its time.
    /// Default: whatever the source brings.
    ///
    /// - `is_newer`: is given the revision of the set, and of the one in use. At the start there is none in use, and only what
    ///   the program remembers of before can tell.
    ///
    /// What is not newer, or has no revision, is a failed load: the set in use stays. Of an equal revision with other files too.
    ///
    /// # Examples
    /// ```no_run
    /// # #[cfg(feature = "rego")] {
    /// # use sekisho_policy::{rego::RegoPolicies, source::{FolderSource, Live}};
    /// # let (source, last_seen) = (FolderSource::new("/etc/shop/policies"), 41);
    /// # let make = |files: &_| RegoPolicies::builder("data.shop.decision").with_files(files).build();
    /// let number = |revision: &str| revision.parse::<u64>().ok();
    /// let live = Live::builder(source, make).with_newer_revisions(move |new, in_use| {
    ///     let in_use = in_use.map_or(Some(last_seen), number);
    ///     number(new).zip(in_use).is_some_and(|(new, in_use)| new > in_use)
    /// });
    /// # }
    /// ```
    pub fn with_newer_revisions(
        mut self,
        is_newer: impl Fn(&str, Option<&str>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_newer = Some(Arc::new(is_newer));
        self
    }

    /// Sets the clock, of the same kind as the one that gives requests their time.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Loads the first set.
    ///
    /// # Errors
    /// [`ConfigError`] when it is no good.
    pub async fn build(self) -> Result<Live<P>, ConfigError> {
        let live = self.build_empty();
        live.reload().await?;
        Ok(live)
    }

    /// Begins without policies: every decision is a failure until [`Live::run`] or [`Live::reload`] has loaded some.
    pub fn build_empty(self) -> Live<P> {
        let Self { source, make, is_newer, clock, interval, max_age } = self;
        Live(Arc::new(Inner {
            current: ArcSwapOption::empty(),
            confirmed_at: AtomicU64::new(0),
            max_age,
            source,
            make,
            is_newer,
            clock,
            interval,
            loading: tokio::sync::Mutex::default(),
            status: Mutex::default(),
        }))
    }
}

#[async_trait]
impl<P: Authorize + 'static> Authorize for Live<P> {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        match self.usable(request.now()) {
            Ok(policies) => policies.decide_now(request),
            Err(failure) => Some(Err(failure)),
        }
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        self.usable(request.now())?.decide(request).await
    }

    /// Decides all of them by the same set.
    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        let latest = requests.iter().map(AccessRequest::now).max().unwrap_or_default();
        match self.usable(latest) {
            Ok(policies) => policies.decide_all(requests, semantic).await,
            Err(failure) => {
                let count = match semantic {
                    EvaluationsSemantic::DenyOnFirstDeny => requests.len().min(1),
                    EvaluationsSemantic::ExecuteAll | EvaluationsSemantic::PermitOnFirstPermit => requests.len(),
                };
                vec![Err(failure); count]
            }
        }
    }

    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        match self.usable(request.now()) {
            Ok(policies) => policies.explain(request).await,
            Err(failure) => Explanation::leaf("Live", Err(failure)),
        }
    }

    fn outline(&self) -> Outline {
        Outline::branch("Live", self.current().map(|policies| policies.outline()))
    }
}

impl<P> Clone for Live<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> fmt::Debug for Live<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("source", &self.0.source).finish_non_exhaustive()
    }
}

impl<P> fmt::Debug for LiveBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveBuilder").field("source", &self.source).finish_non_exhaustive()
    }
}
