//! Every order of steps of the memory in front of a store, by `shuttle`.
//!
//! Real is all of `near`, with its locks and atomics taken from `crate::sync`. Stood in for are the store, whose calls are one
//! atomic step each with others before and after it, and tokio (threads, and a `block_on` of `shuttle`'s).
//!
//! Run: `RUSTFLAGS="--cfg sekisho_shuttle" cargo test -p sekisho-session --lib --target-dir target/shuttle shuttle`
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use shuttle::future::{block_on, yield_now};
use shuttle::sync::Mutex;
use shuttle::thread;

use super::near::NearCache;
use super::{NearLimits, SessionStore};
use crate::store::{ListedSession, NewSession, Saved, Sealed, SessionUpdate, StoredSession};
use crate::token::{SessionHash, SessionTag};

const SCHEDULES: usize = 3000;
const NOW: UnixSeconds = UnixSeconds::new(1_000);
const END: UnixSeconds = UnixSeconds::new(2_000);
const ID: SessionHash = SessionHash::from_bytes([0; 32]);
/// Shares the shard with the other, and has a generation of its own.
const NEIGHBOUR: SessionHash = SessionHash::from_bytes([64; 32]);

/// Explores schedules at random and by bounded preemption.
fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(test.clone(), SCHEDULES);
    shuttle::check_pct(test, SCHEDULES, 4);
}

/// Is a store of two sessions: their versions while they live, and their idle deadlines.
#[derive(Debug)]
struct Model(Mutex<[Option<(u64, UnixSeconds)>; 2]>);

impl Model {
    async fn step<R>(&self, id: &SessionHash, step: impl FnOnce(&mut Option<(u64, UnixSeconds)>) -> R) -> R {
        yield_now().await;
        let answer = step(&mut self.0.lock().unwrap()[usize::from(*id == NEIGHBOUR)]);
        yield_now().await;
        answer
    }
}

#[async_trait]
impl SessionStore for Model {
    async fn create(&self, _: SessionHash, _: &NewSession, _: UnixSeconds) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn load(&self, id: &SessionHash, _: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        let found = self.step(id, |session| *session).await;
        let body = Sealed::from_bytes(vec![0]);
        Ok(found.map(|(version, idle_until)| StoredSession { version, idle_until, expires_at: END, body }))
    }

    async fn save(&self, id: &SessionHash, v: u64, _: &SessionUpdate, _: UnixSeconds) -> Result<Saved, Failure> {
        let saved = self.step(id, |session| match session {
            None => Saved::Gone,
            Some((version, _)) if *version == v => {
                *version += 1;
                Saved::Done
            }
            Some(_) => Saved::Conflict,
        });
        Ok(saved.await)
    }

    async fn touch(&self, id: &SessionHash, until: UnixSeconds, _: UnixSeconds) -> Result<bool, Failure> {
        let touched = self.step(id, |session| session.as_mut().map(|(_, idle)| *idle = until.max(*idle)).is_some());
        Ok(touched.await)
    }

    async fn delete(&self, id: &SessionHash, _: UnixSeconds) -> Result<bool, Failure> {
        Ok(self.step(id, |session| session.take().is_some()).await)
    }

    async fn list(&self, _: &SessionTag, _: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        Ok(Vec::new())
    }

    async fn delete_tagged(&self, _: &SessionTag, _: UnixSeconds) -> Result<u64, Failure> {
        Ok(u64::from(self.delete(&ID, NOW).await?) + u64::from(self.delete(&NEIGHBOUR, NOW).await?))
    }

    async fn sweep(&self, _: UnixSeconds) -> Result<u64, Failure> {
        Ok(0)
    }
}

/// Is one process, its cache open, with room for so many sessions.
struct World {
    near: NearCache,
    store: Model,
    at: Instant,
}

impl World {
    fn new(entries: usize) -> Arc<Self> {
        let near = NearCache::new(Duration::from_secs(60), NearLimits { entries: entries * 64, bytes: 1 << 20 });
        let world = Self { near, store: Model(Mutex::new([Some((1, END)); 2])), at: Instant::now() };
        std::mem::forget(world.near.open());
        Arc::new(world)
    }

    /// Loads as a request does, and returns the version.
    fn load(&self, id: &SessionHash) -> Option<u64> {
        block_on(self.near.load(&self.store, id, NOW, self.at)).unwrap().map(|found| found.version)
    }

    fn latest(&self, id: &SessionHash) -> Option<u64> {
        block_on(self.near.load_latest(&self.store, id, NOW, self.at)).unwrap().map(|found| found.version)
    }

    fn save(&self, id: &SessionHash, version: u64) -> Saved {
        let update = SessionUpdate { idle_until: END, expires_at: END, body: Sealed::from_bytes(vec![0]) };
        block_on(self.near.changing(id, self.store.save(id, version, &update, NOW))).unwrap()
    }

    fn delete(&self, id: &SessionHash) -> bool {
        block_on(self.near.changing(id, self.store.delete(id, NOW))).unwrap()
    }

    fn delete_tagged(&self) -> u64 {
        block_on(self.near.changing_all(self.store.delete_tagged(&SessionTag::from_bytes([0; 32]), NOW))).unwrap()
    }

