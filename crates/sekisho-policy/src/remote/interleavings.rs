//! Every order of steps of what is remembered and shared of decisions, by `shuttle`.
//!
//! Real is all of `Remote`: keys, generations, cache, single flight, revisions, with their locks and atomics taken from
//! `shuttle`; its bounds run with a clock that stands still. Stood in for are the service, which decides in one step with others
//! before and after it, and tokio's tasks (threads, and a `block_on` of `shuttle`'s).
//!
//! Run: `RUSTFLAGS="--cfg sekisho_shuttle" cargo test -p sekisho-policy --features remote --lib --target-dir target/shuttle shuttle`
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{
    AccessRequest, Authorize as _, Decision, DecisionSource, EvaluationsSemantic, Failure, Principal, Resource,
    SubjectId, UnixSeconds,
};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use shuttle::future::{block_on, yield_now};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::{Config, Runner, thread};

use super::{DecisionProtocol, Remote, RemoteBuilder};

const SCHEDULES: usize = 500;
const ISSUER: &str = "https://id.example";
const NOW: u64 = 1_000_000;

/// Explores schedules at random and by bounded preemption.
pub(super) fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    // Its clock stands still, so no deadline is ever the reason of anything.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    run(RandomScheduler::new(SCHEDULES), test.clone());
    run(PctScheduler::new(4, SCHEDULES), test);
}

fn run(scheduler: impl Scheduler + 'static, test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 19;
    Runner::new(scheduler, config).run(test);
}

/// Is a decision service: what it says depends on the rights of the moment, and it counts how often it was asked.
#[derive(Debug)]
struct Service {
    rights: AtomicU64,
    policies: AtomicU64,
    asked: AtomicU64,
}

#[async_trait]
impl HttpClient for Service {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        yield_now().await;
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (rights, policies) = (self.rights.load(Ordering::SeqCst), self.policies.load(Ordering::SeqCst));
        yield_now().await;
        let body = format!("{rights} {policies} {}", request.url);
        Ok(HttpResponse { status: 200, headers: Vec::new(), body: body.into_bytes() })
    }
}

/// Asks with the time of the question for an address. A decision's id says by which rights, and for which time it was made.
struct Language {
    has_revisions: bool,
}

impl Language {
    fn decision(&self, response: &HttpResponse) -> Decision {
        let text = std::str::from_utf8(&response.body).unwrap();
        let mut parts = text.split(' ');
        let (rights, policies, at) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let decision = Decision::permit().with_id(format!("{rights} {at}"));
        if self.has_revisions { decision.with_revision(policies) } else { decision }
    }
}

#[async_trait]
impl DecisionProtocol for Language {
    fn name(&self) -> &'static str {
        "model"
    }

    async fn ask(&self, request: &AccessRequest<'_>) -> Result<HttpRequest, Failure> {
        yield_now().await;
        Ok(HttpRequest::get(request.now().as_secs().to_string()))
    }

    fn read(&self, response: &HttpResponse) -> Result<Decision, Failure> {
        Ok(self.decision(response))
    }

    fn max_batch(&self) -> usize {
        2
    }

    async fn ask_all(&self, requests: &[AccessRequest<'_>], _: EvaluationsSemantic) -> Result<HttpRequest, Failure> {
        self.ask(requests.first().unwrap()).await
    }

    fn read_all(
        &self,
        response: &HttpResponse,
        count: usize,
        _: EvaluationsSemantic,
    ) -> Result<Vec<Result<Decision, Failure>>, Failure> {
        Ok(vec![Ok(self.decision(response)); count])
    }
}

/// Is one process and its decision service.
struct World {
    service: Arc<Service>,
    remote: Remote,
    alice: Principal,
}

/// Is an answer, taken apart.
#[derive(Debug)]
struct Answer {
    rights: u64,
    /// Of the question that it was made for.
    at: u64,
    revision: u64,
    is_kept: bool,
}

impl Answer {
    fn of(decision: &Decision) -> Self {
        let (rights, at) = decision.id().unwrap().split_once(' ').unwrap();
        Self {
            rights: rights.parse().unwrap(),
            at: at.parse().unwrap(),
            revision: decision.revision().map_or(0, |revision| revision.parse().unwrap()),
            is_kept: decision.source() == DecisionSource::Cache,
        }
    }
}

