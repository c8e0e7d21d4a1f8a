use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{DecisionSource, Effect, Obligation, Principal, Resource, UnixSeconds, role, scope};

use super::*;

mod beside;
mod standing_in;

pub(super) fn alice() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice")
        .with_scope("read")
        .with_claim("jti", "g1.t1")
        .with_claim("sid", "s1")
        .with_expiry(UnixSeconds::new(1000))
        .build()
        .unwrap()
}

pub(super) fn ask<'a>(subject: &'a Principal, action: &'a str, now: u64) -> AccessRequest<'a> {
    AccessRequest::new(subject, action, Resource::new("order", "42"), UnixSeconds::new(now))
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

/// Says what it was told to say, at once or after a while, and counts how often it was asked.
#[derive(Clone)]
pub(super) struct Scripted(Arc<Script>);

pub(super) struct Script {
    name: String,
    said: Mutex<Said>,
    pub(super) decision: Decision,
    waits: bool,
    pub(super) asked: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Permit,
    Deny,
    Silent,
    Fail,
}
use Said::{Deny, Fail, Permit, Silent};

impl Scripted {
    pub(super) fn new(name: &str, said: Said, waits: bool) -> Self {
        let name = name.to_owned();
        let decision = Decision::permit();
        Self(Arc::new(Script { name, said: Mutex::new(said), decision, waits, asked: AtomicUsize::new(0) }))
    }

    pub(super) fn local(name: &str, said: Said) -> Self {
        Self::new(name, said, false)
    }

    pub(super) fn remote(name: &str, said: Said) -> Self {
        Self::new(name, said, true)
    }

    /// Permits with this.
    pub(super) fn with(self, decision: Decision) -> Self {
        let Script { name, said, waits, .. } = &*self.0;
        let (name, said, waits) = (name.clone(), Mutex::new(*said.lock().unwrap()), *waits);
        Self(Arc::new(Script { name, said, decision, waits, asked: AtomicUsize::new(0) }))
    }

    pub(super) fn now_says(&self, said: Said) {
        *self.0.said.lock().unwrap() = said;
    }

    pub(super) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::Relaxed)
    }

    fn outcome(&self) -> Result<Decision, Failure> {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        let source = if self.0.waits { DecisionSource::Remote } else { DecisionSource::Local };
        match *self.0.said.lock().unwrap() {
            Permit => Ok(self.0.decision.clone().with_source(source)),
            Deny => Ok(Decision::deny(Denial::Forbidden { reason: "no" }).with_source(source)),
            Silent => Ok(Decision::not_applicable().with_source(source)),
            Fail => Err(Failure::unavailable("down")),
        }
    }
}

#[async_trait]
impl Authorize for Scripted {
    fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        (!self.0.waits).then(|| self.outcome())
    }

    async fn decide(&self, _: &AccessRequest<'_>) -> Result<Decision, Failure> {
        if self.0.waits {
            tokio::task::yield_now().await;
        }
        self.outcome()
    }

    fn outline(&self) -> Outline {
        Outline::leaf(&*self.0.name)
    }
}

pub(super) fn said(outcome: &Result<Decision, Failure>) -> Said {
    match outcome.as_ref().map(Decision::effect) {
        Ok(Effect::Permit) => Permit,
        Ok(Effect::Deny) => Deny,
        Ok(Effect::NotApplicable) => Silent,
        Err(_) => Fail,
    }
}

/// The values of XACML 3.0 §7.10 and appendix C.1 (`IB` is `Indeterminate{DP}`: it could have been both): the algorithms below fold them two by two, as
/// tables, and know nothing of the code that they check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    P,
    D,
    N,
    IP,
    ID,
    IB,
}
use Value::{D, IB, ID, IP, N, P};

const VALUES: [Value; 6] = [P, D, N, IP, ID, IB];

/// C.2: rows and columns in the order of [`VALUES`].
const DENY_OVERRIDES: [[Value; 6]; 6] = [
    [P, D, P, P, IB, IB],
    [D, D, D, D, D, D],
    [P, D, N, IP, ID, IB],
    [P, D, IP, IP, IB, IB],
    [IB, D, ID, IB, ID, IB],
    [IB, D, IB, IB, IB, IB],
];

