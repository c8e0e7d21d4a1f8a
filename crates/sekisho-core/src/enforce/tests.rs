use std::sync::Mutex;
use std::time::Duration;

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
        // She has done what is known of it; what is not known may ask for more.
        r#"{"acr_values":["silver"],"amr_values":["hwk"]}"#,
        r#"{"acr_values":["silver"],"amr_values":null}"#,
        r#"{"max_age":200,"amr":["hwk"]}"#,
        r#"{"acr_values":["silver"],"Max_age":50}"#,
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
    assert_eq!(enforce(redacting, &Decision::permit()).unwrap().redactions().unwrap(), Vec::<String>::new());
}

#[test]
fn a_permit_is_refused_when_nobody_can_read_what_must_not_be_shown() {
    let redacting = |fixed| Enforcer::new(fixed).passing_on(Obligation::REDACT);
    let many = format!(r#"{{"fields":["{}"]}}"#, vec!["a"; 257].join(r#"",""#));
    let deep = format!(r#"{{"fields":["{}"]}}"#, ["a"; 17].join("."));
    let long = format!(r#"{{"fields":["{}"]}}"#, "a".repeat(257));
    for malformed in [
        "{}",
        r#"{"fields":"iban"}"#,
        r#"{"fields":[1]}"#,
        r#"{"fields":null}"#,
        r#"{"fields":["iban",null]}"#,
        r#"{"fields":[""]}"#,
        r#"{"fields":["a..b"]}"#,
        r#"{"fields":[".a"]}"#,
        r#"{"fields":["a."]}"#,
        r#"{"fields":["a\n"]}"#,
        r#"{"fields":["iban,notes"]}"#,
        r#"{"fields":["iban, notes"]}"#,
        r#"{"fields":["/customer/iban"]}"#,
        r#"{"fields":["$.iban"]}"#,
        r#"{"fields":["$iban"]}"#,
        r#"{"fields":["lines[].price"]}"#,
        r#"{"fields":["lines[0]"]}"#,
        r#"{"fields":["['iban']"]}"#,
        r#"{"fields":["lines.0.price"]}"#,
        r#"{"fields":["0"]}"#,
        r#"{"fields":["*.iban"]}"#,
        r#"{"fields":["lines.*"]}"#,
        r#"{"fields":[" iban"]}"#,
        r#"{"fields":["iban "]}"#,
        r#"{"fields":["customer .iban"]}"#,
        r#"{"field":["iban"]}"#,
        r#"{"fields":["iban"],"but_last":4}"#,
        &many,
        &deep,
        &long,
    ] {
        let decision = Decision::permit()
            .with_obligation(with("redact", r#"{"fields":["note"]}"#))
            .with_obligation(with("redact", malformed));
        let Denial::Forbidden { reason } = denial(enforce(redacting, &decision)) else { panic!("{malformed}") };
        assert_eq!(reason, "an obligation to redact cannot be read", "{malformed}");
    }
    assert!(enforce(redacting, &Decision::permit().with_obligation(Obligation::new("redact"))).is_err());
}

#[test]
fn what_must_not_be_shown_is_taken_out_wherever_a_path_leads() {
    let redacting = |fixed| Enforcer::new(fixed).passing_on(Obligation::REDACT);
    let shown = |fields: &str, value: serde_json::Value| {
        let decision = Decision::permit().with_obligation(with("redact", &format!(r#"{{"fields":{fields}}}"#)));
        let (permit, mut value) = (enforce(redacting, &decision).unwrap(), value);
        permit.redact(&mut value);
        value
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let order = r#"{"iban":"x","customer":{"name":"a","iban":"y"},"lines":[{"price":1,"no":2},[{"price":3}],4]}"#;
    for (fields, left) in [
        ("[]", order),
        (r#"["IBAN","customer.iban.x","lines.x0","name","customer.x.iban","street name","a/b"]"#, order),
        (r#"["iban"]"#, r#"{"customer":{"name":"a","iban":"y"},"lines":[{"price":1,"no":2},[{"price":3}],4]}"#),
        (r#"["customer.iban","lines.price"]"#, r#"{"iban":"x","customer":{"name":"a"},"lines":[{"no":2},[{}],4]}"#),
        (r#"["customer","lines","iban"]"#, "{}"),
    ] {
        assert_eq!(shown(fields, json(order)), json(left), "{fields}");
    }
    let list = json(r#"[{"iban":1,"a.b":2,"a":{"b":3,"b.c":4,"c":5}},"iban"]"#);
    assert_eq!(shown(r#"["iban","a.b","a.b.c"]"#, list), json(r#"[{"a":{"c":5}},"iban"]"#));
}

#[test]
fn nothing_is_shown_where_a_handler_has_taken_what_cannot_be_read_for_done() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lenient =
        |fixed| Enforcer::new(fixed).with_obligation("redact", Handler { seen: Arc::clone(&seen), works: true });
    let permit = enforce(lenient, &Decision::permit().with_obligation(with("redact", r#"{"with":"*"}"#))).unwrap();
    let mut order = serde_json::json!({ "iban": "x" });
    permit.redact(&mut order);
    assert_eq!((permit.redactions(), order), (None, serde_json::Value::Null));
}

#[test]
fn each_of_several_requests_is_barred_by_its_own_obligations_alone() {
    struct ById;

    #[async_trait]
    impl Authorize for ById {
        fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
            let permit = Decision::permit();
            Some(Ok(match request.resource().id() {
                "plain" => permit,
                "handled" => permit.with_obligation(Obligation::new("archive")),
                "unknown" => permit.with_obligation(Obligation::new("notify")),
                "failing" => permit.with_obligation(Obligation::new("mail")),
                "step up" => permit.with_obligation(with("step_up", r#"{"acr_values":["gold"]}"#)),
                "denied" => Decision::deny(Denial::Forbidden { reason: "closed" }),
                "silent" => Decision::not_applicable(),
                _ => return Some(Err(Failure::unavailable("down"))),
            }))
        }

        async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
            self.decide_now(request).unwrap()
        }
    }

    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = |works| Handler { seen: Arc::clone(&seen), works };
    let enforcer =
        Enforcer::new(ById).with_obligation("archive", handler(true)).with_obligation("mail", handler(false));
    let alice = alice();
    let ids = ["failing", "plain", "unknown", "broken", "handled", "denied", "step up", "silent", "plain"];
    let requests = ids.map(|id| AccessRequest::new(&alice, "read", Resource::new("order", id), NOW));
    let enforced = poll(enforcer.enforce_all(&requests));
    let words: Vec<_> = enforced
        .iter()
        .map(|outcome| match outcome {
            Ok(_) => "pass",
            Err(Barred::Denied { denial: Denial::InsufficientAuthentication { .. }, .. }) => "step up",
            Err(Barred::Denied { .. }) => "denied",
            Err(Barred::Failed(_)) => "failed",
        })
        .collect();
    assert_eq!(words, ["denied", "pass", "denied", "failed", "pass", "denied", "step up", "denied", "pass"]);
    assert_eq!(*seen.lock().unwrap(), ["mail", "archive"]);
    assert!(poll(enforcer.enforce_all(&[])).is_empty());
}

#[test]
fn several_requests_that_are_answered_by_another_number_of_decisions_are_all_barred() {
    struct Short;

    #[async_trait]
    impl Authorize for Short {
        fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
            Some(Ok(Decision::permit()))
        }

        async fn decide(&self, _: &AccessRequest<'_>) -> Result<Decision, Failure> {
            Ok(Decision::permit())
        }

        async fn decide_all(&self, _: &[AccessRequest<'_>], _: EvaluationsSemantic) -> Vec<Result<Decision, Failure>> {
            vec![Ok(Decision::permit())]
        }
    }

    let alice = alice();
    let requests = ["1", "2"].map(|id| AccessRequest::new(&alice, "read", Resource::new("order", id), NOW));
    let enforced = poll(Enforcer::new(Short).enforce_all(&requests));
    assert!(enforced.len() == 2 && enforced.iter().all(|one| matches!(one, Err(Barred::Failed(_)))), "{enforced:?}");
}

/// Keeps the fields of each event.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::field::Visit for Lines {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push(format!("{field}={value:?}"));
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "sekisho"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_line_is_logged_once_without_anything_that_could_be_a_secret() {
    let lines = Lines::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let decision = Decision::permit()
        .with_obligation(with("log", r#"{"message":"read \"it\"\nforged=line"}"#))
        .with_obligation(Obligation::new("archive"));
    let enforcer = Enforcer::new(Fixed { outcome: Ok(decision), waits: false })
        .with_obligation("archive", Handler { seen, works: true });
    let (alice, order) = (alice(), JsonObject::parse(br#"{"iban":"DE02"}"#.to_vec()).unwrap());
    let context = JsonObject::parse(br#"{"token":"secret"}"#.to_vec()).unwrap();
    let resource = Resource::new("order", "42").with_attributes(&order);
    let request = AccessRequest::new(&alice, "read", resource, NOW).with_context(&context);
    tracing::subscriber::with_default(lines.clone(), || {
        tracing::callsite::rebuild_interest_cache();
        // Whoever has to wait has done nothing yet.
        assert!(enforcer.enforce_now(&request).is_none());
        assert!(lines.0.lock().unwrap().is_empty());
        assert!(poll(enforcer.enforce(&request)).is_ok());
    });
    let lines = lines.0.lock().unwrap().clone();
    assert_eq!(
        lines,
        [
            "message=a policy demands this line",
            r#"obligation="log""#,
            r#"subject="alice""#,
            r#"issuer="https://id.example""#,
            r#"action="read""#,
            r#"resource_kind="order""#,
            r#"resource_id="42""#,
            r#"demanded="read \"it\"\\nforged=line""#,
        ]
    );
}

#[test]
fn nobody_forges_a_field_of_a_line_nor_gets_a_token_into_it() {
    let decision = Decision::permit().with_obligation(with("log", r#"{"message":"read"}"#));
    let enforcer = Enforcer::new(Fixed { outcome: Ok(decision), waits: false });
    let alice = alice();
    let logged = |id: &str| {
        let lines = Lines::default();
        let request = AccessRequest::new(&alice, "read", Resource::new("order", id), NOW);
        tracing::subscriber::with_default(lines.clone(), || {
            tracing::callsite::rebuild_interest_cache();
            assert!(poll(enforcer.enforce(&request)).is_ok());
        });
        let lines = lines.0.lock().unwrap();
        lines.iter().find(|line| line.starts_with("resource_id=")).unwrap().clone()
    };
    assert_eq!(logged("42 demanded=approved"), r#"resource_id="42 demanded=approved""#);
    assert_eq!(logged(r#"42" demanded="approved"#), r#"resource_id="42\" demanded=\"approved""#);
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
    assert_eq!(logged(token), r#"resource_id="(masked 54)""#);
    assert_eq!(logged(&format!("a?t={token}&b")), r#"resource_id="a?t=(masked 54)&b""#);
    assert_eq!(logged("eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn"), r#"resource_id="(masked 37)""#);
    for id in ["eyes.of.a.tiger-1.2.3", "https://keycloak-production.internal.example.com/realms/shop"] {
        assert_eq!(logged(id), format!(r#"resource_id="{id}""#));
    }
    assert!(logged(&"x".repeat(5000)).len() < 1100 && logged(&token.repeat(100)).len() < 100);
}

#[test]
fn a_line_that_cannot_be_read_bars_the_request() {
    for malformed in [
        "{}",
        r#"{"message":""}"#,
        r#"{"message":7}"#,
        r#"{"message":null}"#,
        r#"{"message":["a"]}"#,
        r#"{"message":"a","level":"error"}"#,
        r#"{"text":"a"}"#,
    ] {
        assert!(enforce(Enforcer::new, &Decision::permit().with_obligation(with("log", malformed))).is_err());
    }
    assert!(enforce(Enforcer::new, &Decision::permit().with_obligation(Obligation::new("log"))).is_err());
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(100_000));
    assert!(enforce(Enforcer::new, &Decision::permit().with_obligation(with("log", &long))).is_ok());
}

#[test]
fn debug_shows_the_rule_and_no_more() {
    let enforcer = Enforcer::new(when("open", |_| true)).passing_on("redact");
    assert!(format!("{enforcer:?}").contains("when open"));
}
