use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Clock, Failure, Principal, RevocationCheck, UnixSeconds};
use sekisho_revocation::{Cursor, FeedBatch, FeedConnection, RevocationFeed, RevocationList, Withdrawal};
use sekisho_testkit::FixedClock;

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
/// When the credentials of the tests end.
pub(crate) const END: UnixSeconds = UnixSeconds::new(NOW.as_secs() + 1_000);

pub(crate) fn at(offset: i64) -> UnixSeconds {
    UnixSeconds::new(NOW.as_secs().checked_add_signed(offset).unwrap())
}

/// Makes a list whose hash is the same in each run.
pub(crate) fn list(most: usize) -> RevocationList {
    RevocationList::builder().with_hash_key([7; 16]).with_max_entries(most).build().unwrap()
}

pub(crate) fn token(id: &str) -> Withdrawal {
    Withdrawal::token(ISSUER, id, END).unwrap()
}

/// Makes a principal of `alice` with these claims.
pub(crate) fn alice(claims: &[(&str, serde_json::Value)]) -> Principal {
    caller(ISSUER, "alice", claims)
}

pub(crate) fn caller(issuer: &str, subject: &str, claims: &[(&str, serde_json::Value)]) -> Principal {
    let builder = PrincipalBuilder::new(issuer, subject);
    claims.iter().fold(builder, |b, (name, value)| b.with_claim(name, value.clone())).build().unwrap()
}

pub(crate) fn bearer(token_id: &str) -> Principal {
    alice(&[("jti", token_id.into())])
}

pub(crate) fn is_revoked(list: &RevocationList, principal: &Principal, now: UnixSeconds) -> bool {
    list.local().is_revoked(principal, now).unwrap()
}

/// Says what a scripted connection does next.
pub(crate) enum Event {
    Batch(FeedBatch),
    Lose(Failure),
    Silence,
}

/// Follows a script: one list of events for each connection; without one, connecting fails.
#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    connections: VecDeque<VecDeque<Event>>,
    asked_with: Vec<Option<String>>,
}

impl Script {
    pub(crate) fn new<C: IntoIterator<Item = Event>>(connections: impl IntoIterator<Item = C>) -> Self {
        let this = Self::default();
        for connection in connections {
            this.add(connection);
        }
        this
    }

    pub(crate) fn add(&self, events: impl IntoIterator<Item = Event>) {
        self.0.lock().unwrap().connections.push_back(events.into_iter().collect());
    }

    /// Lists the cursors that connections were asked for with.
    pub(crate) fn asked_with(&self) -> Vec<Option<String>> {
        self.0.lock().unwrap().asked_with.clone()
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

#[async_trait]
impl RevocationFeed for Script {
    async fn connect(&self, cursor: Option<&Cursor>) -> Result<Box<dyn FeedConnection>, Failure> {
        let mut state = self.0.lock().unwrap();
        state.asked_with.push(cursor.map(|cursor| cursor.as_str().to_owned()));
        match state.connections.pop_front() {
            Some(events) => Ok(Box::new(Connection(events))),
            None => Err(Failure::unavailable("no connection in the script")),
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn origin(&self) -> &str {
        "script"
    }
}

struct Connection(VecDeque<Event>);

#[async_trait]
impl FeedConnection for Connection {
    async fn next(&mut self, _: &dyn Clock) -> Result<FeedBatch, Failure> {
        match self.0.pop_front() {
            Some(Event::Batch(batch)) => Ok(batch),
            Some(Event::Lose(failure)) => Err(failure),
            Some(Event::Silence) | None => std::future::pending().await,
        }
    }
}

/// Lets background tasks run until `done`, in paused time; panics if that takes an hour.
pub(crate) async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..36_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

pub(crate) fn clock() -> (FixedClock, Arc<dyn Clock>) {
    let clock = FixedClock::at(NOW);
    (clock.clone(), Arc::new(clock))
}