impl World {
    fn new() -> Arc<Self> {
        Self::with(false, |builder| builder)
    }

    fn with(has_revisions: bool, set: impl FnOnce(RemoteBuilder) -> RemoteBuilder) -> Arc<Self> {
        let one = || AtomicU64::new(1);
        let service = Arc::new(Service { rights: one(), policies: one(), asked: AtomicU64::new(0) });
        let builder = Remote::builder(Language { has_revisions }).with_client(Arc::clone(&service) as _);
        let remote = set(builder.without_hedge()).build().unwrap();
        let alice = PrincipalBuilder::new(ISSUER, "alice").with_claim("sid", "s-1").with_claim("jti", "g-1.t-1");
        Arc::new(Self { service, remote, alice: alice.build().unwrap() })
    }

    fn question(&self, order: &'static str, at: u64) -> AccessRequest<'_> {
        AccessRequest::new(&self.alice, "read", Resource::new("order", order), UnixSeconds::new(at))
    }

    /// Asks as an enforcer does.
    fn ask_about(&self, order: &'static str, at: u64) -> Answer {
        let question = self.question(order, at);
        let known = self.remote.decide_now(&question);
        Answer::of(&known.unwrap_or_else(|| block_on(self.remote.decide(&question))).unwrap())
    }

    fn ask_at(&self, at: u64) -> Answer {
        self.ask_about("42", at)
    }

    fn ask(&self) -> Answer {
        self.ask_at(NOW)
    }

    fn ask_batch(&self) -> Answer {
        let questions = [self.question("42", NOW), self.question("44", NOW)];
        let outcomes = block_on(self.remote.decide_all(&questions, EvaluationsSemantic::ExecuteAll));
        assert_eq!(outcomes.len(), 2);
        Answer::of(outcomes[0].as_ref().unwrap())
    }

    fn asked(&self) -> u64 {
        self.service.asked.load(Ordering::SeqCst)
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

/// Takes a right away and purges, while others ask, one by one and by batch.
fn nothing_of_before_is_told_after(purge: fn(&Remote)) {
    explore(move || {
        let (world, purged) = (World::new(), Arc::new(AtomicBool::new(false)));
        let asks = |run: fn(&World) -> Answer| {
            let purged = Arc::clone(&purged);
            spawn(&world, move |world| {
                for _ in 0..2 {
                    let was_purged = purged.load(Ordering::SeqCst);
                    let answer = run(world);
                    assert!(answer.rights == 2 || !was_purged, "{answer:?} of before the purge");
                }
            })
        };
        let others = [asks(World::ask), asks(World::ask), asks(World::ask_batch)];
        world.service.rights.store(2, Ordering::SeqCst);
        purge(&world.remote);
        purged.store(true, Ordering::SeqCst);
        assert_eq!((world.ask().rights, world.ask().rights), (2, 2));
        join(others);
        assert_eq!(world.ask().rights, 2);
    });
}

#[test]
fn shuttle_after_a_purge_of_a_subject_nobody_is_told_what_was_asked_before_it() {
    nothing_of_before_is_told_after(|remote| remote.purge_subject(&SubjectId::new(ISSUER, "alice")));
}

#[test]
fn shuttle_after_a_purge_of_a_session_nobody_is_told_what_was_asked_before_it() {
    nothing_of_before_is_told_after(|remote| remote.purge_session(ISSUER, "s-1"));
}

#[test]
fn shuttle_after_a_purge_of_everything_nobody_is_told_what_was_asked_before_it() {
    nothing_of_before_is_told_after(Remote::purge_all);
}

#[test]
fn shuttle_equal_questions_are_asked_once_and_all_are_answered() {
    explore(|| {
        let world = World::new();
        let ask = |world: &World| {
            assert_eq!((world.ask().rights, world.ask().is_kept), (1, true));
        };
        join([spawn(&world, ask), spawn(&world, ask), spawn(&world, ask)]);
        assert_eq!(world.asked(), 1);
    });
}

#[test]
fn shuttle_a_purge_costs_two_questions_more_and_no_more() {
    explore(|| {
        let world = World::new();
        let ask = |world: &World| drop(world.ask());
        let others = [spawn(&world, ask), spawn(&world, ask), spawn(&world, ask)];
        // Not by name: names that share a place are counted one after the other.
        world.remote.purge_all();
        world.ask();
        join(others);
        // One of before; one for all whose key is of before, and who come when the room has been made already; one of after.
        assert!(world.asked() <= 3, "{}", world.asked());
        assert!(world.ask().is_kept);
    });
}

#[test]
fn shuttle_who_goes_away_takes_nobody_with_him() {
    explore(|| {
        let world = World::new();
        let goes = |polls: usize| {
            spawn(&world, move |world| {
                block_on(async {
                    let question = world.question("42", NOW);
                    let mut asking = world.remote.decide(&question);
                    for _ in 0..polls {
                        if poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx).is_ready())).await {
                            return;
                        }
                        yield_now().await;
                    }
                });
            })
        };
        let stays = |world: &World| assert_eq!(world.ask().rights, 1);
        join([goes(1), goes(3), spawn(&world, stays), spawn(&world, stays)]);
        // A question is given up only when nobody is left who waits for it.
        assert!(world.asked() <= 3, "{}", world.asked());
    });
}

