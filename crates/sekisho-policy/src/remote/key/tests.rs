use std::collections::HashSet;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonError;
use sekisho_core::{Attributes, Principal, UnixSeconds};

use super::*;

const ISSUER: &str = "https://id.example";

fn keys() -> Keys {
    Keys::new(Part::Whole, Part::Whole).unwrap()
}

fn named(names: &[&str]) -> Part {
    Part::Named(names.iter().map(|name| Box::from(*name)).collect())
}

fn alice() -> PrincipalBuilder {
    PrincipalBuilder::new(ISSUER, "alice").with_claim("jti", "g-1.t-1").with_claim("sid", "s-1").with_scope("read")
}

fn object(json: &str) -> JsonObject {
    JsonObject::parse(json.as_bytes().to_vec()).unwrap()
}

fn read(subject: &Principal) -> AccessRequest<'_> {
    AccessRequest::new(subject, "read", Resource::new("order", "42"), UnixSeconds::new(7))
}

#[test]
fn the_same_question_has_the_same_key_whenever_it_is_put() {
    let (keys, alice, again) = (keys(), alice().build().unwrap(), alice().build().unwrap());
    let later = AccessRequest::new(&again, "read", Resource::new("order", "42"), UnixSeconds::new(8));
    assert_eq!(keys.key(&read(&alice), None), keys.key(&later, None));
    assert!(keys.key(&later, None).is_some());
}

#[test]
fn whatever_differs_makes_another_question() {
    let keys = keys();
    let base = alice().build().unwrap();
    let others = [
        PrincipalBuilder::new("https://id.exampl", "ealice").build().unwrap(),
        PrincipalBuilder::new("https://other.example", "alice").build().unwrap(),
        PrincipalBuilder::new(ISSUER, "bob").build().unwrap(),
        alice().with_claim("jti", "g-1.t-2").build().unwrap(),
        alice().with_claim("department", "sales").build().unwrap(),
        alice().with_scope("read write").build().unwrap(),
        alice().with_roles(["clerk"]).build().unwrap(),
        alice().with_roles(["clerk", "x"]).build().unwrap(),
        alice().with_roles(["clerkx"]).build().unwrap(),
        alice().with_client("shop").build().unwrap(),
        alice().with_tenant("shop").build().unwrap(),
        alice().with_expiry(UnixSeconds::new(0)).build().unwrap(),
        alice().with_expiry(UnixSeconds::new(100)).build().unwrap(),
    ];
    let mut seen: HashSet<_> = others.iter().map(|other| keys.key(&read(other), None).unwrap()).collect();
    assert_eq!(seen.len(), others.len());
    let (empty, full, order) = (object("{}"), object(r#"{"ip":"192.0.2.1"}"#), object(r#"{"owner":"alice"}"#));
    let at = |resource| AccessRequest::new(&base, "read", resource, UnixSeconds::new(7));
    let requests = [
        read(&base),
        read(&base).with_subject_kind("service"),
        AccessRequest::new(&base, "write", Resource::new("order", "42"), UnixSeconds::new(7)),
        read(&base).with_action_properties(&empty),
        read(&base).with_action_properties(&full),
        read(&base).with_context(&empty),
        read(&base).with_context(&full),
        at(Resource::new("orde", "r42")),
        at(Resource::new("order4", "2")),
        at(Resource::new("order", "43")),
        at(Resource::new("order", "42").with_attributes(&empty)),
        at(Resource::new("order", "42").with_attributes(&order)),
    ];
    seen.extend(requests.iter().map(|request| keys.key(request, None).unwrap()));
    seen.extend([[0; 32], [1; 32]].map(|part| keys.key(&read(&base), Some(part)).unwrap()));
    assert_eq!(seen.len(), others.len() + requests.len() + 2);
}

#[test]
fn only_the_named_members_count() {
    let keys = Keys::new(named(&["ip"]), named(&["owner"])).unwrap();
    let alice = alice().build().unwrap();
    let key = |context: &str, order: &str| {
        let (context, order) = (object(context), object(order));
        let resource = Resource::new("order", "42").with_attributes(&order);
        keys.key(&AccessRequest::new(&alice, "read", resource, UnixSeconds::new(7)).with_context(&context), None)
    };
    let base = key(r#"{"ip":"a","time":1}"#, r#"{"owner":"alice","total":1}"#);
    assert!(base.is_some());
    assert_eq!(base, key(r#"{"ip":"a","time":2}"#, r#"{"total":2,"owner":"alice"}"#));
    for (context, order) in [
        (r#"{"ip":"b","time":1}"#, r#"{"owner":"alice"}"#),
        (r#"{"time":1}"#, r#"{"owner":"alice"}"#),
        (r#"{"ip":null}"#, r#"{"owner":"alice"}"#),
        (r#"{"ip":"a"}"#, r#"{"owner":"bob"}"#),
        (r#"{"ip":"a"}"#, r#"{"owner":["alice"]}"#),
        (r#"{"ip":"a"}"#, "{}"),
    ] {
        assert_ne!(base, key(context, order), "{context} {order}");
    }
}

struct Order(Option<Attribute<'static>>);

impl Attributes for Order {
    fn attribute(&self, _: &str) -> Option<Attribute<'_>> {
        self.0.clone()
    }

    fn to_json(&self) -> Result<JsonObject, JsonError> {
        Err(JsonError::TooDeep)
    }
}

#[test]
fn attributes_that_cannot_be_written_share_nothing() {
    let (alice, order) = (alice().build().unwrap(), Order(None));
    let request =
        AccessRequest::new(&alice, "read", Resource::new("order", "42").with_attributes(&order), UnixSeconds::new(7));
    assert_eq!(keys().key(&request, None), None);
}

#[test]
fn attributes_of_different_types_are_different() {
    let (alice, keys) = (alice().build().unwrap(), Keys::new(Part::Whole, named(&["a"])).unwrap());
    let values: [Option<Attribute<'static>>; 6] = [
        None,
        Some("1".into()),
        Some(1_i64.into()),
        Some(true.into()),
        Some(false.into()),
        Some(Attribute::Text("true".into())),
    ];
    let seen: HashSet<_> = values
        .into_iter()
        .map(|value| {
            let order = Order(value);
            let resource = Resource::new("order", "42").with_attributes(&order);
            keys.key(&AccessRequest::new(&alice, "read", resource, UnixSeconds::new(7)), None).unwrap()
        })
        .collect();
    assert_eq!(seen.len(), 6);
}

#[test]
fn a_purge_makes_new_keys_for_those_that_it_names_alone() {
    let (keys, alice) = (keys(), alice().build().unwrap());
    let bob = PrincipalBuilder::new(ISSUER, "bob").with_claim("jti", "t-9").with_claim("sid", "s-9").build().unwrap();
    let key = |who: &Principal| keys.key(&read(who), None).unwrap();
    let mut seen = HashSet::from([key(&alice)]);
    let bobs = key(&bob);
    for (what, id) in
        [(Purged::Subject, "alice"), (Purged::Session, "s-1"), (Purged::Token, "g-1.t-1"), (Purged::Grant, "g-1")]
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
    let alice = alice().build().unwrap();
    assert_ne!(keys().key(&read(&alice), None), keys().key(&read(&alice), None));
}
