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
