use sekisho_core::FailureKind;
use sekisho_core::json::JsonObject;
use sekisho_core::{SessionEnd, SessionEndListener as _, SubjectId};

use super::*;

fn shop(inner: &Scripted) -> Fallback<Scripted> {
    fallback(inner.clone()).reads(["read", "list"]).last_known_for(Duration::from_secs(60)).build().unwrap()
}

fn decide(authorizer: &impl Authorize, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
    block_on(authorizer.decide(request))
}

#[test]
fn a_read_gets_the_last_known_decision_when_the_service_is_down_and_it_is_marked() {
    let alice = alice();
    for answer in [Permit, Deny, Silent] {
        let inner = Scripted::remote("service", answer);
        let shop = shop(&inner);
        assert_eq!(decide(&shop, &ask(&alice, "read", 100)).unwrap().source(), DecisionSource::Remote);
        inner.now_says(Fail);
        let outcome = decide(&shop, &ask(&alice, "read", 159));
        assert_eq!(said(&outcome), answer);
        let decision = outcome.unwrap();
        assert_eq!((decision.source(), decision.lifetime()), (DecisionSource::Fallback, Some(Duration::ZERO)));
        assert_eq!(decision.reasons(), ["last known decision, 59 s old"]);
        assert_eq!(shop.counts(), FallbackCounts { last_known: 1, ..FallbackCounts::default() });
    }
}

#[test]
fn nothing_else_stands_in() {
    let alice = alice();
    let inner = Scripted::remote("service", Permit);
    let shop = shop(&inner);
    for action in ["read", "write", "Read", ""] {
        assert_eq!(said(&decide(&shop, &ask(&alice, action, 100))), Permit);
    }
    inner.now_says(Fail);
    let other_scope =
        PrincipalBuilder::new("https://id.example", "alice").with_expiry(UnixSeconds::new(1000)).build().unwrap();
    let bob = PrincipalBuilder::new("https://id.example", "bob").build().unwrap();
    let context = JsonObject::parse(br#"{"ip":"192.0.2.1"}"#.to_vec()).unwrap();
    let order = JsonObject::parse(br#"{"owner":"bob"}"#.to_vec()).unwrap();
    let at = UnixSeconds::new(110);
    for (why, request) in [
        ("a write", ask(&alice, "write", 110)),
        ("a read that is not named so", ask(&alice, "Read", 110)),
        ("no action", ask(&alice, "", 110)),
        ("another read", ask(&alice, "list", 110)),
        ("a token with fewer rights", ask(&other_scope, "read", 110)),
        ("another subject", ask(&bob, "read", 110)),
        ("another type of subject", ask(&alice, "read", 110).with_subject_kind("service")),
        ("another context", ask(&alice, "read", 110).with_context(&context)),
        ("other properties", ask(&alice, "read", 110).with_action_properties(&context)),
        ("another resource", AccessRequest::new(&alice, "read", Resource::new("order", "43"), at)),
        ("another type", AccessRequest::new(&alice, "read", Resource::new("orde", "r42"), at)),
        (
            "another state of it",
            AccessRequest::new(&alice, "read", Resource::new("order", "42").with_attributes(&order), at),
        ),
        ("too old", ask(&alice, "read", 160)),
        ("a clock that was set back", ask(&alice, "read", 99)),
    ] {
        assert_eq!(said(&decide(&shop, &request)), Fail, "{why}");
    }
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 159))), Permit);
}

#[test]
fn a_last_known_permit_does_not_outlive_its_token() {
    let alice = alice();
    let inner = Scripted::remote("service", Permit);
    let shop = shop(&inner);
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 990))), Permit);
    inner.now_says(Fail);
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 999))), Permit);
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 1000))), Fail);
}

