use std::fmt;
use std::ops::Deref;

use sekisho_core::{Failure, FailureKind};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserializer, Serialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use crate::request::RequestSession;

/// Is the session of one request with its data as a type of yours.
///
/// `T` is written as a JSON object, member by member: different types can share a session, each with members of its own.
/// Members that are not there yet have the value that they have in `T::default()`. `()` is for who needs no data.
///
/// It reads as a [`RequestSession`], for login, logout and the rest.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::sync::Arc;
/// # use sekisho_http::HeadParts;
/// # use sekisho_session::{MemorySessionStore, Session, SessionKey, SessionKeys, Sessions};
/// # let keys = SessionKeys::new(SessionKey::generate()?);
/// # let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys).build()?;
/// # let request = sessions.begin(&HeadParts { method: "POST", path: "/cart", headers: &[] });
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Cart {
///     items: u32,
/// }
///
/// let mut session: Session<Cart> = request.session(None).await?; // an extractor does this
/// session.update(|cart| cart.items += 1);
/// assert_eq!(session.data().items, 1);
/// # request.finish().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Session<T> {
    request: RequestSession,
    data: T,
}

impl<T> Session<T> {
    pub(crate) const fn new(request: RequestSession, data: T) -> Self {
        Self { request, data }
    }

    /// Returns the data as this request sees them.
    #[must_use]
    pub const fn data(&self) -> &T {
        &self.data
    }

    /// Returns the session without the data.
    #[must_use]
    pub const fn request(&self) -> &RequestSession {
        &self.request
    }
}

impl<T: Serialize + DeserializeOwned + Default + 'static> Session<T> {
    /// Changes the data, here at once and in the store at the end of the request.
    ///
    /// Where another request has written meanwhile, `change` runs again on what that one wrote: no update is lost. So it must
    /// compute what it writes from what it is given, not from what was read before, and have no other effect. Members that it
    /// leaves alone are left to others.
    pub fn update(&mut self, change: impl Fn(&mut T) + Send + Sync + 'static) {
        change(&mut self.data);
        self.request.note(Box::new(move |data| apply(data, &change)));
    }
}

impl<T> Deref for Session<T> {
    type Target = RequestSession;

    fn deref(&self) -> &RequestSession {
        &self.request
    }
}

impl<T> fmt::Debug for Session<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The data are the application's, and may be secret.
        f.debug_struct("Session").field("request", &self.request).finish_non_exhaustive()
    }
}

/// Reads the members that `T` has, over its defaults.
pub(crate) fn read<T: Serialize + DeserializeOwned + Default>(data: &Map<String, Value>) -> Result<T, Failure> {
    if data.is_empty() {
        return Ok(T::default());
    }
    if let Ok(value) = T::deserialize(Complete(data)) {
        return Ok(value);
    }
    let Some(mut members) = members(&T::default())? else { return Ok(T::default()) };
    // Members that `T` leaves out by default are there too, if they were written once.
    members.extend(data.iter().map(|(name, value)| (name.clone(), value.clone())));
    serde_json::from_value(Value::Object(members))
        .map_err(|_| misconfigured("the data of a session do not have the shape that the handler asks for"))
}

/// Reads a struct all of whose members are there, so that nothing comes of its defaults, and nothing is copied for them. Anything else it
/// does not read.
struct Complete<'de>(&'de Map<String, Value>);

impl<'de> Deserializer<'de> for Complete<'de> {
    type Error = NotComplete;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NotComplete> {
        Err(NotComplete)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotComplete> {
        let Self(data) = self;
        if !fields.iter().all(|field| data.contains_key(*field)) {
            return Err(NotComplete);
        }
        data.deserialize_struct(name, fields, visitor).map_err(|_| NotComplete)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[derive(Debug)]
struct NotComplete;

impl fmt::Display for NotComplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a struct with all its members")
    }
}

impl std::error::Error for NotComplete {}

