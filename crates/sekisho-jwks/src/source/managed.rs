//! Runs the state machine on tokio: who loads, who keeps fresh, and when both end.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Clock, UnixSeconds};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::cache::{Cache, Loaded, Permit};
use super::flight::Flight;
use super::load::{Load, LoadError};
use super::policy::Policy;
use super::told::causes;
use crate::{KeyHealth, KeyLookup, KeyQuery, KeySource};

/// Bounds how long the background sleeps, so that a clock that was set, or a machine that slept, is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Is a source that loads its keys, and keeps them fresh while a runtime is there.
///
/// Made inside a tokio runtime it begins to load at once; otherwise when it is first asked inside one. Its tasks end when it is dropped.
pub(super) struct Managed {
    inner: Arc<Inner>,
    /// Dropped with the source, which ends the tasks that hold the other side.
    alive: watch::Sender<()>,
}

struct Inner {
    cache: Arc<Cache>,
    loader: Arc<dyn Load>,
    clock: Arc<dyn Clock>,
    is_kept_fresh: AtomicBool,
    /// Tells the background task that an attempt ended, so that it sleeps no longer than its outcome allows.
    ended: Arc<Notify>,
}

impl Managed {
    pub(super) fn new(cache: Arc<Cache>, loader: Arc<dyn Load>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (is_kept_fresh, ended) = (AtomicBool::new(false), Arc::new(Notify::new()));
        let inner = Arc::new(Inner { cache, loader, clock, is_kept_fresh, ended });
        let source = Arc::new(Self { inner, alive: watch::Sender::new(()) });
        source.keep_fresh();
        source
    }

    /// Starts the background task, unless it runs or there is no runtime.
    fn keep_fresh(&self) {
        if self.inner.is_kept_fresh.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.inner.is_kept_fresh.swap(true, Ordering::AcqRel) {
            let task = KeepFresh(Arc::downgrade(&self.inner));
            drop(runtime.spawn(until_dropped(self.alive.subscribe(), task.run())));
        }
    }

    fn refresh_if_due(&self, now: UnixSeconds) {
        if !self.inner.cache.is_due(now) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if let Some(permit) = self.inner.cache.begin_if_due(now) {
            self.spawn(&runtime, permit);
        }
    }

    async fn start(&self, permit: Permit) {
        match Handle::try_current() {
            // In a task of its own, so that a caller who goes away does not break off what others wait for.
            Ok(runtime) => self.spawn(&runtime, permit),
            Err(_) => self.inner.attempt(permit).await,
        }
    }

    fn spawn(&self, runtime: &Handle, permit: Permit) {
        drop(runtime.spawn(until_dropped(self.alive.subscribe(), self.inner.attempt(permit))));
    }
}

#[async_trait]
impl KeySource for Managed {
    fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.keep_fresh();
        let answer = self.inner.cache.find(query, now);
        // Whoever needs a fetch goes and gets it; a refresh begun here would be one too many.
        if !matches!(answer, KeyLookup::FetchNeeded) {
            self.refresh_if_due(now);
        }
        answer
    }

    async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.keep_fresh();
        let start = |permit| self.start(permit);
        self.inner.cache.fetch(query, now, start, |flight| self.inner.wait(flight)).await
    }

    async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.keep_fresh();
        let start = |permit| self.start(permit);
        self.inner.cache.fetch_anew(query, now, start, |flight| self.inner.wait(flight)).await
    }

    fn health(&self, now: UnixSeconds) -> KeyHealth {
        // A service that is not ready gets no requests: the probe itself must bring the keys.
        self.keep_fresh();
        self.refresh_if_due(now);
        self.inner.cache.health(now)
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        self.inner.cache.close();
    }
}