#[test]
fn a_logout_and_a_withdrawal_make_it_forget() {
    let alice = alice();
    type Purge = fn(&LastKnown);
    let purges: [(&str, Purge, Said); 11] = [
        ("subject", |known| known.purge_subject(&SubjectId::new("https://id.example", "alice")), Fail),
        ("session", |known| known.purge_session("https://id.example", "s1"), Fail),
        ("token", |known| known.purge_token("https://id.example", "g1.t1"), Fail),
        ("grant", |known| known.purge_grant("https://id.example", "g1"), Fail),
        ("all", LastKnown::purge_all, Fail),
        ("another grant", |known| known.purge_grant("https://id.example", "g1.t1"), Permit),
        ("a subject elsewhere", |known| known.purge_subject(&SubjectId::new("https://x.example", "alice")), Permit),
        ("another subject", |known| known.purge_subject(&SubjectId::new("https://id.example", "s1")), Permit),
        ("another session", |known| known.purge_session("https://id.example", "alice"), Permit),
        ("another token", |known| known.purge_token("https://id.example", "g1"), Permit),
        ("a token elsewhere", |known| known.purge_token("https://x.example", "g1.t1"), Permit),
    ];
    for (what, purge, expected) in purges {
        let inner = Scripted::remote("service", Permit);
        let shop = shop(&inner);
        decide(&shop, &ask(&alice, "read", 100)).unwrap();
        purge(shop.last_known());
        inner.now_says(Fail);
        assert_eq!(said(&decide(&shop, &ask(&alice, "read", 101))), expected, "{what}");
    }
}

#[test]
fn the_end_of_a_session_makes_it_forget() {
    let (alice, issuer) = (alice(), "https://id.example");
    let (of_alice, of_bob) = (SubjectId::new(issuer, "alice"), SubjectId::new(issuer, "bob"));
    for (end, expected) in [
        (SessionEnd::Subject(&of_alice), Fail),
        (SessionEnd::ProviderSession { issuer, id: "s1" }, Fail),
        (SessionEnd::Client { issuer, client: "whoever" }, Fail),
        (SessionEnd::Subject(&of_bob), Permit),
        (SessionEnd::ProviderSession { issuer, id: "s2" }, Permit),
    ] {
        let inner = Scripted::remote("service", Permit);
        let shop = shop(&inner);
        decide(&shop, &ask(&alice, "read", 100)).unwrap();
        shop.last_known().session_ended(&end);
        inner.now_says(Fail);
        assert_eq!(said(&decide(&shop, &ask(&alice, "read", 101))), expected, "{end:?}");
    }
}

#[cfg(feature = "revocation")]
#[test]
fn a_withdrawal_of_any_kind_makes_it_forget() {
    use sekisho_revocation::Withdrawal;
    let (issuer, until) = ("https://id.example", UnixSeconds::new(2000));
    let alice = alice();
    for withdrawal in [
        Withdrawal::token(issuer, "g1.t1", until),
        Withdrawal::session(issuer, "s1", until),
        Withdrawal::grant(issuer, "g1", until),
        Withdrawal::subject(issuer, "alice", UnixSeconds::new(50), until),
    ] {
        let inner = Scripted::remote("service", Permit);
        let shop = shop(&inner);
        decide(&shop, &ask(&alice, "read", 100)).unwrap();
        shop.last_known().purge_withdrawn(&withdrawal.clone().unwrap());
        assert!(shop.last_known().is_empty(), "{withdrawal:?}");
    }
}

/// Calls something while it is being asked.
struct Meanwhile<F>(Scripted, F);

#[async_trait]
impl<F: Fn() + Send + Sync> Authorize for Meanwhile<F> {
    fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        None
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        (self.1)();
        self.0.decide(request).await
    }
}

#[test]
fn an_answer_that_was_on_its_way_during_a_logout_is_not_remembered() {
    let alice = alice();
    let known: Arc<Mutex<Option<LastKnown>>> = Arc::default();
    let held = Arc::clone(&known);
    let inner = Scripted::remote("service", Permit);
    let logout = move || {
        if let Some(known) = &*held.lock().unwrap() {
            known.purge_session("https://id.example", "s1");
        }
    };
    let shop = fallback(Meanwhile(inner.clone(), logout)).reads(["read"]).build().unwrap();
    *known.lock().unwrap() = Some(shop.last_known().clone());
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 100))), Permit);
    assert!(shop.last_known().is_empty());
    inner.now_says(Fail);
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 101))), Fail);
}

#[test]
fn a_permit_that_was_overtaken_by_a_denial_does_not_take_its_place() {
    let alice = alice();
    let request = ask(&alice, "read", 100);
    let shop = shop(&Scripted::remote("service", Permit));
    let known = shop.last_known();
    let (early, late) = (known.asks(), known.asks());
    known.remember(late, &request, &Decision::deny(Denial::Forbidden { reason: "no" }));
    known.remember(early, &request, &Decision::permit());
    assert_eq!(known.find(&request).unwrap().0.effect(), Effect::Deny);
    // One that was asked for afterwards does.
    known.remember(known.asks(), &request, &Decision::permit());
    assert_eq!(known.find(&request).unwrap().0.effect(), Effect::Permit);
}

