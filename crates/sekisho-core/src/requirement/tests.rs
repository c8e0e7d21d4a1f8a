use super::*;
use crate::dangerous::PrincipalBuilder;

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
