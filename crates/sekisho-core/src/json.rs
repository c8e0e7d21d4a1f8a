//! Bounded, strict reading of JSON objects that come from outside.
//!
//! Parsing is `serde_json`'s; what is added is what security needs: duplicate member names are
//! refused at every depth, nesting is bounded, and a checked object keeps an index of its members,
//! so that one claim can be read later without parsing the whole again.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::Reject;

mod plain;
mod value;

pub use value::{JsonKind, JsonValue};

/// Bounds the nesting of objects and arrays; the object itself is depth 1.
pub const MAX_DEPTH: usize = 32;

/// `serde_json` takes an object whose first member is named like this for something else than an object: for JSON text to be parsed, or for a
/// number. A user's own type would then see other claims than we do, so no member may be named so.
const PRIVATE: &str = "$serde_json::private::";
/// What numbers look like to a visitor when some crate in the graph has switched `arbitrary_precision` on.
const PRIVATE_NUMBER: &str = "$serde_json::private::Number";

/// From this many members on, names are compared by a hash set rather than one by one.
const LINEAR_NAMES: usize = 24;

/// Says why a text is not a JSON object that can be trusted to mean one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not UTF-8, not JSON, or not an object; a number that no double holds; the text `$serde_json::private::`.
    #[error("not a JSON object")]
    Malformed,
    /// The same member name twice in one object.
    #[error("a member name stands twice in one object")]
    DuplicateMember,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested too deep")]
    TooDeep,
}

impl From<JsonError> for Reject {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::DuplicateMember => Self::DuplicateMember,
            JsonError::Malformed | JsonError::TooDeep => Self::Malformed,
        }
    }
}

/// Is a JSON object that was checked once and can be read many times.
///
/// It owns its text; members are kept as positions in it. `Debug` shows the number of members
/// only, for claims are personal data.
#[derive(Clone)]
pub struct JsonObject {
    text: Box<str>,
    members: Vec<Member>,
    /// One bit for the fingerprint of each member's name; most look-ups are for names that are not there.
    seen: u64,
    /// There is no escape in the whole text, so that no string needs to be looked through for one.
    plain: bool,
}

#[derive(Clone)]
struct Member {
    fingerprint: u8,
    name: Name,
    value: Span,
}

#[derive(Clone)]
enum Name {
    Plain(Span),
    /// The name is written with escapes; this is what they stand for.
    Unescaped(Box<str>),
}

/// What an allocation costs beside its bytes, about.
pub(crate) const ALLOCATION: usize = 16;

/// Start and end of a slice of the text, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Finds where `part`, a slice of `whole`, lies in it.
    fn of(part: &str, whole: &str) -> Option<Self> {
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let end = start.checked_add(part.len())?;
        (end <= whole.len()).then_some(())?;
        Some(Self { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }

    const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) fn read(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

impl JsonObject {
    /// Checks a JSON text ([RFC 8259](https://www.rfc-editor.org/rfc/rfc8259)) and indexes its members.
    ///
    /// White space around the object is allowed, a byte order mark is not. The caller bounds the length.
    ///
    /// # Errors
    /// - [`JsonError::Malformed`]: not UTF-8, not JSON, lone surrogates, or not an object.
    /// - [`JsonError::TooDeep`]: nested deeper than [`MAX_DEPTH`].
    /// - [`JsonError::DuplicateMember`]: a name stands twice in one object, at any depth.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, JsonError> {
        let text = String::from_utf8(bytes).map_err(|_| JsonError::Malformed)?.into_boxed_str();
        let plain = memchr::memchr(b'\\', text.as_bytes()).is_none();
        // Hardly any text has a dollar in it.
        if memchr::memchr(b'$', text.as_bytes()).is_some() && text.contains(PRIVATE) {
            return Err(JsonError::Malformed);
        }
        let members = index(&text, plain)?;
        let seen = members.iter().fold(0, |seen, member| seen | 1 << member.fingerprint);
        Ok(Self { text, members, seen, plain })
    }

    /// Writes a value as JSON and indexes it.
    ///
    /// # Errors
    /// [`JsonError`] when the value does not serialize to an object within the bounds.
    pub fn from_serialize<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        Self::parse(serde_json::to_vec(value).map_err(|_| JsonError::Malformed)?)
    }

    /// Returns the whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Estimates the bytes of memory behind it, for whoever has to bound what it keeps.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let unescaped = |member: &Member| match &member.name {
            Name::Plain(_) => 0,
            Name::Unescaped(name) => name.len() + ALLOCATION,
        };
        let names: usize = self.members.iter().map(unescaped).sum();
        self.text.len() + self.members.capacity() * size_of::<Member>() + names + 2 * ALLOCATION
    }

    /// Tells whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Looks a member up by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<JsonValue<'_>> {
        let fingerprint = fingerprint(name);
        if self.seen & (1 << fingerprint) == 0 {
            return None;
        }
        let named = |m: &&Member| m.fingerprint == fingerprint && m.is_named(name, &self.text);
        self.members.iter().find(named).map(|m| self.value(m))
    }

    /// Lists the members in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, JsonValue<'_>)> {
        self.members.iter().map(|m| (m.name(&self.text), self.value(m)))
    }

    /// Follows a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) such as `/realm_access/roles`,
    /// through objects; an array has no members here.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<JsonValue<'_>> {
        let mut steps = pointer.strip_prefix('/')?.split('/').map(unescape_step);
        let first = self.get(&steps.next()?)?;
        steps.try_fold(first, |value, step| value.member(&step))
    }

    /// Reads the members that `T` asks for; members it does not know are not even looked at.
    ///
    /// # Errors
    /// What `T` makes of missing or misshapen members, in serde's words. The text may quote claims:
    /// it is for a developer's eyes.
    pub fn deserialize<'de, T: Deserialize<'de>>(&'de self) -> Result<T, serde_json::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(Members { object: self, next: 0 }))
    }

    fn value(&self, member: &Member) -> JsonValue<'_> {
        JsonValue::from_checked(member.value.read(&self.text), self.plain)
    }

    /// Returns the slice of the text at which `value`, taken from this object, lies, as a string
    /// without escapes.
    pub(crate) fn plain_str_span(&self, value: JsonValue<'_>) -> Option<Span> {
        let inner = value.plain_str()?;
        Span::of(inner, &self.text)
    }
}

