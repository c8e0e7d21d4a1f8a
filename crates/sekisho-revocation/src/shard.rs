//! One part of a list: compact tables under a lock of their own.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use sekisho_core::UnixSeconds;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::Hasher as _;

/// How many parts a list has. Many, so that a part is small: growing or sweeping one holds its readers up for
/// microseconds.
pub(crate) const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 10;

/// Says what kind of id is hashed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Token = 1,
    Session = 2,
    Subject = 4,
    Grant = 8,
}

impl Kind {
    /// Returns the bit of this kind.
    pub(crate) const fn bit(self) -> u8 {
        self as u8
    }
}

/// Hashes kind, issuer and id by a key that nobody else knows, so that nobody can look for ids that collide.
#[derive(Clone)]
pub(crate) struct Hash(SipHasher13);

impl Hash {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(key))
    }

    pub(crate) fn fingerprint(&self, kind: Kind, issuer: &str, id: &str) -> Fingerprint {
        let mut hasher = self.0;
        hasher.write(&[kind.bit()]);
        // The length keeps (`ab`, `c`) and (`a`, `bc`) apart.
        hasher.write(&(issuer.len() as u64).to_le_bytes());
        hasher.write(issuer.as_bytes());
        hasher.write(id.as_bytes());
        let (low, high) = hasher.finish128().as_u64();
        #[expect(clippy::cast_possible_truncation, reason = "cut into halves, and to the bits that number the shards")]
        Fingerprint {
            kept: [low as u32, (low >> 32) as u32, high as u32],
            shard: (high >> (u64::BITS - SHARD_BITS)) as usize,
        }
    }
}

/// Stands for kind, issuer and id. The 96 bits that are kept tell entries apart: among ten million, a look-up of
/// another id finds one by mistake with a chance of 2^-72.
#[derive(Clone, Copy)]
pub(crate) struct Fingerprint {
    kept: [u32; 3],
    pub(crate) shard: usize,
}

/// A token, a session or a grant, in 16 bytes.
struct IdEntry {
    kept: [u32; 3],
    until: Instant,
}

/// A subject, in 20 bytes.
struct SubjectEntry {
    kept: [u32; 3],
    not_before: Instant,
    until: Instant,
}

/// Is a second since 1970 in half the room, which lasts until the year 2106; what lies beyond is [`Instant::NEVER`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u32);

impl Instant {
    pub(crate) const NEVER: Self = Self(u32::MAX);

    pub(crate) fn is_over(self, now: Self) -> bool {
        self != Self::NEVER && self <= now
    }
}

impl From<UnixSeconds> for Instant {
    fn from(at: UnixSeconds) -> Self {
        u32::try_from(at.as_secs()).map_or(Self::NEVER, Self)
    }
}

impl From<Instant> for UnixSeconds {
    fn from(at: Instant) -> Self {
        if at == Instant::NEVER { Self::MAX } else { Self::new(at.0.into()) }
    }
}

#[derive(Default)]
pub(crate) struct Shard {
    ids: HashTable<IdEntry>,
    subjects: HashTable<SubjectEntry>,
}

impl Shard {
    pub(crate) fn has_id(&self, fingerprint: Fingerprint, now: Instant) -> bool {
        let Fingerprint { kept, shard: _ } = fingerprint;
        self.ids.find(place(kept), |entry| entry.kept == kept).is_some_and(|entry| !entry.until.is_over(now))
    }

    /// Returns the first second whose credentials are valid, if some are not.
    pub(crate) fn not_before(&self, fingerprint: Fingerprint, now: Instant) -> Option<UnixSeconds> {
        let Fingerprint { kept, shard: _ } = fingerprint;
        let entry = self.subjects.find(place(kept), |entry| entry.kept == kept)?;
        (!entry.until.is_over(now)).then(|| entry.not_before.into())
    }

