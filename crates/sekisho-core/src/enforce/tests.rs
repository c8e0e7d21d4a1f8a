use std::sync::Mutex;

use super::*;
use crate::dangerous::PrincipalBuilder;
use crate::json::JsonObject;
use crate::{Principal, Resource, UnixSeconds, when};

const NOW: UnixSeconds = UnixSeconds::new(1_000_000);

/// Says the same to everybody; `waits` only after a while.
struct Fixed {
    outcome: Result<Decision, Failure>,
    waits: bool,
}

#[async_trait]
impl Authorize for Fixed {
    fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        (!self.waits).then(|| self.outcome.clone())
    }

    async fn decide(&self, _: &AccessRequest<'_>) -> Result<Decision, Failure> {
        self.outcome.clone()
    }
}

struct Handler {
    seen: Arc<Mutex<Vec<String>>>,
    works: bool,
}

#[async_trait]
impl ObligationHandler for Handler {
    async fn fulfil(&self, obligation: &Obligation, _: &AccessRequest<'_>) -> Result<(), Denial> {
        self.seen.lock().unwrap().push(obligation.id().to_owned());
        if self.works { Ok(()) } else { Err(Denial::Forbidden { reason: "the archive is closed" }) }
    }
}

fn alice() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice")
        .with_claim("acr", "silver")
        .with_claim("auth_time", NOW.as_secs() - 100)
        .build()
        .unwrap()
}

fn with(id: &str, parameters: &str) -> Obligation {
    Obligation::new(id).with_parameters(JsonObject::parse(parameters.as_bytes().to_vec()).unwrap())
}

/// Enforces at once and after waiting; both must come to the same.
fn enforce(enforcer: impl Fn(Fixed) -> Enforcer, decision: &Decision) -> Result<Permit, Barred> {
    let alice = alice();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), NOW);
    let fixed = |waits| Fixed { outcome: Ok(decision.clone()), waits };
    assert!(enforcer(fixed(true)).enforce_now(&request).is_none());
    let later = poll(enforcer(fixed(true)).enforce(&request));
    if let Some(now) = enforcer(fixed(false)).enforce_now(&request) {
        assert_eq!(now.is_ok(), later.is_ok(), "{now:?} {later:?}");
    }
    later
}

/// Nothing here waits for anything, so one poll is enough.
fn poll<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

fn denial(outcome: Result<Permit, Barred>) -> Denial {
    match outcome {
        Err(Barred::Denied { denial, .. }) => denial,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_passes_but_a_permit() {
    assert!(enforce(Enforcer::new, &Decision::permit()).is_ok());
    for decision in [
        Decision::not_applicable(),
        Decision::deny(Denial::Forbidden { reason: "closed" }),
        Decision::not_applicable().with_obligation(with("log", r#"{"message":"x"}"#)),
    ] {
        assert!(enforce(Enforcer::new, &decision).is_err(), "{decision:?}");
    }
    let alice = alice();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), NOW);
    let broken = Enforcer::new(Fixed { outcome: Err(Failure::unavailable("down")), waits: false });
    assert!(matches!(broken.enforce_now(&request), Some(Err(Barred::Failed(_)))));
    assert!(matches!(poll(broken.enforce(&request)), Err(Barred::Failed(_))));
}

#[test]
fn a_permit_with_an_obligation_that_nobody_knows_is_a_refusal() {
    for obligation in
        [Obligation::new("notify"), Obligation::new(""), Obligation::new("REDACT"), Obligation::new("redact")]
    {
        let decision = Decision::permit().with_obligation(obligation);
        assert!(enforce(Enforcer::new, &decision).is_err(), "{decision:?}");
    }
}

#[test]
fn all_obligations_are_tried_and_one_that_fails_bars_the_request() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let decision =
        Decision::permit().with_obligation(Obligation::new("archive")).with_obligation(Obligation::new("notify"));
    let enforcer = |works| {
        let seen = Arc::clone(&seen);
        move |fixed| {
            Enforcer::new(fixed)
                .with_obligation("archive", Handler { seen: Arc::clone(&seen), works })
                .with_obligation("notify", Handler { seen: Arc::clone(&seen), works: true })
        }
    };
    assert!(enforce(enforcer(true), &decision).is_ok());
    assert_eq!(*seen.lock().unwrap(), ["archive", "notify"]);
    seen.lock().unwrap().clear();
    assert_eq!(denial(enforce(enforcer(false), &decision)), Denial::Forbidden { reason: "the archive is closed" });
    assert_eq!(*seen.lock().unwrap(), ["archive", "notify"]);
}

#[test]
fn obligations_of_a_denial_are_fulfilled_and_it_stays_one() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let decision = Decision::deny(Denial::Forbidden { reason: "closed" }).with_obligation(Obligation::new("notify"));
    let enforcer =
        |fixed| Enforcer::new(fixed).with_obligation("notify", Handler { seen: Arc::clone(&seen), works: true });
    assert!(enforce(enforcer, &decision).is_err());
    assert_eq!(*seen.lock().unwrap(), ["notify"]);
}