impl fmt::Debug for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonObject({} members)", self.members.len())
    }
}

impl Member {
    fn name<'a>(&'a self, text: &'a str) -> &'a str {
        match &self.name {
            Name::Plain(span) => span.read(text),
            Name::Unescaped(name) => name,
        }
    }

    fn is_named(&self, name: &str, text: &str) -> bool {
        match &self.name {
            // The length rules out nearly all, without a look at the text.
            Name::Plain(span) => span.len() == name.len() && span.read(text) == name,
            Name::Unescaped(own) => **own == *name,
        }
    }
}

fn unescape_step(step: &str) -> Cow<'_, str> {
    if step.contains('~') { Cow::Owned(step.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(step) }
}

/// Hands an object's members to serde one by one. Values were checked before, so the ones that
/// nobody wants are skipped without reading them.
struct Members<'de> {
    object: &'de JsonObject,
    next: usize,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let Some(member) = self.object.members.get(self.next) else { return Ok(None) };
        let name = member.name(&self.object.text);
        seed.deserialize(value::MemberName(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        let member = self.object.members.get(self.next);
        self.next += 1;
        let raw = member.map_or("null", |m| m.value.read(&self.object.text));
        seed.deserialize(value::CheckedValue(raw))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.object.members.len().saturating_sub(self.next))
    }
}

fn index(text: &str, plain: bool) -> Result<Vec<Member>, JsonError> {
    let mut problem = None;
    let mut parser = serde_json::Deserializer::from_str(text);
    let members = parser.deserialize_map(IndexVisitor { text, plain, problem: &mut problem });
    match (members, problem) {
        (_, Some(problem)) => Err(problem),
        (Ok(members), None) if parser.end().is_ok() => Ok(members),
        _ => Err(JsonError::Malformed),
    }
}

struct IndexVisitor<'a, 'p> {
    text: &'a str,
    plain: bool,
    problem: &'p mut Option<JsonError>,
}

impl<'de> Visitor<'de> for IndexVisitor<'de, '_> {
    type Value = Vec<Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<Member> = Vec::with_capacity(LINEAR_NAMES);
        let (mut names, mut quick) = (Names::default(), plain::Check::default());
        while let Some(Text(name)) = map.next_key()? {
            let is_new = names.insert_after(&name, &members, |member, name| member.is_named(name, self.text));
            if !is_new {
                *self.problem = Some(JsonError::DuplicateMember);
                return Err(de::Error::custom("duplicate"));
            }
            refuse_private(&name)?;
            let raw: &RawValue = map.next_value()?;
            let raw = raw.get();
            if let Err(problem) = check_value(raw, self.plain.then_some(&mut quick)) {
                *self.problem = Some(problem);
                return Err(de::Error::custom("value"));
            }
            let too_long = || de::Error::custom("too long");
            let fingerprint = fingerprint(&name);
            let name = match name {
                Cow::Borrowed(plain) => Name::Plain(Span::of(plain, self.text).ok_or_else(too_long)?),
                Cow::Owned(unescaped) => Name::Unescaped(unescaped.into()),
            };
            members.push(Member { fingerprint, name, value: Span::of(raw, self.text).ok_or_else(too_long)? });
        }
        Ok(members)
    }
}

