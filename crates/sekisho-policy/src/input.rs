use std::fmt;
use std::sync::Arc;

use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Failure, FailureKind};

#[cfg(any(feature = "remote", test))]
mod json;

/// Says what of an access request a policy gets to see, and writes it as the one input document that Rego in process and a
/// remote OPA both get:
///
/// ```json
/// {
///   "subject": {
///     "type": "user", "id": "alice", "issuer": "https://id.example", "client": "shop", "tenant": "acme",
///     "roles": ["clerk"], "scopes": ["orders:read"], "properties": {"department": "sales"}
///   },
///   "action": {"name": "read", "properties": {}},
///   "resource": {"type": "order", "id": "42", "properties": {"owner": "alice"}},
///   "context": {"ip": "192.0.2.1"},
///   "now": 1700000000
/// }
/// ```
///
/// `client`, `tenant`, the `properties` of action and resource, and `context` are absent when there are none. The subject's
/// `properties` are the claims that are listed here, and no others; none by default.
#[derive(Clone, Default)]
pub(crate) struct InputOptions {
    claims: Arc<[Box<str>]>,
}

impl InputOptions {
    /// Lets the policy see these claims, by name, as the subject's properties.
    pub(crate) fn with_claims<I: IntoIterator<Item = S>, S: Into<Box<str>>>(names: I) -> Self {
        let mut claims: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        claims.sort_unstable();
        claims.dedup();
        Self { claims: claims.into() }
    }

    /// Lists the claims.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        self.claims.iter().map(AsRef::as_ref)
    }
}

impl fmt::Debug for InputOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputOptions").field("claims", &self.claims).finish()
    }
}

/// Writes the resource's attributes, if they are at hand.
pub(crate) fn attributes(request: &AccessRequest<'_>) -> Result<Option<JsonObject>, Failure> {
    let Some(attributes) = request.resource().attributes() else { return Ok(None) };
    let object = attributes.to_json().map_err(|error| {
        Failure::new(FailureKind::Misconfigured, "the attributes of a resource cannot be written as JSON")
            .with_source(error)
    })?;
    if object.as_str().len() > MAX_INPUT_BYTES { Err(too_large()) } else { Ok(Some(object)) }
}

pub(crate) const fn too_large() -> Failure {
    Failure::new(FailureKind::Misconfigured, "the input of a policy is too large")
}

/// Bounds the document: 1 MiB.
pub(crate) const MAX_INPUT_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use sekisho_core::dangerous::PrincipalBuilder;
    use sekisho_core::json::JsonError;
    use sekisho_core::{Attribute, Attributes, Principal, Resource, UnixSeconds};
    use serde_json::{Value, json};

    use super::*;

    fn alice() -> Principal {
        PrincipalBuilder::new("https://id.example", "alice")
            .with_scope("orders:read orders:write")
            .with_client("shop")
            .with_tenant("acme")
            .with_roles(["clerk"])
            .with_claim("department", "sales \"north\"")
            .with_claim("groups", json!([{"id": 1}]))
            .with_claim("email", "alice@example.com")
            .build()
            .unwrap()
    }

    fn object(json: &str) -> JsonObject {
        JsonObject::parse(json.as_bytes().to_vec()).unwrap()
    }

    fn written(options: &InputOptions, request: &AccessRequest<'_>) -> Value {
        serde_json::from_slice(&options.write(request).unwrap()).unwrap()
    }

    #[test]
    fn writes_the_whole_question() {
        let (alice, order) = (alice(), object(r#" {"owner":"alice","total":12.5} "#));
        let (context, properties) = (object(r#"{"ip":"192.0.2.1"}"#), object(r#"{"soft":true}"#));
        let request = AccessRequest::new(
            &alice,
            "read",
            Resource::new("order", "4\"2").with_attributes(&order),
            UnixSeconds::new(1_700_000_000),
        )
        .with_subject_kind("employee")
        .with_action_properties(&properties)
        .with_context(&context);
        let options = InputOptions::with_claims(["groups", "department", "absent", "groups"]);
        assert_eq!(
            written(&options, &request),
            json!({
                "subject": {
                    "type": "employee", "id": "alice", "issuer": "https://id.example", "client": "shop", "tenant": "acme",
                    "roles": ["clerk"], "scopes": ["orders:read", "orders:write"],
                    "properties": {"department": "sales \"north\"", "groups": [{"id": 1}]},
                },
                "action": {"name": "read", "properties": {"soft": true}},
                "resource": {"type": "order", "id": "4\"2", "properties": {"owner": "alice", "total": 12.5}},
                "context": {"ip": "192.0.2.1"},
                "now": 1_700_000_000,
            })
        );
    }

    #[test]
    fn shows_no_claim_that_is_not_listed() {
        let alice = alice();
        let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(7));
        let json = String::from_utf8(InputOptions::default().write(&request).unwrap()).unwrap();
        assert!(!json.contains("example.com") && !json.contains("north"), "{json}");
        assert_eq!(
            written(&InputOptions::default(), &request),
            json!({
                "subject": {
                    "type": "user", "id": "alice", "issuer": "https://id.example", "client": "shop", "tenant": "acme",
                    "roles": ["clerk"], "scopes": ["orders:read", "orders:write"], "properties": {},
                },
                "action": {"name": "read"},
                "resource": {"type": "order", "id": "42"},
                "now": 7,
            })
        );
    }

    #[test]
    fn attributes_that_cannot_be_written_are_a_failure() {
        struct Broken;
        impl Attributes for Broken {
            fn attribute(&self, _: &str) -> Option<Attribute<'_>> {
                None
            }
            fn to_json(&self) -> Result<JsonObject, JsonError> {
                Err(JsonError::TooDeep)
            }
        }
        let alice = alice();
        let resource = Resource::new("order", "42").with_attributes(&Broken);
        let request = AccessRequest::new(&alice, "read", resource, UnixSeconds::new(7));
        let failure = InputOptions::default().write(&request).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Misconfigured);
    }

    #[test]
    fn a_document_beyond_the_bound_is_a_failure() {
        let alice = alice();
        let context = object(&format!(r#"{{"a":"{}"}}"#, "a".repeat(MAX_INPUT_BYTES)));
        let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(7));
        assert!(InputOptions::default().write(&request).is_ok());
        assert!(InputOptions::default().write(&request.clone().with_context(&context)).is_err());
        let request = AccessRequest::new(
            &alice,
            "read",
            Resource::new("order", "42").with_attributes(&context),
            UnixSeconds::new(7),
        );
        assert!(InputOptions::default().write(&request).is_err());
    }
}
