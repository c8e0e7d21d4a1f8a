use super::*;
use crate::dangerous::PrincipalBuilder;
use crate::json::JsonObject;

const NOW: UnixSeconds = UnixSeconds::new(1_000_000);

fn caller() -> PrincipalBuilder {
    PrincipalBuilder::new("https://id.example", "alice")
        .with_scope("orders:read  orders:write admin\u{a0}x")
        .with_roles(["reader"])
        .with_claim("acr", "silver")
        .with_claim("auth_time", NOW.as_secs() - 100)
}

fn check(requirement: &Requirement) -> Result<(), Denial> {
    requirement.check(&caller().build().unwrap(), NOW)
}

#[test]
fn scopes_match_whole_words_only() {
    for granted in ["orders:read", "orders:write", "orders:read orders:write", " orders:write "] {
        assert_eq!(check(&scope(granted)), Ok(()), "{granted}");
    }
    for lacking in ["orders", "orders:rea", "orders:read2", "ORDERS:READ", "admin", "x", "", " ", "orders:read admin"] {
        assert!(matches!(check(&scope(lacking)), Err(Denial::InsufficientScope { .. })), "{lacking}");
    }
}

#[test]
fn denial_names_the_full_scope() {
    assert_eq!(check(&scope("a b")), Err(Denial::InsufficientScope { scope: "a b".into() }));
    let both = all_of([scope("a"), scope("b")]);
    assert_eq!(check(&both), Err(Denial::InsufficientScope { scope: "a b".into() }));
}

#[test]
fn denial_names_the_full_scope_also_when_a_part_was_granted() {
    let lacking = |requirement: &Requirement| match check(requirement) {
        Err(Denial::InsufficientScope { scope }) => scope.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(lacking(&all_of([scope("orders:read"), scope("b")])), "orders:read b");
    assert_eq!(lacking(&all_of([scope("b"), all_of([scope("orders:read b"), role("reader")])])), "b orders:read");
    assert_eq!(lacking(&all_of([scope("orders:read"), any_of([scope("c"), role("admin")])])), "orders:read c");
    // A step-up too would be needed; the scopes come first.
    assert_eq!(lacking(&all_of([max_age(Duration::ZERO), scope("b")])), "b");
}

#[test]
fn step_up_names_all_that_is_asked_also_what_this_login_has() {
    let asked = |requirement: &Requirement| match check(requirement) {
        Err(Denial::InsufficientAuthentication { acr_values, max_age }) => (acr_values, max_age),
        other => panic!("{other:?}"),
    };
    let minute = Duration::from_secs(60);
    let both = all_of([authentication_context(["silver"]), max_age(minute)]);
    assert_eq!(asked(&both), (Some("silver".into()), Some(minute)));
    let weak = all_of([authentication_context(["gold"]), max_age(Duration::from_secs(3600)), scope("orders:read")]);
    assert_eq!(asked(&weak), (Some("gold".into()), Some(Duration::from_secs(3600))));
    let common = all_of([authentication_context(["gold", "silver"]), authentication_context(["gold", "platinum"])]);
    assert_eq!(asked(&common), (Some("gold".into()), None));
    let ages = all_of([max_age(minute), max_age(Duration::from_secs(30))]);
    assert_eq!(asked(&ages), (None, Some(Duration::from_secs(30))));
}

#[test]
fn any_of_asks_for_what_the_caller_can_bring_whatever_the_order() {
    for requirement in [any_of([role("admin"), scope("b")]), any_of([scope("b"), role("admin")])] {
        assert_eq!(check(&requirement), Err(Denial::InsufficientScope { scope: "b".into() }));
    }
    assert!(matches!(check(&any_of([role("admin"), role("owner")])), Err(Denial::Forbidden { .. })));
}

#[test]
fn a_denied_request_gets_a_decision_that_permits_nothing() {
    let principal = caller().build().unwrap();
    let request = AccessRequest::new(&principal, "read", crate::Resource::new("order", "1"), NOW);
    let decide = |requirement: Requirement| requirement.decide_now(&request).unwrap().unwrap();
    assert!(decide(scope("orders:read")).is_permitted());
    let denied = decide(scope("orders:delete"));
    assert!(!denied.is_permitted());
    assert_eq!(denied.denial(), Some(&Denial::InsufficientScope { scope: "orders:delete".into() }));
}

#[test]
fn any_of_nothing_denies_and_all_of_nothing_permits() {
    assert!(check(&any_of([])).is_err());
    assert!(check(&all_of([])).is_ok());
    assert!(check(&any_of([role("admin"), scope("orders:read")])).is_ok());
    assert!(check(&all_of([role("reader"), scope("nope")])).is_err());
}

#[test]
fn step_up_asks_for_context_and_age() {
    assert!(check(&authentication_context(["gold", "silver"])).is_ok());
    assert!(
        matches!(check(&authentication_context(["gold"])), Err(Denial::InsufficientAuthentication { acr_values: Some(a), .. }) if &*a == "gold")
    );
    assert!(check(&max_age(Duration::from_secs(100))).is_ok());
    assert!(check(&max_age(Duration::from_secs(99))).is_err());
    let future = caller().with_claim("auth_time", NOW.as_secs() + 3600).build().unwrap();
    assert!(max_age(Duration::from_secs(10)).check(&future, NOW).is_err());
}

/// Says the same to everybody, after a while if it `waits`.
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

fn says(decision: Decision, waits: bool) -> Requirement {
    decided_by(Fixed { outcome: Ok(decision), waits })
}

fn broken(waits: bool) -> Requirement {
    decided_by(Fixed { outcome: Err(Failure::unavailable("down")), waits })
}

/// Nothing here waits for anything, so one poll is enough.
fn poll<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

/// `permit`, `deny`, `not_applicable` or `error`; what is decided at once must be what is decided later.
fn outcome(requirement: &Requirement, order: &str) -> &'static str {
    let caller = caller().with_claim("tenant", "acme").with_tenant("acme").build().unwrap();
    let order = JsonObject::parse(order.as_bytes().to_vec()).unwrap();
    let request = AccessRequest::new(&caller, "read", Resource::new("order", "42").with_attributes(&order), NOW);
    let word = |outcome: Result<Decision, Failure>| outcome.map_or("error", |decision| decision.effect().as_str());
    let later = word(poll(requirement.decide(&request)));
    if let Some(now) = requirement.decide_now(&request) {
        assert_eq!(word(now), later, "{requirement:?}");
    }
    later
}

