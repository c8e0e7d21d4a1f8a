//! The system that is explored: two processes of the real code over one store, a provider, browsers, and a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use sekisho_core::{Clock, UnixSeconds};
use sekisho_http::HeadParts;
use sekisho_session::{RequestSession, SessionKey, SessionKeys, Sessions, SetCookie};
use sekisho_testkit::FixedClock;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use super::gate::{Broken, Disk, Gate, Gated};
use super::properties::{Log, Send};
use super::provider::{Idp, Line};
use crate::session::tests::world::{Browser, CALL, START, logout_token, text};
use crate::session::{AccessError, Bff, RelyingParty};

/// Is what a browser, or the provider, sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    /// Asks for an access token, as a proxied call does.
    Token,
    /// Comes back from the provider with a code: `sid/login`. With the `sid` of before it is a step-up.
    LogIn(&'static str),
    LogOut,
    /// Gives the session a new id.
    Rotate,
    /// Adds to the application's data.
    Write(u32),
    /// Ends the session at the provider, which says so.
    Backchannel(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) request: Request,
    pub(super) process: usize,
    pub(super) browser: usize,
}

/// Says what is explored: who sends what, and how much may go wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Scenario {
    /// `sid/login` of each browser that is logged in at the start.
    pub(super) browsers: &'static [&'static str],
    pub(super) requests: Vec<Sent>,
    /// Seconds that pass before the first request.
    pub(super) age: u64,
    /// Seconds that pass at once, at any time, in this order.
    pub(super) ticks: &'static [u64],
    pub(super) crashes: usize,
    /// Calls that fail, whose answer is lost, or that happen after the caller gave up.
    pub(super) faults: usize,
    /// How often a process that waits is let on.
    pub(super) moments: usize,
    pub(super) broken: Option<Broken>,
}

/// Is one step of the system.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The next request is sent.
    Start,
    /// This call of this process happens, and is answered.
    Go(usize, usize),
    /// It happens, and the answer is lost.
    Lose(usize, usize),
    /// It does not happen, and the caller is told of trouble.
    Refuse(usize, usize),
    /// The caller gives up, and it happens later.
    Delay(usize, usize),
    Arrive(usize),
    /// The process dies and another takes its place.
    Crash(usize),
    /// It happens, and then the process dies.
    CrashAfter(usize, usize),
    /// Who sleeps for a moment wakes up.
    Moment(usize),
    Tick,
}

pub(super) struct System {
    pub(super) scenario: Scenario,
    clock: FixedClock,
    disk: Arc<Disk>,
    idp: Arc<Idp>,
    key: SessionKey,
    processes: Vec<Process>,
    browsers: Vec<Browser>,
    observer: Sessions,
    late: Vec<(String, Box<dyn FnOnce() -> String + std::marker::Send>)>,
    started: usize,
    ticked: usize,
    crashed: usize,
    faulted: usize,
    moments: usize,
    pub(super) log: Log,
    story: Vec<String>,
}

struct Process {
    runtime: Runtime,
    bff: Bff,
    gate: Arc<Gate>,
    done: Arc<Mutex<Vec<(usize, Outcome)>>>,
    running: BTreeSet<usize>,
    /// All that it was told since it began: what it is follows from it.
    history: DefaultHasher,
    life: usize,
}

/// Is what came of a request.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) token: Option<String>,
    /// A write went into the session that it was meant for, as far as its request was told.
    pub(super) kept: bool,
    set: Vec<(String, Option<String>)>,
}

/// Is what a cookie leads to.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) handle: String,
    pub(super) sid: Option<String>,
    pub(super) logged_in_at: u64,
    pub(super) items: Vec<u32>,
}

#[derive(Default, Serialize, Deserialize)]
struct Cart {
    items: Vec<u32>,
}

