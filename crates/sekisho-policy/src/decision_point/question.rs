//! Questions as they come in.

use std::sync::Arc;

use sekisho_core::dangerous::CheckedClaims;
use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{AccessRequest, Principal, Resource, UnixSeconds};
use serde_json::value::RawValue;

use super::Inner;

/// Bounds a type, an id and a name, in bytes.
const MAX_NAME: usize = 1024;

/// Says what is wrong with a question, in words for whoever asked.
pub(super) type Malformed = &'static str;

/// Is an entity as it was sent.
pub(super) struct Entity {
    pub(super) kind: String,
    /// Empty for what is searched.
    pub(super) id: String,
    pub(super) properties: Option<JsonObject>,
}

/// Is a whole question: what an [`AccessRequest`] borrows from.
pub(super) struct Question {
    pub(super) subject_kind: String,
    /// `None` for a subject that nobody here knows.
    pub(super) subject: Option<Principal>,
    pub(super) action: String,
    pub(super) action_properties: Option<JsonObject>,
    pub(super) resource: Entity,
    pub(super) context: Option<JsonObject>,
}

impl Question {
    /// Puts a question together of its parts.
    pub(super) fn of(parts: Parts<'_>, point: &Inner) -> Result<Self, Malformed> {
        let subject = entity(parts.subject.ok_or("subject is missing")?, true)?;
        let (action, action_properties) = action(parts.action.ok_or("action is missing")?)?;
        let resource = entity(parts.resource.ok_or("resource is missing")?, true)?;
        let principal = principal(&subject, point)?;
        let context = parts.context.map(object).transpose()?;
        Ok(Self { subject_kind: subject.kind, subject: principal, action, action_properties, resource, context })
    }

    /// Asks it, unless the subject is not known.
    pub(super) fn request(&self, now: UnixSeconds) -> Option<AccessRequest<'_>> {
        let mut resource = Resource::new(&self.resource.kind, &self.resource.id);
        if let Some(properties) = &self.resource.properties {
            resource = resource.with_attributes(properties);
        }
        let mut request = AccessRequest::new(self.subject.as_ref()?, &self.action, resource, now)
            .with_subject_kind(&self.subject_kind);
        if let Some(properties) = &self.action_properties {
            request = request.with_action_properties(properties);
        }
        if let Some(context) = &self.context {
            request = request.with_context(context);
        }
        Some(request)
    }
}

/// Are the parts of a question, each from an item or, by default, from around it (§7.1.1).
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) subject: Option<JsonValue<'a>>,
    pub(super) action: Option<JsonValue<'a>>,
    pub(super) resource: Option<JsonValue<'a>>,
    pub(super) context: Option<JsonValue<'a>>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(whole: &'a JsonObject) -> Self {
        Self {
            subject: whole.get("subject"),
            action: whole.get("action"),
            resource: whole.get("resource"),
            context: whole.get("context"),
        }
    }

    /// Whole parts of an item take the place of the defaults.
    pub(super) fn over(self, item: JsonValue<'a>) -> Self {
        Self {
            subject: item.member("subject").or(self.subject),
            action: item.member("action").or(self.action),
            resource: item.member("resource").or(self.resource),
            context: item.member("context").or(self.context),
        }
    }
}

fn object(value: JsonValue<'_>) -> Result<JsonObject, Malformed> {
    if value.kind() != JsonKind::Object {
        return Err("properties and context are objects");
    }
    JsonObject::parse(value.as_json().as_bytes().to_vec()).map_err(|_| "properties and context are objects")
}

fn name(value: JsonValue<'_>, member: &str) -> Result<String, Malformed> {
    let text = value.member(member).ok_or("a type, id or name is missing")?.as_str();
    let text = text.filter(|text| (1..=MAX_NAME).contains(&text.len()));
    text.map(std::borrow::Cow::into_owned).ok_or("a type, id or name is a string of at most 1024 bytes, and not empty")
}

fn properties(value: JsonValue<'_>) -> Result<Option<JsonObject>, Malformed> {
    value.member("properties").map(object).transpose()
}

/// Reads a subject or a resource; of one that is searched, the id is ignored.
pub(super) fn entity(value: JsonValue<'_>, has_id: bool) -> Result<Entity, Malformed> {
    if value.kind() != JsonKind::Object {
        return Err("subject, action and resource are objects");
    }
    let id = if has_id { name(value, "id")? } else { String::new() };
    Ok(Entity { kind: name(value, "type")?, id, properties: properties(value)? })
}

pub(super) fn action(value: JsonValue<'_>) -> Result<(String, Option<JsonObject>), Malformed> {
    if value.kind() != JsonKind::Object {
        return Err("subject, action and resource are objects");
    }
    Ok((name(value, "name")?, properties(value)?))
}

/// Makes a principal of a subject, as whoever asks says that it is; `None` when it is nobody's that is known here.
pub(super) fn principal(subject: &Entity, point: &Inner) -> Result<Option<Principal>, Malformed> {
    const MISSHAPEN: Malformed = "a property of the subject has another type than the claim of its name";
    let Some(issuer) = point.subjects.get(&subject.kind) else { return Ok(None) };
    let properties = subject.properties.as_ref();
    let property = |name: &str| properties.and_then(|properties| properties.get(name));
    if property("iss").is_some_and(|said| said.as_str().as_deref() != Some(issuer)) {
        return Ok(None);
    }
    let mut claims: Vec<(&str, Box<RawValue>)> = Vec::new();
    let raw = |text: String| RawValue::from_string(text).map_err(|_| MISSHAPEN);
    for (name, value) in properties.iter().flat_map(|properties| properties.iter()) {
        let name = match name {
            "iss" | "sub" => continue,
            // Our client's word for it; as an array, so that no scope can be made of two.
            "scopes" => "scope",
            "scope" if property("scopes").is_some() => continue,
            name => name,
        };
        claims.push((name, raw(value.as_json().to_owned())?));
    }
    let text = |text: &str| serde_json::to_string(text).map_err(|_| MISSHAPEN).and_then(raw);
    claims.push(("iss", text(issuer)?));
    claims.push(("sub", text(&subject.id)?));
    let claims: std::collections::BTreeMap<_, _> = claims.into_iter().collect();
    let claims = JsonObject::from_serialize(&claims).map_err(|_| MISSHAPEN)?;
    let roles = match property("roles") {
        None => Vec::new(),
        Some(roles) if roles.kind() == JsonKind::Array => roles.as_strings().ok_or(MISSHAPEN)?,
        Some(_) => return Err(MISSHAPEN),
    };
    let roles = roles.into_iter().map(|role| role.into_owned().into_boxed_str()).collect();
    let has_tenant = property("tenant").is_some();
    let mut checked = CheckedClaims::new(Arc::clone(issuer), claims).map_err(|_| MISSHAPEN)?.with_roles(roles);
    if has_tenant {
        checked = checked.with_tenant("tenant").map_err(|_| MISSHAPEN)?;
    }
    Ok(Some(checked.into_principal()))
}