impl fmt::Debug for Managed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySource").field("origin", &self.inner.loader.origin()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Makes an attempt that holds no source. When it ends, however it ends, the background task looks anew at what is due.
    fn attempt(&self, permit: Permit) -> impl Future<Output = ()> + use<> {
        let (loader, budget, ended) =
            (Arc::clone(&self.loader), self.cache.policy().budget, Ended(Arc::clone(&self.ended)));
        async move {
            let _ended = ended;
            attempt(permit, loader, budget).await;
        }
    }

    /// Waits for an attempt, but no longer than until it is lost.
    async fn wait(&self, flight: Flight) {
        match Handle::try_current() {
            Ok(_) => drop(tokio::time::timeout(self.cache.policy().patience(), flight).await),
            Err(_) => flight.await,
        }
    }
}

struct Ended(Arc<Notify>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Is the background task; it holds nothing while it sleeps.
struct KeepFresh(Weak<Inner>);

impl KeepFresh {
    async fn run(self) {
        while let Some(inner) = self.0.upgrade() {
            let now = inner.clock.now();
            if let Some(permit) = inner.cache.begin_if_due(now) {
                let attempt = inner.attempt(permit);
                drop(inner);
                attempt.await;
                continue;
            }
            match inner.cache.time_until_due(now) {
                Err(running) => {
                    inner.wait(running).await;
                }
                Ok(wait) => {
                    let ended = Arc::clone(&inner.ended);
                    drop(inner);
                    let spread = Duration::from_millis(random() % 250);
                    tokio::select! {
                        () = tokio::time::sleep(wait.clamp(Duration::from_secs(1), LONGEST_SLEEP) + spread) => {}
                        () = ended.notified() => {}
                    }
                }
            }
        }
    }
}

impl Drop for KeepFresh {
    fn drop(&mut self) {
        // Its runtime ended: the next one that asks starts it anew.
        if let Some(inner) = self.0.upgrade() {
            inner.is_kept_fresh.store(false, Ordering::Release);
        }
    }
}

async fn until_dropped(mut alive: watch::Receiver<()>, task: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        _ = alive.changed() => {}
        () = task => {}
    }
}

/// Loads once and tells the state machine what came of it.
async fn attempt(permit: Permit, loader: Arc<dyn Load>, budget: Duration) {
    let load = loader.load(permit.tag());
    let result = match Handle::try_current() {
        Ok(_) => tokio::time::timeout(budget, load).await.unwrap_or(Err(LoadError::Timeout)),
        // Without tokio the HTTP client's own limit has to do.
        Err(_) => load.await,
    };
    let origin = loader.origin();
    let admitted = result.and_then(|loaded| {
        let offered = loaded.len();
        let admitted = permit.admit(loaded)?;
        if admitted.len() < offered {
            tracing::warn!(origin, "keys of the set are left out: their private halves were published before");
        }
        Ok(admitted)
    });
    match admitted {
        Ok(loaded) => {
            match &loaded {
                Loaded::Keys { keys, ttl, .. } => tracing::debug!(origin, keys = keys.len(), ?ttl, "keys loaded"),
                Loaded::Unchanged { ttl } => tracing::debug!(origin, ?ttl, "keys are unchanged"),
            }
            if permit.succeed(loaded, random()) {
                tracing::info!(origin, "keys can be loaded again");
            }
        }
        Err(error) => {
            let (is_transient, retry_after) = (error.is_transient(), error.retry_after());
            let cause = causes(&error);
            if error.taints_all() {
                permit.forget_all();
            } else {
                permit.forget(error.leaked());
            }
            let failure = error.into_failure();
            // Told once for each outage, not with each attempt.
            match permit.fail(failure, is_transient, retry_after) {
                1 => tracing::warn!(origin, cause, "keys cannot be loaded; those at hand are used within their bound"),
                failures => tracing::debug!(origin, cause, failures, "keys still cannot be loaded"),
            }
        }
    }
}

/// Returns a random number that is good enough to spread requests.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Makes a source of a loader.
pub(super) fn managed(policy: Policy, loader: Arc<dyn Load>, clock: Arc<dyn Clock>) -> Arc<dyn KeySource> {
    Managed::new(Cache::new(policy), loader, clock)
}
