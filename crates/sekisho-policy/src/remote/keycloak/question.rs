//! What is asked of Keycloak, and what never is.

use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{Failure, FailureKind};

/// Is a resource and one of its scopes, in names that Keycloak takes for nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Permission {
    pub(super) resource: Box<str>,
    pub(super) by: By,
    pub(super) scope: Box<str>,
}

/// Says what a resource is called by. Keycloak takes either in one place: it looks for an id first, and then for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Name,
    Id,
}

impl Permission {
    /// Refuses names that would make another question of this one.
    ///
    /// In `permission` a `#` begins the scopes and a `,` the next scope, and of several, one that is granted makes the answer
    /// true. No resource at all stands for every resource, no scope for any scope, and `resource-type…:` before a name for
    /// all resources of a type.
    pub(super) fn new(by: By, resource: String, scope: String) -> Option<Self> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= LONGEST_NAME
                && name.trim() == name
                && !name.chars().any(|c| matches!(c, '#' | ',') || c.is_control())
        };
        let selects = resource.get(..SELECTOR.len()).is_some_and(|start| start.eq_ignore_ascii_case(SELECTOR));
        (is_name(&resource) && is_name(&scope) && !selects).then(|| Self {
            resource: resource.into(),
            by,
            scope: scope.into(),
        })
    }

    /// Writes it as Keycloak reads it.
    pub(super) fn written(&self) -> String {
        format!("{}#{}", self.resource, self.scope)
    }
}

/// Writes what of the circumstances is pushed, as the claims that Keycloak's policies read: each a list of texts. `None` when
/// there is none.
pub(super) fn claims(names: &[Box<str>], context: Option<&JsonObject>) -> Result<Option<String>, Failure> {
    let Some(context) = context else { return Ok(None) };
    let mut claims = std::collections::BTreeMap::new();
    for name in names {
        if let Some(value) = context.get(name) {
            claims.insert(&**name, texts(value).ok_or(UNWRITABLE)?);
        }
    }
    if claims.is_empty() {
        return Ok(None);
    }
    let claims = serde_json::to_string(&claims).map_err(|_| UNWRITABLE)?;
    if claims.len() > LONGEST_CLAIMS { Err(UNWRITABLE) } else { Ok(Some(claims)) }
}

fn texts(value: JsonValue<'_>) -> Option<Vec<String>> {
    match value.kind() {
        JsonKind::String | JsonKind::Array => {
            Some(value.as_strings()?.into_iter().map(std::borrow::Cow::into_owned).collect())
        }
        JsonKind::Number | JsonKind::Bool => Some(vec![JsonValue::as_json(value).to_owned()]),
        _ => None,
    }
}

const UNWRITABLE: Failure = Failure::new(
    FailureKind::Misconfigured,
    "the context that is pushed is too large, or no text, number, truth or list of texts",
);

/// What Keycloak takes for a set of resources rather than for the name of one.
const SELECTOR: &str = "resource-type";
const LONGEST_NAME: usize = 1024;
const LONGEST_CLAIMS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(resource: &str, scope: &str) -> Option<String> {
        Permission::new(By::Name, resource.to_owned(), scope.to_owned()).map(|permission| permission.written())
    }

    #[test]
    fn refuses_names_that_would_make_another_question() {
        for resource in [
            "",
            "orders#read",
            "a,b",
            "a\nb",
            "a\u{0}",
            "a\u{85}",
            " orders",
            "orders\u{a0}",
            "resource-type:order",
            "resource-type-any:order",
            "Resource-Type-Any:order",
            "resource-type-owner:order",
            "resource-type-instance:order",
            &"x".repeat(1025),
        ] {
            assert_eq!(permission(resource, "read"), None, "{resource:?}");
        }
        for scope in ["", "read,write", "read#write", "read\r", "read ", &"x".repeat(1025)] {
            assert_eq!(permission("orders", scope), None, "{scope:?}");
        }
    }

    #[test]
    fn takes_names_as_they_are() {
        for (resource, scope, written) in [
            ("orders", "read", "orders#read"),
            ("order:42", "urn:shop:read", "order:42#urn:shop:read"),
            ("/orders/42 & co=%23", "read all", "/orders/42 & co=%23#read all"),
            ("ürder", "lesen", "ürder#lesen"),
        ] {
            assert_eq!(permission(resource, scope).as_deref(), Some(written));
        }
    }

    fn written(context: &str) -> Result<Option<String>, Failure> {
        let context = JsonObject::parse(context.as_bytes().to_vec()).unwrap();
        claims(&["ip".into(), "hours".into(), "late".into(), "groups".into()], Some(&context))
    }

    #[test]
    fn pushes_of_the_context_what_is_listed_and_nothing_else() {
        let pushed = written(r#"{"groups":["a","b"],"ip":"192.0.2.1","hours":7,"late":true,"secret":"x"}"#).unwrap();
        let expected = r#"{"groups":["a","b"],"hours":["7"],"ip":["192.0.2.1"],"late":["true"]}"#;
        assert_eq!(pushed.as_deref(), Some(expected));
        assert_eq!(written(r#"{"secret":"x"}"#).unwrap(), None);
        assert_eq!(claims(&["ip".into()], None).unwrap(), None);
    }

    #[test]
    fn refuses_context_that_no_list_of_texts_holds() {
        for context in [r#"{"ip":null}"#, r#"{"ip":{"v4":"x"}}"#, r#"{"ip":["a",1]}"#] {
            assert!(written(context).is_err(), "{context}");
        }
        assert!(written(&format!(r#"{{"ip":"{}"}}"#, "x".repeat(4096))).is_err());
    }
}
