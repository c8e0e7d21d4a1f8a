use std::collections::HashSet;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonError;
use sekisho_core::{Attributes, UnixSeconds};

use super::*;

const ISSUER: &str = "https://id.example";

fn maker(context: Part, attributes: Part) -> KeyMaker {
    KeyMaker::new(context, attributes).unwrap()
}

fn whole() -> KeyMaker {
    maker(Part::Whole, Part::Whole)
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

fn key(maker: &KeyMaker, request: &AccessRequest<'_>) -> Option<Key> {
    maker.question(request, |_| {})
}

#[test]
fn the_same_question_has_the_same_key_whenever_it_is_put() {
    let (maker, alice, again) = (whole(), alice().build().unwrap(), alice().build().unwrap());
    let later = AccessRequest::new(&again, "read", Resource::new("order", "42"), UnixSeconds::new(8));
    assert_eq!(key(&maker, &read(&alice)), key(&maker, &later));
    assert!(key(&maker, &later).is_some());
}

#[test]
fn whatever_differs_makes_another_question() {
    let maker = whole();
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
        alice().with_roles(["clerk", "", "x"]).build().unwrap(),
        alice().with_client("shop").build().unwrap(),
        alice().with_tenant("shop").build().unwrap(),
        alice().with_expiry(UnixSeconds::new(0)).build().unwrap(),
        alice().with_expiry(UnixSeconds::new(100)).build().unwrap(),
        alice().with_confirmation(Confirmation::KeyThumbprint("t".into())).build().unwrap(),
        alice().with_confirmation(Confirmation::KeyThumbprint("u".into())).build().unwrap(),
        alice().with_confirmation(Confirmation::CertificateThumbprint("t".into())).build().unwrap(),
    ];
    let mut seen: HashSet<_> = others.iter().map(|other| key(&maker, &read(other)).unwrap()).collect();
    assert_eq!(seen.len(), others.len());
    let (empty, full, order) = (object("{}"), object(r#"{"ip":"192.0.2.1"}"#), object(r#"{"owner":"alice"}"#));
    let at = |resource| AccessRequest::new(&base, "read", resource, UnixSeconds::new(7));
    let requests = [
        read(&base),
        read(&base).with_subject_kind("service"),
        AccessRequest::new(&base, "write", Resource::new("order", "42"), UnixSeconds::new(7)),
        AccessRequest::new(&base, "readorder", Resource::new("", "42"), UnixSeconds::new(7)),
        read(&base).with_action_properties(&empty),
        read(&base).with_action_properties(&full),
        read(&base).with_context(&empty),
        read(&base).with_context(&full),
        at(Resource::new("orde", "r42")),
        at(Resource::new("order4", "2")),
        at(Resource::new("order", "43")),
        at(Resource::new("order", "42").with_attributes(&empty)),
        at(Resource::new("order", "42").with_attributes(&full)),
        at(Resource::new("order", "42").with_attributes(&order)),
    ];
    seen.extend(requests.iter().map(|request| key(&maker, request).unwrap()));
    // What else decides is a part like the others.
    for number in [0, 1] {
        seen.insert(maker.question(&read(&base), |writer| writer.number(number)).unwrap());
    }
    assert_eq!(seen.len(), others.len() + requests.len() + 2);
}

#[test]
fn only_the_named_members_count() {
    let maker = maker(named(&["ip"]), named(&["owner"]));
    let alice = alice().build().unwrap();
    let key = |context: &str, order: &str| {
        let (context, order) = (object(context), object(order));
        let resource = Resource::new("order", "42").with_attributes(&order);
        key(&maker, &AccessRequest::new(&alice, "read", resource, UnixSeconds::new(7)).with_context(&context))
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

#[test]
fn members_do_not_run_together() {
    let maker = maker(named(&["a", "b"]), Part::Whole);
    let alice = alice().build().unwrap();
    let contexts = [r"{}", r#"{"a":1}"#, r#"{"b":1}"#, r#"{"a":11}"#, r#"{"b":11}"#, r#"{"a":1,"b":1}"#];
    let seen: HashSet<_> =
        contexts.iter().map(|json| key(&maker, &read(&alice).with_context(&object(json))).unwrap()).collect();
    assert_eq!(seen.len(), contexts.len());
    assert!(!seen.contains(&key(&maker, &read(&alice)).unwrap()));
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
    assert_eq!(key(&whole(), &request), None);
}

#[test]
fn attributes_of_different_types_are_different() {
    let (alice, maker) = (alice().build().unwrap(), maker(Part::Whole, named(&["a"])));
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
            key(&maker, &AccessRequest::new(&alice, "read", resource, UnixSeconds::new(7))).unwrap()
        })
        .collect();
    assert_eq!(seen.len(), 6);
}

#[test]
fn ids_of_another_kind_or_issuer_are_others() {
    let maker = whole();
    let kinds = [IdKind::Subject, IdKind::Session, IdKind::Token, IdKind::Grant];
    let mut seen: HashSet<_> = kinds.iter().map(|kind| maker.id(*kind, ISSUER, "alice")).collect();
    seen.insert(maker.id(IdKind::Subject, "https://other.example", "alice"));
    seen.insert(maker.id(IdKind::Subject, "https://id.exampl", "ealice"));
    assert_eq!(seen.len(), 6);
    assert!(seen.contains(&maker.id(IdKind::Grant, ISSUER, "alice")));
}

#[test]
fn another_maker_makes_other_keys() {
    let alice = alice().build().unwrap();
    assert_ne!(key(&whole(), &read(&alice)), key(&whole(), &read(&alice)));
    assert_ne!(whole().id(IdKind::Token, ISSUER, "t"), whole().id(IdKind::Token, ISSUER, "t"));
}