impl System {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let clock = FixedClock::at(START);
        let (disk, idp) = (Arc::new(Disk::new(scenario.broken)), Arc::new(Idp::new(&clock, scenario.broken)));
        let key = SessionKey::generate().unwrap();
        let observer = Sessions::builder(Arc::clone(&disk) as _, SessionKeys::new(key.clone()));
        let watch =
            if scenario.broken == Some(Broken::TimeStandsStill) { FixedClock::at(START) } else { clock.clone() };
        let observer = observer.with_clock(Arc::new(watch)).build().unwrap();
        let mut system = Self {
            scenario: scenario.clone(),
            clock,
            disk,
            idp,
            key,
            processes: Vec::new(),
            browsers: Vec::new(),
            observer,
            late: Vec::new(),
            started: 0,
            ticked: 0,
            crashed: 0,
            faulted: 0,
            moments: 0,
            log: Log::default(),
            story: Vec::new(),
        };
        system.processes = (0..2).map(|number| system.process(number, 0, true)).collect();
        system.set_up();
        system
    }

    fn process(&self, number: usize, life: usize, is_open: bool) -> Process {
        let gate = Arc::new(Gate::new(format!("{number}.{life}"), is_open));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let keys = SessionKeys::new(self.key.clone());
        let store = Gated { disk: Arc::clone(&self.disk), gate: Arc::clone(&gate) };
        let clock: Arc<dyn Clock> = match self.scenario.broken {
            Some(Broken::ClockAhead) if number == 1 => Arc::new(Ahead(self.clock.clone())),
            _ => Arc::new(self.clock.clone()),
        };
        let sessions = Sessions::builder(Arc::new(store), keys.clone()).with_clock(Arc::clone(&clock)).build().unwrap();
        let line = Line { idp: Arc::clone(&self.idp), gate: Arc::clone(&gate) };
        let party = RelyingParty::builder(sessions, keys).with_protocol("main", Arc::new(line)).with_clock(clock);
        let bff = Bff::builder(party.build().unwrap()).build().unwrap();
        let (done, running, history) = Default::default();
        Process { runtime, bff, gate, done, running, history, life }
    }

    fn set_up(&mut self) {
        let process = &self.processes[0];
        for login in self.scenario.browsers {
            let mut browser = Browser::default();
            process.runtime.block_on(async {
                let state = browser.begin(&process.bff, "").await;
                assert_eq!(browser.return_with(&process.bff, &state, login).await.status(), 303);
            });
            self.browsers.push(browser);
        }
        // A login ends where it began, so what was begun at the provider is no step.
        for sent in self.scenario.requests.clone() {
            if let Request::LogIn(_) = sent.request {
                while self.browsers.len() <= sent.browser {
                    self.browsers.push(Browser::default());
                }
                let browser = &mut self.browsers[sent.browser];
                let state = process.runtime.block_on(browser.begin(&process.bff, ""));
                self.log.states.push(state);
            } else {
                self.log.states.push(String::new());
            }
        }
        for browser in 0..self.browsers.len() {
            self.learn(browser, usize::MAX);
        }
        for process in &self.processes {
            process.gate.close();
        }
        self.pass(self.scenario.age);
        self.log.active_at = self.now();
        self.log.outcomes = vec![None; self.scenario.requests.len()];
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        for process in &self.processes {
            process.runtime.block_on(tokio::time::advance(Duration::from_secs(seconds)));
        }
    }

    /// Lists what can happen next.
    pub(super) fn enabled(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        let (may_crash, may_fail) = (self.crashed < self.scenario.crashes, self.faulted < self.scenario.faults);
        for (number, process) in self.processes.iter().enumerate() {
            let waiting = process.gate.waiting();
            for (call, label) in &waiting {
                actions.push(Action::Go(number, *call));
                if may_crash {
                    actions.push(Action::CrashAfter(number, *call));
                }
                if may_fail {
                    actions.extend([Action::Lose(number, *call), Action::Refuse(number, *call)]);
                    // What only reads changes nothing later.
                    if !label.starts_with("load") && label != "list" {
                        actions.push(Action::Delay(number, *call));
                    }
                }
            }
            if may_crash && !waiting.is_empty() {
                actions.push(Action::Crash(number));
            }
            if waiting.is_empty() && !process.running.is_empty() && self.moments < self.scenario.moments {
                actions.push(Action::Moment(number));
            }
        }
        if self.started < self.scenario.requests.len() {
            actions.push(Action::Start);
        }
        actions.extend((0..self.late.len()).map(Action::Arrive));
        if self.ticked < self.scenario.ticks.len() {
            actions.push(Action::Tick);
        }
        actions
    }

    /// Does it, lets the processes run until all of them wait, and checks the properties.
    pub(super) fn apply(&mut self, action: Action) -> Result<(), String> {
        if action != Action::Tick || self.processes.iter().any(|process| !process.running.is_empty()) {
            self.log.active_at = self.now();
        }
        let told = match action {
            Action::Start => self.start(),
            Action::Go(number, call) => {
                let call = self.processes[number].gate.take(call);
                let label = call.label.clone();
                let shown = call.answer();
                self.tell(number, format!("{label}: {shown}"))
            }
            Action::Lose(number, call) => {
                let call = self.processes[number].gate.take(call);
                let label = call.label.clone();
                let shown = call.lose();
                self.fault(number, format!("{label}: {shown}"))
            }
            Action::Refuse(number, call) => {
                let call = self.processes[number].gate.take(call);
                let label = call.label.clone();
                call.refuse();
                self.fault(number, format!("{label}: refused"))
            }
            Action::Delay(number, call) => {
                let (label, happen) = self.processes[number].gate.take(call).delay();
                self.late.push((label.clone(), happen));
                self.fault(number, format!("{label}: given up, under way still"))
            }
            Action::Arrive(place) => {
                let (label, happen) = self.late.remove(place);
                format!("late, {label}: {}", happen())
            }
            Action::Crash(number) => self.crash(number),
            Action::CrashAfter(number, call) => {
                let call = self.processes[number].gate.take(call);
                let shown = format!("{}: {}", call.label.clone(), (call.happen)());
                format!("{shown}, and {}", self.crash(number))
            }
            Action::Moment(number) => {
                self.moments += 1;
                self.processes[number].runtime.block_on(tokio::time::advance(Duration::from_millis(60)));
                self.tell(number, "a moment".to_owned())
            }
            Action::Tick => {
                let seconds = self.scenario.ticks[self.ticked];
                self.ticked += 1;
                self.pass(seconds);
                for number in 0..self.processes.len() {
                    self.tell(number, format!("{seconds} s"));
                }
                format!("{seconds} s pass")
            }
        };
        self.story.push(told);
        for number in 0..self.processes.len() {
            self.settle(number);
        }
        super::properties::check(self)
    }

    fn tell(&mut self, number: usize, event: String) -> String {
        event.hash(&mut self.processes[number].history);
        format!("process {number}: {event}")
    }

    fn fault(&mut self, number: usize, event: String) -> String {
        self.faulted += 1;
        self.log.lost(number);
        self.tell(number, event)
    }

    fn crash(&mut self, number: usize) -> String {
        self.crashed += 1;
        self.log.lost(number);
        let life = self.processes[number].life + 1;
        self.processes[number] = self.process(number, life, false);
        format!("process {number} dies")
    }

    fn start(&mut self) -> String {
        let place = self.started;
        self.started += 1;
        let Sent { request, process: number, browser } = self.scenario.requests[place];
        if let Request::Backchannel(sid) = request {
            self.idp.end(sid);
        }
        let jar = self.browsers.get(browser).cloned().unwrap_or_default();
        self.log.begun.insert(place, self.look(&jar).unwrap_or_default());
        let state = self.log.states[place].clone();
        let process = &mut self.processes[number];
        let (bff, done) = (process.bff.clone(), Arc::clone(&process.done));
        process.running.insert(place);
        process.runtime.spawn(async move {
            let outcome = send(&bff, jar, request, &state).await;
            done.lock().unwrap().push((place, outcome));
        });
        self.tell(number, format!("{request:?} of browser {browser}"))
    }

    /// Lets a process run until all of it waits.
    fn settle(&mut self, number: usize) {
        let process = &self.processes[number];
        process.runtime.block_on(async {
            let mut calm = 0;
            while calm < 8 {
                let before = (process.gate.waiting().len(), process.done.lock().unwrap().len());
                tokio::task::yield_now().await;
                let after = (process.gate.waiting().len(), process.done.lock().unwrap().len());
                calm = if before == after { calm + 1 } else { 0 };
            }
        });
        let life = process.life;
        for (call, label) in process.gate.waiting() {
            if label.starts_with("refresh ") {
                let send = Send { token: label, by: (number, life, call), at: self.now(), is_lost: false };
                self.log.send(send);
            }
        }
        let done = std::mem::take(&mut *self.processes[number].done.lock().unwrap());
        for (place, outcome) in done {
            self.processes[number].running.remove(&place);
            let browser = self.scenario.requests[place].browser;
            if let Some(jar) = self.browsers.get_mut(browser) {
                for (name, value) in &outcome.set {
                    match value {
                        Some(value) => jar.0.insert(name.clone(), value.clone()),
                        None => jar.0.remove(name),
                    };
                }
                self.learn(browser, place);
            }
            self.story.push(format!(
                "    request {place} is answered: {} {}",
                outcome.status,
                outcome.token.as_deref().unwrap_or_default()
            ));
            self.log.outcomes[place] = Some(outcome);
            self.log.ended(place, self.scenario.requests[place].request);
        }
    }

    /// Notes a cookie that is new.
    fn learn(&mut self, browser: usize, by: usize) {
        if let Some(cookie) = self.browsers[browser].0.get("__Host-session") {
            self.log.cookies.entry(cookie.clone()).or_insert(by);
        }
    }

    /// Looks where a browser's cookies lead, past all gates.
    pub(super) fn look(&self, browser: &Browser) -> Option<Seen> {
        let cookie = browser.0.get("__Host-session")?;
        self.look_by(cookie)
    }

    pub(super) fn jar(&self, browser: usize) -> Option<Seen> {
        self.look(self.browsers.get(browser)?)
    }

    pub(super) fn look_by(&self, cookie: &str) -> Option<Seen> {
        let cookie = format!("__Host-session={cookie}");
        let headers: &[(&str, &[u8])] = &[("cookie", cookie.as_bytes())];
        let session = self.observer.begin(&HeadParts { method: "GET", path: "/", headers });
        session.load_quietly(None).now_or_never().unwrap().ok()?;
        let principal = session.principal().unwrap()?;
        let items = cart_of(&session);
        Some(Seen {
            handle: session.id()?.as_str().to_owned(),
            sid: principal.session_id().map(Into::into),
            logged_in_at: principal.authenticated_at().map_or(0, UnixSeconds::as_secs),
            items,
        })
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut into = DefaultHasher::new();
        for process in &self.processes {
            (process.life, process.history.finish()).hash(&mut into);
        }
        self.disk.digest(self.clock.now(), &mut into);
        self.idp.digest(&mut into);
        for browser in &self.browsers {
            let cookies: BTreeMap<_, _> =
                browser.0.iter().filter(|(name, _)| name.starts_with("__Host-session")).collect();
            cookies.values().map(|value| self.log.cookies.get(*value)).collect::<Vec<_>>().hash(&mut into);
        }
        let late: Vec<&String> = self.late.iter().map(|(label, _)| label).collect();
        (late, self.now(), self.started, self.ticked).hash(&mut into);
        (self.crashed, self.faulted, self.moments).hash(&mut into);
        self.log.digest(&mut into);
        into.finish()
    }

    pub(super) fn story(&self) -> String {
        self.story.join("\n")
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, numbers) = match self {
            Self::Start => ("start", vec![]),
            Self::Go(a, b) => ("go", vec![a, b]),
            Self::Lose(a, b) => ("lose", vec![a, b]),
            Self::Refuse(a, b) => ("refuse", vec![a, b]),
            Self::Delay(a, b) => ("delay", vec![a, b]),
            Self::Arrive(a) => ("arrive", vec![a]),
            Self::Crash(a) => ("crash", vec![a]),
            Self::CrashAfter(a, b) => ("crash after", vec![a, b]),
            Self::Moment(a) => ("moment", vec![a]),
            Self::Tick => ("tick", vec![]),
        };
        write!(f, "{name}{numbers:?}")
    }
}

