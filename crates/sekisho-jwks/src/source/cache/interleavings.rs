//! Every order of steps of the state machine, by `shuttle`.
//!
//! Real is all of `cache`, `flight`, `snapshot`, `unknown` and the lives of keys: the code that runs in production, with its locks and
//! atomics taken from `crate::sync`. Stood in for are the provider (a load is a step without time), tokio (threads, and a
//! `block_on` of `shuttle`'s), and `ArcSwap`, whose load and store are one atomic step each.
//!
//! Run: `RUSTFLAGS="--cfg sekisho_shuttle" cargo test -p sekisho-jwks --lib --target-dir target/shuttle shuttle`
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

use super::tests::{cache, kid, loaded};
use super::*;

const SCHEDULES: usize = 3000;
const NOW: UnixSeconds = UnixSeconds::new(1_000_000);
const DUE: UnixSeconds = UnixSeconds::new(1_000_600);

/// Explores schedules at random and by bounded preemption.
fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(test.clone(), SCHEDULES);
    shuttle::check_pct(test, SCHEDULES, 4);
}

/// Is a provider that notices when it is asked twice at once.
#[derive(Default)]
struct Provider {
    running: AtomicUsize,
    asked: AtomicUsize,
}

impl Provider {
    fn load(&self, permit: Permit, kids: &[&str]) {
        assert_eq!(self.running.fetch_add(1, Ordering::SeqCst), 0, "two loads at once");
        self.asked.fetch_add(1, Ordering::SeqCst);
        thread::yield_now();
        self.running.fetch_sub(1, Ordering::SeqCst);
        permit.succeed(loaded(kids), 0);
    }
}

fn ask(
    cache: &Arc<Cache>,
    provider: &Arc<Provider>,
    name: &str,
    now: UnixSeconds,
    kids: &'static [&'static str],
) -> KeyLookup {
    match cache.find(kid(name), now) {
        KeyLookup::FetchNeeded => block_on(cache.fetch(
            kid(name),
            now,
            |permit| {
                let provider = Arc::clone(provider);
                // A thread of its own, as the driver takes a task of its own.
                async move { drop(thread::spawn(move || provider.load(permit, kids))) }
            },
            |flight| flight,
        )),
        answer => answer,
    }
}

#[test]
fn shuttle_cold_callers_share_one_load_and_are_all_answered() {
    explore(|| {
        let (cache, provider) = (cache(), Arc::new(Provider::default()));
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (cache, provider) = (Arc::clone(&cache), Arc::clone(&provider));
                thread::spawn(move || ask(&cache, &provider, "a", NOW, &["a"]))
            })
            .collect();
        for caller in callers {
            assert!(matches!(caller.join().unwrap(), KeyLookup::Found(_)));
        }
        assert_eq!(provider.asked.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn shuttle_refresh_and_unknown_kids_never_load_at_once() {
    explore(|| {
        let (cache, provider) = (cache(), Arc::new(Provider::default()));
        provider.load(cache.begin_if_due(NOW).unwrap(), &["a"]);
        let refresh = {
            let (cache, provider) = (Arc::clone(&cache), Arc::clone(&provider));
            thread::spawn(move || {
                if let Some(permit) = cache.begin_if_due(DUE) {
                    provider.load(permit, &["a", "b"]);
                }
            })
        };
        let callers: Vec<_> = ["b", "x"]
            .map(|name| {
                let (cache, provider) = (Arc::clone(&cache), Arc::clone(&provider));
                thread::spawn(move || (name, ask(&cache, &provider, name, DUE, &["a", "b"])))
            })
            .into();
        // The known key is there at every moment.
        assert!(matches!(cache.find(kid("a"), DUE), KeyLookup::Found(_)));
        for caller in callers {
            match caller.join().unwrap() {
                ("b", KeyLookup::Found(_)) | ("x", KeyLookup::Unknown) => {}
                (name, other) => panic!("{name}: {other:?}"),
            }
        }
        refresh.join().unwrap();
        // The first load, the refresh, and one for the unknown.
        assert!(provider.asked.load(Ordering::SeqCst) <= 3);
    });
}

#[test]
fn shuttle_a_removed_key_is_never_found_after_its_removal() {
    explore(|| {
        let (cache, provider) = (cache(), Arc::new(Provider::default()));
        provider.load(cache.begin_if_due(NOW).unwrap(), &["a", "b"]);
        let life = match cache.find(kid("b"), NOW) {
            KeyLookup::Found(found) => Arc::clone(found.as_slice().first().unwrap().life()),
            other => panic!("{other:?}"),
        };
        let removed = Arc::new(AtomicBool::new(false));
        let refresh = {
            let (cache, provider, removed) = (Arc::clone(&cache), Arc::clone(&provider), Arc::clone(&removed));
            thread::spawn(move || {
                provider.load(cache.begin_if_due(DUE).unwrap(), &["a"]);
                removed.store(true, Ordering::SeqCst);
            })
        };
        let reader = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                let was_removed = removed.load(Ordering::SeqCst);
                let answer = cache.find(kid("b"), DUE);
                assert!(!(was_removed && matches!(answer, KeyLookup::Found(_))), "found after its removal");
                // A cache of verified tokens asks the life alone.
                assert!(!(was_removed && life.is_live(DUE)), "lives after its removal");
                // What is kept never flickers.
                match cache.find(kid("a"), DUE) {
                    KeyLookup::Found(found) => assert!(found.as_slice().iter().all(|key| key.life().is_live(DUE))),
                    other => panic!("{other:?}"),
                }
            })
        };
        refresh.join().unwrap();
        reader.join().unwrap();
        assert!(!matches!(cache.find(kid("b"), DUE), KeyLookup::Found(_)));
    });
}

