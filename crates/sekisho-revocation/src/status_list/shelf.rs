//! The lists at hand, those that are wanted, and when each is due.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use sekisho_core::{Failure, UnixSeconds};
use tokio::sync::Notify;

use super::StatusListHealth;
use super::list::StatusList;

/// A list that was not asked for as long as this makes room for another one.
const IDLE: Duration = Duration::from_secs(600);
/// A list that was not asked for as long as this is not fetched any more.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// The pauses after attempts that failed, in seconds.
const FIRST_PAUSE: u64 = 1;
const LONGEST_PAUSE: u64 = 10;

pub(super) struct Shelf {
    slots: RwLock<HashMap<Arc<str>, Slot>>,
    most: usize,
    wanted: Notify,
}

#[derive(Default)]
struct Slot {
    list: Option<Arc<StatusList>>,
    /// Named by the configuration: kept whether it is asked for or not.
    is_fixed: bool,
    asked_at: AtomicU64,
    due_at: UnixSeconds,
    is_loading: bool,
    failures: u32,
    failure: Option<Failure>,
}

impl Slot {
    fn current(&self, now: UnixSeconds) -> Option<&StatusList> {
        self.list.as_deref().filter(|list| list.is_current(now))
    }

    /// Returns how long it is until the list is due. What cannot be used and is due only after the longest pause was
    /// put off by a clock that has been set back, and is due now.
    fn waits(&self, now: UnixSeconds) -> Duration {
        let wait = self.due_at.since(now);
        let is_put_off = wait.as_secs() > LONGEST_PAUSE && self.current(now).is_none();
        if is_put_off { Duration::ZERO } else { wait }
    }

    fn is_unused_since(&self, idle: Duration, now: UnixSeconds) -> bool {
        let asked_at = UnixSeconds::new(self.asked_at.load(Ordering::Relaxed));
        !self.is_fixed && !self.is_loading && now.since(asked_at) >= idle
    }
}

impl Shelf {
    pub(super) fn new(most: usize, fixed: Vec<String>) -> Self {
        let slot = |uri: String| (Arc::from(uri), Slot { is_fixed: true, ..Slot::default() });
        Self { slots: RwLock::new(fixed.into_iter().map(slot).collect()), most, wanted: Notify::new() }
    }

    /// Looks a status up: `None` when no such list is kept or wanted, an error when it is not at hand. The inner `None`
    /// is an index beyond the end.
    pub(super) fn status(&self, uri: &str, index: u64, now: UnixSeconds) -> Option<Result<Option<u8>, ()>> {
        let slots = self.read();
        let slot = slots.get(uri)?;
        // Written once a second at most, for all readers share it.
        if slot.asked_at.load(Ordering::Relaxed) != now.as_secs() {
            slot.asked_at.store(now.as_secs(), Ordering::Relaxed);
        }
        Some(slot.current(now).map(|list| list.status(index)).ok_or(()))
    }

    /// Asks for one more list to be loaded; false if there is no room for it.
    pub(super) fn want(&self, uri: &str, now: UnixSeconds) -> bool {
        let mut slots = self.write();
        if !slots.contains_key(uri) {
            if slots.len() >= self.most {
                let longest = slots
                    .iter()
                    .filter(|(_, slot)| slot.is_unused_since(IDLE, now))
                    .min_by_key(|(_, slot)| slot.asked_at.load(Ordering::Relaxed))
                    .map(|(uri, _)| Arc::clone(uri));
                let Some(longest) = longest else { return false };
                slots.remove(&longest);
            }
            slots.insert(uri.into(), Slot { asked_at: now.as_secs().into(), ..Slot::default() });
        }
        drop(slots);
        self.wanted.notify_one();
        true
    }

    /// Waits until a list is asked for that was not known.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Forgets what nobody asks for, and takes all that is due and not being loaded by somebody else.
    pub(super) fn take_due(&self, now: UnixSeconds) -> Vec<Held<'_>> {
        let mut slots = self.write();
        slots.retain(|_, slot| !slot.is_unused_since(FORGOTTEN, now));
        let due = slots.iter_mut().filter(|(_, slot)| slot.waits(now).is_zero() && !slot.is_loading);
        due.map(|(uri, slot)| {
            slot.is_loading = true;
            Held { shelf: self, uri: Arc::clone(uri), list: slot.list.clone() }
        })
        .collect()
    }

    pub(super) fn time_until_due(&self, now: UnixSeconds) -> Duration {
        let slots = self.read();
        let waiting = slots.values().filter(|slot| !slot.is_loading);
        waiting.map(|slot| slot.waits(now)).min().unwrap_or(Duration::MAX)
    }

    pub(super) fn first_failure(&self, now: UnixSeconds) -> Option<Failure> {
        let slots = self.read();
        let slot = slots.values().find(|slot| slot.current(now).is_none())?;
        Some(slot.failure.clone().unwrap_or_else(|| Failure::unavailable("a status list is not loaded yet")))
    }

    pub(super) fn health(&self, now: UnixSeconds) -> StatusListHealth {
        let slots = self.read();
        StatusListHealth {
            lists: slots.len(),
            current: slots.values().filter(|slot| slot.current(now).is_some()).count(),
            heap_bytes: slots.values().filter_map(|slot| slot.list.as_ref()).map(|list| list.heap_bytes()).sum(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.read().len()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Arc<str>, Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Arc<str>, Slot>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is the right to load one list, given back when dropped.
pub(super) struct Held<'a> {
    shelf: &'a Shelf,
    uri: Arc<str>,
    list: Option<Arc<StatusList>>,
}

impl Held<'_> {
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Returns the list at hand.
    pub(super) fn list(&self) -> Option<&StatusList> {
        self.list.as_deref()
    }

    /// Puts a list in its place, and tells whether that ends an outage.
    pub(super) fn succeed(self, list: StatusList, spread: u64) -> bool {
        let mut slots = self.shelf.write();
        let Some(slot) = slots.get_mut(&self.uri) else { return false };
        slot.due_at = list.refresh_at(spread);
        slot.list = Some(Arc::new(list));
        slot.failure = None;
        std::mem::take(&mut slot.failures) > 0
    }

    /// Notes a failure, and returns how many there were in a row.
    pub(super) fn fail(self, failure: Failure, now: UnixSeconds) -> u32 {
        let mut slots = self.shelf.write();
        let Some(slot) = slots.get_mut(&self.uri) else { return 0 };
        let pause = (FIRST_PAUSE << slot.failures.min(16)).min(LONGEST_PAUSE);
        slot.failures = slot.failures.saturating_add(1);
        slot.due_at = now.saturating_add(Duration::from_secs(pause));
        slot.failure = Some(failure);
        slot.failures
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // `succeed` and `fail` hold the lock until they return, and `self` is dropped after that.
        if let Some(slot) = self.shelf.write().get_mut(&self.uri) {
            slot.is_loading = false;
        }
    }
}
