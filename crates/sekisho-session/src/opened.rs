use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sekisho_core::UnixSeconds;

use crate::content::Loaded;
use crate::store::{Sealed, StoredSession};
use crate::token::SessionHash;

/// Remembers what records said that were opened a moment ago, so that a session that is asked for again and again is not deciphered
/// and read each time.
///
/// INVARIANT: it saves the opening, never the question. The store is asked each time, and what it answers is taken for the same record
/// only if it is that: name, version, idle deadline and every byte.
///
/// What is remembered leaves after a minute without being asked for, as soon as anything else is; at most 8,192 sessions and 32 MiB.
pub(crate) struct Opened([Mutex<Shard>; SHARDS]);

#[derive(Default)]
struct Shard {
    recent: Generation,
    /// What was recent before; what is not asked for again goes with it.
    earlier: Generation,
    turned_at: UnixSeconds,
}

#[derive(Default)]
struct Generation {
    entries: HashMap<SessionHash, Entry>,
    bytes: usize,
}

struct Entry {
    sealed: Sealed,
    loaded: Arc<Loaded>,
}

impl Opened {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }

    /// Finds what this very record said when it was opened.
    pub(crate) fn find(&self, id: &SessionHash, stored: &StoredSession, now: UnixSeconds) -> Option<Arc<Loaded>> {
        let mut shard = self.shard(id)?;
        shard.turn(now);
        let entry = match shard.recent.entries.get(id) {
            Some(entry) => entry,
            None => {
                let entry = shard.earlier.remove(id)?;
                shard.keep(*id, entry, now)
            }
        };
        let StoredSession { version, idle_until, expires_at: _, body } = stored;
        let is_same =
            entry.loaded.version == *version && entry.loaded.idle_until == *idle_until && entry.sealed == *body;
        is_same.then(|| Arc::clone(&entry.loaded))
    }

    /// Remembers what a record said.
    pub(crate) fn remember(&self, id: SessionHash, sealed: &Sealed, loaded: &Arc<Loaded>, now: UnixSeconds) {
        if sealed.as_bytes().len() > LONGEST {
            return;
        }
        let Some(mut shard) = self.shard(&id) else { return };
        shard.turn(now);
        shard.earlier.remove(&id);
        shard.keep(id, Entry { sealed: sealed.clone(), loaded: Arc::clone(loaded) }, now);
    }

    fn shard(&self, id: &SessionHash) -> Option<std::sync::MutexGuard<'_, Shard>> {
        // A hash is as good as any other to choose by.
        let number = id.as_bytes().last().copied().map(usize::from)? % SHARDS;
        Some(self.0.get(number)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    /// Lets go of what nobody has asked for in a while.
    fn turn(&mut self, now: UnixSeconds) {
        let age = now.since(self.turned_at).as_secs();
        if age < TURN && now >= self.turned_at {
            return;
        }
        let recent = std::mem::take(&mut self.recent);
        self.earlier = if age < 2 * TURN { recent } else { Generation::default() };
        self.turned_at = now;
    }

    fn keep(&mut self, id: SessionHash, entry: Entry, now: UnixSeconds) -> &Entry {
        let bytes = entry.sealed.as_bytes().len();
        self.recent.remove(&id);
        if self.recent.entries.len() >= MOST_ENTRIES || self.recent.bytes + bytes > MOST_BYTES {
            self.earlier = std::mem::take(&mut self.recent);
            self.turned_at = now;
        }
        self.recent.bytes += bytes;
        self.recent.entries.entry(id).or_insert(entry)
    }
}

impl Generation {
    fn remove(&mut self, id: &SessionHash) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.bytes = self.bytes.saturating_sub(entry.sealed.as_bytes().len());
        Some(entry)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened(..)")
    }
}