#[test]
fn an_owner_is_who_the_resource_names() {
    let order = r#"{"owner":"alice","other":"bob","upper":"Alice","list":["alice"],"none":null,"empty":""}"#;
    assert_eq!(outcome(&owner("owner"), order), "permit");
    for attribute in ["other", "upper", "list", "none", "empty", "absent", ""] {
        assert_eq!(outcome(&owner(attribute), order), "deny", "{attribute}");
    }
    let alice = caller().build().unwrap();
    let unknown = AccessRequest::new(&alice, "read", Resource::new("order", "42"), NOW);
    assert!(!poll(owner("owner").decide(&unknown)).unwrap().is_permitted());
}

#[test]
fn a_tenant_is_the_same_only_if_both_have_one() {
    let order = r#"{"tenant":"acme","other":"umbrella","empty":"","none":null}"#;
    assert_eq!(outcome(&same_tenant("tenant"), order), "permit");
    for attribute in ["other", "empty", "none", "absent"] {
        assert_eq!(outcome(&same_tenant(attribute), order), "deny", "{attribute}");
    }
    let without = caller().build().unwrap();
    let order = JsonObject::parse(order.as_bytes().to_vec()).unwrap();
    for attribute in ["tenant", "empty", "none"] {
        let request = AccessRequest::new(&without, "read", Resource::new("order", "42").with_attributes(&order), NOW);
        assert!(!poll(same_tenant(attribute).decide(&request)).unwrap().is_permitted(), "{attribute}");
    }
}

#[test]
fn a_claim_has_exactly_the_value_that_is_asked_for() {
    let caller = caller()
        .with_claim("department", "sales")
        .with_claim("level", 3)
        .with_claim("staff", true)
        .with_claim("groups", serde_json::json!(["a", "b"]))
        .with_claim("text", "3")
        .build()
        .unwrap();
    for held in [claim("department", "sales"), claim("level", 3), claim("staff", true), claim("groups", "b")] {
        assert!(held.check(&caller, NOW).is_ok(), "{held:?}");
    }
    for lacking in [
        claim("department", "sale"),
        claim("department", "Sales"),
        claim("level", 4),
        claim("level", "3"),
        claim("text", 3),
        claim("staff", "true"),
        claim("staff", false),
        claim("groups", "c"),
        claim("groups", "a b"),
        claim("absent", ""),
        claim("absent", false),
    ] {
        assert!(lacking.check(&caller, NOW).is_err(), "{lacking:?}");
    }
}

