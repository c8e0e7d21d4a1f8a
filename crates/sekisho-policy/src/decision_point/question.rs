//! Questions as they come in.

use std::cell::OnceCell;
use std::collections::BTreeMap;
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

/// Is an entity as it was sent. A clone copies nothing of it.
#[derive(Clone)]
pub(super) struct Entity {
    pub(super) kind: Arc<str>,
    /// Empty for what is searched.
    pub(super) id: Arc<str>,
    pub(super) properties: Option<Arc<JsonObject>>,
}

/// Is an action as it was sent. A clone copies nothing of it.
#[derive(Clone)]
pub(super) struct Action {
    pub(super) name: Arc<str>,
    pub(super) properties: Option<Arc<JsonObject>>,
}

/// Is who is asked about. A clone copies nothing.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) kind: Arc<str>,
    /// `None` for a subject that nobody here knows.
    pub(super) principal: Option<Principal>,
}

/// Is a whole question: what an [`AccessRequest`] borrows from. Questions share what they have in common.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) subject: Subject,
    pub(super) action: Action,
    pub(super) resource: Entity,
    pub(super) context: Option<Arc<JsonObject>>,
}

impl Question {
    /// Reads a question that stands alone.
    pub(super) fn of(parts: Parts<'_>, point: &Inner) -> Result<Self, Malformed> {
        Ok(Self {
            subject: subject(parts.subject, point)?,
            action: action(parts.action)?,
            resource: resource(parts.resource)?,
            context: context(parts.context)?,
        })
    }

    /// Asks it, unless the subject is not known.
    pub(super) fn request(&self, now: UnixSeconds) -> Option<AccessRequest<'_>> {
        let mut resource = Resource::new(&self.resource.kind, &self.resource.id);
        if let Some(properties) = &self.resource.properties {
            resource = resource.with_attributes(&**properties);
        }
        let mut request = AccessRequest::new(self.subject.principal.as_ref()?, &self.action.name, resource, now)
            .with_subject_kind(&self.subject.kind);
        if let Some(properties) = &self.action.properties {
            request = request.with_action_properties(properties);
        }
        if let Some(context) = &self.context {
            request = request.with_context(context);
        }
        Some(request)
    }
}

/// Are the parts of a question.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) subject: Option<JsonValue<'a>>,
    pub(super) action: Option<JsonValue<'a>>,
    pub(super) resource: Option<JsonValue<'a>>,
    pub(super) context: Option<JsonValue<'a>>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(whole: &'a JsonObject) -> Self {
        Self::by(|name| whole.get(name))
    }

    pub(super) fn of_item(item: JsonValue<'a>) -> Self {
        Self::by(|name| item.member(name))
    }

    fn by(part: impl Fn(&str) -> Option<JsonValue<'a>>) -> Self {
        Self { subject: part("subject"), action: part("action"), resource: part("resource"), context: part("context") }
    }

    /// Whole parts of an item take the place of the defaults (§7.1.1).
    pub(super) fn over(self, defaults: Self) -> Self {
        Self {
            subject: self.subject.or(defaults.subject),
            action: self.action.or(defaults.action),
            resource: self.resource.or(defaults.resource),
            context: self.context.or(defaults.context),
        }
    }

    /// Returns how long they are together, in bytes.
    pub(super) fn bytes(self) -> usize {
        let Self { subject, action, resource, context } = self;
        [subject, action, resource, context].into_iter().flatten().map(|part| part.as_json().len()).sum()
    }
}

/// Are the parts that stand around the items of a batch. Each is read once, when the first item takes it, and shared by all
/// that do.
pub(super) struct Defaults<'a> {
    parts: Parts<'a>,
    subject: OnceCell<Result<Subject, Malformed>>,
    action: OnceCell<Result<Action, Malformed>>,
    resource: OnceCell<Result<Entity, Malformed>>,
    context: OnceCell<Result<Option<Arc<JsonObject>>, Malformed>>,
}

impl<'a> Defaults<'a> {
    pub(super) const fn new(parts: Parts<'a>) -> Self {
        Self {
            parts,
            subject: OnceCell::new(),
            action: OnceCell::new(),
            resource: OnceCell::new(),
            context: OnceCell::new(),
        }
    }

