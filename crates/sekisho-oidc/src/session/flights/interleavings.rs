//! Every order of steps of the refresh lock, by `shuttle`.
//!
//! Real are `flights`, with its lock taken from `crate::session::sync`, and all of `cycle`. Stood in for are the record, whose loads and saves are one
//! atomic step each with others before and after it, the provider, and tokio (tasks and a `block_on` of `shuttle`'s; the `watch` channel is tokio's own).
//!
//! Run: `RUSTFLAGS="--cfg sekisho_shuttle" cargo test -p sekisho-oidc --lib --target-dir target/shuttle shuttle`
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sekisho_core::{Secret, UnixSeconds};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use super::*;
use crate::session::cycle::{self, Claim, Life, Rules};
use crate::tokens::TokenSet;

const SCHEDULES: usize = 2000;
const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const RULES: Rules =
    Rules { ahead: Duration::from_secs(60), lease: Duration::from_secs(30), cool_off: Duration::from_secs(10) };

/// Explores schedules at random and by bounded preemption.
fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(test.clone(), SCHEDULES);
    shuttle::check_pct(test, SCHEDULES, 4);
}

/// Is a record with its version, and the provider that its tokens are of.
struct World {
    record: Mutex<(u64, Held)>,
    sending: AtomicUsize,
    sent: Mutex<Vec<u64>>,
    ended: AtomicUsize,
    names: AtomicUsize,
}

fn held(serial: u64) -> Held {
    let tokens = TokenSet {
        access_token: Secret::from(format!("access {serial}")),
        is_dpop: false,
        expires_at: Some(NOW),
        refresh_token: Some(Secret::from(format!("refresh {serial}"))),
        id_token: None,
        scope: None,
    };
    Held::of("main", &tokens, NOW).unwrap()
}

impl World {
    fn new() -> Arc<Self> {
        let record = Mutex::new((1, held(0)));
        let (sending, ended, names) = Default::default();
        Arc::new(Self { record, sending, sent: Mutex::new(Vec::new()), ended, names })
    }

    async fn load(&self) -> (u64, Held) {
        yield_now().await;
        self.record.lock().unwrap().clone()
    }

    async fn save(&self, expected: u64, held: Held) -> bool {
        yield_now().await;
        let mut record = self.record.lock().unwrap();
        let is_ours = record.0 == expected;
        if is_ours {
            *record = (expected + 1, held);
        }
        is_ours
    }

    /// Changes the record by compare-and-set, as `refresh` does.
    async fn change<R>(&self, change: impl Fn(&mut Held) -> R) -> R {
        loop {
            let (version, mut held) = self.load().await;
            let said = change(&mut held);
            if self.save(version, held).await {
                return said;
            }
        }
    }

    /// Sends the refresh token of a serial.
    async fn send(&self, life: &Life) -> Held {
        assert_eq!(self.sending.fetch_add(1, Ordering::SeqCst), 0, "two at once");
        yield_now().await;
        let mut sent = self.sent.lock().unwrap();
        assert!(!sent.contains(&life.serial), "twice");
        sent.push(life.serial);
        drop(sent);
        yield_now().await;
        self.sending.fetch_sub(1, Ordering::SeqCst);
        held(life.serial + 1)
    }

    async fn fly(self: Arc<Self>, seen: u64) -> Landing {
        let me = format!("flight {}", self.names.fetch_add(1, Ordering::SeqCst));
        loop {
            let (claim, held) =
                self.change(|held| (cycle::claim(&mut held.life, &me, seen, NOW, &RULES), held.clone())).await;
            match claim {
                Claim::Renewed => return Landing::Token(AccessToken::of(&held)),
                Claim::Taken => yield_now().await,
                Claim::Won => {
                    let new = self.send(&held.life).await;
                    assert!(self.change(|held| held.renew(&me, &new, NOW)).await, "nobody else has the mark");
                    self.ended.fetch_add(1, Ordering::SeqCst);
                    return Landing::Token(AccessToken { serial: seen + 1, ..AccessToken::of(&new) });
                }
                Claim::Over | Claim::CoolingOff(_) => panic!("{claim:?}"),
            }
        }
    }

    /// Wants another token than the one of serial `seen`, in the process of these flights.
    fn ask(self: &Arc<Self>, flights: &Arc<Flights>, seen: u64) -> AccessToken {
        let mut waiting = flights.join("session", || Arc::clone(self).fly(seen)).unwrap();
        let landing = block_on(async { waiting.wait_for(Option::is_some).await.unwrap().clone() });
        match landing {
            Some(Landing::Token(token)) => token,
            _ => panic!("no token"),
        }
    }
}

#[test]
fn shuttle_two_processes_with_two_requests_each_send_one_refresh_token_once() {
    explore(|| {
        let world = World::new();
        let processes: [Arc<Flights>; 2] = Default::default();
        let requests: Vec<_> = (0..4)
            .map(|number| {
                let (world, flights) = (Arc::clone(&world), Arc::clone(&processes[number % 2]));
                thread::spawn(move || assert_eq!(world.ask(&flights, 0).serial, 1))
            })
            .collect();
        for request in requests {
            request.join().unwrap();
        }
        assert_eq!((&*world.sent.lock().unwrap(), world.ended.load(Ordering::SeqCst)), (&vec![0], 1));
        assert!(processes.iter().all(|flights| flights.lock().running.is_empty()), "and nothing is left of it");
    });
}

#[test]
fn shuttle_who_comes_when_a_flight_lands_gets_its_token_or_a_later_one() {
    explore(|| {
        let world = World::new();
        let flights: Arc<Flights> = Arc::default();
        let requests: Vec<_> = (0..3)
            .map(|_| {
                let (world, flights) = (Arc::clone(&world), Arc::clone(&flights));
                thread::spawn(move || {
                    let first = world.ask(&flights, 0);
                    assert!(first.serial >= 1);
                    // A service refused that one.
                    let mut second = world.ask(&flights, first.serial);
                    if second.serial == first.serial {
                        second = world.ask(&flights, first.serial);
                    }
                    assert!(second.serial > first.serial, "{} after {}", second.serial, first.serial);
                })
            })
            .collect();
        for request in requests {
            request.join().unwrap();
        }
    });
}

#[test]
fn shuttle_a_flight_that_is_dropped_by_all_who_wait_still_lands() {
    explore(|| {
        let world = World::new();
        let flights: Arc<Flights> = Arc::default();
        drop(flights.join("session", || Arc::clone(&world).fly(0)).unwrap());
        assert_eq!(world.ask(&flights, 0).serial, 1);
        assert_eq!(*world.sent.lock().unwrap(), [0]);
    });
}