const SHARDS: usize = 16;
/// In one generation of one shard.
const MOST_ENTRIES: usize = 256;
const MOST_BYTES: usize = 1 << 20;
const LONGEST: usize = 64 * 1024;
/// Seconds that a generation lasts.
const TURN: u64 = 30;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::time::Duration;

    use super::*;
    use crate::content::{Content, Kind};
    use crate::token::SessionToken;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn after(seconds: u64) -> UnixSeconds {
        NOW.saturating_add(Duration::from_secs(seconds))
    }

    fn id(number: u32) -> SessionHash {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        bytes[31] = number as u8;
        SessionHash::from_bytes(bytes)
    }

    fn stored(body: &[u8]) -> StoredSession {
        StoredSession { version: 3, idle_until: after(60), expires_at: after(900), body: Sealed::from_bytes(body) }
    }

    fn loaded() -> Arc<Loaded> {
        let content = Content {
            handle: "h".into(),
            created_at: 0,
            ends_at: 0,
            superseded: false,
            identity: None,
            data: serde_json::Map::new(),
        };
        Arc::new(Loaded::new(Kind::Session, SessionToken::of_no_store(), id(1), 3, after(60), content))
    }

    fn counted(opened: &Opened) -> (usize, usize) {
        let sum = |pick: fn(&Generation) -> usize| {
            let of = |shard: &Mutex<Shard>| {
                let shard = shard.lock().unwrap();
                pick(&shard.recent) + pick(&shard.earlier)
            };
            opened.0.iter().map(of).sum()
        };
        (sum(|generation| generation.entries.len()), sum(|generation| generation.bytes))
    }

    #[test]
    fn finds_a_record_that_is_the_same_and_none_that_differs_in_anything() {
        let (opened, record) = (Opened::new(), stored(b"sealed"));
        opened.remember(id(1), &record.body, &loaded(), NOW);
        assert!(opened.find(&id(1), &record, NOW).is_some());
        assert!(opened.find(&id(1), &stored(b"sealed"), NOW).is_some(), "the same bytes from elsewhere");
        assert!(opened.find(&id(1), &stored(b"sealeD"), NOW).is_none());
        assert!(opened.find(&id(1), &StoredSession { version: 4, ..record.clone() }, NOW).is_none());
        assert!(opened.find(&id(1), &StoredSession { idle_until: after(61), ..record.clone() }, NOW).is_none());
        assert!(opened.find(&id(2), &record, NOW).is_none());
    }

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_leaves_within_a_minute() {
        let (opened, record) = (Opened::new(), stored(b"sealed"));
        for number in [1, 17, 33] {
            opened.remember(id(number), &record.body, &loaded(), NOW);
        }
        for seconds in [29, 58, 89] {
            assert!(opened.find(&id(1), &record, after(seconds)).is_some(), "{seconds}");
        }
        assert_eq!(counted(&opened).0, 1, "those of the same shard have left, for one of them was asked for");
        assert!(opened.find(&id(1), &record, after(89 + 61)).is_none());
        assert_eq!(counted(&opened), (0, 0));
        assert!(opened.find(&id(1), &record, NOW).is_none(), "a clock that goes back forgets");
    }

    #[test]
    fn holds_no_more_than_its_bounds() {
        let opened = Opened::new();
        for number in 0..20_000 {
            opened.remember(id(number), &Sealed::from_bytes(vec![7; 10]), &loaded(), NOW);
        }
        let (entries, bytes) = counted(&opened);
        assert!(entries <= 2 * SHARDS * MOST_ENTRIES && entries > SHARDS * MOST_ENTRIES / 2, "{entries}");
        assert_eq!(bytes, entries * 10);
        for number in 0..2_000 {
            opened.remember(id(number), &Sealed::from_bytes(vec![7; LONGEST]), &loaded(), NOW);
        }
        assert!(counted(&opened).1 <= 2 * SHARDS * MOST_BYTES);
        opened.remember(id(5), &Sealed::from_bytes(vec![7; LONGEST + 1]), &loaded(), NOW);
        assert!(opened.find(&id(5), &stored(&vec![7; LONGEST + 1]), NOW).is_none(), "too long");
    }
}
