use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Visitor};
use serde_json::value::RawValue;

/// Names the six kinds of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "JSON has no seventh kind of value")]
pub enum JsonKind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number
    Number,
    /// A string
    String,
    /// An array
    Array,
    /// An object
    Object,
}

/// Is one value inside a checked [`JsonObject`](super::JsonObject), read when asked.
#[derive(Clone, Copy)]
pub struct JsonValue<'a> {
    raw: &'a str,
    /// There is no escape in it.
    plain: bool,
}

impl<'a> JsonValue<'a> {
    /// Wraps a slice of a text that has been checked.
    pub(super) const fn from_checked(raw: &'a str, plain: bool) -> Self {
        Self { raw, plain }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(self) -> JsonKind {
        match self.raw.as_bytes().first() {
            Some(b'"') => JsonKind::String,
            Some(b'{') => JsonKind::Object,
            Some(b'[') => JsonKind::Array,
            Some(b't' | b'f') => JsonKind::Bool,
            Some(b'-' | b'0'..=b'9') => JsonKind::Number,
            _ => JsonKind::Null,
        }
    }

    /// Returns the JSON text of this value.
    #[must_use]
    pub const fn as_json(self) -> &'a str {
        self.raw
    }

    /// Reads a string, or `None` if it is not one. It borrows unless the text has escapes.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        if let Some(plain) = self.plain_str() {
            return Some(Cow::Borrowed(plain));
        }
        (self.kind() == JsonKind::String).then(|| serde_json::from_str(self.raw).ok().map(Cow::Owned)).flatten()
    }

    /// Reads a string that is written without escapes, or `None`.
    pub(crate) fn plain_str(self) -> Option<&'a str> {
        let inner = self.raw.strip_prefix('"')?.strip_suffix('"')?;
        (self.plain || !inner.contains('\\')).then_some(inner)
    }

    /// Reads `true` or `false`, or `None` if it is neither.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.raw {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Reads a NumericDate ([RFC 7519 §2](https://www.rfc-editor.org/rfc/rfc7519#section-2)): a number from 0 to
    /// 253,402,300,799 (the end of the year 9999), whole or with a fraction, which is cut off.
    ///
    /// Whatever is outside is `None`, so that no huge or negative number is taken for "far away".
    #[must_use]
    pub fn as_numeric_date(self) -> Option<u64> {
        const LAST: u64 = 253_402_300_799;
        if let Ok(whole) = self.raw.parse::<u64>() {
            // JSON numbers have no leading `+`, so what parses here is plain digits.
            return (whole <= LAST && self.kind() == JsonKind::Number).then_some(whole);
        }
        if self.kind() != JsonKind::Number {
            return None;
        }
        let value: f64 = self.raw.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "checked to lie between 0 and 2^38, where a double holds every whole number"
        )]
        (value.is_finite() && value >= 0.0 && value <= LAST as f64 && !self.raw.starts_with('-'))
            .then_some(value as u64)
    }

    /// Looks up a member of an object; `None` if it is not an object or has no such member.
    #[must_use]
    pub fn member(self, name: &str) -> Option<Self> {
        if self.kind() != JsonKind::Object {
            return None;
        }
        find_member(self.raw, name).map(|raw| Self { raw, plain: self.plain })
    }

    /// Lists the elements of an array; nothing if it is not an array.
    #[must_use]
    pub fn elements(self) -> Vec<Self> {
        if self.kind() != JsonKind::Array {
            return Vec::new();
        }
        let raw: Vec<&'a RawValue> = serde_json::from_str(self.raw).unwrap_or_default();
        raw.into_iter().map(|v| Self { raw: v.get(), plain: self.plain }).collect()
    }

    /// Reads a string or an array of strings; `None` if it is anything else, also when one element is not a string.
    #[must_use]
    pub fn as_strings(self) -> Option<Vec<Cow<'a, str>>> {
        match self.kind() {
            JsonKind::String => Some(vec![self.as_str()?]),
            JsonKind::Array => {
                let texts: Vec<super::Text<'a>> = serde_json::from_str(self.raw).ok()?;
                Some(texts.into_iter().map(|text| text.0).collect())
            }
            _ => None,
        }
    }

    /// Reads the value as a type of the caller's.
    ///
    /// # Errors
    /// What serde makes of a misshapen value; the text may quote the value.
    pub fn deserialize<T: Deserialize<'a>>(self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.raw)
    }
}

impl PartialEq for JsonValue<'_> {
    /// Compares the JSON texts; `1` and `1.0`, or a letter and its escape, are different.
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for JsonValue<'_> {}

impl fmt::Debug for JsonValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonValue({:?}, {} bytes)", self.kind(), self.raw.len())
    }
}

fn find_member<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    struct Find<'n>(&'n str);
    impl<'de> Visitor<'de> for Find<'_> {
        type Value = Option<&'de str>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(super::Text(key)) = map.next_key()? {
                let value: &RawValue = map.next_value()?;
                if key == self.0 {
                    found = Some(value.get());
                }
            }
            Ok(found)
        }
    }
    let mut parser = serde_json::Deserializer::from_str(raw);
    serde::Deserializer::deserialize_map(&mut parser, Find(name)).ok().flatten()
}

/// Gives a member's name to serde, also to a type that wraps a string.
pub(super) struct MemberName<'de>(pub(super) &'de str);

impl<'de> serde::Deserializer<'de> for MemberName<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        de::value::BorrowedStrDeserializer::new(self.0).deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// Gives a checked value to serde; a value that is not wanted costs nothing.
pub(super) struct CheckedValue<'de>(pub(super) &'de str);

macro_rules! forward {
    ($($method:ident($($arg:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, Self::Error> {
            let mut parser = serde_json::Deserializer::from_str(self.0);
            serde::Deserializer::$method(&mut parser, $($arg,)* visitor)
        }
    )*};
}

impl<'de> serde::Deserializer<'de> for CheckedValue<'de> {
    type Error = serde_json::Error;

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    forward! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string() deserialize_bytes()
        deserialize_byte_buf() deserialize_option() deserialize_unit() deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str) deserialize_seq() deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize) deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) deserialize_identifier()
    }
}
