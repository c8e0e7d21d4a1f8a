use std::collections::{BTreeMap, HashMap};

use cedar_policy::{EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{Attribute, ConfigError, UnixSeconds};
use serde_json::Value;

/// Says what a schema declares: the types of entities with their attributes, and the actions with their contexts.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    pub(super) entities: HashMap<EntityTypeName, EntityShape, foldhash::fast::RandomState>,
    pub(super) contexts: HashMap<EntityUid, Vec<Member>>,
}

#[derive(Debug, Default)]
pub(super) struct EntityShape {
    pub(super) attributes: Vec<Member>,
    /// The types of which it may have parents.
    pub(super) parents: Vec<EntityTypeName>,
}

impl EntityShape {
    pub(super) fn attribute(&self, name: &str) -> Option<&Shape> {
        self.attributes.iter().find(|member| *member.name == *name).map(|member| &member.shape)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: Box<str>,
    pub(super) shape: Shape,
    pub(super) is_required: bool,
}

/// Is the type of a value, as a schema declares it.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Text,
    Long,
    Bool,
    /// Written as the entity's id; the type is the schema's.
    Entity(EntityTypeName),
    Set(Box<Shape>),
    Record(Vec<Member>),
    Decimal,
    Address,
    Datetime,
    Duration,
}

/// Says that a value is not of the type that the schema declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch;

impl Shape {
    /// Returns the type of the entity that it is.
    pub(super) const fn entity(&self) -> Option<&EntityTypeName> {
        if let Self::Entity(kind) = self { Some(kind) } else { None }
    }

    /// Reads a value of this type; the entities that it names go to `references`. `None` for JSON's null.
    pub(super) fn read(
        &self,
        value: &Attribute<'_>,
        references: &mut Vec<EntityUid>,
    ) -> Result<Option<RestrictedExpression>, Mismatch> {
        if let Attribute::Json(json) = value
            && json.kind() == JsonKind::Null
        {
            return Ok(None);
        }
        let text = || value.as_text().map(std::borrow::Cow::into_owned).ok_or(Mismatch);
        Ok(Some(match self {
            Self::Text => RestrictedExpression::new_string(text()?),
            Self::Long => RestrictedExpression::new_long(value.as_integer().ok_or(Mismatch)?),
            Self::Bool => RestrictedExpression::new_bool(value.as_bool().ok_or(Mismatch)?),
            Self::Entity(type_name) => {
                let id = value.as_text().ok_or(Mismatch)?;
                let uid = EntityUid::from_type_name_and_id(type_name.clone(), EntityId::new(&id));
                references.push(uid.clone());
                RestrictedExpression::new_entity_uid(uid)
            }
            Self::Decimal => RestrictedExpression::new_decimal(text()?),
            Self::Address => RestrictedExpression::new_ip(text()?),
            Self::Datetime => RestrictedExpression::new_datetime(text()?),
            Self::Duration => RestrictedExpression::new_duration(text()?),
            Self::Set(_) | Self::Record(_) => {
                let Attribute::Json(json) = value else { return Err(Mismatch) };
                self.read_json(*json, references)?
            }
        }))
    }

    /// Reads a record.
    pub(super) fn read_object(
        &self,
        object: &JsonObject,
        references: &mut Vec<EntityUid>,
    ) -> Result<Option<RestrictedExpression>, Mismatch> {
        let Self::Record(members) = self else { return Err(Mismatch) };
        record(members, |name| object.get(name), references).map(Some)
    }

    fn read_json(
        &self,
        json: JsonValue<'_>,
        references: &mut Vec<EntityUid>,
    ) -> Result<RestrictedExpression, Mismatch> {
        match (self, json.kind()) {
            (Self::Set(element), JsonKind::Array) => {
                let elements = json.elements().into_iter();
                let elements: Result<Vec<_>, Mismatch> =
                    elements.map(|value| element.read_json(value, references)).collect();
                Ok(RestrictedExpression::new_set(elements?))
            }
            (Self::Record(members), JsonKind::Object) => record(members, |name| json.member(name), references),
            (Self::Set(_) | Self::Record(_), _) => Err(Mismatch),
            _ => self.read(&Attribute::Json(json), references)?.ok_or(Mismatch),
        }
    }
}

fn record<'a>(
    members: &[Member],
    get: impl Fn(&str) -> Option<JsonValue<'a>>,
    references: &mut Vec<EntityUid>,
) -> Result<RestrictedExpression, Mismatch> {
    let mut fields = Vec::with_capacity(members.len());
    for Member { name, shape, is_required } in members {
        let value = match get(name) {
            Some(value) => shape.read(&Attribute::Json(value), references)?,
            None => None,
        };
        match value {
            Some(value) => fields.push((name.to_string(), value)),
            None if *is_required => return Err(Mismatch),
            None => {}
        }
    }
    RestrictedExpression::new_record(fields).map_err(|_| Mismatch)
}

/// Writes a time as Cedar reads it; `None` after the year 9999.
pub(super) fn datetime(now: UnixSeconds) -> Option<String> {
    let (mut day, second) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
        if year > 9999 {
            return None;
        }
    }
    let mut month = 1;
    for days in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    Some(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", day + 1, second % 60))
}

