//! PostgreSQL restarted under the sessions of `sekisho-sqlx`, while they are written and read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_session::{NewSession, Saved, Sealed, SessionHash, SessionStore, SessionTag, SessionUpdate, StoredSession};
use sekisho_sqlx::{PostgresStore, StoreLimits};

use crate::control::Control;
use crate::stores::{psql, sole_store};

const NOW: UnixSeconds = UnixSeconds::new(1_764_072_000);
const UNTIL: UnixSeconds = UnixSeconds::new(1_764_079_200);
const WORKERS: u32 = 8;
/// All workers write to it.
const SHARED: u32 = 1_000_000;

fn id(session: u32) -> SessionHash {
    let mut id = [0x5e; 32];
    id[..4].copy_from_slice(&session.to_be_bytes());
    SessionHash::from_bytes(id)
}

fn tag(worker: u32) -> SessionTag {
    SessionTag::from_bytes(*id(worker).as_bytes())
}

/// Writes into a session which one it is, and how often it was counted in; long enough to lie outside of its row.
fn content(session: u32, count: u32) -> Sealed {
    let mut content = [session.to_be_bytes(), count.to_be_bytes()].concat();
    content.resize(3_000, session as u8);
    Sealed::from_bytes(content)
}

fn new_session(session: u32, worker: u32) -> NewSession {
    let (card, body) = (content(session, 0), content(session, 0));
    NewSession { idle_until: UNTIL, expires_at: UNTIL, tags: vec![tag(worker)], card, body }
}

/// Reads how often a session was counted in, if it is the one that was asked for.
fn count_in(session: u32, found: &StoredSession) -> u32 {
    let count = u32::from_be_bytes(found.body.as_bytes()[4..8].try_into().unwrap());
    assert_eq!(found.body, content(session, count), "somebody else's, or half of it");
    assert!(found.version == u64::from(count) + 1, "each version has its content");
    count
}

/// Is what one worker was told.
#[derive(Default)]
struct Told {
    /// What it was told of its own sessions.
    own: HashMap<u32, Known>,
    /// How often it counted in the one that is everybody's: for certain, and perhaps.
    shared: (u32, u32),
    calls: u32,
    failures: u32,
    longest: Duration,
    worst_silence: Duration,
}

/// Is what must be there, given what was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// At least so often, and at the most.
    count: (u32, u32),
    /// It was begun to end it, and it was acknowledged that it has.
    ending: bool,
    ended: bool,
}

struct Worker {
    number: u32,
    store: Arc<PostgresStore>,
    told: Told,
    last_answer: Instant,
}

impl Worker {
    /// Notes how a call went; `None` if nobody knows whether it was done.
    fn note<T>(&mut self, begun: Instant, answer: Result<T, Failure>) -> Option<T> {
        let told = &mut self.told;
        told.calls += 1;
        told.longest = told.longest.max(begun.elapsed());
        match answer {
            Ok(answer) => {
                told.worst_silence = told.worst_silence.max(self.last_answer.elapsed());
                self.last_answer = Instant::now();
                Some(answer)
            }
            Err(failure) => {
                assert_eq!(failure.kind(), FailureKind::Unavailable, "{failure:?}");
                told.failures += 1;
                None
            }
        }
    }

    async fn count(&mut self, session: u32) -> Option<(u32, Option<Saved>)> {
        let begun = Instant::now();
        let found = self.store.load(&id(session), NOW).await;
        let found = self.note(begun, found)?;
        let found = match found {
            Some(found) => found,
            None => {
                let known = self.told.own.get(&session);
                assert!(known.is_some_and(|known| known.ending), "an acknowledged session is lost: {known:?}");
                return None;
            }
        };
        let count = count_in(session, &found);
        let update = SessionUpdate { idle_until: UNTIL, expires_at: UNTIL, body: content(session, count + 1) };
        let begun = Instant::now();
        let saved = self.store.save(&id(session), found.version, &update, NOW).await;
        Some((count, self.note(begun, saved)))
    }

    async fn count_in_own(&mut self, session: u32) {
        let Some((found, saved)) = self.count(session).await else { return };
        let known = self.told.own.get_mut(&session).expect("its own");
        let (least, most) = known.count;
        assert!((least..=most).contains(&found), "{found} is not what was acknowledged: {known:?}");
        assert!(!known.ended, "an ended session is back");
        known.count = match saved {
            Some(Saved::Done) => (found + 1, found + 1),
            // A save of which nobody knew has come through in between.
            Some(Saved::Conflict) => (found, most),
            Some(Saved::Gone) => {
                assert!(known.ending, "an acknowledged session is lost");
                return;
            }
            None => (found, most.max(found + 1)),
        };
    }