#[test]
fn neither_a_decision_that_nobody_may_keep_nor_one_from_a_cache_is_remembered() {
    let alice = alice();
    let request = ask(&alice, "read", 100);
    let shop = shop(&Scripted::remote("service", Permit));
    let known = shop.last_known();
    known.remember(known.asks(), &request, &Decision::permit().with_lifetime(Duration::ZERO));
    known.remember(known.asks(), &request, &Decision::permit().with_source(DecisionSource::Cache));
    known.remember(known.asks(), &request, &Decision::permit().with_reason("x".repeat(20_000)));
    assert!(known.is_empty());
    // One that may not be kept ends what was known before.
    known.remember(known.asks(), &request, &Decision::permit());
    known.remember(known.asks(), &request, &Decision::permit().with_lifetime(Duration::ZERO));
    assert!(known.find(&request).is_none());
}

#[test]
fn trouble_of_our_own_making_gets_no_stand_in() {
    struct Broken;
    #[async_trait]
    impl Authorize for Broken {
        fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
            Some(Err(Failure::new(FailureKind::Misconfigured, "no such policy")))
        }

        async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
            self.decide_now(request).unwrap()
        }
    }
    let alice = alice();
    let shop = fallback(Broken).reads(["read"]).or_decided_by(Scripted::local("other", Permit)).build().unwrap();
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 1))), Fail);
    assert_eq!(said(&shop.decide_now(&ask(&alice, "read", 1)).unwrap()), Fail);
}

#[test]
fn another_authorizer_stands_in_for_reads_alone_and_its_failure_is_the_first_one() {
    let alice = alice();
    let (inner, other) = (Scripted::remote("service", Fail), Scripted::local("strict", Permit));
    let shop = fallback(inner).reads(["read"]).or_decided_by(other.clone()).build().unwrap();
    let decision = decide(&shop, &ask(&alice, "read", 1)).unwrap();
    assert_eq!((decision.effect(), decision.source()), (Effect::Permit, DecisionSource::Fallback));
    assert_eq!(said(&decide(&shop, &ask(&alice, "write", 1))), Fail);
    other.now_says(Deny);
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 1))), Deny);
    other.now_says(Fail);
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 1))), Fail);
    let counts = shop.counts();
    assert_eq!((counts.last_known, counts.other, counts.none), (0, 2, 1));
}

#[test]
fn a_denial_is_never_stood_in_for() {
    let alice = alice();
    let (inner, other) = (Scripted::remote("service", Deny), Scripted::local("generous", Permit));
    let shop = fallback(inner).reads(["read"]).or_decided_by(other.clone()).build().unwrap();
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 1))), Deny);
    assert_eq!(other.asked(), 0);
}

#[test]
fn it_remembers_no_more_than_it_may() {
    let alice = alice();
    let limits = LastKnownLimits::new(3, 1 << 20);
    let inner = Scripted::remote("service", Permit);
    let shop = fallback(inner.clone()).reads(["read"]).with_limits(limits).build().unwrap();
    let about =
        |id: &'static str, now| AccessRequest::new(&alice, "read", Resource::new("order", id), UnixSeconds::new(now));
    for id in ["1", "2", "3", "4", "5"] {
        decide(&shop, &about(id, 100)).unwrap();
    }
    assert_eq!(shop.last_known().len(), 3);
    inner.now_says(Fail);
    assert_eq!(said(&decide(&shop, &about("2", 101))), Fail);
    assert_eq!(said(&decide(&shop, &about("3", 101))), Permit);
    let small =
        fallback(Scripted::remote("service", Permit)).reads(["read"]).with_limits(LastKnownLimits::new(100, 1000));
    let small = small.build().unwrap();
    for id in ["1", "2", "3", "4", "5"] {
        decide(&small, &about(id, 100)).unwrap();
    }
    assert_eq!(small.last_known().len(), 2);
}