impl Shapes {
    /// Reads what a schema in Cedar's JSON form declares. The schema itself has been checked by Cedar before.
    pub(super) fn read(schema: &Value) -> Result<Self, ConfigError> {
        let mut shapes = Self::default();
        let namespaces = schema.as_object().ok_or_else(|| unknown("the schema"))?;
        let reader = Reader { schema };
        for (namespace, definitions) in namespaces {
            for (name, definition) in members(definitions, "entityTypes") {
                let type_name = type_name(&qualify(namespace, name))?;
                let parents = texts(definition, "memberOfTypes").map(|parent| reader.entity(namespace, parent));
                let parents = parents.collect::<Result<_, _>>()?;
                let attributes = match definition.get("shape") {
                    Some(shape) => reader.members(namespace, shape)?,
                    None => Vec::new(),
                };
                shapes.entities.insert(type_name, EntityShape { attributes, parents });
            }
            for (id, definition) in members(definitions, "actions") {
                let action = type_name(&qualify(namespace, "Action"))?;
                let action = EntityUid::from_type_name_and_id(action, EntityId::new(id));
                let context = definition.get("appliesTo").and_then(|applies| applies.get("context"));
                let context = match context {
                    Some(context) => reader.members(namespace, context)?,
                    None => Vec::new(),
                };
                shapes.contexts.insert(action, context);
            }
        }
        Ok(shapes)
    }
}

struct Reader<'a> {
    schema: &'a Value,
}

/// Common types that name each other deeper than this are not read.
const MAX_DEPTH: usize = 32;

impl Reader<'_> {
    fn members(&self, namespace: &str, record: &Value) -> Result<Vec<Member>, ConfigError> {
        match self.shape(namespace, record, 0)? {
            Shape::Record(members) => Ok(members),
            _ => Err(unknown("a record")),
        }
    }

    fn shape(&self, namespace: &str, written: &Value, depth: usize) -> Result<Shape, ConfigError> {
        if depth > MAX_DEPTH {
            return Err(ConfigError::new("the schema's types are nested too deep"));
        }
        let kind = written.get("type").and_then(Value::as_str).ok_or_else(|| unknown("a type"))?;
        let name = || written.get("name").and_then(Value::as_str).ok_or_else(|| unknown("a type's name"));
        match kind {
            "Set" => {
                let element = written.get("element").ok_or_else(|| unknown("a set's elements"))?;
                Ok(Shape::Set(Box::new(self.shape(namespace, element, depth + 1)?)))
            }
            "Record" => {
                let mut read = Vec::new();
                for (name, member) in members(written, "attributes") {
                    let shape = self.shape(namespace, member, depth + 1)?;
                    let is_required = member.get("required").and_then(Value::as_bool).unwrap_or(true);
                    read.push(Member { name: name.as_str().into(), shape, is_required });
                }
                Ok(Shape::Record(read))
            }
            "Entity" => Ok(Shape::Entity(self.entity(namespace, name()?)?)),
            "Extension" => basic(name()?).ok_or_else(|| unknown(name().unwrap_or_default())),
            "EntityOrCommon" => self.named(namespace, name()?, depth),
            other => self.named(namespace, other, depth),
        }
    }

    /// Resolves a name: a common type, a type of entities, then what Cedar has by itself; in this namespace, then in none.
    fn named(&self, namespace: &str, name: &str, depth: usize) -> Result<Shape, ConfigError> {
        for (namespace, name) in candidates(namespace, name) {
            let definitions = self.schema.get(namespace);
            if let Some(common) = definitions.and_then(|all| all.get("commonTypes")?.get(name)) {
                return self.shape(namespace, common, depth + 1);
            }
            if definitions.is_some_and(|all| all.get("entityTypes").is_some_and(|types| types.get(name).is_some())) {
                return Ok(Shape::Entity(type_name(&qualify(namespace, name))?));
            }
        }
        basic(name).ok_or_else(|| unknown(name))
    }

    fn entity(&self, namespace: &str, name: &str) -> Result<EntityTypeName, ConfigError> {
        for (namespace, name) in candidates(namespace, name) {
            let types = self.schema.get(namespace).and_then(|all| all.get("entityTypes"));
            if types.is_some_and(|types| types.get(name).is_some()) {
                return type_name(&qualify(namespace, name));
            }
        }
        type_name(name)
    }
}

fn candidates<'a>(namespace: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let written = name.rsplit_once("::");
    let own = written.is_none().then_some((namespace, name));
    [own, Some(written.unwrap_or(("", name)))].into_iter().flatten()
}

fn basic(name: &str) -> Option<Shape> {
    Some(match name.strip_prefix("__cedar::").unwrap_or(name) {
        "String" => Shape::Text,
        "Long" => Shape::Long,
        "Bool" | "Boolean" => Shape::Bool,
        "decimal" => Shape::Decimal,
        "ipaddr" => Shape::Address,
        "datetime" => Shape::Datetime,
        "duration" => Shape::Duration,
        _ => return None,
    })
}

fn members<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    // In order, so that nothing depends on how a map is hashed.
    let members: BTreeMap<_, _> = value.get(name).and_then(Value::as_object).into_iter().flatten().collect();
    members.into_iter()
}

fn texts<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    value.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn qualify(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}

pub(super) fn type_name(name: &str) -> Result<EntityTypeName, ConfigError> {
    name.parse().map_err(|_| ConfigError::new(format!("`{}` is no name of a type", name.escape_debug())))
}

fn unknown(what: &str) -> ConfigError {
    ConfigError::new(format!("the schema cannot be read: {}", what.escape_debug()))
}