/// C.4.
const PERMIT_OVERRIDES: [[Value; 6]; 6] = [
    [P, P, P, P, P, P],
    [P, D, D, IB, D, IB],
    [P, D, N, IP, ID, IB],
    [P, IB, IP, IP, IB, IB],
    [P, D, ID, IB, ID, IB],
    [P, IB, IB, IB, IB, IB],
];

/// Not XACML's: what does not permit denies; `N` is the start.
fn each_permits(values: &[Value]) -> Value {
    if values.is_empty() {
        N
    } else if values.iter().any(|value| matches!(value, D | N)) {
        D
    } else if values.iter().all(|value| *value == P) {
        P
    } else {
        IB
    }
}

fn by_table(table: &[[Value; 6]; 6], values: &[Value]) -> Value {
    let place = |value: Value| VALUES.iter().position(|one| *one == value).unwrap();
    values.iter().fold(N, |sum, value| table[place(sum)][place(*value)])
}

fn reference(algorithm: Algorithm, values: &[Value]) -> Said {
    let value = match algorithm {
        Algorithm::DenyOverrides => by_table(&DENY_OVERRIDES, values),
        Algorithm::PermitOverrides => by_table(&PERMIT_OVERRIDES, values),
        Algorithm::FirstApplicable => values.iter().copied().find(|value| *value != N).unwrap_or(N),
        Algorithm::AllMustPermit => each_permits(values),
    };
    match value {
        P => Permit,
        D => Deny,
        N => Silent,
        IP | ID | IB => Fail,
    }
}

/// One branch: what its authorizer says, whether it waits, and whether it is a rule of one effect.
fn branch_of(value: Value, waits: bool, plain: bool) -> Branch {
    let scripted = |said| Scripted::new("scripted", said, waits);
    match (value, plain) {
        (P, true) => Branch::from(scripted(Permit)),
        (P, false) => permit_if(scripted(Permit)),
        (D, true) => Branch::from(scripted(Deny)),
        (D, false) => deny_if(scripted(Permit)),
        (N, true) => Branch::from(scripted(Silent)),
        (N, false) => deny_if(scripted(Deny)),
        (IP, _) => permit_if(scripted(Fail)),
        (ID, _) => deny_if(scripted(Fail)),
        (IB, _) => Branch::from(scripted(Fail)),
    }
}

const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::DenyOverrides, Algorithm::PermitOverrides, Algorithm::FirstApplicable, Algorithm::AllMustPermit];

fn check(algorithm: Algorithm, branches: &[(Value, bool, bool)]) {
    let alice = alice();
    let request = ask(&alice, "read", 0);
    let values: Vec<Value> = branches.iter().map(|(value, ..)| *value).collect();
    let expected = reference(algorithm, &values);
    let made = branches.iter().map(|(value, waits, plain)| branch_of(*value, *waits, *plain));
    let combined = Combined::new(algorithm, made);
    let (decided, at_once, explained, many) = block_on(async {
        (
            combined.decide(&request).await,
            combined.clone().concurrently().decide(&request).await,
            combined.explain(&request).await,
            combined.decide_all(&[request.clone(), request.clone()], EvaluationsSemantic::ExecuteAll).await,
        )
    });
    let case = format!("{algorithm:?} of {branches:?}");
    assert_eq!(said(&decided), expected, "{case}");
    assert_eq!(said(&at_once), expected, "concurrently, {case}");
    assert_eq!(said(explained.outcome().unwrap()), expected, "explained, {case}");
    assert_eq!(many.iter().map(said).collect::<Vec<_>>(), [expected, expected], "of two, {case}");
    match combined.decide_now(&request) {
        Some(outcome) => assert_eq!(said(&outcome), expected, "at once, {case}"),
        None => assert!(branches.iter().any(|(_, waits, _)| *waits), "nobody waits, {case}"),
    }
    if expected == Permit {
        assert!(values.contains(&P), "a permit of nobody, {case}");
    }
}