    /// Returns false if there would be one entry more, and no room for it.
    pub(crate) fn put_id(&mut self, fingerprint: Fingerprint, until: Instant, room: impl FnOnce() -> bool) -> bool {
        let Fingerprint { kept, shard: _ } = fingerprint;
        match self.ids.entry(place(kept), |entry| entry.kept == kept, |entry| place(entry.kept)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.until = known.until.max(until);
            }
            Entry::Vacant(vacant) => {
                if !room() {
                    return false;
                }
                vacant.insert(IdEntry { kept, until });
            }
        }
        true
    }

    /// Like [`put_id`](Self::put_id). Of two instants the later one holds, whichever came first, unless its time is
    /// over.
    pub(crate) fn put_subject(
        &mut self,
        fingerprint: Fingerprint,
        not_before: Instant,
        until: Instant,
        now: Instant,
        room: impl FnOnce() -> bool,
    ) -> bool {
        let Fingerprint { kept, shard: _ } = fingerprint;
        match self.subjects.entry(place(kept), |entry| entry.kept == kept, |entry| place(entry.kept)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                // As if it had been swept: the answer must not depend on when that is done.
                known.not_before = if known.until.is_over(now) { not_before } else { known.not_before.max(not_before) };
                known.until = known.until.max(until);
            }
            Entry::Vacant(vacant) => {
                if !room() {
                    return false;
                }
                vacant.insert(SubjectEntry { kept, not_before, until });
            }
        }
        true
    }

    /// Drops what is over, gives memory back that is not needed any more, and returns how many entries went.
    pub(crate) fn sweep(&mut self, now: Instant) -> usize {
        let Self { ids, subjects } = self;
        let before = ids.len() + subjects.len();
        ids.retain(|entry| !entry.until.is_over(now));
        subjects.retain(|entry| !entry.until.is_over(now));
        if ids.capacity() / 4 > ids.len() {
            ids.shrink_to_fit(|entry| place(entry.kept));
        }
        if subjects.capacity() / 4 > subjects.len() {
            subjects.shrink_to_fit(|entry| place(entry.kept));
        }
        before - (ids.len() + subjects.len())
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.ids.allocation_size() + self.subjects.allocation_size()
    }
}

/// Returns where in a table an entry belongs: bits of a keyed hash as they are.
fn place(kept: [u32; 3]) -> u64 {
    let [low, high, _] = kept;
    u64::from(low) | u64::from(high) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_as_small_as_promised() {
        assert_eq!((size_of::<IdEntry>(), size_of::<SubjectEntry>()), (16, 20));
    }

    #[test]
    fn the_hash_is_the_published_siphash_and_depends_on_every_part() {
        // SipHash-1-3-128 is fixed for a key, so lists with one key agree across versions and machines.
        let key = *b"0123456789abcdef";
        let all: Vec<_> = [
            (Kind::Token, "a", "bc"),
            (Kind::Session, "a", "bc"),
            (Kind::Subject, "a", "bc"),
            (Kind::Grant, "a", "bc"),
            (Kind::Token, "ab", "c"),
            (Kind::Token, "abc", ""),
            (Kind::Token, "", "abc"),
        ]
        .into_iter()
        .map(|(kind, issuer, id)| Hash::new(&key).fingerprint(kind, issuer, id).kept)
        .collect();
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one));
        }
        let other = Hash::new(b"0123456789abcdeF").fingerprint(Kind::Token, "a", "bc").kept;
        assert!(all.iter().all(|one| *one != other));
    }

    #[test]
    fn instants_beyond_2106_never_come() {
        let last = UnixSeconds::new(u64::from(u32::MAX));
        for far in [last, UnixSeconds::new(253_402_300_799), UnixSeconds::MAX] {
            assert!(!Instant::from(far).is_over(Instant::from(UnixSeconds::MAX)));
        }
        assert!(Instant::from(UnixSeconds::new(7)).is_over(Instant::from(UnixSeconds::new(7))));
        assert!(!Instant::from(UnixSeconds::new(8)).is_over(Instant::from(UnixSeconds::new(7))));
    }
}