#[test]
fn shuttle_who_waited_for_a_removal_sees_the_removed_key_dead() {
    explore(|| {
        let (cache, provider) = (cache(), Arc::new(Provider::default()));
        provider.load(cache.begin_if_due(NOW).unwrap(), &["a", "b"]);
        let life = match cache.find(kid("b"), NOW) {
            KeyLookup::Found(found) => Arc::clone(found.as_slice().first().unwrap().life()),
            other => panic!("{other:?}"),
        };
        let refresh = {
            let (cache, provider) = (Arc::clone(&cache), Arc::clone(&provider));
            thread::spawn(move || {
                if let Some(permit) = cache.begin_if_due(DUE) {
                    provider.load(permit, &["a"]);
                }
            })
        };
        // Whichever load it waits for, the refresh or its own, brings a set without the key.
        assert!(matches!(ask(&cache, &provider, "x", DUE, &["a"]), KeyLookup::Unknown));
        assert!(!life.is_live(DUE));
        refresh.join().unwrap();
    });
}

#[test]
fn shuttle_a_load_that_breaks_off_wakes_everybody() {
    explore(|| {
        let cache = cache();
        let permit = cache.begin_if_due(NOW).unwrap();
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let cache = Arc::clone(&cache);
                thread::spawn(move || block_on(cache.fetch(kid("a"), NOW, |_| async {}, |flight| flight)))
            })
            .collect();
        drop(permit);
        for caller in callers {
            assert!(matches!(caller.join().unwrap(), KeyLookup::Failed(_)));
        }
        assert!(cache.lock().running.is_none());
    });
}

#[test]
fn shuttle_shutdown_answers_everybody_and_lets_nothing_begin() {
    explore(|| {
        let (cache, provider) = (cache(), Arc::new(Provider::default()));
        provider.load(cache.begin_if_due(NOW).unwrap(), &["a"]);
        let refresh = {
            let (cache, provider) = (Arc::clone(&cache), Arc::clone(&provider));
            thread::spawn(move || {
                if let Some(permit) = cache.begin_if_due(DUE) {
                    provider.load(permit, &["a"]);
                }
            })
        };
        let caller = {
            let (cache, provider) = (Arc::clone(&cache), Arc::clone(&provider));
            thread::spawn(move || ask(&cache, &provider, "x", DUE, &["a"]))
        };
        cache.close();
        assert!(matches!(caller.join().unwrap(), KeyLookup::Unknown | KeyLookup::Failed(_)));
        refresh.join().unwrap();
        assert!(cache.begin_if_due(UnixSeconds::MAX).is_none());
    });
}

#[test]
fn shuttle_a_caller_that_goes_away_takes_nobody_with_it() {
    explore(|| {
        let cache = cache();
        let permit = cache.begin_if_due(NOW).unwrap();
        let stays = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || block_on(cache.fetch(kid("a"), NOW, |_| async {}, |flight| flight)))
        };
        let goes = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                let asking = cache.fetch(kid("a"), NOW, |_| async {}, |flight| flight);
                let mut asking = std::pin::pin!(asking);
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                drop(asking.as_mut().poll(&mut context));
            })
        };
        permit.succeed(loaded(&["a"]), 0);
        goes.join().unwrap();
        assert!(matches!(stays.join().unwrap(), KeyLookup::Found(_)));
        assert!(cache.lock().waiters.drain().is_empty());
    });
}