/// Is a clock that is ahead by more than a mark counts.
#[derive(Debug)]
struct Ahead(FixedClock);

impl Clock for Ahead {
    fn now(&self) -> UnixSeconds {
        self.0.now().saturating_add(super::properties::LEASE)
    }
}

pub(super) fn sid_in(token: &str) -> String {
    use base64_simd::URL_SAFE_NO_PAD;
    let claims = URL_SAFE_NO_PAD.decode_to_vec(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["sid"].as_str().unwrap().to_owned()
}

fn cart_of(session: &RequestSession) -> Vec<u32> {
    session
        .session::<Cart>(None)
        .now_or_never()
        .and_then(Result::ok)
        .map(|cart| cart.data().items.clone())
        .unwrap_or_default()
}

async fn send(bff: &Bff, mut jar: Browser, request: Request, state: &str) -> Outcome {
    let before = jar.0.clone();
    let mut outcome = Outcome { status: 200, token: None, kept: false, set: Vec::new() };
    match request {
        Request::Token => {
            let session = jar.session(bff);
            match bff.party().access_token(&session).await {
                Ok(token) => outcome.token = Some(text(token.secret())),
                Err(AccessError::SignedOut | AccessError::Over) => outcome.status = 401,
                Err(AccessError::Failure(_)) => outcome.status = 503,
            }
            finish(&session, &mut jar, &mut outcome).await;
        }
        Request::Rotate => {
            let session = jar.session(bff);
            if session.load(None).await.is_err() {
                outcome.status = 503;
                return outcome;
            }
            if session.id().is_some() {
                session.rotate();
            }
            finish(&session, &mut jar, &mut outcome).await;
        }
        Request::Write(item) => {
            let session = jar.session(bff);
            match session.session::<Cart>(None).await {
                Ok(mut cart) if cart.id().is_some() => cart.update(move |cart| cart.items.push(item)),
                Ok(_) => outcome.status = 401,
                Err(_) => outcome.status = 503,
            }
            finish(&session, &mut jar, &mut outcome).await;
            outcome.kept = outcome.status == 200 && session.id().is_some();
        }
        Request::LogIn(login) => outcome.status = jar.return_with(bff, state, login).await.status(),
        Request::LogOut => outcome.status = jar.send(bff, "POST", "/bff/logout", CALL, "").await.status(),
        Request::Backchannel(sid) => {
            let token = logout_token(crate::session::tests::world::ISSUER, Some(sid), None);
            let form = format!("logout_token={token}");
            outcome.status = Browser::default().send(bff, "POST", "/bff/backchannel", &[], &form).await.status();
        }
    }
    let removed = before.keys().filter(|name| !jar.0.contains_key(*name)).map(|name| (name.clone(), None));
    let changed = jar.0.iter().filter(|(name, value)| before.get(*name) != Some(*value));
    outcome.set = removed.chain(changed.map(|(name, value)| (name.clone(), Some(value.clone())))).collect();
    outcome
}

async fn finish(session: &RequestSession, jar: &mut Browser, outcome: &mut Outcome) {
    let set: Result<Vec<SetCookie>, _> = session.finish().await;
    match set {
        Ok(set) => jar.take(&set),
        Err(_) => (outcome.status, outcome.token) = (503, outcome.token.take()),
    }
}
