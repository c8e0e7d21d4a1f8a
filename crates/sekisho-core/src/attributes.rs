use std::borrow::Cow;

use crate::json::{JsonError, JsonKind, JsonObject, JsonValue};

/// Holds the attributes of a resource, looked up by name: what policies ask of an order, a document, an account.
///
/// Implemented by [`JsonObject`]. Implement it for a loaded object of your own so that a policy in process reads it as it
/// is; [`to_json`](Self::to_json) is only called for deciders that need all of it, such as those on the network.
///
/// Contract for implementers: the three agree. What [`to_json`](Self::to_json) writes under a name is what
/// [`attribute`](Self::attribute) returns for it, though it may leave out what no decider elsewhere may see, and
/// [`as_json`](Self::as_json) lends that same object; all of it stays as it is while a request is decided. A decision may be asked for
/// by one of them and kept under a key made of another: where they differ, what is kept answers for other attributes than it
/// was made of.
///
/// # Examples
/// ```
/// use sekisho_core::json::{JsonError, JsonObject};
/// use sekisho_core::{Attribute, Attributes};
///
/// struct Order { owner: String, total: i64 }
///
/// impl Attributes for Order {
///     fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
///         match name {
///             "owner" => Some(self.owner.as_str().into()),
///             "total" => Some(self.total.into()),
///             _ => None,
///         }
///     }
///
///     fn to_json(&self) -> Result<JsonObject, JsonError> {
///         JsonObject::from_serialize(&std::collections::BTreeMap::from([("owner", &self.owner)]))
///     }
/// }
/// ```
pub trait Attributes: Sync {
    /// Returns one attribute, or `None` if it has none of this name.
    fn attribute(&self, name: &str) -> Option<Attribute<'_>>;

    /// Writes all attributes that a decider elsewhere may see.
    ///
    /// # Errors
    /// [`JsonError`] when they cannot be written; the decision is then a failure.
    fn to_json(&self) -> Result<JsonObject, JsonError>;

    /// Lends what [`to_json`](Self::to_json) would write, where it is at hand. By default it is not.
    fn as_json(&self) -> Option<&JsonObject> {
        None
    }
}

/// Is the value of one attribute.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Attribute<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Bool(bool),
    /// Anything, as JSON.
    Json(JsonValue<'a>),
}

impl Attribute<'_> {
    /// Returns it as a text, also if it is a JSON string.
    #[must_use]
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Json(value) => value.as_str(),
            Self::Integer(_) | Self::Bool(_) => None,
        }
    }

    /// Returns it as a whole number, also if it is a JSON number without fraction.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Json(value) if value.kind() == JsonKind::Number => value.deserialize().ok(),
            Self::Json(_) | Self::Text(_) | Self::Bool(_) => None,
        }
    }

    /// Returns it as true or false, also if it is that in JSON.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            Self::Json(value) => value.as_bool(),
            Self::Integer(_) | Self::Text(_) => None,
        }
    }
}

impl<'a> From<&'a str> for Attribute<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Attribute<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Attribute<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Attribute<'_> {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl Attributes for JsonObject {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.get(name).map(Attribute::Json)
    }

    fn to_json(&self) -> Result<JsonObject, JsonError> {
        Ok(self.clone())
    }

    fn as_json(&self) -> Option<&JsonObject> {
        Some(self)
    }
}