#[test]
fn a_step_up_is_asked_for_unless_it_has_been_done() {
    for fulfilled in
        [r#"{"acr_values":["silver","gold"]}"#, r#"{"max_age":200}"#, r#"{"acr_values":["silver"],"max_age":101}"#]
    {
        assert!(enforce(Enforcer::new, &Decision::permit().with_obligation(with("step_up", fulfilled))).is_ok());
    }
    let gold =
        Decision::permit().with_obligation(with("step_up", r#"{"acr_values":["gold","platinum"],"max_age":50}"#));
    let asked = Denial::step_up(Some("gold platinum".into()), Some(Duration::from_secs(50)));
    assert_eq!(denial(enforce(Enforcer::new, &gold)), asked);
    for malformed in [
        "{}",
        r#"{"acr_values":[]}"#,
        r#"{"acr_values":"silver"}"#,
        r#"{"acr_values":[1]}"#,
        r#"{"max_age":-1}"#,
        r#"{"max_age":"200"}"#,
        r#"{"acr_values":["silver"],"max_age":null}"#,
    ] {
        let decision = Decision::permit().with_obligation(with("step_up", malformed));
        assert!(matches!(denial(enforce(Enforcer::new, &decision)), Denial::Forbidden { .. }), "{malformed}");
    }
}

#[test]
fn a_denial_that_a_step_up_would_mend_says_so() {
    let decision = Decision::not_applicable().with_obligation(with("step_up", r#"{"acr_values":["gold"]}"#));
    assert_eq!(denial(enforce(Enforcer::new, &decision)), Denial::step_up(Some("gold".into()), None));
}

#[test]
fn what_is_passed_on_stands_in_the_permit() {
    let redacting = |fixed| Enforcer::new(fixed).passing_on(Obligation::REDACT);
    let decision = Decision::permit()
        .with_obligation(with("redact", r#"{"fields":["iban","total"]}"#))
        .with_obligation(with("redact", r#"{"fields":["note"]}"#));
    let permit = enforce(redacting, &decision).unwrap();
    assert_eq!(permit.redactions().unwrap(), ["iban", "total", "note"]);
    for malformed in [r#"{"fields":"iban"}"#, "{}", r#"{"fields":[1]}"#] {
        let permit = enforce(redacting, &decision.clone().with_obligation(with("redact", malformed))).unwrap();
        assert_eq!(permit.redactions(), None, "{malformed}");
    }
    assert_eq!(enforce(redacting, &Decision::permit()).unwrap().redactions().unwrap(), Vec::<String>::new());
}

#[test]
fn debug_shows_the_rule_and_no_more() {
    let enforcer = Enforcer::new(when("open", |_| true)).passing_on("redact");
    assert!(format!("{enforcer:?}").contains("when open"));
}
