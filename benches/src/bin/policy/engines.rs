//! The engines by themselves, with what a service has to do for each request: their own words for plain values.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use regorus::{CompiledPolicy, Engine, Value};
use sekisho_benches::decisions::{Facts, REGO, REGO_ENTRY_POINT, input};

/// `cedar-policy` as it is. Types and the action are parsed beforehand; nothing is checked against the schema, which is
/// the quickest that a service can do.
pub(crate) struct Cedar {
    policies: PolicySet,
    authorizer: Authorizer,
    user: EntityTypeName,
    role: EntityTypeName,
    order: EntityTypeName,
    read: EntityUid,
}

impl Cedar {
    pub(crate) fn new(policies: &str) -> Self {
        let kind = |name: &str| name.parse().unwrap();
        Self {
            policies: policies.parse().unwrap(),
            authorizer: Authorizer::new(),
            user: kind("User"),
            role: kind("Role"),
            order: kind("Order"),
            read: r#"Action::"read""#.parse().unwrap(),
        }
    }

    pub(crate) fn question(&self, facts: &Facts) -> (Request, Entities) {
        let uid = |kind: &EntityTypeName, id: &str| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id));
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let (user, order) = (uid(&self.user, &facts.subject), uid(&self.order, &facts.order));
        let roles: HashSet<_> = facts.roles.iter().map(|role| uid(&self.role, role)).collect();
        let principal = HashMap::from([("tenant".to_owned(), text(&facts.subject_tenant))]);
        let resource = HashMap::from([
            ("owner".to_owned(), RestrictedExpression::new_entity_uid(uid(&self.user, &facts.owner))),
            ("tenant".to_owned(), text(&facts.tenant)),
            ("total".to_owned(), RestrictedExpression::new_long(facts.total)),
            ("locked".to_owned(), RestrictedExpression::new_bool(facts.locked)),
        ]);
        let principal = Entity::new(user.clone(), principal, roles).unwrap();
        let resource = Entity::new(order.clone(), resource, HashSet::new()).unwrap();
        let now = RestrictedExpression::new_long(i64::try_from(facts.now).unwrap());
        let context = Context::from_pairs([("now".to_owned(), now)]).unwrap();
        let request = Request::new(user, self.read.clone(), order, context, None).unwrap();
        (request, Entities::from_entities([principal, resource], None).unwrap())
    }

    pub(crate) fn evaluate(&self, (request, entities): &(Request, Entities)) -> bool {
        self.authorizer.is_authorized(request, &self.policies, entities).decision() == Decision::Allow
    }

    pub(crate) fn decide(&self, facts: &Facts) -> bool {
        self.evaluate(&self.question(facts))
    }
}

/// `regorus` as it is: an engine that is copied, or a compiled policy.
pub(crate) struct Rego {
    engine: Engine,
    compiled: CompiledPolicy,
}

impl Rego {
    pub(crate) fn new() -> Self {
        let mut engine = Engine::new();
        engine.add_policy("shop.rego".to_owned(), REGO.to_owned()).unwrap();
        let compiled = engine.compile_with_entrypoint(&REGO_ENTRY_POINT.into()).unwrap();
        Self { engine, compiled }
    }

    /// Writes the values as JSON, which is what its documentation shows.
    pub(crate) fn input(facts: &Facts) -> Value {
        Value::from_json_str(&input(facts).to_string()).unwrap()
    }

    pub(crate) fn copied(&self, input: Value) -> bool {
        let mut engine = self.engine.clone();
        engine.set_input(input);
        engine.eval_rule(REGO_ENTRY_POINT.to_owned()).unwrap() == Value::Bool(true)
    }

    pub(crate) fn compiled(&self, input: Value) -> bool {
        self.compiled.eval_with_input(input).unwrap() == Value::Bool(true)
    }
}
