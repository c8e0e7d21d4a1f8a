//! Remembers which `kid`s the provider does not have.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use sekisho_core::UnixSeconds;

use crate::KeyQuery;

/// Bounds the memory; a flood beyond it is held by the interval between attempts alone.
pub(super) const MAX_UNKNOWN: usize = 1024;

/// Holds hashes, keyed anew for each source, so that nobody can choose colliding names or read them back.
#[derive(Default)]
pub(super) struct UnknownKids {
    hasher: RandomState,
    until: HashMap<u64, UnixSeconds>,
}

impl UnknownKids {
    pub(super) fn contains(&self, query: KeyQuery<'_>, now: UnixSeconds) -> bool {
        self.until.get(&self.hash(query)).is_some_and(|until| now < *until)
    }

    /// Remembers what was asked for, or does not when there is no room.
    pub(super) fn insert(&mut self, query: KeyQuery<'_>, until: UnixSeconds) {
        let hash = self.hash(query);
        if self.until.len() < MAX_UNKNOWN || self.until.contains_key(&hash) {
            self.until.insert(hash, until);
        }
    }

    pub(super) fn clear(&mut self) {
        self.until.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    fn hash(&self, query: KeyQuery<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        query.kid.hash(&mut hasher);
        // Without a `kid` it was the algorithm that no key fits.
        query.kid.is_none().then_some(query.algorithm).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn kid(kid: &str) -> KeyQuery<'_> {
        KeyQuery { kid: Some(kid), algorithm: Algorithm::Rs256 }
    }

    #[test]
    fn forgets_at_the_end_of_the_time_and_with_a_new_set() {
        let mut unknown = UnknownKids::default();
        unknown.insert(kid("a"), UnixSeconds::new(10));
        assert!(unknown.contains(kid("a"), UnixSeconds::new(9)));
        assert!(!unknown.contains(kid("a"), UnixSeconds::new(10)));
        assert!(!unknown.contains(kid("b"), UnixSeconds::new(9)));
        unknown.clear();
        assert!(!unknown.contains(kid("a"), UnixSeconds::new(9)));
    }

    #[test]
    fn never_holds_more_than_its_bound() {
        let mut unknown = UnknownKids::default();
        for n in 0..100_000 {
            unknown.insert(kid(&n.to_string()), UnixSeconds::new(10));
        }
        assert_eq!(unknown.len(), MAX_UNKNOWN);
        assert!(unknown.until.capacity() < 4 * MAX_UNKNOWN);
    }

    #[test]
    fn keeps_algorithms_apart_only_when_there_is_no_kid() {
        let mut unknown = UnknownKids::default();
        let none = |algorithm| KeyQuery { kid: None, algorithm };
        unknown.insert(none(Algorithm::Rs256), UnixSeconds::new(10));
        assert!(!unknown.contains(none(Algorithm::Es256), UnixSeconds::new(1)));
        unknown.insert(kid("a"), UnixSeconds::new(10));
        assert!(unknown.contains(KeyQuery { kid: Some("a"), algorithm: Algorithm::Es256 }, UnixSeconds::new(1)));
    }
}