#[test]
fn of_a_batch_the_failed_reads_alone_are_stood_in_for() {
    let alice = alice();
    let inner = Scripted::remote("service", Permit);
    let shop = shop(&inner);
    decide(&shop, &ask(&alice, "read", 100)).unwrap();
    inner.now_says(Fail);
    let requests = [ask(&alice, "read", 101), ask(&alice, "write", 101), ask(&alice, "read", 102)];
    for (semantic, expected) in [
        (EvaluationsSemantic::ExecuteAll, &[Permit, Fail, Permit][..]),
        (EvaluationsSemantic::DenyOnFirstDeny, &[Permit, Fail]),
        (EvaluationsSemantic::PermitOnFirstPermit, &[Permit]),
    ] {
        let outcomes = block_on(shop.decide_all(&requests, semantic));
        assert_eq!(outcomes.iter().map(said).collect::<Vec<_>>(), expected, "{semantic:?}");
    }
}

#[test]
fn named_members_of_the_context_alone_tell_questions_apart() {
    let alice = alice();
    let inner = Scripted::remote("service", Permit);
    let shop = fallback(inner.clone()).reads(["read"]).with_context(["ip"]).build().unwrap();
    let context = |json: &str| JsonObject::parse(json.as_bytes().to_vec()).unwrap();
    let (first, equal, other) =
        (context(r#"{"ip":"a","time":1}"#), context(r#"{"ip":"a","time":2}"#), context(r#"{"ip":"b","time":1}"#));
    decide(&shop, &ask(&alice, "read", 100).with_context(&first)).unwrap();
    inner.now_says(Fail);
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 101).with_context(&equal))), Permit);
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 101).with_context(&other))), Fail);
    assert_eq!(said(&decide(&shop, &ask(&alice, "read", 101))), Fail);
}

#[test]
fn what_cannot_work_is_not_built() {
    let inner = || fallback(Scripted::remote("service", Permit));
    assert!(inner().build().is_err(), "no reads");
    assert!(inner().reads([""]).build().is_err(), "an empty name");
    assert!(inner().reads(["read"]).last_known_for(Duration::from_secs(3601)).build().is_err(), "too long");
    assert!(inner().reads(["read"]).last_known_for(Duration::ZERO).build().is_err(), "nothing to stand in");
    assert!(inner().reads(["read"]).with_limits(LastKnownLimits::new(0, 1000)).build().is_err(), "no room");
    assert!(inner().reads(["read"]).build().is_ok());
}

#[test]
fn the_explanation_shows_what_stood_in() {
    let alice = alice();
    let inner = Scripted::remote("service", Permit);
    let shop = fallback(inner.clone()).reads(["read", "list"]).or_decided_by(Scripted::local("strict", Deny));
    let shop = shop.build().unwrap();
    assert_eq!(
        shop.outline().to_string(),
        "fallback for list, read\n  service\n  last known decision, for 60 s\n  strict\n"
    );
    inner.now_says(Fail);
    let text = |action, now| block_on(shop.explain(&ask(&alice, action, now))).to_string();
    assert_eq!(
        text("read", 100),
        "\
* fallback for list, read: deny, fallback
    service: error, down
    last known: not asked
*   strict: deny
"
    );
    assert_eq!(
        text("write", 100),
        "\
* fallback for list, read: error, down
*   service: error, down
    last known: not asked
    strict: not asked
"
    );
    inner.now_says(Permit);
    decide(&shop, &ask(&alice, "read", 100)).unwrap();
    inner.now_says(Fail);
    assert_eq!(
        text("read", 107),
        "\
* fallback for list, read: permit, fallback, last known decision, 7 s old
    service: error, down
*   last known: permit, remote
    strict: not asked
"
    );
}

#[test]
fn a_denial_that_a_cache_tells_or_nobody_may_keep_ends_what_was_known() {
    let alice = alice();
    let request = ask(&alice, "read", 100);
    let denied = Decision::deny(Denial::Forbidden { reason: "no" });
    for denied in [
        denied.clone().with_source(DecisionSource::Cache),
        denied.clone().with_source(DecisionSource::Remote).with_lifetime(Duration::ZERO),
        Decision::not_applicable().with_source(DecisionSource::Cache),
    ] {
        let shop = shop(&Scripted::remote("service", Permit));
        let known = shop.last_known();
        known.remember(known.asks(), &request, &Decision::permit().with_source(DecisionSource::Remote));
        assert!(known.find(&request).is_some());
        let early = known.asks();
        known.remember(known.asks(), &request, &denied);
        assert!(known.find(&request).is_none(), "{denied:?}");
        // A permit that was on its way has been overtaken.
        known.remember(early, &request, &Decision::permit().with_source(DecisionSource::Remote));
        assert!(known.find(&request).is_none(), "{denied:?}");
    }
}
