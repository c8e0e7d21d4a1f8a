use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Authorize, Effect, Resource, UnixSeconds};
use serde_json::{Map, Value as Json, json};

use super::{CedarPolicies, alice, builder};
use crate::filter::{Comparison, Expr, Filter, Operand, Value};

pub(super) fn matches(expression: &Expr, id: &str, row: &Map<String, Json>) -> bool {
    let text = |name: &str| row.get(name).and_then(Json::as_str);
    match expression {
        Expr::And(parts) => parts.iter().all(|part| matches(part, id, row)),
        Expr::Or(parts) => parts.iter().any(|part| matches(part, id, row)),
        Expr::Has(name) => row.contains_key(&**name),
        Expr::Lacks(name) => !row.contains_key(&**name),
        Expr::Like(name, pattern) => text(name).is_some_and(|text| is_like(text, pattern.pieces())),
        Expr::Unlike(name, pattern) => text(name).is_some_and(|text| !is_like(text, pattern.pieces())),
        Expr::NamesAnother(name) => text(name) != Some(id),
        Expr::Compare(operand, comparison, value) => {
            let held = match operand {
                Operand::Id => Some(json!(id)),
                Operand::Attribute(name) => row.get(&**name).cloned(),
            };
            let order = match (held, value) {
                (Some(Json::String(held)), Value::Text(text)) => held.cmp(text),
                (Some(Json::Number(held)), Value::Integer(number)) => held.as_i64().unwrap().cmp(number),
                (Some(Json::Bool(held)), Value::Bool(flag)) => held.cmp(flag),
                _ => return false,
            };
            match comparison {
                Comparison::Equal => order.is_eq(),
                Comparison::NotEqual => order.is_ne(),
                Comparison::Less => order.is_lt(),
                Comparison::LessOrEqual => order.is_le(),
                Comparison::Greater => order.is_gt(),
                Comparison::GreaterOrEqual => order.is_ge(),
            }
        }
    }
}

fn is_like(text: &str, pieces: &[String]) -> bool {
    let Some((first, others)) = pieces.split_first() else { return text.is_empty() };
    let Some(rest) = text.strip_prefix(first.as_str()) else { return false };
    if others.is_empty() {
        return rest.is_empty();
    }
    let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    starts.into_iter().any(|at| is_like(&rest[at..], others))
}

async fn filter(policies: &CedarPolicies) -> Option<Filter> {
    let alice = alice();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", ""), UnixSeconds::new(1000));
    policies.filter(&request).await.ok()
}

#[tokio::test]
async fn rows_that_a_filter_shows_are_those_that_decisions_permit() {
    let conditions = [
        "resource.owner == principal",
        "!(resource.owner == principal)",
        "resource has locked && resource.locked",
        "!(resource has locked && resource.locked)",
        "resource.total > 2 || resource.owner == principal",
        "!(3 <= resource.total && resource.total != 4)",
        "resource == Order::\"1\"",
        "[1, 2].contains(resource.total)",
        "context.now > 5 && !(resource has price) && resource.total < 3",
        "true",
    ];
    let mut shown = 0;
    for permit in conditions {
        for forbid in conditions.iter().chain(["false"].iter()) {
            let text = format!(
                "@id(\"p\") permit(principal, action, resource is Order) when {{ {permit} }};
                 @id(\"f\") forbid(principal, action, resource is Order) when {{ {forbid} }};"
            );
            let policies = builder().build(&text).unwrap();
            let filter = filter(&policies).await.unwrap_or_else(|| panic!("{text}"));
            for number in 0..96 {
                let mut row = Map::new();
                let owner = ["alice", "bob"][number % 2];
                row.insert("owner".into(), json!(owner));
                if number % 3 > 0 {
                    row.insert("locked".into(), json!(number % 3 == 1));
                }
                if number % 8 < 4 {
                    row.insert("price".into(), json!("1.5"));
                }
                row.insert("total".into(), json!(number / 16));
                let id = if number % 5 == 0 { "1" } else { "2" };
                let order = JsonObject::from_serialize(&row).unwrap();
                let alice = alice();
                let resource = Resource::new("order", id).with_attributes(&order);
                let request = AccessRequest::new(&alice, "read", resource, UnixSeconds::new(1000));
                let is_permitted = policies.decide(&request).await.unwrap().effect() == Effect::Permit;
                let is_shown = match &filter {
                    Filter::All => true,
                    Filter::None => false,
                    Filter::Where(expression) => matches(expression, id, &row),
                };
                assert_eq!(is_shown, is_permitted, "{text} {row:?} {filter:?}");
                shown += usize::from(is_shown);
            }
        }
    }
    assert!(shown > 500, "{shown}");
}

#[tokio::test]
async fn what_cannot_be_written_as_a_filter_is_an_error_and_never_wider() {
    for policy in [
        "permit(principal, action, resource is Order) when { principal in [resource.owner] };",
        "permit(principal, action, resource is Order) when { User::\"bob\" in resource.owner };",
        "permit(principal, action, resource is Order) when { resource.owner has department && principal.scopes.contains(resource.owner.department) };",
        "permit(principal, action, resource is Order) when { resource.owner has department };",
        "permit(principal, action, resource is Order) when { resource.total + 1 > 2 };",
        "permit(principal, action, resource is Order) when { resource has price && resource.price.lessThan(decimal(\"1.0\")) };",
        "permit(principal, action, resource in Order::\"1\");",
        "@redact(\"iban\") permit(principal, action, resource);",
    ] {
        let text = format!("@id(\"x\") {policy}");
        let policies = builder().build(&text).unwrap_or_else(|error| panic!("{error}"));
        if let Some(filter) = filter(&policies).await {
            // `in` of a type that has no parents is `==`.
            assert!(policy.contains("in Order") && matches!(filter, Filter::Where(_)), "{policy} {filter:?}");
        }
    }
    let policies = builder().build("@id(\"x\") permit(principal, action == Action::\"write\", resource);").unwrap();
    assert_eq!(filter(&policies).await, Some(Filter::None));
    // What a function calls a resource is not what its row says.
    let named = builder().with_names(|_| None).build("@id(\"x\") permit(principal, action, resource);").unwrap();
    assert_eq!(filter(&named).await, None);
}
