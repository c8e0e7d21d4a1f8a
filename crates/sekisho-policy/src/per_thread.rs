//! Copies of what every decision reads, so that threads do not wait for one another.
//!
//! What is shared by reference counts is written by all who read it: two threads that clone the same few of them for each
//! decision decide hardly more than one does.

#[cfg(not(sekisho_shuttle))]
use std::hash::{Hash as _, Hasher};
use std::sync::OnceLock;
use std::thread;

/// Holds a copy for each of the threads that ask, made when it asks for the first time.
///
/// There are at most four times as many as the machine has cores, and [`MOST`]; threads beyond share them.
pub(crate) struct PerThread<T> {
    first: Slot<T>,
    others: Box<[Slot<T>]>,
}

/// Lies in cache lines of its own.
#[repr(align(128))]
struct Slot<T>(OnceLock<T>);

const MOST: usize = 64;

impl<T> PerThread<T> {
    pub(crate) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let count = cores.saturating_mul(4).min(MOST);
        let empty = || Slot(OnceLock::new());
        Self { first: empty(), others: (1..count).map(|_| empty()).collect() }
    }

    /// Returns the one of this thread.
    pub(crate) fn own(&self, make: impl FnOnce() -> T) -> &T {
        let number = number() % (1 + self.others.len());
        let Slot(own) = self.others.get(number).unwrap_or(&self.first);
        own.get_or_init(make)
    }

    /// Lists those that were made.
    #[cfg(any(test, feature = "remote"))]
    pub(crate) fn made(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.others).filter_map(|Slot(slot)| slot.get())
    }
}

/// Numbers the threads of an interleaving.
#[cfg(sekisho_shuttle)]
fn number() -> usize {
    shuttle::thread::current().id().into()
}

/// Numbers the threads. The standard library counts them, so those that start together have neighbouring numbers.
#[cfg(not(sekisho_shuttle))]
fn number() -> usize {
    let mut number = Number(0);
    thread::current().id().hash(&mut number);
    number.0
}

#[cfg(not(sekisho_shuttle))]
struct Number(usize);

#[cfg(not(sekisho_shuttle))]
impl Hasher for Number {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ usize::from(*byte));
    }

    #[expect(clippy::cast_possible_truncation, reason = "cut to the number of copies anyway")]
    fn write_u64(&mut self, number: u64) {
        self.0 = number as usize;
    }

    fn finish(&self) -> u64 {
        self.0 as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_thread_has_the_same_one_each_time_and_threads_that_start_together_have_others() {
        let copies = PerThread::new();
        let barrier = Barrier::new(4);
        let of_thread = |name: usize| {
            let own: *const usize = copies.own(|| name);
            barrier.wait();
            assert_eq!(own, &raw const *copies.own(|| 100 + name));
            own as usize
        };
        let found: HashSet<usize> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|name| scope.spawn(move || of_thread(name))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // Other tests start threads in between, which may take numbers.
        assert!(found.len() > 1, "{found:?}");
        assert_eq!(copies.made().count(), found.len());
    }

    #[test]
    fn more_threads_than_copies_share_them() {
        let copies = PerThread::new();
        for _ in 0..3 * MOST {
            thread::scope(|scope| drop(scope.spawn(|| copies.own(|| ()))));
        }
        assert!(copies.made().count() <= 1 + copies.others.len());
        assert!(copies.made().count() > 1);
    }
}
