use std::collections::HashSet;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Principal, Resource, UnixSeconds};

use super::*;

const ISSUER: &str = "https://id.example";

fn keys() -> Keys {
    Keys::new(Part::Whole, Part::Whole).unwrap()
}

fn alice() -> Principal {
    let alice = PrincipalBuilder::new(ISSUER, "alice").with_claim("jti", "g-1.t-1").with_claim("sid", "s-1");
    alice.build().unwrap()
}

fn read(subject: &Principal) -> AccessRequest<'_> {
    AccessRequest::new(subject, "read", Resource::new("order", "42"), UnixSeconds::new(7))
}

#[test]
fn what_else_decides_by_the_protocol_makes_another_question() {
    let (keys, alice) = (keys(), alice());
    let parts = [None, Some([0; 32]), Some([1; 32])];
    let seen: HashSet<_> = parts.map(|part| keys.key(&read(&alice), part).unwrap()).into();
    assert_eq!(seen.len(), 3);
    assert!(seen.contains(&keys.key(&read(&alice), Some([1; 32])).unwrap()));
}

#[test]
fn a_purge_makes_new_keys_for_those_that_it_names_alone() {
    // Places by chance would be shared now and then.
    let (keys, alice) = (Keys { places: FixedState::with_seed(7), ..keys() }, alice());
    let bob = PrincipalBuilder::new(ISSUER, "bob").with_claim("jti", "t-9").with_claim("sid", "s-9").build().unwrap();
    let key = |who: &Principal| keys.key(&read(who), None).unwrap();
    let mut seen = HashSet::from([key(&alice)]);
    let bobs = key(&bob);
    for (what, id) in
        [(IdKind::Subject, "alice"), (IdKind::Session, "s-1"), (IdKind::Token, "g-1.t-1"), (IdKind::Grant, "g-1")]
    {
        keys.purge(what, "https://other.example", id);
        assert!(seen.contains(&key(&alice)), "another issuer's {id}");
        keys.purge(what, ISSUER, id);
        assert!(seen.insert(key(&alice)), "{id}");
    }
    assert_eq!(key(&bob), bobs);
    keys.purge_all();
    assert!(seen.insert(key(&alice)));
    assert_ne!(key(&bob), bobs);
}

#[test]
fn another_decider_has_other_keys() {
    let alice = alice();
    assert_ne!(keys().key(&read(&alice), None), keys().key(&read(&alice), None));
}