#[test]
fn shuttle_without_a_cache_who_asks_after_a_purge_shares_no_question_of_before_it() {
    explore(|| {
        let world = World::with(false, RemoteBuilder::without_cache);
        let others: Vec<_> = (0..3).map(|_| spawn(&world, |world| drop(world.ask()))).collect();
        world.service.rights.store(2, Ordering::SeqCst);
        world.remote.purge_token(ISSUER, "g-1.t-1");
        assert_eq!(world.ask().rights, 2);
        join(others);
    });
}

#[test]
fn shuttle_once_new_policies_have_spoken_nothing_is_remembered_of_the_old_ones() {
    explore(|| {
        let (world, is_new) = (World::with(true, |builder| builder), Arc::new(AtomicBool::new(false)));
        world.ask_about("43", NOW);
        let asker = |asks: [fn(&World) -> Answer; 2]| {
            let is_new = Arc::clone(&is_new);
            spawn(&world, move |world| {
                for ask in asks {
                    let was_new = is_new.load(Ordering::SeqCst);
                    let answer = ask(world);
                    assert!(!(was_new && answer.is_kept && answer.revision == 1), "{answer:?}");
                    if answer.revision == 2 {
                        is_new.store(true, Ordering::SeqCst);
                    }
                }
            })
        };
        let other = |world: &World| world.ask_about("43", NOW);
        world.service.policies.store(2, Ordering::SeqCst);
        join([asker([World::ask_batch, other]), asker([World::ask, other]), asker([other, other])]);
    });
}

/// Permits are kept for 5 s.
#[test]
fn shuttle_nothing_is_told_from_memory_beyond_its_lifetime_nor_before_its_time() {
    explore(|| {
        let world = World::new();
        let asks = |times: [u64; 2]| {
            spawn(&world, move |world| {
                for at in times {
                    let answer = world.ask_at(at);
                    let is_fresh = (answer.at..answer.at + 5).contains(&at);
                    assert!(is_fresh || !answer.is_kept, "at {at}: {answer:?}");
                }
            })
        };
        join([asks([NOW, NOW + 5]), asks([NOW + 4, NOW + 6]), asks([NOW + 9, NOW + 1])]);
    });
}

#[test]
fn shuttle_a_decision_of_a_credential_that_has_ended_is_not_told_from_memory() {
    explore(|| {
        let mut world = World::new();
        let ends = UnixSeconds::new(NOW + 2);
        let alice = PrincipalBuilder::new(ISSUER, "alice").with_expiry(ends).build().unwrap();
        Arc::get_mut(&mut world).unwrap().alice = alice;
        let asks = |at: u64| spawn(&world, move |world| assert!(!world.ask_at(at).is_kept || at < NOW + 2));
        join([asks(NOW), asks(NOW + 1), asks(NOW + 2), asks(NOW + 3)]);
    });
}