    async fn run(mut self, is_over: Arc<AtomicBool>) -> Told {
        let mut next = self.number * 10_000 + 1;
        while !is_over.load(Ordering::SeqCst) {
            let begun = Instant::now();
            let created = self.store.create(id(next), &new_session(next, self.number), NOW).await;
            if let Some(created) = self.note(begun, created) {
                assert!(created, "nobody else has the name");
                self.told.own.insert(next, Known { count: (0, 0), ending: false, ended: false });
            }
            let mine: Vec<u32> = self.told.own.iter().filter(|(_, known)| !known.ended).map(|(id, _)| *id).collect();
            for session in mine.iter().take(4) {
                self.count_in_own(*session).await;
            }
            match self.count(SHARED).await {
                Some((_, Some(Saved::Done))) => self.told.shared.0 += 1,
                Some((_, None)) => self.told.shared.1 += 1,
                Some((_, Some(Saved::Gone))) => panic!("nobody has ended it"),
                _ => {}
            }
            if let (Some(session), true) = (mine.first(), mine.len() > 6) {
                self.told.own.get_mut(session).expect("its own").ending = true;
                let begun = Instant::now();
                let ended = self.store.delete(&id(*session), NOW).await;
                if self.note(begun, ended).is_some() {
                    self.told.own.get_mut(session).expect("its own").ended = true;
                }
            }
            next += 1;
        }
        self.told
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_restarted_under_load_loses_no_session_and_mixes_none_up() {
    let test = "PostgreSQL restarted under sessions";
    let Some(control) = Control::reach(test) else { return };
    let Some((server, _turn)) = sole_store("SEKISHO_POSTGRES_URL", test).await else { return };
    let name = format!("sessions_{}", std::process::id());
    psql(&server, &format!("create database {name}")).expect("a database");
    let url = format!("{}/{name}", server.rsplit_once('/').expect("a database").0);
    // Two services.
    let mut limits = StoreLimits::default();
    limits.connections = 4;
    let mut stores = Vec::new();
    for _ in 0..2 {
        stores.push(Arc::new(PostgresStore::connect_with(&url, limits).await.unwrap()));
    }
    assert!(stores[0].create(id(SHARED), &new_session(SHARED, SHARED), NOW).await.unwrap());

    let is_over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let store = Arc::clone(&stores[number as usize % 2]);
            let worker = Worker { number, store, told: Told::default(), last_answer: Instant::now() };
            tokio::spawn(worker.run(Arc::clone(&is_over)))
        })
        .collect();
    for round in 0..3_u64 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let outage = control.kill("postgresql");
        tokio::time::sleep(Duration::from_millis(200 + 600 * round)).await;
        outage.end();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    is_over.store(true, Ordering::SeqCst);

    let mut all = Vec::new();
    for worker in workers {
        all.push(worker.await.expect("no worker has found anything amiss"));
    }
    let store = &stores[1];
    let (mut saves, mut ended) = (0, 0);
    for (worker, told) in (0..).zip(&all) {
        let listed = store.list(&tag(worker), NOW).await.unwrap();
        for (session, known) in &told.own {
            let found = store.load(&id(*session), NOW).await.unwrap().map(|found| count_in(*session, &found));
            assert_eq!(listed.iter().any(|listed| listed.id == id(*session)), found.is_some(), "who lives is listed");
            saves += known.count.0;
            ended += u32::from(known.ended);
            match found {
                Some(count) => {
                    assert!(!known.ended, "{session} was ended");
                    assert!((known.count.0..=known.count.1).contains(&count), "{session} has {count}: {known:?}");
                }
                None => assert!(known.ending, "{session} is lost"),
            }
        }
    }
    let shared = store.load(&id(SHARED), NOW).await.unwrap().map(|found| count_in(SHARED, &found)).unwrap();
    let sum = |part: fn(&Told) -> u32| all.iter().map(part).sum::<u32>();
    let (certain, perhaps) = (sum(|told| told.shared.0), sum(|told| told.shared.1));
    assert!((certain..=certain + perhaps).contains(&shared), "{shared}, of {certain} and perhaps {perhaps}");
    let (calls, failures) = (sum(|told| told.calls), sum(|told| told.failures));
    assert!(failures > 0 && certain > 0, "it was under load");
    let longest = all.iter().map(|told| told.longest).max().unwrap_or_default();
    let silence = all.iter().map(|told| told.worst_silence).max().unwrap_or_default();
    let created: usize = all.iter().map(|told| told.own.len()).sum();
    println!(
        "PostgreSQL killed 3 times under {WORKERS} workers: {calls} calls, {failures} failed; {created} sessions created, \
         {ended} ended, {} saves acknowledged: none lost, none of another; the longest call took {longest:.1?}, the longest \
         time without an answer was {silence:.1?}",
        saves + certain
    );
    assert!(longest < limits.call_timeout + Duration::from_secs(1), "{longest:?}");
    for store in stores {
        store.close().await;
    }
    psql(&server, &format!("drop database {name} with (force)")).expect("no database");
}
