//! The load: requests at a steady rate over some connections, and what came of each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::setup;

/// However a drill goes wrong, its load ends by itself.
const LONGEST: Duration = Duration::from_secs(300);
const CONNECTIONS: u32 = 4;

/// What is asked for, again and again.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) name: &'static str,
    url: String,
    token: Option<String>,
}

impl Target {
    pub(super) fn new(name: &'static str, url: String, token: Option<&str>) -> Self {
        Self { name, url, token: token.map(str::to_owned) }
    }

    /// Asks once.
    pub(super) async fn ask(&self) -> Shot {
        shoot(&setup::http(), self).await
    }
}

/// What came of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shot {
    pub(super) target: &'static str,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    /// 0 when there was no answer.
    pub(super) status: u16,
    /// It says when to come back.
    has_retry_after: bool,
    /// It asks for credentials.
    has_challenge: bool,
}

impl Shot {
    pub(super) const fn is_accepted(&self) -> bool {
        self.status == 200
    }

    /// Tells whether the answer is a whole one of its kind: 401 with a challenge, 503 with a time to come back and without a
    /// challenge, as it is not the caller's fault.
    pub(super) const fn is_well_formed(&self) -> bool {
        match self.status {
            200 => true,
            401 => self.has_challenge,
            503 => self.has_retry_after && !self.has_challenge,
            _ => false,
        }
    }
}

/// A load on one gateway, until it is ended or dropped.
pub(super) struct Load {
    shots: Arc<Mutex<Vec<Shot>>>,
    is_over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Asks for the targets in turn, `rate` requests a second together.
    pub(super) fn start(targets: &[Target], rate: u32) -> Self {
        let (shots, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let pause = Duration::from_secs(1) * CONNECTIONS / rate;
        let tasks = (0..CONNECTIONS).map(|number| {
            let (shots, is_over) = (Arc::clone(&shots), Arc::clone(&is_over));
            // Apart from each other, so that the connections do not ask for the same at the same time.
            let mut targets = targets.to_vec().into_iter().cycle().skip(number as usize * 3);
            tokio::spawn(async move {
                let (http, begun) = (setup::http(), Instant::now());
                tokio::time::sleep(pause * number / CONNECTIONS).await;
                let mut tick = tokio::time::interval(pause);
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !is_over.load(Ordering::Relaxed) && begun.elapsed() < LONGEST {
                    tick.tick().await;
                    let target = targets.next().expect("it goes round");
                    let shot = shoot(&http, &target).await;
                    lock(&shots).push(shot);
                }
            })
        });
        let tasks = tasks.collect();
        Self { shots, is_over, tasks }
    }

    /// Returns what came of the requests so far, in the order in which they were sent.
    pub(super) fn shots(&self) -> Vec<Shot> {
        let mut shots = lock(&self.shots).clone();
        shots.sort_by_key(|shot| shot.sent);
        shots
    }

    /// Tells whether the last answers for `target` have this status.
    pub(super) fn is_settled(&self, target: &str, status: u16) -> bool {
        let shots = self.shots();
        let own: Vec<_> = shots.iter().rev().filter(|shot| shot.target == target).take(3).collect();
        own.len() == 3 && own.iter().all(|shot| shot.status == status)
    }

    /// Ends it, and returns what came of all requests.
    pub(super) async fn end(mut self) -> Vec<Shot> {
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.await.expect("the load never panicked");
        }
        self.shots()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

async fn shoot(http: &reqwest::Client, target: &Target) -> Shot {
    let mut request = http.get(&target.url).timeout(Duration::from_secs(20));
    if let Some(token) = &target.token {
        request = request.bearer_auth(token);
    }
    let sent = Instant::now();
    let answer = match request.send().await {
        // To the end, so that the connection is used again.
        Ok(answer) => {
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            answer.bytes().await.ok().map(|_| (status, headers))
        }
        Err(_) => None,
    };
    let answered = Instant::now();
    let has = |name: &str| answer.as_ref().is_some_and(|(_, headers)| headers.contains_key(name));
    Shot {
        target: target.name,
        sent,
        answered,
        status: answer.as_ref().map_or(0, |(status, _)| *status),
        has_retry_after: has("retry-after"),
        has_challenge: has("www-authenticate"),
    }
}

fn lock(shots: &Mutex<Vec<Shot>>) -> std::sync::MutexGuard<'_, Vec<Shot>> {
    shots.lock().expect("nobody panicked")
}
