//! The mark of a refresh by itself, further than the whole can be explored: two tasks, each at any step, with the real functions of
//! `cycle` in between, which can be exchanged for broken ones.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use sekisho_core::UnixSeconds;

use crate::session::cycle::{self, Claim, Life, Rules};
use crate::session::tests::world::START;

const RULES: Rules =
    Rules { ahead: Duration::from_secs(60), lease: Duration::from_secs(30), cool_off: Duration::from_secs(10) };
const TIMEOUT: Duration = Duration::from_secs(10);
/// By task and by life.
const NAMES: [[&str; 2]; 2] = [["a", "a again"], ["b", "b again"]];

/// Is what decides, as it is in the code or broken.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) claim: fn(&mut Life, &str, u64, UnixSeconds, &Rules) -> Claim,
    pub(super) is_in_time: fn(&Life, UnixSeconds, Duration) -> bool,
    pub(super) complete: fn(&mut Life, &str, UnixSeconds, Option<UnixSeconds>, bool) -> bool,
    pub(super) fail: fn(&mut Life, &str, UnixSeconds, &Rules) -> bool,
}

pub(super) const REAL: Functions =
    Functions { claim: cycle::claim, is_in_time: cycle::is_in_time, complete: cycle::complete, fail: cycle::fail };

/// Is the session's record: its version, and the refresh token by its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Record {
    version: u8,
    life: Life,
    token: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Idle,
    Loaded(Record),
    /// About to write the mark.
    Claiming(Record),
    Marked(Record),
    /// The refresh token is on its way since then.
    Sent(u8, u64),
    /// The token that was sent, since when, and what came for it.
    Answered(u8, u64, u8),
    /// About to write what came for the first.
    Keeping(u8, u64, u8, Record),
    Failed,
    GivingBack(Record),
    Refused,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    record: Option<Record>,
    /// The one refresh token that is good; none after one came again.
    good: Option<u8>,
    issued: u8,
    tasks: [Task; 2],
    lives: [usize; 2],
    seconds: u64,
    crashes: u8,
    losses: u8,
    /// A refresh token that comes again kills the login; otherwise it is as good as before.
    is_strict: bool,
}

/// Explores every state. Returns how many there are, or what led to one that must not be.
pub(super) fn explore(functions: &Functions, is_strict: bool) -> Result<usize, String> {
    let life = Life::begin(START, Some(START), true);
    let first = State {
        record: Some(Record { version: 1, life, token: 0 }),
        good: Some(0),
        issued: 0,
        tasks: [const { Task::Idle }; 2],
        lives: [0; 2],
        seconds: 0,
        crashes: 1,
        losses: 1,
        is_strict,
    };
    let mut seen = HashSet::from([first.clone()]);
    let mut all = vec![(first, 0)];
    let mut next = VecDeque::from([0]);
    while let Some(place) = next.pop_front() {
        let state = all[place].0.clone();
        for follower in state.followers(functions).map_err(|why| path(&all, place, &why))? {
            follower.check().map_err(|why| path(&all, place, &why))?;
            if seen.insert(follower.clone()) {
                next.push_back(all.len());
                all.push((follower, place));
            }
        }
    }
    Ok(all.len())
}

fn path(all: &[(State, usize)], mut place: usize, why: &str) -> String {
    let mut steps = Vec::new();
    while place != 0 {
        steps.push(format!("{:?} {:?} after {} s", all[place].0.tasks, all[place].0.record, all[place].0.seconds));
        place = all[place].1;
    }
    steps.reverse();
    format!("{why}\n{}", steps.join("\n"))
}

impl State {
    fn now(&self) -> UnixSeconds {
        START.saturating_add(Duration::from_secs(self.seconds))
    }

    fn followers(&self, functions: &Functions) -> Result<Vec<Self>, String> {
        let mut followers = Vec::new();
        if self.seconds < 40 {
            followers.push(Self { seconds: self.seconds + 10, ..self.clone() });
        }
        for number in 0..self.tasks.len() {
            if self.crashes > 0 && !matches!(self.tasks[number], Task::Idle | Task::Done) {
                let mut crashed = Self { crashes: 0, ..self.with(number, Task::Idle) };
                crashed.lives[number] = 1;
                followers.push(crashed);
            }
            self.steps(number, functions, &mut followers)?;
        }
        Ok(followers)
    }

    fn with(&self, number: usize, task: Task) -> Self {
        let mut state = self.clone();
        state.tasks[number] = task;
        state
    }