    /// Puts the question of an item together.
    pub(super) fn question(&self, item: JsonValue<'_>, point: &Inner) -> Result<Question, Malformed> {
        if item.kind() != JsonKind::Object {
            return Err("an evaluation is an object");
        }
        let Parts { subject: who, action: what, resource: which, context: how } = Parts::of_item(item);
        Ok(Question {
            subject: either(who, self.parts.subject, &self.subject, |part| subject(part, point))?,
            action: either(what, self.parts.action, &self.action, action)?,
            resource: either(which, self.parts.resource, &self.resource, resource)?,
            context: either(how, self.parts.context, &self.context, context)?,
        })
    }
}

/// Reads a part of an item, or takes the default as it was read before.
fn either<'v, T: Clone>(
    own: Option<JsonValue<'v>>,
    default: Option<JsonValue<'v>>,
    known: &OnceCell<Result<T, Malformed>>,
    read: impl Fn(Option<JsonValue<'v>>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    if own.is_some() { read(own) } else { known.get_or_init(|| read(default)).clone() }
}

fn subject(part: Option<JsonValue<'_>>, point: &Inner) -> Result<Subject, Malformed> {
    let subject = entity(part.ok_or("subject is missing")?, true)?;
    let principal = principal(&subject, point)?;
    Ok(Subject { kind: subject.kind, principal })
}

fn resource(part: Option<JsonValue<'_>>) -> Result<Entity, Malformed> {
    entity(part.ok_or("resource is missing")?, true)
}

pub(super) fn context(part: Option<JsonValue<'_>>) -> Result<Option<Arc<JsonObject>>, Malformed> {
    part.map(object).transpose()
}

fn object(value: JsonValue<'_>) -> Result<Arc<JsonObject>, Malformed> {
    const WRONG: Malformed = "properties and context are objects";
    if value.kind() != JsonKind::Object {
        return Err(WRONG);
    }
    JsonObject::parse(value.as_json().as_bytes().to_vec()).map(Arc::new).map_err(|_| WRONG)
}

fn name(value: JsonValue<'_>, member: &str) -> Result<Arc<str>, Malformed> {
    let text = value.member(member).ok_or("a type, id or name is missing")?.as_str();
    let text = text.filter(|text| (1..=MAX_NAME).contains(&text.len()));
    text.map(Arc::from).ok_or("a type, id or name is a string of at most 1024 bytes, and not empty")
}

fn properties(value: JsonValue<'_>) -> Result<Option<Arc<JsonObject>>, Malformed> {
    value.member("properties").map(object).transpose()
}

/// Reads a subject or a resource; of one that is searched, the id is ignored.
pub(super) fn entity(value: JsonValue<'_>, has_id: bool) -> Result<Entity, Malformed> {
    if value.kind() != JsonKind::Object {
        return Err("subject, action and resource are objects");
    }
    let id = if has_id { name(value, "id")? } else { "".into() };
    Ok(Entity { kind: name(value, "type")?, id, properties: properties(value)? })
}

pub(super) fn action(part: Option<JsonValue<'_>>) -> Result<Action, Malformed> {
    let value = part.ok_or("action is missing")?;
    if value.kind() != JsonKind::Object {
        return Err("subject, action and resource are objects");
    }
    Ok(Action { name: name(value, "name")?, properties: properties(value)? })
}

const MISSHAPEN: Malformed = "a property of the subject has another type than the claim of its name";

fn raw(json: &str) -> Result<&RawValue, Malformed> {
    serde_json::from_str(json).map_err(|_| MISSHAPEN)
}

/// Makes a principal of a subject, as whoever asks says that it is; `None` when it is nobody's that is known here.
pub(super) fn principal(subject: &Entity, point: &Inner) -> Result<Option<Principal>, Malformed> {
    let Some(issuer) = point.subjects.get(&*subject.kind) else { return Ok(None) };
    let properties = subject.properties.as_ref();
    let property = |name: &str| properties.and_then(|properties| properties.get(name));
    if property("iss").is_some_and(|said| said.as_str().as_deref() != Some(issuer)) {
        return Ok(None);
    }
    let text = |text: &str| serde_json::to_string(text).map_err(|_| MISSHAPEN);
    let (iss, sub) = (text(issuer)?, text(&subject.id)?);
    let mut claims: BTreeMap<&str, &RawValue> = BTreeMap::new();
    for (name, value) in properties.iter().flat_map(|properties| properties.iter()) {
        let name = match name {
            "iss" | "sub" => continue,
            // Our client's word for it; as an array, so that no scope can be made of two.
            "scopes" => "scope",
            "scope" if property("scopes").is_some() => continue,
            name => name,
        };
        claims.insert(name, raw(value.as_json())?);
    }
    claims.insert("iss", raw(&iss)?);
    claims.insert("sub", raw(&sub)?);
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
