use std::sync::PoisonError;

use quick_cache::unsync::Cache;

use super::{Kept, Weight, bytes_of};
use crate::key::Key;
use crate::remote::sync::{Mutex, MutexGuard};

/// Copies for one thread, in which it finds again what it asks for, and writes nothing that others read.
pub(super) struct Near(Mutex<Copies>);

struct Copies {
    kept: Cache<Key, Kept, Weight>,
    /// What one weighs at least.
    at_least: u64,
    /// How many in a row were not copied for lack of room.
    left_out: u8,
}

impl Near {
    /// Keeps no more than all threads together do.
    pub(super) fn new(entries: usize, bytes: u64) -> Self {
        let (entries, bytes) = (entries.min(MAX_ENTRIES), bytes.min(MAX_BYTES));
        let weight = Weight::of(entries, bytes);
        let at_least = weight.at_least;
        Self(Mutex::new(Copies { kept: Cache::with_weighter(entries, bytes, weight), at_least, left_out: 0 }))
    }

    /// Returns what is kept here, or what is elsewhere, which is copied if it is small.
    pub(super) fn get_or(&self, key: &Key, elsewhere: impl FnOnce() -> Option<Kept>) -> Option<Kept> {
        let mut near = self.lock();
        if let Some(kept) = near.kept.get(key) {
            return Some(kept.clone());
        }
        let kept = elsewhere()?;
        let bytes = bytes_of(&kept.decision);
        if bytes <= MAX_BYTES_EACH && near.is_copied(bytes) {
            near.kept.insert(*key, Kept { decision: kept.decision.deep_clone(), ..kept });
        }
        Some(kept)
    }

    pub(super) fn forget(&self, key: &Key) {
        self.lock().kept.remove(key);
    }

    pub(super) fn clear(&self) {
        self.lock().kept.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Copies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copies {
    /// Tells whether one more is copied: where it takes the place of another, which may be asked for sooner, one of eight is.
    fn is_copied(&mut self, bytes: u64) -> bool {
        let has_room = self.kept.weight() + bytes.max(self.at_least) <= self.kept.capacity();
        self.left_out = if has_room || self.left_out == 7 { 0 } else { self.left_out + 1 };
        self.left_out == 0
    }
}

const MAX_ENTRIES: usize = 2048;
const MAX_BYTES: u64 = 1 << 20;
const MAX_BYTES_EACH: u64 = 4 << 10;
