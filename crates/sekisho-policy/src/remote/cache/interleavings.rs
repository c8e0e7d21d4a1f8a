//! Every order of steps of what threads keep near themselves, by `shuttle`; run as those of all of `Remote`.

use std::sync::Arc;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Resource};
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

use super::*;
use crate::key::Part;
use crate::remote::interleavings::explore;
use crate::remote::key::Keys;

const NOW: UnixSeconds = UnixSeconds::new(1_000_000);

/// Is one key, what is kept by it, and the number of the latest change that has been made for sure.
struct World {
    cache: DecisionCache,
    key: Key,
    latest: AtomicU64,
}

impl World {
    /// Begins with the first decision.
    fn new() -> Arc<Self> {
        let lifetimes = Lifetimes { permit: Duration::from_secs(5), deny: Duration::from_secs(1) };
        let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
        let question = AccessRequest::new(&alice, "read", Resource::new("order", "42"), NOW);
        let key = Keys::new(Part::Whole, Part::Whole).unwrap().key(&question, None).unwrap();
        let cache = DecisionCache::new(8, 64 << 10, lifetimes).unwrap();
        let world = Self { cache, key, latest: AtomicU64::new(0) };
        world.replace(1);
        Arc::new(world)
    }

    fn replace(&self, number: u64) {
        self.change(number, |cache| self.insert(cache, number, Duration::from_secs(5)));
    }

    fn remove(&self, number: u64) {
        self.change(number, |cache| self.insert(cache, number, Duration::ZERO));
    }

    fn clear(&self, number: u64) {
        self.change(number, DecisionCache::clear);
    }

    fn insert(&self, cache: &DecisionCache, number: u64, lifetime: Duration) {
        let decision = Decision::permit().with_id(number.to_string()).with_lifetime(lifetime);
        cache.insert(self.key, &decision, Asked { at: NOW, instant: Instant::now(), expires_at: None });
    }

    fn change(&self, number: u64, change: impl FnOnce(&DecisionCache)) {
        change(&self.cache);
        self.latest.store(number, Ordering::SeqCst);
    }

    fn asks(&self) {
        let latest = self.latest.load(Ordering::SeqCst);
        let found = self.cache.get(&self.key, NOW);
        let number = found.map(|decision| decision.id().unwrap().parse::<u64>().unwrap());
        assert!(number.is_none_or(|number| number >= latest), "{number:?} after {latest}");
    }
}

fn nothing_of_before_is_found(changes: [fn(&World, u64); 3]) {
    explore(move || {
        let world = World::new();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || (0..4).for_each(|_| world.asks()))
            })
            .collect();
        for (number, change) in (2..).zip(changes) {
            change(&world, number);
            world.asks();
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(world.cache.kept.as_ref().unwrap().near.made().count(), 2);
        world.asks();
    });
}

#[test]
fn shuttle_no_thread_finds_a_decision_that_was_replaced() {
    nothing_of_before_is_found([World::replace, World::replace, World::replace]);
}

#[test]
fn shuttle_no_thread_finds_a_decision_that_was_removed() {
    nothing_of_before_is_found([World::remove, World::replace, World::remove]);
}

#[test]
fn shuttle_no_thread_finds_a_decision_after_all_were_cleared() {
    nothing_of_before_is_found([World::clear, World::replace, World::clear]);
}
