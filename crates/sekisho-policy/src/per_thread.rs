//! Copies of what every decision reads, so that threads do not wait for one another.
//!
//! What is shared by reference counts is written by all who read it: two threads that clone the same few of them for each
//! decision decide hardly more than one does.

#[cfg(not(sekisho_shuttle))]
use std::hash::{Hash as _, Hasher};
use std::sync::OnceLock;
use std::thread;
#[cfg(any(feature = "cedar", feature = "rego"))]
use std::time::{Duration, Instant};

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
        // Few, so that threads of an interleaving share some.
        let count = if cfg!(sekisho_shuttle) { 2 } else { cores.saturating_mul(4).min(MOST) };
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

/// Makes something, and tells whether that is so quickly done that a thread may do it again while somebody waits for its decision.
#[cfg(any(feature = "cedar", feature = "rego"))]
pub(crate) fn timed<T, E>(make: impl Fn() -> Result<T, E>) -> Result<(T, bool), E> {
    let start = Instant::now();
    let made = make()?;
    let took = start.elapsed();
    if took <= QUICK || took > 4 * QUICK {
        return Ok((made, took <= QUICK));
    }
    // The machine may have been busy with something else.
    let start = Instant::now();
    let made = make()?;
    Ok((made, start.elapsed() <= QUICK))
}

/// More in the tests, which are compiled without optimization and run side by side.
#[cfg(any(feature = "cedar", feature = "rego"))]
const QUICK: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_millis(10) };

/// Tells whether this thread has room for a parser that goes down into what is nested.
#[cfg(any(feature = "cedar", feature = "rego"))]
pub(crate) fn has_stack() -> bool {
    stacker::remaining_stack().is_none_or(|left| left >= 1 << 20)
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
        let ask =
            |_| thread::scope(|scope| scope.spawn(|| std::ptr::from_ref(copies.own(|| 7)) as usize).join().unwrap());
        let found: HashSet<usize> = (0..3 * MOST).map(ask).collect();
        assert!((2..=MOST).contains(&found.len()), "{}", found.len());
    }

    #[cfg(any(feature = "cedar", feature = "rego"))]
    #[test]
    fn what_takes_long_is_not_done_again_by_one_who_waits() {
        let wait = |millis| {
            thread::sleep(Duration::from_millis(millis));
            Ok::<_, ()>(())
        };
        let taking = |millis| move || wait(millis);
        assert_eq!(timed(taking(0)), Ok(((), true)));
        assert_eq!(timed(taking(501)), Ok(((), false)));
        assert_eq!(timed(|| Err::<(), _>("refused")), Err("refused"));
        // Slow once, as on a busy machine.
        let first = std::cell::Cell::new(true);
        assert_eq!(timed(|| wait(if first.take() { 501 } else { 0 })), Ok(((), true)));
    }

    #[cfg(any(feature = "cedar", feature = "rego"))]
    #[test]
    fn on_a_small_stack_nothing_is_parsed() {
        assert!(stacker::grow(2 << 20, has_stack));
        assert!(!stacker::grow(512 << 10, has_stack));
    }
}