#[test]
fn conditions_see_the_whole_request() {
    let small = when("at most 100", |request| {
        let total = request.resource().attributes().and_then(|order| order.attribute("total")?.as_integer());
        request.action() == "read" && total.is_some_and(|total| total <= 100)
    });
    assert_eq!(outcome(&small, r#"{"total":100}"#), "permit");
    for order in [r#"{"total":101}"#, r#"{"total":"1"}"#, "{}", r#"{"total":1.5}"#, r#"{"total":null}"#] {
        assert_eq!(outcome(&small, order), "deny", "{order}");
    }
}

#[test]
fn an_error_is_never_a_permit_and_a_denial_never_waits_for_one() {
    let closed = || says(Decision::deny(Denial::Forbidden { reason: "closed" }), false);
    for waits in [false, true] {
        let permit = || says(Decision::permit(), waits);
        let silent = || says(Decision::not_applicable(), waits);
        for (rule, expected) in [
            (all_of([permit(), broken(waits)]), "error"),
            (all_of([broken(waits), permit()]), "error"),
            (all_of([broken(waits), closed()]), "deny"),
            (all_of([permit(), silent()]), "deny"),
            (any_of([broken(waits), closed()]), "error"),
            (any_of([silent(), broken(waits)]), "error"),
            (any_of([broken(waits), permit()]), "permit"),
            (any_of([silent()]), "deny"),
            (not(broken(waits)), "error"),
            (not(silent()), "not_applicable"),
            (not(permit()), "deny"),
            (not(closed()), "permit"),
            (not(not(broken(waits))), "error"),
            (all_of([not(closed()), permit()]), "permit"),
            (silent(), "not_applicable"),
        ] {
            assert_eq!(outcome(&rule, "{}"), expected, "{rule:?}");
        }
    }
}

#[test]
fn what_is_denied_at_once_asks_nobody_who_has_to_wait() {
    struct Never;

    #[async_trait]
    impl Authorize for Never {
        fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
            None
        }

        async fn decide(&self, _: &AccessRequest<'_>) -> Result<Decision, Failure> {
            panic!("it was asked")
        }
    }

    assert_eq!(outcome(&all_of([decided_by(Never), scope("lacking")]), "{}"), "deny");
    assert_eq!(outcome(&any_of([decided_by(Never), scope("orders:read")]), "{}"), "permit");
}

#[test]
fn a_check_without_a_resource_denies_what_cannot_be_decided_there() {
    let caller = caller().build().unwrap();
    let obliging = says(Decision::permit().with_obligation(crate::Obligation::new("log")), false);
    for rule in [owner("owner"), same_tenant("tenant"), broken(false), says(Decision::permit(), true), obliging] {
        assert!(matches!(rule.check(&caller, NOW), Err(Denial::Forbidden { .. })), "{rule:?}");
    }
}

#[test]
fn obligations_of_all_permits_that_count_are_kept() {
    let obliging = |id: &str, waits| says(Decision::permit().with_obligation(crate::Obligation::new(id)), waits);
    let caller = caller().build().unwrap();
    let request = AccessRequest::new(&caller, "read", Resource::new("order", "42"), NOW);
    let ids = |rule: &Requirement| {
        let decision = poll(rule.decide(&request)).unwrap();
        decision.obligations().iter().map(|one| one.id().to_owned()).collect::<Vec<_>>()
    };
    for waits in [false, true] {
        assert_eq!(ids(&all_of([obliging("a", waits), scope("orders:read"), obliging("b", waits)])), ["a", "b"]);
    }
    assert_eq!(ids(&any_of([obliging("a", true), obliging("b", false)])), ["b"]);
}

#[test]
fn the_scopes_of_a_route_can_be_read_from_its_rule() {
    assert_eq!(scope("b a").scope_alternatives(), [["b", "a"]]);
    assert_eq!(any_of([scope("a"), scope("b c")]).scope_alternatives(), [vec!["a"], vec!["b", "c"]]);
    let both = all_of([scope("a"), any_of([scope("b"), role("admin")]), max_age(Duration::from_secs(1))]);
    assert_eq!(both.scope_alternatives(), [vec!["a", "b"], vec!["a"]]);
    let wide = all_of((0..20).map(|_| any_of([scope("a"), scope("b"), scope("c")])));
    assert!(wide.scope_alternatives().len() <= 64);
}

#[test]
fn a_rule_prints_itself_and_explains_which_part_decided() {
    let rule = any_of([all_of([scope("orders:read"), owner("owner")]), not(role("reader"))]);
    assert_eq!(
        rule.outline().to_string(),
        "any_of\n  all_of\n    scope orders:read\n    owner, by owner\n  not\n    role reader\n"
    );
    let caller = caller().build().unwrap();
    let order = JsonObject::parse(br#"{"owner":"alice"}"#.to_vec()).unwrap();
    let request = AccessRequest::new(&caller, "read", Resource::new("order", "42").with_attributes(&order), NOW);
    let explained = poll(rule.explain(&request)).to_string();
    let expected = "* any_of: permit\n*   all_of: permit\n*     scope orders:read: permit\n*     owner, by owner: permit\n\
                    \x20   not: deny\n*     role reader: permit\n";
    assert_eq!(explained, expected, "{explained}");
}

#[test]
fn what_nobody_could_tell_is_no_permit_by_turning_it_round() {
    let silent = |waits| says(Decision::not_applicable(), waits);
    let refused = |waits| says(Decision::refuse(Denial::Forbidden { reason: "unreadable" }), waits);
    let closed = |waits| says(Decision::deny(Denial::Forbidden { reason: "closed" }), waits);
    let permit = |waits| says(Decision::permit(), waits);
    for waits in [false, true] {
        for rule in [
            not(refused(waits)),
            not(any_of([silent(waits), closed(waits)])),
            not(any_of([closed(waits), refused(waits)])),
            not(all_of([permit(waits), silent(waits)])),
            not(decided_by(any_of([silent(waits)]))),
            not(not(not(refused(waits)))),
            not(all_of([any_of([silent(waits)]), permit(waits)])),
        ] {
            assert_ne!(outcome(&rule, "{}"), "permit", "{rule:?}");
        }
        assert_eq!(outcome(&not(all_of([closed(waits), refused(waits)])), "{}"), "permit");
        assert_eq!(outcome(&not(any_of([closed(waits), closed(waits)])), "{}"), "permit");
    }
    // Four eyes: who has written it must not approve it.
    let four_eyes = all_of([scope("orders:write"), not(owner("author"))]);
    assert_eq!(outcome(&four_eyes, r#"{"author":"bob"}"#), "permit");
    for order in [r#"{"author":"alice"}"#, "{}", r#"{"author":42}"#, r#"{"author":""}"#, r#"{"author":["bob"]}"#] {
        assert_eq!(outcome(&four_eyes, order), "deny", "{order}");
    }
    let caller = caller().build().unwrap();
    assert!(four_eyes.check(&caller, NOW).is_err());
    let unknown = AccessRequest::new(&caller, "approve", Resource::new("order", "42"), NOW);
    assert!(!poll(four_eyes.decide(&unknown)).unwrap().is_permitted());
    assert_ne!(outcome(&not(same_tenant("absent")), "{}"), "permit");
}

#[test]
fn a_denial_keeps_what_was_said_beside_it() {
    let closed = Decision::deny(Denial::Forbidden { reason: "closed" })
        .with_id("d-1")
        .with_revision("7")
        .with_reason("no entry")
        .with_source(crate::DecisionSource::Fallback)
        .with_obligation(crate::Obligation::new("log"));
    let caller = caller().build().unwrap();
    let request = AccessRequest::new(&caller, "read", Resource::new("order", "42"), NOW);
    for rule in [all_of([scope("orders:read"), says(closed.clone(), true)]), any_of([says(closed.clone(), false)])] {
        let decision = poll(rule.decide(&request)).unwrap();
        assert_eq!((decision.id(), decision.revision()), (Some("d-1"), Some("7")));
        assert_eq!((decision.obligations().len(), decision.source()), (1, crate::DecisionSource::Fallback));
    }
    let turned = poll(not(says(closed, false)).decide(&request)).unwrap();
    assert!(turned.is_permitted() && turned.obligations().is_empty());
    assert_eq!((turned.id(), turned.source()), (Some("d-1"), crate::DecisionSource::Fallback));
}

#[test]
fn of_several_denials_a_credential_that_is_no_good_weighs_most() {
    let told = |requirement: Requirement| {
        let alice = caller().build().unwrap();
        let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), NOW);
        requirement.decide_now(&request).unwrap().unwrap().denial().cloned().unwrap()
    };
    let invalid = || says(Decision::refuse(Denial::InvalidToken), false);
    for other in [scope("lacking"), role("lacking"), max_age(Duration::from_secs(1))] {
        assert_eq!(told(all_of([other.clone(), invalid()])), Denial::InvalidToken);
        assert_eq!(told(all_of([invalid(), other])), Denial::InvalidToken);
    }
    // Of alternatives, the first that the caller could mend.
    assert_eq!(told(any_of([role("lacking"), invalid()])), Denial::InvalidToken);
    assert_eq!(told(any_of([scope("lacking"), invalid()])), Denial::InsufficientScope { scope: "lacking".into() });
}