#[test]
fn every_pair_of_outcomes_combines_as_the_tables_of_xacml_say() {
    for algorithm in ALGORITHMS {
        check(algorithm, &[]);
        for one in VALUES {
            check(algorithm, &[(one, false, true)]);
            for other in VALUES {
                for waits in [(false, false), (true, false), (false, true), (true, true)] {
                    for plain in [true, false] {
                        check(algorithm, &[(one, waits.0, plain), (other, waits.1, !plain)]);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_outcomes_in_any_order_combine_as_the_tables_of_xacml_say(
        branches in prop::collection::vec((prop::sample::select(&VALUES[..]), any::<bool>(), any::<bool>()), 0..7),
        algorithm in prop::sample::select(&ALGORITHMS[..]),
    ) {
        check(algorithm, &branches);
    }

    #[test]
    fn a_local_answer_is_the_one_that_waiting_for_all_would_give(
        local in prop::collection::vec(prop::sample::select(&VALUES[..]), 0..4),
        remote in prop::collection::vec(prop::sample::select(&VALUES[..]), 1..4),
        algorithm in prop::sample::select(&ALGORITHMS[..]),
    ) {
        let mut branches: Vec<_> = remote.iter().map(|value| (*value, true, true)).collect();
        branches.extend(local.iter().map(|value| (*value, false, true)));
        check(algorithm, &branches);
        branches.reverse();
        check(algorithm, &branches);
    }
}

#[test]
fn a_failure_that_could_have_been_a_denial_is_no_permit() {
    let alice = alice();
    let request = ask(&alice, "read", 0);
    for (branches, expected) in [
        (vec![Branch::from(Scripted::local("a", Permit)), Branch::from(Scripted::local("b", Fail))], Fail),
        (vec![Branch::from(Scripted::local("a", Permit)), deny_if(Scripted::local("b", Fail))], Fail),
        // A rule that can only permit has nothing to say against it.
        (vec![Branch::from(Scripted::local("a", Permit)), permit_if(Scripted::local("b", Fail))], Permit),
    ] {
        assert_eq!(said(&deny_overrides(branches).decide_now(&request).unwrap()), expected);
    }
}

#[test]
fn a_local_denial_asks_nobody_on_the_network() {
    let alice = alice();
    let request = ask(&alice, "read", 0);
    let remote = Scripted::remote("remote", Permit);
    let policies = deny_overrides([remote.clone(), Scripted::local("local", Deny)]);
    assert_eq!(said(&policies.decide_now(&request).unwrap()), Deny);
    assert_eq!(said(&block_on(policies.decide(&request))), Deny);
    assert_eq!(said(&block_on(policies.concurrently().decide(&request))), Deny);
    assert_eq!(remote.asked(), 0);
}

#[test]
fn in_order_nobody_is_asked_after_one_that_settles_it() {
    let alice = alice();
    let request = ask(&alice, "read", 0);
    let (first, last) = (Scripted::remote("first", Fail), Scripted::local("last", Permit));
    let policies = first_applicable([first.clone(), last.clone()]);
    assert!(policies.decide_now(&request).is_none());
    assert_eq!(said(&block_on(policies.decide(&request))), Fail);
    assert_eq!((first.asked(), last.asked()), (1, 0));
}

#[test]
fn one_that_never_answers_is_not_waited_for_when_another_settles_it_beside() {
    struct Never;
    #[async_trait]
    impl Authorize for Never {
        fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
            None
        }

        async fn decide(&self, _: &AccessRequest<'_>) -> Result<Decision, Failure> {
            std::future::pending().await
        }
    }
    let alice = alice();
    let request = ask(&alice, "read", 0);
    let policies = deny_overrides([Branch::from(Never), Branch::from(Scripted::remote("b", Deny))]).concurrently();
    assert_eq!(said(&block_on(policies.decide(&request))), Deny);
}

#[test]
fn obligations_and_reasons_are_those_of_the_branches_that_settled_it() {
    let alice = alice();
    let request = ask(&alice, "read", 0);
    let of = |reason: &str, obligation: &str, revision: &str, lifetime| {
        Decision::permit()
            .with_reason(reason)
            .with_obligation(Obligation::new(obligation))
            .with_revision(revision)
            .with_lifetime(Duration::from_secs(lifetime))
    };
    let one = Scripted::local("one", Permit).with(of("p1", "redact", "r1", 5));
    let two = Scripted::remote("two", Permit).with(of("p2", "log", "r2", 2));
    for combined in [deny_overrides([one.clone(), two.clone()]), all_must_permit([one.clone(), two.clone()])] {
        for combined in [combined.clone(), combined.concurrently()] {
            let decision = block_on(combined.decide(&request)).unwrap();
            assert_eq!(decision.reasons(), ["p1", "p2"]);
            assert_eq!(decision.obligations().iter().map(Obligation::id).collect::<Vec<_>>(), ["redact", "log"]);
            assert_eq!((decision.revision(), decision.lifetime()), (Some("r1,r2"), Some(Duration::from_secs(2))));
            assert_eq!(decision.source(), DecisionSource::Remote);
        }
    }
    // The first permit ends it; what the other would ask for is not known.
    let decision = block_on(permit_overrides([two, one]).decide(&request)).unwrap();
    assert_eq!(decision.obligations().iter().map(Obligation::id).collect::<Vec<_>>(), ["redact"]);
    // A denial does not carry the obligations of the permit that it was made of.
    let forbidden = deny_if(Scripted::local("x", Permit).with(of("p1", "redact", "r1", 5)));
    let decision = deny_overrides([forbidden]).decide_now(&request).unwrap().unwrap();
    assert_eq!((decision.effect(), decision.obligations().len()), (Effect::Deny, 0));
    assert_eq!(decision.reasons(), ["p1"]);
}

#[test]
fn of_several_denials_the_caller_is_told_the_one_that_can_be_mended() {
    let alice = alice();
    let policies = permit_overrides([role("admin"), scope("write")]);
    let decision = policies.decide_now(&ask(&alice, "write", 0)).unwrap().unwrap();
    assert!(matches!(decision.denial(), Some(Denial::InsufficientScope { .. })), "{decision:?}");
}

#[test]
fn the_tree_prints_itself() {
    let policies = deny_overrides([
        deny_if(role("suspended")),
        Branch::from(permit_overrides([scope("read"), role("admin")])).named("who may read"),
        Branch::from(local_then_remote(scope("read"), Scripted::remote("decision service", Permit))),
    ]);
    assert_eq!(
        policies.outline().to_string(),
        "\
deny_overrides
  deny if
    role suspended
  who may read
    permit_overrides
      scope read
      role admin
  local_then_remote
    scope read
    decision service
"
    );
}

#[test]
fn an_explanation_marks_what_settled_it_and_shows_who_was_not_asked() {
    let alice = alice();
    let request = ask(&alice, "read", 0);
    let policies = deny_overrides([
        Branch::from(Scripted::remote("decision service", Permit)),
        Branch::from(scope("read")),
        deny_if(Scripted::local("closed today", Permit)).named("calendar"),
    ]);
    assert_eq!(
        block_on(policies.explain(&request)).to_string(),
        "\
* deny_overrides: deny, a rule forbids it
    decision service: not asked
    scope read: permit
*   calendar: deny, a rule forbids it
*     deny if: deny, a rule forbids it
*       closed today: permit
"
    );
    let policies =
        first_applicable([Scripted::local("a", Silent), Scripted::remote("b", Fail), Scripted::local("c", Permit)]);
    assert_eq!(
        block_on(policies.explain(&request)).to_string(),
        "\
* first_applicable: error, down
    a: not_applicable
*   b: error, down
    c: not asked
"
    );
    let policies = all_must_permit([Scripted::local("a", Permit), Scripted::local("b", Silent)]);
    assert_eq!(
        block_on(policies.explain(&request)).to_string(),
        "\
* all_must_permit: deny, not all that must permit it do
    a: permit
*   b: not_applicable
"
    );
}