    fn touch(&self, id: &SessionHash) -> bool {
        block_on(self.near.touch(&self.store, id, END, NOW)).unwrap()
    }

    /// Loads some times in a row; what is seen never goes back, and what is gone stays gone.
    fn watch(&self, id: &SessionHash, times: usize) {
        let mut seen = Some(0);
        for turn in 0..times {
            let next = if turn % 3 == 2 { self.latest(id) } else { self.load(id) };
            match (seen, next) {
                (None, Some(version)) => panic!("version {version} of what was gone before"),
                (Some(before), Some(version)) => assert!(before <= version, "{before}, and then {version}"),
                (_, None) => {}
            }
            seen = next;
        }
    }
}

fn spawn(world: &Arc<World>, run: impl FnOnce(&World) + Send + 'static) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || run(&world))
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn shuttle_after_a_logout_has_returned_nobody_is_answered_the_session() {
    explore(|| {
        let world = World::new(4);
        join([
            spawn(&world, |world| {
                world.delete(&ID);
                assert_eq!(world.load(&ID), None);
                assert_eq!(world.load(&ID), None);
            }),
            spawn(&world, |world| world.watch(&ID, 3)),
            spawn(&world, |world| world.watch(&ID, 2)),
        ]);
        assert_eq!(world.load(&ID), None);
        assert_eq!(world.load(&NEIGHBOUR), Some(1));
    });
}

#[test]
fn shuttle_after_an_end_by_tag_has_returned_nobody_is_answered_a_session_whoever_ended_it() {
    explore(|| {
        let world = World::new(4);
        let end = |world: &World| {
            world.delete_tagged();
            assert_eq!((world.load(&ID), world.load(&NEIGHBOUR)), (None, None));
        };
        join([
            spawn(&world, end),
            spawn(&world, end),
            spawn(&world, |world| world.watch(&ID, 2)),
            spawn(&world, |world| world.watch(&NEIGHBOUR, 2)),
        ]);
        assert_eq!((world.load(&ID), world.load(&NEIGHBOUR)), (None, None));
    });
}

#[test]
fn shuttle_no_version_goes_back_while_others_write_and_evict() {
    explore(|| {
        // Room for one: each of the two throws the other out.
        let world = World::new(1);
        join([
            spawn(&world, |world| {
                for version in 1..3 {
                    assert_eq!(world.save(&ID, version), Saved::Done);
                    assert!(world.load(&ID) >= Some(version + 1), "what was written here is read here");
                }
            }),
            spawn(&world, |world| world.watch(&ID, 4)),
            spawn(&world, |world| world.watch(&ID, 3)),
            spawn(&world, |world| world.watch(&NEIGHBOUR, 2)),
        ]);
        assert_eq!(world.load(&ID), Some(3));
    });
}

#[test]
fn shuttle_no_version_goes_back_when_another_process_writes_and_tells() {
    explore(|| {
        let world = World::new(1);
        join([
            spawn(&world, |world| {
                let update = SessionUpdate { idle_until: END, expires_at: END, body: Sealed::from_bytes(vec![0]) };
                for version in 1..3 {
                    block_on(world.store.save(&ID, version, &update, NOW)).unwrap();
                    world.near.forget_before(&ID, version + 1);
                    assert!(world.load(&ID) >= Some(version + 1), "what was told counts");
                }
                block_on(world.store.delete(&ID, NOW)).unwrap();
                world.near.forget(&ID);
                assert_eq!(world.load(&ID), None);
            }),
            spawn(&world, |world| world.watch(&ID, 4)),
            spawn(&world, |world| world.watch(&ID, 3)),
            spawn(&world, |world| world.watch(&NEIGHBOUR, 2)),
        ]);
        assert_eq!(world.load(&ID), None);
    });
}

#[test]
fn shuttle_who_saw_that_it_is_gone_never_sees_it_again_though_nobody_told() {
    explore(|| {
        let world = World::new(4);
        join([
            spawn(&world, |world| {
                block_on(world.store.delete(&ID, NOW)).unwrap();
            }),
            spawn(&world, |world| world.watch(&ID, 4)),
            spawn(&world, |world| world.watch(&ID, 3)),
            spawn(&world, |world| {
                if !world.touch(&ID) {
                    assert_eq!(world.load(&ID), None, "a touch that finds nobody has seen it too");
                }
            }),
        ]);
    });
}

#[test]
fn shuttle_of_before_a_gap_nothing_is_answered_after_it() {
    explore(|| {
        let near = NearCache::new(Duration::from_secs(60), NearLimits { entries: 256, bytes: 1 << 20 });
        let world = Arc::new(World { near, store: Model(Mutex::new([Some((1, END)); 2])), at: Instant::now() });
        let listener = spawn(&world, |world| {
            drop(world.near.open());
            // In the gap, so nobody is told.
            block_on(world.store.delete(&ID, NOW)).unwrap();
            let _open = world.near.open();
            assert_eq!(world.load(&ID), None);
        });
        let readers: Vec<_> = (0..2).map(|_| spawn(&world, |world| world.watch(&ID, 3))).collect();
        join(readers);
        join([listener]);
        assert_eq!(world.near.find(&ID, NOW, world.at), None, "and closed it answers nothing");
    });
}
