//! The document as JSON text.

use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Failure, FailureKind};
use serde::ser::{Error as _, SerializeMap as _};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{InputOptions, MAX_INPUT_BYTES, attributes, too_large};

impl InputOptions {
    /// Writes the document.
    ///
    /// # Errors
    /// [`FailureKind::Misconfigured`] when the resource's attributes cannot be written, or the document is larger than
    /// [`MAX_INPUT_BYTES`].
    pub(crate) fn write(&self, request: &AccessRequest<'_>) -> Result<Vec<u8>, Failure> {
        let attributes = attributes(request)?;
        let resource = request.resource();
        let document = Document {
            subject: Subject { request, options: self },
            action: Thing { name: Some(request.action()), ..Thing::with(request.action_properties()) },
            resource: Thing {
                kind: Some(resource.kind()),
                id: Some(resource.id()),
                ..Thing::with(attributes.as_ref())
            },
            context: request.context().map(|context| Raw(context.as_str())),
            now: request.now().as_secs(),
        };
        let json = serde_json::to_vec(&document)
            .map_err(|_| Failure::new(FailureKind::Misconfigured, "the input of a policy cannot be written as JSON"))?;
        if json.len() > MAX_INPUT_BYTES { Err(too_large()) } else { Ok(json) }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    subject: Subject<'a>,
    action: Thing<'a>,
    resource: Thing<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Raw<'a>>,
    now: u64,
}

struct Subject<'a> {
    request: &'a AccessRequest<'a>,
    options: &'a InputOptions,
}

impl Serialize for Subject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let principal = self.request.subject();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", self.request.subject_kind())?;
        map.serialize_entry("id", principal.subject())?;
        map.serialize_entry("issuer", principal.issuer())?;
        if let Some(client) = principal.client() {
            map.serialize_entry("client", client)?;
        }
        if let Some(tenant) = principal.tenant() {
            map.serialize_entry("tenant", tenant)?;
        }
        map.serialize_entry("roles", principal.roles())?;
        map.serialize_entry("scopes", &principal.scopes().collect::<Vec<_>>())?;
        map.serialize_entry("properties", &Claims(self))?;
        map.end()
    }
}

struct Claims<'a>(&'a Subject<'a>);

impl Serialize for Claims<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let claims = self.0.request.subject().claims();
        let mut map = serializer.serialize_map(None)?;
        for name in self.0.options.claims() {
            if let Some(value) = claims.get(name) {
                map.serialize_entry(name, &Raw(value.as_json()))?;
            }
        }
        map.end()
    }
}

#[derive(Default, Serialize)]
struct Thing<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Raw<'a>>,
}

impl<'a> Thing<'a> {
    fn with(properties: Option<&'a JsonObject>) -> Self {
        Self { properties: properties.map(|object| Raw(object.as_str())), ..Self::default() }
    }
}

/// Is JSON text that has been checked.
struct Raw<'a>(&'a str);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}