    /// Compares and sets.
    fn saved(&self, number: usize, record: &Record, done: Task, conflict: Task) -> Self {
        let mut state = self.clone();
        let is_same = self.record.as_ref().is_some_and(|kept| kept.version == record.version);
        if is_same {
            state.record = Some(Record { version: record.version + 1, ..record.clone() });
        }
        state.tasks[number] = if is_same { done } else { conflict };
        state
    }

    fn steps(&self, number: usize, functions: &Functions, into: &mut Vec<Self>) -> Result<(), String> {
        let (me, now) = (NAMES[number][self.lives[number]], self.now());
        let load = |then: &dyn Fn(Record) -> Task| self.with(number, self.record.clone().map_or(Task::Done, then));
        match &self.tasks[number] {
            Task::Done => {}
            Task::Idle => into.push(load(&Task::Loaded)),
            Task::Loaded(record) => {
                let mut record = record.clone();
                into.push(self.with(
                    number,
                    match (functions.claim)(&mut record.life, me, 0, now, &RULES) {
                        Claim::Won => Task::Claiming(record),
                        Claim::Taken | Claim::CoolingOff(_) => Task::Idle,
                        Claim::Renewed | Claim::Over => Task::Done,
                    },
                ));
            }
            Task::Claiming(record) => {
                into.push(self.saved(number, record, Task::Marked(record.clone()), Task::Idle));
            }
            Task::Marked(record) => {
                let goes = (functions.is_in_time)(&record.life, now, TIMEOUT);
                into.push(self.with(number, if goes { Task::Sent(record.token, self.seconds) } else { Task::Idle }));
            }
            Task::Sent(token, at) => {
                let mut answered = self.clone();
                answered.tasks[number] = if self.good == Some(*token) || !self.is_strict {
                    answered.issued += 1;
                    answered.good = Some(answered.issued);
                    Task::Answered(*token, *at, answered.issued)
                } else {
                    answered.good = None;
                    Task::Refused
                };
                if self.losses > 0 {
                    into.push(Self { losses: 0, ..answered.with(number, Task::Failed) });
                    into.push(Self { losses: 0, ..self.with(number, Task::Failed) });
                }
                // Nobody waits for longer, so no answer comes later.
                let in_time = self.seconds < at + TIMEOUT.as_secs();
                into.push(if in_time { answered } else { self.with(number, Task::Failed) });
            }
            Task::Answered(sent, at, new) => {
                into.push(load(&|record| Task::Keeping(*sent, *at, *new, record)));
            }
            Task::Keeping(sent, at, new, record) => {
                let (before, mut record) = (record.token, record.clone());
                if !(functions.complete)(&mut record.life, me, now, Some(now), true) {
                    into.push(self.with(number, Task::Done));
                    return Ok(());
                }
                record.token = *new;
                let state = self.saved(number, &record, Task::Done, Task::Answered(*sent, *at, *new));
                if state.tasks[number] == Task::Done && before != *sent {
                    return Err(format!("no answer over another: {new} came for {sent}, and {before} was there"));
                }
                into.push(state);
            }
            Task::Failed => into.push(load(&Task::GivingBack)),
            Task::GivingBack(record) => {
                let mut record = record.clone();
                if (functions.fail)(&mut record.life, me, now, &RULES) {
                    into.push(self.saved(number, &record, Task::Idle, Task::Failed));
                } else {
                    into.push(self.with(number, Task::Idle));
                }
            }
            Task::Refused => into.push(Self { record: None, ..self.with(number, Task::Done) }),
        }
        Ok(())
    }

    /// Nobody sends a token that somebody else is sending; or has an answer for, for 20 s.
    fn check(&self) -> Result<(), String> {
        let holds = |task: &Task| match task {
            Task::Sent(token, at) => Some((*token, *at)),
            Task::Answered(token, at, _) | Task::Keeping(token, at, ..) => Some((*token, *at)),
            _ => None,
        };
        for (number, task) in self.tasks.iter().enumerate() {
            let Task::Sent(token, since) = task else { continue };
            for other in self.tasks.iter().enumerate().filter(|(other, _)| *other != number) {
                if let Some((same, at)) = holds(other.1)
                    && same == *token
                    && at <= *since
                    && (*since < at + 20 || (matches!(other.1, Task::Sent(..)) && *since < at + 10))
                {
                    return Err(format!("no token used twice: {token} by two"));
                }
            }
        }
        Ok(())
    }
}