/// Checks inside a value what `RawValue` passed over: nested duplicates, depth, escapes, and numbers that no double holds.
/// There is a quick check when there is no escape in the whole text.
fn check_value<'a>(raw: &'a str, quick: Option<&mut plain::Check<'a>>) -> Result<(), JsonError> {
    match raw.as_bytes().first() {
        Some(b'{' | b'[') => {}
        Some(b'"') if quick.is_some() || !raw.contains('\\') => return Ok(()),
        Some(b'"') => {}
        Some(b't' | b'f' | b'n') => return Ok(()),
        _ if is_short_number(raw.as_bytes()) => return Ok(()),
        _ => {}
    }
    if let Some(checked) = quick.and_then(|quick| quick.run(raw)) {
        return checked;
    }
    let mut problem = None;
    let mut parser = serde_json::Deserializer::from_str(raw);
    let checked = Checked { depth: 1, problem: &mut problem }.deserialize(&mut parser);
    match (checked, problem) {
        (_, Some(problem)) => Err(problem),
        (Ok(()), None) => Ok(()),
        (Err(_), None) => Err(JsonError::Malformed),
    }
}

/// Tells whether a number has so few digits, and no exponent, that any reader can hold it.
fn is_short_number(number: &[u8]) -> bool {
    number.len() <= 20 && !number.iter().any(|byte| matches!(byte, b'e' | b'E'))
}

/// Remembers the names of one object.
#[derive(Default)]
struct Names<'a> {
    /// One bit for each fingerprint: while it is not set, the name is new and nothing is compared.
    seen: u64,
    /// Used from [`LINEAR_NAMES`] on.
    many: HashSet<Cow<'a, str>>,
    count: usize,
}

impl<'a> Names<'a> {
    /// Returns false if the name was there already. `few` holds the names so far, as long as they are few.
    #[expect(clippy::ptr_arg, reason = "a name that is kept stays borrowed if it was")]
    fn insert_after<K>(&mut self, name: &Cow<'a, str>, few: &[K], is_named: impl Fn(&K, &str) -> bool) -> bool {
        let bit = 1 << fingerprint(name);
        let may_be_known = self.seen & bit != 0;
        self.seen |= bit;
        self.count += 1;
        if self.count <= LINEAR_NAMES {
            return !(may_be_known && few.iter().any(|known| is_named(known, name)));
        }
        // The few from before are not in the set: they are compared one by one, a bounded number.
        let among_the_few = few.iter().take(LINEAR_NAMES).any(|known| is_named(known, name));
        !among_the_few && self.many.insert(name.clone())
    }
}

/// Maps a name to a number below 64, from its length, its first and its last byte.
#[expect(clippy::cast_possible_truncation, reason = "below 64")]
fn fingerprint(name: &str) -> u8 {
    let bytes = name.as_bytes();
    let end = |byte: Option<&u8>| byte.map_or(0, |byte| usize::from(*byte));
    let mixed = bytes.len().wrapping_mul(7) ^ end(bytes.first()).wrapping_mul(13) ^ end(bytes.last()).wrapping_mul(29);
    (mixed % 64) as u8
}

/// Is a string, of a name or a value, that borrows unless it has escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Refuses a private name that was written with escapes; written plainly, the text was refused before.
fn refuse_private<E: de::Error>(name: &str) -> Result<(), E> {
    if name.starts_with(PRIVATE) { Err(E::custom("private")) } else { Ok(()) }
}

/// Walks a value, keeps nothing, and refuses duplicates and depth.
struct Checked<'p> {
    depth: usize,
    problem: &'p mut Option<JsonError>,
}

impl Checked<'_> {
    fn fail<E: de::Error>(&mut self, problem: JsonError) -> E {
        *self.problem = Some(problem);
        E::custom("refused")
    }

    /// Enters an object or array, and returns the depth of what is in it.
    fn enter<E: de::Error>(&mut self) -> Result<usize, E> {
        if self.depth >= MAX_DEPTH { Err(self.fail(JsonError::TooDeep)) } else { Ok(self.depth + 1) }
    }
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.enter()?;
        while seq.next_element_seed(Checked { depth, problem: self.problem })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut next = map.next_key()?;
        // No text has this name in it, so it is `arbitrary_precision` that shows a number.
        if let Some(Text(Cow::Borrowed(PRIVATE_NUMBER))) = next {
            let number: String = map.next_value()?;
            let fits = number.parse::<f64>().is_ok_and(f64::is_finite);
            return if fits { Ok(()) } else { Err(self.fail(JsonError::Malformed)) };
        }
        let depth = self.enter()?;
        let (mut names, mut few) = (Names::default(), Vec::new());
        while let Some(Text(name)) = next {
            refuse_private(&name)?;
            if !names.insert_after(&name, &few, |known: &Cow<'_, str>, name| known == name) {
                return Err(self.fail(JsonError::DuplicateMember));
            }
            if few.len() < LINEAR_NAMES {
                few.push(name);
            }
            map.next_value_seed(Checked { depth, problem: self.problem })?;
            next = map.next_key()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