impl serde::de::Error for NotComplete {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

fn apply<T: Serialize + DeserializeOwned + Default>(
    data: &mut Map<String, Value>,
    change: &impl Fn(&mut T),
) -> Result<(), Failure> {
    let mut value: T = read(data)?;
    let before = members(&value)?.unwrap_or_default();
    change(&mut value);
    let after = members(&value)?.unwrap_or_default();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        data.remove(name);
    }
    for (name, value) in after {
        if before.get(&name) != Some(&value) {
            data.insert(name, value);
        }
    }
    Ok(())
}

/// Writes a value as members; `None` for what has none, as `()`.
fn members<T: Serialize>(value: &T) -> Result<Option<Map<String, Value>>, Failure> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => Ok(Some(members)),
        Ok(Value::Null) => Ok(None),
        _ => Err(misconfigured("the data of a session must be written as a JSON object")),
    }
}

const fn misconfigured(context: &'static str) -> Failure {
    Failure::new(FailureKind::Misconfigured, context)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Default, Serialize, Deserialize, PartialEq, Debug)]
    struct Cart {
        items: Vec<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        voucher: Option<String>,
    }

    #[derive(Default, Serialize, Deserialize)]
    struct Language {
        language: String,
    }

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn types_share_a_session_member_by_member() {
        let mut data = map(json!({ "language": "de" }));
        apply(&mut data, &|cart: &mut Cart| cart.items.push(7)).unwrap();
        assert_eq!(Value::Object(data.clone()), json!({ "language": "de", "items": [7] }));
        apply(&mut data, &|language: &mut Language| language.language = "fr".into()).unwrap();
        assert_eq!(Value::Object(data.clone()), json!({ "language": "fr", "items": [7] }));
        apply(&mut data, &|(): &mut ()| ()).unwrap();
        assert_eq!(data.len(), 2);
    }

    #[test]
    fn members_that_a_change_takes_away_are_gone() {
        let mut data = map(json!({ "items": [1], "voucher": "x" }));
        assert_eq!(read::<Cart>(&data).unwrap().voucher.as_deref(), Some("x"));
        apply(&mut data, &|cart: &mut Cart| cart.voucher = None).unwrap();
        assert_eq!(Value::Object(data), json!({ "items": [1] }));
    }

    /// Has defaults that are not those of its members.
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Settings {
        #[serde(default)]
        size: u32,
        theme: Option<String>,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self { size: 7, theme: Some("dark".to_owned()) }
        }
    }

    #[test]
    fn a_member_that_is_not_there_yet_is_what_the_default_of_the_whole_says() {
        let settings = |value| read::<Settings>(&map(value)).unwrap();
        let made = |size, theme: Option<&str>| Settings { size, theme: theme.map(str::to_owned) };
        assert_eq!(settings(json!({})), made(7, Some("dark")));
        assert_eq!(settings(json!({ "other": 1 })), made(7, Some("dark")));
        assert_eq!(settings(json!({ "size": 1 })), made(1, Some("dark")));
        assert_eq!(settings(json!({ "theme": null })), made(7, None));
        assert_eq!(settings(json!({ "theme": null, "size": 1, "other": 1 })), made(1, None));
    }

    #[test]
    fn what_takes_any_member_takes_those_of_its_default_too() {
        #[derive(Serialize, Deserialize)]
        struct All {
            #[serde(flatten)]
            members: Map<String, Value>,
        }
        impl Default for All {
            fn default() -> Self {
                Self { members: map(json!({ "a": 1, "b": 1 })) }
            }
        }
        let all: All = read(&map(json!({ "b": 2, "c": 2 }))).unwrap();
        assert_eq!(Value::Object(all.members), json!({ "a": 1, "b": 2, "c": 2 }));
    }

    #[test]
    fn what_does_not_fit_is_our_own_fault_and_shows_nothing() {
        let failure = read::<Cart>(&map(json!({ "items": "s3cret" }))).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Misconfigured);
        assert!(!format!("{failure:?}").contains("s3cret"));
        let mut data = Map::new();
        assert!(apply(&mut data, &|number: &mut u32| *number += 1).is_err());
    }
}
