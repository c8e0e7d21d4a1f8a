//! What was decided a moment ago.

use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use sekisho_core::{ConfigError, Decision, DecisionSource, Effect, UnixSeconds};
use tokio::time::Instant;

use self::near::Near;
use crate::key::Key;
use crate::per_thread::PerThread;

mod near;

/// Keeps decisions for a moment. A failure is none, and never kept.
pub(crate) struct DecisionCache {
    kept: Option<Levels>,
    lifetimes: Lifetimes,
}

/// What all threads share, and in front of it what each has for itself.
///
/// INVARIANT: once a change of `shared` has returned, no thread finds what it replaced or removed. It is made there first, and the
/// key is forgotten in each of `near` afterwards; who does not find a key in his own holds its lock while he asks `shared`. One of
/// `near` that is not seen yet when that is done will ask for what was changed. What goes there for lack of room may still
/// be found here.
struct Levels {
    shared: Cache<Key, Kept, Weight>,
    near: PerThread<Near>,
    entries: usize,
    bytes: u64,
}

/// Says for how long decisions are kept at the most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) permit: Duration,
    /// For what denies, and where no policy applies.
    pub(crate) deny: Duration,
}

/// Is when a question was put, by the clock of the caller and by one that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) at: UnixSeconds,
    pub(crate) instant: Instant,
    /// When the credential of the subject ends.
    pub(crate) expires_at: Option<UnixSeconds>,
}

#[derive(Clone)]
struct Kept {
    decision: Decision,
    asked_at: UnixSeconds,
    /// By the caller's clock; of what ends within a second, the second's end.
    until: UnixSeconds,
    /// By the clock that nobody sets.
    end: Instant,
}

impl DecisionCache {
    /// Keeps nothing.
    pub(crate) fn none() -> Self {
        Self { kept: None, lifetimes: Lifetimes { permit: Duration::ZERO, deny: Duration::ZERO } }
    }

    pub(crate) fn new(entries: usize, bytes: u64, lifetimes: Lifetimes) -> Result<Self, ConfigError> {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(bytes)
            .build()
            .map_err(|e| ConfigError::new("the bounds of the decision cache do not go together").with_source(e))?;
        let weight = Weight::of(entries, bytes);
        let shared = Cache::with_options(options, weight, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Ok(Self { kept: Some(Levels { shared, near: PerThread::new(), entries, bytes }), lifetimes })
    }

    /// Returns what was decided, if it holds still.
    pub(crate) fn get(&self, key: &Key, now: UnixSeconds) -> Option<Decision> {
        let Levels { shared, near, entries, bytes } = self.kept.as_ref()?;
        let near = near.own(|| Near::new(*entries, *bytes));
        let kept = near.get_or(key, || shared.get(key).filter(|kept| kept.holds(now)))?;
        kept.holds(now).then_some(kept.decision)
    }

    /// Keeps a decision as long as it may be; what was known before goes in any case.
    pub(crate) fn insert(&self, key: Key, decision: &Decision, asked: Asked) {
        let Some(Levels { shared, near, .. }) = &self.kept else { return };
        let longest = match decision.effect() {
            Effect::Permit => self.lifetimes.permit,
            Effect::Deny | Effect::NotApplicable => self.lifetimes.deny,
        };
        let lifetime = decision.lifetime().map_or(longest, |stated| stated.min(longest));
        let whole_secs = Duration::from_secs(lifetime.as_secs() + u64::from(lifetime.subsec_nanos() > 0));
        let until = asked.at.saturating_add(whole_secs).min(asked.expires_at.unwrap_or(UnixSeconds::MAX));
        if until > asked.at {
            let decision = decision.clone().with_source(DecisionSource::Cache);
            shared.insert(key, Kept { decision, asked_at: asked.at, until, end: asked.instant + lifetime });
        } else {
            shared.remove(&key);
        }
        near.made().for_each(|near| near.forget(&key));
    }

    /// Makes room. What is found is up to the keys.
    pub(crate) fn clear(&self) {
        if let Some(Levels { shared, near, .. }) = &self.kept {
            shared.clear();
            near.made().for_each(Near::clear);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.shared.len())
    }
}

impl Kept {
    fn holds(&self, now: UnixSeconds) -> bool {
        // A clock that was set back says nothing of how old the decision is, nor of the credential.
        self.asked_at <= now && now < self.until && Instant::now() < self.end
    }
}

#[derive(Clone)]
struct Weight {
    /// An entry counts at least this much, which bounds their number.
    at_least: u64,
}

impl Weight {
    fn of(entries: usize, bytes: u64) -> Self {
        Self { at_least: bytes.div_ceil(entries.max(1) as u64) }
    }
}

impl Weighter<Key, Kept> for Weight {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        bytes_of(&kept.decision).max(self.at_least)
    }
}

fn bytes_of(decision: &Decision) -> u64 {
    let text = |text: Option<&str>| text.map_or(0, |text| text.len() + OVERHEAD_TEXT);
    let reasons: usize =
        decision.reasons().iter().map(|reason| reason.policy().len() + OVERHEAD_TEXT + text(reason.revision())).sum();
    let obligations: usize = decision
        .obligations()
        .iter()
        .map(|obligation| {
            let parameters = obligation.parameters().map_or(0, |parameters| parameters.heap_bytes());
            obligation.id().len() + OVERHEAD_TEXT + parameters
        })
        .sum();
    (reasons + obligations + text(decision.id()) + text(decision.revision()) + OVERHEAD) as u64
}

/// What an entry costs beside what it points to: key, times, its slot in the table, the decision's details.
const OVERHEAD: usize = 320;
/// What a text costs beside its bytes, with what holds it.
const OVERHEAD_TEXT: usize = 64;

#[cfg(all(test, sekisho_shuttle))]
mod interleavings;
#[cfg(test)]
mod tests;
